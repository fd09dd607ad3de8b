/* The QMP client against a scripted QEMU at the other end of a socket pair, and its core against
 * broken streams. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "vmm-bridge/qmp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"
#define CAPABILITIES "{\"execute\":\"qmp_capabilities\",\"id\":0}\n"

/* What one call was answered with. */
struct got {
    int count;
    int result;
    char text[128];  /* of an error */
    char value[128]; /* status of a value */
};

static void on_reply(void *userdata, int result, const struct json *value, const char *text)
{
    struct got *got = userdata;

    got->count++;
    got->result = result;
    str_copy(got->text, sizeof(got->text), text ? text : "");
    str_copy(got->value, sizeof(got->value),
             json_get_string(value, "status") ? json_get_string(value, "status") : "");
}

struct events {
    struct buf names;
};

static void on_event(void *userdata, const char *name, const struct json *data)
{
    struct events *events = userdata;

    (void)buf_addf(&events->names, "%s%s ", name, json_is_object(data) ? "+data" : "");
}

static int feed(struct qmp_core *core, const char *text)
{
    return qmp_core_feed(core, text, strlen(text));
}

static void test_conversation(void **state)
{
    struct qmp_core core;
    struct events events = {BUF_INIT(1024)};
    struct got first = {0};
    struct got second = {0};

    (void)state;
    qmp_core_init(&core);
    core.on_event = on_event;
    core.event_userdata = &events;
    assert_int_equal(qmp_core_invoke(&core, QMP_QUERY_STATUS, on_reply, &first), 0);
    assert_int_equal(core.out.len, 0); /* nothing before the greeting */
    assert_int_equal(feed(&core, GREETING), 0);
    assert_string_equal(qmp_state_to_string(core.state), "negotiating");
    assert_string_equal(buf_str(&core.out), CAPABILITIES);
    buf_reset(&core.out);
    assert_int_equal(feed(&core, "{\"event\": \"STOP\"}\n{\"return\": {}, \"id\": 0}\n"), 0);
    assert_string_equal(buf_str(&core.out), "{\"execute\":\"query-status\",\"id\":1}\n");
    buf_reset(&core.out);
    assert_int_equal(qmp_core_invoke(&core, QMP_INFO_REGISTERS, on_reply, &second), 0);
    assert_string_equal(buf_str(&core.out),
                        "{\"execute\":\"human-monitor-command\",\"id\":2,"
                        "\"arguments\":{\"command-line\":\"info registers\"}}\n");
    /* Answers out of order, in pieces, with an event between. */
    assert_int_equal(feed(&core, "{\"id\": 2, \"error\": {\"class\": \"Generic"), 0);
    assert_int_equal(second.count, 0);
    assert_int_equal(feed(&core, "Error\", \"desc\": \"not now\"}}\r\n\r\n"), 0);
    assert_int_equal(second.count, 1);
    assert_int_equal(second.result, -EIO);
    assert_string_equal(second.text, "not now");
    assert_int_equal(feed(&core, "{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true}}\n"
                                 "{\"return\":{\"status\":\"running\"},\"id\":1}\n"),
                     0);
    assert_int_equal(first.count, 1);
    assert_int_equal(first.result, 0);
    assert_string_equal(first.value, "running");
    assert_string_equal(buf_str(&events.names), "STOP SHUTDOWN+data ");
    assert_int_equal(feed(&core, "{\"return\":{},\"id\":77}\n"), 0); /* to nobody: ignored */
    qmp_core_fail(&core, -ECONNRESET, "gone");
    assert_int_equal(first.count + second.count, 2);
    assert_int_equal(qmp_core_invoke(&core, QMP_POWERDOWN, on_reply, &first), -ENOTCONN);
    buf_free(&events.names);
    qmp_core_done(&core);
}

static void test_broken_streams(void **state)
{
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {"hello\n", -EBADMSG},
        {"[1]\n", -EBADMSG},
        {"{}\n", -EPROTO},
        {"{\"return\": {}}\n", -EPROTO},
        {"{\"QMP\": 1}\n", -EPROTO},
        {GREETING GREETING, -EPROTO},
        {GREETING "{\"error\": {\"desc\": \"no\"}, \"id\": 0}\n", -EPROTO},
        {GREETING "{\"return\": {}}\n{\"nothing\": 1}\n", -EPROTO},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qmp_core core;
        struct got got = {0};

        qmp_core_init(&core);
        assert_int_equal(qmp_core_invoke(&core, QMP_POWERDOWN, on_reply, &got), 0);
        assert_int_equal(feed(&core, cases[i].text), cases[i].code);
        assert_int_equal(got.count, 1);
        assert_int_equal(got.result, cases[i].code);
        assert_int_equal(core.state, QMP_DISCONNECTED);
        assert_int_equal(feed(&core, GREETING), 0); /* nothing more is read */
        qmp_core_done(&core);
    }
}

