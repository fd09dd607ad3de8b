/* CNI as data: which configurations are taken, what a plugin reads, and what its answers mean. */
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/cni.h"
#include "runtime/network.h"
#include "runtime/network_store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define HEAD "{\"cniVersion\":\"0.4.0\",\"name\":\"n\","

static struct cni_list *parse(const char *text)
{
    struct cni_list *list = NULL;
    struct err err;

    if (cni_list_parse(text, strlen(text), &list, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return list;
}

static void test_list(void **state)
{
    struct cni_list *list =
        parse(HEAD "\"disableCheck\":true,\"plugins\":[{\"type\":\"bridge\",\"ipam\":{\"type\":"
                   "\"host-local\"}},{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":"
                   "true}},{\"type\":\"x\",\"capabilities\":{\"portMappings\":false}}]}");
    struct cni_list *again = parse(list->text);

    (void)state;
    assert_int_equal(list->plugins_len, 3);
    assert_string_equal(list->name, "n");
    assert_string_equal(list->version, "0.4.0");
    assert_string_equal(list->plugins[0].type, "bridge");
    assert_string_equal(list->plugins[0].ipam, "host-local");
    assert_null(list->plugins[1].ipam);
    assert_int_equal(list->plugins[0].capabilities, 0);
    assert_int_equal(list->plugins[1].capabilities, CNI_PORT_MAPPINGS);
    assert_int_equal(list->plugins[2].capabilities, 0);
    assert_false(cni_list_checks(list));
    assert_false(cni_list_checks(again));
    assert_false(cni_list_collects(list));
    assert_string_equal(again->text, list->text);
    cni_list_free(again);
    cni_list_free(list);
    list = parse(HEAD "\"type\":\"macvlan\",\"master\":\"eth9\"}"); /* .conf form */
    assert_int_equal(list->plugins_len, 1);
    assert_string_equal(list->plugins[0].type, "macvlan");
    cni_list_free(list);
}

static void test_bad_lists(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } table[] = {
        {"", "JSON"},
        {"{", "JSON"},
        {"[]", "not a JSON object"},
        {"{\"name\":\"n\",\"type\":\"x\"}", "\"cniVersion\" is missing"},
        {"{\"cniVersion\":\"0.2.0\",\"name\":\"n\",\"type\":\"x\"}", "\"0.2.0\" is not supported"},
        {"{\"cniVersion\":\"1.0.0\",\"type\":\"x\"}", "\"name\""},
        {"{\"cniVersion\":\"1.0.0\",\"name\":\"../x\",\"type\":\"x\"}", "\"name\""},
        {HEAD "\"plugins\":[]}", "plugins"},
        {HEAD "\"plugins\":{}}", "plugins"},
        {HEAD "\"plugins\":[1]}", "plugin 1 has no usable \"type\""},
        {HEAD "\"plugins\":[{\"type\":\"a\"},{\"type\":\"b/../../c\"}]}", "plugin 2"},
        {HEAD "\"type\":\"..\"}", "type"},
        {HEAD "\"type\":\"x\",\"ipam\":{\"type\":\"/bin/sh\"}}", "ipam.type"},
        {HEAD "\"type\":7}", "type"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct cni_list *list = NULL;
        struct err err = {.text = ""};

        assert_int_equal(cni_list_parse(table[i].text, strlen(table[i].text), &list, &err),
                         -EBADMSG);
        assert_null(list);
        if (!strstr(err.text, table[i].says))
            fail_msg("%s: %s", table[i].text, err.text);
    }
}

static void test_input(void **state)
{
    static const struct network_port ports[] = {
        {.container_port = 80, .host_port = 8080, .host_ip = "", .protocol = "tcp"},
        {.container_port = 81, .host_port = 0, .host_ip = "", .protocol = "tcp"},
        {.container_port = 53, .host_port = 53, .host_ip = "10.0.0.1", .protocol = "udp"},
    };
    struct cni_list *list = parse(
        HEAD "\"plugins\":[{\"type\":\"a\",\"name\":\"own\",\"k\":[1,{\"x\":null}]},{\"type\":"
             "\"b\",\"capabilities\":{\"portMappings\":true},\"prevResult\":{\"old\":1}}]}");
    const struct network_wants all = {.ports = ports, .ports_len = 3};
    const struct network_wants plain = {.ports = &ports[1], .ports_len = 1};
    struct cni_told told = {.wants = &all};
    struct buf out = BUF_INIT(65536);

    (void)state;
    assert_int_equal(cni_input(list, 0, &told, &out), 0);
    assert_string_equal(buf_str(&out), HEAD "\"type\":\"a\",\"k\":[1,{\"x\":null}]}");
    buf_reset(&out);
    told.prev = "{\"ips\":[]}";
    assert_int_equal(cni_input(list, 1, &told, &out), 0);
    assert_string_equal(
        buf_str(&out),
        HEAD "\"type\":\"b\",\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":8080,"
             "\"containerPort\":80,\"protocol\":\"tcp\"},{\"hostPort\":53,\"containerPort\":53,"
             "\"protocol\":\"udp\",\"hostIP\":\"10.0.0.1\"}]},\"prevResult\":{\"ips\":[]}}");
    buf_reset(&out);
    told = (struct cni_told){.wants = &plain};
    assert_int_equal(cni_input(list, 1, &told, &out), 0);
    assert_string_equal(buf_str(&out), HEAD "\"type\":\"b\"}");
    buf_free(&out);
    out = BUF_INIT(20);
    assert_int_equal(cni_input(list, 1, &told, &out), -ENOBUFS);
    buf_free(&out);
    cni_list_free(list);
}

/* Each capability reaches the plugin that declares it, and no other. */
static void test_capabilities(void **state)
{
    const struct network_wants wants = {.ingress_bps = 1000000,
                                        .egress_bps = 2000000,
                                        .ips = "10.1.0.9,fd00::9/64",
                                        .mac = "02:00:00:00:00:09"};
    const struct network_wants one_way = {.egress_bps = 5000};
    static const struct {
        const char *declared;
        const char *told;
    } table[] = {
        {"{}", ""},
        {"{\"ips\":false,\"dns\":true,\"portMappings\":true}", ""},
        {"{\"bandwidth\":true}",
         ",\"runtimeConfig\":{\"bandwidth\":{\"ingressRate\":1000000,\"ingressBurst\":2147483647,"
         "\"egressRate\":2000000,\"egressBurst\":2147483647}}"},
        {"{\"ips\":true,\"mac\":true}",
         ",\"runtimeConfig\":{\"ips\":[\"10.1.0.9\",\"fd00::9/64\"],\"mac\":"
         "\"02:00:00:00:00:09\"}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char *text = xasprintf(HEAD "\"type\":\"a\",\"capabilities\":%s}", table[i].declared);
        char *expected = xasprintf(HEAD "\"type\":\"a\"%s}", table[i].told);
        struct cni_list *list = parse(text);
        struct buf out = BUF_INIT(65536);

        assert_int_equal(cni_input(list, 0, &(struct cni_told){.wants = &wants}, &out), 0);
        assert_string_equal(buf_str(&out), expected);
        buf_free(&out);
        cni_list_free(list);
        free(expected);
        free(text);
    }
    struct cni_list *list = parse(HEAD "\"type\":\"a\",\"capabilities\":{\"bandwidth\":true}}");
    struct buf out = BUF_INIT(65536);

    assert_int_equal(cni_input(list, 0, &(struct cni_told){.wants = &one_way}, &out), 0);
    assert_null(strstr(buf_str(&out), "ingress"));
    assert_non_null(strstr(buf_str(&out), "\"egressRate\":5000"));
    buf_free(&out);
    cni_list_free(list);
}

static void test_versions(void **state)
{
    static const struct {
        const char *text;
        const char *version;
        bool checks;
        bool collects;
    } table[] = {
        {"{\"cniVersion\":\"0.3.1\",\"name\":\"n\",\"type\":\"x\"}", "0.3.1", false, false},
        {"{\"cniVersion\":\"0.4.0\",\"name\":\"n\",\"type\":\"x\"}", "0.4.0", true, false},
        {"{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"type\":\"x\"}", "1.1.0", true, true},
        {"{\"cniVersion\":\"1.0.0\",\"cniVersions\":[\"0.4.0\",\"1.1.0\",\"2.0.0\"],\"name\":"
         "\"n\",\"type\":\"x\"}",
         "1.1.0", true, true},
        {"{\"cniVersions\":[\"1.0.0\"],\"name\":\"n\",\"type\":\"x\"}", "1.0.0", true, false},
        {"{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"disableGC\":true,\"disableCheck\":true,"
         "\"plugins\":[{\"type\":\"x\"}]}",
         "1.1.0", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct cni_list *list = parse(table[i].text);
        struct cni_list *kept = parse(list->text);

        assert_string_equal(list->version, table[i].version);
        assert_int_equal(cni_list_checks(list), table[i].checks);
        assert_int_equal(cni_list_collects(list), table[i].collects);
        assert_int_equal(cni_list_checks(kept), table[i].checks);
        assert_int_equal(cni_list_collects(kept), table[i].collects);
        cni_list_free(kept);
        cni_list_free(list);
    }
}

/* Two families, the routes that CHECK will want to see, and what a meta-plugin adds. */
static void test_dual_result(void **state)
{
    static const char text[] =
        "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"br\"},{\"name\":\"eth0\","
        "\"sandbox\":\"/n\"},{\"name\":\"net1\",\"sandbox\":\"/n\"},{\"name\":\"net2\","
        "\"sandbox\":\"/n\"}],\"ips\":[{\"interface\":1,\"address\":\"fd00::5/64\",\"gateway\":"
        "\"fd00::1\"},{\"interface\":2,\"address\":\"10.9.0.5/16\"},{\"interface\":1,\"address\":"
        "\"10.1.0.5/16\",\"gateway\":\"10.1.0.1\"},{\"interface\":1,\"address\":\"10.1.0.6/16\","
        "\"gateway\":\"10.1.0.2\"}],\"routes\":[{\"dst\":\"0.0.0.0/0\"},{\"dst\":\"::/0\"},"
        "{\"dst\":\"10.3.0.0/16\",\"gw\":\"10.1.0.7\"},{\"dst\":\"nonsense\"}]}";
    struct cni_result result;

    (void)state;
    assert_int_equal(cni_result_parse(text, strlen(text), "eth0", &result, NULL), 0);
    assert_int_equal(result.addrs_len, 3);
    assert_string_equal(result.addrs[0].ip, "10.1.0.5");
    assert_string_equal(result.addrs[2].ip, "fd00::5");
    assert_string_equal(result.gateway, "10.1.0.1");
    assert_string_equal(result.gateway6, "fd00::1");
    assert_int_equal(result.routes_len, 3);
    assert_string_equal(result.routes[0].gateway, "10.1.0.1");
    assert_string_equal(result.routes[1].gateway, "fd00::1");
    assert_string_equal(result.routes[2].gateway, "10.1.0.7");
    assert_string_equal(result.others, "net1");
}

static void test_results(void **state)
{
    static const struct {
        const char *text;
        const char *ip; /* NULL: refused */
        uint32_t prefix_len;
        const char *gateway;
        size_t len;
    } table[] = {
        /* 1.0.0, as bridge prints it */
        {"{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"br\"},{\"name\":\"veth1\"},{"
         "\"name\":\"eth0\",\"sandbox\":\"/n\"}],\"ips\":[{\"interface\":2,\"address\":"
         "\"10.1.0.5/16\",\"gateway\":\"10.1.0.1\"}],\"dns\":{}}",
         "10.1.0.5", 16, "10.1.0.1", 1},
        /* 0.4.0; IPv4 comes first whatever the order */
        {"{\"ips\":[{\"version\":\"6\",\"address\":\"fd00::5/64\",\"gateway\":\"fd00::1\"},{"
         "\"version\":\"4\",\"address\":\"10.1.0.5/16\"}]}",
         "10.1.0.5", 16, "", 2},
        {"{\"ips\":[{\"address\":\"fd00::5/64\",\"gateway\":\"fd00::1\"}]}", "fd00::5", 64, "", 1},
        /* an address on the host's side is not the Pod's */
        {"{\"interfaces\":[{\"name\":\"eth0\"},{\"name\":\"eth0\",\"sandbox\":\"/n\"}],\"ips\":[{"
         "\"interface\":0,\"address\":\"10.9.9.9/24\"},{\"interface\":1,\"address\":"
         "\"10.1.0.5/32\"}]}",
         "10.1.0.5", 32, "", 1},
        {"{\"interfaces\":[],\"ips\":[{\"interface\":3,\"address\":\"10.1.0.5/16\"}]}", NULL, 0,
         NULL, 0},
        {"{\"ips\":[{\"interface\":-1,\"address\":\"10.1.0.5/16\"}]}", NULL, 0, NULL, 0},
        {"{\"ips\":[]}", NULL, 0, NULL, 0},
        {"{}", NULL, 0, NULL, 0},
        {"[]", NULL, 0, NULL, 0},
        {"", NULL, 0, NULL, 0},
        {"{\"ips\":[{\"address\":\"10.1.0.5\"}]}", NULL, 0, NULL, 0},
        {"{\"ips\":[{\"address\":\"10.1.0.5/33\"}]}", NULL, 0, NULL, 0},
        {"{\"ips\":[{\"address\":\"10.1.0.500/3\"}]}", NULL, 0, NULL, 0},
        {"{\"ips\":[{\"address\":\"10.1.0.5/16\",\"gateway\":\"x\"}]}", NULL, 0, NULL, 0},
        {"{\"ips\":[{}]}", NULL, 0, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct cni_result result;
        struct err err = {.text = ""};
        int r = cni_result_parse(table[i].text, strlen(table[i].text), "eth0", &result, &err);

        assert_int_equal(r, table[i].ip ? 0 : -EBADMSG);
        if (!table[i].ip) {
            assert_non_null(strstr(err.text, "CNI result"));
            continue;
        }
        assert_int_equal(result.addrs_len, table[i].len);
        assert_string_equal(result.addrs[0].ip, table[i].ip);
        assert_int_equal(result.addrs[0].prefix_len, table[i].prefix_len);
        assert_string_equal(result.gateway, table[i].gateway);
    }
}

static void test_errors(void **state)
{
    static const struct {
        const char *output;
        const char *errors;
        int status;
        const char *text;
    } table[] = {
        {"{\"code\":11,\"msg\":\"no room\",\"details\":\"all of 10.0.0.0/30 taken\"}", "", 1 << 8,
         "CNI plugin x: no room: all of 10.0.0.0/30 taken (code 11)"},
        {"{\"code\":7}", "", 1 << 8, "CNI plugin x: error (code 7)"},
        {"", "panic: nil map", 2 << 8, "CNI plugin x failed with exit status 2: panic: nil map"},
        {"garbage", "", 1 << 8, "CNI plugin x failed with exit status 1"},
        {"{\"msg\":5}", "", 9, "CNI plugin x was killed by signal 9"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct err err;

        assert_int_equal(cni_error_parse("x", table[i].output, strlen(table[i].output),
                                         table[i].errors, table[i].status, &err),
                         -EIO);
        assert_string_equal(err.text, table[i].text);
    }
}

static void test_default(void **state)
{
    static const char *const bad[] = {NULL, "", "10.0.0.0", "10.0.0.0/31", "x/24", "10.0.0.0/99"};
    struct cni_default conf = {.cidr = "10.7.0.0/24", .bridge = "unik0", .data_dir = "/s/ipam"};
    struct cni_list *list = NULL;
    struct err err;

    (void)state;
    assert_int_equal(cni_list_default(&conf, &list, &err), 0);
    assert_int_equal(list->plugins_len, 1);
    assert_string_equal(list->plugins[0].type, "bridge");
    assert_string_equal(list->plugins[0].ipam, "host-local");
    assert_non_null(strstr(list->text, "\"subnet\":\"10.7.0.0/24\""));
    cni_list_free(list);
    conf.portmap = true;
    assert_int_equal(cni_list_default(&conf, &list, &err), 0);
    assert_int_equal(list->plugins_len, 2);
    assert_int_equal(list->plugins[1].capabilities, CNI_PORT_MAPPINGS);
    cni_list_free(list);
    conf.bandwidth = true;
    conf.cidr6 = "fd00:7::/64";
    assert_int_equal(cni_list_default(&conf, &list, &err), 0);
    assert_int_equal(list->plugins_len, 3);
    assert_int_equal(list->plugins[0].capabilities, CNI_IPS | CNI_MAC);
    assert_int_equal(list->plugins[2].capabilities, CNI_BANDWIDTH);
    assert_non_null(
        strstr(list->text, "[{\"subnet\":\"10.7.0.0/24\"}],[{\"subnet\":\"fd00:7::/64\"}]"));
    assert_non_null(strstr(list->text, "[{\"dst\":\"0.0.0.0/0\"},{\"dst\":\"::/0\"}]"));
    cni_list_free(list);
    conf.cidr6 = "10.8.0.0/24";
    assert_int_equal(cni_list_default(&conf, &list, &err), -EINVAL);
    assert_string_equal(err.text,
                        "Pod CIDRs \"10.7.0.0/24\" and \"10.8.0.0/24\" are of one family");
    conf.cidr6 = "fd00::/127";
    assert_int_equal(cni_list_default(&conf, &list, &err), -EINVAL);
    conf.cidr6 = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        conf.cidr = bad[i];
        assert_int_equal(cni_list_default(&conf, &list, &err), -EINVAL);
    }
}

static void put(const char *dir, const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", dir, name);

    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600), 0);
    free(path);
}

static void test_directory(void **state)
{
    char dir[] = "/tmp/test-cni-XXXXXX";
    char skipped[ERR_TEXT_MAX] = "untouched";
    struct cni_list *list = NULL;
    struct err err = {.text = ""};
    char *big = xcalloc(1, CNI_CONF_MAX + 2);

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(cni_list_load("/nonexistent", &list, skipped, &err), -ENOENT);
    assert_int_equal(cni_list_load(dir, &list, skipped, &err), -ENOENT);
    put(dir, "00-readme.txt", "{}");
    put(dir, ".10-hidden.conflist", HEAD "\"type\":\"hidden\"}");
    assert_int_equal(cni_list_load(dir, &list, skipped, &err), -ENOENT);
    put(dir, "20-bad.conflist", "{\"cniVersion\":\n oops");
    memset(big, ' ', CNI_CONF_MAX + 1);
    put(dir, "30-big.conf", big);
    assert_int_equal(cni_list_load(dir, &list, skipped, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "20-bad.conflist: JSON"));
    put(dir, "50-second.conf", HEAD "\"type\":\"second\"}");
    put(dir, "40-first.conflist", HEAD "\"plugins\":[{\"type\":\"first\"}]}");
    assert_int_equal(cni_list_load(dir, &list, skipped, &err), 0);
    assert_string_equal(list->plugins[0].type, "first");
    assert_non_null(strstr(skipped, "20-bad.conflist"));
    cni_list_free(list);
    free(big);
    assert_int_equal(file_remove_tree(dir), 0);
}

static void test_find(void **state)
{
    char dir[] = "/tmp/test-cni-XXXXXX";
    const char *const dirs[] = {"/nonexistent", dir};
    struct cni_list *list = parse(HEAD "\"type\":\"a\",\"ipam\":{\"type\":\"b\"}}");
    struct err err = {.text = ""};
    char *path;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(cni_list_check(list, dirs, 2, &err), -ENOENT);
    assert_non_null(strstr(err.text, "\"a\""));
    put(dir, "a", "#!/bin/sh\n");
    assert_null(cni_find("a", dirs, 2)); /* not executable */
    path = xasprintf("%s/a", dir);
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
    assert_int_equal(cni_list_check(list, dirs, 2, &err), -ENOENT);
    assert_non_null(strstr(err.text, "needs the plugin \"b\""));
    put(dir, "b", "#!/bin/sh\n");
    path = xasprintf("%s/b", dir);
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
    assert_int_equal(cni_list_check(list, dirs, 2, &err), 0);
    cni_list_free(list);
    assert_int_equal(file_remove_tree(dir), 0);
}

static void test_record(void **state)
{
    struct network_port ports[] = {
        {.container_port = 80, .host_port = 8080, .host_ip = "", .protocol = "tcp"}};
    struct network_record record = {.phase = NETWORK_UP,
                                    .boot_id = (char[]){"b"},
                                    .ns = (char[]){"default"},
                                    .name = (char[]){"web"},
                                    .is_default = true,
                                    .conf = (char[]){"{\"a\":\"\\n\"}"},
                                    .result = (char[]){"{ \"ips\" : [] }"},
                                    .ports = ports,
                                    .ports_len = 1,
                                    .ingress_bps = 1000,
                                    .egress_bps = 1000000000,
                                    .ips = (char[]){"10.0.0.2"},
                                    .mac = (char[]){"02:00:00:00:00:01"},
                                    .net = {.netns = "/run/netns/unik-x",
                                            .ip = "10.0.0.2",
                                            .prefix_len = 24,
                                            .gateway = "10.0.0.1",
                                            .ip6 = "fd00::2",
                                            .prefix6_len = 64,
                                            .gateway6 = "fd00::1",
                                            .others = "net1",
                                            .mac = "02:00:00:00:00:01",
                                            .mtu = 1450}};
    struct network_record back;
    struct buf text = BUF_INIT(65536);

    (void)state;
    assert_int_equal(network_record_encode(&record, &text), 0);
    assert_int_equal(network_record_decode(text.data, text.len, &back), 0);
    assert_string_equal(back.conf, record.conf);
    assert_string_equal(back.result, record.result);
    assert_memory_equal(&back.net, &record.net, sizeof(back.net));
    assert_int_equal(back.ports_len, 1);
    assert_int_equal(back.ports[0].host_port, 8080);
    assert_true(back.is_default);
    assert_true(back.ingress_bps == 1000 && back.egress_bps == 1000000000);
    assert_string_equal(back.ips, record.ips);
    assert_string_equal(back.mac, record.mac);
    network_record_free(&back);
    for (size_t cut = 0; cut < text.len; cut++)
        assert_int_equal(network_record_decode(text.data, cut, &back), -EBADMSG);
    buf_free(&text);
}

/* As an agent before IPv6 and bandwidth wrote it. */
static void test_old_record(void **state)
{
    static const char text[] =
        "{\"version\":1,\"phase\":\"up\",\"bootId\":\"b\",\"namespace\":\"d\",\"name\":\"w\","
        "\"default\":true,\"conf\":\"{}\",\"result\":\"{}\",\"ports\":[],\"net\":{\"netns\":\"/n\","
        "\"ip\":\"10.0.0.2\",\"prefixLen\":24,\"gateway\":\"10.0.0.1\",\"mac\":"
        "\"02:00:00:00:00:01\",\"mtu\":1500}}";
    struct network_record record;

    (void)state;
    assert_int_equal(network_record_decode(text, strlen(text), &record), 0);
    assert_string_equal(record.net.ip6, "");
    assert_string_equal(record.net.others, "");
    assert_true(record.ingress_bps == 0 && !record.ips && !record.mac);
    network_record_free(&record);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),        cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_input),       cmocka_unit_test(test_results),
        cmocka_unit_test(test_errors),      cmocka_unit_test(test_default),
        cmocka_unit_test(test_directory),   cmocka_unit_test(test_find),
        cmocka_unit_test(test_record),      cmocka_unit_test(test_old_record),
        cmocka_unit_test(test_versions),    cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_dual_result),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
