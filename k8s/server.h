/* The HTTPS server on :10250 (contract 5): TLS, who asks (client certificate or TokenReview),
 * whether they may (SubjectAccessReview), then a handler. No path answers before both are
 * settled. */
#pragma once

#include "k8s/client.h"

struct auth_attributes;
struct front_proxy;
struct server;
struct server_request;

#define SERVER_CONNECTIONS_MAX 4096
#define SERVER_STRANGERS_MAX 128            /* nobody authenticated yet; the oldest goes first */
#define SERVER_QUEUE_MAX (256 * 1024)       /* bytes of a stream not yet taken by the peer */
#define SERVER_REPLY_MAX (64 * 1024 * 1024) /* of a whole answer */
#define SERVER_HEADERS_MAX 8
#define SERVER_HANDSHAKE_MS_MAX 10000
#define SERVER_HEAD_MS_MAX 10000 /* from a head's first byte to its last */
#define SERVER_BODY_MS_MAX 30000
#define SERVER_IDLE_MS_MAX 90000 /* between requests, as the kubelet */
#define SERVER_AUTH_MS_MAX 15000
#define SERVER_STALL_MS_MAX (4 * 3600 * 1000) /* a reader that stopped, as the kubelet */
#define SERVER_REPLY_MS_MAX (5 * 60 * 1000)   /* the same for a whole answer, which holds memory */
#define SERVER_LINGER_MS_MAX 2000             /* for the peer to read a last answer */

struct server_config {
    const char *address; /* "0.0.0.0" */
    uint16_t port;
    const char *node_name;
    const char *client_ca_pem; /* NULL: client certificates are not accepted */
    bool anonymous;            /* default off */
    /* What a request is to the authorizer; NULL: the kubelet's own (auth.h). */
    void (*map)(const char *method, const char *path, struct auth_attributes *ret);
};

/* Called for an allowed request. path has no query. Answer now or later: a request lives until
 * it is answered, even when the client has gone. */
typedef void (*server_handler)(void *userdata, struct server_request *request);

int server_start(struct uv_loop_s *loop, struct kube_client *client,
                 const struct server_config *config, server_handler handler, void *userdata,
                 struct server **ret, struct err *err);
/* Connections end; on_closed comes before the return. Requests that were not answered yet may
 * still be answered, to nobody. The loop must run on for the handles to close. */
void server_stop(struct server *server);
uint16_t server_port(const struct server *server); /* the one that 0 became */
/* New connections use it; live ones keep theirs. Nobody is accepted before the first. */
int server_set_certificate(struct server *server, const char *cert_pem, const char *key_pem,
                           struct err *err);
/* Holds for the next request of live connections too. NULL: no client certificates any more. */
int server_set_client_ca(struct server *server, const char *ca_pem, struct err *err);

/* From now on client certificates are those of a front proxy, which says in headers for whom it
 * asks (front_proxy.h); what it does not allow is nobody. Taken over; an older one is freed. */
int server_set_front_proxy(struct server *server, struct front_proxy *proxy, struct err *err);

const char *server_method(const struct server_request *request); /* "GET" */
const char *server_path(const struct server_request *request);
/* The first value of a query parameter, decoded; NULL: absent. Valid until the request ends. */
const char *server_query(const struct server_request *request, const char *name);

/* For the answer's head; before server_reply or server_begin. At most SERVER_HEADERS_MAX, more
 * are left out. Copied. */
void server_add_header(struct server_request *request, const char *name, const char *value);

/* A whole answer. The request is gone afterwards. */
void server_reply(struct server_request *request, int status, const char *content_type,
                  const void *body, size_t len);
/* A stream: begin (headers leave at once), then write; on_writable says when the peer took what was
 * written and more is welcome; on_closed that it went away (also after server_end), and is the last
 * that is heard of the request. No function below calls back before it returned. */
struct server_stream_ops {
    void (*on_writable)(void *userdata);
    void (*on_closed)(void *userdata);
};
void server_begin(struct server_request *request, int status, const char *content_type,
                  const struct server_stream_ops *ops, void *userdata);
/* Bytes accepted, 0 when the bounded queue is full: wait for on_writable. */
size_t server_write(struct server_request *request, const void *data, size_t len);
void server_end(struct server_request *request); /* after what was written has left */
/* Ends it without the mark of a complete answer: what was sent is not all. */
void server_abort(struct server_request *request);
