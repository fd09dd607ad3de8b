/* Where the value of a variable comes from: a field of the Pod, an amount of a container's
 * resources, a key of a ConfigMap or Secret (contract 4.1). Called by env.c and env_downward.c. */
#include "provider/core/env_priv.h"

#include "base/str.h"
#include "provider/core/quantity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The key of "metadata.labels['key']"; false when the path is not of that form. */
static bool subscript(struct resolver *r, const char *path, const char *prefix, const char **ret)
{
    size_t prefix_len = strlen(prefix), len = strlen(path);

    if (!str_starts(path, prefix) || len < prefix_len + 4 || !str_starts(path + prefix_len, "['") ||
        !str_ends(path, "']"))
        return false;
    *ret = env_copy(r, path + prefix_len + 2, len - prefix_len - 4);
    return true;
}

/* Only where there is a second one does it need a place of its own. */
static const char *first_address(struct resolver *r, const char *list)
{
    size_t len = list ? strcspn(list, ",") : 0;

    return list && list[len] ? env_copy(r, list, len) : list;
}

int env_field_value(struct resolver *r, const struct env_var *var, const char **ret)
{
    const struct pod_spec *pod = r->pod;
    const struct {
        const char *path;
        const char *value;
    } fields[] = {
        {"metadata.name", pod->name},
        {"metadata.namespace", pod->ns},
        {"metadata.uid", pod->uid},
        {"spec.nodeName", r->facts->node_name},
        {"spec.serviceAccountName", pod->service_account},
        {"status.hostIP", first_address(r, r->facts->host_ip)},
        {"status.hostIPs", r->facts->host_ip},
        {"status.podIP", first_address(r, r->facts->pod_ip)},
        {"status.podIPs", r->facts->pod_ip},
    };
    const char *key, *value;

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(var->value, fields[i].path) == 0) {
            *ret = fields[i].value ? fields[i].value : "";
            return 0;
        }
    }
    if (subscript(r, var->value, "metadata.labels", &key))
        value = key_value_find(pod->labels, pod->labels_len, key);
    else if (subscript(r, var->value, "metadata.annotations", &key))
        value = key_value_find(pod->annotations, pod->annotations_len, key);
    else
        return env_fail(r, "environment variable", var->name, "unsupported fieldRef", var->value);
    *ret = value ? value : "";
    return 0;
}

static const struct container_spec *find_container(const struct resolver *r, const char *name)
{
    if (!name)
        return r->container;
    for (size_t i = 0; i < r->pod->containers_len; i++) {
        if (strcmp(r->pod->containers[i].name, name) == 0)
            return &r->pod->containers[i];
    }
    for (size_t i = 0; i < r->pod->init_containers_len; i++) {
        if (strcmp(r->pod->init_containers[i].name, name) == 0)
            return &r->pod->init_containers[i];
    }
    return NULL;
}

/* amount: what is counted; missing: what stands for an amount that is not given. */
static int resource_amount(const struct resolver *r, const struct container_spec *container,
                           const char *resource, int64_t *ret, bool *ret_cpu)
{
    const struct resources *res = &container->resources;
    const struct {
        const char *name;
        int64_t amount;
        int64_t missing;
        bool cpu;
    } rows[] = {
        {"limits.cpu", res->cpu_limit_milli, r->facts->allocatable_cpu_milli, true},
        {"limits.memory", res->memory_limit_bytes, r->facts->allocatable_memory_bytes, false},
        {"limits.ephemeral-storage", res->ephemeral_limit_bytes,
         r->facts->allocatable_ephemeral_bytes, false},
        {"requests.cpu", res->cpu_request_milli, 0, true},
        {"requests.memory", res->memory_request_bytes, 0, false},
        {"requests.ephemeral-storage", res->ephemeral_request_bytes, 0, false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(resource, rows[i].name) == 0) {
            *ret = rows[i].amount >= 0 ? rows[i].amount : rows[i].missing;
            *ret_cpu = rows[i].cpu;
            return 0;
        }
    }
    return -EINVAL;
}

int env_resource_value(struct resolver *r, const struct env_var *var, const char **ret)
{
    const struct container_spec *container = find_container(r, var->ref);
    int64_t amount, divisor = 0;
    char text[24];
    bool cpu;
    int result = 0;

    if (!container)
        return env_fail(r, "environment variable", var->name,
                        "resourceFieldRef names no container:", var->ref);
    if (resource_amount(r, container, var->value, &amount, &cpu) < 0)
        return env_fail(r, "environment variable", var->name, "unsupported resourceFieldRef",
                        var->value);
    if (var->divisor)
        result =
            cpu ? quantity_milli(var->divisor, &divisor) : quantity_value(var->divisor, &divisor);
    if (result < 0)
        return env_fail(r, "environment variable", var->name, "unusable divisor", var->divisor);
    if (divisor == 0)
        divisor = cpu ? 1000 : 1;
    amount = amount / divisor + (amount % divisor != 0); /* always up */
    str_fmt(text, sizeof(text), "%lld", (long long)amount);
    *ret = env_copy(r, text, strlen(text));
    return 0;
}

int env_missing(struct resolver *r, bool secret, const char *name, const char *key)
{
    if (!key)
        str_fmt(r->error, r->error_size, "%s \"%s\" not found", secret ? "secret" : "configmap",
                name);
    else
        str_fmt(r->error, r->error_size, "couldn't find key %s in %s %s/%s", key,
                secret ? "Secret" : "ConfigMap", r->pod->ns, name);
    return -ENOENT;
}

const struct object_data *env_object(const struct resolver *r, bool secret, const char *name)
{
    return r->facts->object ? r->facts->object(r->facts->object_userdata, secret, name) : NULL;
}

int env_take_text(struct resolver *r, const char *name, const struct data_item *item,
                  const char **ret)
{
    int result = env_count_bytes(r, "environment variable", name, item->len);

    if (result == 0 && memchr(item->data, '\0', item->len))
        result = env_fail(r, "environment variable", name,
                          "its value has a NUL byte, which no environment can hold:", item->key);
    if (result == 0)
        *ret = env_copy(r, item->data, item->len);
    return result;
}

/* *ret stays NULL: optional and not there, so the variable is left out. */
int env_object_value(struct resolver *r, const struct env_var *var, const char **ret)
{
    bool secret = var->kind == ENV_SECRET;
    const char *name = var->ref ? var->ref : "";
    const struct object_data *object = env_object(r, secret, name);

    *ret = NULL;
    if (!object && !var->optional)
        return env_missing(r, secret, name, NULL);
    for (size_t i = 0; object && i < object->len; i++) {
        if (!object->items[i].binary && strcmp(object->items[i].key, var->value) == 0)
            return env_take_text(r, var->name, &object->items[i], ret);
    }
    if (var->optional)
        return 0;
    return env_missing(r, secret, name, var->value);
}
