/* One look at all machines that run, for one answer of :10250. Made and freed by a handler. */
#pragma once

#include "runtime/stats.h"

struct agent;
struct instance;
struct pod;

struct usage {
    const struct pod *pod;
    size_t container; /* that runs */
    const struct instance *instance;
    const struct stats *stats; /* NULL: it could not be measured */
};

/* Of each Pod whose machine runs, by namespace and name; malloc'd, valid until the loop turns. */
size_t usage_gather(struct agent *agent, struct usage **ret);
/* Neither is ever 0: metrics-server drops the whole Pod for one zero (contract 5.9). */
uint64_t usage_cpu_ns(const struct usage *usage);
uint64_t usage_memory_bytes(const struct usage *usage);
