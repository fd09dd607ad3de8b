/* See probing.h. Nothing is decided here. */
#include "provider/probing.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "k8s/prometheus.h"
#include "provider/core/probe.h"
#include "provider/machines.h"
#include "provider/prober.h"

#include <errno.h>

#define LABELS_MAX 4096

static struct now now_of(void *userdata)
{
    (void)userdata;
    return (struct now){.mono_ms = clock_mono_ms(), .unix_ms = clock_unix_ms()};
}

static struct pod *find(void *userdata, const char *uid)
{
    struct agent *agent = userdata;

    return reconcile_find_uid(agent->reconcile, uid);
}

static void event(void *userdata, struct pod *pod, int container, const char *reason,
                  const char *message)
{
    agent_event(userdata, pod, container, true, reason, "%s", message);
}

static void on_result(void *userdata, const char *uid, const char *id, enum probe_type type,
                      enum probe_result result)
{
    struct agent *agent = userdata;

    reconcile_probed(agent->reconcile, uid, id, type, result);
}

static void on_hooked(void *userdata, const char *uid, const char *id, enum hook_type type,
                      bool failed)
{
    struct agent *agent = userdata;

    reconcile_hooked(agent->reconcile, uid, id, type, failed);
}

static void world_hook(void *world, struct pod *pod, uint32_t container, enum hook_type type)
{
    struct agent *agent = world;

    prober_hook(agent->prober, pod, container, type);
}

static void world_look(void *world, struct pod *pod)
{
    struct agent *agent = world;

    prober_look(agent->prober, pod);
}

int probing_init(struct agent *agent, struct world_ops *ops, struct err *err)
{
    static const struct prober_ops callbacks = {
        .now = now_of,
        .find = find,
        .event = event,
        .result = on_result,
        .hooked = on_hooked,
    };

    agent->prober = prober_new(&agent->loop, &callbacks, agent);
    if (!agent->prober)
        return err_set(err, -ENOMEM, "cannot make what probes need: no memory or descriptors");
    ops->hook = world_hook;
    ops->look = world_look;
    return 0;
}

/* ---- metrics ---- */

struct page {
    const struct agent *agent;
    struct buf *out;
    struct buf labels;
    bool durations;
};

static void write_sample(void *userdata, const struct prober_sample *sample)
{
    static const char *const results[PROBE_RESULTS] = {"successful", "failed", "unknown"};
    struct page *page = userdata;
    const struct pod *pod = reconcile_find_uid(page->agent->reconcile, sample->uid);

    if (!pod || sample->container >= pod->obs.containers_len)
        return;
    struct prom_label labels[] = {
        {"container", pod_container(pod->spec, sample->container)->name},
        {"namespace", pod->spec->ns},
        {"pod", pod->spec->name},
        {"probe_type", probe_type_to_string(sample->type)},
        {"pod_uid", sample->uid},
        {"result", ""},
    };
    for (int i = 0; i < PROBE_RESULTS && !page->durations; i++) {
        if (sample->counts[i] == 0)
            continue;
        labels[5].value = results[i];
        buf_reset(&page->labels);
        prom_labels(&page->labels, labels, ARRAY_LEN(labels));
        prom_u64(page->out, "prober_probe_total", buf_str(&page->labels), sample->counts[i], 0);
    }
    if (!page->durations || histogram_count(sample->seconds) == 0)
        return;
    buf_reset(&page->labels);
    prom_labels(&page->labels, labels, 4);
    prom_histogram(page->out, "prober_probe_duration_seconds", buf_str(&page->labels),
                   sample->seconds);
}

void probing_write(const struct agent *agent, struct buf *out)
{
    struct page page = {.agent = agent, .out = out, .labels = BUF_INIT(LABELS_MAX)};

    prom_family(out, "prober_probe_total", PROM_COUNTER,
                "Cumulative number of a liveness, readiness or startup probe for a container by "
                "result.");
    if (agent->prober)
        prober_each(agent->prober, write_sample, &page);
    prom_family(out, "prober_probe_duration_seconds", PROM_HISTOGRAM,
                "Duration in seconds for a probe response.");
    page.durations = true;
    if (agent->prober)
        prober_each(agent->prober, write_sample, &page);
    buf_free(&page.labels);
}

void probing_write_own(const struct agent *agent, struct buf *out)
{
    struct buf labels = BUF_INIT(LABELS_MAX);

    if (!agent->prober)
        return;
    const struct prober_stats *stats = prober_stats(agent->prober);
    prom_family(out, "unikubelet_probe_duration_seconds", PROM_HISTOGRAM,
                "From a probe's first packet to its answer, good or bad");
    for (int i = 0; i < _PROBE_MAX; i++) {
        const struct prom_label label = {"probe_type", probe_type_to_string((enum probe_type)i)};

        buf_reset(&labels);
        prom_labels(&labels, &label, 1);
        prom_histogram(out, "unikubelet_probe_duration_seconds", buf_str(&labels), &stats->took[i]);
    }
    prom_family(out, "unikubelet_probe_delay_seconds", PROM_HISTOGRAM,
                "From when a probe was due until its first packet");
    prom_histogram(out, "unikubelet_probe_delay_seconds", "", &stats->late);
    buf_free(&labels);
}
