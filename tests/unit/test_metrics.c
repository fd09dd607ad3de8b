/* The agent's own counters: one histogram for each VMM and guest, bounded. */
#include "provider/metrics.h"

#include "base/clock.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_boots_by_vmm_and_guest(void **state)
{
    struct metrics m;

    (void)state;
    metrics_init(&m);
    metrics_boot(&m, "qemu", "unikraft", 0.04);
    metrics_boot(&m, "qemu", "linux", 1.5);
    metrics_boot(&m, "qemu", "unikraft", 0.06);
    metrics_boot(&m, "fake", "unikraft", 0.001);
    assert_int_equal(m.boots_len, 3);
    assert_string_equal(m.boots[0].guest, "unikraft");
    assert_int_equal(histogram_count(&m.boots[0].seconds), 2);
    assert_string_equal(m.boots[1].guest, "linux");
    assert_int_equal(histogram_count(&m.boots[1].seconds), 1);
    assert_string_equal(m.boots[2].vmm, "fake");
}

static void test_boots_are_bounded(void **state)
{
    struct metrics m;
    char guest[METRICS_NAME_MAX];

    (void)state;
    metrics_init(&m);
    for (int i = 0; i < 100; i++)
        metrics_boot(&m, "qemu", str_fmt(guest, sizeof(guest), "kind-%d", i), 1);
    assert_int_equal(m.boots_len, METRICS_BOOTS_MAX);
    assert_string_equal(m.boots[METRICS_BOOTS_MAX - 1].guest, "other");
    assert_int_equal(histogram_count(&m.boots[METRICS_BOOTS_MAX - 1].seconds),
                     100 - METRICS_BOOTS_MAX + 1);
    assert_int_equal(histogram_count(&m.boots[0].seconds), 1);
}

static void test_operations(void **state)
{
    struct metrics m;

    (void)state;
    metrics_init(&m);
    metrics_operation(&m, OPERATION_PULL_IMAGE, clock_mono_ns() - 2000000000, false);
    metrics_operation(&m, OPERATION_PULL_IMAGE, clock_mono_ns() - 2000000000, true);
    assert_int_equal(histogram_count(&m.operations[OPERATION_PULL_IMAGE].seconds), 2);
    assert_int_equal(m.operations[OPERATION_PULL_IMAGE].failures, 1);
    assert_true(m.operations[OPERATION_PULL_IMAGE].seconds.sum >= 4);
    assert_int_equal(histogram_count(&m.operations[OPERATION_RUN_SANDBOX].seconds), 0);
    /* Before the server is there. */
    metrics_operation(NULL, OPERATION_PULL_IMAGE, 0, false);
    metrics_boot(NULL, "qemu", "linux", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boots_by_vmm_and_guest),
        cmocka_unit_test(test_boots_are_bounded),
        cmocka_unit_test(test_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
