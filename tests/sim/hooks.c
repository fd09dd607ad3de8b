/* Hooks of the simulated machines: asked of a running one at most, answered some time later, with
 * luck. Called through the world's table; what a hook does to a Pod is the agent's business. */
#include "tests/sim/sim.h"

static void hooked(struct sim *sim, const struct event *event)
{
    struct sim_machine *machine = &sim->machines[event->a];
    if (machine->held)
        reconcile_hooked(sim->agent, sim->pods[machine->pod].uid, machine->id,
                         (enum hook_type)event->b, sim_chance(sim, 30));
}

/* It may fail, or take longer than a grace. */
void hook_ask(void *world, struct pod *pod, uint32_t container, enum hook_type type)
{
    struct sim *sim = world;
    struct sim_machine *machine = host_machine(sim, pod->containers[container].id);
    if (!sim_op(sim, "hook", pod->spec->uid) || !machine)
        return;
    /* Its end may be on its way to the agent, which then knows no better. */
    if (machine->state != SIM_RUNNING &&
        (machine->state != SIM_ENDED || pod->containers[container].machine != MACHINE_RUNNING))
        sim_fail(sim, "%s: a hook of a machine that does not run", pod->spec->uid);
    if (type == HOOK_PRE_STOP) /* the first step of a stop: whatever it ends with was asked for */
        machine->asked = true;
    sim_after(sim, sim_random(sim, sim_chance(sim, 10) ? 60000 : 4000),
              (struct event){.fn = hooked,
                             .epoch = sim->epoch,
                             .a = (uint32_t)(machine - sim->machines),
                             .b = (uint32_t)type});
}
