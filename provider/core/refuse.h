/* Which Pods are not run, and the sentence that says so: one table, published in docs/pod-api.md.
 * Refused Pods stay Pending with a waiting reason and an event: rejecting them (phase Failed, as
 * admit.h does for want of room) makes a ReplicaSet create the next one at once (contract 3.5). */
#pragma once

#include "provider/core/admit.h"
#include "provider/core/step.h"

struct refuse_env {
    struct admit_env node;       /* for admit.h, without what the Pods here ask for */
    const char *runtime_handler; /* of the Pod's RuntimeClass; NULL: it has none */
    bool runtime_class_missing;  /* it names a class that does not exist */
    int64_t allocatable_memory_bytes;
    const char *const *host_prefixes; /* of host paths that Pods may mount */
    size_t host_prefixes_len;
};

/* True and *ret filled when the Pod cannot be run. */
bool pod_refuse(const struct pod_spec *spec, const struct refuse_env *env, struct refusal *ret);
