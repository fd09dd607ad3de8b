/* What observations do to the record: restart counting, back-offs (contract 3.7), stale and
 * repeated news, and what is known of a Pod whose state was lost. */
#include "core_fixture.h"

static void back_off_doubles(void **state)
{
    static const uint64_t seconds[] = {10, 20, 40, 80, 160, 300, 300};

    (void)state;
    for (size_t i = 0; i < LEN(seconds); i++)
        assert_int_equal(backoff_ms((uint32_t)i + 1), seconds[i] * 1000);
    assert_int_equal(backoff_ms(UINT32_MAX), 300000);
}

/* The first restart at once, then 10 s, 20 s, ...; ten minutes of life forget the past. */
static void crash_loop(void **state)
{
    static const struct {
        int64_t ran_ms;
        int64_t wait_ms;
    } lives[] = {
        {1000, 0},      {1000, 10000},  {1000, 20000},  {1000, 40000}, {599999, 80000},
        {1000, 160000}, {1000, 300000}, {1000, 300000}, {600000, 0},   {1000, 10000},
    };
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (size_t i = 0; i < LEN(lives); i++) {
        fixture_exit(&f, 1, lives[i].ran_ms);
        assert_int_equal(f.c.restart_ms, NOW_MONO + lives[i].wait_ms);
        assert_int_equal(f.c.attempt, i);
    }
}

/* A launch that fails is no attempt and waits from the first time on. */
static void failed_launches(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    observe_image_ready(&f.c, "sha256:aa");
    observe_starting(&f.c, "id0");
    observe_start_failed(&f.c, "CreateContainerError", "no tap", false, &f.now);
    assert_int_equal(f.c.restart_ms, NOW_MONO + 10000);
    assert_int_equal(f.c.image, IMAGE_READY);
    observe_starting(&f.c, "id1");
    assert_string_equal(f.c.start_error, "");
    observe_start_failed(&f.c, "CreateContainerError", "no tap", false, &f.now);
    assert_int_equal(f.c.restart_ms, NOW_MONO + 20000);
    assert_int_equal(f.c.attempt, 0);
    /* The image is at fault: only another one can help. */
    observe_starting(&f.c, "id2");
    observe_start_failed(&f.c, "CreateContainerError", "no kernel", true, &f.now);
    assert_int_equal(f.c.restart_ms, NOW_MONO + 300000);
    assert_int_equal(f.c.image, IMAGE_NEEDED);
    assert_false(f.c.exit.valid || f.c.last.valid);
}

/* Each start needs it anew; a failure waits, and less when what it waits for changes. */
static void preparations(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    observe_image_ready(&f.c, "sha256:aa");
    observe_preparing(&f.c);
    observe_prepare_again(&f.c);
    assert_int_equal(f.c.prepare, PREPARE_ASKED); /* the answer under way is waited for */
    observe_prepare_failed(&f.c, "CreateContainerConfigError", "secret \"x\" not found", &f.now);
    assert_int_equal(f.c.prepare_retry_ms, NOW_MONO + 500);
    assert_string_equal(f.c.start_error, "secret \"x\" not found");
    for (unsigned i = 0; i < 20; i++) {
        observe_preparing(&f.c);
        observe_prepare_failed(&f.c, "", "still missing", &f.now);
    }
    assert_int_equal(f.c.prepare_retry_ms, NOW_MONO + 122000);
    observe_prepare_again(&f.c);
    assert_int_equal(f.c.prepare, PREPARE_NEEDED);
    observe_preparing(&f.c);
    observe_prepared(&f.c);
    assert_int_equal(f.c.prepare, PREPARE_READY);
    assert_int_equal(f.c.prepare_failures, 0);
    observe_starting(&f.c, "id0");
    assert_int_equal(f.c.prepare, PREPARE_NEEDED);
    assert_string_equal(f.c.start_error, "");
    observe_prepared(&f.c);
    observe_image_pulling(&f.c, "reg/app:v2");
    assert_int_equal(f.c.prepare, PREPARE_NEEDED);
}

