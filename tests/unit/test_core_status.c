/* What is reported of a Pod: phase, container state and conditions, with the kubelet's exact words
 * (contract 3.3 to 3.5, appendix B), and when a status may wait for the next one. */
#include "core_fixture.h"

#include "provider/core/status.h"

#define HOST_IP "192.0.2.2"

static const struct refusal refusal = {
    .reason = "CreateContainerConfigError",
    .message = "spec.hostNetwork cannot be given to a machine.",
};

typedef void (*set_up)(struct fixture *f);

static void nothing(struct fixture *f)
{
    (void)f;
}

static void net_failed(struct fixture *f)
{
    observe_net_failed(&f->obs, "no CNI configuration in /etc/cni/net.d", &f->now);
}

static void pull_failed(struct fixture *f)
{
    observe_image_failed(&f->c, "ErrImagePull", "manifest unknown", &f->now);
}

static void pull_failed_again(struct fixture *f)
{
    pull_failed(f);
    observe_image_pulling(&f->c, f->container.image);
    pull_failed(f);
}

static void pull_third_time(struct fixture *f)
{
    pull_failed_again(f);
    observe_image_pulling(&f->c, f->container.image);
}

static void registry_gone_twice(struct fixture *f)
{
    observe_image_failed(&f->c, "RegistryUnavailable", "no route to host", &f->now);
    observe_image_failed(&f->c, "RegistryUnavailable", "no route to host", &f->now);
}

static void never_pull_twice(struct fixture *f)
{
    observe_image_failed(&f->c, "ErrImageNeverPull", "", &f->now);
    observe_image_failed(&f->c, "ErrImageNeverPull", "", &f->now);
}

static void launch_failed(struct fixture *f)
{
    observe_starting(&f->c, "id0");
    observe_start_failed(&f->c, "CreateContainerError", "no kernel in the image", true, &f->now);
}

static void ready_to_start(struct fixture *f)
{
    observe_image_ready(&f->c, "sha256:aa");
    observe_net_up(&f->obs, "10.88.0.5");
}

static void config_map_missing(struct fixture *f)
{
    ready_to_start(f);
    observe_preparing(&f->c);
    observe_prepare_failed(&f->c, "CreateContainerConfigError", "configmap \"x\" not found",
                           &f->now);
}

static void volume_missing(struct fixture *f)
{
    ready_to_start(f);
    observe_preparing(&f->c);
    observe_prepare_failed(&f->c, "", "MountVolume.SetUp failed", &f->now);
}

static void starting(struct fixture *f)
{
    ready_to_start(f);
    observe_starting(&f->c, "id0");
}

static void running(struct fixture *f)
{
    starting(f);
    observe_running(&f->c, NOW_UNIX - 1000);
}

static void crashed_once(struct fixture *f)
{
    ready_to_start(f);
    fixture_exit(f, 1, 1000);
}

static void crashed_twice(struct fixture *f)
{
    crashed_once(f);
    fixture_exit(f, 1, 1000);
}

static void crashed_five_times(struct fixture *f)
{
    for (int i = 0; i < 5; i++)
        crashed_once(f);
}

static void crashed_a_lot(struct fixture *f)
{
    for (int i = 0; i < 30; i++)
        crashed_once(f);
}

static void starting_again(struct fixture *f)
{
    crashed_twice(f);
    observe_starting(&f->c, "id2");
}

static void running_again(struct fixture *f)
{
    starting_again(f);
    observe_running(&f->c, NOW_UNIX);
}

static void crashed_twice_and_no_image(struct fixture *f)
{
    crashed_twice(f);
    pull_failed(f);
}

static void completed_always(struct fixture *f)
{
    ready_to_start(f);
    fixture_exit(f, 0, 1000);
}

static void stopped_for_new_image(struct fixture *f)
{
    f->spec.restart_policy = RESTART_NEVER;
    running(f);
    f->c.stop_sent = true;
    observe_exit(&f->c, &f->container, &(struct machine_exit){.exit_code = 1}, &f->now);
}

