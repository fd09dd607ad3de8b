/* A store, a registry without a network and a temporary directory; images pushed into it; and the
 * waiting for a pull. For the tests of the image store. */
#pragma once

#include "base/file.h"
#include "tests/unit/image_fake.h"

#include <dirent.h>

#define REG "https://reg.io/v2/app/"
#define KERNEL \
    "\x7f"     \
    "ELF kernel"
#define INITRD "070701 initrd"

struct world {
    struct fake fake;
    struct image_store *store;
    struct image_store_config config;
    const struct keyring *keyring; /* for mirrors */
    char dir[64];
    int calls;
    struct image_result last;
    char error[600];
    char reason[64];
};

/* Digests and texts of an image put into the table. */
struct pushed {
    char index[FAKE_DIGEST_MAX];
    char manifest[FAKE_DIGEST_MAX];
    char config[FAKE_DIGEST_MAX];
    char layers[2][FAKE_DIGEST_MAX];
};

static inline void on_pulled(void *userdata, const struct image_result *result)
{
    struct world *w = userdata;

    w->calls++;
    image_unref(w->last.image);
    w->last = *result;
    str_copy(w->error, sizeof(w->error), result->error ? result->error : "");
    str_copy(w->reason, sizeof(w->reason), result->reason ? result->reason : "");
    assert_true((result->image != NULL) == (result->reason == NULL));
}

static inline void world_open_store(struct world *w)
{
    struct err err;

    if (image_store_open(&w->fake.loop, &w->fake.fetcher, &w->config, &w->store, &err) < 0)
        fail_msg("%s", err.text);
}

static inline void world_open(struct world *w)
{
    memset(w, 0, sizeof(*w));
    str_copy(w->dir, sizeof(w->dir), "/tmp/unikubelet-image-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->config.dir = w->dir;
    fake_open(&w->fake);
    world_open_store(w);
}

static inline void let_go(struct world *w)
{
    image_unref(w->last.image);
    w->last.image = NULL;
}

/* Entries of a directory of the store. */
static inline size_t count(const struct world *w, const char *below)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", w->dir, below);
    DIR *dir = opendir(path);
    size_t len = 0;

    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e; e = readdir(dir))
        len += e->d_name[0] != '.';
    closedir(dir);
    return len;
}

static inline size_t count_tmp(const struct world *w)
{
    return count(w, "tmp");
}

static inline void world_close(struct world *w)
{
    image_unref(w->last.image);
    image_store_close(w->store);
    fake_close(&w->fake); /* runs the loop: workers end here */
    assert_int_equal(count_tmp(w), 0);
    file_remove_tree(w->dir);
}

/* Pulls and waits. */
static inline void pull_as(struct world *w, const char *name, enum image_policy policy,
                           const char *user)
{
    int before = w->calls;

    image_pull_start(w->store, name, policy, user, user ? "secret" : NULL, w->keyring, on_pulled,
                     w);
    assert_int_equal(w->calls, before); /* never before it returned */
    while (w->calls == before)
        uv_run(&w->fake.loop, UV_RUN_ONCE);
    assert_int_equal(w->calls, before + 1);
}

static inline void pull(struct world *w, const char *name, enum image_policy policy)
{
    pull_as(w, name, policy, NULL);
}

static inline void want_failure(struct world *w, const char *reason, const char *text)
{
    assert_null(w->last.image);
    assert_string_equal(w->reason, reason);
    if (!strstr(w->error, text))
        fail_msg("%s", w->error);
}

static inline void want_file(const char *path, const char *text)
{
    struct buf got = BUF_INIT(1 << 20);

    assert_int_equal(file_read(path, &got), 0);
    assert_string_equal(buf_str(&got), text);
    buf_free(&got);
}

static inline void push_blob(struct world *w, const char *base, const char *kind, const void *data,
                             size_t len, char digest[FAKE_DIGEST_MAX])
{
    CLEANUP(free) char *url = NULL;
    struct fake_route *route;

    fake_digest(data, len, digest);
    url = xasprintf("%s%s/%s", base, kind, digest);
    route = fake_add(&w->fake, "GET", url, 200, data, len);
    str_copy(route->digest, sizeof(route->digest), digest);
}

static inline void push_tag(struct world *w, const char *base, const char *tag, const char *text,
                            char digest[FAKE_DIGEST_MAX])
{
    CLEANUP(free) char *url = xasprintf("%smanifests/%s", base, tag);
    static const char *const methods[] = {"GET", "HEAD"};

    push_blob(w, base, "manifests", text, strlen(text), digest);
    for (size_t i = 0; i < 2; i++) {
        struct fake_route *route = fake_add(&w->fake, methods[i], url, 200, text, strlen(text));

        str_copy(route->digest, sizeof(route->digest), digest);
    }
}

