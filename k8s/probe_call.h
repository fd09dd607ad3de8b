/* One question to a container, as the kubelet's probes and lifecycle hooks put it: HTTP, a TCP
 * connection, or gRPC's health check (contract 3.7, 3.8). Thousands wait on the one loop; a bounded
 * number is on the wire at once, the others queue, and a question's time begins when it leaves. The
 * texts are the kubelet's, which are Go's. Knows no Pods; called by provider/prober.c and hooks.c.
 */
#pragma once

#include "provider/core/probe.h"

struct uv_loop_s;
struct probe_caller;
struct probe_call;

/* On the wire at once: a descriptor and about 25 KiB each. Enough for a thousand probes a second
 * that are answered within half of one. */
#define PROBE_CALLS_RUNNING_MAX 512
#define PROBE_BODY_MAX 10240 /* bytes of an answer that are read, as the kubelet does */
#define PROBE_REDIRECTS_MAX 10
#define PROBE_TEXT_MAX 1024 /* an event's message holds no more */
#define PROBE_VERSION "1.37"

enum probe_purpose { PURPOSE_PROBE, PURPOSE_HOOK };

/* All texts are copied. */
struct probe_question {
    const struct handler *handler; /* HTTP, TCP or gRPC */
    const char *host;              /* address or name; no brackets */
    uint16_t port;
    uint32_t timeout_ms; /* > 0; from the first packet to the last byte */
    enum probe_purpose purpose;
};

struct probe_answer {
    enum probe_outcome outcome;
    bool unheard;       /* nobody took the connection */
    bool plain_http;    /* asked for TLS, the other side speaks HTTP */
    int status;         /* HTTP, of the last answer; 0: none */
    const char *result; /* of PROBE_ERROR: "failure" or "unknown", as events name it */
    const char *text;   /* never NULL; on a failure, an error or a warning a sentence */
    uint64_t took_ns;   /* on the wire */
};

typedef void (*probe_done)(void *userdata, const struct probe_answer *answer);

/* NULL: no memory or descriptors. */
struct probe_caller *probe_caller_new(struct uv_loop_s *loop);
/* Calls under way get no answer. NULL is accepted. The loop has to run once more. */
void probe_caller_free(struct probe_caller *caller);
/* Never answers before it returned. The call is over with its answer. */
struct probe_call *probe_call(struct probe_caller *caller, const struct probe_question *question,
                              probe_done done, void *userdata);
void probe_call_cancel(struct probe_call *call); /* no answer afterwards; NULL is accepted */
/* On the wire, and waiting for a place there. */
size_t probe_caller_running(const struct probe_caller *caller);
size_t probe_caller_waiting(const struct probe_caller *caller);
