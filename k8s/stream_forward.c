/* The port-forward of stream.h: pairs of SPDY streams, one for data and one for what went wrong,
 * joined by their request id (contract 5.6). The bytes go where the owner sends them. */
#include "k8s/stream.h"

#include "base/str.h"
#include "k8s/spdy.h"
#include "k8s/stream_begin.h"

#include <stdlib.h>
#include <string.h>

#define REQUEST_ID_MAX 64

struct forward_pair {
    struct forward *forward;
    struct forward_pair *next, *prev;
    char request_id[REQUEST_ID_MAX];
    uint16_t port;
    struct carrier_stream *data; /* NULL: not opened yet, or given up */
    struct carrier_stream *error;
    void *userdata; /* NULL: the owner does not know of it */
};

struct forward {
    struct carrier *carrier;
    struct forward_pair *first, *last;
    const struct forward_ops *ops;
    void *userdata;
};

static const struct stream_protocol spdy_protocols[] = {
    {"portforward.k8s.io", CARRIER_SPDY, 1},
    {NULL, CARRIER_SPDY, 0},
};
static const struct stream_protocol ws_protocols[] = {
    {"SPDY/3.1+portforward.k8s.io", CARRIER_TUNNEL, 1},
    {NULL, CARRIER_TUNNEL, 0},
};

static void append(struct forward *forward, struct forward_pair *pair)
{
    pair->next = NULL;
    pair->prev = forward->last;
    *(forward->last ? &forward->last->next : &forward->first) = pair;
    forward->last = pair;
}

static void unlink_pair(struct forward *forward, struct forward_pair *pair)
{
    *(pair->prev ? &pair->prev->next : &forward->first) = pair->next;
    *(pair->next ? &pair->next->prev : &forward->last) = pair->prev;
}

static struct forward_pair *pair_of(struct forward *forward, const char *request_id, uint16_t port)
{
    struct forward_pair *pair = forward->first;
    while (pair && (!str_eq(pair->request_id, request_id) || pair->port != port))
        pair = pair->next;
    if (pair)
        return pair;
    pair = xcalloc(1, sizeof(*pair));
    pair->forward = forward;
    pair->port = port;
    str_copy(pair->request_id, sizeof(pair->request_id), request_id);
    append(forward, pair);
    return pair;
}

static bool parse_port(const char *text, uint16_t *ret)
{
    uint64_t port = 0;
    if (!text || str_to_u64(text, &port) < 0 || port == 0 || port > UINT16_MAX)
        return false;
    *ret = (uint16_t)port;
    return true;
}

/* Clients of old send no id: their data stream comes right after its error stream. */
static bool find_request_id(const struct spdy *headers, uint32_t stream, bool is_data,
                            char dst[REQUEST_ID_MAX])
{
    const char *id = spdy_header(headers, "requestid");
    if (!id) {
        str_fmt(dst, REQUEST_ID_MAX, "stream-%u", (unsigned)(is_data ? stream - 2 : stream));
        return true;
    }
    if (!*id || strlen(id) >= REQUEST_ID_MAX)
        return false;
    str_copy(dst, REQUEST_ID_MAX, id);
    return true;
}

static bool on_open(void *userdata, struct carrier_stream *stream, const struct spdy *headers)
{
    struct forward *forward = userdata;
    const char *type = spdy_header(headers, "streamtype");
    bool is_data = str_eq(type, "data");
    char request_id[REQUEST_ID_MAX];
    uint16_t port = 0;
    if ((!is_data && !str_eq(type, "error")) || !parse_port(spdy_header(headers, "port"), &port) ||
        !find_request_id(headers, stream->id, is_data, request_id))
        return false;
    struct forward_pair *pair = pair_of(forward, request_id, port);
    struct carrier_stream **place = is_data ? &pair->data : &pair->error;
    if (*place)
        return false;
    *place = stream;
    stream->userdata = pair;
    if (!pair->data || !pair->error)
        return true;
    pair->userdata = forward->ops->on_pair(forward->userdata, pair, port);
    if (!pair->userdata)
        forward_end(pair, "too many connections are being forwarded");
    return true;
}

static size_t on_data(void *userdata, struct carrier_stream *stream, const char *data, size_t len)
{
    const struct forward *forward = userdata;
    const struct forward_pair *pair = stream->userdata;
    if (stream != pair->data)
        return len; /* nothing is to be said on the error stream */
    return pair->userdata ? forward->ops->on_data(pair->userdata, data, len) : 0;
}

static void on_fin(void *userdata, struct carrier_stream *stream)
{
    struct forward *forward = userdata;
    struct forward_pair *pair = stream->userdata;
    if (stream != pair->data)
        return;
    if (!stream->reset) {
        if (pair->userdata)
            forward->ops->on_data_end(pair->userdata);
        return;
    }
    void *owner = pair->userdata;
    pair->userdata = NULL;
    if (owner)
        forward->ops->on_pair_closed(owner);
    forward_end(pair, NULL);
}

/* Each pair has its turn while there is room; who had none is the first the next time. */
static void on_writable(void *userdata)
{
    struct forward *forward = userdata;
    struct forward_pair *end = forward->last;
    struct forward_pair *pair = forward->first;
    while (pair && carrier_has_room(forward->carrier)) {
        struct forward_pair *next = pair == end ? NULL : pair->next;
        unlink_pair(forward, pair);
        append(forward, pair);
        if (pair->userdata)
            forward->ops->on_writable(pair->userdata);
        pair = next;
    }
}

static void on_closed(void *userdata)
{
    struct forward *forward = userdata;
    struct forward_pair *pair;
    while ((pair = forward->first)) {
        unlink_pair(forward, pair);
        if (pair->userdata)
            forward->ops->on_pair_closed(pair->userdata);
        free(pair);
    }
    forward->ops->on_closed(forward->userdata);
    free(forward);
}

static const struct carrier_ops carrier_callbacks = {
    .on_open = on_open,
    .on_data = on_data,
    .on_fin = on_fin,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

struct forward *forward_begin(struct server_request *request, struct uv_loop_s *loop,
                              const struct forward_ops *ops, void *userdata)
{
    static const struct stream_protocols known = {spdy_protocols, ws_protocols};
    char accept[WS_ACCEPT_MAX];
    const struct stream_protocol *protocol = stream_choose(request, &known, accept);
    if (!protocol)
        return NULL;
    const struct carrier_config config = {
        .kind = protocol->kind, .protocol = protocol->name, .accept = accept};
    struct forward *forward = xcalloc(1, sizeof(*forward));
    forward->ops = ops;
    forward->userdata = userdata;
    forward->carrier = carrier_new(request, loop, &config, &carrier_callbacks, forward);
    carrier_ready(forward->carrier); /* it may be long until somebody connects */
    return forward;
}

size_t forward_write(struct forward_pair *pair, const char *data, size_t len)
{
    return carrier_send(pair->data, data, len);
}

void forward_write_end(struct forward_pair *pair)
{
    carrier_fin(pair->data);
}

void forward_resume(struct forward_pair *pair)
{
    carrier_resume(pair->forward->carrier);
}

/* The error stream is always ended: kubectl waits for that. */
void forward_end(struct forward_pair *pair, const char *failure)
{
    struct carrier_stream *error = pair->error;
    if (error) {
        if (failure)
            carrier_send_last(error, failure);
        carrier_fin(error);
        carrier_drop(error);
    }
    if (pair->data) {
        carrier_fin(pair->data);
        carrier_drop(pair->data);
    }
    unlink_pair(pair->forward, pair);
    free(pair);
}
