/* The inside of a probe's call, shared by probe_call.c (queue, life), probe_http.c, probe_grpc.c
 * and probe_text.c. Nobody else includes it. */
#pragma once

#include "base/buf.h"
#include "k8s/client_engine.h"
#include "k8s/probe_call.h"

#include <sys/queue.h>

#define PROBE_GRPC_MESSAGE_MAX 256 /* of grpc-message, in our text */

struct probe_call {
    TAILQ_ENTRY(probe_call) link;
    struct probe_caller *caller;
    probe_done done;
    void *userdata;
    enum handler_kind kind;
    enum probe_purpose purpose;
    bool tls, h2c, running;
    char *host;
    uint16_t port;
    char *url; /* as Go would print it */
    struct key_value *headers;
    size_t headers_len;
    char *service;
    uint32_t timeout_ms;
    uint64_t began_ns; /* mono */

    struct transfer *transfer;
    struct buf body;
    bool body_full;
    unsigned redirects;
    bool location_absolute; /* of the redirect just read */
    bool drop_host;         /* a redirect elsewhere: the Host header was for the first place */
    char *bad_header;       /* name of one that cannot be sent */
    int grpc_status;        /* -1: none seen */
    char grpc_message[PROBE_GRPC_MESSAGE_MAX];
};

TAILQ_HEAD(probe_calls, probe_call);

/* probe_call.c: answers and frees. */
void probe_finish(struct probe_call *call, const struct probe_answer *answer);
/* Milliseconds that are left, at least 1. */
uint32_t probe_left_ms(const struct probe_call *call);

/* probe_http.c, probe_grpc.c: puts one transfer on the engine; the rest comes by callbacks. */
void probe_http_prepare(struct probe_call *call, const struct handler *handler);
void probe_http_start(struct probe_call *call, struct engine *engine);
void probe_tcp_start(struct probe_call *call, struct engine *engine);
void probe_grpc_start(struct probe_call *call, struct engine *engine);

/* The framed answer of a health check: false when it makes no sense. Anything may come in. */
bool probe_grpc_read(const char *data, size_t len, uint64_t *ret_status);

/* probe_text.c */
/* "10.0.0.1:80", "[fd00::1]:80". */
void probe_address(const struct probe_call *call, char *dst, size_t size);
/* No connection was made. */
bool probe_unheard(const struct probe_call *call, CURLcode code);
/* What Go's net package says of a transfer that failed, without the `Get "url": ` of net/http. */
void probe_wire_text(const struct probe_call *call, CURLcode code, char *dst, size_t size);
/* Go's %v of a Duration of whole milliseconds: 1s, 1m30s, 1.5s. */
void probe_duration(uint32_t ms, char *dst, size_t size);
