/* Inside of server*.c: server.c listens and holds the limits, server_conn.c moves a connection
 * from request to request, server_reply.c is what handlers call. The seam for protocols that
 * take a connection over (SPDY, WebSocket): when the handler runs, a head with `upgrade` set is
 * parsed, authorized and kept in request->head, and nothing after it was interpreted: the peer's
 * next bytes are in conn->in. */
#pragma once

#include "base/buf.h"
#include "k8s/auth.h"
#include "k8s/server.h"
#include "k8s/server_body.h"
#include "k8s/server_head.h"
#include "k8s/tls.h"

#include <uv.h>

#define SERVER_IN_MAX HEAD_BYTES_MAX
#define SERVER_OUT_MAX (SERVER_REPLY_MAX + 64 * 1024) /* an answer with its head */
#define SERVER_TURNS_MAX 16 /* requests of one connection before others have their turn */

struct auth_calls;

enum conn_state {
    CONN_HANDSHAKE, /* TLS */
    CONN_HEAD,      /* between requests, or in the middle of a head */
    CONN_BODY,      /* stepping over a body */
    CONN_REVIEW,    /* conn->check is under way */
    CONN_HANDLER,   /* the handler has the request and has not answered */
    CONN_STREAM,    /* it began an answer and will go on */
    CONN_UPGRADED,  /* it speaks another protocol now: server_upgrade.h */
    CONN_FLUSH,     /* the answer is complete and leaves */
    CONN_LINGER,    /* said goodbye; what still comes is thrown away */
    CONN_DEAD,      /* waits for its handles to close */
};

struct server_conn {
    struct server *server;
    struct server_conn *next, *prev; /* oldest first */
    int fd;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles; /* not closed yet */
    int events;       /* polled for */
    enum conn_state state;
    struct tls *tls;
    bool known;      /* somebody authenticated on it */
    bool head_timed; /* the time for this head is running */
    bool want_close; /* after this answer */
    bool again;      /* has work without waiting for the socket */
    bool eof;        /* the peer will send no more */
    bool push_stuck; /* TLS must read before it can write */
    struct buf in;
    size_t in_scanned;
    struct buf out;
    size_t out_at; /* bytes of out that left */
    struct body body;
    struct auth_check *check;
    struct server_request *request;
};

enum request_state {
    REQUEST_OPEN, /* not answered */
    REQUEST_STREAM,
    REQUEST_ENDED,
};

struct server_request {
    struct server *server;
    struct server_conn *conn; /* NULL: the client is gone */
    struct server_request *late_next;
    enum request_state state;
    struct head head;
    struct {
        char *name;
        char *value;
    } headers[SERVER_HEADERS_MAX];
    size_t headers_len;
    bool chunked;
    bool bodiless; /* HEAD, 204, 304 */
    bool is_late;  /* in server->late */
    const struct server_stream_ops *ops;
    void (*on_input)(void *userdata); /* CONN_UPGRADED */
    void *userdata;
};

struct server {
    uv_loop_t *loop;
    int fd;
    uint16_t port;
    uv_poll_t listener;
    uv_timer_t retry; /* accepting again after the process ran out of descriptors */
    uv_timer_t later; /* on_closed for streams begun after their client went */
    unsigned handles;
    bool stopped;
    struct auth *auth;
    struct tls_context *context; /* NULL: no certificate yet */
    char *cert_pem, *key_pem, *client_ca_pem;
    struct front_proxy *front_proxy; /* NULL: certificates are the client's own */
    server_handler handler;
    void *userdata;
    struct server_conn *first, *last;
    size_t conns, strangers;
    size_t requests;
    struct server_request *late;
};

/* server_start with another table of calls: for tests. */
int server_start_with(uv_loop_t *loop, struct kube_client *client, const struct auth_calls *calls,
                      const struct server_config *config, server_handler handler, void *userdata,
                      struct server **ret, struct err *err);

/* server.c */
void server_forget_conn(struct server_conn *conn); /* frees it */
void server_release(struct server *server);        /* frees it when nothing is left */
void server_request_free(struct server_request *request);

/* server_conn.c */
void conn_start(struct server *server, int fd);
void conn_close(struct server_conn *conn);              /* at once */
void conn_arm(struct server_conn *conn);                /* polls for what the state needs */
void conn_timer(struct server_conn *conn, uint64_t ms); /* 0: none */
uint64_t conn_stall_ms(const struct server_conn *conn);
size_t conn_queued(const struct server_conn *conn);

/* server_reply.c: on_closed for streams begun after their client went. */
void reply_late(struct server *server);
/* An answer of the server's own. */
void reply_text(struct server_request *request, int status, const char *text);
/* An answer to what could not be read as a request; the connection ends after it. */
void reply_refusal(struct server_conn *conn, int status);
