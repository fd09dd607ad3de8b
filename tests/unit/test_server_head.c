/* Request heads and bodies, row by row: what is accepted with which meaning, and what is
 * refused. */
#include "base/buf.h"
#include "k8s/server_body.h"
#include "k8s/server_head.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OK "GET /p HTTP/1.1\r\nHost: n\r\n"

static int parse(const char *text, size_t len, struct head *head, size_t *used)
{
    size_t scanned = 0;
    int status = 0;
    int r = head_parse(text, len, &scanned, head, used, &status);
    return r == -EBADMSG || r == -E2BIG ? status : r;
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"\r\n\r\n\r\n", 400},
        {" GET /p HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET  /p HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /p HTTP/1.1 \r\nHost: n\r\n\r\n", 400},
        {"GET /p\r\nHost: n\r\n\r\n", 400},
        {"G@T /p HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"ABCDEFGHIJKLMNOPQ /p HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET http://n/p HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"OPTIONS * HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET p HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /p HTTP/1.2\r\nHost: n\r\n\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\n", 505},
        {"GET /p http/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /p HTTP/1.1\nHost: n\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost: n\nX: 1\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost: n\r\n X: folded\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost : n\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost: n\r\n: n\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost: n\r\nX\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost: n\r\nX: a\x01\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost: n\r\nX: a\rb\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\n\r\n", 400},
        {"GET /p HTTP/1.1\r\nHost: n\r\nHost: n\r\n\r\n", 400},
        {OK "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400},
        {OK "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
        {OK "Content-Length: 1, 1\r\n\r\n", 400},
        {OK "Content-Length: +1\r\n\r\n", 400},
        {OK "Content-Length: \r\n\r\n", 400},
        {OK "Content-Length: 0x1\r\n\r\n", 400},
        {OK "Content-Length: 99999999999999999999\r\n\r\n", 413},
        {OK "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {OK "Transfer-Encoding: identity\r\n\r\n", 501},
        {"POST /p HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {OK "Expect: tea\r\n\r\n", 417},
        {"GET /%zz HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /% HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /%00 HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /a%0a HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /p?a=%0 HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /p?a=%00 HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /.. HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /a/.%2e/b HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /a%2f..%2fb HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /./exec HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /a//b HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET //metrics HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /p#f HTTP/1.1\r\nHost: n\r\n\r\n", 400},
        {"GET /\xc3\xa4 HTTP/1.1\r\nHost: n\r\n\r\n", 400},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct head head = {0};
        size_t used = 77;
        int status = parse(rows[i].text, strlen(rows[i].text), &head, &used);
        if (status != rows[i].status)
            fail_msg("row %zu: %d, not %d", i, status, rows[i].status);
        assert_null(head.block);
        assert_int_equal(used, 77);
    }
}

static void test_nul(void **state)
{
    (void)state;
    struct head head;
    size_t used;
    static const char nul[] = OK "X: a\0b\r\n\r\n";
    assert_int_equal(parse(nul, sizeof(nul) - 1, &head, &used), 400);
}

static void test_accepted(void **state)
{
    (void)state;
    struct head head;
    size_t used;
    static const char text[] =
        "\r\nPOST /exec/a/b%20c/?command=ls&command=-l+x%26y&&flag&e= HTTP/1.1\r\n"
        "HOST: n\r\nAuthorization:\t Bearer x \t\r\nConnection: keep-alive, Upgrade\r\n"
        "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
        "X-Stream-Protocol-Version: v3.channel.k8s.io\r\nContent-Length: 0\r\n\r\nREST";
    assert_int_equal(parse(text, sizeof(text) - 1, &head, &used), 0);
    assert_string_equal(text + used, "REST");
    assert_string_equal(head.method, "POST");
    assert_string_equal(head.path, "/exec/a/b c/");
    assert_string_equal(head_query(&head, "command"), "ls");
    assert_int_equal(head.query_len, 4);
    assert_string_equal(head.query[1].value, "-l x&y");
    assert_string_equal(head_query(&head, "flag"), "");
    assert_string_equal(head_query(&head, "e"), "");
    assert_null(head_query(&head, "x&y"));
    assert_string_equal(head_get(&head, "authorization"), "Bearer x");
    assert_true(head.upgrade && head.keep_alive && !head.chunked && !head.expect_continue);
    assert_int_equal(head.minor, 1);
    head_free(&head);

    static const char close[] = "GET /?a=1 HTTP/1.1\r\nHost:\r\nConnection: x , CLOSE\r\n\r\n";
    assert_int_equal(parse(close, sizeof(close) - 1, &head, &used), 0);
    assert_string_equal(head.path, "/");
    assert_false(head.keep_alive);
    head_free(&head);

    static const char old[] = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    assert_int_equal(parse(old, sizeof(old) - 1, &head, &used), 0);
    assert_false(head.keep_alive);
    head_free(&head);

    static const char body[] = OK "Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n";
    assert_int_equal(parse(body, sizeof(body) - 1, &head, &used), 0);
    assert_true(head.chunked && head.expect_continue);
    head_free(&head);
}

static void test_pieces_and_limits(void **state)
{
    (void)state;
    static const char text[] = OK "X: 1\r\n\r\n";
    struct head head;
    size_t scanned = 0, used;
    int status;
    for (size_t i = 1; i < sizeof(text) - 1; i++)
        assert_int_equal(head_parse(text, i, &scanned, &head, &used, &status), -EAGAIN);
    assert_int_equal(head_parse(text, sizeof(text) - 1, &scanned, &head, &used, &status), 0);
    assert_int_equal(used, sizeof(text) - 1);
    head_free(&head);

    char *big = malloc(HEAD_BYTES_MAX + 1);
    memset(big, 'a', HEAD_BYTES_MAX + 1);
    assert_int_equal(parse(big, HEAD_BYTES_MAX - 1, &head, &used), -EAGAIN);
    assert_int_equal(parse(big, HEAD_BYTES_MAX, &head, &used), 431);
    memcpy(big, "GET /", 5);
    memcpy(big + HEAD_TARGET_MAX + 1024, " HTTP/1.1\r\nHost: n\r\n\r\n", 22);
    assert_int_equal(parse(big, HEAD_TARGET_MAX + 1024 + 22, &head, &used), 414);
    struct buf many = BUF_INIT(HEAD_BYTES_MAX);
    (void)buf_adds(&many, OK);
    for (int i = 0; i < HEAD_FIELDS_MAX; i++)
        (void)buf_adds(&many, "X: 1\r\n");
    (void)buf_adds(&many, "\r\n");
    assert_int_equal(parse(many.data, many.len, &head, &used), 431);
    buf_reset(&many);
    (void)buf_adds(&many, "GET /p?");
    for (int i = 0; i < HEAD_QUERY_MAX; i++)
        (void)buf_adds(&many, "a&");
    (void)buf_adds(&many, " HTTP/1.1\r\nHost: n\r\n\r\n");
    assert_int_equal(parse(many.data, many.len, &head, &used), 400);
    buf_free(&many);
    free(big);
}

static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        const char *rest;
    } rows[] = {
        {"0\r\n\r\nREST", 1, "REST"},
        {"5\r\nabcde\r\n0\r\n\r\nREST", 1, "REST"},
        {"A;x=\"y\"\r\n0123456789\r\n1\r\na\r\n000\r\nT: 1\r\nU: 2\r\n\r\nREST", 1, "REST"},
        {"5\r\nabc", 0, ""},
        {"5\r\nabcdeX\r\n", -EBADMSG, NULL},
        {"5\nabcde", -EBADMSG, NULL},
        {"\r\n", -EBADMSG, NULL},
        {"-1\r\n", -EBADMSG, NULL},
        {"0x1\r\n", -EBADMSG, NULL},
        {" 1\r\n", -EBADMSG, NULL},
        {"1 \r\n", -EBADMSG, NULL},
        {"1\rx\n", -EBADMSG, NULL},
        {"100001\r\n", -EFBIG, NULL},
        {"FFFFFFFFFFFFFFFFF\r\n", -EFBIG, NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct body body;
        size_t used = 0, at = 0;
        size_t len = strlen(rows[i].text);
        assert_int_equal(body_begin(&body, 1, 0), 0);
        int r = body_feed(&body, rows[i].text, len, &used);
        assert_int_equal(r, rows[i].result);
        if (r >= 0)
            assert_string_equal(rows[i].text + used, rows[i].rest);
        /* The same, byte by byte. */
        assert_int_equal(body_begin(&body, 1, 0), 0);
        for (r = 0; r == 0 && at < len; at++)
            r = body_feed(&body, rows[i].text + at, 1, &used);
        assert_int_equal(r, rows[i].result);
        if (r >= 0)
            assert_string_equal(rows[i].text + at, rows[i].rest);
    }
    struct body body;
    size_t used;
    assert_int_equal(body_begin(&body, 0, BODY_BYTES_MAX + 1), -EFBIG);
    assert_int_equal(body_begin(&body, 0, 0), 0);
    assert_int_equal(body_feed(&body, "x", 1, &used), 1);
    assert_int_equal(used, 0);
    assert_int_equal(body_begin(&body, 0, 3), 0);
    assert_int_equal(body_feed(&body, "ab", 2, &used), 0);
    assert_int_equal(body_feed(&body, "cd", 2, &used), 1);
    assert_int_equal(used, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_nul),
        cmocka_unit_test(test_accepted), cmocka_unit_test(test_pieces_and_limits),
        cmocka_unit_test(test_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
