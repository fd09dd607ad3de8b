/* The bodies that the agent sends, byte for byte: Pod status (contract appendix B), Node, Lease and
 * the final DELETE. */
#include "k8s/codec.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define T0 1795410000000 /* 2026-11-23T05:00:00Z */

static const struct container_spec container = {
    .name = "c",
    .image = "reg/app:v1",
    .resources = {100, -1, 64 << 20, 64 << 20, -1, -1},
};
static const struct pod_spec spec = {.uid = "u-1", .containers = &container, .containers_len = 1};

static void base_status(struct pod_status *s)
{
    memset(s, 0, sizeof(*s));
    s->phase = PHASE_RUNNING;
    s->host_ip = "192.0.2.2";
    s->pod_ip = "";
    s->observed_generation = 2;
    s->containers_len = 1;
    s->containers[0].spec = &container;
    s->containers[0].resources = &container.resources;
    s->containers[0].id = "";
    s->containers[0].image_digest = "";
    for (int i = 0; i < _COND_MAX; i++)
        s->conditions[i] = (struct condition_status){
            .type = (enum condition_type)i, .status = true, .since_ms = T0};
}

static char *member(const struct pod_status *s, const char *name, const char *path)
{
    const char *names[] = {name, name};
    struct buf out = BUF_INIT(65536), text = BUF_INIT(65536);
    struct json *json;
    const struct json *v;

    codec_pod_status(&spec, s, names, &out);
    assert_false(out.overflow);
    json = json_parse(buf_str(&out), out.len, NULL);
    assert_non_null(json);
    assert_string_equal(json_string(json_path(json, "metadata.uid")), "u-1");
    v = json_path(json, path);
    if (v)
        assert_int_equal(json_print(v, &text), 0);
    json_free(json);
    buf_free(&out);
    return buf_take(&text);
}

#define MEMBER(s, path, want)                              \
    do {                                                   \
        char *got_ = member(s, "reg/app", "status." path); \
        assert_string_equal(got_, want);                   \
        free(got_);                                        \
    } while (0)

static void test_status_waiting(void **state)
{
    struct pod_status s;

    (void)state;
    base_status(&s);
    s.phase = PHASE_PENDING;
    s.containers[0].reason = "ErrImagePull";
    (void)str_copy(s.containers[0].message, sizeof(s.containers[0].message), "no \"x\"");
    s.conditions[COND_READY].status = false;
    s.conditions[COND_READY].reason = "ContainersNotReady";
    (void)str_copy(s.conditions[COND_READY].message, 256, "containers with unready status: [c]");
    MEMBER(&s, "phase", "\"Pending\"");
    MEMBER(&s, "reason", "null");
    MEMBER(&s, "message", "null");
    MEMBER(&s, "observedGeneration", "2");
    MEMBER(&s, "hostIPs", "[{\"ip\":\"192.0.2.2\"}]");
    MEMBER(&s, "podIP", "");
    MEMBER(&s, "podIPs", "");
    MEMBER(&s, "startTime", "");
    MEMBER(&s, "containerStatuses",
           "[{\"name\":\"c\",\"image\":\"reg/app:v1\",\"imageID\":\"\",\"ready\":false,"
           "\"started\":false,\"restartCount\":0,\"state\":{\"waiting\":{\"reason\":"
           "\"ErrImagePull\",\"message\":\"no \\\"x\\\"\"}},\"lastState\":{},"
           "\"allocatedResources\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"},\"resources\":"
           "{\"limits\":{\"memory\":\"64Mi\"},\"requests\":{\"cpu\":\"100m\",\"memory\":"
           "\"64Mi\"}}}]");
    MEMBER(&s, "conditions",
           "[{\"type\":\"PodReadyToStartContainers\",\"status\":\"True\",\"observedGeneration\":2,"
           "\"lastProbeTime\":null,\"lastTransitionTime\":\"2026-11-23T05:00:00Z\","
           "\"reason\":null,\"message\":null},"
           "{\"type\":\"Initialized\",\"status\":\"True\",\"observedGeneration\":2,"
           "\"lastProbeTime\":null,\"lastTransitionTime\":\"2026-11-23T05:00:00Z\","
           "\"reason\":null,\"message\":null},"
           "{\"type\":\"Ready\",\"status\":\"False\",\"observedGeneration\":2,"
           "\"lastProbeTime\":null,\"lastTransitionTime\":\"2026-11-23T05:00:00Z\","
           "\"reason\":\"ContainersNotReady\",\"message\":\"containers with unready status: [c]\"},"
           "{\"type\":\"ContainersReady\",\"status\":\"True\",\"observedGeneration\":2,"
           "\"lastProbeTime\":null,\"lastTransitionTime\":\"2026-11-23T05:00:00Z\","
           "\"reason\":null,\"message\":null},"
           "{\"type\":\"PodScheduled\",\"status\":\"True\",\"observedGeneration\":2,"
           "\"lastProbeTime\":null,\"lastTransitionTime\":\"2026-11-23T05:00:00Z\","
           "\"reason\":null,\"message\":null}]");
}

