/* The shim itself: its console writer as tables of bytes, and what only a live one shows: a flood,
 * a prompt, input, rotation, a full disk, the tap in a namespace of its own. */
#include "instance_fixture.h"

#include "runtime/cgroup.h"
#include "runtime/network.h"
#include "runtime/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* The shim is not part of the library: its pure parts are compiled in here, under the sanitizers.
 */
#include "runtime/shim/console.c"
#include "runtime/shim/vmmlog.c"

#define NOW_NS 1795413600123456789LL /* 2026-11-23T06:00:00.123456789Z */
#define STAMP "2026-11-23T06:00:00.123456789Z stdout "

static void feed(struct console *console, const char *text, size_t len)
{
    while (len > 0) {
        size_t n = len < sizeof(console->in) ? len : sizeof(console->in);

        memcpy(console->in, text, n);
        console_feed(console, n, NOW_NS);
        text += n;
        len -= n;
    }
}

static struct console *new_console(char *path)
{
    struct console *console = xcalloc(1, sizeof(*console));
    int fd;

    str_copy(path, 64, "/tmp/unik-console-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    console->fd = -1;
    console->path = path;
    assert_int_equal(console_open(console), 0);
    return console;
}

static char *end_console(struct console *console)
{
    struct buf text = BUF_INIT(1 << 20);

    (void)close(console->fd);
    assert_int_equal(file_read(console->path, &text), 0);
    (void)unlink(console->path);
    free(console);
    return buf_take(&text);
}

static void test_lines(void **state)
{
    /* '|' is a moment of silence, the end of the text the end of the machine. */
    static const struct {
        const char *in;
        const char *out;
    } cases[] = {
        {"", ""},
        {"a\n", STAMP "F a\n"},
        {"a\r\nb\r\n", STAMP "F a\n" STAMP "F b\n"},
        {"\n\r\n", STAMP "F \n" STAMP "F \n"},
        {"a\rb\n", STAMP "F a\rb\n"},
        {"no newline", STAMP "F no newline\n"},
        {"login: |", STAMP "P login: \n" STAMP "F \n"},
        {"login: |root\n", STAMP "P login: \n" STAMP "F root\n"},
        {"a|b|c\n", STAMP "P a\n" STAMP "P b\n" STAMP "F c\n"},
        {"a\r|\nb\n", STAMP "P a\n" STAMP "F \n" STAMP "F b\n"},
        {"a\n|", STAMP "F a\n"},
        {"\r|", ""},
        {"||", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[64];
        struct console *console = new_console(path);

        for (const char *at = cases[i].in; *at;) {
            size_t n = strcspn(at, "|");

            feed(console, at, n);
            at += n;
            if (*at == '|') {
                console_silence(console, NOW_NS);
                assert_false(console_waits(console));
                at++;
            }
        }
        console_finish(console, NOW_NS);

        CLEANUP(free) char *out = end_console(console);

        assert_string_equal(out, cases[i].out);
    }
}

static void test_long_line(void **state)
{
    char path[64];
    struct console *console = new_console(path);
    CLEANUP(free) char *text = xmalloc(40001);
    size_t parts = 0;
    size_t total = 0;

    (void)state;
    memset(text, 'x', 40000);
    text[40000] = '\n';
    feed(console, text, 40001);
    console_finish(console, NOW_NS);

    CLEANUP(free) char *out = end_console(console);

    for (char *at = out; *at; at = strchr(at, '\n') + 1) {
        size_t len = strcspn(at, "\n") - strlen(STAMP) - 2;
        char tag = at[strlen(STAMP)];

        assert_int_equal(strncmp(at, STAMP, strlen(STAMP)), 0);
        assert_int_equal(tag, total + len == 40000 ? 'F' : 'P');
        assert_true(len <= CONSOLE_LINE_MAX);
        total += len;
        parts++;
    }
    assert_int_equal(total, 40000);
    assert_int_equal(parts, 3);
}

static void test_stamps(void **state)
{
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000000Z"},
        {951782400000000000LL, "2000-02-29T00:00:00.000000000Z"},
        {951868799999999999LL, "2000-02-29T23:59:59.999999999Z"},
        {951868800000000000LL, "2000-03-01T00:00:00.000000000Z"},
        {1767225599000000001LL, "2025-12-31T23:59:59.000000001Z"},
        {4107542400000000000LL, "2100-03-01T00:00:00.000000000Z"},
        {NOW_NS, "2026-11-23T06:00:00.123456789Z"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char want[64];
        char got[64];

        str_fmt(want, sizeof(want), "%s stderr ", cases[i].text);
        assert_int_equal(format_stamp(got, sizeof(got), cases[i].ns, "stderr"), strlen(want));
        assert_string_equal(got, want);
    }
}

static void test_tail(void **state)
{
    char tail[8];
    size_t len = 0;

    (void)state;
    tail_add(tail, &len, sizeof(tail), "abc", 3);
    tail_add(tail, &len, sizeof(tail), "defgh", 5);
    assert_memory_equal(tail, "abcdefgh", 8);
    tail_add(tail, &len, sizeof(tail), "ij", 2);
    assert_memory_equal(tail, "cdefghij", 8);
    tail_add(tail, &len, sizeof(tail), "0123456789", 10);
    assert_memory_equal(tail, "23456789", 8);
    assert_int_equal(len, 8);
}

/* The disk is full, and then it is not: no half lines, and the loss is written down. */
static void test_full_disk(void **state)
{
    char path[64] = "/tmp/unik-full-XXXXXX";
    char file[128];
    char filler[128];
    struct console *console;
    CLEANUP(buf) struct buf text = BUF_INIT(1 << 20);
    CLEANUP(free) char *big = xmalloc(200000);

    (void)state;
    assert_non_null(mkdtemp(path));
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", path, "tmpfs", 0, "size=64k") < 0) {
        (void)rmdir(path);
        skip();
    }
    str_fmt(file, sizeof(file), "%s/log", path);
    str_fmt(filler, sizeof(filler), "%s/filler", path);
    console = xcalloc(1, sizeof(*console));
    console->fd = -1;
    console->path = file;
    assert_int_equal(console_open(console), 0);
    feed(console, "first\n", 6);
    memset(big, 'x', 200000);
    (void)file_write_atomic(filler, big, 40000, 0600);
    for (int i = 0; i < 20; i++)
        feed(console, "a line that finds no room or does, as the disk has it: it is whole\n", 67);
    for (int i = 0; i < 200; i++) {
        feed(console, big, 1000);
        feed(console, "\n", 1);
    }
    assert_true(console->dropped > 0);
    assert_int_equal(unlink(filler), 0);
    feed(console, "last\n", 5);
    assert_int_equal(console->dropped, 0);
    assert_int_equal(file_read(file, &text), 0);
    for (const char *at = buf_str(&text); *at; at = strchr(at, '\n') + 1) {
        assert_int_equal(strncmp(at, "2026-11-23T06:00:00.123456789Z std", 34), 0);
        assert_non_null(strchr(at, '\n')); /* every line is whole */
    }
    assert_non_null(strstr(buf_str(&text), " bytes of console output were lost: No space left"));
    assert_non_null(strstr(buf_str(&text), "stdout F last\n"));
    (void)close(console->fd);
    free(console);
    assert_int_equal(umount2(path, MNT_DETACH), 0);
    assert_int_equal(rmdir(path), 0);
}

static void test_flood(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen flood = {0};
    uint64_t start_ns;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "fake.flood=16384 fake.code=3", &flood);
    /* Its shim still answers: an adoption in the middle of the flood gets its status. */
    launch_running(&world, 2, "fake.flood=1000000", &seen);
    world.all->config.vmm = &vmm_fake;
    start_ns = uv_hrtime();
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.exited);
    assert_true(uv_hrtime() - start_ns < 3000000000ULL); /* by its shim, not by the kill timer */
    assert_int_equal(seen.end.exit.signal, 9);
    WAIT_FOR(&world, flood.exited);
    assert_int_equal(flood.end.exit.exit_code, 3);

    CLEANUP(free) char *log = log_text(&world, 1);
    size_t lines = 0;

    for (const char *at = log; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 1 + 16384 * 16);
    instance_release(flood.instance);
    instance_release(seen.instance);
    world_close(&world);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer; /* it only turns the loop */
}

