/* Removes images and what only they needed. An image is its directory; the time of its last use is
 * that directory's. Names go with it, so that IfNotPresent pulls again. */
#include "runtime/image_gc.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "runtime/image_int.h"
#include "runtime/image_oci.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

struct candidate {
    char manifest[IMAGE_DIGEST_MAX];
    int64_t used_s; /* unix time of the last use */
};

struct collection {
    struct image_store *store;
    const struct image_gc_config *config;
    image_in_use in_use;
    void *userdata;
    int64_t now_s;
    struct candidate *list; /* longest unused first */
    size_t len;
};

/* Of what an ordinary user could fill, rounded up: as df shows it. */
static unsigned disk_percent(const struct disk *disk)
{
    struct statvfs st;
    uint64_t used;
    uint64_t all;

    if (statvfs(disk->dir, &st) < 0)
        return 0;
    used = (uint64_t)st.f_blocks - st.f_bfree;
    all = used + st.f_bavail;
    return all > 0 ? (unsigned)((used * 100 + all - 1) / all) : 0;
}

static bool is_used(const struct collection *c, const char *manifest)
{
    const struct disk *disk = &c->store->disk;

    if (disk_image_held(disk, manifest) || c->in_use(c->userdata, manifest))
        return true;
    for (size_t i = 0; i < disk->refs_len; i++)
        if (str_eq(disk->refs[i].manifest, manifest) &&
            c->in_use(c->userdata, disk->refs[i].digest))
            return true;
    return false;
}

static int by_use(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;

    if (x->used_s != y->used_s)
        return x->used_s < y->used_s ? -1 : 1;
    return strcmp(x->manifest, y->manifest);
}

static void find_candidates(struct collection *c)
{
    CLEANUP(free) char *path = xasprintf("%s/images", c->store->disk.dir);
    CLEANUP(closedir) DIR *dir = opendir(path);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        struct candidate found;
        struct stat st;

        str_fmt(found.manifest, sizeof(found.manifest), "sha256:%.64s", entry->d_name);
        if (!image_digest_valid(found.manifest) ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            c->now_s - st.st_mtime < (int64_t)c->config->min_age_s || is_used(c, found.manifest))
            continue;
        found.used_s = st.st_mtime;
        c->list = xrealloc(c->list, (c->len + 1) * sizeof(*c->list));
        c->list[c->len++] = found;
    }
    if (c->len > 0)
        qsort(c->list, c->len, sizeof(*c->list), by_use);
}

static void need(struct map *needed, const char *digest)
{
    (void)map_set(needed, image_digest_hex(digest), needed);
}

/* Documents and layers of one image that stays. */
static void need_image(const struct disk *disk, struct map *needed, const char *manifest)
{
    CLEANUP(buf) struct buf text = BUF_INIT(OCI_DOCUMENT_MAX);
    struct arena *arena = arena_new(4096);
    struct oci_manifest oci;
    struct oci_desc child;
    enum oci_type type;
    struct err err;

    need(needed, manifest);
    if (disk_document(disk, manifest, &text) == 0 &&
        oci_read(buf_str(&text), text.len, arena, &type, &child, &oci, &err) == 0 &&
        type == OCI_MANIFEST) {
        need(needed, oci.config.digest);
        for (size_t i = 0; i < oci.layers_len; i++)
            need(needed, oci.layers[i].desc.digest);
    }
    arena_free(arena);
}

static struct map *need_all(const struct disk *disk)
{
    struct map *needed = map_new();

    for (size_t i = 0; i < disk->refs_len; i++) {
        need(needed, disk->refs[i].digest);
        need_image(disk, needed, disk->refs[i].manifest);
    }
    return needed;
}

/* Blobs that no image needs. Young ones stay: nobody knows yet. */
static size_t sweep_blobs(const struct collection *c)
{
    const struct disk *disk = &c->store->disk;
    CLEANUP(free) char *path = xasprintf("%s/blobs/sha256", disk->dir);
    CLEANUP(closedir) DIR *dir = opendir(path);
    struct map *needed = need_all(disk);
    const struct dirent *entry;
    size_t count = 0;

    while (dir && (entry = readdir(dir))) {
        struct stat st;

        if (entry->d_name[0] == '.' || map_get(needed, entry->d_name) ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode) || c->now_s - st.st_mtime < (int64_t)c->config->min_age_s)
            continue;
        count += unlinkat(dirfd(dir), entry->d_name, 0) == 0;
    }
    map_free(needed);
    return count;
}

static void remove_image(struct collection *c, const char *manifest, struct image_gc_result *ret)
{
    struct disk *disk = &c->store->disk;
    CLEANUP(free) char *path = disk_image_path(disk, manifest);
    struct err err;
    int r;

    /* Names first: a name without files is pulled again, files without a name are found again. */
    if (disk_ref_forget(disk, manifest, &err) < 0)
        log_warn(NULL, "images", "%s", err.text);
    r = file_remove_tree(path);
    if (r < 0)
        log_warn(NULL, "images", "cannot remove %s: %s", path, strerror(-r));
    else
        ret->removed++;
    ret->blobs += sweep_blobs(c);
}

int image_gc(struct image_store *store, const struct image_gc_config *config, image_in_use in_use,
             void *userdata, struct image_gc_result *ret)
{
    struct collection c = {.store = store,
                           .config = config,
                           .in_use = in_use,
                           .userdata = userdata,
                           .now_s = clock_unix_ms() / 1000};
    bool full;

    disk_refs_sync(&store->disk);
    *ret = (struct image_gc_result){.before = disk_percent(&store->disk)};
    ret->after = ret->before;
    full = ret->before >= config->high_percent;
    if (map_len(store->jobs) > 0)
        return -EBUSY;
    if (!full && config->max_age_s == 0)
        return 0;
    find_candidates(&c);
    if (full)
        ret->blobs += sweep_blobs(&c);
    for (size_t i = 0; i < c.len; i++) {
        bool old = config->max_age_s > 0 && c.now_s - c.list[i].used_s > (int64_t)config->max_age_s;

        ret->after = disk_percent(&store->disk);
        if (old || (full && ret->after > config->low_percent))
            remove_image(&c, c.list[i].manifest, ret);
    }
    free(c.list);
    ret->after = disk_percent(&store->disk);
    ret->still_too_full = full && ret->after >= config->high_percent;
    return 0;
}

int image_remove(struct image_store *store, const char *reference, struct err *err)
{
    struct disk *disk = &store->disk;
    CLEANUP(free) char *dir = NULL;
    struct disk_removed removed = {.last = false};
    struct map *own;
    struct map *needed;
    struct image_name name;
    const char *hex;
    void *value;
    size_t it = 0;
    int r = image_name_parse(reference, &name, err);

    if (r == 0)
        r = disk_ref_remove(disk, &name, &removed, err);
    if (r < 0 || !removed.last)
        return r;
    own = map_new();
    need(own, removed.digest);
    need_image(disk, own, removed.manifest);
    needed = need_all(disk);
    while (map_next(own, &it, &hex, &value)) {
        CLEANUP(free) char *path = xasprintf("%s/blobs/sha256/%s", disk->dir, hex);

        if (!map_get(needed, hex))
            (void)unlink(path);
    }
    map_free(own);
    map_free(needed);
    dir = disk_image_path(disk, removed.manifest);
    r = file_remove_tree(dir);
    return r < 0 ? err_set(err, r, "cannot remove %s: %s", dir, strerror(-r)) : 0;
}
