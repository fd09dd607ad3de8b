/* Watches Services and EndpointSlices with our label (the EndpointSlice controller copies a
 * Service's labels to its slices), autoscalers, and each Service's workload. Callbacks only record
 * what was seen and mark the Service; services_flush decides. Called by startup.c. */
#include "provider/scaler/service_priv.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "k8s/events.h"
#include "k8s/watch.h"

#include <stdlib.h>
#include <string.h>

#define OUR_LABEL_QUERY "labelSelector=unikubelet.dev%2Fscale"

const char *service_ns(const struct service *service)
{
    return service->ns;
}

const char *service_name(const struct service *service)
{
    return service->name;
}

const char *service_label(const struct service *service, const char *key)
{
    for (size_t i = 0; i < service->labels_len; i++) {
        if (str_eq(service->labels[i].key, key))
            return service->labels[i].value;
    }
    if (str_eq(key, "service"))
        return service->name;
    return str_eq(key, "workload") ? service->workload : NULL;
}

void service_touch(struct service *service)
{
    service->dirty = true;
}

static const char *metadata(const struct json *object, const char *key)
{
    return json_get_string(json_get(object, "metadata"), key);
}

/* ---- one Service ---- */

static struct service *service_of(struct services *services, const char *ns, const char *name,
                                  bool make)
{
    char key[2 * SCALER_NAME_MAX];
    str_fmt(key, sizeof(key), "%s/%s", ns, name);
    struct service *service = map_get(services->by_key, key);
    if (service || !make)
        return service;
    if (map_len(services->by_key) >= SERVICES_MAX) {
        log_warn(NULL, "services", "more than %d Services have the label %s: %s is left alone",
                 SERVICES_MAX, SCALER_LABEL, key);
        return NULL;
    }
    service = xcalloc(1, sizeof(*service));
    service->services = services;
    service->key = xstrdup(key);
    service->ns = xstrdup(ns);
    service->name = xstrdup(name);
    service->replicas = SCALE_REPLICAS_UNKNOWN;
    SLIST_INIT(&service->slices);
    SLIST_INIT(&service->early);
    service->holder = holder_new(services->scaler->activator, service_holder_ops(), service);
    map_set(services->by_key, key, service);
    return service;
}

static void stop_workload(struct service *service)
{
    watch_stop(service->watch);
    service->watch = NULL;
    service->watched[0] = '\0';
    service->workload_synced = false;
    service->replicas = SCALE_REPLICAS_UNKNOWN;
    service->version[0] = '\0';
}

static void service_free(struct service *service)
{
    struct slice *slice;
    map_remove(service->services->by_key, service->key);
    stop_workload(service);
    wake_end(service);
    service_act_stop(service);
    while ((slice = SLIST_FIRST(&service->slices))) {
        SLIST_REMOVE_HEAD(&service->slices, link);
        slice_free(slice);
    }
    holder_free(service->holder);
    service_forget_spec(service);
    free(service->key);
    free(service->ns);
    free(service->name);
    free(service->uid);
    free(service);
}

/* A Service without label or object is of no interest any more; one whose slices came first is. */
static void drop_if_gone(struct service *service)
{
    if (!service->exists && SLIST_EMPTY(&service->slices) && !service->slice_exists)
        service_free(service);
}

/* ---- its workload ---- */

static void on_workload_relist(void *userdata)
{
    ((struct service *)userdata)->workload_listed = false;
}

/* Its Pods end now, whatever their endpoints say until the controllers have looked. */
static void went_to_zero(struct service *service)
{
    struct slice *slice;
    service->zero_ms = clock_mono_ms();
    service->scale_retry_ms = 0; /* a wake that was undone is not under way any more */
    wake_end(service);           /* what it knows as ready leaves too */
    for (slice = SLIST_FIRST(&service->slices); slice; slice = SLIST_NEXT(slice, link)) {
        for (size_t i = 0; i < slice->endpoints_len; i++)
            slice->endpoints[i].is.leaving = true;
    }
}

