/* An upgraded connection's bytes as carrier.c and what stands on it read them. The first byte says
 * which protocol, the second how willing the receivers are; the rest comes in pieces. Whatever a
 * client sends: bounded memory, no stream heard of after its end, everything given back. */
#include "tests/unit/stream_fake.h"

#include "k8s/spdy.h"
#include "k8s/ws.h"

#include <stdlib.h>

#define PAIRS_MAX 600

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct pair {
    struct forward_pair *forward;
    struct world *world;
    bool closed;
};

struct world {
    struct server_request request;
    struct remote *remote;
    struct forward *forward;
    unsigned appetite; /* 0: takes nothing, else at most so much at a time */
    unsigned calls;
    bool closed;
    size_t pairs_len;
    struct pair *pairs[PAIRS_MAX];
};

static size_t bite(struct world *w, size_t len)
{
    if (w->closed)
        abort();
    w->calls++;
    if (w->appetite == 0 || w->calls % 5 == 0)
        return 0;
    return len < w->appetite ? len : w->appetite;
}

static size_t on_input(void *userdata, const char *data, size_t len)
{
    struct world *w = userdata;
    size_t n = bite(w, len);
    (void)remote_write(w->remote, n % 2, data, n); /* an echo */
    return n;
}

static void on_event(void *userdata)
{
    if (((struct world *)userdata)->closed)
        abort();
}

static void on_closed(void *userdata)
{
    on_event(userdata);
    ((struct world *)userdata)->closed = true;
}

static void on_resize(void *userdata, uint16_t columns, uint16_t rows)
{
    on_event(userdata);
    if (columns == 0 || rows == 0)
        abort();
}

static const struct remote_ops remote_callbacks = {.on_ready = on_event,
                                                   .on_input = on_input,
                                                   .on_input_end = on_event,
                                                   .on_resize = on_resize,
                                                   .on_writable = on_event,
                                                   .on_closed = on_closed};

static void *on_pair(void *userdata, struct forward_pair *forward, uint16_t port)
{
    struct world *w = userdata;
    if (port == 0)
        abort();
    if (w->pairs_len == PAIRS_MAX || port == 7)
        return NULL;
    struct pair *pair = xcalloc(1, sizeof(*pair));
    pair->forward = forward;
    pair->world = w;
    w->pairs[w->pairs_len++] = pair;
    return pair;
}

static void pair_end(struct pair *pair, const char *why)
{
    pair->closed = true;
    forward_end(pair->forward, why);
}

static size_t pair_data(void *userdata, const char *data, size_t len)
{
    struct pair *pair = userdata;
    if (pair->closed)
        abort();
    size_t n = bite(pair->world, len);
    (void)forward_write(pair->forward, data, n);
    if (n && data[0] == '!')
        pair_end(pair, "asked to");
    return n;
}

static void pair_data_end(void *userdata)
{
    struct pair *pair = userdata;
    if (pair->closed)
        abort();
    forward_write_end(pair->forward);
    pair_end(pair, NULL);
}

static void pair_event(void *userdata)
{
    if (((struct pair *)userdata)->closed)
        abort();
}

static void pair_closed(void *userdata)
{
    pair_event(userdata);
    ((struct pair *)userdata)->closed = true;
}

static const struct forward_ops forward_callbacks = {.on_pair = on_pair,
                                                     .on_data = pair_data,
                                                     .on_data_end = pair_data_end,
                                                     .on_writable = pair_event,
                                                     .on_pair_closed = pair_closed,
                                                     .on_closed = on_closed};

static void begin(struct world *w, unsigned which)
{
    static const struct {
        const char *upgrade;
        const char *protocol;
        bool forward;
    } kinds[] = {
        {"SPDY/3.1", "v4.channel.k8s.io", false},
        {"websocket", "v5.channel.k8s.io", false},
        {"websocket", "base64.channel.k8s.io", false},
        {"SPDY/3.1", "portforward.k8s.io", true},
        {"websocket", "SPDY/3.1+portforward.k8s.io", true},
    };
    const char *upgrade = kinds[which % 5].upgrade;
    struct server_request *r = &w->request;
    const struct remote_options options = {
        .input = true, .output = true, .error = !(which & 0x80), .tty = which & 0x80};
    fake_open(r, upgrade[0] == 'S' ? "POST" : "GET", upgrade);
    r->headers[0][0] = upgrade[0] == 'S' ? "x-stream-protocol-version" : "sec-websocket-protocol";
    r->headers[0][1] = kinds[which % 5].protocol;
    r->headers[1][0] = "sec-websocket-key";
    r->headers[1][1] = "dGhlIHNhbXBsZSBub25jZQ==";
    r->headers[2][0] = "sec-websocket-version";
    r->headers[2][1] = "13";
    if (kinds[which % 5].forward)
        w->forward = forward_begin(r, &r->loop, &forward_callbacks, w);
    else
        w->remote = remote_begin(r, &r->loop, &options, &remote_callbacks, w);
    if (r->status != 101)
        abort();
    if (!w->forward && !w->remote)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct world *w = xcalloc(1, sizeof(*w));
    begin(w, data[0]);
    w->appetite = data[1] * 16U;
    size_t piece = data[1] % 3 == 0 ? 1 : data[1] * 7U;
    for (size_t at = 2; at < size && !w->request.leaving;) {
        size_t room = FAKE_IN_MAX - w->request.in.len;
        size_t n = size - at < piece ? size - at : piece;
        if (n > room)
            n = room;
        if (n == 0)
            break; /* a receiver that takes nothing: the peer is not read */
        (void)buf_add(&w->request.in, data + at, n);
        at += n;
        fake_turn(&w->request, at % 2);
        if (w->request.out.len > SERVER_QUEUE_MAX + 256 * 1024)
            abort();
        if (at % 64 == 0)
            buf_reset(&w->request.out);
    }
    for (size_t i = 0; i < w->pairs_len && !w->closed; i++) {
        if (i % 2 == 0 && !w->pairs[i]->closed)
            pair_end(w->pairs[i], i % 4 ? "over" : NULL);
    }
    if (w->remote)
        remote_end(w->remote, data[1] % 2 ? "over" : NULL);
    if (fake_close(&w->request) != 0 || !w->closed)
        abort();
    for (size_t i = 0; i < w->pairs_len; i++)
        free(w->pairs[i]);
    free(w);
    return 0;
}
