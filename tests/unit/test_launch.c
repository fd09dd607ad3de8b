/* provider/launch.c and dns.c: what machine a Pod's spec becomes. The real command lines of the
 * guest kinds; the machine itself is not started: instance_launch is this file's and keeps what it
 * was given. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "provider/host.h"
#include "provider/machines.h"
#include "provider/objects.h"
#include "provider/prepare.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UID "0b0f5a4e-1111-4222-8333-444455556666"
#define ID "00112233445566778899aabbccddeeff"
#define MIB 1048576LL

/* What instance_launch was asked for. */
struct launched {
    int calls, result;
    struct instance_spec spec;
    char cmdline[8192], log_path[512], name[80];
    struct image *found;
};

/* The stand-ins below have no argument of ours: the agent's instances is the way to the test. */
int instance_launch(struct instances *all, const struct instance_spec *spec,
                    const struct instance_ops *ops, void *userdata, struct instance **ret,
                    struct err *err)
{
    struct launched *l = (void *)all;
    (void)ops;
    (void)userdata;
    (void)ret;
    l->calls++;
    l->spec = *spec;
    str_copy(l->cmdline, sizeof(l->cmdline), spec->machine.cmdline);
    str_copy(l->log_path, sizeof(l->log_path), spec->log_path);
    str_copy(l->name, sizeof(l->name), spec->machine.name);
    return l->result < 0 ? err_set(err, l->result, "no more machines") : 0;
}

struct image *image_find(struct image_store *store, const char *name, const char *digest)
{
    struct launched *l = (void *)store;
    assert_string_equal(name, "reg/app");
    assert_string_equal(digest, "sha256:aa");
    return l->found;
}

/* What stands in for agent->objects. */
struct known {
    size_t services;
    char event[64];
};

/* Machines without volumes and objects; those are test_volumes' and the end-to-end tests'. */
int prepare_give(void *userdata, uint32_t uid, uint32_t gid, struct err *err)
{
    (void)userdata;
    (void)uid;
    (void)gid;
    (void)err;
    return 0;
}

const char *prepare_initrd(const struct machine *m)
{
    (void)m;
    return NULL;
}

size_t prepare_shares(const struct machine *m, const struct share **ret)
{
    (void)m;
    *ret = NULL;
    return 0;
}

const struct object_data *prepare_object(void *userdata, bool secret, const char *name)
{
    (void)userdata;
    (void)secret;
    (void)name;
    return NULL;
}

/* As many Services as the test says, through the objects pointer. */
size_t objects_services(struct objects *objects, const char *ns, bool links, env_alloc alloc,
                        void *userdata, const struct env_service **ret)
{
    static const struct container_port port = {.name = "http", .container_port = 80};
    struct known *known = (void *)objects;
    size_t len = known && links ? known->services : 0;
    struct env_service *list = len ? alloc(userdata, len * sizeof(*list)) : NULL;
    (void)ns;
    for (size_t i = 0; i < len; i++) {
        char *name = alloc(userdata, sizeof("svc-000"));
        str_fmt(name, sizeof("svc-000"), "svc-%03zu", i % 1000);
        list[i] =
            (struct env_service){.name = name, .ip = "10.96.0.9", .ports = &port, .ports_len = 1};
    }
    *ret = list;
    return len;
}

void agent_event(struct agent *agent, struct pod *pod, int container, bool warning,
                 const char *reason, const char *fmt, ...)
{
    struct known *known = (void *)agent->objects;
    (void)pod;
    (void)container;
    (void)warning;
    (void)fmt;
    str_copy(known->event, sizeof(known->event), reason);
}

