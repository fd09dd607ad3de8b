/* A Pod as the API server sends it, into struct pod_spec: one walk, all memory from the arena,
 * and nothing kept of what the agent does not use (managedFields most of all). A list's items
 * have no kind and apiVersion (contract 2), so neither is looked at. Containers are in
 * codec_container.c. */
#include "k8s/codec.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/codec_priv.h"

#include <errno.h>
#include <string.h>

#define GRACE_S_DEFAULT 30 /* the API server's default of terminationGracePeriodSeconds */
#define MIRROR_ANNOTATION "kubernetes.io/config.mirror"

const char *codec_text(struct arena *arena, const struct json *object, const char *key)
{
    const char *text = json_get_string(object, key);

    return text ? arena_strdup(arena, text) : "";
}

const char *codec_text_opt(struct arena *arena, const struct json *object, const char *key)
{
    const char *text = json_get_string(object, key);

    return str_empty(text) ? NULL : arena_strdup(arena, text);
}

bool codec_true(const struct json *object, const char *key)
{
    bool value = false;

    return json_get_bool(object, key, &value) && value;
}

const struct json *codec_array(const struct json *object, const char *key)
{
    const struct json *array = json_get(object, key);

    return json_is_array(array) && json_len(array) > 0 ? array : NULL;
}

/* Strings of an array of strings, or of member of an array of objects. */
static const char *const *texts(struct arena *arena, const struct json *array, const char *member,
                                size_t *ret_len)
{
    const char **list;
    size_t n = 0;

    *ret_len = 0;
    if (!json_is_array(array) || json_len(array) == 0)
        return NULL;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        const char *text = member ? json_get_string(v, member) : json_string(v);

        if (text)
            list[n++] = arena_strdup(arena, text);
    }
    *ret_len = n;
    return list;
}

const char *const *codec_texts(struct arena *arena, const struct json *object, const char *key,
                               size_t *ret_len)
{
    return texts(arena, json_get(object, key), NULL, ret_len);
}

const struct key_value *codec_pairs(struct arena *arena, const struct json *object, size_t *ret_len)
{
    struct key_value *list;
    size_t n = 0;

    *ret_len = 0;
    if (!json_is_object(object) || json_len(object) == 0)
        return NULL;
    list = arena_array(arena, json_len(object), sizeof(*list));
    for (const struct json *v = json_first(object); v; v = json_next(v)) {
        if (!json_string(v))
            continue;
        list[n].key = arena_strdup(arena, json_key(v));
        list[n++].value = arena_strdup(arena, json_string(v));
    }
    *ret_len = n;
    return list;
}

int64_t codec_time(const struct json *object, const char *key)
{
    const char *text = json_get_string(object, key);
    int64_t ms;

    return text && clock_parse_rfc3339(text, &ms) == 0 ? ms : 0;
}

/* The object that makes another Pod when this one fails. */
static const char *controller(struct arena *arena, const struct json *owners)
{
    for (const struct json *v = json_first(owners); v; v = json_next(v)) {
        if (codec_true(v, "controller"))
            return codec_text_opt(arena, v, "uid");
    }
    return NULL;
}

static void read_metadata(struct arena *arena, const struct json *metadata, struct pod_spec *pod)
{
    pod->uid = codec_text(arena, metadata, "uid");
    pod->ns = codec_text(arena, metadata, "namespace");
    pod->name = codec_text(arena, metadata, "name");
    pod->resource_version = codec_text(arena, metadata, "resourceVersion");
    (void)json_get_int(metadata, "generation", &pod->generation);
    pod->created_ms = codec_time(metadata, "creationTimestamp");
    pod->labels = codec_pairs(arena, json_get(metadata, "labels"), &pod->labels_len);
    pod->annotations = codec_pairs(arena, json_get(metadata, "annotations"), &pod->annotations_len);
    if (json_get_string(metadata, "deletionTimestamp")) {
        pod->deletion_ms = codec_time(metadata, "deletionTimestamp");
        if (pod->deletion_ms == 0)
            pod->deletion_ms = 1; /* being deleted, whatever the time says */
        pod->deletion_grace_s = -1;
        (void)json_get_int(metadata, "deletionGracePeriodSeconds", &pod->deletion_grace_s);
    }
    if (key_value_find(pod->annotations, pod->annotations_len, MIRROR_ANNOTATION))
        pod->features |= PF_MIRROR;
    pod->controller_uid = controller(arena, json_get(metadata, "ownerReferences"));
}

