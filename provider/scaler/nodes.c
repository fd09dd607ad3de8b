/* A client for each node, one small GET each turn, and only while there is a Service to count for.
 * A Pod's series lives as long as its agent names it; an agent that is silent leaves its Pods'
 * series to become stale. */
#include "provider/scaler/nodes.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "k8s/watch.h"
#include "provider/scaler/scaler.h"
#include "provider/scaler/services.h"

#include <stdlib.h>
#include <string.h>

#define COUNTERS_PATH "/metrics/connections?format=json"
#define CA_BYTES_MAX (256 * 1024)
#define COMPLAIN_MS 60000u

struct pod_counter {
    struct scale_series series;
    struct node *node;
    bool named; /* in the answer being read */
};

struct node {
    struct nodes *nodes;
    char *name;
    char *server; /* "https://10.0.0.1:10250" */
    struct kube_client *client;
    struct kube_request *request;
    uint64_t asked_ms;
    uint64_t good_ms;     /* when the last good answer was asked for */
    uint64_t complain_ms; /* not before */
    bool listed;
};

struct nodes {
    struct scaler *scaler;
    struct watch *watch;
    uv_timer_t timer;
    struct map *by_name;
    struct map *pods; /* uid -> struct pod_counter */
    char *ca_pem;
    bool synced;
};

static void complain(struct node *node, const char *text)
{
    uint64_t now = clock_mono_ms();
    if (now < node->complain_ms)
        return;
    node->complain_ms = now + COMPLAIN_MS;
    log_warn(NULL, "counters", "node %s (%s): %s", node->name, node->server, text);
}

static void take_pod(struct node *node, const struct json *item)
{
    struct nodes *nodes = node->nodes;
    const char *uid = json_get_string(item, "uid");
    int64_t epoch;
    int64_t connections;
    int64_t open;
    int64_t idle_ms;
    if (str_empty(uid) || !json_get_int(item, "epoch", &epoch) ||
        !json_get_int(item, "connections", &connections) || !json_get_int(item, "open", &open) ||
        !json_get_int(item, "idleMilliseconds", &idle_ms) || connections < 0 || open < 0 ||
        idle_ms < 0)
        return;
    struct pod_counter *pod = map_get(nodes->pods, uid);
    if (!pod) {
        pod = xcalloc(1, sizeof(*pod));
        map_set(nodes->pods, uid, pod);
    }
    pod->node = node;
    pod->named = true;
    pod->series.open = (uint64_t)open;
    pod->series.idle_ms = (uint64_t)idle_ms;
    scale_series_add(&pod->series, (uint64_t)epoch, node->asked_ms, (uint64_t)connections);
}

/* Forgets the node's Pods: all, or those that its last answer did not name. */
static void forget_pods(struct node *node, bool all)
{
    const char *uid;
    void *value;
    for (size_t it = 0; map_next(node->nodes->pods, &it, &uid, &value);) {
        struct pod_counter *pod = value;
        if (pod->node != node)
            continue;
        if (all || !pod->named) {
            map_remove(node->nodes->pods, uid);
            free(pod);
        } else {
            pod->named = false;
        }
    }
}

static void on_counters(void *userdata, const struct kube_answer *answer)
{
    struct node *node = userdata;
    node->request = NULL;
    if (answer->result < 0 || answer->status != 200) {
        complain(node, answer->text);
        return;
    }
    struct json *root = json_parse(answer->body, answer->len, NULL);
    const struct json *items = json_get(root, "items");
    if (!json_is_array(items)) {
        complain(node, "the answer is no list of counters");
        json_free(root);
        return;
    }
    for (const struct json *item = json_first(items); item; item = json_next(item))
        take_pod(node, item);
    forget_pods(node, false);
    node->good_ms = node->asked_ms;
    json_free(root);
}

static void on_timer(uv_timer_t *timer)
{
    struct nodes *nodes = timer->data;
    const char *name;
    void *value;
    if (!leader_leading(nodes->scaler->leader) || services_len(nodes->scaler->services) == 0)
        return;
    for (size_t it = 0; map_next(nodes->by_name, &it, &name, &value);) {
        struct node *node = value;
        if (node->request || !node->client)
            continue;
        node->asked_ms = clock_mono_ms();
        node->request = kube_request(node->client, KUBE_GET, COUNTERS_PATH, NULL, 0, KUBE_ONCE,
                                     on_counters, node);
    }
}

static void disconnect(struct node *node)
{
    if (node->request)
        kube_request_cancel(node->request);
    node->request = NULL;
    if (node->client)
        kube_client_free(node->client);
    node->client = NULL;
}

static void node_free(struct node *node)
{
    forget_pods(node, true);
    disconnect(node);
    map_remove(node->nodes->by_name, node->name);
    free(node->name);
    free(node->server);
    free(node);
}

/* Takes server over. */
static void connect_to(struct node *node, char *server)
{
    struct nodes *nodes = node->nodes;
    struct kube_config config;
    struct err err = {0};
    disconnect(node);
    free(node->server);
    node->server = server;
    kube_config_copy(&nodes->scaler->kube, &config);
    free(config.server);
    free(config.tls_server_name);
    free(config.proxy_url);
    config.server = xstrdup(server);
    config.tls_server_name = config.proxy_url = NULL;
    config.insecure = nodes->scaler->config.agent_insecure;
    if (nodes->ca_pem) {
        free(config.ca_pem);
        config.ca_pem = xstrdup(nodes->ca_pem);
    }
    if (kube_client_new(&nodes->scaler->loop, &config, &node->client, &err) < 0)
        complain(node, err.text);
    kube_config_free(&config);
}