static void completed(struct fixture *f)
{
    f->spec.restart_policy = RESTART_ON_FAILURE;
    completed_always(f);
}

static void failed(struct fixture *f)
{
    f->spec.restart_policy = RESTART_NEVER;
    crashed_once(f);
}

static void set_deleted(struct fixture *f)
{
    f->spec.deletion_ms = NOW_UNIX + 30000;
    f->spec.deletion_grace_s = 30;
}

static void deleted_new(struct fixture *f)
{
    set_deleted(f);
}

static void deleted_starting(struct fixture *f)
{
    starting(f);
    set_deleted(f);
}

static void deleted_running(struct fixture *f)
{
    running(f);
    set_deleted(f);
}

static void deleted_ended_well(struct fixture *f)
{
    completed_always(f);
    set_deleted(f);
}

static void deleted_ended_badly(struct fixture *f)
{
    crashed_twice(f);
    set_deleted(f);
}

static void deleted_after_failed_relaunch(struct fixture *f)
{
    crashed_once(f);
    observe_starting(&f->c, "id1");
    observe_start_failed(&f->c, "CreateContainerError", "no space", false, &f->now);
    set_deleted(f);
}

static void deleted_after_good_end(struct fixture *f)
{
    completed_always(f);
    observe_starting(&f->c, "id1");
    observe_start_failed(&f->c, "CreateContainerError", "no space", false, &f->now);
    set_deleted(f);
}

static void api_says_succeeded(struct fixture *f)
{
    f->spec.api_phase = PHASE_SUCCEEDED;
    observe_init(&f->obs, &f->spec, &f->c, &f->now);
}

static void api_says_failed_but_runs(struct fixture *f)
{
    running(f);
    f->spec.api_phase = PHASE_FAILED;
}

static void lost(struct fixture *f)
{
    f->spec.restart_policy = RESTART_NEVER;
    running(f);
    observe_lost(&f->c, &f->container, &f->now);
}

#define BACKOFF(wait) "back-off " wait " restarting failed container=c pod=web_default(u1)"

struct row {
    const char *what;
    set_up set_up;
    bool refused;
    enum pod_phase phase;
    const char *state; /* "waiting Reason", "running", "terminated Reason code" */
    const char *message;
    uint32_t restarts;
    int last; /* exit code of lastState; -1: none */
    uint32_t delay_ms;
};

