/* The head of an HTTP/1.1 request, read strictly: the API server sends requests of many users
 * over one connection, so two readings of the same bytes would be a way into another user's
 * rights. What RFC 9112 lets a server refuse is refused. Pure: no I/O. Called by server_conn.c;
 * fuzzed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_BYTES_MAX 32768 /* tokens and long exec command lines included */
#define HEAD_TARGET_MAX 16384
#define HEAD_METHOD_MAX 16
#define HEAD_FIELDS_MAX 100
#define HEAD_QUERY_MAX 512 /* parameters: one for each word of an exec's command */
#define HEAD_PATH_MAX 4096

struct head_field {
    char *name; /* headers: lower case; parameters: decoded */
    char *value;
};

struct head {
    char *block;  /* holds every text below; malloc'd */
    char *method; /* a token; not looked up */
    char *path;   /* decoded once, begins with '/', valid for logs: no control bytes */
    struct head_field *fields;
    size_t fields_len;
    struct head_field *query;
    size_t query_len;
    int minor; /* HTTP/1.x */
    bool keep_alive;
    bool chunked;
    bool expect_continue;
    bool upgrade; /* "Connection: upgrade" with an Upgrade header */
    uint64_t content_length;
};

/* 0: a head, of *ret_used bytes. -EAGAIN: it is not complete; *scanned says how far was looked and
 * is 0 at first. -EBADMSG: refuse with *ret_status and close. -E2BIG: the same, too large. */
int head_parse(const char *data, size_t len, size_t *scanned, struct head *ret, size_t *ret_used,
               int *ret_status);
void head_free(struct head *head); /* accepts a zeroed struct */

/* The first header of this lower-case name; NULL: absent. */
const char *head_get(const struct head *head, const char *name);
/* The first parameter of this name. */
const char *head_query(const struct head *head, const char *name);
/* Whether a comma-separated list has this token, in any case. */
bool head_list_has(const char *list, const char *token);
