/* A Pod's own initrd: the image's with the files of its volumes. One archive where the guest reads
 * only one; behind the image's, as a further one, where that is compressed and the guest is Linux.
 * What a volume is mounted over is left out of the image's part, as a mount hides it. */
#include "runtime/volumes_int.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/cpio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRS_MAX 4096u /* directories made for volumes and their files */

struct making {
    struct volumes_job *job;
    struct cpio_writer out;
    const char *data; /* the image's */
    size_t len;
    bool merges; /* data is one plain archive that is written anew */
    char **dirs; /* made already */
    size_t dirs_len;
    uint64_t copied; /* bytes of host files */
    unsigned files;
};

static int add_dir(struct making *m, const char *path, mode_t mode)
{
    for (size_t i = 0; i < m->dirs_len; i++) {
        if (str_eq(m->dirs[i], path))
            return 0;
    }
    if (m->dirs_len == DIRS_MAX)
        return -E2BIG;
    if ((m->dirs_len & (m->dirs_len - 1)) == 0)
        m->dirs = xrealloc(m->dirs, (m->dirs_len ? m->dirs_len * 2 : 1) * sizeof(*m->dirs));
    m->dirs[m->dirs_len++] = xstrdup(path);
    cpio_write_dir(&m->out, path, mode);
    return 0;
}

/* The image's own directories keep their modes. */
static int add_parents(struct making *m, const char *path)
{
    char part[CPIO_NAME_MAX];
    int r = 0;

    for (const char *slash = strchr(path, '/'); slash && r == 0; slash = strchr(slash + 1, '/')) {
        str_fmt(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (!m->merges || !cpio_has(m->data, m->len, part))
            r = add_dir(m, part, 0755);
    }
    return r;
}

/* ---- files of the host ---- */

static int copy_file(struct making *m, int fd, const struct stat *st, const char *path)
{
    char *copy;
    ssize_t got;

    if (m->files++ >= VOLUMES_FILES_MAX || m->copied + (uint64_t)st->st_size > VOLUMES_COPY_MAX)
        return -EFBIG;
    m->copied += (uint64_t)st->st_size;
    copy = xmalloc((size_t)st->st_size + 1);
    got = pread(fd, copy, (size_t)st->st_size, 0);
    if (got == st->st_size)
        cpio_write_file(&m->out, path, st->st_mode, copy, (size_t)got);
    free(copy);
    return got == st->st_size ? 0 : -EIO;
}

static int copy_any(struct making *m, int dir, const char *name, const char *path, unsigned depth);

static int copy_dir(struct making *m, int fd, const struct stat *st, const char *path,
                    unsigned depth)
{
    CLEANUP(closedir) DIR *handle = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    const struct dirent *entry;
    int r = add_dir(m, path, st->st_mode);

    if (depth > VOLUMES_DEPTH_MAX)
        return -ELOOP;
    while (handle && r == 0 && (entry = readdir(handle))) {
        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
            continue;
        CLEANUP(free) char *below = xasprintf("%s/%s", path, entry->d_name);

        r = strlen(below) < CPIO_NAME_MAX ? copy_any(m, fd, entry->d_name, below, depth + 1)
                                          : -ENAMETOOLONG;
    }
    return r;
}

/* Links stay links: nothing outside comes in by them. Sockets and devices are left out. */
static int copy_any(struct making *m, int dir, const char *name, const char *path, unsigned depth)
{
    struct stat st;
    char target[PATH_MAX];

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

        if (n < 0)
            return -errno;
        target[n] = '\0';
        cpio_write_symlink(&m->out, path, target);
        return 0;
    }
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return 0;
    CLEANUP(close) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? copy_dir(m, fd, &st, path, depth) : copy_file(m, fd, &st, path);
}

