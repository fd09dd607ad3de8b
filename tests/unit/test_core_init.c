/* Init containers: what is done next, the phase, and what each container's status says, for every
 * stage of a Pod with two of them (contract 3.3, 3.4, 3.7 and appendix B). */
#include "core_fixture.h"

#include "base/str.h"
#include "provider/core/status.h"

#define HOST_IP "192.0.2.2"

struct row {
    const char *rule;
    void (*set_up)(struct fixture *f);
    enum restart_policy restart;
    const char *actions; /* names with the container's number, joined by spaces */
    enum pod_phase phase;
    const char *states;      /* c, i1, i2: reason of waiting or terminated, or "running" */
    const char *incomplete;  /* the message of Initialized; NULL: it is True */
    const char *ready_inits; /* one letter each */
};

static void images(struct fixture *f)
{
    for (size_t i = 0; i < f->obs.containers_len; i++) {
        observe_image_pulling(&f->all[i], pod_container(&f->spec, i)->image);
        observe_image_ready(&f->all[i], "sha256:aa");
    }
    observe_net_up(&f->obs, "10.88.0.5");
}

static void nothing(struct fixture *f)
{
    (void)f;
}

static void run(struct fixture *f, size_t i)
{
    observe_starting(&f->all[i], "id");
    observe_running(&f->all[i], f->now.unix_ms);
}

static void first_runs(struct fixture *f)
{
    images(f);
    run(f, 1);
}

static void first_failed(struct fixture *f)
{
    images(f);
    fixture_exit_of(f, 1, 3, 1000);
}

static void first_loops(struct fixture *f)
{
    first_failed(f);
    fixture_exit_of(f, 1, 3, 1000);
}

static void first_starts_again(struct fixture *f)
{
    first_failed(f);
    observe_starting(&f->all[1], "id2");
}

static void first_runs_again(struct fixture *f)
{
    first_failed(f);
    run(f, 1);
}

static void first_done(struct fixture *f)
{
    images(f);
    fixture_exit_of(f, 1, 0, 1000);
}

static void second_pulls(struct fixture *f)
{
    first_done(f);
    f->all[2].image = IMAGE_PULLING;
}

static void second_pull_failed(struct fixture *f)
{
    first_done(f);
    observe_image_failed(&f->all[2], "ErrImagePull", "manifest unknown", &f->now);
}

static void both_done(struct fixture *f)
{
    first_done(f);
    fixture_exit_of(f, 2, 0, 1000);
}

static void main_starts(struct fixture *f)
{
    both_done(f);
    observe_starting(&f->all[0], "id");
}

static void main_runs(struct fixture *f)
{
    both_done(f);
    run(f, 0);
}

static void main_crashed(struct fixture *f)
{
    both_done(f);
    fixture_exit_of(f, 0, 1, 1000);
}

static void main_ended(struct fixture *f)
{
    both_done(f);
    fixture_exit_of(f, 0, 0, 1000);
}

/* A record was lost: only the machine that runs was found. */
static void only_main_known(struct fixture *f)
{
    images(f);
    run(f, 0);
}

/* The same while the second runs, or after it failed: the first must be done. */
static void only_second_known(struct fixture *f)
{
    images(f);
    run(f, 2);
}

static void only_second_failed(struct fixture *f)
{
    images(f);
    fixture_exit_of(f, 2, 1, 1000);
}

static void only_second_done(struct fixture *f)
{
    images(f);
    fixture_exit_of(f, 2, 0, 1000);
}

static void main_never_launched(struct fixture *f)
{
    main_starts(f);
    observe_never_started(&f->all[0]);
}

static void new_init_image(struct fixture *f)
{
    first_runs(f);
    f->inits[0].image = "reg/init:v2";
}

static void delete_it(struct fixture *f)
{
    f->spec.deletion_ms = NOW_UNIX + 30000;
    f->spec.deletion_grace_s = 30;
}

static void deleted_in_first(struct fixture *f)
{
    first_runs(f);
    delete_it(f);
}

static void deleted_after_first(struct fixture *f)
{
    first_runs(f);
    delete_it(f);
    f->all[1].stop_sent = true;
    observe_exit(&f->all[1], &f->inits[0], &(struct machine_exit){.exit_code = 137}, &f->now);
    observe_net_gone(&f->obs);
}

static void deleted_before_all(struct fixture *f)
{
    delete_it(f);
}

/* The host was started anew while the Pod ran. */
static void rebooted(struct fixture *f)
{
    images(f);
    for (size_t i = 1; i <= 2; i++) {
        run(f, i);
        observe_exit(&f->all[i], &f->inits[i - 1], &(struct machine_exit){0}, &f->now);
    }
    run(f, 0);
    observe_lost(&f->all[0], &f->container, &f->now);
    pod_sandbox_changed(&f->spec, &f->obs);
}

static void rebooted_and_first_runs(struct fixture *f)
{
    rebooted(f);
    run(f, 1);
}

static void rebooted_and_first_done(struct fixture *f)
{
    rebooted_and_first_runs(f);
    observe_exit(&f->all[1], &f->inits[0], &(struct machine_exit){0}, &f->now);
}

