/* provider/node.c: registration, a status that is posted when something changed and only then, a
 * Node that somebody deletes or replaces, and Ready that says why machines cannot run. */
#include "node_fixture.h"

static void test_create(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    assert_string_equal(buf_str(&b.api.log), "GET lease;POST node;POST lease;");
    assert_int_equal(b.claimed, 1);
    assert_int_equal(b.accels, 1);
    assert_int_equal(b.agent.vmm_config.accel, ACCEL_TCG);
    assert_string_equal(b.api.owner, "uid-1");
    assert_int_equal(strlen(b.api.holder_id), 32);
    assert_string_equal(buf_str(&b.events), "Starting;NodeReady;");
    const struct json *n = b.api.posted;
    const struct json *labels = json_path(n, "metadata.labels");
    assert_string_equal(json_string(json_path(n, "metadata.name")), "uk-0");
    assert_string_equal(json_get_string(labels, "type"), "virtual-kubelet");
    assert_string_equal(json_get_string(labels, "unikubelet.dev/runtime"), "true");
    assert_string_equal(json_get_string(labels, "kubernetes.io/arch"), "amd64");
    assert_string_equal(json_get_string(json_first(json_path(n, "spec.taints")), "key"),
                        "virtual-kubelet.io/provider");
    assert_string_equal(json_string(json_path(n, "status.capacity.cpu")), "4");
    assert_string_equal(json_string(json_path(n, "status.allocatable.memory")), "7Gi");
    assert_true(is_ready(n, "True"));
    /* Nothing changes: nothing more is said, however often it is computed. */
    pass(&b, 200);
    assert_int_equal(b.api.status_patches, 0);
    assert_int_equal(b.api.node_posts, 1);
    bench_close(&b);
}

static void test_labels(void **state)
{
    static char own[] = "node.kubernetes.io/instance-type=m5", empty[] = "a.example/b=";
    static char longest[400];
    struct bench b;
    (void)state;
    /* The longest name that the API takes. */
    memset(longest, 'a', 253);
    longest[253] = '/';
    memset(longest + 254, 'b', 63);
    str_copy(longest + 254 + 63, 8, "=v");
    bench_open(&b);
    b.agent.config.node_labels = (struct config_list){.items = {own, empty, longest}, .len = 3};
    bench_settle(&b);
    const struct json *labels = json_path(b.api.posted, "metadata.labels");
    assert_string_equal(json_get_string(labels, "node.kubernetes.io/instance-type"), "m5");
    assert_string_equal(json_get_string(labels, "a.example/b"), "");
    longest[254 + 63] = '\0';
    assert_string_equal(json_get_string(labels, longest), "v");
    assert_int_equal(json_len(labels), 10); /* eight of ours, one of them with another value */
    bench_close(&b);
}

static void test_existing(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.api.node_exists = true;
    b.api.uids = 7;
    str_copy(b.api.node_conditions, sizeof(b.api.node_conditions),
             "{\"type\":\"Ready\",\"status\":\"True\","
             "\"lastTransitionTime\":\"2020-01-02T03:04:05Z\"},"
             "{\"type\":\"DiskPressure\",\"status\":\"True\","
             "\"lastTransitionTime\":\"2020-01-02T03:04:05Z\"},{\"type\":7},7");
    bench_settle(&b);
    WAIT(&b, b.api.status_patches == 1);
    assert_non_null(strstr(buf_str(&b.api.log), "POST node;GET node;"));
    assert_non_null(strstr(buf_str(&b.api.log), "PATCH node;"));
    assert_string_equal(json_string(json_path(b.api.labels, "metadata.uid")), "uid-7");
    const struct json *labels = json_path(b.api.labels, "metadata.labels");
    assert_string_equal(json_get_string(labels, "unikubelet.dev/runtime"), "true");
    assert_string_equal(json_string(json_path(b.api.status, "metadata.uid")), "uid-7");
    assert_string_equal(b.api.owner, "uid-7");
    /* Ready since before the restart; the disk's pressure ended with it. */
    const struct json *ready = condition(b.api.status, "Ready");
    const struct json *disk = condition(b.api.status, "DiskPressure");
    assert_string_equal(json_get_string(ready, "lastTransitionTime"), "2020-01-02T03:04:05Z");
    assert_string_not_equal(json_get_string(disk, "lastTransitionTime"), "2020-01-02T03:04:05Z");
    assert_string_equal(buf_str(&b.events), "Starting;");
    bench_close(&b);
}

/* What the API server says against the Node is what is told, not that it is not there. */
static void test_forbidden(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.api.override = (struct override){"POST", PATH_NODES, 403, 2, "label x is not allowed"};
    bench_settle(&b);
    assert_int_equal(b.api.node_posts, 1); /* and two that were refused */
    assert_int_equal(b.api.node_gets, 2);
    assert_non_null(strstr(b.node->refusal, "label x is not allowed"));
    bench_close(&b);
}

