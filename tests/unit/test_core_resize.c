/* Resizes in place, rule by rule: what can be given to a Pod, what that does to its machine, and
 * what is reported meanwhile. */
#include "core_fixture.h"

#include "base/str.h"
#include "provider/core/resize.h"
#include "provider/core/status.h"

#define MIB (1024 * 1024)
#define NO -1

/* cpu request and limit, memory request and limit in MiB */
static struct resources size_of(int64_t request, int64_t limit, int64_t memory_request,
                                int64_t memory_limit)
{
    return (struct resources){request,
                              limit,
                              memory_request < 0 ? -1 : memory_request * MIB,
                              memory_limit < 0 ? -1 : memory_limit * MIB,
                              -1,
                              -1};
}

struct row {
    const char *name;
    enum machine_state machine;
    int64_t from[4]; /* as size_of takes them */
    int64_t to[4];
    bool cpu_restarts, memory_restarts;
    uint32_t cpus; /* that it was started with; 0: as from says */
    int64_t others_cpu;
    enum resize_pending pending;
    const char *message;
    enum resize_how how; /* once it was given */
};

/* A node with 4 cores and 1 GiB; the guest is a unikraft of at least 16 MiB. */
static const struct row rows[] = {
    {"nothing else", MACHINE_RUNNING, {100, 500, 64, 64}, {100, 500, 64, 64}, .cpus = 1},
    {"more of the CPU that it has",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {200, 1000, 64, 64},
     .how = RESIZE_LIVE},
    {"less CPU", MACHINE_RUNNING, {100, 2500, 64, 64}, {100, 500, 64, 64}, .how = RESIZE_LIVE},
    {"back to what it was started with",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {100, 2500, 64, 64},
     .cpus = 3,
     .how = RESIZE_LIVE},
    {"more CPUs than it has",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {100, 1500, 64, 64},
     .pending = RESIZE_INFEASIBLE,
     .message = "container c: a limit of 1500m needs 2 CPUs and the running unikraft guest has 1, "
                "which is fixed at its start; stay at 1000m or less, or create the Pod anew with "
                "that size, or with resizePolicy RestartContainer for cpu"},
    {"more CPUs than it has, by another start",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {100, 1500, 64, 64},
     .cpu_restarts = true,
     .how = RESIZE_BY_RESTART},
    {"a policy for cpu restarts for any of it",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {200, 500, 64, 64},
     .cpu_restarts = true,
     .how = RESIZE_BY_RESTART},
    {"not beyond what the host has",
     MACHINE_RUNNING,
     {100, 4000, 64, 64},
     {100, 9000, 64, 64},
     .how = RESIZE_LIVE},
    {"more memory",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {100, 500, 64, 128},
     .pending = RESIZE_INFEASIBLE,
     .message = "container c: the memory of a running unikraft guest cannot be changed from 64 to "
                "128 MiB, its machine has no balloon and no hot-plug; create the Pod anew with "
                "that size, or with resizePolicy RestartContainer for memory"},
    {"less memory",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {100, 500, 32, 32},
     .pending = RESIZE_INFEASIBLE},
    {"more memory by another start",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {100, 500, 64, 128},
     .memory_restarts = true,
     .how = RESIZE_BY_RESTART},
    {"more memory on the way of a start for the CPU",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {200, 500, 64, 128},
     .cpu_restarts = true,
     .how = RESIZE_BY_RESTART},
    {"the request alone is the scheduler's",
     MACHINE_RUNNING,
     {100, 500, 32, 64},
     {100, 500, 64, 64},
     .how = RESIZE_LIVE},
    {"the request is the guest's size",
     MACHINE_RUNNING,
     {100, 500, 64, NO},
     {100, 500, 65, NO},
     .pending = RESIZE_INFEASIBLE},
    {"too little for such a guest",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {100, 500, 8, 8},
     .memory_restarts = true,
     .pending = RESIZE_INFEASIBLE,
     .message = "container c: 8 MiB are too few for a unikraft guest, which needs 16"},
    {"above all that the node has",
     MACHINE_RUNNING,
     {100, 500, 64, 64},
     {100, 500, 64, 2048},
     .memory_restarts = true,
     .pending = RESIZE_INFEASIBLE,
     .message = "container c: the memory limit is above what this node has to give, 1Gi"},
    {"requests above all that the node has",
     MACHINE_RUNNING,
     {100, NO, 64, 64},
     {5000, NO, 64, 64},
     .pending = RESIZE_INFEASIBLE,
     .message = "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"},
    {"no room now",
     MACHINE_RUNNING,
     {100, NO, 64, 64},
     {2000, NO, 64, 64},
     .others_cpu = 2500,
     .pending = RESIZE_DEFERRED,
     .message = "Node didn't have enough resource: cpu, requested: 2000, used: 2500, "
                "capacity: 4000"},
    {"what shrinks need not fit",
     MACHINE_RUNNING,
     {2000, NO, 64, 64},
     {1800, NO, 64, 64},
     .others_cpu = 2500,
     .how = RESIZE_LIVE},
    {"the CPUs of a starting machine are fixed too",
     MACHINE_STARTING,
     {100, 500, 64, 64},
     {100, 1500, 64, 64},
     .pending = RESIZE_INFEASIBLE},
    {"a starting one is waited for",
     MACHINE_STARTING,
     {100, 500, 64, 64},
     {100, 700, 64, 64},
     .how = RESIZE_NOTHING},
    {"what does not run takes it at its start",
     MACHINE_EXITED,
     {100, 500, 64, 64},
     {100, 3000, 64, 256},
     .how = RESIZE_NOTHING},
    {"the same before the first start",
     MACHINE_NONE,
     {100, 500, 64, 64},
     {100, 3000, 64, 256},
     .how = RESIZE_NOTHING},
};