static uint32_t features(const struct json *spec)
{
    static const struct {
        const char *member;
        uint32_t bit;
    } flags[] =
        {
            {"hostNetwork", PF_HOST_NETWORK},
            {"hostPID", PF_HOST_PID},
            {"hostIPC", PF_HOST_IPC},
            {"shareProcessNamespace", PF_SHARE_PROCESS_NAMESPACE},
        },
      arrays[] = {
          {"ephemeralContainers", PF_EPHEMERAL_CONTAINERS},
          {"resourceClaims", PF_RESOURCE_CLAIMS},
      };
    const char *os = json_string(json_path(spec, "os.name"));
    uint32_t bits = 0;
    bool host_users = true;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        bits |= codec_true(spec, flags[i].member) ? flags[i].bit : 0;
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        bits |= codec_array(spec, arrays[i].member) ? arrays[i].bit : 0;
    if (!str_empty(os) && !str_eq(os, "linux"))
        bits |= PF_OS_NOT_LINUX;
    if (json_get_bool(spec, "hostUsers", &host_users) && !host_users)
        bits |= PF_USER_NAMESPACE;
    if (json_is_object(json_path(spec, "securityContext.windowsOptions")))
        bits |= PF_WINDOWS_OPTIONS;
    if (json_len(json_get(spec, "resources")) > 0)
        bits |= PF_POD_RESOURCES;
    return bits;
}

enum restart_policy codec_restart_policy(const struct json *object)
{
    const char *text = json_get_string(object, "restartPolicy");

    if (str_eq(text, "Never"))
        return RESTART_NEVER;
    return str_eq(text, "OnFailure") ? RESTART_ON_FAILURE : RESTART_ALWAYS;
}

static void read_gates(struct arena *arena, const struct json *array, const struct json *status,
                       struct pod_spec *pod)
{
    struct readiness_gate *list;

    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct readiness_gate *gate = &list[pod->readiness_gates_len++];
        const struct json *c = json_first(json_get(status, "conditions"));

        gate->type = codec_text(arena, v, "conditionType");
        for (; c; c = json_next(c)) {
            if (str_eq(json_get_string(c, "type"), gate->type))
                gate->status = codec_text(arena, c, "status");
        }
    }
    pod->readiness_gates = list;
}

static void read_scalars(struct arena *arena, const struct json *spec, struct pod_spec *pod)
{
    int64_t n;

    pod->node_name = codec_text(arena, spec, "nodeName");
    pod->service_account = codec_text_opt(arena, spec, "serviceAccountName");
    if (!pod->service_account)
        pod->service_account = codec_text_opt(arena, spec, "serviceAccount");
    pod->runtime_class = codec_text_opt(arena, spec, "runtimeClassName");
    pod->hostname = codec_text_opt(arena, spec, "hostname");
    pod->subdomain = codec_text_opt(arena, spec, "subdomain");
    pod->dns_policy = codec_text_opt(arena, spec, "dnsPolicy");
    if (!pod->dns_policy)
        pod->dns_policy = "ClusterFirst";
    pod->restart_policy = codec_restart_policy(spec);
    pod->grace_s = GRACE_S_DEFAULT;
    if (json_get_int(spec, "terminationGracePeriodSeconds", &n) && n >= 0)
        pod->grace_s = n;
    if (json_get_int(spec, "activeDeadlineSeconds", &n) && n > 0)
        pod->active_deadline_s = n;
    if (json_get_int(spec, "priority", &n) && n >= INT32_MIN && n <= INT32_MAX)
        pod->priority = (int32_t)n;
    if (pod->deletion_ms != 0 && pod->deletion_grace_s < 0)
        pod->deletion_grace_s = pod->grace_s;
}

