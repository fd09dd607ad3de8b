/* What is reported of a Pod: phase, conditions and container states, with the kubelet's own words,
 * because people and controllers match on them (contract 3.3 to 3.5). Derived afresh from spec and
 * observation; only the conditions' transition times are remembered. Called by the reconciler after
 * each step. Not for writing JSON, which is k8s/codec. */
#include "provider/core/status.h"

#include "base/str.h"
#include "provider/core/probe.h"

#include <assert.h>
#include <string.h>

#define EXIT_UNKNOWN 137

/* Deleted before it ever ran: what the kubelet's TerminatePod writes for such a container. */
static const struct machine_exit never_ran = {
    .valid = true,
    .exit_code = EXIT_UNKNOWN,
    .reason = "ContainerStatusUnknown",
    .message = "The container could not be located when the pod was terminated",
};

static bool api_terminal(const struct pod_spec *spec)
{
    return spec->api_phase == PHASE_SUCCEEDED || spec->api_phase == PHASE_FAILED;
}

/* Taken down: what has not run by now never will. */
static bool taken_down(const struct pod_spec *spec, const struct pod_observed *obs)
{
    return pod_ending(spec, obs) && pod_machines_gone(obs);
}

/* The container is not running and will run again. */
static bool restarts(const struct pod_spec *spec, const struct pod_observed *obs, size_t i)
{
    const struct container_observed *c = &obs->containers[i];

    if (pod_ending(spec, obs) || obs->stopped_for_good || obs->verdict || api_terminal(spec))
        return false;
    return c->machine != MACHINE_EXITED || c->again || container_replaced(c) ||
           container_will_restart(spec, i, &c->exit);
}

/* getPhase's counters. */
struct census {
    size_t running, waiting, stopped, failed; /* regular containers */
    size_t init_pending;
    bool init_failed; /* for good */
    bool restart;     /* a stopped one will run again */
};

/* It is done, and nothing but that is known of it. */
static bool init_passed(const struct pod_spec *spec, const struct pod_observed *obs, size_t i)
{
    size_t init;

    return pod_is_init(spec, i) && obs->containers[i].machine == MACHINE_NONE &&
           (!pod_find_init(spec, obs, &init) || i < init);
}

static void count_init(const struct pod_spec *spec, const struct pod_observed *obs, size_t i,
                       struct census *census)
{
    const struct container_observed *c = &obs->containers[i];

    if (c->again) {
        census->init_pending++;
        return;
    }
    if ((c->machine == MACHINE_EXITED && c->exit.exit_code == 0) || init_passed(spec, obs, i))
        return;
    if (c->machine == MACHINE_EXITED && !restarts(spec, obs, i))
        census->init_failed = true;
    else if (c->machine == MACHINE_RUNNING || (c->machine != MACHINE_EXITED && !c->last.valid))
        census->init_pending++;
}

static void count_regular(const struct pod_spec *spec, const struct pod_observed *obs, size_t i,
                          struct census *census)
{
    const struct container_observed *c = &obs->containers[i];

    if (c->machine == MACHINE_RUNNING) {
        census->running++;
    } else if (c->machine == MACHINE_EXITED || c->last.valid) {
        census->stopped++;
        census->failed += (c->machine == MACHINE_EXITED ? c->exit : c->last).exit_code != 0;
        census->restart = census->restart || restarts(spec, obs, i);
    } else {
        census->waiting++;
    }
}

/* Whether an init container's turn has not passed: then init containers decide the phase. */
static bool initializing(const struct pod_spec *spec, const struct pod_observed *obs)
{
    size_t init;

    return pod_find_init(spec, obs, &init);
}

