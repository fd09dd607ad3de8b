/* What probes and hooks make pod_step do, and what is then reported: one row a rule (contract 3.6
 * to 3.8). */
#include "core_fixture.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "provider/core/status.h"

enum has { STARTUP = 1, LIVENESS = 2, READINESS = 4, POST_START = 8, PRE_STOP = 16 };

struct row {
    const char *rule;
    unsigned has;
    enum probe_result results[_PROBE_MAX];
    enum hook_state post_start, pre_stop;
    enum doom doom;
    bool stop_sent, deleted, changed;
    int64_t probe_grace_s; /* 0: none of its own */
    int64_t grace_s;       /* of the deletion, or of the Pod; 0: 30 */
    int64_t stop_in_ms;    /* until the deadline */
    const char *want;      /* actions, with their grace */
    int64_t again_in_ms;
    bool started, ready;
};

static const struct row rows[] = {
    {"nothing", .want = "", .started = true, .ready = true},
    {"healthy", .has = LIVENESS | READINESS, .results = {0, PROBE_SUCCESS, PROBE_SUCCESS},
     .want = "", .started = true, .ready = true},
    {"not ready is no reason to end it", .has = READINESS, .results = {0, 0, PROBE_FAILURE},
     .want = "", .started = true},
    {"liveness failed: it is ended", .has = LIVENESS, .results = {0, PROBE_FAILURE},
     .want = "stop/30000", .started = true, .ready = true},
    {"with the probe's own grace", .has = LIVENESS, .results = {0, PROBE_FAILURE},
     .probe_grace_s = 4, .want = "stop/4000", .started = true, .ready = true},
    {"startup failed: it is ended", .has = STARTUP, .results = {PROBE_FAILURE}, .probe_grace_s = 5,
     .want = "stop/5000"},
    {"within its grace", .has = LIVENESS, .results = {0, PROBE_FAILURE}, .doom = DOOM_LIVENESS,
     .stop_sent = true, .stop_in_ms = 3000, .probe_grace_s = 4, .want = "", .again_in_ms = 3000,
     .started = true, .ready = true},
    {"and killed after it", .has = LIVENESS, .results = {0, PROBE_FAILURE}, .doom = DOOM_LIVENESS,
     .stop_sent = true, .want = "kill", .started = true, .ready = true},
    {"deleted meanwhile: the deletion's grace", .has = LIVENESS, .results = {0, PROBE_FAILURE},
     .deleted = true, .grace_s = 7, .probe_grace_s = 4, .want = "stop/7000", .started = true,
     .ready = true},

    {"postStart runs first", .has = POST_START | READINESS, .want = "post-start/0"},
    {"and is waited for", .has = POST_START, .post_start = HOOK_RUNNING, .want = ""},
    {"then it is started", .has = POST_START, .post_start = HOOK_DONE, .want = "", .started = true,
     .ready = true},
    {"a postStart that failed ends it", .has = POST_START, .post_start = HOOK_DONE,
     .doom = DOOM_POST_START, .want = "stop/30000", .started = true, .ready = true},
    {"no postStart for one that is replaced", .has = POST_START, .changed = true,
     .want = "stop/30000"},
    {"nor for one that is deleted", .has = POST_START, .deleted = true, .want = "stop/30000"},

    {"preStop comes before the stop", .has = PRE_STOP, .deleted = true, .want = "pre-stop/30000",
     .started = true, .ready = true},
    {"also when a probe ends it", .has = PRE_STOP | LIVENESS, .results = {0, PROBE_FAILURE},
     .want = "pre-stop/30000", .started = true, .ready = true},
    {"and when the image changes", .has = PRE_STOP, .changed = true, .want = "pre-stop/30000",
     .started = true, .ready = true},
    {"its time counts in the grace", .has = PRE_STOP, .deleted = true, .pre_stop = HOOK_DONE,
     .stop_in_ms = 21000, .want = "stop/21000", .started = true, .ready = true},
    {"two seconds are left in any case", .has = PRE_STOP, .deleted = true, .pre_stop = HOOK_DONE,
     .stop_in_ms = 500, .want = "stop/2000", .started = true, .ready = true},
    {"it is waited for", .has = PRE_STOP, .deleted = true, .pre_stop = HOOK_RUNNING,
     .stop_in_ms = 9000, .want = "", .again_in_ms = 9000, .started = true, .ready = true},
    {"not longer than the grace", .has = PRE_STOP, .deleted = true, .pre_stop = HOOK_RUNNING,
     .want = "stop/2000", .started = true, .ready = true},
    {"a second DELETE shortens it", .has = PRE_STOP, .deleted = true, .pre_stop = HOOK_RUNNING,
     .grace_s = 5, .stop_in_ms = 29000, .want = "pre-stop/5000", .started = true, .ready = true},
    {"none without a grace", .has = PRE_STOP, .deleted = true, .grace_s = -1, .want = "kill",
     .started = true, .ready = true},
    {"once asked to stop it is not run again", .has = PRE_STOP, .deleted = true, .stop_sent = true,
     .stop_in_ms = 9000, .want = "", .again_in_ms = 9000, .started = true, .ready = true},
};

