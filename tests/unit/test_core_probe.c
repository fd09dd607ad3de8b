/* The rules of probes, one row each: when the first one is due, what answers lead to, and when a
 * container counts as started and ready (contract 3.8). */
#include "base/cleanup.h"
#include "base/str.h"
#include "provider/core/probe.h"
#include "provider/core/step.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define T0 1000000
#define UNIX 1700000000000

static struct now at(uint64_t ms)
{
    return (struct now){.mono_ms = T0 + ms, .unix_ms = UNIX + (int64_t)ms};
}

static struct probe_spec spec_of(uint32_t delay, uint32_t period, uint32_t successes,
                                 uint32_t failures)
{
    return (struct probe_spec){.handler = {.kind = HANDLER_TCP},
                               .initial_delay_s = delay,
                               .period_s = period,
                               .timeout_s = 1,
                               .success_threshold = successes,
                               .failure_threshold = failures,
                               .grace_s = -1};
}

/* ---- when ---- */

static void test_first(void **state)
{
    static const struct {
        const char *rule;
        uint32_t delay_s;
        int64_t started_ms; /* before now */
        bool adopted;
        uint64_t jitter_ms;
        uint64_t next_ms, grid_ms; /* after now */
    } rows[] = {
        {"without a delay at once", 0, 0, false, 0, 0, 10000},
        {"initialDelaySeconds count from the start", 5, 2000, false, 0, 3000, 13000},
        {"which is long over", 5, 60000, false, 0, 0, 10000},
        {"a former agent's had time to come up", 0, 60000, true, 0, 0, 0},
        {"and waits for its turn", 0, 60000, true, 700, 700, 700},
        {"a clock that was set back", 5, -3600000, false, 0, 5000, 15000},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct probe_spec spec = spec_of(rows[i].delay_s, 10, 1, 3);
        struct now now = at(0);
        struct probe_worker w;

        probe_begin(&w, &spec, UNIX - rows[i].started_ms, rows[i].adopted, rows[i].jitter_ms, &now);
        if (w.next_ms != T0 + rows[i].next_ms || w.grid_ms != T0 + rows[i].grid_ms)
            print_error("%s: %llu %llu\n", rows[i].rule, (unsigned long long)w.next_ms - T0,
                        (unsigned long long)w.grid_ms - T0);
        assert_int_equal(w.next_ms, T0 + rows[i].next_ms);
        assert_int_equal(w.grid_ms, T0 + rows[i].grid_ms);
    }
}

/* Nobody listens yet: soon again, uncounted, for one period. */
static void test_early(void **state)
{
    static const uint64_t pauses[] = {20, 40, 80, 160, 320, 640, 1000, 1000, 740};
    struct probe_spec spec = spec_of(0, 4, 1, 1);
    struct now now = at(0);
    struct probe_worker w;
    uint64_t ms = 0;

    (void)state;
    probe_begin(&w, &spec, UNIX, false, 0, &now);
    for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
        probe_asked(&w, &now);
        struct probe_verdict v =
            probe_answered(&w, &spec, PROBE_LIVENESS, PROBE_FAILED, true, &now);
        assert_false(v.changed);
        assert_false(v.counted);
        assert_false(v.told);
        assert_int_equal(w.next_ms - now.mono_ms, pauses[i]);
        ms += pauses[i];
        now = at(ms);
    }
    /* A whole period without an ear: the first failure, by which it ends. */
    assert_int_equal(ms, 4000);
    probe_asked(&w, &now);
    struct probe_verdict v = probe_answered(&w, &spec, PROBE_LIVENESS, PROBE_FAILED, true, &now);
    assert_true(v.changed && v.counted && v.told);
    assert_int_equal(v.result, PROBE_FAILURE);
}

static void test_not_early(void **state)
{
    struct probe_spec spec = spec_of(0, 10, 1, 3);
    struct now now = at(0);
    struct probe_worker w;

    (void)state;
    /* Somebody answers, and says no: that counts, and the next is on the grid. */
    probe_begin(&w, &spec, UNIX, false, 0, &now);
    probe_asked(&w, &now);
    assert_true(probe_answered(&w, &spec, PROBE_READINESS, PROBE_FAILED, false, &now).counted);
    assert_int_equal(w.next_ms, T0 + 10000);
    /* One that was heard once and is deaf now. */
    probe_begin(&w, &spec, UNIX, false, 0, &now);
    probe_asked(&w, &now);
    assert_true(probe_answered(&w, &spec, PROBE_READINESS, PROBE_OK, false, &now).counted);
    now = at(5000);
    probe_asked(&w, &now);
    assert_true(probe_answered(&w, &spec, PROBE_READINESS, PROBE_FAILED, true, &now).counted);
    /* A former agent's. */
    probe_begin(&w, &spec, UNIX - 60000, true, 0, &now);
    probe_asked(&w, &now);
    assert_true(probe_answered(&w, &spec, PROBE_LIVENESS, PROBE_FAILED, true, &now).counted);
}

