/* What users and fate do in a run, and what must be true when everything came to rest. */
#include "sim.h"

#include "base/str.h"

#include <stdio.h>
#include <string.h>

#define STORY_MS 100000
#define JUMP_MS_MAX (12 * 3600 * 1000)
#define DEEDS_MIN 5
#define DEEDS_MAX 40

static struct sim_pod *any_pod(struct sim *sim)
{
    return sim->pods_len ? &sim->pods[sim_random(sim, sim->pods_len)] : NULL;
}

static void kill_agent(struct sim *sim)
{
    if (!sim->agent)
        return;
    sim_trace(sim, "*** the agent is killed");
    sim->dying = true;
}

/* Somebody sets the node's clock, or it finds its time server. */
static void jump(struct sim *sim)
{
    sim->unix_offset_ms += (int64_t)sim_random(sim, 2 * JUMP_MS_MAX) - JUMP_MS_MAX;
    sim_trace(sim, "*** the clock jumps");
}

static void evict(struct sim *sim, struct sim_pod *pod)
{
    static const struct pod_verdict verdict = {.reason = "Evicted",
                                               .message = "The node was low on resource: memory. ",
                                               .disruption = true,
                                               .grace_ms = 1000,
                                               .since_ms = 1};
    if (!sim->agent || sim->dying || !reconcile_end(sim->agent, pod->uid, &verdict))
        return;
    sim_trace(sim, "*** %s is evicted", pod->uid);
    pod->evicted = true;
}

static void deed(struct sim *sim, const struct event *event)
{
    static const int64_t graces[] = {1, 2, 5, 30, 60};
    struct sim_pod *pod = any_pod(sim);
    char name[16];
    (void)event;
    if (sim->calm)
        return;
    str_fmt(name, sizeof(name), "p%u", sim->pods_len);
    switch (sim_random(sim, 16)) {
    case 0:
    case 1:
    case 2:
        (void)api_create(sim, name);
        break;
    case 3:
    case 4:
    case 5:
        if (pod)
            api_delete(sim, pod, graces[sim_random(sim, 5)]);
        break;
    case 6:
        if (pod)
            api_force_delete(sim, pod);
        break;
    case 7:
        if (pod)
            api_touch(sim, pod);
        break;
    case 8:
        if (pod)
            api_change_image(sim, pod);
        break;
    case 9:
        api_break_watch(sim);
        break;
    case 10:
        jump(sim);
        break;
    case 11:
        if (pod)
            evict(sim, pod);
        break;
    case 12:
    case 13:
        if (pod)
            resize_pod(sim, pod);
        break;
    default:
        kill_agent(sim);
        break;
    }
}

void story_begin(struct sim *sim)
{
    uint32_t pods = 1 + sim_random(sim, 5);
    uint32_t deeds = DEEDS_MIN + sim_random(sim, DEEDS_MAX - DEEDS_MIN);
    for (uint32_t i = 0; i < pods; i++) {
        char name[16];
        str_fmt(name, sizeof(name), "p%u", sim->pods_len);
        (void)api_create(sim, name);
    }
    for (uint32_t i = 0; i < deeds; i++)
        sim_after(sim, sim_random(sim, STORY_MS), (struct event){.fn = deed});
}

/* From now on nothing fails, no guest ends by itself, and every image is there. */
void story_calm(struct sim *sim)
{
    sim_trace(sim, "--- calm");
    sim->calm = true;
    sim->die_at_op = 0;
    for (uint32_t i = 0; i < sim->pods_len; i++)
        sim->pods[i].run_ms = 0;
}

static bool is_terminal(enum pod_phase phase)
{
    return phase == PHASE_SUCCEEDED || phase == PHASE_FAILED;
}

