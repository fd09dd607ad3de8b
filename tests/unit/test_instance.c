/* Machines through the real shim with the fake VMM: start, end, loss, adoption, bad directories. */
#include "instance_fixture.h"

#include "runtime/cgroup.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

static bool exists(const struct world *world, int n, const char *file)
{
    char path[INSTANCE_PATH_MAX];
    struct stat info;

    assert_int_equal(instance_path(world->all, test_id(n), file, path, sizeof(path)), 0);
    return stat(path, &info) == 0;
}

static void test_runs_and_exits(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err = {0};

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "x fake.print=hello fake.after=50 fake.code=7", &seen);
    assert_true(instance_pid(seen.instance) > 0);
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.exit_code, 7);
    assert_false(seen.end.oom);
    assert_int_equal(seen.end.started_ms, seen.started_ms);
    /* The VMM's 50 ms begin before the shim has noted the start: only the order is certain. */
    assert_true(seen.end.finished_ms >= seen.end.started_ms);
    assert_int_equal(instance_pid(seen.instance), 0);

    CLEANUP(free) char *log = log_text(&world, 1);

    assert_string_equal(log, "stdout F fake: machine started\nstdout F hello\n");
    assert_true(exists(&world, 1, SHIM_FILE_EXIT));
    instance_release(seen.instance);
    assert_int_equal(instance_remove(world.all, test_id(1), &err), 0);
    assert_false(exists(&world, 1, NULL));
    world_close(&world);
}

static void test_release_in_callback(void **state)
{
    struct world world;
    struct seen seen = {.release_in_callback = true};

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "fake.code=0", &seen);
    WAIT_FOR(&world, seen.exited);
    assert_null(seen.instance);
    world_close(&world);
}

static void test_vmm_missing(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err = {0};

    (void)state;
    world_open(&world);
    world.config.vmm_config.binary = "/nonexistent/vmm";
    world_reopen(&world);
    assert_int_equal(launch(&world, 1, "", &seen, &err), 0);
    WAIT_FOR(&world, seen.failed);
    assert_int_equal(seen.err.code, -ENOENT);
    assert_string_equal(seen.err.text,
                        "cannot execute /nonexistent/vmm: No such file or directory");
    assert_int_equal(seen.running, 0);
    instance_release(TAKE(seen.instance));
    /* An agent that was away learns the same. */
    assert_int_equal(instance_adopt(world.all, test_id(1), &seen_ops, &seen, &seen.instance, &err),
                     0);
    WAIT_FOR(&world, seen.failed == 2);
    assert_string_equal(seen.err.text,
                        "cannot execute /nonexistent/vmm: No such file or directory");
    instance_release(seen.instance);
    world_close(&world);
}

static void test_shim_missing(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err = {0};

    (void)state;
    world_open(&world);
    world.config.shim = "/nonexistent/shim";
    world_reopen(&world);
    assert_int_equal(launch(&world, 1, "", &seen, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/shim"));
    assert_false(exists(&world, 1, NULL)); /* nothing is left */
    world_close(&world);
}

static void test_netns_missing(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err = {0};
    struct instance_spec spec = {
        .id = test_id(1),
        .pod_uid = "u",
        .container = "c",
        .netns = "/nonexistent/netns",
        .log_path = "/nonexistent-not/../tmp/x",
        .guest = guest_find("linux"),
        .machine = {.kernel = "/k", .cmdline = "", .name = "n", .mac = "02:00:00:00:00:01"},
    };

    (void)state;
    world_open(&world);
    spec.log_path = log_path(&world, 1);
    assert_int_equal(instance_launch(world.all, &spec, &seen_ops, &seen, &seen.instance, &err), 0);
    WAIT_FOR(&world, seen.failed);
    assert_string_equal(seen.err.text, "cannot open the network namespace /nonexistent/netns: "
                                       "No such file or directory");
    instance_release(seen.instance);
    world_close(&world);
}

static void test_same_id_twice(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen other = {0};
    struct err err = {0};

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    assert_int_equal(launch(&world, 1, "", &other, &err), -EEXIST);
    assert_true(exists(&world, 1, SHIM_FILE_META)); /* the first one's is untouched */
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.exited);
    instance_release(seen.instance);
    world_close(&world);
}

static void test_kill(void **state)
{
    struct world world;
    struct seen seen = {0};

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.exit_code, 137);
    assert_int_equal(seen.end.exit.signal, 9);
    instance_release(seen.instance);
    world_close(&world);
}

static void test_kill_while_starting(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err = {0};

    (void)state;
    world_open(&world);
    assert_int_equal(launch(&world, 1, "", &seen, &err), 0);
    instance_kill(seen.instance); /* before anything was heard of it */
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.signal, 9);
    instance_release(seen.instance);
    world_close(&world);
}

static void test_vmm_killed(void **state)
{
    struct world world;
    struct seen seen = {0};

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    assert_int_equal(kill(instance_pid(seen.instance), SIGSEGV), 0);
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.exit_code, 139);
    instance_release(seen.instance);
    world_close(&world);
}

