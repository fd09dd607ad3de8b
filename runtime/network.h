/* A network namespace per Pod, CNI in it, and a tap joined to the CNI interface by tc, so that the
 * guest itself has the Pod's IP, MAC and MTU. Everything can be undone from the uid alone, after
 * any crash: names are derived from it and CNI results are kept on disk. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct uv_loop_s;

#define NETWORK_TAP_NAME "tap0" /* inside the Pod's netns */
#define NETWORK_VHOST_DEVICE "/dev/vhost-net"

struct network_config {
    const char *conf_dir; /* /etc/cni/net.d: first *.conflist or *.conf by name wins */
    const char *const *bin_dirs;
    size_t bin_dirs_len;
    const char *netns_dir;  /* /run/netns */
    const char *state_dir;  /* for CNI results and our default conflist */
    const char *pod_cidr;   /* for the default conflist, when conf_dir has none */
    const char *pod_cidr6;  /* its second range; NULL or "": none */
    const char *bridge;     /* name of the default bridge, "unik0" */
    uint32_t plugin_ms_max; /* time limit of one CNI plugin; 0: a default */
    bool collect;           /* CNI's GC at start: no other runtime may use this configuration */
};

struct network;

int network_open(struct uv_loop_s *loop, const struct network_config *config, struct network **ret,
                 struct err *err);
/* Drops what is under way, without callbacks; the next agent undoes it. The loop must turn once
 * more for the memory to go. */
void network_close(struct network *network);
/* Whether Pods can get a network now; the text is for the Node's Ready condition. */
int network_check(struct network *network, struct err *err);

struct network_port {
    uint16_t container_port;
    uint16_t host_port;
    const char *host_ip;  /* "" any */
    const char *protocol; /* "tcp", "udp" */
};

/* What a Pod asks of the plugins; each reaches those that declare the capability. */
struct network_wants {
    const struct network_port *ports;
    size_t ports_len;
    uint64_t ingress_bps; /* bits a second towards the Pod; 0: no limit */
    uint64_t egress_bps;
    const char *ips; /* addresses, separated by commas, each with or without a prefix; NULL: any */
    const char *mac; /* NULL: any */
};

struct network_pod {
    const char *uid;
    const char *ns;
    const char *name;
    struct network_wants wants;
};

struct network_result {
    char netns[256]; /* path */
    char ip[46];     /* IPv4 where there is one, else IPv6 */
    uint32_t prefix_len;
    char gateway[46]; /* "" none */
    char ip6[46];     /* beside an IPv4 address; "" none */
    uint32_t prefix6_len;
    char gateway6[46];
    char mac[18];
    uint32_t mtu;
    char others[64]; /* an interface beside eth0, which the guest does not have; "" none */
};

typedef void (*network_done)(void *userdata, int result, const struct network_result *net,
                             const char *error);

/* Never calls back before it returned; exactly one callback. Adding what is there already answers
 * from the kept result (re-adoption). del of what is absent succeeds; it retries nothing itself. */
void network_add(struct network *network, const struct network_pod *pod, network_done done,
                 void *userdata);
void network_del(struct network *network, const char *uid, network_done done, void *userdata);
/* CNI's CHECK of a network that is up, when nothing else waits; success too where the configuration
 * has none. The error is for the Pod's owner: nothing is undone. */
void network_verify(struct network *network, const char *uid, network_done done, void *userdata);
/* The kept result of a Pod whose network is up, without asking CNI; -ENOENT. */
int network_load(struct network *network, const char *uid, struct network_result *ret);
/* uids that have anything left on this host: for finding orphans. Strings malloc'd, array too. */
int network_list(struct network *network, char ***ret_uids, size_t *ret_len);
