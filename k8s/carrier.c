/* See carrier.h: the life of a carrier, its streams, and sending. What comes in is read in
 * carrier_input.c. */
#include "k8s/carrier_priv.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <string.h>

#define LAST_MAX 4096
#define FRAME_MAX 64 /* heads of a frame: SPDY's, WebSocket's, a channel's number */

static void on_timer_closed(uv_handle_t *handle)
{
    struct carrier *carrier = handle->data;
    free(carrier);
}

static void free_stream(struct carrier *carrier, size_t at)
{
    free(carrier->streams[at]);
    carrier->streams_len--;
    memmove(carrier->streams + at, carrier->streams + at + 1,
            (carrier->streams_len - at) * sizeof(struct carrier_stream *));
}

static void on_server_closed(void *userdata)
{
    struct carrier *carrier = userdata;
    carrier->ended = true;
    carrier->request = NULL;
    carrier->ops->on_closed(carrier->userdata);
    while (carrier->streams_len)
        free_stream(carrier, carrier->streams_len - 1);
    free(carrier->streams);
    spdy_free(carrier->spdy);
    buf_free(&carrier->tunnel);
    buf_free(&carrier->message);
    uv_close((uv_handle_t *)&carrier->timer, on_timer_closed);
}

static void on_server_writable(void *userdata)
{
    struct carrier *carrier = userdata;
    if (carrier->ended)
        return;
    carrier->ops->on_writable(carrier->userdata);
    carrier_resume(carrier); /* what waited for room to answer in */
}

static void on_server_input(void *userdata)
{
    carrier_resume(userdata);
}

static const struct server_upgrade_ops server_ops = {
    .stream = {.on_writable = on_server_writable, .on_closed = on_server_closed},
    .on_input = on_server_input,
};

/* Pings are no activity: the API server sends them for ever. */
static void on_timer(uv_timer_t *timer)
{
    struct carrier *carrier = timer->data;
    uint64_t idle = uv_now(timer->loop) - carrier->active_ms;
    if (carrier->ready && idle < CARRIER_IDLE_MS_MAX) {
        (void)uv_timer_start(timer, on_timer, CARRIER_IDLE_MS_MAX - idle, 0);
        return;
    }
    carrier_end(carrier);
}

bool carrier_is_spdy(const struct carrier *carrier)
{
    return carrier->kind == CARRIER_SPDY || carrier->kind == CARRIER_TUNNEL;
}

struct carrier_stream *carrier_add(struct carrier *carrier, uint32_t id)
{
    if (carrier->streams_len == CARRIER_STREAMS_MAX)
        return NULL;
    struct carrier_stream *stream = xcalloc(1, sizeof(*stream));
    stream->carrier = carrier;
    stream->id = id;
    carrier->streams =
        xrealloc(carrier->streams, (carrier->streams_len + 1) * sizeof(struct carrier_stream *));
    carrier->streams[carrier->streams_len++] = stream; /* ids count up: it stays sorted */
    return stream;
}

