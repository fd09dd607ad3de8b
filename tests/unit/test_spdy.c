/* The SPDY codec: the dictionary, recorded frames of a Kubernetes client and of its server, the
 * same in pieces, and what is refused. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/str.h"
#include "k8s/spdy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#define INPUT_MAX 65536
#define STORY_MAX 4096

#define OPEN_ERROR                                                                               \
    "80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a680000" \
    "0000ffff"
#define OPEN_STDIN "800300010000001700000003000000000000c22e555c92929907000000ffff"
#define OPEN_STDOUT "800300010000001900000005000000000000c22ac5565c92925f5a02000000ffff"
#define PING "800300060000000400000001"

static void from_hex(const char *hex, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    for (; hex[0] && hex[1]; hex += 2) {
        const char *high = strchr(digits, hex[0]);
        const char *low = strchr(digits, hex[1]);
        assert_true(high && low);
        assert_int_equal(buf_addc(out, (char)((high - digits) << 4 | (low - digits))), 0);
    }
}

static void assert_hex(const struct buf *data, const char *hex)
{
    CLEANUP(buf) struct buf want = BUF_INIT(INPUT_MAX);
    from_hex(hex, &want);
    assert_int_equal(data->len, want.len);
    assert_memory_equal(data->data, want.data, want.len);
}

static void tell(struct spdy *spdy, const struct spdy_event *event, struct buf *story)
{
    const char *type = spdy_header(spdy, "streamtype");
    switch (event->type) {
    case SPDY_OPEN:
        (void)buf_addf(story, "open %u %s;", event->stream, type ? type : "-");
        break;
    case SPDY_DATA:
        (void)buf_addf(story, "data %u %.*s;", event->stream, (int)event->len, event->data);
        spdy_take(spdy, event->len);
        break;
    case SPDY_FIN:
        (void)buf_addf(story, "fin %u;", event->stream);
        break;
    case SPDY_RESET:
        (void)buf_addf(story, "reset %u %u;", event->stream, event->value);
        break;
    case SPDY_PING:
        (void)buf_addf(story, "ping %u;", event->value);
        break;
    case SPDY_GOAWAY:
        (void)buf_adds(story, "goaway;");
        break;
    }
}

/* Reads hex as it would come from a connection, `piece` bytes at a time; the result of the last. */
static int read_frames(const char *hex, size_t piece, struct buf *story)
{
    CLEANUP(buf) struct buf all = BUF_INIT(INPUT_MAX);
    CLEANUP(buf) struct buf in = BUF_INIT(INPUT_MAX);
    struct spdy *spdy = spdy_new();
    int r = 0;
    from_hex(hex, &all);
    for (size_t at = 0; at < all.len && r >= 0; at += piece) {
        size_t n = all.len - at < piece ? all.len - at : piece;
        (void)buf_add(&in, all.data + at, n);
        do {
            struct spdy_event event;
            size_t used = 0;
            r = spdy_next(spdy, buf_str(&in), in.len, &used, &event);
            size_t len = r == 1 && event.type == SPDY_DATA ? event.len : 0;
            if (r == 1)
                tell(spdy, &event, story);
            buf_drop(&in, used + len);
        } while (r == 1);
    }
    if (r == 0)
        assert_int_equal(in.len, 0);
    spdy_free(spdy);
    return r;
}

static void test_dictionary(void **state)
{
    char dictionary[SPDY_DICTIONARY_LEN];
    char hex[DIGEST_HEX_LEN + 1];
    (void)state;
    spdy_dictionary(dictionary);
    digest_sha256_hex(dictionary, sizeof(dictionary), hex);
    assert_string_equal(hex, "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02");
    assert_int_equal(adler32(adler32(0, NULL, 0), (const Bytef *)dictionary, sizeof(dictionary)),
                     0xe3c6a7c2);
}

