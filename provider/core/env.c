/* Environment, command and arguments of a container, as the kubelet makes them (contract 4.1): the
 * image's, then the Pod's in declared order, $(VAR) from what the Pod declared before. Called at
 * each start by the launcher. Not here: how they reach the guest (runtime/guest.h), and where
 * ConfigMaps, Secrets and Services come from (provider/objects.h). */
#include "provider/core/env_priv.h"

#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int env_fail(struct resolver *r, const char *what, const char *name, const char *why,
             const char *detail)
{
    str_fmt(r->error, r->error_size, "%s %s of container %s: %s%s%s", what, name,
            r->container->name, why, detail ? " " : "", detail ? detail : "");
    return -EINVAL;
}

char *env_copy(struct resolver *r, const char *text, size_t len)
{
    char *dst = r->alloc(r->userdata, len + 1);

    memcpy(dst, text, len);
    return dst;
}

static struct variable *find(struct resolver *r, const char *key, size_t key_len)
{
    for (size_t i = 0; i < r->len; i++) {
        if (r->list[i].key_len == key_len && memcmp(r->list[i].key, key, key_len) == 0)
            return &r->list[i];
    }
    return NULL;
}

/* The later value wins and takes the place of the earlier one. */
static void set(struct resolver *r, const char *key, const char *value, enum env_origin origin)
{
    size_t key_len = strlen(key);
    struct variable *variable = find(r, key, key_len);

    if (!variable)
        variable = &r->list[r->len++];
    *variable = (struct variable){.key = key, .key_len = key_len, .value = value, .origin = origin};
}

/* Where expand writes: nowhere at first, to learn the length. */
struct sink {
    char *dst;
    size_t len;
};

static void put(struct sink *sink, const char *text, size_t len)
{
    if (sink->dst)
        memcpy(sink->dst + sink->len, text, len);
    sink->len += len;
}

/* $(NAME) becomes the value, $$ a single $; what is unknown or has no end stays as it is. */
static void expand_into(struct resolver *r, const char *text, struct sink *sink)
{
    while (*text && sink->len <= ENV_VALUE_MAX) {
        const char *dollar = strchr(text, '$');
        const char *end;
        const struct variable *variable;

        if (!dollar || !dollar[1]) {
            put(sink, text, strlen(text));
            return;
        }
        put(sink, text, (size_t)(dollar - text));
        text = dollar + 2;
        if (dollar[1] == '$') {
            put(sink, "$", 1);
            continue;
        }
        end = dollar[1] == '(' ? strchr(text, ')') : NULL;
        if (!end) {
            put(sink, dollar, 2);
            continue;
        }
        variable = find(r, text, (size_t)(end - text));
        text = end + 1;
        if (variable && variable->origin != ENV_OF_IMAGE)
            put(sink, variable->value, strlen(variable->value));
        else
            put(sink, dollar, (size_t)(text - dollar));
    }
}

int env_count_bytes(struct resolver *r, const char *what, const char *name, size_t len)
{
    if (len > ENV_VALUE_MAX)
        return env_fail(r, what, name, "it is longer than 128 KiB after $(VAR) expansion", NULL);
    r->total += len;
    if (r->total > ENV_TOTAL_MAX)
        return env_fail(r, what, name, "environment and arguments together pass 2 MiB", NULL);
    return 0;
}

static int expand(struct resolver *r, const char *what, const char *name, const char *text,
                  const char **ret)
{
    struct sink sink = {0};
    int result;

    expand_into(r, text, &sink);
    result = env_count_bytes(r, what, name, sink.len);
    if (result < 0)
        return result;
    sink = (struct sink){.dst = r->alloc(r->userdata, sink.len + 1)};
    expand_into(r, text, &sink);
    *ret = sink.dst;
    return 0;
}

static int take_env_from(struct resolver *r)
{
    for (size_t i = 0; i < r->container->env_from_len; i++) {
        const struct env_from *from = &r->container->env_from[i];
        const struct object_data *object = env_object(r, from->secret, from->name);

        if (!object && !from->optional)
            return env_missing(r, from->secret, from->name, NULL);
        for (size_t k = 0; object && k < object->len; k++) {
            const struct data_item *item = &object->items[k];
            size_t prefix_len = strlen(from->prefix), key_len = strlen(item->key);
            const char *value;
            char *key;
            int result;

            if (item->binary)
                continue;
            key = r->alloc(r->userdata, prefix_len + key_len + 1);
            memcpy(key, from->prefix, prefix_len);
            memcpy(key + prefix_len, item->key, key_len);
            result = env_take_text(r, key, item, &value);
            if (result < 0)
                return result;
            set(r, key, value, ENV_OF_POD);
        }
    }
    return 0;
}

static void take_services(struct resolver *r)
{
    for (size_t i = 0; i < r->facts->services_len; i++) {
        const struct env_service *service = &r->facts->services[i];
        struct key_value *vars =
            r->alloc(r->userdata, ENV_SERVICE_MAX(service->ports_len) * sizeof(*vars));
        size_t len = env_service_vars(service, r->alloc, r->userdata, vars);

        for (size_t k = 0; k < len; k++)
            set(r, vars[k].key, vars[k].value, ENV_OF_SERVICE);
    }
}