static void describe(const struct action *actions, size_t len, char *dst, size_t size)
{
    dst[0] = '\0';
    for (size_t i = 0; i < len; i++) {
        size_t at = strlen(dst);

        if (actions[i].kind == ACTION_KILL)
            str_fmt(dst + at, size - at, "%skill", at ? " " : "");
        else
            str_fmt(dst + at, size - at, "%s%s/%lld", at ? " " : "",
                    action_kind_to_string(actions[i].kind), (long long)actions[i].grace_ms);
    }
}

static void prepare(struct fixture *f, const struct row *row, struct probe_spec *probe)
{
    static const struct handler hook = {.kind = HANDLER_SLEEP};

    fixture_init(f);
    probe->grace_s = row->probe_grace_s ? row->probe_grace_s : -1;
    for (int type = 0; type < _PROBE_MAX; type++)
        f->container.probes[type] = row->has & (1u << type) ? probe : NULL;
    f->container.post_start = row->has & POST_START ? &hook : NULL;
    f->container.pre_stop = row->has & PRE_STOP ? &hook : NULL;
    observe_image_pulling(&f->c, f->container.image);
    observe_image_ready(&f->c, "sha256:aa");
    observe_net_up(&f->obs, "10.0.0.1");
    observe_starting(&f->c, "id");
    observe_running(&f->c, NOW_UNIX);
    memcpy(f->c.probes, row->results, sizeof(f->c.probes));
    f->c.post_start = row->post_start;
    f->c.pre_stop = row->pre_stop;
    f->c.doom = row->doom;
    f->c.stop_sent = row->stop_sent;
    f->c.stop_deadline_ms =
        row->stop_sent || row->pre_stop ? NOW_MONO + (uint64_t)row->stop_in_ms : 0;
    f->spec.deletion_ms = row->deleted ? NOW_UNIX + 1000 : 0;
    f->spec.deletion_grace_s = row->grace_s ? row->grace_s : 30;
    if (row->changed)
        f->container.image = "reg/app:v2";
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct probe_spec probe = {.period_s = 1};
        struct action actions[ACTIONS_MAX];
        struct pod_status status;
        struct fixture f;
        uint64_t again;
        char got[128];

        prepare(&f, &rows[i], &probe);
        size_t len = pod_step(&f.spec, &f.obs, NULL, &f.now, actions, &again);
        describe(actions, len, got, sizeof(got));
        uint64_t want_again =
            rows[i].again_in_ms ? NOW_MONO + (uint64_t)rows[i].again_in_ms : DEADLINE_NONE;
        pod_status(&f.spec, &f.obs, NULL, "192.0.2.1", &f.now, &status);
        if (!str_eq(got, rows[i].want) || again != want_again ||
            status.containers[0].ready != rows[i].ready)
            print_error("%s: %s\n", rows[i].rule, got);
        assert_string_equal(got, rows[i].want);
        assert_true(again == want_again);
        assert_int_equal(status.containers[0].started, rows[i].started);
        assert_int_equal(status.containers[0].ready, rows[i].ready);
        assert_int_equal(status.conditions[COND_READY].status, rows[i].ready);
    }
}

