/* Forwarded ports as a client meets them, bare and tunnelled: a pair's life, what waits for whom,
 * and that one that ends lets the others go on. The server is stream_fake.h's. */
#include "stream_fake.h"

#include "base/cleanup.h"
#include "k8s/spdy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <zlib.h>

#include <cmocka.h>

#define TEXT_MAX 4096
#define PAIRS 2

struct bench;

struct side {
    struct bench *bench;
    struct forward_pair *pair;
    uint16_t port;
    size_t appetite;
    unsigned ends, closed;
    struct buf data;
};

struct bench {
    struct server_request request;
    struct forward *forward;
    bool tunnel;
    z_stream zip;
    struct side sides[PAIRS];
    size_t sides_len;
    unsigned closed;
};

static void *on_pair(void *userdata, struct forward_pair *pair, uint16_t port)
{
    struct bench *b = userdata;
    if (b->sides_len == PAIRS)
        return NULL;
    struct side *side = &b->sides[b->sides_len++];
    *side = (struct side){.bench = b, .pair = pair, .port = port, .data = BUF_INIT(TEXT_MAX)};
    return side;
}

static size_t on_data(void *userdata, const char *data, size_t len)
{
    struct side *side = userdata;
    size_t n = len < side->appetite ? len : side->appetite;
    (void)buf_add(&side->data, data, n);
    side->appetite -= n;
    return n;
}

static void on_data_end(void *userdata)
{
    ((struct side *)userdata)->ends++;
}

static void on_writable(void *userdata)
{
    (void)userdata;
}

static void on_pair_closed(void *userdata)
{
    ((struct side *)userdata)->closed++;
}

static void on_closed(void *userdata)
{
    ((struct bench *)userdata)->closed++;
}

static const struct forward_ops callbacks = {.on_pair = on_pair,
                                             .on_data = on_data,
                                             .on_data_end = on_data_end,
                                             .on_writable = on_writable,
                                             .on_pair_closed = on_pair_closed,
                                             .on_closed = on_closed};

static void begin(struct bench *b, bool tunnel)
{
    char dictionary[SPDY_DICTIONARY_LEN];
    struct server_request *r = &b->request;
    memset(b, 0, sizeof(*b));
    fake_open(r, tunnel ? "GET" : "POST", tunnel ? "websocket" : "SPDY/3.1");
    r->headers[0][0] = tunnel ? "sec-websocket-protocol" : "x-stream-protocol-version";
    r->headers[0][1] = tunnel ? "SPDY/3.1+portforward.k8s.io" : "portforward.k8s.io";
    r->headers[1][0] = "sec-websocket-key";
    r->headers[1][1] = "dGhlIHNhbXBsZSBub25jZQ==";
    r->headers[2][0] = "sec-websocket-version";
    r->headers[2][1] = "13";
    b->tunnel = tunnel;
    spdy_dictionary(dictionary);
    assert_int_equal(deflateInit(&b->zip, 9), Z_OK);
    assert_int_equal(deflateSetDictionary(&b->zip, (Bytef *)dictionary, sizeof(dictionary)), Z_OK);
    b->forward = forward_begin(r, &r->loop, &callbacks, b);
    assert_non_null(b->forward);
    assert_int_equal(r->status, 101);
}

static void finish(struct bench *b)
{
    (void)deflateEnd(&b->zip);
    assert_int_equal(fake_close(&b->request), 0);
    assert_int_equal(b->closed, 1);
    for (size_t i = 0; i < b->sides_len; i++)
        buf_free(&b->sides[i].data);
}

/* In a tunnel: messages of 7 bytes, whose bounds mean nothing. */
static void send_bytes(struct bench *b, const char *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = !b->tunnel ? len : len - at < 7 ? len - at : 7;
        const char head[6] = {(char)0x82, (char)(0x80 | n)};
        if (b->tunnel)
            (void)buf_add(&b->request.in, head, sizeof(head)); /* masked with zeros */
        assert_int_equal(buf_add(&b->request.in, data + at, n), 0);
        at += n;
    }
    fake_turn(&b->request, true);
}

static void send_data(struct bench *b, uint32_t stream, const char *text, bool fin)
{
    CLEANUP(buf) struct buf frame = BUF_INIT(TEXT_MAX);
    spdy_put_data_head(&frame, stream, strlen(text), fin);
    (void)buf_adds(&frame, text);
    send_bytes(b, frame.data, frame.len);
}

static void add_text(struct buf *out, const char *text)
{
    const char len[4] = {0, 0, 0, (char)strlen(text)};
    (void)buf_add(out, len, sizeof(len));
    (void)buf_adds(out, text);
}

static void open_stream(struct bench *b, uint8_t id, const char *type, const char *port,
                        const char *request_id)
{
    CLEANUP(buf) struct buf block = BUF_INIT(TEXT_MAX);
    char zipped[TEXT_MAX];
    (void)buf_add(&block, "\0\0\0\3", 4);
    add_text(&block, "streamtype");
    add_text(&block, type);
    add_text(&block, "port");
    add_text(&block, port);
    add_text(&block, "requestid");
    add_text(&block, request_id);
    b->zip.next_in = (Bytef *)block.data;
    b->zip.avail_in = (uInt)block.len;
    b->zip.next_out = (Bytef *)zipped;
    b->zip.avail_out = sizeof(zipped);
    assert_int_equal(deflate(&b->zip, Z_SYNC_FLUSH), Z_OK);
    size_t len = sizeof(zipped) - b->zip.avail_out;
    const char head[18] = {(char)0x80, 3, 0, 1, 0, 0, 0, (char)(len + 10), 0, 0, 0, (char)id};
    CLEANUP(buf) struct buf frame = BUF_INIT(TEXT_MAX);
    (void)buf_add(&frame, head, sizeof(head));
    (void)buf_add(&frame, zipped, len);
    send_bytes(b, frame.data, frame.len);
}