/* Waits for text in a log file, of whose writing nothing tells. */
static bool log_has(const struct world *world, int n, const char *want)
{
    CLEANUP(buf) struct buf text = BUF_INIT(64 * 1024 * 1024); /* a flood's log, whole */

    return file_read(log_path(world, n), &text) == 0 && strstr(buf_str(&text), want);
}

/* Nothing on the loop tells of a line in a file: a tick turns it, the watchdog bounds it. */
static void wait_for_text(struct world *world, int n, const char *want)
{
    uv_timer_t tick;

    (void)uv_timer_init(&world->loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 5, 5);
    WAIT_FOR(world, log_has(world, n, want));
    uv_close((uv_handle_t *)&tick, NULL);
    (void)uv_run(&world->loop, UV_RUN_NOWAIT);
}

static void say(int fd, enum shim_type type, int value, const char *text, size_t len)
{
    struct shim_msg msg = {.version = SHIM_PROTO_VERSION,
                           .type = (uint8_t)type,
                           .text_at = SHIM_MSG_HEAD,
                           .text_len = (uint16_t)len,
                           .value = value};

    memcpy(msg.text, text, len);
    assert_int_equal(send(fd, &msg, SHIM_MSG_HEAD + len, 0), SHIM_MSG_HEAD + len);
}

