/* k8s/events.c against a scripted server, and its cache: counting, combining, the spam filter, what
 * happens when the server forgot an event or does not answer. */
#include "fake_api.h"

#include "base/json.h"
#include "k8s/events.h"
#include "k8s/events_cache.h"

static void test_cache(void **state)
{
    struct cache *cache = cache_new(3, sizeof(int));
    int *n;

    (void)state;
    for (uint64_t key = 1; key <= 3; key++) {
        n = cache_get(cache, key * 256); /* all in one bucket */
        assert_int_equal(*n, 0);
        *n = (int)key;
    }
    n = cache_get(cache, 256); /* used again: 512 is the oldest now */
    assert_int_equal(*n, 1);
    n = cache_get(cache, 4 * 256);
    assert_int_equal(*n, 0);
    assert_int_equal(cache_len(cache), 3);
    assert_null(cache_peek(cache, 512));
    n = cache_peek(cache, 768);
    assert_int_equal(*n, 3);
    cache_drop(cache, 768);
    cache_drop(cache, 768);
    assert_int_equal(cache_len(cache), 2);
    cache_free(cache);
    cache_free(NULL);
}

/* Each request as "POST reason/count/message;" or "PATCH name-ok/count/message;". */
struct server {
    struct buf log;
    char name[300]; /* of the last event created */
    bool silent, broken, forgot;
    unsigned posts, patches;
    struct fake_conn *held;
    struct json *last_post;
};

static void serve(struct fake *fake, struct fake_request *q)
{
    struct server *s = fake->userdata;
    struct json *body = json_parse(q->body, strlen(q->body), NULL);
    int64_t count = 0;

    assert_non_null(body);
    (void)json_get_int(body, "count", &count);
    if (s->silent) {
        json_free(body);
        return;
    }
    if (str_eq(q->method, "POST")) {
        assert_string_equal(q->target, "/api/v1/namespaces/ns/events");
        (void)str_copy(s->name, sizeof(s->name), json_string(json_path(body, "metadata.name")));
        (void)buf_addf(&s->log, "POST %s/%d/%s;", json_get_string(body, "reason"), (int)count,
                       json_get_string(body, "message"));
        s->posts++;
        json_free(s->last_post);
        s->last_post = body;
        body = NULL;
    } else {
        char *want = xasprintf("/api/v1/namespaces/ns/events/%s", s->name);

        (void)buf_addf(&s->log, "PATCH %s/%d/%s;", str_eq(q->target, want) ? "ok" : q->target,
                       (int)count, json_get_string(body, "message"));
        s->patches++;
        free(want);
    }
    if (s->broken)
        fake_reply(q->conn, 503, "", "");
    else if (s->forgot && str_eq(q->method, "PATCH"))
        fake_reply(q->conn, 404, "", "{\"kind\":\"Status\",\"reason\":\"NotFound\"}");
    else
        fake_reply(q->conn, 201, "", "{}");
    json_free(body);
}

struct bench {
    struct fake fake;
    struct server server;
    struct kube_client *client;
    struct events *events;
};

static void bench_start(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    buf_init(&b->server.log, 65536);
    fake_start(&b->fake, serve, &b->server);
    b->client = fake_client(&b->fake, NULL);
    b->events = events_new(b->client, "kubelet", "uk-0");
}

static void bench_stop(struct bench *b)
{
    events_free(b->events);
    kube_client_free(b->client);
    fake_stop(&b->fake);
    buf_free(&b->server.log);
    json_free(b->server.last_post);
}

static void post(struct bench *b, const char *pod, const char *reason, const char *message)
{
    struct event event = {
        .ns = "ns",
        .kind = "Pod",
        .name = pod,
        .uid = "u-1",
        .api_version = "v1",
        .resource_version = "5",
        .field_path = "spec.containers{c}",
        .reason = reason,
        .message = message,
        .warning = true,
    };

    events_post(b->events, &event);
}

/* Events linger before they are sent, so that Pods' statuses come first. */
static void settle(struct bench *b)
{
    fake_pass(&b->fake, 300);
}

