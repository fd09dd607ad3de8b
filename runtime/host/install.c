/* One version of the agent, the shim and the VMM on the host, made complete under another name and
 * then renamed: a directory that has the right name is whole. Older versions stay for as long as a
 * process runs from them. */
#include "runtime/host/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define TREE_FDS 16
#define HALF ".new" /* of a copy that is not complete */

static int copy_file(int from, int to, const char *name, const struct stat *info)
{
    int in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, info->st_mode & 0755);
    off_t left = info->st_size;
    int r = in < 0 || out < 0 ? -1 : 0;

    while (r == 0 && left > 0) {
        ssize_t n = sendfile(out, in, NULL, (size_t)left);

        if (n <= 0)
            r = -1;
        left -= n;
    }
    if (r == 0 && (fchmod(out, info->st_mode & 0755) < 0 || fsync(out) < 0))
        r = -1;
    if (r < 0)
        r = host_fail("cannot install %s: %s", name, strerror(errno));
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        (void)close(out);
    return r;
}

static int copy_link(int from, int to, const char *name)
{
    char target[HOST_PATH_MAX];
    ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

    if (n < 0)
        return host_fail("cannot read the link %s: %s", name, strerror(errno));
    target[n] = '\0';
    if (symlinkat(target, to, name) < 0)
        return host_fail("cannot make the link %s: %s", name, strerror(errno));
    return 0;
}

static int copy_tree(int from, int to, int depth);

static int copy_dir(int from, int to, const char *name, int depth)
{
    int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int out =
        mkdirat(to, name, 0755) < 0 ? -1 : openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r;

    if (in < 0 || out < 0)
        r = host_fail("cannot install the directory %s: %s", name, strerror(errno));
    else
        r = fchmod(out, 0755) < 0 ? -1 : copy_tree(in, out, depth - 1);
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        (void)close(out);
    return r;
}

static int copy_tree(int from, int to, int depth)
{
    int copy = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    int r = 0;

    if (!list || depth == 0)
        r = host_fail("the payload cannot be read, or is nested too deeply");
    while (r == 0 && (entry = readdir(list))) {
        struct stat info;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (fstatat(from, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0)
            r = host_fail("cannot look at %s: %s", entry->d_name, strerror(errno));
        else if (S_ISDIR(info.st_mode))
            r = copy_dir(from, to, entry->d_name, depth);
        else if (S_ISLNK(info.st_mode))
            r = copy_link(from, to, entry->d_name);
        else
            r = copy_file(from, to, entry->d_name, &info);
    }
    if (list)
        (void)closedir(list);
    return r;
}

static int read_id(int payload, char *ret, size_t size)
{
    int fd = openat(payload, "id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

    if (fd >= 0)
        (void)close(fd);
    if (n <= 0)
        return host_fail("the image has no payload with a file \"id\"");
    ret[n] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    if (ret[0] == '\0' || ret[0] == '.' || strchr(ret, '/'))
        return host_fail("the payload's id \"%s\" cannot be a directory's name", ret);
    return 0;
}

static int make_dirs(const char *path)
{
    char part[HOST_PATH_MAX];

    (void)snprintf(part, sizeof(part), "%s", path);
    for (char *at = part + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        (void)mkdir(part, 0755);
        *at = '/';
    }
    if (mkdir(part, 0755) < 0 && errno != EEXIST)
        return host_fail("cannot make %s on the host: %s", path, strerror(errno));
    return 0;
}

static int install_new(int payload, const char *dir)
{
    char half[HOST_PATH_MAX + sizeof(HALF)];
    int to = -1;
    int r;

    (void)snprintf(half, sizeof(half), "%s" HALF, dir);
    r = host_remove_tree(half);
    if (r == 0 && mkdir(half, 0755) == 0)
        to = open(half, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (to < 0)
        return host_fail("cannot make %s: %s", half, strerror(errno));
    r = fchmod(to, 0755) < 0 ? -1 : copy_tree(payload, to, HOST_TREE_DEPTH_MAX);
    (void)close(to);
    if (r == 0 && rename(half, dir) < 0)
        r = host_fail("cannot rename %s: %s", half, strerror(errno));
    return r;
}

int host_install(int payload, const struct host_options *options, char *ret_dir)
{
    char id[HOST_ID_MAX];
    int r;

    if (payload < 0)
        return host_fail("%s is not in the image", options->payload);
    r = read_id(payload, id, sizeof(id));
    if (r == 0 &&
        (size_t)snprintf(ret_dir, HOST_PATH_MAX, "%s/%s", options->install, id) >= HOST_PATH_MAX)
        r = host_fail("%s is too long a path", options->install);
    if (r == 0)
        r = make_dirs(options->install);
    if (r == 0 && access(ret_dir, F_OK) < 0)
        r = install_new(payload, ret_dir);
    return r;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)at;
    return (kind == FTW_DP ? rmdir(path) : unlink(path)) < 0 && errno != ENOENT ? -1 : 0;
}

int host_remove_tree(const char *path)
{
    if (nftw(path, remove_entry, TREE_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT)
        return host_fail("cannot remove %s: %s", path, strerror(errno));
    return 0;
}

/* Whether a process executes a file below the directory. */
static int in_use(const char *dir)
{
    size_t len = strlen(dir);
    DIR *list = opendir("/proc");
    const struct dirent *entry;
    int used = list ? 0 : 1;

    while (!used && (entry = readdir(list))) {
        char link[sizeof(entry->d_name) + 16];
        char target[HOST_PATH_MAX];
        ssize_t n;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        (void)snprintf(link, sizeof(link), "/proc/%s/exe", entry->d_name);
        n = readlink(link, target, sizeof(target) - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        used = strncmp(target, dir, len) == 0 && target[len] == '/';
    }
    if (list)
        (void)closedir(list);
    return used;
}

void host_install_prune(const char *install, const char *keep)
{
    DIR *list = opendir(install);
    const struct dirent *entry;

    for (int i = 0; list && i < HOST_VERSIONS_MAX && (entry = readdir(list));) {
        char path[HOST_PATH_MAX];

        if (entry->d_name[0] == '.')
            continue;
        i++;
        (void)snprintf(path, sizeof(path), "%s/%s", install, entry->d_name);
        if (strcmp(path, keep) != 0 && !in_use(path))
            (void)host_remove_tree(path);
    }
    if (list)
        (void)closedir(list);
}
