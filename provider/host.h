/* What this host is: for the Node object. Read once at start; disk and memory figures again for
 * each status. */
#pragma once

#include "provider/dns.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct err;

struct host {
    char machine_id[64];
    char system_uuid[64];
    char boot_id[64];
    char kernel_version[128];
    char os_image[128];
    char architecture[32]; /* Go's word: amd64 */
    int64_t cpu_milli, cpu_allocatable_milli;
    int64_t memory_bytes, memory_allocatable_bytes;
    int64_t storage_bytes, storage_allocatable_bytes;
    int64_t memory_available_bytes;  /* now */
    int64_t storage_available_bytes; /* now, on the state directory's file system */
    struct dns_host dns;
};

/* -ERANGE when the reserve is larger than the host. */
int host_read(const struct config *config, struct host *ret, struct err *err);
/* The two "now" members. */
void host_refresh(const struct config *config, struct host *host);
/* The local address that packets to the server (https://host:port) leave from; else that of the
 * first interface that is up and not loopback. dst holds INET6_ADDRSTRLEN. */
int host_find_ip(const char *server_url, char *dst, size_t size, struct err *err);
