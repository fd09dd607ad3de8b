/* What a shim does on its own while nobody looks: it keeps a flooding guest's log within its
 * bounds, and ends a VMM that says its machine cannot go on but stays. */
#include "instance_fixture.h"

#include "runtime/shim/shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

/* The shim is not part of the library: its pure parts are compiled in here, under the sanitizers.
 */
#include "runtime/shim/console.c"
#include "runtime/shim/vmmlog.c"

#define NOW_NS 1795413600123456789LL /* 2026-11-23T06:00:00.123456789Z */
#define LINE "forty bytes with its stamp, tag and more\n"

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names below dir, sorted, each followed by a newline. */
static char *names_of(const char *dir)
{
    CLEANUP(closedir) DIR *handle = opendir(dir);
    struct buf out = BUF_INIT(1 << 16);
    struct dirent *entry;
    char *names[128];
    size_t len = 0;

    assert_non_null(handle);
    while ((entry = readdir(handle))) {
        if (entry->d_name[0] != '.' && len < ARRAY_LEN(names))
            names[len++] = xstrdup(entry->d_name);
    }
    qsort(names, len, sizeof(names[0]), by_name);
    for (size_t i = 0; i < len; i++) {
        (void)buf_addf(&out, "%s\n", names[i]);
        free(names[i]);
    }
    return buf_take(&out);
}

struct logs {
    char dir[64];
    char path[128];
    struct console console;
};

static struct logs *logs_new(uint64_t bytes_max, size_t files_max)
{
    struct logs *logs = xcalloc(1, sizeof(*logs));

    str_copy(logs->dir, sizeof(logs->dir), "/tmp/unik-logs-XXXXXX");
    assert_non_null(mkdtemp(logs->dir));
    str_fmt(logs->path, sizeof(logs->path), "%s/0.log", logs->dir);
    logs->console.fd = -1;
    logs->console.path = logs->path;
    logs->console.bytes_max = bytes_max;
    logs->console.files_max = files_max;
    assert_int_equal(console_open(&logs->console), 0);
    return logs;
}

static void logs_delete(struct logs *logs)
{
    (void)close(logs->console.fd);
    assert_int_equal(file_remove_tree(logs->dir), 0);
    free(logs);
}

static void feed(struct logs *logs, const char *text, int64_t now_ns)
{
    memcpy(logs->console.in, text, strlen(text));
    console_feed(&logs->console, strlen(text), now_ns);
}

static void assert_names(const struct logs *logs, const char *want)
{
    CLEANUP(free) char *names = names_of(logs->dir);

    assert_string_equal(names, want);
}

/* A line is 81 bytes in the file: two fit into 200. */
static void test_rotation(void **state)
{
    struct logs *logs = logs_new(200, 3);

    (void)state;
    feed(logs, LINE, NOW_NS);
    feed(logs, LINE, NOW_NS);
    assert_names(logs, "0.log\n");
    feed(logs, LINE, NOW_NS);
    assert_names(logs, "0.log\n0.log.20261123-060000\n");
    /* In the same second, and after the clock went back: another name, and a later one. */
    feed(logs, LINE, NOW_NS);
    feed(logs, LINE, NOW_NS);
    assert_names(logs, "0.log\n0.log.20261123-060000\n0.log.20261123-060001\n");
    feed(logs, LINE, NOW_NS);
    feed(logs, LINE, NOW_NS - 3600 * NS_PER_S);
    assert_names(logs, "0.log\n0.log.20261123-060001\n0.log.20261123-060002\n");
    feed(logs, LINE, NOW_NS);
    feed(logs, LINE, NOW_NS + 60 * NS_PER_S);
    assert_names(logs, "0.log\n0.log.20261123-060002\n0.log.20261123-060100\n");
    logs_delete(logs);
}

/* What a former agent's shim of the same attempt, or anybody, wrote counts. */
static void test_rotation_of_a_full_file(void **state)
{
    struct logs *logs = logs_new(200, 2);

    (void)state;
    for (int i = 0; i < 2; i++)
        feed(logs, LINE, NOW_NS);
    assert_int_equal(console_open(&logs->console), 0);
    feed(logs, LINE, NOW_NS);
    assert_names(logs, "0.log\n0.log.20261123-060000\n");
    for (int i = 0; i < 2; i++)
        feed(logs, LINE, NOW_NS);
    assert_names(logs, "0.log\n0.log.20261123-060001\n");
    logs_delete(logs);
}

/* The file was removed by hand: a new one. The directory was: no text, and no growth. */
static void test_rotation_of_nothing(void **state)
{
    struct logs *logs = logs_new(200, 3);
    struct stat info;

    (void)state;
    for (int i = 0; i < 2; i++)
        feed(logs, LINE, NOW_NS);
    assert_int_equal(unlink(logs->path), 0);
    feed(logs, LINE, NOW_NS);
    assert_names(logs, "0.log\n");
    assert_int_equal(file_remove_tree(logs->dir), 0);
    for (int i = 0; i < 100; i++)
        feed(logs, LINE, NOW_NS);
    assert_int_equal(fstat(logs->console.fd, &info), 0);
    assert_true(info.st_size <= 200);
    assert_int_equal(logs->console.drop_code, -ENOENT);
    assert_int_equal(mkdir(logs->dir, 0700), 0);
    feed(logs, LINE, NOW_NS); /* and when it is there again, the log says what is missing */

    CLEANUP(buf) struct buf text = BUF_INIT(4096);

    assert_int_equal(file_read(logs->path, &text), 0);
    assert_non_null(strstr(buf_str(&text), "bytes of console output were lost"));
    logs_delete(logs);
}

