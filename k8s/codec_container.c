/* One container of a Pod: the half of codec_pod.c that reads spec.containers[] and
 * initContainers[]. */
#include "k8s/codec_priv.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/str.h"
#include "provider/core/quantity.h"

#include <errno.h>

int64_t codec_quantity(const struct json *object, const char *key, bool milli)
{
    const char *text = json_get_string(object, key);
    int64_t value;
    int r;

    if (!text)
        return -1;
    r = milli ? quantity_milli(text, &value) : quantity_value(text, &value);
    if (r == -ERANGE)
        return text[0] == '-' ? -1 : INT64_MAX;
    return r < 0 || value < 0 ? -1 : value;
}

static void read_env_source(struct arena *arena, const struct json *from, struct env_var *var)
{
    static const struct {
        const char *member;
        const char *value;
        const char *ref;
        enum env_kind kind;
    } table[] = {
        {"fieldRef", "fieldPath", NULL, ENV_FIELD},
        {"resourceFieldRef", "resource", "containerName", ENV_RESOURCE},
        {"configMapKeyRef", "key", "name", ENV_CONFIG_MAP},
        {"secretKeyRef", "key", "name", ENV_SECRET},
        {"fileKeyRef", "key", "volumeName", ENV_FILE},
    };

    var->kind = ENV_UNKNOWN;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct json *source = json_get(from, table[i].member);

        if (!json_is_object(source))
            continue;
        var->kind = table[i].kind;
        var->value = codec_text(arena, source, table[i].value);
        if (table[i].ref)
            var->ref = codec_text_opt(arena, source, table[i].ref);
        var->optional = codec_true(source, "optional");
        var->divisor = codec_text_opt(arena, source, "divisor");
        if (var->divisor && str_eq(var->divisor, "0")) /* the API server's way to say 1 */
            var->divisor = NULL;
        return;
    }
}

static void read_env(struct arena *arena, const struct json *array, struct container_spec *c)
{
    struct env_var *list;

    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct env_var *var = &list[c->env_len];
        const struct json *from = json_get(v, "valueFrom");

        var->name = codec_text(arena, v, "name");
        if (!*var->name)
            continue;
        var->value = codec_text(arena, v, "value");
        if (json_is_object(from))
            read_env_source(arena, from, var);
        c->env_len++;
    }
    c->env = list;
}

static void read_env_from(struct arena *arena, const struct json *array, struct container_spec *c)
{
    struct env_from *list;

    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct env_from *from = &list[c->env_from_len];
        const struct json *ref = json_get(v, "configMapRef");

        if (!json_is_object(ref)) {
            ref = json_get(v, "secretRef");
            from->secret = true;
        }
        if (!json_is_object(ref))
            continue;
        from->name = codec_text(arena, ref, "name");
        from->prefix = codec_text(arena, v, "prefix");
        from->optional = codec_true(ref, "optional");
        c->env_from_len++;
    }
    c->env_from = list;
}

static uint16_t port_number(const struct json *object, const char *key)
{
    int64_t n;

    return json_get_int(object, key, &n) && n > 0 && n <= UINT16_MAX ? (uint16_t)n : 0;
}

static void read_ports(struct arena *arena, const struct json *array, struct container_spec *c)
{
    struct container_port *list;

    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct container_port *port = &list[c->ports_len];
        const char *protocol = json_get_string(v, "protocol");

        port->container_port = port_number(v, "containerPort");
        if (port->container_port == 0)
            continue;
        port->host_port = port_number(v, "hostPort");
        port->host_ip = codec_text_opt(arena, v, "hostIP");
        port->name = codec_text_opt(arena, v, "name");
        if (str_eq(protocol, "UDP"))
            port->protocol = PROTOCOL_UDP;
        else
            port->protocol = str_eq(protocol, "SCTP") ? PROTOCOL_SCTP : PROTOCOL_TCP;
        c->ports_len++;
    }
    c->ports = list;
}

static void read_mounts(struct arena *arena, const struct json *array, struct container_spec *c)
{
    struct volume_mount *list;

    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct volume_mount *mount = &list[c->mounts_len++];

        mount->name = codec_text(arena, v, "name");
        mount->mount_path = codec_text(arena, v, "mountPath");
        mount->sub_path = codec_text_opt(arena, v, "subPath");
        mount->sub_path_expr = codec_text_opt(arena, v, "subPathExpr");
        mount->read_only = codec_true(v, "readOnly");
    }
    c->mounts = list;
}

