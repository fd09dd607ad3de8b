/* provider/prober.c over real loopback sockets: two thousand Pods probed at once, results and
 * events in the kubelet's words, what stops probing, and hooks. */
#include "fake_api.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/map.h"
#include "k8s/probe_call.h"
#include "provider/prober.h"

#define PODS 2000

struct one {
    struct pod pod;
    struct container_observed observed;
    struct pod_spec spec;
    struct container_spec container;
    struct probe_spec probes[_PROBE_MAX];
    char uid[16];
};

struct world {
    struct fake fake;
    struct prober *prober;
    struct map *pods;
    struct one *ones;
    size_t len;
    unsigned results[_PROBE_MAX][3]; /* by enum probe_result */
    unsigned ready, hooked, failed_hooks;
    unsigned events;
    char event[512];
    bool done;
    unsigned want_ready, want_events, want_hooks; /* done when all are reached */
    int status;
    char seen[512];
};

static struct now now_of(void *userdata)
{
    (void)userdata;
    return (struct now){.mono_ms = clock_mono_ms(), .unix_ms = clock_unix_ms()};
}

static struct pod *find(void *userdata, const char *uid)
{
    struct world *w = userdata;
    struct one *one = map_get(w->pods, uid);

    return one ? &one->pod : NULL;
}

static void check(struct world *w)
{
    w->done =
        w->ready >= w->want_ready && w->events >= w->want_events && w->hooked >= w->want_hooks;
}

static void on_event(void *userdata, struct pod *pod, int container, const char *reason,
                     const char *message)
{
    struct world *w = userdata;

    (void)pod;
    (void)container;
    w->events++;
    str_fmt(w->event, sizeof(w->event), "%s: %s", reason, message);
    check(w);
}

static void on_result(void *userdata, const char *uid, const char *id, enum probe_type type,
                      enum probe_result result)
{
    struct world *w = userdata;
    struct one *one = map_get(w->pods, uid);

    assert_string_equal(id, one->pod.containers[0].id);
    w->results[type][result]++;
    w->ready += type == PROBE_READINESS && result == PROBE_SUCCESS &&
                one->pod.containers[0].probes[type] != result;
    one->pod.containers[0].probes[type] = result;
    check(w);
}

static void on_hooked(void *userdata, const char *uid, const char *id, enum hook_type type,
                      bool failed)
{
    struct world *w = userdata;

    (void)uid;
    (void)id;
    (void)type;
    w->hooked++;
    w->failed_hooks += failed;
    check(w);
}

static void answer(struct fake *fake, struct fake_request *q)
{
    struct world *w = fake->userdata;

    str_copy(w->seen, sizeof(w->seen), q->head);
    fake_reply(q->conn, w->status, "Connection: close\r\n", "");
}

static void begin(struct world *w, size_t pods, unsigned types)
{
    static const struct prober_ops ops = {
        .now = now_of, .find = find, .event = on_event, .result = on_result, .hooked = on_hooked};

    memset(w, 0, sizeof(*w));
    fake_start(&w->fake, answer, w);
    w->status = 200;
    w->pods = map_new();
    w->prober = prober_new(&w->fake.loop, &ops, w);
    w->ones = xcalloc(pods, sizeof(*w->ones));
    w->len = pods;
    for (size_t i = 0; i < pods; i++) {
        struct one *one = &w->ones[i];
        struct container_observed *c = &one->observed;

        one->pod.containers = c;
        str_fmt(one->uid, sizeof(one->uid), "u%zu", i);
        one->container = (struct container_spec){.name = "c", .image = "i"};
        one->spec = (struct pod_spec){.uid = one->uid,
                                      .ns = "default",
                                      .name = one->uid,
                                      .containers = &one->container,
                                      .containers_len = 1};
        for (int type = 0; type < _PROBE_MAX; type++) {
            one->probes[type] = (struct probe_spec){
                .handler = {.kind = HANDLER_HTTP, .path = "/", .port = w->fake.port},
                .period_s = 1,
                .timeout_s = 30,
                .success_threshold = 1,
                .failure_threshold = 1,
                .grace_s = -1};
            one->container.probes[type] = types & (1u << type) ? &one->probes[type] : NULL;
        }
        one->pod.spec = &one->spec;
        one->pod.obs = (struct pod_observed){.net = NET_UP, .containers = c, .containers_len = 1};
        str_copy(one->pod.obs.pod_ip, sizeof(one->pod.obs.pod_ip), "127.0.0.1");
        c->machine = MACHINE_RUNNING;
        c->started_ms = clock_unix_ms();
        str_fmt(c->id, sizeof(c->id), "m%zu", i);
        map_set(w->pods, one->uid, one);
    }
}

static void look(struct world *w)
{
    for (size_t i = 0; i < w->len; i++)
        prober_look(w->prober, &w->ones[i].pod);
}

static void finish(struct world *w)
{
    prober_free(w->prober);
    fake_stop(&w->fake);
    map_free(w->pods);
    free(w->ones);
}

static void count_samples(void *userdata, const struct prober_sample *sample)
{
    uint64_t *good = userdata;

    *good += sample->counts[0] > 0;
}

