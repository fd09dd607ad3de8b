/* pod_step and pod_status against the rules that hold for every input: first on states drawn at
 * random, reachable or not, then on long sequences of random events, each answered as the world
 * might. Seeded: a failure names its seed. */
#include "core_fixture.h"

#include "base/str.h"
#include "provider/core/resize.h"
#include "provider/core/status.h"

#define STATES 100000
#define SEQUENCES 4000
#define EVENTS 60 /* of one sequence */

static uint64_t next(uint64_t *random)
{
    *random ^= *random >> 12;
    *random ^= *random << 25;
    *random ^= *random >> 27;
    return *random * 2685821657736338717u;
}

static uint32_t pick(uint64_t *random, uint32_t below)
{
    return (uint32_t)((next(random) >> 32) % below);
}

static bool one_in(uint64_t *random, uint32_t n)
{
    return pick(random, n) == 0;
}

/* Now, before, after, or long after. */
static uint64_t some_time(uint64_t *random)
{
    static const uint64_t times[] = {0, NOW_MONO - 1, NOW_MONO, NOW_MONO + 1, NOW_MONO + 300000};

    return times[pick(random, LEN(times))];
}

static void random_health(struct fixture *f, uint64_t *random)
{
    static const struct probe_spec probe = {.period_s = 1, .grace_s = 3};
    static const struct handler hook = {.kind = HANDLER_SLEEP};

    for (int type = 0; type < _PROBE_MAX; type++)
        f->container.probes[type] = one_in(random, 3) ? &probe : NULL;
    f->container.post_start = one_in(random, 3) ? &hook : NULL;
    f->container.pre_stop = one_in(random, 3) ? &hook : NULL;
}

static void random_spec(struct fixture *f, uint64_t *random)
{
    random_health(f, random);
    f->spec.restart_policy = (enum restart_policy)pick(random, 3);
    f->spec.api_phase = one_in(random, 4) ? (enum pod_phase)pick(random, 5) : PHASE_PENDING;
    f->spec.features = one_in(random, 20) ? PF_MIRROR : 0;
    if (one_in(random, 2)) {
        f->spec.deletion_ms = NOW_UNIX + 1000;
        f->spec.deletion_grace_s = (int64_t)pick(random, 40) - 1;
    }
    f->container.pull_policy = (enum pull_policy)pick(random, 3);
}

static void random_size(struct fixture *f, uint64_t *random)
{
    f->container.resources.cpu_limit_milli = 500 + 100 * (int64_t)pick(random, 2);
    f->container.resources.memory_limit_bytes = (64LL << 20) << pick(random, 2);
    f->container.memory_restarts = one_in(random, 2);
}

static void random_observation(struct fixture *f, uint64_t *random)
{
    f->c.actual_known = one_in(random, 2);
    f->c.actual = f->container.resources;
    if (one_in(random, 2))
        random_size(f, random);
    f->c.resize_retry_ms = some_time(random);
    f->c.image = (enum image_state)pick(random, 4);
    f->c.image_failures = pick(random, 3);
    f->c.image_retry_ms = some_time(random);
    f->c.machine = (enum machine_state)pick(random, 5);
    f->c.exit.valid = f->c.machine == MACHINE_EXITED;
    f->c.exit.exit_code = (int32_t)pick(random, 2);
    f->c.image_hash = pick(random, 2) ? str_hash("reg/app:v1", 10) : pick(random, 2);
    f->c.running_hash = pick(random, 2) ? str_hash("reg/app:v1", 10) : pick(random, 2);
    f->c.last.valid = one_in(random, 2);
    f->c.crashes = pick(random, 4);
    f->c.restart_ms = some_time(random);
    f->c.stop_sent = one_in(random, 2);
    f->c.stop_deadline_ms = some_time(random);
    f->c.kill_sent = one_in(random, 3);
    for (int type = 0; type < _PROBE_MAX; type++)
        f->c.probes[type] = (enum probe_result)pick(random, 3);
    f->c.post_start = (enum hook_state)pick(random, 3);
    f->c.pre_stop = (enum hook_state)pick(random, 3);
    f->c.doom = one_in(random, 3) ? (enum doom)pick(random, 4) : DOOM_NONE;
    f->obs.net = (enum net_state)pick(random, 5);
    f->obs.net_retry_ms = some_time(random);
    f->obs.gone = one_in(random, 4);
    f->obs.stopped_for_good = one_in(random, 4);
    f->obs.terminal_acked = one_in(random, 2);
    f->obs.clean_sent = one_in(random, 2);
    f->obs.cleaned = f->obs.clean_sent && one_in(random, 2);
    f->obs.api_delete = (enum api_delete_state)pick(random, 3);
    f->obs.api_delete_retry_ms = some_time(random);
}

