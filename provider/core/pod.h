/* What the API says of a Pod, as compact structs: the input of provider/core, filled by k8s/.
 * All strings and arrays live in the Pod's arena and are never NULL unless said; immutable after
 * decoding. A new version of the object becomes a new pod_spec. No I/O, no allocation here. */
#pragma once

#include "provider/core/handler.h"

enum restart_policy { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };
/* What a container's restartPolicyRules may do; the first rule that matches decides. */
enum restart_operator { RESTART_IN, RESTART_NOT_IN };

struct restart_rule {
    enum restart_operator op;
    const int32_t *codes;
    size_t codes_len;
};

enum pull_policy { PULL_ALWAYS, PULL_IF_NOT_PRESENT, PULL_NEVER };
enum pod_phase { PHASE_PENDING, PHASE_RUNNING, PHASE_SUCCEEDED, PHASE_FAILED, PHASE_UNKNOWN };
enum qos_class { QOS_BEST_EFFORT, QOS_BURSTABLE, QOS_GUARANTEED };
enum protocol { PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_SCTP };

/* The Pod conditions that the agent owns (contract 3.2). */
enum condition_type {
    COND_READY_TO_START, /* PodReadyToStartContainers */
    COND_INITIALIZED,
    COND_READY,
    COND_CONTAINERS_READY,
    COND_SCHEDULED,
    _COND_MAX,
};

/* One of them as the API holds it: others may have written it. */
struct api_condition {
    bool known;
    bool status;
    int64_t since_ms; /* unix: lastTransitionTime */
};

struct key_value {
    const char *key;
    const char *value;
};

enum env_kind {
    ENV_VALUE,      /* value, with $(VAR) still to be expanded */
    ENV_FIELD,      /* value is fieldRef.fieldPath */
    ENV_RESOURCE,   /* value is resourceFieldRef.resource; see container and divisor */
    ENV_CONFIG_MAP, /* value is the key, ref the ConfigMap's name */
    ENV_SECRET,     /* value is the key, ref the Secret's name */
    ENV_FILE,       /* fileKeyRef */
    ENV_UNKNOWN,
};

struct env_var {
    enum env_kind kind;
    const char *name;
    const char *value;
    const char *ref;     /* NULL unless said above; for ENV_RESOURCE the container, or NULL */
    const char *divisor; /* NULL: 1 */
    bool optional;
};

struct container_port {
    const char *name; /* NULL: none */
    uint16_t container_port;
    uint16_t host_port;  /* 0: none */
    const char *host_ip; /* NULL: any */
    enum protocol protocol;
};

/* Amounts: CPU in thousandths of a core, memory and storage in bytes; -1: not given. */
struct resources {
    int64_t cpu_request_milli;
    int64_t cpu_limit_milli;
    int64_t memory_request_bytes;
    int64_t memory_limit_bytes;
    int64_t ephemeral_request_bytes;
    int64_t ephemeral_limit_bytes;
};

/* One entry of envFrom. */
struct env_from {
    bool secret; /* else a ConfigMap */
    const char *name;
    const char *prefix; /* "" */
    bool optional;
};

struct volume_mount {
    const char *name;
    const char *mount_path;
    const char *sub_path;      /* NULL: the volume's root */
    const char *sub_path_expr; /* the same with $(VAR), NULL */
    bool read_only;
};

/* Features that a later issue adds or a unikernel cannot have; the first that is set and not
 * honoured refuses the Pod (refuse.h). One bit a field, so that refusals are one table. */
enum container_feature {
    CF_LIVENESS_PROBE = 1u << 0, /* these five: only when the handler cannot be run */
    CF_READINESS_PROBE = 1u << 1,
    CF_STARTUP_PROBE = 1u << 2,
    CF_POST_START = 1u << 3,
    CF_PRE_STOP = 1u << 4,
    CF_VOLUME_DEVICES = 1u << 6,
    CF_PRIVILEGED = 1u << 7,
    CF_RESTART_RULE = 1u << 8, /* a restartPolicyRule that does more than to restart it */
    CF_HUGEPAGES = 1u << 9,
    CF_EXTENDED_RESOURCES = 1u << 10, /* a resource other than cpu, memory, ephemeral-storage */
    CF_RESOURCE_CLAIMS = 1u << 11,
    CF_SIDECAR = 1u << 12, /* an init container with restartPolicy Always */
};

