/* Summary of stats/v1alpha1 as JSON. Called by provider/endpoints_stats.c. */
#include "k8s/codec_stats.h"

#include "base/json.h"
#include "base/str.h"
#include "k8s/codec_priv.h"

static void write_u64(struct json_writer *w, const char *key, uint64_t value)
{
    jw_int(w, key, value < INT64_MAX ? (int64_t)value : INT64_MAX);
}

static void write_cpu(struct json_writer *w, const struct stat_cpu *cpu)
{
    if (cpu->time_ms == 0)
        return;
    jw_begin_object(w, "cpu");
    codec_write_time(w, "time", cpu->time_ms);
    if (cpu->has_rate)
        write_u64(w, "usageNanoCores", cpu->nanocores);
    write_u64(w, "usageCoreNanoSeconds", cpu->cpu_ns);
    jw_end_object(w);
}

static void write_memory(struct json_writer *w, const struct stat_memory *memory)
{
    uint64_t used = memory->working_set_bytes;

    if (memory->time_ms == 0)
        return;
    jw_begin_object(w, "memory");
    codec_write_time(w, "time", memory->time_ms);
    if (memory->limit_bytes > 0)
        write_u64(w, "availableBytes", used < memory->limit_bytes ? memory->limit_bytes - used : 0);
    write_u64(w, "usageBytes", memory->usage_bytes);
    write_u64(w, "workingSetBytes", used);
    if (memory->rss_bytes > 0) {
        write_u64(w, "rssBytes", memory->rss_bytes);
        write_u64(w, "pageFaults", memory->faults);
        write_u64(w, "majorPageFaults", memory->major_faults);
    }
    jw_end_object(w);
}

static void write_link(struct json_writer *w, const struct stat_link *link)
{
    jw_string(w, "name", link->name);
    write_u64(w, "rxBytes", link->rx_bytes);
    write_u64(w, "rxErrors", link->rx_errors);
    write_u64(w, "txBytes", link->tx_bytes);
    write_u64(w, "txErrors", link->tx_errors);
}

static void write_network(struct json_writer *w, const struct stat_network *network)
{
    if (network->time_ms == 0 || network->links_len == 0)
        return;
    jw_begin_object(w, "network");
    codec_write_time(w, "time", network->time_ms);
    write_link(w, &network->links[0]);
    jw_begin_array(w, "interfaces");
    for (size_t i = 0; i < network->links_len; i++) {
        jw_begin_object(w, NULL);
        write_link(w, &network->links[i]);
        jw_end_object(w);
    }
    jw_end_array(w);
    jw_end_object(w);
}

static void write_fs(struct json_writer *w, const char *key, const struct stat_fs *fs)
{
    if (fs->time_ms == 0)
        return;
    jw_begin_object(w, key);
    codec_write_time(w, "time", fs->time_ms);
    write_u64(w, "availableBytes", fs->available_bytes);
    write_u64(w, "capacityBytes", fs->capacity_bytes);
    write_u64(w, "usedBytes", fs->used_bytes);
    write_u64(w, "inodesFree", fs->inodes_free);
    write_u64(w, "inodes", fs->inodes);
    write_u64(w, "inodesUsed", fs->inodes_used);
    jw_end_object(w);
}

static void write_swap(struct json_writer *w, const struct stat_node *node)
{
    if (node->swap_bytes == 0)
        return;
    jw_begin_object(w, "swap");
    codec_write_time(w, "time", node->memory.time_ms);
    write_u64(w, "swapAvailableBytes", node->swap_bytes - node->swap_used_bytes);
    write_u64(w, "swapUsageBytes", node->swap_used_bytes);
    jw_end_object(w);
}

void codec_stats_begin(struct json_writer *w, const struct stat_node *node, bool brief)
{
    jw_begin_object(w, NULL);
    jw_begin_object(w, "node");
    jw_string(w, "nodeName", node->name);
    codec_write_time(w, "startTime", node->started_ms);
    write_cpu(w, &node->cpu);
    write_memory(w, &node->memory);
    write_swap(w, node);
    if (!brief) {
        write_network(w, &node->network);
        write_fs(w, "fs", &node->fs);
        if (node->image_fs.time_ms != 0) {
            jw_begin_object(w, "runtime");
            write_fs(w, "imageFs", &node->image_fs);
            write_fs(w, "containerFs", &node->image_fs);
            jw_end_object(w);
        }
        if (node->processes_max > 0) {
            jw_begin_object(w, "rlimit");
            codec_write_time(w, "time", node->cpu.time_ms);
            write_u64(w, "maxpid", node->processes_max);
            write_u64(w, "curproc", node->processes);
            jw_end_object(w);
        }
    }
    jw_end_object(w);
    jw_begin_array(w, "pods");
}

void codec_stats_pod(struct json_writer *w, const struct stat_pod *pod, bool brief)
{
    jw_begin_object(w, NULL);
    jw_begin_object(w, "podRef");
    jw_string(w, "name", pod->name);
    jw_string(w, "namespace", pod->ns);
    jw_string(w, "uid", pod->uid);
    jw_end_object(w);
    if (pod->started_ms != 0)
        codec_write_time(w, "startTime", pod->started_ms);
    jw_begin_array(w, "containers");
    if (pod->container) {
        jw_begin_object(w, NULL);
        jw_string(w, "name", pod->container);
        codec_write_time(w, "startTime", pod->container_started_ms);
        write_cpu(w, &pod->cpu);
        write_memory(w, &pod->memory);
        if (!brief)
            write_fs(w, "logs", &pod->logs);
        jw_end_object(w);
    }
    jw_end_array(w);
    write_cpu(w, &pod->cpu);
    write_memory(w, &pod->memory);
    if (!brief) {
        write_network(w, &pod->network);
        write_fs(w, "ephemeral-storage", &pod->ephemeral);
        if (pod->processes > 0) {
            jw_begin_object(w, "process_stats");
            write_u64(w, "process_count", pod->processes);
            jw_end_object(w);
        }
    }
    jw_end_object(w);
}

void codec_stats_end(struct json_writer *w)
{
    jw_end_array(w);
    jw_end_object(w);
}
