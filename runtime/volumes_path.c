/* Paths that people and guests choose: see volumes.h. */
#include "runtime/volumes.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

bool volumes_sub_path_ok(const char *sub_path)
{
    if (*sub_path == '/')
        return false;
    while (*sub_path) {
        size_t len = strcspn(sub_path, "/");

        if (len == 2 && sub_path[0] == '.' && sub_path[1] == '.')
            return false;
        sub_path += len + (sub_path[len] == '/');
    }
    return true;
}

/* The kernel's own word that the way stays below dir: one look, no race. */
static int open_beneath(int dir, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));

    return fd < 0 ? -errno : (int)fd;
}

/* Each directory of the path that is not there yet. */
static int make_below(int dir, const char *path)
{
    char part[PATH_MAX];
    size_t at = 0;

    while (path[at]) {
        size_t len = strcspn(path + at, "/");

        str_fmt(part, sizeof(part), "%.*s", (int)at, path);
        CLEANUP(close) int parent = open_beneath(dir, part);
        CLEANUP(free) char *name = xstrndup(path + at, len);

        if (parent < 0)
            return parent;
        if (len && mkdirat(parent, name, 0750) < 0 && errno != EEXIST)
            return -errno;
        at += len + (path[at + len] == '/');
    }
    return 0;
}

int volumes_open_below(const char *dir, const char *sub_path, bool create)
{
    CLEANUP(close) int top = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd;

    if (top < 0)
        return -errno;
    if (!volumes_sub_path_ok(sub_path))
        return -EXDEV;
    fd = open_beneath(top, sub_path);
    if (fd == -ENOENT && create) {
        fd = make_below(top, sub_path);
        if (fd == 0)
            fd = open_beneath(top, sub_path);
    }
    return fd;
}

/* "/a" holds "/a" and "/a/b", not "/ab". */
static bool is_below(const char *path, const char *prefix)
{
    size_t len = strlen(prefix);

    while (len && prefix[len - 1] == '/')
        len--;
    return strncmp(path, prefix, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* By its real place: a symbolic link below a prefix may lead anywhere. */
static bool is_allowed(const char *path, const char *const *prefixes, size_t len)
{
    char real[PATH_MAX], real_prefix[PATH_MAX];

    if (!realpath(path, real))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (realpath(prefixes[i], real_prefix) && is_below(real, real_prefix))
            return true;
    }
    return false;
}

/* What is not there yet is judged by the directory that it would be made in. */
static bool parent_allowed(const char *path, const char *const *prefixes, size_t len)
{
    char parent[PATH_MAX];
    char *slash;

    str_copy(parent, sizeof(parent), path);
    while ((slash = strrchr(parent, '/')) && slash != parent) {
        *slash = '\0';
        if (access(parent, F_OK) == 0)
            return is_allowed(parent, prefixes, len);
    }
    return false;
}

static int make_missing(const char *path, const char *type)
{
    if (str_eq(type, "DirectoryOrCreate"))
        return file_mkdirs(path, 0755);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);

    if (fd < 0)
        return -errno;
    (void)close(fd);
    return 0;
}

static const char *wrong_type(const char *type, mode_t mode)
{
    static const struct {
        const char *type;
        mode_t mode;
        const char *is_not;
    } rows[] = {
        {"DirectoryOrCreate", S_IFDIR, "is not a directory"},
        {"Directory", S_IFDIR, "is not a directory"},
        {"FileOrCreate", S_IFREG, "is not a file"},
        {"File", S_IFREG, "is not a file"},
        {"Socket", S_IFSOCK, "is not a socket file"},
        {"CharDevice", S_IFCHR, "is not a character device"},
        {"BlockDevice", S_IFBLK, "is not a block device"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (str_eq(type, rows[i].type))
            return (mode & S_IFMT) == rows[i].mode ? NULL : rows[i].is_not;
    }
    return *type ? "is of an unknown hostPath type" : NULL;
}

int volumes_check_host(const char *path, const char *type, const char *const *prefixes,
                       size_t prefixes_len, struct err *err)
{
    bool create = str_eq(type, "DirectoryOrCreate") || str_eq(type, "FileOrCreate");
    struct stat st;
    const char *wrong;
    int r = 0;

    if (path[0] != '/' || !volumes_sub_path_ok(path + 1))
        return err_spec(err, -EINVAL, "the host path \"%s\" must be absolute, without \"..\"",
                        path);
    if (stat(path, &st) < 0 && create && errno == ENOENT) {
        if (!parent_allowed(path, prefixes, prefixes_len))
            return err_spec(err, -EACCES, "the host path %s is not below hostPathPrefixes", path);
        r = make_missing(path, type);
    }
    if (r < 0)
        return err_set(err, r, "cannot make %s: %s", path, strerror(-r));
    if (stat(path, &st) < 0)
        return err_set(err, -ENOENT, "hostPath type check failed: %s %s", path,
                       wrong_type(*type ? type : "Directory", 0));
    if (!is_allowed(path, prefixes, prefixes_len))
        return err_spec(err, -EACCES, "the host path %s leads out of hostPathPrefixes", path);
    wrong = wrong_type(type, st.st_mode);
    return wrong ? err_set(err, -EINVAL, "hostPath type check failed: %s %s", path, wrong) : 0;
}
