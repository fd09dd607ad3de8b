/* The simulated host: machines behind shims that outlive the agent, networks, images, and the state
 * directory. Each request is checked against what must never be asked. */
#include "sim.h"

#include "base/str.h"
#include "provider/core/probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define INIT_RUN_MS 5000 /* an init container always ends */

struct sim_machine *host_machine(struct sim *sim, const char *id)
{
    for (uint32_t i = 0; i < sim->machines_len; i++) {
        if (strcmp(sim->machines[i].id, id) == 0)
            return &sim->machines[i];
    }
    return NULL;
}

static bool is_live(const struct sim_machine *machine)
{
    return machine->state == SIM_BOOTING || machine->state == SIM_RUNNING;
}

struct sim_machine *host_live_machine(struct sim *sim, uint32_t pod)
{
    for (uint32_t i = 0; i < sim->machines_len; i++) {
        if (sim->machines[i].pod == pod && is_live(&sim->machines[i]))
            return &sim->machines[i];
    }
    return NULL;
}

bool host_is_clean(struct sim *sim, const struct sim_pod *pod)
{
    return !host_live_machine(sim, pod->api.index) && pod->net == SIM_NET_NONE;
}

static uint32_t machine_index(const struct sim *sim, const struct sim_machine *machine)
{
    return (uint32_t)(machine - sim->machines);
}

/* ---- images ---- */

static void pulled(struct sim *sim, const struct event *event)
{
    struct sim_pod *pod = &sim->pods[event->a];
    bool fails = !sim->calm && (pod->quality == SIM_IMAGE_BAD ||
                                (pod->quality == SIM_IMAGE_FLAKY && sim_chance(sim, 40)));
    if (event->b != pod->containers[event->c].pull)
        return;
    struct pull_result result = {
        .result = fails ? -EIO : 0,
        .digest = "sha256:aa",
        .name = "reg/app",
        .reason = "ErrImagePull",
        .error = "manifest unknown",
        .pulled = true,
    };
    if (!fails && event->c == 0)
        pod->pulled = (uint32_t)event->n;
    sim_trace(sim, "pulled %s: %s", pod->uid, fails ? "failed" : "good");
    reconcile_pulled(sim->agent, pod->uid, event->c, &result);
}

static void op_pull(void *world, struct pod *pod, uint32_t container)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    unsigned version = 0;
    if (!p || !sim_op(sim, "pull", p->uid))
        return;
    (void)sscanf(pod_container(pod->spec, container)->image, "reg/app:v%u", &version);
    sim_after(sim, sim_random(sim, sim_chance(sim, 5) ? 60000 : 2000),
              (struct event){.fn = pulled,
                             .epoch = sim->epoch,
                             .a = p->api.index,
                             .b = ++p->containers[container].pull,
                             .c = container,
                             .n = version});
}

/* ---- networks ---- */

static void net_added(struct sim *sim, const struct event *event)
{
    struct sim_pod *pod = &sim->pods[event->a];
    bool fails = sim_chance(sim, 8);
    pod->net = fails ? SIM_NET_PARTIAL : SIM_NET_UP;
    sim_trace(sim, "network of %s: %s", pod->uid, fails ? "failed" : "up");
    reconcile_net_added(sim->agent, pod->uid, fails ? -EIO : 0, "10.0.0.9", "no free address");
}

static void op_net_add(void *world, struct pod *pod)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    if (!p || !sim_op(sim, "net-add", p->uid))
        return;
    if (p->net == SIM_NET_UP)
        sim_fail(sim, "%s: a network is added where one is", p->uid);
    /* Until the answer is written down, another agent finds it half made. */
    p->net = SIM_NET_PARTIAL;
    sim_after(sim, sim_random(sim, 500),
              (struct event){.fn = net_added, .epoch = sim->epoch, .a = p->api.index});
}

static void net_deleted(struct sim *sim, const struct event *event)
{
    struct sim_pod *pod = &sim->pods[event->a];
    bool fails = sim_chance(sim, 8);
    if (!fails)
        pod->net = SIM_NET_NONE;
    sim_trace(sim, "network of %s: %s", pod->uid, fails ? "not removed" : "removed");
    reconcile_net_deleted(sim->agent, pod->uid, fails ? -EIO : 0, "busy");
}

