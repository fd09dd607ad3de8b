/* See wants.h. Called by machines.c. */
#include "provider/wants.h"

#include "base/err.h"
#include "base/str.h"
#include "provider/core/pod.h"
#include "provider/core/quantity.h"
#include "runtime/cni.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

/* The kubelet's limits (pkg/util/bandwidth/utils.go): 1k and 1P. */
#define RATE_MIN 1000LL
#define RATE_MAX (1000LL * 1000 * 1000 * 1000 * 1000)

static const char *annotation(const struct pod_spec *spec, const char *key)
{
    return key_value_find(spec->annotations, spec->annotations_len, key);
}

static int read_rate(const struct pod_spec *spec, const char *key, uint64_t *ret, struct err *err)
{
    const char *text = annotation(spec, key);
    int64_t rate;

    if (str_empty(text))
        return 0;
    if (quantity_value(text, &rate) < 0)
        return err_spec(err, -EINVAL, "annotation %s: \"%.40s\" is not a quantity such as 10M", key,
                        text);
    if (rate < RATE_MIN)
        return err_spec(err, -EINVAL, "annotation %s: resource is unreasonably small (< 1kbit)",
                        key);
    if (rate > RATE_MAX)
        return err_spec(err, -EINVAL, "annotation %s: resource is unreasonably large (> 1Pbit)",
                        key);
    *ret = (uint64_t)rate;
    return 0;
}

static bool is_address(const char *text, size_t len)
{
    char one[64];
    struct cni_addr addr;
    unsigned char raw[16];

    if (len >= sizeof(one))
        return false;
    memcpy(one, text, len);
    one[len] = '\0';
    return cni_addr_parse(one, &addr) == 0 || inet_pton(AF_INET, one, raw) == 1 ||
           inet_pton(AF_INET6, one, raw) == 1;
}

static int read_ips(const struct pod_spec *spec, const char **ret, struct err *err)
{
    const char *text = annotation(spec, ANNOTATION_IPS);
    const char *at = text;
    size_t count = 0;

    if (str_empty(text))
        return 0;
    for (;;) {
        size_t len = strcspn(at, ",");

        if (++count > CNI_IPS_MAX || !is_address(at, len))
            return err_spec(err, -EINVAL,
                            "annotation " ANNOTATION_IPS ": \"%.60s\" is not a list of %d "
                            "addresses at most, separated by commas",
                            text, CNI_IPS_MAX);
        if (at[len] == '\0')
            break;
        at += len + 1;
    }
    *ret = text;
    return 0;
}

/* Of one station: a group's address is nobody's. */
static int read_mac(const struct pod_spec *spec, const char **ret, struct err *err)
{
    static const char digits[] = "0123456789abcdef";
    const char *text = annotation(spec, ANNOTATION_MAC);
    bool fine = true;

    if (str_empty(text))
        return 0;
    for (size_t i = 0; i < 17 && fine; i++)
        fine = i % 3 == 2 ? text[i] == ':' : isxdigit((unsigned char)text[i]) != 0;
    if (!fine || text[17] != '\0' ||
        ((strchr(digits, tolower((unsigned char)text[1])) - digits) & 1))
        return err_spec(err, -EINVAL,
                        "annotation " ANNOTATION_MAC ": \"%.40s\" is not the MAC address of one "
                        "station, such as 02:00:00:00:00:09",
                        text);
    *ret = text;
    return 0;
}

static size_t read_ports(const struct pod_spec *spec, struct network_port *ports)
{
    const struct container_spec *c = &spec->containers[0];
    size_t count = 0;

    for (size_t i = 0; i < c->ports_len && count < CONTAINER_PORTS_MAX; i++) {
        if (!c->ports[i].host_port)
            continue;
        ports[count++] = (struct network_port){
            .container_port = c->ports[i].container_port,
            .host_port = c->ports[i].host_port,
            .host_ip = c->ports[i].host_ip ? c->ports[i].host_ip : "",
            .protocol = c->ports[i].protocol == PROTOCOL_UDP ? "udp" : "tcp",
        };
    }
    return count;
}

int pod_network_wants(const struct pod_spec *spec, struct network_port *ports,
                      struct network_wants *ret, struct err *err)
{
    struct network_wants wants = {.ports = ports};
    int r = read_rate(spec, ANNOTATION_INGRESS, &wants.ingress_bps, err);

    if (r == 0)
        r = read_rate(spec, ANNOTATION_EGRESS, &wants.egress_bps, err);
    if (r == 0)
        r = read_ips(spec, &wants.ips, err);
    if (r == 0)
        r = read_mac(spec, &wants.mac, err);
    if (r < 0)
        return r;
    wants.ports_len = read_ports(spec, ports);
    *ret = wants;
    return 0;
}
