/* Environment, command and arguments of a container (contract 4.1): order, $(VAR) expansion,
 * fieldRef and resourceFieldRef. Pure: results go to memory that the caller's alloc gives. */
#pragma once

#include "provider/core/pod.h"

/* One key of a ConfigMap or Secret. data is NUL-terminated and may hold NULs of its own. */
struct data_item {
    const char *key;
    const char *data;
    size_t len;
    bool binary; /* of binaryData: for files, not for variables */
};

struct object_data {
    const struct data_item *items; /* sorted by key, as the kubelet goes through them */
    size_t len;
};

/* A Service with a cluster IP, of the Pod's namespace or the API server's own. */
struct env_service {
    const char *name;
    const char *ip;
    const struct container_port *ports; /* name, container_port, protocol */
    size_t ports_len;
};

struct env_facts {
    /* A ConfigMap of the Pod's namespace, or a Secret; NULL: there is none. NULL function: as if
     * none existed. */
    const struct object_data *(*object)(void *userdata, bool secret, const char *name);
    void *object_userdata;
    const struct env_service *services;
    size_t services_len;
    const char *node_name;
    const char *host_ip; /* one address, or two with a comma between them */
    const char *pod_ip;
    int64_t allocatable_cpu_milli;
    int64_t allocatable_memory_bytes;
    int64_t allocatable_ephemeral_bytes;
    /* The image's own configuration; may be empty. */
    const char *const *image_env; /* "K=V" */
    size_t image_env_len;
    const char *const *image_entrypoint;
    size_t image_entrypoint_len;
    const char *const *image_cmd;
    size_t image_cmd_len;
};

/* One value or argument after expansion, and all of them: $(A)$(A) doubles, so a few lines of YAML
 * could ask for gigabytes. Linux' own limit for one argument; no guest takes as much in all. */
#define ENV_VALUE_MAX (128 * 1024)
#define ENV_TOTAL_MAX (2 * 1024 * 1024)
#define ENV_VARS_MAX 1024 /* look-ups walk the list; no guest's command line holds as many */

/* Gives zeroed memory that outlives the result; never NULL. */
typedef void *(*env_alloc)(void *userdata, size_t size);

enum env_origin { ENV_OF_POD, ENV_OF_IMAGE, ENV_OF_SERVICE };

struct env_entry {
    const char *key;
    const char *value;
    enum env_origin origin; /* a guest that cannot take all does without the image's or Services' */
};

struct env_result {
    const struct env_entry
        *env; /* image's, Services', envFrom's, env's; later duplicates removed */
    size_t env_len;
    const char *const *argv; /* command and args, expanded */
    size_t argv_len;
    bool services_dropped; /* they would have made more than ENV_VARS_MAX */
};

/* 0; -ENOENT: a ConfigMap, Secret or key of one is missing, in the kubelet's words; or -EINVAL with
 * a sentence that names the variable. error has at least 256 bytes. */
int env_resolve(const struct pod_spec *pod, const struct container_spec *container,
                const struct env_facts *facts, env_alloc alloc, void *userdata,
                struct env_result *ret, char *error, size_t error_size);

/* A fieldRef's or resourceFieldRef's value, for files of the downward API: also all labels or
 * annotations at once, a line each (contract 4.2). container: the default of a resource's, or NULL.
 * The result is in alloc's memory. As env_resolve. */
int env_downward(const struct pod_spec *pod, const struct volume_item *item,
                 const struct env_facts *facts, env_alloc alloc, void *userdata, const char **ret,
                 char *error, size_t error_size);
/* text with $(VAR) from env (contract 4.1: subPathExpr). -EINVAL when a variable is missing, as the
 * kubelet has it there. */
int env_expand_strict(const char *text, const struct env_result *env, env_alloc alloc,
                      void *userdata, const char **ret, char *error, size_t error_size);

/* env_service.c: the variables of one Service (contract 4.1), at most ENV_SERVICE_MAX(ports). */
#define ENV_SERVICE_MAX(ports) (3 + 6 * (ports))
size_t env_service_vars(const struct env_service *service, env_alloc alloc, void *userdata,
                        struct key_value *out);
