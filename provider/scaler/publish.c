/* The metrics Service has no selector: the leader, which alone knows what is held, writes its own
 * address into an EndpointSlice of it. Called once a second on the leader. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/server.h"
#include "provider/scaler/scaler.h"

#include <stdlib.h>

#define SLICES "/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices"
#define BODY_BYTES_MAX 8192
#define RETRY_MS 1000u
#define AGAIN_MS 30000u /* somebody may have removed it */

struct publish {
    struct scaler *scaler;
    struct kube_request *request;
    bool creating;
    uint64_t next_ms;
    bool done; /* since we lead */
};

struct publish *publish_start(struct scaler *scaler)
{
    struct publish *publish = xcalloc(1, sizeof(*publish));
    publish->scaler = scaler;
    return publish;
}

void publish_stop(struct publish *publish)
{
    if (!publish)
        return;
    if (publish->request)
        kube_request_cancel(publish->request);
    free(publish);
}

static void on_written(void *userdata, const struct kube_answer *answer)
{
    struct publish *publish = userdata;
    bool good = answer->result == 0 && answer->status >= 200 && answer->status < 300;
    publish->request = NULL;
    publish->next_ms = clock_mono_ms() + (good ? AGAIN_MS : RETRY_MS);
    if (answer->result == 0 && answer->status == 404 && !publish->creating) {
        publish->creating = true;
        publish->next_ms = 0;
        publish_tick(publish);
        return;
    }
    publish->creating = false;
    if (good && !publish->done)
        log_info(NULL, "endpoint", "the metrics Service %s/%s points to this replica",
                 publish->scaler->config.ns, publish->scaler->config.service);
    publish->done = good;
    if (!good && answer->status != 409)
        log_warn(NULL, "endpoint", "EndpointSlice of Service %s: %s",
                 publish->scaler->config.service, answer->text);
}

static void write_body(const struct publish *publish, const char *name, struct buf *out)
{
    const struct scaler_config *config = &publish->scaler->config;
    struct json_writer w = JSON_WRITER(out);
    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "discovery.k8s.io/v1");
    jw_string(&w, "kind", "EndpointSlice");
    jw_begin_object(&w, "metadata");
    jw_string(&w, "name", name);
    jw_begin_object(&w, "labels");
    jw_string(&w, "kubernetes.io/service-name", config->service);
    jw_string(&w, "endpointslice.kubernetes.io/managed-by", SCALER_MANAGED_BY);
    jw_end_object(&w);
    jw_end_object(&w);
    jw_string(&w, "addressType", "IPv4");
    jw_begin_array(&w, "endpoints");
    jw_begin_object(&w, NULL);
    jw_begin_array(&w, "addresses");
    jw_string(&w, NULL, config->pod_ip);
    jw_end_array(&w);
    jw_begin_object(&w, "conditions");
    jw_bool(&w, "ready", true);
    jw_end_object(&w);
    jw_end_object(&w);
    jw_end_array(&w);
    jw_begin_array(&w, "ports");
    jw_begin_object(&w, NULL);
    jw_string(&w, "name", "https");
    jw_int(&w, "port", server_port(publish->scaler->server));
    jw_string(&w, "protocol", "TCP");
    jw_end_object(&w);
    jw_end_array(&w);
    jw_end_object(&w);
}

void publish_tick(struct publish *publish)
{
    const struct scaler_config *config = &publish->scaler->config;
    if (!leader_leading(publish->scaler->leader)) {
        publish->done = false;
        publish->next_ms = 0;
        return;
    }
    if (!config->service_endpoints || publish->request || clock_mono_ms() < publish->next_ms)
        return;
    struct buf body = BUF_INIT(BODY_BYTES_MAX);
    char *name = xasprintf("%s-leader", config->service);
    char *path = publish->creating ? xasprintf(SLICES, config->ns)
                                   : xasprintf(SLICES "/%s", config->ns, name);
    write_body(publish, name, &body);
    publish->request =
        kube_request(publish->scaler->client, publish->creating ? KUBE_POST : KUBE_MERGE_PATCH,
                     path, buf_str(&body), body.len, KUBE_ONCE, on_written, publish);
    free(path);
    free(name);
    buf_free(&body);
}
