/* What a start needs beside image and network: values of ConfigMaps and Secrets, Services, and the
 * files of volumes. The half of world_ops that waits for them; the launcher reads them again. */
#pragma once

#include "provider/machines.h"

struct object_data;

/* For agent->objects; userdata is the machine, and the agent. */
void prepare_changed(void *userdata);
void prepare_services_synced(void *userdata);
/* world_ops.prepare. */
bool prepare_start(void *world, struct pod *pod, uint32_t container);
/* The Pod is about to be forgotten. */
void prepare_forget(struct machine *m);
/* For env_facts.object; userdata is the machine. */
const struct object_data *prepare_object(void *userdata, bool secret, const char *name);
