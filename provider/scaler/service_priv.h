/* One Service as services.c (watches), service_parse.c (what objects say), service_act.c (what
 * follows from it) and wake.c (the fast way up) share it. */
#pragma once

#include "provider/scaler/services.h"

#include "provider/scaler/activator.h"
#include "provider/scaler/scaler.h"

#include <sys/queue.h>

struct json;
struct kube_request;
struct map;
struct watch;

#define SERVICE_LABELS_MAX 64
#define SERVICE_ENDPOINTS_MAX 5000 /* of one Service; a slice holds 1,000 at most */
#define SERVICE_PORTS_MAX HOLDER_PORTS_MAX
#define SERVICE_TEXT_MAX 256

struct label {
    char *key, *value;
};

struct service_port {
    char name[64]; /* "" the only one */
    char target_name[64];
    uint16_t port;   /* of the Service */
    uint16_t target; /* a number, or 0 when it is a name */
    bool tcp, udp;
    uint16_t data; /* the activator's; 0: none yet */
};

struct endpoint {
    char ip[46];
    char uid[64]; /* of the Pod; "" none */
    struct scale_endpoint is;
};

struct slice_port {
    char name[64];
    uint16_t port;
};

struct slice {
    SLIST_ENTRY(slice) link;
    char name[SCALER_NAME_MAX];
    bool listed;
    struct endpoint *endpoints;
    size_t endpoints_len;
    struct slice_port ports[SERVICE_PORTS_MAX];
    size_t ports_len;
};

/* Ready a moment before the EndpointSlice tells: see wake.c. */
struct early_pod {
    SLIST_ENTRY(early_pod) link;
    char uid[64];
    char ip[46];
    uint16_t ports[SERVICE_PORTS_MAX]; /* by the Service's ports; 0: none of that name */
};

SLIST_HEAD(slices, slice);
SLIST_HEAD(early_pods, early_pod);

struct service {
    struct services *services;
    char *key; /* "ns/name" */
    char *ns, *name, *uid;
    struct label labels[SERVICE_LABELS_MAX];
    size_t labels_len;
    char *selector; /* URL-encoded, for a list of its Pods; NULL: it has none */
    struct service_port ports[SERVICE_PORTS_MAX];
    size_t ports_len;
    char resource[32];              /* of the workload: "deployments" */
    char workload[SCALER_NAME_MAX]; /* its name */
    struct scale_spec spec;
    struct holder_config hold;
    char refused[SERVICE_TEXT_MAX]; /* why its connections cannot be held; "" they can */
    char told[SERVICE_TEXT_MAX];    /* the refusal of which there is an event */
    bool listed, exists, dirty;
    struct slices slices;

    /* The workload, watched. */
    struct watch *watch;
    char watched[SCALER_NAME_MAX + 32]; /* its resource and name */
    bool workload_synced, workload_listed;
    int64_t replicas;
    char version[64]; /* its resourceVersion */
    uint64_t up_ms, ready_ms, zero_ms;

    /* Our slice as the API server has it, and as it should be. */
    bool slice_exists, slice_listed;
    bool slice_good; /* the last write was one to publish */
    char slice_seen[1024], slice_wanted[1024];
    uint64_t published_ms;
    struct kube_request *slice_request;
    uint64_t slice_retry_ms;

    struct kube_request *scale_request;
    uint64_t scale_retry_ms;
    bool waking; /* the last write was one to wake */

    struct holder *holder;
    struct watch *pods; /* while connections are held */
    struct early_pods early;
    size_t turn; /* of round robin */
};

struct services {
    struct scaler *scaler;
    struct map *by_key;
    struct watch *services, *slices, *autoscalers;
    /* "ns/name" of each autoscaler with minReplicas 0 -> malloc'd "ns/Kind/name" of its target */
    struct map *by_autoscaler;
    struct events *events;
    bool services_synced, slices_synced, autoscalers_synced;
};

/* services.c */
bool services_autoscaled_to_zero(const struct services *services, const struct service *service);

/* service_parse.c; pure but for allocation. */
/* What the Service object says; keeps what is only observed. */
void service_parse(struct service *service, const struct json *object);
void service_forget_spec(struct service *service);
/* false: no IPv4 slice. Fills endpoints and ports. */
bool slice_parse(struct slice *slice, const struct json *object);
void slice_free(struct slice *slice);
/* "ip name/port ..." of a slice, to compare by. */
void slice_signature(const struct json *object, char *dst, size_t size);
const char *kind_of_resource(const char *resource);

/* service_act.c */
void service_observe(const struct service *service, struct scale_observed *ret);
void service_step(struct service *service);
void service_act_stop(struct service *service);
bool service_leaving(const struct service *service, const char *uid);
bool service_target(void *userdata, size_t port, struct sockaddr_in *ret);
const struct holder_ops *service_holder_ops(void);

/* wake.c */
void wake_begin(struct service *service);
void wake_end(struct service *service);