static bool lives(const struct fixture *f)
{
    return f->c.machine == MACHINE_STARTING || f->c.machine == MACHINE_RUNNING;
}

/* What must hold of one action in this state; the text of the rule that is broken, or NULL. */
static const char *broken_rule(const struct fixture *f, const struct action *action, bool refused)
{
    bool ending = f->obs.gone || f->spec.deletion_ms;
    bool wanted = !ending && !refused && !f->obs.stopped_for_good &&
                  f->spec.api_phase != PHASE_SUCCEEDED && f->spec.api_phase != PHASE_FAILED;
    bool stops = !wanted || f->c.stop_sent || container_changed(&f->container, &f->c) ||
                 container_doom(&f->container, &f->c) != DOOM_NONE ||
                 container_resize(&f->container, &f->c) == RESIZE_BY_RESTART;
    bool runs = f->c.machine == MACHINE_RUNNING;
    const struct container_observed of_image = {.running_hash = f->c.image_hash};

    if (f->spec.features & PF_MIRROR)
        return action->kind == ACTION_FORGET && f->obs.gone ? NULL : "a mirror Pod is touched";
    switch (action->kind) {
    case ACTION_PULL:
    case ACTION_NET_ADD:
        return wanted ? NULL : "something is fetched for a Pod that will not run";
    case ACTION_LAUNCH:
        if (!wanted || lives(f))
            return "launched unwanted or twice";
        if (f->c.image_hash && container_changed(&f->container, &of_image))
            return "launched from the image before";
        return f->obs.net == NET_UP && f->c.image == IMAGE_READY ? NULL : "launched unprepared";
    case ACTION_RESIZE:
        return runs && !stops &&
                       f->c.actual.memory_limit_bytes == f->container.resources.memory_limit_bytes
                   ? NULL
                   : "odd resize";
    case ACTION_STOP:
        return runs && stops && action->grace_ms > 0 ? NULL : "odd stop";
    case ACTION_POST_START:
        return runs && !stops && f->c.post_start == HOOK_NONE ? NULL : "odd postStart";
    case ACTION_PRE_STOP:
        return runs && stops && !f->c.stop_sent && f->c.pre_stop != HOOK_DONE ? NULL
                                                                              : "odd preStop";
    case ACTION_KILL:
        return lives(f) && stops && !f->c.kill_sent ? NULL : "odd kill";
    case ACTION_NET_DEL:
        return lives(f) ? "network taken from a living machine" : NULL;
    case ACTION_CLEAN:
        return ending && !lives(f) && f->obs.net == NET_NONE && !f->obs.clean_sent ? NULL
                                                                                   : "odd clean";
    case ACTION_API_DELETE:
        return !f->obs.gone && f->spec.deletion_ms && f->obs.terminal_acked && f->obs.cleaned
                   ? NULL
                   : "odd DELETE";
    case ACTION_FORGET:
        return f->obs.gone && f->obs.cleaned ? NULL : "forgotten too early";
    case _ACTION_MAX:
        break;
    }
    return "no such action";
}

static size_t checked_step(const struct fixture *f, bool refused, uint64_t seed,
                           struct action out[ACTIONS_MAX], uint64_t *ret_again)
{
    static const struct refusal refusal = {.reason = "CreateContainerConfigError"};
    struct action second[ACTIONS_MAX];
    uint64_t again2;
    size_t len = pod_step(&f->spec, &f->obs, refused ? &refusal : NULL, &f->now, out, ret_again);
    size_t len2 = pod_step(&f->spec, &f->obs, refused ? &refusal : NULL, &f->now, second, &again2);

    if (len > ACTIONS_MAX || len != len2 || *ret_again != again2 || *ret_again <= f->now.mono_ms)
        fail_msg("seed %llu: two steps differ, or a deadline in the past",
                 (unsigned long long)seed);
    for (size_t i = 0; i < len; i++) {
        const char *rule = broken_rule(f, &out[i], refused);

        if (rule)
            fail_msg("seed %llu: %s", (unsigned long long)seed, rule);
        if (out[i].kind != second[i].kind)
            fail_msg("seed %llu: two steps differ", (unsigned long long)seed);
        for (size_t j = 0; j < i; j++) {
            if (out[i].kind == out[j].kind)
                fail_msg("seed %llu: the same twice", (unsigned long long)seed);
        }
    }
    return len;
}