static void on_workload(void *userdata, enum watch_event event, const struct json *object)
{
    struct service *service = userdata;
    const char *version = metadata(object, "resourceVersion");
    int64_t replicas = 1; /* the default, where it is unset */
    (void)json_get_int(json_get(object, "spec"), "replicas", &replicas);
    if (event == WATCH_DELETED || metadata(object, "deletionTimestamp"))
        replicas = SCALE_REPLICAS_UNKNOWN;
    if (replicas > 0 && service->replicas <= 0)
        service->up_ms = clock_mono_ms();
    if (replicas == 0 && service->replicas != 0)
        went_to_zero(service);
    service->workload_listed = event != WATCH_DELETED;
    service->replicas = replicas;
    str_copy(service->version, sizeof(service->version), version ? version : "");
    service_touch(service);
}

static void on_workload_synced(void *userdata)
{
    struct service *service = userdata;
    service->workload_synced = true;
    if (!service->workload_listed)
        service->replicas = SCALE_REPLICAS_UNKNOWN;
    service_touch(service);
}

static void on_workload_error(void *userdata, const char *text)
{
    const struct service *service = userdata;
    const struct log_ctx ctx = {.ns = service->ns, .name = service->name};
    log_warn(&ctx, "watch", "%s: %s", service->watched, text);
}

static void watch_workload(struct service *service)
{
    static const struct watch_ops ops = {.on_relist = on_workload_relist,
                                         .on_object = on_workload,
                                         .on_synced = on_workload_synced,
                                         .on_error = on_workload_error};
    char wanted[sizeof(service->watched)];
    str_fmt(wanted, sizeof(wanted), "%s/%s", service->resource, service->workload);
    if (!service->workload[0] || !service->exists)
        wanted[0] = '\0';
    if (str_eq(wanted, service->watched))
        return;
    stop_workload(service);
    str_copy(service->watched, sizeof(service->watched), wanted);
    if (!wanted[0])
        return;
    char *path = xasprintf("/apis/apps/v1/namespaces/%s/%s", service->ns, service->resource);
    char *query = xasprintf("fieldSelector=metadata.name%%3D%s", service->workload);
    const struct watch_config config = {.path = path, .query = query};
    service->watch = watch_start(service->services->scaler->client, &config, &ops, service);
    free(path);
    free(query);
}

/* ---- Services ---- */

static void each_service(struct services *services, void (*each)(struct service *service))
{
    const char *key;
    void *value;
    for (size_t it = 0; map_next(services->by_key, &it, &key, &value);)
        each(value);
}

static void service_unlist(struct service *service)
{
    service->listed = false;
}

static void on_services_relist(void *userdata)
{
    each_service(userdata, service_unlist);
}

static void service_gone(struct service *service)
{
    service->exists = false;
    service->spec.activate = false;
    service_touch(service);
    watch_workload(service);
    drop_if_gone(service);
}

static void on_service(void *userdata, enum watch_event event, const struct json *object)
{
    struct services *services = userdata;
    const char *ns = metadata(object, "namespace");
    const char *name = metadata(object, "name");
    if (!ns || !name)
        return;
    struct service *service = service_of(services, ns, name, event != WATCH_DELETED);
    if (!service)
        return;
    if (event == WATCH_DELETED) {
        service_gone(service);
        return;
    }
    service->exists = service->listed = true;
    service_parse(service, object);
    holder_configure(service->holder, &service->hold);
    watch_workload(service);
    service_touch(service);
}

static void service_sweep(struct service *service)
{
    if (!service->listed)
        service_gone(service);
}

static void on_services_synced(void *userdata)
{
    struct services *services = userdata;
    services->services_synced = true;
    each_service(services, service_sweep);
}

/* ---- EndpointSlices ---- */

