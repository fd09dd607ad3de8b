/* What the kubelet server answers once the caller is known and allowed (contract 5.2, 5.3): logs
 * and health today; the other paths have their place in one table. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "k8s/server.h"
#include "provider/machines.h"
#include "runtime/logs.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENTS_MAX 8 /* of a path */

struct log_stream {
    struct log_stream *next;
    struct endpoints *endpoints;
    struct server_request *request; /* NULL once the peer is gone */
    struct logs_reader *reader;
    char *uid;
    bool ended;
};

struct endpoints {
    struct agent *agent;
    struct log_stream *streams;
};

struct endpoints *endpoints_new(struct agent *agent)
{
    struct endpoints *endpoints = xcalloc(1, sizeof(*endpoints));
    endpoints->agent = agent;
    return endpoints;
}

static void reply_text(struct server_request *request, int status, const char *text)
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
    (void)result;
    stream->ended = true;
    server_end(stream->request); /* on_closed follows and frees */
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

static bool query_true(const struct server_request *request, const char *name)
{
    const char *value = server_query(request, name);
    return str_eq(value, "true") || str_eq(value, "1");
}

/* 0, or the sentence of a 400. */
static const char *parse_log_options(const struct server_request *request, struct logs_options *ret)
{
    const char *tail = server_query(request, "tailLines");
    const char *limit = server_query(request, "limitBytes");
    const char *since_s = server_query(request, "sinceSeconds");
    const char *since = server_query(request, "sinceTime");
    int64_t seconds = 0;
    int64_t since_ms = 0;
    *ret = (struct logs_options){.tail_lines = -1, .limit_bytes = -1};
    ret->follow = query_true(request, "follow");
    ret->timestamps = query_true(request, "timestamps");
    if (tail && (str_to_i64(tail, &ret->tail_lines) < 0 || ret->tail_lines < 0))
        return "tailLines must be a number, 0 or more";
    if (limit && (str_to_i64(limit, &ret->limit_bytes) < 0 || ret->limit_bytes < 1))
        return "limitBytes must be a number, 1 or more";
    if (since_s && since)
        return "at most one of sinceTime or sinceSeconds may be specified";
    if (since_s && (str_to_i64(since_s, &seconds) < 0 || seconds < 1))
        return "sinceSeconds must be a number, 1 or more";
    if (since && clock_parse_rfc3339(since, &since_ms) < 0)
        return "sinceTime must be an RFC 3339 time";
    if (since_s)
        ret->since_unix_ns = (clock_unix_ms() - seconds * 1000) * 1000000;
    else if (since)
        ret->since_unix_ns = since_ms * 1000000;
    return NULL;
}

static const struct container_spec *find_container(const struct pod *pod, const char *name)
{
    for (size_t i = 0; i < pod->spec->containers_len && i < pod->obs.containers_len; i++) {
        if (str_eq(pod->spec->containers[i].name, name))
            return &pod->spec->containers[i];
    }
    return NULL;
}

/* Which attempt's log is asked for; negative and a text when there is none to show. */
static int64_t find_attempt(const struct pod *pod, const char *container, bool previous, char *text,
                            size_t size)
{
    const struct container_observed *c = &pod->containers[0];
    if (previous) {
        if (c->attempt > 0 && c->id[0])
            return (int64_t)c->attempt - 1;
        str_fmt(text, size, "previous terminated container \"%s\" in pod \"%s\" not found",
                container, pod->spec->name);
        return -1;
    }
    if (c->id[0] && (c->machine == MACHINE_RUNNING || c->machine == MACHINE_EXITED))
        return c->attempt;
    if (c->id[0] && c->last.valid)
        return (int64_t)c->attempt - (c->machine == MACHINE_NONE ? 0 : 1);
    const char *why = "ContainerCreating";
    if (pod->refused)
        why = pod->refusal->reason;
    else if (c->image == IMAGE_FAILED)
        why = "trying and failing to pull image";
    else if (c->machine == MACHINE_FAILED)
        why = c->start_reason;
    str_fmt(text, size, "container \"%s\" in pod \"%s\" is waiting to start: %s", container,
            pod->spec->name, why);
    return -1;
}

