/* A Pod's record in the state directory: enough to find its machine, network and restart history
 * again when the agent starts anew, and to end them when the API has forgotten the Pod meanwhile.
 * Deadlines on the monotonic clock are dropped when the host was started anew. Part of reconcile.
 */
#include "provider/reconcile_priv.h"

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_VERSION 1
#define TIME_MAX (1LL << 52) /* in ms: far beyond any clock */

static const char *const probe_keys[_PROBE_MAX] = {
    [PROBE_STARTUP] = "startup", [PROBE_LIVENESS] = "liveness", [PROBE_READINESS] = "readiness"};

static void encode_exit(struct json_writer *w, const char *key, const struct machine_exit *exit)
{
    if (!exit->valid)
        return;
    jw_begin_object(w, key);
    jw_int(w, "code", exit->exit_code);
    jw_int(w, "signal", exit->signal);
    jw_string(w, "reason", exit->reason);
    jw_string(w, "message", exit->message);
    jw_string_opt(w, "console", exit->console);
    jw_int(w, "started", exit->started_ms);
    jw_int(w, "finished", exit->finished_ms);
    if (exit->unhealthy)
        jw_bool(w, "unhealthy", true);
    jw_string(w, "id", exit->id);
    jw_end_object(w);
}

/* Only what is there: most containers have neither probes nor hooks. */
static void encode_health(struct json_writer *w, const struct container_observed *c)
{
    for (int i = 0; i < _PROBE_MAX; i++) {
        if (c->probes[i] != PROBE_UNKNOWN)
            jw_int(w, probe_keys[i], c->probes[i]);
    }
    if (c->post_start == HOOK_DONE)
        jw_bool(w, "postStart", true);
    if (c->doom != DOOM_NONE)
        jw_int(w, "doom", c->doom);
}

static const char *const amount_keys[] = {"cpuRequest",  "cpuLimit",       "memoryRequest",
                                          "memoryLimit", "storageRequest", "storageLimit"};

static void encode_resources(struct json_writer *w, const char *key, const struct resources *r)
{
    const int64_t amounts[] = {r->cpu_request_milli,       r->cpu_limit_milli,
                               r->memory_request_bytes,    r->memory_limit_bytes,
                               r->ephemeral_request_bytes, r->ephemeral_limit_bytes};
    jw_begin_object(w, key);
    for (size_t i = 0; i < ARRAY_LEN(amounts); i++) {
        if (amounts[i] >= 0)
            jw_int(w, amount_keys[i], amounts[i]);
    }
    jw_end_object(w);
}

static void encode_size(struct json_writer *w, const struct container_observed *c)
{
    if (c->allocated_known)
        encode_resources(w, "allocated", &c->allocated);
    if (c->actual_known)
        encode_resources(w, "actual", &c->actual);
    if (c->cpus > 0)
        jw_int(w, "cpus", c->cpus);
}

static void encode_resize(struct json_writer *w, const struct pod_resize *resize)
{
    if (!resize)
        return;
    jw_begin_object(w, "resize");
    jw_int(w, "pending", resize->pending);
    jw_string(w, "message", resize->message);
    jw_int(w, "pendingGeneration", resize->pending_generation);
    jw_int(w, "pendingSince", resize->pending_since_ms);
    jw_bool(w, "inProgress", resize->in_progress);
    jw_int(w, "generation", resize->progress_generation);
    jw_int(w, "since", resize->progress_since_ms);
    jw_end_object(w);
}

static void encode_container(struct json_writer *w, const struct pod *pod, size_t i)
{
    const struct container_observed *c = &pod->containers[i];
    jw_begin_object(w, NULL);
    jw_string(w, "name", pod_container(pod->spec, i)->name);
    jw_string(w, "image", pod->image_names[i]);
    jw_string(w, "digest", c->image_digest);
    jw_string(w, "id", c->id);
    jw_int(w, "attempt", c->attempt);
    jw_int(w, "machine", c->machine);
    jw_int(w, "crashes", c->crashes);
    char hash[24];
    jw_string(w, "imageHash",
              str_fmt(hash, sizeof(hash), "%llx", (unsigned long long)c->running_hash));
    jw_bool(w, "asked", c->machine == MACHINE_EXITED && (c->stop_sent || c->kill_sent));
    jw_int(w, "restart", (int64_t)c->restart_ms);
    if (c->again)
        jw_bool(w, "again", true);
    encode_health(w, c);
    encode_size(w, c);
    encode_exit(w, "exit", &c->exit);
    encode_exit(w, "last", &c->last);
    jw_end_object(w);
}

