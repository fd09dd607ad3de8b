/* The HTTPS server on :10250 (contract 5): TLS, who asks (client certificate or TokenReview), whether
 * they may (SubjectAccessReview), then a handler. No path answers before both are settled. */
#pragma once

#include "k8s/client.h"

struct server;
struct server_request;

struct server_config {
    const char *address; /* "0.0.0.0" */
    uint16_t port;
    const char *node_name;
    const char *client_ca_pem; /* NULL: client certificates are not accepted */
    bool anonymous;            /* default off */
};

struct server_header {
    const char *name;
    const char *value;
};

/* Called for an allowed request. path has no query. Answer now or later. */
typedef void (*server_handler)(void *userdata, struct server_request *request);

int server_start(struct uv_loop_s *loop, struct kube_client *client,
                 const struct server_config *config, server_handler handler, void *userdata,
                 struct server **ret, struct err *err);
void server_stop(struct server *server);
int server_set_certificate(struct server *server, const char *cert_pem, const char *key_pem,
                           struct err *err);
int server_set_client_ca(struct server *server, const char *ca_pem, struct err *err);

const char *server_method(const struct server_request *request); /* "GET" */
const char *server_path(const struct server_request *request);
/* The first value of a query parameter, decoded; NULL: absent. Valid until the request ends. */
const char *server_query(const struct server_request *request, const char *name);

/* A whole answer. */
void server_reply(struct server_request *request, int status, const char *content_type,
                  const void *body, size_t len);
/* A stream: begin (headers leave at once), then write; on_writable says when the peer took what was
 * written and more is welcome; on_closed that it went away (also after server_end). */
struct server_stream_ops {
    void (*on_writable)(void *userdata);
    void (*on_closed)(void *userdata);
};
void server_begin(struct server_request *request, int status, const char *content_type,
                  const struct server_stream_ops *ops, void *userdata);
/* Bytes accepted, 0 when the bounded queue is full: wait for on_writable. */
size_t server_write(struct server_request *request, const void *data, size_t len);
void server_end(struct server_request *request); /* after what was written has left */
