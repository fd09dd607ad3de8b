/* Resizing a Pod in place (contract 3.10): whether what it asks for now can be given, and what that
 * does to a machine that runs. A machine's memory and its number of CPUs are fixed at its start:
 * there is neither balloon nor hot-plug. So CPU changes within the CPUs that it has are carried out
 * in its cgroup, and all else by another start, where resizePolicy allows one. Called by the
 * reconciler and by step.c. Not for the admission of new Pods, which is admit.h. */
#pragma once

#include "provider/core/admit.h"

/* CPUs of a guest, before the host's number bounds them: one for each begun core of the limit. */
uint32_t resources_cpus(const struct resources *r);
/* The guest's memory in MiB, rounded up: the limit, else the request; 0: neither is given. */
uint32_t resources_memory_mib(const struct resources *r);

/* What the machine's world says of a container's size. */
struct resize_host {
    const char *guest_kind;  /* NULL: its image is not known here */
    uint32_t memory_mib_min; /* that such a guest needs */
    uint32_t cpus_max;       /* of a machine; 0: unknown */
};

struct resize_env {
    struct amounts allocatable;
    struct amounts others; /* used by the other Pods that were let in */
    struct resize_host host;
};

/* The Pod asks for something else than it was given. */
bool pod_resize_wanted(const struct pod_spec *spec);
/* RESIZE_NONE: it can be given all of that now. Else why not, in message: whatever resources, time
 * or other Pods' ends cannot change is infeasible. */
enum resize_pending pod_resize_judge(const struct pod_spec *spec, const struct pod_observed *obs,
                                     const struct resize_env *env,
                                     char message[OBSERVED_VERDICT_MAX]);

enum resize_how {
    RESIZE_NOTHING, /* it runs with what it was given, or does not run: the next start takes it */
    RESIZE_LIVE,
    RESIZE_BY_RESTART,
};

/* What is to be done to a running container. */
enum resize_how container_resize(const struct container_spec *container,
                                 const struct container_observed *c);
/* What was given is not yet what runs. */
bool pod_resizing(const struct pod_spec *spec, const struct pod_observed *obs);
