/* The scaler's parts in their order, and what happens each turn and each second. Called by main.c.
 */
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/server.h"
#include "provider/scaler/activator.h"
#include "provider/scaler/nodes.h"
#include "provider/scaler/scaler.h"
#include "provider/scaler/services.h"

#define TICK_MS 1000u

/* Before the loop sleeps: what the callbacks of this turn recorded is acted upon together. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct scaler *scaler = prepare->data;
    if (scaler->services && !scaler->stopping)
        services_flush(scaler->services);
}

static void on_tick(uv_timer_t *timer)
{
    struct scaler *scaler = timer->data;
    if (scaler->stopping)
        return;
    services_tick(scaler->services);
    publish_tick(scaler->publish);
    if (leader_leading(scaler->leader))
        cert_publish(scaler->cert);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct scaler *scaler = handle->data;
    log_info(NULL, "stop", "signal %d: giving the Lease back", signum);
    scaler->stopping = true;
    leader_resign(scaler->leader);
}

static int load_kube(struct scaler *scaler, struct err *err)
{
    if (!str_empty(scaler->config.kubeconfig))
        return kube_config_load(scaler->config.kubeconfig, &scaler->kube, err);
    return kube_config_in_cluster(&scaler->kube, err);
}

int scaler_begin(struct scaler *scaler, struct err *err)
{
    const struct scaler_config *config = &scaler->config;
    int r = load_kube(scaler, err);
    if (r == 0)
        r = kube_client_new(&scaler->loop, &scaler->kube, &scaler->client, err);
    if (r < 0)
        return r;
    const struct server_config server = {.address = config->address,
                                         .port = (uint16_t)config->port,
                                         .node_name = "",
                                         .map = api_map};
    r = server_start(&scaler->loop, scaler->client, &server, api_handle, scaler, &scaler->server,
                     err);
    if (r == 0)
        r = cert_start(scaler, &scaler->cert, err);
    if (r == 0)
        r = health_start(scaler, &scaler->health, err);
    if (r < 0)
        return r;
    scaler->authn = authn_start(scaler);
    scaler->activator = activator_start(scaler);
    scaler->nodes = nodes_start(scaler);
    scaler->services = services_start(scaler);
    scaler->publish = publish_start(scaler);
    scaler->leader = leader_start(scaler);
    uv_prepare_init(&scaler->loop, &scaler->prepare);
    uv_timer_init(&scaler->loop, &scaler->tick);
    uv_signal_init(&scaler->loop, &scaler->sigterm);
    uv_signal_init(&scaler->loop, &scaler->sigint);
    scaler->prepare.data = scaler->tick.data = scaler;
    scaler->sigterm.data = scaler->sigint.data = scaler;
    uv_prepare_start(&scaler->prepare, on_prepare);
    uv_timer_start(&scaler->tick, on_tick, TICK_MS, TICK_MS);
    uv_signal_start(&scaler->sigterm, on_signal, SIGTERM);
    uv_signal_start(&scaler->sigint, on_signal, SIGINT);
    return 0;
}

static void close_handle(uv_handle_t *handle, void *userdata)
{
    (void)userdata;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void scaler_end(struct scaler *scaler)
{
    services_stop(scaler->services);
    nodes_stop(scaler->nodes);
    publish_stop(scaler->publish);
    leader_stop(scaler->leader);
    authn_stop(scaler->authn);
    cert_stop(scaler->cert);
    health_stop(scaler->health);
    server_stop(scaler->server);
    if (scaler->client)
        kube_client_free(scaler->client);
    scaler->services = NULL;
    uv_walk(&scaler->loop, close_handle, NULL);
    (void)uv_run(&scaler->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&scaler->loop);
    activator_stop(scaler->activator);
    kube_config_free(&scaler->kube);
}
