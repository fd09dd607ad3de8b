/* What a machine uses: the kernel's texts, also broken ones; rates without a timer; and the sampler
 * over a made-up instance and clock. */
#include "runtime/stats.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/cgroup.h"
#include "runtime/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- a world of its own in the place of instance.c and clock.c ---- */

struct instance {
    struct cgroup_usage usage;
    int usage_result;
    int pid;
    unsigned asked; /* how often files were opened */
    char dir[64];
    uint64_t now_ns;
    int64_t now_ms;
};

static struct instance *world(struct instance *set)
{
    static struct instance *kept;

    if (set)
        kept = set;
    return kept;
}

/* A cgroup's files, as far as they are read. */
static void write_cgroup(const struct instance *w)
{
    char path[128];
    char text[128];
    const uint64_t values[] = {w->usage.cpu_ns, w->usage.memory_bytes};
    static const char *const names[] = {"cpu", "memory"};

    for (size_t i = 0; i < 2; i++) {
        str_fmt(text, sizeof(text), "%llu\n", (unsigned long long)values[i]);
        str_fmt(path, sizeof(path), "%s/%s", w->dir, names[i]);
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        fputs(text, file);
        fclose(file);
    }
    str_fmt(path, sizeof(path), "%s/stat", w->dir);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "cache 1\ninactive_file 9\ntotal_inactive_file %llu\n",
            (unsigned long long)(w->usage.memory_bytes - w->usage.working_set_bytes));
    fclose(file);
}

static int open_one(const struct instance *w, const char *name)
{
    char path[128];

    return open(str_fmt(path, sizeof(path), "%s/%s", w->dir, name), O_RDONLY | O_CLOEXEC);
}

int instance_probe(const struct instance *instance, struct cgroup_probe *ret)
{
    world(NULL)->asked++;
    if (instance->usage_result < 0)
        return instance->usage_result;
    *ret = (struct cgroup_probe){.version = 1,
                                 .cpu = open_one(instance, "cpu"),
                                 .memory = open_one(instance, "memory"),
                                 .stat = open_one(instance, "stat")};
    return 0;
}

/* Of the real one: not looked at here. */
int cgroup_file(const struct cgroups *all, const char *controller, const char *id,
                const char *v1_name, const char *v2_name, char *ret, size_t size)
{
    (void)all, (void)controller, (void)id, (void)v1_name, (void)v2_name, (void)ret, (void)size;
    return -ENOENT;
}

int instance_pid(const struct instance *instance)
{
    return instance->pid;
}

uint64_t clock_mono_ns(void)
{
    return world(NULL)->now_ns;
}

int64_t clock_unix_ms(void)
{
    return world(NULL)->now_ms;
}

static void advance(struct instance *w, uint64_t ms)
{
    w->now_ns += ms * 1000000;
    w->now_ms += (int64_t)ms;
}

/* ---- texts ---- */

#define STAT_TAIL                                                               \
    " S 1 7 7 0 -1 4194560 500 0 3 0 250 50 0 0 20 0 4 0 12345 150000000 2000 " \
    "18446744073709551615"

static void test_process(void **state)
{
    static const char *const names[] = {"qemu-system-x86", "a b", "odd) S 9 9 (", ""};
    struct stats_process p;
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        str_fmt(text, sizeof(text), "42 (%s)" STAT_TAIL " 1 1 0\n", names[i]);
        assert_int_equal(stats_parse_process(text, &p), 0);
        assert_int_equal(p.cpu_ns, 300 * (1000000000 / sysconf(_SC_CLK_TCK)));
        assert_int_equal(p.rss_bytes, 2000 * sysconf(_SC_PAGESIZE));
        assert_int_equal(p.faults, 503);
        assert_int_equal(p.major_faults, 3);
    }
    static const char *const bad[] = {"",
                                      "42",
                                      "42 (x)",
                                      "42 (x) S",
                                      "42 (x) S 1 2 three",
                                      "42 (x) S 1 7 7 0 -1 4194560 500 0 3 0 250"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(stats_parse_process(bad[i], &p), -EBADMSG);
}

static void test_own_process(void **state)
{
    struct stats_process p = {0};

    (void)state;
    assert_int_equal(stats_process(getpid(), &p), 0);
    assert_true(p.rss_bytes > 100000);
    assert_true(p.faults > 0);
    assert_int_equal(stats_process(0x7fffffff, &p), -ENOENT);
}

