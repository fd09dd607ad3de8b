/* Log reading over real files and a real loop: options against a plain model, following through
 * growth, rotation and late creation, back-pressure, and closing from inside callbacks. */
#include "runtime/logs.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/logs_line.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include <cmocka.h>

#define OUT_MAX (16 << 20)
#define WAIT_MS_MAX 10000

#define STAMP "2026-11-23T05:00:00.000000001Z"

struct world {
    uv_loop_t loop;
    uv_timer_t guard; /* fails a test that waits for ever */
    bool guard_fired;
    char dir[64];
    char path[160];
    struct logs_reader *reader;
    struct buf out;
    int ends;
    int result;
    size_t take_max;    /* per on_text; 0: nothing */
    size_t close_after; /* bytes, then logs_close from inside on_text; 0: never */
    bool close_at_end;
    size_t calls;
};

static size_t on_text(void *userdata, const char *text, size_t len)
{
    struct world *w = userdata;
    size_t n = len < w->take_max ? len : w->take_max;

    w->calls++;
    assert_int_equal(w->ends, 0);
    assert_true(len > 0);
    assert_int_equal(buf_add(&w->out, text, n), 0);
    if (w->close_after && w->out.len >= w->close_after) {
        logs_close(w->reader);
        w->reader = NULL;
    }
    return n;
}

static void on_end(void *userdata, int result)
{
    struct world *w = userdata;

    w->ends++;
    w->result = result;
    if (w->close_at_end) {
        logs_close(w->reader);
        w->reader = NULL;
    }
}

static const struct logs_ops ops = {.on_text = on_text, .on_end = on_end};

static void on_guard(uv_timer_t *timer)
{
    struct world *w = timer->data;

    w->guard_fired = true;
}

