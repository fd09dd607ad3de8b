/* The sampler: a machine's figures from its cgroup, else from its VMM's process, no older than a
 * second, and the rate of its CPU over the last seconds without a timer of its own. */
#include "runtime/stats.h"

#include "base/clock.h"
#include "base/str.h"
#include "runtime/cgroup.h"
#include "runtime/instance.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

void stats_rate_add(struct stats_rate *rate, uint64_t now_ns, uint64_t value)
{
    if (rate->newer_ns == 0 || value < rate->newer_value || now_ns < rate->newer_ns) {
        *rate = (struct stats_rate){
            .older_ns = now_ns, .older_value = value, .newer_ns = now_ns, .newer_value = value};
        return;
    }
    if (now_ns - rate->newer_ns >= STATS_WINDOW_NS / 2) {
        rate->older_ns = rate->newer_ns;
        rate->older_value = rate->newer_value;
        rate->newer_ns = now_ns;
        rate->newer_value = value;
    }
    if (now_ns > rate->older_ns) {
        double seconds = (double)(now_ns - rate->older_ns) / 1e9;

        rate->rate = (uint64_t)((double)(value - rate->older_value) / seconds + 0.5);
        rate->known = true;
    }
}

/* A young machine's counter began at zero when it started: that is the first mark. */
static void seed_rate(struct stats *stats, uint64_t now_ns, int64_t now_ms, int64_t started_ms)
{
    uint64_t age_ns = now_ms > started_ms ? (uint64_t)(now_ms - started_ms) * 1000000 : 0;

    if (age_ns > 0 && age_ns <= STATS_WINDOW_NS && age_ns < now_ns)
        stats_rate_add(&stats->cpu_rate, now_ns - age_ns, 0);
}

void stats_close(struct stats *stats)
{
    if (!stats)
        return;
    if (stats->source == STATS_CGROUP)
        cgroup_probe_close(&stats->cgroup);
    else if (stats->source == STATS_PROCESS)
        (void)close(stats->process);
    stats->source = STATS_CLOSED;
}

static int open_source(struct stats *stats, const struct instance *instance)
{
    int pid = instance_pid(instance);

    if (instance_probe(instance, &stats->cgroup) == 0) {
        stats->source = STATS_CGROUP;
        return 0;
    }
    stats->process = pid > 0 ? stats_process_open(pid) : -ESRCH;
    if (stats->process < 0)
        return -ESRCH;
    stats->source = STATS_PROCESS;
    return 0;
}

static int read_source(struct stats *stats, uint64_t now_ns, struct cgroup_usage *ret)
{
    struct stats_process process;

    if (stats->source == STATS_CGROUP)
        return cgroup_probe_read(&stats->cgroup, now_ns, ret);
    if (stats_process_read(stats->process, &process) < 0)
        return -ESRCH;
    ret->cpu_ns = process.cpu_ns;
    ret->memory_bytes = ret->working_set_bytes = process.rss_bytes;
    return 0;
}

/* Descriptors are given out from the lowest: a high one says that many are in use. */
static bool may_keep(const struct stats *stats)
{
    int fd = stats->source == STATS_CGROUP ? stats->cgroup.stat : stats->process;
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd < limit.rlim_cur / 2;
}

static int measure(struct stats *stats, const struct instance *instance, uint64_t now_ns,
                   struct cgroup_usage *ret)
{
    bool opened = stats->source == STATS_CLOSED;
    int r = opened ? open_source(stats, instance) : 0;

    if (r == 0)
        r = read_source(stats, now_ns, ret);
    if (r < 0 || (opened && !may_keep(stats)))
        stats_close(stats);
    return r;
}

int stats_sample(struct stats *stats, const struct instance *instance, const char *id,
                 int64_t started_ms)
{
    struct cgroup_usage usage = {0};
    uint64_t hash = str_hash(id, strlen(id));
    uint64_t now_ns = clock_mono_ns();

    if (stats->id_hash != hash) {
        stats_close(stats);
        *stats = (struct stats){.id_hash = hash};
    }
    if (stats->known && now_ns - stats->sampled_ns < STATS_FRESH_NS)
        return 0;
    if (measure(stats, instance, now_ns, &usage) < 0)
        return -ESRCH;
    stats->sampled_ns = now_ns;
    stats->sampled_ms = clock_unix_ms();
    if (!stats->known)
        seed_rate(stats, now_ns, stats->sampled_ms, started_ms);
    stats->known = true;
    stats->cpu_ns = usage.cpu_ns;
    stats->memory_bytes = usage.memory_bytes;
    stats->working_set_bytes = usage.working_set_bytes;
    stats_rate_add(&stats->cpu_rate, now_ns, usage.cpu_ns);
    return 0;
}