static const struct row rows[] = {
    {"just accepted", nothing, false, PHASE_PENDING, "waiting ContainerCreating", "", 0, -1, 100},
    {"refused", nothing, true, PHASE_PENDING, "waiting CreateContainerConfigError",
     "spec.hostNetwork cannot be given to a machine.", 0, -1, 0},
    {"no network", net_failed, false, PHASE_PENDING, "waiting ContainerCreating",
     "Failed to create pod sandbox: no CNI configuration in /etc/cni/net.d", 0, -1, 0},
    {"first pull failed", pull_failed, false, PHASE_PENDING, "waiting ErrImagePull",
     "manifest unknown", 0, -1, 0},
    {"second pull failed", pull_failed_again, false, PHASE_PENDING, "waiting ImagePullBackOff",
     "Back-off pulling image \"reg/app:v1\": ErrImagePull: manifest unknown", 0, -1, 0},
    {"third pull under way", pull_third_time, false, PHASE_PENDING, "waiting ImagePullBackOff",
     "Back-off pulling image \"reg/app:v1\": ErrImagePull: manifest unknown", 0, -1, 0},
    {"registry down", registry_gone_twice, false, PHASE_PENDING, "waiting ImagePullBackOff",
     "Back-off pulling image \"reg/app:v1\": RegistryUnavailable: no route to host", 0, -1, 0},
    {"policy Never without image", never_pull_twice, false, PHASE_PENDING,
     "waiting ErrImageNeverPull",
     "Container image \"reg/app:v1\" is not present with pull policy of Never", 0, -1, 0},
    {"a ConfigMap is missing", config_map_missing, false, PHASE_PENDING,
     "waiting CreateContainerConfigError", "configmap \"x\" not found", 0, -1, 0},
    {"a volume is missing", volume_missing, false, PHASE_PENDING, "waiting ContainerCreating",
     "MountVolume.SetUp failed", 0, -1, 0},
    {"launch failed", launch_failed, false, PHASE_PENDING, "waiting CreateContainerError",
     "no kernel in the image", 0, -1, 0},
    {"about to start", ready_to_start, false, PHASE_PENDING, "waiting ContainerCreating", "", 0, -1,
     100},
    {"starting", starting, false, PHASE_PENDING, "waiting ContainerCreating", "", 0, -1, 100},
    {"running", running, false, PHASE_RUNNING, "running", "", 0, -1, 0},

    {"first crash: restarted at once", crashed_once, false, PHASE_RUNNING, "terminated Error 1", "",
     0, -1, 100},
    {"second crash", crashed_twice, false, PHASE_RUNNING, "waiting CrashLoopBackOff",
     BACKOFF("10s"), 1, 1, 0},
    {"fifth crash", crashed_five_times, false, PHASE_RUNNING, "waiting CrashLoopBackOff",
     BACKOFF("1m20s"), 4, 1, 0},
    {"many crashes", crashed_a_lot, false, PHASE_RUNNING, "waiting CrashLoopBackOff",
     BACKOFF("5m0s"), 29, 1, 0},
    {"starting again", starting_again, false, PHASE_RUNNING, "waiting ContainerCreating", "", 2, 1,
     100},
    {"running again", running_again, false, PHASE_RUNNING, "running", "", 2, 1, 0},
    {"the image went away meanwhile", crashed_twice_and_no_image, false, PHASE_RUNNING,
     "waiting ErrImagePull", "manifest unknown", 1, 1, 0},
    {"stopped for a new image", stopped_for_new_image, false, PHASE_RUNNING,
     "waiting ContainerCreating", "", 0, 1, 100},
    {"exit 0 with policy Always", completed_always, false, PHASE_RUNNING, "terminated Completed 0",
     "", 0, -1, 100},

    {"completed", completed, false, PHASE_SUCCEEDED, "terminated Completed 0", "", 0, -1, 0},
    {"failed", failed, false, PHASE_FAILED, "terminated Error 1", "", 0, -1, 0},
    {"lost", lost, false, PHASE_FAILED, "terminated ContainerStatusUnknown 137",
     "The container could not be located when the pod was deleted.  "
     "The container used to be Running",
     0, -1, 0},

    {"deleted, never started", deleted_new, false, PHASE_FAILED,
     "terminated ContainerStatusUnknown 137",
     "The container could not be located when the pod was terminated", 0, -1, 0},
    {"refused and deleted", deleted_new, true, PHASE_FAILED,
     "terminated ContainerStatusUnknown 137",
     "The container could not be located when the pod was terminated", 0, -1, 0},
    {"deleted while starting", deleted_starting, false, PHASE_PENDING, "waiting ContainerCreating",
     "", 0, -1, 100},
    {"deleted, still running", deleted_running, false, PHASE_RUNNING, "running", "", 0, -1, 0},
    {"deleted, ended well", deleted_ended_well, false, PHASE_SUCCEEDED, "terminated Completed 0",
     "", 0, -1, 0},
    {"deleted, ended badly", deleted_ended_badly, false, PHASE_FAILED, "terminated Error 1", "", 1,
     1, 0},
    {"deleted after a launch that failed", deleted_after_failed_relaunch, false, PHASE_FAILED,
     "terminated Error 1", "", 1, -1, 0},
    {"the same after an end without error", deleted_after_good_end, false, PHASE_SUCCEEDED,
     "terminated Completed 0", "", 1, -1, 0},
    {"the API's terminal phase stays", api_says_succeeded, false, PHASE_SUCCEEDED,
     "terminated ContainerStatusUnknown 137",
     "The container could not be located when the pod was terminated", 0, -1, 0},
    {"even while it runs", api_says_failed_but_runs, false, PHASE_FAILED, "running", "", 0, -1, 0},
};

