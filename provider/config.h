/* The agent's configuration: built-in values, then a YAML file, then environment, then flags;
 * parsed once. Every key is a row of one table in config.c, from which --help and --print-config
 * are made too. */
#pragma once

#include "provider/config_table.h"

/* Strings are never NULL; "" means not given. */
struct config {
    char *node_name;
    char *node_ip; /* "": the address of the default route's interface */
    char *kubeconfig;
    char *bootstrap_kubeconfig;
    char *service_account_dir; /* "": where Pods have it */
    char *state_dir;
    char *run_dir;
    char *log_dir;
    char *log_max_size; /* quantity: a longer log file is renamed */
    int64_t log_max_files;
    char *log_level;
    char *address;
    int64_t port;
    char *tls_cert_file;
    char *tls_key_file;
    char *client_ca_file;
    bool server_tls_bootstrap;
    bool anonymous_auth;
    struct config_list node_labels; /* key=value */
    char *static_pod_path;
    char *standalone;                 /* directory; "" for a node of a cluster */
    struct config_list eviction_hard; /* signal<amount */
    int64_t eviction_transition_seconds;
    bool drain_on_exit;
    int64_t shutdown_seconds, shutdown_critical_seconds;
    char *provider_id;
    int64_t max_pods;
    char *reserved_cpu; /* quantities */
    char *reserved_memory;
    char *default_memory;  /* of a guest whose Pod names none */
    int64_t restart_max_s; /* cap of CrashLoopBackOff */
    int64_t lease_seconds;
    int64_t status_update_ms;
    int64_t status_report_ms;
    char *vmm;   /* qemu, fake */
    char *accel; /* auto, kvm, tcg */
    char *qemu;
    char *shim;
    char *fakevmm;
    char *vmm_user; /* name or number; "": as the agent */
    char *cgroup;   /* parent; "": none */
    char *network;  /* cni, none */
    char *cni_conf_dir;
    struct config_list cni_bin_dirs;
    char *netns_dir;
    char *pod_cidr;
    char *pod_cidr6;
    bool vhost_net;
    bool cni_check;
    bool cni_garbage_collect;
    char *bridge;
    struct config_list cluster_dns;
    char *cluster_domain;
    char *resolv_conf;
    struct config_list image_layouts;
    struct config_list insecure_registries;
    char *registry_ca_file;
    char *registry_config_dir;
    char *platform_kernel; /* "": none */
    int64_t image_gc_high; /* percent of the disk */
    int64_t image_gc_low;
    int64_t image_gc_min_age_s;
    int64_t image_gc_max_age_s; /* 0: none */
    struct config_list host_path_prefixes;
};

/* Reads argv and environ. On failure the text names file and line, variable or flag. */
int config_load(int argc, char **argv, struct config *ret, enum config_command *ret_command,
                struct err *err);
void config_free(struct config *config);
void config_print(const struct config *config, FILE *out); /* YAML that config_load reads */
void config_help(FILE *out);
