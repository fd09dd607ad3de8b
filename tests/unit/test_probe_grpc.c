/* k8s/probe_grpc.c and probes over TLS, against servers made here by hand. */
#include "probe_fixture.h"

#include "base/clock.h"
#include "k8s/tls.h"
#include "k8s/x509.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>

static void nothing(struct fake *fake, struct fake_request *q)
{
    (void)fake;
    (void)q;
}

/* ---- TLS ---- */

struct tls_server {
    int fd;
    bool plain; /* speaks HTTP without TLS */
    struct tls_context *context;
};

static void *serve_tls(void *arg)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const struct tls_server *server = arg;
    char in[4096];
    int fd = accept(server->fd, NULL, NULL);

    if (server->plain) {
        static const char bad[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

        (void)!read(fd, in, sizeof(in));
        (void)!write(fd, bad, sizeof(bad) - 1);
    } else {
        struct tls *tls = tls_accept(server->context, fd);

        while (tls_handshake(tls) == -EAGAIN || tls_read(tls, in, sizeof(in)) == -EAGAIN)
            (void)poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 10000);
        (void)tls_write(tls, reply, sizeof(reply) - 1);
        tls_goodbye(tls);
        tls_free(tls);
    }
    (void)close(fd);
    return NULL;
}

static void test_tls(void **state)
{
    static const struct handler handler = {.kind = HANDLER_HTTP, .path = "/", .tls = true};
    const struct x509_subject subject = {.common_name = "nobody.example"};
    char *key = NULL, *cert = NULL;

    (void)state;
    assert_int_equal(x509_key_new(&key, NULL), 0);
    assert_int_equal(x509_self_signed(key, &subject, clock_unix_ms(), 1, &cert, NULL), 0);
    for (int plain = 0; plain < 2; plain++) {
        struct tls_server server = {.plain = plain};
        struct fake fake;
        pthread_t thread;
        int port = deaf_port(&server.fd);

        assert_int_equal(listen(server.fd, 8), 0);
        assert_int_equal(tls_context_new(cert, key, NULL, &server.context, NULL), 0);
        assert_int_equal(pthread_create(&thread, NULL, serve_tls, &server), 0);
        fake_start(&fake, nothing, NULL);
        struct seen seen = ask(&fake, &handler, port, 10000);
        if (seen.outcome != (plain ? PROBE_FAILED : PROBE_OK))
            print_error("\"%s\"\n", seen.text);
        assert_int_equal(seen.outcome, plain ? PROBE_FAILED : PROBE_OK);
        assert_int_equal(seen.plain_http, plain);
        if (plain)
            assert_non_null(strstr(seen.text, "http: server gave HTTP response to HTTPS client"));
        assert_int_equal(pthread_join(thread, NULL), 0);
        tls_context_unref(server.context);
        (void)close(server.fd);
        fake_stop(&fake);
    }
    x509_key_free(key);
    free(cert);
}

/* ---- gRPC: HTTP/2 frames by hand ---- */

struct grpc_row {
    const char *status;  /* grpc-status; NULL: none */
    const char *message; /* grpc-message; NULL: none */
    const char *body;    /* NULL: no DATA */
    size_t body_len;
    bool silent;
    enum probe_outcome outcome;
    const char *text;
};

struct grpc {
    uv_tcp_t listener, conn;
    const struct grpc_row *row;
    struct buf in;
    bool answered;
};

static void add_frame(struct buf *out, unsigned type, unsigned flags, unsigned stream,
                      const char *data, size_t len)
{
    const char head[9] = {
        (char)(len >> 16), (char)(len >> 8), (char)len, (char)type, (char)flags, 0, 0, 0,
        (char)stream};

    (void)buf_add(out, head, sizeof(head));
    (void)buf_add(out, data, len);
}

static void add_literal(struct buf *out, const char *name, const char *value)
{
    (void)buf_addc(out, 0);
    (void)buf_addc(out, (char)strlen(name));
    (void)buf_adds(out, name);
    (void)buf_addc(out, (char)strlen(value));
    (void)buf_adds(out, value);
}

static void grpc_answer(struct grpc *g)
{
    struct buf out = BUF_INIT(65536), headers = BUF_INIT(4096);
    uv_buf_t buf;

    add_frame(&out, 4, 0, 0, "", 0); /* SETTINGS */
    add_frame(&out, 4, 1, 0, "", 0); /* and the client's acknowledged */
    if (!g->row->silent) {
        (void)buf_addc(&headers, (char)0x88); /* :status 200 */
        add_literal(&headers, "content-type", "application/grpc");
        add_frame(&out, 1, 4, 1, buf_str(&headers), headers.len);
        if (g->row->body)
            add_frame(&out, 0, 0, 1, g->row->body, g->row->body_len);
        buf_reset(&headers);
        add_literal(&headers, "x-other", "1");
        if (g->row->status)
            add_literal(&headers, "grpc-status", g->row->status);
        if (g->row->message)
            add_literal(&headers, "grpc-message", g->row->message);
        add_frame(&out, 1, 5, 1, buf_str(&headers), headers.len);
    }
    buf = uv_buf_init(out.data, (unsigned)out.len);
    assert_int_equal(uv_try_write((uv_stream_t *)&g->conn, &buf, 1), (int)out.len);
    buf_free(&out);
    buf_free(&headers);
}