static struct shim_msg hear(int fd, enum shim_type type)
{
    struct shim_msg msg = {0};
    struct pollfd in = {.fd = fd, .events = POLLIN};

    do {
        assert_int_equal(poll(&in, 1, WATCHDOG_MS), 1);
        assert_true(recv(fd, &msg, sizeof(msg), 0) >= (ssize_t)SHIM_MSG_HEAD);
    } while (msg.type != type);
    return msg;
}

static void test_protocol(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct shim_msg msg;
    char old[PATH_MAX];
    int fd;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "fake.echo fake.prompt=login:", &seen);
    wait_for_text(&world, 1, "P login:\n"); /* a prompt is seen without a newline */
    fd = instance_connect(world.all, test_id(1));
    assert_true(fd >= 0);
    msg = hear(fd, SHIM_STATUS);
    assert_int_equal(msg.version, SHIM_PROTO_VERSION);
    assert_int_equal(msg.vmm_pid, instance_pid(seen.instance));
    assert_int_equal(msg.started_ns / 1000000, seen.started_ms);
    assert_int_equal(send(fd, "\1", 1, 0), 1); /* too short: ignored */
    say(fd, (enum shim_type)200, 0, "", 0);    /* unknown: ignored */
    say(fd, SHIM_CMD_INPUT, 0, "root\n", 5);
    assert_int_equal(hear(fd, SHIM_INPUT_TAKEN).value, 5);
    wait_for_text(&world, 1, "F root\n");
    /* Rotation: the old file is renamed, the new one gets what follows. */
    str_fmt(old, sizeof(old), "%s.1", log_path(&world, 1));
    assert_int_equal(rename(log_path(&world, 1), old), 0);
    say(fd, SHIM_CMD_REOPEN, 0, "", 0);
    assert_int_equal(hear(fd, SHIM_REOPENED).value, 0);
    assert_int_equal(instance_reopen_log(seen.instance), 0); /* a second time changes nothing */
    say(fd, SHIM_CMD_INPUT, 0, "again\n", 6);
    wait_for_text(&world, 1, "F again\n");

    CLEANUP(free) char *log = log_text(&world, 1);

    assert_string_equal(log, "stdout F again\n");
    say(fd, SHIM_CMD_KILL, SIGKILL, "", 0);
    msg = hear(fd, SHIM_EXITED);
    assert_true(WIFSIGNALED(msg.value));
    (void)close(fd);
    WAIT_FOR(&world, seen.exited);
    instance_release(seen.instance);
    world_close(&world);
}

/* A guest that never reads its console: the queue is bounded, the rest is refused, nothing blocks.
 */
static void test_input_bounded(void **state)
{
    struct world world;
    struct seen seen = {0};
    char block[SHIM_TEXT_MAX];
    size_t taken = 0;
    int last = 0;
    int fd;

    (void)state;
    memset(block, 'x', sizeof(block));
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    fd = instance_connect(world.all, test_id(1));
    assert_true(fd >= 0);
    for (int i = 0; i < 400; i++) {
        say(fd, SHIM_CMD_INPUT, 0, block, sizeof(block));
        last = hear(fd, SHIM_INPUT_TAKEN).value;
        taken += (size_t)last;
    }
    assert_int_equal(last, 0);
    assert_in_range(taken, 65536, 65536 + SHIM_INPUT_MAX); /* a pipe, and the queue */
    (void)close(fd);
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.exited);
    instance_release(seen.instance);
    world_close(&world);
}

/* A persistent tap in a namespace that is bound to a file; false where that is forbidden. */
static bool make_netns(const char *path, bool tap)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    CLEANUP(close) int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    CLEANUP(close) int file = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    CLEANUP(close) int tun = -1;
    bool ok = unshare(CLONE_NEWNET) == 0 &&
              mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) == 0;

    (void)file; /* only there to be mounted over */
    str_copy(request.ifr_name, sizeof(request.ifr_name), NETWORK_TAP_NAME);
    if (ok && tap) {
        tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
        ok = tun >= 0 && ioctl(tun, TUNSETIFF, &request) == 0 && ioctl(tun, TUNSETPERSIST, 1) == 0;
    }
    assert_int_equal(setns(home, CLONE_NEWNET), 0);
    return ok;
}

