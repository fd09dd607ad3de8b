/* /stats/summary (contract 5.8): the node and its Pods as numbers, measured now. */
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/codec_stats.h"
#include "provider/endpoints_priv.h"
#include "provider/local_storage.h"
#include "provider/machines.h"
#include "provider/usage.h"
#include "runtime/network.h"

#include <stdlib.h>
#include <string.h>

#define LINKS_MAX 64
#define BOOT_ROUND_MS 1000

static struct stat_link to_link(const struct stats_link *link)
{
    return (struct stat_link){.name = link->name,
                              .rx_bytes = link->rx_bytes,
                              .rx_errors = link->rx_errors,
                              .tx_bytes = link->tx_bytes,
                              .tx_errors = link->tx_errors};
}

static struct stat_fs to_fs(const struct stats_fs *fs, int64_t now_ms)
{
    return (struct stat_fs){
        .time_ms = now_ms,
        .capacity_bytes = fs->capacity_bytes,
        .available_bytes = fs->available_bytes,
        .used_bytes = fs->used_bytes,
        .inodes = fs->inodes,
        .inodes_free = fs->inodes_free,
        .inodes_used = fs->inodes_used,
    };
}

static struct stat_fs read_fs(const char *path, int64_t now_ms)
{
    struct stats_fs fs;

    return stats_fs(path, &fs) == 0 ? to_fs(&fs, now_ms) : (struct stat_fs){0};
}

/* What the host itself talks over: not loopback, nor the ends that belong to Pods. */
static bool is_hosts_own(const struct stats_link *link)
{
    return !str_eq(link->name, "lo") && !str_starts(link->name, "veth") &&
           !str_starts(link->name, "tap");
}

/* The default route's link comes first (/proc/net/route is the kernel's own list). */
static size_t host_links(struct stats_link *links, struct stat_link *out)
{
    size_t all = stats_links(0, links, LINKS_MAX);
    size_t len = 0;

    for (size_t i = 0; i < all; i++)
        if (is_hosts_own(&links[i]))
            out[len++] = to_link(&links[i]);
    for (size_t i = 0; i < len; i++) {
        if (!stats_is_default_link(out[i].name))
            continue;
        struct stat_link first = out[0];
        out[0] = out[i];
        out[i] = first;
        break;
    }
    return len;
}

static void begin(struct endpoints *endpoints, struct json_writer *w, bool brief)
{
    struct agent *agent = endpoints->agent;
    struct stats_link links[LINKS_MAX];
    struct stat_link out[LINKS_MAX];
    struct stats_host host = {0};
    int64_t now_ms = clock_unix_ms();
    /* Two clocks, read one after the other: whole seconds keep the time the same for ever. */
    int64_t boot_ms = (now_ms - (int64_t)clock_mono_ms()) / BOOT_ROUND_MS * BOOT_ROUND_MS;
    struct stat_node node = {.name = agent->config.node_name, .started_ms = boot_ms};

    if (stats_host(&host) == 0) {
        stats_rate_add(&endpoints->host_rate, clock_mono_ns(), host.cpu_ns);
        node.cpu = (struct stat_cpu){now_ms, endpoints->host_rate.known, endpoints->host_rate.rate,
                                     host.cpu_ns};
        node.memory = (struct stat_memory){
            now_ms,         host.memory_bytes, host.used_bytes,  host.working_set_bytes,
            host.rss_bytes, host.faults,       host.major_faults};
        node.processes = host.processes;
        node.processes_max = host.processes_max;
        node.swap_bytes = host.swap_bytes;
        node.swap_used_bytes = host.swap_used_bytes;
    }
    if (!brief) {
        node.network = (struct stat_network){now_ms, out, host_links(links, out)};
        node.fs = read_fs(agent->config.state_dir, now_ms);
        node.image_fs = node.fs;
    }
    codec_stats_begin(w, &node, brief);
}

