/* The body of a request, counted and thrown away: no path of a kubelet takes one, but what a
 * client sent must be stepped over exactly, or its bytes would be read as the next request.
 * Pure; fuzzed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BODY_BYTES_MAX (1024 * 1024)
#define BODY_LINE_MAX 256 /* a chunk's size with its extensions */
#define BODY_TRAILER_MAX 8192

enum body_state {
    BODY_FIXED,    /* remaining bytes, then the end */
    BODY_SIZE,     /* in a chunk's first line */
    BODY_DATA,     /* in a chunk */
    BODY_DATA_END, /* at the CRLF after a chunk */
    BODY_TRAILER,  /* after the last chunk: fields up to an empty line */
    BODY_DONE,
};

struct body {
    enum body_state state;
    uint64_t remaining; /* of the body, or of the chunk */
    uint64_t total;
    char line[BODY_LINE_MAX];
    size_t line_len;
    size_t trailer_len;
};

/* -EFBIG when the length given is already too much. */
int body_begin(struct body *body, int chunked, uint64_t content_length);
/* Takes what belongs to the body off data: *ret_used bytes. 1: complete, 0: more is to come,
 * -EBADMSG: no valid chunk, -EFBIG: more than BODY_BYTES_MAX. */
int body_feed(struct body *body, const char *data, size_t len, size_t *ret_used);
