/* What objects.c keeps of an API object: compact copies, each one block of memory. Nobody else
 * includes it. */
#pragma once

#include "provider/core/env.h"

struct json;
struct object_copy;
struct service_copy; /* free() it */

/* Of a ConfigMap or Secret. Values that are no base64 where they must be count as empty. */
struct object_copy *object_copy_new(const struct json *json, bool secret);
/* A Secret's bytes do not stay behind in the heap. NULL is accepted. */
void object_copy_free(struct object_copy *copy);
const struct object_data *object_copy_data(const struct object_copy *copy);
uint64_t object_copy_hash(const struct object_copy *copy);

/* NULL: it has no cluster IP or no port, so it makes no variables. */
struct service_copy *service_copy_new(const struct json *json);
/* Names are copied into alloc's memory: the Service may go meanwhile. */
void service_copy_env(const struct service_copy *copy, env_alloc alloc, void *userdata,
                      struct env_service *ret);
