/* The one decision of the agent: from what the API wants and what is known of the host, the list of
 * what to do now. It keeps nothing between calls, so a lost, repeated or late event can only delay
 * it. Called by the reconciler for each dirty Pod, and by the simulation. Not for reporting, which
 * is status.c. */
#include "provider/core/step.h"

#include "base/str.h"
#include "provider/core/probe.h"
#include "provider/core/resize.h"

#include <assert.h>
#include <string.h>

struct plan {
    const struct pod_spec *spec;
    const struct pod_observed *obs;
    const struct now *now;
    struct action *out;
    size_t len;
    uint64_t deadline_ms;
};

static void add(struct plan *plan, struct action action)
{
    assert(plan->len < ACTIONS_MAX);
    plan->out[plan->len++] = action;
}

/* True when the time has come; else the step is called again then. */
static bool due(struct plan *plan, uint64_t at_ms)
{
    if (plan->now->mono_ms >= at_ms)
        return true;
    if (at_ms < plan->deadline_ms)
        plan->deadline_ms = at_ms;
    return false;
}

size_t pod_common_len(const struct pod_spec *spec, const struct pod_observed *obs)
{
    size_t len = pod_containers_len(spec);

    if (len > obs->containers_len)
        len = obs->containers_len;
    return len < POD_MACHINES_MAX ? len : POD_MACHINES_MAX;
}

/* Regular containers come first. */
static size_t regular_len(const struct pod_spec *spec, const struct pod_observed *obs)
{
    size_t len = pod_common_len(spec, obs);

    return len < spec->containers_len ? len : spec->containers_len;
}

static bool api_terminal(const struct pod_spec *spec)
{
    return spec->api_phase == PHASE_SUCCEEDED || spec->api_phase == PHASE_FAILED;
}

bool pod_ending(const struct pod_spec *spec, const struct pod_observed *obs)
{
    return obs->gone || spec->deletion_ms != 0;
}

bool pod_machines_gone(const struct pod_observed *obs)
{
    for (size_t i = 0; i < obs->containers_len; i++) {
        enum machine_state machine = obs->containers[i].machine;

        if (machine == MACHINE_STARTING || machine == MACHINE_RUNNING)
            return false;
    }
    return true;
}

static bool rule_matches(const struct restart_rule *rule, int32_t exit_code)
{
    bool found = false;

    for (size_t i = 0; i < rule->codes_len; i++)
        found = found || rule->codes[i] == exit_code;
    return found == (rule->op == RESTART_IN);
}

bool container_will_restart(const struct pod_spec *spec, size_t i, const struct machine_exit *exit)
{
    const struct container_spec *c = pod_container(spec, i);

    if (spec->deletion_ms != 0)
        return false;
    /* Of an init container only failures are repeated: after exit 0 it is the next one's turn. */
    if (pod_is_init(spec, i) && exit->exit_code == 0)
        return false;
    for (size_t r = 0; r < c->restart_rules_len; r++) {
        if (rule_matches(&c->restart_rules[r], exit->exit_code))
            return true;
    }
    switch (c->own_restart_policy ? c->restart_policy : spec->restart_policy) {
    case RESTART_ALWAYS:
        return true;
    case RESTART_ON_FAILURE:
        return exit->exit_code != 0 || exit->unhealthy;
    case RESTART_NEVER:
        break;
    }
    return false;
}

bool pod_past_deadline(const struct pod_spec *spec, const struct pod_observed *obs,
                       const struct now *now, uint64_t *ret_due_ms)
{
    int64_t passed_ms = now->unix_ms - obs->start_ms;
    int64_t deadline_s = spec->active_deadline_s < INT32_MAX ? spec->active_deadline_s : INT32_MAX;

    *ret_due_ms = DEADLINE_NONE;
    if (deadline_s <= 0 || obs->start_ms == 0)
        return false;
    if (passed_ms >= deadline_s * 1000)
        return true;
    /* A start in the future is another clock's. */
    *ret_due_ms = now->mono_ms + (uint64_t)(deadline_s * 1000 - (passed_ms > 0 ? passed_ms : 0));
    return false;
}

