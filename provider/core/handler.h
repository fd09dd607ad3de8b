/* Probes and lifecycle hooks as the API server sends them. Filled by k8s/codec_probe.c into the
 * Pod's arena; immutable. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct key_value;

/* In the order in which they matter: the first gates the others. */
enum probe_type { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS, _PROBE_MAX };

enum handler_kind {
    HANDLER_NONE, /* none that is known: an API server newer than this agent */
    HANDLER_HTTP,
    HANDLER_TCP,
    HANDLER_GRPC,
    HANDLER_SLEEP,
    HANDLER_EXEC,
};

enum hook_type { HOOK_POST_START, HOOK_PRE_STOP };

/* What a probe or a hook does. */
struct handler {
    enum handler_kind kind;
    bool tls;              /* scheme HTTPS, or gRPC with mode TLS; never verified */
    bool h2c;              /* httpGet.protocol HTTP2 */
    const char *host;      /* NULL: the Pod's address */
    const char *port_name; /* NULL: port is meant; else one of the container's ports */
    int32_t port;          /* as it was written, maybe out of range */
    const char *path;      /* HTTP, never NULL there */
    const char *service;   /* gRPC, never NULL there */
    int64_t sleep_s;
    const struct key_value *headers; /* HTTP, in order; names may repeat */
    size_t headers_len;
};

/* All values are sane: at least 1 where 0 makes no sense (contract 3.8's defaults). */
struct probe_spec {
    struct handler handler;
    uint32_t initial_delay_s;
    uint32_t period_s;
    uint32_t timeout_s;
    uint32_t success_threshold;
    uint32_t failure_threshold;
    int64_t grace_s; /* terminationGracePeriodSeconds of the probe; -1: the Pod's */
};
