/* Node pressure and eviction (contract 3.10), as the kubelet's eviction manager with its hard
 * thresholds: conditions from what /proc and statvfs say now, and with a threshold met the least
 * important Pod is ended with phase Failed and reason Evicted. The control plane makes the taints
 * from the conditions. */
#include "provider/pressure.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/events.h"
#include "provider/agent.h"
#include "provider/host.h"
#include "provider/image_gc.h"
#include "provider/local_storage.h"
#include "provider/machines.h"
#include "provider/node.h"
#include "provider/usage.h"
#include "runtime/stats.h"

#include <stdlib.h>
#include <sys/sysinfo.h>

#define GRACE_MS 1000         /* a hard eviction's, as the kubelet has it */
#define CLEANUP_MS_MAX 30000u /* the next one waits for an evicted Pod's end, not for longer */
#define THRESHOLDS_MAX CONFIG_LIST_MAX

struct pressure {
    struct agent *agent;
    struct threshold thresholds[THRESHOLDS_MAX];
    size_t thresholds_len;
    struct level levels[_SIGNAL_MAX];
    uint64_t seen_ms[_EVICT_MAX];
    bool holds[_EVICT_MAX];
    char evicted[OBSERVED_ID_MAX]; /* uid of the last one, until its machine is gone */
    uint64_t evicted_ms;
};

static size_t read_thresholds(const struct config *config, struct threshold out[THRESHOLDS_MAX])
{
    size_t len = 0;
    for (size_t i = 0; i < config->eviction_hard.len; i++)
        len += threshold_parse(config->eviction_hard.items[i], &out[len]) == 0;
    return len;
}

int64_t pressure_reserve(const struct config *config, enum evict_signal signal, int64_t capacity)
{
    struct threshold list[THRESHOLDS_MAX];
    size_t len = read_thresholds(config, list);
    int64_t most = 0;
    for (size_t i = 0; i < len; i++) {
        int64_t amount = threshold_amount(&list[i], capacity);
        if (list[i].signal == signal && amount > most)
            most = amount;
    }
    return most;
}

struct pressure *pressure_new(struct agent *agent)
{
    struct pressure *pressure = xcalloc(1, sizeof(*pressure));
    pressure->agent = agent;
    pressure->thresholds_len = read_thresholds(&agent->config, pressure->thresholds);
    return pressure;
}

void pressure_free(struct pressure *pressure)
{
    free(pressure);
}

bool pressure_holds(const struct pressure *pressure, enum evict_condition condition)
{
    return pressure->holds[condition];
}

static void measure_fs(struct pressure *pressure, const char *path, enum evict_signal bytes,
                       enum evict_signal inodes)
{
    struct stats_fs fs;
    if (stats_fs(path, &fs) < 0)
        return;
    pressure->levels[bytes] =
        (struct level){(int64_t)fs.available_bytes, (int64_t)fs.capacity_bytes};
    /* Some file systems have no inodes to count. */
    pressure->levels[inodes] = (struct level){(int64_t)fs.inodes_free, (int64_t)fs.inodes};
}

static void measure(struct pressure *pressure)
{
    const struct agent *agent = pressure->agent;
    struct stats_host host;
    pressure->levels[SIGNAL_MEMORY] =
        (struct level){agent->host->memory_available_bytes, agent->host->memory_bytes};
    measure_fs(pressure, agent->config.state_dir, SIGNAL_NODEFS, SIGNAL_NODEFS_INODES);
    char *images = xasprintf("%s/images", agent->config.state_dir);
    measure_fs(pressure, images, SIGNAL_IMAGEFS, SIGNAL_IMAGEFS_INODES);
    free(images);
    if (stats_host(&host) == 0)
        pressure->levels[SIGNAL_PID] = (struct level){
            (int64_t)host.processes_max - (int64_t)host.processes, (int64_t)host.processes_max};
}

/* ---- who goes ---- */

static int64_t usage_of(const struct pressure *pressure, const struct usage *usage,
                        enum evict_signal signal)
{
    struct stats_files files;
    struct stats_files volumes;
    if (signal == SIGNAL_MEMORY)
        return usage->stats ? (int64_t)usage_memory_bytes(usage) : 0;
    if (signal == SIGNAL_PID)
        return 1; /* a machine is one process */
    char *dir = machine_log_dir(pressure->agent, usage->pod->spec);
    int result = stats_files(dir, &files);
    free(dir);
    if (result < 0)
        return 0;
    local_storage_volumes(pressure->agent->local_storage, usage->pod->spec->uid, &volumes);
    bool bytes = signal == SIGNAL_NODEFS || signal == SIGNAL_IMAGEFS;
    return (int64_t)(bytes ? files.bytes + volumes.bytes : files.inodes + volumes.inodes);
}

