/* Encoding, checking and keeping of network records; see network_store.h. A record that cannot be
 * read is reported and left where it is: the Pod's deletion removes it. */
#include "runtime/network_store.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/cni.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#define VERSION 1

static inline void cleanup_json(struct json **json)
{
    json_free(*json);
}

static const char *const phase_names[] = {"intent", "answered", "up"};
static_assert(ARRAY_LEN(phase_names) == _NETWORK_PHASE_MAX, "a name for each phase");

static void free_ports(struct network_port *ports, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        free((void *)(uintptr_t)ports[i].host_ip);
        free((void *)(uintptr_t)ports[i].protocol);
    }
    free(ports);
}

void network_record_free(struct network_record *record)
{
    free(record->boot_id);
    free(record->ns);
    free(record->name);
    free(record->conf);
    free(record->result);
    free(record->ips);
    free(record->mac);
    free_ports(record->ports, record->ports_len);
    *record = (struct network_record){.phase = NETWORK_INTENT};
}

struct network_wants network_record_wants(const struct network_record *record)
{
    return (struct network_wants){.ports = record->ports,
                                  .ports_len = record->ports_len,
                                  .ingress_bps = record->ingress_bps,
                                  .egress_bps = record->egress_bps,
                                  .ips = record->ips,
                                  .mac = record->mac};
}

static void write_net(struct json_writer *w, const struct network_result *net)
{
    jw_begin_object(w, "net");
    jw_string(w, "netns", net->netns);
    jw_string(w, "ip", net->ip);
    jw_int(w, "prefixLen", net->prefix_len);
    jw_string(w, "gateway", net->gateway);
    jw_string_opt(w, "ip6", net->ip6);
    if (net->ip6[0])
        jw_int(w, "prefix6Len", net->prefix6_len);
    jw_string_opt(w, "gateway6", net->gateway6);
    jw_string_opt(w, "others", net->others);
    jw_string(w, "mac", net->mac);
    jw_int(w, "mtu", net->mtu);
    jw_end_object(w);
}

int network_record_encode(const struct network_record *record, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    jw_int(&w, "version", VERSION);
    jw_string(&w, "phase", phase_names[record->phase]);
    jw_string(&w, "bootId", record->boot_id);
    jw_string(&w, "namespace", record->ns);
    jw_string(&w, "name", record->name);
    jw_bool(&w, "default", record->is_default);
    /* As texts, not as objects: what comes back is byte for byte what went in. */
    jw_string(&w, "conf", record->conf);
    if (record->result)
        jw_string(&w, "result", record->result);
    jw_begin_array(&w, "ports");
    for (size_t i = 0; i < record->ports_len; i++) {
        const struct network_port *port = &record->ports[i];

        jw_begin_object(&w, NULL);
        jw_int(&w, "containerPort", port->container_port);
        jw_int(&w, "hostPort", port->host_port);
        jw_string(&w, "hostIP", port->host_ip ? port->host_ip : "");
        jw_string(&w, "protocol", port->protocol ? port->protocol : "");
        jw_end_object(&w);
    }
    jw_end_array(&w);
    if (record->ingress_bps)
        jw_int(&w, "ingressBps", (int64_t)record->ingress_bps);
    if (record->egress_bps)
        jw_int(&w, "egressBps", (int64_t)record->egress_bps);
    jw_string_opt(&w, "ips", record->ips);
    jw_string_opt(&w, "mac", record->mac);
    if (record->phase == NETWORK_UP)
        write_net(&w, &record->net);
    jw_end_object(&w);
    return out->overflow ? -ENOBUFS : 0;
}

static int decode_ports(const struct json *list, struct network_record *record)
{
    for (const struct json *p = json_first(list); p; p = json_next(p)) {
        const char *host_ip = json_get_string(p, "hostIP");
        const char *protocol = json_get_string(p, "protocol");
        int64_t container_port;
        int64_t host_port;

        if (!json_get_int(p, "containerPort", &container_port) ||
            !json_get_int(p, "hostPort", &host_port) || !host_ip || !protocol ||
            container_port < 0 || container_port > UINT16_MAX || host_port < 0 ||
            host_port > UINT16_MAX || record->ports_len == CNI_PORTS_MAX)
            return -EBADMSG;
        record->ports = xrealloc(record->ports, (record->ports_len + 1) * sizeof(*record->ports));
        record->ports[record->ports_len++] =
            (struct network_port){.container_port = (uint16_t)container_port,
                                  .host_port = (uint16_t)host_port,
                                  .host_ip = xstrdup(host_ip),
                                  .protocol = xstrdup(protocol)};
    }
    return 0;
}

/* Copies a member into a fixed array; false when it is missing or does not fit. */
static bool take_text(const struct json *object, const char *key, char *dst, size_t size)
{
    const char *text = json_get_string(object, key);

    if (!text || strlen(text) >= size)
        return false;
    str_copy(dst, size, text);
    return true;
}

/* One that records of an older agent have not. */
static bool take_text_opt(const struct json *object, const char *key, char *dst, size_t size)
{
    return !json_get(object, key) || take_text(object, key, dst, size);
}

static bool address_ok(const char *text)
{
    unsigned char raw[16];

    return inet_pton(AF_INET, text, raw) == 1 || inet_pton(AF_INET6, text, raw) == 1;
}