/* What the guest's resolver and its files are made from, beside the addresses. */
static void read_naming(struct arena *arena, const struct json *spec, struct pod_spec *pod)
{
    const struct json *options = codec_array(json_get(spec, "dnsConfig"), "options");
    const struct json *aliases = codec_array(spec, "hostAliases");
    struct key_value *option =
        options ? arena_array(arena, json_len(options), sizeof(*option)) : NULL;
    struct host_alias *alias =
        aliases ? arena_array(arena, json_len(aliases), sizeof(*alias)) : NULL;
    bool links = true;

    pod->dns_options = option;
    for (const struct json *v = json_first(options); v; v = json_next(v), option++) {
        option->key = codec_text(arena, v, "name");
        option->value = codec_text(arena, v, "value");
        pod->dns_options_len++;
    }
    pod->host_aliases = alias;
    for (const struct json *v = json_first(aliases); v; v = json_next(v), alias++) {
        alias->ip = codec_text(arena, v, "ip");
        alias->names = codec_texts(arena, v, "hostnames", &alias->names_len);
        pod->host_aliases_len++;
    }
    pod->hostname_as_fqdn = codec_true(spec, "setHostnameAsFQDN");
    pod->no_service_links = json_get_bool(spec, "enableServiceLinks", &links) && !links;
}

static void read_spec(struct arena *arena, const struct json *spec, const struct json *status,
                      struct pod_spec *pod)
{
    const struct json *dns = json_get(spec, "dnsConfig");
    const struct json *overhead = json_get(spec, "overhead");

    read_scalars(arena, spec, pod);
    pod->features |= features(spec);
    pod->dns_servers = codec_texts(arena, dns, "nameservers", &pod->dns_servers_len);
    pod->dns_searches = codec_texts(arena, dns, "searches", &pod->dns_searches_len);
    pod->pull_secrets =
        texts(arena, json_get(spec, "imagePullSecrets"), "name", &pod->pull_secrets_len);
    pod->overhead_cpu_milli = codec_quantity(overhead, "cpu", true);
    if (pod->overhead_cpu_milli < 0)
        pod->overhead_cpu_milli = 0;
    pod->overhead_memory_bytes = codec_quantity(overhead, "memory", false);
    if (pod->overhead_memory_bytes < 0)
        pod->overhead_memory_bytes = 0;
    pod->containers = codec_containers(arena, spec, "containers",
                                       json_get(status, "containerStatuses"), &pod->containers_len);
    pod->init_containers =
        codec_containers(arena, spec, "initContainers", json_get(status, "initContainerStatuses"),
                         &pod->init_containers_len);
    read_gates(arena, codec_array(spec, "readinessGates"), status, pod);
    read_naming(arena, spec, pod);
    codec_volumes(arena, codec_array(spec, "volumes"), pod);
    codec_placement(arena, spec, pod);
}

static bool is_resize(const char *type)
{
    return str_eq(type, "PodResizePending") || str_eq(type, "PodResizeInProgress");
}

static void read_conditions(const struct json *array, struct pod_spec *pod)
{
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        const char *type = json_get_string(v, "type");

        pod->api_resize = pod->api_resize || is_resize(type);
        for (int i = 0; type && i < _COND_MAX; i++) {
            struct api_condition *c = &pod->api_conditions[i];

            if (!str_eq(type, condition_type_to_string((enum condition_type)i)))
                continue;
            c->known = true;
            c->status = str_eq(json_get_string(v, "status"), "True");
            c->since_ms = codec_time(v, "lastTransitionTime");
        }
    }
    pod->api_scheduled =
        pod->api_conditions[COND_SCHEDULED].known && pod->api_conditions[COND_SCHEDULED].status;
}

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
    return (hash ^ str_hash(data, len)) * 0x9e3779b97f4a7c15u;
}

