/* Between the API's JSON and our structs. Decoding accepts anything: unknown fields are skipped,
 * wrong types count as absent or give one clear error. */
#pragma once

#include "provider/core/status.h"

struct arena;
struct buf;
struct err;
struct json;

/* All memory from arena. -EINVAL with a sentence when it is no usable Pod (no uid, name, ...). */
int codec_pod(const struct json *object, struct arena *arena, const struct pod_spec **ret,
              struct err *err);
/* The strategic-merge patch of contract 3.2, metadata.uid inside. name: repository for imageID. */
void codec_pod_status(const struct pod_spec *spec, const struct pod_status *status,
                      const char *const *image_names, struct buf *out);
/* What the kubelet's events about a resize say of it: all containers' sizes, as asked for or as
 * given, and why not (NULL: nothing to say). */
void codec_resize_summary(const struct pod_spec *spec, bool desired, int64_t generation,
                          const char *error, struct buf *out);
/* The members of a map of strings, and the taints of a Node's spec. */
const struct key_value *codec_pairs(struct arena *arena, const struct json *object,
                                    size_t *ret_len);
const struct taint *codec_taints(struct arena *arena, const struct json *array, size_t *ret_len);
/* The body of the final DELETE (contract 3.6). */
void codec_delete_options(const char *uid, struct buf *out);

/* Everything that the Node object says; see contract 1.1. Strings may be NULL where optional. */
struct node_condition {
    const char *type;
    bool status;
    const char *reason;
    const char *message;
    int64_t since_ms; /* unix */
};

struct node_image {
    const char *name;
    const char *tag;
    const char *digest;
    uint64_t size_bytes;
};

#define NODE_CONDITIONS_MAX 6
#define NODE_IMAGES_MAX 50 /* nodeStatusMaxImages */

struct node_status {
    const char *name;
    const struct key_value *labels;
    size_t labels_len;
    const struct key_value *annotations;
    size_t annotations_len;
    const struct key_value *taints; /* key, value; effect NoSchedule */
    size_t taints_len;
    const char *provider_id;
    int64_t cpu_milli, cpu_allocatable_milli;
    int64_t memory_bytes, memory_allocatable_bytes;
    int64_t storage_bytes, storage_allocatable_bytes;
    int64_t pods_max;
    const char *internal_ip; /* one address, or two with a comma between them */
    const char *hostname;    /* NULL: no Hostname address */
    uint16_t port;
    const char *machine_id, *system_uuid, *boot_id, *kernel_version, *os_image, *runtime_version,
        *kubelet_version, *architecture;
    const char *const *runtime_handlers;
    size_t runtime_handlers_len;
    const char *const *declared_features;
    size_t declared_features_len;
    const struct node_image *images;
    size_t images_len;
    struct node_condition conditions[NODE_CONDITIONS_MAX];
    size_t conditions_len;
    int64_t heartbeat_ms; /* unix */
};

/* For POST /api/v1/nodes. */
void codec_node(const struct node_status *node, struct buf *out);
/* PATCH of nodes/<n>/status; uid is the precondition. */
void codec_node_status(const struct node_status *node, const char *uid, struct buf *out);
/* PATCH of labels and annotations of an existing Node. */
void codec_node_labels(const struct node_status *node, const char *uid, struct buf *out);

struct event {
    const char *ns; /* of the object; "default" for a Node */
    const char *kind;
    const char *name;
    const char *uid;
    const char *api_version;
    const char *resource_version; /* NULL */
    const char *field_path;       /* NULL */
    const char *reason;
    const char *message;
    bool warning;
};

/* The Lease of contract 1.4, for POST (resource_version "") and PUT. */
struct lease {
    const char *name;
    const char *holder;
    const char *node_uid; /* owner; "" none yet */
    const char *resource_version;
    int64_t duration_s;
    int64_t renew_ms;           /* unix */
    const char *annotation_key; /* tells two agents of one name apart */
    const char *annotation_value;
};

void codec_lease(const struct lease *lease, struct buf *out);
