/* A directory, a loop and an `instances` on the fake VMM for the tests of runtime/instance*.c: they
 * run the real shim and real processes. Waiting is for events, with a watchdog against hanging. */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/instance_priv.h"

#include <poll.h>
#include <sys/pidfd.h>
#include <libgen.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WATCHDOG_MS 20000

/* What the callbacks of one machine said. */
struct seen {
    int running;
    int failed;
    int exited;
    int lost;
    int64_t started_ms;
    uint64_t running_ns; /* monotonic */
    struct instance_end end;
    struct err err;
    bool release_in_callback;
    struct instance *instance;
};

struct world {
    uv_loop_t loop;
    char base[PATH_MAX];
    char dir[PATH_MAX];
    char shim[PATH_MAX];
    char vmm[PATH_MAX];
    struct instance_config config;
    struct instances *all;
    uv_timer_t watchdog;
    bool late;
};

static inline void seen_running(void *userdata, int64_t started_unix_ms)
{
    struct seen *seen = userdata;

    seen->running++;
    seen->started_ms = started_unix_ms;
    seen->running_ns = uv_hrtime();
}

static inline void seen_over(struct seen *seen)
{
    if (seen->release_in_callback)
        instance_release(TAKE(seen->instance));
}

static inline void seen_failed(void *userdata, const struct err *err)
{
    struct seen *seen = userdata;

    seen->failed++;
    seen->err = *err;
    seen_over(seen);
}

static inline void seen_exit(void *userdata, const struct instance_end *end)
{
    struct seen *seen = userdata;

    seen->exited++;
    seen->end = *end;
    seen_over(seen);
}

static inline void seen_lost(void *userdata)
{
    struct seen *seen = userdata;

    seen->lost++;
    seen_over(seen);
}

static const struct instance_ops seen_ops = {
    .on_running = seen_running,
    .on_failed = seen_failed,
    .on_exit = seen_exit,
    .on_lost = seen_lost,
};

static inline void world_late(uv_timer_t *timer)
{
    struct world *world = timer->data;

    world->late = true;
}

/* Turns the loop until the condition holds; fails the test when the watchdog barks. A turn that may
 * wait runs timers before it waits, so one that does not goes first. */
#define WAIT_FOR(world, condition)                                            \
    do {                                                                      \
        (world)->late = false;                                                \
        (void)uv_timer_start(&(world)->watchdog, world_late, WATCHDOG_MS, 0); \
        while (!(condition) && !(world)->late) {                              \
            (void)uv_run(&(world)->loop, UV_RUN_NOWAIT);                      \
            if (!(condition))                                                 \
                (void)uv_run(&(world)->loop, UV_RUN_ONCE);                    \
        }                                                                     \
        (void)uv_timer_stop(&(world)->watchdog);                              \
        assert_true(condition);                                               \
    } while (0)

/* Programs are beside the test's own directory; the environment may name others. */
static inline void find_program(const char *name, const char *variable, char *ret)
{
    char self[PATH_MAX] = "";
    const char *given = getenv(variable);

    assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
    if (given)
        str_copy(ret, PATH_MAX, given);
    else
        str_fmt(ret, PATH_MAX, "%s/../%s", dirname(self), name);
}

static inline void world_reopen(struct world *world)
{
    struct err err = {0};

    if (world->all)
        instances_close(world->all);
    world->all = NULL;
    (void)uv_run(&world->loop, UV_RUN_NOWAIT);
    assert_int_equal(instances_open(&world->loop, &world->config, &world->all, &err), 0);
}

static inline void world_open(struct world *world)
{
    *world = (struct world){.all = NULL};
    str_copy(world->base, sizeof(world->base), "/tmp/unik-XXXXXX");
    assert_non_null(mkdtemp(world->base));
    str_fmt(world->dir, sizeof(world->dir), "%s/i", world->base);
    find_program("unikubelet-shim", "UNIKUBELET_SHIM", world->shim);
    find_program("unikubelet-fakevmm", "UNIKUBELET_FAKEVMM", world->vmm);
    world->config = (struct instance_config){
        .dir = world->dir,
        .shim = world->shim,
        .vmm = &vmm_fake,
        .vmm_config = {.binary = world->vmm, .accel = ACCEL_TCG},
    };
    assert_int_equal(uv_loop_init(&world->loop), 0);
    (void)uv_timer_init(&world->loop, &world->watchdog);
    world->watchdog.data = world;
    world_reopen(world);
}

static inline void world_close(struct world *world)
{
    instances_close(world->all);
    uv_close((uv_handle_t *)&world->watchdog, NULL);
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    assert_int_equal(file_remove_tree(world->base), 0);
}

/* 32 hex digits from a small number. */
static inline const char *test_id(int n)
{
    static char ids[4][INSTANCE_ID_MAX + 1];
    static unsigned next;
    char *id = ids[next++ % 4];

    return str_fmt(id, sizeof(ids[0]), "%032x", (unsigned)n);
}

static inline const char *log_path(const struct world *world, int n)
{
    static char path[PATH_MAX];

    return str_fmt(path, sizeof(path), "%s/log/%d/0.log", world->base, n);
}

static inline int launch(struct world *world, int n, const char *cmdline, struct seen *seen,
                         struct err *err)
{
    struct instance_spec spec = {
        .id = test_id(n),
        .pod_uid = "0b0f5a4e-1111-4222-8333-444455556666",
        .container = "c",
        .attempt = 3,
        .log_path = log_path(world, n),
        .guest = guest_find("linux"),
        .machine = {.kernel = "/k",
                    .cmdline = cmdline,
                    .board = BOARD_MICROVM_ACPI,
                    .memory_mib = 32,
                    .cpus = 1,
                    .debug_exit = true,
                    .name = "test"},
        .cpu_limit_milli = -1,
        .cpu_request_milli = -1,
    };

    return instance_launch(world->all, &spec, &seen_ops, seen, &seen->instance, err);
}

static inline void launch_running(struct world *world, int n, const char *cmdline,
                                  struct seen *seen)
{
    struct err err = {0};

    assert_int_equal(launch(world, n, cmdline, seen, &err), 0);
    WAIT_FOR(world, seen->running || seen->failed || seen->exited || seen->lost);
    assert_int_equal(seen->running, 1);
}

/* The log's text without the times: "stdout F text\n"... */
static inline char *log_text(const struct world *world, int n)
{
    CLEANUP(buf) struct buf text = BUF_INIT(64 * 1024 * 1024);
    struct buf out = BUF_INIT(64 * 1024 * 1024);

    assert_int_equal(file_read(log_path(world, n), &text), 0);
    for (const char *at = buf_str(&text); *at;) {
        size_t stamp = strcspn(at, " ");
        size_t len = strcspn(at, "\n");

        assert_int_equal(stamp, 30); /* nine digits of a second and a Z */
        assert_int_equal(at[len], '\n');
        (void)buf_add(&out, at + stamp + 1, len - stamp);
        at += len + 1;
    }
    return buf_take(&out);
}

static inline bool ends_within(pid_t pid, int wait_ms)
{
    CLEANUP(close) int fd = pidfd_open(pid, 0);
    struct pollfd end = {.fd = fd, .events = POLLIN};

    return fd < 0 || poll(&end, 1, wait_ms) == 1;
}

/* True once the process is gone; waits for that with a bound. */
static inline bool process_ends(pid_t pid)
{
    return ends_within(pid, WATCHDOG_MS);
}

static inline bool process_ended(pid_t pid)
{
    return ends_within(pid, 0);
}