enum pod_phase pod_phase(const struct pod_spec *spec, const struct pod_observed *obs,
                         const struct refusal *refusal)
{
    size_t len = pod_common_len(spec, obs);
    struct census n = {0};

    (void)refusal; /* a refused Pod has nothing but waiting containers: Pending by the same rules */
    if (obs->verdict && pod_machines_gone(obs))
        return PHASE_FAILED;
    if (api_terminal(spec))
        return spec->api_phase;
    for (size_t i = 0; i < len; i++) {
        if (!pod_is_init(spec, i))
            count_regular(spec, obs, i, &n);
        else if (initializing(spec, obs))
            count_init(spec, obs, i, &n);
    }
    if (taken_down(spec, obs))
        return n.stopped > 0 && n.waiting == 0 && n.failed == 0 && n.init_pending == 0
                   ? PHASE_SUCCEEDED
                   : PHASE_FAILED;
    if (n.init_failed)
        return pod_machines_gone(obs) ? PHASE_FAILED : PHASE_PENDING;
    if (n.init_pending > 0 || n.waiting > 0)
        return PHASE_PENDING;
    if (n.running > 0)
        return PHASE_RUNNING;
    if (n.stopped == 0)
        return PHASE_PENDING;
    if (n.restart || !pod_machines_gone(obs))
        return PHASE_RUNNING;
    return n.failed == 0 ? PHASE_SUCCEEDED : PHASE_FAILED;
}

static void set_waiting(struct container_status *cs, const char *reason, const char *message)
{
    cs->state = STATE_WAITING;
    cs->reason = reason;
    str_copy(cs->message, sizeof(cs->message), message);
}

static void set_terminated(struct container_status *cs, const struct machine_exit *exit)
{
    cs->state = STATE_TERMINATED;
    cs->reason = exit->reason;
    cs->terminated = exit;
    str_copy(cs->message, sizeof(cs->message), exit->message);
}

/* Go's time.Duration for whole seconds below an hour: 10s, 1m20s, 5m0s. */
static void go_duration(char *dst, size_t size, uint64_t ms)
{
    unsigned seconds = (unsigned)(ms / 1000);

    if (seconds < 60)
        str_fmt(dst, size, "%us", seconds);
    else
        str_fmt(dst, size, "%um%us", seconds / 60, seconds % 60);
}

static bool crash_loops(const struct container_observed *c)
{
    return c->crashes > 1;
}

static void set_crash_loop(struct container_status *cs, const struct pod_spec *spec,
                           const struct container_observed *c)
{
    char wait[32];

    cs->state = STATE_WAITING;
    cs->reason = "CrashLoopBackOff";
    go_duration(wait, sizeof(wait), crash_backoff_ms(c));
    str_fmt(cs->message, sizeof(cs->message),
            "back-off %s restarting failed container=%s pod=%s_%s(%s)", wait, cs->spec->name,
            spec->name, spec->ns, spec->uid);
}

/* Reasons that the kubelet's image manager follows with ImagePullBackOff; the others stay. */
static bool image_backs_off(const char *reason)
{
    return strcmp(reason, "ErrImagePull") == 0 || strcmp(reason, "RegistryUnavailable") == 0 ||
           strcmp(reason, "SignatureValidationFailed") == 0;
}

/* The kubelet shows ErrImagePull after a failure and ImagePullBackOff from its next sync on. Told
 * apart without a clock: the first failure is ErrImagePull until the second try has failed too,
 * ImagePullBackOff from then on. A new try under way changes nothing until it has an answer. */
static void set_image_error(struct container_status *cs, const struct container_observed *c)
{
    const char *reason = c->image_reason[0] ? c->image_reason : "ErrImagePull";

    if (c->image_failures > 1 && image_backs_off(reason)) {
        cs->state = STATE_WAITING;
        cs->reason = "ImagePullBackOff";
        str_fmt(cs->message, sizeof(cs->message), "Back-off pulling image \"%s\": %s: %s",
                cs->spec->image, reason, c->image_error);
    } else if (strcmp(reason, "ErrImageNeverPull") == 0 && !c->image_error[0]) {
        cs->state = STATE_WAITING;
        cs->reason = c->image_reason;
        str_fmt(cs->message, sizeof(cs->message),
                "Container image \"%s\" is not present with pull policy of Never", cs->spec->image);
    } else {
        set_waiting(cs, reason, c->image_error);
    }
}

/* What the kubelet says of a container that nothing is wrong with. */
static const char *creating(const struct pod_spec *spec)
{
    return spec->init_containers_len > 0 ? "PodInitializing" : "ContainerCreating";
}

