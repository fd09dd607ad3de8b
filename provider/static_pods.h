/* Pods from files of this node (contract 3.10): read from staticPodPath, run without asking
 * anybody, and shown to the API server as mirror Pods. */
#pragma once

#include "provider/core/pod.h"

#include <stdbool.h>

struct agent;
struct static_pods;

/* Reads the directory once and watches it from then on. NULL config: only mirrors without a file
 * are looked for. */
struct static_pods *static_pods_start(struct agent *agent, const char *dir);
void static_pods_stop(struct static_pods *all); /* NULL is accepted */
void static_pods_free(struct static_pods *all); /* once the loop has closed its handles */

/* From the watch of Pods: a mirror Pod of this node, or any Pod that is gone. */
void static_pods_relist(struct static_pods *all);
void static_pods_mirror(struct static_pods *all, const struct pod_spec *mirror);
void static_pods_gone(struct static_pods *all, const char *uid);
void static_pods_synced(struct static_pods *all);
/* reconcile forgot a Pod: the next one of its file may come. */
void static_pods_forgot(struct static_pods *all, const char *uid);
/* The mirror's uid, NULL while there is none. */
const char *static_pods_mirror_uid(const struct static_pods *all, const struct pod_spec *spec);
