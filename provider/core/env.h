/* Environment, command and arguments of a container (contract 4.1): order, $(VAR) expansion,
 * fieldRef and resourceFieldRef. Pure: results go to memory that the caller's alloc gives. */
#pragma once

#include "provider/core/pod.h"

struct env_facts {
    const char *node_name;
    const char *host_ip;
    const char *pod_ip;
    int64_t allocatable_cpu_milli;
    int64_t allocatable_memory_bytes;
    /* The image's own configuration; may be empty. */
    const char *const *image_env; /* "K=V" */
    size_t image_env_len;
    const char *const *image_entrypoint;
    size_t image_entrypoint_len;
    const char *const *image_cmd;
    size_t image_cmd_len;
};

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
