/* Users resize simulated Pods, and their machines keep what they were started with or given since.
 * In the end each runs with what is asked for, or its Pod says why not. Sizes are limits alone:
 * room on the node is the admission's story. */
#include "tests/sim/sim.h"

#include "base/json.h"
#include "base/str.h"

#include <errno.h>

#define MIB (1024 * 1024)

static const int64_t cpus[] = {500, 1000, 2500};
static const int64_t memories[] = {64 * MIB, 128 * MIB};

void resize_pod(struct sim *sim, struct sim_pod *pod)
{
    if (!pod->api.exists || pod->api.deletion_ms)
        return;
    pod->api.size.cpu_limit_milli = cpus[sim_random(sim, 3)];
    if (sim_random(sim, 2))
        pod->api.size.memory_limit_bytes = memories[sim_random(sim, 2)];
    pod->api.generation++;
    sim_trace(sim, "API: %s is resized to %lldm, %lld MiB", pod->uid,
              (long long)pod->api.size.cpu_limit_milli,
              (long long)pod->api.size.memory_limit_bytes / MIB);
    api_changed(sim, pod);
}

void resize_create(struct sim *sim, struct sim_pod *pod)
{
    pod->api.size = (struct resources){-1, cpus[sim_random(sim, 3)], -1, memories[0], -1, -1};
    if (pod->restart_policy == RESTART_NEVER)
        return; /* the API server refuses RestartContainer there */
    pod->cpu_restarts = sim_random(sim, 2);
    pod->memory_restarts = sim_random(sim, 2);
}

static int op_resize(void *world, struct pod *pod, uint32_t container,
                     char error[OBSERVED_TEXT_MAX])
{
    const struct resources *to = &pod_container(pod->spec, container)->resources;
    struct sim *sim = world;
    struct sim_machine *machine = host_machine(sim, pod->containers[container].id);
    if (!sim_op(sim, "resize", pod->spec->uid) || !machine)
        return -EIO;
    if (machine->size.memory_limit_bytes != to->memory_limit_bytes)
        sim_fail(sim, "%s: the memory of a running machine is changed", pod->spec->uid);
    if (to->cpu_limit_milli > 1000 && machine->cpu_most < to->cpu_limit_milli)
        sim_fail(sim, "%s: more CPU than its machine can use", pod->spec->uid);
    if (sim_chance(sim, 10)) {
        str_copy(error, OBSERVED_TEXT_MAX, "no such cgroup");
        return -EIO;
    }
    machine->size = *to;
    return 0;
}

void resize_launched(struct sim_machine *machine, const struct pod *pod)
{
    machine->size = pod_container(pod->spec, machine->container)->resources;
    machine->cpu_most = machine->size.cpu_limit_milli;
}

void resize_read(const struct json *condition, struct api_pod *ret)
{
    const char *type = json_get_string(condition, "type");
    bool there = json_get_string(condition, "status") != NULL;
    if (str_eq(type, "PodResizePending"))
        ret->resize_waits = there;
    else if (str_eq(type, "PodResizeInProgress"))
        ret->resize_runs = there;
}

void resize_check(struct sim *sim, const struct sim_pod *pod, const struct sim_machine *machine)
{
    const struct resources *is = &machine->size, *wanted = &pod->api.size;
    bool same = is->cpu_limit_milli == wanted->cpu_limit_milli &&
                is->memory_limit_bytes == wanted->memory_limit_bytes;
    if (pod->forgiven)
        return;
    if (pod->api.resize_runs)
        sim_fail(sim, "%s: its resize does not come to an end", pod->uid);
    if (same == pod->api.resize_waits)
        sim_fail(sim, "%s: %lldm and %lld bytes instead of %lldm and %lld, and a resize is %s",
                 pod->uid, (long long)is->cpu_limit_milli, (long long)is->memory_limit_bytes,
                 (long long)wanted->cpu_limit_milli, (long long)wanted->memory_limit_bytes,
                 pod->api.resize_waits ? "pending" : "not pending");
    if (pod->api.resize_waits && pod->cpu_restarts && pod->memory_restarts)
        sim_fail(sim, "%s: a resize waits that a restart could do", pod->uid);
}

void resize_ops(struct world_ops *ops)
{
    ops->resize = op_resize;
}
