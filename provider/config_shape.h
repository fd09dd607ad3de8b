/* What the text of a configuration value must look like: paths, addresses, names, labels, choices.
 * A mistake is found at start, with its line, rather than by the API server again and again. */
#pragma once

#include <stdbool.h>

enum shape {
    SHAPE_TEXT, /* anything printable */
    SHAPE_PATH,
    SHAPE_QUANTITY,
    SHAPE_MEMORY,  /* at least a MiB */
    SHAPE_NAME,    /* DNS subdomain: a Node's name, a domain */
    SHAPE_IP,      /* IPv4 or IPv6 address */
    SHAPE_NODE_IP, /* one address, or one of each family */
    SHAPE_CIDR,
    SHAPE_LABEL, /* key=value */
    SHAPE_LINK,  /* network interface */
    SHAPE_CGROUP,
    SHAPE_LEVEL,
    SHAPE_VMM,
    SHAPE_ACCEL,
    SHAPE_NETWORK,
    SHAPE_EVICTION, /* signal<quantity or percentage */
    _SHAPE_MAX,
};

bool shape_fits(enum shape shape, const char *text);
/* For "must be ...": "an absolute path". */
const char *shape_words(enum shape shape);