static void test_unreachable(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.api.override = (struct override){"POST", PATH_NODES, 500, 2, NULL};
    bench_settle(&b);
    assert_int_equal(b.api.node_posts, 1);
    assert_int_equal(b.api.node_gets, 0);
    bench_close(&b);
}

static void test_changes(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    b.memory_available = 1;
    WAIT(&b, b.api.status_patches == 1);
    const struct json *memory = condition(b.api.status, "MemoryPressure");
    assert_string_equal(json_get_string(memory, "status"), "True");
    assert_string_equal(json_get_string(memory, "reason"), "KubeletHasInsufficientMemory");
    assert_true(is_ready(b.api.status, "True"));
    pass(&b, 100);
    assert_int_equal(b.api.status_patches, 1);
    /* An image was pulled. */
    b.images[0] = (struct image_listing){"reg/app", "v1", "sha256:aa", 1234};
    b.images_len = 1;
    WAIT(&b, b.api.status_patches == 2);
    const struct json *image = json_first(json_path(b.api.status, "status.images"));
    assert_string_equal(json_string(json_first(json_get(image, "names"))), "reg/app@sha256:aa");
    /* A post that fails is made again. */
    b.api.override = (struct override){"PATCH", PATH_STATUS, 500, 3, NULL};
    b.memory_available = 4LL << 30;
    WAIT(&b, b.api.status_patches == 3);
    assert_int_equal(b.api.override.times, 0);
    bench_close(&b);
}

/* Without changes, now and then. */
static void test_report(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.agent.config.status_report_ms = 100;
    bench_settle(&b);
    uint64_t start = clock_mono_ms();
    WAIT(&b, b.api.status_patches == 3);
    assert_true(clock_mono_ms() - start >= 250);
    bench_close(&b);
}

static void test_deleted(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    b.api.node_exists = false;
    b.memory_available = 1; /* something to say */
    WAIT(&b, str_eq(b.api.owner, "uid-2"));
    assert_int_equal(b.api.node_posts, 2);
    assert_int_equal(b.claimed, 1);
    assert_string_equal(b.node->uid, "uid-2");
    assert_string_equal(buf_str(&b.events), "Starting;NodeReady;NodeReady;");
    unsigned patches = b.api.status_patches;
    pass(&b, 100);
    assert_int_equal(b.api.status_patches, patches);
    bench_close(&b);
}

/* With the Node its Lease is collected: the next renewal tells, long before a status is due. */
static void test_collected(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    b.api.node_exists = false;
    b.api.lease_exists = false;
    WAIT(&b, str_eq(b.api.owner, "uid-2"));
    bench_close(&b);
}

/* Somebody deleted it and made another one at once. */
static void test_replaced(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    b.api.uids = 5;
    b.memory_available = 1;
    WAIT(&b, str_eq(b.api.owner, "uid-5"));
    WAIT(&b, str_eq(json_string(json_path(b.api.status, "metadata.uid")), "uid-5"));
    assert_int_equal(b.api.node_posts, 1);
    assert_int_equal(b.api.label_patches, 1);
    bench_close(&b);
}

/* 422 for another reason: it is said, and tried again at the pace of status, no faster. */
static void test_rejected(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.agent.config.status_update_ms = 100;
    bench_settle(&b);
    b.api.override = (struct override){"PATCH", PATH_STATUS, 422, -1, "addresses: bad"};
    b.memory_available = 1;
    WAIT(&b, b.api.node_gets == 1);
    pass(&b, 450);
    assert_true(b.api.node_gets <= 6);
    WAIT(&b, b.api.node_gets >= 2);
    assert_int_equal(b.api.node_posts, 1);
    assert_int_equal(b.api.label_patches, 0);
    assert_non_null(strstr(b.node->refusal, "addresses: bad"));
    b.api.override.times = 0;
    WAIT(&b, b.api.status_patches == 1);
    bench_close(&b);
}

/* ---- can machines run? ---- */