static bool is_image(const struct container_spec *container, uint64_t hash)
{
    return hash == 0 || hash == str_hash(container->image, strlen(container->image));
}

bool container_changed(const struct container_spec *container, const struct container_observed *c)
{
    return !is_image(container, c->running_hash);
}

bool container_replaced(const struct container_observed *c)
{
    return c->machine == MACHINE_EXITED && (c->stop_sent || c->kill_sent) && c->doom == DOOM_NONE;
}

enum doom container_doom(const struct container_spec *container, const struct container_observed *c)
{
    if (c->doom != DOOM_NONE)
        return c->doom;
    switch (probe_condemned(container, c)) {
    case PROBE_LIVENESS:
        return DOOM_LIVENESS;
    case PROBE_STARTUP:
        return DOOM_STARTUP;
    case PROBE_READINESS:
    case _PROBE_MAX:
        break;
    }
    return DOOM_NONE;
}

static bool is_done(const struct container_observed *c)
{
    return c->machine == MACHINE_EXITED && !c->again && !container_replaced(c) &&
           c->exit.exit_code == 0;
}

static bool has_begun(const struct container_observed *c)
{
    return !c->again && (c->machine != MACHINE_NONE || c->exit.valid || c->last.valid);
}

/* The last one that ever began tells: those before it are done, even if a record of them is lost.
 */
bool pod_find_init(const struct pod_spec *spec, const struct pod_observed *obs, size_t *ret)
{
    size_t len = pod_common_len(spec, obs), first = spec->containers_len, i;

    for (i = 0; i < len && i < first; i++) {
        if (has_begun(&obs->containers[i]))
            return false;
    }
    if (len <= first)
        return false;
    for (i = len; i > first && !has_begun(&obs->containers[i - 1]);)
        i--;
    /* i is the one after it. */
    if (i > first && !is_done(&obs->containers[i - 1]))
        i--;
    if (i < len)
        *ret = i;
    return i < len;
}

static bool ended_for_good(const struct pod_spec *spec, const struct pod_observed *obs, size_t i)
{
    const struct container_observed *c = &obs->containers[i];

    return c->machine == MACHINE_EXITED && !c->again && !container_replaced(c) &&
           !container_will_restart(spec, i, &c->exit);
}

bool pod_stopped_for_good(const struct pod_spec *spec, const struct pod_observed *obs)
{
    size_t len = regular_len(spec, obs), init;

    if (!pod_machines_gone(obs))
        return false;
    if (obs->stopped_for_good || obs->verdict || api_terminal(spec))
        return true;
    if (pod_find_init(spec, obs, &init))
        return ended_for_good(spec, obs, init);
    for (size_t i = 0; i < len; i++) {
        if (!ended_for_good(spec, obs, i))
            return false;
    }
    return len > 0;
}

void pod_sandbox_changed(const struct pod_spec *spec, struct pod_observed *obs)
{
    size_t len = pod_common_len(spec, obs);

    if (len <= spec->containers_len || spec->restart_policy == RESTART_NEVER || obs->verdict ||
        pod_ending(spec, obs) || api_terminal(spec) || pod_stopped_for_good(spec, obs))
        return;
    for (size_t i = 0; i < len; i++) {
        struct container_observed *c = &obs->containers[i];

        c->again = has_begun(c);
        if (c->again && pod_is_init(spec, i))
            c->crashes = 0; /* its good end was none */
    }
}

/* Whether a start is wanted at all, now or later. */
static bool wants_start(const struct plan *plan, size_t i)
{
    const struct container_observed *c = &plan->obs->containers[i];

    switch (c->machine) {
    case MACHINE_NONE:
    case MACHINE_FAILED:
        return true;
    case MACHINE_EXITED:
        return c->again || container_replaced(c) || container_will_restart(plan->spec, i, &c->exit);
    case MACHINE_STARTING:
    case MACHINE_RUNNING:
        break;
    }
    return false;
}

