/* The scaler's configuration, by the same engine as the agent's. Every key is a row in config.c. */
#pragma once

#include "provider/config_table.h"

/* Strings are never NULL; "" means not given. */
struct scaler_config {
    char *kubeconfig; /* "": the Pod's ServiceAccount */
    char *address;
    int64_t port;
    int64_t health_port;
    char *pod_ip;
    char *pod_name;
    char *ns;
    char *service;
    bool service_endpoints;
    char *tls_cert_file;
    char *tls_key_file;
    bool api_service;
    char *lease;
    int64_t lease_seconds;
    int64_t data_port;
    int64_t data_ports;
    int64_t held_max;
    int64_t held_service_max;
    int64_t held_bytes;
    int64_t hold_seconds;
    int64_t scrape_ms;
    int64_t window_seconds;
    int64_t stale_seconds;
    char *agent_ca_file;
    bool agent_insecure;
    char *log_level;
};

/* As config_load: on failure the text names file and line, variable or flag. */
int scaler_config_load(int argc, char **argv, struct scaler_config *ret,
                       enum config_command *ret_command, struct err *err);
void scaler_config_free(struct scaler_config *config);
void scaler_config_print(const struct scaler_config *config, FILE *out);
void scaler_config_help(FILE *out);
