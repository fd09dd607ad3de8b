/* /etc/hosts and /etc/resolv.conf as the kubelet writes them (contract 3.7), for guests that take
 * files. Part of dns. */
#include "provider/dns.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"
#include "provider/config.h"
#include "provider/core/pod.h"
#include "runtime/guest.h"

#include <string.h>

#define HOSTNAME_MAX 63 /* Linux takes 64, DNS labels 63 */
#define FQDN_MAX 64     /* the kernel's own limit: a longer one is not used */
#define SEARCHES_MAX 32 /* the API's limit for dnsConfig */

static const char *short_name(const struct pod_spec *spec, struct arena *arena)
{
    const char *name = str_empty(spec->hostname) ? spec->name : spec->hostname;
    size_t len = strlen(name);

    if (len <= HOSTNAME_MAX)
        return name;
    len = HOSTNAME_MAX;
    while (len && strchr("-.", name[len - 1]))
        len--;
    return arena_strndup(arena, name, len);
}

static void domain_of(const struct config *config, const struct pod_spec *spec, char *dst,
                      size_t size)
{
    dst[0] = '\0';
    if (!str_empty(spec->subdomain))
        str_fmt(dst, size, "%s.%s.svc.%s", spec->subdomain, spec->ns, config->cluster_domain);
}

const char *dns_hostname(const struct config *config, const struct pod_spec *spec,
                         struct arena *arena)
{
    const char *name = short_name(spec, arena);
    char domain[512], whole[1024];

    domain_of(config, spec, domain, sizeof(domain));
    str_fmt(whole, sizeof(whole), "%s.%s", name, domain);
    if (!spec->hostname_as_fqdn || !domain[0] || strlen(whole) > FQDN_MAX)
        return name;
    return arena_strdup(arena, whole);
}

void dns_hosts(const struct config *config, const struct pod_spec *spec, const char *pod_ip,
               struct buf *out)
{
    struct arena *arena = arena_new(512);
    char domain[512];

    (void)buf_adds(out, "# Kubernetes-managed hosts file.\n"
                        "127.0.0.1\tlocalhost\n"
                        "::1\tlocalhost ip6-localhost ip6-loopback\n"
                        "fe00::0\tip6-localnet\n"
                        "fe00::0\tip6-mcastprefix\n"
                        "fe00::1\tip6-allnodes\n"
                        "fe00::2\tip6-allrouters\n");
    domain_of(config, spec, domain, sizeof(domain));
    const char *name = short_name(spec, arena);
    if (!str_empty(pod_ip) && domain[0])
        (void)buf_addf(out, "%s\t%s.%s\t%s\n", pod_ip, name, domain, name);
    else if (!str_empty(pod_ip))
        (void)buf_addf(out, "%s\t%s\n", pod_ip, name);
    if (spec->host_aliases_len)
        (void)buf_adds(out, "\n# Entries added by HostAliases.\n");
    for (size_t i = 0; i < spec->host_aliases_len; i++) {
        (void)buf_adds(out, spec->host_aliases[i].ip);
        for (size_t k = 0; k < spec->host_aliases[i].names_len; k++)
            (void)buf_addf(out, "\t%s", spec->host_aliases[i].names[k]);
        (void)buf_addc(out, '\n');
    }
    arena_free(arena);
}

/* In the order of first mention, each once. */
static size_t add_search(const char **list, size_t len, const char *domain)
{
    for (size_t i = 0; i < len; i++) {
        if (str_eq(list[i], domain))
            return len;
    }
    if (len < SEARCHES_MAX && !str_empty(domain))
        list[len++] = domain;
    return len;
}

static size_t searches(const struct config *config, const struct dns_host *host,
                       const struct pod_spec *spec, bool cluster, struct arena *arena,
                       const char **list)
{
    char text[512];
    size_t len = 0;

    if (cluster) {
        str_fmt(text, sizeof(text), "%s.svc.%s", spec->ns, config->cluster_domain);
        len = add_search(list, len, arena_strdup(arena, text));
        str_fmt(text, sizeof(text), "svc.%s", config->cluster_domain);
        len = add_search(list, len, arena_strdup(arena, text));
        len = add_search(list, len, config->cluster_domain);
    }
    if (!str_eq(spec->dns_policy, "None"))
        len = add_search(list, len, host->search);
    for (size_t i = 0; i < spec->dns_searches_len; i++)
        len = add_search(list, len, spec->dns_searches[i]);
    return len;
}

static bool has_option(const struct pod_spec *spec, const char *name)
{
    return key_value_find(spec->dns_options, spec->dns_options_len, name) != NULL;
}

void dns_resolv_conf(const struct config *config, const struct dns_host *host,
                     const struct pod_spec *spec, struct arena *arena, struct buf *out)
{
    bool cluster = config->cluster_dns.len && !str_eq(spec->dns_policy, "None") &&
                   !str_eq(spec->dns_policy, "Default");
    const char *list[SEARCHES_MAX];
    struct guest_net net = {0};
    size_t len = searches(config, host, spec, cluster, arena, list);

    for (size_t i = 0; i < len; i++)
        (void)buf_addf(out, "%s%s", i ? " " : "search ", list[i]);
    if (len)
        (void)buf_addc(out, '\n');
    dns_fill(config, host, spec, arena, &net);
    for (size_t i = 0; i < net.dns_len; i++)
        (void)buf_addf(out, "nameserver %s\n", net.dns[i]);
    if (!(cluster && !has_option(spec, "ndots")) && spec->dns_options_len == 0)
        return;
    (void)buf_adds(out, "options");
    if (cluster && !has_option(spec, "ndots"))
        (void)buf_adds(out, " ndots:5");
    for (size_t i = 0; i < spec->dns_options_len; i++)
        (void)buf_addf(out, spec->dns_options[i].value[0] ? " %s:%s" : " %s",
                       spec->dns_options[i].key, spec->dns_options[i].value);
    (void)buf_addc(out, '\n');
}
