/* Whole small files, atomic replacement, and removal of trees that others filled (unpacked images,
 * Pod directories). Blocking: for state files on the loop's thread, for trees on a worker. */
#include "base/file.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_CHUNK 8192
#define FILE_PATH_MAX 4096 /* the kernel's PATH_MAX */
#define LOCK_PAUSE_MS 2
#define LOCK_PAUSES_MAX 1000 /* 2 s: a child of a dead agent execs in milliseconds */

int file_read(const char *path, struct buf *out)
{
    CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    size_t start = out->len;
    char chunk[FILE_CHUNK];
    int r = 0;

    if (fd < 0)
        return -errno;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        r = n < 0 ? -errno : buf_add(out, chunk, (size_t)n);
        if (r < 0)
            break;
    }
    if (out->data) {
        out->len = start; /* outputs stay as they were on failure */
        out->data[start] = '\0';
    }
    return r;
}

int file_write_all(int fd, const void *bytes, size_t len)
{
    const char *data = bytes;

    while (len) {
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

#define FILE_MODE_OWNER 0600

int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    char tmp[FILE_PATH_MAX];
    int fd;
    int r;

    if (snprintf(tmp, sizeof(tmp), "%s.tmp-%d", path, (int)getpid()) >= (int)sizeof(tmp))
        return -ENAMETOOLONG;
    fd = open(tmp, flags, FILE_MODE_OWNER);
    if (fd < 0 && errno == EEXIST && unlink(tmp) == 0) /* of a dead process with our pid */
        fd = open(tmp, flags, FILE_MODE_OWNER);
    if (fd < 0)
        return -errno;
    r = file_write_all(fd, data, len);
    /* Not by open: the umask must not take bits away. */
    if (r == 0 && mode != FILE_MODE_OWNER && fchmod(fd, mode) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(tmp, path) < 0)
        r = -errno;
    if (r < 0)
        (void)unlink(tmp);
    return r;
}

int64_t file_size(const char *path)
{
    struct stat st;

    return path && stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

int file_mkdirs(const char *path, mode_t mode)
{
    char part[FILE_PATH_MAX];
    struct stat st;
    size_t len = strlen(path);

    if (len == 0)
        return -ENOENT;
    if (len >= sizeof(part))
        return -ENAMETOOLONG;
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        part[i] = '\0';
        /* EACCES, EROFS and the like on a parent that exists do not matter: the end decides. */
        if (mkdir(part, mode) < 0 && errno != EEXIST && stat(part, &st) < 0)
            return -errno;
        if (i < len)
            part[i] = '/';
    }
    if (stat(path, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* Removal keeps two directories open whatever the depth: a full sub-directory of the one being
 * emptied is moved up into the top one and gets its turn there. Recursion would need a descriptor
 * and a stack frame a level, and an image decides how deep it is. */
struct removal {
    int top;
    struct statx at; /* the top's device and mount */
    uint64_t moved;  /* number for the next name */
    bool progress;   /* the present pass removed or moved something */
    int error;       /* the first */
};

static void note(struct removal *removal, int error)
{
    if (removal->error == 0)
        removal->error = error;
}

static int same_mount(const struct removal *removal, int fd)
{
    struct statx st;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) < 0)
        return -errno;
    if (st.stx_dev_major != removal->at.stx_dev_major ||
        st.stx_dev_minor != removal->at.stx_dev_minor)
        return -EBUSY;
    /* A bind mount has its origin's device; only the mount's number tells (Linux 5.8). */
    if ((st.stx_mask & removal->at.stx_mask & STATX_MNT_ID) &&
        st.stx_mnt_id != removal->at.stx_mnt_id)
        return -EBUSY;
    return 0;
}

/* A stream of its own over the directory, so that the caller's descriptor stays open. */
static DIR *read_dir(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);

    if (!dir && copy >= 0)
        (void)close(copy);
    return dir;
}

static bool is_dot(const char *name)
{
    return str_eq(name, ".") || str_eq(name, "..");
}

/* Moves a full directory up. Existing names are skipped: rename never replaces a full directory. */
static int move_up(struct removal *removal, int parent, const char *name)
{
    char target[40];

    do {
        str_fmt(target, sizeof(target), ".removed-%llu", (unsigned long long)removal->moved++);
        if (renameat2(parent, name, removal->top, target, RENAME_NOREPLACE) == 0)
            return 0;
    } while (errno == EEXIST || errno == ENOTEMPTY);
    return -errno;
}

/* Empties one directory of the top and removes it. */
static int remove_dir(struct removal *removal, const char *name)
{
    CLEANUP(close)
    int fd = openat(removal->top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(closedir) DIR *dir = NULL;
    const struct dirent *entry;
    int r;

    if (fd < 0)
        return -errno;
    r = same_mount(removal, fd);
    if (r < 0)
        return r;
    dir = read_dir(fd);
    if (!dir)
        return -errno;
    while ((entry = readdir(dir))) {
        if (is_dot(entry->d_name))
            continue;
        if (unlinkat(fd, entry->d_name, 0) < 0 && errno != ENOENT) {
            if (unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0)
                r = 0;
            else
                r = errno == ENOTEMPTY ? move_up(removal, fd, entry->d_name) : -errno;
            if (r < 0) {
                note(removal, r);
                continue;
            }
        }
        removal->progress = true;
    }
    return unlinkat(removal->top, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* One pass over the top. Directories moved up meanwhile may only be seen by the next one. */
static int pass(struct removal *removal)
{
    CLEANUP(closedir) DIR *dir = read_dir(removal->top);
    const struct dirent *entry;

    if (!dir)
        return -errno;
    removal->progress = false;
    removal->error = 0;
    while ((entry = readdir(dir))) {
        int r;

        if (is_dot(entry->d_name))
            continue;
        r = unlinkat(removal->top, entry->d_name, 0) < 0 ? -errno : 0;
        if (r < 0 && r != -ENOENT) {
            int as_dir = remove_dir(removal, entry->d_name);

            r = as_dir == -ENOTDIR || as_dir == -ELOOP ? r : as_dir;
        }
        if (r < 0)
            note(removal, r);
        else
            removal->progress = true;
    }
    return 0;
}

int file_remove_tree(const char *path)
{
    CLEANUP(close) int top = -1;
    struct removal removal = {0};
    int r;

    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    r = -errno;
    top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0)
        return errno == ENOTDIR || errno == ELOOP ? r : -errno;
    removal.top = top;
    if (statx(top, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &removal.at) < 0)
        return -errno;
    do {
        if (rmdir(path) == 0 || errno == ENOENT)
            return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return -errno;
        r = pass(&removal);
        if (r < 0)
            return r;
    } while (removal.progress);
    return removal.error ? removal.error : -ENOTEMPTY;
}

/* A child between fork and exec has a copy of every descriptor, the listening sockets among them,
 * for a moment longer than the agent that was killed. The flock is what tells when the last such
 * copy is gone; it has no timed wait but by a signal. */
static void wait_for_children(int fd)
{
    for (int i = 0; i < LOCK_PAUSES_MAX && flock(fd, LOCK_EX | LOCK_NB) < 0; i++)
        (void)poll(NULL, 0, LOCK_PAUSE_MS);
}

/* The record lock decides, not the flock: it belongs to the process and no child inherits it. */
int file_lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_SETLK, &whole) < 0)
        return errno == EACCES ? -EWOULDBLOCK : -errno; /* POSIX allows either for a lock held */
    wait_for_children(fd);
    return 0;
}

int file_lock_shared(int fd)
{
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int r;

    do
        r = fcntl(fd, F_SETLKW, &whole) < 0 ? -errno : 0;
    while (r == -EINTR);
    return r;
}
