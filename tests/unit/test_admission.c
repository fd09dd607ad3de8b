/* provider/reconcile_admit.c in virtual time: a controller that makes another Pod the moment one
 * fails cannot make a storm; what is in use is what was let in and has not ended; and a verdict
 * survives the agent. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"
#include "provider/reconcile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PODS_MAX 4096
#define RECORD_BYTES 8192

/* A world without machines: Pods are let in or not, and statuses are taken. */
struct world {
    struct reconcile *r;
    struct now now;
    int64_t cpu_milli; /* allocatable */
    bool known;
    struct waiting {
        char uid[24];
        bool terminal;
    } patched[PODS_MAX]; /* statuses under way */
    size_t patched_len;
    uint32_t rejections;
    uint32_t held_events;
    uint32_t pulls;
    char reason[40];
    char last_body[4096];
    char record[RECORD_BYTES];
    char resizes[4096]; /* what the events about them say */
    uint32_t made;
};

static struct now op_now(void *world)
{
    return ((struct world *)world)->now;
}

static void op_pull(void *world, struct pod *pod, uint32_t container)
{
    (void)pod;
    (void)container;
    ((struct world *)world)->pulls++;
}

static void op_pod(void *world, struct pod *pod)
{
    (void)world;
    (void)pod;
}

static void op_patch(void *world, struct pod *pod, const char *body, size_t len)
{
    struct world *w = world;
    struct waiting *waiting = &w->patched[w->patched_len++];
    assert_true(w->patched_len < PODS_MAX);
    str_copy(waiting->uid, sizeof(waiting->uid), pod->spec->uid);
    str_fmt(w->last_body, sizeof(w->last_body), "%.*s", (int)len, body);
    waiting->terminal = strstr(w->last_body, "\"phase\":\"Failed\"") != NULL;
}

static void op_event(void *world, struct pod *pod, int container, bool warning, const char *reason,
                     const char *message)
{
    struct world *w = world;
    (void)pod;
    if (str_starts(reason, "Resize")) {
        str_fmt(w->resizes + strlen(w->resizes), sizeof(w->resizes) - strlen(w->resizes), "%s %s\n",
                pod->spec->uid, message);
        return;
    }
    assert_int_equal(container, -1);
    assert_true(warning);
    str_copy(w->reason, sizeof(w->reason), reason);
    if (strstr(message, "held back"))
        w->held_events++;
    else
        w->rejections++;
}

static int op_save(void *world, const char *uid, const char *data, size_t len)
{
    struct world *w = world;
    (void)uid;
    str_fmt(w->record, sizeof(w->record), "%.*s", (int)len, data);
    return 0;
}

static int op_unsave(void *world, const char *uid)
{
    (void)world;
    (void)uid;
    return 0;
}

static bool op_env(void *world, const struct pod_spec *spec, struct refuse_env *ret)
{
    const struct world *w = world;
    (void)spec;
    *ret = (struct refuse_env){
        .node = {.known = w->known, .allocatable = {w->cpu_milli, 1 << 30, 1 << 30, 1000}}};
    return true;
}

static const struct world_ops ops = {
    .now = op_now,
    .pull = op_pull,
    .net_add = op_pod,
    .net_del = op_pod,
    .clean = op_pod,
    .forget = op_pod,
    .patch_status = op_patch,
    .event = op_event,
    .save = op_save,
    .unsave = op_unsave,
    .refuse_env = op_env,
};

static struct world *world_new(void)
{
    static const struct reconcile_config config = {.host_ip = "192.0.2.2"};
    struct world *w = xcalloc(1, sizeof(*w));
    w->now = (struct now){.mono_ms = 1000000, .unix_ms = 1700000000000};
    w->known = true;
    w->r = reconcile_new(&config, &ops, w);
    reconcile_synced(w->r);
    return w;
}

static void world_free(struct world *w)
{
    reconcile_free(w->r);
    free(w);
}

static void make_pod_with(struct world *w, const char *owner, int64_t cpu_milli, uint32_t features)
{
    char uid[24];
    struct arena *arena = arena_new(1024);
    struct pod_spec *spec = arena_alloc(arena, sizeof(*spec));
    struct container_spec *c = arena_alloc(arena, sizeof(*c));
    str_fmt(uid, sizeof(uid), "u%u", w->made++);
    c->name = "c";
    c->image = "i:1";
    c->resources = c->desired = (struct resources){cpu_milli, -1, -1, -1, -1, -1};
    *spec = (struct pod_spec){.ns = "ns", .resource_version = "1", .node_name = "uk-0"};
    spec->uid = spec->name = arena_strdup(arena, uid);
    spec->dns_policy = "Default";
    spec->controller_uid = owner;
    spec->features = features;
    spec->containers = c;
    spec->containers_len = 1;
    reconcile_pod(w->r, arena, spec);
}

