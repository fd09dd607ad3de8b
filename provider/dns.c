/* See dns.h. Called by host.c at start and by launch.c for each machine. Not a resolver. */
#include "provider/dns.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "provider/config.h"
#include "provider/core/pod.h"
#include "runtime/guest.h"

#include <arpa/inet.h>
#include <string.h>

#define RESOLV_CONF_MAX 65536
#define BEHIND_RESOLVED "/run/systemd/resolve/resolv.conf"

static bool is_reachable(const char *address)
{
    struct in6_addr six;
    struct in_addr four;
    if (inet_pton(AF_INET, address, &four) == 1)
        return (ntohl(four.s_addr) >> 24) != 127 && four.s_addr != 0;
    return inet_pton(AF_INET6, address, &six) == 1 && !IN6_IS_ADDR_LOOPBACK(&six) &&
           !IN6_IS_ADDR_UNSPECIFIED(&six);
}

/* The next word of a line; false at its end. */
static bool next_word(const char **at, char *word, size_t size)
{
    *at += strspn(*at, " \t\r");
    size_t len = strcspn(*at, " \t\r\n");
    str_fmt(word, size, "%.*s", (int)len, *at);
    *at += len;
    return len > 0;
}

void dns_parse(const char *text, struct dns_host *ret)
{
    *ret = (struct dns_host){0};
    while (*text) {
        const char *at = text;
        char word[256];
        (void)next_word(&at, word, sizeof(word));
        if (str_eq(word, "nameserver")) {
            if (next_word(&at, word, sizeof(word)) && ret->len < DNS_SERVERS_MAX &&
                is_reachable(word))
                str_copy(ret->servers[ret->len++], sizeof(ret->servers[0]), word);
        } else if (str_eq(word, "search") || str_eq(word, "domain")) {
            (void)next_word(&at, word, sizeof(word));
            str_copy(ret->search, sizeof(ret->search), str_eq(word, ".") ? "" : word);
        }
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
}

void dns_read(const char *path, struct dns_host *ret)
{
    struct buf text = BUF_INIT(RESOLV_CONF_MAX);
    *ret = (struct dns_host){0};
    if (!str_empty(path) && file_read(path, &text) == 0)
        dns_parse(buf_str(&text), ret);
    buf_reset(&text);
    if (!str_empty(path) && ret->len == 0 && file_read(BEHIND_RESOLVED, &text) == 0)
        dns_parse(buf_str(&text), ret);
    buf_free(&text);
}

void dns_fill(const struct config *config, const struct dns_host *host, const struct pod_spec *spec,
              struct arena *arena, struct guest_net *net)
{
    /* Without a cluster DNS, as in the kubelet, ClusterFirst falls back to Default. */
    bool none = str_eq(spec->dns_policy, "None");
    bool cluster = !none && !str_eq(spec->dns_policy, "Default") && config->cluster_dns.len;
    size_t max = config->cluster_dns.len + DNS_SERVERS_MAX + spec->dns_servers_len;
    const char **servers = arena_array(arena, max, sizeof(*servers));
    size_t count = 0;
    net->search = spec->dns_searches_len ? spec->dns_searches[0] : "";
    for (size_t i = 0; cluster && i < config->cluster_dns.len; i++)
        servers[count++] = config->cluster_dns.items[i];
    for (size_t i = 0; !cluster && !none && i < host->len; i++)
        servers[count++] = host->servers[i];
    for (size_t i = 0; i < spec->dns_servers_len; i++)
        servers[count++] = spec->dns_servers[i];
    if (cluster) {
        char domain[256];
        str_fmt(domain, sizeof(domain), "%s.svc.%s", spec->ns, config->cluster_domain);
        net->search = arena_strdup(arena, domain);
    } else if (!none && host->search[0]) {
        net->search = host->search;
    }
    net->dns = servers;
    net->dns_len = count < DNS_SERVERS_MAX ? count : DNS_SERVERS_MAX;
}