/* True when the image is there; asks for it otherwise. */
static bool need_image(struct plan *plan, size_t i)
{
    const struct container_observed *c = &plan->obs->containers[i];
    struct action pull = {.kind = ACTION_PULL, .container = (uint32_t)i};

    if (!is_image(pod_container(plan->spec, i), c->image_hash)) {
        add(plan, pull); /* what is known or under way is about the image before */
        return false;
    }
    switch (c->image) {
    case IMAGE_NEEDED:
        add(plan, pull);
        break;
    case IMAGE_FAILED:
        if (due(plan, c->image_retry_ms))
            add(plan, pull);
        break;
    case IMAGE_READY:
        return true;
    case IMAGE_PULLING:
        break;
    }
    return false;
}

/* The launch asks for what it needs itself; until the answer there is nothing to launch. */
static bool is_held(struct plan *plan, const struct container_observed *c)
{
    return c->prepare == PREPARE_ASKED ||
           (c->prepare == PREPARE_FAILED && !due(plan, c->prepare_retry_ms));
}

static bool need_network(struct plan *plan)
{
    struct action net_add = {.kind = ACTION_NET_ADD};

    switch (plan->obs->net) {
    case NET_NONE:
        add(plan, net_add);
        break;
    case NET_FAILED:
        if (due(plan, plan->obs->net_retry_ms))
            add(plan, net_add);
        break;
    case NET_UP:
        return true;
    case NET_DELETING:
        /* Left half made by an agent before: taken away first, and a failed try repeated. */
        if (plan->obs->net_retry_ms != 0 && due(plan, plan->obs->net_retry_ms))
            add(plan, (struct action){.kind = ACTION_NET_DEL});
        break;
    case NET_ADDING: /* the answer decides */
        break;
    }
    return false;
}

/* Grace in ms from what the API gives in seconds: none when it is negative. */
static int64_t grace_ms_of(int64_t grace_s)
{
    if (grace_s < 0)
        return 0;
    return (grace_s < INT32_MAX ? grace_s : INT32_MAX) * 1000;
}

/* A start that is still under way when the grace of a deletion is over: nobody answers there, a
 * shim that hangs for one. The API counts the grace in its own time, so it is never longer than
 * itself. */
static bool start_overdue(struct plan *plan, int64_t grace_ms)
{
    int64_t left_ms = plan->spec->deletion_ms - plan->now->unix_ms;

    if (plan->spec->deletion_ms == 0)
        return false;
    if (left_ms > grace_ms)
        left_ms = grace_ms;
    return left_ms <= 0 || due(plan, plan->now->mono_ms + (uint64_t)left_ms);
}

/* True while the hook before the stop still has its time, which counts in the grace. */
static bool pre_stopping(struct plan *plan, size_t i, int64_t grace_ms)
{
    const struct container_observed *c = &plan->obs->containers[i];
    bool shortened = plan->now->mono_ms + (uint64_t)grace_ms < c->stop_deadline_ms;

    if (!pod_container(plan->spec, i)->pre_stop || grace_ms == 0 || c->stop_sent ||
        c->pre_stop == HOOK_DONE)
        return false;
    if (c->pre_stop == HOOK_NONE || shortened) {
        add(plan, (struct action){
                      .kind = ACTION_PRE_STOP, .container = (uint32_t)i, .grace_ms = grace_ms});
        return true;
    }
    return !due(plan, c->stop_deadline_ms);
}

/* What the hook left of it. */
static int64_t grace_after_hook(const struct plan *plan, const struct container_observed *c,
                                int64_t grace_ms)
{
    int64_t left_ms = (int64_t)(c->stop_deadline_ms - plan->now->mono_ms);

    if (c->pre_stop == HOOK_NONE || c->stop_sent || grace_ms == 0)
        return grace_ms;
    if (left_ms > grace_ms)
        left_ms = grace_ms;
    return left_ms < GRACE_MS_MIN ? GRACE_MS_MIN : left_ms;
}