/* Nothing of it is on the host, not even what is only remembered. */
static void check_no_trace(struct sim *sim, const struct sim_pod *pod)
{
    if (!host_is_clean(sim, pod))
        sim_fail(sim, "%s: gone, but its machine or network is left", pod->uid);
    if (pod->record[0])
        sim_fail(sim, "%s: gone, but its record is left", pod->uid);
    for (uint32_t i = 0; i < sim->machines_len; i++) {
        if (sim->machines[i].pod == pod->api.index && !sim->machines[i].removed)
            sim_fail(sim, "%s: gone, but the directory of %s is left", pod->uid,
                     sim->machines[i].id);
    }
    if (reconcile_find_uid(sim->agent, pod->uid))
        sim_fail(sim, "%s: gone, but still in memory", pod->uid);
}

static void check_running(struct sim *sim, const struct sim_pod *pod)
{
    const struct sim_machine *machine = host_live_machine(sim, pod->api.index);
    char id[OBSERVED_ID_MAX + 16];
    if (pod->api.phase != PHASE_RUNNING || !pod->api.ready || !machine) {
        sim_fail(sim, "%s: %s and %sready with %s machine", pod->uid,
                 pod_phase_to_string(pod->api.phase), pod->api.ready ? "" : "not ",
                 machine ? "a" : "no");
        return;
    }
    if (machine->container != 0)
        sim_fail(sim, "%s: still at init container %u", pod->uid, machine->container);
    if (machine->image != pod->api.image && !pod->forgiven)
        sim_fail(sim, "%s: runs image %u instead of %u", pod->uid, machine->image, pod->api.image);
    resize_check(sim, pod, machine);
    str_fmt(id, sizeof(id), "unikernel://%s", machine->id);
    if (!str_eq(id, pod->api.container_id))
        sim_fail(sim, "%s: runs %s, reports %s", pod->uid, id, pod->api.container_id);
}

static void check_survivor(struct sim *sim, const struct sim_pod *pod)
{
    if (pod->api.deletion_ms) {
        if (!pod->api.finalizer)
            sim_fail(sim, "%s: deleted and still there", pod->uid);
        else if (!is_terminal(pod->api.phase) || !host_is_clean(sim, pod))
            sim_fail(sim, "%s: held by a finalizer and not taken down", pod->uid);
    } else if (pod->features) {
        if (pod->api.phase != PHASE_PENDING && !pod->evicted)
            sim_fail(sim, "%s: refused and %s", pod->uid, pod_phase_to_string(pod->api.phase));
    } else if (is_terminal(pod->api.phase)) {
        if (pod->restart_policy == RESTART_ALWAYS && !pod->evicted && !pod->api.late)
            sim_fail(sim, "%s: ended in spite of policy Always", pod->uid);
        if (!host_is_clean(sim, pod))
            sim_fail(sim, "%s: ended, and something of it is on the host", pod->uid);
    } else if (pod->deadline_s) {
        sim_fail(sim, "%s: %s long after its deadline", pod->uid,
                 pod_phase_to_string(pod->api.phase));
    } else {
        check_running(sim, pod);
    }
}

void story_check_survivors(struct sim *sim)
{
    size_t count = 0;
    if (!sim->agent) {
        sim_fail(sim, "no agent lives");
        return;
    }
    for (uint32_t i = 0; i < sim->pods_len; i++) {
        const struct sim_pod *pod = &sim->pods[i];
        count += pod->api.exists;
        if (pod->api.exists)
            check_survivor(sim, pod);
        else
            check_no_trace(sim, pod);
    }
    if (reconcile_count(sim->agent) != count)
        sim_fail(sim, "%zu Pods in memory, %zu in the API", reconcile_count(sim->agent), count);
}

void story_delete_all(struct sim *sim)
{
    sim_trace(sim, "--- all are deleted");
    for (uint32_t i = 0; i < sim->pods_len; i++) {
        api_drop_finalizer(sim, &sim->pods[i]);
        api_delete(sim, &sim->pods[i], 1 + sim_random(sim, 30));
    }
}

void story_check_empty(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->pods_len; i++) {
        const struct sim_pod *pod = &sim->pods[i];
        if (pod->api.exists)
            sim_fail(sim, "%s: still there at the end", pod->uid);
        check_no_trace(sim, pod);
    }
}
