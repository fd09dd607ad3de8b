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

#define DATAGRAM_CLIENTS_MAX 256 /* of one UDP port; others' datagrams are dropped */
#define DATAGRAMS_KEPT_MAX 8     /* of each, until there is a Pod */
#define DATAGRAM_IDLE_MS 30000u  /* a client that is silent for so long is forgotten */
#define DATAGRAM_TICK_MS 1000u

struct datagrams;

struct port {
    int fd;
    uint16_t number;
    uv_poll_t poll;
    struct datagrams *datagrams; /* UDP; fd and poll are its own */
};

struct holder {
    struct activator *activator;
    const struct holder_ops *ops;
    void *userdata;
    struct holder_config config;
    struct conns held;   /* oldest first */
    struct conns others; /* connecting, carried, lingering */
    uint32_t held_len, connecting, relayed;
    uint32_t udp_held, udp_relayed; /* clients */
    uint64_t used_ms;
    bool proved; /* somebody answered since there are Pods */
    bool closing;
    struct port *ports[HOLDER_PORTS_MAX];
    uv_timer_t deadline; /* of the oldest held */
    uv_timer_t again;    /* another try to connect */
    uv_timer_t tick;     /* of UDP ports */
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

/* datagram.c; fd is taken over. NULL: it could not be watched, and stays the caller's. */
struct datagrams *datagrams_new(struct holder *holder, size_t port, int fd);
void datagrams_free(struct datagrams *datagrams);
/* There may be Pods now. */
void datagrams_release(struct datagrams *datagrams);
void datagrams_tick(struct datagrams *datagrams, uint64_t hold_ms);

/* activator.c: what relay.c and datagram.c tell. */
void holder_udp_count(struct holder *holder, int held, int relayed);
void holder_connected(struct conn *conn);
void holder_unconnected(struct conn *conn); /* back among the held */
void holder_ended(struct conn *conn, enum conn_state was);
