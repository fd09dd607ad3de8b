/* external.metrics.k8s.io/v1beta1 (contract 6.3): discovery and values. What is not known is left
 * out of items, which tells an autoscaler to stay as it is; a zero would put workloads to sleep.
 * Called by k8s/server for allowed requests. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/auth.h"
#include "k8s/label_selector.h"
#include "k8s/server.h"
#include "provider/scaler/metrics.h"
#include "provider/scaler/scaler.h"
#include "provider/scaler/services.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROUP "external.metrics.k8s.io"
#define VERSION_PATH "/apis/" GROUP "/v1beta1"
#define NAMESPACES_PATH VERSION_PATH "/namespaces/"
#define JSON_TYPE "application/json"
#define ANSWER_BYTES_MAX (4u << 20)

/* "<ns>/<metric>" behind NAMESPACES_PATH. */
static bool split(const char *path, char ns[AUTH_RESOURCE_MAX], char metric[AUTH_RESOURCE_MAX])
{
    if (!str_starts(path, NAMESPACES_PATH))
        return false;
    path += strlen(NAMESPACES_PATH);
    size_t len = strcspn(path, "/");
    const char *rest = path + len + (path[len] == '/');
    if (len == 0 || len >= AUTH_RESOURCE_MAX || !*rest || strchr(rest, '/') ||
        strlen(rest) >= AUTH_RESOURCE_MAX)
        return false;
    str_fmt(ns, AUTH_RESOURCE_MAX, "%.*s", (int)len, path);
    str_copy(metric, AUTH_RESOURCE_MAX, rest);
    return true;
}

void api_map(const char *method, const char *path, struct auth_attributes *ret)
{
    *ret = (struct auth_attributes){.verb = ""};
    bool get = str_eq(method, "GET") || str_eq(method, "HEAD");
    if (split(path, ret->ns, ret->resource)) {
        /* As the API server itself reads a resource path without a name. */
        ret->verb = get ? "list" : "";
        str_copy(ret->group, sizeof(ret->group), GROUP);
        return;
    }
    ret->verb = get ? "get" : "";
    str_copy(ret->path, sizeof(ret->path), path);
}

static void answer(struct server_request *request, int status, struct buf *out)
{
    if (out->overflow)
        server_reply(request, 500, JSON_TYPE, "{}", 2);
    else
        server_reply(request, status, JSON_TYPE, buf_str(out), out->len);
    buf_free(out);
}

static void fail(struct server_request *request, int status, const char *reason, const char *text)
{
    struct buf out = BUF_INIT(ANSWER_BYTES_MAX);
    struct json_writer w = JSON_WRITER(&out);
    jw_begin_object(&w, NULL);
    jw_string(&w, "kind", "Status");
    jw_string(&w, "apiVersion", "v1");
    jw_begin_object(&w, "metadata");
    jw_end_object(&w);
    jw_string(&w, "status", "Failure");
    jw_string(&w, "message", text);
    jw_string(&w, "reason", reason);
    jw_int(&w, "code", status);
    jw_end_object(&w);
    answer(request, status, &out);
}

static void discovery(struct server_request *request)
{
    struct buf out = BUF_INIT(ANSWER_BYTES_MAX);
    struct json_writer w = JSON_WRITER(&out);
    jw_begin_object(&w, NULL);
    jw_string(&w, "kind", "APIResourceList");
    jw_string(&w, "apiVersion", "v1");
    jw_string(&w, "groupVersion", GROUP "/v1beta1");
    jw_begin_array(&w, "resources");
    jw_begin_object(&w, NULL);
    jw_string(&w, "name", "externalmetrics");
    jw_string(&w, "singularName", "");
    jw_bool(&w, "namespaced", true);
    jw_string(&w, "kind", "ExternalMetricValueList");
    jw_begin_array(&w, "verbs");
    jw_string(&w, NULL, "get");
    jw_end_array(&w);
    jw_end_object(&w);
    jw_end_array(&w);
    jw_end_object(&w);
    answer(request, 200, &out);
}

