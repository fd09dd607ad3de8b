/* k8s/client.c against a scripted server: what is on the wire, retries, failures of every kind, and
 * cancelling at the worst moment. */
#include "fake_api.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"

#include <errno.h>
#include <unistd.h>

#define MANY 300

struct result {
    bool done;
    int calls, result, status;
    char body[256], reason[64], text[512];
};

static void on_answer(void *userdata, const struct kube_answer *answer)
{
    struct result *r = userdata;

    r->done = true;
    r->calls++;
    r->result = answer->result;
    r->status = answer->status;
    (void)str_copy(r->body, sizeof(r->body), answer->body);
    (void)str_copy(r->reason, sizeof(r->reason), answer->reason);
    (void)str_copy(r->text, sizeof(r->text), answer->text);
}

/* What the server does with the n-th request. */
enum act { OK, HALF, HANG_UP, GARBAGE, SILENT, TOO_MANY, BROKEN, NOT_FOUND, DENIED };

struct script {
    const enum act *acts;
    size_t len;
    char seen[512]; /* of the last request: method, target, some headers, body */
    uint64_t last_ms, gap_ms;
};

static void note(struct script *s, const struct fake_request *q)
{
    static const char *const names[] = {"Accept", "Content-Type", "Authorization", "Expect"};
    struct buf out = BUF_INIT(sizeof(s->seen) - 1);
    uint64_t now = clock_mono_ms();

    (void)buf_addf(&out, "%s %s", q->method, q->target);
    for (size_t i = 0; i < 4; i++) {
        char *value = fake_header(q, names[i]);

        if (value)
            (void)buf_addf(&out, " %s=%s", names[i], value);
        free(value);
    }
    (void)buf_addf(&out, " %s", q->body);
    (void)str_copy(s->seen, sizeof(s->seen), buf_str(&out));
    buf_free(&out);
    if (s->last_ms)
        s->gap_ms = now - s->last_ms;
    s->last_ms = now;
}

static void play(struct fake *fake, struct fake_request *q)
{
    struct script *s = fake->userdata;
    size_t n = fake->requests - 1;
    enum act act = s->acts[n < s->len ? n : s->len - 1];
    static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":";

    note(s, q);
    if (str_eq(q->target, "/silent"))
        act = SILENT;
    switch (act) {
    case OK:
        fake_reply(q->conn, 200, "", "{\"ok\":true}");
        break;
    case HALF:
        fake_send(q->conn, half, sizeof(half) - 1, true);
        break;
    case HANG_UP:
        fake_close(q->conn);
        break;
    case GARBAGE:
        fake_send(q->conn, "\x15\x03\x01\x00\x02\x02\x16\n\n", 9, true);
        break;
    case SILENT:
        break;
    case TOO_MANY:
        fake_reply(q->conn, 429, "Retry-After: 1\r\n", "too many");
        break;
    case BROKEN:
        fake_reply(q->conn, 503, "",
                   "{\"kind\":\"Status\",\"reason\":\"ServiceUnavailable\",\"message\":\"etcd\"}");
        break;
    case NOT_FOUND:
        fake_reply(q->conn, 404, "",
                   "{\"kind\":\"Status\",\"status\":\"Failure\",\"reason\":\"NotFound\","
                   "\"message\":\"pods \\\"p\\\" not found\",\"code\":404}");
        break;
    case DENIED:
        fake_reply(q->conn, 401, "", "Unauthorized");
        break;
    }
}

#define METADATA "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

