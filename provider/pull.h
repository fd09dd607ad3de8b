/* A Pod's pull of one image, with the credentials that it has: the Secrets of imagePullSecrets (to
 * which admission adds the ServiceAccount's), each read by name alone, as a node may. Called by
 * machines.c. */
#pragma once

#include "provider/agent.h"
#include "runtime/image.h"

#define PULL_SECRETS_MAX 32 /* of one Pod; the rest is passed over */

struct pull;

/* Never calls back before it returned. done is called once, unless cancelled. */
struct pull *pull_start(struct agent *agent, struct pod *pod, uint32_t container, image_done done,
                        void *userdata);
void pull_cancel(struct pull *pull); /* no callback afterwards */