/* The next version of its spec. */
static void resize_pod(struct world *w, const char *uid, int64_t generation, int64_t cpu_milli)
{
    struct arena *arena = arena_new(1024);
    struct pod_spec *spec = arena_alloc(arena, sizeof(*spec));
    struct container_spec *c = arena_alloc(arena, sizeof(*c));
    c->name = "c";
    c->image = "i:1";
    c->resources = c->desired = (struct resources){cpu_milli, -1, -1, -1, -1, -1};
    *spec = (struct pod_spec){.ns = "ns", .resource_version = "9", .node_name = "uk-0"};
    spec->uid = spec->name = arena_strdup(arena, uid);
    spec->dns_policy = "Default";
    spec->generation = generation;
    spec->containers = c;
    spec->containers_len = 1;
    reconcile_pod(w->r, arena, spec);
}

static void make_pod(struct world *w, const char *owner, int64_t cpu_milli)
{
    make_pod_with(w, owner, cpu_milli, 0);
}

/* One turn: returns the next deadline. Each Pod that failed is followed by another at once, when
 * there is an owner. */
static uint64_t turn(struct world *w, const char *owner)
{
    uint64_t deadline = reconcile_flush(w->r);
    while (w->patched_len > 0) {
        struct waiting waiting = w->patched[--w->patched_len];
        reconcile_patched(w->r, waiting.uid, 200, "2", "");
        if (waiting.terminal && owner) {
            reconcile_pod_gone(w->r, waiting.uid); /* the garbage collector, in time */
            make_pod(w, owner, 9000);
        }
        deadline = w->now.mono_ms;
    }
    return deadline;
}

static void no_storm(void **state)
{
    struct world *w = world_new();
    uint64_t end_ms = w->now.mono_ms + 3600000;
    (void)state;
    w->cpu_milli = 4000;
    for (int i = 0; i < 3; i++)
        make_pod(w, "replica-set", 9000);
    uint64_t turns = 0;
    while (w->now.mono_ms < end_ms) {
        uint64_t deadline = turn(w, "replica-set");
        if (deadline > w->now.mono_ms)
            w->now.mono_ms = deadline;
        assert_true(++turns < 100000);
    }
    /* At 0, 1, 3, 7, ... s, then every five minutes. */
    print_message("%u Pods rejected in an hour\n", w->rejections);
    assert_in_range(w->rejections, 15, 21);
    assert_int_equal(w->made, w->rejections + 3);
    assert_string_equal(w->reason, "OutOfcpu");
    assert_int_equal(w->pulls, 0);
    world_free(w);
}

/* No controller: nobody makes another, and the answer comes at once. */
static void single_pods_are_rejected_at_once(void **state)
{
    struct world *w = world_new();
    (void)state;
    w->cpu_milli = 4000;
    for (int i = 0; i < 5; i++)
        make_pod(w, NULL, 9000);
    (void)turn(w, NULL);
    assert_int_equal(w->rejections, 5);
    assert_int_equal(w->held_events, 0);
    assert_non_null(strstr(w->last_body, "\"containerStatuses\":[]"));
    assert_non_null(strstr(w->last_body, "\"conditions\":[]"));
    assert_non_null(strstr(w->last_body, "\"message\":\"Pod was rejected: Node didn't have"));
    world_free(w);
}

static void a_held_pod_comes_in_when_there_is_room(void **state)
{
    struct world *w = world_new();
    (void)state;
    w->cpu_milli = 4000;
    make_pod(w, "rs", 9000);
    make_pod(w, "rs", 9000);
    (void)turn(w, NULL);
    assert_int_equal(w->rejections, 1);
    assert_int_equal(w->held_events, 1);
    struct pod_look look;
    for (uint32_t i = 0; i < 2; i++) {
        const struct pod *pod = reconcile_find(w->r, "ns", i ? "u1" : "u0");
        reconcile_status(w->r, pod, &look);
        if (look.status.phase == PHASE_FAILED)
            continue;
        assert_string_equal(look.status.containers[0].reason, "OutOfcpu");
        assert_non_null(strstr(look.status.containers[0].message, "held back"));
    }
    w->cpu_milli = 10000;
    w->now.mono_ms += 1000;
    (void)turn(w, NULL);
    assert_int_equal(w->rejections, 1);
    assert_int_equal(w->pulls, 1);
    world_free(w);
}

