/* Environment, command and arguments of a container (contract 4.1): order, $(VAR) expansion,
 * fieldRef and resourceFieldRef. Pure: results go to memory that the caller's alloc gives. */
#pragma once

#include "provider/core/pod.h"

struct env_facts {
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

struct env_result {
    const struct key_value *env; /* image's first, later duplicates removed, order kept */
    size_t env_len;
    const char *const *argv; /* command and args, expanded */
    size_t argv_len;
};

/* 0, or -EINVAL with a sentence in error (at least 256 bytes) that names the variable. */
int env_resolve(const struct pod_spec *pod, const struct container_spec *container,
                const struct env_facts *facts, env_alloc alloc, void *userdata,
                struct env_result *ret, char *error, size_t error_size);
