/* rtnetlink by hand: one request, its answer, nothing kept. A library would be larger than the six
 * requests that are needed, and `tc` may be missing and costs an exec each. See netlink.h. */
#include "runtime/netlink.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define REQUEST_MAX 512
#define ANSWER_MAX 65536 /* the kernel fills dumps up to 32 KiB a datagram */
#define WAIT_SECONDS_MAX 10
#define U32_KEYS_MAX 3

struct request {
    _Alignas(NLMSG_ALIGNTO) unsigned char bytes[REQUEST_MAX];
    uint32_t len;
};

/* Called for every message of an answer; > 0: seen enough. */
typedef int (*on_message)(void *userdata, const struct nlmsghdr *message);

int netlink_open(struct netlink *nl)
{
    const struct timeval wait = {.tv_sec = WAIT_SECONDS_MAX};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    nl->fd = fd;
    nl->seq = 0;
    return 0;
}

void netlink_close(struct netlink *nl)
{
    cleanup_close(&nl->fd);
    nl->fd = -1;
}

static void request_add(struct request *request, const void *data, size_t len)
{
    assert(request->len + NLMSG_ALIGN(len) <= REQUEST_MAX);
    memcpy(request->bytes + request->len, data, len);
    request->len += (uint32_t)NLMSG_ALIGN(len);
}

static void request_begin(struct request *request, uint16_t type, uint16_t flags,
                          const void *family_header, size_t len)
{
    const struct nlmsghdr header = {.nlmsg_type = type,
                                    .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)};

    *request = (struct request){.len = 0};
    request_add(request, &header, sizeof(header));
    request_add(request, family_header, len);
}

static void add_attr(struct request *request, uint16_t type, const void *data, size_t len)
{
    const struct rtattr attr = {.rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = type};

    request_add(request, &attr, sizeof(attr));
    if (len)
        request_add(request, data, len);
}

static void add_text(struct request *request, uint16_t type, const char *text)
{
    add_attr(request, type, text, strlen(text) + 1);
}

/* Returns where the nest begins, for end_nest. */
static uint32_t begin_nest(struct request *request, uint16_t type)
{
    uint32_t at = request->len;

    add_attr(request, type, NULL, 0);
    return at;
}

static void end_nest(struct request *request, uint32_t at)
{
    const uint16_t len = (uint16_t)(request->len - at);

    memcpy(request->bytes + at + offsetof(struct rtattr, rta_len), &len, sizeof(len));
}

/* Messages of one datagram. > 0: the answer is complete. */
static int walk(const struct netlink *nl, const unsigned char *data, size_t len, on_message cb,
                void *userdata)
{
    while (len >= sizeof(struct nlmsghdr)) {
        const struct nlmsghdr *m = (const void *)data;
        size_t step;

        if (m->nlmsg_len < sizeof(*m) || m->nlmsg_len > len)
            return -EBADMSG;
        if (m->nlmsg_seq != nl->seq)
            goto skip;
        if (m->nlmsg_type == NLMSG_DONE)
            return 1;
        if (m->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *error = NLMSG_DATA(m);

            if (m->nlmsg_len < NLMSG_LENGTH(sizeof(*error)))
                return -EBADMSG;
            return error->error ? error->error : 1;
        }
        if (cb) {
            int r = cb(userdata, m);

            if (r < 0)
                return r;
        }
    skip:
        step = NLMSG_ALIGN(m->nlmsg_len);
        if (step >= len)
            break;
        data += step;
        len -= step;
    }
    return 0;
}