/* Not running, and it will be started: why not yet. */
static void set_not_yet(struct container_status *cs, const struct pod_spec *spec,
                        const struct pod_observed *obs, const struct container_observed *c,
                        const struct refusal *refusal)
{
    if (refusal && refusal->reason) {
        set_waiting(cs, refusal->reason, refusal->message);
    } else if (c->machine == MACHINE_STARTING) {
        set_waiting(cs, creating(spec), "");
    } else if (c->image_failures > 0 && c->image != IMAGE_READY) {
        set_image_error(cs, c);
    } else if (c->prepare == PREPARE_FAILED) {
        set_waiting(cs, c->start_reason[0] ? c->start_reason : "ContainerCreating", c->start_error);
    } else if (c->machine == MACHINE_FAILED) {
        set_waiting(cs, c->start_reason[0] ? c->start_reason : "CreateContainerError",
                    c->start_error);
    } else if (c->machine == MACHINE_EXITED && !c->again && crash_loops(c)) {
        set_crash_loop(cs, spec, c);
    } else if (c->again || container_replaced(c) ||
               (c->machine == MACHINE_EXITED && c->exit.unhealthy)) {
        /* Of a guest that ended well when a probe's failure made us ask for it, the API server
         * would not take it back (contract 3.2). */
        set_waiting(cs, creating(spec), "");
    } else if (c->machine == MACHINE_EXITED) {
        set_terminated(cs, &c->exit); /* restarted at once: the end says more than "creating" */
        return;
    } else {
        set_waiting(cs, creating(spec), "");
        if (obs->net == NET_FAILED)
            str_fmt(cs->message, sizeof(cs->message), "Failed to create pod sandbox: %s",
                    obs->net_error);
    }
    if (c->exit.valid)
        cs->last = &c->exit;
}

/* An init container whose turn has passed, and of which nothing is known any more. */
static const struct machine_exit forgotten_init = {
    .valid = true,
    .reason = "Completed",
    .message = "Unable to get init container status from container runtime and pod has been "
               "initialized, treat it as exited normally",
};

/* Nothing of it ever ran, nor will. What comes after an init container that never got
 * through goes on waiting, as with the kubelet (its TerminatePod). */
static void set_never_ran(struct container_status *cs, const struct pod_spec *spec,
                          const struct pod_observed *obs)
{
    size_t init;

    if (!pod_find_init(spec, obs, &init))
        set_terminated(cs, &never_ran);
    else
        set_waiting(cs, creating(spec), "");
}

/* It runs once more in a new sandbox. With policy OnFailure the API server takes no state of an
 * init container after its good end but another end. */
static const struct machine_exit *good_end(const struct pod_spec *spec, size_t i,
                                           const struct container_observed *c)
{
    if (!pod_is_init(spec, i) || spec->restart_policy != RESTART_ON_FAILURE)
        return NULL;
    if (c->machine == MACHINE_EXITED)
        return c->again && c->exit.exit_code == 0 ? &c->exit : NULL;
    return c->last.valid && c->last.exit_code == 0 ? &c->last : NULL;
}

static void container_status(const struct pod_spec *spec, const struct pod_observed *obs, size_t i,
                             const struct refusal *refusal, struct container_status *cs)
{
    const struct container_observed *c = &obs->containers[i];

    *cs = (struct container_status){
        .spec = pod_container(spec, i),
        .last = c->last.valid ? &c->last : NULL,
        .id = c->id,
        .image_digest = c->image_digest,
        .restart_count = c->attempt,
    };
    cs->resources =
        c->machine == MACHINE_RUNNING && c->actual_known ? &c->actual : &cs->spec->resources;
    if (good_end(spec, i, c)) {
        set_terminated(cs, good_end(spec, i, c));
        cs->id = cs->terminated->id;
        cs->last = NULL;
    } else if (c->machine == MACHINE_RUNNING) {
        cs->state = STATE_RUNNING;
        cs->started_ms = c->started_ms;
        cs->started = probe_started(cs->spec, c);
        cs->ready = !pod_is_init(spec, i) && probe_ready(cs->spec, c);
    } else if (pod_is_init(spec, i) && c->machine == MACHINE_EXITED && c->exit.exit_code == 0 &&
               !c->again && !container_replaced(c)) {
        set_terminated(cs, &c->exit);
        cs->ready = true;
    } else if (init_passed(spec, obs, i)) {
        set_terminated(cs, &forgotten_init);
        cs->ready = true;
    } else if (c->machine == MACHINE_STARTING || restarts(spec, obs, i)) {
        set_not_yet(cs, spec, obs, c, refusal);
    } else if (c->machine == MACHINE_EXITED) {
        set_terminated(cs, &c->exit);
    } else if (c->last.valid) {
        /* A later attempt never came to be: the last one that did is how it ended. */
        cs->last = NULL;
        set_terminated(cs, &c->last);
    } else if (pod_ending(spec, obs) && !taken_down(spec, obs)) {
        set_not_yet(cs, spec, obs, c, refusal);
    } else {
        set_never_ran(cs, spec, obs);
    }
}