static void test_links(void **state)
{
    static const char text[] =
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
        "    lo:       0       0    0    0    0     0          0         0        0       0    0"
        "    0    0     0       0          0\n"
        "  tap0: 1000 10 1 2 0 0 0 0 5000000000 50 3 4 0 0 0 0\n"
        "veth12345678901:7 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n"
        "muchtoolonganame: 7 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n"
        "cut: 1 2 3\n";
    struct stats_link links[8];

    (void)state;
    assert_int_equal(stats_parse_links(text, links, 8), 3);
    assert_string_equal(links[0].name, "lo");
    assert_string_equal(links[1].name, "tap0");
    assert_int_equal(links[1].rx_bytes, 1000);
    assert_int_equal(links[1].rx_packets, 10);
    assert_int_equal(links[1].rx_errors, 1);
    assert_int_equal(links[1].rx_dropped, 2);
    assert_int_equal(links[1].tx_bytes, 5000000000);
    assert_int_equal(links[1].tx_packets, 50);
    assert_int_equal(links[1].tx_errors, 3);
    assert_int_equal(links[1].tx_dropped, 4);
    assert_string_equal(links[2].name, "veth12345678901");
    assert_int_equal(links[2].tx_bytes, 9);
    /* What the host received on the tap, the guest sent. */
    stats_link_turn(&links[1]);
    assert_int_equal(links[1].tx_bytes, 1000);
    assert_int_equal(links[1].tx_dropped, 2);
    assert_int_equal(links[1].rx_bytes, 5000000000);
    assert_int_equal(links[1].rx_packets, 50);
    assert_int_equal(stats_parse_links(text, links, 1), 1);
    assert_int_equal(stats_parse_links("", links, 8), 0);
    assert_true(stats_links(0, links, 8) >= 1); /* lo is everywhere */
}

static void test_default_link(void **state)
{
    static const char text[] = "Iface\tDestination\tGateway \tFlags\n"
                               "unik0\t0000580A\t00000000\t0001\n"
                               "eth1\t00000000\t0100000A\t0003\n"
                               "eth0\t00000000\t0100000B\t0003\n";

    (void)state;
    assert_true(stats_parse_default_link(text, "eth1"));
    assert_false(stats_parse_default_link(text, "eth0"));
    assert_false(stats_parse_default_link(text, "eth"));
    assert_false(stats_parse_default_link(text, "unik0"));
    assert_false(stats_parse_default_link("", "eth1"));
}

static void test_host(void **state)
{
    struct stats_host host = {0};
    uint64_t tick_ns = 1000000000 / (uint64_t)sysconf(_SC_CLK_TCK);

    (void)state;
    assert_int_equal(stats_parse_host_cpu("cpu  100 20 30 9999 77 4 6 55 11 0\ncpu0 1 2\n", &host),
                     0);
    assert_int_equal(host.cpu_ns, 160 * tick_ns);
    assert_int_equal(stats_parse_host_cpu("cpu0 1 2 3 4 5 6 7 8\n", &host), -EBADMSG);
    assert_int_equal(stats_parse_host_cpu("cpu 1 2 3\n", &host), -EBADMSG);
    assert_int_equal(stats_parse_meminfo("MemTotal:        1000 kB\nMemFree:   300 kB\n"
                                         "MemAvailable: 900 kB\nInactive:  7 kB\n"
                                         "Inactive(file):  200 kB\nAnonPages: 50 kB\n"
                                         "SwapTotal: 80 kB\nSwapFree: 30 kB\n",
                                         &host),
                     0);
    assert_int_equal(host.memory_bytes, 1000 * 1024);
    assert_int_equal(host.used_bytes, 700 * 1024);
    assert_int_equal(host.working_set_bytes, 500 * 1024);
    assert_int_equal(host.rss_bytes, 50 * 1024);
    assert_int_equal(host.swap_used_bytes, 50 * 1024);
    assert_int_equal(stats_parse_meminfo("MemFree: 1 kB\n", &host), -EBADMSG);
    assert_int_equal(stats_host(&host), 0);
    assert_true(host.cpu_ns > 0 && host.working_set_bytes > 0 && host.processes > 0);
    assert_true(host.working_set_bytes <= host.used_bytes);
}

static void test_files(void **state)
{
    char dir[] = "/tmp/unikubelet-stats-XXXXXX";
    char path[128];
    char *text = calloc(1, 50000);
    struct stats_files files = {9, 9};

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(stats_files(str_fmt(path, sizeof(path), "%s/none", dir), &files), 0);
    assert_int_equal(files.bytes, 0);
    assert_int_equal(files.inodes, 0);
    str_fmt(path, sizeof(path), "%s/a/b", dir);
    assert_int_equal(file_mkdirs(path, 0755), 0);
    str_fmt(path, sizeof(path), "%s/a/b/0.log", dir);
    memset(text, 'x', 50000);
    assert_int_equal(file_write_atomic(path, text, 50000, 0644), 0);
    str_fmt(path, sizeof(path), "%s/link", dir);
    assert_int_equal(symlink("/", path), 0); /* not followed */
    assert_int_equal(stats_files(dir, &files), 0);
    assert_int_equal(files.inodes, 5);
    assert_in_range(files.bytes, 50000, 50000 + 64 * 1024);
    assert_int_equal(file_remove_tree(dir), 0);
    free(text);
}

/* ---- rates ---- */

