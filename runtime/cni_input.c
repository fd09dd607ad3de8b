/* What a CNI plugin reads on its standard input: its own configuration, the network's name and
 * version, what the Pod asks of it by capability, and the result so far (CNI SPEC.md, section 3;
 * CONVENTIONS.md). Pure. Called by cni_chain.c. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/cni.h"
#include "runtime/network.h"

#include <errno.h>
#include <string.h>

/* Bits that may pass at once: as much as other runtimes give (containerd, CRI-O), so that only the
 * rate limits. */
#define BURST_BITS INT32_MAX

static inline void cleanup_json(struct json **json)
{
    json_free(*json);
}

static bool has_host_port(const struct network_wants *wants)
{
    for (size_t i = 0; i < wants->ports_len; i++)
        if (wants->ports[i].host_port)
            return true;
    return false;
}

static void write_ports(struct json_writer *w, const struct network_wants *wants)
{
    jw_begin_array(w, "portMappings");
    for (size_t i = 0; i < wants->ports_len; i++) {
        const struct network_port *port = &wants->ports[i];

        if (port->host_port == 0)
            continue;
        jw_begin_object(w, NULL);
        jw_int(w, "hostPort", port->host_port);
        jw_int(w, "containerPort", port->container_port);
        jw_string(w, "protocol", str_empty(port->protocol) ? "tcp" : port->protocol);
        jw_string_opt(w, "hostIP", port->host_ip);
        jw_end_object(w);
    }
    jw_end_array(w);
}

static void write_bandwidth(struct json_writer *w, const struct network_wants *wants)
{
    jw_begin_object(w, "bandwidth");
    if (wants->ingress_bps) {
        jw_int(w, "ingressRate", (int64_t)wants->ingress_bps);
        jw_int(w, "ingressBurst", BURST_BITS);
    }
    if (wants->egress_bps) {
        jw_int(w, "egressRate", (int64_t)wants->egress_bps);
        jw_int(w, "egressBurst", BURST_BITS);
    }
    jw_end_object(w);
}

static void write_ips(struct json_writer *w, const char *ips)
{
    jw_begin_array(w, "ips");
    while (*ips) {
        size_t len = strcspn(ips, ",");

        jw_string_n(w, NULL, ips, len);
        ips += len + (ips[len] == ',');
    }
    jw_end_array(w);
}

/* Nothing at all when the Pod asks nothing that this plugin serves. */
static void write_runtime_config(struct json_writer *w, uint32_t capabilities,
                                 const struct network_wants *wants)
{
    bool ports = (capabilities & CNI_PORT_MAPPINGS) && has_host_port(wants);
    bool bandwidth = (capabilities & CNI_BANDWIDTH) && (wants->ingress_bps || wants->egress_bps);
    bool ips = (capabilities & CNI_IPS) && !str_empty(wants->ips);
    bool mac = (capabilities & CNI_MAC) && !str_empty(wants->mac);

    if (!ports && !bandwidth && !ips && !mac)
        return;
    jw_begin_object(w, "runtimeConfig");
    if (ports)
        write_ports(w, wants);
    if (bandwidth)
        write_bandwidth(w, wants);
    if (ips)
        write_ips(w, wants->ips);
    if (mac)
        jw_string(w, "mac", wants->mac);
    jw_end_object(w);
}

int cni_input(const struct cni_list *list, size_t i, const struct cni_told *told, struct buf *out)
{
    static const char *const ours[] = {
        "cniVersion",         "name",          "capabilities",
        "prevResult",         "runtimeConfig", "cniVersions",
        "disableCheck",       "disableGC",     "cni.dev/valid-attachments",
        "cni.dev/attachments"};
    const struct cni_plugin *plugin = &list->plugins[i];
    CLEANUP(json) struct json *root = json_parse(plugin->json, strlen(plugin->json), NULL);
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    jw_string(&w, "cniVersion", list->version);
    jw_string(&w, "name", list->name);
    for (const struct json *v = json_first(root); v; v = json_next(v)) {
        CLEANUP(buf) struct buf text = BUF_INIT(CNI_CONF_MAX);
        bool skip = false;

        for (size_t k = 0; k < ARRAY_LEN(ours); k++)
            skip |= str_eq(json_key(v), ours[k]);
        if (skip)
            continue;
        if (json_print(v, &text) < 0)
            return -ENOBUFS;
        jw_raw(&w, json_key(v), text.data, text.len);
    }
    if (told->wants)
        write_runtime_config(&w, plugin->capabilities, told->wants);
    if (told->prev)
        jw_raw(&w, "prevResult", told->prev, strlen(told->prev));
    /* The name of the specification's draft too: some plugins were built to read that one. */
    if (told->attachments) {
        jw_raw(&w, "cni.dev/valid-attachments", told->attachments, strlen(told->attachments));
        jw_raw(&w, "cni.dev/attachments", told->attachments, strlen(told->attachments));
    }
    jw_end_object(&w);
    return out->overflow ? -ENOBUFS : 0;
}
