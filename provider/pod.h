/* One Pod in the agent's memory: decoded spec, observation, and what was last told to the API
 * server. Owned by reconcile; others see it only inside a call. */
#pragma once

#include "base/log.h"
#include "provider/core/refuse.h"
#include "provider/core/status.h"

struct arena;
struct console;

#define POD_VERSION_MAX 24 /* resourceVersion: a decimal 64-bit number today */
#define POD_IMAGE_NAME_MAX 256

enum pod_origin {
    POD_FROM_STATE, /* restored from the state directory; the API's word on it is awaited */
    POD_FROM_API,
};

enum patch_state { PATCH_IDLE, PATCH_SENT };

struct pod {
    struct arena *arena; /* holds spec */
    const struct pod_spec *spec;
    enum pod_origin origin;
    struct pod_observed obs;
    struct container_observed *containers;   /* obs.containers: obs.containers_len of them */
    char (*image_names)[POD_IMAGE_NAME_MAX]; /* of each, its repository, for imageID [saved] */
    bool refused;
    struct refusal *refusal;     /* when refused; rare, so not in every Pod's memory */
    bool refusal_told;           /* its event was posted */
    bool held;                   /* not let in yet; refusal says why */
    struct pod_verdict *verdict; /* that obs points to; NULL: none, as for nearly every Pod */
    struct pod_resize *resize;   /* likewise */
    bool counted;                /* as last looked at, it counts among what is in use here */
    bool listed;                 /* seen since the last relist began */

    struct pod *dirty_next;
    bool dirty;
    uint64_t deadline_ms; /* mono: step again then */
    uint64_t end_ms;      /* mono: activeDeadlineSeconds are over, as once reckoned ... */
    int64_t end_of_s;     /* ... from this value of them; 0: not reckoned yet */

    enum patch_state patch;
    bool patch_terminal; /* the one under way reports the end of everything */
    uint64_t sent_hash;  /* of the patch under way */
    uint64_t acked_hash; /* of the last that the API server took; 0: none */
    char acked_version[POD_VERSION_MAX];
    bool settled;            /* the object of acked_version was seen ... */
    uint64_t settled_hash;   /* ... with this status */
    uint64_t reassert_ms;    /* mono: the same status is not posted again before */
    uint32_t refusals;       /* of the status, in a row: the last was refused */
    bool sent_ready;         /* Ready in the patch under way ... */
    bool acked_ready;        /* ... and as acknowledged */
    uint64_t status_due_ms;  /* mono: coalesced until then; 0: nothing waits */
    uint32_t patch_failures; /* in a row */
    bool unsaved;            /* its record is older than the observation: writing it failed */
    uint64_t save_due_ms;    /* mono: with unsaved, not before */
    bool adopting;           /* its machine was found at start, and has not answered yet */
    bool same_boot;          /* of a restored one: the host was not started anew since */
    enum waiting_told { TOLD_NOTHING, TOLD_PULL_BACKOFF, TOLD_CRASH_BACKOFF } told;

    struct console *consoles; /* that exits point to; reconcile_console.c */
    void *machine;            /* the world's own data for this Pod, or NULL */
};

/* The container whose machine exists or is being started, 0 when there is none: a Pod has one
 * machine at a time. */
static inline size_t pod_active(const struct pod *pod)
{
    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        enum machine_state machine = pod->containers[i].machine;
        if (machine == MACHINE_STARTING || machine == MACHINE_RUNNING)
            return i;
    }
    return 0;
}

/* For log lines. */
static inline struct log_ctx pod_log(const struct pod *pod)
{
    return (struct log_ctx){.ns = pod->spec->ns, .name = pod->spec->name, .uid = pod->spec->uid};
}
