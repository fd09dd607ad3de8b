/* /stats/summary of the kubelet (k8s.io/kubelet stats/v1alpha1, contract 5.8): structs to JSON.
 * What is not known is left out, never written as zero. Called by provider/endpoints_stats.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_writer;

/* time_ms: unix, of the measurement; 0: nothing is known and the whole is left out. */
struct stat_cpu {
    int64_t time_ms;
    bool has_rate;
    uint64_t nanocores;
    uint64_t cpu_ns;
};

struct stat_memory {
    int64_t time_ms;
    uint64_t limit_bytes; /* 0: none, then nothing is said of what is available */
    uint64_t usage_bytes;
    uint64_t working_set_bytes;
    uint64_t rss_bytes; /* this and the faults 0: not known */
    uint64_t faults;
    uint64_t major_faults;
};

struct stat_link {
    const char *name;
    uint64_t rx_bytes, rx_errors, tx_bytes, tx_errors;
};

struct stat_network {
    int64_t time_ms;
    const struct stat_link *links; /* the first one is the default */
    size_t links_len;
};

struct stat_fs {
    int64_t time_ms;
    uint64_t capacity_bytes, available_bytes, used_bytes;
    uint64_t inodes, inodes_free, inodes_used;
};

struct stat_node {
    const char *name;
    int64_t started_ms;
    struct stat_cpu cpu;
    struct stat_memory memory;
    struct stat_network network;
    struct stat_fs fs;
    struct stat_fs image_fs;
    uint64_t processes, processes_max;
    uint64_t swap_bytes, swap_used_bytes;
};

struct stat_pod {
    const char *ns, *name, *uid;
    int64_t started_ms; /* of the Pod */
    /* Its one machine; container NULL: none runs. */
    const char *container;
    int64_t container_started_ms;
    struct stat_cpu cpu;
    struct stat_memory memory;
    struct stat_network network;
    struct stat_fs logs;
    struct stat_fs ephemeral; /* logs and volumes */
    uint64_t processes;
};

/* brief: CPU and memory alone (only_cpu_and_memory=true). Then Pods, then the end. */
void codec_stats_begin(struct json_writer *w, const struct stat_node *node, bool brief);
void codec_stats_pod(struct json_writer *w, const struct stat_pod *pod, bool brief);
void codec_stats_end(struct json_writer *w);
