/* Guest kinds: how each takes its command line and network, asks to be stopped, and says how it
 * ended. One small table each (guest_unikraft.c, guest_linux.c, ...). A broken limit is an error
 * before launch, never a guest that silently lost its address. */
#pragma once

#include "vmm-bridge/vmm.h"

struct buf;
struct err;

struct guest_net {
    const char *ip; /* NULL: no network */
    uint32_t prefix_len;
    const char *gateway; /* "" when none */
    const char *ip6;     /* beside an IPv4 address; NULL or "": none */
    uint32_t prefix6_len;
    const char *gateway6;
    const char *const *dns; /* name servers */
    size_t dns_len;
    const char *search; /* first search domain, or "" */
    const char *hostname;
};

struct guest_env {
    const char *key;
    const char *value;
    bool optional;     /* the image's own: left out by a kernel that takes no environment at all */
    bool service_link; /* made for a Service: the first to go when there is no room */
};

struct guest_device {
    const char *name; /* as the image's manifest calls it */
    bool is_net;      /* else a block device */
};

struct guest_mount {
    const char *tag;  /* of the VMM's share */
    const char *path; /* absolute, in the guest */
    bool read_only;
};

struct guest_input {
    const char *name; /* argv[0] where the guest wants one */
    const struct guest_net *net;
    const struct guest_env *env;
    size_t env_len;
    const char *const *argv; /* command and args, expanded */
    size_t argv_len;
    bool has_initrd;
    const struct guest_mount *mounts; /* 9p; in the order of the machine's shares */
    size_t mounts_len;
    const char *const *os_features; /* CONFIG_X=y of the image; may be empty: assume defaults */
    size_t os_features_len;
    enum vmm_board board;
    bool has_disk;
    const struct guest_device *devices; /* of a solo5 manifest: all must be given, no others */
    size_t devices_len;
};

enum guest_stop {
    GUEST_STOP_NONE,      /* no channel: kill at once, with an event that says so */
    GUEST_STOP_POWERDOWN, /* ACPI power button */
};

/* Container-level meaning of an end. */
struct guest_exit {
    int exit_code;
    int signal;
    const char *reason; /* NULL: by exit code; else a fixed word such as "Error" */
    char message[256];  /* "" or one sentence */
};

struct guest_ops {
    const char *kind;
    enum vmm_board board; /* the board it runs best on */
    enum guest_stop stop;
    bool debug_exit;
    uint16_t debug_exit_port; /* 0: 0x501 */
    uint32_t memory_mib_min;
    bool ipv6; /* takes an IPv6 address, alone or beside an IPv4 one */
    /* Appends the whole command line to out. ERR_SPEC when a limit or quoting rule is broken. */
    int (*cmdline)(const struct guest_input *input, struct buf *out, struct err *err);
    /* tail: the console's last bytes, for guests that print their exit code. */
    void (*decode)(const struct vmm_exit *end, bool stop_was_asked, const char *tail,
                   struct guest_exit *ret);
};

/* NULL when unknown. */
const struct guest_ops *guest_find(const char *kind);
/* guest->cmdline with all of the environment; when that is too much (-E2BIG) without the variables
 * made for Services, whose number is then in *ret_dropped (else 0). The text of an error names the
 * limit, the number and what to do. */
int guest_cmdline(const struct guest_ops *guest, const struct guest_input *input, struct buf *out,
                  size_t *ret_dropped, struct err *err);
