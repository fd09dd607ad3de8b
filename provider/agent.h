/* The agent's parts and what they share. Made by main.c, passed to every part as a pointer; nothing
 * of it is global. */
#pragma once

#include "base/fetch.h"
#include "k8s/client.h"
#include "provider/config.h"
#include "provider/reconcile.h"
#include "runtime/instance.h"

#include <sys/queue.h>
#include <uv.h>

struct credentials;
struct image_collector;
struct endpoints;
struct events;
struct host;
struct identity;
struct image_store;
struct local_storage;
struct map;
struct network;
struct node;
struct objects;
struct prober;
struct server;
struct server_request;
struct shutdown;
struct statedir;
struct static_pods;
struct watch;
struct traffic;

/* An answer that must not come before the call that asked returned; see machines.c. */
struct deferred;

struct api_call;
LIST_HEAD(api_calls, api_call);

struct agent {
    struct config config;
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_timer_t timer; /* the next deadline of reconcile */
    uv_signal_t sigterm, sigint;
    struct host *host;
    char host_ip[OBSERVED_IP_MAX]; /* nodeIP; two addresses are separated by a comma */

    struct kube_client *client;
    struct identity *identity;
    struct credentials *credentials;
    struct image_collector *image_collector;
    struct events *events;
    struct fetcher fetcher;
    struct watch *pods;
    struct watch *classes;
    struct map *class_handlers; /* RuntimeClass name -> handler (malloc'd) */
    bool classes_synced;
    struct objects *objects; /* ConfigMaps, Secrets, Services */
    struct api_calls calls;
    size_t pod_bytes; /* that the last Pod's spec took */

    struct statedir *state;
    struct image_store *images;
    const char *import_layout; /* see image_store_config; of the image command alone */
    struct network *network;   /* NULL: network none */
    struct traffic *traffic;   /* NULL with it */
    struct instances *instances;
    const struct vmm_ops *vmm;
    struct vmm_config vmm_config;
    struct deferred *deferred_head, **deferred_tail;

    struct world_ops world;
    struct reconcile *reconcile;
    struct prober *prober; /* probes and hooks of Pods; see probing.h */
    struct node *node;
    struct local_storage *local_storage; /* node.c's */
    struct static_pods *static_pods;
    struct server *server;
    struct endpoints *endpoints;
    char *serving_cert; /* PEM, the last that identity or configuration gave */
    char *serving_key;
    uint64_t trimmed_ms;       /* mono */
    size_t trimmed_free;       /* free bytes of the heap when it was trimmed last */
    struct shutdown *shutdown; /* NULL: not under way */
    int exit_code;
};

/* machines.c: the half of world_ops that touches this host. */
void machines_init(struct agent *agent, struct world_ops *ops);
/* Answers what was deferred; true when there was something. Before each reconcile_flush. */
bool machines_turn(struct agent *agent);
void machines_end(struct agent *agent); /* drops what was deferred */
/* At start: state records, machines and networks that a former agent left. */
int machines_restore(struct agent *agent, struct err *err);

/* api.c: the half that talks to the API server, and the watches. */
void api_init(struct agent *agent, struct world_ops *ops);
/* Starts the watches of Pods and RuntimeClasses; before the first Pod may act. */
void api_start(struct agent *agent);
void api_stop(struct agent *agent);
/* The API server forgot what it knew: list and post everything anew. */
void api_doubt(struct agent *agent);

/* endpoints.c: answers on :10250. */
struct endpoints *endpoints_new(struct agent *agent);
void endpoints_free(struct endpoints *endpoints);
void endpoints_handle(void *userdata, struct server_request *request);
/* An attempt ended or its Pod is being forgotten: log streams drain and end. */
void endpoints_container_ended(struct endpoints *endpoints, const char *uid);

/* Ends the loop; the process exits with code. Machines go on. */
void agent_stop(struct agent *agent, int code);