static void begin_logs(struct endpoints *endpoints, struct server_request *request, struct pod *pod,
                       int64_t attempt, struct logs_options *options)
{
    char *path = machine_log_path(endpoints->agent, pod->spec, 0, (uint32_t)attempt);
    struct log_stream *stream = xcalloc(1, sizeof(*stream));
    bool running = pod->containers[0].machine == MACHINE_RUNNING &&
                   attempt == (int64_t)pod->containers[0].attempt;
    stream->endpoints = endpoints;
    stream->request = request;
    stream->uid = xstrdup(pod->spec->uid);
    stream->next = endpoints->streams;
    endpoints->streams = stream;
    options->follow = options->follow && running;
    int result =
        logs_open(&endpoints->agent->loop, path, options, &log_callbacks, stream, &stream->reader);
    free(path);
    if (result < 0) {
        char text[256];
        str_fmt(text, sizeof(text), "the log of pod \"%s\" cannot be read: %s", pod->spec->name,
                strerror(-result));
        stream_free(stream);
        reply_text(request, 500, text);
        return;
    }
    server_begin(request, 200, "text/plain", &log_stream_ops, stream);
}

static void handle_logs(struct endpoints *endpoints, struct server_request *request,
                        char *const *segments, size_t len)
{
    char text[1024];
    struct logs_options options;
    if (len != 4) {
        reply_text(request, 404, "404 page not found\n");
        return;
    }
    struct pod *pod = reconcile_find(endpoints->agent->reconcile, segments[1], segments[2]);
    if (!pod) {
        str_fmt(text, sizeof(text), "pod \"%s/%s\" not found\n", segments[1], segments[2]);
        reply_text(request, 404, text);
        return;
    }
    if (!find_container(pod, segments[3])) {
        str_fmt(text, sizeof(text), "container \"%s\" not found in pod \"%s\"\n", segments[3],
                segments[2]);
        reply_text(request, 404, text);
        return;
    }
    const char *wrong = parse_log_options(request, &options);
    if (wrong) {
        reply_text(request, 400, wrong);
        return;
    }
    int64_t attempt =
        find_attempt(pod, segments[3], query_true(request, "previous"), text, sizeof(text));
    if (attempt < 0)
        reply_text(request, 400, text);
    else
        begin_logs(endpoints, request, pod, attempt, &options);
}

void endpoints_container_ended(struct endpoints *endpoints, const char *uid)
{
    if (!endpoints)
        return;
    for (struct log_stream *s = endpoints->streams; s; s = s->next) {
        if (!s->ended && str_eq(s->uid, uid))
            logs_container_ended(s->reader);
    }
}

void endpoints_free(struct endpoints *endpoints)
{
    while (endpoints && endpoints->streams)
        stream_free(endpoints->streams);
    free(endpoints);
}

/* ---- routing ---- */

static void handle_healthz(struct endpoints *endpoints, struct server_request *request,
                           char *const *segments, size_t len)
{
    (void)endpoints;
    (void)segments;
    (void)len;
    reply_text(request, 200, "ok");
}

static const struct {
    const char *first; /* segment */
    const char *method;
    void (*handle)(struct endpoints *endpoints, struct server_request *request,
                   char *const *segments, size_t len);
} routes[] = {
    {"healthz", "GET", handle_healthz},
    {"containerLogs", "GET", handle_logs},
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

void endpoints_handle(void *userdata, struct server_request *request)
{
    struct endpoints *endpoints = userdata;
    char *path = xstrdup(server_path(request));
    char *segments[SEGMENTS_MAX];
    size_t len = split(path, segments);
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(routes) && len && !found; i++) {
        if (!str_eq(routes[i].first, segments[0]))
            continue;
        found = true;
        if (str_eq(server_method(request), routes[i].method))
            routes[i].handle(endpoints, request, segments, len);
        else
            reply_text(request, 405, "405 method not allowed\n");
    }
    if (!found)
        reply_text(request, 404, "404 page not found\n");
    free(path);
}
