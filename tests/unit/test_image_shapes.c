/* Images of all shapes: where the kernel may be, what is refused, OCI layouts, a full disk, and
 * cancellation at every moment. */
#include "tests/unit/image_world.h"

#include <sched.h>
#include <sys/mount.h>

#define KERNEL_KEY "org.unikraft.kernel.image"
#define INITRD_KEY "org.unikraft.kernel.initrd"
#define KPATH "/unikraft/bin/kernel"

static char bzimage[0x400];

struct shape {
    const char *what;
    const char *config;
    int how; /* of compressing */
    struct fake_file files[2][3];
    size_t files_len[2];
    struct layer_spec specs[2];
    size_t layers_len;
    const char *kind;   /* on success */
    const char *kernel; /* its text; NULL: not looked at */
    const char *initrd; /* NULL: none */
    const char *reason; /* on failure */
    const char *error;
};

#define F(p, t)                  \
    {                            \
        .path = (p), .text = (t) \
    }
#define CONFIG_LABEL(os, k, v)                                                                     \
    "{\"os\":\"" os "\",\"architecture\":\"x86_64\",\"config\":{\"Labels\":{\"" k "\":\"" v "\"}}" \
    "}"

static const struct shape shapes[] = {
    {.what = "well-known path, gzip, other files and links beside it",
     .config = CONFIG_LINUX,
     .how = FAKE_GZIP,
     .layers_len = 1,
     .files_len = {3},
     .files = {{{.path = "bin/sh", .link = "/etc/passwd"},
                F("etc/x", "y"),
                F("./unikraft/bin/kernel", KERNEL)}},
     .kind = "unikraft",
     .kernel = KERNEL},
    {.what = "zstd, initrd too",
     .config = CONFIG_LINUX,
     .how = FAKE_ZSTD,
     .layers_len = 1,
     .files_len = {2},
     .files = {{F("unikraft/bin/kernel", KERNEL), F("unikraft/bin/initrd", INITRD)}},
     .kind = "unikraft",
     .kernel = KERNEL,
     .initrd = INITRD},
    {.what = "a later layer replaces an earlier one's file",
     .config = CONFIG_LINUX,
     .layers_len = 2,
     .files_len = {1, 1},
     .files = {{F("unikraft/bin/kernel", "old")}, {F("unikraft/bin/kernel", KERNEL)}},
     .kind = "unikraft",
     .kernel = KERNEL},
    {.what = "an annotated kernel wins over a well-known one",
     .config = CONFIG_QEMU,
     .layers_len = 2,
     .files_len = {1, 1},
     .specs = {{KERNEL_KEY, "boot/k", NULL}, {NULL, NULL, NULL}},
     .files = {{F("/boot/k", KERNEL)}, {F("unikraft/bin/kernel", "other")}},
     .kind = "unikraft",
     .kernel = KERNEL},
    {.what = "a label names the path",
     .config = CONFIG_LABEL("linux", KERNEL_KEY, "/boot/k"),
     .layers_len = 1,
     .files_len = {2},
     .files = {{F("boot/k", KERNEL), F("unikraft/bin/kernel", "x")}},
     .kind = "unikraft",
     .kernel = KERNEL},
    {.what = "Linux",
     .config = CONFIG_LINUX,
     .layers_len = 1,
     .files_len = {2},
     .specs = {{KERNEL_KEY, KPATH, NULL}},
     .files = {{{.path = "unikraft/bin/kernel", .text = bzimage, .len = sizeof(bzimage)},
                F("unikraft/bin/initrd", INITRD)}},
     .kind = "linux",
     .initrd = INITRD},
    {.what = "a bzImage for qemu is Unikraft by platform",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {1},
     .specs = {{KERNEL_KEY, KPATH, NULL}},
     .files = {{{.path = "unikraft/bin/kernel", .text = bzimage, .len = sizeof(bzimage)}}},
     .kind = "unikraft"},
    {.what = "the label decides before",
     .config = CONFIG_LABEL("qemu", "dev.unikubelet.guest", "linux"),
     .layers_len = 1,
     .files_len = {1},
     .files = {{F("unikraft/bin/kernel", KERNEL)}},
     .kind = "linux",
     .kernel = KERNEL},
    {.what = "an unknown kind",
     .config = CONFIG_LABEL("qemu", "dev.unikubelet.guest", "plan9"),
     .layers_len = 1,
     .files_len = {1},
     .files = {{F("unikraft/bin/kernel", KERNEL)}},
     .reason = "CreateContainerError",
     .error = "image \"reg.io/app:v1\" is of guest kind \"plan9\" (dev.unikubelet.guest), which"},
    {.what = "tar by the new media type",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {1},
     .specs = {{NULL, NULL, "application/vnd.unikraft.kernel.v1"}},
     .files = {{F("unikraft/bin/kernel", KERNEL)}},
     .kind = "unikraft",
     .kernel = KERNEL},
    {.what = "no kernel in an ordinary image",
     .config = CONFIG_LINUX,
     .how = FAKE_GZIP,
     .layers_len = 2,
     .files_len = {1, 1},
     .files = {{F("bin/nginx", "x")}, {F("etc/y", "z")}},
     .reason = "CreateContainerError",
     .error = "image \"reg.io/app:v1\" has no unikernel kernel: none of its 2 layers is annotated "
              "org.unikraft.kernel.image or has /unikraft/bin/kernel or /urunc.json (platform "
              "linux/amd64). An ordinary container image must be built into a unikernel first"},
    {.what = "kernel-less image",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {1},
     .specs = {{INITRD_KEY, "/unikraft/bin/initrd", NULL}},
     .files = {{F("unikraft/bin/initrd", INITRD)}},
     .reason = "CreateContainerError",
     .error = "has no unikernel kernel, only a root file system"},
    {.what = "no layers",
     .config = CONFIG_QEMU,
     .layers_len = 0,
     .reason = "CreateContainerError",
     .error = "none of its 0 layers"},
    {.what = "annotated, but not there",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {1},
     .specs = {{KERNEL_KEY, "/a/b", NULL}},
     .files = {{F("unikraft/bin/kernel", KERNEL)}},
     .reason = "CreateContainerError",
     .error = "annotated org.unikraft.kernel.image, but the file"},
    {.what = "a symbolic link as kernel",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {1},
     .files = {{{.path = "unikraft/bin/kernel", .link = "/etc/shadow"}}},
     .reason = "ErrImagePull",
     .error = "the image's kernel, unikraft/bin/kernel, is a link: pack the file itself"},
    {.what = "a hard link as kernel",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {2},
     .files = {{F("k", KERNEL), {.path = "unikraft/bin/kernel", .link = "k", .hard = true}}},
     .reason = "ErrImagePull",
     .error = "is a link"},
    {.what = "a device as kernel",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {1},
     .files = {{{.path = "unikraft/bin/kernel", .type = S_IFCHR}}},
     .reason = "ErrImagePull",
     .error = "is no regular file"},
    {.what = "a directory as kernel",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {1},
     .files = {{{.path = "unikraft/bin/kernel", .type = S_IFDIR}}},
     .reason = "CreateContainerError",
     .error = "no unikernel kernel"},
    {.what = "empty kernel",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {1},
     .files = {{F("unikraft/bin/kernel", "")}},
     .reason = "ErrImagePull",
     .error = "kernel is empty"},
    {.what = "paths that climb are other paths",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {1},
     .specs = {{KERNEL_KEY, "../../unikraft/bin/kernel", NULL}},
     .files = {{F("unikraft/bin/kernel", KERNEL)}},
     .reason = "CreateContainerError",
     .error = "no unikernel kernel"},
    {.what = "a climbing entry is compared, not followed",
     .config = CONFIG_QEMU,
     .layers_len = 1,
     .files_len = {2},
     .files = {{F("../../../tmp/evil", "x"), F("unikraft/bin/kernel", KERNEL)}},
     .kind = "unikraft",
     .kernel = KERNEL},
    {.what = "for another platform",
     .config = "{\"os\":\"fc\",\"architecture\":\"x86_64\"}",
     .layers_len = 1,
     .files_len = {1},
     .files = {{F("unikraft/bin/kernel", KERNEL)}},
     .reason = "ErrImagePull",
     .error = "the image is for fc/x86_64"},
};