/* The most variables that there can be. */
static size_t count_services(const struct resolver *r)
{
    size_t max = 0;

    for (size_t i = 0; i < r->facts->services_len; i++)
        max += ENV_SERVICE_MAX(r->facts->services[i].ports_len);
    return max;
}

/* The same without Services. */
static size_t count_own(const struct resolver *r)
{
    size_t max = r->facts->image_env_len + r->container->env_len;

    for (size_t i = 0; i < r->container->env_from_len; i++) {
        const struct env_from *from = &r->container->env_from[i];
        const struct object_data *object = env_object(r, from->secret, from->name);

        max += object ? object->len : 0;
    }
    return max;
}

static int variable_value(struct resolver *r, const struct env_var *var, const char **ret)
{
    switch (var->kind) {
    case ENV_VALUE:
        return expand(r, "environment variable", var->name, var->value, ret);
    case ENV_FIELD:
        return env_field_value(r, var, ret);
    case ENV_RESOURCE:
        return env_resource_value(r, var, ret);
    case ENV_CONFIG_MAP:
    case ENV_SECRET:
        return env_object_value(r, var, ret);
    case ENV_FILE:
    case ENV_UNKNOWN:
        break;
    }
    return env_fail(r, "environment variable", var->name, "its kind of valueFrom is not supported",
                    NULL);
}

static void take_image_env(struct resolver *r)
{
    for (size_t i = 0; i < r->facts->image_env_len; i++) {
        const char *pair = r->facts->image_env[i];
        const char *equals = strchr(pair, '=');

        if (equals && equals > pair)
            set(r, env_copy(r, pair, (size_t)(equals - pair)), equals + 1, ENV_OF_IMAGE);
    }
}

static int take_pod_env(struct resolver *r)
{
    for (size_t i = 0; i < r->container->env_len; i++) {
        const struct env_var *var = &r->container->env[i];
        const char *value;
        int result;

        if (!var->name[0] || strchr(var->name, '='))
            return env_fail(r, "environment variable", var->name,
                            "a name may not be empty or hold \"=\"", NULL);
        result = variable_value(r, var, &value);
        if (result < 0)
            return result;
        if (value)
            set(r, var->name, value, ENV_OF_POD);
    }
    return 0;
}

/* Appends the container's own arguments, expanded. */
static int add_expanded(struct resolver *r, const char *what, const char *const *texts, size_t len,
                        const char **argv, size_t *argv_len)
{
    for (size_t i = 0; i < len; i++) {
        char name[24];
        int result;

        str_fmt(name, sizeof(name), "%zu", i + 1);
        result = expand(r, what, name, texts[i], &argv[*argv_len]);
        if (result < 0)
            return result;
        (*argv_len)++;
    }
    return 0;
}

/* command replaces ENTRYPOINT and drops CMD; args replaces CMD. The image's are not expanded. */
static int make_argv(struct resolver *r, struct env_result *result)
{
    const struct container_spec *c = r->container;
    const struct env_facts *facts = r->facts;
    size_t len = 0;
    size_t max = c->command_len + c->args_len + facts->image_entrypoint_len + facts->image_cmd_len;
    const char **argv = r->alloc(r->userdata, (max + 1) * sizeof(*argv));
    int failed;

    for (size_t i = 0; c->command_len == 0 && i < facts->image_entrypoint_len; i++)
        argv[len++] = facts->image_entrypoint[i];
    for (size_t i = 0; c->command_len == 0 && c->args_len == 0 && i < facts->image_cmd_len; i++)
        argv[len++] = facts->image_cmd[i];
    failed = add_expanded(r, "word of the command", c->command, c->command_len, argv, &len);
    if (failed == 0)
        failed = add_expanded(r, "argument", c->args, c->args_len, argv, &len);
    if (failed < 0)
        return failed;
    result->argv = argv;
    result->argv_len = len;
    return 0;
}

int env_resolve(const struct pod_spec *pod, const struct container_spec *container,
                const struct env_facts *facts, env_alloc alloc, void *userdata,
                struct env_result *ret, char *error, size_t error_size)
{
    struct resolver r = {
        .pod = pod,
        .container = container,
        .facts = facts,
        .alloc = alloc,
        .userdata = userdata,
        .error = error,
        .error_size = error_size,
    };
    struct env_result made = {0};
    struct env_entry *env;
    size_t max = count_own(&r);
    size_t services = count_services(&r);
    int result;

    if (max > ENV_VARS_MAX) {
        str_fmt(error, error_size,
                "container %s and its image have %zu environment variables: at most %d are taken",
                container->name, max, ENV_VARS_MAX);
        return -EINVAL;
    }
    made.services_dropped = max + services > ENV_VARS_MAX;
    if (!made.services_dropped)
        max += services;
    r.list = alloc(userdata, (max + 1) * sizeof(*r.list));
    take_image_env(&r);
    if (!made.services_dropped)
        take_services(&r);
    result = take_env_from(&r);
    if (result == 0)
        result = take_pod_env(&r);
    if (result == 0)
        result = make_argv(&r, &made);
    if (result < 0)
        return result;
    env = alloc(userdata, (r.len + 1) * sizeof(*env));
    for (size_t i = 0; i < r.len; i++)
        env[i] = (struct env_entry){
            .key = r.list[i].key, .value = r.list[i].value, .origin = r.list[i].origin};
    made.env = env;
    made.env_len = r.len;
    *ret = made;
    return 0;
}
