/* What each Pod has on this node's disk: measured in a worker, one walk at a time; who has more
 * than a limit of its allows is evicted. Rules: core/storage.h. */
#pragma once

#include "runtime/stats.h"

struct agent;
struct local_storage;

struct local_storage *local_storage_new(struct agent *agent);
/* A walk under way ends with the loop. */
void local_storage_free(struct local_storage *storage); /* NULL is accepted */
/* Starts a walk unless one is under way. Evictions follow from the loop. */
void local_storage_check(struct local_storage *storage);
/* The Pod's disk emptyDirs at the last walk; zero when it has none. */
void local_storage_volumes(const struct local_storage *storage, const char *uid,
                           struct stats_files *ret);
