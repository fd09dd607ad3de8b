/* The HTTPS server over real sockets for tests: a bench with a fake API server behind it, and a
 * client. One thread: the client does not block and runs the server's loop while it waits. */
#pragma once

#include "auth_fixture.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "k8s/server_conn.h"
#include "pki_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include <cmocka.h>

#define WAIT_MS 5000
#define ANSWER_MAX (8 * 1024 * 1024)

#define AS_ADMIN "Host: n\r\nAuthorization: Bearer token-admin\r\n"

struct bench {
    uv_loop_t loop;
    struct fake_api api;
    struct server *server;
    struct pki ca, other_ca;
    char *cert, *key;
    /* The handler's side. */
    unsigned handled, closed, writable;
    struct server_request *held;
    size_t to_write, written;
    char query[64];
};

static const struct server_stream_ops stream_ops;

static inline void feed_stream(struct bench *b)
{
    static char block[10000];
    memset(block, 'x', sizeof(block));
    while (b->held && b->written < b->to_write) {
        size_t want = b->to_write - b->written;
        size_t n = server_write(b->held, block, want < sizeof(block) ? want : sizeof(block));
        if (n == 0)
            return;
        b->written += n;
    }
    if (b->held && b->to_write)
        server_end(b->held);
}

static inline void on_writable(void *userdata)
{
    struct bench *b = userdata;
    b->writable++;
    if (b->written < b->to_write)
        feed_stream(b);
}

static inline void on_closed(void *userdata)
{
    struct bench *b = userdata;
    b->closed++;
    b->held = NULL;
}

static const struct server_stream_ops stream_ops = {on_writable, on_closed};

static inline void handler(void *userdata, struct server_request *request)
{
    struct bench *b = userdata;
    const char *path = server_path(request);
    b->handled++;
    str_copy(b->query, sizeof(b->query),
             server_query(request, "q") ? server_query(request, "q") : "");
    if (str_eq(path, "/healthz")) {
        server_reply(request, 200, "text/plain", "ok", 2);
    } else if (str_eq(path, "/pods")) {
        server_add_header(request, "X-Test", "1");
        server_add_header(request, "X-Bad", "1\r\nInjected: 1");
        server_reply(request, 200, "application/json", "{}", 2);
    } else if (str_eq(path, "/stats/hold")) {
        b->held = request;
    } else if (str_starts(path, "/containerLogs/") || str_eq(path, "/logs/big")) {
        b->held = request;
        b->written = 0;
        server_begin(request, 200, "text/plain", &stream_ops, b);
        if (b->to_write)
            feed_stream(b);
    } else {
        server_reply(request, 404, "text/plain; charset=utf-8", "404 page not found", 18);
    }
}

static inline void spin(struct bench *b)
{
    (void)uv_run(&b->loop, UV_RUN_NOWAIT);
    fake_api_step(&b->api);
}

/* handler and userdata: who answers. */
static inline void open_bench_for(struct bench *b, bool anonymous, server_handler handle,
                                  void *userdata)
{
    struct err err;
    *b = (struct bench){0};
    uv_loop_init(&b->loop);
    fake_api_init(&b->api);
    pki_init(&b->ca, "client CA");
    pki_init(&b->other_ca, "client CA");
    static const char *const ips[] = {"127.0.0.1"};
    const struct x509_subject subject = {
        .common_name = "system:node:uk-0", .ips = ips, .ips_len = 1};
    assert_int_equal(x509_key_new(&b->key, &err), 0);
    assert_int_equal(x509_self_signed(b->key, &subject, clock_unix_ms(), 1, &b->cert, &err), 0);
    const struct server_config config = {.address = "127.0.0.1",
                                         .node_name = "uk-0",
                                         .client_ca_pem = b->ca.ca_pem,
                                         .anonymous = anonymous};
    assert_int_equal(server_start_with(&b->loop, (struct kube_client *)(void *)&b->api, &fake_calls,
                                       &config, handle, userdata, &b->server, &err),
                     0);
    assert_int_equal(server_set_certificate(b->server, b->cert, b->key, &err), 0);
}