static void test_shim_killed(void **state)
{
    struct world world;
    struct seen seen = {0};
    pid_t vmm;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    vmm = instance_pid(seen.instance);
    assert_int_equal(kill(seen.instance->shim_pid, SIGKILL), 0);
    WAIT_FOR(&world, seen.lost);
    /* Its VMM died with it, and before we were told: a next attempt finds everything free. */
    assert_true(process_ended(vmm));
    instance_release(seen.instance);
    world_close(&world);
}

static void test_shim_terminated(void **state)
{
    struct world world;
    struct seen seen = {0};

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    assert_int_equal(kill(seen.instance->shim_pid, SIGTERM), 0);
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.signal, 9);
    instance_release(seen.instance);
    world_close(&world);
}

static void test_shim_stuck(void **state)
{
    struct world world;
    struct seen seen = {0};
    pid_t vmm;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    vmm = instance_pid(seen.instance);
    assert_int_equal(kill(seen.instance->shim_pid, SIGSTOP), 0);
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.lost);
    assert_true(process_ends(vmm));
    instance_release(seen.instance);
    world_close(&world);
}

/* Stuck, and adopted by the last of many agents that it never answered. */
static void test_adopted_shim_stuck(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen again = {0};
    struct err err = {0};
    pid_t vmm;
    pid_t shim;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    vmm = instance_pid(seen.instance);
    shim = seen.instance->shim_pid;
    assert_int_equal(kill(shim, SIGSTOP), 0);
    for (int i = 0; i < 30; i++) {
        world_reopen(&world);
        assert_int_equal(
            instance_adopt(world.all, test_id(1), &seen_ops, &again, &again.instance, &err), 0);
    }
    instance_kill(again.instance);
    WAIT_FOR(&world, again.lost);
    assert_int_equal(again.running, 0);
    assert_true(process_ends(shim));
    assert_true(process_ends(vmm));
    instance_release(again.instance);
    world_close(&world);
}

static void test_power_button(void **state)
{
    struct world world;
    struct seen seen = {0};

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    assert_int_equal(instance_stop(seen.instance), 0);
    assert_int_equal(instance_stop(seen.instance), 0); /* asking again changes nothing */
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.exit_code, 0);
    assert_int_equal(instance_stop(seen.instance), -ESRCH);

    CLEANUP(free) char *log = log_text(&world, 1);

    assert_non_null(strstr(log, "stdout F fake: power button\n"));
    instance_release(seen.instance);
    world_close(&world);
}

static void test_adoption(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen again = {0};
    struct err err = {0};
    struct instance_found *found = NULL;
    size_t len = 0;
    pid_t vmm;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "fake.deaf", &seen);
    vmm = instance_pid(seen.instance);
    world_reopen(&world); /* releases all handles */
    assert_int_equal(instances_find(world.all, &found, &len, &err), 0);
    assert_int_equal(len, 1);
    assert_string_equal(found[0].id, test_id(1));
    assert_string_equal(found[0].pod_uid, "0b0f5a4e-1111-4222-8333-444455556666");
    assert_string_equal(found[0].container, "c");
    assert_int_equal(found[0].attempt, 3);
    assert_true(found[0].running);
    free(found);
    assert_int_equal(
        instance_adopt(world.all, test_id(1), &seen_ops, &again, &again.instance, &err), 0);
    assert_int_equal(again.running, 0); /* never before it returned */
    WAIT_FOR(&world, again.running);
    assert_int_equal(again.started_ms, seen.started_ms);
    assert_int_equal(instance_pid(again.instance), vmm);
    assert_true(again.instance->shim_pid > 0);
    instance_kill(again.instance);
    WAIT_FOR(&world, again.exited);
    assert_int_equal(again.end.exit.signal, 9);
    instance_release(again.instance);
    world_close(&world);
}

/* More agents than the shim holds come and go: the dead ones' places are used again. */
static void test_many_adoptions(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen again = {0};
    struct err err = {0};

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    for (int i = 0; i < 3 * SHIM_AGENTS_MAX; i++) {
        world_reopen(&world);
        again = (struct seen){0};
        assert_int_equal(
            instance_adopt(world.all, test_id(1), &seen_ops, &again, &again.instance, &err), 0);
        WAIT_FOR(&world, again.running || again.lost || again.exited);
        assert_int_equal(again.running, 1);
    }
    instance_kill(again.instance);
    WAIT_FOR(&world, again.exited);
    instance_release(again.instance);
    world_close(&world);
}

static void test_ended_meanwhile(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen again = {0};
    struct err err = {0};
    pid_t shim;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "fake.after=30 fake.code=5 fake.print=bye", &seen);
    shim = seen.instance->shim_pid;
    world_reopen(&world);
    assert_true(process_ends(shim));
    assert_int_equal(
        instance_adopt(world.all, test_id(1), &seen_ops, &again, &again.instance, &err), 0);
    assert_int_equal(again.exited, 0);
    WAIT_FOR(&world, again.exited);
    assert_int_equal(again.end.exit.exit_code, 5);
    assert_int_equal(again.end.started_ms, seen.started_ms);
    instance_release(again.instance);
    world_close(&world);
}

