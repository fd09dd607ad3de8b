/* When the node is short of something, and which Pod goes first then: the kubelet's hard eviction
 * thresholds and ranking (contract 3.10). Pure; measured and carried out by provider/pressure.c. */
#pragma once

#include "provider/core/admit.h"

enum evict_signal {
    SIGNAL_MEMORY,         /* memory.available */
    SIGNAL_NODEFS,         /* nodefs.available */
    SIGNAL_NODEFS_INODES,  /* nodefs.inodesFree */
    SIGNAL_IMAGEFS,        /* imagefs.available */
    SIGNAL_IMAGEFS_INODES, /* imagefs.inodesFree */
    SIGNAL_PID,            /* pid.available */
    _SIGNAL_MAX,
};

/* The condition of the Node that a signal sets, in the order of node_priv.h. */
enum evict_condition { EVICT_MEMORY, EVICT_DISK, EVICT_PID, _EVICT_MAX };

/* "memory.available<100Mi", "nodefs.available<10%". */
struct threshold {
    enum evict_signal signal;
    int64_t amount; /* bytes or a count; of percent: thousandths of the capacity */
    bool percent;
};

/* What there is; capacity 0: not measured. */
struct level {
    int64_t available;
    int64_t capacity;
};

/* -EINVAL. 0% and 100% are the kubelet's ways to switch one off: it then never holds. */
int threshold_parse(const char *text, struct threshold *ret);
int64_t threshold_amount(const struct threshold *threshold, int64_t capacity);
bool threshold_met(const struct threshold *threshold, const struct level *level);
enum evict_condition signal_condition(enum evict_signal signal);
/* The resource that messages name: memory, ephemeral-storage, inodes, pids. */
const char *signal_resource(enum evict_signal signal);

/* A condition stays for transition_ms after its thresholds were met last, so that it does not
 * flap. seen_ms is the caller's, zeroed at first. Returns whether the condition holds. */
bool pressure_update(uint64_t *seen_ms, bool met, uint64_t now_ms, uint64_t transition_ms);

/* A Pod that might go. usage and request in the unit of the signal's resource. */
struct candidate {
    const struct pod_spec *spec;
    int64_t usage;
    int64_t request;
};

/* What the Pod asked for of the resource: memory and storage; 0 of others. */
int64_t candidate_request(const struct pod_spec *spec, enum evict_signal signal);
/* < 0: a goes before b. Usage above the request, then priority, then the excess. */
int candidate_compare(const struct candidate *a, const struct candidate *b);
/* The one that goes; len when none may: static and critical Pods stay. */
size_t candidate_first(const struct candidate *list, size_t len);
/* status.message of the Pod, in the kubelet's words. */
void evict_message(char *dst, size_t size, const struct threshold *threshold,
                   const struct level *level, const struct candidate *candidate);
