/* Whole files with a limit, atomic writes, and directory trees. Paths are absolute. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;
struct err;

/* Appends the file to out, up to out->max; -ENOBUFS when it is larger. */
int file_read(const char *path, struct buf *out);
/* Every byte to a descriptor that blocks, or -errno: how much got there is then unknown. */
int file_write_all(int fd, const void *bytes, size_t len);
/* Writes path.tmp-<pid> and renames it over path: a reader sees the old or the new text, never a
 * part. */
int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode);
/* Bytes; 0 when it is not there. */
int64_t file_size(const char *path);
/* mkdir -p; existing directories are fine. */
int file_mkdirs(const char *path, mode_t mode);
/* rm -r without following symbolic links or crossing into another file system; absent is success.
 */
int file_remove_tree(const char *path);
/* Takes the whole file for this process alone, at once or not at all: -EWOULDBLOCK when another has
 * it. fd is open for writing; the lock ends with the process, or when it closes any descriptor of
 * the file. Waits up to 2 s for children of a former holder that are not yet in their own program,
 * so that its listening sockets are free too. */
int file_lock(int fd);
/* Instead, or instead of file_lock's: any number of processes at once, none of which has file_lock.
 * Waits for one that has. */
int file_lock_shared(int fd);
