/* Kubernetes quantities: the grammar of contract 0, rounding up, limits, and the canonical form. */
#include "core_fixture.h"

#include "provider/core/quantity.h"

#include <errno.h>

static void reads(void **state)
{
    static const struct {
        const char *text;
        int result;
        int64_t value;
        int64_t milli; /* when it fits */
    } rows[] = {
        {"0", 0, 0, 0},
        {"17", 0, 17, 17000},
        {"+17", 0, 17, 17000},
        {"100m", 0, 1, 100},
        {"1500m", 0, 2, 1500},
        {"0.1", 0, 1, 100},
        {"2.", 0, 2, 2000},
        {".5", 0, 1, 500},
        {"1n", 0, 1, 1},
        {"250u", 0, 1, 1},
        {"1.5Gi", 0, 1610612736, 1610612736000},
        {"0.5Ki", 0, 512, 512000},
        {"0.3Ki", 0, 308, 307200},
        {"1k", 0, 1000, 1000000},
        {"1M", 0, 1000000, 1000000000},
        {"1e3", 0, 1000, 1000000},
        {"1E3", 0, 1000, 1000000},
        {"12e-1", 0, 2, 1200},
        {"1e+2", 0, 100, 100000},
        {"0e99999999999", 0, 0, 0},
        {"1e-99999999999", 0, 1, 1},
        {"00000000000000000000000000007", 0, 7, 7000},
        {"1.00000000000000000000000000001", 0, 2, 1001},
        {"9007199254740992", 0, 9007199254740992, 9007199254740992000},
        {"", -EINVAL, 0, 0},
        {".", -EINVAL, 0, 0},
        {"-1", -EINVAL, 0, 0},
        {"1.2.3", -EINVAL, 0, 0},
        {"1 Gi", -EINVAL, 0, 0},
        {"Gi", -EINVAL, 0, 0},
        {"1gi", -EINVAL, 0, 0},
        {"1K", -EINVAL, 0, 0},
        {"1e", -EINVAL, 0, 0},
        {"1e3x", -EINVAL, 0, 0},
        {"1Gib", -EINVAL, 0, 0},
        {"10000000000000000000000000000000000000000000000000000000000000000", -EINVAL, 0, 0},
        {"123456789012345678901234567890", -ERANGE, 0, 0},
        {"8Ei", -ERANGE, 0, 0},
        {"9223372036854775808", -ERANGE, 0, 0},
        {"10E", -ERANGE, 0, 0},
        {"1e99", -ERANGE, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        int64_t value = -7, milli = -7;

        assert_int_equal(quantity_value(rows[i].text, &value), rows[i].result);
        assert_int_equal(quantity_milli(rows[i].text, &milli), rows[i].result);
        assert_int_equal(value, rows[i].result ? -7 : rows[i].value);
        assert_int_equal(milli, rows[i].result ? -7 : rows[i].milli);
    }
    int64_t untouched = -7;
    assert_int_equal(quantity_value(NULL, &untouched), -EINVAL);
    assert_int_equal(quantity_value("9223372036854775807", &untouched), 0);
    assert_int_equal(untouched, INT64_MAX);
    assert_int_equal(quantity_value("7Ei", &untouched), 0);
    assert_int_equal(untouched, 7LL << 60);
    assert_int_equal(quantity_milli("9223372036854775807", &untouched), -ERANGE);
}

static void writes(void **state)
{
    static const struct {
        int64_t amount;
        const char *bytes;
        const char *cpu;
    } rows[] = {
        {0, "0", "0"},
        {17, "17", "17m"},
        {1000, "1000", "1"},
        {1024, "1Ki", "1024m"},
        {1536000, "1500Ki", "1536"},
        {17179869184, "16Gi", "17179869184m"},
        {INT64_MAX, "9223372036854775807", "9223372036854775807m"},
    };
    char dst[QUANTITY_MAX];

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        assert_string_equal(quantity_bytes(dst, rows[i].amount), rows[i].bytes);
        assert_string_equal(quantity_cpu(dst, rows[i].amount), rows[i].cpu);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
