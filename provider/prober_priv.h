/* What prober.c and prober_hooks.c share. Nobody else includes it. */
#pragma once

#include "k8s/probe_call.h"
#include "provider/prober.h"

#include <sys/queue.h>

struct map;
struct hook_run;
LIST_HEAD(hook_runs, hook_run);

/* One probe of one container; lives as long as its Pod is known. */
struct worker {
    struct probed *owner;
    size_t container;
    enum probe_type type;
    char id[OBSERVED_ID_MAX]; /* of the attempt that rule is about; "": none yet */
    struct probe_worker rule;
    struct probe_call *call; /* NULL: none is under way */
    uint64_t due_ms;         /* mono; of the call under way */
    size_t at;               /* in the heap; NOWHERE */
    uint64_t counts[PROBE_RESULTS];
    struct histogram seconds;
};

struct probed {
    struct prober *prober;
    char *uid;
    struct worker *workers[POD_MACHINES_MAX * _PROBE_MAX];
    size_t len;
};

struct prober {
    uv_loop_t *loop;
    uv_timer_t timer; /* the earliest of the heap */
    const struct prober_ops *ops;
    void *userdata;
    struct probe_caller *caller;
    struct map *by_uid; /* struct probed: Pods that have probes */
    struct worker **heap;
    size_t heap_len, heap_cap;
    struct hook_runs hooks;
    int64_t started_ms; /* unix: attempts that are older were a former agent's */
    struct prober_stats stats;
};

/* prober_hooks.c: ends those that no longer belong to a running attempt of the Pod. */
void hooks_look(struct prober *prober, const struct pod *pod);
/* uid NULL: all. */
void hooks_forget(struct prober *prober, const char *uid);
