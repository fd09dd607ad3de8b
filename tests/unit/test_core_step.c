/* The rules of pod_step: one row each, in the order of a Pod's life. A row gives what differs from
 * an ordinary Pod, the actions that must follow, and when the step must be called again. */
#include "core_fixture.h"

#include "base/str.h"

#define DELETED(grace) .deleted = true, .grace_s = (grace)
#define UP .image = IMAGE_READY, .net = NET_UP
#define RUNS UP, .machine = MACHINE_RUNNING
#define ENDED(code) UP, .machine = MACHINE_EXITED, .exit_code = (code)
#define DOWN .image = IMAGE_READY, .machine = MACHINE_EXITED

struct row {
    const char *rule;
    enum restart_policy restart;
    bool deleted;
    int64_t grace_s;  /* with deleted */
    int64_t since_ms; /* the deletion was asked for so long ago */
    enum pod_phase api_phase;
    uint32_t features;
    bool refused;

    enum image_state image;
    int64_t image_retry_in_ms;
    enum net_state net;
    int64_t net_retry_in_ms;
    enum prepare_state prepare;
    int64_t prepare_retry_in_ms;
    enum machine_state machine;
    int32_t exit_code; /* in MACHINE_EXITED */
    int64_t restart_in_ms;
    bool new_image; /* the spec has another than was pulled and started */
    bool stop_sent;
    int64_t stop_in_ms; /* with stop_sent */
    bool kill_sent;
    bool gone, stopped_for_good, acked, clean_sent, cleaned;
    enum api_delete_state api_delete;
    int64_t api_delete_in_ms;

    const char *want;    /* names joined by spaces; launch with its attempt, stop with its grace */
    int64_t again_in_ms; /* 0: never */
};

