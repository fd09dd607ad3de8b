/* The few rtnetlink requests that join a tap to a CNI interface, in the calling thread's network
 * namespace. Blocking, but answered by the kernel at once: for worker threads. Called by
 * network_tap.c and by tests. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct netlink {
    int fd;
    uint32_t seq;
};

struct netlink_link {
    int index;
    uint32_t mtu;
    unsigned char mac[6];
};

/* The socket stays in the namespace in which it was opened. */
int netlink_open(struct netlink *nl);
void netlink_close(struct netlink *nl);

/* -ENODEV: no interface of that name; -EPROTOTYPE: it has no Ethernet address. */
int netlink_link(struct netlink *nl, const char *name, struct netlink_link *ret);
/* Sets the MTU (0: leave it) and brings the interface up. */
int netlink_up(struct netlink *nl, int index, uint32_t mtu);
/* Removes every address of either family. */
int netlink_flush(struct netlink *nl, int index);
/* addr: 4 or 16 bytes. One that is there already is success. */
int netlink_addr_add(struct netlink *nl, int index, bool v6, const void *addr, uint32_t prefix_len);
/* A route of the main table; gateway NULL: on the link. One that is there already is success. */
int netlink_route_add(struct netlink *nl, int index, bool v6, const void *dst, uint32_t prefix_len,
                      const void *gateway);
/* The next hop of the main table's default route over the interface, 4 or 16 bytes; -ENOENT. */
int netlink_gateway(struct netlink *nl, int index, bool v6, unsigned char ret_addr[16]);
/* Everything that arrives on one interface leaves by the other: an ingress qdisc with one u32
 * filter that matches all and redirects (`tc filter add dev FROM parent ffff: protocol all u32
 * match u32 0 0 action mirred egress redirect dev TO`). Except, when echo_mac is not NULL, group
 * frames sent by that address: they are left to the namespace. -EEXIST: it has an ingress qdisc. */
int netlink_redirect(struct netlink *nl, int from, int to, const unsigned char *echo_mac);