struct fixture {
    struct known known;
    struct agent agent;
    struct host host;
    struct launched launched;
    struct image image;
    struct machine machine;
    struct container_spec container;
    struct pod_spec spec;
    struct pod pod;
    struct container_observed observed[2];
    char image_names[2][POD_IMAGE_NAME_MAX];
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    static char node[] = "uk-0", logs[] = "/logs", memory[] = "64Mi", domain[] = "cluster.local";
    f->agent.config.node_name = node;
    f->agent.config.log_dir = logs;
    f->agent.config.default_memory = memory;
    f->agent.config.cluster_domain = domain;
    f->agent.host = &f->host;
    f->agent.vmm = &vmm_fake;
    f->agent.vmm_config.accel = ACCEL_TCG;
    f->agent.instances = (void *)&f->launched;
    f->agent.images = (void *)&f->launched;
    f->agent.objects = (void *)&f->known;
    str_copy(f->agent.host_ip, sizeof(f->agent.host_ip), "192.0.2.1");
    f->host.cpu_milli = f->host.cpu_allocatable_milli = 4000;
    f->host.memory_allocatable_bytes = 1024 * MIB;
    f->host.storage_allocatable_bytes = 5000;
    f->image = (struct image){.kernel = "/i/kernel", .guest_kind = "linux"};
    f->container = (struct container_spec){
        .name = "c",
        .image = "reg/app:v1",
        .resources = {-1, -1, -1, -1, -1, -1},
    };
    f->spec = (struct pod_spec){.uid = UID,
                                .ns = "ns",
                                .name = "web-0",
                                .dns_policy = "ClusterFirst",
                                .containers = &f->container,
                                .containers_len = 1};
    f->pod.spec = &f->spec;
    f->pod.containers = f->pod.obs.containers = f->observed;
    f->pod.image_names = f->image_names;
    f->pod.obs.containers_len = 1;
    f->pod.containers[0].attempt = 3;
    str_copy(f->pod.obs.pod_ip, sizeof(f->pod.obs.pod_ip), "10.88.0.2");
    f->machine = (struct machine){.agent = &f->agent, .image = &f->image, .id = ID};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static int launch(struct fixture *f)
{
    f->err = (struct err){0};
    return machine_launch(&f->machine, &f->pod, NULL, &f->err);
}

static void launch_good(struct fixture *f)
{
    if (launch(f) != 0)
        fail_msg("%s", f->err.text);
}

static void net_up(struct fixture *f)
{
    f->machine.net_up = true;
    f->machine.net.prefix_len = 16;
    f->machine.net.mtu = 1400;
    str_copy(f->machine.net.ip, sizeof(f->machine.net.ip), "10.88.0.2");
    str_copy(f->machine.net.gateway, sizeof(f->machine.net.gateway), "10.88.0.1");
    str_copy(f->machine.net.mac, sizeof(f->machine.net.mac), "0a:58:0a:58:00:02");
    str_copy(f->machine.net.netns, sizeof(f->machine.net.netns), "/run/netns/x");
}

static void test_machine(void **state)
{
    struct fixture *f = *state;
    static const char *const args[] = {"-v", "$(A)"};
    static const struct env_var env[] = {
        {.kind = ENV_VALUE, .name = "A", .value = "1"},
        {.kind = ENV_FIELD, .name = "IP", .value = "status.podIP"},
        {.kind = ENV_FIELD, .name = "HOST", .value = "status.hostIP"},
        {.kind = ENV_FIELD, .name = "NODE", .value = "spec.nodeName"},
        {.kind = ENV_RESOURCE, .name = "DISK", .value = "limits.ephemeral-storage"},
        {.kind = ENV_RESOURCE, .name = "MEMORY", .value = "limits.memory"},
    };
    f->container.args = args;
    f->container.args_len = 2;
    f->container.env = env;
    f->container.env_len = ARRAY_LEN(env);
    f->image.initrd = "/i/initrd";
    net_up(f);
    launch_good(f);
    const struct launched *l = &f->launched;
    assert_int_equal(l->calls, 1);
    assert_string_equal(l->spec.id, ID);
    assert_string_equal(l->spec.pod_uid, UID);
    assert_string_equal(l->spec.container, "c");
    assert_int_equal(l->spec.attempt, 3);
    assert_string_equal(l->spec.netns, "/run/netns/x");
    assert_string_equal(l->log_path, "/logs/ns_web-0_" UID "/c/3.log");
    assert_string_equal(l->spec.guest->kind, "linux");
    assert_string_equal(l->spec.machine.kernel, "/i/kernel");
    assert_string_equal(l->spec.machine.initrd, "/i/initrd");
    assert_int_equal(l->spec.machine.board, l->spec.guest->board);
    assert_string_equal(l->spec.machine.mac, "0a:58:0a:58:00:02");
    assert_int_equal(l->spec.machine.mtu, 1400);
    assert_string_equal(l->name, "unik-" UID);
    assert_int_equal(l->spec.memory_limit_bytes,
                     (96 + vmm_overhead_mib(&vmm_fake, ACCEL_TCG)) * MIB);
    assert_non_null(strstr(l->cmdline, "ip=10.88.0.2::10.88.0.1:255.255.0.0:web-0"));
    assert_non_null(strstr(l->cmdline, " A=1 IP=10.88.0.2 HOST=192.0.2.1 NODE=uk-0 DISK=5000 "
                                       "MEMORY=1073741824"));
    assert_true(str_ends(l->cmdline, " -- -v 1"));
}

static void test_no_network(void **state)
{
    struct fixture *f = *state;
    launch_good(f);
    assert_null(f->launched.spec.netns);
    assert_null(f->launched.spec.machine.mac);
    assert_null(strstr(f->launched.cmdline, "ip="));
}

static void test_memory(void **state)
{
    static char large[] = "200M", small[] = "64Mi";
    static const struct {
        int64_t limit, request;
        char *preset;
        uint32_t mib;
    } rows[] = {
        {-1, -1, large, 191},
        {-1, -1, small, 96}, /* what the kind needs at least */
        {0, 0, large, 191},  /* 0 is no limit */
        {256 * MIB, 128 * MIB, large, 256},
        {-1, 100 * MIB, large, 100},
        {0, 100 * MIB, large, 100},
        {128 * MIB + 1, -1, large, 129},
        {-1, 128 * MIB - 1, large, 128},
        {INT64_MAX, -1, large, UINT32_MAX},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        f->agent.config.default_memory = rows[i].preset;
        f->container.resources.memory_limit_bytes = rows[i].limit;
        f->container.resources.memory_request_bytes = rows[i].request;
        launch_good(f);
        assert_int_equal(f->launched.spec.machine.memory_mib, rows[i].mib);
    }
}

static void test_too_little_memory(void **state)
{
    struct fixture *f = *state;
    const struct guest_ops *guest = guest_find("linux");
    assert_true(guest->memory_mib_min > 1);
    f->container.resources.memory_limit_bytes = MIB;
    assert_int_equal(launch(f), -EINVAL);
    assert_int_equal(f->err.kind, ERR_SPEC);
    CLEANUP(free)
    char *want = xasprintf("spec.containers[0].resources.limits.memory: 1 MiB are too few for a "
                           "linux guest; give it at least %uMi",
                           guest->memory_mib_min);
    assert_string_equal(f->err.text, want);
    assert_int_equal(f->launched.calls, 0);
    f->container.resources.memory_limit_bytes = guest->memory_mib_min * MIB;
    launch_good(f);
}

static void test_cpus(void **state)
{
    static const struct {
        int64_t milli;
        uint32_t cpus;
    } rows[] = {
        {-1, 1},   {0, 1},    {1, 1},    {1000, 1},      {1001, 2},
        {2500, 3}, {4000, 4}, {9000, 4}, {INT64_MAX, 4},
    };
    struct fixture *f = *state;
    f->container.resources.cpu_request_milli = 250;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        f->container.resources.cpu_limit_milli = rows[i].milli;
        launch_good(f);
        assert_int_equal(f->launched.spec.machine.cpus, rows[i].cpus);
        assert_int_equal(f->launched.spec.cpu_limit_milli, rows[i].milli);
        assert_int_equal(f->launched.spec.cpu_request_milli, 250);
    }
}