static void check_status(struct fixture *f, uint64_t seed)
{
    struct pod_status status;
    const struct container_status *cs = &status.containers[0];
    bool terminal;

    pod_status(&f->spec, &f->obs, NULL, "192.0.2.2", &f->now, &status);
    terminal = status.phase == PHASE_SUCCEEDED || status.phase == PHASE_FAILED;
    if (status.containers_len != 1 || (cs->state == STATE_TERMINATED) != (cs->terminated != NULL) ||
        (cs->state == STATE_WAITING && !cs->reason) || (cs->ready && cs->state != STATE_RUNNING) ||
        (terminal && status.conditions[COND_READY].status) ||
        (status.conditions[COND_READY].status && !cs->ready) ||
        (terminal && lives(f) && status.phase != f->spec.api_phase) || (status.final && lives(f)))
        fail_msg("seed %llu: a status at odds with itself", (unsigned long long)seed);
}

static void any_state(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= STATES; seed++) {
        uint64_t random = seed * 0x9e3779b97f4a7c15u;
        struct action out[ACTIONS_MAX];
        uint64_t again;
        struct fixture f;

        fixture_init(&f);
        random_spec(&f, &random);
        random_observation(&f, &random);
        (void)checked_step(&f, one_in(&random, 5), seed, out, &again);
        check_status(&f, seed);
    }
}

/* ---- sequences ---- */

/* Carries an action out as the reconciler does; its answer is left to random_event. */
static void carry_out(struct fixture *f, const struct action *action, bool *forgotten)
{
    switch (action->kind) {
    case ACTION_PULL:
        observe_image_pulling(&f->c, f->container.image);
        break;
    case ACTION_NET_ADD:
        observe_net_adding(&f->obs);
        break;
    case ACTION_LAUNCH:
        observe_starting(&f->c, "id");
        f->c.actual = f->container.resources;
        f->c.actual_known = true;
        assert_int_equal(f->c.attempt, action->attempt);
        break;
    case ACTION_RESIZE:
        f->c.actual = f->container.resources;
        break;
    case ACTION_STOP:
        f->c.stop_sent = true;
        f->c.stop_deadline_ms = f->now.mono_ms + (uint64_t)action->grace_ms;
        break;
    case ACTION_POST_START:
        f->c.post_start = HOOK_RUNNING;
        break;
    case ACTION_PRE_STOP:
        f->c.pre_stop = HOOK_RUNNING;
        f->c.stop_deadline_ms = f->now.mono_ms + (uint64_t)action->grace_ms;
        break;
    case ACTION_KILL:
        f->c.kill_sent = true;
        break;
    case ACTION_NET_DEL:
        observe_net_deleting(&f->obs);
        break;
    case ACTION_API_DELETE:
        f->obs.api_delete = API_DELETE_SENT;
        break;
    case ACTION_CLEAN:
        f->obs.clean_sent = true;
        break;
    case ACTION_FORGET:
        *forgotten = true;
        break;
    case _ACTION_MAX:
        break;
    }
}

