/* Probes and lifecycle hooks of a container, into provider/core/handler.h's structs. Part of
 * codec_container.c, which knows what to refuse. */
#include "k8s/codec_priv.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/str.h"

#include <limits.h>
#include <stdlib.h>

#define PERIOD_S 10 /* what the API server fills in (contract 3.8) */
#define FAILURES 3

static uint32_t seconds(const struct json *object, const char *key, uint32_t min, uint32_t instead)
{
    int64_t n;

    return json_get_int(object, key, &n) && n >= min && n <= INT_MAX ? (uint32_t)n : instead;
}

/* A number, or the name of one of the container's ports. */
static void read_port(struct arena *arena, const struct json *action, struct handler *handler)
{
    int64_t n = 0;

    handler->port_name = codec_text_opt(arena, action, "port");
    if (json_get_int(action, "port", &n) && n >= INT_MIN && n <= INT_MAX)
        handler->port = (int32_t)n;
}

static void read_http(struct arena *arena, const struct json *action, struct handler *handler)
{
    const struct json *array = codec_array(action, "httpHeaders");
    struct key_value *list;

    handler->kind = HANDLER_HTTP;
    handler->path = codec_text(arena, action, "path");
    handler->host = codec_text_opt(arena, action, "host");
    handler->tls = str_eq(json_get_string(action, "scheme"), "HTTPS");
    handler->h2c = !handler->tls && str_eq(json_get_string(action, "protocol"), "HTTP2");
    read_port(arena, action, handler);
    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct key_value *header = &list[handler->headers_len++];

        header->key = codec_text(arena, v, "name");
        header->value = codec_text(arena, v, "value");
    }
    handler->headers = list;
}

static void read_handler(struct arena *arena, const struct json *object, struct handler *handler)
{
    const struct json *action;

    if (json_is_object(json_get(object, "exec"))) {
        handler->kind = HANDLER_EXEC;
    } else if (json_is_object(action = json_get(object, "httpGet"))) {
        read_http(arena, action, handler);
    } else if (json_is_object(action = json_get(object, "tcpSocket"))) {
        handler->kind = HANDLER_TCP;
        handler->host = codec_text_opt(arena, action, "host");
        read_port(arena, action, handler);
    } else if (json_is_object(action = json_get(object, "grpc"))) {
        handler->kind = HANDLER_GRPC;
        handler->service = codec_text(arena, action, "service");
        handler->tls = str_eq(json_get_string(action, "mode"), "TLS");
        read_port(arena, action, handler);
    } else if (json_is_object(action = json_get(object, "sleep"))) {
        handler->kind = HANDLER_SLEEP;
        handler->sleep_s = seconds(action, "seconds", 0, 0);
    }
}

const struct probe_spec *codec_probe(struct arena *arena, const struct json *container,
                                     const char *key)
{
    const struct json *object = json_get(container, key);
    struct probe_spec *probe;
    int64_t n;

    if (!json_is_object(object))
        return NULL;
    probe = arena_alloc(arena, sizeof(*probe));
    read_handler(arena, object, &probe->handler);
    probe->initial_delay_s = seconds(object, "initialDelaySeconds", 0, 0);
    probe->period_s = seconds(object, "periodSeconds", 1, PERIOD_S);
    probe->timeout_s = seconds(object, "timeoutSeconds", 1, 1);
    probe->success_threshold = seconds(object, "successThreshold", 1, 1);
    probe->failure_threshold = seconds(object, "failureThreshold", 1, FAILURES);
    probe->grace_s = -1;
    if (json_get_int(object, "terminationGracePeriodSeconds", &n) && n >= 0)
        probe->grace_s = n;
    return probe;
}

const struct handler *codec_hook(struct arena *arena, const struct json *container, const char *key)
{
    const struct json *object = json_path(container, key);
    struct handler *handler;

    if (!json_is_object(object))
        return NULL;
    handler = arena_alloc(arena, sizeof(*handler));
    read_handler(arena, object, handler);
    return handler;
}