static void test_wire(void **state)
{
    static const enum act acts[] = {OK};
    static const struct {
        enum kube_method method;
        const char *body;
        const char *want;
    } rows[] = {
        {KUBE_GET, NULL, "GET /api/v1/x?a=b Accept=application/json "},
        {KUBE_POST, "{}",
         "POST /api/v1/x?a=b Accept=application/json "
         "Content-Type=application/json {}"},
        {KUBE_PUT, "{1}",
         "PUT /api/v1/x?a=b Accept=application/json "
         "Content-Type=application/json {1}"},
        {KUBE_PATCH, "{2}",
         "PATCH /api/v1/x?a=b Accept=" METADATA " "
         "Content-Type=application/strategic-merge-patch+json {2}"},
        {KUBE_MERGE_PATCH, "{3}",
         "PATCH /api/v1/x?a=b Accept=" METADATA " "
         "Content-Type=application/merge-patch+json {3}"},
        {KUBE_DELETE, "{4}",
         "DELETE /api/v1/x?a=b Accept=" METADATA " "
         "Content-Type=application/json {4}"},
        {KUBE_DELETE, NULL, "DELETE /api/v1/x?a=b Accept=" METADATA " "},
        {KUBE_GET, NULL, "GET /api/v1/x?a=b Accept=application/json "},
    };
    struct script script = {.acts = acts, .len = 1};
    struct kube_client *client;
    struct kube_stats stats;
    struct fake fake;

    (void)state;
    fake_start(&fake, play, &script);
    client = fake_client(&fake, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct result r = {0};
        size_t len = rows[i].body ? strlen(rows[i].body) : 0;

        assert_non_null(kube_request(client, rows[i].method, "/api/v1/x?a=b", rows[i].body, len,
                                     KUBE_ONCE, on_answer, &r));
        assert_false(r.done);
        assert_true(fake_run(&fake, &r.done, 5000));
        assert_string_equal(script.seen, rows[i].want);
        assert_int_equal(r.status, 200);
        assert_string_equal(r.body, "{\"ok\":true}");
        assert_string_equal(r.text, "");
    }
    kube_client_stats(client, &stats);
    assert_int_equal(stats.requests, 8);
    assert_int_equal(stats.failures, 0);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(fake.connections, 1);
    kube_client_free(client);
    fake_stop(&fake);
}

