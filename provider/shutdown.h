/* SIGTERM with drainOnExit: the node shuts down, its Pods end in order, then the agent does.
 * Without it nothing of this happens, and machines go on. */
#pragma once

struct agent;

/* Begins; the agent stops by itself when all is ended or the time is over. */
void shutdown_begin(struct agent *agent);
/* Once a loop turn, after the flush: goes on when what it waits for has come. */
void shutdown_turn(struct agent *agent);
void shutdown_end(struct agent *agent);