/* Among the Pods whose machine runs: ending another gives nothing back. */
static struct candidate *candidates(const struct pressure *pressure, enum evict_signal signal,
                                    size_t *ret_len)
{
    struct usage *list;
    size_t len = usage_gather(pressure->agent, &list);
    struct candidate *out = xcalloc(len + 1, sizeof(*out));
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        const struct pod *pod = list[i].pod;
        if (pod->obs.verdict || pod_ending(pod->spec, &pod->obs))
            continue;
        out[n++] = (struct candidate){pod->spec, usage_of(pressure, &list[i], signal),
                                      candidate_request(pod->spec, signal)};
    }
    free(list);
    *ret_len = n;
    return out;
}

static void tell_node(struct pressure *pressure, const char *resource)
{
    char text[128];
    str_fmt(text, sizeof(text), "Attempting to reclaim %s", resource);
    node_event(pressure->agent->node, true, "EvictionThresholdMet", text);
}

static void evict(struct pressure *pressure, const struct threshold *threshold)
{
    struct agent *agent = pressure->agent;
    struct pod_verdict verdict = {
        .reason = "Evicted", .disruption = true, .grace_ms = GRACE_MS, .since_ms = clock_unix_ms()};
    size_t len;
    struct candidate *list = candidates(pressure, threshold->signal, &len);
    size_t first = candidate_first(list, len);
    if (first < len) {
        struct pod *pod = reconcile_find_uid(agent->reconcile, list[first].spec->uid);
        evict_message(verdict.message, sizeof(verdict.message), threshold,
                      &pressure->levels[threshold->signal], &list[first]);
        str_copy(pressure->evicted, sizeof(pressure->evicted), pod->spec->uid);
        pressure->evicted_ms = clock_mono_ms();
        agent_event(agent, pod, -1, true, "Evicted", "%s", verdict.message);
        (void)reconcile_end(agent->reconcile, pod->spec->uid, &verdict);
    } else {
        log_warn(NULL, "evict", "the node is low on %s, and no Pod may be evicted",
                 signal_resource(threshold->signal));
    }
    free(list);
}

/* The last evicted one still holds what it is to give back. */
static bool is_evicting(struct pressure *pressure)
{
    const struct pod *pod = reconcile_find_uid(pressure->agent->reconcile, pressure->evicted);
    if (!pod || pod_machines_gone(&pod->obs) ||
        clock_mono_ms() - pressure->evicted_ms >= CLEANUP_MS_MAX)
        pressure->evicted[0] = '\0';
    return pressure->evicted[0] != '\0';
}

/* The first threshold that is met by what was measured; NULL: none. Memory comes first: it cannot
 * wait. */
static const struct threshold *find_met(const struct pressure *pressure, bool met[_EVICT_MAX])
{
    const struct threshold *first = NULL;
    for (size_t i = 0; i < pressure->thresholds_len; i++) {
        const struct threshold *threshold = &pressure->thresholds[i];
        if (!threshold_met(threshold, &pressure->levels[threshold->signal]))
            continue;
        met[signal_condition(threshold->signal)] = true;
        if (!first || threshold->signal < first->signal)
            first = threshold;
    }
    return first;
}

/* What no Pod uses goes before a Pod does: the kubelet's reclaimNodeLevelResources. */
static void reclaim(struct pressure *pressure, const struct threshold *threshold)
{
    bool met[_EVICT_MAX] = {false};
    tell_node(pressure, signal_resource(threshold->signal));
    if (signal_condition(threshold->signal) == EVICT_DISK &&
        image_collector_reclaim(pressure->agent) > 0) {
        measure(pressure);
        threshold = find_met(pressure, met);
    }
    if (threshold)
        evict(pressure, threshold);
}

void pressure_check(struct pressure *pressure)
{
    const struct agent *agent = pressure->agent;
    uint64_t now_ms = clock_mono_ms();
    uint64_t transition_ms = (uint64_t)agent->config.eviction_transition_seconds * 1000;
    bool met[_EVICT_MAX] = {false};
    measure(pressure);
    const struct threshold *first = find_met(pressure, met);
    for (int i = 0; i < _EVICT_MAX; i++)
        pressure->holds[i] = pressure_update(&pressure->seen_ms[i], met[i], now_ms, transition_ms);
    /* Before the list is known, nobody can be compared. */
    if (first && reconcile_is_synced(agent->reconcile) && !is_evicting(pressure))
        reclaim(pressure, first);
}
