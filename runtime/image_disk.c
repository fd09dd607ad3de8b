/* The image store's directory: blobs and unpacked images; names are in image_refs.c. See
 * image_disk.h for the layout. */
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
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int disk_write_error(const char *what, const char *dir, int error, struct err *err)
{
    if (error == ENOSPC || error == EDQUOT)
        return err_set(err, -error,
                       "no space left on device: writing %s to %s, free some space there or give "
                       "the image store a larger disk",
                       what, dir);
    return err_set(err, -error, "writing %s to %s: %s", what, dir, strerror(error));
}

/* What is under way is of processes that are gone when nobody else has the store open. */
static int take_store(struct disk *disk, const char *dir)
{
    CLEANUP(free) char *path = xasprintf("%s/lock", dir);
    CLEANUP(free) char *tmp = xasprintf("%s/tmp", dir);
    int r;

    disk->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (disk->lock_fd < 0)
        return -errno;
    r = file_lock(disk->lock_fd);
    if (r == 0)
        r = file_remove_tree(tmp);
    return r < 0 && r != -EWOULDBLOCK ? r : file_lock_shared(disk->lock_fd);
}

int disk_open(struct disk *disk, const char *dir, struct err *err)
{
    static const char *const below[] = {"tmp", "blobs/sha256", "images"};
    int r;

    *disk = (struct disk){.lock_fd = -1};
    r = file_mkdirs(dir, 0711);
    if (r >= 0)
        r = take_store(disk, dir);
    if (r < 0)
        return err_set(err, r, "cannot open %s: %s", dir, strerror(-r));
    for (size_t i = 0; i < ARRAY_LEN(below); i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", dir, below[i]);

        /* VMMs pass through on the way to their kernel; what else there is they need not know. */
        r = file_mkdirs(path, 0711);
        if (r < 0)
            return err_set(err, r, "cannot create %s: %s", path, strerror(-r));
    }
    disk->dir = xstrdup(dir);
    disk_refs_open(disk);
    return 0;
}

void disk_close(struct disk *disk)
{
    disk_image_forget(disk);
    disk_refs_close(disk);
    if (disk->lock_fd >= 0)
        (void)close(disk->lock_fd);
    free(disk->platform_kernel);
    free(disk->dir);
    *disk = (struct disk){.lock_fd = -1};
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
