/* Which Pods this Node lets in: the kubelet's admission (contract 3.5, 3.10), for Pods that were
 * bound here without the scheduler's look at the Node, or after the Node changed. A Pod that is not
 * let in fails with the kubelet's reason. What a unikernel cannot do at all is refuse.h's. */
#pragma once

#include "provider/core/observed.h"

/* spec.priority from which on a Pod is critical: scheduling's system-cluster-critical. */
#define PRIORITY_CRITICAL 2000000000

struct amounts {
    int64_t cpu_milli;
    int64_t memory_bytes;
    int64_t storage_bytes; /* ephemeral-storage */
    int64_t pods;
};

/* The Node as the API has it, and as it is now. */
struct admit_env {
    bool known; /* labels and taints are the API's; until then only static Pods can be judged */
    const char *node_name;
    const struct key_value *labels;
    size_t labels_len;
    const struct taint *taints;
    size_t taints_len;
    struct amounts allocatable;
    struct amounts used; /* by the Pods that were let in and have not ended */
    bool memory_pressure;
    bool disk_pressure;
    bool pid_pressure;
    bool shutting_down;
};

/* NULL: let in. Else the reason, a constant, and why in message. */
const char *pod_admit(const struct pod_spec *spec, const struct admit_env *env,
                      char message[OBSERVED_VERDICT_MAX]);
/* What the scheduler counts for it: containers or the largest init container, and overhead. */
struct amounts pod_requests(const struct pod_spec *spec);
/* The same of what it asks for now; see resize.h. */
struct amounts pod_requests_desired(const struct pod_spec *spec);
void amounts_add(struct amounts *sum, const struct amounts *more); /* INT64_MAX at most */
/* It stays when the node is short of something, and may come in then. */
bool pod_is_critical(const struct pod_spec *spec);
/* Nothing asked for, nothing limited. */
bool pod_is_best_effort(const struct pod_spec *spec);
