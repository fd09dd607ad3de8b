/* What one Pod's credentials brought is not for a Pod that has none: the kubelet's
 * KubeletEnsureSecretPulledImages. */
#include "tests/unit/image_world.h"

#define NAME "reg.io/app:v1"

/* A registry that answers to "user" and "other" only, not to nobody. */
static void make_private(struct world *w, const char *user)
{
    for (size_t i = 0; i < w->fake.routes_len; i++) {
        w->fake.routes[i].user = user;
        w->fake.routes[i].challenge = "Basic realm=\"reg\"";
    }
}

static void open_private(struct world *w, struct pushed *p)
{
    world_open(w);
    push_kraft(w, REG, "v1", p);
    make_private(w, "user");
    pull_as(w, NAME, IMAGE_IF_NOT_PRESENT, "user");
    want_kraft(w, p);
    assert_true(image_private(w->store, NAME));
}

/* Whatever name it is asked for by: the tag, the index, the manifest, another repository. */
static void not_for_nobody(void **state)
{
    struct pushed p;
    struct world w;

    (void)state;
    open_private(&w, &p);
    for (int round = 0; round < 2; round++) {
        CLEANUP(free) char *index = xasprintf("reg.io/app@%s", p.index);
        CLEANUP(free) char *manifest = xasprintf("reg.io/app@%s", p.manifest);
        CLEANUP(free) char *elsewhere = xasprintf("reg.io/mine@%s", p.manifest);
        const char *const names[] = {NAME, index, manifest, elsewhere};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            pull(&w, names[i], IMAGE_IF_NOT_PRESENT);
            if (w.last.image)
                fail_msg("%s", names[i]);
            assert_string_equal(w.reason, "ErrImagePull");
            pull(&w, names[i], IMAGE_ALWAYS);
            assert_null(w.last.image);
            pull(&w, names[i], IMAGE_NEVER);
            want_failure(&w, "ErrImageNeverPull", "is not present with pull policy of Never");
        }
        pull_as(&w, NAME, IMAGE_IF_NOT_PRESENT, "stranger");
        want_failure(&w, "ErrImagePull", "pull access denied");
        image_store_close(w.store); /* the next agent knows it too */
        world_open_store(&w);
    }
    world_close(&w);
}

/* The same credentials need no network; others that are good ask, and download nothing. */
static void for_who_may(void **state)
{
    int requests;
    int blobs;
    struct pushed p;
    struct world w;

    (void)state;
    open_private(&w, &p);
    requests = w.fake.requests;
    pull_as(&w, NAME, IMAGE_IF_NOT_PRESENT, "user");
    want_kraft(&w, &p);
    pull_as(&w, NAME, IMAGE_NEVER, "user");
    want_kraft(&w, &p);
    assert_int_equal(w.fake.requests, requests);
    blobs = hits(&w, "GET", REG, "blobs", p.layers[0]);
    make_private(&w, "other");
    pull_as(&w, NAME, IMAGE_IF_NOT_PRESENT, "other");
    want_kraft(&w, &p);
    assert_true(w.fake.requests > requests);
    assert_int_equal(hits(&w, "GET", REG, "blobs", p.layers[0]), blobs);
    world_close(&w);
}

/* Once the registry gives it to anybody, it is for everybody. */
static void becomes_public(void **state)
{
    int requests;
    struct pushed p;
    struct world w;

    (void)state;
    open_private(&w, &p);
    make_private(&w, NULL);
    pull(&w, NAME, IMAGE_IF_NOT_PRESENT);
    want_kraft(&w, &p);
    assert_false(image_private(w.store, NAME));
    requests = w.fake.requests;
    pull(&w, NAME, IMAGE_IF_NOT_PRESENT);
    want_kraft(&w, &p);
    pull_as(&w, NAME, IMAGE_IF_NOT_PRESENT, "stranger");
    want_kraft(&w, &p);
    assert_int_equal(w.fake.requests, requests);
    world_close(&w);
}

static void only_root_reads_the_names(void **state)
{
    CLEANUP(free) char *path = NULL;
    struct buf text = BUF_INIT(1 << 20);
    struct pushed p;
    struct stat st;
    struct world w;

    (void)state;
    open_private(&w, &p);
    path = xasprintf("%s/refs.json", w.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(file_read(path, &text), 0);
    assert_null(strstr(buf_str(&text), "secret")); /* the password */
    buf_free(&text);
    world_close(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_for_nobody),
        cmocka_unit_test(for_who_may),
        cmocka_unit_test(becomes_public),
        cmocka_unit_test(only_root_reads_the_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
