/* What the agent says about its Node (contract 1.1, 1.3) and its Lease (1.4). */
#include "k8s/codec_priv.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "provider/core/quantity.h"

#include <string.h>

static void write_pairs(struct json_writer *w, const char *key, const struct key_value *pairs,
                        size_t len)
{
    if (len == 0)
        return;
    jw_begin_object(w, key);
    for (size_t i = 0; i < len; i++)
        jw_string(w, pairs[i].key, pairs[i].value);
    jw_end_object(w);
}

static void write_taints(struct json_writer *w, const struct node_status *node)
{
    if (node->taints_len == 0)
        return;
    jw_begin_array(w, "taints");
    for (size_t i = 0; i < node->taints_len; i++) {
        jw_begin_object(w, NULL);
        jw_string(w, "key", node->taints[i].key);
        jw_string_opt(w, "value", node->taints[i].value);
        jw_string(w, "effect", "NoSchedule");
        jw_end_object(w);
    }
    jw_end_array(w);
}

static void write_amounts(struct json_writer *w, const char *key, const struct node_status *node,
                          int64_t cpu_milli, int64_t memory_bytes, int64_t storage_bytes)
{
    char text[QUANTITY_MAX];

    jw_begin_object(w, key);
    jw_string(w, "cpu", quantity_cpu(text, cpu_milli));
    jw_string(w, "memory", quantity_bytes(text, memory_bytes));
    jw_string(w, "ephemeral-storage", quantity_bytes(text, storage_bytes));
    jw_string(w, "pods", str_fmt(text, sizeof(text), "%lld", (long long)node->pods_max));
    jw_end_object(w);
}

/* One or, with a comma between them, two. */
static void write_address(struct json_writer *w, const char *type, const char *address)
{
    while (!str_empty(address)) {
        size_t len = strcspn(address, ",");

        jw_begin_object(w, NULL);
        jw_string(w, "type", type);
        jw_string_n(w, "address", address, len);
        jw_end_object(w);
        address += len + (address[len] == ',');
    }
}

static void write_info(struct json_writer *w, const struct node_status *node)
{
    const struct {
        const char *key;
        const char *value;
    } members[] = {
        {"machineID", node->machine_id},
        {"systemUUID", node->system_uuid},
        {"bootID", node->boot_id},
        {"kernelVersion", node->kernel_version},
        {"osImage", node->os_image},
        {"containerRuntimeVersion", node->runtime_version},
        {"kubeletVersion", node->kubelet_version},
        {"kubeProxyVersion", ""},
        {"operatingSystem", "linux"},
        {"architecture", node->architecture},
    };

    jw_begin_object(w, "nodeInfo");
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        jw_string(w, members[i].key, members[i].value ? members[i].value : "");
    jw_end_object(w);
}

static void write_handlers(struct json_writer *w, const struct node_status *node)
{
    if (node->runtime_handlers_len > 0) {
        jw_begin_array(w, "runtimeHandlers");
        for (size_t i = 0; i < node->runtime_handlers_len; i++) {
            jw_begin_object(w, NULL);
            jw_string(w, "name", node->runtime_handlers[i]);
            jw_begin_object(w, "features");
            jw_bool(w, "recursiveReadOnlyMounts", false);
            jw_bool(w, "userNamespaces", false);
            jw_end_object(w);
            jw_end_object(w);
        }
        jw_end_array(w);
    }
    jw_begin_object(w, "features");
    jw_bool(w, "supplementalGroupsPolicy", false);
    jw_end_object(w);
    if (node->declared_features_len > 0) {
        jw_begin_array(w, "declaredFeatures");
        for (size_t i = 0; i < node->declared_features_len; i++)
            jw_string(w, NULL, node->declared_features[i]);
        jw_end_array(w);
    }
}

/* names: by digest first, as the kubelet does; an image without either is left out. */
static void write_images(struct json_writer *w, const struct node_status *node)
{
    size_t len = node->images_len < NODE_IMAGES_MAX ? node->images_len : NODE_IMAGES_MAX;
    char name[640];

    jw_begin_array(w, "images");
    for (size_t i = 0; i < len; i++) {
        const struct node_image *image = &node->images[i];

        if (str_empty(image->name) || (str_empty(image->tag) && str_empty(image->digest)))
            continue;
        jw_begin_object(w, NULL);
        jw_begin_array(w, "names");
        if (!str_empty(image->digest))
            jw_string(w, NULL, str_fmt(name, sizeof(name), "%s@%s", image->name, image->digest));
        if (!str_empty(image->tag))
            jw_string(w, NULL, str_fmt(name, sizeof(name), "%s:%s", image->name, image->tag));
        jw_end_array(w);
        jw_int(w, "sizeBytes", (int64_t)image->size_bytes);
        jw_end_object(w);
    }
    jw_end_array(w);
}

