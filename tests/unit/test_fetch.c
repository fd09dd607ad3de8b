/* k8s/fetch.c against scripted servers: redirects and who gets to see credentials, aborting,
 * cancelling from inside every callback, stalls. */
#include "fake_api.h"

#include "base/fetch.h"

#include <errno.h>

struct got {
    struct fetcher *fetcher;
    struct fetch *fetch;
    bool done;
    int calls, result, status, body_calls;
    struct buf body, headers;
    char text[256];
    int abort_with; /* on_body returns it */
    enum { NOWHERE, IN_HEADER, IN_BODY } cancel;
};

static void stop(struct got *g)
{
    g->fetcher->cancel(g->fetcher->impl, g->fetch);
    g->fetch = NULL;
    g->done = true;
}

static void on_header(void *userdata, const char *name, const char *value)
{
    struct got *g = userdata;

    if (str_starts(name, "x-"))
        (void)buf_addf(&g->headers, "%s=%s;", name, value);
    if (g->cancel == IN_HEADER && !g->done)
        stop(g);
}

static int on_body(void *userdata, int status, const void *data, size_t len)
{
    struct got *g = userdata;

    g->body_calls++;
    g->status = status;
    (void)buf_add(&g->body, data, len);
    if (g->cancel == IN_BODY)
        stop(g);
    return g->abort_with;
}

static void on_done(void *userdata, int result, int status, const char *text)
{
    struct got *g = userdata;

    g->calls++;
    g->done = true;
    g->result = result;
    g->status = status;
    (void)str_copy(g->text, sizeof(g->text), text);
    if (g->fetch) /* too late, and harmless */
        g->fetcher->cancel(g->fetcher->impl, g->fetch);
}

static const struct fetch_ops ops = {on_header, on_body, on_done};

static void got_init(struct got *g, struct fetcher *fetcher)
{
    g->fetcher = fetcher;
    g->done = false;
    g->calls = g->result = g->status = g->body_calls = 0;
    buf_free(&g->body);
    buf_free(&g->headers);
    buf_init(&g->body, 1u << 20);
    buf_init(&g->headers, 4096);
}

struct site {
    int other_port; /* of a second listener, for redirects to elsewhere */
    char *seen;     /* "METHOD target auth" of each request */
};

static void serve(struct fake *fake, struct fake_request *q)
{
    struct site *site = fake->userdata;
    char *auth = fake_header(q, "Authorization");
    char *old = site->seen, *headers = NULL;

    site->seen = xasprintf("%s%s %s %s;", old ? old : "", q->method, q->target, auth ? auth : "-");
    free(old);
    free(auth);
    if (str_eq(q->target, "/same")) {
        fake_reply(q->conn, 302, "Location: /blob\r\nX-Hop: yes\r\n", "moved");
    } else if (str_eq(q->target, "/other")) {
        headers = xasprintf("Location: http://127.0.0.1:%d/blob\r\n", site->other_port);
        fake_reply(q->conn, 307, headers, "");
    } else if (str_eq(q->target, "/loop")) {
        fake_reply(q->conn, 302, "Location: /loop\r\n", "");
    } else if (str_eq(q->target, "/file")) {
        fake_reply(q->conn, 302, "Location: file:///etc/passwd\r\n", "");
    } else if (str_eq(q->target, "/stall")) {
        fake_begin(q->conn);
        fake_chunk(q->conn, "abc", 3);
    } else if (str_eq(q->target, "/cut")) {
        fake_send(q->conn, "HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nabc", 40, true);
    } else if (str_eq(q->target, "/denied")) {
        fake_reply(q->conn, 401, "WWW-Authenticate: Bearer realm=x\r\nX-A: 1\r\n", "no");
    } else {
        fake_reply(q->conn, 200, "X-Digest: sha256:1\r\nX-Empty:\r\n", "content");
    }
    free(headers);
}

struct bench {
    struct fake fake;
    struct site site;
    struct kube_client *client;
    struct fetcher fetcher;
};

static void bench_start(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    fake_start(&b->fake, serve, &b->site);
    b->client = fake_client(&b->fake, NULL);
    kube_client_fetcher(b->client, &b->fetcher);
}

static void bench_stop(struct bench *b)
{
    if (b->client)
        kube_client_free(b->client);
    fake_stop(&b->fake);
    free(b->site.seen);
}

static void get(struct bench *b, struct got *g, const char *target,
                const struct fetch_request *like, unsigned ms)
{
    struct fetch_request request = *like;
    char *url = xasprintf("%s%s", b->fake.url, target);

    request.url = url;
    got_init(g, &b->fetcher);
    free(b->site.seen);
    b->site.seen = NULL;
    g->fetch = b->fetcher.start(b->fetcher.impl, &request, &ops, g);
    assert_non_null(g->fetch);
    assert_false(g->done);
    free(url);
    assert_true(fake_run(&b->fake, &g->done, ms));
}

static void got_free(struct got *g)
{
    buf_free(&g->body);
    buf_free(&g->headers);
}