static void test_not_ready(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.probe_error = "QEMU is not installed: apt install qemu-system-x86";
    bench_settle(&b);
    const struct json *ready = condition(b.api.posted, "Ready");
    assert_string_equal(json_get_string(ready, "status"), "False");
    assert_string_equal(json_get_string(ready, "reason"), "KubeletNotReady");
    assert_string_equal(json_get_string(ready, "message"), b.probe_error);
    assert_string_equal(buf_str(&b.events), "Starting;NodeNotReady;");
    /* Under accel auto no Pod starts before it is known what auto is ... */
    assert_int_equal(b.accels, 0);
    assert_int_equal(b.agent.vmm_config.accel, ACCEL_AUTO);
    /* ... which a later probe may say. */
    int probes = b.probes;
    pass(&b, 100);
    assert_int_equal(b.probes, probes);
    b.probe_error = NULL;
    b.node->probed_mono_ms -= 5000;
    WAIT(&b, b.api.status_patches == 1);
    assert_true(is_ready(b.api.status, "True"));
    assert_int_equal(b.accels, 1);
    assert_int_equal(b.agent.vmm_config.accel, ACCEL_TCG);
    assert_string_equal(buf_str(&b.events), "Starting;NodeNotReady;NodeReady;");
    /* Then it breaks: asked for what was found, a minute later. */
    b.node->probed_mono_ms -= 59000;
    pass(&b, 100);
    assert_int_equal(b.probes, probes + 1);
    b.probe_error = "no";
    b.node->probed_mono_ms -= 1000;
    WAIT(&b, b.api.status_patches == 2);
    assert_true(is_ready(b.api.status, "False"));
    assert_int_equal(b.probe_asked, ACCEL_TCG);
    assert_int_equal(b.accels, 1);
    bench_close(&b);
}

static void test_network(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    bench_settle(&b);
    b.network_error = "no CNI plugin \"bridge\"";
    WAIT(&b, b.api.status_patches == 1);
    assert_string_equal(json_get_string(condition(b.api.status, "Ready"), "message"),
                        "no CNI plugin \"bridge\"");
    b.probe_error = "no QEMU";
    b.node->probed_mono_ms -= 60000;
    WAIT(&b, b.api.status_patches == 2);
    assert_string_equal(json_get_string(condition(b.api.status, "Ready"), "message"),
                        "no QEMU; no CNI plugin \"bridge\"");
    assert_string_equal(buf_str(&b.events), "Starting;NodeReady;NodeNotReady;");
    bench_close(&b);
}

/* An end with everything under way: requests, probe, timers. */
static void test_stop(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct bench b;
        bench_open(&b);
        bench_start(&b);
        for (int i = 0; i < turns; i++)
            turn(&b);
        b.api.silent = turns % 2;
        turn(&b);
        bench_close(&b);
    }
}

/* The node lifecycle controller wrote Unknown while this agent was cut off: taken back at once, and
 * when somebody goes on writing, with the next status. Our own writing is no reason. */
static void test_overwritten(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.api.node_version = 10;
    bench_settle(&b);
    WAIT(&b, b.api.watch);
    b.api.node_version = 20;
    api_tell(&b.api, "MODIFIED", 10, "Unknown"); /* before our own last write */
    api_tell(&b.api, "MODIFIED", 11, "True");
    pass(&b, 100);
    assert_int_equal(b.api.status_patches, 0);
    api_tell(&b.api, "MODIFIED", 12, "Unknown");
    WAIT(&b, b.api.status_patches == 1 && !b.node->request);
    assert_true(is_ready(b.api.status, "True"));
    assert_int_equal(b.node->acked_version, 20);
    b.agent.config.status_update_ms = 0;
    uv_timer_stop(&b.node->status_timer);
    api_tell(&b.api, "MODIFIED", 21, "False");
    WAIT(&b, b.node->other_version == 21);
    pass(&b, 50);
    assert_int_equal(b.api.status_patches, 1);
    assert_int_equal(b.node->posted_hash, 0); /* the next status is posted */
    b.node->other_ms -= NODE_REASSERT_MS;
    api_tell(&b.api, "MODIFIED", 22, "False");
    WAIT(&b, b.api.status_patches == 2);
    assert_int_equal(b.api.node_posts, 1);
    bench_close(&b);
}

/* Seen as it happens, not with the next status or Lease. */
static void test_deleted_watched(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b);
    b.api.node_version = 10;
    bench_settle(&b);
    WAIT(&b, b.api.watch);
    uv_timer_stop(&b.node->status_timer);
    b.api.node_exists = false;
    api_tell(&b.api, "DELETED", 12, "True");
    WAIT(&b, b.api.node_posts == 2 && b.node->state == NODE_REGISTERED);
    /* A list without it says the same. */
    b.node->other_ms = 0;
    b.api.node_exists = false;
    node_watch_again(b.node);
    WAIT(&b, b.api.node_posts == 3 && b.node->state == NODE_REGISTERED);
    assert_string_equal(b.node->uid, "uid-3");
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),      cmocka_unit_test(test_labels),
        cmocka_unit_test(test_existing),    cmocka_unit_test(test_forbidden),
        cmocka_unit_test(test_unreachable), cmocka_unit_test(test_changes),
        cmocka_unit_test(test_report),      cmocka_unit_test(test_deleted),
        cmocka_unit_test(test_collected),   cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_rejected),    cmocka_unit_test(test_not_ready),
        cmocka_unit_test(test_network),     cmocka_unit_test(test_stop),
        cmocka_unit_test(test_overwritten), cmocka_unit_test(test_deleted_watched),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