static void encode_containers(struct json_writer *w, const char *key, const struct pod *pod,
                              size_t first, size_t end)
{
    jw_begin_array(w, key);
    for (size_t i = first; i < end; i++)
        encode_container(w, pod, i);
    jw_end_array(w);
}

static void encode_verdict(struct json_writer *w, const struct pod_verdict *verdict)
{
    if (!verdict)
        return;
    jw_begin_object(w, "verdict");
    jw_string(w, "reason", verdict->reason);
    jw_string(w, "message", verdict->message);
    jw_bool(w, "rejected", verdict->rejected);
    jw_bool(w, "disruption", verdict->disruption);
    jw_int(w, "grace", verdict->grace_ms);
    jw_int(w, "since", verdict->since_ms);
    jw_end_object(w);
}

void record_encode(const struct pod *pod, struct buf *out)
{
    size_t regular = pod->spec->containers_len < pod->obs.containers_len ? pod->spec->containers_len
                                                                         : pod->obs.containers_len;
    struct json_writer w = JSON_WRITER(out);
    jw_begin_object(&w, NULL);
    jw_int(&w, "version", RECORD_VERSION);
    jw_string(&w, "uid", pod->spec->uid);
    jw_string(&w, "namespace", pod->spec->ns);
    jw_string(&w, "name", pod->spec->name);
    jw_int(&w, "start", pod->obs.start_ms);
    jw_bool(&w, "stopped", pod->obs.stopped_for_good);
    jw_string(&w, "ip", pod->obs.pod_ip);
    encode_verdict(&w, pod->obs.verdict);
    encode_resize(&w, pod->obs.resize);
    encode_containers(&w, "containers", pod, 0, regular);
    if (pod->obs.containers_len > regular)
        encode_containers(&w, "initContainers", pod, regular, pod->obs.containers_len);
    jw_end_object(&w);
}

/* What is absent is 0 or "": an older agent did not write it. What is there and makes no sense was
 * not written by an agent, and then nothing of the record is believed. */
struct reader {
    bool bad;
    struct arena *arena;
};

static void get_text(struct reader *r, const struct json *object, const char *key, char *dst,
                     size_t size)
{
    const struct json *value = json_get(object, key);
    const char *text = json_string(value);
    r->bad = r->bad || (value && !text);
    str_copy(dst, size, text ? text : "");
}

static int64_t get_int(struct reader *r, const struct json *object, const char *key, int64_t min,
                       int64_t max)
{
    const struct json *member = json_get(object, key);
    int64_t value = 0;
    if (member && (!json_int(member, &value) || value < min || value > max)) {
        r->bad = true;
        return 0;
    }
    return value;
}

static bool get_bool(struct reader *r, const struct json *object, const char *key)
{
    const struct json *member = json_get(object, key);
    bool value = false;
    r->bad = r->bad || (member && !json_bool(member, &value));
    return value;
}

static uint64_t get_hash(struct reader *r, const struct json *object, const char *key)
{
    char text[20];
    char *end;
    get_text(r, object, key, text, sizeof(text));
    uint64_t hash = strtoull(text, &end, 16);
    r->bad = r->bad || *end;
    return hash;
}

static const char *get_console(struct reader *r, const struct json *object)
{
    const struct json *value = json_get(object, "console");
    const char *text = json_string(value);
    r->bad = r->bad || (value && (!text || strlen(text) > CONSOLE_BYTES_MAX));
    return str_empty(text) || r->bad ? NULL : arena_strdup(r->arena, text);
}

static void decode_exit(struct reader *r, const struct json *object, struct machine_exit *ret)
{
    if (!object)
        return;
    r->bad = r->bad || !json_is_object(object);
    ret->valid = true;
    ret->exit_code = (int32_t)get_int(r, object, "code", INT32_MIN, INT32_MAX);
    ret->signal = (int32_t)get_int(r, object, "signal", 0, INT32_MAX);
    get_text(r, object, "reason", ret->reason, sizeof(ret->reason));
    get_text(r, object, "message", ret->message, sizeof(ret->message));
    ret->console = get_console(r, object);
    ret->started_ms = get_int(r, object, "started", 0, TIME_MAX);
    ret->finished_ms = get_int(r, object, "finished", 0, TIME_MAX);
    ret->unhealthy = get_bool(r, object, "unhealthy");
    get_text(r, object, "id", ret->id, sizeof(ret->id));
}

