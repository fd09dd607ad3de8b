/* curl's multi handle on the loop: sockets, timer, and the care that curl wants. Knows no
 * Kubernetes; client.c (requests), client_stream.c (watches) and fetch.c (images) put transfers on
 * it. An engine is one set of connections. New credentials, or a link that went silent, get a new
 * engine; the old one ends with its last transfer, and its connections with it. */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct engine;
struct transfer;

#define EASY_IDLE_MAX 4 /* easy handles kept for the next request */

struct transfer_ops {
    /* A piece of the body, with t->status set. Called from inside curl: everything below may still
     * be called (the engine puts it off). A negative return ends the transfer. NULL: not wanted. */
    int (*on_data)(struct transfer *t, const char *data, size_t len);
    /* Exactly once, unless ended before. The transfer is off the engine; its owner ends it. */
    void (*on_done)(struct transfer *t, CURLcode code);
};

struct transfer {
    CURL *easy; /* options are the owner's, but for those that transfer_new sets */
    struct curl_slist *headers, *connect_to; /* freed with the transfer */
    void *userdata;
    int status;          /* HTTP, of the last answer; 0: no head yet */
    uint64_t started_ms; /* mono */
    uint64_t *connects;  /* grows by the connections opened; NULL: not wanted */
    char error[CURL_ERROR_SIZE];

    /* The engine's own. */
    struct engine *engine;
    const struct transfer_ops *ops;
    struct transfer *next; /* on one of the put-off lists */
    enum {
        TRANSFER_NEW,
        TRANSFER_START_LATER,
        TRANSFER_ON,
        TRANSFER_OFF,
        TRANSFER_END_LATER
    } state;
    bool counted;
};

/* Never fails but for want of memory or descriptors: NULL then. */
struct engine *engine_new(struct uv_loop_s *loop);
/* For transfers that each open a connection of their own: no limit to those of one host. */
void engine_unlimited(struct engine *engine);
/* Takes no new transfers and goes away with its last one. */
void engine_retire(struct engine *engine);
/* When the last byte arrived on any connection, mono ms. */
uint64_t engine_heard_ms(const struct engine *engine);

/* An easy handle with all options at their defaults but the engine's own: callbacks, error buffer,
 * no signals, TCP keepalive and user time-out. */
struct transfer *transfer_new(struct engine *engine, const struct transfer_ops *ops,
                              void *userdata);
void transfer_url(struct transfer *t, const char *url);
/* Adds "name: value"; a value of NULL removes curl's own header. */
void transfer_header(struct transfer *t, const char *name, const char *value);
/* Never calls back before it returned. */
void transfer_start(struct transfer *t);
/* Frees, whatever the state; no callback afterwards. NULL is accepted. */
void transfer_end(struct transfer *t);

/* A negative errno for curl's code, and a sentence for people (t->error, else curl's own text). */
int transfer_errno(CURLcode code);
const char *transfer_text(const struct transfer *t, CURLcode code);
