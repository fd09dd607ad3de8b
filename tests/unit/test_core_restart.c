/* Whether a container is started again, and when: the Pod's policy, the container's own policy and
 * rules (Kubernetes 1.35), and the cap of CrashLoopBackOff (contract 3.3 and 3.7). */
#include "core_fixture.h"

#include "provider/core/status.h"

/* clang-format off */
#define CODES(...) \
    .codes = (const int32_t[]){__VA_ARGS__}, .codes_len = LEN(((int32_t[]){__VA_ARGS__}))
/* clang-format on */

static const struct restart_rule on_42[] = {{RESTART_IN, CODES(42)}};
static const struct restart_rule on_1_or_3[] = {{RESTART_IN, CODES(1, 3)}};
static const struct restart_rule not_on_7[] = {{RESTART_NOT_IN, CODES(7)}};
static const struct restart_rule two[] = {{RESTART_IN, CODES(5)}, {RESTART_NOT_IN, CODES(0, 6)}};
static const struct restart_rule on_0[] = {{RESTART_IN, CODES(0)}};

struct row {
    const char *rule;
    enum restart_policy pod;
    bool own; /* the container has a policy of its own: */
    enum restart_policy container;
    const struct restart_rule *rules;
    size_t rules_len;
    bool init;
    bool deleted;
    int32_t exit_code;
    bool want;
};

static const struct row rows[] = {
    {"the Pod's Always", RESTART_ALWAYS, .exit_code = 0, .want = true},
    {"the Pod's OnFailure, failed", RESTART_ON_FAILURE, .exit_code = 1, .want = true},
    {"the Pod's OnFailure, done", RESTART_ON_FAILURE, .exit_code = 0},
    {"the Pod's Never", RESTART_NEVER, .exit_code = 1},
    {"deleted", RESTART_ALWAYS, .deleted = true, .exit_code = 1},
    {"the container's own Always", RESTART_NEVER, .own = true, .container = RESTART_ALWAYS,
     .exit_code = 0, .want = true},
    {"the container's own OnFailure", RESTART_NEVER, .own = true, .container = RESTART_ON_FAILURE,
     .exit_code = 2, .want = true},
    {"the container's own OnFailure, done", RESTART_ALWAYS, .own = true,
     .container = RESTART_ON_FAILURE, .exit_code = 0},
    {"the container's own Never", RESTART_ALWAYS, .own = true, .container = RESTART_NEVER,
     .exit_code = 1},
    {"In matches", RESTART_NEVER, .own = true, .container = RESTART_NEVER, .rules = on_42,
     .rules_len = 1, .exit_code = 42, .want = true},
    {"In does not match: the policy", RESTART_ALWAYS, .own = true, .container = RESTART_NEVER,
     .rules = on_42, .rules_len = 1, .exit_code = 41},
    {"In with two codes", RESTART_NEVER, .own = true, .container = RESTART_NEVER,
     .rules = on_1_or_3, .rules_len = 1, .exit_code = 3, .want = true},
    {"NotIn matches", RESTART_NEVER, .own = true, .container = RESTART_NEVER, .rules = not_on_7,
     .rules_len = 1, .exit_code = 0, .want = true},
    {"NotIn does not match", RESTART_NEVER, .own = true, .container = RESTART_NEVER,
     .rules = not_on_7, .rules_len = 1, .exit_code = 7},
    {"the second rule matches", RESTART_NEVER, .own = true, .container = RESTART_NEVER,
     .rules = two, .rules_len = 2, .exit_code = 1, .want = true},
    {"neither rule matches", RESTART_NEVER, .own = true, .container = RESTART_NEVER, .rules = two,
     .rules_len = 2, .exit_code = 6},
    {"no rule restarts what is deleted", RESTART_NEVER, .own = true, .container = RESTART_NEVER,
     .rules = on_42, .rules_len = 1, .deleted = true, .exit_code = 42},
    {"an init container that is done", RESTART_ALWAYS, .init = true, .exit_code = 0},
    {"an init container that failed", RESTART_ALWAYS, .init = true, .exit_code = 9, .want = true},
    {"an init container's own Never", RESTART_ALWAYS, .init = true, .own = true,
     .container = RESTART_NEVER, .exit_code = 9},
    {"an init container's rule", RESTART_ALWAYS, .init = true, .own = true,
     .container = RESTART_NEVER, .rules = on_42, .rules_len = 1, .exit_code = 42, .want = true},
    {"no rule repeats an init container that is done", RESTART_ALWAYS, .init = true, .own = true,
     .container = RESTART_NEVER, .rules = on_0, .rules_len = 1, .exit_code = 0},
};