static int launch_in_netns(struct world *world, int n, const char *netns, struct seen *seen)
{
    struct err err = {0};
    struct instance_spec spec = {
        .id = test_id(n),
        .pod_uid = "u",
        .container = "c",
        .netns = netns,
        .log_path = log_path(world, n),
        .guest = guest_find("linux"),
        .machine = {.kernel = "/k", .cmdline = "", .name = "n", .mac = "02:00:00:00:00:01"},
        .cpu_limit_milli = -1,
        .cpu_request_milli = -1,
    };

    return instance_launch(world->all, &spec, &seen_ops, seen, &seen->instance, &err);
}

static void link_of(pid_t pid, const char *what, char *ret)
{
    char path[64];
    ssize_t n;

    str_fmt(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    n = readlink(path, ret, PATH_MAX - 1);
    assert_true(n > 0);
    ret[n] = '\0';
}

static void test_tap(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen again = {0};
    char netns[PATH_MAX];
    char ours[PATH_MAX];
    char theirs[PATH_MAX];
    char bare[PATH_MAX];

    (void)state;
    world_open(&world);
    str_fmt(netns, sizeof(netns), "%s/netns", world.base);
    str_fmt(bare, sizeof(bare), "%s/bare", world.base);
    if (!make_netns(netns, true) || !make_netns(bare, false)) {
        (void)umount2(netns, MNT_DETACH);
        world_close(&world);
        skip();
    }
    assert_int_equal(launch_in_netns(&world, 1, netns, &seen), 0);
    WAIT_FOR(&world, seen.running || seen.failed);
    assert_string_equal(seen.err.text, "");
    link_of(instance_pid(seen.instance), "fd/3", theirs);
    assert_string_equal(theirs, "/dev/net/tun");
    link_of(instance_pid(seen.instance), "ns/net", theirs);
    link_of(getpid(), "ns/net", ours);
    assert_string_not_equal(ours, theirs); /* the VMM reaches the Pod's network at most */
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.exited);
    /* The tap is free as soon as the end is told. */
    assert_int_equal(launch_in_netns(&world, 2, netns, &again), 0);
    WAIT_FOR(&world, again.running || again.failed);
    assert_string_equal(again.err.text, "");
    instance_release(seen.instance);
    /* Lost in the hardest way, it is free all the same. */
    assert_int_equal(kill(again.instance->shim_pid, SIGKILL), 0);
    WAIT_FOR(&world, again.lost);
    instance_release(again.instance);
    again = (struct seen){0};
    assert_int_equal(launch_in_netns(&world, 3, netns, &again), 0);
    WAIT_FOR(&world, again.running || again.failed);
    assert_string_equal(again.err.text, "");
    instance_kill(again.instance);
    WAIT_FOR(&world, again.exited);
    instance_release(again.instance);
    again = (struct seen){0};
    assert_int_equal(launch_in_netns(&world, 4, bare, &again), 0);
    WAIT_FOR(&world, again.running || again.failed);
    assert_string_equal(again.err.text,
                        "there is no tap tap0 in the Pod's namespace: No such device");
    instance_release(again.instance);
    assert_int_equal(umount2(netns, MNT_DETACH), 0);
    assert_int_equal(umount2(bare, MNT_DETACH), 0);
    world_close(&world);
}

/* Bytes of memory that an idle shim alone holds: target 256 KiB (row 6). */
static void test_memory(void **state)
{
    struct world world;
    struct seen seen = {0};
    char path[64];
    CLEANUP(buf) struct buf text = BUF_INIT(65536);
    const char *line;

    (void)state;
    if (getenv("UNIKUBELET_SHIM"))
        skip(); /* perhaps one with sanitizers */
    world_open(&world);
    launch_running(&world, 1, "fake.flood=1024", &seen);
    wait_for_text(&world, 1, "fake: machine started");
    str_fmt(path, sizeof(path), "/proc/%d/smaps_rollup", (int)seen.instance->shim_pid);
    assert_int_equal(file_read(path, &text), 0);
    line = strstr(buf_str(&text), "\nAnonymous:");
    assert_non_null(line);
    assert_in_range(strtol(line + strlen("\nAnonymous:"), NULL, 10), 1, 256);
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.exited);
    instance_release(seen.instance);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),     cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_stamps),    cmocka_unit_test(test_tail),
        cmocka_unit_test(test_full_disk), cmocka_unit_test(test_flood),
        cmocka_unit_test(test_protocol),  cmocka_unit_test(test_input_bounded),
        cmocka_unit_test(test_tap),       cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
