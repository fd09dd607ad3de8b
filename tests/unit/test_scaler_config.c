/* Tests of the scaler's table of keys; the engine itself is tested by test_config.c. */
#include "provider/scaler/config.h"

#include "base/err.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int load(struct scaler_config *config, struct err *err, const char *a, const char *b)
{
    char *argv[] = {"unikubelet-scaler", (char *)(uintptr_t)a, (char *)(uintptr_t)b, NULL};
    enum config_command command;
    int argc = 1 + (a != NULL) + (b != NULL);
    *err = (struct err){0};
    return scaler_config_load(argc, argv, config, &command, err);
}

static void test_presets(void **state)
{
    struct scaler_config c;
    struct err err;
    (void)state;
    unsetenv("POD_IP");
    assert_true(load(&c, &err, NULL, NULL) < 0);
    assert_non_null(strstr(err.text, "podIP is not set"));
    setenv("POD_IP", "10.0.0.7", 1);
    setenv("POD_NAME", "scaler-0", 1);
    assert_int_equal(load(&c, &err, NULL, NULL), 0);
    assert_string_equal(c.pod_ip, "10.0.0.7");
    assert_string_equal(c.pod_name, "scaler-0");
    assert_string_equal(c.ns, "kube-system");
    assert_int_equal(c.port, 6443);
    assert_true(c.service_endpoints);
    scaler_config_free(&c);
    unsetenv("POD_NAME");
    assert_int_equal(load(&c, &err, NULL, NULL), 0);
    assert_true(c.pod_name[0]); /* the host's */
    scaler_config_free(&c);
}

static void test_refused(void **state)
{
    static const struct {
        const char *a, *b, *text;
    } rows[] = {
        {"--tls-cert-file=/x", NULL, "go together"},
        {"--data-port=65000", "--data-ports=1000", "beyond port 65535"},
        {"--window-seconds=1", "--scrape-milliseconds=2000", "shorter"},
        {"--lease-seconds=2", NULL, "from 3 to 120"},
        {"--pod-ip=here", NULL, "podIP must be"},
        {"--node-name=x", NULL, "unknown flag \"--node-name=x\" (see unikubelet-scaler --help)"},
    };
    struct scaler_config c;
    struct err err;
    (void)state;
    setenv("POD_IP", "10.0.0.7", 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(load(&c, &err, rows[i].a, rows[i].b) < 0);
        if (!strstr(err.text, rows[i].text))
            fail_msg("%s: \"%s\"", rows[i].a, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_presets),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
