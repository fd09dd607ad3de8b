/* Reads /proc, /sys and /etc for the Node object. Called by main and node.c. */
#include "provider/host.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "provider/config.h"
#include "provider/core/quantity.h"
#include "provider/pressure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#define HOST_FILE_MAX 65536

static void read_line(const char *path, char *dst, size_t size)
{
    struct buf text = BUF_INIT(HOST_FILE_MAX);
    dst[0] = '\0';
    if (file_read(path, &text) == 0) {
        char *end = strchr(text.data ? text.data : "", '\n');
        if (end)
            *end = '\0';
        str_copy(dst, size, buf_str(&text));
    }
    buf_free(&text);
}

/* KEY=value of os-release, quotes removed. */
static void read_os_image(char *dst, size_t size)
{
    struct buf text = BUF_INIT(HOST_FILE_MAX);
    str_copy(dst, size, "Linux");
    if (file_read("/etc/os-release", &text) == 0) {
        const char *at = strstr(buf_str(&text), "PRETTY_NAME=");
        if (at) {
            at += strlen("PRETTY_NAME=");
            at += *at == '"';
            str_fmt(dst, size, "%.*s", (int)strcspn(at, "\"\n"), at);
        }
    }
    buf_free(&text);
}

/* A "Name:  123 kB" line of /proc/meminfo, in bytes; 0 when absent. */
static int64_t meminfo(const char *name)
{
    struct buf text = BUF_INIT(HOST_FILE_MAX);
    int64_t bytes = 0;
    if (file_read("/proc/meminfo", &text) == 0) {
        const char *at = strstr(buf_str(&text), name);
        if (at)
            bytes = strtoll(at + strlen(name), NULL, 10) * 1024;
    }
    buf_free(&text);
    return bytes;
}

void host_refresh(const struct config *config, struct host *host)
{
    struct statvfs fs;
    host->memory_available_bytes = meminfo("MemAvailable:");
    if (statvfs(config->state_dir, &fs) == 0) {
        host->storage_bytes = (int64_t)(fs.f_blocks * fs.f_frsize);
        host->storage_available_bytes = (int64_t)(fs.f_bavail * fs.f_frsize);
    }
}

int host_read(const struct config *config, struct host *ret, struct err *err)
{
    struct host host = {0};
    struct utsname name;
    int64_t reserved_cpu = 0;
    int64_t reserved_memory = 0;
    read_line("/etc/machine-id", host.machine_id, sizeof(host.machine_id));
    read_line("/sys/class/dmi/id/product_uuid", host.system_uuid, sizeof(host.system_uuid));
    if (!host.system_uuid[0])
        str_copy(host.system_uuid, sizeof(host.system_uuid), host.machine_id);
    read_line("/proc/sys/kernel/random/boot_id", host.boot_id, sizeof(host.boot_id));
    read_os_image(host.os_image, sizeof(host.os_image));
    dns_read(config->resolv_conf, &host.dns);
    if (uname(&name) == 0) {
        str_copy(host.kernel_version, sizeof(host.kernel_version), name.release);
        str_copy(host.architecture, sizeof(host.architecture),
                 str_eq(name.machine, "x86_64") ? "amd64" : name.machine);
    }
    (void)quantity_milli(config->reserved_cpu, &reserved_cpu);
    (void)quantity_value(config->reserved_memory, &reserved_memory);
    host.cpu_milli = sysconf(_SC_NPROCESSORS_ONLN) * 1000;
    host.memory_bytes = meminfo("MemTotal:");
    host_refresh(config, &host);
    host.cpu_allocatable_milli = host.cpu_milli - reserved_cpu;
    host.memory_allocatable_bytes = host.memory_bytes - reserved_memory -
                                    pressure_reserve(config, SIGNAL_MEMORY, host.memory_bytes);
    host.storage_allocatable_bytes =
        host.storage_bytes - pressure_reserve(config, SIGNAL_NODEFS, host.storage_bytes);
    if (host.cpu_allocatable_milli <= 0 || host.memory_allocatable_bytes <= 0)
        return err_spec(err, -ERANGE,
                        "reservedCPU %s, reservedMemory %s and evictionHard leave nothing of this "
                        "host for Pods",
                        config->reserved_cpu, config->reserved_memory);
    *ret = host;
    return 0;
}

static bool is_usable(const struct sockaddr *address)
{
    if (address->sa_family != AF_INET)
        return false;
    uint32_t ip = ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr);
    /* API servers refuse loopback and link-local node addresses (contract 5.2). */
    return (ip >> 24) != 127 && (ip >> 16) != 0xa9fe && ip != 0;
}

static int ip_towards(const char *server_url, char *dst, size_t size)
{
    const char *host = strstr(server_url, "://");
    char name[256];
    if (!host)
        return -EINVAL;
    host += 3;
    str_fmt(name, sizeof(name), "%.*s", (int)strcspn(host, ":/"), host);
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *list = NULL;
    if (getaddrinfo(name, "9", &hints, &list) != 0 || !list)
        return -EHOSTUNREACH;
    int result = -EHOSTUNREACH;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in local = {0};
    socklen_t len = sizeof(local);
    /* Connecting a datagram socket sends nothing: it only looks the route up. */
    if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) == 0 &&
        getsockname(fd, (struct sockaddr *)&local, &len) == 0 &&
        is_usable((struct sockaddr *)&local) &&
        inet_ntop(AF_INET, &local.sin_addr, dst, (socklen_t)size))
        result = 0;
    if (fd >= 0)
        (void)close(fd);
    freeaddrinfo(list);
    return result;
}

int host_find_ip(const char *server_url, char *dst, size_t size, struct err *err)
{
    struct ifaddrs *list = NULL;
    if (ip_towards(server_url, dst, size) == 0)
        return 0;
    int result = -EADDRNOTAVAIL;
    if (getifaddrs(&list) == 0) {
        for (struct ifaddrs *i = list; i && result < 0; i = i->ifa_next) {
            const struct sockaddr_in *in = (const void *)i->ifa_addr;
            if (in && (i->ifa_flags & IFF_UP) && is_usable(i->ifa_addr) &&
                inet_ntop(AF_INET, &in->sin_addr, dst, (socklen_t)size))
                result = 0;
        }
        freeifaddrs(list);
    }
    if (result < 0)
        return err_set(err, result,
                       "no interface of this host has an address for the Node; set nodeIP");
    return 0;
}