/* Ends a machine: politely within grace_ms, at once when that is 0. */
static void stop_container(struct plan *plan, size_t i, int64_t grace_ms)
{
    const struct container_observed *c = &plan->obs->containers[i];
    struct action kill = {.kind = ACTION_KILL, .container = (uint32_t)i};
    struct action stop = {.kind = ACTION_STOP, .container = (uint32_t)i, .grace_ms = grace_ms};
    uint64_t shortest_ms = plan->now->mono_ms + (uint64_t)grace_ms;

    if (c->kill_sent)
        return;
    if (c->machine == MACHINE_STARTING && (grace_ms == 0 || start_overdue(plan, grace_ms)))
        add(plan, kill);
    if (c->machine != MACHINE_RUNNING)
        return; /* a start is waited for: only a running guest can be asked to end */
    if (pre_stopping(plan, i, grace_ms))
        return;
    stop.grace_ms = grace_after_hook(plan, c, grace_ms);
    if (grace_ms == 0 || (c->stop_sent && plan->now->mono_ms >= c->stop_deadline_ms))
        add(plan, kill);
    else if (!c->stop_sent || shortest_ms < c->stop_deadline_ms)
        add(plan, stop); /* the second: a second DELETE shortened the grace */
    else
        (void)due(plan, c->stop_deadline_ms);
}

static void plan_stop(struct plan *plan, int64_t grace_ms)
{
    size_t len = pod_common_len(plan->spec, plan->obs);

    for (size_t i = 0; i < len; i++)
        stop_container(plan, i, grace_ms);
}

/* A probe that condemns a container may have a grace of its own. */
static int64_t run_grace_ms(const struct plan *plan, const struct container_spec *container,
                            enum doom doom)
{
    const struct probe_spec *probe = NULL;

    if (doom == DOOM_LIVENESS)
        probe = container->probes[PROBE_LIVENESS];
    else if (doom == DOOM_STARTUP)
        probe = container->probes[PROBE_STARTUP];
    return grace_ms_of(probe && probe->grace_s >= 0 ? probe->grace_s : plan->spec->grace_s);
}

/* Image and network in parallel, then the machine. */
static void run_container(struct plan *plan, size_t i)
{
    const struct container_observed *c = &plan->obs->containers[i];
    const struct container_spec *container = pod_container(plan->spec, i);
    bool changed = container_changed(container, c);
    enum doom doom = container_doom(container, c);
    enum resize_how resize = container_resize(container, c);
    bool image_ready, net_up;

    /* The kubelet lets an init container of the old image finish. */
    if ((changed && !pod_is_init(plan->spec, i)) || resize == RESIZE_BY_RESTART || c->stop_sent ||
        doom != DOOM_NONE)
        stop_container(plan, i, run_grace_ms(plan, container, doom));
    else if (resize == RESIZE_LIVE && due(plan, c->resize_retry_ms))
        add(plan, (struct action){.kind = ACTION_RESIZE, .container = (uint32_t)i});
    else if (c->machine == MACHINE_RUNNING && container->post_start && c->post_start == HOOK_NONE)
        add(plan, (struct action){.kind = ACTION_POST_START, .container = (uint32_t)i});
    /* A back-off is about one image: a new one may be the cure. */
    if (!wants_start(plan, i) || (!changed && !due(plan, c->restart_ms)))
        return;
    image_ready = need_image(plan, i);
    net_up = need_network(plan);
    if (image_ready && net_up && !is_held(plan, c))
        add(plan, (struct action){.kind = ACTION_LAUNCH,
                                  .container = (uint32_t)i,
                                  .attempt = c->attempt + (c->exit.valid ? 1 : 0)});
}

/* Init containers one after the other, each until it ends with 0, then the one that stays; Pods
 * with several of those are refused and never run one. */
static void plan_run(struct plan *plan)
{
    size_t i = 0;

    (void)pod_find_init(plan->spec, plan->obs, &i);
    if (i < pod_common_len(plan->spec, plan->obs))
        run_container(plan, i);
}

