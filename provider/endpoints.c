/* What the kubelet server answers once the caller is known and allowed (contract 5.2, 5.3): the
 * table of paths, and logs; the other handlers are in endpoints_*.c. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "provider/endpoints_priv.h"
#include "provider/machines.h"
#include "provider/streams.h"
#include "runtime/logs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENTS_MAX 8 /* of a path */
#define NS_PER_S 1000000000LL

struct log_stream {
    struct log_stream *next;
    struct endpoints *endpoints;
    struct server_request *request; /* NULL once the peer is gone */
    struct logs_reader *reader;
    char *uid;
    bool ended;
};

struct endpoints *endpoints_new(struct agent *agent)
{
    struct endpoints *endpoints = xcalloc(1, sizeof(*endpoints));
    endpoints->agent = agent;
    endpoints->upgraded = streams_new(agent);
    metrics_init(&endpoints->metrics);
    return endpoints;
}

struct metrics *metrics_of(const struct agent *agent)
{
    return agent->endpoints ? &agent->endpoints->metrics : NULL;
}

void answer_not_found(struct server_request *request)
{
    answer_text(request, 404, "404 page not found\n");
}

void answer_buf(struct server_request *request, const char *content_type, struct buf *out)
{
    if (out->overflow)
        answer_text(request, 500, "the answer is too long\n");
    else
        server_reply(request, 200, content_type, buf_str(out), out->len);
    buf_free(out);
}

