/* One blocking function on a thread of its own, which ends with it. For what changes the thread's
 * network namespace and so must never run on a pool's thread that others use later; and it does not
 * wait behind the pool's long jobs (unpacking images). Called by network.c
 * and traffic.c. */
#pragma once

struct network_work;
struct uv_loop_s;

typedef void (*network_work_fn)(void *userdata);

/* run on the thread, then done on the loop. -errno: no thread could be made, no callback. */
int network_work_start(struct uv_loop_s *loop, network_work_fn run, network_work_fn done,
                       void *userdata, struct network_work **ret);
/* Waits for run to end (all that runs here is short); no done. NULL is accepted. */
void network_work_cancel(struct network_work *work);
