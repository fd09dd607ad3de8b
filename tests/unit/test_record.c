/* provider/record.c: what is saved of a Pod comes back as it must after a restart of the agent and
 * of the host; what is cut, changed or from elsewhere is refused as a whole. */
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "provider/reconcile_priv.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UID "0b0f5a4e-1111-4222-8333-444455556666"
#define ID "00112233445566778899aabbccddeeff"
#define DIGEST "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct container_spec container = {.name = "c", .image = "reg/app:v1"};
static const struct pod_spec spec = {
    .uid = UID, .ns = "ns", .name = "p", .containers = &container, .containers_len = 1};

static const struct container_spec inits[2] = {{.name = "i1", .image = "reg/i:v1"},
                                               {.name = "i2", .image = "reg/i:v2"}};

/* A Pod and what its pointers point to. */
struct subject {
    struct pod pod;
    struct container_observed containers[POD_MACHINES_MAX];
    char image_names[POD_MACHINES_MAX][POD_IMAGE_NAME_MAX];
};

static struct pod *subject_init(struct subject *s, const struct pod_spec *of)
{
    memset(s, 0, sizeof(*s));
    s->pod.spec = of;
    s->pod.containers = s->pod.obs.containers = s->containers;
    s->pod.image_names = s->image_names;
    s->pod.obs.containers_len = pod_containers_len(of);
    return &s->pod;
}

static struct pod *full_pod(struct subject *s, enum machine_state machine)
{
    struct pod *pod = subject_init(s, &spec);
    pod->obs.start_ms = 1700000000123;
    pod->obs.stopped_for_good = true;
    str_copy(pod->obs.pod_ip, sizeof(pod->obs.pod_ip), "10.88.0.2");
    str_copy(pod->image_names[0], sizeof(pod->image_names[0]), "reg/app");
    struct container_observed *c = &pod->containers[0];
    c->machine = machine;
    c->attempt = 4;
    c->crashes = 3;
    c->restart_ms = 123456;
    c->running_hash = 0xfedcba9876543210;
    c->stop_sent = true;
    str_copy(c->id, sizeof(c->id), ID);
    str_copy(c->image_digest, sizeof(c->image_digest), DIGEST);
    c->exit = (struct machine_exit){.valid = machine == MACHINE_EXITED,
                                    .exit_code = -1,
                                    .signal = 9,
                                    .reason = "Error",
                                    .message = "panic: \"\xc3\xa4\"\n\x01",
                                    .started_ms = 1,
                                    .finished_ms = 2,
                                    .id = ID};
    c->last = (struct machine_exit){
        .valid = true, .exit_code = 137, .reason = "OOMKilled", .finished_ms = 1700000000000};
    return pod;
}

static char *encode(const struct pod *pod)
{
    struct buf out = BUF_INIT(RECORD_MAX);
    record_encode(pod, &out);
    assert_false(out.overflow);
    return buf_take(&out);
}

static int decode(const char *text, bool same_boot, struct arena *arena, struct record *ret)
{
    return record_decode(text, strlen(text), same_boot, arena, ret);
}

static void test_round_trip(void **state)
{
    struct subject s;
    struct record r = {0};
    struct arena *arena = arena_new(512);
    (void)state;
    struct pod *pod = full_pod(&s, MACHINE_EXITED);
    CLEANUP(free) char *text = encode(pod);
    assert_int_equal(decode(text, true, arena, &r), 0);
    assert_string_equal(r.spec->uid, UID);
    assert_string_equal(r.spec->ns, "ns");
    assert_string_equal(r.spec->name, "p");
    assert_int_equal(r.spec->containers_len, 1);
    assert_string_equal(r.spec->containers[0].name, "c");
    assert_non_null(r.spec->dns_policy);
    assert_non_null(r.spec->resource_version);
    assert_string_equal(r.image_names[0], "reg/app");
    assert_int_equal(r.obs.start_ms, 1700000000123);
    assert_true(r.obs.stopped_for_good);
    assert_string_equal(r.obs.pod_ip, "10.88.0.2");
    assert_int_equal(r.obs.containers_len, 1);
    const struct container_observed *c = &r.containers[0];
    assert_int_equal(c->machine, MACHINE_EXITED);
    assert_int_equal(c->attempt, 4);
    assert_int_equal(c->crashes, 3);
    assert_int_equal(c->restart_ms, 123456);
    assert_true(c->running_hash == 0xfedcba9876543210);
    assert_true(c->stop_sent);
    assert_string_equal(c->id, ID);
    assert_string_equal(c->image_digest, DIGEST);
    assert_memory_equal(&c->exit, &pod->containers[0].exit, sizeof(c->exit));
    assert_memory_equal(&c->last, &pod->containers[0].last, sizeof(c->last));
    arena_free(arena);
}

