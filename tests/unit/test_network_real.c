/* The Pod network with the real kernel and the real bridge, host-local and portmap plugins, in
 * namespaces of the test's own: frames written into the taps as guests would, and what is left
 * afterwards: nothing. */
#include "tests/unit/network_fixture.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "runtime/netlink.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define UID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define UID_B "bbbbbbbb-0000-4000-8000-000000000002"
#define PLUGINS "/usr/lib/cni"
#define VNET_HDR 10
#define FRAME_MAX 2048
#define WAIT_MS 5000

static const struct network_pod pod_a = {.uid = UID_A, .ns = "default", .name = "a"};
static const struct network_pod pod_b = {.uid = UID_B, .ns = "default", .name = "b"};

static int setup(void **state)
{
    *state = fixture_new(PLUGINS, false);
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

/* Opens the tap as the shim does: by name, in the Pod's namespace. */
static int open_tap(const char *netns, struct netlink_link *ret_tap, struct netlink_link *ret_eth)
{
    CLEANUP(close) int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    CLEANUP(close) int there = open(netns, O_RDONLY | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    struct netlink nl;
    int fd;

    assert_true(home >= 0 && there >= 0);
    assert_int_equal(setns(there, CLONE_NEWNET), 0);
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    assert_true(fd >= 0);
    str_copy(request.ifr_name, sizeof(request.ifr_name), NETWORK_TAP_NAME);
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    assert_int_equal(netlink_open(&nl), 0);
    assert_int_equal(netlink_link(&nl, NETWORK_TAP_NAME, ret_tap), 0);
    assert_int_equal(netlink_link(&nl, "eth0", ret_eth), 0);
    netlink_close(&nl);
    assert_int_equal(setns(home, CLONE_NEWNET), 0);
    return fd;
}

struct guest {
    int fd;
    unsigned char mac[6];
    unsigned char tap_mac[6];
    unsigned char ip[4];
};

static struct guest guest_open(const struct network_result *net)
{
    struct netlink_link tap;
    struct netlink_link eth;
    struct guest guest;
    char mac[18];

    guest.fd = open_tap(net->netns, &tap, &eth);
    memcpy(guest.mac, eth.mac, 6);
    memcpy(guest.tap_mac, tap.mac, 6);
    str_fmt(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", eth.mac[0], eth.mac[1], eth.mac[2],
            eth.mac[3], eth.mac[4], eth.mac[5]);
    assert_string_equal(mac, net->mac);
    assert_memory_not_equal(tap.mac, eth.mac, 6);
    assert_int_equal(tap.mtu, net->mtu);
    assert_int_equal(eth.mtu, net->mtu);
    assert_int_equal(inet_pton(AF_INET, net->ip, guest.ip), 1);
    return guest;
}

static void send_frame(const struct guest *guest, const unsigned char to[6], uint16_t type,
                       const unsigned char *payload, size_t len)
{
    unsigned char frame[VNET_HDR + FRAME_MAX] = {0};

    memcpy(frame + VNET_HDR, to, 6);
    memcpy(frame + VNET_HDR + 6, guest->mac, 6);
    frame[VNET_HDR + 12] = (unsigned char)(type >> 8);
    frame[VNET_HDR + 13] = (unsigned char)type;
    memcpy(frame + VNET_HDR + 14, payload, len);
    assert_int_equal(write(guest->fd, frame, VNET_HDR + 14 + len), VNET_HDR + 14 + len);
}

/* The next frame of that type and operation, without the header before it; 0 when none comes. All
 * others are looked at too: none may be from the namespace that hosts this guest. */
static size_t read_frame(const struct guest *guest, uint16_t type, int wait_ms,
                         unsigned char frame[FRAME_MAX])
{
    uint64_t end = clock_mono_ms() + (uint64_t)wait_ms;

    for (;;) {
        struct pollfd wait = {.fd = guest->fd, .events = POLLIN};
        unsigned char raw[VNET_HDR + FRAME_MAX];
        uint64_t now = clock_mono_ms();
        ssize_t n;

        if (now >= end || poll(&wait, 1, (int)(end - now)) == 0)
            return 0;
        n = read(guest->fd, raw, sizeof(raw));
        if (n < VNET_HDR + 14)
            continue;
        assert_memory_not_equal(raw + VNET_HDR + 6, guest->mac, 6);
        assert_memory_not_equal(raw + VNET_HDR + 6, guest->tap_mac, 6);
        memcpy(frame, raw + VNET_HDR, (size_t)n - VNET_HDR);
        if (frame[12] == type >> 8 && frame[13] == (type & 255))
            return (size_t)n - VNET_HDR;
    }
}

static void ask_arp(const struct guest *guest, const unsigned char ip[4])
{
    static const unsigned char all[6] = {255, 255, 255, 255, 255, 255};
    unsigned char arp[28] = {0, 1, 8, 0, 6, 4, 0, 1};

    memcpy(arp + 8, guest->mac, 6);
    memcpy(arp + 14, guest->ip, 4);
    memcpy(arp + 24, ip, 4);
    send_frame(guest, all, ETH_P_ARP, arp, sizeof(arp));
}

/* Waits for an ARP answer (operation 2) about ip; false when none comes. */
static bool read_arp(const struct guest *guest, const unsigned char ip[4], int wait_ms,
                     unsigned char ret_mac[6])
{
    unsigned char frame[FRAME_MAX];

    while (read_frame(guest, ETH_P_ARP, wait_ms, frame) >= 42) {
        if (frame[21] != 2 || memcmp(frame + 28, ip, 4) != 0)
            continue;
        memcpy(ret_mac, frame + 22, 6);
        return true;
    }
    return false;
}

static uint16_t checksum(const unsigned char *data, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < len; i += 2)
        sum += (uint32_t)(data[i] << 8 | data[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void send_echo(const struct guest *from, const unsigned char to_mac[6],
                      const unsigned char to_ip[4], unsigned char type)
{
    unsigned char packet[20 + 16] = {0x45, 0, 0, 36, 0, 1, 0, 0, 64, 1};
    uint16_t sum;

    memcpy(packet + 12, from->ip, 4);
    memcpy(packet + 16, to_ip, 4);
    sum = checksum(packet, 20);
    packet[10] = (unsigned char)(sum >> 8);
    packet[11] = (unsigned char)sum;
    packet[20] = type;
    memcpy(packet + 24, "unikernl", 8);
    sum = checksum(packet + 20, 16);
    packet[22] = (unsigned char)(sum >> 8);
    packet[23] = (unsigned char)sum;
    send_frame(from, to_mac, ETH_P_IP, packet, sizeof(packet));
}

static void expect_echo(const struct guest *at, const unsigned char from_ip[4], unsigned char type)
{
    unsigned char frame[FRAME_MAX];

    do
        assert_true(read_frame(at, ETH_P_IP, WAIT_MS, frame) >= 14 + 28);
    while (memcmp(frame + 14 + 12, from_ip, 4) != 0 || frame[14 + 9] != 1);
    assert_int_equal(frame[14 + 20], type);
    assert_memory_equal(frame + 14 + 16, at->ip, 4);
}

/* The nat table as text. */
static char *nat_rules(void)
{
    static const char *const argv[] = {"iptables", "-w", "-t", "nat", "-S", NULL};
    CLEANUP(buf) struct buf text = BUF_INIT(1024 * 1024);
    CLEANUP(close) int pidfd = -1;
    struct pollfd wait = {.events = POLLIN};
    int fds[2];
    char chunk[4096];
    pid_t pid;
    int status;
    ssize_t n;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    const int child_fds[] = {-1, fds[1], 2};
    const struct spawn spawn = {
        .path = access("/usr/sbin/iptables", X_OK) == 0 ? "/usr/sbin/iptables" : "/sbin/iptables",
        .argv = argv,
        .fds = child_fds,
        .fds_len = 3};

    assert_int_equal(spawn_start(&spawn, &pid, &pidfd, NULL), 0);
    (void)close(fds[1]);
    while ((n = read(fds[0], chunk, sizeof(chunk))) > 0)
        assert_int_equal(buf_add(&text, chunk, (size_t)n), 0);
    (void)close(fds[0]);
    wait.fd = pidfd;
    assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
    assert_int_equal(spawn_reap(pidfd, &status), 0);
    assert_int_equal(status, 0);
    return buf_take(&text);
}

static bool has_rule(const char *text)
{
    CLEANUP(free) char *rules = nat_rules();

    return strstr(rules, text) != NULL;
}

static size_t count_files(const char *path, const char *prefix)
{
    CLEANUP(closedir) DIR *dir = opendir(path);
    const struct dirent *entry;
    size_t count = 0;

    while (dir && (entry = readdir(dir)))
        count += str_starts(entry->d_name, prefix) && entry->d_name[0] != '.';
    return count;
}

static size_t leases(const struct fixture *f)
{
    CLEANUP(free) char *path = xasprintf("%s/ipam/unikubelet", f->state_dir);

    return count_files(path, "10.99.");
}

/* Interfaces of the outer namespace that are neither lo nor the bridge. */
static size_t veths(void)
{
    struct netlink nl;
    struct netlink_link link;
    size_t count = 0;
    char name[IFNAMSIZ];
    struct ifreq request;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_int_equal(netlink_open(&nl), 0);
    for (int index = 1; index < 256; index++) {
        request = (struct ifreq){.ifr_ifindex = index};
        if (ioctl(fd, SIOCGIFNAME, &request) < 0)
            continue;
        str_copy(name, sizeof(name), request.ifr_name);
        count += str_starts(name, "veth") && netlink_link(&nl, name, &link) == 0;
    }
    netlink_close(&nl);
    (void)close(fd);
    return count;
}

static void expect_nothing_left(struct fixture *f)
{
    CLEANUP(free) char *rules = nat_rules();
    CLEANUP(free) char *store = xasprintf("%s/net", f->state_dir);

    assert_int_equal(count_files(f->netns_dir, ""), 0);
    assert_int_equal(count_files(store, "aaaa") + count_files(store, "bbbb"), 0);
    assert_int_equal(leases(f), 0);
    assert_int_equal(veths(), 0);
    assert_null(strstr(rules, "unikubelet"));
    assert_int_equal(fixture_listed(f), 0);
}

static void bridge_mac(unsigned char mac[6])
{
    struct netlink nl;
    struct netlink_link link;

    assert_int_equal(netlink_open(&nl), 0);
    assert_int_equal(netlink_link(&nl, "unik0", &link), 0);
    netlink_close(&nl);
    memcpy(mac, link.mac, 6);
}

static void test_check(void **state)
{
    struct fixture *f = *state;
    struct err err = {.code = 0};

    if (network_check(f->network, &err) < 0)
        fail_msg("%s", err.text);
}

static void test_two_guests(void **state)
{
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod_a);
    struct answer b = fixture_add(f, &pod_b);
    unsigned char gateway[4];
    unsigned char bridge[6];
    unsigned char mac[6];
    struct guest ga;
    struct guest gb;

    assert_string_equal(a.error, "");
    assert_int_equal(a.result, 0);
    assert_int_equal(b.result, 0);
    assert_string_equal(a.net.gateway, "10.99.0.1");
    assert_int_equal(a.net.prefix_len, 24);
    assert_string_not_equal(a.net.ip, b.net.ip);
    assert_int_equal(leases(f), 2);
    assert_true(has_rule(UID_A) && has_rule(UID_B));
    ga = guest_open(&a.net);
    gb = guest_open(&b.net);

    assert_int_equal(inet_pton(AF_INET, a.net.gateway, gateway), 1);
    bridge_mac(bridge);
    ask_arp(&ga, gateway);
    assert_true(read_arp(&ga, gateway, WAIT_MS, mac));
    assert_memory_equal(mac, bridge, 6);

    /* The guest is the only one to answer for its address: nobody does while it is silent. */
    ask_arp(&gb, ga.ip);
    assert_false(read_arp(&gb, ga.ip, 300, mac));

    send_echo(&ga, gb.mac, gb.ip, 8);
    expect_echo(&gb, ga.ip, 8);
    send_echo(&gb, ga.mac, ga.ip, 0);
    expect_echo(&ga, gb.ip, 0);
    /* The node itself is reached too, and answers by itself. */
    send_echo(&ga, bridge, gateway, 8);
    expect_echo(&ga, gateway, 0);

    (void)close(ga.fd);
    (void)close(gb.fd);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    bridge_mac(mac);
    assert_memory_equal(mac, bridge, 6); /* the other guests have it in their ARP caches */
    assert_int_equal(leases(f), 1);
    assert_false(has_rule(UID_A));
    assert_true(has_rule(UID_B));
    assert_int_equal(fixture_del(f, UID_B).result, 0);
    expect_nothing_left(f);
}

static void test_ports(void **state)
{
    static const struct network_port ports[] = {
        {.container_port = 80, .host_port = 18080, .host_ip = "", .protocol = "tcp"},
        {.container_port = 81, .host_port = 0, .host_ip = "", .protocol = "tcp"},
    };
    const struct network_pod pod = {
        .uid = UID_A, .ns = "default", .name = "a", .wants = {.ports = ports, .ports_len = 2}};
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod);

    assert_string_equal(a.error, "");
    assert_true(has_rule("--dport 18080"));
    assert_false(has_rule("--dport 0"));
    fixture_close(f); /* DEL knows the ports from the record alone */
    fixture_open(f);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    assert_false(has_rule("18080"));
    expect_nothing_left(f);
}

static void test_adopt(void **state)
{
    struct fixture *f = *state;
    struct answer first = fixture_add(f, &pod_a);
    struct network_result loaded;
    struct answer again;

    assert_int_equal(first.result, 0);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(network_load(f->network, UID_A, &loaded), 0);
    assert_string_equal(loaded.ip, first.net.ip);
    assert_string_equal(loaded.mac, first.net.mac);
    assert_int_equal(network_load(f->network, UID_B, &loaded), -ENOENT);
    assert_int_equal(fixture_listed(f), 1);
    again = fixture_add(f, &pod_a);
    assert_int_equal(again.result, 0);
    assert_string_equal(again.net.ip, first.net.ip);
    assert_int_equal(leases(f), 1);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    expect_nothing_left(f);
}

/* Somebody removed the namespace behind our back: lease and rules go all the same. */
static void test_netns_gone(void **state)
{
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod_a);
    struct network_result loaded;

    assert_int_equal(a.result, 0);
    assert_int_equal(umount2(a.net.netns, MNT_DETACH), 0);
    assert_int_equal(unlink(a.net.netns), 0);
    assert_int_equal(network_load(f->network, UID_A, &loaded), -ENOENT);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    expect_nothing_left(f);

    /* And an add instead of the del makes a new one. */
    a = fixture_add(f, &pod_a);
    assert_int_equal(umount2(a.net.netns, MNT_DETACH), 0);
    a = fixture_add(f, &pod_a);
    assert_string_equal(a.error, "");
    assert_int_equal(leases(f), 1);
    assert_int_equal(network_load(f->network, UID_A, &loaded), 0);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    expect_nothing_left(f);
}

/* No record at all, as after a lost disk: the namespace's name says whose it is. The masquerading
 * rule stays, since nobody knows the address any more: the last test. */
static void test_record_gone(void **state)
{
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod_a);
    CLEANUP(free) char *path = xasprintf("%s/net/" UID_A ".json", f->state_dir);

    assert_int_equal(a.result, 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fixture_listed(f), 1);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    assert_int_equal(count_files(f->netns_dir, ""), 0);
    assert_int_equal(leases(f), 0);
    assert_int_equal(veths(), 0);
}