#define CONFIG_QEMU                                                                        \
    "{\"architecture\":\"x86_64\",\"os\":\"qemu\",\"os.features\":[\"CONFIG_LIBLWIP=y\"]," \
    "\"config\":{\"Cmd\":[\"/app\",\"x y\"],\"Env\":[\"PATH=/bin\"]}}"
#define CONFIG_LINUX "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{}}"

struct layer_spec {
    const char *annotation; /* NULL: none */
    const char *path;       /* its value */
    const char *type;       /* media type; NULL: a tar */
};

/* A manifest of the layers given, below base (".../v2/name/") under the tag. */
static inline void push_manifest(struct world *w, const char *base, const char *tag,
                                 const char *config, const struct buf *layers,
                                 const struct layer_spec *specs, size_t len, struct pushed *p)
{
    struct buf text = BUF_INIT(1 << 16);

    push_blob(w, base, "blobs", config, strlen(config), p->config);
    buf_addf(&text, "{\"schemaVersion\":2,\"config\":{\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
             p->config, strlen(config));
    for (size_t i = 0; i < len; i++) {
        push_blob(w, base, "blobs", layers[i].data, layers[i].len, p->layers[i]);
        buf_addf(&text, "%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu", i ? "," : "",
                 specs[i].type ? specs[i].type : "application/vnd.oci.image.layer.v1.tar",
                 p->layers[i], layers[i].len);
        if (specs[i].annotation)
            buf_addf(&text, ",\"annotations\":{\"%s\":\"%s\"}", specs[i].annotation, specs[i].path);
        buf_adds(&text, "}");
    }
    buf_adds(&text, "]}");
    push_tag(w, base, tag, buf_str(&text), p->manifest);
    buf_free(&text);
}

static const struct layer_spec kraft_specs[] = {
    {"org.unikraft.kernel.initrd", "/unikraft/bin/initrd", NULL},
    {"org.unikraft.kernel.image", "/unikraft/bin/kernel", NULL},
};

/* kraft's layout, the initrd's layer first; with an index round it that also has an fc child. */
static inline void push_kraft(struct world *w, const char *base, const char *tag, struct pushed *p)
{
    static const struct fake_file initrd = {.path = "unikraft/bin/initrd", .text = INITRD};
    static const struct fake_file kernel = {.path = "/unikraft/bin/kernel", .text = KERNEL};
    CLEANUP(free) char *index = NULL;
    struct buf layers[2];

    fake_tar(&layers[0], &initrd, 1, 0);
    fake_tar(&layers[1], &kernel, 1, 0);
    push_manifest(w, base, "unused", CONFIG_QEMU, layers, kraft_specs, 2, p);
    index = xasprintf("{\"schemaVersion\":2,\"manifests\":["
                      "{\"digest\":\"%s\",\"size\":1,\"platform\":{\"architecture\":\"x86_64\","
                      "\"os\":\"fc\"}},"
                      "{\"digest\":\"%s\",\"size\":1,\"platform\":{\"architecture\":\"x86_64\","
                      "\"os\":\"qemu\"}}]}",
                      p->config, p->manifest);
    push_tag(w, base, tag, index, p->index);
    buf_free(&layers[0]);
    buf_free(&layers[1]);
}

static inline int hits(struct world *w, const char *method, const char *base, const char *kind,
                       const char *what)
{
    CLEANUP(free) char *url = xasprintf("%s%s/%s", base, kind, what);
    struct fake_route *route = fake_route(&w->fake, method, url);

    return route ? route->hits : 0;
}

static inline void want_kraft(struct world *w, const struct pushed *p)
{
    struct image *image = w->last.image;

    if (!image)
        fail_msg("%s: %s", w->reason, w->error);
    assert_string_equal(image->name, "reg.io/app");
    assert_string_equal(image->digest, p->index);
    assert_string_equal(image->guest_kind, "unikraft");
    assert_string_equal(image->os, "qemu");
    assert_string_equal(image->architecture, "x86_64");
    assert_int_equal(image->os_features_len, 1);
    assert_string_equal(image->os_features[0], "CONFIG_LIBLWIP=y");
    assert_int_equal(image->entrypoint_len, 0);
    assert_int_equal(image->cmd_len, 2);
    assert_string_equal(image->cmd[1], "x y");
    assert_string_equal(image->env[0], "PATH=/bin");
    assert_true(image->size_bytes > 1000);
    want_file(image->kernel, KERNEL);
    want_file(image->initrd, INITRD);
}
