/* k8s/watch.c and list_split.c: every rule of the contract's section 2 against a scripted
 * server, and the splitter with its input cut at every byte. */
#include "fake_api.h"

#include "base/clock.h"
#include "base/json.h"
#include "k8s/list_split.h"
#include "k8s/watch.h"

#include <errno.h>

/* ---- list_split ---- */

struct split_result {
    struct buf out;
    int stop_after; /* items; 0: never */
    int items;
};

static int on_item(void *userdata, const char *text, size_t len)
{
    struct split_result *r = userdata;

    (void)buf_addc(&r->out, '<');
    (void)buf_add(&r->out, text, len);
    (void)buf_addc(&r->out, '>');
    return ++r->items == r->stop_after ? -ECANCELED : 0;
}

static int split(const char *text, size_t cut, struct split_result *r, char *rest, size_t size)
{
    struct list_split s;
    size_t len = strlen(text);
    int result;

    buf_init(&r->out, 4096);
    list_split_init(&s, on_item, r);
    result = list_split_feed(&s, text, cut);
    if (result == 0)
        result = list_split_feed(&s, text + cut, len - cut);
    if (result == 0)
        result = list_split_complete(&s);
    (void)str_copy(rest, size, buf_str(&s.rest));
    list_split_free(&s);
    return result;
}

static void test_split(void **state)
{
    static const struct {
        const char *text, *items, *rest;
        int result; /* 1: complete, 0: more is to come, negative: refused */
    } rows[] = {
        {"{\"items\":[]}", "", "{\"items\":[]}", 1},
        {"{\"items\":null}", "", "{\"items\":null}", 1},
        {"{}", "", "{}", 1},
        {" {\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[{\"a\":1},"
         " {\"b\":[{\"items\":[1]}]}\n]}\n",
         "<{\"a\":1}><{\"b\":[{\"items\":[1]}]}>",
         " {\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[]}\n", 1},
        {"{\"items\":[{\"s\":\"}]\\\"{\\\\\"}],\"metadata\":{\"items\":[{}]}}",
         "<{\"s\":\"}]\\\"{\\\\\"}>", "{\"items\":[],\"metadata\":{\"items\":[{}]}}", 1},
        {"{\"itemsx\":[{}],\"x\":\"items\",\"y\":[\"items\",[{}]]}", "",
         "{\"itemsx\":[{}],\"x\":\"items\",\"y\":[\"items\",[{}]]}", 1},
        {"{\"a\":\"items\",\"items\":[{},{}]}", "<{}><{}>", "{\"a\":\"items\",\"items\":[]}", 1},
        {"{\"items\":[{\"a\":1}", "<{\"a\":1}>", "{\"items\":[", 0},
        {"{\"items\":[{\"a\":", "", "{\"items\":[", 0},
        {"{\"items\":[],\"x\":\"", "", "{\"items\":[],\"x\":\"", 0},
        {"", "", "", 0},
        {"{\"items\":[1]}", "", "{\"items\":[", -EBADMSG},
        {"{\"items\":[{}{}]}", "<{}>", "{\"items\":[", -EBADMSG},
        {"{\"items\":[,{}]}", "", "{\"items\":[", -EBADMSG},
        {"{\"items\":[[]]}", "", "{\"items\":[", -EBADMSG},
        {"[]", "", "", -EBADMSG},
        {"}", "", "", -EBADMSG},
        {"<html>", "", "", -EBADMSG},
        {"{} {}", "", NULL, -EBADMSG},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t cut = 0; cut <= strlen(rows[i].text); cut++) {
            struct split_result r = {0};
            char rest[256];

            assert_int_equal(split(rows[i].text, cut, &r, rest, sizeof(rest)), rows[i].result);
            assert_string_equal(buf_str(&r.out), rows[i].items);
            if (rows[i].result >= 0)
                assert_string_equal(rest, rows[i].rest);
            buf_free(&r.out);
        }
    }
}