static void restart_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        const struct row *row = &rows[i];
        const struct machine_exit exit = {.valid = true, .exit_code = row->exit_code};
        struct container_spec *c;
        struct fixture f;

        print_message("%s\n", row->rule);
        fixture_init(&f);
        fixture_inits(&f, 1);
        c = row->init ? &f.inits[0] : &f.container;
        f.spec.restart_policy = row->pod;
        f.spec.deletion_ms = row->deleted;
        c->own_restart_policy = row->own;
        c->restart_policy = row->container;
        c->restart_rules = row->rules;
        c->restart_rules_len = row->rules_len;
        assert_int_equal(container_will_restart(&f.spec, row->init, &exit), row->want);
    }
}

/* Pods of which only the container's own policy goes on: the phase says so. */
static void phase_with_own_policy(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.spec.restart_policy = RESTART_NEVER;
    f.container.own_restart_policy = true;
    f.container.restart_rules = on_42;
    f.container.restart_rules_len = 1;
    f.container.restart_policy = RESTART_NEVER;
    fixture_exit(&f, 42, 10);
    assert_int_equal(pod_phase(&f.spec, &f.obs, NULL), PHASE_RUNNING);
    assert_false(pod_stopped_for_good(&f.spec, &f.obs));
    fixture_exit(&f, 1, 10);
    assert_int_equal(pod_phase(&f.spec, &f.obs, NULL), PHASE_FAILED);
    assert_true(pod_stopped_for_good(&f.spec, &f.obs));
}

static void backoff_and_its_cap(void **state)
{
    static const struct {
        uint32_t cap_ms; /* 0: the default */
        uint64_t want_s[8];
    } caps[] = {
        {0, {0, 10, 20, 40, 80, 160, 300, 300}},  {300000, {0, 10, 20, 40, 80, 160, 300, 300}},
        {60000, {0, 10, 20, 40, 60, 60, 60, 60}}, {10000, {0, 10, 10, 10, 10, 10, 10, 10}},
        {3000, {0, 3, 3, 3, 3, 3, 3, 3}},
    };

    (void)state;
    for (size_t i = 0; i < LEN(caps); i++) {
        struct fixture f;

        fixture_init(&f);
        f.c.restart_max_ms = caps[i].cap_ms;
        for (size_t crash = 0; crash < 8; crash++) {
            fixture_exit(&f, 1, 100);
            assert_int_equal(f.c.restart_ms - f.now.mono_ms, caps[i].want_s[crash] * 1000);
        }
        /* Twice the cap is a long run. */
        fixture_exit(&f, 1, 2 * (caps[i].cap_ms ? caps[i].cap_ms : 300000) - 1);
        assert_int_not_equal(f.c.restart_ms, f.now.mono_ms);
        fixture_exit(&f, 1, 2 * (caps[i].cap_ms ? caps[i].cap_ms : 300000));
        assert_int_equal(f.c.restart_ms, f.now.mono_ms);
    }
}

static void capped_backoff_is_told(void **state)
{
    struct pod_status status;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.c.restart_max_ms = 3000;
    fixture_exit(&f, 1, 100);
    fixture_exit(&f, 1, 100);
    pod_status(&f.spec, &f.obs, NULL, "192.0.2.2", &f.now, &status);
    assert_string_equal(status.containers[0].message,
                        "back-off 3s restarting failed container=c pod=web_default(u1)");
}

static void readiness_gates(void **state)
{
    static const struct readiness_gate gates[] = {{"a.b/c", NULL}, {"x", "Unknown"}, {"y", "True"}};
    const char *want = "corresponding condition of pod readiness gate \"a.b/c\" does not exist., "
                       "the status of pod readiness gate \"x\" is not \"True\", but Unknown";
    struct pod_status status;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.spec.readiness_gates = gates;
    f.spec.readiness_gates_len = LEN(gates);
    pod_status(&f.spec, &f.obs, NULL, "192.0.2.2", &f.now, &status);
    assert_string_equal(status.conditions[COND_READY].reason, "ContainersNotReady");
    observe_starting(&f.c, "id");
    observe_running(&f.c, NOW_UNIX);
    pod_status(&f.spec, &f.obs, NULL, "192.0.2.2", &f.now, &status);
    assert_true(status.conditions[COND_CONTAINERS_READY].status);
    assert_false(status.conditions[COND_READY].status);
    assert_string_equal(status.conditions[COND_READY].reason, "ReadinessGatesNotReady");
    assert_string_equal(status.conditions[COND_READY].message, want);
    f.spec.readiness_gates = &gates[2];
    f.spec.readiness_gates_len = 1;
    pod_status(&f.spec, &f.obs, NULL, "192.0.2.2", &f.now, &status);
    assert_true(status.conditions[COND_READY].status);
}