static void test_hostname(void **state)
{
    static const struct {
        const char *hostname, *name, *want;
    } rows[] = {
        {NULL, "web-0", ":web-0:"},
        {"", "web-0", ":web-0:"},
        {"other", "web-0", ":other:"},
        {NULL, "a123456789012345678901234567890123456789012345678901234567890-.3456",
         ":a123456789012345678901234567890123456789012345678901234567890:"},
    };
    struct fixture *f = *state;
    net_up(f);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        f->spec.hostname = rows[i].hostname;
        f->spec.name = rows[i].name;
        launch_good(f);
        if (!strstr(f->launched.cmdline, rows[i].want))
            fail_msg("row %zu: %s", i, f->launched.cmdline);
    }
}

/* A variable of the image that the Pod did not touch may be left out by a kernel without room. */
static void test_images_variables(void **state)
{
    static const char *const image_env[] = {"PATH=/bin", "A=1", "B="};
    static const struct env_var env[] = {{.kind = ENV_VALUE, .name = "A", .value = "2"}};
    struct fixture *f = *state;
    f->image.env = image_env;
    f->image.env_len = ARRAY_LEN(image_env);
    f->container.env = env;
    f->container.env_len = 1;
    launch_good(f);
    assert_non_null(strstr(f->launched.cmdline, "PATH=/bin"));
    assert_non_null(strstr(f->launched.cmdline, "A=2"));
    assert_null(strstr(f->launched.cmdline, "A=1"));
    /* A Unikraft kernel that takes no environment: the image's is dropped, the Pod's refused. */
    static const char *features[64]; /* a whole KConfig, without LIBPOSIX_ENVIRON_LIBPARAM */
    for (size_t i = 0; i < ARRAY_LEN(features); i++)
        features[i] = "CONFIG_LIBUKBOOT=y";
    f->image.guest_kind = "unikraft";
    f->image.os_features = features;
    f->image.os_features_len = ARRAY_LEN(features);
    assert_true(launch(f) < 0);
    assert_int_equal(f->err.kind, ERR_SPEC);
    f->container.env_len = 0;
    launch_good(f);
    assert_null(strstr(f->launched.cmdline, "PATH"));
    assert_int_equal(f->launched.calls, 2);
}