static void what_is_in_use_counts(void **state)
{
    struct world *w = world_new();
    (void)state;
    w->cpu_milli = 4000;
    make_pod(w, NULL, 3000);
    (void)turn(w, NULL);
    make_pod(w, NULL, 1500); /* 4500 of 4000 */
    make_pod(w, NULL, 1000);
    (void)turn(w, NULL);
    assert_int_equal(w->rejections, 1);
    assert_int_equal(w->pulls, 2);
    reconcile_pod_gone(w->r, "u0");
    (void)turn(w, NULL);
    make_pod(w, NULL, 3000);
    (void)turn(w, NULL);
    assert_int_equal(w->rejections, 1);
    world_free(w);
}

/* Before Node and list are known, nobody is judged. */
static void an_unknown_node_judges_nobody(void **state)
{
    struct world *w = world_new();
    (void)state;
    w->known = false;
    make_pod(w, NULL, 9000);
    (void)turn(w, NULL);
    assert_int_equal(w->rejections + w->pulls + w->patched_len, 0);
    w->known = true;
    w->cpu_milli = 9000;
    reconcile_touch_all(w->r);
    (void)turn(w, NULL);
    assert_int_equal(w->pulls, 1);
    world_free(w);
}

static void a_verdict_survives_the_agent(void **state)
{
    static const struct pod_verdict verdict = {.reason = "Evicted",
                                               .message = "The node was low. ",
                                               .disruption = true,
                                               .grace_ms = 1000,
                                               .since_ms = 1700000000000};
    struct world *w = world_new();
    (void)state;
    w->cpu_milli = 4000;
    make_pod(w, NULL, 100);
    (void)turn(w, NULL);
    assert_true(reconcile_end(w->r, "u0", &verdict));
    assert_false(reconcile_end(w->r, "u0", &verdict));
    assert_false(reconcile_end(w->r, "nobody", &verdict));
    struct world *next = world_new();
    assert_int_equal(reconcile_restore(next->r, "u0", w->record, strlen(w->record), true), 0);
    make_pod(next, NULL, 100);
    (void)turn(next, NULL);
    assert_int_equal(next->pulls, 0);
    assert_non_null(strstr(next->last_body, "\"reason\":\"Evicted\""));
    assert_non_null(strstr(next->last_body, "{\"type\":\"DisruptionTarget\",\"status\":\"True\""));
    assert_non_null(strstr(next->last_body, "\"reason\":\"TerminationByKubelet\""));
    world_free(w);
    world_free(next);
}

/* It begins before the API is known, asks nobody at its end (there is no delete_pod to call), and a
 * shutdown of the node does not outlive the node's return. */
static void a_static_pod_needs_no_api(void **state)
{
    static const struct reconcile_config config = {.host_ip = "192.0.2.2"};
    static const struct pod_verdict verdict = {.reason = "Terminated", .grace_ms = 1000};
    struct world *w = world_new();
    (void)state;
    reconcile_free(w->r);
    w->r = reconcile_new(&config, &ops, w); /* without a list */
    w->known = false;
    w->cpu_milli = 4000;
    make_pod_with(w, NULL, 100, PF_STATIC);
    (void)turn(w, NULL);
    assert_int_equal(w->pulls, 1);
    assert_true(reconcile_end(w->r, "u0", &verdict));
    (void)turn(w, NULL);
    reconcile_free(w->r);

    w->r = reconcile_new(&config, &ops, w);
    assert_int_equal(reconcile_restore(w->r, "u0", w->record, strlen(w->record), true), 0);
    w->made = 0;
    make_pod_with(w, NULL, 100, PF_STATIC);
    reconcile_relist(w->r);
    reconcile_synced(w->r); /* a list that does not name it */
    (void)turn(w, NULL);
    assert_int_equal(w->pulls, 2);
    assert_true(reconcile_end_static(w->r, "u0"));
    reconcile_net_added(w->r, "u0", 0, "10.0.0.1", NULL);
    (void)turn(w, NULL);
    reconcile_net_deleted(w->r, "u0", 0, NULL);
    (void)turn(w, NULL);
    (void)turn(w, NULL);
    reconcile_cleaned(w->r, "u0", 0);
    (void)turn(w, NULL);
    assert_null(reconcile_find_uid(w->r, "u0"));
    assert_int_equal(w->patched_len, 0);
    assert_false(reconcile_end_static(w->r, "u0"));
    world_free(w);
}