static void state_text(const struct container_status *cs, char *dst, size_t size)
{
    switch (cs->state) {
    case STATE_WAITING:
        snprintf(dst, size, "waiting %s", cs->reason);
        break;
    case STATE_RUNNING:
        snprintf(dst, size, "running");
        break;
    case STATE_TERMINATED:
        snprintf(dst, size, "terminated %s %d", cs->reason, cs->terminated->exit_code);
        break;
    }
}

static bool row_holds(const struct row *row)
{
    const struct refusal *refused = row->refused ? &refusal : NULL;
    struct fixture f;
    struct pod_status status;
    const struct container_status *cs = &status.containers[0];
    char state[128];
    int last;

    fixture_init(&f);
    row->set_up(&f);
    pod_status(&f.spec, &f.obs, refused, HOST_IP, &f.now, &status);
    state_text(cs, state, sizeof(state));
    last = cs->last ? cs->last->exit_code : -1;
    if (status.phase == row->phase && strcmp(state, row->state) == 0 &&
        strcmp(cs->message, row->message) == 0 && cs->restart_count == row->restarts &&
        last == row->last && pod_status_delay_ms(&status) == row->delay_ms)
        return true;
    print_error("%s: got %s, %s, \"%s\", restarts %u, last %d, delay %u\n", row->what,
                pod_phase_to_string(status.phase), state, cs->message, cs->restart_count, last,
                pod_status_delay_ms(&status));
    return false;
}

static void state_table(void **state)
{
    unsigned wrong = 0;

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++)
        wrong += !row_holds(&rows[i]);
    assert_int_equal(wrong, 0);
}

/* "type=True" or "type=False/reason/message", joined by spaces. */
static void conditions_text(const struct pod_status *status, char *dst, size_t size)
{
    dst[0] = '\0';
    for (int i = 0; i < _COND_MAX; i++) {
        const struct condition_status *cond = &status->conditions[i];
        size_t used = strlen(dst);

        snprintf(dst + used, size - used, "%s%s=%s%s%s%s%s", i ? " " : "",
                 condition_type_to_string(cond->type), cond->status ? "True" : "False",
                 cond->reason ? "/" : "", cond->reason ? cond->reason : "",
                 cond->message[0] ? "/" : "", cond->message);
    }
}

#define UNREADY "/ContainersNotReady/containers with unready status: [c]"

static void condition_table(void **state)
{
    static const struct {
        set_up set_up;
        const char *want;
    } cases[] = {
        {nothing, "PodReadyToStartContainers=False Initialized=True Ready=False" UNREADY
                  " ContainersReady=False" UNREADY " PodScheduled=True"},
        {ready_to_start, "PodReadyToStartContainers=True Initialized=True Ready=False" UNREADY
                         " ContainersReady=False" UNREADY " PodScheduled=True"},
        {running, "PodReadyToStartContainers=True Initialized=True Ready=True"
                  " ContainersReady=True PodScheduled=True"},
        {crashed_twice, "PodReadyToStartContainers=True Initialized=True Ready=False" UNREADY
                        " ContainersReady=False" UNREADY " PodScheduled=True"},
        {completed, "PodReadyToStartContainers=False Initialized=True/PodCompleted"
                    " Ready=False/PodCompleted ContainersReady=False/PodCompleted"
                    " PodScheduled=True"},
        {failed, "PodReadyToStartContainers=False Initialized=True Ready=False/PodFailed"
                 " ContainersReady=False/PodFailed PodScheduled=True"},
        {deleted_running, "PodReadyToStartContainers=True Initialized=True Ready=True"
                          " ContainersReady=True PodScheduled=True"},
        {deleted_ended_well, "PodReadyToStartContainers=False Initialized=True/PodCompleted"
                             " Ready=False/PodCompleted ContainersReady=False/PodCompleted"
                             " PodScheduled=True"},
        {api_says_failed_but_runs, "PodReadyToStartContainers=True Initialized=True"
                                   " Ready=False/PodFailed ContainersReady=False/PodFailed"
                                   " PodScheduled=True"},
    };
    struct pod_status status;
    struct fixture f;
    char got[1024];

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        fixture_init(&f);
        cases[i].set_up(&f);
        pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
        conditions_text(&status, got, sizeof(got));
        assert_string_equal(got, cases[i].want);
    }
}

