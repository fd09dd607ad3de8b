/* Who gets which answer from the HTTPS server; keep-alive and pipelining; what is refused. */
#include "server_fixture.h"

struct who {
    const char *name;
    char *cert, *key;
    const char *authorization;
    bool valid;
};

static void test_every_path(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
        const char *subresource;
        bool reader, proxyer;
        int found;
    } rows[] = {
        {"GET", "/pods", "pods proxy", true, true, 200},
        {"GET", "/runningpods/", "pods proxy", true, true, 404},
        {"GET", "/healthz", "healthz proxy", true, true, 200},
        {"GET", "/metrics/resource", "metrics", true, false, 404},
        {"GET", "/stats/summary", "stats", true, false, 404},
        {"GET", "/nosuch", "proxy", false, true, 404},
        {"POST", "/nosuch", "proxy", false, false, 404},
        {"GET", "/exec/a/b/c", "proxy", false, false, 404},
        {"POST", "/attach/a/b/c", "proxy", false, false, 404},
        {"GET", "/portForward/a/b", "proxy", false, false, 404},
        {"POST", "/run/a/b/c", "proxy", false, false, 404},
        {"HEAD", "/pods", "pods proxy", true, true, 200},
    };
    struct bench b;
    open_bench(&b, false);
    struct who who[] = {
        {.name = "nobody"},
        {.name = "wrong token", .authorization = "Bearer wrong"},
        {.name = "wrong CA"},
        {.name = "expired"},
        {.name = "other", .authorization = "Bearer token-other", .valid = true},
        {.name = "reader", .valid = true},
        {.name = "reader", .authorization = "Bearer token-reader", .valid = true},
        {.name = "proxyer", .valid = true},
        {.name = "admin", .valid = true},
        {.name = "admin", .authorization = "Bearer token-admin", .valid = true},
    };
    for (size_t i = 2; i < 9; i++) {
        const struct x509_subject subject = {.organization = "people",
                                             .common_name = i < 4 ? "admin" : who[i].name};
        if (!who[i].authorization)
            pki_issue(i == 2 ? &b.other_ca : &b.ca, &subject, "clientAuth", -300,
                      i == 3 ? -10 : 600, &who[i].cert, &who[i].key);
    }
    for (size_t w = 0; w < sizeof(who) / sizeof(who[0]); w++) {
        for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
            bool ok = str_eq(who[w].name, "admin") ||
                      (str_eq(who[w].name, "reader") && rows[r].reader) ||
                      (str_eq(who[w].name, "proxyer") && rows[r].proxyer);
            unsigned handled = b.handled;
            char text[256];
            int status = one(&b, who[w].cert, who[w].key, rows[r].method, rows[r].path,
                             who[w].authorization, text, sizeof(text));
            int want = !who[w].valid ? 401 : ok ? rows[r].found : 403;
            if (status != want)
                fail_msg("%s %s as %s: %d, not %d", rows[r].method, rows[r].path, who[w].name,
                         status, want);
            assert_int_equal(b.handled - handled, want == 200 || want == 404);
            if (want == 401 && str_eq(rows[r].method, "GET"))
                assert_string_equal(text, "Unauthorized");
            if (want == 403 && str_eq(rows[r].method, "GET"))
                assert_non_null(strstr(text, rows[r].subresource));
        }
    }
    for (size_t w = 0; w < sizeof(who) / sizeof(who[0]); w++) {
        free(who[w].cert);
        x509_key_free(who[w].key);
    }
    close_bench(&b);
}

