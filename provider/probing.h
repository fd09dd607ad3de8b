/* Joins the prober to the agent: world_ops' half of probes and hooks, and what of it Prometheus is
 * shown. Called by startup.c and endpoints_*.c. */
#pragma once

#include "provider/agent.h"

struct buf;

/* Makes agent->prober; negative errno. Before the first Pod. */
int probing_init(struct agent *agent, struct world_ops *ops, struct err *err);
/* Samples of /metrics/probes, and the agent's own latencies. */
void probing_write(const struct agent *agent, struct buf *out);
void probing_write_own(const struct agent *agent, struct buf *out);