static const struct row rows[] = {
    /* Starting. */
    {"image and network are asked for at once", .want = "pull net-add"},
    {"a pull under way is waited for", .image = IMAGE_PULLING, .want = "net-add"},
    {"a network under way is waited for", .net = NET_ADDING, .want = "pull"},
    {"both under way", .image = IMAGE_PULLING, .net = NET_ADDING, .want = ""},
    {"no launch without network", .image = IMAGE_READY, .net = NET_ADDING, .want = ""},
    {"no launch without image", .image = IMAGE_PULLING, .net = NET_UP, .want = ""},
    {"launch when both are there", UP, .want = "launch/0"},
    {"what it needs of the API is waited for", UP, .prepare = PREPARE_ASKED, .want = ""},
    {"launch when that is there too", UP, .prepare = PREPARE_READY, .want = "launch/0"},
    {"a missing ConfigMap is looked for later", UP, .prepare = PREPARE_FAILED,
     .prepare_retry_in_ms = 4000, .want = "", .again_in_ms = 4000},
    {"and again", UP, .prepare = PREPARE_FAILED, .want = "launch/0"},
    {"a deleted Pod waits for nothing", DELETED(30), UP, .prepare = PREPARE_ASKED,
     .want = "net-del"},
    {"a launch under way is waited for", UP, .machine = MACHINE_STARTING, .want = ""},
    {"a running Pod needs nothing", RUNS, .want = ""},
    {"a failed pull waits its back-off", .image = IMAGE_FAILED, .image_retry_in_ms = 9000,
     .net = NET_UP, .want = "", .again_in_ms = 9000},
    {"a failed pull is tried again then", .image = IMAGE_FAILED, .net = NET_UP, .want = "pull"},
    {"the network does not wait for a failed pull", .image = IMAGE_FAILED,
     .image_retry_in_ms = 9000, .want = "net-add", .again_in_ms = 9000},
    {"a failed network waits", .image = IMAGE_READY, .net = NET_FAILED, .net_retry_in_ms = 1000,
     .want = "", .again_in_ms = 1000},
    {"a failed network is tried again", .image = IMAGE_READY, .net = NET_FAILED, .want = "net-add"},
    {"the earlier of two deadlines counts", .image = IMAGE_FAILED, .image_retry_in_ms = 9000,
     .net = NET_FAILED, .net_retry_in_ms = 1000, .want = "", .again_in_ms = 1000},
    {"a network being taken away comes back first", .image = IMAGE_READY, .net = NET_DELETING,
     .want = ""},
    {"a failed removal of an old one is tried again", .image = IMAGE_READY, .net = NET_DELETING,
     .net_retry_in_ms = -1, .want = "net-del"},
    {"a failed launch waits", UP, .machine = MACHINE_FAILED, .restart_in_ms = 10000, .want = "",
     .again_in_ms = 10000},
    {"a failed launch is tried again under its number", UP, .machine = MACHINE_FAILED,
     .want = "launch/0"},
    {"a failed launch is tried again whatever the policy", UP, .machine = MACHINE_FAILED,
     .restart = RESTART_NEVER, .want = "launch/0"},
    {"a refused Pod does nothing", .refused = true, .want = ""},
    {"a mirror Pod is not ours", .features = PF_MIRROR, .want = ""},

    /* Restarting. */
    {"Always restarts after exit 0", ENDED(0), .want = "launch/1"},
    {"Always restarts after exit 1", ENDED(1), .want = "launch/1"},
    {"OnFailure restarts after exit 1", ENDED(1), .restart = RESTART_ON_FAILURE,
     .want = "launch/1"},
    {"OnFailure ends after exit 0", ENDED(0), .restart = RESTART_ON_FAILURE, .want = "net-del"},
    {"Never ends after exit 0", ENDED(0), .restart = RESTART_NEVER, .want = "net-del"},
    {"Never ends after exit 1", ENDED(1), .restart = RESTART_NEVER, .want = "net-del"},
    {"a restart waits its back-off, the network stays", ENDED(1), .restart_in_ms = 20000,
     .want = "", .again_in_ms = 20000},
    {"policy Always asks for the image again, after the back-off", .image = IMAGE_NEEDED,
     .net = NET_UP, .machine = MACHINE_EXITED, .restart_in_ms = 20000, .want = "",
     .again_in_ms = 20000},
    {"policy Always asks for the image again", .image = IMAGE_NEEDED, .net = NET_UP,
     .machine = MACHINE_EXITED, .want = "pull"},
    {"a restart needs a network again", .image = IMAGE_READY, .machine = MACHINE_EXITED,
     .want = "net-add"},
    {"a refused Pod is not restarted", ENDED(1), .refused = true, .want = ""},

    /* Another image in the spec: contract 3.10. */
    {"a running one of the old image is stopped", RUNS, .new_image = true, .want = "stop/30000"},
    {"in its grace", RUNS, .new_image = true, .stop_sent = true, .stop_in_ms = 12000, .want = "",
     .again_in_ms = 12000},
    {"and killed after it", RUNS, .new_image = true, .stop_sent = true, .want = "kill"},
    {"also when the old image is back", RUNS, .stop_sent = true, .want = "kill"},
    {"a start of the old image is waited for", UP, .machine = MACHINE_STARTING, .new_image = true,
     .want = ""},
    {"then the new image is pulled, whatever the policy", ENDED(0), .restart = RESTART_NEVER,
     .new_image = true, .stop_sent = true, .want = "pull"},
    {"and started", ENDED(0), .restart = RESTART_NEVER, .stop_sent = true, .want = "launch/1"},
    {"an end of its own is the policy's matter", ENDED(0), .restart = RESTART_NEVER,
     .new_image = true, .want = "net-del"},
    {"a new image does not wait for the old one's back-off", ENDED(1), .new_image = true,
     .restart_in_ms = 20000, .want = "pull"},
    {"nor for a launch that failed", UP, .machine = MACHINE_FAILED, .new_image = true,
     .restart_in_ms = 300000, .want = "pull"},
    {"nor for a failed pull", .image = IMAGE_FAILED, .image_retry_in_ms = 9000, .net = NET_UP,
     .new_image = true, .want = "pull"},
    {"nor for a pull under way", .image = IMAGE_PULLING, .net = NET_UP, .new_image = true,
     .want = "pull"},

    /* Ended by itself: resources go, the rest stays for logs until deletion. */
    {"an ended Pod without network needs nothing", DOWN, .restart = RESTART_NEVER, .want = ""},
    {"an ended Pod's network is waited for", DOWN, .restart = RESTART_NEVER, .net = NET_DELETING,
     .want = ""},
    {"a failed removal waits", DOWN, .restart = RESTART_NEVER, .net = NET_DELETING,
     .net_retry_in_ms = 2000, .want = "", .again_in_ms = 2000},
    {"an ended Pod is not cleaned before deletion", DOWN, .restart = RESTART_NEVER, .acked = true,
     .want = ""},
    {"a Pod first seen Succeeded is never started", .api_phase = PHASE_SUCCEEDED, .want = ""},
    {"a Pod first seen Failed is never started", .api_phase = PHASE_FAILED, .want = ""},
    {"nothing starts once stopped for good", .stopped_for_good = true, UP, .want = "net-del"},
    {"a Pod that somebody failed is stopped", RUNS, .api_phase = PHASE_FAILED,
     .want = "stop/30000"},

    /* Deletion: contract 3.6. */
    {"a deleted Pod is never launched", DELETED(30), UP, .want = "net-del"},
    {"a deleted Pod pulls nothing", DELETED(30), .acked = true, .want = "clean"},
    {"a running guest is asked to end", DELETED(30), RUNS, .want = "stop/30000"},
    {"grace 0 kills at once", DELETED(0), RUNS, .want = "kill"},
    {"a negative grace is none", DELETED(-5), RUNS, .want = "kill"},
    {"the guest has its grace", DELETED(30), RUNS, .stop_sent = true, .stop_in_ms = 12000,
     .want = "", .again_in_ms = 12000},
    {"and no more", DELETED(30), RUNS, .stop_sent = true, .want = "kill"},
    {"a stop without channel has its deadline now", DELETED(30), RUNS, .stop_sent = true,
     .stop_in_ms = 0, .want = "kill"},
    {"a second DELETE shortens the grace", DELETED(5), RUNS, .stop_sent = true, .stop_in_ms = 12000,
     .want = "stop/5000"},
    {"a second DELETE with grace 0 kills", DELETED(0), RUNS, .stop_sent = true, .stop_in_ms = 12000,
     .want = "kill"},
    {"one kill is enough", DELETED(0), RUNS, .kill_sent = true, .want = ""},
    {"a start is waited for before the stop", DELETED(30), UP, .machine = MACHINE_STARTING,
     .want = "", .again_in_ms = 30000},
    {"but no longer than the grace", DELETED(30), UP, .since_ms = 30000,
     .machine = MACHINE_STARTING, .want = "kill"},
    {"which is counted from the deletion", DELETED(30), UP, .since_ms = 20000,
     .machine = MACHINE_STARTING, .want = "", .again_in_ms = 10000},
    {"in the time of the API, never longer than itself", DELETED(30), UP, .since_ms = -3600000,
     .machine = MACHINE_STARTING, .want = "", .again_in_ms = 30000},
    {"a start is not waited for with grace 0", DELETED(0), UP, .machine = MACHINE_STARTING,
     .want = "kill"},
    {"the grace is not waited out after the exit", DELETED(30), ENDED(0), .stop_sent = true,
     .stop_in_ms = 12000, .want = "net-del"},
    {"a deleted Pod is not restarted", DELETED(30), ENDED(1), .want = "net-del"},
    {"a failed launch is not tried again", DELETED(30), UP, .machine = MACHINE_FAILED,
     .want = "net-del"},
    {"a half-made network is removed too", DELETED(30), .net = NET_FAILED, .net_retry_in_ms = 5000,
     .want = "net-del"},
    {"a network on its way is waited for", DELETED(30), .net = NET_ADDING, .want = ""},
    {"a failed removal is tried again", DELETED(30), DOWN, .net = NET_DELETING,
     .net_retry_in_ms = -1, .want = "net-del"},
    {"nothing goes before the API has the end", DELETED(30), DOWN, .want = ""},
    {"then the host is cleaned", DELETED(30), DOWN, .acked = true, .want = "clean"},
    {"once", DELETED(30), DOWN, .acked = true, .clean_sent = true, .want = ""},
    {"then the object is deleted", DELETED(30), DOWN, .acked = true, .clean_sent = true,
     .cleaned = true, .want = "api-delete"},
    {"once", DELETED(30), DOWN, .acked = true, .cleaned = true, .api_delete = API_DELETE_SENT,
     .want = ""},
    {"a failed DELETE waits", DELETED(30), DOWN, .acked = true, .cleaned = true,
     .api_delete_in_ms = 2000, .want = "", .again_in_ms = 2000},
    {"finalizers may hold the object for ever", DELETED(30), DOWN, .acked = true, .cleaned = true,
     .api_delete = API_DELETE_DONE, .want = ""},
    {"the object is gone: forget", DELETED(30), DOWN, .acked = true, .cleaned = true,
     .api_delete = API_DELETE_DONE, .gone = true, .want = "forget"},
    {"a refused Pod is deleted like any", DELETED(30), .refused = true, .acked = true,
     .want = "clean"},
    {"a Pod first seen while deleted", DELETED(30), .want = ""},

    /* Gone from the API: force deletion, orphans. */
    {"a forced deletion kills at once", .gone = true, RUNS, .want = "kill"},
    {"even within a grace", DELETED(30), .gone = true, RUNS, .stop_sent = true, .stop_in_ms = 12000,
     .want = "kill"},
    {"even a start", .gone = true, UP, .machine = MACHINE_STARTING, .want = "kill"},
    {"then its network goes", .gone = true, ENDED(137), .want = "net-del"},
    {"then its files, without a word to the API", .gone = true, DOWN, .want = "clean"},
    {"then its memory", .gone = true, DOWN, .cleaned = true, .want = "forget"},
    {"a Pod that never did anything", .gone = true, .want = "clean"},
    {"a refused one too", .gone = true, .refused = true, .cleaned = true, .want = "forget"},
    {"a mirror Pod is only forgotten", .features = PF_MIRROR, .gone = true, .want = "forget"},
};

