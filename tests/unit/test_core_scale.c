/* Table and property tests of provider/core/scale.c: when connections are held, workloads woken and
 * put to zero, and how counters become rates. */
#include "provider/core/scale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000000u

/* Up, idle for an hour, ours to put to zero, our address there for long: each row breaks one thing.
 */
static const struct scale_spec usual_spec = {
    .activate = true, .idle_ms = 60000, .min_up_ms = 30000};
static const struct scale_observed usual = {.leading = true,
                                            .synced = true,
                                            .replicas = 2,
                                            .ready = 2,
                                            .traffic_known = true,
                                            .idle_ms = 3600000,
                                            .sample_ms = NOW - 500,
                                            .up_ms = 1000,
                                            .ready_ms = 2000,
                                            .published = true,
                                            .published_ms = NOW - 10000};

struct row {
    const char *what;
    void (*change)(struct scale_spec *spec, struct scale_observed *o);
    struct scale_decision wanted;
};

static void nothing(struct scale_spec *s, struct scale_observed *o)
{
    (void)s;
    (void)o;
}

#define CHANGE(name, code)                                           \
    static void name(struct scale_spec *s, struct scale_observed *o) \
    {                                                                \
        (void)s;                                                     \
        (void)o;                                                     \
        code;                                                        \
    }
CHANGE(unpublished, o->published = false)
CHANGE(just_published, o->published_ms = NOW - 1000)
CHANGE(old_sample, o->sample_ms = o->published_ms + 1999)
CHANGE(not_leading, o->leading = false)
CHANGE(not_leading_new, o->leading = o->published = false)
CHANGE(not_synced, o->synced = false)
CHANGE(open_one, o->open = 1)
CHANGE(held_one, o->held = 1)
CHANGE(relayed_one, o->relayed = 1)
CHANGE(one_starting, o->starting = 1)
CHANGE(unknown, o->traffic_known = false)
CHANGE(not_idle, o->idle_ms = 59999)
CHANGE(ready_lately, o->ready_ms = NOW - 59999)
CHANGE(up_lately, o->up_ms = NOW - 29999)
CHANGE(hpa, o->autoscaled_to_zero = true)
CHANGE(never_by_us, s->idle_ms = 0)
CHANGE(metrics_only, s->activate = false)
CHANGE(no_workload, o->replicas = SCALE_REPLICAS_UNKNOWN; o->ready = 0)
CHANGE(asleep, o->replicas = 0; o->ready = 0)
CHANGE(asleep_held, o->replicas = 0; o->ready = 0; o->held = 1)
CHANGE(asleep_held_follower, o->replicas = 0; o->ready = 0; o->held = 1; o->leading = false)
CHANGE(asleep_ending, o->replicas = 0; o->ready = 2)
CHANGE(booting_held, o->replicas = 1; o->ready = 0; o->starting = 1; o->held = 5)
CHANGE(crashed, o->replicas = 2; o->ready = 0)
CHANGE(asleep_metrics_only, s->activate = false; o->replicas = 0; o->ready = 0; o->held = 1)