#define MANY 8

/* Several at once, and what they cost. */
static void test_many(void **state)
{
    struct fixture *f = *state;
    struct answer answers[MANY] = {{.there = false}};
    char uids[MANY][40];
    uint64_t begun = clock_mono_ns();
    uint64_t added;

    for (size_t i = 0; i < MANY; i++) {
        struct network_pod pod = {.uid = uids[i], .ns = "default", .name = "many"};

        str_fmt(uids[i], sizeof(uids[i]), "aaaaaaaa-0000-4000-8000-%012zu", i);
        network_add(f->network, &pod, on_answer, &answers[i]);
    }
    for (size_t i = 0; i < MANY; i++) {
        fixture_wait(f, &answers[i]);
        assert_string_equal(answers[i].error, "");
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(answers[k].net.ip, answers[i].net.ip);
    }
    added = clock_mono_ns();
    for (size_t i = 0; i < MANY; i++) {
        answers[i] = (struct answer){.there = false};
        network_del(f->network, uids[i], on_answer, &answers[i]);
    }
    for (size_t i = 0; i < MANY; i++) {
        fixture_wait(f, &answers[i]);
        assert_string_equal(answers[i].error, "");
    }
    print_message("           %d at once: %.1f ms an ADD, %.1f ms a DEL\n", MANY,
                  (double)(added - begun) / 1e6 / MANY,
                  (double)(clock_mono_ns() - added) / 1e6 / MANY);
    expect_nothing_left(f);
}

