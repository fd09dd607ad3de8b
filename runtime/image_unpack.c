/* Layers to files, by libarchive, in the pull's worker. Tar (with gzip, zstd or plain), and single
 * files in the layers that Unikraft's newer media types call a kernel, an initrd or a ROM. Names in
 * an archive are compared, never used as paths: output has three fixed names. */
#include "runtime/image_unpack.h"

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES (128 * 1024)

static const struct {
    const char *name;
    uint64_t max;
} files[] = {
    [UNPACK_KERNEL] = {"kernel", UNPACK_KERNEL_BYTES_MAX},
    [UNPACK_INITRD] = {"initrd", UNPACK_INITRD_BYTES_MAX},
    [UNPACK_DISK] = {"disk", UNPACK_DISK_BYTES_MAX},
};

/* What one pass over the layers looks for. */
struct wanted {
    const char *files[_UNPACK_FILES]; /* in every layer; NULL: what the layer itself says */
    bool urunc;                       /* /urunc.json */
};

const char *unpack_file_name(enum unpack_file file)
{
    return files[file].name;
}

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
    int fd = u->layer_fds[index];
    CLEANUP(digest) struct digest *digest = digest_new();
    CLEANUP(free) char *block = xmalloc(BLOCK_BYTES);
    char hex[DIGEST_HEX_LEN + 1];
    uint64_t size = 0;
    ssize_t n;

    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    while ((n = pread(fd, block, BLOCK_BYTES, (off_t)size)) > 0) {
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

static int size_err(const char *name, uint64_t max, struct err *err)
{
    return err_spec(err, -EFBIG, "the image's %s has more than the %llu bytes allowed", name,
                    (unsigned long long)max);
}

/* Copies the current entry's data to fd. A sparse entry's hole is never written: the file has the
 * size that the data needs, whatever the header says. */
static int copy_data(struct unpack *u, struct archive *a, const struct unpack_layer *layer, int fd,
                     enum unpack_file file, uint64_t *ret_size, struct err *err)
{
    const char *name = files[file].name;
    const void *block;
    la_int64_t offset;
    size_t len;
    int got;

    while ((got = archive_read_data_block(a, &block, &len, &offset)) != ARCHIVE_EOF) {
        int r;

        if (got < ARCHIVE_WARN)
            return archive_err(a, layer, err);
        if (offset < 0 || (uint64_t)offset < *ret_size || (uint64_t)offset > files[file].max ||
            len > files[file].max - (uint64_t)offset)
            return size_err(name, files[file].max, err);
        r = check_progress(u, a, layer, err);
        if (r < 0)
            return r;
        if ((uint64_t)offset > *ret_size && lseek(fd, offset, SEEK_SET) < 0)
            return write_err(u, name, errno, err);
        r = file_write_all(fd, block, len);
        if (r < 0)
            return write_err(u, name, -r, err);
        *ret_size = (uint64_t)offset + len;
    }
    return 0;
}

/* Copies the current entry into dir/<name of the file>. */
static int extract(struct unpack *u, struct archive *a, struct archive_entry *entry,
                   const struct unpack_layer *layer, enum unpack_file file, struct err *err)
{
    const char *name = files[file].name;
    CLEANUP(close) int fd = -1;
    uint64_t size = 0;
    int r;

    (void)unlinkat(u->dir_fd, name, 0); /* an earlier layer's */
    fd = openat(u->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return write_err(u, name, errno, err);
    r = copy_data(u, a, layer, fd, file, &size, err);
    if (r < 0)
        return r;
    if (size == 0)
        return err_spec(err, -EBADMSG, "the image's %s is empty", name);
    /* A sparse file may end in a hole. */
    if (archive_entry_size_is_set(entry) && archive_entry_size(entry) > (la_int64_t)size) {
        if ((uint64_t)archive_entry_size(entry) > files[file].max)
            return size_err(name, files[file].max, err);
        if (ftruncate(fd, archive_entry_size(entry)) < 0)
            return write_err(u, name, errno, err);
    }
    if (fsync(fd) < 0)
        return write_err(u, name, errno, err);
    u->has[file] = true;
    return 0;
}

/* The current entry's text, up to what urunc.json may have. */
static int read_urunc(struct unpack *u, struct archive *a, const struct unpack_layer *layer,
                      struct err *err)
{
    char block[4096];
    la_ssize_t n;

    buf_free(&u->urunc);
    buf_init(&u->urunc, URUNC_JSON_BYTES_MAX);
    while ((n = archive_read_data(a, block, sizeof(block))) != 0) {
        if (n < 0)
            return archive_err(a, layer, err);
        if (buf_add(&u->urunc, block, (size_t)n) < 0)
            return size_err(URUNC_JSON_PATH, URUNC_JSON_BYTES_MAX, err);
    }
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

/* The file that an entry is to become; _UNPACK_FILES: none. */
static enum unpack_file which(const struct unpack_layer *layer, const struct wanted *wanted,
                              bool raw, const char *path)
{
    int file = 0;

    for (; file < _UNPACK_FILES; file++) {
        const char *name = wanted->files[file] ? wanted->files[file] : layer->files[file];

        if (raw ? layer->whole[file] : same_path(path, name))
            break;
    }
    return (enum unpack_file)file;
}

static int take_entry(struct unpack *u, struct archive *a, struct archive_entry *entry,
                      const struct unpack_layer *layer, const struct wanted *wanted,
                      struct err *err)
{
    const char *path = archive_entry_pathname(entry);
    bool raw = archive_format(a) == ARCHIVE_FORMAT_RAW;
    enum unpack_file file = which(layer, wanted, raw, path);
    bool urunc = wanted->urunc && !raw && same_path(path, URUNC_JSON_PATH);
    int r = 0;

    if (raw && file == _UNPACK_FILES)
        return err_spec(err, -EBADMSG, "layer %s is no tar archive", layer->digest);
    if (!urunc && file == _UNPACK_FILES)
        return skip_entry(u, a, layer, err);
    if (!raw)
        r = check_regular(entry, urunc ? URUNC_JSON_PATH : files[file].name, err);
    if (r < 0)
        return r;
    return urunc ? read_urunc(u, a, layer, err) : extract(u, a, entry, layer, file, err);
}

static void support(struct archive *a, const struct unpack_layer *layer)
{
    /* Only as libraries: without them libarchive would start programs. */
    if (archive_zlib_version())
        (void)archive_read_support_filter_gzip(a);
    if (archive_libzstd_version())
        (void)archive_read_support_filter_zstd(a);
    if (!layer->never_tar)
        (void)archive_read_support_format_tar(a);
    (void)archive_read_support_format_empty(a);
    (void)archive_read_support_format_raw(a); /* bids lowest */
}

static int unpack_layer(struct unpack *u, size_t index, const struct wanted *wanted,
                        struct err *err)
{
    const struct unpack_layer *layer = &u->layers[index];
    int fd = u->layer_fds[index];
    CLEANUP(archive) struct archive *a = archive_read_new();
    struct archive_entry *entry;
    size_t entries = 0;
    int r;
    int got;

    if (!a)
        return err_set(err, -ENOMEM, "no memory for unpacking");
    support(a, layer);
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_set(err, -errno, "layer %s: %s", layer->digest, strerror(errno));
    if (archive_read_open_fd(a, fd, BLOCK_BYTES) != ARCHIVE_OK)
        return archive_err(a, layer, err);
    while ((got = archive_read_next_header(a, &entry)) != ARCHIVE_EOF) {
        if (got < ARCHIVE_WARN)
            return archive_err(a, layer, err);
        if (++entries > UNPACK_ENTRIES_MAX)
            return err_spec(err, -EFBIG, "layer %s has more than %d entries", layer->digest,
                            UNPACK_ENTRIES_MAX);
        r = check_progress(u, a, layer, err);
        if (r >= 0)
            r = take_entry(u, a, entry, layer, wanted, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What the kernel is. The file is ours by now and nobody changes it: it can be mapped. */
static int look_at_kernel(struct unpack *u, struct err *err)
{
    CLEANUP(close) int fd = openat(u->dir_fd, "kernel", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    void *data;

    if (fd < 0 || fstat(fd, &st) < 0)
        return write_err(u, "kernel", errno, err);
    data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return write_err(u, "kernel", errno, err);
    kernel_read(data, (size_t)st.st_size, &u->kernel);
    (void)munmap(data, (size_t)st.st_size);
    return 0;
}

/* The files are on disk; their names must be too before the directory gets its final one. */
static int finish(struct unpack *u, struct err *err)
{
    if (fsync(u->dir_fd) < 0)
        return write_err(u, "the image", errno, err);
    return u->has[UNPACK_KERNEL] ? look_at_kernel(u, err) : 0;
}

static int pass(struct unpack *u, const struct wanted *wanted, bool first, struct err *err)
{
    for (size_t i = 0; i < u->layers_len; i++) {
        int r = 0;

        if (first && u->layers[i].verify)
            r = verify(u, i, err);
        if (r >= 0)
            r = unpack_layer(u, i, wanted, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* /urunc.json decides which files are the image's: those of the first pass were guesses. */
static int second_pass(struct unpack *u, struct err *err)
{
    struct arena *arena = arena_new(1024);
    struct urunc urunc;
    struct wanted wanted = {.urunc = false};
    int r = urunc_read(buf_str(&u->urunc), u->urunc.len, arena, &urunc, err);

    for (int file = 0; file < _UNPACK_FILES && r >= 0; file++) {
        u->has[file] = false;
        (void)unlinkat(u->dir_fd, files[file].name, 0);
    }
    if (r >= 0) {
        wanted.files[UNPACK_KERNEL] = urunc.binary;
        wanted.files[UNPACK_INITRD] = urunc.initrd ? urunc.initrd : "/";
        wanted.files[UNPACK_DISK] = urunc.block ? urunc.block : "/";
        r = pass(u, &wanted, false, err);
    }
    arena_free(arena);
    return r;
}

int unpack_open(struct unpack *unpack, struct err *err)
{
    unpack->layer_fds = xcalloc(unpack->layers_len + 1, sizeof(*unpack->layer_fds));
    for (size_t i = 0; i < unpack->layers_len; i++)
        unpack->layer_fds[i] = -1;
    unpack->dir_fd = open(unpack->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (unpack->dir_fd < 0)
        return write_err(unpack, "the image", errno, err);
    for (size_t i = 0; i < unpack->layers_len; i++) {
        const struct unpack_layer *layer = &unpack->layers[i];

        unpack->layer_fds[i] = open(layer->path, O_RDONLY | O_CLOEXEC);
        if (unpack->layer_fds[i] < 0)
            return err_set(err, -errno, "layer %s: %s", layer->digest, strerror(errno));
    }
    return 0;
}

void unpack_close(struct unpack *unpack)
{
    for (size_t i = 0; i < unpack->layers_len; i++)
        if (unpack->layer_fds[i] >= 0)
            (void)close(unpack->layer_fds[i]);
    free(unpack->layer_fds);
    unpack->layer_fds = NULL;
    if (unpack->dir_fd >= 0)
        (void)close(unpack->dir_fd);
    unpack->dir_fd = -1;
}

int unpack_run(struct unpack *unpack, struct err *err)
{
    const struct wanted wanted = {.urunc = unpack->want_urunc};
    int r;

    unpack->corrupt = -1;
    r = pass(unpack, &wanted, true, err);
    if (r >= 0 && unpack->urunc.len > 0)
        r = second_pass(unpack, err);
    return r < 0 ? r : finish(unpack, err);
}