static void test_failures(void **state)
{
    static const enum act half[] = {HALF, OK}, hang[] = {HANG_UP, HANG_UP, OK}, ok[] = {OK},
                          many[] = {TOO_MANY, OK}, broken[] = {BROKEN}, garbage[] = {GARBAGE},
                          missing[] = {NOT_FOUND}, denied[] = {DENIED};
    static const struct {
        const char *what;
        const enum act *acts;
        size_t len;
        enum kube_retry retry;
        int result, status;
        const char *reason;
        unsigned requests, gap_ms_min;
    } rows[] = {
        {"half, once", half, 2, KUBE_ONCE, -ECONNRESET, 0, "", 1, 0},
        {"half, again", half, 2, KUBE_RETRY, 0, 200, "", 2, 200},
        {"hang up, again", hang, 3, KUBE_RETRY, 0, 200, "", 3, 400},
        {"429, once", many, 2, KUBE_ONCE, 0, 429, "", 1, 0},
        {"429, again", many, 2, KUBE_RETRY, 0, 200, "", 2, 1000},
        {"503, once", broken, 1, KUBE_ONCE, 0, 503, "ServiceUnavailable", 1, 0},
        {"503, five times", broken, 1, KUBE_RETRY, 0, 503, "ServiceUnavailable", 5, 1600},
        {"garbage", garbage, 1, KUBE_ONCE, -EPROTO, 0, "", 1, 0},
        {"404 is final", missing, 1, KUBE_RETRY, 0, 404, "NotFound", 1, 0},
        {"401 without a file is final", denied, 1, KUBE_RETRY, 0, 401, "", 1, 0},
        {"ok", ok, 1, KUBE_RETRY, 0, 200, "", 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct script script = {.acts = rows[i].acts, .len = rows[i].len};
        struct result r = {0};
        struct kube_client *client;
        struct fake fake;

        print_message("%s\n", rows[i].what);
        fake_start(&fake, play, &script);
        client = fake_client(&fake, NULL);
        (void)kube_request(client, KUBE_POST, "/x", "{}", 2, rows[i].retry, on_answer, &r);
        assert_true(fake_run(&fake, &r.done, 15000));
        assert_int_equal(r.result, rows[i].result);
        assert_int_equal(r.status, rows[i].status);
        assert_string_equal(r.reason, rows[i].reason);
        assert_int_equal(fake.requests, rows[i].requests);
        assert_true(script.gap_ms >= rows[i].gap_ms_min);
        assert_int_equal(r.text[0] == '\0', r.status == 200);
        if (r.status == 404)
            assert_string_equal(r.text, "POST /x: HTTP status 404 NotFound: pods \"p\" not found");
        fake_pass(&fake, 20);
        assert_int_equal(r.calls, 1);
        kube_client_free(client);
        fake_stop(&fake);
    }
}

static void test_refused(void **state)
{
    static const enum act acts[] = {OK};
    struct script script = {.acts = acts, .len = 1};
    struct result r = {0};
    struct kube_client *client;
    struct fake fake;
    int port;

    (void)state;
    fake_start(&fake, play, &script);
    client = fake_client(&fake, NULL);
    port = fake.port;
    uv_close((uv_handle_t *)&fake.listener, NULL);
    fake_pass(&fake, 10);
    (void)kube_request(client, KUBE_GET, "/x", NULL, 0, KUBE_ONCE, on_answer, &r);
    assert_true(fake_run(&fake, &r.done, 5000));
    assert_int_equal(r.result, -ECONNREFUSED);
    assert_true(strstr(r.text, "GET /x: ") != NULL);
    /* It comes back while the request waits. */
    r.done = false;
    (void)kube_request(client, KUBE_GET, "/x", NULL, 0, KUBE_RETRY, on_answer, &r);
    fake_pass(&fake, 100);
    fake_listen(&fake, port);
    assert_true(fake_run(&fake, &r.done, 5000));
    assert_int_equal(r.status, 200);
    kube_client_free(client);
    fake_stop(&fake);
}

static void test_many(void **state)
{
    static const enum act acts[] = {OK};
    static struct result results[MANY];
    struct script script = {.acts = acts, .len = 1};
    struct kube_client *client;
    struct fake fake;

    (void)state;
    fake_start(&fake, play, &script);
    client = fake_client(&fake, NULL);
    memset(results, 0, sizeof(results));
    for (size_t i = 0; i < MANY; i++)
        (void)kube_request(client, KUBE_GET, "/x", NULL, 0, KUBE_ONCE, on_answer, &results[i]);
    for (size_t i = 0; i < MANY; i++) {
        assert_true(fake_run(&fake, &results[i].done, 10000));
        assert_int_equal(results[i].status, 200);
    }
    assert_int_equal(fake.requests, MANY);
    assert_true(fake.connections <= 8); /* HTTP/1.1 */
    kube_client_free(client);
    fake_stop(&fake);
}

struct chain {
    struct kube_client *client;
    struct kube_request *victim;
    struct result next;
    bool done, free_client;
};

static void on_chain(void *userdata, const struct kube_answer *answer)
{
    struct chain *c = userdata;

    assert_int_equal(answer->status, 200);
    c->done = true;
    if (c->victim)
        kube_request_cancel(c->victim);
    if (c->free_client)
        kube_client_free(c->client);
    else
        (void)kube_request(c->client, KUBE_GET, "/next", NULL, 0, KUBE_ONCE, on_answer, &c->next);
}

static void test_from_callbacks(void **state)
{
    static const enum act acts[] = {OK};
    struct script script = {.acts = acts, .len = 1};
    struct result silent = {0};
    struct chain chain = {0};
    struct fake fake;

    (void)state;
    fake_start(&fake, play, &script);
    chain.client = fake_client(&fake, NULL);
    (void)kube_request(chain.client, KUBE_GET, "/a", NULL, 0, KUBE_ONCE, on_chain, &chain);
    chain.victim =
        kube_request(chain.client, KUBE_GET, "/silent", NULL, 0, KUBE_ONCE, on_answer, &silent);
    assert_true(fake_run(&fake, &chain.next.done, 5000));
    assert_int_equal(chain.next.status, 200);
    assert_false(silent.done);
    /* Freed inside of an answer, with one running and one waiting for its next try. */
    chain.victim = NULL;
    chain.free_client = true;
    chain.done = false;
    (void)kube_request(chain.client, KUBE_GET, "/c", NULL, 0, KUBE_ONCE, on_chain, &chain);
    (void)kube_request(chain.client, KUBE_GET, "/silent", NULL, 0, KUBE_ONCE, on_answer, &silent);
    assert_true(fake_run(&fake, &chain.done, 5000));
    fake_pass(&fake, 50);
    assert_false(silent.done);
    fake_stop(&fake);
}

static void test_cancel_in_every_state(void **state)
{
    static const enum act acts[] = {SILENT, HANG_UP};
    struct script script = {.acts = acts, .len = 2};
    struct kube_request *requests[MANY];
    struct result r = {0};
    struct kube_client *client;
    struct fake fake;

    (void)state;
    fake_start(&fake, play, &script);
    client = fake_client(&fake, NULL);
    for (size_t i = 0; i < MANY; i++)
        requests[i] = kube_request(client, KUBE_GET, "/x", NULL, 0, KUBE_RETRY, on_answer, &r);
    fake_pass(&fake, 100); /* now some run, some wait for the next try, some are queued */
    for (size_t i = 0; i < MANY; i++)
        kube_request_cancel(requests[i]);
    fake_pass(&fake, 300);
    assert_int_equal(r.calls, 0);
    kube_client_free(client);
    fake_stop(&fake);
}

static void test_token_file(void **state)
{
    static const enum act acts[] = {OK, DENIED, OK, DENIED};
    struct script script = {.acts = acts, .len = 4};
    char path[] = "/tmp/test_client.XXXXXX";
    struct kube_client *client;
    struct result r = {0};
    struct fake fake;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(file_write_atomic(path, "first\n", 6, 0600), 0);
    fake_start(&fake, play, &script);
    client = fake_client(&fake, path);
    (void)kube_request(client, KUBE_GET, "/x", NULL, 0, KUBE_ONCE, on_answer, &r);
    assert_true(fake_run(&fake, &r.done, 5000));
    assert_string_equal(script.seen, "GET /x Accept=application/json Authorization=Bearer first ");
    /* Replaced before its time: the refusal makes the client look again. */
    assert_int_equal(file_write_atomic(path, "second\n", 7, 0600), 0);
    r.done = false;
    (void)kube_request(client, KUBE_GET, "/x", NULL, 0, KUBE_ONCE, on_answer, &r);
    assert_true(fake_run(&fake, &r.done, 5000));
    assert_int_equal(r.status, 200);
    assert_string_equal(script.seen, "GET /x Accept=application/json Authorization=Bearer second ");
    /* Refused with the new one as well: once, not for ever. */
    r.done = false;
    (void)kube_request(client, KUBE_GET, "/x", NULL, 0, KUBE_ONCE, on_answer, &r);
    assert_true(fake_run(&fake, &r.done, 5000));
    assert_int_equal(r.status, 401);
    assert_int_equal(fake.requests, 5);
    kube_client_free(client);
    fake_stop(&fake);
    (void)unlink(path);
}

static void test_set_config(void **state)
{
    static const enum act acts[] = {SILENT, OK};
    struct script script = {.acts = acts, .len = 2};
    struct kube_config config = {0};
    struct kube_client *client;
    struct result old = {0}, r = {0};
    struct err err;
    struct fake fake;

    (void)state;
    fake_start(&fake, play, &script);
    client = fake_client(&fake, NULL);
    (void)kube_request(client, KUBE_GET, "/old", NULL, 0, KUBE_ONCE, on_answer, &old);
    fake_pass(&fake, 50);
    config.server = fake.url;
    config.tls_server_name = xstrdup("other"); /* unused without TLS, but another configuration */
    assert_int_equal(kube_client_set_config(client, &config, NULL), 0);
    (void)kube_request(client, KUBE_GET, "/new", NULL, 0, KUBE_ONCE, on_answer, &r);
    assert_true(fake_run(&fake, &r.done, 5000));
    assert_int_equal(r.status, 200);
    assert_int_equal(fake.connections, 2);
    assert_false(old.done);
    free(config.tls_server_name);
    config.tls_server_name = NULL;
    config.server = NULL;
    assert_int_equal(kube_client_set_config(client, &config, &err), -EINVAL);
    kube_client_free(client);
    fake_stop(&fake);
}

static void test_bad_config(void **state)
{
    static const struct {
        char *server, *cert, *key;
        const char *want;
    } rows[] = {
        {NULL, NULL, NULL, "the API server's address \"\" is no http(s) URL"},
        {"ftp://x", NULL, NULL, "the API server's address \"ftp://x\" is no http(s) URL"},
        {"https://", NULL, NULL, "the API server's address \"https://\" is no URL"},
        {"https://x", "cert", NULL, "a client certificate and its key belong together"},
    };
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct kube_config config = {
            .server = rows[i].server, .cert_pem = rows[i].cert, .key_pem = rows[i].key};
        struct kube_client *client = NULL;
        struct err err = {0};

        assert_int_equal(kube_client_new(&loop, &config, &client, &err), -EINVAL);
        assert_null(client);
        assert_string_equal(err.text, rows[i].want);
        assert_int_equal(err.kind, ERR_SPEC);
    }
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire),           cmocka_unit_test(test_failures),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_many),
        cmocka_unit_test(test_from_callbacks), cmocka_unit_test(test_cancel_in_every_state),
        cmocka_unit_test(test_token_file),     cmocka_unit_test(test_set_config),
        cmocka_unit_test(test_bad_config),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