struct asked {
    const struct scaler *scaler;
    const char *ns;
    const char *selector;
    enum metric metric;
    struct json_writer *w;
    char now[CLOCK_RFC3339_MAX];
    bool bad_selector;
};

static const char *label_of(void *userdata, const char *key)
{
    return service_label(userdata, key);
}

static void put_item(void *userdata, struct service *service)
{
    struct asked *asked = userdata;
    uint64_t milli;
    char value[32];
    if (!str_eq(service_ns(service), asked->ns) || asked->bad_selector)
        return;
    int match = label_selector_match(asked->selector, label_of, service);
    asked->bad_selector = match < 0;
    if (match <= 0 || !service_metric(service, asked->metric, &milli))
        return;
    if (milli % 1000)
        str_fmt(value, sizeof(value), "%llum", (unsigned long long)milli);
    else
        str_fmt(value, sizeof(value), "%llu", (unsigned long long)(milli / 1000));
    struct json_writer *w = asked->w;
    jw_begin_object(w, NULL);
    jw_string(w, "metricName", metric_to_string(asked->metric));
    jw_begin_object(w, "metricLabels");
    jw_string(w, "service", service_name(service));
    jw_string(w, "workload", service_label(service, "workload"));
    jw_end_object(w);
    jw_string(w, "timestamp", asked->now);
    if (asked->metric == METRIC_CONNECTIONS_PER_SECOND)
        jw_int(w, "windowSeconds", asked->scaler->config.window_seconds);
    jw_string(w, "value", value);
    jw_end_object(w);
}

static void values(struct scaler *scaler, struct server_request *request, const char *ns,
                   const char *name)
{
    const char *selector = server_query(request, "labelSelector");
    struct asked asked = {.scaler = scaler, .ns = ns, .selector = selector ? selector : ""};
    if (!metric_from_string(name, &asked.metric)) {
        char text[AUTH_TEXT_MAX];
        str_fmt(text, sizeof(text), "there is no metric \"%s\" (see docs/scaler.md)", name);
        fail(request, 404, "NotFound", text);
        return;
    }
    if (!leader_leading(scaler->leader)) {
        fail(request, 503, "ServiceUnavailable",
             "this replica is not the leader, which alone knows what is held");
        return;
    }
    struct buf out = BUF_INIT(ANSWER_BYTES_MAX);
    struct json_writer w = JSON_WRITER(&out);
    asked.w = &w;
    clock_rfc3339(asked.now, clock_unix_ms());
    jw_begin_object(&w, NULL);
    jw_string(&w, "kind", "ExternalMetricValueList");
    jw_string(&w, "apiVersion", GROUP "/v1beta1");
    jw_begin_object(&w, "metadata");
    jw_end_object(&w);
    jw_begin_array(&w, "items");
    services_each(scaler->services, put_item, &asked);
    jw_end_array(&w);
    jw_end_object(&w);
    if (asked.bad_selector) {
        buf_free(&out);
        fail(request, 400, "BadRequest", "labelSelector cannot be read");
        return;
    }
    answer(request, 200, &out);
}

void api_handle(void *userdata, struct server_request *request)
{
    struct scaler *scaler = userdata;
    const char *path = server_path(request);
    char ns[AUTH_RESOURCE_MAX];
    char metric[AUTH_RESOURCE_MAX];
    if (!str_eq(server_method(request), "GET"))
        fail(request, 405, "MethodNotAllowed", "metrics are only read");
    else if (str_eq(path, VERSION_PATH) || str_eq(path, VERSION_PATH "/"))
        discovery(request);
    else if (split(path, ns, metric))
        values(scaler, request, ns, metric);
    else
        fail(request, 404, "NotFound", "the server could not find the requested resource");
}