static void test_split_limits(void **state)
{
    struct split_result r = {.stop_after = 2};
    struct list_split s;
    char rest[64], *big = xmalloc(1u << 20);
    int result = 0;

    (void)state;
    assert_int_equal(split("{\"items\":[{},{},{}]}", 3, &r, rest, sizeof(rest)), -ECANCELED);
    assert_int_equal(r.items, 2);
    buf_free(&r.out);
    memset(big, 'x', 1u << 20);
    /* An item over OBJECT_MAX, then a list that is large outside of its items. */
    list_split_init(&s, on_item, &r);
    assert_int_equal(list_split_feed(&s, "{\"items\":[{\"", 12), 0);
    for (size_t i = 0; i < OBJECT_MAX >> 20 && result == 0; i++)
        result = list_split_feed(&s, big, 1u << 20);
    assert_int_equal(result, -EMSGSIZE);
    list_split_free(&s);
    list_split_init(&s, on_item, &r);
    assert_int_equal(list_split_feed(&s, "{\"", 2), 0);
    assert_int_equal(list_split_feed(&s, big, 1u << 20), -EMSGSIZE);
    list_split_free(&s);
    free(big);
}

/* ---- watch ---- */

/* What was delivered, as one line: R relist, +name, *name, -name, S synced, E error. */
struct seen {
    struct buf log;
    const char *want;
    bool done;
    struct watch *watch;
    char stop_at; /* calls watch_stop in the callback that logs this */
    char error[256];
};

static void seen_add(struct seen *s, const char *text)
{
    assert_int_equal(buf_adds(&s->log, text), 0);
    if (s->want && str_eq(buf_str(&s->log), s->want))
        s->done = true;
    if (s->stop_at == text[0]) {
        watch_stop(s->watch);
        s->watch = NULL;
        s->done = true;
    }
}

static void on_relist(void *userdata)
{
    seen_add(userdata, "R ");
}

static void on_object(void *userdata, enum watch_event event, const struct json *object)
{
    char text[64];

    (void)str_fmt(text, sizeof(text), "%c%s ", "+*-"[event],
                  json_string(json_path(object, "metadata.name")));
    seen_add(userdata, text);
}

static void on_synced(void *userdata)
{
    seen_add(userdata, "S ");
}

static void on_error(void *userdata, const char *text)
{
    struct seen *s = userdata;

    (void)str_copy(s->error, sizeof(s->error), text);
    seen_add(userdata, "E ");
}

static const struct watch_ops ops = {
    .on_relist = on_relist,
    .on_object = on_object,
    .on_synced = on_synced,
    .on_error = on_error,
};

#define LIST(rv, more, items)                                                             \
    "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"" rv \
    "\"" more "},\"items\":[" items "]}"
#define POD(name, rv) "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" rv "\"}}"
#define EVENT(type, name, rv) "{\"type\":\"" type "\",\"object\":" POD(name, rv) "}"
#define GONE                                                                                       \
    "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"too old resource version: 1 (9)\"," \
    "\"reason\":\"Expired\",\"code\":410}"

/* One step: the request that must come (a prefix of its target) and what it gets. */
struct step {
    const char *target;
    int status; /* 0: a watch stream of the body's lines */
    const char *body;
    enum { WHOLE, END, CUT, BYTES, STAY } how;
    const char *headers;
};

struct play {
    const struct step *steps;
    size_t len, next;
    uint64_t times[16];
    struct fake_conn *conn; /* of the last step */
};

static void stream(struct fake_conn *conn, const struct step *step)
{
    size_t len = strlen(step->body);

    fake_begin(conn);
    if (step->how == BYTES) {
        for (size_t i = 0; i < len; i++)
            fake_chunk(conn, step->body + i, 1);
    } else if (len > 0) {
        fake_chunk(conn, step->body, len);
    }
    if (step->how == END)
        fake_end(conn);
    else if (step->how == CUT)
        fake_send(conn, "", 0, true);
}