/* Services' variables are what goes first when the command line has no room, and the Pod is told.
 */
static void test_service_links(void **state)
{
    struct fixture *f = *state;
    static const struct env_var env[] = {{.kind = ENV_VALUE, .name = "MINE", .value = "kept"}};
    f->container.env = env;
    f->container.env_len = 1;
    f->known.services = 1;
    launch_good(f);
    assert_non_null(strstr(f->launched.cmdline, "SVC_000_SERVICE_HOST=10.96.0.9"));
    assert_string_equal(f->known.event, "");
    static const size_t too_many[] = {100, 500, 999}; /* for the command line; for the list */
    for (size_t i = 0; i < ARRAY_LEN(too_many); i++) {
        f->known = (struct known){.services = too_many[i]};
        launch_good(f);
        assert_null(strstr(f->launched.cmdline, "_SERVICE_HOST"));
        assert_non_null(strstr(f->launched.cmdline, "MINE=kept"));
        assert_string_equal(f->known.event, "ServiceLinksDropped");
    }
    f->spec.no_service_links = true;
    launch_good(f);
    assert_null(strstr(f->launched.cmdline, "_SERVICE_HOST"));
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    f->image.guest_kind = "plan9";
    assert_int_equal(launch(f), -ENOTSUP);
    assert_int_equal(f->err.kind, ERR_SPEC);
    assert_string_equal(f->err.text,
                        "image \"reg/app:v1\" is for plan9 guests, which are not supported");
    f->image.guest_kind = "linux";
    static const struct env_var unknown[] = {
        {.kind = ENV_FIELD, .name = "X", .value = "spec.nothing"}};
    f->container.env = unknown;
    f->container.env_len = 1;
    assert_int_equal(launch(f), -EINVAL);
    assert_int_equal(f->err.kind, ERR_SPEC);
    assert_non_null(strstr(f->err.text, "spec.nothing"));
    /* Longer than any guest's limit. */
    static char long_value[9001];
    memset(long_value, 'x', sizeof(long_value) - 1);
    const struct env_var big[] = {{.kind = ENV_VALUE, .name = "X", .value = long_value}};
    f->container.env = big;
    assert_true(launch(f) < 0);
    assert_int_equal(f->err.kind, ERR_SPEC);
    assert_int_equal(f->launched.calls, 0);
    /* What the machine's own start refuses is handed on. */
    f->container.env_len = 0;
    f->launched.result = -EAGAIN;
    assert_int_equal(launch(f), -EAGAIN);
    assert_int_equal(f->err.kind, ERR_TRANSIENT);
    assert_string_equal(f->err.text, "no more machines");
}

/* After a restart of the agent the image is looked up again by what the record says. */
static void test_image_again(void **state)
{
    struct fixture *f = *state;
    f->machine.image = NULL;
    assert_int_equal(launch(f), -ENOENT);
    assert_int_equal(f->err.kind, ERR_TRANSIENT);
    str_copy(f->pod.image_names[0], sizeof(f->pod.image_names[0]), "reg/app");
    str_copy(f->pod.containers[0].image_digest, OBSERVED_ID_MAX, "sha256:aa");
    assert_int_equal(launch(f), -ENOENT);
    assert_string_equal(f->err.text, "the image's files are not on this host any more");
    f->launched.found = &f->image;
    launch_good(f);
    assert_ptr_equal(f->machine.image, &f->image);
}

/* ---- DNS ---- */

