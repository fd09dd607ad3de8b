/* See payload.h. Names inside: "..2026_11_23_05_00_00.<random>" is a version, "..data" leads to the
 * current one, "<name>" to "..data/<name>" for the first part of each path. An agent that dies in
 * between leaves a version that nothing leads to; the next write removes it. */
#include "runtime/payload.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DATA "..data"
#define DATA_TMP "..data_tmp"
#define COMPARE_MAX (4u * 1024 * 1024) /* a file of an object that may be 1.5 MiB */

bool payload_path_ok(const char *path)
{
    if (!*path || *path == '/' || strlen(path) >= PAYLOAD_PATH_MAX || str_starts(path, ".."))
        return false;
    while (*path) {
        size_t len = strcspn(path, "/");

        if (len == 0 || len > NAME_MAX || (len == 1 && path[0] == '.') ||
            (len == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        path += len;
        if (*path == '/' && !*++path)
            return false;
    }
    return true;
}

static mode_t host_mode(mode_t mode)
{
    return (mode & 0777) | ((mode & 0400) ? 0040 : 0);
}

/* Whether the file stands there with that content and mode. */
static bool is_same(int version, const struct payload_file *file)
{
    CLEANUP(close) int fd = openat(version, file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    size_t at = 0;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != (off_t)file->len ||
        (st.st_mode & 0777) != host_mode(file->mode) || file->len > COMPARE_MAX)
        return false;
    while (at < file->len) {
        char piece[8192];
        ssize_t n = read(fd, piece, sizeof(piece));

        if (n <= 0 || (size_t)n > file->len - at || memcmp(piece, file->data + at, (size_t)n) != 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static size_t count_files(int dir, unsigned depth)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closedir) DIR *handle = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    size_t count = 0;

    while (handle && depth < 64 && (entry = readdir(handle))) {
        struct stat st;

        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, "..") ||
            fstatat(dirfd(handle), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            CLEANUP(close)
            int below = openat(dirfd(handle), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

            count += below < 0 ? 1 : count_files(below, depth + 1);
        } else {
            count++;
        }
    }
    return count;
}

static bool is_current(int dir, const struct payload_file *files, size_t len)
{
    CLEANUP(close) int version = openat(dir, DATA "/.", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (version < 0 || count_files(version, 0) != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_same(version, &files[i]))
            return false;
    }
    return true;
}

/* The directories of a path, below version. */
static int make_parents(int version, const char *path, gid_t gid)
{
    char part[PAYLOAD_PATH_MAX];

    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        str_fmt(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdirat(version, part, 0755) < 0 && errno != EEXIST)
            return -errno;
        if (fchmodat(version, part, 0755, 0) < 0 || fchownat(version, part, (uid_t)-1, gid, 0) < 0)
            return -errno;
    }
    return 0;
}

static int write_file(int version, const struct payload_file *file, gid_t gid)
{
    int r = make_parents(version, file->path, gid);
    CLEANUP(close)
    int fd = r < 0 ? -1
                   : openat(version, file->path,
                            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t at = 0;

    if (r < 0)
        return r;
    if (fd < 0)
        return -errno;
    while (at < file->len) {
        ssize_t n = write(fd, file->data + at, file->len - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += (size_t)n;
    }
    if (fchown(fd, (uid_t)-1, gid) < 0 || fchmod(fd, host_mode(file->mode)) < 0)
        return -errno;
    return 0;
}

static int make_version(int dir, char *name, size_t size, gid_t gid)
{
    time_t now = (time_t)(clock_unix_ms() / 1000);
    char stamp[32], random[9];
    struct tm tm;

    (void)strftime(stamp, sizeof(stamp), "%Y_%m_%d_%H_%M_%S", gmtime_r(&now, &tm));
    str_random_hex(random, 4);
    str_fmt(name, size, "..%s.%s", stamp, random);
    if (mkdirat(dir, name, 0755) < 0 || fchmodat(dir, name, 0755, 0) < 0 ||
        fchownat(dir, name, (uid_t)-1, gid, 0) < 0)
        return -errno;
    return 0;
}

static int switch_to(int dir, const char *version)
{
    if (unlinkat(dir, DATA_TMP, 0) < 0 && errno != ENOENT)
        return -errno;
    if (symlinkat(version, dir, DATA_TMP) < 0 || renameat(dir, DATA_TMP, dir, DATA) < 0)
        return -errno;
    return 0;
}

static bool is_first_part(const struct payload_file *files, size_t len, const char *name)
{
    size_t name_len = strlen(name);

    for (size_t i = 0; i < len; i++) {
        if (strcspn(files[i].path, "/") == name_len && memcmp(files[i].path, name, name_len) == 0)
            return true;
    }
    return false;
}

static int add_links(int dir, const struct payload_file *files, size_t len)
{
    char name[NAME_MAX + 1], target[NAME_MAX + sizeof(DATA) + 2];

    for (size_t i = 0; i < len; i++) {
        str_fmt(name, sizeof(name), "%.*s", (int)strcspn(files[i].path, "/"), files[i].path);
        str_fmt(target, sizeof(target), DATA "/%s", name);
        if (symlinkat(target, dir, name) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

/* Links of files that are no more, and versions that nothing leads to. */
static void remove_stale(const char *path, int dir, const struct payload_file *files, size_t len,
                         const char *version)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closedir) DIR *handle = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;

    while (handle && (entry = readdir(handle))) {
        CLEANUP(free) char *full = xasprintf("%s/%s", path, entry->d_name);
        const char *name = entry->d_name;

        if (str_eq(name, ".") || str_eq(name, "..") || str_eq(name, DATA) || str_eq(name, version))
            continue;
        if (str_starts(name, ".."))
            (void)file_remove_tree(full);
        else if (!is_first_part(files, len, name))
            (void)unlinkat(dir, name, 0);
    }
}

int payload_write(const char *path, const struct payload_file *files, size_t len, gid_t gid,
                  bool *ret_changed, struct err *err)
{
    char version[NAME_MAX + 1];
    int r = file_mkdirs(path, 0755);
    CLEANUP(close) int dir = r < 0 ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool current = false;

    if (r == 0 && (dir < 0 || fchmod(dir, 0755) < 0 || fchown(dir, (uid_t)-1, gid) < 0))
        r = -errno;
    for (size_t i = 0; r == 0 && i < len; i++) {
        if (!payload_path_ok(files[i].path))
            return err_spec(err, -EINVAL, "\"%s\" is no path below a volume", files[i].path);
    }
    if (r == 0)
        current = is_current(dir, files, len);
    if (r == 0 && !current)
        r = make_version(dir, version, sizeof(version), gid);
    CLEANUP(close)
    int inside = r < 0 || current ? -1 : openat(dir, version, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; r == 0 && !current && i < len; i++)
        r = inside < 0 ? -EIO : write_file(inside, &files[i], gid);
    if (r == 0 && !current)
        r = switch_to(dir, version);
    if (r == 0)
        r = add_links(dir, files, len);
    if (r == 0 && !current)
        remove_stale(path, dir, files, len, version);
    if (r < 0)
        return err_set(err, r, "cannot write %s: %s", path, strerror(-r));
    if (ret_changed)
        *ret_changed = !current;
    return 0;
}