static void slices_unlist(struct service *service)
{
    struct slice *slice;
    for (slice = SLIST_FIRST(&service->slices); slice; slice = SLIST_NEXT(slice, link))
        slice->listed = false;
    service->slice_listed = false;
}

static void on_slices_relist(void *userdata)
{
    each_service(userdata, slices_unlist);
}

static bool ours(const struct json *labels)
{
    return str_eq(json_get_string(labels, "endpointslice.kubernetes.io/managed-by"),
                  SCALER_MANAGED_BY);
}

static void on_own_slice(struct service *service, enum watch_event event, const struct json *object)
{
    bool was = service->slice_exists;
    service->slice_exists = service->slice_listed = event != WATCH_DELETED;
    slice_signature(object, service->slice_seen, sizeof(service->slice_seen));
    if (service->slice_exists && !was)
        service->published_ms = clock_mono_ms();
}

static void slice_remove(struct service *service, struct slice *slice)
{
    if (!slice)
        return;
    SLIST_REMOVE(&service->slices, slice, slice, link);
    slice_free(slice);
}

static void on_slice(void *userdata, enum watch_event event, const struct json *object)
{
    const struct json *labels = json_path(object, "metadata.labels");
    const char *of = json_get_string(labels, "kubernetes.io/service-name");
    const char *ns = metadata(object, "namespace");
    const char *name = metadata(object, "name");
    if (!of || !ns || !name)
        return;
    struct service *service = service_of(userdata, ns, of, event != WATCH_DELETED);
    if (!service)
        return;
    service_touch(service);
    if (ours(labels)) {
        on_own_slice(service, event, object);
    } else {
        struct slice *slice;
        for (slice = SLIST_FIRST(&service->slices); slice; slice = SLIST_NEXT(slice, link)) {
            if (str_eq(slice->name, name))
                break;
        }
        if (event == WATCH_DELETED) {
            slice_remove(service, slice);
        } else if (slice) {
            slice->listed = true;
            (void)slice_parse(slice, object);
        } else {
            slice = xcalloc(1, sizeof(*slice));
            str_copy(slice->name, sizeof(slice->name), name);
            slice->listed = true;
            SLIST_INSERT_HEAD(&service->slices, slice, link);
            if (!slice_parse(slice, object))
                slice_remove(service, slice);
        }
    }
    drop_if_gone(service);
}

static void slices_sweep(struct service *service)
{
    struct slice *slice = SLIST_FIRST(&service->slices);
    while (slice) {
        struct slice *next = SLIST_NEXT(slice, link);
        if (!slice->listed)
            slice_remove(service, slice);
        slice = next;
    }
    if (!service->slice_listed)
        service->slice_exists = false;
    service_touch(service);
    drop_if_gone(service);
}

static void on_slices_synced(void *userdata)
{
    struct services *services = userdata;
    services->slices_synced = true;
    each_service(services, slices_sweep);
}

/* ---- autoscalers: those that put their workload to zero themselves ---- */

static void autoscalers_clear(struct services *services)
{
    const char *key;
    void *value;
    for (size_t it = 0; map_next(services->by_autoscaler, &it, &key, &value);) {
        map_remove(services->by_autoscaler, key);
        free(value);
    }
}

/* Until the new list is whole nothing is decided, and metrics are missing. */
static void on_autoscalers_relist(void *userdata)
{
    struct services *services = userdata;
    services->autoscalers_synced = false;
    autoscalers_clear(services);
}

static void on_autoscaler(void *userdata, enum watch_event event, const struct json *object)
{
    struct services *services = userdata;
    const char *ns = metadata(object, "namespace");
    const char *name = metadata(object, "name");
    const struct json *spec = json_get(object, "spec");
    const char *kind = json_string(json_path(spec, "scaleTargetRef.kind"));
    const char *target = json_string(json_path(spec, "scaleTargetRef.name"));
    int64_t min = 1;
    if (!ns || !name)
        return;
    char *key = xasprintf("%s/%s", ns, name);
    free(map_remove(services->by_autoscaler, key));
    (void)json_get_int(spec, "minReplicas", &min);
    if (event != WATCH_DELETED && min == 0 && kind && target)
        map_set(services->by_autoscaler, key, xasprintf("%s/%s/%s", ns, kind, target));
    free(key);
}