struct container_spec {
    const char *name;
    const char *image;
    const char *const *command; /* ENTRYPOINT's replacement */
    size_t command_len;
    const char *const *args; /* CMD's replacement */
    size_t args_len;
    const char *working_dir; /* NULL: none */
    const struct env_var *env;
    size_t env_len;
    const struct env_from *env_from;
    size_t env_from_len;
    const struct container_port *ports;
    size_t ports_len;
    const struct volume_mount *mounts;
    size_t mounts_len;
    /* What the container was given, which is what everything reckons with; and what its Pod asks
     * for now. They differ while a resize waits or cannot be (resize.h). */
    struct resources resources;
    struct resources desired;
    bool cpu_restarts; /* resizePolicy: RestartContainer */
    bool memory_restarts;
    const struct probe_spec *probes[_PROBE_MAX]; /* NULL: none */
    const struct handler *post_start;            /* NULL: none, or one that does nothing */
    const struct handler *pre_stop;
    enum pull_policy pull_policy;
    bool own_restart_policy; /* restart_policy counts instead of the Pod's */
    enum restart_policy restart_policy;
    const struct restart_rule *restart_rules;
    size_t restart_rules_len;
    uint32_t features; /* enum container_feature */
    bool stdin_open;
    bool tty;
    bool log_fallback;          /* terminationMessagePolicy: FallbackToLogsOnError */
    uint32_t api_restart_count; /* in the Pod's status: a floor when local state was lost */
};

enum pod_feature {
    PF_HOST_NETWORK = 1u << 0,
    PF_HOST_PID = 1u << 1,
    PF_HOST_IPC = 1u << 2,
    PF_SHARE_PROCESS_NAMESPACE = 1u << 3,
    PF_EPHEMERAL_CONTAINERS = 1u << 4,
    PF_RESOURCE_CLAIMS = 1u << 5,
    PF_OS_NOT_LINUX = 1u << 6,
    PF_USER_NAMESPACE = 1u << 7, /* hostUsers: false */
    PF_WINDOWS_OPTIONS = 1u << 8,
    PF_POD_RESOURCES = 1u << 9, /* pod-level spec.resources */
    PF_MIRROR = 1u << 12, /* annotation kubernetes.io/config.mirror: someone else's static Pod */
    PF_STATIC = 1u << 13, /* from a file of this node; never set by what the API says */
};

/* What a nodeSelectorTerm may ask of a label or field of the Node. */
enum node_operator {
    NODE_IN,
    NODE_NOT_IN,
    NODE_EXISTS,
    NODE_DOES_NOT_EXIST,
    NODE_GT,
    NODE_LT,
    NODE_OPERATOR_UNKNOWN, /* of a later API: matches no Node */
};

struct node_match {
    const char *key;
    enum node_operator op;
    const char *const *values;
    size_t values_len;
};

/* One of nodeSelectorTerms: all of it must match. */
struct node_term {
    const struct node_match *labels; /* matchExpressions */
    size_t labels_len;
    const struct node_match *fields; /* matchFields */
    size_t fields_len;
};

struct toleration {
    const char *key;    /* NULL: every key */
    const char *value;  /* "" with exists */
    const char *effect; /* NULL: every effect */
    bool exists;        /* operator Exists; else Equal */
};

struct taint {
    const char *key;
    const char *value;
    const char *effect;
};

/* A condition that others write, and that a Pod waits for before it is Ready. */
struct readiness_gate {
    const char *type;
    const char *status; /* as the API has it: "True", "False", ...; NULL: no such condition */
};

enum volume_kind {
    VOLUME_OTHER, /* of which the agent only knows the name, in type */
    VOLUME_EMPTY_DIR,
    VOLUME_PROJECTED, /* and configMap, secret and downwardAPI: the same with one source */
    VOLUME_HOST_PATH,
    VOLUME_CLAIM, /* persistentVolumeClaim and ephemeral, whose claim has a name of its own */
    VOLUME_IMAGE,
};

enum source_kind {
    SOURCE_CONFIG_MAP,
    SOURCE_SECRET,
    SOURCE_DOWNWARD,
    SOURCE_TOKEN,
    SOURCE_TRUST_BUNDLE,
    SOURCE_POD_CERTIFICATE,
    SOURCE_UNKNOWN,
};

/* One file: of a ConfigMap's or Secret's key, or of a field or resource. */
struct volume_item {
    const char *key; /* or the fieldPath, or the resource */
    const char *path;
    const char *container; /* NULL: of a resource, its container */
    const char *divisor;   /* NULL: 1 */
    bool resource;
    int32_t mode; /* -1: the volume's default */
};

struct volume_source {
    enum source_kind kind;
    bool optional;
    const char *name;                /* of the object; "" */
    const struct volume_item *items; /* none: all keys */
    size_t items_len;
    const char *audience; /* of a token; "" the API server's own */
    const char *path;     /* of a token */
    int64_t expiration_s;
};

