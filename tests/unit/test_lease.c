/* provider/lease.c: the heartbeat that survives what happens to the Lease, and the name of a Node
 * that two agents want. Lives of one second; where a test must see one pass, it moves its
 * beginning. */
#include "node_fixture.h"

static void test_renewal(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    assert_int_equal(b.api.lease_posts, 1);
    char first[64];
    str_copy(first, sizeof(first), b.api.renew);
    uint64_t start = clock_mono_ms();
    WAIT(&b, b.api.lease_puts == 2);
    assert_true(clock_mono_ms() - start >= 400); /* a quarter of its life each */
    assert_string_not_equal(first, b.api.renew);
    assert_int_equal(b.api.lease_gets, 1);
    assert_int_equal(b.stopped, 0);
    bench_close(&b);
}

static void test_lost(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    /* An API server that does not create on update. */
    b.api.lease_exists = false;
    b.api.override = (struct override){"PUT", PATH_LEASE, 404, 1, NULL};
    WAIT(&b, b.api.lease_posts == 2);
    assert_string_equal(b.api.owner, "uid-1");
    WAIT(&b, b.api.lease_puts == 1);
    bench_close(&b);
}

/* A young cluster: kube-node-lease is not there yet. */
static void test_no_namespace(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.api.override =
        (struct override){"POST", PATH_LEASES, 404, 2, "namespaces kube-node-lease not found"};
    uint64_t start = clock_mono_ms();
    bench_settle(&b);
    assert_true(clock_mono_ms() - start >= 550); /* 200 and 400 ms later, no sooner */
    assert_int_equal(b.api.lease_posts, 1);
    assert_int_equal(b.api.node_posts, 1);
    bench_close(&b);
}

static void test_errors(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.api.override = (struct override){"GET", PATH_LEASE, 500, 1, NULL};
    bench_settle(&b);
    assert_int_equal(b.api.lease_gets, 1);
    b.api.override = (struct override){"PUT", PATH_LEASE, 503, 1, NULL};
    WAIT(&b, b.api.lease_puts == 1);
    assert_int_equal(b.api.override.times, 0);
    assert_int_equal(b.claimed, 1);
    bench_close(&b);
}

/* Our own PUT arrived and its answer did not: 409, and it is still ours. */
static void test_own_conflict(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    b.api.version += 3;
    WAIT(&b, b.api.lease_puts == 2 && !b.node->lease_request);
    assert_int_equal(b.api.lease_gets, 2);
    assert_true(b.node->lease_owned);
    assert_int_equal(b.stopped, 0);
    bench_close(&b);
}

/* Another that has our id too, as a copied host has, writes whenever we do: no race between them.
 */
static void test_endless_conflict(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    b.api.override = (struct override){"PUT", PATH_LEASE, 409, -1, NULL};
    pass(&b, 1500); /* at 250, 250, 450 and 850 ms or so */
    assert_in_range(b.api.lease_gets, 3, 6);
    b.api.override.times = 0;
    WAIT(&b, b.api.lease_puts >= 2);
    assert_int_equal(b.stopped, 0);
    bench_close(&b);
}

/* etcd got an older backup back: the Lease is of an earlier version, or new with one. */
static void test_back_in_time(void **state)
{
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        struct bench b;
        bench_open(&b);
        b.api.version = 1000;
        bench_settle(&b);
        WAIT(&b, b.api.lease_puts == 2 && !b.node->lease_request && !b.node->request);
        assert_int_equal(b.doubts, 0);
        unsigned patches = b.api.status_patches;
        b.api.version = 500;
        b.api.lease_exists = !gone;
        WAIT(&b, b.doubts == 1 && b.api.status_patches == patches + 1);
        unsigned puts = b.api.lease_puts;
        WAIT(&b, b.api.lease_puts == puts + 2); /* its versions grow again */
        assert_int_equal(b.doubts, 1);
        assert_int_equal(b.stopped, 0);
        bench_close(&b);
    }
}

/* The same host and state directory: no waiting, however fresh the Lease is. */
static void test_own_again(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    char id[64];
    str_copy(id, sizeof(id), b.api.holder_id);
    bench_stop(&b);
    pass(&b, 20); /* what was under way ends */
    struct node *former = b.node;
    kube_client_free(b.agent.client);
    uv_walk(&b.agent.loop, bench_close_handle, NULL);
    (void)uv_run(&b.agent.loop, UV_RUN_DEFAULT);
    node_free(former);
    struct kube_config kube = {.server = b.fake.url};
    assert_int_equal(kube_client_new(&b.agent.loop, &kube, &b.agent.client, NULL), 0);
    clock_rfc3339_micro(b.api.renew, clock_unix_ms());
    buf_reset(&b.api.log);
    unsigned puts = b.api.lease_puts;
    bench_start(&b);
    WAIT(&b, b.api.lease_puts == puts + 1);
    assert_string_equal(b.api.holder_id, id);
    assert_true(str_starts(buf_str(&b.api.log), "GET lease;POST node;GET node;"));
    assert_int_equal(b.claimed, 2);
    assert_int_equal(b.node->foreign_since_ms, 0);
    bench_close(&b);
}