/* Of a value and its order: the API server writes the same fields in the same order. */
static uint64_t mix_value(uint64_t hash, const struct json *value)
{
    const char *key = json_key(value), *text = json_string(value);
    int64_t n = 0;
    bool flag = false;

    hash = mix(hash, key ? key : "", key ? strlen(key) + 1 : 1);
    if (text)
        return mix(hash, text, strlen(text) + 1);
    if (json_int(value, &n))
        return mix(hash, &n, sizeof(n));
    if (json_bool(value, &flag))
        return mix(hash, &flag, sizeof(flag));
    hash = mix(hash, json_is_array(value) ? "[" : "{", 1);
    for (const struct json *v = json_first(value); v; v = json_next(v))
        hash = mix_value(hash, v);
    return mix(hash, "}", 1);
}

static bool is_ours(const struct json *condition)
{
    const char *type = json_get_string(condition, "type");

    if (is_resize(type))
        return true;
    for (int i = 0; type && i < _COND_MAX; i++) {
        /* The scheduler writes that one first, and only its truth is looked at. */
        if (i != COND_SCHEDULED && str_eq(type, condition_type_to_string((enum condition_type)i)))
            return true;
    }
    return false;
}

/* Of what codec_pod_status writes; others' conditions and fields may change as they like. */
static uint64_t hash_status(const struct json *status)
{
    static const char *const ours[] = {"phase",
                                       "reason",
                                       "message",
                                       "hostIP",
                                       "podIP",
                                       "podIPs",
                                       "startTime",
                                       "containerStatuses",
                                       "initContainerStatuses"};
    const struct json *v;
    uint64_t hash = 1;

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if ((v = json_get(status, ours[i])))
            hash = mix_value(hash, v);
    }
    for (v = json_first(json_get(status, "conditions")); v; v = json_next(v)) {
        if (is_ours(v))
            hash = mix_value(hash, v);
    }
    return hash;
}

static void read_status(const struct json *status, struct pod_spec *pod)
{
    const char *phase = json_get_string(status, "phase");
    const char *qos = json_get_string(status, "qosClass");

    pod->api_phase = PHASE_UNKNOWN;
    for (int i = 0; i <= PHASE_UNKNOWN; i++) {
        if (phase && str_eq(phase, pod_phase_to_string((enum pod_phase)i)))
            pod->api_phase = (enum pod_phase)i;
    }
    pod->api_start_ms = codec_time(status, "startTime");
    pod->api_hash = hash_status(status);
    if (str_eq(qos, "Guaranteed"))
        pod->api_qos = QOS_GUARANTEED;
    else
        pod->api_qos = str_eq(qos, "Burstable") ? QOS_BURSTABLE : QOS_BEST_EFFORT;
    read_conditions(json_get(status, "conditions"), pod);
}

int codec_pod(const struct json *object, struct arena *arena, const struct pod_spec **ret,
              struct err *err)
{
    struct pod_spec *pod = arena_alloc(arena, sizeof(*pod));

    read_metadata(arena, json_get(object, "metadata"), pod);
    if (!*pod->uid || !*pod->ns || !*pod->name)
        return err_spec(err, -EINVAL, "a Pod without %s",
                        !*pod->uid    ? "uid"
                        : !*pod->name ? "name"
                                      : "namespace");
    read_spec(arena, json_get(object, "spec"), json_get(object, "status"), pod);
    if (pod->containers_len == 0)
        return err_spec(err, -EINVAL, "Pod %s/%s has no container", pod->ns, pod->name);
    for (size_t i = 0; i < pod_containers_len(pod); i++) {
        if (!*pod_container(pod, i)->name)
            return err_spec(err, -EINVAL, "Pod %s/%s has a container without a name", pod->ns,
                            pod->name);
    }
    read_status(json_get(object, "status"), pod);
    *ret = pod;
    return 0;
}