struct volume {
    const char *name;
    const char *type;     /* the member that is set: "projected", "hostPath", "emptyDir", ... */
    bool kube_api_access; /* the automatic service account volume, never a reason to refuse */
    enum volume_kind kind;
    const struct volume_source *sources; /* VOLUME_PROJECTED */
    size_t sources_len;
    uint32_t default_mode;
    const char *path;      /* hostPath's; the claim's name; the image's reference; "" */
    const char *host_type; /* hostPath.type; "" */
    bool read_only;        /* of the claim */
    bool memory;           /* emptyDir.medium: Memory */
    bool huge_pages;       /* emptyDir.medium: HugePages* */
    int64_t size_limit;    /* bytes, -1: none */
};

struct host_alias {
    const char *ip;
    const char *const *names;
    size_t names_len;
};

struct pod_spec {
    const char *uid;
    const char *ns;
    const char *name;
    const char *resource_version;
    int64_t generation;
    int64_t created_ms; /* unix; 0: unknown */
    /* Deletion: 0 when deletionTimestamp is not set. The deadline is the timestamp itself. */
    int64_t deletion_ms;      /* unix */
    int64_t deletion_grace_s; /* deletionGracePeriodSeconds; only with deletion_ms */
    const struct key_value *labels;
    size_t labels_len;
    const struct key_value *annotations;
    size_t annotations_len;

    const char *controller_uid; /* of the owner that is its controller; NULL: none */

    const char *node_name;
    const struct key_value *node_selector;
    size_t node_selector_len;
    const struct node_term *node_terms; /* required node affinity: one of them must match ... */
    size_t node_terms_len;
    bool node_affinity;                   /* ... where there is any */
    const struct toleration *tolerations; /* those that the node looks at; see codec_placement.c */
    size_t tolerations_len;
    const char *service_account; /* NULL: none */
    const char *runtime_class;   /* NULL: none */
    const char *hostname;        /* NULL: the Pod's name */
    const char *subdomain;       /* NULL */
    const char *dns_policy;
    const char *const *dns_servers; /* dnsConfig.nameservers */
    size_t dns_servers_len;
    const char *const *dns_searches;
    size_t dns_searches_len;
    const struct key_value *dns_options; /* value "" when it has none */
    size_t dns_options_len;
    const struct host_alias *host_aliases;
    size_t host_aliases_len;
    bool hostname_as_fqdn;
    bool no_service_links; /* enableServiceLinks: false */
    const char *const *pull_secrets;
    size_t pull_secrets_len;
    enum restart_policy restart_policy;
    int64_t grace_s;           /* terminationGracePeriodSeconds */
    int64_t active_deadline_s; /* 0: none */
    int32_t priority;
    int64_t overhead_cpu_milli; /* spec.overhead; 0: none */
    int64_t overhead_memory_bytes;
    uint32_t features; /* enum pod_feature */

    const struct container_spec *containers;
    size_t containers_len;
    const struct container_spec *init_containers; /* run one after the other, before the others */
    size_t init_containers_len;
    const struct readiness_gate *readiness_gates;
    size_t readiness_gates_len;
    const struct volume *volumes;
    size_t volumes_len;

    /* Of the status, only what the agent needs back. */
    enum pod_phase api_phase;
    int64_t api_start_ms; /* status.startTime, unix; 0: not set */
    bool api_scheduled;   /* the scheduler wrote PodScheduled=True */
    enum qos_class api_qos;
    uint64_t api_hash; /* of all fields that the agent writes: changes when another writes one */
    struct api_condition api_conditions[_COND_MAX];
    bool api_resize; /* the API holds a condition about a resize */
};

/* The first of a list of addresses with commas between them, cut to size. Returns dst. */
char *pod_first_address(char *dst, size_t size, const char *list);
const char *pod_phase_to_string(enum pod_phase phase); /* "Pending", ... */

/* All containers of a Pod under one number: first spec.containers, then spec.initContainers. It is
 * the index of observed containers, of actions, and of all calls about a container. */
size_t pod_containers_len(const struct pod_spec *spec);
/* i < pod_containers_len. */
const struct container_spec *pod_container(const struct pod_spec *spec, size_t i);
bool pod_is_init(const struct pod_spec *spec, size_t i);
/* False: no container of that name. */
bool pod_find_container(const struct pod_spec *spec, const char *name, size_t *ret);
/* "spec.containers[0]" or "spec.initContainers[2]"; returns dst. */
const char *pod_container_path(const struct pod_spec *spec, size_t i, char *dst, size_t size);
/* "spec.containers{name}" or "spec.initContainers{name}", as events name it; returns dst. */
const char *pod_container_field(const struct pod_spec *spec, size_t i, char *dst, size_t size);

const char *protocol_to_string(enum protocol protocol);
/* The value, or NULL. */
const char *key_value_find(const struct key_value *pairs, size_t len, const char *key);
