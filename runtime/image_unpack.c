/* Layers to files, by libarchive, in a worker thread of the pull. Tar (with gzip, zstd or plain),
 * and single files in the layers that Unikraft's newer media types call a kernel or an initrd.
 * Names in an archive are compared, never used as paths: output has two fixed names. */
#include "runtime/image_unpack.h"

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/str.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES (128 * 1024)
#define BZIMAGE_MAGIC_AT 0x202 /* "HdrS", Documentation/x86/boot */

static void cleanup_archive(struct archive **archive)
{
    if (*archive)
        (void)archive_read_free(*archive);
}

static void cleanup_digest(struct digest **digest)
{
    digest_free(*digest);
}

static int verify(struct unpack *u, size_t index, struct err *err)
{
    const struct unpack_layer *layer = &u->layers[index];
    CLEANUP(close) int fd = open(layer->path, O_RDONLY | O_CLOEXEC);
    CLEANUP(digest) struct digest *digest = digest_new();
    CLEANUP(free) char *block = xmalloc(BLOCK_BYTES);
    char hex[DIGEST_HEX_LEN + 1];
    uint64_t size = 0;
    ssize_t n;

    if (fd < 0)
        return err_set(err, -errno, "layer %s: %s", layer->digest, strerror(errno));
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    while ((n = read(fd, block, BLOCK_BYTES)) > 0) {
        if (atomic_load(&u->cancelled))
            return err_set(err, -ECANCELED, "cancelled");
        digest_add(digest, block, (size_t)n);
        size += (uint64_t)n;
    }
    if (n < 0)
        return err_set(err, -errno, "layer %s: reading: %s", layer->digest, strerror(errno));
    digest_hex(digest, hex);
    if (size == layer->size && str_eq(hex, layer->digest + strlen("sha256:")))
        return 0;
    u->corrupt = (ssize_t)index;
    if (size != layer->size)
        return err_set(err, -EBADMSG, "layer %s: %llu bytes expected, got %llu", layer->digest,
                       (unsigned long long)layer->size, (unsigned long long)size);
    return err_set(err, -EBADMSG, "layer digest %s expected, got sha256:%s", layer->digest, hex);
}

static int archive_err(struct archive *a, const struct unpack_layer *layer, struct err *err)
{
    const char *text = archive_error_string(a);

    return err_spec(err, -EBADMSG, "layer %s cannot be unpacked: %s", layer->digest,
                    text ? text : "unknown error");
}