/* The answer to something that was asked for; good at least when calm. */
static bool answer(struct fixture *f, uint64_t *random, bool calm)
{
    bool fails = !calm && one_in(random, 3);
    struct machine_exit exit = {.exit_code = (int32_t)pick(random, 2)};

    if (f->c.image == IMAGE_PULLING) {
        if (fails)
            observe_image_failed(&f->c, "ErrImagePull", "x", &f->now);
        else
            observe_image_ready(&f->c, "sha256:aa");
    } else if (f->obs.net == NET_ADDING || f->obs.net == NET_DELETING) {
        if (fails)
            observe_net_failed(&f->obs, "x", &f->now);
        else if (f->obs.net == NET_ADDING)
            observe_net_up(&f->obs, "10.0.0.1");
        else
            observe_net_gone(&f->obs);
    } else if (f->c.machine == MACHINE_STARTING && !f->c.kill_sent) {
        if (fails)
            observe_start_failed(&f->c, "CreateContainerError", "x", one_in(random, 2), &f->now);
        else
            observe_running(&f->c, f->now.unix_ms);
    } else if (lives(f) && f->c.post_start == HOOK_RUNNING) {
        observe_hooked(&f->c, HOOK_POST_START, fails);
    } else if (lives(f) && f->c.pre_stop == HOOK_RUNNING && one_in(random, 2)) {
        observe_hooked(&f->c, HOOK_PRE_STOP, fails);
    } else if (f->c.machine == MACHINE_RUNNING && !calm && one_in(random, 8)) {
        (void)observe_probe(&f->c, (enum probe_type)pick(random, _PROBE_MAX),
                            (enum probe_result)(1 + pick(random, 2)));
    } else if (lives(f) && (f->c.kill_sent || (f->c.stop_sent && one_in(random, 2)))) {
        observe_exit(&f->c, &f->container, &exit, &f->now);
    } else if (f->obs.clean_sent && !f->obs.cleaned) {
        f->obs.cleaned = !fails;
        f->obs.clean_sent = !fails;
    } else if (f->obs.api_delete == API_DELETE_SENT) {
        f->obs.api_delete = fails ? API_DELETE_NONE : API_DELETE_DONE;
        f->obs.api_delete_retry_ms = f->now.mono_ms + 2000;
        f->obs.gone = !fails;
    } else if (f->spec.deletion_ms && !lives(f) && !f->obs.terminal_acked) {
        f->obs.terminal_acked = true;
    } else {
        return false;
    }
    return true;
}

static void random_event(struct fixture *f, uint64_t *random)
{
    struct machine_exit exit = {.exit_code = (int32_t)pick(random, 2)};

    switch (pick(random, 17)) {
    case 16:
        random_size(f, random);
        break;
    case 0:
        if (!f->spec.deletion_ms) {
            f->spec.deletion_ms = f->now.unix_ms + 30000;
            f->spec.deletion_grace_s = pick(random, 31);
        }
        break;
    case 1:
        f->spec.deletion_grace_s = f->spec.deletion_grace_s / 2; /* a second DELETE */
        break;
    case 2:
        f->obs.gone = f->obs.gone || one_in(random, 4); /* by force */
        break;
    case 3:
        observe_exit(&f->c, &f->container, &exit, &f->now);
        break;
    case 4:
        observe_lost(&f->c, &f->container, &f->now);
        break;
    case 5:
        f->container.image = one_in(random, 2) ? "reg/app:v1" : "reg/app:v2";
        break;
    case 6:
    case 7:
        f->now.mono_ms += pick(random, 20000);
        break;
    default:
        (void)answer(f, random, false);
        break;
    }
}

/* After a deletion and with a world that answers, nothing is left within a bounded number of steps.
 */
static void drain(struct fixture *f, uint64_t *random, uint64_t seed)
{
    bool forgotten = false;

    if (!f->spec.deletion_ms)
        f->spec.deletion_ms = f->now.unix_ms;
    for (int i = 0; i < 100 && !forgotten; i++) {
        struct action out[ACTIONS_MAX];
        uint64_t again;
        size_t len = checked_step(f, false, seed, out, &again);

        for (size_t j = 0; j < len; j++)
            carry_out(f, &out[j], &forgotten);
        if (answer(f, random, true) || len > 0)
            continue;
        if (again != DEADLINE_NONE)
            f->now.mono_ms = again;
    }
    if (!forgotten)
        fail_msg("seed %llu: the Pod is never forgotten", (unsigned long long)seed);
}

static void any_sequence(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEQUENCES; seed++) {
        uint64_t random = seed * 0x9e3779b97f4a7c15u;
        struct fixture f;
        bool forgotten = false;

        fixture_init(&f);
        random_health(&f, &random);
        f.spec.restart_policy = (enum restart_policy)pick(&random, 3);
        f.container.pull_policy = (enum pull_policy)pick(&random, 3);
        for (int i = 0; i < EVENTS && !forgotten; i++) {
            struct action out[ACTIONS_MAX];
            uint64_t again;
            size_t len = checked_step(&f, false, seed, out, &again);

            for (size_t j = 0; j < len; j++)
                carry_out(&f, &out[j], &forgotten);
            check_status(&f, seed);
            if (!forgotten)
                random_event(&f, &random);
        }
        if (!forgotten)
            drain(&f, &random, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_state),
        cmocka_unit_test(any_sequence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
