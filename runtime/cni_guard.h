/* Plugins outlive an agent that is killed: one that is half-way through ADD would finish behind the
 * back of the next agent's DEL and leak an address. Every plugin (and what it starts) therefore
 * holds the writing end of a FIFO in the state directory, and the next agent asks nothing of CNI
 * before the last of them is gone. Called by network.c. */
#pragma once

#include <stdint.h>

struct cni_guard;
struct err;
struct uv_loop_s;

/* ready is called once, never before it returned, when no older plugin is left (0) or ms_max is
 * over
 * (-ETIMEDOUT: go on all the same). */
typedef void (*cni_guard_ready)(void *userdata, int result);

int cni_guard_open(struct uv_loop_s *loop, const char *path, uint32_t ms_max, cni_guard_ready ready,
                   void *userdata, struct cni_guard **ret, struct err *err);
void cni_guard_close(struct cni_guard *guard); /* NULL is accepted */
/* To be handed to plugins; valid from the call of ready on. */
int cni_guard_fd(const struct cni_guard *guard);
