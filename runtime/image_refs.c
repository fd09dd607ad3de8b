/* Which names were resolved to what, in refs.json: the agent and its command line share it. Each
 * change is made under refs.lock to what the file says then; before a look-up a file that another
 * process replaced is read again. */
#include "runtime/image_disk.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define REFS_BYTES_MAX (8u * 1024 * 1024)
#define FORMAT_VERSION 1

static void cleanup_json(struct json **root)
{
    json_free(*root);
}

static void ref_free(struct disk_ref *ref)
{
    free(ref->name);
    free(ref->tag);
    free(ref->digest);
    free(ref->manifest);
    free(ref->access);
}

static void ref_append(struct disk *disk, const char *name, const char *tag, const char *digest,
                       const char *manifest, const char *access, uint64_t size_bytes)
{
    if (disk->refs_len == DISK_REFS_MAX) {
        ref_free(&disk->refs[0]);
        disk->refs_len--;
        memmove(disk->refs, disk->refs + 1, disk->refs_len * sizeof(*disk->refs));
    }
    disk->refs = xrealloc(disk->refs, (disk->refs_len + 1) * sizeof(*disk->refs));
    disk->refs[disk->refs_len++] = (struct disk_ref){
        .name = xstrdup(name),
        .tag = xstrdup(tag),
        .digest = xstrdup(digest),
        .manifest = xstrdup(manifest),
        .access = xstrdup(access),
        .size_bytes = size_bytes,
    };
}

static int refs_load(struct disk *disk, const char *path)
{
    CLEANUP(buf) struct buf text = BUF_INIT(REFS_BYTES_MAX);
    CLEANUP(json) struct json *root = NULL;
    int64_t version = 0;
    struct err err;
    int r = file_read(path, &text);

    if (r < 0)
        return r;
    root = json_parse(buf_str(&text), text.len, &err);
    if (!json_get_int(root, "version", &version) || version != FORMAT_VERSION)
        return -EBADMSG;
    for (const struct json *v = json_first(json_get(root, "refs")); v; v = json_next(v)) {
        const char *name = json_get_string(v, "name");
        const char *tag = json_get_string(v, "tag");
        const char *digest = json_get_string(v, "digest");
        const char *manifest = json_get_string(v, "manifest");
        const char *access = json_get_string(v, "access"); /* older records had no credentials */
        int64_t size = 0;

        if (!name || !tag || !image_digest_valid(digest) || !image_digest_valid(manifest) ||
            !json_get_int(v, "size", &size) || size < 0)
            continue;
        ref_append(disk, name, tag, digest, manifest, access ? access : "", (uint64_t)size);
    }
    return 0;
}

