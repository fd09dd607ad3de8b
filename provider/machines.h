/* What the files about this host's machines share: machines.c (reconcile's world), launch.c (spec
 * to machine), restore.c (what a former agent left). */
#pragma once

#include "provider/agent.h"
#include "runtime/image.h"
#include "runtime/network.h"
#include "vmm-bridge/vmm.h"

struct env_result;
struct needs;
struct pull;
struct stats;

/* The world's data of one Pod, in pod->machine. */
struct machine {
    struct agent *agent;
    char *uid;
    struct pull *pull;
    uint32_t pull_of; /* the container whose image is being pulled */
    struct image *image;
    uint32_t image_of;
    struct network_result net;
    bool net_up;
    struct needs *needs; /* NULL until the first start; see prepare.c */
    struct instance *instance;
    uint64_t launched_ns;     /* mono; 0: adopted, or running already */
    struct stats *stats;      /* NULL until somebody asks; see usage.c */
    uint32_t container;       /* whose instance it is: one at a time, see pod_active */
    char id[OBSERVED_ID_MAX]; /* of the instance, current or last */
};

/* Makes it when there is none. */
struct machine *machine_of(struct agent *agent, struct pod *pod);
const struct instance_ops *machine_callbacks(void);
/* The Pod's one or two addresses, as pod_ip in observed.h. */
void machine_addresses(const struct agent *agent, const struct network_result *net,
                       char dst[OBSERVED_IP_MAX]);
/* Asks CNI, in the background, whether the network that a former agent made is as it should be; an
 * event tells if not. */
void machine_verify_network(struct agent *agent, const char *uid);
/* launch.c: starts m->id for m->container; 0, or negative with the sentence for the Pod's owner. */
int machine_launch(struct machine *m, struct pod *pod, const struct instance_ops *ops,
                   struct err *err);
/* launch.c: the VMM's arguments that machine_launch would give the shim. Free with vmm_argv_free,
 * also on failure. */
int machine_preview(struct machine *m, struct pod *pod, struct vmm_argv *ret, struct err *err);
/* launch.c: environment and arguments of a container as of now; see env_resolve. */
int machine_env(struct machine *m, const struct pod *pod, uint32_t container, struct arena *arena,
                struct env_result *ret, char *error, size_t error_size);
/* launch.c: CPUs that a machine can have here. */
uint32_t machine_cpus_max(const struct agent *agent);
struct env_facts;
/* Of the Pod and the node; neither objects of the API nor the image. */
void machine_facts(struct machine *m, const struct pod *pod, struct env_facts *ret);
/* env_expand_strict in an arena. */
int machine_expand(const struct env_result *env, const char *text, struct arena *arena,
                   const char **ret, char *error, size_t error_size);
/* The container's image, found again when it was let go of; NULL: its files are gone. */
struct image *machine_image(struct machine *m, const struct pod *pod, uint32_t container);
/* reconcile_prepared, once the call under way has returned. */
void machine_answer_prepared(struct agent *agent, const char *uid, uint32_t container, int result,
                             const char *reason, const char *text);
/* <log_dir>/<ns>_<name>_<uid>; malloc'd. */
char *machine_log_dir(const struct agent *agent, const struct pod_spec *spec);
/* <log dir>/<container>/<attempt>.log; malloc'd. */
char *machine_log_path(const struct agent *agent, const struct pod_spec *spec, size_t container,
                       uint32_t attempt);
/* An event about a Pod (container -1) or one of its containers. */
void agent_event(struct agent *agent, struct pod *pod, int container, bool warning,
                 const char *reason, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