static void test_status_running(void **state)
{
    struct machine_exit last = {.valid = true,
                                .exit_code = 1,
                                .reason = "Error",
                                .message = "boom",
                                .started_ms = T0,
                                .finished_ms = T0 + 1000,
                                .id = "c1"};
    struct pod_status s;

    (void)state;
    base_status(&s);
    s.pod_ip = "10.88.0.10";
    s.start_ms = T0;
    s.reason = "R";
    s.message = "M";
    s.containers[0].state = STATE_RUNNING;
    s.containers[0].started_ms = T0 + 5000;
    s.containers[0].id = "c2";
    s.containers[0].image_digest = "sha256:ab";
    s.containers[0].restart_count = 2;
    s.containers[0].ready = s.containers[0].started = true;
    s.containers[0].last = &last;
    MEMBER(&s, "podIP", "\"10.88.0.10\"");
    MEMBER(&s, "podIPs", "[{\"$patch\":\"replace\"},{\"ip\":\"10.88.0.10\"}]");
    s.pod_ip = "fd00::10,10.88.0.10";
    s.host_ip = "fd00::2,192.0.2.2";
    MEMBER(&s, "podIP", "\"fd00::10\"");
    MEMBER(&s, "podIPs",
           "[{\"$patch\":\"replace\"},{\"ip\":\"fd00::10\"},{\"ip\":\"10.88.0.10\"}]");
    MEMBER(&s, "hostIP", "\"fd00::2\"");
    MEMBER(&s, "hostIPs", "[{\"ip\":\"fd00::2\"},{\"ip\":\"192.0.2.2\"}]");
    s.pod_ip = "10.88.0.10";
    s.host_ip = "192.0.2.2";
    MEMBER(&s, "startTime", "\"2026-11-23T05:00:00Z\"");
    MEMBER(&s, "reason", "\"R\"");
    MEMBER(&s, "message", "\"M\"");
    MEMBER(&s, "containerStatuses",
           "[{\"name\":\"c\",\"image\":\"reg/app:v1\",\"imageID\":\"reg/app@sha256:ab\","
           "\"containerID\":\"unikernel://c2\",\"ready\":true,\"started\":true,\"restartCount\":2,"
           "\"state\":{\"running\":{\"startedAt\":\"2026-11-23T05:00:05Z\"}},"
           "\"lastState\":{\"terminated\":{\"exitCode\":1,\"reason\":\"Error\",\"message\":"
           "\"boom\",\"startedAt\":\"2026-11-23T05:00:00Z\",\"finishedAt\":"
           "\"2026-11-23T05:00:01Z\",\"containerID\":\"unikernel://c1\"}},"
           "\"allocatedResources\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"},\"resources\":"
           "{\"limits\":{\"memory\":\"64Mi\"},\"requests\":{\"cpu\":\"100m\",\"memory\":"
           "\"64Mi\"}}}]");
}