static int refs_save(struct disk *disk, struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(REFS_BYTES_MAX);
    CLEANUP(free) char *path = xasprintf("%s/refs.json", disk->dir);
    struct json_writer w = JSON_WRITER(&text);
    int r;

    jw_begin_object(&w, NULL);
    jw_int(&w, "version", FORMAT_VERSION);
    jw_begin_array(&w, "refs");
    for (size_t i = 0; i < disk->refs_len; i++) {
        const struct disk_ref *ref = &disk->refs[i];

        jw_begin_object(&w, NULL);
        jw_string(&w, "name", ref->name);
        jw_string(&w, "tag", ref->tag);
        jw_string(&w, "digest", ref->digest);
        jw_string(&w, "manifest", ref->manifest);
        jw_string_opt(&w, "access", ref->access);
        jw_int(&w, "size", (int64_t)ref->size_bytes);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    if (text.overflow)
        return err_set(err, -ENOBUFS, "the image store knows too many names");
    r = file_write_atomic(path, text.data, text.len, 0600); /* hashes of credentials are in it */
    (void)stat(path, &disk->refs_seen);
    return r < 0 ? disk_write_error("refs.json", disk->dir, -r, err) : 0;
}

static void refs_drop(struct disk *disk)
{
    for (size_t i = 0; i < disk->refs_len; i++)
        ref_free(&disk->refs[i]);
    free(disk->refs);
    disk->refs = NULL;
    disk->refs_len = 0;
}

void disk_refs_open(struct disk *disk)
{
    CLEANUP(free) char *path = xasprintf("%s/refs.json", disk->dir);
    CLEANUP(free) char *bad = xasprintf("%s/refs.json.bad", disk->dir);
    int r;

    if (stat(path, &disk->refs_seen) < 0)
        disk->refs_seen = (struct stat){.st_ino = 0};
    r = refs_load(disk, path);
    if (r >= 0 || r == -ENOENT)
        return;
    log_warn(NULL, "images", "%s is unreadable (%s), set aside as %s", path, strerror(-r), bad);
    (void)rename(path, bad);
}

void disk_refs_close(struct disk *disk)
{
    refs_drop(disk);
}

void disk_refs_sync(struct disk *disk)
{
    CLEANUP(free) char *path = xasprintf("%s/refs.json", disk->dir);
    const struct stat *seen = &disk->refs_seen;
    struct stat now;

    if (stat(path, &now) < 0 || (now.st_ino == seen->st_ino && now.st_size == seen->st_size &&
                                 now.st_mtim.tv_sec == seen->st_mtim.tv_sec &&
                                 now.st_mtim.tv_nsec == seen->st_mtim.tv_nsec))
        return;
    refs_drop(disk);
    disk_refs_open(disk);
}

/* Until the descriptor is closed no other process changes the names, and what the last one wrote is
 * known here. It takes as long as writing one file. Without a lock (-1) the last writer wins. */
static int lock_refs(struct disk *disk)
{
    CLEANUP(free) char *path = xasprintf("%s/refs.lock", disk->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    while (fd >= 0 && flock(fd, LOCK_EX) < 0 && errno == EINTR)
        ;
    disk_refs_sync(disk);
    return fd;
}

static bool ref_is(const struct disk_ref *ref, const char *repo, const char *tag,
                   const char *digest)
{
    return str_eq(ref->name, repo) &&
           (digest ? str_eq(ref->digest, digest) : str_eq(ref->tag, tag));
}

const struct disk_ref *disk_ref_find(struct disk *disk, const struct image_name *name)
{
    char repo[IMAGE_FULL_MAX];

    disk_refs_sync(disk);
    image_name_repo(name, repo);
    for (size_t i = disk->refs_len; i > 0; i--)
        if (ref_is(&disk->refs[i - 1], repo, name->tag, name->digest[0] ? name->digest : NULL))
            return &disk->refs[i - 1];
    return NULL;
}

const struct disk_ref *disk_ref_find_digest(struct disk *disk, const char *repo, const char *digest)
{
    disk_refs_sync(disk);
    for (size_t i = disk->refs_len; i > 0; i--)
        if (ref_is(&disk->refs[i - 1], repo, NULL, digest))
            return &disk->refs[i - 1];
    return NULL;
}

/* A tag that moves keeps its old digest's entry, without the tag: running Pods still name it. */
int disk_ref_set(struct disk *disk, const struct image_name *name, const char *digest,
                 const char *manifest, const char *access, uint64_t size_bytes, struct err *err)
{
    CLEANUP(close) __attribute__((unused)) int lock_fd = lock_refs(disk);
    char repo[IMAGE_FULL_MAX];

    image_name_repo(name, repo);
    for (size_t i = 0; i < disk->refs_len; i++) {
        struct disk_ref *ref = &disk->refs[i];

        if (!str_eq(ref->name, repo) || !str_eq(ref->tag, name->tag))
            continue;
        if (str_eq(ref->digest, digest) && str_eq(ref->manifest, manifest)) {
            if (str_eq(ref->access, access))
                return 0;
            free(ref->access);
            ref->access = xstrdup(access);
            return refs_save(disk, err);
        }
        if (name->tag[0])
            ref->tag[0] = '\0';
    }
    ref_append(disk, repo, name->tag, digest, manifest, access, size_bytes);
    return refs_save(disk, err);
}

int disk_ref_forget(struct disk *disk, const char *manifest, struct err *err)
{
    CLEANUP(close) __attribute__((unused)) int lock_fd = lock_refs(disk);
    size_t kept = 0;

    for (size_t i = 0; i < disk->refs_len; i++)
        if (str_eq(disk->refs[i].manifest, manifest))
            ref_free(&disk->refs[i]);
        else
            disk->refs[kept++] = disk->refs[i];
    if (kept == disk->refs_len)
        return 0;
    disk->refs_len = kept;
    return refs_save(disk, err);
}

int disk_ref_remove(struct disk *disk, const struct image_name *name, struct disk_removed *ret,
                    struct err *err)
{
    CLEANUP(close) __attribute__((unused)) int lock_fd = lock_refs(disk);
    const struct disk_ref *ref = disk_ref_find(disk, name);
    char full[IMAGE_FULL_MAX];
    size_t at;

    if (!ref)
        return err_set(err, -ENOENT, "image \"%s\" is not on this node",
                       image_name_full(name, full));
    str_copy(ret->digest, sizeof(ret->digest), ref->digest);
    str_copy(ret->manifest, sizeof(ret->manifest), ref->manifest);
    ret->last = true;
    at = (size_t)(ref - disk->refs);
    ref_free(&disk->refs[at]);
    disk->refs_len--;
    memmove(disk->refs + at, disk->refs + at + 1, (disk->refs_len - at) * sizeof(*disk->refs));
    for (size_t i = 0; i < disk->refs_len; i++)
        if (str_eq(disk->refs[i].manifest, ret->manifest))
            ret->last = false;
    return refs_save(disk, err);
}
