/* The Node object and its Lease (contract 1): register, keep alive, tell the truth about readiness,
 * register again when somebody deleted it, and step back from a name that another live agent holds.
 */
#pragma once

#define NODE_KUBELET_VERSION "v1.37.2" /* whose ways this agent follows */

#include <stdbool.h>

struct agent;
struct node;

struct admit_env;

/* What admission asks of the Node, without what the Pods here use. */
void node_admit_env(const struct node *node, struct admit_env *ret);
/* Begins registration. uid_file keeps this agent's own id over restarts. */
struct node *node_start(struct agent *agent);
/* Of the Node object; "" before it is registered. */
const char *node_uid(const struct node *node);
/* An event about the Node. */
void node_event(struct node *node, bool warning, const char *reason, const char *message);
/* The host goes down: Ready becomes False, no Pod is let in. */
void node_shutting_down(struct node *node);
/* Sends nothing more. */
void node_stop(struct node *node);
/* Once the loop has closed its handles. NULL is accepted. */
void node_free(struct node *node);
