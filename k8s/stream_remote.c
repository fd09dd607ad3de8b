/* The remote command of stream.h: which of a carrier's streams is what, how its end is told in each
 * version of the protocol (contract 5.4, 5.5). */
#include "k8s/stream.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/spdy.h"
#include "k8s/stream_begin.h"

#include <stdlib.h>
#include <string.h>

#define RESIZE_MAX 512 /* one {"Width":..,"Height":..} */
#define STATUS_MAX 4096

enum role { ROLE_INPUT, ROLE_OUTPUT, ROLE_ERROR, ROLE_STATUS, ROLE_RESIZE, _ROLE_MAX };

static const char *const role_names[] = {
    [ROLE_INPUT] = "stdin",  [ROLE_OUTPUT] = "stdout", [ROLE_ERROR] = "stderr",
    [ROLE_STATUS] = "error", [ROLE_RESIZE] = "resize",
};
_Static_assert(sizeof(role_names) / sizeof(role_names[0]) == _ROLE_MAX, "a name for each role");

struct remote {
    struct carrier *carrier;
    struct remote_options options;
    int version;
    bool channels;
    bool ready;
    bool ended;
    struct carrier_stream *streams[_ROLE_MAX]; /* NULL: not there (yet) */
    struct buf resize;                         /* what came of a size */
    const struct remote_ops *ops;
    void *userdata;
};

static const struct stream_protocol spdy_protocols[] = {
    {"v4.channel.k8s.io", CARRIER_SPDY, 4},
    {"v3.channel.k8s.io", CARRIER_SPDY, 3},
    {"v2.channel.k8s.io", CARRIER_SPDY, 2},
    {"channel.k8s.io", CARRIER_SPDY, 1},
    {NULL, CARRIER_SPDY, 0},
};
static const struct stream_protocol ws_protocols[] = {
    {"v5.channel.k8s.io", CARRIER_CHANNELS_BINARY, 5},
    {"v4.channel.k8s.io", CARRIER_CHANNELS_BINARY, 4},
    {"channel.k8s.io", CARRIER_CHANNELS_BINARY, 1},
    {"", CARRIER_CHANNELS_BINARY, 1},
    {"v4.base64.channel.k8s.io", CARRIER_CHANNELS_BASE64, 4},
    {"base64.channel.k8s.io", CARRIER_CHANNELS_BASE64, 1},
    {NULL, CARRIER_CHANNELS_BINARY, 0},
};

static bool is_set(const struct server_request *request, const char *name, const char *other)
{
    const char *value = server_query(request, name);
    if (!value)
        value = server_query(request, other);
    return str_eq(value, "1") || str_eq(value, "true");
}

const char *remote_parse(const struct server_request *request, struct remote_options *ret)
{
    struct remote_options options = {
        .input = is_set(request, "input", "stdin"),
        .output = is_set(request, "output", "stdout"),
        .error = is_set(request, "error", "stderr"),
        .tty = is_set(request, "tty", "tty"),
    };
    if (options.tty)
        options.error = false; /* a terminal has one output */
    if (!options.input && !options.output && !options.error)
        return "you must specify at least 1 of stdin, stdout, stderr";
    *ret = options;
    return NULL;
}

/* Whether the client will open, or has, a stream of this role. */
static bool expects(const struct remote *remote, enum role role)
{
    switch (role) {
    case ROLE_INPUT:
        return remote->options.input;
    case ROLE_OUTPUT:
        return remote->options.output;
    case ROLE_ERROR:
        return remote->options.error;
    case ROLE_STATUS:
        return true;
    case ROLE_RESIZE:
        return remote->options.tty && (remote->channels || remote->version >= 3);
    default:
        return false;
    }
}

static void look_if_ready(struct remote *remote)
{
    for (int role = 0; role < _ROLE_MAX; role++) {
        if (expects(remote, (enum role)role) && !remote->streams[role])
            return;
    }
    remote->ready = true;
    carrier_ready(remote->carrier);
    remote->ops->on_ready(remote->userdata);
}

static bool on_open(void *userdata, struct carrier_stream *stream, const struct spdy *headers)
{
    struct remote *remote = userdata;
    const char *type = spdy_header(headers, "streamtype");
    for (int role = 0; role < _ROLE_MAX; role++) {
        if (!str_eq(role_names[role], type))
            continue;
        if (!expects(remote, (enum role)role) || remote->streams[role])
            return false;
        remote->streams[role] = stream;
        look_if_ready(remote);
        return true;
    }
    return false;
}

static enum role role_of(const struct remote *remote, const struct carrier_stream *stream)
{
    int role = 0;
    while (role < _ROLE_MAX && remote->streams[role] != stream)
        role++;
    return (enum role)role;
}

/* Sizes come as JSON objects one after the other; whole ones are used, the last counts. */
static void take_size(struct remote *remote, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (buf_addc(&remote->resize, data[i]) < 0)
            buf_reset(&remote->resize); /* no size is so long: it is dropped */
        if (data[i] != '}')
            continue;
        struct json *size = json_parse(buf_str(&remote->resize), remote->resize.len, NULL);
        int64_t width = 0;
        int64_t height = 0;
        buf_reset(&remote->resize);
        if (json_get_int(size, "Width", &width) && json_get_int(size, "Height", &height) &&
            width > 0 && width <= UINT16_MAX && height > 0 && height <= UINT16_MAX &&
            remote->ops->on_resize)
            remote->ops->on_resize(remote->userdata, (uint16_t)width, (uint16_t)height);
        json_free(size);
    }
}

