/* The world of reconcile on the API server's side: status patches, final DELETEs, events; and the
 * watches that feed it, of this Node's Pods and of RuntimeClasses. */

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/map.h"
#include "base/str.h"
#include "k8s/codec.h"
#include "k8s/events.h"
#include "k8s/object_parse.h"
#include "k8s/watch.h"
#include "provider/agent.h"
#include "provider/host.h"
#include "provider/machines.h"
#include "provider/node.h"
#include "provider/prepare.h"
#include "provider/static_pods.h"

#include <stdarg.h>
#include <stdlib.h>

#define POD_ARENA_BYTES 1024 /* of the first Pod's spec; more blocks follow when it is larger */
#define POD_ARENA_BYTES_MAX                                              \
    16384 /* and of the later ones: what the one before used, up to this \
           */
#define DELETE_BODY_MAX 512
#define RUNTIME_CLASSES_MAX 1000

/* A request about a Pod that is under way; agent->calls holds them. */
struct api_call {
    LIST_ENTRY(api_call) link;
    struct agent *agent;
    struct kube_request *request;
    char *uid;
};

static struct api_call *call_new(struct agent *agent, const char *uid)
{
    struct api_call *call = xmalloc(sizeof(*call));
    call->agent = agent;
    call->uid = xstrdup(uid);
    LIST_INSERT_HEAD(&agent->calls, call, link);
    return call;
}

static void call_free(struct api_call *call)
{
    LIST_REMOVE(call, link);
    free(call->uid);
    free(call);
}

static char *pod_path(const struct pod *pod, const char *suffix)
{
    return xasprintf("/api/v1/namespaces/%s/pods/%s%s", pod->spec->ns, pod->spec->name, suffix);
}

static void on_patched(void *userdata, const struct kube_answer *answer)
{
    struct api_call *call = userdata;
    char version[POD_VERSION_MAX] = "";
    if (answer->result == 0 && answer->status < 300) {
        struct json *root = object_parse(answer->body, answer->len);
        const char *text = json_string(json_path(root, "metadata.resourceVersion"));
        str_copy(version, sizeof(version), text ? text : "");
        json_free(root);
    }
    reconcile_patched(call->agent->reconcile, call->uid, answer->result ? 0 : answer->status,
                      version, answer->text);
    call_free(call);
}

static void world_patch_status(void *world, struct pod *pod, const char *body, size_t len)
{
    struct agent *agent = world;
    char *path = pod_path(pod, "/status");
    struct api_call *call = call_new(agent, pod->spec->uid);
    call->request =
        kube_request(agent->client, KUBE_PATCH, path, body, len, KUBE_ONCE, on_patched, call);
    free(path);
}

static void on_deleted(void *userdata, const struct kube_answer *answer)
{
    struct api_call *call = userdata;
    reconcile_deleted(call->agent->reconcile, call->uid, answer->result ? 0 : answer->status,
                      answer->text);
    call_free(call);
}

static void world_delete_pod(void *world, struct pod *pod)
{
    struct agent *agent = world;
    struct buf body = BUF_INIT(DELETE_BODY_MAX);
    char *path = pod_path(pod, "");
    codec_delete_options(pod->spec->uid, &body);
    struct api_call *call = call_new(agent, pod->spec->uid);
    call->request = kube_request(agent->client, KUBE_DELETE, path, buf_str(&body), body.len,
                                 KUBE_ONCE, on_deleted, call);
    free(path);
    buf_free(&body);
}

static const char *world_mirror_uid(void *world, const struct pod *pod)
{
    const struct agent *agent = world;
    return static_pods_mirror_uid(agent->static_pods, pod->spec);
}

static void world_event(void *world, struct pod *pod, int container, bool warning,
                        const char *reason, const char *message)
{
    struct agent *agent = world;
    struct log_ctx ctx = pod_log(pod);
    char field[160] = "";
    if (container >= 0 && (size_t)container < pod_containers_len(pod->spec))
        pod_container_field(pod->spec, (size_t)container, field, sizeof(field));
    log_write(warning ? LOG_WARN : LOG_INFO, &ctx, "event", "%s: %s", reason, message);
    struct event event = {
        .ns = pod->spec->ns,
        .kind = "Pod",
        .name = pod->spec->name,
        .uid = pod->spec->uid,
        .api_version = "v1",
        .resource_version = pod->spec->resource_version,
        .field_path = field[0] ? field : NULL,
        .reason = reason,
        .message = message,
        .warning = warning,
    };
    /* An orphan that only a directory told of has no name to post under. */
    if (agent->events && !str_empty(pod->spec->name))
        events_post(agent->events, &event);
}

void agent_event(struct agent *agent, struct pod *pod, int container, bool warning,
                 const char *reason, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    world_event(agent, pod, container, warning, reason, text);
}

static bool world_refuse_env(void *world, const struct pod_spec *spec, struct refuse_env *ret)
{
    struct agent *agent = world;
    *ret = (struct refuse_env){
        .allocatable_memory_bytes = agent->host->memory_allocatable_bytes,
        .host_prefixes = (const char *const *)agent->config.host_path_prefixes.items,
        .host_prefixes_len = agent->config.host_path_prefixes.len,
    };
    node_admit_env(agent->node, &ret->node);
    if (agent->vmm_config.accel == ACCEL_AUTO)
        return false; /* how machines can run is still being asked; see node.c */
    if (!spec->runtime_class || (spec->features & PF_STATIC))
        return true; /* a static Pod asks nobody for a class */
    if (!agent->classes_synced)
        return false;
    ret->runtime_handler = map_get(agent->class_handlers, spec->runtime_class);
    ret->runtime_class_missing = ret->runtime_handler == NULL;
    return true;
}