static int talk(struct netlink *nl, struct request *request, on_message cb, void *userdata)
{
    CLEANUP(free) unsigned char *answer = malloc(ANSWER_MAX);
    struct nlmsghdr *header = (void *)request->bytes;
    int r = 0;

    if (!answer)
        return -ENOMEM;
    header->nlmsg_len = request->len;
    header->nlmsg_seq = ++nl->seq;
    if (send(nl->fd, request->bytes, request->len, 0) < 0)
        return -errno;
    while (r == 0) {
        ssize_t n = recv(nl->fd, answer, ANSWER_MAX, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        r = walk(nl, answer, (size_t)n, cb, userdata);
    }
    return r < 0 ? r : 0;
}

/* The attribute of that type, or NULL when it is missing or shorter than len. */
static const void *find_attr(const struct nlmsghdr *m, size_t family_len, uint16_t type, size_t len)
{
    size_t left = m->nlmsg_len - NLMSG_LENGTH(0);
    const unsigned char *at = NLMSG_DATA(m);

    if (left < NLMSG_ALIGN(family_len))
        return NULL;
    at += NLMSG_ALIGN(family_len);
    left -= NLMSG_ALIGN(family_len);
    while (left >= sizeof(struct rtattr)) {
        const struct rtattr *attr = (const void *)at;

        if (attr->rta_len < sizeof(*attr) || attr->rta_len > left)
            return NULL;
        if (attr->rta_type == type)
            return attr->rta_len >= RTA_LENGTH(len) ? RTA_DATA(attr) : NULL;
        if (RTA_ALIGN(attr->rta_len) >= left)
            return NULL;
        at += RTA_ALIGN(attr->rta_len);
        left -= RTA_ALIGN(attr->rta_len);
    }
    return NULL;
}

struct link_seen {
    struct netlink_link link;
    bool ethernet;
};

static int on_link(void *userdata, const struct nlmsghdr *m)
{
    struct link_seen *seen = userdata;
    const struct ifinfomsg *info = NLMSG_DATA(m);
    const void *mac = find_attr(m, sizeof(*info), IFLA_ADDRESS, 6);
    const void *mtu = find_attr(m, sizeof(*info), IFLA_MTU, sizeof(uint32_t));

    if (m->nlmsg_type != RTM_NEWLINK || m->nlmsg_len < NLMSG_LENGTH(sizeof(*info)) || !mtu)
        return 0;
    seen->link.index = info->ifi_index;
    seen->ethernet = info->ifi_type == ARPHRD_ETHER && mac;
    memcpy(&seen->link.mtu, mtu, sizeof(uint32_t));
    if (mac)
        memcpy(seen->link.mac, mac, 6);
    return 0;
}

int netlink_link(struct netlink *nl, const char *name, struct netlink_link *ret)
{
    const struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    struct link_seen seen = {.link.index = 0};
    struct request request;
    int r;

    if (strlen(name) >= IFNAMSIZ)
        return -ENAMETOOLONG;
    request_begin(&request, RTM_GETLINK, NLM_F_ACK, &info, sizeof(info));
    add_text(&request, IFLA_IFNAME, name);
    r = talk(nl, &request, on_link, &seen);
    if (r < 0)
        return r;
    if (seen.link.index == 0)
        return -ENODEV;
    if (!seen.ethernet)
        return -EPROTOTYPE;
    *ret = seen.link;
    return 0;
}

int netlink_up(struct netlink *nl, int index, uint32_t mtu)
{
    const struct ifinfomsg info = {
        .ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct request request;

    request_begin(&request, RTM_NEWLINK, NLM_F_ACK, &info, sizeof(info));
    if (mtu)
        add_attr(&request, IFLA_MTU, &mtu, sizeof(mtu));
    return talk(nl, &request, NULL, NULL);
}

#define FLUSH_MAX 64 /* addresses; each round takes so many, until none is left */

struct addrs_seen {
    int index;
    struct {
        struct ifaddrmsg header;
        unsigned char addr[16];
    } list[FLUSH_MAX];
    size_t len;
};

static int on_addr(void *userdata, const struct nlmsghdr *m)
{
    struct addrs_seen *seen = userdata;
    const struct ifaddrmsg *header = NLMSG_DATA(m);
    size_t len;
    const void *addr;

    if (m->nlmsg_type != RTM_NEWADDR || m->nlmsg_len < NLMSG_LENGTH(sizeof(*header)))
        return 0;
    if ((int)header->ifa_index != seen->index || seen->len == FLUSH_MAX)
        return 0;
    len = header->ifa_family == AF_INET6 ? 16 : 4;
    addr = find_attr(m, sizeof(*header), IFA_LOCAL, len);
    if (!addr)
        addr = find_attr(m, sizeof(*header), IFA_ADDRESS, len);
    if (!addr)
        return 0;
    seen->list[seen->len].header = *header;
    memcpy(seen->list[seen->len].addr, addr, len);
    seen->len++;
    return 0;
}

int netlink_flush(struct netlink *nl, int index)
{
    struct addrs_seen seen;
    struct request request;

    do {
        const struct ifaddrmsg all = {.ifa_family = AF_UNSPEC};
        int r;

        seen = (struct addrs_seen){.index = index};
        request_begin(&request, RTM_GETADDR, NLM_F_DUMP, &all, sizeof(all));
        r = talk(nl, &request, on_addr, &seen);
        for (size_t i = 0; i < seen.len && r == 0; i++) {
            const struct ifaddrmsg *header = &seen.list[i].header;

            request_begin(&request, RTM_DELADDR, NLM_F_ACK, header, sizeof(*header));
            add_attr(&request, IFA_LOCAL, seen.list[i].addr,
                     header->ifa_family == AF_INET6 ? 16 : 4);
            r = talk(nl, &request, NULL, NULL);
            /* A secondary address goes with its primary one. */
            if (r == -EADDRNOTAVAIL)
                r = 0;
        }
        if (r < 0)
            return r;
    } while (seen.len == FLUSH_MAX);
    return 0;
}

int netlink_addr_add(struct netlink *nl, int index, bool v6, const void *addr, uint32_t prefix_len)
{
    const struct ifaddrmsg header = {.ifa_family = v6 ? AF_INET6 : AF_INET,
                                     .ifa_prefixlen = (uint8_t)prefix_len,
                                     .ifa_index = (uint32_t)index,
                                     .ifa_flags = v6 ? IFA_F_NODAD : 0};
    struct request request;
    int r;

    request_begin(&request, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &header,
                  sizeof(header));
    add_attr(&request, IFA_LOCAL, addr, v6 ? 16 : 4);
    add_attr(&request, IFA_ADDRESS, addr, v6 ? 16 : 4);
    r = talk(nl, &request, NULL, NULL);
    return r == -EEXIST ? 0 : r;
}

int netlink_route_add(struct netlink *nl, int index, bool v6, const void *dst, uint32_t prefix_len,
                      const void *gateway)
{
    const struct rtmsg header = {.rtm_family = v6 ? AF_INET6 : AF_INET,
                                 .rtm_dst_len = (uint8_t)prefix_len,
                                 .rtm_table = RT_TABLE_MAIN,
                                 .rtm_protocol = RTPROT_BOOT,
                                 .rtm_scope = gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
                                 .rtm_type = RTN_UNICAST};
    struct request request;
    int r;

    request_begin(&request, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &header,
                  sizeof(header));
    if (prefix_len)
        add_attr(&request, RTA_DST, dst, v6 ? 16 : 4);
    if (gateway)
        add_attr(&request, RTA_GATEWAY, gateway, v6 ? 16 : 4);
    add_attr(&request, RTA_OIF, &index, sizeof(index));
    r = talk(nl, &request, NULL, NULL);
    return r == -EEXIST ? 0 : r;
}

struct route_seen {
    int index;
    bool v6;
    bool found;
    unsigned char gateway[16];
};

static int on_route(void *userdata, const struct nlmsghdr *m)
{
    struct route_seen *seen = userdata;
    const struct rtmsg *route = NLMSG_DATA(m);
    size_t len = seen->v6 ? 16 : 4;
    const void *gateway = find_attr(m, sizeof(*route), RTA_GATEWAY, len);
    const void *out = find_attr(m, sizeof(*route), RTA_OIF, sizeof(int));

    if (m->nlmsg_type != RTM_NEWROUTE || m->nlmsg_len < NLMSG_LENGTH(sizeof(*route)) ||
        seen->found || route->rtm_family != (seen->v6 ? AF_INET6 : AF_INET) ||
        route->rtm_dst_len != 0 || route->rtm_table != RT_TABLE_MAIN || !gateway || !out ||
        memcmp(out, &seen->index, sizeof(int)) != 0)
        return 0;
    memcpy(seen->gateway, gateway, len);
    seen->found = true;
    return 0;
}

int netlink_gateway(struct netlink *nl, int index, bool v6, unsigned char ret_addr[16])
{
    const struct rtmsg all = {.rtm_family = v6 ? AF_INET6 : AF_INET};
    struct route_seen seen = {.index = index, .v6 = v6};
    struct request request;
    int r;

    request_begin(&request, RTM_GETROUTE, NLM_F_DUMP, &all, sizeof(all));
    r = talk(nl, &request, on_route, &seen);
    if (r < 0)
        return r;
    if (!seen.found)
        return -ENOENT;
    memcpy(ret_addr, seen.gateway, v6 ? 16 : 4);
    return 0;
}

static int add_ingress(struct netlink *nl, int index)
{
    const struct tcmsg header = {.tcm_family = AF_UNSPEC,
                                 .tcm_ifindex = index,
                                 .tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0),
                                 .tcm_parent = TC_H_INGRESS};
    struct request request;

    request_begin(&request, RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &header,
                  sizeof(header));
    add_text(&request, TCA_KIND, "ingress");
    return talk(nl, &request, NULL, NULL);
}

/* Begins a u32 filter with these keys (1 to 3); leaves its TCA_OPTIONS open, which *ret_nest
 * closes. */
static void begin_filter(struct request *request, int index, uint32_t prio,
                         const struct tc_u32_key *keys, uint8_t keys_len, uint32_t *ret_nest)
{
    const struct tcmsg header = {.tcm_family = AF_UNSPEC,
                                 .tcm_ifindex = index,
                                 .tcm_parent = TC_H_MAKE(TC_H_INGRESS, 0),
                                 .tcm_info = TC_H_MAKE(prio << 16, __builtin_bswap16(ETH_P_ALL))};
    const struct tc_u32_sel sel = {.flags = TC_U32_TERMINAL, .nkeys = keys_len};
    unsigned char match[sizeof(sel) + U32_KEYS_MAX * sizeof(*keys)];

    assert(keys_len <= U32_KEYS_MAX);
    memcpy(match, &sel, sizeof(sel));
    memcpy(match + sizeof(sel), keys, keys_len * sizeof(*keys));
    request_begin(request, RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &header,
                  sizeof(header));
    add_text(request, TCA_KIND, "u32");
    *ret_nest = begin_nest(request, TCA_OPTIONS);
    add_attr(request, TCA_U32_SEL, match, sizeof(sel) + keys_len * sizeof(*keys));
}

/* Offsets count from the network header: the Ethernet header lies before it. */
static int pass_echo(struct netlink *nl, int index, const unsigned char mac[6])
{
    const unsigned char group[] = {1, 0, 0, 0};
    const unsigned char last[] = {mac[4], mac[5], 0, 0};
    const unsigned char last_mask[] = {255, 255, 0, 0};
    struct tc_u32_key keys[] = {{.off = -14}, {.off = -8, .mask = UINT32_MAX}, {.off = -4}};
    const uint32_t class_id = 1; /* without an action a filter must have one */
    struct request request;
    uint32_t options;

    memcpy(&keys[0].mask, group, 4);
    memcpy(&keys[0].val, group, 4);
    memcpy(&keys[1].val, mac, 4);
    memcpy(&keys[2].mask, last_mask, 4);
    memcpy(&keys[2].val, last, 4);
    begin_filter(&request, index, 1, keys, 3, &options);
    add_attr(&request, TCA_U32_CLASSID, &class_id, sizeof(class_id));
    end_nest(&request, options);
    return talk(nl, &request, NULL, NULL);
}

int netlink_redirect(struct netlink *nl, int from, int to, const unsigned char *echo_mac)
{
    const struct tc_mirred mirred = {
        .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (uint32_t)to};
    const struct tc_u32_key all = {.mask = 0}; /* compares nothing */
    struct request request;
    uint32_t options;
    uint32_t actions;
    uint32_t first;
    uint32_t parms;
    int r = add_ingress(nl, from);

    if (r == 0 && echo_mac)
        r = pass_echo(nl, from, echo_mac);
    if (r < 0)
        return r;
    begin_filter(&request, from, 2, &all, 1, &options);
    actions = begin_nest(&request, TCA_U32_ACT);
    first = begin_nest(&request, 1); /* the actions are numbered from 1 */
    add_text(&request, TCA_ACT_KIND, "mirred");
    parms = begin_nest(&request, TCA_ACT_OPTIONS);
    add_attr(&request, TCA_MIRRED_PARMS, &mirred, sizeof(mirred));
    end_nest(&request, parms);
    end_nest(&request, first);
    end_nest(&request, actions);
    end_nest(&request, options);
    return talk(nl, &request, NULL, NULL);
}
