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
    bool optional; /* the image's own: left out by a kernel that takes no environment at all */
};

struct guest_input {
    const char *name; /* argv[0] where the guest wants one */
    const struct guest_net *net;
    const struct guest_env *env;
    size_t env_len;
    const char *const *argv; /* command and args, expanded */
    size_t argv_len;
    bool has_initrd;
    const char *const *os_features; /* CONFIG_X=y of the image; may be empty: assume defaults */
    size_t os_features_len;
    enum vmm_board board;
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
