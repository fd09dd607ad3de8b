/* What a start needs beside image and network: values of ConfigMaps and Secrets, Services, and the
 * files of volumes. The half of world_ops that waits for them; the launcher reads them again. */
#pragma once

#include "provider/machines.h"

struct object_data;

/* What the guest gets by the VMM. */
struct share {
    char *dir, *path; /* on the host, in the guest */
    char tag[16];
    bool read_only;
};

/* For agent->objects; userdata is the machine, and the agent. */
void prepare_changed(void *userdata);
void prepare_services_synced(void *userdata);
/* world_ops.prepare. */
bool prepare_start(void *world, struct pod *pod, uint32_t container);
/* The machine runs, launched or adopted; the Pod's object changed: shared files follow. */
void prepare_running(struct machine *m, struct pod *pod);
void prepare_updated(struct machine *m, struct pod *pod);
/* The attempt ended: its own initrd goes. */
void prepare_ended(struct machine *m);
/* For instance_spec.give; userdata is the machine. */
int prepare_give(void *userdata, uint32_t uid, uint32_t gid, struct err *err);
/* Removes the Pod's volumes; -EBUSY: a worker is in them, reconcile_cleaned follows. m may be NULL.
 */
int prepare_clean(struct machine *m, const char *uid, struct agent *agent, struct err *err);
/* A worker is in the Pod's volumes. */
bool prepare_is_busy(const struct machine *m);
/* What the launch is to use: the Pod's own initrd (NULL: the image's), and shares. */
const char *prepare_initrd(const struct machine *m);
size_t prepare_shares(const struct machine *m, const struct share **ret);
/* The Pod is about to be forgotten. */
void prepare_forget(struct machine *m);
/* For env_facts.object; userdata is the machine. */
const struct object_data *prepare_object(void *userdata, bool secret, const char *name);