static void test_body(void **state)
{
    static const struct {
        const char *path, *want;
    } rows[] = {
        {"kind", "Event"},
        {"metadata.namespace", "ns"},
        {"involvedObject.kind", "Pod"},
        {"involvedObject.namespace", "ns"},
        {"involvedObject.uid", "u-1"},
        {"involvedObject.fieldPath", "spec.containers{c}"},
        {"type", "Warning"},
        {"source.component", "kubelet"},
        {"source.host", "uk-0"},
        {"reportingComponent", "kubelet"},
        {"reportingInstance", "uk-0"},
    };
    char name[300], message[2000];
    struct bench b;

    (void)state;
    bench_start(&b);
    memset(message, 'm', sizeof(message));
    message[sizeof(message) - 1] = '\0';
    post(&b, "p-1", "Failed", message);
    settle(&b);
    assert_int_equal(b.server.posts, 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(json_string(json_path(b.server.last_post, rows[i].path)), rows[i].want);
    assert_true(json_is_null(json_get(b.server.last_post, "eventTime")));
    assert_true(str_starts(b.server.name, "p-1.1"));
    assert_int_equal(strlen(json_get_string(b.server.last_post, "message")), 1023);
    /* A Pod's name of the greatest length, cut at a dot: still a name. */
    memset(name, 'a', 253);
    name[253] = '\0';
    name[235] = name[234] = '.';
    post(&b, name, "Failed", "x");
    settle(&b);
    assert_int_equal(b.server.posts, 2);
    assert_true(strlen(b.server.name) <= 253);
    assert_null(strstr(b.server.name, ".."));
    bench_stop(&b);
}

static void test_count(void **state)
{
    struct bench b;

    (void)state;
    bench_start(&b);
    post(&b, "p", "BackOff", "x");
    settle(&b);
    for (int i = 0; i < 2; i++)
        post(&b, "p", "BackOff", "x");
    settle(&b);
    /* The third joined the second, which was not sent yet. */
    assert_string_equal(buf_str(&b.server.log), "POST BackOff/1/x;PATCH ok/3/x;");
    post(&b, "p", "BackOff", "x");
    settle(&b);
    post(&b, "p", "BackOff", "y");
    settle(&b);
    post(&b, "q", "BackOff", "x");
    settle(&b);
    assert_string_equal(buf_str(&b.server.log), "POST BackOff/1/x;PATCH ok/3/x;PATCH ok/4/x;"
                                                "POST BackOff/1/y;POST BackOff/1/x;");
    bench_stop(&b);
}

static void test_forgotten(void **state)
{
    struct bench b;

    (void)state;
    bench_start(&b);
    post(&b, "p", "A", "x");
    settle(&b);
    b.server.forgot = true;
    post(&b, "p", "A", "x");
    settle(&b);
    b.server.forgot = false;
    post(&b, "p", "A", "x");
    settle(&b);
    assert_string_equal(buf_str(&b.server.log), "POST A/1/x;PATCH ok/2/x;POST A/2/x;PATCH ok/3/x;");
    bench_stop(&b);
}

static void test_combined(void **state)
{
    struct bench b;
    char *want = NULL;
    struct buf all = BUF_INIT(4096);

    (void)state;
    bench_start(&b);
    for (int i = 1; i <= 13; i++) {
        char text[16];

        (void)str_fmt(text, sizeof(text), "m%d", i);
        post(&b, "p", "A", text);
        if (i == 11 || i == 12)
            settle(&b);
        if (i <= 10)
            (void)buf_addf(&all, "POST A/1/m%d;", i);
    }
    settle(&b);
    want = xasprintf("%sPOST A/1/(combined from similar events): m11;"
                     "PATCH ok/2/(combined from similar events): m12;"
                     "PATCH ok/3/(combined from similar events): m13;",
                     buf_str(&all));
    assert_string_equal(buf_str(&b.server.log), want);
    free(want);
    buf_free(&all);
    bench_stop(&b);
}

static void test_spam(void **state)
{
    struct bench b;

    (void)state;
    bench_start(&b);
    for (int i = 0; i < 40; i++) {
        char reason[16];

        (void)str_fmt(reason, sizeof(reason), "R%d", i);
        post(&b, "p", reason, "x");
    }
    settle(&b);
    assert_int_equal(b.server.posts, 25);
    post(&b, "other", "R", "x"); /* a filter for each object */
    settle(&b);
    assert_int_equal(b.server.posts, 26);
    bench_stop(&b);
}

static void test_storm(void **state)
{
    struct bench b;

    (void)state;
    bench_start(&b);
    b.server.silent = true;
    for (int i = 0; i < 2000; i++) {
        char name[16];

        (void)str_fmt(name, sizeof(name), "p%d", i);
        post(&b, name, "A", "x");
    }
    for (int i = 0; i < 20 && b.fake.requests < 4; i++)
        settle(&b);
    settle(&b);
    assert_int_equal(b.fake.requests, 4); /* a few at a time, whatever waits */
    bench_stop(&b);                       /* with a full queue and four under way */
}

static void test_outage(void **state)
{
    struct bench b;

    (void)state;
    bench_start(&b);
    b.server.broken = true;
    post(&b, "p", "A", "x");
    settle(&b);
    post(&b, "p", "A", "x");
    post(&b, "q", "A", "y");
    fake_pass(&b.fake, 200);
    assert_int_equal(b.fake.requests, 1); /* the others wait with it */
    b.server.broken = false;
    fake_pass(&b.fake, 10500);
    assert_string_equal(buf_str(&b.server.log), "POST A/1/x;POST A/2/x;POST A/1/y;");
    bench_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache),    cmocka_unit_test(test_body),
        cmocka_unit_test(test_count),    cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_combined), cmocka_unit_test(test_spam),
        cmocka_unit_test(test_storm),    cmocka_unit_test(test_outage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
