/* The server's side of WebSocket framing (RFC 6455), read strictly and one event at a time; and
 * the answer to its handshake. Pure but for SHA-1 of the handshake. What messages mean is
 * carrier.c's business. Called by carrier.c and stream_begin.c; fuzzed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

#define WS_CONTROL_MAX 125
#define WS_HEAD_MAX 10 /* of a frame of ours */

enum ws_opcode {
    WS_OP_CONTINUATION = 0,
    WS_OP_TEXT = 1,
    WS_OP_BINARY = 2,
    WS_OP_CLOSE = 8,
    WS_OP_PING = 9,
    WS_OP_PONG = 10,
};

enum ws_code {
    WS_NORMAL = 1000,
    WS_PROTOCOL = 1002,
    WS_UNSUPPORTED = 1003,
    WS_POLICY = 1008,
    WS_TOO_BIG = 1009,
    WS_INTERNAL = 1011,
};

enum ws_event_type {
    WS_DATA,  /* data, len: what there is of a message's frame; see ws_take */
    WS_END,   /* of a message: also comes when it was empty */
    WS_PING,  /* data, len: to send back */
    WS_CLOSE, /* data, len: a code and a reason, or nothing; nothing may follow */
};

struct ws_event {
    enum ws_event_type type;
    bool text; /* DATA, END: kind of the message */
    const char *data;
    size_t len;
};

/* Zeroed at first. */
struct ws {
    bool in_frame;
    bool in_message;
    bool text;
    bool fin;
    uint8_t key[4];
    unsigned key_at;   /* of the next byte that is masked still */
    uint64_t left;     /* of the frame's payload, not taken yet */
    uint64_t unmasked; /* of those */
};

/* 1: an event. 0: more bytes are needed. *ret_used bytes of data are done with and must not be
 * shown again, but for WS_DATA's: ws_take says how many of those are, and what is left of them
 * comes again, in the same bytes. data is unmasked in place. -EPROTO: close with WS_PROTOCOL. */
int ws_next(struct ws *ws, char *data, size_t len, size_t *ret_used, struct ws_event *ret);
void ws_take(struct ws *ws, size_t len);

/* A frame's head; len bytes of payload follow. */
void ws_put_head(struct buf *out, enum ws_opcode opcode, size_t len);
void ws_put_close(struct buf *out, enum ws_code code, const char *reason); /* "" is none */

/* Sec-WebSocket-Accept for a client's Sec-WebSocket-Key. -EINVAL: that is no key. */
#define WS_ACCEPT_MAX 32
int ws_accept(const char *key, char dst[WS_ACCEPT_MAX]);
