/* The small ones: /healthz, /configz, and /checkpoint, which is refused. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "provider/endpoints_priv.h"

#define CONFIGZ_MAX 65536

void handle_healthz(struct endpoints *endpoints, struct server_request *request,
                    char *const *segments, size_t len)
{
    static const char *const checks[] = {"ping", "log", "syncloop"};

    (void)endpoints;
    /* One loop does all: that there is an answer is the answer. */
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (len == 1 || (len == 2 && str_eq(segments[1], checks[i]))) {
            answer_text(request, 200, "ok");
            return;
        }
    }
    answer_not_found(request);
}

void handle_checkpoint(struct endpoints *endpoints, struct server_request *request,
                       char *const *segments, size_t len)
{
    (void)endpoints;
    (void)segments;
    (void)len;
    answer_text(request, 501,
                "checkpoint is not supported: this node cannot save a unikernel's machine yet\n");
}

/* A duration as Go prints it: "5m0s", "100ms". */
static const char *go_duration(char *dst, size_t size, int64_t ms)
{
    int64_t seconds = ms / 1000;

    if (ms % 1000)
        return str_fmt(dst, size, "%lldms", (long long)ms);
    if (seconds < 60)
        return str_fmt(dst, size, "%llds", (long long)seconds);
    if (seconds < 3600)
        return str_fmt(dst, size, "%lldm%llds", (long long)seconds / 60, (long long)seconds % 60);
    return str_fmt(dst, size, "%lldh%lldm%llds", (long long)seconds / 3600,
                   (long long)seconds / 60 % 60, (long long)seconds % 60);
}

static void write_access(struct json_writer *w, const struct config *config)
{
    jw_begin_object(w, "authentication");
    jw_begin_object(w, "x509");
    jw_string_opt(w, "clientCAFile", config->client_ca_file);
    jw_end_object(w);
    jw_begin_object(w, "webhook");
    jw_bool(w, "enabled", true);
    jw_string(w, "cacheTTL", "2m0s");
    jw_end_object(w);
    jw_begin_object(w, "anonymous");
    jw_bool(w, "enabled", config->anonymous_auth);
    jw_end_object(w);
    jw_end_object(w);
    jw_begin_object(w, "authorization");
    jw_string(w, "mode", "Webhook");
    jw_begin_object(w, "webhook");
    jw_string(w, "cacheAuthorizedTTL", "5m0s");
    jw_string(w, "cacheUnauthorizedTTL", "30s");
    jw_end_object(w);
    jw_end_object(w);
}

/* KubeletConfiguration's own names, for what this agent's configuration has of it. */
static void write_config(struct json_writer *w, const struct config *config)
{
    char text[64];

    jw_begin_object(w, "kubeletconfig");
    jw_string(w, "address", config->address);
    jw_int(w, "port", config->port);
    jw_string_opt(w, "tlsCertFile", config->tls_cert_file);
    jw_string_opt(w, "tlsPrivateKeyFile", config->tls_key_file);
    jw_bool(w, "serverTLSBootstrap", config->server_tls_bootstrap);
    write_access(w, config);
    jw_bool(w, "enableServer", true);
    jw_string(w, "clusterDomain", config->cluster_domain);
    jw_begin_array(w, "clusterDNS");
    for (size_t i = 0; i < config->cluster_dns.len; i++)
        jw_string(w, NULL, config->cluster_dns.items[i]);
    jw_end_array(w);
    jw_string(w, "nodeStatusUpdateFrequency",
              go_duration(text, sizeof(text), config->status_update_ms));
    jw_string(w, "nodeStatusReportFrequency",
              go_duration(text, sizeof(text), config->status_report_ms));
    jw_int(w, "nodeLeaseDurationSeconds", config->lease_seconds);
    jw_int(w, "maxPods", config->max_pods);
    jw_string_opt(w, "podCIDR", config->pod_cidr);
    jw_string_opt(w, "providerID", config->provider_id);
    jw_string_opt(w, "cgroupRoot", config->cgroup);
    jw_begin_object(w, "systemReserved");
    jw_string_opt(w, "cpu", config->reserved_cpu);
    jw_string_opt(w, "memory", config->reserved_memory);
    jw_end_object(w);
    jw_string(w, "podLogsDir", config->log_dir);
    jw_string(w, "kind", "KubeletConfiguration");
    jw_string(w, "apiVersion", "kubelet.config.k8s.io/v1beta1");
    jw_end_object(w);
}

void handle_configz(struct endpoints *endpoints, struct server_request *request,
                    char *const *segments, size_t len)
{
    struct buf out = BUF_INIT(CONFIGZ_MAX);
    struct json_writer w = JSON_WRITER(&out);

    (void)segments;
    if (len > 1) {
        answer_not_found(request);
        return;
    }
    jw_begin_object(&w, NULL);
    write_config(&w, &endpoints->agent->config);
    jw_end_object(&w);
    answer_buf(request, "application/json", &out);
}
