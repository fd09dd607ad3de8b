/* The scaler's table of keys; provider/config_table.c walks it. Called by main. */
#include "provider/scaler/config.h"

#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define AT(member) offsetof(struct scaler_config, member)
#define PORT_MAX 65535

static const struct config_key keys[] = {
    {"kubeconfig", "kubeconfig", "KUBECONFIG", KEY_STRING, SHAPE_PATH, AT(kubeconfig), "", 0, 0,
     "credentials; default: the Pod's ServiceAccount"},
    {"address", "address", NULL, KEY_STRING, SHAPE_IP, AT(address), "0.0.0.0", 0, 0,
     "address to listen on, with all ports"},
    {"port", "port", NULL, KEY_INT, SHAPE_TEXT, AT(port), "6443", 0, PORT_MAX,
     "HTTPS port of external.metrics.k8s.io"},
    {"healthPort", "health-port", NULL, KEY_INT, SHAPE_TEXT, AT(health_port), "8081", 0, PORT_MAX,
     "HTTP port of /healthz, /readyz and /metrics"},
    {"podIP", "pod-ip", "POD_IP", KEY_STRING, SHAPE_IP, AT(pod_ip), "", 0, 0,
     "address that Services' endpoint slices point to; needed"},
    {"podName", "pod-name", "POD_NAME", KEY_STRING, SHAPE_NAME, AT(pod_name), "", 0, 0,
     "name to hold the Lease with; default: the host's name"},
    {"namespace", "namespace", "POD_NAMESPACE", KEY_STRING, SHAPE_NAME, AT(ns), "kube-system", 0, 0,
     "namespace of the Lease and of the metrics Service"},
    {"service", "service", NULL, KEY_STRING, SHAPE_NAME, AT(service), "unikubelet-scaler", 0, 0,
     "the metrics Service: a name in the self-made certificate"},
    {"serviceEndpoints", "service-endpoints", NULL, KEY_BOOL, SHAPE_TEXT, AT(service_endpoints),
     "true", 0, 0, "the leader keeps that Service's EndpointSlice (the Service has no selector)"},
    {"tlsCertFile", "tls-cert-file", NULL, KEY_STRING, SHAPE_PATH, AT(tls_cert_file), "", 0, 0,
     "serving certificate; default: self-made"},
    {"tlsPrivateKeyFile", "tls-private-key-file", NULL, KEY_STRING, SHAPE_PATH, AT(tls_key_file),
     "", 0, 0, "its key"},
    {"apiService", "api-service", NULL, KEY_BOOL, SHAPE_TEXT, AT(api_service), "true", 0, 0,
     "the leader writes a self-made certificate into the APIService's caBundle"},
    {"leaseName", "lease-name", NULL, KEY_STRING, SHAPE_NAME, AT(lease), "unikubelet-scaler", 0, 0,
     "Lease that the replicas elect their leader by"},
    {"leaseSeconds", "lease-seconds", NULL, KEY_INT, SHAPE_TEXT, AT(lease_seconds), "10", 3, 120,
     "after how long without a sign of the leader another one takes over"},
    {"dataPort", "data-port", NULL, KEY_INT, SHAPE_TEXT, AT(data_port), "20000", 1, PORT_MAX,
     "first port on which connections are held, one for each Service port"},
    {"dataPorts", "data-ports", NULL, KEY_INT, SHAPE_TEXT, AT(data_ports), "1000", 1, PORT_MAX,
     "how many of them"},
    {"maxHeld", "max-held", NULL, KEY_INT, SHAPE_TEXT, AT(held_max), "8192", 1, 65536,
     "connections held at once; one more is reset"},
    {"maxHeldPerService", "max-held-per-service", NULL, KEY_INT, SHAPE_TEXT, AT(held_service_max),
     "4096", 1, 65536, "the same of one Service"},
    {"heldBytes", "held-bytes", NULL, KEY_INT, SHAPE_TEXT, AT(held_bytes), "65536", 2048, 1048576,
     "bytes of a held connection taken before its client has to wait"},
    {"holdSeconds", "hold-seconds", NULL, KEY_INT, SHAPE_TEXT, AT(hold_seconds), "60", 1, 3600,
     "how long a connection is held at most"},
    {"scrapeMilliseconds", "scrape-milliseconds", NULL, KEY_INT, SHAPE_TEXT, AT(scrape_ms), "1000",
     100, 60000, "between two readings of an agent's connection counters"},
    {"windowSeconds", "window-seconds", NULL, KEY_INT, SHAPE_TEXT, AT(window_seconds), "15", 1,
     3600, "over how long connections per second are averaged"},
    {"staleSeconds", "stale-seconds", NULL, KEY_INT, SHAPE_TEXT, AT(stale_seconds), "10", 1, 3600,
     "counters that are older are missing"},
    {"agentCAFile", "agent-ca-file", NULL, KEY_STRING, SHAPE_PATH, AT(agent_ca_file), "", 0, 0,
     "CA of the agents' serving certificates; default: the API server's"},
    {"agentInsecure", "agent-insecure", NULL, KEY_BOOL, SHAPE_TEXT, AT(agent_insecure), "false", 0,
     0, "do not verify the agents' certificates"},
    {"logLevel", "log-level", NULL, KEY_STRING, SHAPE_LEVEL, AT(log_level), "info", 0, 0,
     "debug, info, warn or error"},
};

static int check(void *userdata, struct err *err)
{
    struct scaler_config *config = userdata;
    char host[256] = "";
    if (str_empty(config->pod_ip))
        return err_spec(err, -EINVAL, "podIP is not set (in a Pod: $POD_IP from status.podIP)");
    if (str_empty(config->tls_cert_file) != str_empty(config->tls_key_file))
        return err_spec(err, -EINVAL, "tlsCertFile and tlsPrivateKeyFile go together");
    if (config->data_port + config->data_ports - 1 > PORT_MAX)
        return err_spec(err, -EINVAL, "dataPort and dataPorts reach beyond port %d", PORT_MAX);
    if (config->window_seconds * 1000 < config->scrape_ms)
        return err_spec(err, -EINVAL, "windowSeconds is shorter than scrapeMilliseconds");
    if (!str_empty(config->pod_name))
        return 0;
    if (gethostname(host, sizeof(host) - 1) < 0 || !host[0])
        return err_spec(err, -EINVAL, "podName is not set and the host has no name");
    free(config->pod_name);
    config->pod_name = xstrdup(host);
    return 0;
}

static const struct config_table table = {
    .program = "unikubelet-scaler",
    .intro = "unikubelet-scaler: external.metrics.k8s.io for Services of unikernels, and the\n"
             "activator that holds their connections while their workload is at zero.\n",
    .keys = keys,
    .len = sizeof(keys) / sizeof(keys[0]),
    .check = check,
};

int scaler_config_load(int argc, char **argv, struct scaler_config *ret,
                       enum config_command *ret_command, struct err *err)
{
    struct scaler_config config = {0};
    int result = config_table_load(&table, argc, argv, &config, ret_command, err);
    if (result == 0)
        *ret = config;
    return result;
}

void scaler_config_free(struct scaler_config *config)
{
    config_table_free(&table, config);
}

void scaler_config_print(const struct scaler_config *config, FILE *out)
{
    config_table_print(&table, config, out);
}

void scaler_config_help(FILE *out)
{
    config_table_help(&table, out);
}
