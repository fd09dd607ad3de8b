/* See volumes.h. One job prepares all volumes of one start: directories for what is shared, one new
 * initrd for what is copied. Errors are the kubelet's texts of a mount that failed. */
#include "runtime/volumes.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/volumes_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(const struct volumes_mount *mount, struct err *err)
{
    return err_wrap(err, "MountVolume.SetUp failed for volume \"%s\" ", mount->volume);
}

/* ---- what is shared ---- */

/* (mount is also what we call a volumeMount.) */
static int mount_tmpfs(const char *dir, const char *options)
{
    return mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options);
}

static int make_empty(const struct volumes_mount *mount, struct err *err)
{
    struct stat st, parent;
    char options[64], up[PATH_MAX];
    int r = file_mkdirs(mount->dir, 0755);

    if (r == 0 && chmod(mount->dir, 0777) < 0)
        r = -errno;
    if (r < 0)
        return err_set(err, r, "cannot make %s: %s", mount->dir, strerror(-r));
    if (!mount->memory)
        return 0;
    str_fmt(up, sizeof(up), "%s/..", mount->dir);
    if (stat(mount->dir, &st) == 0 && stat(up, &parent) == 0 && st.st_dev != parent.st_dev)
        return 0; /* of an earlier start: its files stay until the Pod goes */
    str_fmt(options, sizeof(options), "mode=0777");
    if (mount->size_limit > 0)
        str_fmt(options, sizeof(options), "mode=0777,size=%lld", (long long)mount->size_limit);
    if (mount_tmpfs(mount->dir, options) < 0)
        return err_set(err, -errno, "cannot mount a tmpfs on %s: %s", mount->dir, strerror(errno));
    return 0;
}

/* The VMM opens the files, and it is nobody in particular. */
static int check_rights(const struct volumes_mount *mount, const struct stat *st, uint32_t vmm_uid,
                        struct err *err)
{
    mode_t wanted = mount->read_only ? 05 : 07;

    if (vmm_uid == 0 || mount->source != VOLUMES_HOST || (st->st_mode & wanted) == wanted)
        return 0;
    return err_set(err, -EACCES,
                   "the machine's user (vmmUser) may not %s %s: it is no other than everybody%s",
                   mount->read_only ? "read" : "write", mount->host_path,
                   mount->read_only ? "" : "; mount it readOnly, or let everybody write there");
}

static int share_of(struct volumes_mount *mount, const char *dir, uint32_t vmm_uid, struct err *err)
{
    bool create = mount->source == VOLUMES_EMPTY || mount->source == VOLUMES_HOST;
    const char *sub = mount->sub_path ? mount->sub_path : "";
    CLEANUP(close) int fd = volumes_open_below(dir, sub, create && !mount->read_only);
    char link[64], real[PATH_MAX];
    struct stat st;
    ssize_t n;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, fd < 0 ? fd : -errno,
                       "failed to prepare subPath for volumeMount \"%s\": %s", mount->volume,
                       fd == -EXDEV ? "it leads out of the volume"
                                    : strerror(fd < 0 ? -fd : errno));
    if (!S_ISDIR(st.st_mode))
        return err_spec(err, -ENOTDIR,
                        "%s is a file, and a share of the VMM is a directory: mount the directory",
                        mount->path);
    r = check_rights(mount, &st, vmm_uid, err);
    if (r < 0)
        return r;
    n = readlink(str_fmt(link, sizeof(link), "/proc/self/fd/%d", fd), real, sizeof(real) - 1);
    if (n < 0)
        return err_set(err, -errno, "cannot find %s: %s", dir, strerror(errno));
    real[n] = '\0';
    free(mount->share);
    mount->share = xstrdup(real);
    return 0;
}

static int prepare_share(struct volumes_mount *mount, uint32_t vmm_uid, struct err *err)
{
    const char *dir = mount->dir;
    int r = 0;

    switch (mount->source) {
    case VOLUMES_FILES:
        r = payload_write(dir, mount->files, mount->files_len, 0, NULL, err);
        break;
    case VOLUMES_EMPTY:
        r = make_empty(mount, err);
        break;
    case VOLUMES_HOST:
        dir = mount->host_path;
        break;
    }
    return r < 0 ? r : share_of(mount, dir, vmm_uid, err);
}