static void decode_health(struct reader *r, const struct json *object, struct container_observed *c)
{
    for (int i = 0; i < _PROBE_MAX; i++)
        c->probes[i] =
            (enum probe_result)get_int(r, object, probe_keys[i], PROBE_UNKNOWN, PROBE_FAILURE);
    c->post_start = get_bool(r, object, "postStart") ? HOOK_DONE : HOOK_NONE;
    c->doom = (enum doom)get_int(r, object, "doom", DOOM_NONE, DOOM_POST_START);
}

/* False: the record has none of that. */
static bool decode_resources(struct reader *r, const struct json *object, struct resources *ret)
{
    int64_t amounts[ARRAY_LEN(amount_keys)];
    if (!object)
        return false;
    r->bad = r->bad || !json_is_object(object);
    for (size_t i = 0; i < ARRAY_LEN(amounts); i++)
        amounts[i] = json_get(object, amount_keys[i])
                         ? get_int(r, object, amount_keys[i], 0, INT64_MAX)
                         : -1;
    *ret =
        (struct resources){amounts[0], amounts[1], amounts[2], amounts[3], amounts[4], amounts[5]};
    return true;
}

static void decode_size(struct reader *r, const struct json *object, struct container_observed *c)
{
    c->allocated_known = decode_resources(r, json_get(object, "allocated"), &c->allocated);
    c->actual_known = decode_resources(r, json_get(object, "actual"), &c->actual);
    c->cpus = (uint32_t)get_int(r, object, "cpus", 0, UINT32_MAX);
}

static void decode_resize(struct reader *r, const struct json *object, struct record *ret)
{
    struct pod_resize *resize = &ret->resize;
    if (!object)
        return;
    r->bad = r->bad || !json_is_object(object);
    ret->resized = true;
    resize->pending =
        (enum resize_pending)get_int(r, object, "pending", RESIZE_NONE, RESIZE_INFEASIBLE);
    get_text(r, object, "message", resize->message, sizeof(resize->message));
    resize->pending_generation = get_int(r, object, "pendingGeneration", 0, INT64_MAX);
    resize->pending_since_ms = get_int(r, object, "pendingSince", 0, TIME_MAX);
    resize->in_progress = get_bool(r, object, "inProgress");
    resize->progress_generation = get_int(r, object, "generation", 0, INT64_MAX);
    resize->progress_since_ms = get_int(r, object, "since", 0, TIME_MAX);
}

static void decode_machine(struct reader *r, const struct json *object, bool same_boot,
                           struct container_observed *c)
{
    int64_t state = get_int(r, object, "machine", MACHINE_NONE, MACHINE_FAILED);
    c->attempt = (uint32_t)get_int(r, object, "attempt", 0, UINT32_MAX);
    c->crashes = (uint32_t)get_int(r, object, "crashes", 0, UINT32_MAX);
    c->restart_ms = (uint64_t)get_int(r, object, "restart", 0, TIME_MAX);
    if (!same_boot)
        c->restart_ms = 0;
    get_text(r, object, "id", c->id, sizeof(c->id));
    get_text(r, object, "digest", c->image_digest, sizeof(c->image_digest));
    decode_exit(r, json_get(object, "exit"), &c->exit);
    decode_exit(r, json_get(object, "last"), &c->last);
    c->running_hash = get_hash(r, object, "imageHash");
    c->again = get_bool(r, object, "again");
    decode_health(r, object, c);
    decode_size(r, object, c);
    bool asked = get_bool(r, object, "asked");
    if (state == MACHINE_STARTING || state == MACHINE_RUNNING)
        c->machine = MACHINE_STARTING; /* until what is on the host says how it is */
    else if (state == MACHINE_EXITED && c->exit.valid)
        c->machine = MACHINE_EXITED;
    else
        c->machine = MACHINE_NONE;
    /* Of a live one it is asked again. */
    c->stop_sent = asked && c->machine == MACHINE_EXITED;
}

