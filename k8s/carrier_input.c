/* The reading half of carrier.h: takes what came on the connection apart and hands it to the
 * streams, as far as these take it and as there is room for the answers that it asks for. Only
 * carrier_resume enters here, and not twice at a time. */
#include "k8s/carrier_priv.h"

#include "base/str.h"

#include <errno.h>
#include <string.h>

#define STDIN_CHANNEL 0
#define CLOSE_CHANNEL 0xff
#define FRAME_MAX 64

/* What one step came to; negative: the connection is of no more use. */
enum step {
    STEP_WAIT, /* for bytes, for a receiver, or for room */
    STEP_ON,
};

/* ---- SPDY ---- */

static int open_stream(struct carrier *carrier, uint32_t id)
{
    struct carrier_stream *stream = carrier_add(carrier, id);
    struct buf frame = BUF_INIT(FRAME_MAX);
    bool accepted = false;
    if (stream) {
        spdy_put_reply(carrier->spdy, &frame, id);
        carrier_emit(carrier, &frame, NULL, 0);
        accepted = carrier->ops->on_open(carrier->userdata, stream, carrier->spdy);
    }
    if (!accepted) {
        buf_reset(&frame);
        spdy_put_reset(&frame, id, SPDY_REFUSED_STREAM);
        carrier_emit(carrier, &frame, NULL, 0);
    }
    buf_free(&frame);
    if (stream && !accepted) {
        stream->reset = true;
        carrier_drop(stream);
    }
    return STEP_ON;
}

static int spdy_data(struct carrier *carrier, const struct spdy_event *event, size_t *used)
{
    struct carrier_stream *stream = carrier_find(carrier, event->stream);
    size_t taken = event->len; /* of a stream that ended here: thrown away */
    if (!stream && event->stream > spdy_last_stream(carrier->spdy))
        return -EPROTO;
    if (stream && !stream->in_closed) {
        taken = carrier->ops->on_data(carrier->userdata, stream, event->data, event->len);
        if (taken)
            carrier->active_ms = uv_now(carrier->timer.loop);
    }
    spdy_take(carrier->spdy, taken);
    *used += taken;
    return taken == event->len ? STEP_ON : STEP_WAIT;
}

static int end_stream(struct carrier *carrier, uint32_t id, bool reset)
{
    struct carrier_stream *stream = carrier_find(carrier, id);
    if (!stream || (stream->in_closed && !reset))
        return STEP_ON;
    stream->in_closed = true;
    if (reset)
        stream->reset = stream->out_closed = true;
    carrier->ops->on_fin(carrier->userdata, stream);
    return STEP_ON;
}

static int spdy_step(struct carrier *carrier, const char *data, size_t len, size_t *used)
{
    struct spdy_event event;
    int r = spdy_next(carrier->spdy, data, len, used, &event);
    if (r <= 0)
        return r < 0 ? r : STEP_WAIT;
    switch (event.type) {
    case SPDY_OPEN:
        return open_stream(carrier, event.stream);
    case SPDY_DATA:
        return spdy_data(carrier, &event, used);
    case SPDY_FIN:
        return end_stream(carrier, event.stream, false);
    case SPDY_RESET:
        return end_stream(carrier, event.stream, true);
    case SPDY_PING: {
        struct buf frame = BUF_INIT(FRAME_MAX);
        spdy_put_ping(&frame, event.value);
        carrier_emit(carrier, &frame, NULL, 0);
        buf_free(&frame);
        return STEP_ON;
    }
    case SPDY_GOAWAY:
        carrier_end(carrier);
        return STEP_WAIT;
    }
    return -EPROTO;
}

/* ---- channels ---- */

static int deliver_message(struct carrier *carrier)
{
    struct carrier_stream *stream =
        carrier->channel >= 0 ? carrier_find(carrier, (uint32_t)carrier->channel) : NULL;
    size_t left = carrier->message.len - carrier->message_at;
    if (stream && !stream->in_closed && left)
        carrier->message_at += carrier->ops->on_data(
            carrier->userdata, stream, carrier->message.data + carrier->message_at, left);
    else
        carrier->message_at = carrier->message.len;
    if (carrier->message_at < carrier->message.len)
        return STEP_WAIT;
    buf_free(&carrier->message);
    carrier->message_at = 0;
    carrier->message_whole = false;
    carrier->channel = -1;
    return STEP_ON;
}

/* A digit, then base64. */
static int decode_message(struct carrier *carrier)
{
    char *data = NULL;
    size_t len = 0;
    const char *text = buf_str(&carrier->message);
    if (carrier->message.len == 0)
        return 0;
    if (text[0] < '0' || text[0] > '9' ||
        str_unbase64(text + 1, carrier->message.len - 1, &data, &len) < 0)
        return -EPROTO;
    carrier->channel = text[0] - '0';
    buf_reset(&carrier->message);
    if (len)
        (void)buf_add(&carrier->message, data, len);
    free(data);
    return 0;
}

static int end_message(struct carrier *carrier)
{
    carrier->active_ms = uv_now(carrier->timer.loop);
    if (carrier->kind == CARRIER_CHANNELS_BASE64) {
        int r = decode_message(carrier);
        if (r < 0)
            return r;
    }
    if (carrier->channel == CLOSE_CHANNEL && carrier->half_close && carrier->message.len == 1) {
        (void)end_stream(carrier, (unsigned char)carrier->message.data[0], false);
        buf_reset(&carrier->message);
    }
    carrier->message_whole = true;
    return deliver_message(carrier);
}

