/* One store, several processes: what one pulls, imports or removes the other knows, and no name is
 * lost. Two stores in this process stand for the agent and `unikubelet image`. */
#include "tests/unit/image_world.h"

#include "runtime/image_archive.h"

#define OTHER "https://reg.io/v2/other/"
#define THIRD "https://reg.io/v2/third/"

static void push_other(struct world *w, const char *base, const char *text)
{
    static const struct layer_spec spec = {"org.unikraft.kernel.image", "/unikraft/bin/kernel",
                                           NULL};
    const struct fake_file file = {.path = "unikraft/bin/kernel", .text = text};
    struct pushed pushed;
    struct buf layer;

    fake_tar(&layer, &file, 1, FAKE_GZIP);
    push_manifest(w, base, "v1", CONFIG_LINUX, &layer, &spec, 1, &pushed);
    buf_free(&layer);
}

/* By the other store. */
static void pull_by(struct world *w, struct image_store *store, const char *name)
{
    struct image_store *own = w->store;

    w->store = store;
    pull(w, name, IMAGE_ALWAYS);
    assert_string_equal(w->reason, "");
    let_go(w);
    w->store = own;
}

static struct image_store *open_second(struct world *w)
{
    struct image_store *store;
    struct err err;

    assert_int_equal(image_store_open(&w->fake.loop, &w->fake.fetcher, &w->config, &store, &err),
                     0);
    return store;
}

static void names_are_shared(void **state)
{
    struct image_store *second;
    struct pushed app;
    struct world w;
    struct err err;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &app);
    push_other(&w, OTHER, "another");
    push_other(&w, THIRD, "a third");
    second = open_second(&w);
    pull_by(&w, w.store, "reg.io/app:v1");
    assert_true(image_present(second, "reg.io/app:v1"));
    pull_by(&w, second, "reg.io/other:v1");
    pull_by(&w, w.store, "reg.io/third:v1");
    for (size_t i = 0; i < 2; i++) {
        struct image_listing list[8];

        assert_int_equal(image_list(i ? second : w.store, list, ARRAY_LEN(list)), 3);
    }
    assert_int_equal(image_remove(second, "reg.io/third:v1", &err), 0);
    assert_false(image_present(w.store, "reg.io/third:v1"));
    assert_true(image_present(w.store, "reg.io/other:v1"));
    pull(&w, "reg.io/app:v1", IMAGE_NEVER);
    want_kraft(&w, &app);
    image_store_close(second);
    world_close(&w);
}

static void last_name_takes_the_files(void **state)
{
    struct pushed app;
    struct world w;
    struct err err;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &app);
    push_kraft(&w, REG, "v2", &app);
    pull_by(&w, w.store, "reg.io/app:v1");
    pull_by(&w, w.store, "reg.io/app:v2");
    assert_int_equal(count(&w, "images"), 1);
    assert_int_equal(image_remove(w.store, "reg.io/app:v1", &err), 0);
    assert_int_equal(count(&w, "images"), 1);
    assert_false(image_present(w.store, "reg.io/app:v1"));
    pull(&w, "reg.io/app:v2", IMAGE_NEVER); /* somebody uses it: it goes all the same */
    want_kraft(&w, &app);
    assert_int_equal(image_remove(w.store, "reg.io/app:v2", &err), 0);
    assert_int_equal(count(&w, "images"), 0);
    assert_int_equal(count(&w, "blobs/sha256"), 0);
    assert_int_equal(image_remove(w.store, "reg.io/app:v2", &err), -ENOENT);
    assert_non_null(strstr(err.text, "\"reg.io/app:v2\" is not on this node"));
    let_go(&w);
    pull(&w, "reg.io/app:v2", IMAGE_IF_NOT_PRESENT);
    want_kraft(&w, &app);
    world_close(&w);
}

/* Of what an archive has only a layout's names come out of it. */
static void archive_takes_a_layout(void **state)
{
    static const struct fake_file files[] = {
        {.path = "index.json", .text = "{}"},
        {.path = "./oci-layout", .text = "{}"},
        {.path = "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
         .text = "blob"},
        {.path = "blobs/sha256/../../../escaped", .text = "x"},
        {.path = "../escaped", .text = "x"},
        {.path = "/tmp/escaped-by-root", .text = "x"},
        {.path = "blobs/sha256/short", .text = "x"},
    };
    CLEANUP(free) char *tar = NULL;
    CLEANUP(free) char *index = NULL;
    char *dir = NULL;
    struct buf text;
    struct world w;
    struct err err;

    (void)state;
    world_open(&w);
    tar = xasprintf("%s/layout.tar", w.dir);
    fake_tar(&text, files, ARRAY_LEN(files), 0);
    assert_int_equal(file_write_atomic(tar, text.data, text.len, 0600), 0);
    assert_int_equal(image_archive_open(tar, w.dir, &dir, &err), 0);
    index = xasprintf("%s/index.json", dir);
    want_file(index, "{}");
    assert_int_equal(count(&w, strrchr(dir, '/') + 1), 3); /* index, oci-layout, blobs */
    assert_int_equal(access("/tmp/escaped-by-root", F_OK), -1);
    free(dir);
    assert_int_equal(image_archive_open(w.dir, w.dir, &dir, &err), 0);
    assert_null(dir); /* a directory is one already */
    assert_int_equal(file_write_atomic(tar, text.data, text.len / 2 + 100, 0600), 0);
    (void)image_archive_open(tar, w.dir, &dir, &err);
    free(dir);
    assert_int_equal(file_write_atomic(tar, "no archive", 10, 0600), 0);
    assert_int_equal(image_archive_open(tar, w.dir, &dir, &err), -EBADMSG);
    assert_int_equal(image_archive_open("/nowhere.tar", w.dir, &dir, &err), -ENOENT);
    buf_free(&text);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_shared),
        cmocka_unit_test(last_name_takes_the_files),
        cmocka_unit_test(archive_takes_a_layout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
