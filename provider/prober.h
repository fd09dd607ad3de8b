/* Asks the probes of all Pods and runs their lifecycle hooks, on the agent's loop: one heap of due
 * times under one timer, no thread and no timer each. The rules are provider/core/probe's, the wire
 * is k8s/probe_call's. What comes of an answer goes to reconcile; here only when to ask is kept,
 * and what Prometheus wants to know. Called by machines.c, for each Pod that was stepped. */
#pragma once

#include "base/histogram.h"
#include "provider/pod.h"

#include <uv.h>

struct prober;

#define PROBE_RESULTS 3 /* successful, failed, unknown: as prober_probe_total counts them */

struct prober_ops {
    struct now (*now)(void *userdata);
    /* NULL: gone. */
    struct pod *(*find)(void *userdata, const char *uid);
    /* A warning; container -1: about the Pod. */
    void (*event)(void *userdata, struct pod *pod, int container, const char *reason,
                  const char *message);
    /* Of the attempt id. Neither may call back into prober. */
    void (*result)(void *userdata, const char *uid, const char *id, enum probe_type type,
                   enum probe_result result);
    void (*hooked)(void *userdata, const char *uid, const char *id, enum hook_type type,
                   bool failed);
};

struct prober_stats {
    struct histogram took[_PROBE_MAX]; /* seconds on the wire, of all answers */
    struct histogram late;             /* seconds between being due and leaving */
};

/* One probe's, for /metrics/probes. */
struct prober_sample {
    const char *uid;
    size_t container;
    enum probe_type type;
    const uint64_t *counts;          /* PROBE_RESULTS */
    const struct histogram *seconds; /* of successful ones */
};

/* NULL: no memory or descriptors. userdata is for ops. */
struct prober *prober_new(uv_loop_t *loop, const struct prober_ops *ops, void *userdata);
/* Nothing is answered any more. NULL is accepted. The loop has to run once more. */
void prober_free(struct prober *prober);
/* Begins, goes on with or ends what this Pod wants to be asked. */
void prober_look(struct prober *prober, struct pod *pod);
void prober_forget(struct prober *prober, const char *uid);
/* Runs the hook of the container's current attempt; ops->hooked follows. */
void prober_hook(struct prober *prober, struct pod *pod, size_t container, enum hook_type type);

const struct prober_stats *prober_stats(const struct prober *prober);
void prober_each(const struct prober *prober,
                 void (*each)(void *userdata, const struct prober_sample *sample), void *userdata);
