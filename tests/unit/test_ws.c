/* The WebSocket codec: RFC 6455's own examples, frames in pieces, and what is refused. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "k8s/ws.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define INPUT_MAX (1 << 20)
#define STORY_MAX 4096

/* A frame as a client sends it. */
static void put_frame(struct buf *out, unsigned first, const char *data, size_t len)
{
    static const unsigned char key[4] = {0x37, 0xfa, 0x21, 0x3d};
    (void)buf_addc(out, (char)(unsigned char)first);
    if (len < 126) {
        (void)buf_addc(out, (char)(unsigned char)(0x80 | len));
    } else if (len < 65536) {
        (void)buf_addc(out, (char)(unsigned char)0xfe);
        (void)buf_addc(out, (char)(unsigned char)(len >> 8));
        (void)buf_addc(out, (char)(unsigned char)len);
    } else {
        (void)buf_addc(out, (char)(unsigned char)0xff);
        for (int i = 7; i >= 0; i--)
            (void)buf_addc(out, (char)(unsigned char)(len >> (8 * i)));
    }
    (void)buf_add(out, key, sizeof(key));
    for (size_t i = 0; i < len; i++)
        (void)buf_addc(out, (char)(data[i] ^ key[i & 3]));
}

/* take: bytes of data that are taken at a time. */
static int read_frames(const struct buf *all, size_t piece, size_t take, struct buf *story)
{
    CLEANUP(buf) struct buf in = BUF_INIT(INPUT_MAX);
    struct ws ws = {0};
    int r = 0;
    for (size_t at = 0; at < all->len && r >= 0; at += piece) {
        (void)buf_add(&in, all->data + at, all->len - at < piece ? all->len - at : piece);
        do {
            struct ws_event event = {0};
            size_t used = 0;
            r = ws_next(&ws, in.data, in.len, &used, &event);
            if (r == 1 && event.type == WS_DATA) {
                size_t n = event.len < take ? event.len : take;
                (void)buf_add(story, event.data, n);
                ws_take(&ws, n);
                used += n;
            } else if (r == 1) {
                static const char *const names[] = {
                    [WS_END] = "end", [WS_PING] = "ping", [WS_CLOSE] = "close"};
                (void)buf_addf(story, "|%s%s%.*s|", names[event.type], event.text ? " text" : "",
                               (int)event.len, event.data ? event.data : "");
            }
            buf_drop(&in, used);
        } while (r == 1);
    }
    return r;
}

static void expect(const struct buf *frames, const char *story)
{
    static const size_t pieces[] = {1, 2, 7, INPUT_MAX};
    static const size_t takes[] = {1, 3, INPUT_MAX};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        for (size_t k = 0; k < ARRAY_LEN(takes); k++) {
            CLEANUP(buf) struct buf told = BUF_INIT(STORY_MAX);
            assert_int_equal(read_frames(frames, pieces[i], takes[k], &told), 0);
            assert_string_equal(buf_str(&told), story);
        }
    }
}

static void test_messages(void **state)
{
    CLEANUP(buf) struct buf in = BUF_INIT(INPUT_MAX);
    (void)state;
    put_frame(&in, 0x81, "Hello", 5);
    assert_memory_equal(in.data, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11); /* RFC 5.7 */
    put_frame(&in, 0x02, "Hel", 3);
    put_frame(&in, 0x89, "are you there", 13);
    put_frame(&in, 0x80, "lo", 2);
    put_frame(&in, 0x8a, "a pong", 6);
    put_frame(&in, 0x82, "", 0);
    put_frame(&in, 0x88, "\x03\xe8", 2);
    expect(&in, "Hello|end text|Hel|pingare you there|lo|end||end||close\x03\xe8|");
}

static void test_lengths(void **state)
{
    static const size_t lengths[] = {125, 126, 65535, 65536, 200000};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        CLEANUP(free) char *data = xmalloc(lengths[i]);
        CLEANUP(buf) struct buf in = BUF_INIT(INPUT_MAX);
        CLEANUP(buf) struct buf out = BUF_INIT(INPUT_MAX);
        memset(data, 'x', lengths[i]);
        put_frame(&in, 0x82, data, lengths[i]);
        assert_int_equal(read_frames(&in, 1000, INPUT_MAX, &out), 0);
        assert_int_equal(out.len, lengths[i] + strlen("|end|"));
        assert_memory_equal(out.data, data, lengths[i]);
        buf_reset(&out);
        ws_put_head(&out, WS_OP_BINARY, lengths[i]);
        assert_int_equal(out.len, lengths[i] < 126 ? 2 : lengths[i] < 65536 ? 4 : 10);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *data;
        size_t len;
    } cases[] = {
        {"\x82\x01x", 3},                             /* not masked */
        {"\xc2\x80\0\0\0\0", 6},                      /* a reserved bit */
        {"\x83\x80\0\0\0\0", 6},                      /* a reserved opcode */
        {"\x8b\x80\0\0\0\0", 6},                      /* the same of control */
        {"\x80\x80\0\0\0\0", 6},                      /* a continuation of nothing */
        {"\x02\x80\0\0\0\0\x82\x80\0\0\0\0", 12},     /* a message in a message */
        {"\x09\x80\0\0\0\0", 6},                      /* half a ping */
        {"\x89\xfe\0\x7e\0\0\0\0", 8},                /* a ping of 126 bytes */
        {"\x82\xfe\0\x7d\0\0\0\0", 8},                /* 125 in two bytes */
        {"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0", 14}, /* 65535 in eight */
        {"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 14},   /* more than a number holds */
        {"\x88\x81\0\0\0\0\x03", 7},                  /* half a code */
        {"\x88\x82\0\0\0\0\x03\xed", 8},              /* 1005, which is never sent */
        {"\x88\x83\0\0\0\0\x03\xe8\xff", 9},          /* a reason that is no text */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf) struct buf in = BUF_INIT(INPUT_MAX);
        CLEANUP(buf) struct buf story = BUF_INIT(STORY_MAX);
        (void)buf_add(&in, cases[i].data, cases[i].len);
        assert_int_equal(read_frames(&in, INPUT_MAX, INPUT_MAX, &story), -EPROTO);
    }
}

static void test_close(void **state)
{
    CLEANUP(buf) struct buf out = BUF_INIT(STORY_MAX);
    (void)state;
    ws_put_close(&out, WS_NORMAL, "");
    assert_int_equal(out.len, 4);
    assert_memory_equal(out.data, "\x88\x02\x03\xe8", 4);
    buf_reset(&out);
    ws_put_close(&out, WS_PROTOCOL, "why");
    assert_memory_equal(out.data, "\x88\x05\x03\xeawhy", 7);
}

static void test_accept(void **state)
{
    char accept[WS_ACCEPT_MAX];
    (void)state;
    assert_int_equal(ws_accept("dGhlIHNhbXBsZSBub25jZQ==", accept), 0); /* RFC 1.3 */
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_int_equal(ws_accept(NULL, accept), -EINVAL);
    assert_int_equal(ws_accept("", accept), -EINVAL);
    assert_int_equal(ws_accept("c2hvcnQ=", accept), -EINVAL);
    assert_int_equal(ws_accept("dGhlIHNhbXBsZSBub25jZQ=!", accept), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_close),
        cmocka_unit_test(test_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