static int channel_data(struct carrier *carrier, const struct ws_event *event, size_t *taken)
{
    const char *data = event->data;
    if (carrier->kind == CARRIER_CHANNELS_BINARY && carrier->channel < 0) {
        carrier->channel = (unsigned char)data[0];
        *taken = 1;
        return STEP_ON;
    }
    if (carrier->kind == CARRIER_CHANNELS_BASE64 || carrier->channel != STDIN_CHANNEL) {
        *taken = event->len;
        return buf_add(&carrier->message, data, event->len) < 0 ? -EMSGSIZE : STEP_ON;
    }
    const struct carrier_stream *input = carrier_find(carrier, STDIN_CHANNEL);
    *taken = event->len;
    if (input && !input->in_closed)
        *taken = carrier->ops->on_data(carrier->userdata, carrier_channel(carrier, STDIN_CHANNEL),
                                       data, event->len);
    return *taken == event->len ? STEP_ON : STEP_WAIT;
}

/* ---- WebSocket ---- */

/* SPDY's bytes regardless of the messages that they came in. */
static int drain_tunnel(struct carrier *carrier)
{
    size_t at = 0;
    int r = STEP_ON;
    while (r == STEP_ON && !carrier->ended && server_room(carrier->request)) {
        size_t used = 0;
        r = spdy_step(carrier, buf_str(&carrier->tunnel) + at, carrier->tunnel.len - at, &used);
        at += used;
    }
    buf_drop(&carrier->tunnel, at);
    return r < 0 ? r : STEP_ON;
}

static int tunnel_data(struct carrier *carrier, const struct ws_event *event, size_t *taken)
{
    size_t room = CARRIER_TUNNEL_MAX - carrier->tunnel.len;
    if (event->text)
        return -EINVAL;
    *taken = event->len < room ? event->len : room;
    if (*taken)
        (void)buf_add(&carrier->tunnel, event->data, *taken);
    int r = drain_tunnel(carrier);
    if (r < 0)
        return r;
    return *taken == event->len || carrier->tunnel.len < CARRIER_TUNNEL_MAX ? STEP_ON : STEP_WAIT;
}

static int take_close(struct carrier *carrier, const struct ws_event *event)
{
    unsigned code = WS_NORMAL;
    if (event->len >= 2)
        code = (unsigned)(unsigned char)event->data[0] << 8 | (unsigned char)event->data[1];
    carrier_fail(carrier, (enum ws_code)code, "");
    return STEP_WAIT;
}

static int ws_step(struct carrier *carrier, char *data, size_t len, size_t *used)
{
    struct ws_event event;
    if (carrier->message_whole && deliver_message(carrier) == STEP_WAIT)
        return STEP_WAIT;
    int r = ws_next(&carrier->ws, data, len, used, &event);
    if (r <= 0)
        return r < 0 ? r : STEP_WAIT;
    size_t taken = 0;
    switch (event.type) {
    case WS_DATA:
        r = carrier->kind == CARRIER_TUNNEL ? tunnel_data(carrier, &event, &taken)
                                            : channel_data(carrier, &event, &taken);
        if (taken) {
            carrier->active_ms = uv_now(carrier->timer.loop);
            ws_take(&carrier->ws, taken);
            *used += taken;
        }
        return r;
    case WS_END:
        return carrier->kind == CARRIER_TUNNEL ? STEP_ON : end_message(carrier);
    case WS_PING: {
        struct buf *out = server_output(carrier->request);
        if (!out)
            return STEP_WAIT;
        ws_put_head(out, WS_OP_PONG, event.len);
        if (event.len)
            (void)buf_add(out, event.data, event.len);
        server_sent(carrier->request);
        return STEP_ON;
    }
    case WS_CLOSE:
        return take_close(carrier, &event);
    }
    return -EPROTO;
}

static int step(struct carrier *carrier, char *data, size_t len, size_t *used)
{
    if (carrier->kind == CARRIER_SPDY)
        return spdy_step(carrier, data, len, used);
    return ws_step(carrier, data, len, used);
}

static enum ws_code code_of(int r)
{
    switch (r) {
    case -EMSGSIZE:
    case -E2BIG:
        return WS_TOO_BIG;
    case -EINVAL:
        return WS_UNSUPPORTED;
    default:
        return WS_PROTOCOL;
    }
}

static void read_input(struct carrier *carrier)
{
    size_t len = 0;
    size_t at = 0;
    int r = STEP_ON;
    if (carrier->kind == CARRIER_TUNNEL && carrier->tunnel.len)
        r = drain_tunnel(carrier);
    char *data = server_input(carrier->request, &len);
    while (r == STEP_ON && data && !carrier->ended && server_room(carrier->request)) {
        size_t used = 0;
        r = step(carrier, data + at, len - at, &used);
        at += used;
    }
    if (carrier->request)
        server_consume(carrier->request, at);
    if (r < 0)
        carrier_fail(carrier, code_of(r), "");
}

void carrier_resume(struct carrier *carrier)
{
    carrier->again = true;
    if (carrier->reading)
        return;
    carrier->reading = true;
    while (carrier->again && !carrier->ended) {
        carrier->again = false;
        read_input(carrier);
    }
    carrier->reading = false;
}
