/* Making, entering and removing network namespaces that are bound to files, as `ip netns` and CNI
 * plugins know them. Runs on threads of its own. Called by network_steps.c. */
#include "runtime/network_ns.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

int netns_dir_prepare(const char *dir, struct err *err)
{
    int r = file_mkdirs(dir, 0755);

    if (r < 0)
        return err_set(err, r, "cannot make %s: %s", dir, strerror(-r));
    if (mount("", dir, "none", MS_SHARED | MS_REC, NULL) == 0)
        return 0;
    /* EINVAL: it is no mount point yet. */
    if (errno == EINVAL && mount(dir, dir, "none", MS_BIND | MS_REC, NULL) == 0 &&
        mount("", dir, "none", MS_SHARED | MS_REC, NULL) == 0)
        return 0;
    return err_set(err, -errno, "cannot make %s a shared mount point: %s", dir, strerror(errno));
}

bool netns_alive(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

int netns_remove(const char *path, struct err *err)
{
    /* Detached at once even while a process sits in it; EINVAL: not a mount point. More than one
     * mount may lie on the file when somebody else bound over it. */
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        continue;
    if (errno != EINVAL && errno != ENOENT)
        return err_set(err, -errno, "cannot unmount %s: %s", path, strerror(errno));
    if (unlink(path) < 0 && errno != ENOENT)
        return err_set(err, -errno, "cannot remove %s: %s", path, strerror(errno));
    return 0;
}

/* /proc/sys/net shows the calling thread's namespace. A kernel without IPv6 has none of it. */
static int write_sysctl(const char *name, const char *value, struct err *err)
{
    CLEANUP(close) int fd = open(name, O_WRONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        return err_set(err, -errno, "cannot write %s: %s", name, strerror(errno));
    return 0;
}

/* No link-local address, no router solicitation: the namespace must not speak beside its guest.
 * IPv6 stays on for now, because plugins may configure it. */
static int silence(struct err *err)
{
    int r = write_sysctl("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1", err);

    if (r == 0)
        r = write_sysctl("/proc/sys/net/ipv6/conf/default/accept_ra", "0", err);
    return r;
}

int netns_create(const char *path, struct err *err)
{
    CLEANUP(close) int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0444);
    int r;

    if (fd < 0)
        return err_set(err, -errno, "cannot make %s: %s", path, strerror(errno));
    if (unshare(CLONE_NEWNET) < 0) {
        r = err_set(err, -errno, "cannot make a network namespace: %s", strerror(errno));
        (void)unlink(path);
        return r;
    }
    r = silence(err);
    if (r == 0 && mount("/proc/thread-self/ns/net", path, "none", MS_BIND, NULL) < 0)
        r = err_set(err, -errno, "cannot bind the network namespace to %s: %s", path,
                    strerror(errno));
    if (r < 0)
        (void)unlink(path);
    return r;
}

int netns_enter(const char *path, struct err *err)
{
    CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
    if (setns(fd, CLONE_NEWNET) < 0)
        return err_set(err, -errno, "cannot enter %s: %s", path, strerror(errno));
    return 0;
}
