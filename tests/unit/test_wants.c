/* What a Pod asks of its network by annotations: which are taken, and what is said of the others.
 */
#include "base/err.h"
#include "provider/core/pod.h"
#include "provider/wants.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int read_one(const char *key, const char *value, struct network_wants *ret, struct err *err)
{
    static const struct container_port ports[] = {
        {.container_port = 80, .host_port = 8080, .protocol = PROTOCOL_TCP},
        {.container_port = 81, .protocol = PROTOCOL_TCP},
        {.container_port = 53, .host_port = 53, .host_ip = "::1", .protocol = PROTOCOL_UDP}};
    const struct container_spec container = {.ports = ports, .ports_len = 3};
    const struct key_value pair = {.key = key, .value = value};
    const struct pod_spec spec = {
        .annotations = &pair, .annotations_len = 1, .containers = &container, .containers_len = 1};
    static struct network_port out[CONTAINER_PORTS_MAX];

    return pod_network_wants(&spec, out, ret, err);
}

static void test_taken(void **state)
{
    struct network_wants wants;

    (void)state;
    assert_int_equal(read_one("other", "x", &wants, NULL), 0);
    assert_int_equal(wants.ports_len, 2);
    assert_int_equal(wants.ports[0].host_port, 8080);
    assert_string_equal(wants.ports[0].host_ip, "");
    assert_string_equal(wants.ports[1].protocol, "udp");
    assert_string_equal(wants.ports[1].host_ip, "::1");
    assert_true(wants.ingress_bps == 0 && wants.egress_bps == 0 && !wants.ips && !wants.mac);
    assert_int_equal(read_one(ANNOTATION_INGRESS, "10M", &wants, NULL), 0);
    assert_true(wants.ingress_bps == 10000000 && wants.egress_bps == 0);
    assert_int_equal(read_one(ANNOTATION_EGRESS, "1Ki", &wants, NULL), 0);
    assert_true(wants.egress_bps == 1024);
    assert_int_equal(read_one(ANNOTATION_EGRESS, "", &wants, NULL), 0);
    assert_true(wants.egress_bps == 0);
    assert_int_equal(read_one(ANNOTATION_IPS, "10.0.0.9,fd00::9/64", &wants, NULL), 0);
    assert_string_equal(wants.ips, "10.0.0.9,fd00::9/64");
    assert_int_equal(read_one(ANNOTATION_MAC, "02:00:0A:00:00:ff", &wants, NULL), 0);
    assert_string_equal(wants.mac, "02:00:0A:00:00:ff");
}

static void test_refused(void **state)
{
    static const struct {
        const char *key;
        const char *value;
        const char *says;
    } table[] = {
        {ANNOTATION_INGRESS, "fast", "\"fast\" is not a quantity such as 10M"},
        {ANNOTATION_INGRESS, "-1M", "is not a quantity"},
        {ANNOTATION_INGRESS, "999", "resource is unreasonably small (< 1kbit)"},
        {ANNOTATION_EGRESS, "2P", "resource is unreasonably large (> 1Pbit)"},
        {ANNOTATION_IPS, "10.0.0", "list of 8 addresses"},
        {ANNOTATION_IPS, "10.0.0.1,", "list of 8 addresses"},
        {ANNOTATION_IPS, "10.0.0.1 10.0.0.2", "list of 8 addresses"},
        {ANNOTATION_IPS, "1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1",
         "list of 8 addresses"},
        {ANNOTATION_IPS, "10.0.0.1/33", "list of 8 addresses"},
        {ANNOTATION_MAC, "02:00:00:00:00", "MAC address"},
        {ANNOTATION_MAC, "02:00:00:00:00:09:01", "MAC address"},
        {ANNOTATION_MAC, "01:00:5e:00:00:09", "MAC address of one station"},
        {ANNOTATION_MAC, "0", "MAC address"},
        {ANNOTATION_MAC, "02-00-00-00-00-09", "MAC address"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct network_wants wants;
        struct err err = {.text = ""};

        assert_int_equal(read_one(table[i].key, table[i].value, &wants, &err), -EINVAL);
        assert_non_null(strstr(err.text, table[i].key));
        if (!strstr(err.text, table[i].says))
            fail_msg("%s: %s", table[i].value, err.text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
