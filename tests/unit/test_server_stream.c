/* Streams with back-pressure, clients that go, swapped certificates under live connections,
 * silent and slow clients. */
#include "server_fixture.h"

static void test_stream(void **state)
{
    (void)state;
    struct bench b;
    struct client c;
    open_bench(&b, false);
    /* The head leaves before any data. */
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "GET /containerLogs/a/b/c?follow=true HTTP/1.1\r\n" AS_ADMIN "\r\n");
    assert_true(client_expect(&c, "Transfer-Encoding: chunked\r\n\r\n"));
    assert_int_equal(server_write(b.held, "line\n", 5), 5);
    assert_true(client_expect(&c, "5\r\nline\n\r\n"));
    server_end(b.held);
    assert_int_equal(b.closed, 0);
    assert_true(client_expect(&c, "\r\n0\r\n\r\n"));
    assert_int_equal(b.closed, 1);
    /* The connection goes on, and ends under the next stream. */
    buf_reset(&c.in);
    client_text(&c, "GET /containerLogs/a/b/c?follow=true HTTP/1.1\r\n" AS_ADMIN "\r\n");
    assert_true(client_expect(&c, "chunked"));
    client_close(&c);
    for (int i = 0; i < 20 && b.closed == 1; i++)
        spin(&b);
    assert_int_equal(b.closed, 2);
    /* HTTP/1.0 knows no chunks: the end is the connection's. */
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "GET /containerLogs/a/b/c HTTP/1.0\r\n" AS_ADMIN "\r\n");
    assert_true(client_expect(&c, "\r\n\r\n"));
    assert_int_equal(server_write(b.held, "line\n", 5), 5);
    server_end(b.held);
    assert_true(client_eof(&c));
    assert_null(strstr(c.in.data, "chunked"));
    assert_non_null(strstr(c.in.data, "\r\n\r\nline\n"));
    client_close(&c);
    /* Cut off: no last chunk. */
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "GET /containerLogs/a/b/c HTTP/1.1\r\n" AS_ADMIN "\r\n");
    assert_true(client_expect(&c, "chunked"));
    server_abort(b.held);
    assert_true(client_eof(&c));
    assert_null(strstr(c.in.data, "0\r\n\r\n"));
    assert_int_equal(b.closed, 4);
    client_close(&c);
    close_bench(&b);
}

static void test_back_pressure(void **state)
{
    (void)state;
    struct bench b;
    struct client c;
    open_bench(&b, false);
    b.to_write = 20 * 1024 * 1024;
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "GET /logs/big HTTP/1.1\r\n" AS_ADMIN "\r\n");
    for (int i = 0; i < 200; i++)
        spin(&b);
    /* Nobody reads: what was taken is the queue and the sockets' buffers. */
    size_t stuck = b.written;
    assert_true(stuck >= SERVER_QUEUE_MAX / 2 && stuck < 16 * 1024 * 1024);
    assert_true(conn_queued(b.server->first) <= SERVER_QUEUE_MAX);
    for (int i = 0; i < 200; i++)
        spin(&b);
    assert_int_equal(b.written, stuck);
    size_t total = 0;
    uint64_t until = clock_mono_ms() + 4 * WAIT_MS;
    while (b.closed == 0 && !c.eof && clock_mono_ms() < until) {
        client_pull(&c);
        total += c.in.len;
        buf_reset(&c.in);
    }
    assert_int_equal(b.closed, 1);
    assert_int_equal(b.written, b.to_write);
    assert_true(total + 4 * SERVER_QUEUE_MAX > b.to_write);
    client_close(&c);
    close_bench(&b);
}

