/* What the kubelet's read endpoints say, byte for byte: Pods and the stats summary. */
#include "k8s/codec_pods.h"
#include "k8s/codec_stats.h"

#include "base/buf.h"
#include "base/json.h"
#include "provider/core/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define T0 1795410000000 /* 2026-11-23T05:00:00Z */
#define TEXT_MAX 65536

static const struct container_port ports[] = {{.name = "http", .container_port = 8080}};
static const struct env_var env[] = {{.kind = ENV_VALUE, .name = "PASSWORD", .value = "hush"}};
static const struct container_spec container = {
    .name = "c",
    .image = "reg/app:v1",
    .ports = ports,
    .ports_len = 1,
    .env = env,
    .env_len = 1,
    .resources = {100, -1, 64 << 20, 64 << 20, -1, -1},
    .pull_policy = PULL_IF_NOT_PRESENT,
};
static const struct key_value labels[] = {{"app", "a\"b"}};
static const struct pod_spec spec = {
    .uid = "u-1",
    .ns = "default",
    .name = "p1",
    .resource_version = "77",
    .generation = 2,
    .created_ms = T0,
    .labels = labels,
    .labels_len = 1,
    .node_name = "uk-0",
    .runtime_class = "unikernel",
    .restart_policy = RESTART_NEVER,
    .grace_s = 30,
    .containers = &container,
    .containers_len = 1,
    .api_phase = PHASE_SUCCEEDED,
};

static void test_pod(void **state)
{
    struct buf out = BUF_INIT(TEXT_MAX);
    struct json_writer w = JSON_WRITER(&out);
    struct pod_status status = {
        .phase = PHASE_RUNNING,
        .host_ip = "192.0.2.2",
        .pod_ip = "10.88.0.7",
        .start_ms = T0,
        .observed_generation = 2,
        .containers_len = 1,
    };
    const char *names[] = {"reg/app"};

    (void)state;
    for (int i = 0; i < _COND_MAX; i++)
        status.conditions[i] = (struct condition_status){
            .type = (enum condition_type)i, .status = true, .since_ms = T0};
    status.containers[0] = (struct container_status){
        .spec = &container,
        .resources = &container.resources,
        .state = STATE_RUNNING,
        .started_ms = T0 + 1000,
        .id = "0123",
        .image_digest = "sha256:aa",
        .ready = true,
        .started = true,
    };
    codec_pods_begin(&w);
    codec_pods_add(&w, &spec, &status, names);
    codec_pods_end(&w);
    static const char head[] =
        "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":["
        "{\"metadata\":{\"name\":\"p1\",\"namespace\":\"default\",\"uid\":\"u-1\","
        "\"resourceVersion\":\"77\",\"generation\":2,"
        "\"creationTimestamp\":\"2026-11-23T05:00:00Z\",\"labels\":{\"app\":\"a\\\"b\"}},"
        "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"reg/app:v1\","
        "\"ports\":[{\"name\":\"http\",\"containerPort\":8080,\"protocol\":\"TCP\"}],"
        "\"resources\":{\"limits\":{\"memory\":\"64Mi\"},"
        "\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}},"
        "\"imagePullPolicy\":\"IfNotPresent\"}],\"restartPolicy\":\"Never\","
        "\"terminationGracePeriodSeconds\":30,\"nodeName\":\"uk-0\","
        "\"runtimeClassName\":\"unikernel\",\"priority\":0},"
        "\"status\":{\"observedGeneration\":2,\"phase\":\"Running\",\"hostIP\":\"192.0.2.2\","
        "\"hostIPs\":[{\"ip\":\"192.0.2.2\"}],\"podIP\":\"10.88.0.7\","
        "\"podIPs\":[{\"ip\":\"10.88.0.7\"}],\"startTime\":\"2026-11-23T05:00:00Z\","
        "\"conditions\":[";
    static const char tail[] =
        "\"containerStatuses\":[{\"name\":\"c\",\"image\":\"reg/app:v1\","
        "\"imageID\":\"reg/app@sha256:aa\",\"containerID\":\"unikernel://0123\","
        "\"ready\":true,\"started\":true,\"restartCount\":0,"
        "\"state\":{\"running\":{\"startedAt\":\"2026-11-23T05:00:01Z\"}},\"lastState\":{},"
        "\"allocatedResources\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"},"
        "\"resources\":{\"limits\":{\"memory\":\"64Mi\"},"
        "\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}}}]}}]}";
    assert_memory_equal(buf_str(&out), head, strlen(head));
    assert_true(out.len > strlen(tail));
    assert_string_equal(buf_str(&out) + out.len - strlen(tail), tail);
    /* No patch directives, no values of the environment. */
    assert_null(strstr(buf_str(&out), "$patch"));
    assert_null(strstr(buf_str(&out), "\"reason\""));
    assert_null(strstr(buf_str(&out), "hush"));
    struct json *root = json_parse(buf_str(&out), out.len, NULL);
    assert_non_null(root);
    json_free(root);
    buf_free(&out);
}

static void test_pod_whose_end_others_told(void **state)
{
    struct buf out = BUF_INIT(TEXT_MAX);
    struct json_writer w = JSON_WRITER(&out);
    struct pod_status status = {.keep_api = true};
    struct pod_spec deleted = spec;

    (void)state;
    deleted.deletion_ms = T0 + 30000;
    deleted.deletion_grace_s = 30;
    codec_pods_add(&w, &deleted, &status, NULL);
    assert_non_null(strstr(buf_str(&out), "\"status\":{\"phase\":\"Succeeded\"}}"));
    assert_non_null(strstr(buf_str(&out), "\"deletionTimestamp\":\"2026-11-23T05:00:30Z\","
                                          "\"deletionGracePeriodSeconds\":30"));
    buf_free(&out);
}