static void op_net_del(void *world, struct pod *pod)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    if (!p || !sim_op(sim, "net-del", p->uid))
        return;
    if (host_live_machine(sim, p->api.index))
        sim_fail(sim, "%s: its network is taken from a living machine", p->uid);
    p->net = SIM_NET_PARTIAL;
    sim_after(sim, sim_random(sim, 300),
              (struct event){.fn = net_deleted, .epoch = sim->epoch, .a = p->api.index});
}

/* ---- machines ---- */

static void exit_told(struct sim *sim, const struct event *event)
{
    struct sim_machine *machine = &sim->machines[event->a];
    struct sim_pod *pod = &sim->pods[machine->pod];
    struct sim_container *c = &pod->containers[machine->container];
    if (!machine->held)
        return;
    machine->held = false;
    if (machine->lost) {
        sim_trace(sim, "%s of %s is lost", machine->id, pod->uid);
        c->ends += machine->state != SIM_ENDED && !machine->asked;
        c->last_exit = 137;
        reconcile_lost(sim->agent, pod->uid, machine->container, machine->id);
        return;
    }
    if (machine->state == SIM_FAILED) {
        sim_trace(sim, "%s of %s did not start", machine->id, pod->uid);
        reconcile_start_failed(sim->agent, pod->uid, machine->container, machine->id,
                               "RunContainerError", "the VMM did not start", pod->bad_kernel);
        return;
    }
    struct machine_exit exit = {
        .valid = true,
        .exit_code = machine->exit_code,
        .started_ms = machine->started_ms,
        .finished_ms = machine->finished_ms,
    };
    str_copy(exit.id, sizeof(exit.id), machine->id);
    sim_trace(sim, "%s of %s ended with %d", machine->id, pod->uid, machine->exit_code);
    reconcile_exited(sim->agent, pod->uid, machine->container, &exit);
}

/* The machine is over; whoever listens learns it a little later. */
static void tell_end(struct sim *sim, struct sim_machine *machine)
{
    machine->lost = machine->lost || sim_chance(sim, 3);
    if (machine->held)
        sim_after(
            sim, sim_random(sim, 50),
            (struct event){.fn = exit_told, .epoch = sim->epoch, .a = machine_index(sim, machine)});
}

static void end(struct sim *sim, const struct event *event)
{
    struct sim_machine *machine = &sim->machines[event->a];
    struct sim_container *c = &sim->pods[machine->pod].containers[machine->container];
    if (!is_live(machine))
        return;
    struct now now = sim_now(sim);
    machine->started_ms = machine->started_ms ? machine->started_ms : now.unix_ms;
    machine->finished_ms = now.unix_ms;
    machine->state = SIM_ENDED;
    machine->exit_code = (int32_t)event->n;
    c->ends += !machine->asked;
    c->last_exit = machine->exit_code;
    c->last_asked = machine->asked;
    tell_end(sim, machine);
}

static void end_after(struct sim *sim, const struct sim_machine *machine, uint32_t ms, int32_t code)
{
    sim_after(sim, ms, (struct event){.fn = end, .a = machine_index(sim, machine), .n = code});
}

static void boot(struct sim *sim, const struct event *event)
{
    struct sim_machine *machine = &sim->machines[event->a];
    struct sim_pod *pod = &sim->pods[machine->pod];
    if (machine->state != SIM_BOOTING)
        return;
    if ((pod->bad_kernel && !sim->calm) || sim_chance(sim, 4)) {
        machine->state = SIM_FAILED;
        tell_end(sim, machine);
        return;
    }
    machine->state = SIM_RUNNING;
    machine->started_ms = sim_now(sim).unix_ms;
    pod->containers[machine->container].started = true;
    if (machine->container > 0)
        end_after(sim, machine, 1 + sim_random(sim, INIT_RUN_MS), sim_chance(sim, 25) ? 1 : 0);
    else if (pod->run_ms)
        end_after(sim, machine, 1 + sim_random(sim, pod->run_ms), pod->exit_code);
    if (machine->held)
        reconcile_running(sim->agent, pod->uid, machine->container, machine->id,
                          machine->started_ms);
}

bool sim_will_restart(const struct sim_pod *pod, uint32_t container, int32_t exit_code)
{
    if (container > 0 && exit_code == 0)
        return false;
    if (container == 0 && pod->rule && exit_code == RULE_CODE)
        return true;
    return pod->restart_policy == RESTART_ALWAYS ||
           (pod->restart_policy == RESTART_ON_FAILURE && exit_code != 0);
}

