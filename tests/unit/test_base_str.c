/* Tables for base/str.h and base/err.h: comparison, cutting at UTF-8 borders, numbers, base64. */
#include "base/str.h"

#include "base/cleanup.h"
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_compare(void **state)
{
    (void)state;
    assert_true(str_eq(NULL, NULL));
    assert_false(str_eq(NULL, ""));
    assert_false(str_eq("", NULL));
    assert_true(str_eq("a", "a"));
    assert_true(str_starts("sha256:ab", "sha256:"));
    assert_false(str_starts("sha", "sha256:"));
    assert_false(str_starts(NULL, ""));
    assert_true(str_ends("0.log", ".log"));
    assert_false(str_ends("log", "0.log"));
    assert_true(str_ends("x", ""));
    assert_true(str_empty(NULL));
    assert_true(str_empty(""));
    assert_false(str_empty(" "));
}

static void test_utf8_len(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        size_t want;
    } rows[] = {
        {"a", 1, 1},
        {"", 0, 0},
        {"\0", 1, 1},
        {"\xc3\xa9", 2, 2},
        {"\xc3\xa9", 1, 0}, /* ends early */
        {"\xc0\x80", 2, 0}, /* overlong NUL */
        {"\xc1\xbf", 2, 0},
        {"\x80", 1, 0}, /* continuation alone */
        {"\xe2\x82\xac", 3, 3},
        {"\xe2\x82", 2, 0},
        {"\xe0\x9f\xbf", 3, 0}, /* overlong */
        {"\xed\x9f\xbf", 3, 3}, /* U+D7FF */
        {"\xed\xa0\x80", 3, 0}, /* surrogate */
        {"\xf0\x9f\x98\x80", 4, 4},
        {"\xf0\x8f\xbf\xbf", 4, 0}, /* overlong */
        {"\xf4\x8f\xbf\xbf", 4, 4}, /* U+10FFFF */
        {"\xf4\x90\x80\x80", 4, 0}, /* beyond */
        {"\xf5\x80\x80\x80", 4, 0},
        {"\xff", 1, 0},
        {"\xe2\x28\xa1", 3, 0},
        {"\xe2\x82\x28", 3, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(str_utf8_len(rows[i].text, rows[i].len), rows[i].want);
}

static void test_copy(void **state)
{
    static const struct {
        size_t size;
        const char *src;
        const char *want;
    } rows[] = {
        {1, "abc", ""},
        {4, "abc", "abc"},
        {3, "abc", "ab"},
        {4, "ab\xc3\xa9", "ab"},
        {5, "ab\xc3\xa9", "ab\xc3\xa9"},
        {4, "\xf0\x9f\x98\x80", ""},
        {5, "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {6, "a\xf0\x9f\x98\x80z", "a\xf0\x9f\x98\x80"},
        {4, "\x80\x80\x80\x80\x80", "\x80\x80\x80"}, /* no UTF-8: cut anywhere */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char dst[16];

        assert_ptr_equal(str_copy(dst, rows[i].size, rows[i].src), dst);
        assert_string_equal(dst, rows[i].want);
        assert_string_equal(str_fmt(dst, rows[i].size, "%s", rows[i].src), rows[i].want);
    }
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        int u_result;
        uint64_t u;
        int i_result;
        int64_t i;
    } rows[] = {
        {"0", 0, 0, 0, 0},
        {"007", 0, 7, 0, 7},
        {"18446744073709551615", 0, UINT64_MAX, -ERANGE, 0},
        {"18446744073709551616", -ERANGE, 0, -ERANGE, 0},
        {"99999999999999999999x", -EINVAL, 0, -EINVAL, 0},
        {"9223372036854775807", 0, INT64_MAX, 0, INT64_MAX},
        {"9223372036854775808", 0, UINT64_C(1) << 63, -ERANGE, 0},
        {"-9223372036854775808", -EINVAL, 0, 0, INT64_MIN},
        {"-9223372036854775809", -EINVAL, 0, -ERANGE, 0},
        {"-1", -EINVAL, 0, 0, -1},
        {"", -EINVAL, 0, -EINVAL, 0},
        {"-", -EINVAL, 0, -EINVAL, 0},
        {"--1", -EINVAL, 0, -EINVAL, 0},
        {"+1", -EINVAL, 0, -EINVAL, 0},
        {" 1", -EINVAL, 0, -EINVAL, 0},
        {"1 ", -EINVAL, 0, -EINVAL, 0},
        {"0x10", -EINVAL, 0, -EINVAL, 0},
        {"1e3", -EINVAL, 0, -EINVAL, 0},
        {NULL, -EINVAL, 0, -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t u = 42;
        int64_t s = 42;

        assert_int_equal(str_to_u64(rows[i].text, &u), rows[i].u_result);
        assert_true(u == (rows[i].u_result ? 42 : rows[i].u));
        assert_int_equal(str_to_i64(rows[i].text, &s), rows[i].i_result);
        assert_true(s == (rows[i].i_result ? 42 : rows[i].i));
    }
}

static void test_base64(void **state)
{
    /* RFC 4648 section 10. */
    static const char *const rows[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xfb\xff\xfe", "+//+"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(free) char *text = str_base64(rows[i][0], strlen(rows[i][0]));
        CLEANUP(free) char *data = NULL;
        size_t len = 0;

        assert_string_equal(text, rows[i][1]);
        assert_int_equal(str_unbase64(text, strlen(text), &data, &len), 0);
        assert_int_equal(len, strlen(rows[i][0]));
        assert_string_equal(data, rows[i][0]);
    }
}

static void test_unbase64(void **state)
{
    static const char *const bad[] = {"Z",        "Zg",    "Zg=",  "Zg===", "Z===", "====",
                                      "Zg==Zg==", "Zm9v!", "Zm 9", "Zg=a",  "Zm9-", "Zg==\nZ"};
    char *data = NULL;
    size_t len = 7;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(str_unbase64(bad[i], strlen(bad[i]), &data, &len), -EINVAL);
        assert_null(data);
        assert_int_equal(len, 7);
    }
    assert_int_equal(str_unbase64("Zm\r\n9v\nYg==\n", 12, &data, &len), 0);
    assert_int_equal(len, 4);
    assert_string_equal(data, "foob");
    free(data);
}

static void test_hash_and_random(void **state)
{
    char a[33];
    char b[33];

    (void)state;
    /* The published FNV-1a test vectors. */
    assert_true(str_hash("", 0) == UINT64_C(0xcbf29ce484222325));
    assert_true(str_hash("a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(str_hash("foobar", 6) == UINT64_C(0x85944171f73967e8));
    str_random_hex(a, 16);
    str_random_hex(b, 16);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_not_equal(a, b);
}

static void test_allocators(void **state)
{
    CLEANUP(free) char *text = xasprintf("%d-%s", 7, "x");
    CLEANUP(free) char *part = xstrndup("abc", 2);
    CLEANUP(free) char *whole = xstrndup("abc", 100);
    CLEANUP(free) char *zeroed = xcalloc(0, 0);
    char *given = NULL;

    (void)state;
    assert_string_equal(text, "7-x");
    assert_string_equal(part, "ab");
    assert_string_equal(whole, "abc");
    assert_non_null(zeroed);
    given = TAKE(part);
    assert_null(part);
    free(given);
}

static void test_err(void **state)
{
    struct err err = {.code = 5};
    char big[2 * ERR_TEXT_MAX];

    (void)state;
    assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
    assert_int_equal(err_spec(&err, -EINVAL, "image '%s' has no kernel", "a"), -EINVAL);
    assert_int_equal(err.kind, ERR_SPEC);
    assert_int_equal(err_wrap(&err, "pod %d", 3), -EINVAL);
    assert_string_equal(err.text, "pod 3: image 'a' has no kernel");
    assert_int_equal(err.kind, ERR_SPEC);
    assert_int_equal(err_set(&err, -EIO, "again: %s", err.text), -EIO); /* its own text as input */
    assert_string_equal(err.text, "again: pod 3: image 'a' has no kernel");
    assert_int_equal(err.kind, ERR_TRANSIENT);
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    memcpy(big + ERR_TEXT_MAX - 2, "\xe2\x82\xac", 3); /* would be split by a cut at a byte */
    err_set(&err, -EIO, "%s", big);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 2);
    err_wrap(&err, "%s", big);
    assert_true(strlen(err.text) < ERR_TEXT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_utf8_len),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_unbase64),
        cmocka_unit_test(test_hash_and_random),
        cmocka_unit_test(test_allocators),
        cmocka_unit_test(test_err),
    };

    return cmocka_run_group_tests_name("base_str", tests, NULL, NULL);
}
