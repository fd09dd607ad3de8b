/* Listening, certificates, and how many connections there may be. Strangers (nobody
 * authenticated yet) are counted apart and the oldest gives way, so that silent clients lock
 * nobody out. */
#include "k8s/server.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "k8s/front_proxy.h"
#include "k8s/server_conn.h"
#include "k8s/x509.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 256
#define ACCEPTS_A_TURN_MAX 64
#define ACCEPT_RETRY_MS 200
#define KEEPALIVE_SECONDS 30

static int listen_on(const struct server_config *config, int *ret_fd, uint16_t *ret_port,
                     struct err *err)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    socklen_t len = sizeof(at.v4);
    if (inet_pton(AF_INET, config->address, &at.v4.sin_addr) == 1) {
        at.v4.sin_family = AF_INET;
        at.v4.sin_port = htons(config->port);
    } else if (inet_pton(AF_INET6, config->address, &at.v6.sin6_addr) == 1) {
        len = sizeof(at.v6);
        at.v6.sin6_family = AF_INET6;
        at.v6.sin6_port = htons(config->port);
    } else {
        return err_spec(err, -EINVAL, "\"%s\" is no IP address to listen on", config->address);
    }
    CLEANUP(close)
    int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, &at.any, len) < 0 || listen(fd, BACKLOG) < 0 || getsockname(fd, &at.any, &len) < 0)
        return err_set(err, -errno, "cannot listen on %s port %u: %s", config->address,
                       (unsigned)config->port, strerror(errno));
    *ret_port = ntohs(at.any.sa_family == AF_INET ? at.v4.sin_port : at.v6.sin6_port);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* The oldest connection that may be given up for a new one. */
static struct server_conn *victim(const struct server *server, bool stranger)
{
    for (struct server_conn *conn = server->first; conn; conn = conn->next) {
        bool idle = conn->state == CONN_HEAD && conn->in.len == 0;
        if (conn->state != CONN_DEAD && (stranger ? !conn->known : idle))
            return conn;
    }
    return NULL;
}

static void admit(struct server *server, int fd)
{
    struct server_conn *gives_way = NULL;
    if (server->strangers >= SERVER_STRANGERS_MAX)
        gives_way = victim(server, true);
    else if (server->conns >= SERVER_CONNECTIONS_MAX)
        gives_way = victim(server, false);
    if (gives_way)
        conn_close(gives_way);
    if (server->conns >= SERVER_CONNECTIONS_MAX) {
        (void)close(fd);
        return;
    }
    int on = 1;
    int idle = KEEPALIVE_SECONDS;
    /* A peer that vanished without a word must not hold a followed log for ever. */
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    conn_start(server, fd);
}

static void listen_again(struct server *server);