/* "https://<InternalIP>:<kubelet port>", malloc'd; NULL: the Node tells no address. */
static char *server_of(const struct json *object)
{
    const struct json *status = json_get(object, "status");
    int64_t port = 10250;
    (void)json_get_int(json_path(status, "daemonEndpoints.kubeletEndpoint"), "Port", &port);
    for (const struct json *a = json_first(json_get(status, "addresses")); a; a = json_next(a)) {
        const char *address = json_get_string(a, "address");
        if (!str_eq(json_get_string(a, "type"), "InternalIP") || str_empty(address))
            continue;
        bool v6 = strchr(address, ':') != NULL;
        return xasprintf("https://%s%s%s:%lld", v6 ? "[" : "", address, v6 ? "]" : "",
                         (long long)port);
    }
    return NULL;
}

static void on_relist(void *userdata)
{
    struct nodes *nodes = userdata;
    const char *name;
    void *value;
    for (size_t it = 0; map_next(nodes->by_name, &it, &name, &value);)
        ((struct node *)value)->listed = false;
}

static void on_object(void *userdata, enum watch_event event, const struct json *object)
{
    struct nodes *nodes = userdata;
    const char *name = json_string(json_path(object, "metadata.name"));
    struct node *node = name ? map_get(nodes->by_name, name) : NULL;
    if (event == WATCH_DELETED) {
        if (node)
            node_free(node);
        return;
    }
    if (!name || (!node && map_len(nodes->by_name) >= NODES_MAX))
        return;
    if (!node) {
        node = xcalloc(1, sizeof(*node));
        node->nodes = nodes;
        node->name = xstrdup(name);
        map_set(nodes->by_name, name, node);
    }
    node->listed = true;
    char *server = server_of(object);
    if (server && !str_eq(server, node->server))
        connect_to(node, server);
    else
        free(server);
}

static void on_synced(void *userdata)
{
    struct nodes *nodes = userdata;
    const char *name;
    void *value;
    nodes->synced = true;
    for (size_t it = 0; map_next(nodes->by_name, &it, &name, &value);) {
        if (!((struct node *)value)->listed)
            node_free(value);
    }
}

static void on_error(void *userdata, const char *text)
{
    (void)userdata;
    log_warn(NULL, "watch", "Nodes: %s", text);
}

struct nodes *nodes_start(struct scaler *scaler)
{
    static const struct watch_ops ops = {.on_relist = on_relist,
                                         .on_object = on_object,
                                         .on_synced = on_synced,
                                         .on_error = on_error};
    static const struct watch_config config = {
        .path = "/api/v1/nodes", .query = "labelSelector=unikubelet.dev%2Fruntime%3Dtrue"};
    struct nodes *nodes = xcalloc(1, sizeof(*nodes));
    nodes->scaler = scaler;
    nodes->by_name = map_new();
    nodes->pods = map_new();
    if (!str_empty(scaler->config.agent_ca_file)) {
        struct buf ca = BUF_INIT(CA_BYTES_MAX);
        if (file_read(scaler->config.agent_ca_file, &ca) < 0)
            log_error(NULL, "counters", "cannot read %s", scaler->config.agent_ca_file);
        else
            nodes->ca_pem = xstrdup(buf_str(&ca));
        buf_free(&ca);
    }
    uv_timer_init(&scaler->loop, &nodes->timer);
    nodes->timer.data = nodes;
    uint64_t each = (uint64_t)scaler->config.scrape_ms;
    uv_timer_start(&nodes->timer, on_timer, each, each);
    nodes->watch = watch_start(scaler->client, &config, &ops, nodes);
    return nodes;
}

bool nodes_synced(const struct nodes *nodes)
{
    return nodes->synced;
}

const struct scale_series *nodes_pod(const struct nodes *nodes, const char *uid)
{
    const struct pod_counter *pod = map_get(nodes->pods, uid);
    return pod ? &pod->series : NULL;
}

void nodes_count(const struct nodes *nodes, struct nodes_counts *ret)
{
    const char *name;
    void *value;
    uint64_t now = clock_mono_ms();
    uint64_t stale_ms = (uint64_t)nodes->scaler->config.stale_seconds * 1000;
    *ret = (struct nodes_counts){.nodes = map_len(nodes->by_name)};
    for (size_t it = 0; map_next(nodes->by_name, &it, &name, &value);) {
        const struct node *node = value;
        ret->silent += !node->good_ms || now - node->good_ms > stale_ms;
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct nodes *nodes = handle->data;
    free(nodes->ca_pem);
    free(nodes);
}

void nodes_stop(struct nodes *nodes)
{
    const char *name;
    void *value;
    if (!nodes)
        return;
    watch_stop(nodes->watch);
    for (size_t it = 0; map_next(nodes->by_name, &it, &name, &value);)
        node_free(value);
    map_free(nodes->by_name);
    map_free(nodes->pods);
    uv_close((uv_handle_t *)&nodes->timer, on_closed);
}