static void serve(struct fake *fake, struct fake_request *q)
{
    struct play *play = fake->userdata;
    const struct step *step;

    if (play->next >= play->len) {
        fake_begin(q->conn); /* the last watch: silence */
        return;
    }
    step = &play->steps[play->next];
    play->times[play->next++] = clock_mono_ms();
    play->conn = q->conn;
    if (!str_starts(q->target, step->target))
        print_error("got  %s\nwant %s\n", q->target, step->target);
    assert_true(str_starts(q->target, step->target));
    if (step->status == 0) {
        stream(q->conn, step);
    } else if (step->how == CUT) {
        char *text =
            xasprintf("HTTP/1.1 %d X\r\nContent-Length: 9999\r\n\r\n%s", step->status, step->body);

        fake_send(q->conn, text, strlen(text), true);
        free(text);
    } else {
        fake_reply(q->conn, step->status, step->headers ? step->headers : "", step->body);
    }
}

#define L0 "/api/v1/pods?limit=2&resourceVersion=0&fieldSelector=x"
#define LE "/api/v1/pods?limit=2&resourceVersion=&fieldSelector=x"
#define LC "/api/v1/pods?limit=2&continue="
#define W "/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion="

static const struct watch_config config = {
    .path = "/api/v1/pods", .query = "fieldSelector=x", .page_limit = 2};

static void run(const char *name, const struct step *steps, size_t len, const char *want,
                struct play *play)
{
    struct seen seen = {.want = want};
    struct kube_client *client;
    struct fake fake;

    print_message("%s\n", name);
    *play = (struct play){.steps = steps, .len = len};
    buf_init(&seen.log, 4096);
    fake_start(&fake, serve, play);
    client = fake_client(&fake, NULL);
    seen.watch = watch_start(client, &config, &ops, &seen);
    assert_int_equal(seen.log.len, 0);
    if (!fake_run(&fake, &seen.done, 12000))
        print_error("got  %s\nwant %s\n", buf_str(&seen.log), want);
    assert_true(seen.done);
    for (int i = 0; i < 100 && play->next < len; i++)
        fake_pass(&fake, 20);
    assert_int_equal(play->next, len);
    assert_string_equal(buf_str(&seen.log), want);
    watch_stop(seen.watch);
    kube_client_free(client);
    buf_free(&seen.log);
    fake_stop(&fake);
}

#define RUN(name, steps, want) run(name, steps, sizeof(steps) / sizeof(steps[0]), want, &play)

static void test_good(void **state)
{
    static const struct step empty[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 0, "", STAY, NULL},
    };
    static const struct step pages[] = {
        {L0, 200, LIST("7", ",\"continue\":\"a/b=\"", POD("a", "1") "," POD("b", "2")), WHOLE,
         NULL},
        {LC "a%2Fb%3D&fieldSelector=x", 200, LIST("7", "", POD("c", "3")), WHOLE, NULL},
        {W "7&timeoutSeconds=", 0,
         EVENT("ADDED", "d", "8") "\n" EVENT("MODIFIED", "a", "9") "\n\n" EVENT(
             "DELETED", "b", "10") "\n{\"type\":\"BOOKMARK\",\"object\":" POD("", "20") "}\n",
         END, NULL},
        /* Its time was over: at once from the bookmark. */
        {W "20&", 0, EVENT("ADDED", "e", "21") "\n", BYTES, NULL},
    };
    struct play play;

    (void)state;
    RUN("empty", empty, "R S ");
    RUN("pages, events, bookmark, byte by byte", pages, "R +a +b +c S +d *a -b +e ");
    assert_true(play.times[3] - play.times[2] < 500);
}