void api_init(struct agent *agent, struct world_ops *ops)
{
    agent->class_handlers = map_new();
    ops->patch_status = world_patch_status;
    ops->delete_pod = world_delete_pod;
    ops->mirror_uid = world_mirror_uid;
    ops->event = world_event;
    ops->refuse_env = world_refuse_env;
}

/* ---- watch of Pods ---- */

static void pods_relist(void *userdata)
{
    struct agent *agent = userdata;
    reconcile_relist(agent->reconcile);
    static_pods_relist(agent->static_pods);
}

static void pods_object(void *userdata, enum watch_event event, const struct json *object)
{
    struct agent *agent = userdata;
    struct err err = {0};
    if (event == WATCH_DELETED) {
        const char *uid = json_string(json_path(object, "metadata.uid"));
        if (uid) {
            reconcile_pod_gone(agent->reconcile, uid);
            static_pods_gone(agent->static_pods, uid);
        }
        return;
    }
    struct arena *arena = arena_new(agent->pod_bytes ? agent->pod_bytes : POD_ARENA_BYTES);
    const struct pod_spec *spec = NULL;
    if (codec_pod(object, arena, &spec, &err) < 0) {
        const char *uid = json_string(json_path(object, "metadata.uid"));
        struct log_ctx ctx = {.uid = uid};
        log_error(&ctx, "decode", "%s", err.text);
        arena_free(arena);
        return;
    }
    agent->pod_bytes = arena_used(arena);
    if (agent->pod_bytes > POD_ARENA_BYTES_MAX)
        agent->pod_bytes = POD_ARENA_BYTES_MAX;
    if (spec->features & PF_MIRROR) {
        static_pods_mirror(agent->static_pods, spec);
        arena_free(arena);
        return;
    }
    reconcile_pod(agent->reconcile, arena, spec);
    struct pod *pod = reconcile_find_uid(agent->reconcile, spec->uid);
    if (pod)
        prepare_updated(pod->machine, pod);
}

static void pods_synced(void *userdata)
{
    struct agent *agent = userdata;
    log_info(NULL, "synced", "%zu Pods known", reconcile_count(agent->reconcile));
    reconcile_synced(agent->reconcile);
    static_pods_synced(agent->static_pods);
}

static void watch_error(void *userdata, const char *text)
{
    (void)userdata;
    log_warn(NULL, "watch", "%s", text);
}

static const struct watch_ops pod_callbacks = {
    .on_relist = pods_relist,
    .on_object = pods_object,
    .on_synced = pods_synced,
    .on_error = watch_error,
};

/* ---- watch of RuntimeClasses ---- */

static void classes_clear(struct agent *agent)
{
    const char *key;
    void *value;
    for (size_t it = 0; map_next(agent->class_handlers, &it, &key, &value);)
        free(map_remove(agent->class_handlers, key));
}

static void classes_relist(void *userdata)
{
    classes_clear(userdata);
}

static void classes_object(void *userdata, enum watch_event event, const struct json *object)
{
    struct agent *agent = userdata;
    const char *name = json_string(json_path(object, "metadata.name"));
    const char *handler = json_get_string(object, "handler");
    if (!name || !handler)
        return;
    if (event == WATCH_DELETED)
        free(map_remove(agent->class_handlers, name));
    else if (map_len(agent->class_handlers) < RUNTIME_CLASSES_MAX)
        free(map_set(agent->class_handlers, name, xstrdup(handler)));
    if (agent->classes_synced)
        reconcile_touch_all(agent->reconcile);
}

static void classes_synced(void *userdata)
{
    struct agent *agent = userdata;
    agent->classes_synced = true;
    reconcile_touch_all(agent->reconcile);
}

static const struct watch_ops class_callbacks = {
    .on_relist = classes_relist,
    .on_object = classes_object,
    .on_synced = classes_synced,
    .on_error = watch_error,
};

void api_start(struct agent *agent)
{
    char *query = xasprintf("fieldSelector=spec.nodeName%%3D%s", agent->config.node_name);
    struct watch_config pods = {.path = "/api/v1/pods", .query = query};
    struct watch_config classes = {.path = "/apis/node.k8s.io/v1/runtimeclasses", .query = ""};
    agent->classes = watch_start(agent->client, &classes, &class_callbacks, agent);
    agent->pods = watch_start(agent->client, &pods, &pod_callbacks, agent);
    free(query);
}

void api_doubt(struct agent *agent)
{
    reconcile_doubt(agent->reconcile);
    if (agent->pods)
        watch_relist(agent->pods);
    if (agent->classes)
        watch_relist(agent->classes);
}

void api_stop(struct agent *agent)
{
    watch_stop(agent->pods);
    watch_stop(agent->classes);
    agent->pods = agent->classes = NULL;
    struct api_call *call;
    while ((call = LIST_FIRST(&agent->calls))) {
        kube_request_cancel(call->request);
        call_free(call);
    }
    if (agent->class_handlers) {
        classes_clear(agent);
        map_free(agent->class_handlers);
        agent->class_handlers = NULL;
    }
}