static void test_two_thousand(void **state)
{
    uint64_t samples = 0, asked = 0;
    struct world w;

    (void)state;
    begin(&w, PODS, 1u << PROBE_READINESS);
    w.want_ready = PODS;
    look(&w);
    look(&w); /* being looked at twice changes nothing */
    assert_true(fake_run(&w.fake, &w.done, 120000));
    assert_int_equal(w.events, 0);
    assert_int_equal(w.results[PROBE_READINESS][PROBE_FAILURE], 0);
    prober_each(w.prober, count_samples, &samples);
    assert_int_equal(samples, PODS);
    asked = histogram_count(&prober_stats(w.prober)->took[PROBE_READINESS]);
    assert_true(asked >= PODS);
    finish(&w);
}

static void test_gates_and_failure(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 1, 7);
    w.want_ready = 1;
    look(&w);
    while (w.results[PROBE_STARTUP][PROBE_SUCCESS] == 0)
        (void)uv_run(&w.fake.loop, UV_RUN_ONCE);
    assert_int_equal(w.results[PROBE_LIVENESS][PROBE_SUCCESS], 0);
    assert_int_equal(w.fake.requests, 1);
    look(&w);
    assert_true(fake_run(&w.fake, &w.done, 20000));
    w.status = 500;
    w.done = false;
    w.want_events = 2; /* both of the other two */
    assert_true(fake_run(&w.fake, &w.done, 20000));
    assert_non_null(strstr(w.event, "probe failed: HTTP probe failed with statuscode: 500"));
    assert_true(str_starts(w.event, "Unhealthy: "));
    assert_int_equal(w.results[PROBE_LIVENESS][PROBE_FAILURE], 1);
    assert_int_equal(w.results[PROBE_READINESS][PROBE_FAILURE], 1);
    finish(&w);
}

/* Gone, or ended: nobody is asked any more, and what was under way has no answer. */
static void test_ends(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 3, 1u << PROBE_READINESS);
    look(&w);
    prober_forget(w.prober, "u0");
    w.ones[1].pod.containers[0].machine = MACHINE_EXITED;
    prober_look(w.prober, &w.ones[1].pod);
    w.want_ready = 1;
    assert_true(fake_run(&w.fake, &w.done, 20000));
    assert_int_equal(w.ones[2].pod.containers[0].probes[PROBE_READINESS], PROBE_SUCCESS);
    assert_int_equal(w.fake.requests, 1);
    /* A new attempt is another matter. */
    str_copy(w.ones[1].pod.containers[0].id, OBSERVED_ID_MAX, "again");
    w.ones[1].pod.containers[0].machine = MACHINE_RUNNING;
    w.done = false;
    w.want_ready = 2;
    prober_look(w.prober, &w.ones[1].pod);
    assert_true(fake_run(&w.fake, &w.done, 20000));
    finish(&w);
}

static void test_unknown_port(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 1, 1u << PROBE_READINESS);
    w.ones[0].probes[PROBE_READINESS].handler.port_name = "nope";
    w.want_events = 1;
    look(&w);
    assert_true(fake_run(&w.fake, &w.done, 20000));
    assert_string_equal(w.event, "Unhealthy: Readiness probe errored and resulted in unknown "
                                 "state: port \"nope\" not found");
    assert_int_equal(w.results[PROBE_READINESS][PROBE_FAILURE], 0);
    finish(&w);
}

static void test_hooks(void **state)
{
    static const struct {
        struct handler handler;
        int status;
        bool good_port;
        bool failed;
    } rows[] = {
        {{.kind = HANDLER_HTTP, .path = "/stop"}, 200, true, false},
        {{.kind = HANDLER_HTTP, .path = "/stop"}, 500, true, false}, /* any answer will do */
        {{.kind = HANDLER_HTTP, .path = "/stop", .port_name = "nope"}, 200, true, true},
        {{.kind = HANDLER_HTTP, .path = "/stop", .port = 1}, 200, false, true},
        {{.kind = HANDLER_SLEEP, .sleep_s = 0}, 200, true, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct handler handler = rows[i].handler;
        struct world w;

        begin(&w, 1, 0);
        if (rows[i].good_port)
            handler.port = w.fake.port;
        w.status = rows[i].status;
        w.ones[0].container.pre_stop = &handler;
        w.want_hooks = 1;
        prober_hook(w.prober, &w.ones[0].pod, 0, HOOK_PRE_STOP);
        assert_true(fake_run(&w.fake, &w.done, 20000));
        assert_int_equal(w.failed_hooks, rows[i].failed);
        if (w.fake.requests)
            assert_non_null(strstr(w.seen, "User-Agent: kube-lifecycle/1.37"));
        finish(&w);
    }
}

/* A hook ends with its attempt. */
static void test_hook_of_the_past(void **state)
{
    const struct handler handler = {.kind = HANDLER_SLEEP, .sleep_s = 3600};
    struct world w;

    (void)state;
    begin(&w, 1, 0);
    w.ones[0].container.post_start = &handler;
    prober_hook(w.prober, &w.ones[0].pod, 0, HOOK_POST_START);
    w.ones[0].pod.containers[0].machine = MACHINE_EXITED;
    prober_look(w.prober, &w.ones[0].pod);
    (void)uv_run(&w.fake.loop, UV_RUN_NOWAIT);
    assert_int_equal(w.hooked, 0);
    finish(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_thousand), cmocka_unit_test(test_gates_and_failure),
        cmocka_unit_test(test_ends),         cmocka_unit_test(test_unknown_port),
        cmocka_unit_test(test_hooks),        cmocka_unit_test(test_hook_of_the_past),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
