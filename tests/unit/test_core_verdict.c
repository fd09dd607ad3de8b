/* What becomes of a Pod that the node ends: what is done (step.c) and what is reported (status.c),
 * from the verdict to the terminal status. */
#include "provider/core/status.h"

#include "core_fixture.h"

#define HOST_IP "192.0.2.2"

static const struct pod_verdict evicted = {
    .reason = "Evicted",
    .message = "The node was low on resource: memory. ",
    .disruption = true,
    .grace_ms = 1000,
    .since_ms = NOW_UNIX - 5000,
};

static const struct pod_verdict rejected = {
    .reason = "OutOfcpu", .message = "Pod was rejected: no cpu", .rejected = true};

static void running(struct fixture *f)
{
    observe_net_up(&f->obs, "10.88.0.5");
    observe_image_ready(&f->c, "sha256:aa");
    observe_starting(&f->c, "id");
    observe_running(&f->c, NOW_UNIX - 60000);
}

static size_t step(const struct fixture *f, struct action out[ACTIONS_MAX])
{
    uint64_t deadline_ms;

    return pod_step(&f->spec, &f->obs, NULL, &f->now, out, &deadline_ms);
}

static void evicted_pod_is_stopped_and_not_started_again(void **state)
{
    struct machine_exit exit = {.exit_code = 0};
    struct action out[ACTIONS_MAX];
    struct pod_status status;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    running(&f);
    f.obs.verdict = &evicted;
    assert_int_equal(step(&f, out), 1);
    assert_int_equal(out[0].kind, ACTION_STOP);
    assert_int_equal(out[0].grace_ms, 1000);
    /* Until its machine is gone the Pod is what it was. */
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.phase, PHASE_RUNNING);
    assert_null(status.reason);
    assert_null(status.verdict);

    f.c.stop_sent = true;
    f.c.stop_deadline_ms = NOW_MONO;
    assert_int_equal(step(&f, out), 1);
    assert_int_equal(out[0].kind, ACTION_KILL);
    f.c.kill_sent = true;
    observe_exit(&f.c, &f.container, &exit, &f.now);
    assert_true(pod_stopped_for_good(&f.spec, &f.obs));
    assert_int_equal(step(&f, out), 1);
    assert_int_equal(out[0].kind, ACTION_NET_DEL);
    observe_net_gone(&f.obs);
    assert_int_equal(step(&f, out), 0); /* restartPolicy Always starts nothing */

    /* Failed, although the guest ended with 0. */
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.phase, PHASE_FAILED);
    assert_string_equal(status.reason, "Evicted");
    assert_string_equal(status.message, "The node was low on resource: memory. ");
    assert_int_equal(status.containers_len, 1);
    assert_int_equal(status.containers[0].state, STATE_TERMINATED);
    assert_true(status.final);
    assert_string_equal(status.conditions[COND_READY].reason, "PodFailed");
}

static void evicted_before_it_ran(void **state)
{
    struct action out[ACTIONS_MAX];
    struct pod_status status;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.obs.verdict = &evicted;
    assert_int_equal(step(&f, out), 0);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.phase, PHASE_FAILED);
    assert_string_equal(status.containers[0].reason, "ContainerStatusUnknown");
}

static void rejected_pod_has_no_containers(void **state)
{
    struct action out[ACTIONS_MAX];
    struct pod_status status;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.obs.verdict = &rejected;
    assert_int_equal(step(&f, out), 0);
    pod_status(&f.spec, &f.obs, NULL, HOST_IP, &f.now, &status);
    assert_int_equal(status.phase, PHASE_FAILED);
    assert_string_equal(status.reason, "OutOfcpu");
    assert_int_equal(status.containers_len, 0);
    assert_int_equal(pod_status_delay_ms(&status), 0);
}

static void deletion_goes_before(void **state)
{
    struct action out[ACTIONS_MAX];
    struct fixture f;

    (void)state;
    fixture_init(&f);
    running(&f);
    f.obs.verdict = &evicted;
    f.spec.deletion_ms = NOW_UNIX;
    f.spec.deletion_grace_s = 0;
    assert_int_equal(step(&f, out), 1);
    assert_int_equal(out[0].kind, ACTION_KILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evicted_pod_is_stopped_and_not_started_again),
        cmocka_unit_test(evicted_before_it_ran),
        cmocka_unit_test(rejected_pod_has_no_containers),
        cmocka_unit_test(deletion_goes_before),
    };

    return cmocka_run_group_tests_name("core_verdict", tests, NULL, NULL);
}
