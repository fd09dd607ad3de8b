/* The life of the simulated agent: it starts from what its predecessor saved and what the host
 * still holds, in the order of provider/restore.c; it is flushed once an event; it may be killed
 * at any action. */
#include "sim.h"

#include "base/str.h"

#include <errno.h>
#include <string.h>

#define RESTART_MS_MAX 8000
#define HOURS_MS_MAX (3 * 3600 * 1000) /* now and then nobody starts it again for hours */
#define FLUSHES_MAX 64                 /* in one turn; more is a busy loop */

static void start_later(struct sim *sim, const struct event *event)
{
    (void)event;
    if (!sim->agent)
        agent_start(sim);
}

static void restore_records(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->pods_len; i++) {
        struct sim_pod *pod = &sim->pods[i];
        if (!pod->record[0])
            continue;
        if (sim_chance(sim, 2)) {
            /* Truncated by a full disk, say: the state directory sets it aside. */
            sim_trace(sim, "the record of %s is destroyed", pod->uid);
            pod->record[0] = '\0';
            pod->forgiven = true;
            continue;
        }
        int result = reconcile_restore(sim->agent, pod->uid, pod->record, strlen(pod->record),
                                       pod->record_boot == sim->boot);
        if (result < 0)
            sim_fail(sim, "the agent cannot read its own record of %s", pod->uid);
    }
}

static bool is_found(void *userdata, const char *id)
{
    const struct sim_machine *machine = host_machine(userdata, id);
    return machine && !machine->removed;
}

static void restore_machines(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->machines_len; i++) {
        struct sim_machine *machine = &sim->machines[i];
        if (machine->removed)
            continue;
        const char *uid = sim->pods[machine->pod].uid;
        static const char *const names[CONTAINERS_MAX] = {"c", "i1", "i2"};
        reconcile_restore_bare(sim->agent, uid, names[machine->container], machine->id,
                               machine->attempt);
        const struct pod *pod = reconcile_find_uid(sim->agent, uid);
        size_t active = pod_active(pod);
        bool current = false;
        for (size_t k = 0; k < pod->obs.containers_len; k++)
            current = current || str_eq(pod->containers[k].id, machine->id);
        if (str_eq(pod->containers[active].id, machine->id) &&
            pod->containers[active].machine == MACHINE_STARTING) {
            host_adopt(sim, machine);
            continue;
        }
        if (machine->state == SIM_BOOTING || machine->state == SIM_RUNNING) {
            sim_trace(sim, "stray machine %s of %s is killed", machine->id, uid);
            host_kill(sim, machine);
        }
        if (!current)
            machine->removed = true;
    }
    reconcile_restored(sim->agent, is_found, sim);
}

static void restore_networks(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->pods_len; i++) {
        struct sim_pod *pod = &sim->pods[i];
        if (pod->net == SIM_NET_NONE)
            continue;
        reconcile_restore_bare(sim->agent, pod->uid, NULL, NULL, 0);
        if (pod->net == SIM_NET_UP)
            reconcile_net_added(sim->agent, pod->uid, 0, "10.0.0.9", NULL);
        else
            reconcile_net_partial(sim->agent, pod->uid);
    }
}

static void know_env(struct sim *sim, const struct event *event)
{
    (void)event;
    sim->env_known = true;
    reconcile_touch_all(sim->agent);
}

void agent_start(struct sim *sim)
{
    static const struct reconcile_config config = {.host_ip = "192.0.2.2"};
    host_ops(&sim->ops);
    api_ops(&sim->ops);
    sim->epoch++;
    sim->dying = false;
    sim->op_count = 0;
    sim->die_at_op = sim_chance(sim, 85) ? 1 + sim_random(sim, 120) : 0;
    sim->env_known = !sim_chance(sim, 30);
    for (uint32_t i = 0; i < sim->pods_len; i++)
        sim->pods[i].deletion_seen = false;
    sim_trace(sim, "=== agent %u starts, boot %u", sim->epoch, sim->boot);
    sim->agent = reconcile_new(&config, &sim->ops, sim);
    sim->wake_ms = sim->mono_ms;
    if (!sim->env_known)
        sim_after(sim, sim_random(sim, 5000), (struct event){.fn = know_env, .epoch = sim->epoch});
    restore_records(sim);
    restore_machines(sim);
    restore_networks(sim);
    api_list(sim);
}

void agent_flush(struct sim *sim)
{
    if (!sim->agent || sim->dying)
        return;
    uint64_t now = sim_now(sim).mono_ms;
    uint64_t deadline = now;
    for (unsigned i = 0; deadline <= now; i++) {
        if (i == FLUSHES_MAX) {
            sim_fail(sim, "the agent is busy for ever");
            return;
        }
        deadline = reconcile_flush(sim->agent);
        if (sim->dying)
            return;
    }
    sim->wake_ms = deadline == DEADLINE_NONE ? deadline : deadline + sim->boot_offset_ms;
}

void agent_reap(struct sim *sim)
{
    if (!sim->dying || !sim->agent)
        return;
    agent_free(sim);
    sim->crashes++;
    if (sim_chance(sim, 10))
        host_reboot(sim);
    uint32_t pause = sim_chance(sim, 5) ? HOURS_MS_MAX : RESTART_MS_MAX;
    sim_after(sim, 1 + sim_random(sim, pause), (struct event){.fn = start_later});
}

void agent_free(struct sim *sim)
{
    if (!sim->agent)
        return;
    sim->dying = true;
    reconcile_free(sim->agent);
    sim->agent = NULL;
    sim->dying = false;
    sim->watching = false;
    sim->stream++;
    for (uint32_t i = 0; i < sim->machines_len; i++)
        sim->machines[i].held = false, sim->machines[i].probing = 0;
}
