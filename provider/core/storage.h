/* What a Pod may write to the node's disk, and when it has written too much: the kubelet's local
 * storage eviction (its pkg/kubelet/eviction, localStorageEviction). Pure; measured and carried out
 * by provider/local_storage.c. */
#pragma once

#include "provider/core/pod.h"

/* Bytes on disk now; arrays as long as the Pod's volumes and as its containers, in
 * pod_container's order. */
struct storage_used {
    const int64_t *volumes;    /* of each emptyDir on disk; 0 of others */
    const int64_t *containers; /* of each one's log */
};

/* Whether the Pod has a limit that could be broken, or a volume that counts for its usage. */
bool storage_counts(const struct pod_spec *spec);
/* True when a limit is broken: text is status.message in the kubelet's words. */
bool storage_exceeds(const struct pod_spec *spec, const struct storage_used *used, char *text,
                     size_t size);
