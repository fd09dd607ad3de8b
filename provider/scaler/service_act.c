/* From what was seen of a Service to what is done: its endpoint slice, its workload's scale, held
 * connections on their way. The rules are provider/core/scale.c's. */
#include "provider/scaler/service_priv.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/events.h"
#include "provider/scaler/nodes.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define SLICES "/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices"
#define BODY_BYTES_MAX 16384
#define RETRY_MS 1000u   /* after a write that failed */
#define CONFLICT_MS 50u  /* somebody else wrote: the watch tells what */
#define SETTLED_MS 2000u /* after a write that succeeded, until the watch tells of it */

static void tell(struct service *service, bool warning, const char *reason, const char *text)
{
    const struct log_ctx ctx = {.ns = service->ns, .name = service->name};
    const struct event event = {.ns = service->ns,
                                .kind = "Service",
                                .name = service->name,
                                .uid = service->uid,
                                .api_version = "v1",
                                .reason = reason,
                                .message = text,
                                .warning = warning};
    log_write(warning ? LOG_WARN : LOG_INFO, &ctx, reason, "%s", text);
    events_post(service->services->events, &event);
}

/* ---- what is known ---- */

static bool counts(const struct service *service, const struct endpoint *endpoint)
{
    return scale_endpoint_counts(&endpoint->is, service->replicas, service->zero_ms,
                                 clock_mono_ms());
}

bool service_leaving(const struct service *service, const char *uid)
{
    const struct slice *slice;
    for (slice = SLIST_FIRST(&service->slices); slice; slice = SLIST_NEXT(slice, link)) {
        for (size_t i = 0; i < slice->endpoints_len; i++) {
            const struct endpoint *e = &slice->endpoints[i];
            if (str_eq(e->uid, uid) && e->is.ready && !counts(service, e))
                return true;
        }
    }
    return false;
}

/* Adds what the agents know of the ready endpoints. */
static void observe_traffic(const struct service *service, struct scale_observed *o, uint64_t now)
{
    const struct scaler *scaler = service->services->scaler;
    uint64_t stale_ms = (uint64_t)scaler->config.stale_seconds * 1000;
    const struct slice *slice;
    o->traffic_known = true;
    o->idle_ms = UINT64_MAX;
    o->sample_ms = UINT64_MAX;
    for (slice = SLIST_FIRST(&service->slices); slice; slice = SLIST_NEXT(slice, link)) {
        for (size_t i = 0; i < slice->endpoints_len; i++) {
            const struct endpoint *e = &slice->endpoints[i];
            bool good = counts(service, e);
            o->ready += good;
            o->starting += !e->is.ready && !e->is.terminating;
            if (!good)
                continue;
            const struct scale_series *series = nodes_pod(scaler->nodes, e->uid);
            struct scale_sample last;
            if (!series || !scale_series_last(series, &last) || now > last.at_ms + stale_ms) {
                o->traffic_known = false;
                continue;
            }
            uint64_t idle = series->open ? 0 : series->idle_ms + (now - last.at_ms);
            o->open += series->open;
            o->idle_ms = idle < o->idle_ms ? idle : o->idle_ms;
            o->sample_ms = last.at_ms < o->sample_ms ? last.at_ms : o->sample_ms;
        }
    }
}

static bool has_udp(const struct service *service)
{
    for (size_t i = 0; i < service->ports_len; i++) {
        if (service->ports[i].udp)
            return true;
    }
    return false;
}

void service_observe(const struct service *service, struct scale_observed *ret)
{
    const struct services *services = service->services;
    uint64_t now = clock_mono_ms();
    uint64_t used = holder_used_ms(service->holder);
    *ret = (struct scale_observed){
        .leading = leader_leading(services->scaler->leader),
        .synced = services_synced(services) && service->workload_synced && service->exists,
        .replicas = service->replicas,
        .held = holder_held(service->holder),
        .relayed = holder_relayed(service->holder),
        .up_ms = service->up_ms,
        .ready_ms = service->ready_ms,
        .autoscaled_to_zero = services_autoscaled_to_zero(services, service),
        .published = service->slice_exists && str_eq(service->slice_seen, service->slice_wanted),
        .published_ms = service->published_ms,
    };
    observe_traffic(service, ret, now);
    if (has_udp(service)) /* which nobody counts at the Pods */
        ret->traffic_known = false;
    if (ret->ready == 0) {
        /* Nobody there to count: idle at least since then. */
        ret->sample_ms = now;
        ret->idle_ms = now - service->ready_ms;
    }
    if (now - used < ret->idle_ms)
        ret->idle_ms = now - used;
    if (ret->held || ret->relayed)
        ret->idle_ms = 0;
}