static void ends(void **state)
{
    static const struct {
        struct machine_exit exit;
        const char *reason;
    } rows[] = {
        {{.exit_code = 0}, "Completed"},
        {{.exit_code = 3}, "Error"},
        {{.exit_code = 137, .reason = "OOMKilled"}, "OOMKilled"},
        {{.exit_code = 0, .reason = "Error"}, "Error"},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct fixture f;

        fixture_init(&f);
        observe_starting(&f.c, "id0");
        observe_running(&f.c, NOW_UNIX - 500);
        f.c.ready = true;
        observe_exit(&f.c, &f.container, &rows[i].exit, &f.now);
        assert_int_equal(f.c.machine, MACHINE_EXITED);
        assert_string_equal(f.c.exit.reason, rows[i].reason);
        assert_string_equal(f.c.exit.id, "id0");
        assert_int_equal(f.c.exit.started_ms, NOW_UNIX - 500);
        assert_int_equal(f.c.exit.finished_ms, NOW_UNIX);
        assert_false(f.c.ready);
    }
}

static void image_again_with_policy_always(void **state)
{
    static const enum image_state want[] = {
        [PULL_ALWAYS] = IMAGE_NEEDED,
        [PULL_IF_NOT_PRESENT] = IMAGE_READY,
        [PULL_NEVER] = IMAGE_READY,
    };

    (void)state;
    for (size_t i = 0; i < LEN(want); i++) {
        struct fixture f;

        fixture_init(&f);
        f.container.pull_policy = (enum pull_policy)i;
        observe_image_ready(&f.c, "sha256:aa");
        fixture_exit(&f, 1, 1000);
        assert_int_equal(f.c.image, want[i]);
    }
}

/* News that comes twice, too late or of an attempt before changes nothing. */
static void stale_news(void **state)
{
    struct machine_exit other = {.exit_code = 9, .id = "old"};
    struct container_observed before;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    observe_starting(&f.c, "new");
    before = f.c;
    observe_exit(&f.c, &f.container, &other, &f.now);
    assert_memory_equal(&f.c, &before, sizeof(before));

    fixture_exit(&f, 1, 1000);
    before = f.c;
    other.id[0] = '\0';
    observe_exit(&f.c, &f.container, &other, &f.now);
    observe_lost(&f.c, &f.container, &f.now);
    observe_running(&f.c, NOW_UNIX);
    observe_start_failed(&f.c, "x", "y", true, &f.now);
    observe_never_started(&f.c);
    assert_memory_equal(&f.c, &before, sizeof(before));
}

static void the_one_before(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    fixture_exit(&f, 3, 1000);
    f.c.stop_sent = f.c.kill_sent = true;
    observe_starting(&f.c, "second");
    assert_int_equal(f.c.attempt, 1);
    assert_true(f.c.last.valid);
    assert_int_equal(f.c.last.exit_code, 3);
    assert_string_equal(f.c.last.id, "id");
    assert_string_equal(f.c.id, "second");
    assert_false(f.c.exit.valid || f.c.stop_sent || f.c.kill_sent);
    /* The agent died before it launched: the number is still free. */
    observe_never_started(&f.c);
    assert_int_equal(f.c.machine, MACHINE_NONE);
    observe_starting(&f.c, "third");
    assert_int_equal(f.c.attempt, 1);
    assert_int_equal(f.c.last.exit_code, 3);
}

static void lost_machines(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    observe_starting(&f.c, "id0");
    observe_lost(&f.c, &f.container, &f.now);
    assert_int_equal(f.c.exit.exit_code, 137);
    assert_string_equal(f.c.exit.reason, "ContainerStatusUnknown");
    assert_string_equal(f.c.exit.message,
                        "The container could not be located when the pod was terminated");
}

