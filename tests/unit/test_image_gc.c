/* Collection of images: what is in use or young stays, the longest unused goes first, and what only
 * it needed goes with it. */
#include "tests/unit/image_world.h"

#include "runtime/image_gc.h"

#include <fcntl.h>

#define OTHER "https://reg.io/v2/other/"

static const struct image_gc_config all = {.high_percent = 0, .low_percent = 0};

static bool nobody(void *userdata, const char *digest)
{
    (void)userdata;
    (void)digest;
    return false;
}

static bool who_has(void *userdata, const char *digest)
{
    return str_eq(userdata, digest);
}

/* Two images; the first one's last use is made as long ago as asked. */
static void open_two(struct world *w, struct pushed *app, struct pushed *other, int64_t ago_s)
{
    CLEANUP(free) char *path = NULL;
    struct timespec times[2];
    static const struct fake_file file = {.path = "unikraft/bin/kernel", .text = "another"};
    static const struct layer_spec spec = {"org.unikraft.kernel.image", "/unikraft/bin/kernel",
                                           NULL};
    struct buf layer;

    world_open(w);
    push_kraft(w, REG, "v1", app);
    fake_tar(&layer, &file, 1, FAKE_GZIP);
    push_manifest(w, OTHER, "v1", CONFIG_LINUX, &layer, &spec, 1, other);
    buf_free(&layer);
    pull(w, "reg.io/app:v1", IMAGE_ALWAYS);
    assert_string_equal(w->reason, "");
    let_go(w);
    pull(w, "reg.io/other:v1", IMAGE_ALWAYS);
    assert_string_equal(w->reason, "");
    let_go(w);
    path = xasprintf("%s/images/%s", w->dir, app->manifest + strlen("sha256:"));
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= ago_s;
    times[1] = times[0];
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void all_unused_go(void **state)
{
    struct image_gc_result got;
    struct pushed app;
    struct pushed other;
    struct world w;

    (void)state;
    open_two(&w, &app, &other, 0);
    assert_int_equal(image_gc(w.store, &all, nobody, NULL, &got), 0);
    assert_int_equal(got.removed, 2);
    assert_true(got.blobs >= 7); /* an index, manifests, configs, layers */
    assert_int_equal(count(&w, "images"), 0);
    assert_int_equal(count(&w, "blobs/sha256"), 0);
    assert_false(image_present(w.store, "reg.io/app:v1"));
    pull(&w, "reg.io/app:v1", IMAGE_NEVER);
    want_failure(&w, "ErrImageNeverPull", "is not present with pull policy of Never");
    pull(&w, "reg.io/app:v1", IMAGE_IF_NOT_PRESENT); /* and comes back */
    want_kraft(&w, &app);
    world_close(&w);
}

static void what_is_used_stays(void **state)
{
    struct image_gc_result got;
    struct pushed app;
    struct pushed other;
    struct world w;

    (void)state;
    open_two(&w, &app, &other, 0);
    /* A Pod has it by its index's digest, as imageID says; the other one is referenced. */
    pull(&w, "reg.io/other:v1", IMAGE_IF_NOT_PRESENT);
    assert_int_equal(image_gc(w.store, &all, who_has, app.index, &got), 0);
    assert_int_equal(got.removed, 0);
    assert_true(got.still_too_full);
    want_file(w.last.image->kernel, "another");
    let_go(&w);
    assert_int_equal(image_gc(w.store, &all, who_has, app.index, &got), 0);
    assert_int_equal(got.removed, 1);
    pull(&w, "reg.io/app:v1", IMAGE_NEVER);
    want_kraft(&w, &app);
    world_close(&w);
}

static void ages(void **state)
{
    static const struct {
        struct image_gc_config rules;
        size_t removed;
    } cases[] = {
        {{.high_percent = 0, .low_percent = 0, .min_age_s = 60}, 1}, /* app was used long ago */
        {{.high_percent = 101, .max_age_s = 1800}, 1},               /* however empty the disk */
        {{.high_percent = 101, .max_age_s = 7200}, 0},
        {{.high_percent = 101}, 0},
        {{.high_percent = 0, .low_percent = 101}, 0}, /* full, but already below the low mark */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_gc_result got;
        struct pushed app;
        struct pushed other;
        struct world w;

        open_two(&w, &app, &other, 3600);
        assert_int_equal(image_gc(w.store, &cases[i].rules, nobody, NULL, &got), 0);
        if (got.removed != cases[i].removed)
            fail_msg("%zu: %zu removed", i, got.removed);
        if (got.removed == 1) {
            assert_false(image_present(w.store, "reg.io/app:v1"));
            assert_true(image_present(w.store, "reg.io/other:v1"));
        }
        world_close(&w);
    }
}

static void not_while_pulling(void **state)
{
    struct image_gc_result got;
    struct pushed app;
    struct pushed other;
    struct world w;

    (void)state;
    open_two(&w, &app, &other, 0);
    push_kraft(&w, REG, "v2", &app);
    image_pull_start(w.store, "reg.io/app:v2", IMAGE_ALWAYS, NULL, NULL, NULL, on_pulled, &w);
    assert_int_equal(image_gc(w.store, &all, nobody, NULL, &got), -EBUSY);
    assert_int_equal(got.removed, 0);
    while (w.calls < 3)
        uv_run(&w.fake.loop, UV_RUN_ONCE);
    world_close(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_unused_go),
        cmocka_unit_test(what_is_used_stays),
        cmocka_unit_test(ages),
        cmocka_unit_test(not_while_pulling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
