/* The rules of resize.h. What a kubelet decides by asking its runtime is decided here by what is
 * known of every machine; its words are kept where it has some. Called once per version of a spec
 * that asks for another size, and again when room may have come free. */
#include "provider/core/resize.h"

#include "base/str.h"
#include "provider/core/quantity.h"
#include "provider/core/step.h"

#define MIB (1024 * 1024)

uint32_t resources_cpus(const struct resources *r)
{
    int64_t milli = r->cpu_limit_milli;
    int64_t cpus = milli / 1000 + (milli % 1000 > 0);

    if (cpus < 1)
        return 1;
    return cpus < UINT32_MAX ? (uint32_t)cpus : UINT32_MAX;
}

uint32_t resources_memory_mib(const struct resources *r)
{
    int64_t bytes = r->memory_limit_bytes > 0 ? r->memory_limit_bytes : r->memory_request_bytes;
    int64_t mib = bytes > 0 ? bytes / MIB + (bytes % MIB != 0) : 0;

    return mib < UINT32_MAX ? (uint32_t)mib : UINT32_MAX;
}

static bool cpu_differs(const struct resources *a, const struct resources *b)
{
    return a->cpu_request_milli != b->cpu_request_milli || a->cpu_limit_milli != b->cpu_limit_milli;
}

static bool memory_differs(const struct resources *a, const struct resources *b)
{
    return a->memory_request_bytes != b->memory_request_bytes ||
           a->memory_limit_bytes != b->memory_limit_bytes;
}

/* Ephemeral storage cannot be resized: the API server refuses that. */
static bool differs(const struct resources *a, const struct resources *b)
{
    return cpu_differs(a, b) || memory_differs(a, b);
}

bool pod_resize_wanted(const struct pod_spec *spec)
{
    for (size_t i = 0; i < pod_containers_len(spec); i++) {
        const struct container_spec *c = pod_container(spec, i);

        if (differs(&c->resources, &c->desired))
            return true;
    }
    return false;
}

/* Only what grows has to fit: a Pod may shrink on a Node that became too small for it. */
static enum resize_pending lacks(const char *what, int64_t has, int64_t wanted, int64_t others,
                                 int64_t most, char message[OBSERVED_VERDICT_MAX])
{
    if (wanted <= has)
        return RESIZE_NONE;
    if (wanted > most) {
        str_fmt(message, OBSERVED_VERDICT_MAX,
                "Node didn't have enough capacity: %s, requested: %lld, capacity: %lld", what,
                (long long)wanted, (long long)most);
        return RESIZE_INFEASIBLE;
    }
    if (wanted > most - others) {
        str_fmt(message, OBSERVED_VERDICT_MAX,
                "Node didn't have enough resource: %s, requested: %lld, used: %lld, capacity: %lld",
                what, (long long)wanted, (long long)others, (long long)most);
        return RESIZE_DEFERRED;
    }
    return RESIZE_NONE;
}

static bool is_live(const struct container_observed *c)
{
    return c->machine == MACHINE_STARTING || c->machine == MACHINE_RUNNING;
}

static uint32_t at_most(uint32_t cpus, uint32_t most)
{
    return most > 0 && cpus > most ? most : cpus;
}

/* A limit that no machine of this Node, or of this guest, could have. */
static bool bad_memory(const struct pod_spec *spec, size_t i, const struct resize_env *env,
                       char message[OBSERVED_VERDICT_MAX])
{
    const struct container_spec *c = pod_container(spec, i);
    uint32_t mib = resources_memory_mib(&c->desired);
    char most[QUANTITY_MAX];

    if (!memory_differs(&c->resources, &c->desired))
        return false;
    if (c->desired.memory_limit_bytes > env->allocatable.memory_bytes) {
        str_fmt(message, OBSERVED_VERDICT_MAX,
                "container %s: the memory limit is above what this node has to give, %s", c->name,
                quantity_bytes(most, env->allocatable.memory_bytes));
        return true;
    }
    if (env->host.guest_kind && mib > 0 && mib < env->host.memory_mib_min) {
        str_fmt(message, OBSERVED_VERDICT_MAX,
                "container %s: %u MiB are too few for a %s guest, which needs %u", c->name, mib,
                env->host.guest_kind, env->host.memory_mib_min);
        return true;
    }
    return false;
}