/* What is asked for beyond CPU, memory and storage. */
static uint32_t resource_features(const struct json *amounts)
{
    uint32_t bits = 0;

    for (const struct json *v = json_first(amounts); v; v = json_next(v)) {
        const char *name = json_key(v);

        if (!name || str_eq(name, "cpu") || str_eq(name, "memory") ||
            str_eq(name, "ephemeral-storage"))
            continue;
        if (codec_quantity(amounts, name, false) == 0)
            continue; /* none of it: harmless */
        bits |= str_starts(name, "hugepages-") ? CF_HUGEPAGES : CF_EXTENDED_RESOURCES;
    }
    return bits;
}

static void read_resources(const struct json *resources, struct container_spec *c)
{
    const struct json *requests = json_get(resources, "requests");
    const struct json *limits = json_get(resources, "limits");

    c->resources = (struct resources){
        .cpu_request_milli = codec_quantity(requests, "cpu", true),
        .cpu_limit_milli = codec_quantity(limits, "cpu", true),
        .memory_request_bytes = codec_quantity(requests, "memory", false),
        .memory_limit_bytes = codec_quantity(limits, "memory", false),
        .ephemeral_request_bytes = codec_quantity(requests, "ephemeral-storage", false),
        .ephemeral_limit_bytes = codec_quantity(limits, "ephemeral-storage", false),
    };
    c->desired = c->resources;
    c->features |= resource_features(requests) | resource_features(limits);
    if (codec_array(resources, "claims"))
        c->features |= CF_RESOURCE_CLAIMS;
}

/* NotRequired where nothing is said. */
static void read_resize_policy(const struct json *array, struct container_spec *c)
{
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        const char *resource = json_get_string(v, "resourceName");
        bool restarts = str_eq(json_get_string(v, "restartPolicy"), "RestartContainer");

        if (str_eq(resource, "cpu"))
            c->cpu_restarts = restarts;
        else if (str_eq(resource, "memory"))
            c->memory_restarts = restarts;
    }
}

static uint32_t features(const struct json *container, bool init)
{
    uint32_t bits = 0;

    if (codec_array(container, "volumeDevices"))
        bits |= CF_VOLUME_DEVICES;
    if (codec_true(json_get(container, "securityContext"), "privileged"))
        bits |= CF_PRIVILEGED;
    if (init && str_eq(json_get_string(container, "restartPolicy"), "Always"))
        bits |= CF_SIDECAR;
    return bits;
}

/* tcpSocket is accepted for hooks and does nothing (contract 3.7). */
static const struct handler *read_hook(struct arena *arena, const struct json *v, const char *path,
                                       uint32_t bit, struct container_spec *c)
{
    const struct handler *hook = codec_hook(arena, v, path);

    if (!hook || hook->kind == HANDLER_TCP)
        return NULL;
    if (hook->kind != HANDLER_HTTP && hook->kind != HANDLER_SLEEP)
        c->features |= bit;
    return hook;
}

static void read_handlers(struct arena *arena, const struct json *v, struct container_spec *c)
{
    static const struct {
        const char *key;
        uint32_t bit;
    } probes[_PROBE_MAX] = {
        [PROBE_STARTUP] = {"startupProbe", CF_STARTUP_PROBE},
        [PROBE_LIVENESS] = {"livenessProbe", CF_LIVENESS_PROBE},
        [PROBE_READINESS] = {"readinessProbe", CF_READINESS_PROBE},
    };

    for (int i = 0; i < _PROBE_MAX; i++) {
        const struct probe_spec *probe = codec_probe(arena, v, probes[i].key);
        enum handler_kind kind = probe ? probe->handler.kind : HANDLER_TCP;

        c->probes[i] = probe;
        if (kind != HANDLER_HTTP && kind != HANDLER_TCP && kind != HANDLER_GRPC)
            c->features |= probes[i].bit;
    }
    c->post_start = read_hook(arena, v, "lifecycle.postStart", CF_POST_START, c);
    c->pre_stop = read_hook(arena, v, "lifecycle.preStop", CF_PRE_STOP, c);
}