static void test_gone(void **state)
{
    static const struct step in_band[] = {
        {L0, 200, LIST("7", "", POD("a", "1")), WHOLE, NULL},
        {W "7&", 0, "{\"type\":\"ERROR\",\"object\":" GONE "}\n", END, NULL},
        {LE, 200, LIST("9", "", POD("b", "8")), WHOLE, NULL},
        {W "9&", 0, "", STAY, NULL},
    };
    static const struct step http[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 410, GONE, WHOLE, NULL},
        {LE, 200, LIST("9", "", ""), WHOLE, NULL},
    };
    static const struct step token[] = {
        {L0, 200, LIST("7", ",\"continue\":\"t\"", POD("a", "1")), WHOLE, NULL},
        {LC "t&", 410, GONE, WHOLE, NULL},
        {LE, 200, LIST("9", "", POD("b", "8")), WHOLE, NULL},
    };
    static const struct step bad_token[] = {
        {L0, 200, LIST("7", ",\"continue\":\"t\"", POD("a", "1")), WHOLE, NULL},
        {LC "t&", 400, "{\"kind\":\"Status\",\"reason\":\"BadRequest\"}", WHOLE, NULL},
        {LE, 200, LIST("9", "", ""), WHOLE, NULL},
    };
    static const struct step future[] = {
        {L0, 504,
         "{\"kind\":\"Status\",\"reason\":\"Timeout\",\"message\":\"Timeout: Too large "
         "resource version: 99, current: 5\"}",
         WHOLE, "Retry-After: 1\r\n"},
        {LE, 200, LIST("9", "", ""), WHOLE, NULL},
    };
    struct play play;

    (void)state;
    RUN("410 in the stream", in_band, "R +a S E R +b S ");
    RUN("410 to the watch", http, "R S E R S ");
    RUN("expired continue", token, "R +a E R +b S ");
    RUN("refused continue", bad_token, "R +a E R S ");
    RUN("resource version from the future", future, "E R S ");
    assert_true(play.times[1] - play.times[0] >= 1000);
}

static void test_bad_lists(void **state)
{
    static const struct step cut[] = {
        {L0, 200, "{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[" POD("a", "1"), CUT, NULL},
        {L0, 200, LIST("9", "", POD("b", "8")), WHOLE, NULL},
    };
    static const struct step early[] = {
        {L0, 200, "{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[" POD("a", "1"), WHOLE,
         NULL},
        {L0, 200, LIST("9", "", ""), WHOLE, NULL},
    };
    static const struct step html[] = {
        {L0, 200, "<html>it works</html>", WHOLE, NULL},
        {L0, 200, LIST("9", "", ""), WHOLE, NULL},
    };
    static const struct step no_version[] = {
        {L0, 200, "{\"metadata\":{},\"items\":[]}", WHOLE, NULL},
        {L0, 200, LIST("9", "", ""), WHOLE, NULL},
    };
    static const struct step bad_item[] = {
        {L0, 200, LIST("7", "", "{\"a\":}"), WHOLE, NULL},
        {L0, 200, LIST("9", "", ""), WHOLE, NULL},
    };
    static const struct step refused[] = {
        {L0, 403, "{\"kind\":\"Status\",\"message\":\"no\"}", WHOLE, NULL},
        {L0, 429, "", WHOLE, "Retry-After: 1\r\n"},
        {L0, 500, "", WHOLE, NULL},
        {L0, 200, LIST("9", "", ""), WHOLE, NULL},
    };
    struct play play;

    (void)state;
    RUN("cut list", cut, "R +a E R +b S ");
    RUN("list that ends early", early, "R +a E R S ");
    RUN("no JSON", html, "R E R S ");
    RUN("no version", no_version, "R E R S ");
    RUN("malformed item", bad_item, "R E R S ");
    RUN("403, 429, 500", refused, "E R S ");
    assert_true(play.times[1] - play.times[0] >= 800);
    assert_true(play.times[2] - play.times[1] >= 1000);
    assert_true(play.times[3] - play.times[2] >= 1600);
}

