/* Brings the agent's parts up in their order, and down again. Called by main. */
#pragma once

struct agent;
struct err;

/* Everything that needs no API server now, the rest from the loop once there are credentials. */
int startup_begin(struct agent *agent, struct err *err);
/* The Node's name is ours: Pods may be acted upon. Called by node. */
void startup_claimed(struct agent *agent);
/* The accelerator is known. Called by node before startup_claimed. */
void startup_accel(struct agent *agent);
/* Which VMM, where its program is, and as whom it runs. */
int startup_vmm(struct agent *agent, struct err *err);
/* The image store as the configuration says; needs loop and fetcher. */
int startup_images(struct agent *agent, struct err *err);
/* Frees what was brought up, half-started or whole. Machines go on. */
void startup_end(struct agent *agent);