static void shape_table(void **state)
{
    (void)state;
    memcpy(bzimage + 0x202, "HdrS", 4);
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct shape *shape = &shapes[i];
        struct buf layers[2] = {BUF_INIT(1), BUF_INIT(1)};
        struct pushed p;
        struct world w;

        world_open(&w);
        for (size_t l = 0; l < shape->layers_len; l++)
            fake_tar(&layers[l], shape->files[l], shape->files_len[l], shape->how);
        push_manifest(&w, REG, "v1", shape->config, layers, shape->specs, shape->layers_len, &p);
        pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
        if (shape->reason) {
            if (!str_eq(w.reason, shape->reason) || !strstr(w.error, shape->error))
                fail_msg("%s: %s: %s", shape->what, w.reason, w.error);
            assert_null(image_find(w.store, "reg.io/app", p.manifest));
        } else {
            if (!w.last.image)
                fail_msg("%s: %s: %s", shape->what, w.reason, w.error);
            assert_string_equal(w.last.image->guest_kind, shape->kind);
            if (shape->kernel)
                want_file(w.last.image->kernel, shape->kernel);
            assert_true((w.last.image->initrd != NULL) == (shape->initrd != NULL));
            if (shape->initrd)
                want_file(w.last.image->initrd, shape->initrd);
        }
        world_close(&w);
        buf_free(&layers[0]);
        buf_free(&layers[1]);
    }
}