static void test_gone_clients(void **state)
{
    (void)state;
    struct bench b;
    struct client c;
    open_bench(&b, false);
    /* While the API server is asked. */
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "GET /pods HTTP/1.1\r\n" AS_ADMIN "\r\n");
    for (int i = 0; i < 100 && b.api.pending == 0; i++)
        (void)uv_run(&b.loop, UV_RUN_NOWAIT);
    assert_int_equal(b.server->first->state, CONN_REVIEW);
    client_close(&c);
    for (int i = 0; i < 20; i++)
        (void)uv_run(&b.loop, UV_RUN_NOWAIT);
    assert_int_equal(b.server->requests, 0);
    spin(&b); /* the answer comes late and finds nobody */
    unsigned handled = b.handled;
    assert_int_equal(handled, 0);
    /* While the handler thinks: a reply, then a stream, to nobody. */
    for (int stream = 0; stream < 2; stream++) {
        client_open(&c, &b, NULL, NULL);
        client_text(&c, "GET /stats/hold HTTP/1.1\r\n" AS_ADMIN "\r\n");
        for (int i = 0; i < 100 && !b.held; i++)
            spin(&b);
        assert_non_null(b.held);
        client_close(&c);
        for (int i = 0; i < 20; i++)
            spin(&b);
        assert_int_equal(b.server->conns, 0);
        assert_int_equal(b.server->requests, 1);
        if (stream) {
            server_begin(b.held, 200, "text/plain", &stream_ops, &b);
            assert_int_equal(b.closed, 0);
            assert_int_equal(server_write(b.held, "x", 1), 0);
            for (int i = 0; i < 5; i++)
                spin(&b);
            assert_int_equal(b.closed, 1);
        } else {
            server_reply(b.held, 200, "text/plain", "x", 1);
            b.held = NULL;
        }
        assert_int_equal(b.server->requests, 0);
    }
    assert_int_equal(b.handled, handled + 2);
    /* Stopped with a request at the handler's: it is answered afterwards. */
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "GET /stats/hold HTTP/1.1\r\n" AS_ADMIN "\r\n");
    for (int i = 0; i < 100 && !b.held; i++)
        spin(&b);
    struct server_request *late = b.held;
    server_stop(b.server);
    spin(&b);
    server_reply(late, 200, "text/plain", "x", 1);
    client_close(&c);
    uv_run(&b.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b.loop), 0);
    pki_done(&b.ca);
    pki_done(&b.other_ca);
    free(b.cert);
    x509_key_free(b.key);
}

static void test_swap(void **state)
{
    (void)state;
    struct bench b;
    struct client old, fresh;
    struct err err;
    char *user_cert, *user_key;
    open_bench(&b, false);
    const struct x509_subject user = {.common_name = "admin"};
    pki_issue(&b.ca, &user, "clientAuth", -300, 600, &user_cert, &user_key);
    client_open(&old, &b, user_cert, user_key);
    client_text(&old, "GET /containerLogs/a/b/c HTTP/1.1\r\nHost: n\r\n\r\n");
    assert_true(client_expect(&old, "chunked"));
    /* A new certificate: the live stream goes on, new connections see it. */
    char *cert = NULL, *key = NULL;
    const struct x509_subject subject = {.common_name = "new"};
    assert_int_equal(x509_key_new(&key, &err), 0);
    assert_int_equal(x509_self_signed(key, &subject, clock_unix_ms(), 1, &cert, &err), 0);
    assert_int_equal(server_set_certificate(b.server, cert, b.key, &err), -EKEYREJECTED);
    assert_int_equal(server_set_certificate(b.server, cert, "x", &err), -EBADMSG);
    assert_int_equal(server_set_certificate(b.server, cert, key, &err), 0);
    assert_int_equal(server_write(b.held, "still\n", 6), 6);
    assert_true(client_expect(&old, "still"));
    client_open(&fresh, &b, user_cert, user_key);
    client_text(&fresh, "GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n");
    assert_true(client_expect(&fresh, "ok"));
    X509 *seen = SSL_get1_peer_certificate(fresh.ssl);
    char name[64];
    X509_NAME_get_text_by_NID(X509_get_subject_name(seen), NID_commonName, name, sizeof(name));
    assert_string_equal(name, "new");
    X509_free(seen);
    /* Another client CA: the next request of a live connection is judged by it. */
    assert_int_equal(server_set_client_ca(b.server, "rubbish", &err), -EBADMSG);
    assert_int_equal(server_set_client_ca(b.server, b.other_ca.ca_pem, &err), 0);
    buf_reset(&fresh.in);
    client_text(&fresh, "GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n");
    assert_int_equal(client_status(&fresh), 401);
    assert_int_equal(server_set_client_ca(b.server, NULL, &err), 0);
    buf_reset(&fresh.in);
    client_text(&fresh, "GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n");
    assert_int_equal(client_status(&fresh), 401);
    client_close(&old);
    client_close(&fresh);
    free(cert);
    x509_key_free(key);
    free(user_cert);
    x509_key_free(user_key);
    close_bench(&b);
}