static int add_host(struct making *m, const struct volumes_mount *mount, const char *path)
{
    const char *sub = mount->sub_path ? mount->sub_path : "";
    CLEANUP(close) int fd = -1;
    char link[64];
    struct stat st;

    if (!*sub) {
        fd = open(mount->host_path, O_PATH | O_CLOEXEC);
        fd = fd < 0 ? -errno : fd;
    } else {
        fd = volumes_open_below(mount->host_path, sub, false);
    }
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    CLEANUP(close)
    int opened = open(str_fmt(link, sizeof(link), "/proc/self/fd/%d", fd),
                      O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (opened < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return copy_dir(m, opened, &st, path, 0);
    return S_ISREG(st.st_mode) ? copy_file(m, opened, &st, path) : -EINVAL;
}

/* ---- files in memory ---- */

/* Where a file of the volume goes when only sub_path of it is mounted at path; false: nowhere. */
static bool place(const struct payload_file *file, const char *sub, const char *path, char *dst,
                  size_t size)
{
    size_t len = strlen(sub);

    while (len && sub[len - 1] == '/')
        len--;
    if (len == 0) {
        str_fmt(dst, size, "%s/%s", path, file->path);
        return true;
    }
    if (strncmp(file->path, sub, len) != 0 || (file->path[len] != '/' && file->path[len] != '\0'))
        return false;
    str_fmt(dst, size, "%s%s", path, file->path + len);
    return true;
}

static int add_files(struct making *m, const struct volumes_mount *mount, const char *path)
{
    const char *sub = mount->sub_path ? mount->sub_path : "";
    char name[CPIO_NAME_MAX];
    bool any = false, single = false;
    int r = 0;

    for (size_t i = 0; i < mount->files_len && *sub; i++)
        single = single || str_eq(mount->files[i].path, sub);
    if (!single)
        r = add_dir(m, path, 0755);
    for (size_t i = 0; r == 0 && i < mount->files_len; i++) {
        const struct payload_file *file = &mount->files[i];

        if (!place(file, sub, path, name, sizeof(name)))
            continue;
        any = true;
        for (char *slash = name + strlen(path); r == 0 && (slash = strchr(slash + 1, '/'));) {
            *slash = '\0';
            r = add_dir(m, name, 0755);
            *slash = '/';
        }
        if (r == 0)
            cpio_write_file(&m->out, name, file->mode, file->data, file->len);
    }
    return r == 0 && *sub && !any ? -ENOENT : r;
}

/* ---- the whole ---- */

static int add_mount(struct making *m, const struct volumes_mount *mount, const char *path)
{
    int r = add_parents(m, path);

    if (r < 0)
        return r;
    switch (mount->source) {
    case VOLUMES_FILES:
        return add_files(m, mount, path);
    case VOLUMES_EMPTY:
        return add_dir(m, path, 01777);
    case VOLUMES_HOST:
        return add_host(m, mount, path);
    }
    return -EINVAL;
}

static const char *words(int r)
{
    switch (r) {
    case -EFBIG:
        return "more than 64 MiB or 10000 files would have to be copied into the guest's initrd";
    case -E2BIG:
        return "too many entries";
    case -EXDEV:
        return "its subPath leads out of the volume";
    case -EBADMSG:
        return "the image's initrd is no valid newc archive";
    default:
        return strerror(-r);
    }
}

/* Paths in the archive, as its symbolic links have it. */
static int find_paths(const struct making *m, char **paths, struct err *err)
{
    const struct volumes_job *job = m->job;
    char resolved[CPIO_NAME_MAX];

    for (size_t i = 0; i < job->mounts_len + job->extra_len; i++) {
        const char *path =
            i < job->mounts_len ? job->mounts[i].path : job->extra[i - job->mounts_len].path;
        size_t skip = strspn(path, "/");
        int r = cpio_resolve(m->merges ? m->data : NULL, m->merges ? m->len : 0, path + skip, true,
                             resolved);

        if (r == 0 && !*resolved)
            return err_spec(err, -EINVAL, "mountPath %s: a volume cannot be the guest's whole root",
                            path);
        if (r < 0)
            return err_set(err, r, "the path %s of the guest: %s", path, words(r));
        paths[i] = xstrdup(resolved);
    }
    return 0;
}

static int write_all(struct making *m, char **paths, struct err *err)
{
    const struct volumes_job *job = m->job;
    size_t total = job->mounts_len + job->extra_len, hidden_len = 0;
    const char **hidden = xcalloc(total + 1, sizeof(*hidden));
    int r = 0;

    for (size_t i = 0; i < total; i++) {
        if (i >= job->mounts_len || !job->mounts[i].shared)
            hidden[hidden_len++] = paths[i];
    }
    if (m->merges)
        r = cpio_write_copy(&m->out, m->data, m->len, hidden, hidden_len);
    else
        cpio_write_raw(&m->out, m->data, m->len);
    free(hidden);
    if (r < 0)
        return err_set(err, r, "%s", words(r));
    for (size_t i = 0; i < total; i++) {
        if (i >= job->mounts_len) {
            const struct payload_file *file = &job->extra[i - job->mounts_len];

            r = add_parents(m, paths[i]);
            cpio_write_file(&m->out, paths[i], file->mode, file->data, file->len);
        } else if (!job->mounts[i].shared) {
            r = add_mount(m, &job->mounts[i], paths[i]);
        } else {
            r = add_parents(m, paths[i]); /* what a share is mounted on */
            r = r < 0 ? r : add_dir(m, paths[i], 0755);
        }
        if (r < 0 && i < job->mounts_len) {
            (void)err_set(err, r, "%s", words(r));
            return err_wrap(err, "MountVolume.SetUp failed for volume \"%s\" ",
                            job->mounts[i].volume);
        }
        if (r < 0)
            return err_set(err, r, "%s", words(r));
    }
    return 0;
}

static int write_out(struct making *m, struct err *err)
{
    const struct volumes_job *job = m->job;
    size_t total = job->mounts_len + job->extra_len;
    CLEANUP(free) char *tmp = xasprintf("%s.tmp", job->out);
    CLEANUP(close) int fd = -1;
    char **paths = xcalloc(total + 1, sizeof(*paths));
    int r = find_paths(m, paths, err);
    char *slash = strrchr(tmp, '/');

    *slash = '\0';
    if (r == 0 && file_mkdirs(tmp, 0755) < 0)
        r = err_set(err, -EIO, "cannot make %s", tmp);
    *slash = '/';
    (void)unlink(tmp);
    if (r == 0) {
        fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0440);
        if (fd < 0)
            r = err_set(err, -errno, "cannot write %s: %s", tmp, strerror(errno));
    }
    if (r == 0) {
        cpio_write_begin(&m->out, fd);
        r = write_all(m, paths, err);
        int ended = cpio_write_end(&m->out);
        if (r == 0 && ended == 0 && rename(tmp, job->out) < 0)
            ended = -errno;
        if (r == 0 && ended < 0)
            r = err_set(err, ended, "cannot write %s: %s", job->out, strerror(-ended));
    }
    if (r < 0)
        (void)unlink(tmp);
    for (size_t i = 0; i < total; i++)
        free(paths[i]);
    free(paths);
    return r;
}

/* One plain archive: nothing but zeros behind its trailer. */
static bool is_single(const char *data, size_t len)
{
    struct cpio_reader reader;
    struct cpio_entry entry;
    const char *at;
    int r;

    cpio_read(&reader, data, len);
    while ((r = cpio_next(&reader, &entry)) > 0)
        ;
    if (r < 0)
        return false;
    at = reader.at + 124; /* header and "TRAILER!!!", padded */
    while (at < data + len && *at == '\0')
        at++;
    return at >= data + len;
}

int volumes_make_initrd(struct volumes_job *job, struct err *err)
{
    struct making m = {.job = job};
    CLEANUP(close) int fd = open(job->initrd, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int r = 0;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, -errno, "cannot read the image's initrd: %s", strerror(errno));
    m.len = (size_t)st.st_size;
    m.data = m.len ? mmap(NULL, m.len, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (m.data == MAP_FAILED)
        return err_set(err, -errno, "cannot read the image's initrd: %s", strerror(errno));
    m.merges = cpio_is_archive(m.data, m.len) && (!job->concatenates || is_single(m.data, m.len));
    if (!m.merges && !job->concatenates)
        r = err_spec(err, -EMEDIUMTYPE,
                     "volumes cannot reach the guest: the image's initrd is no newc cpio archive, "
                     "the only kind that files can be added to");
    if (r == 0)
        r = write_out(&m, err);
    if (m.data)
        (void)munmap((void *)(uintptr_t)m.data, m.len);
    for (size_t i = 0; i < m.dirs_len; i++)
        free(m.dirs[i]);
    free(m.dirs);
    return r;
}
