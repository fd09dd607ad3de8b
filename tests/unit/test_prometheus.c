/* The text of metrics, byte for byte, and what may not break it: any text in a label, any number.
 */
#include "k8s/prometheus.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEXT_MAX 4096

static void test_labels(void **state)
{
    static const struct {
        const char *value;
        const char *text;
    } rows[] = {
        {"plain", "k=\"plain\""},
        {"", "k=\"\""},
        {NULL, "k=\"\""},
        {"a\"b", "k=\"a\\\"b\""},
        {"back\\slash", "k=\"back\\\\slash\""},
        {"two\nlines", "k=\"two\\nlines\""},
        {"gr\xc3\xbc\xc3\x9f", "k=\"gr\xc3\xbc\xc3\x9f\""},
        {"bad\xff\xc3", "k=\"bad??\""},
        {"{},=# ", "k=\"{},=# \""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = BUF_INIT(TEXT_MAX);
        struct prom_label label = {"k", rows[i].value};

        prom_labels(&out, &label, 1);
        assert_string_equal(buf_str(&out), rows[i].text);
        buf_free(&out);
    }
}

static void test_label_order_is_kept(void **state)
{
    struct buf out = BUF_INIT(TEXT_MAX);
    const struct prom_label labels[] = {{"namespace", "n"}, {"pod", "p"}, {"container", "c"}};

    (void)state;
    prom_labels(&out, labels, 3);
    assert_string_equal(buf_str(&out), "namespace=\"n\",pod=\"p\",container=\"c\"");
    buf_free(&out);
}

static void test_family(void **state)
{
    struct buf out = BUF_INIT(TEXT_MAX);

    (void)state;
    prom_family(&out, "a_total", PROM_COUNTER, "How many \"a\".\nSince C:\\ began");
    assert_string_equal(buf_str(&out), "# HELP a_total How many \"a\".\\nSince C:\\\\ began\n"
                                       "# TYPE a_total counter\n");
    buf_free(&out);
}

static void test_numbers(void **state)
{
    struct buf out = BUF_INIT(TEXT_MAX);

    (void)state;
    prom_u64(&out, "m", "", 0, 0);
    prom_u64(&out, "m", "a=\"b\"", UINT64_MAX, 1795410000123);
    prom_ns(&out, "s", "", 0, 0);
    prom_ns(&out, "s", "", 1, 0);
    prom_ns(&out, "s", "", 1250000000, 1795410000123);
    prom_ns(&out, "s", "", 90000000000, 0);
    prom_ns(&out, "s", "", 1000000100, 0);
    prom_ns(&out, "s", "", UINT64_MAX, 0);
    prom_double(&out, "d", "", 0.1, 0);
    prom_double(&out, "d", "", 1.0 / 3, 0);
    prom_double(&out, "d", "", -2.5e-7, 7);
    prom_double(&out, "d", "", INFINITY, 0);
    prom_double(&out, "d", "", -INFINITY, 0);
    prom_double(&out, "d", "", (double)NAN, 0);
    assert_string_equal(buf_str(&out), "m 0\n"
                                       "m{a=\"b\"} 18446744073709551615 1795410000123\n"
                                       "s 0\n"
                                       "s 0.000000001\n"
                                       "s 1.25 1795410000123\n"
                                       "s 90\n"
                                       "s 1.0000001\n"
                                       "s 18446744073.709551615\n"
                                       "d 0.1\n"
                                       "d 0.33333333333333331\n"
                                       "d -2.5e-07 7\n"
                                       "d +Inf\n"
                                       "d -Inf\n"
                                       "d NaN\n");
    buf_free(&out);
}

static void test_histogram(void **state)
{
    static const double bounds[] = {0.01, 0.5, 2};
    struct buf out = BUF_INIT(TEXT_MAX);
    struct histogram h;

    (void)state;
    histogram_init(&h, bounds, 3);
    histogram_add(&h, 0.01); /* on a bound: below it */
    histogram_add(&h, 0.25);
    histogram_add(&h, 0.25);
    histogram_add(&h, 7);
    histogram_add(&h, (double)NAN);
    assert_int_equal(histogram_count(&h), 4);
    prom_histogram(&out, "t_seconds", "", &h);
    prom_histogram(&out, "t_seconds", "vmm=\"qemu\"", &h);
    assert_string_equal(buf_str(&out), "t_seconds_bucket{le=\"0.01\"} 1\n"
                                       "t_seconds_bucket{le=\"0.5\"} 3\n"
                                       "t_seconds_bucket{le=\"2\"} 3\n"
                                       "t_seconds_bucket{le=\"+Inf\"} 4\n"
                                       "t_seconds_sum 7.51\n"
                                       "t_seconds_count 4\n"
                                       "t_seconds_bucket{vmm=\"qemu\",le=\"0.01\"} 1\n"
                                       "t_seconds_bucket{vmm=\"qemu\",le=\"0.5\"} 3\n"
                                       "t_seconds_bucket{vmm=\"qemu\",le=\"2\"} 3\n"
                                       "t_seconds_bucket{vmm=\"qemu\",le=\"+Inf\"} 4\n"
                                       "t_seconds_sum{vmm=\"qemu\"} 7.51\n"
                                       "t_seconds_count{vmm=\"qemu\"} 4\n");
    buf_free(&out);
}

static void test_empty_histogram(void **state)
{
    static const double bounds[] = {1};
    struct buf out = BUF_INIT(TEXT_MAX);
    struct histogram h;

    (void)state;
    histogram_init(&h, bounds, 1);
    prom_histogram(&out, "t", "", &h);
    assert_string_equal(buf_str(&out), "t_bucket{le=\"1\"} 0\n"
                                       "t_bucket{le=\"+Inf\"} 0\n"
                                       "t_sum 0\n"
                                       "t_count 0\n");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),    cmocka_unit_test(test_label_order_is_kept),
        cmocka_unit_test(test_family),    cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_histogram), cmocka_unit_test(test_empty_histogram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