static void decode_verdict(struct reader *r, const struct json *object, struct pod_verdict *ret)
{
    if (!object)
        return;
    r->bad = r->bad || !json_is_object(object);
    get_text(r, object, "reason", ret->reason, sizeof(ret->reason));
    get_text(r, object, "message", ret->message, sizeof(ret->message));
    ret->rejected = get_bool(r, object, "rejected");
    ret->disruption = get_bool(r, object, "disruption");
    ret->grace_ms = get_int(r, object, "grace", 0, TIME_MAX);
    ret->since_ms = get_int(r, object, "since", 0, TIME_MAX);
}

/* Names become parts of paths. */
static bool is_name(const char *text)
{
    return text && !strchr(text, '/');
}

/* Names only; NULL and *ret_len 0 when there are none. False: makes no sense. */
static bool decode_names(const struct json *array, struct arena *arena,
                         const struct container_spec **ret, size_t *ret_len)
{
    *ret = NULL;
    *ret_len = 0;
    if (!array)
        return true;
    size_t count = json_len(array);
    if (!json_is_array(array) || count > POD_MACHINES_MAX)
        return false;
    struct container_spec *list = arena_array(arena, count + 1, sizeof(*list));
    for (const struct json *c = json_first(array); c; c = json_next(c), (*ret_len)++) {
        const char *name = json_get_string(c, "name");
        if (!is_name(name) || str_eq(name, ".."))
            return false;
        list[*ret_len].name = arena_strdup(arena, name);
        list[*ret_len].image = "";
    }
    *ret = list;
    return true;
}

static const struct pod_spec *decode_spec(const struct json *root, struct arena *arena)
{
    const char *uid = json_get_string(root, "uid");
    const char *ns = json_get_string(root, "namespace");
    const char *name = json_get_string(root, "name");
    if (str_empty(uid) || !is_name(uid) || !is_name(ns) || !is_name(name))
        return NULL;
    struct pod_spec *spec = arena_alloc(arena, sizeof(*spec));
    if (!decode_names(json_get(root, "containers"), arena, &spec->containers,
                      &spec->containers_len) ||
        !decode_names(json_get(root, "initContainers"), arena, &spec->init_containers,
                      &spec->init_containers_len) ||
        spec->containers_len == 0 || pod_containers_len(spec) > POD_MACHINES_MAX)
        return NULL;
    spec->uid = arena_strdup(arena, uid);
    spec->ns = arena_strdup(arena, ns);
    spec->name = arena_strdup(arena, name);
    spec->resource_version = spec->node_name = spec->dns_policy = "";
    return spec;
}

/* first: the number of the array's first container. */
static void decode_containers(struct reader *r, const struct json *array, bool same_boot,
                              size_t first, struct record *ret)
{
    size_t i = first;
    for (const struct json *c = json_first(array); c; c = json_next(c), i++) {
        decode_machine(r, c, same_boot, &ret->containers[i]);
        get_text(r, c, "image", ret->image_names[i], sizeof(ret->image_names[i]));
    }
}

static int decode(const struct json *root, bool same_boot, struct arena *arena, struct record *ret)
{
    struct reader r = {.arena = arena};
    const struct pod_spec *spec = NULL;
    if (get_int(&r, root, "version", RECORD_VERSION, RECORD_VERSION) == RECORD_VERSION)
        spec = decode_spec(root, arena);
    if (!spec)
        return -EBADMSG;
    memset(ret, 0, sizeof(*ret));
    ret->spec = spec;
    ret->obs.containers_len = pod_containers_len(spec);
    ret->obs.start_ms = get_int(&r, root, "start", 0, TIME_MAX);
    ret->obs.stopped_for_good = get_bool(&r, root, "stopped");
    get_text(&r, root, "ip", ret->obs.pod_ip, sizeof(ret->obs.pod_ip));
    decode_verdict(&r, json_get(root, "verdict"), &ret->verdict);
    decode_resize(&r, json_get(root, "resize"), ret);
    decode_containers(&r, json_get(root, "containers"), same_boot, 0, ret);
    decode_containers(&r, json_get(root, "initContainers"), same_boot, spec->containers_len, ret);
    return r.bad ? -EBADMSG : 0;
}

int record_decode(const char *data, size_t len, bool same_boot, struct arena *arena,
                  struct record *ret)
{
    struct json *root = json_parse(data, len, NULL);
    struct record record;
    int result = decode(root, same_boot, arena, &record);
    json_free(root);
    if (result == 0)
        *ret = record;
    return result;
}
