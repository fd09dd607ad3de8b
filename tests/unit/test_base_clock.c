/* RFC 3339 in both directions, SHA-256 vectors, and what a log line looks like. */
#include "base/clock.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_format(void **state)
{
    char text[CLOCK_RFC3339_MAX];

    (void)state;
    assert_string_equal(clock_rfc3339(text, 0), "1970-01-01T00:00:00Z");
    assert_string_equal(clock_rfc3339(text, 1700000000999), "2023-11-14T22:13:20Z");
    assert_string_equal(clock_rfc3339(text, -1), "1969-12-31T23:59:59Z");
    assert_string_equal(clock_rfc3339_micro(text, 1700000000007), "2023-11-14T22:13:20.007000Z");
    assert_string_equal(clock_rfc3339_micro(text, -1), "1969-12-31T23:59:59.999000Z");
    assert_string_equal(clock_rfc3339_nano(text, 1), "1970-01-01T00:00:00.000000001Z");
    assert_string_equal(clock_rfc3339_nano(text, INT64_MAX), "2262-04-11T23:47:16.854775807Z");
    assert_string_equal(clock_rfc3339_nano(text, INT64_MIN), "1677-09-21T00:12:43.145224192Z");
    assert_string_equal(clock_rfc3339_micro(text, INT64_MAX), "9999-12-31T23:59:59.000000Z");
    assert_string_equal(clock_rfc3339(text, INT64_MIN), "0000-01-01T00:00:00Z");
}

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int result;
        int64_t ms;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0, 0},
        {"2023-11-14T22:13:20Z", 0, 1700000000000},
        {"2023-11-14T22:13:20.1Z", 0, 1700000000100},
        {"2023-11-14T22:13:20.123456789123Z", 0, 1700000000123},
        {"2023-11-15T00:13:20+02:00", 0, 1700000000000},
        {"2023-11-14T16:43:20-05:30", 0, 1700000000000},
        {"1969-12-31T23:59:59.999Z", 0, -1},
        {"2024-02-29T00:00:00Z", 0, 1709164800000},
        {"0000-01-01T00:00:00Z", 0, -62167219200000},
        {"9999-12-31T23:59:59Z", 0, 253402300799000},
        {"2023-02-29T00:00:00Z", -EINVAL, 0},
        {"1900-02-29T00:00:00Z", -EINVAL, 0},
        {"2000-02-29T00:00:00Z", 0, 951782400000},
        {"2023-13-01T00:00:00Z", -EINVAL, 0},
        {"2023-00-01T00:00:00Z", -EINVAL, 0},
        {"2023-04-31T00:00:00Z", -EINVAL, 0},
        {"2023-01-00T00:00:00Z", -EINVAL, 0},
        {"2023-01-01T24:00:00Z", -EINVAL, 0},
        {"2023-01-01T00:60:00Z", -EINVAL, 0},
        {"2023-01-01T00:00:60Z", -EINVAL, 0},
        {"2023-01-01T00:00:00", -EINVAL, 0},
        {"2023-01-01T00:00:00.Z", -EINVAL, 0},
        {"2023-01-01T00:00:00,1Z", -EINVAL, 0},
        {"2023-01-01 00:00:00Z", -EINVAL, 0},
        {"2023-01-01t00:00:00z", -EINVAL, 0},
        {"2023-1-01T00:00:00Z", -EINVAL, 0},
        {"2023-01-01T00:00:00Z ", -EINVAL, 0},
        {"2023-01-01T00:00:00+24:00", -EINVAL, 0},
        {"2023-01-01T00:00:00+0100", -EINVAL, 0},
        {"2023-01-01T00:00:00+01", -EINVAL, 0},
        {"+023-01-01T00:00:00Z", -EINVAL, 0},
        {"", -EINVAL, 0},
        {NULL, -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = 42;

        if (clock_parse_rfc3339(rows[i].text, &ms) != rows[i].result)
            fail_msg("%s", rows[i].text);
        assert_true(ms == (rows[i].result ? 42 : rows[i].ms));
    }
}

