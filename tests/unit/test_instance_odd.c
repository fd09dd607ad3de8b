/* Machines under hands that are not ours: strays of agents before, directories removed, handles
 * kept for too long, logs of a crash loop. The ordinary life is test_instance.c's. */
#include "instance_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

/* What nobody asks about any more ends all the same. */
static void test_stray(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err = {0};
    pid_t vmm;
    pid_t shim;

    (void)state;
    world_open(&world);
    for (int n = 1; n <= 2; n++) {
        seen = (struct seen){0};
        launch_running(&world, n, "", &seen);
        vmm = instance_pid(seen.instance);
        shim = seen.instance->shim_pid;
        if (n == 2)
            assert_int_equal(kill(shim, SIGSTOP), 0);
        world_reopen(&world);
        assert_int_equal(instance_end_stray(world.all, test_id(n), &err), 0);
        assert_int_equal(instance_remove(world.all, test_id(n), &err), 0);
        WAIT_FOR(&world, !world.all->list);
        assert_true(process_ends(shim));
        assert_true(process_ends(vmm));
    }
    assert_int_equal(instance_end_stray(world.all, test_id(1), &err), -ENOENT);
    world_close(&world);
}

/* Removed by hand while machines run: the next one starts, and an end is told as well as can be. */
static void test_directory_removed(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen next = {0};
    struct err err = {0};

    (void)state;
    world_open(&world);
    assert_int_equal(instances_check(world.all, false, &err), 0);
    launch_running(&world, 1, "fake.exit=9 fake.after=500", &seen);
    assert_int_equal(file_remove_tree(world.dir), 0);
    launch_running(&world, 2, "", &next);
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.exit_code, 9); /* by the console's end, for want of a record */
    instance_kill(next.instance);
    WAIT_FOR(&world, next.exited);
    instance_release(seen.instance);
    instance_release(next.instance);
    world.config.shim = world.base;
    world_reopen(&world);
    assert_int_equal(instances_check(world.all, false, &err), -ENOEXEC);
    world.config.shim = "/nonexistent/shim";
    world_reopen(&world);
    assert_int_equal(instances_check(world.all, false, &err), -ENOENT);
    assert_string_equal(err.text,
                        "cannot run the shim /nonexistent/shim: No such file or directory");
    world_close(&world);
}

/* The handle of an ended machine is let go of while another's connection has its descriptor's
 * number: the other's events must go on. */
static void test_late_release(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct seen other = {0};
    struct seen again = {0};
    struct err err = {0};
    int fd;

    (void)state;
    world_open(&world);
    launch_running(&world, 1, "", &seen);
    launch_running(&world, 2, "", &other);
    fd = seen.instance->fd;
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(
        instance_adopt(world.all, test_id(2), &seen_ops, &again, &again.instance, &err), 0);
    assert_int_equal(again.instance->fd, fd);
    WAIT_FOR(&world, again.running);
    instance_release(seen.instance);
    instance_kill(again.instance);
    WAIT_FOR(&world, again.exited);
    WAIT_FOR(&world, other.exited);
    instance_release(again.instance);
    instance_release(other.instance);
    world_close(&world);
}

/* A crash loop's logs do not pile up: this attempt's and the last one's stay. */
static void test_old_logs(void **state)
{
    static const struct {
        const char *name;
        bool stays;
    } files[] = {
        {"0.log.20261123-060000", false},
        {"1.log", false},
        {"1.log.20261123-060000", false},
        {"2.log", true},
        {"2.log.20261123-060000", true},
        {"3.log", true},
        {"10.log", true},
        {"x.log", true},
        {"01.log", false},
        {"1.txt", true},
        {".log", true},
    };
    struct world world;
    struct seen seen = {0};
    char path[PATH_MAX];

    (void)state;
    world_open(&world);
    str_fmt(path, sizeof(path), "%s/log/1", world.base);
    assert_int_equal(file_mkdirs(path, 0755), 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        str_fmt(path, sizeof(path), "%s/log/1/%s", world.base, files[i].name);
        assert_int_equal(file_write_atomic(path, "x\n", 2, 0600), 0);
    }
    launch_running(&world, 1, "fake.after=0", &seen); /* attempt 3 */
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        str_fmt(path, sizeof(path), "%s/log/1/%s", world.base, files[i].name);
        if ((access(path, F_OK) == 0) != files[i].stays)
            print_error("%s\n", files[i].name);
        assert_int_equal(access(path, F_OK) == 0, files[i].stays);
    }
    WAIT_FOR(&world, seen.exited);
    instance_release(seen.instance);
    world_close(&world);
}

/* A user for each machine, whichever agent started it. */
static void test_users(void **state)
{
    struct world world;
    struct seen seen[3] = {0};
    struct seen again = {0};
    struct err err = {0};
    uint32_t uids[2];

    (void)state;
    if (getuid() != 0)
        skip();
    world_open(&world);
    assert_int_equal(chmod(world.base, 0755), 0);
    world.config.vmm_uid = world.config.vmm_gid = 1900000000;
    world.config.vmm_uids = 2;
    world_reopen(&world);
    for (int i = 0; i < 2; i++) {
        struct stat info;
        char path[64];

        launch_running(&world, i + 1, "", &seen[i]);
        str_fmt(path, sizeof(path), "/proc/%d", instance_pid(seen[i].instance));
        assert_int_equal(stat(path, &info), 0);
        assert_in_range(info.st_uid, 1900000000, 1900000001);
        assert_int_equal(info.st_gid, info.st_uid);
        assert_int_equal(seen[i].instance->vmm_uid, info.st_uid);
        uids[i] = info.st_uid;
    }
    assert_int_not_equal(uids[0], uids[1]);
    assert_int_equal(launch(&world, 3, "", &seen[2], &err), -EUSERS);
    assert_string_equal(err.text, "each of the 2 users for machines has one");
    instance_kill(seen[0].instance);
    WAIT_FOR(&world, seen[0].exited);
    instance_release(seen[0].instance);
    world_reopen(&world);
    assert_int_equal(
        instance_adopt(world.all, test_id(2), &seen_ops, &again, &again.instance, &err), 0);
    launch_running(&world, 3, "", &seen[2]);
    assert_int_equal(seen[2].instance->vmm_uid, uids[0]);
    instance_kill(again.instance);
    instance_kill(seen[2].instance);
    WAIT_FOR(&world, again.exited && seen[2].exited);
    instance_release(again.instance);
    instance_release(seen[2].instance);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stray),        cmocka_unit_test(test_directory_removed),
        cmocka_unit_test(test_late_release), cmocka_unit_test(test_old_logs),
        cmocka_unit_test(test_users),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