int volumes_run(struct volumes_job *job, struct err *err)
{
    for (size_t i = 0; i < job->mounts_len; i++) {
        struct volumes_mount *mount = &job->mounts[i];
        int r = 0;

        if (mount->source == VOLUMES_HOST)
            r = volumes_check_host(mount->host_path, mount->host_type, job->host_prefixes,
                                   job->host_prefixes_len, err);
        if (r == 0 && mount->shared)
            r = prepare_share(mount, job->vmm_uid, err);
        if (r < 0)
            return failed(mount, err);
    }
    return job->initrd ? volumes_make_initrd(job, err) : 0;
}

int volumes_refresh(const struct volumes_job *job, gid_t gid, struct err *err)
{
    for (size_t i = 0; i < job->mounts_len; i++) {
        const struct volumes_mount *mount = &job->mounts[i];

        if (!mount->shared || mount->source != VOLUMES_FILES)
            continue;
        if (payload_write(mount->dir, mount->files, mount->files_len, gid, NULL, err) < 0)
            return failed(mount, err);
    }
    return 0;
}

/* ---- whose it is ---- */

struct giving {
    uint32_t uid, old_uid;
    gid_t gid;
    unsigned left;
};

static int give_below(int dir, struct giving *g, unsigned depth)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closedir) DIR *handle = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    int r = 0;

    if (depth > VOLUMES_DEPTH_MAX)
        return -ELOOP;
    while (handle && r == 0 && (entry = readdir(handle))) {
        struct stat st;

        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
            continue;
        if (g->left-- == 0)
            return -E2BIG;
        CLEANUP(close) int fd = openat(dir, entry->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
            continue;
        /* Of the user before, or the agent's own; a link to something else is not touched. */
        uint32_t owner = st.st_uid == 0 ? 0 : g->uid;
        if (st.st_uid != 0 && st.st_uid != g->old_uid)
            continue;
        if (S_ISDIR(st.st_mode) || st.st_nlink == 1 || st.st_uid != 0)
            r = fchownat(fd, "", owner, g->gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
        if (r == 0 && S_ISDIR(st.st_mode)) {
            CLEANUP(close)
            int below = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            struct stat again;

            if (below >= 0 && fstat(below, &again) == 0 && again.st_ino == st.st_ino)
                r = give_below(below, g, depth + 1);
        }
    }
    return r;
}

int volumes_give(const char *dir, uint32_t uid, gid_t gid, struct err *err)
{
    CLEANUP(close) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct giving g = {.uid = uid, .gid = gid, .left = VOLUMES_GIVE_MAX};
    struct stat st;
    int r = 0;

    if (fd < 0)
        return errno == ENOENT ? 0
                               : err_set(err, -errno, "cannot open %s: %s", dir, strerror(errno));
    /* The group of the directory is the user before: the number is the same. */
    if (fstat(fd, &st) < 0)
        r = -errno;
    g.old_uid = st.st_gid;
    if (r == 0)
        r = give_below(fd, &g, 0);
    if (r == 0 && (fchown(fd, 0, gid) < 0 || fchmod(fd, 0750) < 0))
        r = -errno;
    return r < 0 ? err_set(err, r, "cannot give %s to the machine's user: %s", dir, strerror(-r))
                 : 0;
}

/* Mounts below dir, the deepest last: each is on an entry of dir or of one below it. */
static void unmount_below(const char *dir, unsigned depth)
{
    CLEANUP(closedir) DIR *handle = opendir(dir);
    const struct dirent *entry;

    while (handle && (entry = readdir(handle))) {
        CLEANUP(free) char *path = xasprintf("%s/%s", dir, entry->d_name);

        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, "..") || entry->d_type != DT_DIR)
            continue;
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && depth > 0)
            unmount_below(path, depth - 1);
    }
}

int volumes_remove(const char *dir, struct err *err)
{
    int r;

    unmount_below(dir, 1);
    r = file_remove_tree(dir);
    return r < 0 ? err_set(err, r, "cannot remove %s: %s", dir, strerror(-r)) : 0;
}