/* "containers with unready status: [a b]": of those numbered from first to end. */
static void list_unready(char *dst, size_t size, const char *what, const struct pod_status *status,
                         size_t first, size_t end)
{
    size_t at;

    str_fmt(dst, size, "%s: [", what);
    for (size_t i = first, listed = 0; i < end; i++) {
        if (status->containers[i].ready)
            continue;
        at = strlen(dst);
        str_fmt(dst + at, size - at, "%s%s", listed++ ? " " : "", status->containers[i].spec->name);
    }
    at = strlen(dst);
    str_fmt(dst + at, size - at, "]");
}

/* Ready beyond ContainersReady: the conditions of others that the Pod waits for. */
static void check_gates(struct condition_status *cond, const struct pod_spec *spec)
{
    for (size_t i = 0; i < spec->readiness_gates_len; i++) {
        const struct readiness_gate *gate = &spec->readiness_gates[i];
        size_t at = strlen(cond->message);
        const char *comma = at ? ", " : "";

        if (gate->status && strcmp(gate->status, "True") == 0)
            continue;
        cond->status = false;
        cond->reason = "ReadinessGatesNotReady";
        if (!gate->status)
            str_fmt(cond->message + at, sizeof(cond->message) - at,
                    "%scorresponding condition of pod readiness gate \"%s\" does not exist.", comma,
                    gate->type);
        else
            str_fmt(cond->message + at, sizeof(cond->message) - at,
                    "%sthe status of pod readiness gate \"%s\" is not \"True\", but %s", comma,
                    gate->type, gate->status);
    }
}

static void set_ready(struct condition_status *cond, const struct pod_spec *spec,
                      const struct pod_status *status)
{
    bool ready = status->containers_len > 0 && status->containers_len == spec->containers_len;

    for (size_t i = 0; i < status->containers_len; i++)
        ready = ready && status->containers[i].ready;
    if (status->phase == PHASE_SUCCEEDED) {
        cond->reason = "PodCompleted";
    } else if (status->phase == PHASE_FAILED) {
        cond->reason = "PodFailed";
    } else if (ready) {
        cond->status = true;
        if (cond->type == COND_READY)
            check_gates(cond, spec);
    } else {
        cond->reason = "ContainersNotReady";
        list_unready(cond->message, sizeof(cond->message), "containers with unready status", status,
                     0, status->containers_len);
    }
}

/* Once a regular container was started it stays true, whatever becomes of that one. */
static void set_initialized(struct condition_status *cond, const struct pod_spec *spec,
                            const struct pod_observed *obs, const struct pod_status *status)
{
    cond->status = !initializing(spec, obs);
    if (!cond->status) {
        cond->reason = "ContainersNotInitialized";
        list_unready(cond->message, sizeof(cond->message), "containers with incomplete status",
                     status, status->containers_len, status->containers_len + status->inits_len);
    } else if (status->phase == PHASE_SUCCEEDED) {
        cond->reason = "PodCompleted";
    }
}

