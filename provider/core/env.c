/* Environment, command and arguments of a container, as the kubelet makes them (contract 4.1): the
 * image's, then the Pod's in declared order, $(VAR) from what the Pod declared before. Called at
 * each start by the launcher. Not here: how they reach the guest (runtime/guest.h), and ConfigMaps
 * and Secrets, whose Pods are refused for now. */
#include "provider/core/env.h"

#include "base/str.h"
#include "provider/core/quantity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct variable {
    const char *key;
    size_t key_len;
    const char *value;
    bool from_image; /* not seen by $(VAR): the API's text only knows what the Pod declares */
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

static int fail(struct resolver *r, const char *what, const char *name, const char *why,
                const char *detail)
{
    str_fmt(r->error, r->error_size, "%s %s of container %s: %s%s%s", what, name,
            r->container->name, why, detail ? " " : "", detail ? detail : "");
    return -EINVAL;
}

static char *copy(struct resolver *r, const char *text, size_t len)
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
static void set(struct resolver *r, const char *key, const char *value, bool from_image)
{
    size_t key_len = strlen(key);
    struct variable *variable = find(r, key, key_len);

    if (!variable)
        variable = &r->list[r->len++];
    *variable =
        (struct variable){.key = key, .key_len = key_len, .value = value, .from_image = from_image};
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
        if (variable && !variable->from_image)
            put(sink, variable->value, strlen(variable->value));
        else
            put(sink, dollar, (size_t)(text - dollar));
    }
}

static int count_bytes(struct resolver *r, const char *what, const char *name, size_t len)
{
    if (len > ENV_VALUE_MAX)
        return fail(r, what, name, "it is longer than 128 KiB after $(VAR) expansion", NULL);
    r->total += len;
    if (r->total > ENV_TOTAL_MAX)
        return fail(r, what, name, "environment and arguments together pass 2 MiB", NULL);
    return 0;
}

static int expand(struct resolver *r, const char *what, const char *name, const char *text,
                  const char **ret)
{
    struct sink sink = {0};
    int result;

    expand_into(r, text, &sink);
    result = count_bytes(r, what, name, sink.len);
    if (result < 0)
        return result;
    sink = (struct sink){.dst = r->alloc(r->userdata, sink.len + 1)};
    expand_into(r, text, &sink);
    *ret = sink.dst;
    return 0;
}

/* The key of "metadata.labels['key']"; false when the path is not of that form. */
static bool subscript(struct resolver *r, const char *path, const char *prefix, const char **ret)
{
    size_t prefix_len = strlen(prefix), len = strlen(path);

    if (!str_starts(path, prefix) || len < prefix_len + 4 || !str_starts(path + prefix_len, "['") ||
        !str_ends(path, "']"))
        return false;
    *ret = copy(r, path + prefix_len + 2, len - prefix_len - 4);
    return true;
}

/* Only where there is a second one does it need a place of its own. */
static const char *first_address(struct resolver *r, const char *list)
{
    size_t len = list ? strcspn(list, ",") : 0;

    return list && list[len] ? copy(r, list, len) : list;
}

static int field_value(struct resolver *r, const struct env_var *var, const char **ret)
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
        return fail(r, "environment variable", var->name, "unsupported fieldRef", var->value);
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

static int resource_value(struct resolver *r, const struct env_var *var, const char **ret)
{
    const struct container_spec *container = find_container(r, var->ref);
    int64_t amount, divisor = 0;
    char text[24];
    bool cpu;
    int result = 0;

    if (!container)
        return fail(r, "environment variable", var->name,
                    "resourceFieldRef names no container:", var->ref);
    if (resource_amount(r, container, var->value, &amount, &cpu) < 0)
        return fail(r, "environment variable", var->name, "unsupported resourceFieldRef",
                    var->value);
    if (var->divisor)
        result =
            cpu ? quantity_milli(var->divisor, &divisor) : quantity_value(var->divisor, &divisor);
    if (result < 0)
        return fail(r, "environment variable", var->name, "unusable divisor", var->divisor);
    if (divisor == 0)
        divisor = cpu ? 1000 : 1;
    amount = amount / divisor + (amount % divisor != 0); /* always up */
    str_fmt(text, sizeof(text), "%lld", (long long)amount);
    *ret = copy(r, text, strlen(text));
    return 0;
}

static int variable_value(struct resolver *r, const struct env_var *var, const char **ret)
{
    switch (var->kind) {
    case ENV_VALUE:
        return expand(r, "environment variable", var->name, var->value, ret);
    case ENV_FIELD:
        return field_value(r, var, ret);
    case ENV_RESOURCE:
        return resource_value(r, var, ret);
    case ENV_CONFIG_MAP:
    case ENV_SECRET:
    case ENV_FILE:
    case ENV_UNKNOWN:
        break;
    }
    return fail(r, "environment variable", var->name, "its kind of valueFrom is not supported",
                NULL);
}

static void take_image_env(struct resolver *r)
{
    for (size_t i = 0; i < r->facts->image_env_len; i++) {
        const char *pair = r->facts->image_env[i];
        const char *equals = strchr(pair, '=');

        if (equals && equals > pair)
            set(r, copy(r, pair, (size_t)(equals - pair)), equals + 1, true);
    }
}

static int take_pod_env(struct resolver *r)
{
    for (size_t i = 0; i < r->container->env_len; i++) {
        const struct env_var *var = &r->container->env[i];
        const char *value;
        int result;

        if (!var->name[0] || strchr(var->name, '='))
            return fail(r, "environment variable", var->name,
                        "a name may not be empty or hold \"=\"", NULL);
        result = variable_value(r, var, &value);
        if (result < 0)
            return result;
        set(r, var->name, value, false);
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
    size_t max = facts->image_env_len + container->env_len;
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
    struct key_value *env;
    int result;

    if (max > ENV_VARS_MAX) {
        str_fmt(error, error_size,
                "container %s and its image have %zu environment variables: at most %d are taken",
                container->name, max, ENV_VARS_MAX);
        return -EINVAL;
    }
    r.list = alloc(userdata, (max + 1) * sizeof(*r.list));
    take_image_env(&r);
    result = take_pod_env(&r);
    if (result == 0)
        result = make_argv(&r, &made);
    if (result < 0)
        return result;
    env = alloc(userdata, (r.len + 1) * sizeof(*env));
    for (size_t i = 0; i < r.len; i++)
        env[i] = (struct key_value){.key = r.list[i].key, .value = r.list[i].value};
    made.env = env;
    made.env_len = r.len;
    *ret = made;
    return 0;
}