static size_t on_data(void *userdata, struct carrier_stream *stream, const char *data, size_t len)
{
    struct remote *remote = userdata;
    switch (role_of(remote, stream)) {
    case ROLE_INPUT:
        if (!remote->options.input)
            return len;
        return remote->ready ? remote->ops->on_input(remote->userdata, data, len) : 0;
    case ROLE_RESIZE:
        take_size(remote, data, len);
        return len;
    default:
        return len; /* nobody has asked for it */
    }
}

static void on_fin(void *userdata, struct carrier_stream *stream)
{
    struct remote *remote = userdata;
    enum role role = role_of(remote, stream);
    if (role == ROLE_INPUT && remote->options.input)
        remote->ops->on_input_end(remote->userdata);
    else if (stream->reset && role != ROLE_RESIZE)
        carrier_end(remote->carrier); /* the client has given up */
}

static void on_writable(void *userdata)
{
    struct remote *remote = userdata;
    if (!remote->ready)
        look_if_ready(remote); /* channels: the 101 has left */
    else if (!remote->ended)
        remote->ops->on_writable(remote->userdata);
}

static void on_closed(void *userdata)
{
    struct remote *remote = userdata;
    remote->ops->on_closed(remote->userdata);
    buf_free(&remote->resize);
    free(remote);
}

static const struct carrier_ops carrier_callbacks = {
    .on_open = on_open,
    .on_data = on_data,
    .on_fin = on_fin,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

/* As the kubelet: an empty message on the lowest channel that we write to. */
static void begin_channels(struct remote *remote)
{
    for (uint32_t id = 0; id < _ROLE_MAX; id++)
        remote->streams[id] = carrier_channel(remote->carrier, id);
    enum role lowest = remote->options.output  ? ROLE_OUTPUT
                       : remote->options.error ? ROLE_ERROR
                                               : ROLE_STATUS;
    carrier_hello(remote->streams[lowest]);
}

struct remote *remote_begin(struct server_request *request, struct uv_loop_s *loop,
                            const struct remote_options *options, const struct remote_ops *ops,
                            void *userdata)
{
    static const struct stream_protocols known = {spdy_protocols, ws_protocols};
    char accept[WS_ACCEPT_MAX];
    const struct stream_protocol *protocol = stream_choose(request, &known, accept);
    if (!protocol)
        return NULL;
    const struct carrier_config config = {
        .kind = protocol->kind,
        .half_close = protocol->version >= 5,
        .protocol = protocol->name,
        .accept = accept,
    };
    struct remote *remote = xcalloc(1, sizeof(*remote));
    remote->options = *options;
    remote->version = protocol->version;
    remote->channels = protocol->kind != CARRIER_SPDY;
    remote->resize = BUF_INIT(RESIZE_MAX);
    remote->ops = ops;
    remote->userdata = userdata;
    remote->carrier = carrier_new(request, loop, &config, &carrier_callbacks, remote);
    if (remote->channels)
        begin_channels(remote);
    return remote;
}

size_t remote_write(struct remote *remote, bool error, const char *data, size_t len)
{
    enum role role = error ? ROLE_ERROR : ROLE_OUTPUT;
    if (remote->ended || !expects(remote, role))
        return len;
    return remote->streams[role] ? carrier_send(remote->streams[role], data, len) : 0;
}

void remote_resume(struct remote *remote)
{
    carrier_resume(remote->carrier);
}

static void tell_status(struct remote *remote, const char *failure)
{
    struct carrier_stream *status = remote->streams[ROLE_STATUS];
    CLEANUP(buf) struct buf text = BUF_INIT(STATUS_MAX);
    struct json_writer w = JSON_WRITER(&text);
    if (!status)
        return;
    if (remote->version < 4) { /* plain text, and nothing on success */
        if (failure)
            carrier_send_last(status, failure);
        return;
    }
    jw_begin_object(&w, NULL);
    jw_begin_object(&w, "metadata");
    jw_end_object(&w);
    jw_string(&w, "status", failure ? "Failure" : "Success");
    if (failure) {
        jw_string(&w, "message", failure);
        jw_string(&w, "reason", "InternalError");
        jw_begin_object(&w, "details");
        jw_begin_array(&w, "causes");
        jw_begin_object(&w, NULL);
        jw_string(&w, "message", failure);
        jw_end_object(&w);
        jw_end_array(&w);
        jw_end_object(&w);
        jw_int(&w, "code", 500);
    }
    jw_end_object(&w);
    carrier_send_last(status, buf_str(&text));
}

void remote_end(struct remote *remote, const char *failure)
{
    static const enum role order[] = {ROLE_OUTPUT, ROLE_ERROR, ROLE_STATUS};
    if (remote->ended)
        return;
    remote->ended = true;
    tell_status(remote, failure);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        if (remote->streams[order[i]])
            carrier_fin(remote->streams[order[i]]);
    }
    carrier_end(remote->carrier);
}