static void grpc_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct grpc *g = stream->data;

    if (n > 0)
        assert_int_equal(buf_add(&g->in, buf->base, (size_t)n), 0);
    free(buf->base);
    if (n < 0) {
        uv_close((uv_handle_t *)&g->conn, NULL);
        return;
    }
    /* The message itself: five bytes of frame, field 1, length, "db". */
    static const char message[] = {0, 0, 0, 0, 4, 0x0a, 2, 'd', 'b'};
    if (!g->answered && g->in.data &&
        memmem(g->in.data, g->in.len, message, sizeof(message)) != NULL) {
        g->answered = true;
        grpc_answer(g);
    }
}

static void grpc_accept(uv_stream_t *listener, int status)
{
    struct grpc *g = listener->data;

    assert_int_equal(status, 0);
    (void)uv_tcp_init(listener->loop, &g->conn);
    g->conn.data = g;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&g->conn), 0);
    (void)uv_read_start((uv_stream_t *)&g->conn, fake_alloc, grpc_read);
}

static int grpc_listen(struct grpc *g, uv_loop_t *loop)
{
    struct sockaddr_in addr;
    int len = sizeof(addr);

    (void)uv_ip4_addr("127.0.0.1", 0, &addr);
    (void)uv_tcp_init(loop, &g->listener);
    g->listener.data = g;
    assert_int_equal(uv_tcp_bind(&g->listener, (struct sockaddr *)&addr, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&g->listener, 8, grpc_accept), 0);
    (void)uv_tcp_getsockname(&g->listener, (struct sockaddr *)&addr, &len);
    return ntohs(addr.sin_port);
}

#define MESSAGE(...) (const char[]){__VA_ARGS__}, sizeof((const char[]){__VA_ARGS__})

static void test_grpc(void **state)
{
    const struct grpc_row rows[] = {
        {"0", NULL, MESSAGE(0, 0, 0, 0, 2, 8, 1), false, PROBE_OK, ""},
        {"0", NULL, MESSAGE(0, 0, 0, 0, 7, 0x12, 1, 'x', 0x18, 5, 8, 1), false, PROBE_OK, ""},
        {"0", NULL, MESSAGE(0, 0, 0, 0, 2, 8, 2), false, PROBE_FAILED,
         "service unhealthy (responded with \"NOT_SERVING\")"},
        {"0", NULL, MESSAGE(0, 0, 0, 0, 0), false, PROBE_FAILED,
         "service unhealthy (responded with \"UNKNOWN\")"},
        {"5", "unknown service%21", NULL, 0, false, PROBE_FAILED,
         "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service!"},
        {"12", "no health", NULL, 0, false, PROBE_FAILED,
         "error: this server does not implement the grpc health protocol "
         "(grpc.health.v1.Health): no health"},
        {NULL, NULL, MESSAGE(0, 0, 0, 0, 2, 8, 1), false, PROBE_FAILED,
         "error: health rpc probe failed: rpc error: code = Internal desc = server closed the "
         "stream without sending trailers"},
        {"0", NULL, MESSAGE(0, 0, 0, 0, 9, 8, 1), false, PROBE_FAILED,
         "error: health rpc probe failed: rpc error: code = Internal desc = the answer is no "
         "HealthCheckResponse"},
        {"0", NULL, MESSAGE(0, 0, 0, 0, 3, 8, 1, (char)0x88), false, PROBE_FAILED,
         "error: health rpc probe failed: rpc error: code = Internal desc = the answer is no "
         "HealthCheckResponse"},
        {NULL, NULL, NULL, 0, true, PROBE_FAILED,
         "timeout: health rpc did not complete within 300ms"},
    };
    static const struct handler handler = {.kind = HANDLER_GRPC, .service = "db"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct grpc g = {.row = &rows[i], .in = BUF_INIT(65536)};
        struct fake fake;

        fake_start(&fake, nothing, NULL);
        int port = grpc_listen(&g, &fake.loop);
        struct seen seen = ask(&fake, &handler, port, rows[i].silent ? 300 : 10000);
        assert_string_equal(seen.text, rows[i].text);
        assert_int_equal(seen.outcome, rows[i].outcome);
        assert_non_null(memmem(g.in.data, g.in.len, "PRI * HTTP/2.0", 14));
        uv_close((uv_handle_t *)&g.listener, NULL);
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        if (!uv_is_closing((uv_handle_t *)&g.conn))
            uv_close((uv_handle_t *)&g.conn, NULL);
        (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
        fake_stop(&fake);
        buf_free(&g.in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_grpc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