static void test_parse_ns(void **state)
{
    int64_t ns = 0;
    char text[CLOCK_RFC3339_MAX];
    unsigned int seed = 7;

    (void)state;
    assert_int_equal(clock_parse_rfc3339_ns("2262-04-11T23:47:16.854775807Z", 30, &ns), 0);
    assert_true(ns == INT64_MAX);
    assert_int_equal(clock_parse_rfc3339_ns("2262-04-11T23:47:16.854775808Z", 30, &ns), -ERANGE);
    assert_int_equal(clock_parse_rfc3339_ns("9999-12-31T23:59:59Z", 20, &ns), -ERANGE);
    assert_int_equal(clock_parse_rfc3339_ns("1970-01-01T00:00:00Zrest", 20, &ns), 0);
    assert_int_equal(clock_parse_rfc3339_ns("1970-01-01T00:00:00Zrest", 24, &ns), -EINVAL);
    assert_int_equal(clock_parse_rfc3339_ns("", 0, &ns), -EINVAL);
    for (int i = 0; i < 2000; i++) {
        int64_t want;

        seed = seed * 1103515245 + 12345;
        want = (int64_t)seed * 1999999973;
        clock_rfc3339_nano(text, want);
        assert_int_equal(clock_parse_rfc3339_ns(text, strlen(text), &ns), 0);
        assert_true(ns == want);
    }
}

static void test_sources(void **state)
{
    uint64_t a = clock_mono_ns();
    uint64_t b = clock_mono_ns();

    (void)state;
    assert_true(b >= a);
    assert_true(clock_mono_ms() >= a / 1000000);
    assert_true(clock_unix_ms() > INT64_C(1600000000000));
}

static void test_digest(void **state)
{
    /* FIPS 180-2 appendix B. */
    static const char *const rows[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[DIGEST_HEX_LEN + 1];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct digest *digest = digest_new();

        digest_sha256_hex(rows[i][0], strlen(rows[i][0]), hex);
        assert_string_equal(hex, rows[i][1]);
        for (const char *p = rows[i][0]; *p; p++)
            digest_add(digest, p, 1);
        digest_hex(digest, hex);
        assert_string_equal(hex, rows[i][1]);
        digest_free(digest);
    }
    digest_free(NULL);
}

/* What stderr receives from one log line. */
static ssize_t logged(char *text, size_t size, const struct log_ctx *ctx, const char *message)
{
    int saved = dup(STDERR_FILENO);
    int ends[2];
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    log_info(ctx, "launch", "%s", message);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    close(ends[1]);
    n = read(ends[0], text, size - 1);
    close(ends[0]);
    assert_true(n >= 0);
    text[n] = '\0';
    return n;
}

static void test_log(void **state)
{
    static const struct log_ctx ctx = {.ns = "ns", .name = "p 1\n", .uid = "u"};
    char text[2 * LOG_LINE_MAX];
    char big[2 * LOG_LINE_MAX];
    enum log_level level = LOG_ERROR;

    (void)state;
    logged(text, sizeof(text), &ctx, "a \"b\" \\ \n \x1b[31m \xc2\x9b \xff \xc3\xa9 =");
    assert_non_null(strstr(text, "ts=20"));
    assert_non_null(strstr(text, "Z lvl=info pod=ns/p\\x201\\n uid=u ev=launch msg=\"a \\\"b\\\" "
                                 "\\\\ \\n \\x1b[31m \\xc2\\x9b \\xff \xc3\xa9 =\"\n"));
    logged(text, sizeof(text), NULL, "x");
    assert_non_null(strstr(text, "lvl=info ev=launch msg=\"x\"\n"));
    memset(big, '\n', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    assert_true(logged(text, sizeof(text), &ctx, big) <= LOG_LINE_MAX);
    assert_true(str_ends(text, "\\n\"\n"));
    log_set_level(LOG_WARN);
    assert_int_equal(logged(text, sizeof(text), &ctx, "below"), 0);
    log_set_level(LOG_INFO);
    assert_int_equal(log_level_from_string("debug", &level), 0);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_level_from_string("loud", &level), -EINVAL);
    assert_int_equal(log_level_from_string(NULL, &level), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),   cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_ns), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_digest),   cmocka_unit_test(test_log),
    };

    return cmocka_run_group_tests_name("base_clock", tests, NULL, NULL);
}
