/* The agents' connection counters, read from each node that hosts unikernels. Called by startup.c,
 * services.c and health.c. */
#pragma once

#include "provider/core/scale.h"

struct nodes;
struct scaler;

#define NODES_MAX 5000 /* as many as a cluster may have */

struct nodes *nodes_start(struct scaler *scaler);
void nodes_stop(struct nodes *nodes); /* NULL is accepted */
bool nodes_synced(const struct nodes *nodes);
/* What is known of a Pod; NULL: nothing. Valid until the loop's next turn. */
const struct scale_series *nodes_pod(const struct nodes *nodes, const char *uid);

struct nodes_counts {
    size_t nodes;
    size_t silent; /* without an answer that is new enough */
};
void nodes_count(const struct nodes *nodes, struct nodes_counts *ret);
