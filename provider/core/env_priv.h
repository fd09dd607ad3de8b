/* What the files of env share; nobody else includes it. env.c: order, $(VAR), command; env_value.c:
 * where values come from; env_downward.c: files of the downward API. */
#pragma once

#include "provider/core/env.h"

struct variable {
    const char *key;
    size_t key_len;
    const char *value;
    enum env_origin origin; /* $(VAR) does not see the image's: it only knows what the API does */
};

struct resolver {
    const struct pod_spec *pod;
    const struct container_spec *container;
    const struct env_facts *facts;
    env_alloc alloc;
    void *userdata;
    struct variable *list;
    size_t len;
    size_t total; /* bytes of all values and arguments */
    char *error;
    size_t error_size;
};

/* Fills error; returns -EINVAL. detail may be NULL. */
int env_fail(struct resolver *r, const char *what, const char *name, const char *why,
             const char *detail);
char *env_copy(struct resolver *r, const char *text, size_t len);
int env_count_bytes(struct resolver *r, const char *what, const char *name, size_t len);

int env_field_value(struct resolver *r, const struct env_var *var, const char **ret);
int env_resource_value(struct resolver *r, const struct env_var *var, const char **ret);
/* *ret stays NULL: optional and not there. */
int env_object_value(struct resolver *r, const struct env_var *var, const char **ret);
const struct object_data *env_object(const struct resolver *r, bool secret, const char *name);
/* The kubelet's words for an object, or a key of it (NULL: the object), that is not there; returns
 * -ENOENT. */
int env_missing(struct resolver *r, bool secret, const char *name, const char *key);
int env_take_text(struct resolver *r, const char *name, const struct data_item *item,
                  const char **ret);