static void test_keep_alive_and_pipeline(void **state)
{
    (void)state;
    struct bench b;
    struct client c;
    open_bench(&b, false);
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "GET /pods?q=a+b%26c HTTP/1.1\r\n" AS_ADMIN "\r\n");
    assert_true(client_expect(&c, "{}"));
    assert_string_equal(b.query, "a b&c");
    assert_non_null(strstr(c.in.data, "X-Test: 1\r\n"));
    assert_null(strstr(c.in.data, "Injected"));
    buf_reset(&c.in);
    /* Three at once, one with each kind of body; the last says close. */
    client_text(&c, "POST /pods HTTP/1.1\r\n" AS_ADMIN "Content-Length: 5\r\n\r\nabcde"
                    "POST /pods HTTP/1.1\r\n" AS_ADMIN "Transfer-Encoding: chunked\r\n\r\n"
                    "23\r\nGET /smuggled HTTP/1.1\r\nHost: n\r\n\r\n\r\n0\r\nTrailer: 1\r\n\r\n"
                    "GET /healthz HTTP/1.1\r\n" AS_ADMIN "Connection: close\r\n\r\n");
    assert_true(client_eof(&c));
    assert_int_equal(b.handled, 4);
    assert_non_null(strstr(c.in.data, "Connection: close\r\n\r\nok"));
    assert_null(strstr(c.in.data, "404"));
    client_close(&c);
    /* 40 pipelined, more than a turn takes. */
    client_open(&c, &b, NULL, NULL);
    b.handled = 0;
    for (int i = 0; i < 40; i++)
        client_text(&c, "GET /healthz HTTP/1.1\r\n" AS_ADMIN "\r\n");
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (b.handled < 40 && clock_mono_ms() < until)
        client_pull(&c);
    assert_int_equal(b.handled, 40);
    client_close(&c);
    close_bench(&b);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"GET\r\n\r\n", 400},
        {"GET /pods HTTP/2.0\r\n\r\n", 505},
        {"GET /pods HTTP/1.1\r\n\r\n", 400}, /* no Host */
        {"GET /a/../exec HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /a/%2e%2e/exec HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /pods%00 HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET //pods HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"POST /p HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        {"POST /p HTTP/1.1\r\nHost: n\r\nContent-Length: 99999999999\r\n\r\n", 413},
        {"POST /p HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
        {"POST /p HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"POST /p HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n", 413},
        {"GET /p HTTP/1.1\r\nHost: n\r\nExpect: magic\r\n\r\n", 417},
    };
    struct bench b;
    struct client c;
    open_bench(&b, true);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        client_open(&c, &b, NULL, NULL);
        client_text(&c, rows[i].text);
        assert_int_equal(client_status(&c), rows[i].status);
        assert_true(client_eof(&c));
        client_close(&c);
    }
    assert_int_equal(b.handled, 0);
    /* A head without an end. */
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "GET /pods HTTP/1.1\r\nHost: n\r\nX: ");
    char filler[1024];
    memset(filler, 'a', sizeof(filler));
    for (size_t i = 0; i < HEAD_BYTES_MAX / sizeof(filler); i++)
        client_send(&c, filler, sizeof(filler));
    assert_int_equal(client_status(&c), 431);
    client_close(&c);
    /* No TLS at all. */
    client_open(&c, &b, NULL, NULL);
    assert_int_equal(write(c.fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    for (int i = 0; i < 50; i++)
        spin(&b);
    assert_int_equal(b.server->conns, 0);
    client_close(&c);
    /* 100-continue. */
    client_open(&c, &b, NULL, NULL);
    client_text(&c, "POST /x HTTP/1.1\r\nHost: n\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
                    "\r\n");
    assert_true(client_expect(&c, "100 Continue\r\n\r\n"));
    buf_reset(&c.in);
    client_text(&c, "ab");
    assert_int_equal(client_status(&c), 403);
    client_close(&c);
    close_bench(&b);
}

static void test_setup_errors(void **state)
{
    (void)state;
    struct bench b;
    struct err err;
    struct server *second;
    open_bench(&b, false);
    struct server_config config = {
        .address = "127.0.0.1", .port = server_port(b.server), .node_name = "uk-0"};
    assert_int_equal(
        server_start_with(&b.loop, NULL, &fake_calls, &config, handler, &b, &second, &err),
        -EADDRINUSE);
    assert_non_null(strstr(err.text, "cannot listen on 127.0.0.1 port"));
    config.address = "localhost";
    assert_int_equal(
        server_start_with(&b.loop, NULL, &fake_calls, &config, handler, &b, &second, &err),
        -EINVAL);
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_path),
        cmocka_unit_test(test_keep_alive_and_pipeline),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_setup_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
