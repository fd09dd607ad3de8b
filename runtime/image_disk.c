/* The image store's directory: names, blobs, unpacked images. See image_disk.h for the layout. */
#include "runtime/image_disk.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/image_oci.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define REFS_BYTES_MAX (8u * 1024 * 1024)
#define FORMAT_VERSION 1

static void cleanup_json(struct json **root)
{
    json_free(*root);
}

int disk_write_error(const char *what, const char *dir, int error, struct err *err)
{
    if (error == ENOSPC || error == EDQUOT)
        return err_set(err, -error,
                       "no space left on device: writing %s to %s, free some space there or give "
                       "the image store a larger disk",
                       what, dir);
    return err_set(err, -error, "writing %s to %s: %s", what, dir, strerror(error));
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

static int refs_save(const struct disk *disk, struct err *err)
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
    return r < 0 ? disk_write_error("refs.json", disk->dir, -r, err) : 0;
}

int disk_open(struct disk *disk, const char *dir, struct err *err)
{
    static const char *const below[] = {"tmp", "blobs/sha256", "images"};
    CLEANUP(free) char *tmp = xasprintf("%s/tmp", dir);
    CLEANUP(free) char *refs = xasprintf("%s/refs.json", dir);
    CLEANUP(free) char *bad = xasprintf("%s/refs.json.bad", dir);
    int r = file_remove_tree(tmp);

    *disk = (struct disk){.dir = NULL};
    if (r < 0)
        return err_set(err, r, "cannot clean %s: %s", tmp, strerror(-r));
    for (size_t i = 0; i < ARRAY_LEN(below); i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", dir, below[i]);

        /* VMMs pass through on the way to their kernel; what else there is they need not know. */
        r = file_mkdirs(path, 0711);
        if (r < 0)
            return err_set(err, r, "cannot create %s: %s", path, strerror(-r));
    }
    disk->dir = xstrdup(dir);
    r = refs_load(disk, refs);
    if (r < 0 && r != -ENOENT) {
        log_warn(NULL, "images", "%s is unreadable (%s), set aside as %s", refs, strerror(-r), bad);
        (void)rename(refs, bad);
    }
    return 0;
}

void disk_close(struct disk *disk)
{
    disk_image_forget(disk);
    for (size_t i = 0; i < disk->refs_len; i++)
        ref_free(&disk->refs[i]);
    free(disk->refs);
    free(disk->platform_kernel);
    free(disk->dir);
    *disk = (struct disk){.dir = NULL};
}

static bool ref_is(const struct disk_ref *ref, const char *repo, const char *tag,
                   const char *digest)
{
    return str_eq(ref->name, repo) &&
           (digest ? str_eq(ref->digest, digest) : str_eq(ref->tag, tag));
}

const struct disk_ref *disk_ref_find(const struct disk *disk, const struct image_name *name)
{
    char repo[IMAGE_FULL_MAX];

    image_name_repo(name, repo);
    for (size_t i = disk->refs_len; i > 0; i--)
        if (ref_is(&disk->refs[i - 1], repo, name->tag, name->digest[0] ? name->digest : NULL))
            return &disk->refs[i - 1];
    return NULL;
}

const struct disk_ref *disk_ref_find_digest(const struct disk *disk, const char *repo,
                                            const char *digest)
{
    for (size_t i = disk->refs_len; i > 0; i--)
        if (ref_is(&disk->refs[i - 1], repo, NULL, digest))
            return &disk->refs[i - 1];
    return NULL;
}

/* A tag that moves keeps its old digest's entry, without the tag: running Pods still name it. */
int disk_ref_set(struct disk *disk, const struct image_name *name, const char *digest,
                 const char *manifest, const char *access, uint64_t size_bytes, struct err *err)
{
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

char *disk_blob_path(const struct disk *disk, const char *digest)
{
    return xasprintf("%s/blobs/sha256/%s", disk->dir, image_digest_hex(digest));
}

char *disk_image_path(const struct disk *disk, const char *manifest)
{
    return xasprintf("%s/images/%s", disk->dir, image_digest_hex(manifest));
}

char *disk_tmp_path(const struct disk *disk)
{
    char hex[33];

    str_random_hex(hex, 16);
    return xasprintf("%s/tmp/%s", disk->dir, hex);
}

bool disk_has_blob(const struct disk *disk, const char *digest, uint64_t size)
{
    CLEANUP(free) char *path = disk_blob_path(disk, digest);
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           (size == 0 || (uint64_t)st.st_size == size);
}

int disk_document(const struct disk *disk, const char *digest, struct buf *out)
{
    CLEANUP(free) char *path = disk_blob_path(disk, digest);
    char hex[DIGEST_HEX_LEN + 1];
    int r;

    buf_reset(out);
    r = file_read(path, out);
    if (r >= 0) {
        digest_sha256_hex(buf_str(out), out->len, hex);
        if (str_eq(hex, image_digest_hex(digest)))
            return 0;
        (void)unlink(path);
    }
    buf_reset(out);
    return -ENOENT;
}

int disk_document_save(const struct disk *disk, const char *digest, const struct buf *text,
                       struct err *err)
{
    CLEANUP(free) char *path = disk_blob_path(disk, digest);
    int r = file_write_atomic(path, buf_str(text), text->len, 0644);

    return r < 0 ? disk_write_error("a manifest", disk->dir, -r, err) : 0;
}