static void test_strangers(void **state)
{
    (void)state;
    struct bench b;
    struct client known;
    int fds[SERVER_STRANGERS_MAX + 40];
    open_bench(&b, false);
    client_open(&known, &b, NULL, NULL);
    client_text(&known, "GET /healthz HTTP/1.1\r\n" AS_ADMIN "\r\n");
    assert_true(client_expect(&known, "ok"));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(server_port(b.server))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fds[i], (struct sockaddr *)&at, sizeof(at)), 0);
        spin(&b);
    }
    for (int i = 0; i < 10; i++)
        spin(&b);
    assert_int_equal(b.server->strangers, SERVER_STRANGERS_MAX);
    assert_int_equal(b.server->conns, SERVER_STRANGERS_MAX + 1);
    /* Silent ones lock out nobody. */
    assert_int_equal(one(&b, NULL, NULL, "GET", "/healthz", "Bearer token-admin", NULL, 0), 200);
    buf_reset(&known.in);
    client_text(&known, "GET /healthz HTTP/1.1\r\n" AS_ADMIN "\r\n");
    assert_true(client_expect(&known, "ok"));
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        close(fds[i]);
    client_close(&known);
    close_bench(&b);
}

/* The timers are armed; firing them early is what a slow client meets. */
static void fire(struct server_conn *conn)
{
    uv_timer_cb cb = conn->timer.timer_cb;
    assert_true(uv_is_active((uv_handle_t *)&conn->timer));
    (void)uv_timer_stop(&conn->timer);
    cb(&conn->timer);
}

static void test_slow_clients(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status; /* 0: closed without a word */
    } rows[] = {
        {"", 0},
        {"GET /pods HT", 408},
        {"POST /pods HTTP/1.1\r\nHost: n\r\nContent-Length: 10\r\n\r\nabc", 408},
    };
    struct bench b;
    struct client c;
    open_bench(&b, true);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        client_open(&c, &b, NULL, NULL);
        client_text(&c, "GET /nosuch HTTP/1.1\r\nHost: n\r\n\r\n");
        assert_int_equal(client_status(&c), 403);
        buf_reset(&c.in);
        if (*rows[i].text)
            client_text(&c, rows[i].text);
        for (int k = 0; k < 10; k++)
            spin(&b);
        fire(b.server->first);
        if (rows[i].status)
            assert_int_equal(client_status(&c), rows[i].status);
        assert_true(client_eof(&c));
        assert_int_equal(c.in.len > 0, rows[i].status != 0);
        client_close(&c);
        for (int k = 0; k < 10; k++)
            spin(&b);
    }
    /* An API server that never answers. */
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "GET /pods HTTP/1.1\r\nHost: n\r\nAuthorization: Bearer new\r\n\r\n");
    for (int i = 0; i < 1000 && (!b.server->first || b.server->first->state != CONN_REVIEW); i++) {
        (void)uv_run(&b.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(b.server->first->state, CONN_REVIEW);
    fire(b.server->first);
    assert_int_equal(client_status(&c), 503);
    client_close(&c);
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),       cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_gone_clients), cmocka_unit_test(test_swap),
        cmocka_unit_test(test_strangers),    cmocka_unit_test(test_slow_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
