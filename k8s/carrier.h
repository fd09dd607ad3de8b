/* Streams on one upgraded connection, whatever carries them: SPDY/3.1 on the bare connection, the
 * same inside WebSocket messages (port-forward tunnel), or the numbered channels of the
 * Kubernetes WebSocket protocols (contract 5.4 to 5.7). Bounded both ways: what a receiver does
 * not take stays in the connection's buffer, and then the peer is not read. Not what the streams
 * mean: that is stream_remote.c and stream_forward.c. */
#pragma once

#include "k8s/server_upgrade.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct carrier;
struct spdy;

#define CARRIER_STREAMS_MAX 512   /* open at a time on a connection: 256 forwarded ports */
#define CARRIER_TUNNEL_MAX 32768  /* SPDY bytes out of WebSocket messages */
#define CARRIER_MESSAGE_MAX 65536 /* a message that must be whole: base64, sizes, closing */
#define CARRIER_CHANNELS 5
#define CARRIER_CREATION_MS 30000 /* for the client to open its streams, as the kubelet */
#define CARRIER_IDLE_MS_MAX (4 * 3600 * 1000)

enum carrier_kind {
    CARRIER_SPDY,
    CARRIER_TUNNEL, /* SPDY in binary messages */
    CARRIER_CHANNELS_BINARY,
    CARRIER_CHANNELS_BASE64, /* text messages: a digit, then base64 */
};

struct carrier_config {
    enum carrier_kind kind;
    bool half_close;      /* channels: 0xFF <channel> ends one (v5) */
    const char *protocol; /* chosen; for the 101 */
    const char *accept;   /* WebSocket: Sec-WebSocket-Accept */
};

/* One stream or channel. It stays valid until carrier_drop or the carrier's on_closed. */
struct carrier_stream {
    struct carrier *carrier;
    uint32_t id;
    bool in_closed;  /* the client sends no more */
    bool out_closed; /* we send no more */
    bool reset;      /* the client wants no more of it */
    void *userdata;  /* the owner's */
};

/* Called from the loop and from carrier_resume, never from another call. on_closed is the last. */
struct carrier_ops {
    /* SPDY: the client opens one; header() as spdy_header. false: refused. */
    bool (*on_open)(void *userdata, struct carrier_stream *stream, const struct spdy *headers);
    /* Bytes taken; fewer than len: carrier_resume when there is room again. */
    size_t (*on_data)(void *userdata, struct carrier_stream *stream, const char *data, size_t len);
    /* in_closed was set; with reset, out_closed too. */
    void (*on_fin)(void *userdata, struct carrier_stream *stream);
    void (*on_writable)(void *userdata);
    /* Time-out: of creation, or idle; the carrier ends by itself. */
    void (*on_closed)(void *userdata);
};

/* Answers the request with the 101. */
struct carrier *carrier_new(struct server_request *request, struct uv_loop_s *loop,
                            const struct carrier_config *config, const struct carrier_ops *ops,
                            void *userdata);
/* All streams that were to come are there: from now on only idleness ends it. */
void carrier_ready(struct carrier *carrier);
struct carrier_stream *carrier_channel(struct carrier *carrier, uint32_t id); /* channels only */

/* Bytes accepted; fewer than len: wait for on_writable. */
size_t carrier_send(struct carrier_stream *stream, const char *data, size_t len);
bool carrier_has_room(const struct carrier *carrier);
/* An empty message on a channel: tells a client of old that the connection stands. */
void carrier_hello(struct carrier_stream *stream);
/* A short text that must not get lost (a status, at most 4 KiB): past a full queue if need be. */
void carrier_send_last(struct carrier_stream *stream, const char *text);
void carrier_fin(struct carrier_stream *stream);
/* Forgets it; resets it unless both sides ended it. */
void carrier_drop(struct carrier_stream *stream);
void carrier_resume(struct carrier *carrier);
/* What was sent leaves, then the connection ends; on_closed follows. */
void carrier_end(struct carrier *carrier);