static void resize_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        const struct row *row = &rows[i];
        struct resize_env env = {.allocatable = {4000, 1024LL * MIB, 0, 110},
                                 .others = {.cpu_milli = row->others_cpu},
                                 .host = {"unikraft", 16, 4}};
        char message[OBSERVED_VERDICT_MAX];
        struct fixture f;
        fixture_init(&f);
        f.container.resources = size_of(row->from[0], row->from[1], row->from[2], row->from[3]);
        f.container.desired = size_of(row->to[0], row->to[1], row->to[2], row->to[3]);
        f.container.cpu_restarts = row->cpu_restarts;
        f.container.memory_restarts = row->memory_restarts;
        f.c.machine = row->machine;
        f.c.actual = f.container.resources;
        f.c.actual_known = true;
        f.c.cpus = row->cpus ? row->cpus : resources_cpus(&f.c.actual);
        print_message("%s\n", row->name);
        assert_int_equal(pod_resize_judge(&f.spec, &f.obs, &env, message), row->pending);
        if (row->message)
            assert_string_equal(message, row->message);
        assert_int_equal(container_resize(&f.container, &f.c), RESIZE_NOTHING);
        assert_int_equal(pod_resize_wanted(&f.spec), i > 0);
        if (row->pending != RESIZE_NONE)
            continue;
        f.container.resources = f.container.desired;
        assert_int_equal(container_resize(&f.container, &f.c), row->how);
        assert_int_equal(pod_resizing(&f.spec, &f.obs),
                         row->how != RESIZE_NOTHING || row->machine == MACHINE_STARTING);
    }
}

static size_t step(struct fixture *f, struct action *out, uint64_t *deadline)
{
    struct action actions[ACTIONS_MAX];
    size_t len = pod_step(&f->spec, &f->obs, NULL, &f->now, actions, deadline);
    if (len > 0)
        *out = actions[0];
    return len;
}

static void running(struct fixture *f)
{
    fixture_init(f);
    f->container.resources = f->container.desired = size_of(100, 500, 64, 64);
    f->obs.net = NET_UP;
    f->c.image = IMAGE_READY;
    observe_starting(&f->c, "m1");
    f->c.actual = f->container.resources;
    f->c.actual_known = true;
    observe_running(&f->c, NOW_UNIX);
}

static void a_live_resize_is_one_action(void **state)
{
    struct action action;
    struct fixture f;
    uint64_t deadline;
    (void)state;
    running(&f);
    assert_int_equal(step(&f, &action, &deadline), 0);
    f.container.resources.cpu_limit_milli = 700;
    assert_int_equal(step(&f, &action, &deadline), 1);
    assert_int_equal(action.kind, ACTION_RESIZE);
    f.c.resize_retry_ms = NOW_MONO + 10000; /* it failed */
    assert_int_equal(step(&f, &action, &deadline), 0);
    assert_int_equal(deadline, NOW_MONO + 10000);
    f.now.mono_ms += 10000;
    assert_int_equal(step(&f, &action, &deadline), 1);
    f.c.actual = f.container.resources;
    assert_int_equal(step(&f, &action, &deadline), 0);
    assert_false(pod_resizing(&f.spec, &f.obs));
}

/* Whatever the restart policy: the end was asked for. */
static void a_restart_is_a_stop_and_a_start(void **state)
{
    struct action action;
    struct fixture f;
    uint64_t deadline;
    (void)state;
    running(&f);
    f.spec.restart_policy = RESTART_ON_FAILURE;
    f.container.memory_restarts = true;
    f.container.resources.memory_limit_bytes = 128LL * MIB;
    assert_int_equal(step(&f, &action, &deadline), 1);
    assert_int_equal(action.kind, ACTION_STOP);
    assert_int_equal(action.grace_ms, 30000);
    f.c.stop_sent = true;
    f.c.stop_deadline_ms = NOW_MONO + 30000;
    observe_exit(&f.c, &f.container, &(struct machine_exit){.exit_code = 0}, &f.now);
    assert_true(pod_resizing(&f.spec, &f.obs));
    f.c.prepare = PREPARE_READY;
    assert_int_equal(step(&f, &action, &deadline), 1);
    assert_int_equal(action.kind, ACTION_LAUNCH);
    assert_int_equal(action.attempt, 1);
    observe_starting(&f.c, "m2");
    f.c.actual = f.container.resources;
    assert_true(pod_resizing(&f.spec, &f.obs));
    observe_running(&f.c, NOW_UNIX);
    assert_false(pod_resizing(&f.spec, &f.obs));
    assert_int_equal(f.c.crashes, 0);
}

static void what_runs_is_reported(void **state)
{
    struct pod_resize resize = {.in_progress = true};
    struct pod_status status;
    struct fixture f;
    (void)state;
    running(&f);
    f.obs.resize = &resize;
    f.container.resources.cpu_limit_milli = 700;
    pod_status(&f.spec, &f.obs, NULL, "192.0.2.2", &f.now, &status);
    assert_int_equal(status.containers[0].resources->cpu_limit_milli, 500);
    assert_ptr_equal(status.resize, &resize);
    assert_false(status.resize_over);
    observe_exit(&f.c, &f.container, &(struct machine_exit){.exit_code = 0}, &f.now);
    f.spec.restart_policy = RESTART_NEVER;
    pod_status(&f.spec, &f.obs, NULL, "192.0.2.2", &f.now, &status);
    assert_int_equal(status.containers[0].resources->cpu_limit_milli, 700);
    assert_true(status.resize_over);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resize_table),
        cmocka_unit_test(a_live_resize_is_one_action),
        cmocka_unit_test(a_restart_is_a_stop_and_a_start),
        cmocka_unit_test(what_runs_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