static void test_bad_streams(void **state)
{
    static const struct step garbage[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 0, EVENT("ADDED", "a", "8") "\nxyz\n" EVENT("ADDED", "b", "9") "\n", END, NULL},
        {W "8&", 0, EVENT("ADDED", "b", "9") "\n", STAY, NULL},
    };
    static const struct step cut[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 0, EVENT("ADDED", "a", "8") "\n{\"type\":\"ADD", CUT, NULL},
        {W "8&", 0, EVENT("ADDED", "b", "9") "\n", STAY, NULL},
    };
    static const struct step short_line[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 0, EVENT("ADDED", "a", "8"), END, NULL},
        {W "7&", 0, EVENT("ADDED", "a", "8") "\n", STAY, NULL},
    };
    static const struct step hopeless[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 0, "{\"type\":\"NEW\",\"object\":{}}\n", END, NULL},
        {W "7&", 0, "{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"x\"}}\n", END,
         NULL},
        {W "7&", 0, "[]\n", END, NULL},
        {LE, 200, LIST("9", "", ""), WHOLE, NULL},
    };
    /* As an API server does that cannot serve watches yet: no failure, but no hurry either. */
    static const struct step short_watches[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 0, "", END, NULL},
        {W "7&", 0, "", END, NULL},
        {W "7&", 0, EVENT("ADDED", "a", "8") "\n", STAY, NULL},
    };
    static const struct step busy[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 429, "", WHOLE, "Retry-After: 1\r\n"},
        {W "7&", 0, EVENT("ADDED", "a", "8") "\n", STAY, NULL},
    };
    struct play play;

    (void)state;
    RUN("garbage", garbage, "R S +a E +b ");
    RUN("cut", cut, "R S +a E +b ");
    RUN("end within a line", short_line, "R S E +a ");
    RUN("watches that end at once", short_watches, "R S +a ");
    assert_true(play.times[3] - play.times[1] >= 120);
    RUN("429", busy, "R S E +a ");
    assert_true(play.times[2] - play.times[1] >= 1000);
    RUN("nothing helps but a new list", hopeless, "R S E E E R S ");
}

static void test_big_line(void **state)
{
    static const char head[] = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"big\","
                               "\"resourceVersion\":\"8\"},\"x\":\"";
    size_t fill = 3u << 20;
    char *line = xmalloc(sizeof(head) + fill + 8);
    struct step steps[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 0, line, END, NULL},
        {W "8&", 0, "", STAY, NULL},
    };
    struct play play;

    (void)state;
    memcpy(line, head, sizeof(head) - 1);
    memset(line + sizeof(head) - 1, 'x', fill);
    memcpy(line + sizeof(head) - 1 + fill, "\"}}\n", 5);
    RUN("a line of 3 MiB", steps, "R S +big ");
    free(line);
}

static void test_stop_inside(void **state)
{
    static const struct step steps[] = {
        {L0, 200, LIST("7", "", POD("a", "1") "," POD("b", "1")), WHOLE, NULL},
        {W "7&", 0,
         EVENT("MODIFIED", "a", "8") "\n" EVENT("DELETED", "a", "9") "\nrubbish\nrubbish\n", END,
         NULL},
        {W "9&", 0, "", STAY, NULL},
    };
    static const char *const wants[] = {
        "R ", "R +a ", "R +a +b S ", "R +a +b S *a ", "R +a +b S *a -a ", "R +a +b S *a -a E "};

    (void)state;
    for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++) {
        struct play play = {.steps = steps, .len = 3};
        struct seen seen = {.stop_at = "R+S*-E"[i]};
        struct kube_client *client;
        struct fake fake;

        buf_init(&seen.log, 4096);
        fake_start(&fake, serve, &play);
        client = fake_client(&fake, NULL);
        seen.watch = watch_start(client, &config, &ops, &seen);
        assert_true(fake_run(&fake, &seen.done, 5000));
        fake_pass(&fake, 30);
        assert_string_equal(buf_str(&seen.log), wants[i]);
        kube_client_free(client);
        buf_free(&seen.log);
        fake_stop(&fake);
    }
}

