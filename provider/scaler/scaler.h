/* The scaler's parts and what they share. Made by main.c, passed to each part as a pointer; nothing
 * of it is global. */
#pragma once

#include "k8s/client.h"
#include "k8s/kubeconfig.h"
#include "provider/scaler/config.h"

#include <uv.h>

struct authn;
struct activator;
struct cert;
struct health;
struct leader;
struct nodes;
struct publish;
struct server;
struct server_request;
struct services;

#define SCALER_MANAGED_BY "unikubelet.dev-activator" /* of our EndpointSlices */
#define SCALER_LABEL "unikubelet.dev/scale"          /* of Services: "metrics" or "activate" */
#define SCALER_NAME_MAX 254

struct scaler {
    struct scaler_config config;
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_timer_t tick; /* once a second: what only time makes true */
    uv_signal_t sigterm, sigint;
    struct kube_config kube;
    struct kube_client *client;
    struct server *server;
    struct cert *cert;
    struct authn *authn;
    struct leader *leader;
    struct services *services;
    struct nodes *nodes;
    struct publish *publish;
    struct activator *activator;
    struct health *health;
    bool stopping;
    int exit_code;
};

/* startup.c: everything in its order; scaler_end accepts a half-made one. */
int scaler_begin(struct scaler *scaler, struct err *err);
void scaler_end(struct scaler *scaler);

/* authn.c: watches the API server's authentication ConfigMap; before the first good one, clients
 * without a bearer token are nobody. */
struct authn *authn_start(struct scaler *scaler);
void authn_stop(struct authn *authn); /* NULL is accepted, as below */
bool authn_ready(const struct authn *authn);

/* cert.c: the serving certificate, given or self-made. */
int cert_start(struct scaler *scaler, struct cert **ret, struct err *err);
void cert_stop(struct cert *cert);
/* On the leader, at its beginning and each second: the CA into the APIService, until it is there.
 */
void cert_publish(struct cert *cert);

/* leader.c: the Lease (contract 1.4 in spirit; client-go's leader election in its rules). */
struct leader *leader_start(struct scaler *scaler);
void leader_stop(struct leader *leader);
bool leader_leading(const struct leader *leader);
/* Gives the Lease back, then stops the loop; at most a second later in any case. */
void leader_resign(struct leader *leader);

/* api.c: external.metrics.k8s.io/v1beta1. */
struct auth_attributes;
void api_map(const char *method, const char *path, struct auth_attributes *ret);
void api_handle(void *userdata, struct server_request *request);

/* publish.c: on the leader, the metrics Service's EndpointSlice points to us. */
struct publish *publish_start(struct scaler *scaler);
void publish_stop(struct publish *publish);
void publish_tick(struct publish *publish); /* once a second */

/* health.c: plain HTTP. */
int health_start(struct scaler *scaler, struct health **ret, struct err *err);
void health_stop(struct health *health);