static void test_limits(void **state)
{
    struct qmp_core core;
    struct got got = {0};
    CLEANUP(free) char *huge = xmalloc(QMP_LINE_MAX + 1);

    (void)state;
    qmp_core_init(&core);
    for (int i = 0; i < QMP_CALLS_MAX; i++)
        assert_int_equal(qmp_core_invoke(&core, QMP_POWERDOWN, on_reply, &got), 0);
    assert_int_equal(qmp_core_invoke(&core, QMP_POWERDOWN, on_reply, &got), -EBUSY);
    memset(huge, ' ', QMP_LINE_MAX + 1);
    assert_int_equal(qmp_core_feed(&core, huge, QMP_LINE_MAX + 1), -ENOBUFS);
    assert_int_equal(got.count, QMP_CALLS_MAX);
    qmp_core_done(&core);
}

static void test_deadline(void **state)
{
    struct qmp_core core;
    struct got got = {0};

    (void)state;
    qmp_core_init(&core);
    assert_int_equal(feed(&core, GREETING "{\"return\":{},\"id\":0}\n"), 0);
    assert_int_equal(qmp_core_invoke(&core, QMP_POWERDOWN, on_reply, &got), 0);
    core.calls[0].deadline_ms = 100;
    qmp_core_expire(&core, 99);
    assert_int_equal(got.count, 0);
    qmp_core_expire(&core, 100);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.result, -ETIMEDOUT);
    assert_int_equal(feed(&core, "{\"return\":{},\"id\":1}\n"), 0); /* late: ignored */
    assert_int_equal(got.count, 1);
    qmp_core_done(&core);
}

/* The scripted QEMU: says a thing, and expects exactly the bytes that follow from it. */
static void exchange(uv_loop_t *loop, int fd, const char *say, const char *expect)
{
    char got[1024];
    size_t len = 0;

    assert_int_equal(write(fd, say, strlen(say)), strlen(say));
    for (int turns = 0; turns < 1000 && len < strlen(expect); turns++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
        ssize_t n = recv(fd, got + len, sizeof(got) - 1 - len, MSG_DONTWAIT);

        if (n > 0)
            len += (size_t)n;
    }
    got[len] = '\0';
    assert_string_equal(got, expect);
}

static void run(uv_loop_t *loop, const int *count)
{
    for (int turns = 0; turns < 1000 && !*count; turns++)
        (void)uv_run(loop, UV_RUN_ONCE);
}

static void close_all(uv_loop_t *loop, struct qmp *qmp, int fd)
{
    qmp_close(qmp);
    if (fd >= 0)
        (void)close(fd);
    assert_int_equal(uv_run(loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(loop), 0);
}

static void test_transport(void **state)
{
    uv_loop_t loop;
    int pair[2];
    struct qmp *qmp;
    struct got got = {0};

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    qmp = qmp_open_fd(&loop, pair[0]);
    qmp_invoke(qmp, QMP_POWERDOWN, on_reply, &got);
    exchange(&loop, pair[1], GREETING, CAPABILITIES);
    exchange(&loop, pair[1], "{\"return\": {}, \"id\": 0}\r\n",
             "{\"execute\":\"system_powerdown\",\"id\":1}\n");
    exchange(&loop, pair[1], "{\"return\": {}, \"id\": 1}\r\n", "");
    run(&loop, &got.count);
    assert_int_equal(got.result, 0);
    got = (struct got){0};
    qmp_invoke(qmp, QMP_QUERY_STATUS, on_reply, &got);
    (void)close(pair[1]); /* QEMU ended */
    run(&loop, &got.count);
    assert_int_equal(got.count, 1);
    assert_true(got.result == -ECONNRESET || got.result == -EPIPE);
    qmp_invoke(qmp, QMP_QUERY_STATUS, on_reply, &got);
    assert_int_equal(got.count, 2);
    assert_int_equal(got.result, -ENOTCONN);
    close_all(&loop, qmp, -1);
}

static void close_in_reply(void *userdata, int result, const struct json *value, const char *text)
{
    struct qmp **qmp = userdata;

    (void)value;
    (void)text;
    assert_int_equal(result, 0);
    qmp_close(TAKE(*qmp));
}

static void test_close(void **state)
{
    uv_loop_t loop;
    int pair[2];
    struct qmp *qmp;
    struct qmp *other;
    struct got got = {0};

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    qmp = qmp_open_fd(&loop, pair[0]);
    qmp_invoke(qmp, QMP_POWERDOWN, close_in_reply, &qmp);
    qmp_invoke(qmp, QMP_POWERDOWN, on_reply, &got);
    exchange(&loop, pair[1], GREETING, CAPABILITIES);
    exchange(&loop, pair[1], "{\"return\":{},\"id\":0}\n",
             "{\"execute\":\"system_powerdown\",\"id\":1}\n"
             "{\"execute\":\"system_powerdown\",\"id\":2}\n");
    exchange(&loop, pair[1], "{\"return\":{},\"id\":1}\n{\"return\":{},\"id\":2}\n", "");
    run(&loop, &got.count);
    assert_null(qmp);
    assert_int_equal(got.result, -ECANCELED);
    /* A socket that nobody listens on. */
    got = (struct got){0};
    other = qmp_open(&loop, "/nonexistent/control.sock");
    qmp_invoke(other, QMP_POWERDOWN, on_reply, &got);
    run(&loop, &got.count);
    assert_int_equal(got.result, -ENOENT);
    close_all(&loop, other, pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversation), cmocka_unit_test(test_broken_streams),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_transport),    cmocka_unit_test(test_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