static void write_conditions(struct json_writer *w, const struct node_status *node)
{
    jw_begin_array(w, "conditions");
    for (size_t i = 0; i < node->conditions_len; i++) {
        const struct node_condition *c = &node->conditions[i];

        jw_begin_object(w, NULL);
        jw_string(w, "type", c->type);
        jw_string(w, "status", c->status ? "True" : "False");
        jw_string(w, "reason", c->reason);
        jw_string(w, "message", c->message);
        codec_write_time(w, "lastHeartbeatTime", node->heartbeat_ms);
        codec_write_time(w, "lastTransitionTime", c->since_ms);
        jw_end_object(w);
    }
    jw_end_array(w);
}

/* patch: addresses merge by type, so the list carries the directive to replace it. */
static void write_status(struct json_writer *w, const struct node_status *node, bool patch)
{
    jw_begin_object(w, "status");
    write_amounts(w, "capacity", node, node->cpu_milli, node->memory_bytes, node->storage_bytes);
    write_amounts(w, "allocatable", node, node->cpu_allocatable_milli,
                  node->memory_allocatable_bytes, node->storage_allocatable_bytes);
    jw_begin_array(w, "addresses");
    if (patch) {
        jw_begin_object(w, NULL);
        jw_string(w, "$patch", "replace");
        jw_end_object(w);
    }
    write_address(w, "InternalIP", node->internal_ip);
    write_address(w, "Hostname", node->hostname);
    jw_end_array(w);
    jw_begin_object(w, "daemonEndpoints");
    jw_begin_object(w, "kubeletEndpoint");
    jw_int(w, "Port", node->port); /* a capital P, alone among all names of the API */
    jw_end_object(w);
    jw_end_object(w);
    write_info(w, node);
    write_handlers(w, node);
    write_images(w, node);
    write_conditions(w, node);
    jw_end_object(w);
}

void codec_node(const struct node_status *node, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "v1");
    jw_string(&w, "kind", "Node");
    jw_begin_object(&w, "metadata");
    jw_string(&w, "name", node->name);
    write_pairs(&w, "labels", node->labels, node->labels_len);
    write_pairs(&w, "annotations", node->annotations, node->annotations_len);
    jw_end_object(&w);
    jw_begin_object(&w, "spec");
    jw_string_opt(&w, "providerID", node->provider_id);
    write_taints(&w, node);
    jw_end_object(&w);
    write_status(&w, node, false);
    jw_end_object(&w);
}

void codec_node_status(const struct node_status *node, const char *uid, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    jw_begin_object(&w, "metadata");
    jw_string_opt(&w, "uid", uid);
    jw_end_object(&w);
    write_status(&w, node, true);
    jw_end_object(&w);
}

void codec_node_labels(const struct node_status *node, const char *uid, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    jw_begin_object(&w, "metadata");
    jw_string_opt(&w, "uid", uid);
    write_pairs(&w, "labels", node->labels, node->labels_len);
    write_pairs(&w, "annotations", node->annotations, node->annotations_len);
    jw_end_object(&w);
    jw_end_object(&w);
}

void codec_lease(const struct lease *lease, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);
    char time[CLOCK_RFC3339_MAX];

    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "coordination.k8s.io/v1");
    jw_string(&w, "kind", "Lease");
    jw_begin_object(&w, "metadata");
    jw_string(&w, "name", lease->name);
    jw_string(&w, "namespace", "kube-node-lease");
    jw_string_opt(&w, "resourceVersion", lease->resource_version);
    if (!str_empty(lease->annotation_key)) {
        jw_begin_object(&w, "annotations");
        jw_string(&w, lease->annotation_key, lease->annotation_value);
        jw_end_object(&w);
    }
    if (!str_empty(lease->node_uid)) {
        jw_begin_array(&w, "ownerReferences");
        jw_begin_object(&w, NULL);
        jw_string(&w, "apiVersion", "v1");
        jw_string(&w, "kind", "Node");
        jw_string(&w, "name", lease->name);
        jw_string(&w, "uid", lease->node_uid);
        jw_end_object(&w);
        jw_end_array(&w);
    }
    jw_end_object(&w);
    jw_begin_object(&w, "spec");
    jw_string(&w, "holderIdentity", lease->holder);
    jw_int(&w, "leaseDurationSeconds", lease->duration_s);
    /* MicroTime: the server refuses any other number of digits. */
    jw_string(&w, "renewTime", clock_rfc3339_micro(time, lease->renew_ms));
    jw_end_object(&w);
    jw_end_object(&w);
}