static void test_status_terminated(void **state)
{
    struct machine_exit exit = {.valid = true,
                                .exit_code = 137,
                                .signal = 9,
                                .reason = "OOMKilled",
                                .started_ms = T0,
                                .finished_ms = T0,
                                .id = "c1"};
    struct machine_exit never = {.valid = true, .exit_code = 137};
    struct container_spec plain = {
        .name = "c", .image = "i", .resources = {-1, -1, -1, -1, -1, -1}};
    struct pod_status s;

    (void)state;
    base_status(&s);
    s.phase = PHASE_FAILED;
    s.containers[0].spec = &plain;
    s.containers[0].resources = &plain.resources;
    s.containers[0].state = STATE_TERMINATED;
    s.containers[0].terminated = &exit;
    s.containers[0].id = "c1";
    MEMBER(&s, "phase", "\"Failed\"");
    MEMBER(&s, "containerStatuses",
           "[{\"name\":\"c\",\"image\":\"i\",\"imageID\":\"\",\"containerID\":\"unikernel://c1\","
           "\"ready\":false,\"started\":false,\"restartCount\":0,\"state\":{\"terminated\":"
           "{\"exitCode\":137,\"signal\":9,\"reason\":\"OOMKilled\",\"startedAt\":"
           "\"2026-11-23T05:00:00Z\",\"finishedAt\":\"2026-11-23T05:00:00Z\",\"containerID\":"
           "\"unikernel://c1\"}},\"lastState\":{},\"resources\":{}}]");
    s.containers[0].terminated = &never; /* it never ran: no times, no id */
    s.containers[0].id = "";
    s.containers[0].reason = "ContainerStatusUnknown";
    MEMBER(&s, "containerStatuses",
           "[{\"name\":\"c\",\"image\":\"i\",\"imageID\":\"\",\"ready\":false,\"started\":false,"
           "\"restartCount\":0,\"state\":{\"terminated\":{\"exitCode\":137,\"reason\":"
           "\"ContainerStatusUnknown\"}},\"lastState\":{},\"resources\":{}}]");
    s.containers_len = 0;
    MEMBER(&s, "containerStatuses", "[]");
}

static void test_small_bodies(void **state)
{
    struct lease lease = {.name = "uk-0",
                          .holder = "uk-0",
                          .node_uid = "",
                          .resource_version = "",
                          .duration_s = 40,
                          .renew_ms = T0 + 123};
    struct buf out = BUF_INIT(4096);

    (void)state;
    codec_delete_options("u-1", &out);
    assert_string_equal(buf_str(&out),
                        "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\","
                        "\"gracePeriodSeconds\":0,\"preconditions\":{\"uid\":\"u-1\"}}");
    buf_reset(&out);
    codec_lease(&lease, &out);
    assert_string_equal(buf_str(&out),
                        "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\","
                        "\"metadata\":{\"name\":\"uk-0\",\"namespace\":\"kube-node-lease\"},"
                        "\"spec\":{\"holderIdentity\":\"uk-0\",\"leaseDurationSeconds\":40,"
                        "\"renewTime\":\"2026-11-23T05:00:00.123000Z\"}}");
    buf_reset(&out);
    lease.node_uid = "n-1";
    lease.resource_version = "7";
    lease.annotation_key = "k";
    lease.annotation_value = "v";
    codec_lease(&lease, &out);
    assert_string_equal(
        buf_str(&out),
        "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":"
        "\"uk-0\",\"namespace\":\"kube-node-lease\",\"resourceVersion\":\"7\",\"annotations\":"
        "{\"k\":\"v\"},\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"name\":"
        "\"uk-0\",\"uid\":\"n-1\"}]},\"spec\":{\"holderIdentity\":\"uk-0\","
        "\"leaseDurationSeconds\":40,\"renewTime\":\"2026-11-23T05:00:00.123000Z\"}}");
    buf_free(&out);
}

static void fill_node(struct node_status *node, struct node_image *images, size_t images_len)
{
    static const struct key_value labels[] = {{"type", "virtual-kubelet"}};
    static const struct key_value taints[] = {{"virtual-kubelet.io/provider", "unikubelet"}};
    static const char *const handlers[] = {"", "unikernel"};
    static const char *const features[] = {"ExtendWebSocketsToKubelet"};

    *node = (struct node_status){
        .name = "uk-0",
        .labels = labels,
        .labels_len = 1,
        .taints = taints,
        .taints_len = 1,
        .cpu_milli = 8000,
        .cpu_allocatable_milli = 7500,
        .memory_bytes = 16ll << 30,
        .memory_allocatable_bytes = 15ll << 30,
        .storage_bytes = 1 << 30,
        .storage_allocatable_bytes = 1 << 29,
        .pods_max = 200,
        .internal_ip = "192.0.2.2",
        .port = 10250,
        .runtime_handlers = handlers,
        .runtime_handlers_len = 2,
        .declared_features = features,
        .declared_features_len = 1,
        .images = images,
        .images_len = images_len,
        .conditions = {{"Ready", false, "KubeletNotReady", "m", T0 - 1000}},
        .conditions_len = 1,
        .heartbeat_ms = T0,
    };
}

