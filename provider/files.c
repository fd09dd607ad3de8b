/* Opens files for strangers with care. Called by endpoints_files.c. */
#include "provider/files.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Where the descriptor leads to, by the kernel's word. */
static int real_path(int fd, char *dst, size_t size)
{
    char link[64];
    ssize_t n = readlink(str_fmt(link, sizeof(link), "/proc/self/fd/%d", fd), dst, size - 1);

    if (n < 0)
        return -errno;
    dst[n] = '\0';
    return n < (ssize_t)size - 1 ? 0 : -ENAMETOOLONG;
}

static bool is_below(const char *path, const char *root)
{
    size_t len = strlen(root);

    return strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* Named but not opened yet: a pipe or device would do something when it is. */
static int find(const char *root, const char *path, struct stat *ret_stat)
{
    CLEANUP(free) char *full = xasprintf("%s%s", root, path);
    CLEANUP(close) int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(close) int fd = root_fd < 0 ? -1 : open(full, O_PATH | O_CLOEXEC);
    char real_root[PATH_MAX];
    char real[PATH_MAX];

    if (fd < 0 || fstat(fd, ret_stat) < 0)
        return -errno;
    if (real_path(root_fd, real_root, sizeof(real_root)) < 0 ||
        real_path(fd, real, sizeof(real)) < 0 || !is_below(real, real_root))
        return -EACCES;
    if (!S_ISREG(ret_stat->st_mode) && !S_ISDIR(ret_stat->st_mode))
        return -EACCES;
    return TAKE_FD(fd);
}

int files_open(const char *root, const char *path, struct files_entry *ret)
{
    struct stat st;
    char link[64];
    CLEANUP(close) int fd = find(root, path, &st);

    if (fd < 0)
        return fd;
    /* The very file that was checked, whatever its name means by now. */
    int opened = open(str_fmt(link, sizeof(link), "/proc/self/fd/%d", fd), O_RDONLY | O_CLOEXEC);

    if (opened < 0)
        return -errno;
    ret->fd = opened;
    ret->is_dir = S_ISDIR(st.st_mode);
    ret->size = (uint64_t)st.st_size;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names may hold anything: neither markup nor a URL may come of them. */
static void add_name(struct buf *out, const char *name, bool url)
{
    for (const char *p = name; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     strchr("-_.~/", c);

        if (plain)
            (void)buf_addc(out, *p);
        else if (url)
            (void)buf_addf(out, "%%%02X", c);
        else if (c < 0x20 || strchr("<>&\"'", c))
            (void)buf_addf(out, "&#%d;", c < 0x20 ? '?' : c);
        else
            (void)buf_addc(out, *p);
    }
}

int files_list(int fd, struct buf *out)
{
    CLEANUP(closedir) DIR *dir = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    char **names = xcalloc(FILES_ENTRIES_MAX, sizeof(*names));
    size_t len = 0;
    const struct dirent *entry;

    while (dir && len < FILES_ENTRIES_MAX && (entry = readdir(dir))) {
        struct stat st;

        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
            continue;
        bool is_dir = fstatat(fd, entry->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
        names[len++] = xasprintf("%s%s", entry->d_name, is_dir ? "/" : "");
    }
    qsort(names, len, sizeof(*names), by_name);
    (void)buf_adds(out, "<!doctype html>\n<pre>\n");
    for (size_t i = 0; i < len; i++) {
        (void)buf_adds(out, "<a href=\"./");
        add_name(out, names[i], true);
        (void)buf_adds(out, "\">");
        add_name(out, names[i], false);
        (void)buf_adds(out, "</a>\n");
        free(names[i]);
    }
    (void)buf_adds(out, "</pre>\n");
    free(names);
    return dir ? 0 : -EIO;
}