/* Layers that are no tar: the file itself by media type, garbage otherwise. */
static void raw_layers(void **state)
{
    static const struct layer_spec kernel_type = {NULL, NULL, "application/vnd.unikraft.kernel.v1"};
    static const struct layer_spec plain = {KERNEL_KEY, KPATH, NULL};
    struct buf layer = BUF_INIT(1 << 16);
    struct pushed p;
    struct world w;

    (void)state;
    buf_adds(&layer, KERNEL);
    world_open(&w);
    push_manifest(&w, REG, "v1", CONFIG_QEMU, &layer, &kernel_type, 1, &p);
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    assert_string_equal(w.reason, "");
    want_file(w.last.image->kernel, KERNEL);
    push_manifest(&w, REG, "v2", CONFIG_QEMU, &layer, &plain, 1, &p);
    pull(&w, "reg.io/app:v2", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "is no tar archive");
    world_close(&w);
    buf_free(&layer);
}

static void write_layout(const char *dir, const char *digest, const char *text, size_t len)
{
    CLEANUP(free) char *path = xasprintf("%s/blobs/sha256/%s", dir, digest + strlen("sha256:"));

    assert_int_equal(file_write_atomic(path, text, len, 0644), 0);
}

/* An OCI layout made of what the fake registry would have served. */
static void layouts(void **state)
{
    CLEANUP(free) char *dir = NULL;
    CLEANUP(free) char *blobs = NULL;
    CLEANUP(free) char *index = NULL;
    CLEANUP(free) char *text = NULL;
    const char *list[1];
    struct pushed p;
    struct world w;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    dir = xasprintf("%s/layouts/app", w.dir);
    blobs = xasprintf("%s/blobs/sha256", dir);
    assert_int_equal(file_mkdirs(blobs, 0755), 0);
    for (size_t i = 0; i < w.fake.routes_len; i++)
        if (str_eq(w.fake.routes[i].method, "GET"))
            write_layout(dir, w.fake.routes[i].digest, w.fake.routes[i].body, w.fake.routes[i].len);
    index = xasprintf("%s/index.json", dir);
    text = xasprintf("{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"%s\",\"size\":1,"
                     "\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}}]}",
                     p.index);
    assert_int_equal(file_write_atomic(index, text, strlen(text), 0644), 0);
    image_store_close(w.store);
    list[0] = dir;
    w.config.layouts = list;
    w.config.layouts_len = 1;
    world_open_store(&w);

    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&w, &p);
    assert_int_equal(w.fake.requests, 0);
    pull(&w, "reg.io/other:v1", IMAGE_ALWAYS); /* the tag is app's */
    want_failure(&w, "ErrImagePull", "not found");
    assert_int_equal(w.fake.requests, 1);

    /* A layer that is not its digest. */
    write_layout(dir, p.layers[0], "broken", 6);
    free(text);
    text = xasprintf("%s/images/%s", w.dir, p.manifest + strlen("sha256:"));
    assert_int_equal(file_remove_tree(text), 0);
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", " bytes expected, got 6");
    assert_int_equal(file_write_atomic(index, "{", 1, 0644), 0);
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "OCI layout ");
    world_close(&w);
}

/* Cancelled after n turns of the loop, for all n until it is done: nothing is called, nothing left;
 * a second waiter is not harmed. */