/* True when nothing of the network is left. */
static bool plan_net_down(struct plan *plan)
{
    struct action net_del = {.kind = ACTION_NET_DEL};

    switch (plan->obs->net) {
    case NET_UP:
    case NET_FAILED: /* whatever the failed ADD left behind */
        add(plan, net_del);
        break;
    case NET_DELETING:
        if (plan->obs->net_retry_ms != 0 && due(plan, plan->obs->net_retry_ms))
            add(plan, net_del);
        break;
    case NET_NONE:
        return true;
    case NET_ADDING: /* the answer is waited for */
        break;
    }
    return false;
}

/* Contract 3.6: stop, network, terminal status, host clean, final DELETE; in this order, so that
 * a Pod that is gone from the API has nothing left on the host. A crash of the agent after the
 * host was cleaned is safe: the API then holds the terminal status, which observe_init obeys. */
static void plan_end(struct plan *plan)
{
    const struct pod_observed *obs = plan->obs;

    if (!pod_machines_gone(obs)) {
        plan_stop(plan, obs->gone ? 0 : grace_ms_of(plan->spec->deletion_grace_s));
        return;
    }
    if (!plan_net_down(plan))
        return;
    if (!obs->gone && !obs->terminal_acked)
        return; /* the reconciler sends the terminal status */
    if (!obs->cleaned) {
        if (!obs->clean_sent)
            add(plan, (struct action){.kind = ACTION_CLEAN});
        return;
    }
    if (obs->gone)
        add(plan, (struct action){.kind = ACTION_FORGET});
    else if (obs->api_delete == API_DELETE_NONE && due(plan, obs->api_delete_retry_ms))
        add(plan, (struct action){.kind = ACTION_API_DELETE});
    /* API_DELETE_DONE and still there: finalizers hold it, nothing is left to do. */
}

size_t pod_step(const struct pod_spec *spec, const struct pod_observed *obs,
                const struct refusal *refusal, const struct now *now,
                struct action out[ACTIONS_MAX], uint64_t *ret_deadline_ms)
{
    struct plan plan = {
        .spec = spec, .obs = obs, .now = now, .out = out, .deadline_ms = DEADLINE_NONE};

    if (spec->features & PF_MIRROR) {
        /* The static Pod behind it is another agent's: only our memory of it can go. */
        if (obs->gone)
            add(&plan, (struct action){.kind = ACTION_FORGET});
    } else if (pod_ending(spec, obs)) {
        plan_end(&plan);
    } else if (pod_stopped_for_good(spec, obs)) {
        (void)plan_net_down(&plan);
    } else if (obs->verdict) {
        plan_stop(&plan, obs->verdict->grace_ms);
    } else if (obs->stopped_for_good || api_terminal(spec)) {
        /* Somebody else ended it, the Pod garbage collector for one. */
        plan_stop(&plan, grace_ms_of(spec->grace_s));
    } else if (!refusal || !refusal->reason) {
        plan_run(&plan);
    }
    *ret_deadline_ms = plan.deadline_ms;
    return plan.len;
}

const char *action_kind_to_string(enum action_kind kind)
{
    static const char *const names[] = {
        [ACTION_PULL] = "pull",         [ACTION_NET_ADD] = "net-add",
        [ACTION_LAUNCH] = "launch",     [ACTION_RESIZE] = "resize",
        [ACTION_STOP] = "stop",         [ACTION_KILL] = "kill",
        [ACTION_NET_DEL] = "net-del",   [ACTION_POST_START] = "post-start",
        [ACTION_PRE_STOP] = "pre-stop", [ACTION_CLEAN] = "clean",
        [ACTION_FORGET] = "forget",     [ACTION_API_DELETE] = "api-delete",
    };
    static_assert(sizeof(names) / sizeof(names[0]) == _ACTION_MAX, "a name for each action");

    return (unsigned)kind < _ACTION_MAX ? names[kind] : "?";
}