static void on_autoscalers_synced(void *userdata)
{
    ((struct services *)userdata)->autoscalers_synced = true;
}

static void on_error(void *userdata, const char *text)
{
    (void)userdata;
    log_warn(NULL, "watch", "%s", text);
}

/* ---- all together ---- */

bool services_autoscaled_to_zero(const struct services *services, const struct service *service)
{
    char wanted[3 * SCALER_NAME_MAX];
    const char *key;
    void *value;
    str_fmt(wanted, sizeof(wanted), "%s/%s/%s", service->ns, kind_of_resource(service->resource),
            service->workload);
    for (size_t it = 0; map_next(services->by_autoscaler, &it, &key, &value);) {
        if (str_eq(value, wanted))
            return true;
    }
    return false;
}

struct services *services_start(struct scaler *scaler)
{
    static const struct watch_ops service_ops = {.on_relist = on_services_relist,
                                                 .on_object = on_service,
                                                 .on_synced = on_services_synced,
                                                 .on_error = on_error};
    static const struct watch_ops slice_ops = {.on_relist = on_slices_relist,
                                               .on_object = on_slice,
                                               .on_synced = on_slices_synced,
                                               .on_error = on_error};
    static const struct watch_ops autoscaler_ops = {.on_relist = on_autoscalers_relist,
                                                    .on_object = on_autoscaler,
                                                    .on_synced = on_autoscalers_synced,
                                                    .on_error = on_error};
    static const struct watch_config service_config = {.path = "/api/v1/services",
                                                       .query = OUR_LABEL_QUERY};
    static const struct watch_config slice_config = {
        .path = "/apis/discovery.k8s.io/v1/endpointslices", .query = OUR_LABEL_QUERY};
    static const struct watch_config autoscaler_config = {
        .path = "/apis/autoscaling/v2/horizontalpodautoscalers", .query = ""};
    struct services *services = xcalloc(1, sizeof(*services));
    services->scaler = scaler;
    services->by_key = map_new();
    services->by_autoscaler = map_new();
    services->events = events_new(scaler->client, "unikubelet-scaler", scaler->config.pod_name);
    services->services = watch_start(scaler->client, &service_config, &service_ops, services);
    services->slices = watch_start(scaler->client, &slice_config, &slice_ops, services);
    services->autoscalers =
        watch_start(scaler->client, &autoscaler_config, &autoscaler_ops, services);
    return services;
}

void services_stop(struct services *services)
{
    if (!services)
        return;
    watch_stop(services->services);
    watch_stop(services->slices);
    watch_stop(services->autoscalers);
    each_service(services, service_free);
    autoscalers_clear(services);
    map_free(services->by_autoscaler);
    map_free(services->by_key);
    events_free(services->events);
    free(services);
}

bool services_synced(const struct services *services)
{
    return services && services->services_synced && services->slices_synced &&
           services->autoscalers_synced;
}

size_t services_len(const struct services *services)
{
    return map_len(services->by_key);
}

void services_each(struct services *services, void (*each)(void *userdata, struct service *service),
                   void *userdata)
{
    const char *key;
    void *value;
    for (size_t it = 0; map_next(services->by_key, &it, &key, &value);) {
        if (((struct service *)value)->exists)
            each(userdata, value);
    }
}

static void flush_one(struct service *service)
{
    if (!service->dirty)
        return;
    service->dirty = false;
    service_step(service);
}

void services_flush(struct services *services)
{
    each_service(services, flush_one);
}

void services_tick(struct services *services)
{
    each_service(services, service_touch);
}