static void test_lost_meanwhile(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen again = {0};
    struct err err = {0};
    struct instance_found *found = NULL;
    size_t len = 0;
    pid_t shim;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    shim = seen.instance->shim_pid;
    world_reopen(&world);
    assert_int_equal(kill(shim, SIGKILL), 0);
    assert_true(process_ends(shim));
    assert_int_equal(instances_find(world.all, &found, &len, &err), 0);
    assert_int_equal(len, 1);
    assert_false(found[0].running);
    free(found);
    assert_int_equal(
        instance_adopt(world.all, test_id(1), &seen_ops, &again, &again.instance, &err), 0);
    WAIT_FOR(&world, again.lost);
    instance_release(again.instance);
    world_close(&world);
}

static void put(const struct world *world, const char *name, const char *file, const char *text)
{
    char path[INSTANCE_PATH_MAX];

    str_fmt(path, sizeof(path), "%s/%s", world->dir, name);
    assert_int_equal(file_mkdirs(path, 0700), 0);
    if (!file)
        return;
    str_fmt(path, sizeof(path), "%s/%s/%s", world->dir, name, file);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600), 0);
}

static bool dir_exists(const struct world *world, const char *name)
{
    char path[INSTANCE_PATH_MAX];
    struct stat info;

    str_fmt(path, sizeof(path), "%s/%s", world->dir, name);
    return stat(path, &info) == 0;
}

static void test_garbage(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err = {0};
    struct instance_found *found = NULL;
    size_t len = 0;
    pid_t vmm;

    (void)state;
    world_open(&world);
    put(&world, "empty", NULL, NULL);
    put(&world, "cut", SHIM_FILE_META, "version=1\nid=cut\npod_uid=u\n");
    put(&world, "foreign", SHIM_FILE_META,
        "\x7f"
        "ELF");
    put(&world, "future", SHIM_FILE_META, "version=99\nid=future\nend=1\n");
    put(&world, "with space", SHIM_FILE_META, "x");
    put(&world, "old.bad", SHIM_FILE_META, "x");
    /* A running machine whose description was damaged must end: nobody can say whose it is. */
    launch_running(&world, 1, "", &seen);
    vmm = instance_pid(seen.instance);
    put(&world, test_id(1), SHIM_FILE_META, "version=1\n");
    world_reopen(&world);
    assert_int_equal(instances_find(world.all, &found, &len, &err), 0);
    assert_int_equal(len, 0);
    free(found);
    assert_true(process_ends(vmm));
    assert_false(dir_exists(&world, "empty"));
    assert_true(dir_exists(&world, "cut.bad"));
    assert_true(dir_exists(&world, "foreign.bad"));
    assert_true(dir_exists(&world, "future.bad"));
    assert_true(dir_exists(&world, "with space"));
    assert_true(dir_exists(&world, "old.bad"));
    assert_false(dir_exists(&world, test_id(1)));
    assert_int_equal(instance_adopt(world.all, "../x", &seen_ops, &seen, &seen.instance, &err),
                     -EINVAL);
    assert_int_equal(instance_remove(world.all, "..", &err), -EINVAL);
    world_close(&world);
}

/* A shim that exists but does not serve yet: its socket takes the connection all the same. */
static void test_adopt_before_shim_serves(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen again = {0};
    struct err err = {0};

    (void)state;
    world_open(&world);
    assert_int_equal(launch(&world, 1, "", &seen, &err), 0);
    world_reopen(&world); /* the agent dies at once */
    assert_int_equal(
        instance_adopt(world.all, test_id(1), &seen_ops, &again, &again.instance, &err), 0);
    WAIT_FOR(&world, again.running || again.lost || again.exited);
    assert_int_equal(again.running, 1);
    instance_kill(again.instance);
    WAIT_FOR(&world, again.exited);
    instance_release(again.instance);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_and_exits),
        cmocka_unit_test(test_release_in_callback),
        cmocka_unit_test(test_vmm_missing),
        cmocka_unit_test(test_shim_missing),
        cmocka_unit_test(test_netns_missing),
        cmocka_unit_test(test_same_id_twice),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_kill_while_starting),
        cmocka_unit_test(test_vmm_killed),
        cmocka_unit_test(test_shim_killed),
        cmocka_unit_test(test_shim_terminated),
        cmocka_unit_test(test_shim_stuck),
        cmocka_unit_test(test_adopted_shim_stuck),
        cmocka_unit_test(test_power_button),
        cmocka_unit_test(test_adoption),
        cmocka_unit_test(test_many_adoptions),
        cmocka_unit_test(test_ended_meanwhile),
        cmocka_unit_test(test_lost_meanwhile),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_adopt_before_shim_serves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