static void test_answers(void **state)
{
    static const struct fetch_header bearer[] = {{"Authorization", "Bearer t"}, {"X-B", "c"}};
    static const struct fetch_request plain = {0}, head = {.method = "HEAD"},
                                      token = {.headers = bearer, .headers_len = 2},
                                      basic = {.user = "u", .password = "p"};
    static const struct {
        const char *target;
        const struct fetch_request *request;
        int result, status;
        const char *body, *headers, *seen;
    } rows[] = {
        {"/blob", &plain, 0, 200, "content", "x-digest=sha256:1;x-empty=;", "GET /blob -;"},
        {"/blob", &head, 0, 200, "", "x-digest=sha256:1;x-empty=;", "HEAD /blob -;"},
        {"/blob", &token, 0, 200, "content", "x-digest=sha256:1;x-empty=;", "GET /blob Bearer t;"},
        {"/blob", &basic, 0, 200, "content", "x-digest=sha256:1;x-empty=;",
         "GET /blob Basic dTpw;"},
        {"/same", &token, 0, 200, "content", "x-digest=sha256:1;x-empty=;",
         "GET /same Bearer t;GET /blob Bearer t;"},
        {"/denied", &plain, 0, 401, "no", "x-a=1;", "GET /denied -;"},
        {"/cut", &plain, -ECONNRESET, 200, "abc", "", "GET /cut -;"},
        {"/file", &plain, -EPROTO, 302, "", "", "GET /file -;"},
    };
    struct got g = {0};
    struct bench b;

    (void)state;
    bench_start(&b);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        print_message("%s\n", rows[i].seen);
        get(&b, &g, rows[i].target, rows[i].request, 5000);
        assert_int_equal(g.result, rows[i].result);
        assert_int_equal(g.status, rows[i].status);
        assert_string_equal(buf_str(&g.body), rows[i].body);
        assert_string_equal(buf_str(&g.headers), rows[i].headers);
        assert_string_equal(b.site.seen, rows[i].seen);
        assert_int_equal(g.text[0] == '\0', g.result == 0);
        assert_int_equal(g.calls, 1);
    }
    get(&b, &g, "/loop", &plain, 5000);
    assert_int_equal(g.result, -ELOOP);
    assert_int_equal(b.fake.requests, 9 + 11);
    got_free(&g);
    bench_stop(&b);
}

/* A second server on another port: not the same host, so no credentials for it. */ static void
test_no_credentials_elsewhere(void **state)
{
    static const struct fetch_header bearer[] = {{"Authorization", "Bearer t"}};
    static const struct fetch_request token = {.headers = bearer, .headers_len = 1},
                                      basic = {.user = "u", .password = "p"};
    const struct fetch_request *requests[] = {&token, &basic};
    static const char *const wants[] = {"GET /other Bearer t;GET /blob -;",
                                        "GET /other Basic dTpw;GET /blob -;"};
    struct sockaddr_in addr;
    int len = sizeof(addr);
    struct got g = {0};
    uv_tcp_t second;
    struct bench b;

    (void)state;
    bench_start(&b);
    (void)uv_ip4_addr("127.0.0.1", 0, &addr);
    (void)uv_tcp_init(&b.fake.loop, &second);
    second.data = &b.fake;
    assert_int_equal(uv_tcp_bind(&second, (struct sockaddr *)&addr, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&second, 8, fake_accept), 0);
    (void)uv_tcp_getsockname(&second, (struct sockaddr *)&addr, &len);
    b.site.other_port = ntohs(addr.sin_port);
    for (size_t i = 0; i < 2; i++) {
        get(&b, &g, "/other", requests[i], 5000);
        assert_int_equal(g.result, 0);
        assert_int_equal(g.status, 200);
        assert_string_equal(b.site.seen, wants[i]);
    }
    uv_close((uv_handle_t *)&second, NULL);
    got_free(&g);
    bench_stop(&b);
}

static void test_ends(void **state)
{
    static const struct fetch_request plain = {0}, hasty = {.stall_ms_max = 1000};
    struct got g = {.abort_with = -ENOSPC};
    struct bench b;

    (void)state;
    bench_start(&b);
    get(&b, &g, "/blob", &plain, 5000);
    assert_int_equal(g.result, -ENOSPC);
    assert_int_equal(g.body_calls, 1);
    g.abort_with = 0;
    get(&b, &g, "/stall", &hasty, 8000);
    assert_int_equal(g.result, -ETIMEDOUT);
    assert_string_equal(buf_str(&g.body), "abc");
    g.cancel = IN_HEADER;
    get(&b, &g, "/blob", &plain, 5000);
    g.cancel = IN_BODY;
    get(&b, &g, "/stall", &plain, 5000);
    fake_pass(&b.fake, 50);
    assert_int_equal(g.calls, 0);
    assert_int_equal(g.body_calls, 1);
    got_free(&g);
    bench_stop(&b);
}

static void test_client_gone(void **state)
{
    static const struct fetch_request plain = {.url = "http://127.0.0.1:1/"};
    struct got g = {0};
    struct bench b;

    (void)state;
    bench_start(&b);
    got_init(&g, &b.fetcher);
    g.fetch = b.fetcher.start(b.fetcher.impl, &plain, &ops, &g);
    assert_true(fake_run(&b.fake, &g.done, 5000));
    assert_int_equal(g.result, -ECONNREFUSED);
    got_init(&g, &b.fetcher);
    g.fetch = b.fetcher.start(b.fetcher.impl, &plain, &ops, &g);
    kube_client_free(b.client);
    b.client = NULL;
    fake_pass(&b.fake, 50);
    assert_int_equal(g.calls, 0);
    got_free(&g);
    bench_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_no_credentials_elsewhere),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_client_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