static void test_recorded_frames(void **state)
{
    static const struct {
        const char *hex;
        const char *story;
    } cases[] = {
        {OPEN_ERROR OPEN_STDIN OPEN_STDOUT, "open 1 error;open 3 stdin;open 5 stdout;"},
        {OPEN_ERROR "000000010000000368690a", "open 1 error;data 1 hi\n;"},
        {OPEN_ERROR "0000000101000000", "open 1 error;fin 1;"},
        {OPEN_ERROR "000000010100000368690a" PING, "open 1 error;data 1 hi\n;fin 1;ping 1;"},
        {PING, "ping 1;"},
        {"800300060000000400000002", ""}, /* the answer to one of ours: there is none */
        {"80030003000000080000000300000005", "reset 3 5;"},
        {"80030007000000080000000700000000", "goaway;"},
        /* SETTINGS, WINDOW_UPDATE and a type of the future are stepped over. */
        {"800300040000000c000000010000000400000064" PING, "ping 1;"},
        {"80030009000000080000000100010000" PING, "ping 1;"},
        {"800300ff00000002abcd" PING, "ping 1;"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf) struct buf whole = BUF_INIT(STORY_MAX);
        assert_int_equal(read_frames(cases[i].hex, INPUT_MAX, &whole), 0);
        assert_string_equal(buf_str(&whole), cases[i].story);
        CLEANUP(buf) struct buf pieces = BUF_INIT(STORY_MAX);
        assert_int_equal(read_frames(cases[i].hex, 1, &pieces), 0);
        if (!strstr(cases[i].story, "data"))
            assert_string_equal(buf_str(&pieces), cases[i].story);
    }
}

static void test_refused_frames(void **state)
{
    static const struct {
        const char *hex;
        int result;
    } cases[] = {
        {"8002000600000004ffffffff", -EBADMSG},           /* SPDY/2 */
        {"800300060000000300000001", -EBADMSG},           /* PING of 3 bytes */
        {"800300030000000400000003", -EBADMSG},           /* RST_STREAM of 4 */
        {"8003000100000009000000010000000000", -EBADMSG}, /* SYN_STREAM without its head */
        {"8003000100ffffff", -E2BIG},                     /* a control frame without bounds */
        {OPEN_ERROR OPEN_ERROR, -EBADMSG},                /* a stream of the past */
        {"800300010000000e0000000200000000000078f9e3c6", -EBADMSG}, /* an even one */
        {"800300010000000e00000001000000000000ffffffff", -EBADMSG}, /* no zlib */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf) struct buf story = BUF_INIT(STORY_MAX);
        CLEANUP(buf) struct buf padded = BUF_INIT(STORY_MAX);
        (void)buf_addf(&padded, "%s%s", cases[i].hex,
                       strlen(cases[i].hex) < 44 ? "00000000000000000000000000000000" : "");
        assert_int_equal(read_frames(buf_str(&padded), INPUT_MAX, &story), cases[i].result);
    }
}

/* A SYN_STREAM of this block, compressed as a client does. */
static int open_with(const char *block, size_t len, struct spdy **ret_spdy)
{
    static char zipped[INPUT_MAX];
    char dictionary[SPDY_DICTIONARY_LEN];
    z_stream z = {.next_in = (Bytef *)(uintptr_t)block,
                  .avail_in = (uInt)len,
                  .next_out = (Bytef *)zipped,
                  .avail_out = sizeof(zipped)};
    spdy_dictionary(dictionary);
    assert_int_equal(deflateInit(&z, 9), Z_OK);
    assert_int_equal(deflateSetDictionary(&z, (Bytef *)dictionary, sizeof(dictionary)), Z_OK);
    assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
    size_t size = 10 + sizeof(zipped) - z.avail_out;
    (void)deflateEnd(&z); /* complains of a stream that was not finished */
    CLEANUP(buf) struct buf frame = BUF_INIT(INPUT_MAX);
    const char head[] = {
        (char)0x80, 3, 0, 1, 0, (char)(size >> 16), (char)(size >> 8), (char)size, 0, 0, 0, 1, 0,
        0,          0, 0, 0, 0};
    (void)buf_add(&frame, head, sizeof(head));
    (void)buf_add(&frame, zipped, size - 10);
    struct spdy_event event;
    size_t used = 0;
    *ret_spdy = spdy_new();
    return spdy_next(*ret_spdy, frame.data, frame.len, &used, &event);
}