static uint64_t at(int64_t in_ms)
{
    return (uint64_t)((int64_t)NOW_MONO + in_ms);
}

static void set_up(struct fixture *f, const struct row *row)
{
    fixture_init(f);
    f->spec.restart_policy = row->restart;
    f->spec.api_phase = row->api_phase;
    f->spec.features = row->features;
    if (row->deleted) {
        f->spec.deletion_ms = NOW_UNIX + row->grace_s * 1000 - row->since_ms;
        f->spec.deletion_grace_s = row->grace_s;
    }
    if (row->machine == MACHINE_EXITED)
        fixture_exit(f, row->exit_code, 1000);
    if (row->new_image) {
        f->c.image_hash = str_hash("reg/app:v0", 10);
        f->c.running_hash = f->c.image_hash;
    }
    f->c.image = row->image;
    f->c.image_retry_ms = at(row->image_retry_in_ms);
    f->c.prepare = row->prepare;
    f->c.prepare_retry_ms = at(row->prepare_retry_in_ms);
    f->c.machine = row->machine;
    f->c.restart_ms = at(row->restart_in_ms);
    f->c.stop_sent = row->stop_sent;
    f->c.stop_deadline_ms = row->stop_sent ? at(row->stop_in_ms) : 0;
    f->c.kill_sent = row->kill_sent;
    f->obs.net = row->net;
    f->obs.net_retry_ms = row->net_retry_in_ms ? at(row->net_retry_in_ms) : 0;
    f->obs.gone = row->gone;
    f->obs.stopped_for_good = row->stopped_for_good;
    f->obs.terminal_acked = row->acked;
    f->obs.clean_sent = row->clean_sent || row->cleaned;
    f->obs.cleaned = row->cleaned;
    f->obs.api_delete = row->api_delete;
    f->obs.api_delete_retry_ms = row->api_delete_in_ms ? at(row->api_delete_in_ms) : 0;
}

