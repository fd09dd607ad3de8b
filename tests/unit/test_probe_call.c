/* k8s/probe_call.c over real loopback sockets: what is on the wire, and what each kind of server,
 * good and bad, makes the kubelet say. A hanging server is left by the question's own time limit.
 */
#include "probe_fixture.h"

#define MANY 2000
#define HUGE_BODY 200000

/* ---- HTTP ---- */

struct script {
    int status;
    const char *headers, *body;
    struct buf seen; /* heads of all requests */
};

static void play(struct fake *fake, struct fake_request *q)
{
    struct script *s = fake->userdata;

    (void)buf_adds(&s->seen, q->head);
    fake_reply(q->conn, s->status, s->headers, s->body);
}

/* As Go's http package frames it. */
static void test_request(void **state)
{
    static const struct key_value plain[] = {{"X-Custom", "a b"}, {"X-Custom", "c"}, {"X-No", ""}};
    static const struct key_value own[] = {{"host", "example.com"},
                                           {"user-agent", "mine"},
                                           {"ACCEPT", "text/html"},
                                           {"Content-Length", "99"}};
    static const struct key_value none[] = {{"Accept", ""}, {"User-Agent", ""}};
    static const struct {
        const char *path;
        const struct key_value *headers;
        size_t len;
        const char *want[5], *absent[3];
    } rows[] = {
        {"/healthz?a=b",
         NULL,
         0,
         {"GET /healthz?a=b HTTP/1.1\r\n", "\r\nUser-Agent: kube-probe/1.37\r\n",
          "\r\nAccept: */*\r\n", "\r\nConnection: close\r\n", "\r\nHost: 127.0.0.1:"},
         {"Accept-Encoding", NULL, NULL}},
        {"a/../b c",
         plain,
         3,
         {"GET /a/../b%20c HTTP/1.1\r\n", "\r\nX-Custom: a b\r\n", "\r\nX-Custom: c\r\n",
          "\r\nX-No:", NULL},
         {NULL, NULL, NULL}},
        {"",
         own,
         4,
         {"GET / HTTP/1.1\r\n", "\r\nHost: example.com\r\n", "\r\nuser-agent: mine\r\n",
          "\r\nACCEPT: text/html\r\n", NULL},
         {"kube-probe", "*/*", "Content-Length"}},
        {"/",
         none,
         2,
         {"GET / HTTP/1.1\r\n", NULL, NULL, NULL, NULL},
         {"kube-probe", "Accept", "User-Agent"}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct script script = {
            .status = 200, .headers = "", .body = "ok", .seen = BUF_INIT(65536)};
        struct handler handler = {.kind = HANDLER_HTTP,
                                  .path = rows[i].path,
                                  .headers = rows[i].headers,
                                  .headers_len = rows[i].len};
        struct fake fake;

        fake_start(&fake, play, &script);
        struct seen seen = ask(&fake, &handler, fake.port, 5000);
        assert_int_equal(seen.outcome, PROBE_OK);
        for (size_t j = 0; j < 5 && rows[i].want[j]; j++) {
            if (!strstr(buf_str(&script.seen), rows[i].want[j]))
                print_error("row %zu lacks \"%s\":\n%s", i, rows[i].want[j], buf_str(&script.seen));
            assert_non_null(strstr(buf_str(&script.seen), rows[i].want[j]));
        }
        for (size_t j = 0; j < 3 && rows[i].absent[j]; j++)
            assert_null(strstr(buf_str(&script.seen), rows[i].absent[j]));
        fake_stop(&fake);
        buf_free(&script.seen);
    }
}

static void test_status(void **state)
{
    static const struct {
        int status;
        const char *headers;
        enum probe_outcome outcome;
        const char *text;
    } rows[] = {
        {200, "", PROBE_OK, ""},
        {204, "", PROBE_OK, ""},
        {304, "", PROBE_WARNING, "Probe terminated redirects, Response body: "},
        {302, "Location: http://elsewhere.example/\r\n", PROBE_WARNING,
         "Probe terminated redirects, Response body: the body"},
        {302, "", PROBE_WARNING, "Probe terminated redirects, Response body: the body"},
        {400, "", PROBE_FAILED, "HTTP probe failed with statuscode: 400"},
        {404, "", PROBE_FAILED, "HTTP probe failed with statuscode: 404"},
        {500, "", PROBE_FAILED, "HTTP probe failed with statuscode: 500"},
        {503, "Retry-After: 1\r\n", PROBE_FAILED, "HTTP probe failed with statuscode: 503"},
    };
    static const struct handler handler = {.kind = HANDLER_HTTP, .path = "/"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct script script = {.status = rows[i].status,
                                .headers = rows[i].headers,
                                .body = rows[i].status == 204 || rows[i].status == 304 ? ""
                                                                                       : "the body",
                                .seen = BUF_INIT(65536)};
        struct fake fake;

        fake_start(&fake, play, &script);
        struct seen seen = ask(&fake, &handler, fake.port, 5000);
        assert_int_equal(seen.outcome, rows[i].outcome);
        assert_string_equal(seen.text, rows[i].text);
        assert_false(seen.unheard);
        fake_stop(&fake);
        buf_free(&script.seen);
    }
}

/* What the server of test_bad_servers does with a request. */
enum act { HANG, HANG_IN_BODY, HANG_UP, CUT, GARBAGE, HUGE_ANSWER, LOOP, TWICE, RESET };

static void misbehave(struct fake *fake, struct fake_request *q)
{
    static const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    static const char endless[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    const struct linger linger = {.l_onoff = 1};
    char *huge;
    uv_os_fd_t fd;

    switch (*(const enum act *)fake->userdata) {
    case HANG:
        break;
    case HANG_IN_BODY:
        fake_send(q->conn, cut, sizeof(cut) - 1, false);
        break;
    case HANG_UP:
        fake_close(q->conn);
        break;
    case CUT:
        fake_send(q->conn, cut, sizeof(cut) - 1, true);
        break;
    case GARBAGE:
        fake_send(q->conn, "SSH-2.0-OpenSSH\r\n", 17, true);
        break;
    case HUGE_ANSWER: /* and it never ends: what was read is enough */
        huge = xcalloc(1, HUGE_BODY);
        memset(huge, 'x', HUGE_BODY);
        fake_send(q->conn, endless, sizeof(endless) - 1, false);
        fake_send(q->conn, huge, HUGE_BODY, false);
        free(huge);
        break;
    case LOOP:
        fake_reply(q->conn, 302, "Location: /again\r\n", "");
        break;
    case TWICE:
        if (str_eq(q->target, "/"))
            fake_reply(q->conn, 307, "Location: /second?x=1\r\n", "");
        else
            fake_reply(q->conn, str_eq(q->target, "/second?x=1") ? 200 : 500, "", "");
        break;
    case RESET:
        assert_int_equal(uv_fileno((uv_handle_t *)&q->conn->tcp, &fd), 0);
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        fake_close(q->conn);
        break;
    }
}

static void test_bad_servers(void **state)
{
    static const struct {
        enum act act;
        enum probe_outcome outcome;
        const char *text; /* %d: the port; its end may be left out */
    } rows[] = {
        {HANG, PROBE_FAILED,
         "Get \"http://127.0.0.1:%d/\": context deadline exceeded "
         "(Client.Timeout exceeded while awaiting headers)"},
        {HANG_IN_BODY, PROBE_ERROR,
         "context deadline exceeded (Client.Timeout or context cancellation while reading body)"},
        {HANG_UP, PROBE_FAILED, "Get \"http://127.0.0.1:%d/\": EOF"},
        {CUT, PROBE_ERROR, "unexpected EOF"},
        {GARBAGE, PROBE_FAILED,
         "Get \"http://127.0.0.1:%d/\": net/http: HTTP/1.x transport connection broken: malformed "
         "HTTP response"},
        {HUGE_ANSWER, PROBE_OK, ""},
        {LOOP, PROBE_FAILED, "Get \"http://127.0.0.1:%d/again\": stopped after 10 redirects"},
        {TWICE, PROBE_OK, ""},
        {RESET, PROBE_FAILED, "Get \"http://127.0.0.1:%d/\": read tcp 127.0.0.1:"},
    };
    static const struct handler handler = {.kind = HANDLER_HTTP, .path = "/"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool hangs = rows[i].act == HANG || rows[i].act == HANG_IN_BODY;
        enum act act = rows[i].act;
        struct fake fake;
        char want[256];

        fake_start(&fake, misbehave, &act);
        struct seen seen = ask(&fake, &handler, fake.port, hangs ? 200 : 10000);
        const char *number = strstr(rows[i].text, "%d");
        if (number)
            str_fmt(want, sizeof(want), "%.*s%d%s", (int)(number - rows[i].text), rows[i].text,
                    fake.port, number + 2);
        else
            str_copy(want, sizeof(want), rows[i].text);
        if (seen.outcome != rows[i].outcome || !str_starts(seen.text, want))
            print_error("row %zu: %d \"%s\"\n", i, seen.outcome, seen.text);
        assert_int_equal(seen.outcome, rows[i].outcome);
        assert_true(str_starts(seen.text, want));
        assert_true(seen.text[0] || !want[0]);
        assert_false(seen.unheard);
        if (rows[i].act == LOOP)
            assert_int_equal(fake.requests, 10);
        if (seen.outcome == PROBE_ERROR)
            assert_string_equal(seen.result, "failure");
        fake_stop(&fake);
    }
}

static void test_nobody_listens(void **state)
{
    static const struct {
        struct handler handler;
        const char *text;
    } rows[] = {
        {{.kind = HANDLER_HTTP, .path = "/x"},
         "Get \"http://127.0.0.1:%d/x\": dial tcp 127.0.0.1:%d: connect: connection refused"},
        {{.kind = HANDLER_HTTP, .path = "/", .tls = true},
         "Get \"https://127.0.0.1:%d/\": dial tcp 127.0.0.1:%d: connect: connection refused"},
        {{.kind = HANDLER_TCP}, "dial tcp 127.0.0.1:%d: connect: connection refused"},
        {{.kind = HANDLER_GRPC, .service = ""},
         "timeout: failed to connect service \"127.0.0.1:%d\" within 2s: context deadline "
         "exceeded"},
    };
    struct fake fake;
    int fd, port = deaf_port(&fd);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf want = BUF_INIT(1024);

        for (const char *p = rows[i].text; *p; p++) {
            if (str_starts(p, "%d"))
                (void)buf_addf(&want, "%d", port), p++;
            else
                (void)buf_addc(&want, *p);
        }
        fake_start(&fake, play, NULL);
        struct seen seen = ask(&fake, &rows[i].handler, port, 2000);
        assert_int_equal(seen.outcome, PROBE_FAILED);
        assert_string_equal(seen.text, buf_str(&want));
        assert_true(seen.unheard);
        fake_stop(&fake);
        buf_free(&want);
    }
    (void)close(fd);
}

static void test_bad_header(void **state)
{
    static const struct key_value headers[] = {{"X-Evil", "a\r\nGET /admin HTTP/1.1"}};
    static const struct handler handler = {
        .kind = HANDLER_HTTP, .path = "/", .headers = headers, .headers_len = 1};
    struct script script = {.status = 200, .headers = "", .body = "", .seen = BUF_INIT(65536)};
    struct fake fake;

    (void)state;
    fake_start(&fake, play, &script);
    struct seen seen = ask(&fake, &handler, fake.port, 5000);
    assert_int_equal(seen.outcome, PROBE_FAILED);
    assert_non_null(strstr(seen.text, "invalid header field value for \"X-Evil\""));
    assert_int_equal(fake.connections, 0);
    fake_stop(&fake);
    buf_free(&script.seen);
}

static void test_hook(void **state)
{
    static const struct handler handler = {.kind = HANDLER_HTTP, .path = "/stop"};
    struct script script = {.status = 200, .headers = "", .body = "", .seen = BUF_INIT(65536)};
    struct probe_question question = {
        .handler = &handler, .host = "127.0.0.1", .timeout_ms = 5000, .purpose = PURPOSE_HOOK};
    struct seen seen = {0};
    struct fake fake;

    (void)state;
    fake_start(&fake, play, &script);
    struct probe_caller *caller = probe_caller_new(&fake.loop);
    question.port = (uint16_t)fake.port;
    (void)probe_call(caller, &question, on_answer, &seen);
    assert_true(fake_run(&fake, &seen.done, 20000));
    assert_non_null(strstr(buf_str(&script.seen), "\r\nUser-Agent: kube-lifecycle/1.37\r\n"));
    probe_caller_free(caller);
    fake_stop(&fake);
    buf_free(&script.seen);
}

static void test_tcp(void **state)
{
    static const struct handler handler = {.kind = HANDLER_TCP};
    struct fake fake;

    (void)state;
    fake_start(&fake, play, NULL);
    struct seen seen = ask(&fake, &handler, fake.port, 5000);
    assert_int_equal(seen.outcome, PROBE_OK);
    assert_int_equal(fake.requests, 0);
    fake_stop(&fake);
}

/* ---- many ---- */

struct crowd {
    unsigned answers, good;
    bool done;
};

static void on_one(void *userdata, const struct probe_answer *answer)
{
    struct crowd *crowd = userdata;

    crowd->good += answer->outcome == PROBE_OK;
    crowd->done = ++crowd->answers == MANY;
}

/* Two thousand at once: all are answered, a bounded number of them is on the wire. */
static void test_many(void **state)
{
    static const struct handler http = {.kind = HANDLER_HTTP, .path = "/"};
    static const struct handler tcp = {.kind = HANDLER_TCP};
    struct script script = {.status = 200, .headers = "Connection: close\r\n", .body = "ok"};
    struct probe_question question = {.host = "127.0.0.1", .timeout_ms = 60000};
    struct crowd crowd = {0};
    struct fake fake;

    (void)state;
    fake_start(&fake, play, &script);
    struct probe_caller *caller = probe_caller_new(&fake.loop);
    question.port = (uint16_t)fake.port;
    for (unsigned i = 0; i < MANY; i++) {
        question.handler = i % 4 ? &http : &tcp;
        (void)probe_call(caller, &question, on_one, &crowd);
    }
    assert_int_equal(probe_caller_waiting(caller), MANY);
    (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
    assert_in_range(probe_caller_running(caller), 1, PROBE_CALLS_RUNNING_MAX);
    assert_true(fake_run(&fake, &crowd.done, 60000));
    assert_int_equal(crowd.good, MANY);
    assert_int_equal(probe_caller_running(caller) + probe_caller_waiting(caller), 0);
    probe_caller_free(caller);
    fake_stop(&fake);
}

static void on_wrong(void *userdata, const struct probe_answer *answer)
{
    (void)userdata;
    (void)answer;
    fail_msg("%s", "a cancelled call is answered");
}

static void test_cancel(void **state)
{
    static const struct handler handler = {.kind = HANDLER_HTTP, .path = "/"};
    enum act act = HANG;
    struct probe_question question = {.handler = &handler, .host = "127.0.0.1", .timeout_ms = 5000};
    struct probe_call *calls[3];
    struct fake fake;

    (void)state;
    fake_start(&fake, misbehave, &act);
    question.port = (uint16_t)fake.port;
    struct probe_caller *caller = probe_caller_new(&fake.loop);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        calls[i] = probe_call(caller, &question, on_wrong, NULL);
    probe_call_cancel(calls[0]); /* queued */
    while (fake.requests < 2)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    probe_call_cancel(calls[1]); /* on the wire */
    assert_int_equal(probe_caller_running(caller), 1);
    probe_caller_free(caller); /* with the third */
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),     cmocka_unit_test(test_status),
        cmocka_unit_test(test_bad_servers), cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_bad_header),  cmocka_unit_test(test_hook),
        cmocka_unit_test(test_tcp),         cmocka_unit_test(test_many),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
