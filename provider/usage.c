/* Gathers what all machines use. Called by endpoints_*.c. */
#include "provider/usage.h"

#include "base/str.h"
#include "provider/machines.h"

#include <stdlib.h>
#include <string.h>

struct gathering {
    struct usage *list;
    size_t len;
};

static void add(void *userdata, struct pod *pod)
{
    struct gathering *all = userdata;
    struct machine *m = pod->machine;
    const struct container_observed *c = &pod->containers[pod_active(pod)];

    if (!m || !m->instance || c->machine != MACHINE_RUNNING || str_empty(pod->spec->name))
        return;
    if (!m->stats)
        m->stats = xcalloc(1, sizeof(*m->stats));
    bool known = stats_sample(m->stats, m->instance, m->id, c->started_ms) == 0;
    all->list[all->len++] = (struct usage){.pod = pod,
                                           .container = pod_active(pod),
                                           .instance = m->instance,
                                           .stats = known ? m->stats : NULL};
}

static int compare(const void *a, const void *b)
{
    const struct pod_spec *x = ((const struct usage *)a)->pod->spec;
    const struct pod_spec *y = ((const struct usage *)b)->pod->spec;
    int order = strcmp(x->ns, y->ns);

    return order ? order : strcmp(x->name, y->name);
}

size_t usage_gather(struct agent *agent, struct usage **ret)
{
    struct gathering all = {.list =
                                xcalloc(reconcile_count(agent->reconcile) + 1, sizeof(*all.list))};

    reconcile_each(agent->reconcile, add, &all);
    qsort(all.list, all.len, sizeof(*all.list), compare);
    *ret = all.list;
    return all.len;
}

uint64_t usage_cpu_ns(const struct usage *usage)
{
    return usage->stats->cpu_ns ? usage->stats->cpu_ns : 1;
}

uint64_t usage_memory_bytes(const struct usage *usage)
{
    return usage->stats->working_set_bytes ? usage->stats->working_set_bytes : 1;
}
