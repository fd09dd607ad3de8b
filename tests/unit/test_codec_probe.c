/* Probes and hooks out of a Pod's JSON: what is read, what the API server would have filled in, and
 * which handlers refuse the Pod. */
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* The container's members go in. */
static const struct container_spec *decode(const char *members, struct arena *arena)
{
    char *text = xasprintf("{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\"},"
                           "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"%s}]}}",
                           members);
    struct json *root = json_parse(text, strlen(text), NULL);
    const struct pod_spec *spec = NULL;

    assert_non_null(root);
    assert_int_equal(codec_pod(root, arena, &spec, NULL), 0);
    json_free(root);
    free(text);
    return &spec->containers[0];
}

static void test_http(void **state)
{
    struct arena *arena = arena_new(1024);
    const struct container_spec *c = decode(
        ",\"readinessProbe\":{\"httpGet\":{\"path\":\"/h?a=b\",\"port\":\"web\",\"scheme\":"
        "\"HTTPS\",\"host\":\"example.com\",\"httpHeaders\":[{\"name\":\"A\",\"value\":\"1\"},"
        "{\"name\":\"A\",\"value\":\"\"}]},\"initialDelaySeconds\":5,\"periodSeconds\":7,"
        "\"timeoutSeconds\":2,\"successThreshold\":3,\"failureThreshold\":4,"
        "\"terminationGracePeriodSeconds\":9}",
        arena);
    const struct probe_spec *probe = c->probes[PROBE_READINESS];

    (void)state;
    assert_int_equal(c->features, 0);
    assert_null(c->probes[PROBE_STARTUP]);
    assert_null(c->probes[PROBE_LIVENESS]);
    assert_int_equal(probe->handler.kind, HANDLER_HTTP);
    assert_string_equal(probe->handler.path, "/h?a=b");
    assert_string_equal(probe->handler.port_name, "web");
    assert_string_equal(probe->handler.host, "example.com");
    assert_true(probe->handler.tls);
    assert_int_equal(probe->handler.headers_len, 2);
    assert_string_equal(probe->handler.headers[0].key, "A");
    assert_string_equal(probe->handler.headers[0].value, "1");
    assert_string_equal(probe->handler.headers[1].value, "");
    assert_int_equal(probe->initial_delay_s, 5);
    assert_int_equal(probe->period_s, 7);
    assert_int_equal(probe->timeout_s, 2);
    assert_int_equal(probe->success_threshold, 3);
    assert_int_equal(probe->failure_threshold, 4);
    assert_int_equal(probe->grace_s, 9);
    arena_free(arena);
}

static void test_defaults(void **state)
{
    static const char *const members[] = {
        ",\"livenessProbe\":{\"tcpSocket\":{\"port\":80}}",
        ",\"livenessProbe\":{\"tcpSocket\":{\"port\":80},\"periodSeconds\":0,\"timeoutSeconds\":-1,"
        "\"successThreshold\":0,\"failureThreshold\":99999999999,\"initialDelaySeconds\":-5}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        struct arena *arena = arena_new(1024);
        const struct probe_spec *probe = decode(members[i], arena)->probes[PROBE_LIVENESS];

        assert_int_equal(probe->handler.kind, HANDLER_TCP);
        assert_int_equal(probe->handler.port, 80);
        assert_null(probe->handler.port_name);
        assert_null(probe->handler.host);
        assert_int_equal(probe->initial_delay_s, 0);
        assert_int_equal(probe->period_s, 10);
        assert_int_equal(probe->timeout_s, 1);
        assert_int_equal(probe->success_threshold, 1);
        assert_int_equal(probe->failure_threshold, 3);
        assert_int_equal(probe->grace_s, -1);
        arena_free(arena);
    }
}

static void test_kinds(void **state)
{
    static const struct {
        const char *members;
        uint32_t refused;
        enum handler_kind startup, post_start, pre_stop; /* HANDLER_NONE: none is there */
    } rows[] = {
        {",\"startupProbe\":{\"grpc\":{\"port\":9090}}", 0, HANDLER_GRPC, 0, 0},
        {",\"startupProbe\":{\"grpc\":{\"port\":9090,\"service\":\"db\",\"mode\":\"TLS\"}}", 0,
         HANDLER_GRPC, 0, 0},
        {",\"startupProbe\":{\"exec\":{\"command\":[\"true\"]}}", CF_STARTUP_PROBE, HANDLER_EXEC, 0,
         0},
        {",\"startupProbe\":{\"carrierPigeon\":{}}", CF_STARTUP_PROBE, HANDLER_NONE, 0, 0},
        {",\"lifecycle\":{\"postStart\":{\"httpGet\":{\"port\":1}},\"preStop\":{\"sleep\":"
         "{\"seconds\":3}}}",
         0, 0, HANDLER_HTTP, HANDLER_SLEEP},
        {",\"lifecycle\":{\"postStart\":{\"tcpSocket\":{\"port\":1}}}", 0, 0, 0, 0},
        {",\"lifecycle\":{\"postStart\":{\"exec\":{}},\"preStop\":{\"exec\":{}}}",
         CF_POST_START | CF_PRE_STOP, 0, HANDLER_EXEC, HANDLER_EXEC},
        {",\"lifecycle\":7,\"startupProbe\":[]", 0, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(1024);
        const struct container_spec *c = decode(rows[i].members, arena);
        const struct probe_spec *probe = c->probes[PROBE_STARTUP];

        assert_int_equal(c->features, rows[i].refused);
        assert_int_equal(probe ? probe->handler.kind : HANDLER_NONE, rows[i].startup);
        assert_int_equal(c->post_start ? c->post_start->kind : HANDLER_NONE, rows[i].post_start);
        assert_int_equal(c->pre_stop ? c->pre_stop->kind : HANDLER_NONE, rows[i].pre_stop);
        if (c->pre_stop && c->pre_stop->kind == HANDLER_SLEEP)
            assert_int_equal(c->pre_stop->sleep_s, 3);
        if (i == 1) {
            assert_string_equal(probe->handler.service, "db");
            assert_true(probe->handler.tls);
        }
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
