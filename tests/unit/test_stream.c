/* Remote commands and forwarded ports as a client meets them: handshakes, the whole of a session
 * byte by byte in both protocols, back-pressure, refusals. The server is stream_fake.h's. */
#include "stream_fake.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define TEXT_MAX 4096
#define ACCEPT_LINE "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n"

static const char open_error[] =
    "\x80\x03\0\1\0\0\0\x29\0\0\0\1\0\0\0\0\0\0\x78\xf9\xe3\xc6\xa7\xc2\x62\x60\x60\x60\x04\xa7"
    "\xb3\x92\xa2\xd4\xc4\x5c\x68\x51\xc2\x9a\x0a\x0a\x68\0\0\0\0\xff\xff";
static const char open_stdin[] = "\x80\x03\0\1\0\0\0\x17\0\0\0\3\0\0\0\0\0\0\xc2\x2e\x55\x5c\x92"
                                 "\x92\x99\x07\0\0\0\xff\xff";
static const char open_stdout[] = "\x80\x03\0\1\0\0\0\x19\0\0\0\5\0\0\0\0\0\0\xc2\x2a\xc5\x56\x5c"
                                  "\x92\x92\x5f\x5a\x02\0\0\0\xff\xff";

struct bench {
    struct server_request request;
    struct remote *remote;
    unsigned ready, input_ends, writables, closed;
    uint16_t columns, rows;
    size_t appetite;
    struct buf input;
};

static void on_ready(void *userdata)
{
    ((struct bench *)userdata)->ready++;
}

static size_t on_input(void *userdata, const char *data, size_t len)
{
    struct bench *b = userdata;
    size_t n = len < b->appetite ? len : b->appetite;
    (void)buf_add(&b->input, data, n);
    b->appetite -= n;
    return n;
}

static void on_input_end(void *userdata)
{
    ((struct bench *)userdata)->input_ends++;
}

static void on_resize(void *userdata, uint16_t columns, uint16_t rows)
{
    struct bench *b = userdata;
    b->columns = columns;
    b->rows = rows;
}

static void on_writable(void *userdata)
{
    ((struct bench *)userdata)->writables++;
}

static void on_closed(void *userdata)
{
    ((struct bench *)userdata)->closed++;
}

static const struct remote_ops callbacks = {.on_ready = on_ready,
                                            .on_input = on_input,
                                            .on_input_end = on_input_end,
                                            .on_resize = on_resize,
                                            .on_writable = on_writable,
                                            .on_closed = on_closed};

static void begin(struct bench *b, const char *upgrade, const char *protocols,
                  const struct remote_options *options)
{
    struct server_request *r = &b->request;
    bool spdy = str_eq(upgrade, "SPDY/3.1");
    memset(b, 0, sizeof(*b));
    fake_open(r, spdy ? "POST" : "GET", upgrade);
    r->headers[0][0] = spdy ? "x-stream-protocol-version" : "sec-websocket-protocol";
    r->headers[0][1] = protocols;
    r->headers[1][0] = "sec-websocket-key";
    r->headers[1][1] = KEY;
    r->headers[2][0] = "sec-websocket-version";
    r->headers[2][1] = "13";
    b->input = BUF_INIT(TEXT_MAX);
    b->appetite = TEXT_MAX;
    b->remote = remote_begin(r, &r->loop, options, &callbacks, b);
}

static void finish(struct bench *b)
{
    bool taken_over = b->remote != NULL;
    assert_int_equal(fake_close(&b->request), 0);
    assert_int_equal(b->closed, taken_over);
    buf_free(&b->input);
}

static void send_bytes(struct bench *b, const char *data, size_t len)
{
    assert_int_equal(buf_add(&b->request.in, data, len), 0);
    fake_turn(&b->request, true);
}

#define SEND(b, literal) send_bytes(b, literal, sizeof(literal) - 1)

/* What was sent since the last look. */
static void expect_bytes(struct bench *b, const char *data, size_t len)
{
    assert_int_equal(b->request.out.len, len);
    assert_memory_equal(b->request.out.data, data, len);
    buf_reset(&b->request.out);
}

#define EXPECT(b, literal) expect_bytes(b, literal, sizeof(literal) - 1)

static const struct remote_options both = {.input = true, .output = true};