static void test_dns(void **state)
{
    static const struct {
        const char *policy;
        bool cluster; /* clusterDNS is configured */
        bool own;     /* the Pod has a dnsConfig */
        const char *servers, *search;
    } rows[] = {
        {"ClusterFirst", true, false, "10.96.0.10 10.96.0.11", "ns.svc.cluster.local"},
        {"ClusterFirstWithHostNet", true, false, "10.96.0.10 10.96.0.11", "ns.svc.cluster.local"},
        {"", true, false, "10.96.0.10 10.96.0.11", "ns.svc.cluster.local"},
        {"ClusterFirst", true, true, "10.96.0.10 10.96.0.11 1.1.1.1", "ns.svc.cluster.local"},
        {"ClusterFirst", false, false, "192.0.2.53", "example.org"},
        {"ClusterFirst", false, true, "192.0.2.53 1.1.1.1 2.2.2.2", "example.org"},
        {"Default", true, false, "192.0.2.53", "example.org"},
        {"Default", true, true, "192.0.2.53 1.1.1.1 2.2.2.2", "example.org"},
        {"None", true, false, "", ""},
        {"None", true, true, "1.1.1.1 2.2.2.2", "own.example"},
    };
    static const char *const servers[] = {"1.1.1.1", "2.2.2.2"};
    static const char *const searches[] = {"own.example", "second.example"};
    static char dns1[] = "10.96.0.10", dns2[] = "10.96.0.11";
    struct fixture *f = *state;
    f->host.dns = (struct dns_host){.servers = {"192.0.2.53"}, .len = 1, .search = "example.org"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(512);
        struct guest_net net = {0};
        struct buf got = BUF_INIT(512);
        f->agent.config.cluster_dns =
            (struct config_list){.items = {dns1, dns2}, .len = rows[i].cluster ? 2 : 0};
        f->spec.dns_policy = rows[i].policy;
        f->spec.dns_servers = servers;
        f->spec.dns_servers_len = rows[i].own ? 2 : 0;
        f->spec.dns_searches = searches;
        f->spec.dns_searches_len = rows[i].own ? 2 : 0;
        dns_fill(&f->agent.config, &f->host.dns, &f->spec, arena, &net);
        for (size_t k = 0; k < net.dns_len; k++)
            (void)buf_addf(&got, "%s%s", k ? " " : "", net.dns[k]);
        if (!str_eq(buf_str(&got), rows[i].servers) || !str_eq(net.search, rows[i].search))
            fail_msg("row %zu: \"%s\", \"%s\"", i, buf_str(&got), net.search);
        buf_free(&got);
        arena_free(arena);
    }
}

static void test_resolv_conf(void **state)
{
    static const struct {
        const char *text, *first, *search;
        size_t len;
    } rows[] = {
        {"", "", "", 0},
        {"nameserver 192.0.2.1\n", "192.0.2.1", "", 1},
        {"# nameserver 1.2.3.4\n;nameserver 1.2.3.4\nnameserver\t192.0.2.1 # x\r\n", "192.0.2.1",
         "", 1},
        {"  nameserver 192.0.2.1", "192.0.2.1", "", 1},
        {"nameserver 127.0.0.53\nnameserver ::1\nnameserver 0.0.0.0\n", "", "", 0},
        {"nameserver 127.0.0.1\nnameserver fd00::53\n", "fd00::53", "", 1},
        {"nameserver\nnameserver x\nnameservers 1.1.1.1\n", "", "", 0},
        {"nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4\n",
         "1.0.0.1", "", 3},
        {"search a.example b.example\n", "", "a.example", 0},
        {"domain a.example\nsearch b.example\n", "", "b.example", 0},
        {"search .\n", "", "", 0},
        {"search\n", "", "", 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dns_host dns;
        dns_parse(rows[i].text, &dns);
        if (dns.len != rows[i].len || !str_eq(dns.servers[0], rows[i].first) ||
            !str_eq(dns.search, rows[i].search))
            fail_msg("row %zu: %zu \"%s\" \"%s\"", i, dns.len, dns.servers[0], dns.search);
    }
    struct dns_host dns;
    char path[] = "/tmp/test-launch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(file_write_atomic(path, "nameserver 192.0.2.7\n", 21, 0600), 0);
    dns_read(path, &dns);
    assert_int_equal(dns.len, 1);
    assert_string_equal(dns.servers[0], "192.0.2.7");
    (void)unlink(path);
    dns_read("", &dns);
    assert_int_equal(dns.len, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_machine),           TEST(test_no_network),    TEST(test_memory),
        TEST(test_too_little_memory), TEST(test_cpus),          TEST(test_hostname),
        TEST(test_images_variables),  TEST(test_service_links), TEST(test_refusals),
        TEST(test_image_again),       TEST(test_dns),           cmocka_unit_test(test_resolv_conf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