static bool is_done(const struct sim_container *c)
{
    return c->started && c->last_exit == 0 && !c->last_asked && c->ends > 0;
}

/* Init containers come one after the other, and before what stays; none comes back. */
static void check_order(struct sim *sim, const struct sim_pod *p, uint32_t container)
{
    uint32_t end = container == 0 ? p->inits + 1 : container;
    for (uint32_t i = 1; i < end; i++) {
        if (!is_done(&p->containers[i]))
            sim_fail(sim, "%s: container %u is launched before %u is done", p->uid, container, i);
    }
    if (container > 0 && p->containers[0].started)
        sim_fail(sim, "%s: init container %u is launched after the Pod ran", p->uid, container);
}

/* A next attempt must be a new one, and the policy's will. */
static void check_attempt(struct sim *sim, const struct sim_pod *p, const struct pod *pod,
                          uint32_t container)
{
    const struct sim_container *c = &p->containers[container];
    for (uint32_t i = 0; i < sim->machines_len; i++) {
        const struct sim_machine *machine = &sim->machines[i];
        if (machine->pod == p->api.index && machine->container == container &&
            machine->state == SIM_ENDED && machine->attempt == pod->containers[container].attempt)
            sim_fail(sim, "%s: attempt %u of container %u twice", p->uid, machine->attempt,
                     container);
    }
    if (!c->last_asked && !sim_will_restart(p, container, c->last_exit))
        sim_fail(sim, "%s: container %u is started again after exit %d", p->uid, container,
                 c->last_exit);
}

/* What must be true when the agent starts a machine. */
static void check_launch(struct sim *sim, const struct sim_pod *p, const struct pod *pod,
                         uint32_t container, const char *id)
{
    if (host_live_machine(sim, p->api.index))
        sim_fail(sim, "%s: a second machine", p->uid);
    if (p->deletion_seen || pod->spec->deletion_ms || pod->obs.gone)
        sim_fail(sim, "%s: launched after its deletion was seen", p->uid);
    if (pod->origin != POD_FROM_API)
        sim_fail(sim, "%s: launched without the API's word", p->uid);
    if (p->features)
        sim_fail(sim, "%s: launched though refused", p->uid);
    if (p->net != SIM_NET_UP)
        sim_fail(sim, "%s: launched without network", p->uid);
    if (container == 0 && p->image_seen != p->pulled)
        sim_fail(sim, "%s: launched from image %u instead of %u", p->uid, p->pulled, p->image_seen);
    if (!strstr(p->record, id))
        sim_fail(sim, "%s: launched before it was written down", p->uid);
    if (p->api.phase == PHASE_SUCCEEDED || p->api.phase == PHASE_FAILED)
        sim_fail(sim, "%s: launched after its end was reported", p->uid);
    if (strstr(p->record, "\"verdict\""))
        sim_fail(sim, "%s: launched after the node ended it", p->uid);
    if (p->forgiven)
        return;
    check_order(sim, p, container);
    if (p->containers[container].ends > 0)
        check_attempt(sim, p, pod, container);
}

static void prepared(struct sim *sim, const struct event *event)
{
    struct sim_pod *pod = &sim->pods[event->a];
    bool fails = !sim->calm && sim_chance(sim, 30);
    sim_trace(sim, "prepared %s: %s", pod->uid, fails ? "failed" : "good");
    reconcile_prepared(sim->agent, pod->uid, event->c, fails ? -ENOENT : 0,
                       "CreateContainerConfigError", "configmap \"c\" not found");
    if (fails && sim_chance(sim, 50))
        reconcile_prepare_again(sim->agent, pod->uid);
}

static bool op_prepare(void *world, struct pod *pod, uint32_t container)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    if (!p || !sim_op(sim, "prepare", p->uid))
        return false;
    if (sim_chance(sim, 60))
        return true;
    sim_after(
        sim, sim_random(sim, 500),
        (struct event){.fn = prepared, .epoch = sim->epoch, .a = p->api.index, .c = container});
    return false;
}

static void launch_failed(struct sim *sim, const struct event *event)
{
    char id[OBSERVED_ID_MAX];
    str_fmt(id, sizeof(id), "m%u", event->b);
    reconcile_start_failed(sim->agent, sim->pods[event->a].uid, 0, id, "CreateContainerError",
                           "no space for its directory", false);
}

