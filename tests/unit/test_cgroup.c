/* cgroups: where the controllers are, as tables, and a real group with a real OOM kill where the
 * host lets us. */
#include "instance_fixture.h"

#include "runtime/cgroup.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

static void test_layouts(void **state)
{
    static const struct {
        const char *mounts;
        const char *v2;
        int version;
        const char *want; /* mount:controllers ... */
    } cases[] = {
        {"", "", 0, ""},
        {"cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", "cpuset cpu io memory hugetlb pids\n", 2,
         "/sys/fs/cgroup:memory,cpu,pids "},
        {"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "cpuset io\n", 0, ""},
        {"tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
         "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
         "cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n"
         "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
         "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"
         "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n"
         "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n",
         "hugetlb\n", 1,
         "/sys/fs/cgroup/cpu,cpuacct:cpu,cpuacct /sys/fs/cgroup/memory:memory "
         "/sys/fs/cgroup/pids:pids "},
        {"cgroup /m cgroup rw,memory", "", 1, "/m:memory "},
        {"cgroup /m\ncgroup\n\nx y cgroup\ncgroup /p cgroup rw,pids\n", "", 1, "/p:pids "},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf) struct buf got = BUF_INIT(4096);
        struct cgroup_layout layout;

        cgroup_layout_parse(cases[i].mounts, cases[i].v2, &layout);
        assert_int_equal(layout.version, cases[i].version);
        for (size_t j = 0; j < layout.len; j++)
            (void)buf_addf(&got, "%s:%s ", layout.at[j].mount, layout.at[j].controllers);
        assert_string_equal(buf_str(&got), cases[i].want);
    }
}

static void test_refused_names(void **state)
{
    struct cgroups *all = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(cgroups_open("a/b", &all, &err), -EINVAL);
    assert_int_equal(err.kind, ERR_SPEC);
    assert_int_equal(cgroups_open("..", &all, &err), -EINVAL);
    assert_null(all);
}

/* A world with cgroups under a name of this test's own; false where they are forbidden. */
static bool open_with_groups(struct world *world, char name[64])
{
    world_open(world);
    str_fmt(name, 64, "uktest%d", (int)getpid());
    world->config.cgroup = name;
    world_reopen(world);
    if (!instances_cgroup_error(world->all))
        return true;
    print_message("no cgroups: %s\n", instances_cgroup_error(world->all));
    world_close(world);
    return false;
}

static void remove_parent(struct world *world, const char *name)
{
    struct cgroups *all = NULL;
    char path[CGROUP_PATH_MAX];

    WAIT_FOR(world, !world->all->aftermaths); /* shims are reaped: their leaf is empty */
    assert_int_equal(cgroups_open(name, &all, NULL), 0);
    assert_int_equal(cgroup_remove(all, CGROUP_SHIMS), 0);
    for (size_t i = 0; cgroup_procs(all, CGROUP_SHIMS, i, path, sizeof(path)) == 0; i++) {
        *strrchr(path, '/') = '\0';
        *strrchr(path, '/') = '\0';
        assert_int_equal(rmdir(path), 0);
    }
    cgroups_close(all);
}

static bool group_exists(const struct world *world, int n)
{
    char path[CGROUP_PATH_MAX];
    struct stat info;

    assert_int_equal(cgroup_procs(world->all->cgroups, test_id(n), 0, path, sizeof(path)), 0);
    return stat(path, &info) == 0;
}

static int launch_limited(struct world *world, int n, const char *cmdline, uint64_t mib,
                          struct seen *seen)
{
    struct err err = {0};
    struct instance_spec spec = {
        .id = test_id(n),
        .pod_uid = "u",
        .container = "c",
        .log_path = log_path(world, n),
        .guest = guest_find("linux"),
        .machine = {.kernel = "/k", .cmdline = cmdline, .name = "n", .cpus = 1},
        .memory_limit_bytes = mib << 20,
        .cpu_limit_milli = 500,
        .cpu_request_milli = 250,
    };

    return instance_launch(world->all, &spec, &seen_ops, seen, &seen->instance, &err);
}

/* The CPU limit as the kernel has it: "50000" in microseconds of 100000, or "50000 100000". */
static void assert_limit(const struct world *world, const char *v1, const char *v2)
{
    struct buf text = BUF_INIT(64);
    char path[CGROUP_PATH_MAX];
    int version = cgroup_file(world->all->cgroups, "cpu", test_id(1), "cpu.cfs_quota_us", "cpu.max",
                              path, sizeof(path));

    if (version < 0)
        return; /* a host without that controller */
    assert_int_equal(file_read(path, &text), 0);
    assert_string_equal(buf_str(&text), version == 2 ? v2 : v1);
    buf_free(&text);
}

