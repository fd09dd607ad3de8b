/* Two families, and what a Pod may ask of the plugins, with the real kernel and the real bridge,
 * host-local, portmap and bandwidth plugins, in namespaces of the test's own. */
#include "tests/unit/network_fixture.h"

#include "base/cleanup.h"

#include <poll.h>

#define UID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define PLUGINS "/usr/lib/cni"

static int setup(void **state)
{
    struct fixture *f = fixture_new(PLUGINS, false);

    fixture_close(f);
    f->config.pod_cidr6 = "fd00:99::/64";
    fixture_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

/* What a shell command prints; it must succeed. */
static char *output(const char *command)
{
    CLEANUP(buf) struct buf text = BUF_INIT(65536);
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    struct pollfd wait = {.events = POLLIN};
    char chunk[1024];
    int fds[2];
    int pidfd;
    int status;
    pid_t pid;
    ssize_t n;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    const int child_fds[] = {-1, fds[1], 2};
    const struct spawn spawn = {
        .path = argv[0], .argv = argv, .fds = child_fds, .fds_len = ARRAY_LEN(child_fds)};

    assert_int_equal(spawn_start(&spawn, &pid, &pidfd, NULL), 0);
    (void)close(fds[1]);
    while ((n = read(fds[0], chunk, sizeof(chunk))) > 0)
        assert_int_equal(buf_add(&text, chunk, (size_t)n), 0);
    (void)close(fds[0]);
    wait.fd = pidfd;
    assert_int_equal(poll(&wait, 1, 10000), 1);
    assert_int_equal(spawn_reap(pidfd, &status), 0);
    assert_int_equal(status, 0);
    return buf_take(&text);
}

static bool says(const char *command, const char *text)
{
    CLEANUP(free) char *all = output(command);

    return all && strstr(all, text) != NULL;
}

static struct answer verify(struct fixture *f, const char *uid)
{
    struct answer answer = {.there = false};

    network_verify(f->network, uid, on_answer, &answer);
    fixture_wait(f, &answer);
    return answer;
}

static void test_both_families(void **state)
{
    const struct network_pod pod = {.uid = UID_A, .ns = "default", .name = "a"};
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod);
    struct network_result kept;

    assert_string_equal(a.error, "");
    assert_true(str_starts(a.net.ip, "10.99.0."));
    assert_string_equal(a.net.gateway, "10.99.0.1");
    assert_true(str_starts(a.net.ip6, "fd00:99::"));
    assert_int_equal(a.net.prefix6_len, 64);
    assert_string_equal(a.net.gateway6, "fd00:99::1");
    assert_string_equal(a.net.others, "");
    assert_true(says("ip6tables-save -t nat", a.net.ip6));
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(network_load(f->network, UID_A, &kept), 0);
    assert_memory_equal(&kept, &a.net, sizeof(kept));
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    assert_false(says("ip6tables-save -t nat", "CNI-"));
    assert_false(says("iptables-save -t nat", "CNI-"));
    assert_int_equal(fixture_listed(f), 0);
}

static void test_six_alone(void **state)
{
    const struct network_pod pod = {.uid = UID_A, .ns = "default", .name = "a"};
    struct fixture *f = *state;
    struct answer a;

    fixture_close(f);
    f->config.pod_cidr = "fd00:98::/64";
    f->config.pod_cidr6 = NULL;
    fixture_open(f);
    a = fixture_add(f, &pod);
    assert_string_equal(a.error, "");
    assert_true(str_starts(a.net.ip, "fd00:98::"));
    assert_string_equal(a.net.gateway, "fd00:98::1");
    assert_string_equal(a.net.ip6, "");
    assert_string_equal(verify(f, UID_A).error, "");
    assert_int_equal(fixture_del(f, UID_A).result, 0);
}

/* bridge's own CHECK finds what its ADD made although the guest has it, and tells what is missing.
 */
static void test_verify_real(void **state)
{
    const struct network_pod pod = {.uid = UID_A, .ns = "default", .name = "a"};
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod);
    CLEANUP(free) char *show = xasprintf("nsenter --net=%s ip addr show eth0", a.net.netns);
    CLEANUP(free)
    char *spoil =
        xasprintf("nsenter --net=%s ip link set eth0 address 02:00:00:00:00:01 2>&1", a.net.netns);

    assert_string_equal(a.error, "");
    assert_string_equal(verify(f, UID_A).error, "");
    assert_false(says(show, "inet")); /* the guest's again, of either family */
    assert_true(says(spoil, ""));
    a = verify(f, UID_A);
    assert_true(a.result < 0);
    assert_true(str_starts(a.error, "CNI plugin bridge: "));
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    assert_int_equal(fixture_listed(f), 0);
}

static void test_wanted_addresses(void **state)
{
    const struct network_pod pod = {
        .uid = UID_A,
        .ns = "default",
        .name = "a",
        .wants = {.ips = "10.99.0.77,fd00:99::77", .mac = "02:00:00:00:00:77"}};
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod);

    assert_string_equal(a.error, "");
    assert_string_equal(a.net.ip, "10.99.0.77");
    assert_string_equal(a.net.ip6, "fd00:99::77");
    assert_string_equal(a.net.mac, "02:00:00:00:00:77");
    assert_int_equal(fixture_del(f, UID_A).result, 0);
}

/* tbf on the host's end of the Pod's link towards it, and on an ifb for what it sends. */
static void test_bandwidth(void **state)
{
    const struct network_pod pod = {.uid = UID_A,
                                    .ns = "default",
                                    .name = "a",
                                    .wants = {.ingress_bps = 8000000, .egress_bps = 16000000}};
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod);

    assert_string_equal(a.error, "");
    assert_true(says("tc qdisc show", "rate 8Mbit"));
    assert_true(says("tc qdisc show", "rate 16Mbit"));
    assert_true(says("ip -br link", "bwp"));
    assert_string_equal(verify(f, UID_A).error, "");
    fixture_close(f); /* the limits are on record: DEL tells the plugin again */
    fixture_open(f);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    assert_false(says("ip -br link", "bwp"));
    assert_false(says("ip -br link", "veth"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_both_families, setup, teardown),
        cmocka_unit_test_setup_teardown(test_six_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_verify_real, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wanted_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bandwidth, setup, teardown),
    };

    fixture_isolate();
    /* /sys/class/net is the namespace's only when mounted in it; the bandwidth plugin reads it. */
    if (access(PLUGINS "/bandwidth", X_OK) < 0) {
        (void)fprintf(stderr, "NOT TESTED: %s has no CNI plugins (containernetworking-plugins)\n",
                      PLUGINS);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