static void test_decide(void **state)
{
    static const struct row rows[] = {
        {"idle: to zero", nothing, {.publish = true, .zero = true}},
        {"first our address", unpublished, {.publish = true}},
        {"which must settle", just_published, {.publish = true}},
        {"and be followed by a count", old_sample, {.publish = true}},
        {"a follower changes nothing", not_leading, {.publish = true}},
        {"nor adds anything", not_leading_new, {.publish = false}},
        {"nor before all is known", not_synced, {.publish = true}},
        {"a connection keeps it up", open_one, {.publish = false}},
        {"a held one too", held_one, {.publish = false}},
        {"a carried one too", relayed_one, {.publish = false}},
        {"a slow starter is not shot", one_starting, {.publish = false}},
        {"missing is not zero", unknown, {.publish = false}},
        {"not idle for long enough", not_idle, {.publish = false}},
        {"idle counts from Ready", ready_lately, {.publish = false}},
        {"minimum up-time", up_lately, {.publish = false}},
        {"an HPA does it", hpa, {.publish = false}},
        {"nobody asked for it", never_by_us, {.publish = false}},
        {"counted, not held", metrics_only, {.publish = false}},
        {"nothing to wake", no_workload, {.publish = false}},
        {"at zero: held, not woken", asleep, {.publish = true}},
        {"the first connection wakes", asleep_held, {.publish = true, .wake = true}},
        {"not by a follower", asleep_held_follower, {.publish = true}},
        {"Pods that end are none", asleep_ending, {.publish = true}},
        {"woken once", booting_held, {.publish = true}},
        {"held while it crashes", crashed, {.publish = true}},
        {"not asked for", asleep_metrics_only, {.publish = false}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scale_spec spec = usual_spec;
        struct scale_observed o = usual;
        struct scale_decision d;
        rows[i].change(&spec, &o);
        scale_decide(&spec, &o, NOW, &d);
        if (memcmp(&d, &rows[i].wanted, sizeof(d)) != 0)
            fail_msg("%s: publish %d wake %d zero %d", rows[i].what, d.publish, d.wake, d.zero);
    }
}

static void test_active(void **state)
{
    static const struct {
        const char *what;
        void (*change)(struct scale_spec *spec, struct scale_observed *o);
        int wanted; /* -1: missing */
    } rows[] = {
        {"idle", nothing, 0},           {"open", open_one, 1},
        {"held", held_one, 1},          {"held at zero", asleep_held, 1},
        {"at zero", asleep, 0},         {"starting", one_starting, 1},
        {"young", up_lately, 1},        {"used lately", not_idle, 1},
        {"unknown", unknown, -1},       {"no workload", no_workload, -1},
        {"not synced", not_synced, -1}, {"crashed", crashed, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scale_spec spec = usual_spec;
        struct scale_observed o = usual;
        bool active = false;
        rows[i].change(&spec, &o);
        int got = scale_active(&spec, &o, NOW, &active) ? active : -1;
        if (got != rows[i].wanted)
            fail_msg("%s: %d", rows[i].what, got);
    }
}

static void test_endpoint_counts(void **state)
{
    static const struct {
        const char *what;
        struct scale_endpoint endpoint;
        int64_t replicas;
        uint64_t zero_ms;
        bool wanted;
    } rows[] = {
        {"ready", {.ready = true}, 1, 0, true},
        {"not ready", {.ready = false}, 1, 0, false},
        {"ends", {.ready = true, .terminating = true}, 1, 0, false},
        {"ready, but its workload is at zero", {.ready = true}, 0, NOW - 10, false},
        {"the workload is not seen yet", {.ready = true}, SCALE_REPLICAS_UNKNOWN, 0, true},
        {"woken, and the old Pod is still told as ready",
         {.ready = true, .leaving = true},
         1,
         NOW - SCALE_LEAVING_MS + 1,
         false},
        {"a new Pod of the same moment", {.ready = true}, 1, NOW - 10, true},
        {"woken before anybody ended it",
         {.ready = true, .leaving = true},
         1,
         NOW - SCALE_LEAVING_MS,
         true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool got = scale_endpoint_counts(&rows[i].endpoint, rows[i].replicas, rows[i].zero_ms, NOW);
        if (got != rows[i].wanted)
            fail_msg("%s: %d", rows[i].what, got);
    }
}

/* What an autoscaler that knows only one of the metrics must not read as "nobody is there". */
static void test_what_waits_is_there(void **state)
{
    static const struct {
        const char *what;
        struct scale_observed o;
        uint64_t open;
        bool quiet;
    } rows[] = {
        {"at zero", {.replicas = 0}, 0, true},
        {"at zero, held", {.replicas = 0, .held = 3}, 3, false},
        {"at zero, carried to a Pod that ends", {.replicas = 0, .relayed = 1}, 1, false},
        {"carried, before the next count", {.replicas = 1, .ready = 1, .relayed = 5}, 5, false},
        {"carried and counted", {.replicas = 1, .ready = 1, .relayed = 5, .open = 7}, 7, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (scale_open(&rows[i].o) != rows[i].open ||
            scale_quiet_at_zero(&rows[i].o) != rows[i].quiet)
            fail_msg("%s", rows[i].what);
    }
}

static void test_rate(void **state)
{
    struct scale_series s = {0};
    uint64_t milli = 7;
    (void)state;
    assert_false(scale_series_rate(&s, 0, 5000, 10000, &milli));
    scale_series_add(&s, 1, 1000, 100);
    assert_false(scale_series_rate(&s, 1000, 5000, 10000, &milli)); /* one is no rate */
    scale_series_add(&s, 1, 2000, 110);
    assert_true(scale_series_rate(&s, 2000, 5000, 10000, &milli));
    assert_int_equal(milli, 10000);
    assert_false(scale_series_rate(&s, 12001, 5000, 10000, &milli)); /* stale */
    for (uint64_t t = 3000; t <= 60000; t += 1000)                   /* the ring turns */
        scale_series_add(&s, 1, t, 110);
    assert_true(scale_series_rate(&s, 60000, 5000, 10000, &milli));
    assert_int_equal(milli, 0);
    scale_series_add(&s, 1, 61000, 111);
    assert_true(scale_series_rate(&s, 61000, 5000, 10000, &milli));
    assert_int_equal(milli, 200);      /* one in 5 s */
    scale_series_add(&s, 1, 61001, 5); /* less: it began anew */
    assert_false(scale_series_rate(&s, 61001, 5000, 10000, &milli));
    scale_series_add(&s, 2, 62000, 500); /* another epoch: no jump */
    assert_false(scale_series_rate(&s, 62000, 5000, 10000, &milli));
    scale_series_add(&s, 2, 62000, 501); /* the same moment */
    assert_false(scale_series_rate(&s, 62000, 5000, 10000, &milli));
    scale_series_add(&s, 2, 90000, 529); /* a gap longer than the window */
    assert_true(scale_series_rate(&s, 90000, 5000, 10000, &milli));
    assert_int_equal(milli, 1000);
}

/* A small world with a seed: clients that come and go, Pods that are slow, leaders that change,
 * counters that are missing. What must never happen is looked for at each step. */
struct world {
    struct scale_spec spec;
    struct scale_observed o;
    uint64_t now, used_ms;
    uint32_t booting; /* steps until ready */
    unsigned wakes, zeros;
};

static uint32_t roll(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static void clients(struct world *w, uint64_t *seed)
{
    uint32_t dice = roll(seed) % 100;
    if (dice < 3) {
        w->used_ms = w->now;
        if (w->o.published && (w->o.ready == 0 || dice == 0))
            w->o.held++;
        else if (w->o.ready)
            w->o.open++;
    } else if (dice < 20 && w->o.open) {
        w->o.open--;
        w->used_ms = w->now;
    }
    if (w->o.ready && w->o.held) { /* carried, and counted at the Pod */
        w->o.open += w->o.held;
        w->o.held = 0;
        w->used_ms = w->now;
    }
}

static void cluster(struct world *w, uint64_t *seed)
{
    if (w->o.replicas == 0) {
        w->o.ready = w->o.starting = w->booting = 0;
    } else if (w->o.ready == 0 && !w->booting) {
        w->booting = 1 + roll(seed) % 120;
        w->o.starting = 1;
    } else if (w->booting && --w->booting == 0) {
        w->o.ready = 1;
        w->o.starting = 0;
        w->o.ready_ms = w->now;
    }
    w->o.traffic_known = roll(seed) % 10 != 0;
    if (w->o.traffic_known)
        w->o.sample_ms = w->now;
    w->o.idle_ms = w->o.open ? 0 : w->now - w->used_ms;
    w->o.leading = roll(seed) % 50 != 0;
}

static void obey(struct world *w, const struct scale_decision *d, uint64_t *seed)
{
    const struct scale_observed *o = &w->o;
    if (d->wake) {
        assert_true(o->leading && o->replicas == 0 && o->held > 0);
        w->o.replicas = 1;
        w->o.up_ms = w->now;
        w->wakes++;
    }
    if (d->zero) {
        assert_true(o->leading && o->published && d->publish && o->traffic_known);
        assert_true(o->open == 0 && o->held == 0 && o->starting == 0 && o->ready > 0);
        assert_true(w->now >= o->up_ms + w->spec.min_up_ms);
        assert_true(w->now - w->used_ms >= w->spec.idle_ms);
        w->o.replicas = 0;
        w->zeros++;
    }
    if (d->publish != o->published && roll(seed) % 4) { /* sometimes the write is lost */
        w->o.published = d->publish;
        w->o.published_ms = w->now;
    }
}

static void test_simulation(void **state)
{
    unsigned wakes = 0;
    unsigned zeros = 0;
    (void)state;
    for (uint64_t first = 1; first <= 2000; first++) {
        uint64_t seed = first;
        struct world w = {.spec = {.activate = true,
                                   .idle_ms = 1000 + roll(&seed) % 20000,
                                   .min_up_ms = roll(&seed) % 20000},
                          .o = {.synced = true, .replicas = roll(&seed) % 2}};
        uint64_t held_since = 0;
        for (int step = 0; step < 2000; step++) {
            struct scale_decision d;
            struct scale_decision again;
            w.now += 100;
            cluster(&w, &seed);
            clients(&w, &seed);
            scale_decide(&w.spec, &w.o, w.now, &d);
            scale_decide(&w.spec, &w.o, w.now, &again);
            assert_memory_equal(&d, &again, sizeof(d));
            obey(&w, &d, &seed);
            /* Nobody is held for longer than a boot and a leader's absence. */
            held_since = w.o.held ? (held_since ? held_since : w.now) : 0;
            assert_true(!held_since || w.now - held_since < 30000);
        }
        wakes += w.wakes;
        zeros += w.zeros;
    }
    assert_true(wakes > 1000 && zeros > 1000); /* it was no idle world */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decide),
        cmocka_unit_test(test_active),
        cmocka_unit_test(test_endpoint_counts),
        cmocka_unit_test(test_what_waits_is_there),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_simulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
