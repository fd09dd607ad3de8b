/* The guest's wire: a tap beside the CNI interface, each redirected into the other by tc, so that
 * the guest speaks with the Pod's IP and MAC while the namespace itself has no address left to
 * answer with. Runs on threads of its own inside the Pod's namespace. Called by network_steps.c. */
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/cni.h"
#include "runtime/netlink.h"
#include "runtime/network.h"
#include "runtime/network_ns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#define TUN_DEVICE "/dev/net/tun"

static inline void cleanup_netlink(struct netlink *nl)
{
    netlink_close(nl);
}

static int set_ipv6(const char *ifname, bool on, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", ifname);
    CLEANUP(close) int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return 0; /* a kernel without IPv6, or a type of interface that has none */
    if (fd < 0 || write(fd, on ? "0" : "1", 1) != 1)
        return err_set(err, -errno, "cannot write %s: %s", path, strerror(errno));
    return 0;
}

int tap_create(const char *name, struct err *err)
{
    CLEANUP(close) int fd = open(TUN_DEVICE, O_RDWR | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    if (fd < 0)
        return err_set(err, -errno, "cannot open %s: %s", TUN_DEVICE, strerror(errno));
    str_copy(request.ifr_name, sizeof(request.ifr_name), name);
    if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
        return err_set(err, -errno, "cannot make the tap %s: %s", name, strerror(errno));
    return set_ipv6(name, false, err);
}

/* What kernel or plugin call failed, in words. */
static int failed(struct err *err, int code, const char *what, const char *ifname)
{
    return err_set(err, code, "cannot %s %s: %s", what, ifname, strerror(-code));
}

static int find_link(struct netlink *nl, const char *name, struct netlink_link *ret,
                     struct err *err)
{
    int r = netlink_link(nl, name, ret);

    if (r == -ENODEV)
        return err_set(err, r, "CNI left no interface %s in the Pod's network namespace", name);
    if (r == -EPROTOTYPE)
        return err_set(err, r, "CNI's interface %s is no Ethernet device: no tap can join it",
                       name);
    return r < 0 ? failed(err, r, "find", name) : 0;
}

static void note_gateway(struct netlink *nl, const struct netlink_link *link, const char *ip,
                         char gateway[46])
{
    bool v6 = strchr(ip, ':') != NULL;
    unsigned char raw[16];

    /* Some plugins (Calico) tell the route to the kernel alone. */
    if (*ip && *gateway == '\0' && netlink_gateway(nl, link->index, v6, raw) == 0)
        (void)inet_ntop(v6 ? AF_INET6 : AF_INET, raw, gateway, 46);
}

int tap_join(const char *ifname, const char *tap, struct network_result *net, struct err *err)
{
    CLEANUP(netlink) struct netlink nl = {.fd = -1};
    struct netlink_link outer;
    struct netlink_link inner;
    int r = netlink_open(&nl);

    if (r < 0)
        return failed(err, r, "open a netlink socket for", ifname);
    r = find_link(&nl, ifname, &outer, err);
    if (r == 0)
        r = find_link(&nl, tap, &inner, err);
    if (r < 0)
        return r;
    note_gateway(&nl, &outer, net->ip, net->gateway);
    note_gateway(&nl, &outer, net->ip6, net->gateway6);
    r = netlink_flush(&nl, outer.index);
    if (r < 0)
        return failed(err, r, "take the addresses off", ifname);
    r = set_ipv6(ifname, false, err);
    if (r < 0)
        return r;
    /* A bridge port in hairpin mode sends the guest's own broadcasts back to it, which looks like a
     * second holder of its address (IPv6 DAD, ARP probes). Unicast that comes back is wanted: a Pod
     * that calls its own Service. */
    r = netlink_redirect(&nl, outer.index, inner.index, outer.mac);
    if (r < 0)
        return failed(err, r, "redirect (ingress qdisc, u32, mirred)", ifname);
    r = netlink_redirect(&nl, inner.index, outer.index, NULL);
    if (r < 0)
        return failed(err, r, "redirect (ingress qdisc, u32, mirred)", tap);
    r = netlink_up(&nl, inner.index, outer.mtu);
    if (r < 0)
        return failed(err, r, "bring up", tap);
    net->mtu = outer.mtu;
    str_fmt(net->mac, sizeof(net->mac), "%02x:%02x:%02x:%02x:%02x:%02x", outer.mac[0], outer.mac[1],
            outer.mac[2], outer.mac[3], outer.mac[4], outer.mac[5]);
    return 0;
}

int tap_unjoin(const char *ifname, const struct cni_result *result, struct err *err)
{
    CLEANUP(netlink) struct netlink nl = {.fd = -1};
    struct netlink_link outer;
    int r = netlink_open(&nl);

    if (r < 0)
        return failed(err, r, "open a netlink socket for", ifname);
    r = netlink_link(&nl, ifname, &outer);
    if (r < 0)
        return failed(err, r, "find", ifname);
    for (size_t i = 0; i < result->addrs_len; i++) {
        const struct cni_addr *addr = &result->addrs[i];
        unsigned char raw[16];

        if (inet_pton(addr->v6 ? AF_INET6 : AF_INET, addr->ip, raw) != 1)
            continue;
        r = addr->v6 ? set_ipv6(ifname, true, err) : 0;
        if (r < 0)
            return r;
        r = netlink_addr_add(&nl, outer.index, addr->v6, raw, addr->prefix_len);
        if (r < 0)
            return failed(err, r, "give its addresses back to", ifname);
    }
    return 0;
}

int tap_routes(const char *ifname, const struct cni_result *result, struct err *err)
{
    CLEANUP(netlink) struct netlink nl = {.fd = -1};
    struct netlink_link outer;
    int r = netlink_open(&nl);

    if (r == 0)
        r = netlink_link(&nl, ifname, &outer);
    if (r < 0)
        return failed(err, r, "find", ifname);
    for (size_t i = 0; i < result->routes_len; i++) {
        const struct cni_route *route = &result->routes[i];
        int family = route->dst.v6 ? AF_INET6 : AF_INET;
        unsigned char dst[16];
        unsigned char gateway[16];
        bool via = route->gateway[0] != '\0';

        if (inet_pton(family, route->dst.ip, dst) != 1 ||
            (via && inet_pton(family, route->gateway, gateway) != 1))
            continue;
        r = netlink_route_add(&nl, outer.index, route->dst.v6, dst, route->dst.prefix_len,
                              via ? gateway : NULL);
        if (r < 0)
            return failed(err, r, "give a route back to", ifname);
    }
    return 0;
}

int tap_strip(const char *ifname, struct err *err)
{
    CLEANUP(netlink) struct netlink nl = {.fd = -1};
    struct netlink_link outer;
    int r = netlink_open(&nl);

    if (r == 0)
        r = netlink_link(&nl, ifname, &outer);
    if (r == -ENODEV)
        return 0;
    if (r == 0)
        r = netlink_flush(&nl, outer.index);
    return r < 0 ? failed(err, r, "take the addresses off", ifname) : set_ipv6(ifname, false, err);
}