static void test_blocks(void **state)
{
    static char bomb[SPDY_BLOCK_MAX + 8];
    struct spdy *spdy;
    (void)state;
    assert_int_equal(open_with("\0\0\0\2\0\0\0\4port\0\0\0\0028"
                               "0\0\0\0\5empty\0\0\0\0",
                               4 + 8 + 6 + 9 + 4, &spdy),
                     1);
    assert_string_equal(spdy_header(spdy, "port"), "80");
    assert_string_equal(spdy_header(spdy, "empty"), "");
    assert_null(spdy_header(spdy, "absent"));
    spdy_free(spdy);
    static const struct {
        const char *block;
        size_t len;
        int result;
    } bad[] = {
        {"\0\0\0", 3, -EBADMSG},
        {"\0\0\0\0x", 5, -EBADMSG},                          /* something after the last */
        {"\0\0\0\1\0\0\0\1a\0\0\0\2b", 14, -EBADMSG},        /* a value that is not there */
        {"\0\0\0\1\0\0\0\1A\0\0\0\0", 13, -EBADMSG},         /* capitals */
        {"\0\0\0\1\0\0\0\0\0\0\0\0", 12, -EBADMSG},          /* no name */
        {"\0\0\0\1\377\377\377\377a\0\0\0\0", 13, -EBADMSG}, /* longer than all */
        {"\0\0\0\2\0\0\0\1a\0\0\0\0\0\0\0\1a\0\0\0\0", 22, -EBADMSG}, /* twice */
        {"\0\0\1\0", 4, -E2BIG},                                      /* too many */
        {bomb, sizeof(bomb), -E2BIG},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(open_with(bad[i].block, bad[i].len, &spdy), bad[i].result);
        spdy_free(spdy);
    }
}

/* Two replies as a client inflates them, with one state over both. */
static void test_replies(void **state)
{
    CLEANUP(buf) struct buf out = BUF_INIT(STORY_MAX);
    struct spdy *spdy = spdy_new();
    (void)state;
    spdy_put_reply(spdy, &out, 1);
    assert_hex(&out, "80030002000000140000000178f9e3c6a7c26260606000000000ffff");
    size_t first = out.len;
    spdy_put_reply(spdy, &out, 3);
    spdy_free(spdy);
    char dictionary[SPDY_DICTIONARY_LEN];
    char plain[16];
    spdy_dictionary(dictionary);
    z_stream z = {.next_in = (Bytef *)out.data + 12, .avail_in = (uInt)first - 12};
    assert_int_equal(inflateInit(&z), Z_OK);
    z.next_out = (Bytef *)plain;
    z.avail_out = sizeof(plain);
    assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_NEED_DICT);
    assert_int_equal(inflateSetDictionary(&z, (Bytef *)dictionary, sizeof(dictionary)), Z_OK);
    assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
    assert_int_equal(z.avail_out, sizeof(plain) - 4);
    z.next_in = (Bytef *)out.data + first + 12;
    z.avail_in = (uInt)(out.len - first) - 12;
    assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
    assert_int_equal(z.avail_out, sizeof(plain) - 8);
    assert_memory_equal(plain, "\0\0\0\0\0\0\0\0", 8);
    assert_int_equal(inflateEnd(&z), Z_OK);
}

static void test_sent_frames(void **state)
{
    CLEANUP(buf) struct buf out = BUF_INIT(STORY_MAX);
    (void)state;
    spdy_put_data_head(&out, 5, 3, false);
    (void)buf_adds(&out, "hi\n");
    spdy_put_data_head(&out, 5, 0, true);
    spdy_put_ping(&out, 1);
    spdy_put_reset(&out, 3, SPDY_CANCEL);
    spdy_put_goaway(&out, 7);
    assert_hex(&out, "000000050000000368690a"
                     "0000000501000000"
                     "800300060000000400000001"
                     "80030003000000080000000300000005"
                     "80030007000000080000000700000000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dictionary),     cmocka_unit_test(test_recorded_frames),
        cmocka_unit_test(test_refused_frames), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_replies),        cmocka_unit_test(test_sent_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
