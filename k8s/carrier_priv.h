/* What carrier.c (streams, sending) and carrier_input.c (reading) share. Not for others. */
#pragma once

#include "base/buf.h"
#include "k8s/carrier.h"
#include "k8s/spdy.h"
#include "k8s/ws.h"

#include <stdlib.h>
#include <uv.h>

struct carrier {
    struct server_request *request; /* NULL: the connection is gone */
    enum carrier_kind kind;
    bool half_close;
    bool ready;
    bool ended;          /* no more input, nothing more to send */
    bool reading, again; /* carrier_resume is at work, and was asked for meanwhile */
    const struct carrier_ops *ops;
    void *userdata;
    uv_timer_t timer;
    uint64_t active_ms;              /* last data of a stream, either way */
    struct carrier_stream **streams; /* by id */
    size_t streams_len;
    struct spdy *spdy;
    struct ws ws;
    struct buf tunnel;
    struct buf message; /* one that must be whole */
    size_t message_at;  /* bytes of it that were taken */
    bool message_whole;
    int channel; /* of the binary message being read; -1: its first byte is to come */
};

bool carrier_is_spdy(const struct carrier *carrier);
struct carrier_stream *carrier_add(struct carrier *carrier, uint32_t id); /* NULL: too many */
struct carrier_stream *carrier_find(const struct carrier *carrier, uint32_t id);
void carrier_emit(struct carrier *carrier, const struct buf *head, const char *data, size_t len);
void carrier_fail(struct carrier *carrier, enum ws_code code, const char *reason);