static void on_retry(uv_timer_t *timer)
{
    listen_again(timer->data);
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
    struct server *server = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN_MAX; i++) {
        int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            admit(server, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            (void)uv_poll_stop(&server->listener);
            (void)uv_timer_start(&server->retry, on_retry, ACCEPT_RETRY_MS, 0);
        }
        if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

static void listen_again(struct server *server)
{
    if (server->context && !server->stopped)
        (void)uv_poll_start(&server->listener, UV_READABLE, on_listener);
}

int server_start_with(uv_loop_t *loop, struct kube_client *client, const struct auth_calls *calls,
                      const struct server_config *config, server_handler handler, void *userdata,
                      struct server **ret, struct err *err)
{
    CLEANUP(close) int fd = -1;
    uint16_t port = 0;
    int r = listen_on(config, &fd, &port, err);
    if (r < 0)
        return r;
    struct server *server = xcalloc(1, sizeof(*server));
    server->loop = loop;
    server->port = port;
    server->handler = handler;
    server->userdata = userdata;
    server->client_ca_pem = config->client_ca_pem ? xstrdup(config->client_ca_pem) : NULL;
    r = uv_poll_init(loop, &server->listener, fd);
    if (r < 0) {
        free(server->client_ca_pem);
        free(server);
        return err_set(err, r, "cannot watch the listening socket: %s", uv_strerror(r));
    }
    server->fd = TAKE_FD(fd);
    (void)uv_timer_init(loop, &server->retry);
    (void)uv_timer_init(loop, &server->later);
    server->handles = 3;
    server->listener.data = server->retry.data = server->later.data = server;
    server->auth = auth_new(client, calls, config->node_name, config->anonymous);
    if (config->map)
        auth_set_map(server->auth, config->map);
    *ret = server;
    return 0;
}

int server_start(struct uv_loop_s *loop, struct kube_client *client,
                 const struct server_config *config, server_handler handler, void *userdata,
                 struct server **ret, struct err *err)
{
    return server_start_with(loop, client, NULL, config, handler, userdata, ret, err);
}

uint16_t server_port(const struct server *server)
{
    return server->port;
}

static int swap_context(struct server *server, const char *cert_pem, const char *key_pem,
                        const char *client_ca_pem, struct err *err)
{
    struct tls_context *context = NULL;
    int r = tls_context_new(cert_pem, key_pem, client_ca_pem, &context, err);
    if (r < 0)
        return r;
    bool first = !server->context;
    tls_context_unref(server->context);
    server->context = context;
    if (first)
        listen_again(server);
    return 0;
}

int server_set_certificate(struct server *server, const char *cert_pem, const char *key_pem,
                           struct err *err)
{
    int r = swap_context(server, cert_pem, key_pem, server->client_ca_pem, err);
    if (r < 0)
        return r;
    char *cert = xstrdup(cert_pem);
    char *key = xstrdup(key_pem);
    free(server->cert_pem);
    x509_key_free(server->key_pem);
    server->cert_pem = cert;
    server->key_pem = key;
    return 0;
}

int server_set_client_ca(struct server *server, const char *ca_pem, struct err *err)
{
    if (server->context) {
        int r = swap_context(server, server->cert_pem, server->key_pem, ca_pem, err);
        if (r < 0)
            return r;
    }
    char *ca = ca_pem ? xstrdup(ca_pem) : NULL;
    free(server->client_ca_pem);
    server->client_ca_pem = ca;
    return 0;
}

int server_set_front_proxy(struct server *server, struct front_proxy *proxy, struct err *err)
{
    int r = server_set_client_ca(server, proxy->ca_pem, err);
    if (r < 0) {
        front_proxy_free(proxy);
        return r;
    }
    front_proxy_free(server->front_proxy);
    server->front_proxy = proxy;
    return 0;
}

void server_release(struct server *server)
{
    if (!server->stopped || server->handles || server->first || server->requests)
        return;
    free(server);
}

void server_forget_conn(struct server_conn *conn)
{
    struct server *server = conn->server;
    *(conn->prev ? &conn->prev->next : &server->first) = conn->next;
    *(conn->next ? &conn->next->prev : &server->last) = conn->prev;
    free(conn);
    server_release(server);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct server *server = handle->data;
    server->handles--;
    server_release(server);
}

void server_stop(struct server *server)
{
    if (!server)
        return;
    server->stopped = true;
    for (struct server_conn *conn = server->first; conn; conn = conn->next)
        conn_close(conn);
    reply_late(server);
    auth_free(server->auth);
    server->auth = NULL;
    front_proxy_free(server->front_proxy);
    server->front_proxy = NULL;
    tls_context_unref(server->context);
    server->context = NULL;
    free(server->cert_pem);
    x509_key_free(server->key_pem);
    free(server->client_ca_pem);
    server->cert_pem = server->key_pem = server->client_ca_pem = NULL;
    (void)uv_poll_stop(&server->listener);
    (void)close(server->fd);
    uv_close((uv_handle_t *)&server->listener, on_handle_closed);
    uv_close((uv_handle_t *)&server->retry, on_handle_closed);
    uv_close((uv_handle_t *)&server->later, on_handle_closed);
}