static int set_up(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    assert_int_equal(uv_loop_init(&w->loop), 0);
    uv_timer_init(&w->loop, &w->guard);
    w->guard.data = w;
    str_copy(w->dir, sizeof(w->dir), "/tmp/test-logs-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    str_fmt(w->path, sizeof(w->path), "%s/pod/c/0.log", w->dir);
    w->out = BUF_INIT(OUT_MAX);
    w->take_max = SIZE_MAX;
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    logs_close(w->reader);
    uv_close((uv_handle_t *)&w->guard, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0); /* no handle was forgotten */
    assert_int_equal(file_remove_tree(w->dir), 0);
    buf_free(&w->out);
    free(w);
    return 0;
}

static void write_path(const char *path, const char *text, int flags)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void make_dir(struct world *w)
{
    char dir[160];

    str_fmt(dir, sizeof(dir), "%s/pod/c", w->dir);
    assert_int_equal(file_mkdirs(dir, 0700), 0);
}

static void append(struct world *w, const char *text)
{
    write_path(w->path, text, O_APPEND);
}

static void write_log(struct world *w, const char *text)
{
    make_dir(w);
    write_path(w->path, text, O_TRUNC);
}

static int open_log(struct world *w, struct logs_options options)
{
    return logs_open(&w->loop, w->path, &options, &ops, w, &w->reader);
}

/* Turns the loop until enough text is there, or the end, as asked. */
static void run_until(struct world *w, size_t len, int ends)
{
    w->guard_fired = false;
    uv_timer_start(&w->guard, on_guard, WAIT_MS_MAX, 0);
    while (!w->guard_fired && (w->out.len < len || w->ends < ends))
        uv_run(&w->loop, UV_RUN_ONCE);
    uv_timer_stop(&w->guard);
    assert_false(w->guard_fired);
}

/* Everything that is due now, without waiting for anything. */
static void settle(struct world *w)
{
    for (int i = 0; i < 50; i++)
        uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void read_all(struct world *w, struct logs_options options)
{
    buf_reset(&w->out);
    w->ends = 0;
    assert_int_equal(open_log(w, options), 0);
    assert_int_equal(w->calls, 0); /* not before it returned */
    run_until(w, 0, 1);
    assert_int_equal(w->ends, 1);
    assert_int_equal(w->result, 0);
    logs_close(w->reader);
    w->reader = NULL;
    w->calls = 0;
}

/* ---- one record ---- */

static void test_line(void **state)
{
    static const struct {
        const char *record;
        int result;
        bool partial;
        bool is_stderr;
        const char *text;
    } rows[] = {
        {STAMP " stdout F hello", 0, false, false, "hello"},
        {STAMP " stderr P  two  spaces ", 0, true, true, " two  spaces "},
        {STAMP " stdout F ", 0, false, false, ""},
        {STAMP " stdout F:x:y z", 0, false, false, "z"},
        {"2026-11-23T05:00:00Z stdout F z", 0, false, false, "z"},
        {"2026-11-23T06:00:00.5+01:00 stdout F z", 0, false, false, "z"},
        {STAMP " stdout F", -EINVAL, false, false, NULL},
        {STAMP " stdout FP x", -EINVAL, false, false, NULL},
        {STAMP " stdout X x", -EINVAL, false, false, NULL},
        {STAMP " stdin F x", -EINVAL, false, false, NULL},
        {STAMP "  stdout F x", -EINVAL, false, false, NULL},
        {"yesterday stdout F x", -EINVAL, false, false, NULL},
        {" stdout F x", -EINVAL, false, false, NULL},
        {STAMP, -EINVAL, false, false, NULL},
        {STAMP " ", -EINVAL, false, false, NULL},
        {"", -EINVAL, false, false, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct logs_line line = {.unix_ns = 42};

        if (logs_line_parse(rows[i].record, strlen(rows[i].record), &line) != rows[i].result)
            fail_msg("%s", rows[i].record);
        if (rows[i].result < 0) {
            assert_int_equal(line.unix_ns, 42);
            continue;
        }
        assert_int_equal(line.partial, rows[i].partial);
        assert_int_equal(line.is_stderr, rows[i].is_stderr);
        assert_int_equal(line.len, strlen(rows[i].text));
        assert_memory_equal(line.text, rows[i].text, line.len);
    }
}

/* ---- whole files ---- */

#define T(second) "2026-11-23T05:00:0" #second ".000000007Z"

static const char small[] = T(1) " stdout F one\n" T(2) " stdout P tw\n" T(3) " stdout P o\n" T(
    4) " stdout F .\nnot of the format\n" T(5) " stderr F \n" T(6) " stdout F last\n";

static void test_options(void **state)
{
    struct world *w = *state;
    const int64_t at = INT64_C(1795410000) * 1000000000; /* 2026-11-23T05:00:00Z */
    const struct {
        struct logs_options options;
        const char *want;
    } rows[] = {
        {{.tail_lines = -1, .limit_bytes = -1}, "one\ntwo.\n\nlast\n"},
        {{.tail_lines = 0, .limit_bytes = -1}, ""},
        {{.tail_lines = 1, .limit_bytes = -1}, "last\n"},
        {{.tail_lines = 2, .limit_bytes = -1}, "\nlast\n"},
        {{.tail_lines = 3, .limit_bytes = -1}, "two.\n\nlast\n"},
        {{.tail_lines = 4, .limit_bytes = -1}, "one\ntwo.\n\nlast\n"},
        {{.tail_lines = INT64_MAX, .limit_bytes = -1}, "one\ntwo.\n\nlast\n"},
        {{.tail_lines = -1, .limit_bytes = 0}, ""},
        {{.tail_lines = -1, .limit_bytes = 3}, "one"},
        {{.tail_lines = -1, .limit_bytes = 6}, "one\ntw"},
        {{.tail_lines = -1, .limit_bytes = 1000}, "one\ntwo.\n\nlast\n"},
        {{.timestamps = true, .tail_lines = 3, .limit_bytes = -1},
         T(2) " two.\n" T(5) " \n" T(6) " last\n"},
        {{.timestamps = true, .tail_lines = -1, .limit_bytes = 33}, T(1) " on"},
        {{.since_unix_ns = at + INT64_C(2000000007), .tail_lines = -1, .limit_bytes = -1},
         "two.\n\nlast\n"},
        {{.since_unix_ns = at + INT64_C(2000000008), .tail_lines = -1, .limit_bytes = -1},
         "\nlast\n"}, /* a line counts by its first part */
        {{.since_unix_ns = at + INT64_C(5500000000), .tail_lines = 3, .limit_bytes = -1}, "last\n"},
        {{.since_unix_ns = at + INT64_C(9000000000), .tail_lines = -1, .limit_bytes = -1}, ""},
    };

    write_log(w, small);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        read_all(w, rows[i].options);
        assert_string_equal(buf_str(&w->out), rows[i].want);
    }
}

static void test_ends(void **state)
{
    struct world *w = *state;
    static const char *const rows[][3] = {
        /* file, all, tail 1 */
        {"", "", ""},
        {"no newline", "", ""},
        {"\n\n\n", "", ""},
        {STAMP " stdout F a\n" STAMP " stdout F half", "a\n", "a\n"},
        {STAMP " stdout F a\n" STAMP " stdout P login: \n", "a\nlogin: ", "login: "},
        {STAMP " stdout P a\n" STAMP " stdout P b\n", "ab", "ab"},
        {STAMP " stdout F a\njunk\n", "a\n", "a\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        write_log(w, rows[i][0]);
        read_all(w, (struct logs_options){.tail_lines = -1, .limit_bytes = -1});
        assert_string_equal(buf_str(&w->out), rows[i][1]);
        read_all(w, (struct logs_options){.tail_lines = 1, .limit_bytes = -1});
        assert_string_equal(buf_str(&w->out), rows[i][2]);
    }
}

/* A file of many blocks, lines of all lengths, some in parts; the tail of each size must be what
 * the same lines give when they are simply counted. */
static void test_large(void **state)
{
    enum { LINES = 3000 };
    struct world *w = *state;
    CLEANUP(buf) struct buf file = BUF_INIT(OUT_MAX);
    CLEANUP(buf) struct buf want = BUF_INIT(OUT_MAX);
    CLEANUP(free) size_t *starts = xcalloc(LINES + 1, sizeof(*starts));
    static const int tails[] = {0, 1, 2, 3, 10, 100, 573, 574, 1000, 2998, 2999, 3000, 3001, 99999};
    unsigned int seed = 99;

    for (int i = 0; i < LINES; i++) {
        starts[i] = want.len;
        for (int part = 0; part < 3; part++) {
            bool last = part == 2 || (seed >> 20) % 3 == 0;
            char text[400];
            size_t len;

            seed = seed * 1103515245 + 12345;
            len = (seed >> 16) % (sizeof(text) - 1);
            memset(text, 'a' + i % 26, len);
            text[len] = '\0';
            buf_addf(&file, "%s stdout %c %s\n", STAMP, last ? 'F' : 'P', text);
            buf_addf(&want, "%s%s", text, last ? "\n" : "");
            if (last)
                break;
        }
    }
    starts[LINES] = want.len;
    assert_true(file.len > 10 * 65536);
    write_log(w, buf_str(&file));
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        int from = tails[i] < LINES ? LINES - tails[i] : 0;

        read_all(w, (struct logs_options){.tail_lines = tails[i], .limit_bytes = -1});
        assert_string_equal(buf_str(&w->out), want.data + starts[from]);
    }
    read_all(w, (struct logs_options){.tail_lines = -1, .limit_bytes = 300000});
    assert_int_equal(w->out.len, 300000);
    assert_memory_equal(w->out.data, want.data, 300000);
}

static void test_overlong(void **state)
{
    struct world *w = *state;
    CLEANUP(buf) struct buf file = BUF_INIT(OUT_MAX);

    buf_addf(&file, "%s stdout F first\n%s stdout F ", STAMP, STAMP);
    for (int i = 0; i < 200000; i++)
        buf_addc(&file, 'x');
    buf_addf(&file, "\n%s stdout F after\n", STAMP);
    write_log(w, buf_str(&file));
    read_all(w, (struct logs_options){.tail_lines = -1, .limit_bytes = -1});
    assert_string_equal(buf_str(&w->out), "first\nafter\n");
}

static void test_refused(void **state)
{
    struct world *w = *state;
    const struct logs_options options = {.tail_lines = -1, .limit_bytes = -1};

    assert_int_equal(open_log(w, options), -ENOENT);
    assert_null(w->reader);
    make_dir(w);
    assert_int_equal(open_log(w, options), -ENOENT);
    assert_int_equal(mkdir(w->path, 0700), 0);
    assert_int_equal(open_log(w, options), -EINVAL); /* a directory is no log */
    assert_int_equal(rmdir(w->path), 0);
    assert_int_equal(mkfifo(w->path, 0600), 0);
    assert_int_equal(open_log(w, options), -EINVAL); /* and this did not block */
    logs_close(NULL);
    logs_resume(NULL);
    logs_container_ended(NULL);
}

/* ---- pressure and closing ---- */

static void test_pressure(void **state)
{
    struct world *w = *state;
    size_t before = 0;

    write_log(w, small);
    w->take_max = 3;
    assert_int_equal(
        open_log(w, (struct logs_options){.follow = true, .tail_lines = -1, .limit_bytes = -1}), 0);
    run_until(w, 15, 0); /* three bytes a call are a slow receiver, not a full one */
    assert_string_equal(buf_str(&w->out), "one\ntwo.\n\nlast\n");
    w->take_max = 0;
    w->calls = 0;
    append(w, T(7) " stdout F more\n");
    while (w->calls == 0)
        uv_run(&w->loop, UV_RUN_ONCE);
    append(w, T(7) " stdout F and more\n");
    settle(w);
    assert_int_equal(w->calls, 1); /* full: no second offer, no spinning, whatever the file does */
    assert_false(uv_backend_timeout(&w->loop) == 0);
    logs_container_ended(w->reader);
    settle(w);
    assert_int_equal(w->ends, 0);
    w->take_max = 4;
    before = w->out.len;
    logs_resume(w->reader);
    run_until(w, 0, 1);
    assert_string_equal(w->out.data + before, "more\nand more\n");
    assert_int_equal(w->ends, 1);
    logs_resume(w->reader); /* after the end nothing happens */
    logs_container_ended(w->reader);
    settle(w);
    assert_int_equal(w->ends, 1);
}

static void test_close_inside(void **state)
{
    struct world *w = *state;

    write_log(w, small);
    w->take_max = 2;
    w->close_after = 4;
    assert_int_equal(open_log(w, (struct logs_options){.tail_lines = -1, .limit_bytes = -1}), 0);
    run_until(w, 4, 0);
    settle(w);
    assert_int_equal(w->out.len, 4);
    assert_int_equal(w->ends, 0);
    w->close_after = 0;
    w->close_at_end = true;
    assert_int_equal(open_log(w, (struct logs_options){.tail_lines = -1, .limit_bytes = -1}), 0);
    run_until(w, 0, 1);
    settle(w);
    assert_int_equal(w->ends, 1);
}

/* ---- following ---- */

static const struct logs_options follow = {.follow = true, .tail_lines = -1, .limit_bytes = -1};

static void test_follow(void **state)
{
    struct world *w = *state;

    write_log(w, T(1) " stdout F one\n");
    assert_int_equal(open_log(w, follow), 0);
    run_until(w, 4, 0);
    append(w, T(2) " stdout F tw"); /* half a record waits for its other half */
    settle(w);
    assert_string_equal(buf_str(&w->out), "one\n");
    append(w, "o\n" T(3) " stdout P lo");
    run_until(w, 8, 0);
    append(w, "gin: \n");
    run_until(w, 15, 0);
    assert_string_equal(buf_str(&w->out), "one\ntwo\nlogin: ");
    append(w, T(4) " stdout F root\n");
    logs_container_ended(w->reader);
    run_until(w, 0, 1);
    assert_string_equal(buf_str(&w->out), "one\ntwo\nlogin: root\n");
    assert_int_equal(w->result, 0);
}

static void test_follow_tail(void **state)
{
    struct world *w = *state;
    struct logs_options options = follow;

    write_log(w, small);
    options.tail_lines = 0;
    options.limit_bytes = 6;
    assert_int_equal(open_log(w, options), 0);
    settle(w);
    assert_int_equal(w->out.len, 0);
    append(w, T(7) " stdout F new\n" T(7) " stdout F newer\n");
    run_until(w, 0, 1); /* the limit ends it, though the container runs */
    assert_string_equal(buf_str(&w->out), "new\nne");
}

static void test_late_file(void **state)
{
    struct world *w = *state;
    char dir[160];

    assert_int_equal(open_log(w, follow), 0); /* neither pod/ nor pod/c/ is there */
    settle(w);
    str_fmt(dir, sizeof(dir), "%s/pod", w->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    settle(w);
    str_fmt(dir, sizeof(dir), "%s/pod/c", w->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    settle(w);
    append(w, T(1) " stdout F one\n");
    run_until(w, 4, 0);
    append(w, T(1) " stdout F two\n");
    run_until(w, 8, 0);
    assert_string_equal(buf_str(&w->out), "one\ntwo\n");
    /* The whole directory is replaced, as after a Pod of the same name came back. */
    str_fmt(dir, sizeof(dir), "%s/pod", w->dir);
    assert_int_equal(file_remove_tree(dir), 0);
    settle(w);
    make_dir(w);
    append(w, T(1) " stdout F three\n");
    run_until(w, 14, 0);
    assert_string_equal(buf_str(&w->out), "one\ntwo\nthree\n");
}

static void test_never_made(void **state)
{
    struct world *w = *state;

    assert_int_equal(open_log(w, follow), 0);
    settle(w);
    logs_container_ended(w->reader);
    run_until(w, 0, 1);
    assert_int_equal(w->result, 0);
    assert_int_equal(w->out.len, 0);
}

static void test_rotation(void **state)
{
    struct world *w = *state;
    char old[200];

    write_log(w, T(1) " stdout F one\n");
    str_fmt(old, sizeof(old), "%s.20261123-050000", w->path);
    assert_int_equal(open_log(w, follow), 0);
    run_until(w, 4, 0);
    assert_int_equal(rename(w->path, old), 0);
    settle(w);
    /* The writer still has the old file open. */
    write_path(old, T(2) " stdout F two\n" T(2) " stdout P thr\n", O_APPEND);
    run_until(w, 11, 0);
    write_path(old, T(2) " stdout P e\n", O_APPEND);
    append(w, T(3) " stdout F e\n" T(3) " stdout F four\n");
    run_until(w, 19, 0);
    assert_string_equal(buf_str(&w->out), "one\ntwo\nthree\nfour\n");
    append(w, T(4) " stdout F five\n");
    run_until(w, 24, 0);
    /* And again, with the end of the container at once. */
    assert_int_equal(rename(w->path, old), 0);
    write_path(old, T(5) " stdout F six\n", O_APPEND);
    append(w, T(6) " stdout F seven\n");
    logs_container_ended(w->reader);
    run_until(w, 0, 1);
    assert_string_equal(buf_str(&w->out), "one\ntwo\nthree\nfour\nfive\nsix\nseven\n");
}

static void test_truncation(void **state)
{
    struct world *w = *state;

    write_log(w, T(1) " stdout F one\n" T(1) " stdout F two\n");
    assert_int_equal(open_log(w, follow), 0);
    run_until(w, 8, 0);
    assert_int_equal(truncate(w->path, 0), 0);
    settle(w);
    append(w, T(2) " stdout F three\n");
    run_until(w, 14, 0);
    assert_string_equal(buf_str(&w->out), "one\ntwo\nthree\n");
}

/* Several followers of one file are independent, and all of a quiet follower's turns end. */
static void test_two_readers(void **state)
{
    struct world *w = *state;
    struct world other = {.take_max = SIZE_MAX, .out = BUF_INIT(OUT_MAX)};
    const struct logs_options options = follow;

    write_log(w, T(1) " stdout F one\n");
    assert_int_equal(open_log(w, options), 0);
    assert_int_equal(logs_open(&w->loop, w->path, &options, &ops, &other, &other.reader), 0);
    run_until(w, 4, 0);
    settle(w);
    assert_string_equal(buf_str(&other.out), "one\n");
    assert_int_equal(uv_backend_timeout(&w->loop), -1); /* asleep */
    logs_close(w->reader);
    w->reader = NULL;
    append(w, T(2) " stdout F two\n");
    logs_container_ended(other.reader);
    while (other.ends == 0)
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_string_equal(buf_str(&other.out), "one\ntwo\n");
    assert_string_equal(buf_str(&w->out), "one\n");
    logs_close(other.reader);
    buf_free(&other.out);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        TEST(test_options),
        TEST(test_ends),
        TEST(test_large),
        TEST(test_overlong),
        TEST(test_refused),
        TEST(test_pressure),
        TEST(test_close_inside),
        TEST(test_follow),
        TEST(test_follow_tail),
        TEST(test_late_file),
        TEST(test_never_made),
        TEST(test_rotation),
        TEST(test_truncation),
        TEST(test_two_readers),
    };

    return cmocka_run_group_tests_name("logs", tests, NULL, NULL);
}