/* An end for a probe's sake is a crash that OnFailure repeats whatever the code says, and Never
 * does not; one for a hook's sake goes by its code. */
static void test_restarts(void **state)
{
    static const struct {
        const char *rule;
        enum restart_policy policy;
        enum doom doom;
        int32_t code;
        bool restarts;
        const char *shown; /* waiting reason; NULL: terminated */
    } ends[] = {
        {"Always", RESTART_ALWAYS, DOOM_LIVENESS, 137, true, "ContainerCreating"},
        {"OnFailure, exit 0", RESTART_ON_FAILURE, DOOM_LIVENESS, 0, true, "ContainerCreating"},
        {"OnFailure, startup", RESTART_ON_FAILURE, DOOM_STARTUP, 0, true, "ContainerCreating"},
        {"Never", RESTART_NEVER, DOOM_LIVENESS, 137, false, NULL},
        {"a hook, Always", RESTART_ALWAYS, DOOM_POST_START, 137, true, NULL},
        {"a hook, OnFailure", RESTART_ON_FAILURE, DOOM_POST_START, 137, true, NULL},
        {"a hook, Never", RESTART_NEVER, DOOM_POST_START, 137, false, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct machine_exit exit = {.exit_code = ends[i].code};
        struct pod_status status;
        struct fixture f;

        fixture_init(&f);
        f.spec.restart_policy = ends[i].policy;
        observe_starting(&f.c, "id");
        observe_running(&f.c, NOW_UNIX);
        f.c.stop_sent = true;
        f.c.doom = ends[i].doom;
        observe_exit(&f.c, &f.container, &exit, &f.now);
        if (container_will_restart(&f.spec, 0, &f.c.exit) != ends[i].restarts)
            print_error("%s\n", ends[i].rule);
        assert_int_equal(container_will_restart(&f.spec, 0, &f.c.exit), ends[i].restarts);
        assert_false(container_replaced(&f.c));
        assert_int_equal(f.c.crashes, 1);
        pod_status(&f.spec, &f.obs, NULL, "192.0.2.1", &f.now, &status);
        if (ends[i].shown && ends[i].restarts) {
            assert_int_equal(status.containers[0].state, STATE_WAITING);
            assert_string_equal(status.containers[0].reason, ends[i].shown);
            assert_ptr_equal(status.containers[0].last, &f.c.exit);
        } else {
            assert_int_equal(status.containers[0].state, STATE_TERMINATED);
        }
        observe_starting(&f.c, "id2");
        assert_int_equal(f.c.doom, DOOM_NONE);
    }
}

/* A new attempt knows nothing of the one before. */
static void test_anew(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    observe_starting(&f.c, "id");
    observe_running(&f.c, NOW_UNIX);
    assert_true(observe_probe(&f.c, PROBE_READINESS, PROBE_SUCCESS));
    assert_false(observe_probe(&f.c, PROBE_READINESS, PROBE_SUCCESS));
    observe_hooked(&f.c, HOOK_POST_START, true);
    assert_int_equal(f.c.doom, DOOM_POST_START);
    observe_hooked(&f.c, HOOK_PRE_STOP, true);
    assert_int_equal(f.c.pre_stop, HOOK_DONE);
    observe_starting(&f.c, "id2");
    assert_int_equal(f.c.probes[PROBE_READINESS], PROBE_UNKNOWN);
    assert_int_equal(f.c.post_start, HOOK_NONE);
    assert_int_equal(f.c.pre_stop, HOOK_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_restarts),
        cmocka_unit_test(test_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
