/* What this agent counts about itself, for /metrics: starts, pulls, networks, restarts, how long
 * they took. Plain numbers, written where things happen and read by endpoints_metrics.c. */
#pragma once

#include "base/histogram.h"

#include <stdbool.h>

struct agent;

#define METRICS_BOOTS_MAX 16 /* pairs of VMM and guest kind; further ones count as "other" */
#define METRICS_NAME_MAX 24

/* kubelet's runtime operations, by its own names. */
enum metrics_operation {
    OPERATION_PULL_IMAGE,
    OPERATION_RUN_SANDBOX,     /* the Pod's network is made */
    OPERATION_START_CONTAINER, /* launch to running */
    OPERATION_STOP_SANDBOX,
    _OPERATION_MAX,
};

struct metrics_boot {
    char vmm[METRICS_NAME_MAX];
    char guest[METRICS_NAME_MAX];
    struct histogram seconds;
};

struct metrics {
    struct metrics_boot boots[METRICS_BOOTS_MAX];
    size_t boots_len;
    struct {
        uint64_t failures;
        struct histogram seconds; /* also of those that failed */
    } operations[_OPERATION_MAX];
    struct histogram pod_start; /* accepted to running, first attempts */
    struct histogram lag;       /* an event was heard, until all that it asks for was begun */
    uint64_t behind_ns;         /* uv_hrtime: the first event that waits still; 0: none does */
    uint64_t pods_started;
    uint64_t machines_started;
    uint64_t restarts;
    uint64_t adopted;
    uint64_t ended, oom_killed, lost;
    uint64_t pulled_bytes;
    uint64_t began_ms;  /* mono; of the agent */
    int64_t started_ms; /* unix */
};

void metrics_init(struct metrics *metrics);
/* The agent's own; NULL before its server is there. All functions below accept NULL. */
struct metrics *metrics_of(const struct agent *agent);
/* since_ns: mono; when it began. */
void metrics_operation(struct metrics *metrics, enum metrics_operation operation, uint64_t since_ns,
                       bool failed);
void metrics_boot(struct metrics *metrics, const char *vmm, const char *guest, double seconds);
const char *metrics_operation_to_string(enum metrics_operation operation);