static void image_failures(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    observe_image_pulling(&f.c, f.container.image);
    observe_image_failed(&f.c, "ErrImagePull", "timeout", &f.now);
    assert_int_equal(f.c.image_retry_ms, NOW_MONO + 10000);
    observe_image_pulling(&f.c, f.container.image);
    observe_image_failed(&f.c, "ErrImagePull", "timeout", &f.now);
    assert_int_equal(f.c.image_retry_ms, NOW_MONO + 20000);
    observe_image_ready(&f.c, "sha256:aa");
    assert_int_equal(f.c.image_failures, 0);
    observe_image_failed(&f.c, "ErrImagePull", "timeout", &f.now);
    assert_int_equal(f.c.image_retry_ms, NOW_MONO + 10000);
}

static void networks(void **state)
{
    static const uint64_t seconds[] = {1, 2, 4, 8, 10, 10};
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (size_t i = 0; i < LEN(seconds); i++) {
        observe_net_adding(&f.obs);
        observe_net_failed(&f.obs, "no address", &f.now);
        assert_int_equal(f.obs.net, NET_FAILED);
        assert_int_equal(f.obs.net_retry_ms, NOW_MONO + seconds[i] * 1000);
    }
    observe_net_up(&f.obs, "10.0.0.2");
    assert_string_equal(f.obs.net_error, "");
    assert_int_equal(f.obs.net_failures, 0);
    /* A failed removal is still a removal. */
    observe_net_deleting(&f.obs);
    observe_net_failed(&f.obs, "busy", &f.now);
    assert_int_equal(f.obs.net, NET_DELETING);
    assert_int_equal(f.obs.net_retry_ms, NOW_MONO + 1000);
    observe_net_gone(&f.obs);
    assert_string_equal(f.obs.pod_ip, "10.0.0.2"); /* EndpointSlices still need it */
}

static void first_sight(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal(f.obs.start_ms, NOW_UNIX);
    assert_int_equal(f.c.attempt, 0);
    assert_false(f.obs.stopped_for_good);
    /* The API remembers two restarts: the third attempt was the last, so the next is the fourth. */
    f.container.api_restart_count = 2;
    f.spec.api_start_ms = 5000;
    memset(&f.c, 0, sizeof(f.c));
    observe_init(&f.obs, &f.spec, &f.c, &f.now);
    assert_int_equal(f.c.attempt, 3);
    assert_int_equal(f.obs.start_ms, 5000);
    f.spec.api_phase = PHASE_FAILED;
    observe_init(&f.obs, &f.spec, &f.c, &f.now);
    assert_true(f.obs.stopped_for_good && f.obs.terminal_acked);
}

/* Texts from outside are cut, never refused. */
static void long_texts(void **state)
{
    char text[2000];
    struct fixture f;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    fixture_init(&f);
    observe_image_failed(&f.c, text, text, &f.now);
    assert_int_equal(strlen(f.c.image_error), OBSERVED_TEXT_MAX - 1);
    assert_int_equal(strlen(f.c.image_reason), OBSERVED_REASON_MAX - 1);
    observe_net_up(&f.obs, text);
    assert_int_equal(strlen(f.obs.pod_ip), OBSERVED_IP_MAX - 1);
    observe_starting(&f.c, text);
    assert_int_equal(strlen(f.c.id), OBSERVED_ID_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(back_off_doubles),
        cmocka_unit_test(crash_loop),
        cmocka_unit_test(failed_launches),
        cmocka_unit_test(preparations),
        cmocka_unit_test(ends),
        cmocka_unit_test(image_again_with_policy_always),
        cmocka_unit_test(stale_news),
        cmocka_unit_test(the_one_before),
        cmocka_unit_test(lost_machines),
        cmocka_unit_test(image_failures),
        cmocka_unit_test(networks),
        cmocka_unit_test(first_sight),
        cmocka_unit_test(long_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
