/* What activator.c (listening, holding, who goes on) and relay.c (one connection) share. */
#pragma once

#include "provider/scaler/activator.h"

#include "base/buf.h"

#include <sys/queue.h>
#include <uv.h>

#define RELAY_CHUNK 16384
#define ACCEPTS_A_TURN_MAX 128
#define CONNECT_FIRST_MS                                                    \
    250u /* nobody answered yet: a new SYN soon beats the kernel's own pace \
          */
#define CONNECT_MS 3000u
#define CONNECT_AGAIN_MS 20u /* after a refusal: the guest boots */
#define LINGER_MS 2000u      /* for a client to read its 503 */

enum conn_state {
    CONN_HELD,
    CONN_CONNECTING,
    CONN_RELAYED,
    CONN_LINGER, /* got its 503; what still comes is thrown away */
    CONN_DEAD,   /* waits for its handles to close */
};

struct side {
    int fd;
    uv_poll_t *poll; /* apart: a side is opened again before its last handle has closed */
    int events;
    bool eof;       /* it sends no more */
    bool shut;      /* it was told that no more comes */
    struct buf out; /* for it, not sent yet */
};

TAILQ_HEAD(conns, conn);

struct conn {
    TAILQ_ENTRY(conn) link; /* in held, or in others */
    struct holder *holder;
    struct activator *activator;
    size_t port;
    enum conn_state state;
    uint64_t accepted_ms;
    struct side client, pod;
    uv_timer_t timer;
};

struct port {
    bool used;
    int fd;
    uint16_t number;
    uv_poll_t poll;
};

struct holder {
    struct activator *activator;
    const struct holder_ops *ops;
    void *userdata;
    struct holder_config config;
    struct conns held;   /* oldest first */
    struct conns others; /* connecting, carried, lingering */
    uint32_t held_len, connecting, relayed;
    uint64_t used_ms;
    bool proved; /* somebody answered since there are Pods */
    bool closing;
    struct port *ports[HOLDER_PORTS_MAX];
    uv_timer_t deadline; /* of the oldest held */
    uv_timer_t again;    /* another try to connect */
    unsigned handles;
};

struct activator {
    struct scaler *scaler;
    struct activator_counts counts;
    uint16_t next; /* where the search for a free data port goes on */
    size_t held_max;
    size_t conns;
};

/* relay.c; each of them may be called from a callback of the connection's own. */

/* Takes the descriptor over. NULL: it could not be watched, and is closed. */
struct conn *conn_new(struct holder *holder, size_t port, int fd);
/* To a Pod; on failure it is held again. */
void conn_connect(struct conn *conn, const struct sockaddr_in *to);
/* reset: the peer learns that something went wrong. */
void conn_end(struct conn *conn, bool reset);
/* As the Service's owner wants failures told. */
void conn_refuse(struct conn *conn);

/* activator.c: what relay.c tells. */
void holder_connected(struct conn *conn);
void holder_unconnected(struct conn *conn); /* back among the held */
void holder_ended(struct conn *conn, enum conn_state was);
