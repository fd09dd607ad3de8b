/* The fast way up: while connections are held, the Service's Pods are watched themselves, and the
 * first that is Ready is connected to without waiting for the EndpointSlice controller. */
#include "provider/scaler/service_priv.h"

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/watch.h"

#include <stdlib.h>
#include <string.h>

static void forget(struct service *service, const char *uid)
{
    struct early_pod *pod;
    for (pod = SLIST_FIRST(&service->early); pod; pod = SLIST_NEXT(pod, link)) {
        if (!uid || str_eq(pod->uid, uid))
            break;
    }
    if (!pod)
        return;
    SLIST_REMOVE(&service->early, pod, early_pod, link);
    free(pod);
}

static void forget_all(struct service *service)
{
    while (!SLIST_EMPTY(&service->early))
        forget(service, NULL);
}

static bool is_ready(const struct json *status)
{
    const struct json *c = json_first(json_get(status, "conditions"));
    while (c && !str_eq(json_get_string(c, "type"), "Ready"))
        c = json_next(c);
    return str_eq(json_get_string(c, "status"), "True");
}

/* 0: no container has a port of that name. */
static uint16_t named_port(const struct json *pod, const char *name)
{
    const struct json *containers = json_path(pod, "spec.containers");
    for (const struct json *c = json_first(containers); c; c = json_next(c)) {
        for (const struct json *p = json_first(json_get(c, "ports")); p; p = json_next(p)) {
            int64_t number = 0;
            if (str_eq(json_get_string(p, "name"), name) &&
                json_get_int(p, "containerPort", &number) && number > 0 && number < 65536)
                return (uint16_t)number;
        }
    }
    return 0;
}

static void remember(struct service *service, const struct json *object, const char *uid,
                     const char *ip)
{
    struct early_pod *pod = xcalloc(1, sizeof(*pod));
    str_copy(pod->uid, sizeof(pod->uid), uid);
    str_copy(pod->ip, sizeof(pod->ip), ip);
    for (size_t i = 0; i < service->ports_len; i++) {
        const struct service_port *port = &service->ports[i];
        pod->ports[i] = port->target ? port->target : named_port(object, port->target_name);
    }
    SLIST_INSERT_HEAD(&service->early, pod, link);
}

static void on_relist(void *userdata)
{
    forget_all(userdata);
}

static void on_pod(void *userdata, enum watch_event event, const struct json *object)
{
    struct service *service = userdata;
    const struct json *metadata = json_get(object, "metadata");
    const struct json *status = json_get(object, "status");
    const char *uid = json_get_string(metadata, "uid");
    const char *ip = json_get_string(status, "podIP");
    if (!uid)
        return;
    forget(service, uid);
    bool good = event != WATCH_DELETED && !json_get_string(metadata, "deletionTimestamp") &&
                is_ready(status) && !str_empty(ip);
    if (!good)
        return;
    remember(service, object, uid, ip);
    holder_release(service->holder);
}

static void on_synced(void *userdata)
{
    (void)userdata;
}

static void on_error(void *userdata, const char *text)
{
    const struct service *service = userdata;
    const struct log_ctx ctx = {.ns = service->ns, .name = service->name};
    log_warn(&ctx, "watch", "Pods: %s", text);
}

void wake_begin(struct service *service)
{
    static const struct watch_ops ops = {
        .on_relist = on_relist, .on_object = on_pod, .on_synced = on_synced, .on_error = on_error};
    if (service->pods || !service->selector)
        return;
    char *path = xasprintf("/api/v1/namespaces/%s/pods", service->ns);
    char *query = xasprintf("labelSelector=%s", service->selector);
    const struct watch_config config = {.path = path, .query = query};
    service->pods = watch_start(service->services->scaler->client, &config, &ops, service);
    free(path);
    free(query);
}

void wake_end(struct service *service)
{
    watch_stop(service->pods);
    service->pods = NULL;
    forget_all(service);
}
