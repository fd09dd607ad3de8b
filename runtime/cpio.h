/* newc archives, the initrd's form: reading one that an image brought, and writing a new one with
 * what a Pod's volumes add. One archive comes out: kernels other than Linux stop at the first
 * trailer. Not for compressed ones; see cpio_is_archive. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

#define CPIO_ENTRIES_MAX 1000000u /* of one archive; the unpacker's own limit for an image */
#define CPIO_LINKS_MAX 65536u     /* of them with hard links */
#define CPIO_NAME_MAX 4096u       /* PATH_MAX, with the NUL */
#define CPIO_SYMLINKS_MAX 16u     /* followed on the way to one path */

struct cpio_entry {
    const char *name; /* NUL-terminated, without leading "/" and "./"; "" is the root */
    uint32_t ino, mode, nlink, dev_major, dev_minor;
    const char *data;
    size_t size;
    const char *raw; /* header, name, data and padding as they stand */
    size_t raw_len;
};

struct cpio_reader {
    const char *at, *end;
    uint32_t entries;
};

/* Whether the bytes begin as a newc archive (with or without sums). */
bool cpio_is_archive(const char *data, size_t len);
void cpio_read(struct cpio_reader *reader, const char *data, size_t len);
/* 1 and the entry; 0 at the trailer; -EBADMSG when it is broken or cut, -E2BIG past the limits. */
int cpio_next(struct cpio_reader *reader, struct cpio_entry *ret);

/* Where path leads to in the archive when its directories are symbolic links of the archive; of the
 * last part only when last is set. dst holds CPIO_NAME_MAX. -ELOOP, -ENAMETOOLONG, or cpio_next's
 * errors. A path that is not there stays as it is. */
int cpio_resolve(const char *data, size_t len, const char *path, bool last, char *dst);
bool cpio_has(const char *data, size_t len, const char *path);

struct cpio_writer {
    int fd;
    int error; /* the first; sticky */
    uint32_t ino;
    uint64_t bytes;
    char *pending; /* CPIO_BUFFER_BYTES of them */
    size_t pending_len;
};

/* Does not take fd over. */
void cpio_write_begin(struct cpio_writer *w, int fd);
/* path without a leading "/"; parents are the caller's. mode: permission bits. */
void cpio_write_dir(struct cpio_writer *w, const char *path, mode_t mode);
void cpio_write_file(struct cpio_writer *w, const char *path, mode_t mode, const void *data,
                     size_t len);
void cpio_write_symlink(struct cpio_writer *w, const char *path, const char *target);
/* Of an archive before, all but what is hidden: a path and what is below it. Hard links whose data
 * was with a hidden one get it themselves. 0 or as cpio_next. */
int cpio_write_copy(struct cpio_writer *w, const char *data, size_t len, const char *const *hidden,
                    size_t hidden_len);
/* Bytes as they are: an archive to which another is to be added, for Linux. Padded to 4. */
void cpio_write_raw(struct cpio_writer *w, const void *data, size_t len);
/* The trailer; 0 or the first error of writing, negative errno. Frees what begin made. */
int cpio_write_end(struct cpio_writer *w);