/* A file of another length is no id. */
static void test_id_file(void **state)
{
    static const char *const texts[] = {"", "short",
                                        "0123456789abcdef0123456789abcdef0123456789abcdef"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct bench b;
        struct buf text = BUF_INIT(256);
        bench_open(&b);
        char *path = xasprintf("%s/agent-id", b.dir);
        assert_int_equal(file_write_atomic(path, texts[i], strlen(texts[i]), 0600), 0);
        bench_start(&b);
        assert_int_equal(strlen(b.node->agent_id), 32);
        assert_int_equal(file_read(path, &text), 0);
        assert_string_equal(buf_str(&text), b.node->agent_id);
        buf_free(&text);
        free(path);
        bench_close(&b);
    }
}

static void test_alive(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.api.lease_alive = true;
    bench_start(&b);
    WAIT(&b, b.stopped);
    assert_int_equal(b.exit_code, EXIT_NAME_TAKEN);
    assert_int_equal(EXIT_NAME_TAKEN, 3);
    /* Nothing was done under the name. */
    assert_int_equal(b.claimed, 0);
    assert_string_equal(buf_str(&b.api.log), "GET lease;GET lease;");
    bench_close(&b);
}

static void test_dead(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    api_foreign_lease(&b.api, 300);
    bench_start(&b);
    WAIT(&b, b.api.lease_gets == 4);
    assert_int_equal(b.claimed, 0);
    assert_int_equal(b.stopped, 0);
    b.node->foreign_since_ms -= 1000; /* its life has passed */
    WAIT(&b, b.api.lease_puts == 1);
    assert_int_equal(b.claimed, 1);
    assert_string_equal(b.api.holder_id, b.node->agent_id);
    assert_string_equal(b.api.owner, "uid-1");
    bench_close(&b);
}

static void test_long_dead(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    api_foreign_lease(&b.api, 1500);
    bench_settle(&b);
    assert_int_equal(b.api.lease_gets, 1);
    WAIT(&b, str_eq(b.api.holder_id, b.node->agent_id));
    bench_close(&b);
}

/* A Lease that says nothing of its writer or its time is nobody's. */
static void test_odd(void **state)
{
    static const char *const renews[] = {"", "yesterday", "2026-11-23T05:00:00Z"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct bench b;
        bench_open(&b);
        api_foreign_lease(&b.api, 0);
        b.api.holder_id[0] = '\0';
        str_copy(b.api.renew, sizeof(b.api.renew), renews[i]);
        bench_start(&b);
        WAIT(&b, b.api.lease_puts == 1);
        bench_close(&b);
    }
}

/* Two began at once, and the other wrote first. */
static void test_race(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.probe_error = "no"; /* anything */
    bench_start(&b);
    WAIT(&b, b.claimed);
    b.api.lease_alive = true;
    api_foreign_lease(&b.api, 0);
    WAIT(&b, b.stopped);
    assert_int_equal(b.exit_code, EXIT_NAME_TAKEN);
    assert_int_equal(b.api.lease_puts, 0);
    assert_string_equal(b.api.holder_id, "somebody-else");
    bench_close(&b);
}

/* Taken over while we were cut off. Even when the Node is made anew meanwhile, the other's Lease is
 * not written over. */
static void test_taken(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    api_foreign_lease(&b.api, 0);
    WAIT(&b, b.node->foreign_since_ms);
    unsigned puts = b.api.lease_puts;
    b.api.node_exists = false;
    b.memory_available = 1;
    WAIT(&b, b.api.node_posts == 2 && !b.node->request);
    assert_int_equal(b.api.lease_puts, puts);
    assert_string_equal(b.api.holder_id, "somebody-else");
    b.api.lease_alive = true;
    WAIT(&b, b.stopped);
    assert_int_equal(b.exit_code, EXIT_NAME_TAKEN);
    assert_int_equal(b.api.lease_puts, puts);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_no_namespace),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_own_conflict),
        cmocka_unit_test(test_own_again),
        cmocka_unit_test(test_id_file),
        cmocka_unit_test(test_alive),
        cmocka_unit_test(test_dead),
        cmocka_unit_test(test_long_dead),
        cmocka_unit_test(test_odd),
        cmocka_unit_test(test_race),
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_back_in_time),
        cmocka_unit_test(test_endless_conflict),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