static void active_deadline(void **state)
{
    static const struct {
        int64_t deadline_s, started_ago_ms;
        bool past;
        int64_t again_in_ms; /* -1: never */
    } cases[] = {
        {0, 5000, false, -1},
        {10, 0, false, 10000},
        {10, 9999, false, 1},
        {10, 10000, true, -1},
        {10, 3600000, true, -1},
        {1, 1000, true, -1},
        {10, -60000, false, 10000}, /* the clock was set back */
        {INT64_MAX, 1000, false, (int64_t)INT32_MAX * 1000 - 1000},
    };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct fixture f;
        uint64_t due_ms;

        fixture_init(&f);
        f.spec.active_deadline_s = cases[i].deadline_s;
        f.obs.start_ms = NOW_UNIX - cases[i].started_ago_ms;
        assert_int_equal(pod_past_deadline(&f.spec, &f.obs, &f.now, &due_ms), cases[i].past);
        assert_true(
            due_ms ==
            (cases[i].again_in_ms < 0 ? DEADLINE_NONE : NOW_MONO + (uint64_t)cases[i].again_in_ms));
    }
}

/* Running until it is ended, then Failed with the kubelet's words, whatever the exit code. */
static void deadline_exceeded(void **state)
{
    static const struct pod_verdict verdict = {.reason = "DeadlineExceeded", .grace_ms = 30000};
    struct action out[ACTIONS_MAX];
    struct pod_status status;
    struct fixture f;
    uint64_t again_ms;

    (void)state;
    fixture_init(&f);
    observe_net_up(&f.obs, "10.88.0.5");
    observe_starting(&f.c, "id");
    observe_running(&f.c, NOW_UNIX);
    f.obs.verdict = &verdict;
    assert_int_equal(pod_step(&f.spec, &f.obs, NULL, &f.now, out, &again_ms), 1);
    assert_int_equal(out[0].kind, ACTION_STOP);
    assert_int_equal(out[0].grace_ms, 30000);
    assert_int_equal(pod_phase(&f.spec, &f.obs, NULL), PHASE_RUNNING);
    observe_exit(&f.c, &f.container, &(struct machine_exit){.exit_code = 0}, &f.now);
    pod_status(&f.spec, &f.obs, NULL, "192.0.2.2", &f.now, &status);
    assert_int_equal(status.phase, PHASE_FAILED);
    assert_string_equal(status.reason, "DeadlineExceeded");
    assert_false(status.keep_reason);
    /* An agent that has lost the record leaves the API's words alone. */
    f.obs.verdict = NULL;
    f.spec.api_phase = PHASE_FAILED;
    pod_status(&f.spec, &f.obs, NULL, "192.0.2.2", &f.now, &status);
    assert_null(status.reason);
    assert_true(status.keep_reason);
    f.obs.verdict = &verdict;
    assert_true(pod_stopped_for_good(&f.spec, &f.obs));
}

/* FallbackToLogsOnError: after a failure, 80 lines or 2048 bytes, 12 KiB for all containers. */
static void console_messages(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: none */
        int32_t exit_code;
        bool off;
    } cases[] = {
        {"a\nb\n", "a\nb\n", 1, false}, {"a\nb\n", NULL, 0, false}, {"a\nb\n", NULL, 1, true},
        {"", NULL, 1, false},           {"\n\n", NULL, 1, false},   {"x", "x", 137, false},
    };
    char lines[100 * 4 + 1] = "", bytes[5001];
    struct machine_exit failed = {.exit_code = 1};
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (size_t i = 0; i < LEN(cases); i++) {
        struct machine_exit exit = {.exit_code = cases[i].exit_code};
        const char *got;

        f.container.log_fallback = !cases[i].off;
        got = console_message(&f.container, &exit, cases[i].text, 1);
        if (!cases[i].want)
            assert_null(got);
        else
            assert_string_equal(got, cases[i].want);
    }
    f.container.log_fallback = true;
    for (int i = 0; i < 100; i++) {
        const char line[] = {'l', (char)('0' + i / 10), (char)('0' + i % 10), '\n', '\0'};

        memcpy(lines + 4 * i, line, sizeof(line));
    }
    assert_string_equal(console_message(&f.container, &failed, lines, 1), lines + 4 * 20);
    memset(bytes, 'x', sizeof(bytes) - 1);
    bytes[5000] = '\0';
    assert_int_equal(strlen(console_message(&f.container, &failed, bytes, 1)), 2048);
    assert_int_equal(strlen(console_message(&f.container, &failed, bytes, 12)), 1024);
    /* Never the second half of a character. */
    memcpy(bytes + 5000 - 2049, "\xc3\xa4", 2);
    assert_int_equal(strlen(console_message(&f.container, &failed, bytes, 1)), 2047);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restart_table),       cmocka_unit_test(phase_with_own_policy),
        cmocka_unit_test(backoff_and_its_cap), cmocka_unit_test(capped_backoff_is_told),
        cmocka_unit_test(readiness_gates),     cmocka_unit_test(active_deadline),
        cmocka_unit_test(deadline_exceeded),   cmocka_unit_test(console_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