static void set_conditions(const struct pod_spec *spec, struct pod_observed *obs,
                           const struct now *now, struct pod_status *ret)
{
    bool torn_down = taken_down(spec, obs) || pod_stopped_for_good(spec, obs);

    for (int type = 0; type < _COND_MAX; type++) {
        struct condition_status *cond = &ret->conditions[type];
        struct condition_observed *seen = &obs->conditions[type];

        *cond = (struct condition_status){.type = (enum condition_type)type};
        switch (cond->type) {
        case COND_READY_TO_START:
            /* The terminal status takes it back already: one patch instead of two. */
            cond->status = obs->net == NET_UP && !torn_down;
            break;
        case COND_INITIALIZED:
            set_initialized(cond, spec, obs, ret);
            break;
        case COND_READY:
        case COND_CONTAINERS_READY:
            set_ready(cond, spec, ret);
            break;
        case COND_SCHEDULED:
            cond->status = true;
            break;
        case _COND_MAX:
            break;
        }
        if (!seen->known || seen->status != cond->status)
            *seen = (struct condition_observed){
                .known = true, .status = cond->status, .since_ms = now->unix_ms};
        cond->since_ms = seen->since_ms;
    }
}

static bool nothing_known(const struct pod_observed *obs)
{
    for (size_t i = 0; i < obs->containers_len; i++) {
        const struct container_observed *c = &obs->containers[i];

        if (c->machine != MACHINE_NONE || c->exit.valid || c->last.valid)
            return false;
    }
    return true;
}

/* Not before the end: until then the Pod is what it was, as the kubelet's status manager has it. */
static void set_verdict(const struct pod_observed *obs, struct pod_status *ret)
{
    if (!obs->verdict || !pod_machines_gone(obs))
        return;
    ret->verdict = obs->verdict;
    ret->reason = obs->verdict->reason;
    ret->message = obs->verdict->message;
    if (obs->verdict->rejected)
        ret->containers_len = ret->inits_len = 0;
}

void pod_status(const struct pod_spec *spec, struct pod_observed *obs,
                const struct refusal *refusal, const char *host_ip, const struct now *now,
                struct pod_status *ret)
{
    size_t len = pod_common_len(spec, obs);

    *ret = (struct pod_status){
        .phase = pod_phase(spec, obs, refusal),
        .host_ip = host_ip,
        .pod_ip = obs->pod_ip,
        .start_ms = obs->start_ms,
        .observed_generation = spec->generation,
        .keep_api = api_terminal(spec) && nothing_known(obs),
        .containers_len = len < spec->containers_len ? len : spec->containers_len,
    };
    ret->inits_len = len - ret->containers_len;
    ret->final =
        pod_machines_gone(obs) && (ret->phase == PHASE_SUCCEEDED || ret->phase == PHASE_FAILED);
    for (size_t i = 0; i < len; i++) {
        container_status(spec, obs, i, refusal, &ret->containers[i]);
        obs->containers[i].ready = ret->containers[i].ready;
    }
    set_conditions(spec, obs, now, ret);
    ret->resize = obs->resize;
    ret->resize_over = ret->phase == PHASE_SUCCEEDED || ret->phase == PHASE_FAILED;
    ret->keep_reason = api_terminal(spec) && !obs->verdict;
    set_verdict(obs, ret);
}

/* A state that the next step replaces in a moment, if all goes well. */
static bool passing(const struct container_status *cs)
{
    switch (cs->state) {
    case STATE_WAITING:
        return !cs->message[0] && (strcmp(cs->reason, "ContainerCreating") == 0 ||
                                   strcmp(cs->reason, "PodInitializing") == 0);
    case STATE_TERMINATED: /* and the Pod is not: restarted, or deleted in a moment */
        return true;
    case STATE_RUNNING:
        break;
    }
    return false;
}

uint32_t pod_status_delay_ms(const struct pod_status *status)
{
    if (status->phase == PHASE_SUCCEEDED || status->phase == PHASE_FAILED)
        return 0;
    for (size_t i = 0; i < status->containers_len + status->inits_len; i++) {
        if (!passing(&status->containers[i]))
            return 0;
    }
    return STATUS_COALESCE_MS;
}

const char *condition_type_to_string(enum condition_type type)
{
    static const char *const names[] = {
        [COND_READY_TO_START] = "PodReadyToStartContainers",
        [COND_INITIALIZED] = "Initialized",
        [COND_READY] = "Ready",
        [COND_CONTAINERS_READY] = "ContainersReady",
        [COND_SCHEDULED] = "PodScheduled",
    };
    static_assert(sizeof(names) / sizeof(names[0]) == _COND_MAX, "a name for each condition");

    return (unsigned)type < _COND_MAX ? names[type] : "?";
}