static bool mac_ok(const char *text)
{
    for (size_t i = 0; i < 17; i++)
        if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
            return false;
    return text[17] == '\0';
}

static int decode_second(const struct json *object, struct network_result *net)
{
    int64_t prefix_len = 0;

    if (!take_text_opt(object, "ip6", net->ip6, sizeof(net->ip6)) ||
        !take_text_opt(object, "gateway6", net->gateway6, sizeof(net->gateway6)) ||
        !take_text_opt(object, "others", net->others, sizeof(net->others)) ||
        (net->ip6[0] &&
         (!address_ok(net->ip6) || !json_get_int(object, "prefix6Len", &prefix_len))) ||
        (net->gateway6[0] && !address_ok(net->gateway6)) || prefix_len < 0 || prefix_len > 128)
        return -EBADMSG;
    net->prefix6_len = (uint32_t)prefix_len;
    return 0;
}

static int decode_net(const struct json *object, struct network_result *net)
{
    int64_t prefix_len;
    int64_t mtu;

    if (!take_text(object, "netns", net->netns, sizeof(net->netns)) ||
        !take_text(object, "ip", net->ip, sizeof(net->ip)) ||
        !take_text(object, "gateway", net->gateway, sizeof(net->gateway)) ||
        !take_text(object, "mac", net->mac, sizeof(net->mac)) ||
        !json_get_int(object, "prefixLen", &prefix_len) || !json_get_int(object, "mtu", &mtu) ||
        prefix_len < 0 || prefix_len > 128 || mtu < 0 || mtu > UINT32_MAX || !address_ok(net->ip) ||
        (net->gateway[0] && !address_ok(net->gateway)) || !mac_ok(net->mac))
        return -EBADMSG;
    net->prefix_len = (uint32_t)prefix_len;
    net->mtu = (uint32_t)mtu;
    return decode_second(object, net);
}

static uint64_t decode_rate(const struct json *root, const char *key)
{
    int64_t rate = 0;

    return json_get_int(root, key, &rate) && rate > 0 ? (uint64_t)rate : 0;
}

static void decode_wants(const struct json *root, struct network_record *record)
{
    const char *ips = json_get_string(root, "ips");
    const char *mac = json_get_string(root, "mac");

    record->ingress_bps = decode_rate(root, "ingressBps");
    record->egress_bps = decode_rate(root, "egressBps");
    record->ips = ips ? xstrdup(ips) : NULL;
    record->mac = mac ? xstrdup(mac) : NULL;
}

static int decode_texts(const struct json *root, struct network_record *record)
{
    const char *phase = json_get_string(root, "phase");
    const char *boot_id = json_get_string(root, "bootId");
    const char *ns = json_get_string(root, "namespace");
    const char *name = json_get_string(root, "name");
    const char *conf = json_get_string(root, "conf");
    const char *result = json_get_string(root, "result");
    size_t i = 0;

    while (i < ARRAY_LEN(phase_names) && !str_eq(phase, phase_names[i]))
        i++;
    if (i == ARRAY_LEN(phase_names) || !boot_id || !ns || !name || !conf ||
        (i > NETWORK_INTENT && !result))
        return -EBADMSG;
    record->phase = (enum network_phase)i;
    record->boot_id = xstrdup(boot_id);
    record->ns = xstrdup(ns);
    record->name = xstrdup(name);
    record->conf = xstrdup(conf);
    record->result = result ? xstrdup(result) : NULL;
    return json_get_bool(root, "default", &record->is_default) ? 0 : -EBADMSG;
}

int network_record_decode(const char *text, size_t len, struct network_record *ret)
{
    CLEANUP(json) struct json *root = json_parse(text, len, NULL);
    struct network_record record = {.phase = NETWORK_INTENT};
    int64_t version;
    int r = -EBADMSG;

    if (json_get_int(root, "version", &version) && version == VERSION)
        r = decode_texts(root, &record);
    if (r == 0)
        r = decode_ports(json_get(root, "ports"), &record);
    if (r == 0)
        decode_wants(root, &record);
    if (r == 0 && record.phase == NETWORK_UP)
        r = decode_net(json_get(root, "net"), &record.net);
    if (r < 0) {
        network_record_free(&record);
        return r;
    }
    *ret = record;
    return 0;
}

int network_store_load(const char *dir, const char *uid, struct network_record *ret)
{
    CLEANUP(free) char *path = xasprintf("%s/%s.json", dir, uid);
    CLEANUP(buf) struct buf text = BUF_INIT(NETWORK_RECORD_MAX);
    int r = file_read(path, &text);

    if (r == -ENOENT)
        return r;
    return r < 0 ? -EBADMSG : network_record_decode(buf_str(&text), text.len, ret);
}

int network_store_save(const char *dir, const char *uid, const struct network_record *record,
                       struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s.json", dir, uid);
    CLEANUP(buf) struct buf text = BUF_INIT(NETWORK_RECORD_MAX);
    int r = network_record_encode(record, &text);

    if (r == 0)
        r = file_write_atomic(path, text.data, text.len, 0600);
    return r < 0 ? err_set(err, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int network_store_remove(const char *dir, const char *uid, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s.json", dir, uid);

    if (unlink(path) < 0 && errno != ENOENT)
        return err_set(err, -errno, "cannot remove %s: %s", path, strerror(errno));
    return 0;
}