static void test_spdy_session(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, "SPDY/3.1", "v5.channel.k8s.io, v4.channel.k8s.io", &both);
    assert_int_equal(b.request.status, 101);
    assert_string_equal(buf_str(&b.request.added),
                        "X-Stream-Protocol-Version: v4.channel.k8s.io\n");
    SEND(&b, open_error);
    EXPECT(&b, "\x80\x03\0\2\0\0\0\x14\0\0\0\1\x78\xf9\xe3\xc6\xa7\xc2\x62\x60\x60\x60\0\0\0\0\xff"
               "\xff");
    SEND(&b, open_stdin);
    assert_int_equal(b.ready, 0);
    assert_int_equal(remote_write(b.remote, false, "x", 1), 0);
    SEND(&b, open_stdout);
    assert_int_equal(b.ready, 1);
    buf_reset(&b.request.out);
    SEND(&b, "\0\0\0\3\0\0\0\2hi\0\0\0\3\1\0\0\0\x80\x03\0\6\0\0\0\4\0\0\0\1");
    EXPECT(&b, "\x80\x03\0\6\0\0\0\4\0\0\0\1");
    assert_string_equal(buf_str(&b.input), "hi");
    assert_int_equal(b.input_ends, 1);
    assert_int_equal(remote_write(b.remote, false, "out", 3), 3);
    assert_int_equal(remote_write(b.remote, true, "err", 3), 3); /* nobody asked for it */
    EXPECT(&b, "\0\0\0\5\0\0\0\3out");
    remote_end(b.remote, NULL);
    EXPECT(&b, "\0\0\0\1\0\0\0\x22{\"metadata\":{},\"status\":\"Success\"}"
               "\0\0\0\5\1\0\0\0\0\0\0\1\1\0\0\0"
               "\x80\x03\0\7\0\0\0\x08\0\0\0\5\0\0\0\0");
    assert_true(b.request.leaving);
    finish(&b);
}

static void test_websocket_session(void **state)
{
    static const struct remote_options wanted = {.input = true, .output = true, .error = true};
    struct bench b;
    (void)state;
    begin(&b, "websocket", "v5.channel.k8s.io", &wanted);
    assert_int_equal(b.request.status, 101);
    assert_string_equal(buf_str(&b.request.added),
                        ACCEPT_LINE "Sec-WebSocket-Protocol: v5.channel.k8s.io\n");
    EXPECT(&b, "\x82\1\1");
    SEND(&b, "\x82\x83\0\0\0\0\0hi");
    assert_int_equal(b.ready, 1);
    assert_string_equal(buf_str(&b.input), "hi");
    SEND(&b, "\x82\x99\0\0\0\0\4{\"Width\":80,\"Height\":24}");
    assert_int_equal(b.columns, 80);
    assert_int_equal(b.rows, 24);
    SEND(&b, "\x82\x82\0\0\0\0\xff\0");
    assert_int_equal(b.input_ends, 1);
    SEND(&b, "\x82\x83\0\0\0\0\0no"); /* it had ended */
    assert_string_equal(buf_str(&b.input), "hi");
    SEND(&b, "\x89\x81\0\0\0\0?");
    EXPECT(&b, "\x8a\1?");
    (void)remote_write(b.remote, false, "hello from uni\n", 15);
    (void)remote_write(b.remote, true, "warn\n", 5);
    remote_end(b.remote, NULL);
    EXPECT(&b, "\x82\x10\1hello from uni\n\x82\6\2warn\n"
               "\x82\x23\3{\"metadata\":{},\"status\":\"Success\"}\x88\2\x03\xe8");
    finish(&b);
}

static void test_old_protocols(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, "websocket", "base64.channel.k8s.io", &both);
    EXPECT(&b, "\x81\1"
               "1");
    SEND(&b, "\x81\x89\0\0\0\0"
             "0aGVsbG8=");
    assert_string_equal(buf_str(&b.input), "hello");
    (void)remote_write(b.remote, false, "hello", 5);
    remote_end(b.remote, NULL); /* success says nothing */
    EXPECT(&b, "\x81\x09"
               "1aGVsbG8=\x88\2\x03\xe8");
    finish(&b);
    begin(&b, "websocket", "channel.k8s.io", &both);
    buf_reset(&b.request.out);
    remote_end(b.remote, "it broke");
    EXPECT(&b, "\x82\x09\3it broke\x88\2\x03\xe8");
    finish(&b);
    begin(&b, "websocket", NULL, &both);
    assert_string_equal(buf_str(&b.request.added), ACCEPT_LINE);
    finish(&b);
}

