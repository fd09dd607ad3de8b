/* A server of one upgraded connection in memory, for tests and fuzzing of what lies on it: stands
 * for server_upgrade.c and server_reply.c. Calls back only from fake_turn, as the loop would. */
#pragma once

#include "base/buf.h"
#include "base/str.h"
#include "k8s/server_upgrade.h"
#include "k8s/stream.h"

#include <string.h>
#include <uv.h>

#define FAKE_IN_MAX 32768
#define FAKE_OUT_MAX (16 * 1024 * 1024)

struct server_request {
    uv_loop_t loop;
    const char *method, *upgrade;
    const char *headers[8][2];
    const char *query[8][2];
    int status; /* 0: not answered; 101: taken over */
    struct buf answer, added;
    struct buf in, out;
    size_t room;  /* of the queue; what is in out counts */
    bool leaving; /* server_hang_up */
    bool nudged;
    const struct server_upgrade_ops *ops;
    void *userdata;
};

static inline const char *fake_look_up(const char *const (*table)[2], const char *name,
                                       size_t index)
{
    for (size_t i = 0; i < 8; i++) {
        if (table[i][0] && str_eq(table[i][0], name) && index-- == 0)
            return table[i][1];
    }
    return NULL;
}

static inline void fake_open(struct server_request *r, const char *method, const char *upgrade)
{
    memset(r, 0, sizeof(*r));
    (void)uv_loop_init(&r->loop);
    r->method = method;
    r->upgrade = upgrade;
    r->answer = r->added = BUF_INIT(65536);
    r->in = BUF_INIT(FAKE_IN_MAX);
    r->out = BUF_INIT(FAKE_OUT_MAX);
    r->room = SERVER_QUEUE_MAX;
}

/* The connection is gone; everything must have been given back. Returns uv_loop_close's word. */
static inline int fake_close(struct server_request *r)
{
    if (r->ops)
        r->ops->stream.on_closed(r->userdata);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    buf_free(&r->answer);
    buf_free(&r->added);
    buf_free(&r->in);
    buf_free(&r->out);
    return uv_loop_close(&r->loop);
}

/* A turn of the loop: input is shown; with sent, what was written has left. */
static inline void fake_turn(struct server_request *r, bool sent)
{
    r->nudged = false;
    if (!r->ops || r->leaving)
        return;
    r->ops->on_input(r->userdata);
    if (!sent || r->leaving)
        return;
    r->ops->stream.on_writable(r->userdata);
}

bool server_wants_upgrade(const struct server_request *r, const char *protocol)
{
    return r->upgrade && strcasecmp(r->upgrade, protocol) == 0;
}

const char *server_header(const struct server_request *r, const char *name, size_t index)
{
    return fake_look_up(r->headers, name, index);
}

const char *server_query(const struct server_request *r, const char *name)
{
    return fake_look_up(r->query, name, 0);
}

const char *server_method(const struct server_request *r)
{
    return r->method;
}

void server_add_header(struct server_request *r, const char *name, const char *value)
{
    (void)buf_addf(&r->added, "%s: %s\n", name, value);
}

void server_reply(struct server_request *r, int status, const char *content_type, const void *body,
                  size_t len)
{
    (void)content_type;
    r->status = status;
    (void)buf_add(&r->answer, body, len);
}

void server_upgrade(struct server_request *r, const char *protocol,
                    const struct server_upgrade_ops *ops, void *userdata)
{
    (void)protocol;
    r->status = 101;
    r->ops = ops;
    r->userdata = userdata;
}

char *server_input(struct server_request *r, size_t *ret_len)
{
    *ret_len = r->leaving ? 0 : r->in.len;
    return r->leaving ? NULL : r->in.data;
}

void server_consume(struct server_request *r, size_t len)
{
    if (!r->leaving && len)
        buf_drop(&r->in, len);
}

struct buf *server_output(struct server_request *r)
{
    return r->leaving ? NULL : &r->out;
}

size_t server_room(const struct server_request *r)
{
    return r->leaving || r->out.len >= r->room ? 0 : r->room - r->out.len;
}

void server_sent(struct server_request *r)
{
    (void)r;
}

void server_nudge(struct server_request *r)
{
    r->nudged = true;
}

void server_hang_up(struct server_request *r)
{
    r->leaving = true;
}