static void op_launch(void *world, struct pod *pod, uint32_t container, const char *id)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    if (!p || !sim_op(sim, "launch", p->uid))
        return;
    check_launch(sim, p, pod, container, id);
    if (sim_chance(sim, 3)) {
        sim_after(sim, 0,
                  (struct event){
                      .fn = launch_failed, .epoch = sim->epoch, .a = p->api.index, .b = sim->ids});
        return;
    }
    if (sim->machines_len == MACHINES_MAX) {
        sim_fail(sim, "%s: machines without end", p->uid);
        return;
    }
    struct sim_machine *machine = &sim->machines[sim->machines_len++];
    *machine = (struct sim_machine){
        .pod = p->api.index,
        .container = container,
        .attempt = pod->containers[container].attempt,
        .image = p->pulled,
        .held = true,
    };
    str_copy(machine->id, sizeof(machine->id), id);
    resize_launched(machine, pod);
    sim_after(sim, sim_random(sim, 400),
              (struct event){.fn = boot, .a = machine_index(sim, machine)});
}

static void adopted(struct sim *sim, const struct event *event)
{
    struct sim_machine *machine = &sim->machines[event->a];
    if (machine->state == SIM_RUNNING)
        reconcile_running(sim->agent, sim->pods[machine->pod].uid, machine->container, machine->id,
                          machine->started_ms);
    else if (machine->state != SIM_BOOTING)
        tell_end(sim, machine);
}

void host_adopt(struct sim *sim, struct sim_machine *machine)
{
    sim_trace(sim, "adopts %s of %s", machine->id, sim->pods[machine->pod].uid);
    machine->held = true;
    sim_after(sim, sim_random(sim, 100),
              (struct event){.fn = adopted, .epoch = sim->epoch, .a = machine_index(sim, machine)});
}

static struct sim_machine *held_machine(struct sim *sim, const struct pod *pod, uint32_t container)
{
    struct sim_machine *machine = host_machine(sim, pod->containers[container].id);
    return machine && machine->held ? machine : NULL;
}

static int op_stop(void *world, struct pod *pod, uint32_t container)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    struct sim_machine *machine = held_machine(sim, pod, container);
    if (!p || !sim_op(sim, "stop", p->uid))
        return -EIO;
    if (p->stop == SIM_STOP_NO_CHANNEL || !machine)
        return -ENOTSUP;
    machine->asked = true;
    if (p->stop == SIM_STOP_OBEYS)
        end_after(sim, machine, sim_random(sim, 3000), sim_random(sim, 2) ? 0 : 143);
    return 0;
}

void host_kill(struct sim *sim, struct sim_machine *machine)
{
    machine->asked = true;
    end_after(sim, machine, sim_random(sim, 50), 137);
}

static void op_kill(void *world, struct pod *pod, uint32_t container)
{
    struct sim *sim = world;
    struct sim_machine *machine = held_machine(sim, pod, container);
    if (sim_op(sim, "kill", pod->spec->uid) && machine)
        host_kill(sim, machine);
}

static void probed(struct sim *sim, const struct event *event)
{
    struct sim_machine *machine = &sim->machines[event->a];
    if (!machine->held) {
        machine->probing &= ~(1u << event->b);
        return;
    }
    /* Readiness flaps; the other two seldom fail, and never once all is calm. */
    bool bad = sim_chance(sim, event->b == PROBE_READINESS ? 40 : 5);
    reconcile_probed(sim->agent, sim->pods[machine->pod].uid, machine->id,
                     (enum probe_type)event->b, bad ? PROBE_FAILURE : PROBE_SUCCESS);
    if (sim->calm || event->b == PROBE_STARTUP)
        machine->probing &= ~(1u << event->b);
    else
        sim_after(sim, 1000 + sim_random(sim, 9000), *event);
}

/* What wants to be asked gets an answer some time later. */
static void op_look(void *world, struct pod *pod)
{
    struct sim *sim = world;
    if (sim->dying)
        return;
    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        const struct container_spec *container = pod_container(pod->spec, i);
        struct sim_machine *machine = host_machine(sim, pod->containers[i].id);
        for (uint32_t type = 0; machine && machine->held && type < _PROBE_MAX; type++) {
            bool quiet = sim->calm && pod->containers[i].probes[type] == PROBE_SUCCESS;
            if (quiet || (machine->probing & (1u << type)) ||
                !probe_wanted(pod->spec, container, &pod->obs, &pod->containers[i],
                              (enum probe_type)type))
                continue;
            machine->probing |= 1u << type;
            sim_after(sim, 1 + sim_random(sim, 5000),
                      (struct event){.fn = probed,
                                     .epoch = sim->epoch,
                                     .a = machine_index(sim, machine),
                                     .b = type});
        }
    }
}

