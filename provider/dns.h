/* Name servers and search domain of a Pod by its dnsPolicy (contract 3.7). */
#pragma once

#include <stddef.h>

struct arena;
struct buf;
struct config;
struct guest_net;
struct pod_spec;

#define DNS_SERVERS_MAX 3 /* glibc's MAXNS, and the API's limit for dnsConfig */

/* What the node itself uses. */
struct dns_host {
    char servers[DNS_SERVERS_MAX][46]; /* INET6_ADDRSTRLEN */
    size_t len;
    char search[254]; /* the first domain, "" for none */
};

/* A resolv.conf's text. Servers on this host's loopback are left out: no guest reaches them. */
void dns_parse(const char *text, struct dns_host *ret);
/* Reads path ("": nothing). Where all servers are local, what systemd-resolved asks itself. */
void dns_read(const char *path, struct dns_host *ret);
/* Fills net's dns and search. Strings live as long as config, host and spec, or in arena. */
void dns_fill(const struct config *config, const struct dns_host *host, const struct pod_spec *spec,
              struct arena *arena, struct guest_net *net);
/* spec.hostname, else the Pod's name, cut as the kubelet does; with setHostnameAsFQDN the whole. */
const char *dns_hostname(const struct config *config, const struct pod_spec *spec,
                         struct arena *arena);
/* dns_files.c: the files that the kubelet would mount (contract 3.7). */
void dns_hosts(const struct config *config, const struct pod_spec *spec, const char *pod_ip,
               struct buf *out);
void dns_resolv_conf(const struct config *config, const struct dns_host *host,
                     const struct pod_spec *spec, struct arena *arena, struct buf *out);