static void open_pair(struct bench *b, uint8_t id, const char *port, const char *request_id)
{
    open_stream(b, id, "error", port, request_id);
    send_data(b, id, "", true);
    open_stream(b, (uint8_t)(id + 2), "data", port, request_id);
    buf_reset(&b->request.out);
}

static bool was_sent(const struct bench *b, const char *data, size_t len)
{
    return b->request.out.len && memmem(b->request.out.data, b->request.out.len, data, len);
}

#define SENT(b, literal) was_sent(b, literal, sizeof(literal) - 1)

static void pair_life(bool tunnel)
{
    struct bench b;
    begin(&b, tunnel);
    open_pair(&b, 1, "8080", "0");
    assert_int_equal(b.sides_len, 1);
    assert_int_equal(b.sides[0].port, 8080);
    b.sides[0].appetite = TEXT_MAX;
    send_data(&b, 3, "GET /", false);
    send_data(&b, 3, "", true);
    assert_string_equal(buf_str(&b.sides[0].data), "GET /");
    assert_int_equal(b.sides[0].ends, 1);
    assert_int_equal(forward_write(b.sides[0].pair, "hello", 5), 5);
    assert_true(SENT(&b, "\0\0\0\3\0\0\0\5hello"));
    forward_end(b.sides[0].pair, NULL);
    assert_true(SENT(&b, "\0\0\0\1\1\0\0\0"));
    assert_true(SENT(&b, "\0\0\0\3\1\0\0\0"));
    assert_false(SENT(&b, "\x80\x03\0\3")); /* both sides had ended: no reset */
    finish(&b);
}

static void test_pair(void **state)
{
    (void)state;
    pair_life(false);
    pair_life(true);
}

static void test_failure(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, false);
    open_pair(&b, 1, "81", "0");
    forward_end(b.sides[0].pair, "refused");
    assert_true(SENT(&b, "\0\0\0\1\0\0\0\7refused\0\0\0\1\1\0\0\0"));
    assert_true(SENT(&b, "\x80\x03\0\3\0\0\0\x08\0\0\0\3\0\0\0\5")); /* the data was still open */
    send_data(&b, 3, "late", false);                                 /* thrown away */
    assert_false(b.request.leaving);
    assert_int_equal(b.request.in.len, 0);
    finish(&b);
}

/* SPDY has no flow control: who waits behind a full pair goes on when that takes more, or ends. */
static void test_waiting(void **state)
{
    struct bench b;
    (void)state;
    for (int ends = 0; ends < 2; ends++) {
        begin(&b, ends);
        open_pair(&b, 1, "8080", "0");
        open_pair(&b, 5, "8081", "1");
        assert_int_equal(b.sides_len, 2);
        b.sides[0].appetite = 2;
        b.sides[1].appetite = TEXT_MAX;
        send_data(&b, 3, "abcdef", false);
        send_data(&b, 7, "other", false);
        assert_string_equal(buf_str(&b.sides[0].data), "ab");
        assert_string_equal(buf_str(&b.sides[1].data), "");
        if (ends) {
            forward_end(b.sides[0].pair, NULL);
            assert_true(b.request.nudged);
            fake_turn(&b.request, true);
        } else {
            b.sides[0].appetite = TEXT_MAX;
            forward_resume(b.sides[0].pair);
            assert_string_equal(buf_str(&b.sides[0].data), "abcdef");
        }
        assert_string_equal(buf_str(&b.sides[1].data), "other");
        finish(&b);
        assert_int_equal(b.sides[1].closed, 1);
        assert_int_equal(b.sides[0].closed, !ends);
    }
}

static void test_refused(void **state)
{
    static const char refused[] = "\x80\x03\0\3\0\0\0\x08\0\0\0\1\0\0\0\3";
    static const struct {
        const char *type, *port, *request_id;
    } cases[] = {
        {"data", "0", "0"},     {"data", "65536", "0"}, {"data", "http", "0"},
        {"stdin", "8080", "0"}, {"data", "8080", ""},
    };
    struct bench b;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        begin(&b, false);
        open_stream(&b, 1, cases[i].type, cases[i].port, cases[i].request_id);
        assert_true(was_sent(&b, refused, sizeof(refused) - 1));
        assert_int_equal(b.sides_len, 0);
        finish(&b);
    }
    begin(&b, false);
    open_pair(&b, 1, "1", "0");
    open_pair(&b, 5, "2", "1");
    open_stream(&b, 9, "error", "3", "2");
    open_stream(&b, 11, "data", "3", "2");
    assert_true(SENT(&b, "too many connections are being forwarded"));
    finish(&b);
}

static void test_client_gives_up(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, false);
    open_pair(&b, 1, "8080", "0");
    send_bytes(&b, "\x80\x03\0\3\0\0\0\x08\0\0\0\3\0\0\0\5", 16);
    assert_int_equal(b.sides[0].closed, 1);
    assert_true(SENT(&b, "\0\0\0\1\1\0\0\0"));
    finish(&b);
    assert_int_equal(b.sides[0].closed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_client_gives_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