/* What a running machine would have to take without another start. */
static bool bad_machine(const struct pod_spec *spec, const struct container_observed *o, size_t i,
                        const struct resize_env *env, char message[OBSERVED_VERDICT_MAX])
{
    const struct container_spec *c = pod_container(spec, i);
    const struct resources *is = o->actual_known ? &o->actual : &c->resources;
    const char *kind = env->host.guest_kind ? env->host.guest_kind : "unikernel";
    uint32_t has = at_most(o->cpus ? o->cpus : resources_cpus(is), env->host.cpus_max);
    uint32_t wants = at_most(resources_cpus(&c->desired), env->host.cpus_max);

    if ((c->cpu_restarts && cpu_differs(is, &c->desired)) ||
        (c->memory_restarts && memory_differs(is, &c->desired)))
        return false;
    if (resources_memory_mib(is) != resources_memory_mib(&c->desired)) {
        str_fmt(message, OBSERVED_VERDICT_MAX,
                "container %s: the memory of a running %s guest cannot be changed from %u to %u "
                "MiB, its machine has no balloon and no hot-plug; create the Pod anew with that "
                "size, or with resizePolicy RestartContainer for memory",
                c->name, kind, resources_memory_mib(is), resources_memory_mib(&c->desired));
        return true;
    }
    if (wants > has) {
        str_fmt(message, OBSERVED_VERDICT_MAX,
                "container %s: a limit of %lldm needs %u CPUs and the running %s guest has %u, "
                "which is fixed at its start; stay at %u000m or less, or create the Pod anew with "
                "that size, or with resizePolicy RestartContainer for cpu",
                c->name, (long long)c->desired.cpu_limit_milli, wants, kind, has, has);
        return true;
    }
    return false;
}

enum resize_pending pod_resize_judge(const struct pod_spec *spec, const struct pod_observed *obs,
                                     const struct resize_env *env,
                                     char message[OBSERVED_VERDICT_MAX])
{
    struct amounts is = pod_requests(spec), wanted = pod_requests_desired(spec);
    size_t len = pod_common_len(spec, obs);
    enum resize_pending cpu, memory;
    char first[OBSERVED_VERDICT_MAX] = "";

    message[0] = '\0';
    for (size_t i = 0; i < len; i++) {
        const struct container_observed *o = &obs->containers[i];

        if (bad_memory(spec, i, env, message) ||
            (is_live(o) && bad_machine(spec, o, i, env, message)))
            return RESIZE_INFEASIBLE;
    }
    cpu = lacks("cpu", is.cpu_milli, wanted.cpu_milli, env->others.cpu_milli,
                env->allocatable.cpu_milli, first);
    memory = lacks("memory", is.memory_bytes, wanted.memory_bytes, env->others.memory_bytes,
                   env->allocatable.memory_bytes, message);
    if (memory > cpu)
        return memory;
    str_copy(message, OBSERVED_VERDICT_MAX, first);
    return cpu;
}

enum resize_how container_resize(const struct container_spec *container,
                                 const struct container_observed *c)
{
    const struct resources *to = &container->resources;
    bool cpu = cpu_differs(&c->actual, to), memory = memory_differs(&c->actual, to);

    if (c->machine != MACHINE_RUNNING || !c->actual_known || (!cpu && !memory))
        return RESIZE_NOTHING;
    if ((cpu && container->cpu_restarts) || (memory && container->memory_restarts) ||
        resources_memory_mib(&c->actual) != resources_memory_mib(to))
        return RESIZE_BY_RESTART;
    return RESIZE_LIVE;
}

bool pod_resizing(const struct pod_spec *spec, const struct pod_observed *obs)
{
    size_t len = pod_common_len(spec, obs);

    for (size_t i = 0; i < len; i++) {
        const struct container_observed *c = &obs->containers[i];

        if (container_resize(pod_container(spec, i), c) != RESIZE_NOTHING ||
            c->machine == MACHINE_STARTING || container_replaced(c))
            return true;
    }
    return false;
}