static bool rate_of(const struct service *service, uint64_t *ret_milli)
{
    const struct scaler_config *config = &service->services->scaler->config;
    uint64_t sum = 0;
    const struct slice *slice;
    for (slice = SLIST_FIRST(&service->slices); slice; slice = SLIST_NEXT(slice, link)) {
        for (size_t i = 0; i < slice->endpoints_len; i++) {
            const struct endpoint *e = &slice->endpoints[i];
            uint64_t milli = 0;
            if (!counts(service, e))
                continue;
            const struct scale_series *series = nodes_pod(service->services->scaler->nodes, e->uid);
            if (!series ||
                !scale_series_rate(series, clock_mono_ms(), (uint64_t)config->window_seconds * 1000,
                                   (uint64_t)config->stale_seconds * 1000, &milli))
                return false;
            sum += milli;
        }
    }
    *ret_milli = sum;
    return true;
}

bool service_metric(const struct service *service, enum metric metric, uint64_t *ret_milli)
{
    struct scale_observed o;
    bool active = false;
    service_observe(service, &o);
    if (!o.synced)
        return false;
    /* Pods that are still starting serve nothing, which says nothing about demand. */
    bool asleep = o.replicas == 0;
    bool counted = asleep || (o.ready > 0 && o.traffic_known);
    switch (metric) {
    case METRIC_CONNECTIONS_PER_SECOND:
        if (asleep) {
            *ret_milli = 0;
            return scale_quiet_at_zero(&o);
        }
        return o.ready > 0 && o.traffic_known && rate_of(service, ret_milli);
    case METRIC_OPEN_CONNECTIONS:
        *ret_milli = scale_open(&o) * 1000;
        return counted;
    case METRIC_PENDING_CONNECTIONS:
        *ret_milli = (uint64_t)o.held * 1000;
        return o.leading;
    case METRIC_IDLE_SECONDS:
        *ret_milli = o.idle_ms;
        return counted;
    case METRIC_ACTIVE:
        if (!scale_active(&service->spec, &o, clock_mono_ms(), &active))
            return false;
        *ret_milli = active ? 1000 : 0;
        return true;
    case _METRIC_MAX:
        break;
    }
    return false;
}

/* ---- our slice ---- */

static void on_slice_written(void *userdata, const struct kube_answer *answer)
{
    struct service *service = userdata;
    const struct log_ctx ctx = {.ns = service->ns, .name = service->name};
    bool good = answer->result == 0 && answer->status >= 200 && answer->status < 300;
    /* 404 on DELETE and 409 on POST: the watch is late. */
    bool late = answer->result == 0 && (answer->status == 404 || answer->status == 409);
    service->slice_request = NULL;
    service->slice_retry_ms = clock_mono_ms() + (good ? SETTLED_MS : late ? CONFLICT_MS : RETRY_MS);
    if (!good && !late)
        log_warn(&ctx, "slice", "EndpointSlice: %s", answer->text);
    service_touch(service);
}

static void write_slice_spec(const struct service *service, struct json_writer *w)
{
    jw_begin_array(w, "endpoints");
    jw_begin_object(w, NULL);
    jw_begin_array(w, "addresses");
    jw_string(w, NULL, service->services->scaler->config.pod_ip);
    jw_end_array(w);
    jw_begin_object(w, "conditions");
    jw_bool(w, "ready", true);
    jw_end_object(w);
    jw_end_object(w);
    jw_end_array(w);
    jw_begin_array(w, "ports");
    for (size_t i = 0; i < service->ports_len; i++) {
        if (!service->ports[i].data)
            continue;
        jw_begin_object(w, NULL);
        jw_string(w, "name", service->ports[i].name);
        jw_int(w, "port", service->ports[i].data);
        jw_string(w, "protocol", service->ports[i].udp ? "UDP" : "TCP");
        jw_end_object(w);
    }
    jw_end_array(w);
}