void answer_text(struct server_request *request, int status, const char *text)
{
    server_reply(request, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* ---- /containerLogs/{ns}/{pod}/{container} ---- */

static void stream_free(struct log_stream *stream)
{
    struct log_stream **at = &stream->endpoints->streams;
    while (*at && *at != stream)
        at = &(*at)->next;
    if (*at)
        *at = stream->next;
    logs_close(stream->reader);
    free(stream->uid);
    free(stream);
}

static size_t on_log_text(void *userdata, const char *text, size_t len)
{
    struct log_stream *stream = userdata;
    return server_write(stream->request, text, len);
}

static void on_log_end(void *userdata, int result)
{
    struct log_stream *stream = userdata;
    stream->ended = true;
    /* on_closed follows and frees. */
    if (result < 0)
        server_abort(stream->request); /* an end would say that this was all */
    else
        server_end(stream->request);
}

static void on_log_writable(void *userdata)
{
    struct log_stream *stream = userdata;
    if (!stream->ended)
        logs_resume(stream->reader);
}

static void on_log_closed(void *userdata)
{
    stream_free(userdata);
}

static const struct logs_ops log_callbacks = {.on_text = on_log_text, .on_end = on_log_end};
static const struct server_stream_ops log_stream_ops = {
    .on_writable = on_log_writable,
    .on_closed = on_log_closed,
};

bool query_true(const struct server_request *request, const char *name)
{
    const char *value = server_query(request, name);
    return str_eq(value, "true") || str_eq(value, "1");
}

/* A number in a query; -EINVAL when it is none. *ret is untouched when it is absent. */
static int query_number(const struct server_request *request, const char *name, int64_t *ret)
{
    const char *text = server_query(request, name);
    return text ? str_to_i64(text, ret) : 0;
}

/* NULL, or what is wrong with them: with 400 when it is no number or time, else, as the kubelet's
 * own validation, with 422. */
static const char *parse_log_options(const struct server_request *request, struct logs_options *ret,
                                     int *ret_status)
{
    const char *since = server_query(request, "sinceTime");
    bool since_s = server_query(request, "sinceSeconds") != NULL;
    int64_t seconds = 1;
    int64_t since_ns = 0;
    *ret = (struct logs_options){.tail_lines = -1, .limit_bytes = -1};
    ret->follow = query_true(request, "follow");
    ret->timestamps = query_true(request, "timestamps");
    *ret_status = 400;
    if (query_number(request, "tailLines", &ret->tail_lines) < 0)
        return "tailLines must be a number, 0 or more";
    if (query_number(request, "limitBytes", &ret->limit_bytes) < 0)
        return "limitBytes must be a number, 1 or more";
    if (query_number(request, "sinceSeconds", &seconds) < 0)
        return "sinceSeconds must be a number, 1 or more";
    if (since && clock_parse_rfc3339_ns(since, strlen(since), &since_ns) < 0)
        return "sinceTime must be an RFC 3339 time";
    *ret_status = 422;
    if (server_query(request, "tailLines") && ret->tail_lines < 0)
        return "tailLines must be a number, 0 or more";
    if (server_query(request, "limitBytes") && ret->limit_bytes < 1)
        return "limitBytes must be a number, 1 or more";
    if (since_s && since)
        return "at most one of sinceTime or sinceSeconds may be specified";
    if (since_s && seconds < 1)
        return "sinceSeconds must be a number, 1 or more";
    if (since_s) /* longer than the clock has run: from the start */
        since_ns = seconds < clock_unix_ms() / 1000 ? clock_unix_ns() - seconds * NS_PER_S : 0;
    ret->since_unix_ns = since_ns > 0 ? since_ns : 0;
    return NULL;
}

static const char *waiting_text(const char *reason)
{
    if (str_eq(reason, "ErrImagePull"))
        return "image can't be pulled";
    if (str_eq(reason, "ImagePullBackOff"))
        return "trying and failing to pull image";
    return reason;
}

/* Which attempt's log is asked for, by the status that kubectl shows and the kubelet's rules for it
 * (validateContainerLogStatus); negative and a text when there is none to show. */
static int64_t find_attempt(const struct pod *pod, size_t index, bool previous, char *text,
                            size_t size)
{
    /* A copy: asking must not touch what is reported. */
    struct container_observed containers[POD_MACHINES_MAX];
    struct pod_observed obs = pod->obs;
    struct now now = {.mono_ms = clock_mono_ms(), .unix_ms = clock_unix_ms()};
    struct pod_status status;
    const char *name = pod_container(pod->spec, index)->name;
    memcpy(containers, pod->containers, obs.containers_len * sizeof(containers[0]));
    obs.containers = containers;
    if (pod->adopting && !previous)
        return containers[index].attempt; /* as a former agent last knew it: running */
    pod_status(pod->spec, &obs, pod->refused ? pod->refusal : NULL, "", &now, &status);
    const struct container_status *cs = &status.containers[index];
    const struct machine_exit *end = cs->last;
    bool ended = cs->state == STATE_TERMINATED || cs->last;
    if (!previous && cs->state == STATE_RUNNING)
        return containers[index].attempt;
    if (!previous && cs->state == STATE_TERMINATED && cs->terminated->id[0])
        end = cs->terminated;
    if (end && end->id[0])
        return (int64_t)containers[index].attempt - (end == &containers[index].last);
    if (previous)
        str_fmt(text, size, "previous terminated container \"%s\" in pod \"%s\" not found", name,
                pod->spec->name);
    else if (ended)
        str_fmt(text, size, "container \"%s\" in pod \"%s\" is terminated", name, pod->spec->name);
    else
        str_fmt(text, size, "container \"%s\" in pod \"%s\" is waiting to start: %s", name,
                pod->spec->name, waiting_text(cs->reason ? cs->reason : "ContainerCreating"));
    return -1;
}

static void begin_logs(struct endpoints *endpoints, struct server_request *request, struct pod *pod,
                       size_t index, int64_t attempt, struct logs_options *options)
{
    const struct container_observed *c = &pod->containers[index];
    char *path = machine_log_path(endpoints->agent, pod->spec, index, (uint32_t)attempt);
    struct log_stream *stream = xcalloc(1, sizeof(*stream));
    bool running =
        (c->machine == MACHINE_RUNNING || pod->adopting) && attempt == (int64_t)c->attempt;
    stream->endpoints = endpoints;
    stream->request = request;
    stream->uid = xstrdup(pod->spec->uid);
    stream->next = endpoints->streams;
    endpoints->streams = stream;
    options->follow = options->follow && running;
    int result =
        logs_open(&endpoints->agent->loop, path, options, &log_callbacks, stream, &stream->reader);
    free(path);
    if (result < 0 && result != -ENOENT) {
        char text[512];
        str_fmt(text, sizeof(text), "the log of pod \"%s\" cannot be read: %s", pod->spec->name,
                strerror(-result));
        stream_free(stream);
        answer_text(request, 500, text);
        return;
    }
    server_begin(request, 200, "text/plain", &log_stream_ops, stream);
    if (result == -ENOENT) {
        /* Just renamed and not begun anew, or cleaned up by somebody: nothing is there to show. */
        stream->ended = true;
        server_end(request);
    }
}

static void handle_logs(struct endpoints *endpoints, struct server_request *request,
                        char *const *segments, size_t len)
{
    char text[1024];
    struct logs_options options;
    size_t index = 0;
    int status;
    if (len != 4) {
        answer_text(request, 404, "404: Page Not Found");
        return;
    }
    const char *wrong = parse_log_options(request, &options, &status);
    if (wrong) {
        answer_text(request, status, wrong);
        return;
    }
    const char *name = segments[3];
    struct pod *pod = reconcile_find(endpoints->agent->reconcile, segments[1], segments[2]);
    if (!pod) {
        str_fmt(text, sizeof(text), "pod \"%s\" does not exist", segments[2]);
        answer_text(request, 404, text);
        return;
    }
    const struct pod_spec *spec = pod->spec;
    if (!pod_find_container(spec, name, &index)) {
        str_fmt(text, sizeof(text), "container \"%s\" not found in pod \"%s\"", name, spec->name);
        answer_text(request, 404, text);
        return;
    }
    int64_t attempt = -1;
    if (index >= pod->obs.containers_len)
        str_fmt(text, sizeof(text), "container \"%s\" in pod \"%s\" is not available", name,
                spec->name);
    else
        attempt = find_attempt(pod, index, query_true(request, "previous"), text, sizeof(text));
    if (attempt < 0)
        answer_text(request, 400, text);
    else
        begin_logs(endpoints, request, pod, index, attempt, &options);
}

void endpoints_container_ended(struct endpoints *endpoints, const char *uid)
{
    if (!endpoints)
        return;
    for (struct log_stream *s = endpoints->streams; s; s = s->next) {
        if (!s->ended && str_eq(s->uid, uid))
            logs_container_ended(s->reader);
    }
    streams_container_ended(endpoints->upgraded, uid);
}

void endpoints_free(struct endpoints *endpoints)
{
    while (endpoints && endpoints->streams)
        stream_free(endpoints->streams);
    if (endpoints) {
        files_free(endpoints);
        streams_free(endpoints->upgraded);
    }
    free(endpoints);
}

/* ---- routing ---- */

/* Streams are asked for with POST by SPDY clients and with GET by WebSocket's. */
static const struct {
    const char *first; /* segment */
    const char *method;
    endpoint_handler handle;
} routes[] = {
    {"attach", "GET", handle_attach},
    {"attach", "POST", handle_attach},
    {"checkpoint", "POST", handle_checkpoint},
    {"configz", "GET", handle_configz},
    {"containerLogs", "GET", handle_logs},
    {"exec", "GET", handle_exec},
    {"exec", "POST", handle_exec},
    {"healthz", "GET", handle_healthz},
    {"logs", "GET", handle_files},
    {"metrics", "GET", handle_metrics},
    {"pods", "GET", handle_pods},
    {"portForward", "GET", handle_forward},
    {"portForward", "POST", handle_forward},
    {"run", "POST", handle_exec},
    {"runningpods", "GET", handle_running_pods},
    {"stats", "GET", handle_stats},
};

static size_t split(char *path, char **segments)
{
    size_t len = 0;
    char *save = NULL;
    for (char *s = strtok_r(path, "/", &save); s && len < SEGMENTS_MAX;
         s = strtok_r(NULL, "/", &save))
        segments[len++] = s;
    return len;
}

static void refuse_method(struct server_request *request, const char *first)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (str_eq(routes[i].first, first))
            server_add_header(request, "Allow", routes[i].method);
    }
    answer_text(request, 405, "405: Method Not Allowed");
}

void endpoints_handle(void *userdata, struct server_request *request)
{
    struct endpoints *endpoints = userdata;
    char *path = xstrdup(server_path(request));
    char *segments[SEGMENTS_MAX];
    size_t len = split(path, segments);
    endpoint_handler handle = NULL;
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(routes) && len; i++) {
        if (!str_eq(routes[i].first, segments[0]))
            continue;
        known = true;
        if (str_eq(server_method(request), routes[i].method))
            handle = routes[i].handle;
    }
    if (handle)
        handle(endpoints, request, segments, len);
    else if (known)
        refuse_method(request, segments[0]);
    else
        answer_not_found(request);
    free(path);
}