/* A connection that is cut now and then under a watch that is well otherwise: back at once, however
 * often. */
static void test_cuts(void **state)
{
    static const struct step steps[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 0, "", CUT, NULL},
        {W "7&", 0, "", CUT, NULL},
        {W "7&", 0, EVENT("ADDED", "a", "8") "\n", STAY, NULL},
        {W "8&", 0, EVENT("ADDED", "b", "9") "\n", STAY, NULL},
        {W "9&", 0, EVENT("ADDED", "c", "10") "\n", STAY, NULL},
    };
    static const char *const wants[] = {"R S E +a ", "R S E +a E +b ", "R S E +a E +b E +c "};
    const struct watch_config quick = {
        .path = "/api/v1/pods", .query = "fieldSelector=x", .page_limit = 2, .healthy_ms = 300};
    struct play play = {.steps = steps, .len = 6};
    struct seen seen = {0};
    struct kube_client *client;
    struct fake fake;

    (void)state;
    buf_init(&seen.log, 4096);
    fake_start(&fake, serve, &play);
    client = fake_client(&fake, NULL);
    seen.watch = watch_start(client, &quick, &ops, &seen);
    for (size_t i = 0; i < 3; i++) {
        uint64_t since = clock_mono_ms();

        if (i > 0)
            fake_send(play.conn, "", 0, true);
        seen.want = wants[i];
        seen.done = false;
        assert_true(fake_run(&fake, &seen.done, 5000));
        if (i == 0) /* cut at once: 800 ms, and then twice that */
            assert_true(play.times[3] - play.times[1] >= 2400);
        else
            assert_true(clock_mono_ms() - since < 500);
        fake_pass(&fake, 350);
    }
    watch_stop(seen.watch);
    kube_client_free(client);
    buf_free(&seen.log);
    fake_stop(&fake);
}

/* The server goes away under a running watch, and is found again soon after it is back. */
static void test_outage(void **state)
{
    static const struct step steps[] = {
        {L0, 200, LIST("7", "", ""), WHOLE, NULL},
        {W "7&", 0, EVENT("ADDED", "a", "8") "\n", CUT, NULL},
        {W "8&", 0, EVENT("ADDED", "b", "9") "\n", STAY, NULL},
    };
    struct play play = {.steps = steps, .len = 3};
    struct seen seen = {.want = "R S +a E "};
    struct kube_client *client;
    struct fake fake;
    uint64_t back;
    int port;

    (void)state;
    buf_init(&seen.log, 4096);
    fake_start(&fake, serve, &play);
    client = fake_client(&fake, NULL);
    port = fake.port;
    seen.watch = watch_start(client, &config, &ops, &seen);
    assert_true(fake_run(&fake, &seen.done, 5000));
    uv_close((uv_handle_t *)&fake.listener, NULL);
    fake_pass(&fake, 3000);
    fake_listen(&fake, port);
    back = clock_mono_ms();
    seen.want = "R S +a E +b ";
    seen.done = false;
    assert_true(fake_run(&fake, &seen.done, 5000));
    assert_true(clock_mono_ms() - back < 1000);
    watch_stop(seen.watch);
    kube_client_free(client);
    buf_free(&seen.log);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),     cmocka_unit_test(test_split_limits),
        cmocka_unit_test(test_good),      cmocka_unit_test(test_gone),
        cmocka_unit_test(test_bad_lists), cmocka_unit_test(test_bad_streams),
        cmocka_unit_test(test_big_line),  cmocka_unit_test(test_stop_inside),
        cmocka_unit_test(test_cuts),      cmocka_unit_test(test_outage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
