/* SPDY/3.1 as the API server speaks it to a kubelet (contract 5.7): the frames of one connection,
 * read strictly and one event at a time, and the few frames that a server sends. Pure: no I/O, no
 * stream table. Sends no headers of its own, so only the client's side of the compression has a
 * state. No flow control: neither side of Kubernetes has any. Called by carrier.c; fuzzed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct spdy;

#define SPDY_CONTROL_MAX 16384 /* payload of a control frame; must fit into the reader's buffer */
#define SPDY_BLOCK_MAX 16384   /* a header block, inflated */
#define SPDY_HEADERS_MAX 32
#define SPDY_DATA_MAX 32768 /* payload of a data frame of ours */
#define SPDY_FRAME_HEAD 8
#define SPDY_DICTIONARY_LEN 1423

enum spdy_status {
    SPDY_PROTOCOL_ERROR = 1,
    SPDY_INVALID_STREAM = 2,
    SPDY_REFUSED_STREAM = 3,
    SPDY_CANCEL = 5,
    SPDY_INTERNAL_ERROR = 6,
};

enum spdy_event_type {
    SPDY_OPEN,  /* stream; its headers are asked for with spdy_header */
    SPDY_DATA,  /* stream, data, len: what there is of a frame's payload; see spdy_take */
    SPDY_FIN,   /* stream: the client sends no more on it */
    SPDY_RESET, /* stream, value: status */
    SPDY_PING,  /* value: the id to send back */
    SPDY_GOAWAY,
};

struct spdy_event {
    enum spdy_event_type type;
    uint32_t stream;
    uint32_t value;
    const char *data; /* in the caller's input */
    size_t len;
};

struct spdy *spdy_new(void);
void spdy_free(struct spdy *spdy); /* NULL is accepted */

/* 1: an event. 0: more bytes are needed. In both cases *ret_used bytes of data are done with and
 * must not be shown again, but for SPDY_DATA's: spdy_take says how many of those are, and what is
 * left of them comes again. -EBADMSG, -E2BIG: the connection is of no more use. */
int spdy_next(struct spdy *spdy, const char *data, size_t len, size_t *ret_used,
              struct spdy_event *ret);
void spdy_take(struct spdy *spdy, size_t len);

/* Of the last SPDY_OPEN, until the next spdy_next; name in lower case. NULL: absent. */
const char *spdy_header(const struct spdy *spdy, const char *name);
uint32_t spdy_last_stream(const struct spdy *spdy); /* the highest that was opened */

/* Frames to send, appended to out; a reply comes before the stream's first data. */
void spdy_put_reply(struct spdy *spdy, struct buf *out, uint32_t stream);
void spdy_put_data_head(struct buf *out, uint32_t stream, size_t len, bool fin);
void spdy_put_reset(struct buf *out, uint32_t stream, enum spdy_status status);
void spdy_put_ping(struct buf *out, uint32_t id);
void spdy_put_goaway(struct buf *out, uint32_t last_stream);

/* The preset dictionary of header blocks (SPDY/3 draft 2.6.10.1): for the tests. */
void spdy_dictionary(char dst[SPDY_DICTIONARY_LEN]);
