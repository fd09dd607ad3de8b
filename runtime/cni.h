/* CNI as data: configuration lists, what a plugin gets on its standard input, and what it prints.
 * Spec 0.3.0 to 1.1.0 (containernetworking/cni SPEC.md). Pure but for cni_list_load and _check,
 * which read directories; running plugins is cni_chain.h. Called by network*.c alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct network_wants;

#define CNI_CONF_MAX (256 * 1024)   /* a configuration file; real ones stay below 4 KiB */
#define CNI_RESULT_MAX (256 * 1024) /* what a plugin may print */
#define CNI_PLUGINS_MAX 16
#define CNI_FILES_MAX 256 /* in conf_dir */
#define CNI_ADDRS_MAX 8   /* addresses of one interface that we keep track of */
#define CNI_PORTS_MAX 256
#define CNI_ROUTES_MAX 32 /* of a result, kept track of for CHECK */
#define CNI_IPS_MAX 8     /* addresses that a Pod may ask for */
#define CNI_IFNAME "eth0"

/* Capabilities that a plugin may declare and we can serve (CNI CONVENTIONS.md), one bit each. */
enum cni_capability {
    CNI_PORT_MAPPINGS = 1u << 0,
    CNI_BANDWIDTH = 1u << 1,
    CNI_IPS = 1u << 2,
    CNI_MAC = 1u << 3,
};

struct cni_plugin {
    char *type;
    char *ipam;            /* NULL: none */
    char *json;            /* the plugin's own object, as configured */
    uint32_t capabilities; /* enum cni_capability */
};

struct cni_list {
    char *version;
    char *name;
    char *text; /* the whole list as JSON, in list form: to be kept for DEL */
    bool disable_check;
    bool disable_gc;
    struct cni_plugin plugins[CNI_PLUGINS_MAX];
    size_t plugins_len;
};

/* A list ("plugins") or a single plugin's configuration ("type"), told apart by content. */
int cni_list_parse(const char *text, size_t len, struct cni_list **ret, struct err *err);
void cni_list_free(struct cni_list *list); /* NULL is accepted */

/* The first good *.conflist, *.conf or *.json of conf_dir by name. -ENOENT: there is none at all;
 * another error: there are only bad ones, and err names the first. ret_skipped (may be NULL), of
 * ERR_TEXT_MAX bytes, names the first bad file before the good one, or is "". */
int cni_list_load(const char *conf_dir, struct cni_list **ret, char *ret_skipped, struct err *err);

struct cni_default {
    const char *cidr;
    const char *bridge;
    const char *data_dir; /* of host-local */
    const char *cidr6;    /* NULL or "": IPv4 (or what cidr is) alone */
    bool portmap;         /* a plugin less to run for Pods without host ports */
    bool bandwidth;       /* and for those without limits */
};
/* Our own list: bridge, host-local and, if asked for, portmap and bandwidth. */
int cni_list_default(const struct cni_default *conf, struct cni_list **ret, struct err *err);

/* malloc'd path of the plugin's executable, or NULL. */
char *cni_find(const char *type, const char *const *bin_dirs, size_t bin_dirs_len);
/* Every plugin of the list, and its IPAM plugin, is there. */
int cni_list_check(const struct cni_list *list, const char *const *bin_dirs, size_t bin_dirs_len,
                   struct err *err);

/* What a plugin is told beside its configuration. */
struct cni_told {
    const struct network_wants *wants; /* each only to plugins that declare the capability */
    const char *prev;                  /* JSON of the result before it, or NULL */
    const char *attachments;           /* GC: JSON array of those that are valid, or NULL */
};

/* Appends what plugin i reads. Ports without a host_port are left out. */
int cni_input(const struct cni_list *list, size_t i, const struct cni_told *told, struct buf *out);
/* Whether the list's version has CHECK (0.4.0) or GC (1.1.0) and its author did not forbid it. */
bool cni_list_checks(const struct cni_list *list);
bool cni_list_collects(const struct cni_list *list);

struct cni_addr {
    char ip[46];
    uint32_t prefix_len;
    bool v6;
};

struct cni_route {
    struct cni_addr dst;
    char gateway[46]; /* "": on the link */
};

struct cni_result {
    struct cni_addr addrs[CNI_ADDRS_MAX]; /* of our interface; IPv4 first */
    size_t addrs_len;
    char gateway[46];  /* that of the first IPv4 address, or "" */
    char gateway6[46]; /* that of the first IPv6 address, or "" */
    struct cni_route routes[CNI_ROUTES_MAX];
    size_t routes_len;
    char others[64]; /* name of an interface in the Pod beside ours, or "" */
};

/* The result of the last plugin. -EBADMSG: not a result, or it has no address for ifname. */
int cni_result_parse(const char *text, size_t len, const char *ifname, struct cni_result *ret,
                     struct err *err);
/* Whether text is a JSON object, as every ADD must print. */
int cni_output_check(const char *text, size_t len, struct err *err);
/* Fills err from what a failed plugin printed: its error object, else the end of its stderr. */
int cni_error_parse(const char *type, const char *text, size_t len, const char *errors,
                    int wait_status, struct err *err);
/* "a.b.c.d/n" or IPv6 alike. -EINVAL. */
int cni_addr_parse(const char *text, struct cni_addr *ret);