static enum pull_policy pull_policy(const struct json *container)
{
    const char *text = json_get_string(container, "imagePullPolicy");

    if (str_eq(text, "Always"))
        return PULL_ALWAYS;
    return str_eq(text, "Never") ? PULL_NEVER : PULL_IF_NOT_PRESENT;
}

/* False: another action than Restart, or no condition that is known. */
static bool read_restart_rule(struct arena *arena, const struct json *v, struct restart_rule *rule)
{
    const struct json *exit_codes = json_get(v, "exitCodes");
    const struct json *values = json_get(exit_codes, "values");
    const char *op = json_get_string(exit_codes, "operator");
    int32_t *codes;

    if (!str_eq(json_get_string(v, "action"), "Restart") || !json_is_array(values))
        return false;
    rule->op = str_eq(op, "NotIn") ? RESTART_NOT_IN : RESTART_IN;
    codes = arena_array(arena, json_len(values) + 1, sizeof(*codes));
    for (const struct json *code = json_first(values); code; code = json_next(code)) {
        int64_t n;

        if (json_int(code, &n) && n >= INT32_MIN && n <= INT32_MAX)
            codes[rule->codes_len++] = (int32_t)n;
    }
    rule->codes = codes;
    return str_eq(op, "In") || str_eq(op, "NotIn");
}

static void read_restart(struct arena *arena, const struct json *v, struct container_spec *c)
{
    const struct json *rules = codec_array(v, "restartPolicyRules");
    struct restart_rule *list;

    c->own_restart_policy = !str_empty(json_get_string(v, "restartPolicy"));
    c->restart_policy = codec_restart_policy(v);
    if (!rules)
        return;
    list = arena_array(arena, json_len(rules), sizeof(*list));
    for (const struct json *rule = json_first(rules); rule; rule = json_next(rule)) {
        if (!read_restart_rule(arena, rule, &list[c->restart_rules_len++]))
            c->features |= CF_RESTART_RULE;
    }
    c->restart_rules = list;
}

static void read_container(struct arena *arena, const struct json *v, bool init,
                           struct container_spec *c)
{
    c->name = codec_text(arena, v, "name");
    c->image = codec_text(arena, v, "image");
    c->command = codec_texts(arena, v, "command", &c->command_len);
    c->args = codec_texts(arena, v, "args", &c->args_len);
    c->working_dir = codec_text_opt(arena, v, "workingDir");
    c->pull_policy = pull_policy(v);
    c->features = features(v, init);
    read_restart(arena, v, c);
    read_handlers(arena, v, c);
    c->stdin_open = codec_true(v, "stdin");
    c->tty = codec_true(v, "tty");
    c->log_fallback =
        str_eq(json_get_string(v, "terminationMessagePolicy"), "FallbackToLogsOnError");
    read_env(arena, codec_array(v, "env"), c);
    read_env_from(arena, codec_array(v, "envFrom"), c);
    read_ports(arena, codec_array(v, "ports"), c);
    read_mounts(arena, codec_array(v, "volumeMounts"), c);
    read_resources(json_get(v, "resources"), c);
    read_resize_policy(codec_array(v, "resizePolicy"), c);
}

/* restartCounts of the Pod's status, by name. */
static void read_restarts(const struct json *statuses, struct container_spec *list, size_t len)
{
    for (const struct json *v = json_first(statuses); v; v = json_next(v)) {
        const char *name = json_get_string(v, "name");
        int64_t n;

        if (!json_get_int(v, "restartCount", &n) || n <= 0 || n > UINT32_MAX)
            continue;
        for (size_t i = 0; i < len; i++) {
            if (str_eq(name, list[i].name))
                list[i].api_restart_count = (uint32_t)n;
        }
    }
}

const struct container_spec *codec_containers(struct arena *arena, const struct json *spec,
                                              const char *key, const struct json *statuses,
                                              size_t *ret_len)
{
    bool init = str_eq(key, "initContainers");
    const struct json *array = codec_array(spec, key);
    struct container_spec *list;
    size_t n = 0;

    *ret_len = 0;
    if (!array)
        return NULL;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v))
        read_container(arena, v, init, &list[n++]);
    read_restarts(statuses, list, n);
    *ret_len = n;
    return list;
}