static void test_no_limit(void **state)
{
    struct logs *logs = logs_new(0, 0);

    (void)state;
    for (int i = 0; i < 100; i++)
        feed(logs, LINE, NOW_NS);
    assert_names(logs, "0.log\n");
    logs_delete(logs);
}

static void test_find(void **state)
{
    static const char *const texts[] = {"KVM internal error", "KVM: entry failed"};
    static const struct {
        const char *in;
        const char *line;
    } cases[] = {
        {"", NULL},
        {"qemu: warning: KVM internal\nerror", NULL},
        {"KVM internal error", "KVM internal error"},
        {"KVM internal error. Suberror: 1\nEAX=0\n", "KVM internal error. Suberror: 1"},
        {"x\nqemu: KVM: entry failed, hardware error 0x0\n",
         "KVM: entry failed, hardware error 0x0"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct vmmlog log = {.fd = -1};
        const char *line = NULL;
        size_t len;

        tail_add(log.tail, &log.tail_len, sizeof(log.tail), cases[i].in, strlen(cases[i].in));
        len = vmmlog_find(&log, texts, ARRAY_LEN(texts), &line);
        assert_int_equal(len, cases[i].line ? strlen(cases[i].line) : 0);
        if (cases[i].line)
            assert_memory_equal(line, cases[i].line, len);
    }
}

/* A live flood: five times the bound, and the last line is there. */
static void test_flood_is_bounded(void **state)
{
    struct world world;
    struct seen seen = {0};
    size_t files = 0;
    size_t bytes = 0;

    (void)state;
    world_open(&world);
    world.config.log_bytes_max = 1 << 20;
    world.config.log_files_max = 3;
    world_reopen(&world);
    launch_running(&world, 1, "fake.flood=16384 fake.print=last fake.code=3", &seen);
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.exit_code, 3);

    CLEANUP(free) char *dir = xasprintf("%s/log/1", world.base);
    CLEANUP(free) char *names = names_of(dir);
    CLEANUP(free) char *log = log_text(&world, 1);
    struct err err;

    for (char *at = names; *at; files++) {
        size_t len = strcspn(at, "\n");
        CLEANUP(free) char *path = xasprintf("%s/%.*s", dir, (int)len, at);
        struct stat info;

        assert_int_equal(stat(path, &info), 0);
        assert_true(info.st_size <= 1 << 20);
        bytes += (size_t)info.st_size;
        at += len + 1;
    }
    assert_int_equal(files, 3);
    assert_true(bytes > 2 << 20);
    assert_true(str_ends(log, "stdout F last\n"));
    instance_release(seen.instance);
    assert_int_equal(instance_remove(world.all, test_id(1), &err), 0);
    world_close(&world);
}

static void assert_crash(const struct seen *seen)
{
    assert_int_equal(seen->exited, 1);
    assert_int_equal(seen->lost + seen->failed, 0);
    assert_int_equal(seen->end.exit.exit_code, 134);
    assert_int_equal(seen->end.exit.signal, 0);
    assert_string_equal(seen->end.exit.reason, "Error");
    assert_non_null(strstr(seen->end.exit.message, "the machine cannot go on: "
                                                   "fake: stuck. Suberror: 1"));
    assert_null(strstr(seen->end.exit.message, "EIP"));
}

static void test_stuck(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "fake.stuck fake.deaf", &seen);
    WAIT_FOR(&world, seen.exited);
    assert_crash(&seen);
    instance_release(seen.instance);
    assert_int_equal(instance_remove(world.all, test_id(1), &err), 0);
    world_close(&world);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer; /* it only turns the loop */
}

/* The agent is away: the record tells it. */
static void test_stuck_meanwhile(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen again = {0};
    struct err err = {0};
    char path[PATH_MAX];
    uv_timer_t tick;

    (void)state;
    world_open(&world);
    assert_int_equal(launch(&world, 1, "fake.stuck", &seen, &err), 0);
    instance_release(seen.instance);
    world_reopen(&world);
    assert_int_equal(instance_path(world.all, test_id(1), SHIM_FILE_EXIT, path, sizeof(path)), 0);
    (void)uv_timer_init(&world.loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 5, 5);
    WAIT_FOR(&world, access(path, F_OK) == 0); /* nobody is told: the agent is away */
    uv_close((uv_handle_t *)&tick, NULL);
    assert_int_equal(
        instance_adopt(world.all, test_id(1), &seen_ops, &again, &again.instance, &err), 0);
    WAIT_FOR(&world, again.exited || again.lost || again.failed);
    assert_crash(&again);
    instance_release(again.instance);
    assert_int_equal(instance_remove(world.all, test_id(1), &err), 0);
    world_close(&world);
}

/* An agent that says its command and dies, without having read what the shim told it. */
static void test_last_word(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct pollfd status;
    struct err err;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    status = (struct pollfd){.fd = instance_connect(world.all, test_id(1)), .events = POLLIN};
    assert_true(status.fd >= 0);
    assert_int_equal(poll(&status, 1, WATCHDOG_MS), 1);
    assert_int_equal(instance_command(status.fd, SHIM_CMD_KILL, SIGKILL), 0);
    assert_int_equal(close(status.fd), 0);
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.signal, 9);
    instance_release(seen.instance);
    assert_int_equal(instance_remove(world.all, test_id(1), &err), 0);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_rotation_of_a_full_file),
        cmocka_unit_test(test_rotation_of_nothing),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_flood_is_bounded),
        cmocka_unit_test(test_last_word),
        cmocka_unit_test(test_stuck),
        cmocka_unit_test(test_stuck_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