static void rebooted_and_first_failed(struct fixture *f)
{
    rebooted_and_first_runs(f);
    observe_exit(&f->all[1], &f->inits[0], &(struct machine_exit){.exit_code = 3}, &f->now);
}

static void rebooted_and_all_done(struct fixture *f)
{
    rebooted_and_first_done(f);
    run(f, 2);
    observe_exit(&f->all[2], &f->inits[1], &(struct machine_exit){0}, &f->now);
}

static void rebooted_and_well(struct fixture *f)
{
    rebooted_and_all_done(f);
    run(f, 0);
}

static void rebooted_when_done(struct fixture *f)
{
    rebooted_and_well(f);
    observe_exit(&f->all[0], &f->container, &(struct machine_exit){0}, &f->now);
    pod_sandbox_changed(&f->spec, &f->obs);
}

static const struct row rows[] = {
    {"the first one's image and the network", nothing, .actions = "pull/1 net-add",
     .states = "PodInitializing PodInitializing PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"the first is launched", images, .actions = "launch/1",
     .states = "PodInitializing PodInitializing PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"the first runs", first_runs, .actions = "",
     .states = "PodInitializing running PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"it failed and is repeated", first_failed, .actions = "launch/1",
     .states = "PodInitializing Error PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"OnFailure repeats it too", first_failed, .restart = RESTART_ON_FAILURE, .actions = "launch/1",
     .states = "PodInitializing Error PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"Never fails the Pod", first_failed, .restart = RESTART_NEVER, .actions = "net-del",
     .phase = PHASE_FAILED, .states = "PodInitializing Error PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"it fails again and again", first_loops, .actions = "",
     .states = "PodInitializing CrashLoopBackOff PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"it starts again", first_starts_again, .actions = "",
     .states = "PodInitializing PodInitializing PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"it runs again", first_runs_again, .restart = RESTART_ON_FAILURE, .actions = "",
     .states = "PodInitializing running PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"the second follows", first_done, .actions = "launch/2",
     .states = "PodInitializing Completed PodInitializing",
     .incomplete = "containers with incomplete status: [i2]", .ready_inits = "tf"},
    {"also with policy Never", first_done, .restart = RESTART_NEVER, .actions = "launch/2",
     .states = "PodInitializing Completed PodInitializing",
     .incomplete = "containers with incomplete status: [i2]", .ready_inits = "tf"},
    {"its pull is waited for", second_pulls, .actions = "",
     .states = "PodInitializing Completed PodInitializing",
     .incomplete = "containers with incomplete status: [i2]", .ready_inits = "tf"},
    {"and said when it fails", second_pull_failed, .actions = "",
     .states = "PodInitializing Completed ErrImagePull",
     .incomplete = "containers with incomplete status: [i2]", .ready_inits = "tf"},
    {"then the container", both_done, .actions = "launch/0",
     .states = "PodInitializing Completed Completed", .ready_inits = "tt"},
    {"it starts", main_starts, .actions = "", .states = "PodInitializing Completed Completed",
     .ready_inits = "tt"},
    {"a launch that never happened repeats no init container", main_never_launched,
     .actions = "launch/0", .states = "PodInitializing Completed Completed", .ready_inits = "tt"},
    {"it runs", main_runs, .actions = "", .phase = PHASE_RUNNING,
     .states = "running Completed Completed", .ready_inits = "tt"},
    {"it crashed: alone it starts again", main_crashed, .actions = "launch/0",
     .phase = PHASE_RUNNING, .states = "Error Completed Completed", .ready_inits = "tt"},
    {"it ended: Succeeded", main_ended, .restart = RESTART_NEVER, .actions = "net-del",
     .phase = PHASE_SUCCEEDED, .states = "Completed Completed Completed", .ready_inits = "tt"},
    {"it failed: Failed", main_crashed, .restart = RESTART_NEVER, .actions = "net-del",
     .phase = PHASE_FAILED, .states = "Error Completed Completed", .ready_inits = "tt"},
    {"what is forgotten is taken for done", only_main_known, .actions = "", .phase = PHASE_RUNNING,
     .states = "running Completed Completed", .ready_inits = "tt"},
    {"also while the second runs", only_second_known, .actions = "",
     .states = "PodInitializing Completed running",
     .incomplete = "containers with incomplete status: [i2]", .ready_inits = "tf"},
    {"and when it failed", only_second_failed, .actions = "launch/2",
     .states = "PodInitializing Completed Error",
     .incomplete = "containers with incomplete status: [i2]", .ready_inits = "tf"},
    {"and when it is done", only_second_done, .actions = "launch/0",
     .states = "PodInitializing Completed Completed", .ready_inits = "tt"},
    {"another image waits for the end of the running one", new_init_image, .actions = "",
     .states = "PodInitializing running PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"deleted while the first runs", deleted_in_first, .actions = "stop/1",
     .states = "PodInitializing running PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"and when it is down: Failed, the rest never ran", deleted_after_first, .actions = "",
     .phase = PHASE_FAILED, .states = "PodInitializing Error PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"after a restart of the host the first runs again", rebooted, .actions = "launch/1",
     .states = "PodInitializing PodInitializing PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"alone", rebooted_and_first_runs, .actions = "",
     .states = "PodInitializing running PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"then the second", rebooted_and_first_done, .actions = "launch/2",
     .states = "PodInitializing Completed PodInitializing",
     .incomplete = "containers with incomplete status: [i2]", .ready_inits = "tf"},
    {"then what stays", rebooted_and_all_done, .actions = "launch/0", .phase = PHASE_RUNNING,
     .states = "PodInitializing Completed Completed", .ready_inits = "tt"},
    {"and all is well", rebooted_and_well, .actions = "", .phase = PHASE_RUNNING,
     .states = "running Completed Completed", .ready_inits = "tt"},
    {"OnFailure: the API server takes back no good end of an init container",
     rebooted_and_first_runs, .restart = RESTART_ON_FAILURE, .actions = "",
     .states = "PodInitializing Completed Completed",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"but another end", rebooted_and_first_failed, .restart = RESTART_ON_FAILURE,
     .actions = "launch/1", .states = "PodInitializing Error Completed",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
    {"a Pod that is done stays so", rebooted_when_done, .restart = RESTART_ON_FAILURE,
     .actions = "net-del", .phase = PHASE_SUCCEEDED, .states = "Completed Completed Completed",
     .ready_inits = "tt"},
    {"with Never it has failed", rebooted, .restart = RESTART_NEVER, .actions = "net-del",
     .phase = PHASE_FAILED, .states = "ContainerStatusUnknown Completed Completed",
     .ready_inits = "tt"},
    {"deleted before the first", deleted_before_all, .actions = "", .phase = PHASE_FAILED,
     .states = "PodInitializing PodInitializing PodInitializing",
     .incomplete = "containers with incomplete status: [i1 i2]", .ready_inits = "ff"},
};

static void add_text(char *dst, size_t size, const char *text)
{
    size_t at = strlen(dst);

    str_fmt(dst + at, size - at, "%s%s", at ? " " : "", text);
}

static void actions_text(const struct fixture *f, char *dst, size_t size)
{
    struct action out[ACTIONS_MAX];
    uint64_t again;
    size_t len = pod_step(&f->spec, &f->obs, NULL, &f->now, out, &again);
    char one[32];

    dst[0] = '\0';
    for (size_t i = 0; i < len; i++) {
        bool pod_wide = out[i].kind == ACTION_NET_ADD || out[i].kind == ACTION_NET_DEL;

        if (pod_wide)
            add_text(dst, size, action_kind_to_string(out[i].kind));
        else
            add_text(dst, size,
                     str_fmt(one, sizeof(one), "%s/%u", action_kind_to_string(out[i].kind),
                             out[i].container));
    }
}

static void states_text(const struct pod_status *status, char *dst, size_t size)
{
    dst[0] = '\0';
    for (size_t i = 0; i < 3; i++) {
        const struct container_status *c = &status->containers[i];

        add_text(dst, size, c->state == STATE_RUNNING ? "running" : c->reason);
    }
}

static void check(const struct row *row)
{
    struct pod_status status;
    struct fixture f;
    char actions[256], states[256];

    fixture_init(&f);
    fixture_inits(&f, 2);
    f.spec.restart_policy = row->restart;
    row->set_up(&f);
    actions_text(&f, actions, sizeof(actions));
    assert_string_equal(actions, row->actions);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.containers_len, 1);
    assert_int_equal(status.inits_len, 2);
    assert_int_equal(status.phase, row->phase);
    states_text(&status, states, sizeof(states));
    assert_string_equal(states, row->states);
    assert_int_equal(status.conditions[COND_INITIALIZED].status, row->incomplete == NULL);
    assert_string_equal(status.conditions[COND_INITIALIZED].message,
                        row->incomplete ? row->incomplete : "");
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(status.containers[1 + i].ready, row->ready_inits[i] == 't');
    assert_int_equal(status.containers[0].ready, f.all[0].machine == MACHINE_RUNNING);
}

static void init_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        print_message("%s\n", rows[i].rule);
        check(&rows[i]);
    }
}

/* Each has its own count and back-off. */
static void counts_of_their_own(void **state)
{
    struct pod_status status;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    fixture_inits(&f, 2);
    first_loops(&f);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.containers[1].restart_count, 1);
    assert_int_equal(status.containers[2].restart_count, 0);
    assert_string_equal(status.containers[1].message,
                        "back-off 10s restarting failed container=i1 pod=web_default(u1)");
    assert_non_null(status.containers[1].last);
    assert_int_equal(status.containers[1].last->exit_code, 3);
}

/* The API's restartCount is a floor for each by itself. */
static void api_counts(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    fixture_inits(&f, 2);
    f.inits[1].api_restart_count = 4;
    observe_init(&f.obs, &f.spec, memset(f.all, 0, sizeof(f.all)), &f.now);
    assert_int_equal(f.all[0].attempt, 0);
    assert_int_equal(f.all[1].attempt, 0);
    assert_int_equal(f.all[2].attempt, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_table),
        cmocka_unit_test(counts_of_their_own),
        cmocka_unit_test(api_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
