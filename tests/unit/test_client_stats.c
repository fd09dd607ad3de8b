/* Answers of the API server, counted by method and status; the table has an end. */
#include "k8s/client_stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_answers(void **state)
{
    struct kube_answers a;

    (void)state;
    kube_answers_init(&a);
    kube_answers_add(&a, KUBE_PATCH, 200, 0.003);
    kube_answers_add(&a, KUBE_MERGE_PATCH, 200, 0.003); /* one verb */
    kube_answers_add(&a, KUBE_PATCH, 404, 0.003);
    kube_answers_add(&a, KUBE_GET, 200, 0.5);
    kube_answers_add(&a, KUBE_GET, 0, 5); /* no answer has no latency */
    assert_int_equal(a.codes_len, 4);
    assert_int_equal(a.codes[0].count, 2);
    assert_int_equal(a.codes[1].status, 404);
    assert_int_equal(histogram_count(&a.seconds[KUBE_PATCH]), 3);
    assert_int_equal(histogram_count(&a.seconds[KUBE_MERGE_PATCH]), 0);
    assert_int_equal(histogram_count(&a.seconds[KUBE_GET]), 1);
    assert_string_equal(kube_method_to_string(KUBE_MERGE_PATCH), "PATCH");
}

static void test_many_codes(void **state)
{
    struct kube_answers a;
    uint64_t sum = 0;

    (void)state;
    kube_answers_init(&a);
    for (int i = 0; i < 1000; i++)
        kube_answers_add(&a, KUBE_GET, 100 + i, 0.1);
    assert_int_equal(a.codes_len, KUBE_CODES_MAX);
    for (size_t i = 0; i < a.codes_len; i++)
        sum += a.codes[i].count;
    assert_int_equal(sum, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_many_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