static void test_rate(void **state)
{
    static const struct {
        uint64_t at_ms;
        uint64_t value_ms;  /* of CPU */
        int64_t rate_milli; /* cores; -1: not known */
    } rows[] = {
        {100000, 5000, -1},    /* one measurement is no rate */
        {101000, 5500, 500},   /* over 1 s */
        {104000, 6000, 250},   /* over 4 s */
        {105000, 6000, 200},   /* over 5 s: the mark moves */
        {106000, 7000, 333},   /* over 6 s */
        {110000, 11000, 1000}, /* over the last 5 s: 1 s at 1000, 4 s at 1000 */
        {111000, 11000, 833},  {3711000, 11000, 0}, /* asked again after an hour: over that hour */
        {3712000, 12000, 0},                        /* rounded: 1 s of an hour */
        {3716000, 13500, 500},                      /* over the last 5 s */
        {3717000, 100, -1},                         /* the counter began anew */
        {3719000, 1100, 500},
    };
    struct stats_rate rate = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        stats_rate_add(&rate, rows[i].at_ms * 1000000, rows[i].value_ms * 1000000);
        assert_int_equal(rate.known, rows[i].rate_milli >= 0);
        if (rate.known)
            assert_int_equal(rate.rate / 1000000, rows[i].rate_milli);
    }
}

/* ---- the sampler ---- */

static void test_sample_of_a_cgroup(void **state)
{
    struct instance w = {.now_ns = 50000000000, .now_ms = 1795410000000};
    struct stats stats = {0};

    (void)state;
    world(&w);
    str_copy(w.dir, sizeof(w.dir), "/tmp/unikubelet-stats-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    w.usage = (struct cgroup_usage){2000000000, 70 << 20, 60 << 20};
    write_cgroup(&w);
    assert_int_equal(stats_sample(&stats, &w, "id-1", w.now_ms - 4000), 0);
    assert_int_equal(stats.cpu_ns, 2000000000);
    assert_int_equal(stats.memory_bytes, 70 << 20);
    assert_int_equal(stats.working_set_bytes, 60 << 20);
    assert_int_equal(stats.sampled_ms, 1795410000000);
    assert_true(stats.cpu_rate.known); /* 2 s of CPU in the 4 s that it lives */
    assert_int_equal(stats.cpu_rate.rate, 500000000);

    advance(&w, 900); /* fresh still: nothing is read */
    w.usage = (struct cgroup_usage){3000000000, 80 << 20, 50 << 20};
    write_cgroup(&w);
    assert_int_equal(stats_sample(&stats, &w, "id-1", w.now_ms), 0);
    assert_int_equal(stats.cpu_ns, 2000000000);
    advance(&w, 100);
    assert_int_equal(stats_sample(&stats, &w, "id-1", w.now_ms), 0);
    assert_int_equal(stats.cpu_ns, 3000000000);
    assert_int_equal(stats.working_set_bytes, 50 << 20);
    assert_int_equal(stats.cpu_rate.rate, 600000000);

    /* The dear file is read again when usage changed, and else now and then. */
    w.usage.working_set_bytes = 40 << 20;
    write_cgroup(&w);
    advance(&w, 1000);
    assert_int_equal(stats_sample(&stats, &w, "id-1", w.now_ms), 0);
    assert_int_equal(stats.working_set_bytes, 50 << 20);
    advance(&w, 31000);
    assert_int_equal(stats_sample(&stats, &w, "id-1", w.now_ms), 0);
    assert_int_equal(stats.working_set_bytes, 40 << 20);
    assert_int_equal(w.asked, 1); /* all through the same descriptors */

    /* Another attempt: what was known is not its own. */
    w.usage.cpu_ns = 1000;
    write_cgroup(&w);
    assert_int_equal(stats_sample(&stats, &w, "id-2", w.now_ms - 3600000), 0);
    assert_int_equal(stats.cpu_ns, 1000);
    assert_false(stats.cpu_rate.known);
    assert_int_equal(w.asked, 2);
    stats_close(&stats);
    stats_close(&stats);
    advance(&w, 1000);
    assert_int_equal(stats_sample(&stats, &w, "id-2", w.now_ms), 0);
    assert_int_equal(w.asked, 3);
    stats_close(&stats);
    assert_int_equal(file_remove_tree(w.dir), 0);
}

static void test_sample_of_a_process(void **state)
{
    struct instance w = {.usage_result = -ENODEV, .pid = getpid(), .now_ns = 1, .now_ms = 1};
    struct stats stats = {0};

    (void)state;
    world(&w);
    assert_int_equal(stats_sample(&stats, &w, "id", 0), 0);
    assert_true(stats.working_set_bytes > 100000);
    assert_int_equal(stats.working_set_bytes, stats.memory_bytes);
    stats_close(&stats);
    w.pid = 0;
    stats.known = false;
    assert_int_equal(stats_sample(&stats, &w, "id", 0), -ESRCH);
    assert_false(stats.known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process),
        cmocka_unit_test(test_own_process),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_default_link),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_sample_of_a_cgroup),
        cmocka_unit_test(test_sample_of_a_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