static void write_slice(const struct service *service, const char *name, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);
    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "discovery.k8s.io/v1");
    jw_string(&w, "kind", "EndpointSlice");
    jw_begin_object(&w, "metadata");
    jw_string(&w, "name", name);
    jw_begin_object(&w, "labels");
    jw_string(&w, "kubernetes.io/service-name", service->name);
    jw_string(&w, "endpointslice.kubernetes.io/managed-by", SCALER_MANAGED_BY);
    jw_string(&w, SCALER_LABEL, "activate");
    jw_end_object(&w);
    jw_begin_array(&w, "ownerReferences");
    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "v1");
    jw_string(&w, "kind", "Service");
    jw_string(&w, "name", service->name);
    jw_string(&w, "uid", service->uid);
    jw_end_object(&w);
    jw_end_array(&w);
    jw_end_object(&w);
    jw_string(&w, "addressType", "IPv4");
    write_slice_spec(service, &w);
    jw_end_object(&w);
}

/* Listens on every port; false: one of them cannot be. */
static bool listen_all(struct service *service)
{
    struct err err = {0};
    struct buf out = BUF_INIT(sizeof(service->slice_wanted) - 1);
    (void)buf_addf(&out, "%s ", service->services->scaler->config.pod_ip);
    for (size_t i = 0; i < service->ports_len; i++) {
        struct service_port *port = &service->ports[i];
        port->data = 0;
        if (!port->tcp && !port->udp)
            continue;
        if (holder_listen(service->holder, i, port->udp, &port->data, &err) < 0) {
            str_copy(service->refused, sizeof(service->refused), err.text);
            buf_free(&out);
            return false;
        }
        (void)buf_addf(&out, "%s/%u ", port->name, (unsigned)port->data);
    }
    str_copy(service->slice_wanted, sizeof(service->slice_wanted), buf_str(&out));
    buf_free(&out);
    return true;
}

static void step_slice(struct service *service, bool publish)
{
    uint64_t now = clock_mono_ms();
    if (publish && !listen_all(service))
        publish = false;
    bool good = service->slice_exists && str_eq(service->slice_seen, service->slice_wanted);
    if (service->slice_request || publish == (publish ? good : service->slice_exists))
        return;
    if (now < service->slice_retry_ms && publish == service->slice_good)
        return; /* this was asked for already */
    struct buf body = BUF_INIT(BODY_BYTES_MAX);
    char *name = xasprintf("%s-activator", service->name);
    bool create = publish && !service->slice_exists;
    char *path =
        create ? xasprintf(SLICES, service->ns) : xasprintf(SLICES "/%s", service->ns, name);
    if (publish)
        write_slice(service, name, &body);
    service->slice_good = publish;
    service->slice_request =
        kube_request(service->services->scaler->client,
                     create    ? KUBE_POST
                     : publish ? KUBE_MERGE_PATCH
                               : KUBE_DELETE,
                     path, buf_str(&body), body.len, KUBE_ONCE, on_slice_written, service);
    free(path);
    free(name);
    buf_free(&body);
}

/* ---- the workload's scale ---- */

static void on_scaled(void *userdata, const struct kube_answer *answer)
{
    struct service *service = userdata;
    char text[SERVICE_TEXT_MAX + ERR_TEXT_MAX];
    bool good = answer->result == 0 && answer->status == 200;
    bool conflict = answer->result == 0 && answer->status == 409;
    const char *kind = kind_of_resource(service->resource);
    service->scale_request = NULL;
    service->scale_retry_ms = clock_mono_ms() + (good       ? SETTLED_MS
                                                 : conflict ? CONFLICT_MS
                                                            : RETRY_MS);
    if (good && service->waking) {
        str_fmt(text, sizeof(text), "a connection waits: %s %s goes from 0 to 1 replicas", kind,
                service->workload);
        tell(service, false, "WakeUp", text);
    } else if (good) {
        str_fmt(text, sizeof(text), "no connection for %llu s: %s %s goes to 0 replicas",
                (unsigned long long)(service->spec.idle_ms / 1000), kind, service->workload);
        tell(service, false, "ScaleToZero", text);
    } else if (!conflict) {
        str_fmt(text, sizeof(text), "cannot scale %s %s: %s", kind, service->workload,
                answer->text);
        tell(service, true, "FailedScale", text);
    }
    service_touch(service);
}