static void op_put_away(void *world, struct pod *pod, uint32_t container, const char *id)
{
    struct sim *sim = world;
    (void)container;
    struct sim_machine *machine = host_machine(sim, id);
    if (!sim_op(sim, "put-away", pod->spec->uid) || !machine)
        return;
    if (is_live(machine))
        sim_fail(sim, "%s: a living machine is put away", pod->spec->uid);
    machine->removed = true;
}

static void cleaned(struct sim *sim, const struct event *event)
{
    struct sim_pod *pod = &sim->pods[event->a];
    bool fails = sim_chance(sim, 5);
    if (!fails)
        pod->cleaned = true;
    reconcile_cleaned(sim->agent, pod->uid, fails ? -EBUSY : 0);
}

static void op_clean(void *world, struct pod *pod)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    if (!p || !sim_op(sim, "clean", p->uid))
        return;
    if (!host_is_clean(sim, p))
        sim_fail(sim, "%s: cleaned while something of it is alive", p->uid);
    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        struct sim_machine *machine = host_machine(sim, pod->containers[i].id);
        if (machine)
            machine->removed = true;
    }
    sim_after(sim, sim_random(sim, 20),
              (struct event){.fn = cleaned, .epoch = sim->epoch, .a = p->api.index});
}

static void op_forget(void *world, struct pod *pod)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    if (!p || !sim_op(sim, "forget", p->uid))
        return;
    if (!(p->features & PF_MIRROR) && (!host_is_clean(sim, p) || p->record[0]))
        sim_fail(sim, "%s: forgotten while something of it is left", p->uid);
}

/* ---- state directory, time, names ---- */

static int op_save(void *world, const char *uid, const char *data, size_t len)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, uid);
    if (!p || !sim_op(sim, "save", uid))
        return -EIO;
    if (sim_chance(sim, 2))
        return -ENOSPC;
    if (len >= sizeof(p->record)) {
        sim_fail(sim, "%s: a record of %zu bytes", uid, len);
        return -ENOSPC;
    }
    memcpy(p->record, data, len);
    p->record[len] = '\0';
    p->record_boot = sim->boot;
    return 0;
}

static int op_unsave(void *world, const char *uid)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, uid);
    if (!p || !sim_op(sim, "unsave", uid))
        return -EIO;
    p->record[0] = '\0';
    return 0;
}

static struct now op_now(void *world)
{
    return sim_now(world);
}

static void op_new_id(void *world, char id[OBSERVED_ID_MAX])
{
    struct sim *sim = world;
    str_fmt(id, OBSERVED_ID_MAX, "m%u", ++sim->ids);
}

void host_ops(struct world_ops *ops)
{
    ops->now = op_now;
    ops->pull = op_pull;
    ops->net_add = op_net_add;
    ops->net_del = op_net_del;
    ops->prepare = op_prepare;
    ops->launch = op_launch;
    ops->stop = op_stop;
    ops->kill = op_kill;
    ops->hook = hook_ask;
    resize_ops(ops);
    ops->look = op_look;
    ops->put_away = op_put_away;
    ops->clean = op_clean;
    ops->forget = op_forget;
    ops->save = op_save;
    ops->unsave = op_unsave;
    ops->new_id = op_new_id;
}

/* Power loss: machines and their directories (in /run) are gone, networks perhaps known by halves,
 * records stay, and the monotonic clock starts at zero. */
void host_reboot(struct sim *sim)
{
    sim_trace(sim, "*** the host restarts");
    sim->boot++;
    sim->boot_offset_ms = sim->mono_ms;
    for (uint32_t i = 0; i < sim->machines_len; i++) {
        struct sim_machine *machine = &sim->machines[i];
        if (machine->removed)
            continue;
        if (is_live(machine))
            machine->state = SIM_ENDED;
        machine->removed = true;
    }
    for (uint32_t i = 0; i < sim->pods_len; i++) {
        /* A record says "starting" before the machine exists: then it may be lost or never was. */
        if (sim->pods[i].record[0])
            sim->pods[i].forgiven = true;
        if (sim->pods[i].net != SIM_NET_NONE)
            sim->pods[i].net = sim_chance(sim, 50) ? SIM_NET_NONE : SIM_NET_PARTIAL;
    }
}