static int write_err(const struct unpack *u, const char *name, int error, struct err *err)
{
    if (error == ENOSPC || error == EDQUOT)
        return err_set(err, -error,
                       "no space left on device: writing %s to %s, free some space there or give "
                       "the image store a larger disk",
                       name, u->dir);
    return err_set(err, -error, "writing %s to %s: %s", name, u->dir, strerror(error));
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int check_progress(struct unpack *u, struct archive *a, const struct unpack_layer *layer,
                          struct err *err)
{
    if (atomic_load(&u->cancelled))
        return err_set(err, -ECANCELED, "cancelled");
    if (archive_filter_bytes(a, 0) > (int64_t)UNPACK_LAYER_BYTES_MAX)
        return err_spec(err, -EFBIG, "layer %s unpacks to more than %llu bytes", layer->digest,
                        UNPACK_LAYER_BYTES_MAX);
    return 0;
}

/* Copies the current entry into dir/name. */
static int extract(struct unpack *u, struct archive *a, const struct unpack_layer *layer,
                   const char *name, uint64_t max, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", u->dir, name);
    CLEANUP(free) char *block = xmalloc(BLOCK_BYTES);
    CLEANUP(close) int fd = -1;
    uint64_t size = 0;
    la_ssize_t n;
    int r;

    (void)unlink(path); /* an earlier layer's */
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return write_err(u, name, errno, err);
    while ((n = archive_read_data(a, block, BLOCK_BYTES)) != 0) {
        if (n < 0)
            return archive_err(a, layer, err);
        size += (uint64_t)n;
        if (size > max)
            return err_spec(err, -EFBIG, "the image's %s has more than the %llu bytes allowed",
                            name, (unsigned long long)max);
        r = check_progress(u, a, layer, err);
        if (r < 0)
            return r;
        r = write_all(fd, block, (size_t)n);
        if (r < 0)
            return write_err(u, name, -r, err);
    }
    if (size == 0)
        return err_spec(err, -EBADMSG, "the image's %s is empty", name);
    if (fsync(fd) < 0)
        return write_err(u, name, errno, err);
    return 0;
}

static const char *plain_path(const char *path)
{
    while (*path == '/' || str_starts(path, "./"))
        path += *path == '/' ? 1 : 2;
    return path;
}

static bool same_path(const char *entry, const char *wanted)
{
    return entry && wanted && str_eq(plain_path(entry), plain_path(wanted)) && *plain_path(wanted);
}

/* Links could name anything on this host, and a device is no file. */
static int check_regular(struct archive_entry *entry, const char *name, struct err *err)
{
    if (archive_entry_hardlink(entry) || archive_entry_symlink(entry))
        return err_spec(err, -ELOOP, "the image's %s, %s, is a link: pack the file itself", name,
                        archive_entry_pathname(entry));
    if (archive_entry_filetype(entry) != AE_IFREG)
        return err_spec(err, -EINVAL, "the image's %s, %s, is no regular file", name,
                        archive_entry_pathname(entry));
    return 0;
}

/* Reading over an entry in pieces: libarchive's own skip decompresses without asking anybody. */
static int skip_entry(struct unpack *u, struct archive *a, const struct unpack_layer *layer,
                      struct err *err)
{
    const void *block;
    size_t len;
    la_int64_t offset;
    int r = 0;
    int got;

    if (archive_filter_count(a) <= 1)
        return 0;
    while (r == 0 && (got = archive_read_data_block(a, &block, &len, &offset)) != ARCHIVE_EOF) {
        if (got < ARCHIVE_WARN)
            return archive_err(a, layer, err);
        r = check_progress(u, a, layer, err);
    }
    return r;
}

static int take_entry(struct unpack *u, struct archive *a, struct archive_entry *entry,
                      const struct unpack_layer *layer, struct err *err)
{
    const char *path = archive_entry_pathname(entry);
    bool raw = archive_format(a) == ARCHIVE_FORMAT_RAW;
    bool kernel = raw ? layer->whole_kernel : same_path(path, layer->kernel);
    bool initrd = raw ? layer->whole_initrd : same_path(path, layer->initrd);
    const char *name = kernel ? "kernel" : "initrd";
    int r;

    if (raw && !kernel && !initrd)
        return err_spec(err, -EBADMSG, "layer %s is no tar archive", layer->digest);
    if (!kernel && !initrd)
        return skip_entry(u, a, layer, err);
    if (!raw) {
        r = check_regular(entry, name, err);
        if (r < 0)
            return r;
    }
    r = extract(u, a, layer, name, kernel ? UNPACK_KERNEL_BYTES_MAX : UNPACK_INITRD_BYTES_MAX, err);
    if (r < 0)
        return r;
    if (kernel)
        u->has_kernel = true;
    else
        u->has_initrd = true;
    return 0;
}

static int unpack_layer(struct unpack *u, const struct unpack_layer *layer, struct err *err)
{
    CLEANUP(archive) struct archive *a = archive_read_new();
    struct archive_entry *entry;
    size_t entries = 0;
    int r;
    int got;

    if (!a)
        return err_set(err, -ENOMEM, "no memory for unpacking");
    /* Only as libraries: without them libarchive would start programs. */
    if (archive_zlib_version())
        (void)archive_read_support_filter_gzip(a);
    if (archive_libzstd_version())
        (void)archive_read_support_filter_zstd(a);
    (void)archive_read_support_format_tar(a);
    (void)archive_read_support_format_empty(a);
    (void)archive_read_support_format_raw(a); /* bids lowest */
    if (archive_read_open_filename(a, layer->path, BLOCK_BYTES) != ARCHIVE_OK)
        return archive_err(a, layer, err);
    while ((got = archive_read_next_header(a, &entry)) != ARCHIVE_EOF) {
        if (got < ARCHIVE_WARN)
            return archive_err(a, layer, err);
        if (++entries > UNPACK_ENTRIES_MAX)
            return err_spec(err, -EFBIG, "layer %s has more than %d entries", layer->digest,
                            UNPACK_ENTRIES_MAX);
        r = check_progress(u, a, layer, err);
        if (r >= 0)
            r = take_entry(u, a, entry, layer, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The files are on disk; their names must be too before the directory gets its final one. */
static int finish(struct unpack *u, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/kernel", u->dir);
    CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    CLEANUP(close) int dir = open(u->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char magic[4];

    if (fd >= 0 && pread(fd, magic, sizeof(magic), BZIMAGE_MAGIC_AT) == sizeof(magic))
        u->is_bzimage = memcmp(magic, "HdrS", sizeof(magic)) == 0;
    if (dir < 0 || fsync(dir) < 0)
        return write_err(u, "the image", errno, err);
    return 0;
}

int unpack_run(struct unpack *unpack, struct err *err)
{
    unpack->corrupt = -1;
    for (size_t i = 0; i < unpack->layers_len; i++) {
        int r = 0;

        if (unpack->layers[i].verify)
            r = verify(unpack, i, err);
        if (r >= 0)
            r = unpack_layer(unpack, &unpack->layers[i], err);
        if (r < 0)
            return r;
    }
    return finish(unpack, err);
}