/* Where the stream of this id is, or would be. */
static size_t find(const struct carrier *carrier, uint32_t id)
{
    size_t low = 0;
    size_t high = carrier->streams_len;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (carrier->streams[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct carrier_stream *carrier_find(const struct carrier *carrier, uint32_t id)
{
    size_t at = find(carrier, id);
    bool found = at < carrier->streams_len && carrier->streams[at]->id == id;
    return found ? carrier->streams[at] : NULL;
}

struct carrier_stream *carrier_channel(struct carrier *carrier, uint32_t id)
{
    return carrier_find(carrier, id);
}

struct carrier *carrier_new(struct server_request *request, struct uv_loop_s *loop,
                            const struct carrier_config *config, const struct carrier_ops *ops,
                            void *userdata)
{
    struct carrier *carrier = xcalloc(1, sizeof(*carrier));
    carrier->request = request;
    carrier->kind = config->kind;
    carrier->half_close = config->half_close;
    carrier->ops = ops;
    carrier->userdata = userdata;
    carrier->tunnel = BUF_INIT(CARRIER_TUNNEL_MAX);
    carrier->message = BUF_INIT(CARRIER_MESSAGE_MAX);
    carrier->channel = -1;
    (void)uv_timer_init(loop, &carrier->timer);
    carrier->timer.data = carrier;
    carrier->active_ms = uv_now(loop);
    (void)uv_timer_start(&carrier->timer, on_timer, CARRIER_CREATION_MS, 0);
    if (carrier_is_spdy(carrier)) {
        carrier->spdy = spdy_new();
    } else {
        for (uint32_t id = 0; id < CARRIER_CHANNELS; id++)
            (void)carrier_add(carrier, id);
    }
    if (config->kind == CARRIER_SPDY) {
        server_add_header(request, "X-Stream-Protocol-Version", config->protocol);
    } else {
        server_add_header(request, "Sec-WebSocket-Accept", config->accept);
        if (!str_empty(config->protocol))
            server_add_header(request, "Sec-WebSocket-Protocol", config->protocol);
    }
    server_upgrade(request, config->kind == CARRIER_SPDY ? "SPDY/3.1" : "websocket", &server_ops,
                   carrier);
    return carrier;
}

void carrier_ready(struct carrier *carrier)
{
    carrier->ready = true;
    carrier->active_ms = uv_now(carrier->timer.loop);
    (void)uv_timer_start(&carrier->timer, on_timer, CARRIER_IDLE_MS_MAX, 0);
}

/* A SPDY frame, as it is or as a message of its own. */
void carrier_emit(struct carrier *carrier, const struct buf *head, const char *data, size_t len)
{
    struct buf *out = carrier->request ? server_output(carrier->request) : NULL;
    if (!out)
        return;
    if (carrier->kind == CARRIER_TUNNEL)
        ws_put_head(out, WS_OP_BINARY, head->len + len);
    (void)buf_add(out, head->data, head->len);
    if (len)
        (void)buf_add(out, data, len);
    server_sent(carrier->request);
}

static void put_spdy(struct carrier_stream *stream, const char *data, size_t len, bool fin)
{
    CLEANUP(buf) struct buf head = BUF_INIT(FRAME_MAX);
    spdy_put_data_head(&head, stream->id, len, fin);
    carrier_emit(stream->carrier, &head, data, len);
}

static void put_channel(struct carrier_stream *stream, const char *data, size_t len)
{
    struct carrier *carrier = stream->carrier;
    struct buf *out = server_output(carrier->request);
    if (!out)
        return;
    if (carrier->kind == CARRIER_CHANNELS_BASE64) {
        CLEANUP(free) char *text = str_base64(data, len);
        size_t text_len = strlen(text);
        ws_put_head(out, WS_OP_TEXT, 1 + text_len);
        (void)buf_addc(out, (char)('0' + stream->id));
        (void)buf_add(out, text, text_len);
    } else {
        ws_put_head(out, WS_OP_BINARY, 1 + len);
        (void)buf_addc(out, (char)stream->id);
        if (len)
            (void)buf_add(out, data, len);
    }
    server_sent(carrier->request);
}

static void put(struct carrier_stream *stream, const char *data, size_t len)
{
    stream->carrier->active_ms = uv_now(stream->carrier->timer.loop);
    if (carrier_is_spdy(stream->carrier))
        put_spdy(stream, data, len, false);
    else
        put_channel(stream, data, len);
}

size_t carrier_send(struct carrier_stream *stream, const char *data, size_t len)
{
    struct carrier *carrier = stream->carrier;
    size_t sent = 0;
    if (carrier->ended || stream->out_closed)
        return len; /* nobody wants it */
    while (sent < len) {
        size_t room = server_room(carrier->request);
        size_t n = len - sent < SPDY_DATA_MAX ? len - sent : SPDY_DATA_MAX;
        if (carrier->kind == CARRIER_CHANNELS_BASE64)
            room = room / 4 * 3;
        if (room <= FRAME_MAX)
            break;
        if (n > room - FRAME_MAX)
            n = room - FRAME_MAX;
        put(stream, data + sent, n);
        sent += n;
    }
    return sent;
}

bool carrier_has_room(const struct carrier *carrier)
{
    return !carrier->ended && server_room(carrier->request) > FRAME_MAX;
}

void carrier_send_last(struct carrier_stream *stream, const char *text)
{
    if (!stream->carrier->ended && !stream->out_closed)
        put(stream, text, strnlen(text, LAST_MAX));
}

void carrier_hello(struct carrier_stream *stream)
{
    put_channel(stream, "", 0);
}

void carrier_fin(struct carrier_stream *stream)
{
    struct carrier *carrier = stream->carrier;
    if (stream->out_closed || carrier->ended)
        return;
    stream->out_closed = true;
    if (carrier_is_spdy(carrier)) /* a channel ends with the connection */
        put_spdy(stream, "", 0, true);
}

void carrier_drop(struct carrier_stream *stream)
{
    struct carrier *carrier = stream->carrier;
    if (!carrier->ended && carrier_is_spdy(carrier) && !stream->reset &&
        !(stream->in_closed && stream->out_closed)) {
        CLEANUP(buf) struct buf frame = BUF_INIT(FRAME_MAX);
        spdy_put_reset(&frame, stream->id, SPDY_CANCEL);
        carrier_emit(carrier, &frame, NULL, 0);
    }
    size_t at = find(carrier, stream->id);
    free_stream(carrier, at);
    if (!carrier->ended)
        server_nudge(carrier->request); /* its input may be what the others wait behind */
}

void carrier_fail(struct carrier *carrier, enum ws_code code, const char *reason)
{
    if (carrier->ended)
        return;
    struct buf *out = server_output(carrier->request);
    if (out && carrier_is_spdy(carrier)) {
        CLEANUP(buf) struct buf frame = BUF_INIT(FRAME_MAX);
        spdy_put_goaway(&frame, spdy_last_stream(carrier->spdy));
        carrier_emit(carrier, &frame, NULL, 0);
    }
    if (out && carrier->kind != CARRIER_SPDY)
        ws_put_close(out, code, reason);
    carrier->ended = true;
    (void)uv_timer_stop(&carrier->timer);
    server_hang_up(carrier->request);
}

void carrier_end(struct carrier *carrier)
{
    carrier_fail(carrier, WS_NORMAL, "");
}