static void to_text(const struct action *actions, size_t len, char *dst, size_t size)
{
    dst[0] = '\0';
    for (size_t i = 0; i < len; i++) {
        size_t used = strlen(dst);

        used += (size_t)snprintf(dst + used, size - used, "%s%s", i ? " " : "",
                                 action_kind_to_string(actions[i].kind));
        if (actions[i].kind == ACTION_LAUNCH)
            snprintf(dst + used, size - used, "/%u", actions[i].attempt);
        if (actions[i].kind == ACTION_STOP)
            snprintf(dst + used, size - used, "/%lld", (long long)actions[i].grace_ms);
    }
}

static void rule_table(void **state)
{
    static const struct refusal refusal = {.reason = "CreateContainerConfigError"};
    unsigned wrong = 0;

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        const struct row *row = &rows[i];
        struct fixture f;
        struct action first[ACTIONS_MAX], second[ACTIONS_MAX];
        const struct refusal *refused = row->refused ? &refusal : NULL;
        uint64_t again, again2, want = row->again_in_ms ? at(row->again_in_ms) : DEADLINE_NONE;
        size_t len, len2;
        char got[256], got2[256];

        set_up(&f, row);
        len = pod_step(&f.spec, &f.obs, refused, &f.now, first, &again);
        len2 = pod_step(&f.spec, &f.obs, refused, &f.now, second, &again2);
        to_text(first, len, got, sizeof(got));
        to_text(second, len2, got2, sizeof(got2));
        if (strcmp(got, row->want) != 0 || strcmp(got, got2) != 0 || again != want ||
            again2 != want) {
            print_error("%s: want \"%s\" again %lld, got \"%s\" again %lld\n", row->rule, row->want,
                        (long long)want, got, (long long)again);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* Specs and observations that no caller should make: no crash, no launch of what is not there. */
static void total_on_odd_input(void **state)
{
    struct container_spec specs[40] = {{.name = "c", .image = "i"}};
    struct container_observed seen[40];
    struct action out[ACTIONS_MAX];
    uint64_t again;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.obs.containers_len = 0;
    assert_int_equal(pod_step(&f.spec, &f.obs, NULL, &f.now, out, &again), 0);

    memset(seen, 0, sizeof(seen));
    for (size_t i = 0; i < LEN(specs); i++)
        specs[i] = specs[0];
    f.spec.containers = specs;
    f.spec.containers_len = LEN(specs);
    f.obs.containers = seen;
    f.obs.containers_len = LEN(seen);
    assert_in_range(pod_step(&f.spec, &f.obs, NULL, &f.now, out, &again), 1, ACTIONS_MAX);
    for (size_t i = 0; i < LEN(seen); i++)
        seen[i].machine = MACHINE_RUNNING;
    f.obs.gone = true;
    assert_in_range(pod_step(&f.spec, &f.obs, NULL, &f.now, out, &again), 1, ACTIONS_MAX);

    /* A grace of 292 million years does not overflow. */
    fixture_init(&f);
    f.c.machine = MACHINE_RUNNING;
    f.spec.deletion_ms = INT64_MAX;
    f.spec.deletion_grace_s = INT64_MAX;
    assert_int_equal(pod_step(&f.spec, &f.obs, NULL, &f.now, out, &again), 1);
    assert_int_equal(out[0].kind, ACTION_STOP);
    assert_true(out[0].grace_ms > 0);
}

/* pod_stopped_for_good needs every container to be through. */
static void stopped_for_good(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.spec.restart_policy = RESTART_NEVER;
    assert_false(pod_stopped_for_good(&f.spec, &f.obs));
    fixture_exit(&f, 0, 1000);
    assert_true(pod_stopped_for_good(&f.spec, &f.obs));
    f.spec.restart_policy = RESTART_ALWAYS;
    assert_false(pod_stopped_for_good(&f.spec, &f.obs));
    f.obs.stopped_for_good = true;
    assert_true(pod_stopped_for_good(&f.spec, &f.obs));
    f.c.machine = MACHINE_RUNNING;
    assert_false(pod_stopped_for_good(&f.spec, &f.obs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule_table),
        cmocka_unit_test(total_on_odd_input),
        cmocka_unit_test(stopped_for_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