static void cancelled(void **state)
{
    struct pushed p;
    bool done = false;

    (void)state;
    for (int turns = 0; !done; turns++) {
        struct world lone;
        struct world both;
        struct image_pull *pull_lone;
        struct image_pull *pull_first;

        assert_true(turns < 5000);
        srandom(7);
        world_open(&lone);
        lone.fake.chunk_max = 1000;
        push_kraft(&lone, REG, "v1", &p);
        pull_lone = image_pull_start(lone.store, "reg.io/app:v1", IMAGE_ALWAYS, NULL, NULL, NULL,
                                     on_pulled, &lone);
        for (int i = 0; i < turns && lone.calls == 0; i++)
            uv_run(&lone.fake.loop, UV_RUN_ONCE);
        done = lone.calls > 0;
        if (!done)
            image_pull_cancel(pull_lone);
        for (int i = 0; i < 20; i++)
            uv_run(&lone.fake.loop, UV_RUN_NOWAIT);
        assert_int_equal(lone.calls, done);
        world_close(&lone);

        world_open(&both);
        push_kraft(&both, REG, "v1", &p);
        push_kraft(&both, "https://reg.io/v2/copy/", "v1", &p);
        pull_first = image_pull_start(both.store, "reg.io/copy:v1", IMAGE_ALWAYS, NULL, NULL, NULL,
                                      on_pulled, &both);
        image_pull_start(both.store, "reg.io/app:v1", IMAGE_ALWAYS, NULL, NULL, NULL, on_pulled,
                         &both);
        for (int i = 0; i < turns && both.calls == 0; i++)
            uv_run(&both.fake.loop, UV_RUN_ONCE);
        if (both.calls == 0) {
            image_pull_cancel(pull_first);
            while (both.calls == 0)
                uv_run(&both.fake.loop, UV_RUN_ONCE);
            want_kraft(&both, &p);
        }
        while (both.calls < 1)
            uv_run(&both.fake.loop, UV_RUN_ONCE);
        world_close(&both);
    }
}

/* The store closes with pulls in every state under way. */
static void closed(void **state)
{
    struct pushed p;

    (void)state;
    for (int turns = 0; turns < 60; turns += 3) {
        struct world w;

        world_open(&w);
        push_kraft(&w, REG, "v1", &p);
        for (int i = 0; i < 3; i++)
            image_pull_start(w.store, i == 2 ? "Bad" : "reg.io/app:v1", IMAGE_ALWAYS, NULL, NULL,
                             NULL, on_pulled, &w);
        for (int i = 0; i < turns; i++)
            uv_run(&w.fake.loop, UV_RUN_NOWAIT);
        world_close(&w);
    }
}

/* The one who downloads a shared blob may not have it: the next one tries with his own name. */
static void refused_starter(void **state)
{
    CLEANUP(free) char *url = NULL;
    struct pushed p;
    struct world w;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    push_kraft(&w, "https://reg.io/v2/copy/", "v1", &p);
    for (int i = 0; i < 2; i++) {
        free(url);
        url = xasprintf("https://reg.io/v2/copy/blobs/%s", p.layers[i]);
        fake_add(&w.fake, "GET", url, 403, "", 0);
    }
    image_pull_start(w.store, "reg.io/copy:v1", IMAGE_ALWAYS, NULL, NULL, NULL, on_pulled, &w);
    image_pull_start(w.store, "reg.io/app:v1", IMAGE_ALWAYS, NULL, NULL, NULL, on_pulled, &w);
    while (w.calls < 2)
        uv_run(&w.fake.loop, UV_RUN_ONCE);
    pull(&w, "reg.io/app:v1", IMAGE_NEVER);
    want_kraft(&w, &p);
    world_close(&w);
}

/* A disk without room: said clearly, nothing left, and the next try with room succeeds. */
static void full_disk(void **state)
{
    size_t size = 300 * 1024;
    CLEANUP(free) char *big = xcalloc(1, size);
    struct fake_file file = {.path = "unikraft/bin/kernel", .text = big, .len = size};
    struct layer_spec spec = {KERNEL_KEY, KPATH, NULL};
    struct buf layer;
    struct pushed p;
    struct world w;
    int how;

    (void)state;
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        skip();
    memset(big, 'k', size);
    for (how = 0; how <= FAKE_GZIP; how++) { /* the download fails; or the unpacking */
        world_open(&w);
        image_store_close(w.store);
        if (mount("none", w.dir, "tmpfs", 0, "size=128k") < 0)
            skip();
        world_open_store(&w);
        fake_tar(&layer, &file, 1, how);
        push_manifest(&w, REG, "v1", CONFIG_QEMU, &layer, &spec, 1, &p);
        pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
        want_failure(&w, "ErrImagePull", "no space left on device: writing ");
        want_failure(&w, "ErrImagePull", "free some space there or give the image store a larger");
        assert_int_equal(count_tmp(&w), 0);
        assert_int_equal(mount("none", w.dir, "tmpfs", MS_REMOUNT, "size=4m"), 0);
        pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
        assert_string_equal(w.error, "");
        world_close(&w);
        assert_int_equal(umount2(w.dir, MNT_DETACH), 0);
        file_remove_tree(w.dir); /* what is below the mount */
        buf_free(&layer);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        /* First: its mount namespace must be that of the worker threads, not yet started. */
        cmocka_unit_test(full_disk),  cmocka_unit_test(shape_table),
        cmocka_unit_test(raw_layers), cmocka_unit_test(layouts),
        cmocka_unit_test(closed),     cmocka_unit_test(refused_starter),
        cmocka_unit_test(cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