static void test_node(void **state)
{
    struct node_image images[NODE_IMAGES_MAX + 5] = {{"r/a", "v1", "sha256:1", 5},
                                                     {"r/b", "", "", 1}};
    struct node_status node;
    static const struct {
        const char *path, *want;
    } rows[] = {
        {"metadata.uid", "\"n-1\""},
        {"status.capacity", "{\"cpu\":\"8\",\"memory\":\"16Gi\",\"ephemeral-storage\":\"1Gi\","
                            "\"pods\":\"200\"}"},
        {"status.allocatable.cpu", "\"7500m\""},
        {"status.addresses", "[{\"$patch\":\"replace\"},{\"type\":\"InternalIP\",\"address\":"
                             "\"192.0.2.2\"}]"},
        {"status.daemonEndpoints", "{\"kubeletEndpoint\":{\"Port\":10250}}"},
        {"status.declaredFeatures", "[\"ExtendWebSocketsToKubelet\"]"},
        {"status.images", "[{\"names\":[\"r/a@sha256:1\",\"r/a:v1\"],\"sizeBytes\":5}]"},
        {"status.conditions", "[{\"type\":\"Ready\",\"status\":\"False\",\"reason\":"
                              "\"KubeletNotReady\",\"message\":\"m\",\"lastHeartbeatTime\":"
                              "\"2026-11-23T05:00:00Z\",\"lastTransitionTime\":"
                              "\"2026-11-23T04:59:59Z\"}]"},
    };
    struct buf out = BUF_INIT(65536), text = BUF_INIT(65536);
    struct json *json;

    (void)state;
    fill_node(&node, images, NODE_IMAGES_MAX + 5);
    codec_node_status(&node, "n-1", &out);
    json = json_parse(buf_str(&out), out.len, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_reset(&text);
        assert_non_null(json_path(json, rows[i].path));
        assert_int_equal(json_print(json_path(json, rows[i].path), &text), 0);
        assert_string_equal(buf_str(&text), rows[i].want);
    }
    json_free(json);
    buf_reset(&out);
    codec_node(&node, &out);
    assert_true(str_starts(
        buf_str(&out), "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"uk-0\","
                       "\"labels\":{\"type\":\"virtual-kubelet\"}},\"spec\":{\"taints\":[{"
                       "\"key\":\"virtual-kubelet.io/provider\",\"value\":\"unikubelet\","
                       "\"effect\":\"NoSchedule\"}]},\"status\":{"));
    assert_null(strstr(buf_str(&out), "$patch"));
    buf_reset(&out);
    codec_node_labels(&node, "n-1", &out);
    assert_string_equal(buf_str(&out), "{\"metadata\":{\"uid\":\"n-1\",\"labels\":{\"type\":"
                                       "\"virtual-kubelet\"}}}");
    buf_free(&out);
    buf_free(&text);
}

/* Init containers are a list of their own, and the console's last lines stand for the message. */
static void test_inits(void **state)
{
    static const struct container_spec init = {
        .name = "i", .image = "reg/i:v1", .resources = {-1, -1, -1, -1, -1, -1}};
    const struct machine_exit exit = {.valid = true,
                                      .exit_code = 3,
                                      .reason = "Error",
                                      .message = "short",
                                      .started_ms = T0,
                                      .finished_ms = T0,
                                      .id = "i1",
                                      .console = "two\nlines"};
    struct pod_status s;

    (void)state;
    base_status(&s);
    MEMBER(&s, "initContainerStatuses", "");
    s.inits_len = 1;
    s.containers[1] = (struct container_status){.spec = &init,
                                                .resources = &init.resources,
                                                .state = STATE_TERMINATED,
                                                .terminated = &exit,
                                                .last = &exit,
                                                .id = "i1",
                                                .image_digest = ""};
    char *text = member(&s, "reg/app", "status.initContainerStatuses");
    assert_non_null(strstr(text, "\"name\":\"i\""));
    assert_non_null(strstr(text, "\"state\":{\"terminated\":{\"exitCode\":3"));
    assert_non_null(strstr(text, "\"message\":\"two\\nlines\""));
    assert_null(strstr(text, "short"));
    free(text);
    s.reason = NULL;
    text = member(&s, "reg/app", "status");
    assert_non_null(strstr(text, "\"reason\":null,\"message\":null,"));
    free(text);
    s.keep_reason = true;
    text = member(&s, "reg/app", "status");
    assert_null(strstr(text, "\"Running\",\"reason\":null"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inits),          cmocka_unit_test(test_status_waiting),
        cmocka_unit_test(test_status_running), cmocka_unit_test(test_status_terminated),
        cmocka_unit_test(test_small_bodies),   cmocka_unit_test(test_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