/* The agent goes away in the middle of everything, at many different moments; the next one undoes
 * whatever it was. */
static void test_close_busy(void **state)
{
    struct fixture *f = *state;

    for (int turns = 0; turns < 48; turns += 3) {
        struct answer a = {.there = false};
        struct answer b = {.there = false};
        bool deleting = turns % 2;

        if (deleting) {
            assert_int_equal(fixture_add(f, &pod_a).result, 0);
            network_del(f->network, UID_A, on_answer, &a);
        } else {
            network_add(f->network, &pod_a, on_answer, &a);
        }
        network_add(f->network, &pod_b, on_answer, &b);
        for (int i = 0; i < turns && !(a.there && b.there); i++)
            (void)uv_run(&f->loop, UV_RUN_ONCE);
        fixture_close(f);
        fixture_open(f);
        a = fixture_del(f, UID_A);
        b = fixture_del(f, UID_B);
        assert_string_equal(a.error, "");
        assert_string_equal(b.error, "");
        expect_nothing_left(f);
    }
}

/* Another state directory, the same namespaces: it would take down what the first one made. In a
 * process of its own, as an agent is. */
static int second_agent(struct fixture *f)
{
    struct network_config config = f->config;
    struct network *second = NULL;
    struct err err = {.code = 0};
    char dir[PATH_MAX];

    str_fmt(dir, sizeof(dir), "%s/second", f->root);
    config.state_dir = dir;
    if (network_open(&f->loop, &config, &second, &err) != -EWOULDBLOCK || second)
        return 1;
    return strstr(err.text, f->netns_dir) ? 0 : 2;
}

static void test_second_agent(void **state)
{
    struct fixture *f = *state;
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(second_agent(f));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fixture_close(f);
    fixture_open(f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_check, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_guests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_netns_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_agent, setup, teardown),
    };

    fixture_isolate();
    if (access(PLUGINS "/bridge", X_OK) < 0) {
        (void)fprintf(stderr, "NOT TESTED: %s has no CNI plugins (containernetworking-plugins)\n",
                      PLUGINS);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