static void test_resize(const struct world *world, struct instance *instance)
{
    assert_limit(world, "50000\n", "50000 100000\n");
    assert_int_equal(instance_resize(instance, 1500, 300), 0);
    assert_limit(world, "150000\n", "150000 100000\n");
    assert_int_equal(instance_resize(instance, -1, -1), 0);
    assert_limit(world, "-1\n", "max 100000\n");
}

static void test_usage_and_removal(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct cgroup_usage usage = {0};
    struct err err = {0};
    char name[64];

    (void)state;
    if (!open_with_groups(&world, name))
        skip();
    assert_int_equal(launch_limited(&world, 1, "fake.touch=20", 64, &seen), 0);
    WAIT_FOR(&world, seen.running || seen.failed);
    assert_string_equal(seen.err.text, "");
    assert_true(group_exists(&world, 1));
    for (int i = 0; i < 2000 && usage.memory_bytes < (20 << 20); i++) {
        assert_int_equal(instance_usage(seen.instance, &usage), 0);
        (void)poll(NULL, 0, 1); /* the fake is touching its memory: nothing tells when it is done */
    }
    assert_in_range(usage.memory_bytes, 20 << 20, 64 << 20);
    assert_true(usage.working_set_bytes <= usage.memory_bytes);
    assert_true(usage.cpu_ns > 0);
    /* The same through files that stay open. */
    struct cgroup_probe probe;
    struct cgroup_usage again = {0};
    assert_int_equal(instance_probe(seen.instance, &probe), 0);
    for (uint64_t i = 1; i <= 2; i++) {
        assert_int_equal(cgroup_probe_read(&probe, i, &again), 0);
        assert_in_range(again.memory_bytes, 20 << 20, 64 << 20);
        assert_true(again.working_set_bytes <= again.memory_bytes);
        assert_true(again.cpu_ns >= usage.cpu_ns);
    }
    cgroup_probe_close(&probe);
    test_resize(&world, seen.instance);
    /* Removed while it runs: it is killed, and the group goes as soon as it can. */
    assert_int_equal(instance_remove(world.all, test_id(1), &err), 0);
    WAIT_FOR(&world, !group_exists(&world, 1));
    WAIT_FOR(&world, seen.exited || seen.lost);
    instance_release(seen.instance);
    remove_parent(&world, name);
    world_close(&world);
}

static void test_oom(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err = {0};
    char name[64];

    (void)state;
    if (!open_with_groups(&world, name))
        skip();
    assert_int_equal(launch_limited(&world, 1, "fake.touch=64", 16, &seen), 0);
    WAIT_FOR(&world, seen.exited || seen.failed || seen.lost);
    assert_int_equal(seen.exited, 1);
    assert_true(seen.end.oom);
    assert_int_equal(seen.end.exit.exit_code, 137);
    instance_release(seen.instance);
    assert_int_equal(instance_remove(world.all, test_id(1), &err), 0);
    assert_false(group_exists(&world, 1)); /* empty: gone at once */
    /* Without too much memory there is no mark. */
    seen = (struct seen){0};
    assert_int_equal(launch_limited(&world, 2, "fake.code=0", 16, &seen), 0);
    WAIT_FOR(&world, seen.exited || seen.failed || seen.lost);
    assert_int_equal(seen.exited, 1);
    assert_false(seen.end.oom);
    instance_release(seen.instance);
    assert_int_equal(instance_remove(world.all, test_id(2), &err), 0);
    remove_parent(&world, name);
    world_close(&world);
}

/* The shim left our cgroup for the leaf of the shims: what stops the agent there spares it. */
static void test_shim_leaves(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct err err = {0};
    CLEANUP(buf) struct buf text = BUF_INIT(65536);
    char name[64];
    char path[64];
    char want[128];

    (void)state;
    if (!open_with_groups(&world, name))
        skip();
    assert_int_equal(launch_limited(&world, 1, "", 32, &seen), 0);
    WAIT_FOR(&world, seen.running || seen.failed);
    str_fmt(path, sizeof(path), "/proc/%d/cgroup", (int)seen.instance->shim_pid);
    str_fmt(want, sizeof(want), "/%s/" CGROUP_SHIMS "\n", name);
    for (int i = 0; i < 2000 && !strstr(buf_str(&text), want); i++) {
        buf_reset(&text);
        assert_int_equal(file_read(path, &text), 0);
        (void)poll(NULL, 0, 1); /* it moves after it told us that the VMM runs */
    }
    assert_non_null(strstr(buf_str(&text), want));
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.exited);
    instance_release(seen.instance);
    assert_int_equal(instance_remove(world.all, test_id(1), &err), 0);
    remove_parent(&world, name);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),           cmocka_unit_test(test_refused_names),
        cmocka_unit_test(test_usage_and_removal), cmocka_unit_test(test_oom),
        cmocka_unit_test(test_shim_leaves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