/* Bytes of the Pod's own, in terms of the file system that they are on. */
static struct stat_fs own_files(const struct agent *agent, const struct pod_spec *spec,
                                const struct stats_fs *fs, int64_t now_ms)
{
    struct stats_files files = {0};
    char *dir = machine_log_dir(agent, spec);
    struct stat_fs own = to_fs(fs, now_ms);

    if (stats_files(dir, &files) < 0)
        own.time_ms = 0;
    own.used_bytes = files.bytes;
    own.inodes_used = files.inodes;
    free(dir);
    return own;
}

static void add_pod(const struct agent *agent, const struct usage *usage, const struct stats_fs *fs,
                    bool brief, struct json_writer *w)
{
    const struct stats *stats = usage->stats;
    const struct container_spec *c = pod_container(usage->pod->spec, usage->container);
    struct stats_process process = {0};
    struct stats_link links[LINKS_MAX];
    struct stat_link tap;
    int pid = instance_pid(usage->instance);
    struct stat_pod pod = {
        .ns = usage->pod->spec->ns,
        .name = usage->pod->spec->name,
        .uid = usage->pod->spec->uid,
        .started_ms = usage->pod->obs.start_ms,
        .container = c->name,
        .container_started_ms = usage->pod->containers[usage->container].started_ms,
        .cpu = {stats->sampled_ms, stats->cpu_rate.known, stats->cpu_rate.rate,
                usage_cpu_ns(usage)},
        .memory = {.time_ms = stats->sampled_ms,
                   .usage_bytes = stats->memory_bytes,
                   .working_set_bytes = usage_memory_bytes(usage)},
    };

    if (c->resources.memory_limit_bytes > 0)
        pod.memory.limit_bytes = (uint64_t)c->resources.memory_limit_bytes;
    if (!brief && pid > 0 && stats_process(pid, &process) == 0) {
        pod.memory.rss_bytes = process.rss_bytes;
        pod.memory.faults = process.faults;
        pod.memory.major_faults = process.major_faults;
        pod.processes = 1;
    }
    if (!brief && pid > 0) {
        size_t len = stats_links(pid, links, LINKS_MAX);
        for (size_t i = 0; i < len; i++) {
            if (!str_eq(links[i].name, NETWORK_TAP_NAME))
                continue;
            stats_link_turn(&links[i]);
            tap = to_link(&links[i]);
            tap.name = "eth0"; /* as the guest's only one is called by readers of containers */
            pod.network = (struct stat_network){clock_unix_ms(), &tap, 1};
        }
    }
    if (!brief) {
        pod.logs = own_files(agent, usage->pod->spec, fs, clock_unix_ms());
        struct stats_files volumes;
        local_storage_volumes(agent->local_storage, pod.uid, &volumes);
        pod.ephemeral = pod.logs;
        pod.ephemeral.used_bytes += volumes.bytes;
        pod.ephemeral.inodes_used += volumes.inodes;
    }
    codec_stats_pod(w, &pod, brief);
}

void handle_stats(struct endpoints *endpoints, struct server_request *request,
                  char *const *segments, size_t len)
{
    struct agent *agent = endpoints->agent;
    struct buf out = BUF_INIT(SERVER_REPLY_MAX);
    struct json_writer w = JSON_WRITER(&out);
    struct usage *list = NULL;
    struct stats_fs fs = {0};

    if (len != 2 || !str_eq(segments[1], "summary")) {
        answer_not_found(request);
        return;
    }
    bool brief = query_true(request, "only_cpu_and_memory");
    (void)stats_fs(agent->config.log_dir, &fs);
    begin(endpoints, &w, brief);
    size_t count = usage_gather(agent, &list);
    for (size_t i = 0; i < count; i++)
        if (list[i].stats)
            add_pod(agent, &list[i], &fs, brief, &w);
    codec_stats_end(&w);
    free(list);
    answer_buf(request, "application/json", &out);
}