static inline void open_bench(struct bench *b, bool anonymous)
{
    open_bench_for(b, anonymous, handler, b);
}

static inline void close_bench(struct bench *b)
{
    server_stop(b->server);
    fake_api_step(&b->api);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    pki_done(&b->ca);
    pki_done(&b->other_ca);
    free(b->cert);
    x509_key_free(b->key);
}

/* ---- a client ---- */

struct client {
    struct bench *bench;
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
    struct buf in;
    bool eof;
};

static inline void client_open(struct client *c, struct bench *b, const char *cert, const char *key)
{
    *c = (struct client){.bench = b, .in = BUF_INIT(ANSWER_MAX)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(server_port(b->server))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    (void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
    int on = 1; /* what was sent has arrived: the tests count on it */
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->ctx = SSL_CTX_new(TLS_client_method());
    if (cert) {
        BIO *bio = BIO_new_mem_buf(cert, -1);
        X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        BIO_free(bio);
        bio = BIO_new_mem_buf(key, -1);
        EVP_PKEY *k = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
        assert_int_equal(SSL_CTX_use_certificate(c->ctx, x), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(c->ctx, k), 1);
        X509_free(x);
        EVP_PKEY_free(k);
    }
    c->ssl = SSL_new(c->ctx);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_connect_state(c->ssl);
}

static inline void client_close(struct client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    if (c->fd >= 0)
        close(c->fd);
    buf_free(&c->in);
}

/* Waits a little for the socket, and lets the server work. */
static inline void client_wait(struct client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    spin(c->bench);
    (void)poll(&p, 1, 1);
}

static inline void client_send(struct client *c, const void *data, size_t len)
{
    uint64_t until = clock_mono_ms() + WAIT_MS;
    size_t done = 0;
    SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
    while (done < len && clock_mono_ms() < until) {
        int n = SSL_write(c->ssl, (const char *)data + done, (int)(len - done));
        if (n > 0)
            done += (size_t)n;
        else if (SSL_get_error(c->ssl, n) > 3)
            return;
        else
            client_wait(c);
    }
    assert_int_equal(done, len);
}

static inline void client_text(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

/* One attempt. */
static inline void client_pull(struct client *c)
{
    char data[16384];
    int n = SSL_read(c->ssl, data, sizeof(data));
    if (n > 0)
        assert_int_equal(buf_add(&c->in, data, (size_t)n), 0);
    else if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ &&
             SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_WRITE)
        c->eof = true;
    else
        client_wait(c);
}

/* Until the text is there, or the end. */
static inline bool client_expect(struct client *c, const char *text)
{
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (!strstr(buf_str(&c->in), text) && !c->eof && clock_mono_ms() < until)
        client_pull(c);
    return strstr(buf_str(&c->in), text) != NULL;
}

static inline bool client_eof(struct client *c)
{
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (!c->eof && clock_mono_ms() < until)
        client_pull(c);
    return c->eof;
}

/* A status line's number. */
static inline int client_status(struct client *c)
{
    if (!client_expect(c, "\r\n\r\n"))
        return -1;
    return (int)strtol(buf_str(&c->in) + 9, NULL, 10);
}

static inline int one(struct bench *b, const char *cert, const char *key, const char *method,
                      const char *path, const char *authorization, char *text, size_t size)
{
    struct client c;
    client_open(&c, b, cert, key);
    CLEANUP(free)
    char *request = xasprintf("%s %s HTTP/1.1\r\nHost: n\r\n%s%s%sConnection: close\r\n\r\n",
                              method, path, authorization ? "Authorization: " : "",
                              authorization ? authorization : "", authorization ? "\r\n" : "");
    client_text(&c, request);
    int status = client_status(&c);
    assert_true(client_eof(&c));
    const char *body = strstr(buf_str(&c.in), "\r\n\r\n");
    if (text)
        str_copy(text, size, body ? body + 4 : "");
    client_close(&c);
    return status;
}