/* With the version that was seen: whoever changed the workload meanwhile is looked at first. */
static void scale(struct service *service, int replicas)
{
    if (service->scale_request ||
        (clock_mono_ms() < service->scale_retry_ms && service->waking == (replicas > 0)))
        return;
    struct buf body = BUF_INIT(BODY_BYTES_MAX);
    struct json_writer w = JSON_WRITER(&body);
    jw_begin_object(&w, NULL);
    jw_begin_object(&w, "metadata");
    jw_string_opt(&w, "resourceVersion", service->version);
    jw_end_object(&w);
    jw_begin_object(&w, "spec");
    jw_int(&w, "replicas", replicas);
    jw_end_object(&w);
    jw_end_object(&w);
    char *path = xasprintf("/apis/apps/v1/namespaces/%s/%s/%s/scale", service->ns,
                           service->resource, service->workload);
    service->waking = replicas > 0;
    service->scale_request = kube_request(service->services->scaler->client, KUBE_MERGE_PATCH, path,
                                          buf_str(&body), body.len, KUBE_ONCE, on_scaled, service);
    free(path);
    buf_free(&body);
}

/* ---- held connections ---- */

static uint16_t slice_port(const struct slice *slice, const char *name)
{
    for (size_t i = 0; i < slice->ports_len; i++) {
        if (str_eq(slice->ports[i].name, name))
            return slice->ports[i].port;
    }
    return 0;
}

/* The index-th Pod that can be connected to; false: there are not so many. */
static bool nth_target(const struct service *service, size_t port, size_t index,
                       struct sockaddr_in *ret)
{
    const struct slice *slice;
    const struct early_pod *early;
    *ret = (struct sockaddr_in){.sin_family = AF_INET};
    for (slice = SLIST_FIRST(&service->slices); slice; slice = SLIST_NEXT(slice, link)) {
        uint16_t number = slice_port(slice, service->ports[port].name);
        for (size_t i = 0; i < slice->endpoints_len && number; i++) {
            if (!counts(service, &slice->endpoints[i]) || index--)
                continue;
            ret->sin_port = htons(number);
            return inet_pton(AF_INET, slice->endpoints[i].ip, &ret->sin_addr) == 1;
        }
    }
    for (early = SLIST_FIRST(&service->early); early; early = SLIST_NEXT(early, link)) {
        if (!early->ports[port] || service->replicas == 0 || service_leaving(service, early->uid) ||
            index--)
            continue;
        ret->sin_port = htons(early->ports[port]);
        return inet_pton(AF_INET, early->ip, &ret->sin_addr) == 1;
    }
    return false;
}

bool service_target(void *userdata, size_t port, struct sockaddr_in *ret)
{
    struct service *service = userdata;
    if (port >= service->ports_len)
        return false;
    if (nth_target(service, port, service->turn, ret)) {
        service->turn++;
        return true;
    }
    service->turn = 1;
    return nth_target(service, port, 0, ret);
}

static void on_change(void *userdata)
{
    service_touch(userdata);
}

const struct holder_ops *service_holder_ops(void)
{
    static const struct holder_ops ops = {.on_change = on_change, .target = service_target};
    return &ops;
}

/* ---- all together ---- */

static void tell_refusal(struct service *service)
{
    if (str_eq(service->refused, service->told))
        return;
    str_copy(service->told, sizeof(service->told), service->refused);
    if (service->refused[0])
        tell(service, true, "NotActivated", service->refused);
}

void service_step(struct service *service)
{
    struct scale_observed o;
    struct scale_decision decision;
    uint64_t now = clock_mono_ms();
    service_observe(service, &o);
    if (o.ready > 0 && !service->ready_ms)
        service->ready_ms = now;
    if (o.ready == 0)
        service->ready_ms = 0;
    o.ready_ms = service->ready_ms;
    scale_decide(&service->spec, &o, now, &decision);
    if (o.leading && service->exists)
        tell_refusal(service);
    if (o.leading && (o.synced || (!service->exists && service->slice_exists)))
        step_slice(service, decision.publish && service->exists);
    if (decision.wake)
        scale(service, 1);
    else if (decision.zero)
        scale(service, 0);
    if (o.held > 0 && o.ready == 0)
        wake_begin(service);
    else
        wake_end(service);
    if (o.held > 0)
        holder_release(service->holder);
}

void service_act_stop(struct service *service)
{
    if (service->slice_request)
        kube_request_cancel(service->slice_request);
    if (service->scale_request)
        kube_request_cancel(service->scale_request);
    service->slice_request = service->scale_request = NULL;
}