/* Several containers are refused, and still listed by name. */
static void names_in_conditions(void **state)
{
    struct container_spec containers[2] = {{.name = "s", .image = "a"},
                                           {.name = "c", .image = "b"}};
    struct container_spec inits[2] = {{.name = "i", .image = "a"}, {.name = "j", .image = "b"}};
    struct pod_status status;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.spec.containers = containers;
    f.spec.containers_len = 2;
    f.spec.init_containers = inits;
    f.spec.init_containers_len = 2;
    observe_init(&f.obs, &f.spec, f.all, &f.now);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.containers_len, 2);
    assert_int_equal(status.inits_len, 2);
    assert_string_equal(status.containers[0].reason, "PodInitializing");
    assert_string_equal(status.conditions[COND_READY].message,
                        "containers with unready status: [s c]");
    assert_string_equal(status.conditions[COND_INITIALIZED].reason, "ContainersNotInitialized");
    assert_string_equal(status.conditions[COND_INITIALIZED].message,
                        "containers with incomplete status: [i j]");
}

static void transition_times(void **state)
{
    struct pod_status status;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.conditions[COND_READY].since_ms, NOW_UNIX);
    f.now.unix_ms += 5000;
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.conditions[COND_READY].since_ms, NOW_UNIX); /* nothing changed */
    running(&f);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.conditions[COND_READY].since_ms, NOW_UNIX + 5000);
    assert_int_equal(status.conditions[COND_INITIALIZED].since_ms, NOW_UNIX);
    assert_true(f.c.ready);
}

static void the_rest(void **state)
{
    struct pod_status status;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    running(&f);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_string_equal(status.host_ip, HOST_IP);
    assert_string_equal(status.pod_ip, "10.88.0.5");
    assert_int_equal(status.start_ms, NOW_UNIX);
    assert_int_equal(status.observed_generation, 3);
    assert_string_equal(status.containers[0].id, "id0");
    assert_string_equal(status.containers[0].image_digest, "sha256:aa");
    assert_int_equal(status.containers[0].started_ms, NOW_UNIX - 1000);
    assert_true(status.containers[0].started && status.containers[0].ready);
    assert_false(status.final);
    assert_false(status.keep_api);

    /* The address outlives the network, and the end is final. */
    fixture_exit(&f, 0, 1000);
    f.spec.deletion_ms = NOW_UNIX;
    observe_net_deleting(&f.obs);
    observe_net_gone(&f.obs);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_string_equal(status.pod_ip, "10.88.0.5");
    assert_true(status.final);

    /* Terminal and unknown here: what the API has is better than what we could say. */
    fixture_init(&f);
    f.spec.api_phase = PHASE_SUCCEEDED;
    f.spec.api_start_ms = 77000;
    observe_init(&f.obs, &f.spec, &f.c, &f.now);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_true(status.keep_api);
    assert_true(f.obs.terminal_acked);
    assert_int_equal(status.start_ms, 77000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_table),
        cmocka_unit_test(condition_table),
        cmocka_unit_test(names_in_conditions),
        cmocka_unit_test(transition_times),
        cmocka_unit_test(the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