static void test_input_waits(void **state)
{
    struct bench b;
    (void)state;
    begin(&b, "websocket", "v4.channel.k8s.io", &both);
    SEND(&b, "\x82\x81\0\0\0\0\0");
    b.appetite = 3;
    SEND(&b, "\x82\x87\0\0\0\0\0abcdef\x82\x83\0\0\0\0\0gh");
    assert_string_equal(buf_str(&b.input), "abc");
    fake_turn(&b.request, true);
    assert_string_equal(buf_str(&b.input), "abc");
    b.appetite = 100;
    remote_resume(b.remote);
    assert_string_equal(buf_str(&b.input), "abcdefgh");
    assert_int_equal(b.request.in.len, 0);
    finish(&b);
}

static void test_output_waits(void **state)
{
    CLEANUP(free) char *data = xcalloc(1, SERVER_QUEUE_MAX);
    struct bench b;
    (void)state;
    begin(&b, "websocket", "v4.channel.k8s.io", &both);
    size_t n = remote_write(b.remote, false, data, SERVER_QUEUE_MAX);
    assert_true(n > SERVER_QUEUE_MAX - 8192 && n < SERVER_QUEUE_MAX);
    assert_true(b.request.out.len <= SERVER_QUEUE_MAX);
    assert_int_equal(remote_write(b.remote, false, data, 4096), 0);
    /* Nor is the client read, whose pings would want answers. */
    b.request.room = b.request.out.len;
    assert_int_equal(buf_add(&b.request.in, "\x89\x80\0\0\0\0", 6), 0);
    fake_turn(&b.request, false);
    assert_int_equal(b.request.in.len, 6);
    b.request.room = SERVER_QUEUE_MAX;
    buf_reset(&b.request.out);
    fake_turn(&b.request, true);
    EXPECT(&b, "\x8a\0");
    assert_true(b.writables + b.ready > 0);
    finish(&b);
}

static void test_broken_clients(void **state)
{
    static const struct {
        const char *in;
        size_t len;
        const char *out;
        size_t out_len;
    } cases[] = {
        {"\x82\1x", 3, "\x88\2\x03\xea", 4},                  /* unmasked: 1002 */
        {"\x88\x82\0\0\0\0\x03\xe9", 8, "\x88\2\x03\xe9", 4}, /* it leaves: 1001 */
        {"\x82\xff\0\0\0\0\0\2\0\0\0\0\0\0\4", 15, "", 0},    /* a long one begins */
    };
    struct bench b;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        begin(&b, "websocket", "v4.channel.k8s.io", &both);
        buf_reset(&b.request.out);
        send_bytes(&b, cases[i].in, cases[i].len);
        expect_bytes(&b, cases[i].out, cases[i].out_len);
        finish(&b);
    }
    begin(&b, "SPDY/3.1", "v4.channel.k8s.io", &both);
    SEND(&b, "\x80\x02\0\6\0\0\0\4\0\0\0\1"); /* SPDY/2 */
    EXPECT(&b, "\x80\x03\0\7\0\0\0\x08\0\0\0\0\0\0\0\0");
    assert_true(b.request.leaving);
    finish(&b);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *upgrade, *protocols;
        int status;
        const char *text;
    } cases[] = {
        {NULL, NULL, 400, "unable to upgrade: missing upgrade headers in request"},
        {"h2c", NULL, 400, "unable to upgrade: missing upgrade headers in request"},
        {"SPDY/3.1", NULL, 400, "unable to upgrade: X-Stream-Protocol-Version is required"},
        {"SPDY/3.1", "v9.channel.k8s.io", 403, "unable to negotiate protocol"},
        {"websocket", "chat", 400, "none of the asked sub-protocols"},
    };
    struct bench b;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        begin(&b, cases[i].upgrade, cases[i].protocols, &both);
        assert_null(b.remote);
        assert_int_equal(b.request.status, cases[i].status);
        assert_non_null(strstr(buf_str(&b.request.answer), cases[i].text));
        finish(&b);
    }
}

static void test_options(void **state)
{
    struct server_request r = {.query = {{"stdin", "true"}, {"output", "1"}, {"error", "1"}}};
    struct remote_options options;
    (void)state;
    assert_null(remote_parse(&r, &options));
    assert_true(options.input && options.output && options.error && !options.tty);
    r.query[0][0] = "tty";
    assert_null(remote_parse(&r, &options));
    assert_true(!options.input && options.output && !options.error && options.tty);
    r.query[1][0] = r.query[2][0] = NULL;
    assert_string_equal(remote_parse(&r, &options),
                        "you must specify at least 1 of stdin, stdout, stderr");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spdy_session),  cmocka_unit_test(test_websocket_session),
        cmocka_unit_test(test_old_protocols), cmocka_unit_test(test_input_waits),
        cmocka_unit_test(test_output_waits),  cmocka_unit_test(test_broken_clients),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