/* "Creating" is told after a moment. */
static void settle(struct world *w)
{
    (void)turn(w, NULL);
    w->now.mono_ms += STATUS_COALESCE_MS;
    (void)turn(w, NULL);
}

#define LONG_BODY "\"reason\":\"Deferred\",\"message\":\"Node didn't have enough resource: cpu, "

/* It is told once, keeps its old size in the books, outlives the agent, and comes true the moment
 * that another Pod's end makes room. */
static void a_resize_waits_for_room(void **state)
{
    struct world *w = world_new();
    (void)state;
    w->cpu_milli = 4000;
    make_pod(w, NULL, 1000);
    make_pod(w, NULL, 2500);
    settle(w);
    resize_pod(w, "u0", 2, 2000);
    settle(w);
    reconcile_touch_all(w->r);
    settle(w);
    assert_string_equal(w->resizes,
                        "u0 Pod resize Deferred: {\"containers\":[{\"name\":\"c\",\"resources\":{"
                        "\"requests\":{\"cpu\":\"2\"}}}],\"generation\":2,\"error\":\"Node didn't "
                        "have enough resource: cpu, requested: 2000, used: 2500, capacity: "
                        "4000\"}\n");
    assert_non_null(strstr(w->last_body, LONG_BODY));
    assert_non_null(strstr(w->last_body, "\"allocatedResources\":{\"cpu\":\"1\"}"));
    assert_non_null(strstr(w->last_body, "\"observedGeneration\":2,\"phase\""));
    static char record[RECORD_BYTES];
    memcpy(record, w->record, sizeof(record));
    make_pod(w, NULL, 500); /* as if nothing had been asked for */
    settle(w);
    assert_int_equal(w->rejections, 0);

    struct world *next = world_new();
    next->cpu_milli = 4000;
    next->made = 1;
    make_pod(next, NULL, 2500);
    settle(next);
    assert_int_equal(reconcile_restore(next->r, "u0", record, strlen(record), true), 0);
    resize_pod(next, "u0", 2, 2000);
    settle(next);
    assert_string_equal(next->resizes, "");
    reconcile_pod_gone(next->r, "u1");
    settle(next); /* it goes ... */
    settle(next);
    assert_non_null(strstr(next->resizes, "u0 Pod resize started: "));
    assert_non_null(strstr(next->resizes, "u0 Pod resize completed: ")); /* nothing runs yet */
    assert_non_null(
        strstr(next->last_body, "{\"type\":\"PodResizePending\",\"$patch\":\"delete\"}"));
    assert_non_null(strstr(next->last_body, "\"allocatedResources\":{\"cpu\":\"2\"}"));
    world_free(w);
    world_free(next);
}

static void a_resize_that_cannot_be_is_told_and_taken_back(void **state)
{
    struct world *w = world_new();
    (void)state;
    w->cpu_milli = 4000;
    make_pod(w, NULL, 1000);
    settle(w);
    resize_pod(w, "u0", 2, 5000);
    settle(w);
    assert_non_null(strstr(w->resizes, "u0 Pod resize Infeasible: "));
    assert_non_null(strstr(w->last_body,
                           "\"reason\":\"Infeasible\",\"message\":\"Node didn't have "
                           "enough capacity: cpu, requested: 5000, capacity: 4000\""));
    w->resizes[0] = '\0';
    resize_pod(w, "u0", 3, 1000);
    settle(w);
    assert_string_equal(w->resizes, "");
    assert_null(strstr(w->last_body, "Infeasible"));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_storm),
        cmocka_unit_test(single_pods_are_rejected_at_once),
        cmocka_unit_test(a_held_pod_comes_in_when_there_is_room),
        cmocka_unit_test(what_is_in_use_counts),
        cmocka_unit_test(an_unknown_node_judges_nobody),
        cmocka_unit_test(a_verdict_survives_the_agent),
        cmocka_unit_test(a_resize_waits_for_room),
        cmocka_unit_test(a_resize_that_cannot_be_is_told_and_taken_back),
        cmocka_unit_test(a_static_pod_needs_no_api),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