static void test_grid(void **state)
{
    struct probe_spec spec = spec_of(0, 10, 1, 3);
    struct now now = at(0), later = at(700), late = at(25000);
    struct probe_worker w;

    (void)state;
    probe_begin(&w, &spec, UNIX, false, 0, &now);
    probe_asked(&w, &now);
    (void)probe_answered(&w, &spec, PROBE_READINESS, PROBE_OK, false, &later);
    assert_int_equal(w.next_ms, T0 + 10000); /* from its begin, not from its answer */
    now = at(10000);
    probe_asked(&w, &now);
    (void)probe_answered(&w, &spec, PROBE_READINESS, PROBE_OK, false, &late);
    assert_int_equal(w.next_ms, T0 + 25000); /* what was missed is not made up for */
}

/* ---- thresholds ---- */

/* outcomes: o ok, w warning, f failure, e error. results: after each, . for no change. */
static void test_thresholds(void **state)
{
    static const struct {
        const char *rule;
        enum probe_type type;
        uint32_t successes, failures;
        const char *outcomes, *results;
        bool hold;
    } rows[] = {
        {"the first success", PROBE_READINESS, 1, 3, "o", "S", false},
        {"a warning is one", PROBE_READINESS, 1, 3, "w", "S", false},
        {"three failures in a row", PROBE_READINESS, 1, 3, "fff", "..F", false},
        {"not with a success between", PROBE_READINESS, 1, 3, "ffoff", "..S..", false},
        {"two successes in a row", PROBE_READINESS, 2, 1, "ofoo", ".F.S", false},
        {"each one more is said again", PROBE_READINESS, 1, 2, "offf", "S.FF", false},
        {"three errors are nothing", PROBE_READINESS, 1, 1, "eee", "...", false},
        {"errors do not break a row", PROBE_LIVENESS, 1, 2, "feeef", "....F", true},
        {"liveness fails once", PROBE_LIVENESS, 1, 1, "of", "SF", true},
        {"liveness goes on", PROBE_LIVENESS, 1, 3, "offo", "S..S", false},
        {"startup is done with a success", PROBE_STARTUP, 1, 30, "ffo", "..S", true},
        {"or with its last failure", PROBE_STARTUP, 1, 2, "ff", ".F", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct probe_spec spec = spec_of(0, 1, rows[i].successes, rows[i].failures);
        struct now now = at(0);
        struct probe_worker w;
        char got[16] = "";

        probe_begin(&w, &spec, UNIX, false, 0, &now);
        for (size_t j = 0; rows[i].outcomes[j]; j++) {
            static const char letters[] = "owfe";
            enum probe_outcome outcome =
                (enum probe_outcome)(strchr(letters, rows[i].outcomes[j]) - letters);

            probe_asked(&w, &now);
            struct probe_verdict v = probe_answered(&w, &spec, rows[i].type, outcome, false, &now);
            got[j] = '.';
            if (v.changed)
                got[j] = v.result == PROBE_SUCCESS ? 'S' : 'F';
            now.mono_ms = w.next_ms;
        }
        if (!str_eq(got, rows[i].results))
            print_error("%s: %s\n", rows[i].rule, got);
        assert_string_equal(got, rows[i].results);
        assert_int_equal(w.hold, rows[i].hold);
    }
}

/* Only the third error in a row is told, and the others are tried again at once. */
static void test_errors(void **state)
{
    struct probe_spec spec = spec_of(0, 10, 1, 1);
    struct now now = at(0);
    struct probe_worker w;

    (void)state;
    probe_begin(&w, &spec, UNIX, false, 0, &now);
    for (unsigned i = 0; i < PROBE_TRIES_MAX; i++) {
        bool last = i == PROBE_TRIES_MAX - 1;

        probe_asked(&w, &now);
        struct probe_verdict v =
            probe_answered(&w, &spec, PROBE_LIVENESS, PROBE_ERROR, false, &now);
        assert_int_equal(v.told, last);
        assert_false(v.counted);
        assert_int_equal(w.next_ms, last ? T0 + 10000 : T0);
    }
}

/* ---- what it means ---- */

enum flag {
    STARTUP = 1,
    LIVENESS = 2,
    READINESS = 4,
    HOOK = 8,     /* a postStart that is not done */
    DELETED = 16, /* the Pod is */
    STOPPED = 32, /* the guest was asked to end */
    NO_NET = 64,
    EXITED = 128,
    DOOMED = 256,
    PRE_STOP = 512,
};

static const struct {
    const char *rule;
    unsigned flags;
    enum probe_result results[_PROBE_MAX]; /* startup, liveness, readiness */
    bool started, ready;
    const char *wanted; /* of S L R */
    enum probe_type condemned;
} meanings[] = {
    {"no probes: running is ready", 0, {0}, true, true, "", _PROBE_MAX},
    {"and gone is not", EXITED, {0}, false, false, "", _PROBE_MAX},
    {"readiness is a failure at first", READINESS, {0}, true, false, "R", _PROBE_MAX},
    {"ready", READINESS, {0, 0, PROBE_SUCCESS}, true, true, "R", _PROBE_MAX},
    {"not ready any more", READINESS, {0, 0, PROBE_FAILURE}, true, false, "R", _PROBE_MAX},
    {"liveness is a success at first", LIVENESS, {0}, true, true, "L", _PROBE_MAX},
    {"not alive", LIVENESS, {0, PROBE_FAILURE}, true, true, "", PROBE_LIVENESS},
    {"startup gates", STARTUP | LIVENESS | READINESS, {0}, false, false, "S", _PROBE_MAX},
    {"the others begin",
     STARTUP | LIVENESS | READINESS,
     {PROBE_SUCCESS},
     true,
     false,
     "LR",
     _PROBE_MAX},
    {"startup alone", STARTUP, {PROBE_SUCCESS}, true, true, "", _PROBE_MAX},
    {"startup failed", STARTUP, {PROBE_FAILURE}, false, false, "", PROBE_STARTUP},
    {"postStart goes before", HOOK | READINESS | LIVENESS, {0}, false, false, "", _PROBE_MAX},
    {"deleted: only readiness goes on",
     DELETED | LIVENESS | READINESS,
     {0, 0, PROBE_SUCCESS},
     true,
     true,
     "R",
     _PROBE_MAX},
    {"asked to end: the same", STOPPED | LIVENESS | READINESS, {0}, true, false, "R", _PROBE_MAX},
    {"while preStop runs: the same",
     PRE_STOP | LIVENESS | READINESS,
     {0},
     true,
     false,
     "R",
     _PROBE_MAX},
    {"deleted before it started", DELETED | STARTUP | READINESS, {0}, false, false, "", _PROBE_MAX},
    {"doomed already", DOOMED | LIVENESS, {0}, true, true, "", _PROBE_MAX},
    {"without a network nobody is asked", NO_NET | READINESS, {0}, true, false, "", _PROBE_MAX},
    {"ended: nobody is asked",
     EXITED | READINESS | LIVENESS,
     {0, PROBE_FAILURE},
     false,
     false,
     "",
     _PROBE_MAX},
};

static void test_meaning(void **state)
{
    const struct probe_spec probe = spec_of(0, 10, 1, 3);
    const struct handler hook = {.kind = HANDLER_SLEEP};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(meanings); i++) {
        unsigned flags = meanings[i].flags;
        struct container_spec container = {.name = "c", .image = "i"};
        struct pod_spec spec = {
            .containers = &container, .containers_len = 1, .deletion_ms = flags & DELETED ? 1 : 0};
        struct container_observed c = {
            .machine = flags & EXITED ? MACHINE_EXITED : MACHINE_RUNNING,
            .stop_sent = flags & STOPPED,
            .doom = flags & DOOMED ? DOOM_LIVENESS : DOOM_NONE,
            .pre_stop = flags & PRE_STOP ? HOOK_RUNNING : HOOK_NONE,
        };
        struct pod_observed obs = {
            .containers = &c, .containers_len = 1, .net = flags & NO_NET ? NET_NONE : NET_UP};
        char wanted[4] = "";

        container.post_start = flags & HOOK ? &hook : NULL;
        for (int type = 0; type < _PROBE_MAX; type++) {
            container.probes[type] = flags & (1u << type) ? &probe : NULL;
            c.probes[type] = meanings[i].results[type];
        }
        for (int type = 0, n = 0; type < _PROBE_MAX; type++) {
            if (probe_wanted(&spec, &container, &obs, &c, (enum probe_type)type))
                wanted[n++] = "SLR"[type];
        }
        if (!str_eq(wanted, meanings[i].wanted) ||
            probe_started(&container, &c) != meanings[i].started ||
            probe_ready(&container, &c) != meanings[i].ready ||
            probe_condemned(&container, &c) != meanings[i].condemned)
            print_error("%s: wanted %s\n", meanings[i].rule, wanted);
        assert_string_equal(wanted, meanings[i].wanted);
        assert_int_equal(probe_started(&container, &c), meanings[i].started);
        assert_int_equal(probe_ready(&container, &c), meanings[i].ready);
        assert_int_equal(probe_condemned(&container, &c), meanings[i].condemned);
    }
}

static void test_port(void **state)
{
    static const struct container_port ports[] = {{.name = "http", .container_port = 8080},
                                                  {.container_port = 9090}};
    static const struct container_spec container = {.ports = ports, .ports_len = 2};
    static const struct {
        struct handler handler;
        uint16_t port;
        const char *text;
    } rows[] = {
        {{.port = 80}, 80, ""},
        {{.port_name = "http"}, 8080, ""},
        {{.port_name = "grpc"}, 0, "port \"grpc\" not found"},
        {{.port = 0}, 0, "invalid port number: 0"},
        {{.port = 65536}, 0, "invalid port number: 65536"},
        {{.port = -1}, 0, "invalid port number: -1"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[64] = "";

        assert_int_equal(handler_port(&rows[i].handler, &container, text, sizeof(text)),
                         rows[i].port);
        assert_string_equal(text, rows[i].text);
    }
    assert_string_equal(probe_type_to_string(PROBE_READINESS), "Readiness");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first),      cmocka_unit_test(test_early),
        cmocka_unit_test(test_not_early),  cmocka_unit_test(test_grid),
        cmocka_unit_test(test_thresholds), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_meaning),    cmocka_unit_test(test_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