/* Whether the machine lives is not for the record to say. */
static void test_states(void **state)
{
    static const struct {
        enum machine_state saved, restored;
        bool asked;
    } rows[] = {
        {MACHINE_NONE, MACHINE_NONE, false},        {MACHINE_STARTING, MACHINE_STARTING, false},
        {MACHINE_RUNNING, MACHINE_STARTING, false}, {MACHINE_EXITED, MACHINE_EXITED, true},
        {MACHINE_FAILED, MACHINE_NONE, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct subject s;
        struct record r = {0};
        struct arena *arena = arena_new(512);
        struct pod *pod = full_pod(&s, rows[i].saved);
        CLEANUP(free) char *text = encode(pod);
        assert_int_equal(decode(text, true, arena, &r), 0);
        assert_int_equal(r.containers[0].machine, rows[i].restored);
        assert_int_equal(r.containers[0].exit.valid, rows[i].saved == MACHINE_EXITED);
        /* A stop that was asked of a live machine is asked again by the new agent. */
        assert_int_equal(r.containers[0].stop_sent, rows[i].asked);
        arena_free(arena);
    }
}

/* The monotonic clock begins anew with the host. */
static void test_other_boot(void **state)
{
    struct subject s;
    struct record r = {0};
    struct arena *arena = arena_new(512);
    (void)state;
    struct pod *pod = full_pod(&s, MACHINE_EXITED);
    CLEANUP(free) char *text = encode(pod);
    assert_int_equal(decode(text, false, arena, &r), 0);
    assert_int_equal(r.containers[0].restart_ms, 0);
    assert_int_equal(r.containers[0].crashes, 3);
    assert_int_equal(r.obs.start_ms, 1700000000123);
    arena_free(arena);
}

/* A record of a Pod of which little is known: an orphan's. */
static void test_bare(void **state)
{
    static const struct container_spec nameless = {.name = "", .image = ""};
    static const struct pod_spec bare = {
        .uid = UID, .ns = "", .name = "", .containers = &nameless, .containers_len = 1};
    struct subject s;
    struct record r = {0};
    struct arena *arena = arena_new(512);
    (void)state;
    struct pod *pod = subject_init(&s, &bare);
    CLEANUP(free) char *text = encode(pod);
    assert_int_equal(decode(text, true, arena, &r), 0);
    assert_string_equal(r.spec->name, "");
    assert_string_equal(r.spec->containers[0].name, "");
    assert_int_equal(r.containers[0].machine, MACHINE_NONE);
    arena_free(arena);
}

/* Init containers come back under their own numbers, behind the others. */
static void test_inits(void **state)
{
    static const struct pod_spec three = {.uid = UID,
                                          .ns = "ns",
                                          .name = "p",
                                          .containers = &container,
                                          .containers_len = 1,
                                          .init_containers = inits,
                                          .init_containers_len = 2};
    struct subject s;
    struct record r = {0};
    struct arena *arena = arena_new(512);
    (void)state;
    struct pod *pod = subject_init(&s, &three);
    pod->containers[1].machine = MACHINE_EXITED;
    pod->containers[1].exit = (struct machine_exit){
        .valid = true, .reason = "Completed", .console = "last\nwords \"\xc3\xa4\""};
    pod->containers[2].machine = MACHINE_RUNNING;
    pod->containers[2].attempt = 2;
    str_copy(pod->image_names[2], POD_IMAGE_NAME_MAX, "reg/i");
    CLEANUP(free) char *text = encode(pod);
    assert_int_equal(decode(text, true, arena, &r), 0);
    assert_int_equal(r.spec->containers_len, 1);
    assert_int_equal(r.spec->init_containers_len, 2);
    assert_string_equal(pod_container(r.spec, 0)->name, "c");
    assert_string_equal(pod_container(r.spec, 2)->name, "i2");
    assert_int_equal(r.obs.containers_len, 3);
    assert_int_equal(r.containers[0].machine, MACHINE_NONE);
    assert_int_equal(r.containers[1].machine, MACHINE_EXITED);
    assert_string_equal(r.containers[1].exit.reason, "Completed");
    assert_string_equal(r.containers[1].exit.console, "last\nwords \"\xc3\xa4\"");
    assert_null(r.containers[2].exit.console);
    assert_int_equal(r.containers[2].machine, MACHINE_STARTING);
    assert_int_equal(r.containers[2].attempt, 2);
    assert_string_equal(r.image_names[2], "reg/i");
    arena_free(arena);
}

/* Every field at its longest, with characters that JSON writes as six: it fits. */
static void test_longest(void **state)
{
    struct subject s;
    struct record r = {0};
    struct arena *arena = arena_new(512);
    (void)state;
    struct pod *pod = full_pod(&s, MACHINE_EXITED);
    struct machine_exit *exit = &pod->containers[0].exit;
    memset(exit->message, 1, sizeof(exit->message) - 1);
    memset(exit->reason, 1, sizeof(exit->reason) - 1);
    pod->containers[0].last = *exit;
    memset(pod->image_names[0], 1, sizeof(pod->image_names[0]) - 1);
    pod->containers[0].attempt = UINT32_MAX;
    pod->containers[0].crashes = UINT32_MAX;
    exit->exit_code = INT32_MIN;
    CLEANUP(free) char *text = encode(pod);
    assert_int_equal(decode(text, true, arena, &r), 0);
    assert_memory_equal(&r.containers[0].exit, exit, sizeof(*exit));
    assert_int_equal(r.containers[0].attempt, UINT32_MAX);
    arena_free(arena);
}

static void test_truncated(void **state)
{
    struct subject s;
    (void)state;
    struct pod *pod = full_pod(&s, MACHINE_EXITED);
    CLEANUP(free) char *text = encode(pod);
    for (size_t len = 0; len < strlen(text); len++) {
        struct arena *arena = arena_new(512);
        struct record r = {.spec = &spec};
        CLEANUP(free) char *exact = xmalloc(len + 1); /* so that reading on is seen */
        memcpy(exact, text, len);
        assert_int_equal(record_decode(exact, len, true, arena, &r), -EBADMSG);
        assert_ptr_equal(r.spec, &spec);
        arena_free(arena);
    }
}

#define RECORD(version, names, container)                                                       \
    "{\"version\":" version "," names ",\"start\":1,\"containers\":[{\"name\":\"c\"," container \
    "\"machine\":3,\"exit\":{\"code\":1}}]}"
#define NAMES "\"uid\":\"u\",\"namespace\":\"ns\",\"name\":\"p\""

static void test_accepted(void **state)
{
    static const char *const rows[] = {
        RECORD("1", NAMES, ""),
        RECORD("1", NAMES, "\"later\":[1,{}],"), /* a member of a newer agent */
        RECORD("1", NAMES, "\"imageHash\":\"\","),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(512);
        struct record r = {0};
        assert_int_equal(decode(rows[i], true, arena, &r), 0);
        assert_int_equal(r.containers[0].machine, MACHINE_EXITED);
        assert_int_equal(r.containers[0].exit.exit_code, 1);
        assert_int_equal(r.containers[0].attempt, 0);
        arena_free(arena);
    }
}

/* What it was given, what it runs with and what waits outlive the agent; of an older record nothing
 * of that is known. */
static void test_resize(void **state)
{
    static const struct pod_resize resize = {.pending = RESIZE_INFEASIBLE,
                                             .message = "no hot-plug",
                                             .pending_generation = 3,
                                             .pending_since_ms = 1700000000001,
                                             .in_progress = true,
                                             .progress_generation = 2,
                                             .progress_since_ms = 1700000000000};
    struct subject s;
    struct record r = {0};
    struct arena *arena = arena_new(512);
    (void)state;
    struct pod *pod = full_pod(&s, MACHINE_RUNNING);
    CLEANUP(free) char *older = encode(pod);
    assert_int_equal(decode(older, true, arena, &r), 0);
    assert_false(r.resized || r.containers[0].allocated_known || r.containers[0].actual_known);
    struct container_observed *c = &pod->containers[0];
    c->allocated_known = c->actual_known = true;
    c->allocated = (struct resources){100, 0, 64 << 20, -1, -1, 1LL << 50};
    c->actual = (struct resources){-1, -1, -1, -1, -1, -1};
    c->cpus = 2;
    pod->obs.resize = &resize;
    CLEANUP(free) char *text = encode(pod);
    assert_int_equal(decode(text, true, arena, &r), 0);
    assert_true(r.resized && r.containers[0].allocated_known && r.containers[0].actual_known);
    assert_memory_equal(&r.containers[0].allocated, &c->allocated, sizeof(c->allocated));
    assert_memory_equal(&r.containers[0].actual, &c->actual, sizeof(c->actual));
    assert_int_equal(r.containers[0].cpus, 2);
    assert_memory_equal(&r.resize, &resize, sizeof(resize));
    assert_int_equal(decode(RECORD("1", NAMES, "\"cpus\":-1,"), true, arena, &r), -EBADMSG);
    assert_int_equal(decode(RECORD("1", NAMES, "\"actual\":{\"cpuLimit\":-5},"), true, arena, &r),
                     -EBADMSG);
    arena_free(arena);
}

static void test_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "null",
        "[]",
        "\"text\"",
        "{}",
        RECORD("0", NAMES, ""),
        RECORD("2", NAMES, ""),
        RECORD("\"1\"", NAMES, ""),
        RECORD("1.5", NAMES, ""),
        RECORD("1", "\"uid\":\"\",\"namespace\":\"ns\",\"name\":\"p\"", ""),
        RECORD("1", "\"uid\":7,\"namespace\":\"ns\",\"name\":\"p\"", ""),
        RECORD("1", "\"uid\":\"u\",\"name\":\"p\"", ""),
        RECORD("1", "\"uid\":\"u\",\"namespace\":\"ns\"", ""),
        /* Parts of paths. */
        RECORD("1", "\"uid\":\"u\",\"namespace\":\"../../etc\",\"name\":\"p\"", ""),
        RECORD("1", "\"uid\":\"u\",\"namespace\":\"ns\",\"name\":\"p/../q\"", ""),
        RECORD("1", "\"uid\":\"u/v\",\"namespace\":\"ns\",\"name\":\"p\"", ""),
        "{\"version\":1," NAMES ",\"containers\":[{\"name\":\"..\"}]}",
        "{\"version\":1," NAMES ",\"containers\":[{\"name\":\"a/b\"}]}",
        /* Containers. */
        "{\"version\":1," NAMES "}",
        "{\"version\":1," NAMES ",\"containers\":[]}",
        "{\"version\":1," NAMES ",\"containers\":{}}",
        "{\"version\":1," NAMES ",\"containers\":[{}]}",
        "{\"version\":1," NAMES ",\"containers\":[7]}",
        "{\"version\":1," NAMES ",\"containers\":[{\"name\":\"c\"}],\"initContainers\":{}}",
        "{\"version\":1," NAMES
        ",\"containers\":[{\"name\":\"c\"}],\"initContainers\":[{\"name\":\"a/b\"}]}",
        "{\"version\":1," NAMES ",\"containers\":[{\"name\":\"c\"}],\"initContainers\":[{},{}]}",
        /* Wrong types. */
        "{\"version\":1," NAMES ",\"start\":\"1\",\"containers\":[{\"name\":\"c\"}]}",
        "{\"version\":1," NAMES ",\"stopped\":1,\"containers\":[{\"name\":\"c\"}]}",
        "{\"version\":1," NAMES ",\"ip\":{},\"containers\":[{\"name\":\"c\"}]}",
        RECORD("1", NAMES, "\"attempt\":\"4\","),
        RECORD("1", NAMES, "\"attempt\":null,"),
        RECORD("1", NAMES, "\"id\":4,"),
        RECORD("1", NAMES, "\"asked\":\"true\","),
        RECORD("1", NAMES, "\"imageHash\":\"xyz\","),
        RECORD("1", NAMES, "\"imageHash\":12,"),
        RECORD("1", NAMES, "\"last\":[],"),
        RECORD("1", NAMES, "\"last\":{\"console\":7},"),
        RECORD("1", NAMES, "\"last\":{\"code\":\"1\"},"),
        /* Absurd numbers. */
        RECORD("1", NAMES, "\"allocated\":7,"),
        "{\"version\":1," NAMES ",\"resize\":{\"pending\":3},\"containers\":[{\"name\":\"c\"}]}",
        "{\"version\":1," NAMES ",\"resize\":[],\"containers\":[{\"name\":\"c\"}]}",
        RECORD("1", NAMES, "\"attempt\":-1,"),
        RECORD("1", NAMES, "\"attempt\":4294967296,"),
        RECORD("1", NAMES, "\"attempt\":1.5,"),
        RECORD("1", NAMES, "\"attempt\":1e300,"),
        RECORD("1", NAMES, "\"crashes\":-3,"),
        RECORD("1", NAMES, "\"restart\":-1,"),
        RECORD("1", NAMES, "\"restart\":9007199254740991,"),
        RECORD("1", NAMES, "\"last\":{\"code\":2147483648},"),
        RECORD("1", NAMES, "\"last\":{\"finished\":-1},"),
        "{\"version\":1," NAMES ",\"containers\":[{\"name\":\"c\",\"machine\":5}]}",
        "{\"version\":1," NAMES ",\"containers\":[{\"name\":\"c\",\"machine\":-1}]}",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(512);
        struct record r = {.spec = &spec};
        if (decode(rows[i], true, arena, &r) != -EBADMSG || r.spec != &spec)
            fail_msg("accepted: %s", rows[i]);
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_states),
        cmocka_unit_test(test_other_boot), cmocka_unit_test(test_bare),
        cmocka_unit_test(test_inits),      cmocka_unit_test(test_longest),
        cmocka_unit_test(test_truncated),  cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_resize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