static void test_running(void **state)
{
    struct buf out = BUF_INIT(TEXT_MAX);
    struct json_writer w = JSON_WRITER(&out);

    (void)state;
    codec_pods_begin(&w);
    codec_pods_add_running(&w, &spec, &spec.containers[0]);
    codec_pods_end(&w);
    assert_string_equal(buf_str(&out),
                        "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":["
                        "{\"metadata\":{\"name\":\"p1\",\"namespace\":\"default\",\"uid\":\"u-1\"},"
                        "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"reg/app:v1\","
                        "\"resources\":{}}]},\"status\":{}}]}");
    buf_free(&out);
}

#define TIME "\"time\":\"2026-11-23T05:00:00Z\""
#define LINK(name) "\"name\":\"" name "\",\"rxBytes\":1,\"rxErrors\":2,\"txBytes\":3,\"txErrors\":4"
#define FS                                                                                     \
    "{" TIME ",\"availableBytes\":60,\"capacityBytes\":100,\"usedBytes\":40,\"inodesFree\":6," \
    "\"inodes\":10,\"inodesUsed\":4}"

static const struct stat_link links[] = {{"eth0", 1, 2, 3, 4}, {"eth1", 1, 2, 3, 4}};
static const struct stat_fs fs = {T0, 100, 60, 40, 10, 6, 4};
static const struct stat_node node = {
    .name = "uk-0",
    .started_ms = T0,
    .cpu = {T0, true, 250000000, 99000000000},
    .memory = {T0, 1000, 700, 600, 500, 90, 9},
    .network = {T0, links, 2},
    .fs = {T0, 100, 60, 40, 10, 6, 4},
    .image_fs = {T0, 100, 60, 40, 10, 6, 4},
    .processes = 80,
    .processes_max = 32768,
};

static void test_summary(void **state)
{
    struct buf out = BUF_INIT(TEXT_MAX);
    struct json_writer w = JSON_WRITER(&out);
    struct stat_pod pod = {
        .ns = "default",
        .name = "p1",
        .uid = "u-1",
        .started_ms = T0 - 1000,
        .container = "c",
        .container_started_ms = T0,
        .cpu = {T0, false, 0, 7},
        .memory = {T0, 0, 70, 60, 0, 0, 0},
        .network = {T0, links, 1},
        .logs = fs,
        .ephemeral = fs,
        .processes = 1,
    };

    (void)state;
    codec_stats_begin(&w, &node, false);
    codec_stats_pod(&w, &pod, false);
    codec_stats_end(&w);
    assert_string_equal(
        buf_str(&out),
        "{\"node\":{\"nodeName\":\"uk-0\",\"startTime\":\"2026-11-23T05:00:00Z\","
        "\"cpu\":{" TIME ",\"usageNanoCores\":250000000,\"usageCoreNanoSeconds\":99000000000},"
        "\"memory\":{" TIME ",\"availableBytes\":400,\"usageBytes\":700,\"workingSetBytes\":600,"
        "\"rssBytes\":500,\"pageFaults\":90,\"majorPageFaults\":9},"
        "\"network\":{" TIME "," LINK("eth0") ",\"interfaces\":[{" LINK("eth0") "},{" LINK(
            "eth1") "}]},\"fs\":" FS ",\"runtime\":{\"imageFs\":" FS ",\"containerFs\":" FS "},"
                    "\"rlimit\":{" TIME ",\"maxpid\":32768,\"curproc\":80}},"
                    "\"pods\":[{\"podRef\":{\"name\":\"p1\",\"namespace\":\"default\",\"uid\":\"u-"
                    "1\"},"
                    "\"startTime\":\"2026-11-23T04:59:59Z\",\"containers\":[{\"name\":\"c\","
                    "\"startTime\":\"2026-11-23T05:00:00Z\",\"cpu\":{" TIME
                    ",\"usageCoreNanoSeconds\":7},"
                    "\"memory\":{" TIME ",\"usageBytes\":70,\"workingSetBytes\":60},\"logs\":" FS
                    "}],"
                    "\"cpu\":{" TIME ",\"usageCoreNanoSeconds\":7},"
                    "\"memory\":{" TIME ",\"usageBytes\":70,\"workingSetBytes\":60},"
                    "\"network\":{" TIME "," LINK("eth0") ",\"interfaces\":[{" LINK(
                        "eth0") "}]},"
                                "\"ephemeral-storage\":" FS
                                ",\"process_stats\":{\"process_count\":1}}]}");
    buf_free(&out);
}

static void test_brief_summary(void **state)
{
    struct buf out = BUF_INIT(TEXT_MAX);
    struct json_writer w = JSON_WRITER(&out);
    struct stat_pod pod = {.ns = "n", .name = "p", .uid = "u", .logs = fs, .ephemeral = fs};

    (void)state;
    codec_stats_begin(&w, &node, true);
    codec_stats_pod(&w, &pod, true);
    codec_stats_end(&w);
    assert_string_equal(
        buf_str(&out),
        "{\"node\":{\"nodeName\":\"uk-0\",\"startTime\":\"2026-11-23T05:00:00Z\","
        "\"cpu\":{" TIME ",\"usageNanoCores\":250000000,\"usageCoreNanoSeconds\":99000000000},"
        "\"memory\":{" TIME ",\"availableBytes\":400,\"usageBytes\":700,\"workingSetBytes\":600,"
        "\"rssBytes\":500,\"pageFaults\":90,\"majorPageFaults\":9}},"
        "\"pods\":[{\"podRef\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\"},"
        "\"containers\":[]}]}");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pod),           cmocka_unit_test(test_pod_whose_end_others_told),
        cmocka_unit_test(test_running),       cmocka_unit_test(test_summary),
        cmocka_unit_test(test_brief_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
