/* Into the host's namespaces and out of the container's cgroups. Needs hostPID and the capabilities
 * SYS_ADMIN, SYS_CHROOT and SYS_PTRACE, but no privileged container. setns(2), cgroups(7). */
#include "runtime/host/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"
#define KILL_ROUNDS_MAX 50 /* of 20 ms: a killed process leaves its group a little later */
#define KILL_ROUND_US 20000

static int is_own(const char *name)
{
    struct stat ours;
    struct stat theirs;
    char own[64];
    char other[64];

    (void)snprintf(own, sizeof(own), "/proc/self/ns/%s", name);
    (void)snprintf(other, sizeof(other), "/proc/1/ns/%s", name);
    return stat(own, &ours) == 0 && stat(other, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
           ours.st_ino == theirs.st_ino;
}

int host_enter(const struct host_options *options, struct host_kept *ret_kept)
{
    int mounts = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
    int groups = open("/proc/1/ns/cgroup", O_RDONLY | O_CLOEXEC);

    if (mounts < 0)
        return host_fail("cannot open /proc/1/ns/mnt: %s: the container needs the capability "
                         "SYS_PTRACE and an AppArmor profile of Unconfined",
                         strerror(errno));
    if (is_own("mnt"))
        return host_fail("process 1 is the container's own: the Pod needs hostPID: true");
    ret_kept->payload = open(options->payload, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ret_kept->account = open(SERVICE_ACCOUNT_DIR, O_PATH | O_DIRECTORY);
    /* A delegation boundary may lie between the container's cgroups and the host's. */
    if (groups >= 0 && !is_own("cgroup") && setns(groups, CLONE_NEWCGROUP) < 0)
        return host_fail("cannot enter the host's cgroup namespace: %s: the container needs the "
                         "capability SYS_ADMIN",
                         strerror(errno));
    if (setns(mounts, CLONE_NEWNS) < 0)
        return host_fail("cannot enter the host's mount namespace: %s: the container needs the "
                         "capabilities SYS_ADMIN and SYS_CHROOT",
                         strerror(errno));
    (void)close(mounts);
    if (groups >= 0)
        (void)close(groups);
    return 0;
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    size_t len = strlen(text);
    int r = fd >= 0 && write(fd, text, len) == (ssize_t)len ? 0 : -errno;

    if (fd >= 0)
        (void)close(fd);
    return r;
}

/* A new group of v1's cpuset has no CPU and no memory node, and takes nobody in. */
static void inherit(const char *parent, const char *dir, const char *file)
{
    char path[HOST_PATH_MAX];
    char text[HOST_PATH_MAX];
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", parent, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (n <= 0)
        return;
    text[n] = '\0';
    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    (void)write_file(path, text);
}

/* Calls back for the mount point of each hierarchy, once each. */
static int each_hierarchy(int (*call)(const char *mount, const char *name), const char *name)
{
    FILE *table = setmntent("/proc/self/mounts", "re");
    struct mntent entry;
    char text[HOST_PATH_MAX];
    int r = 0;

    if (!table)
        return host_fail("cannot read /proc/self/mounts: %s", strerror(errno));
    while (r == 0 && getmntent_r(table, &entry, text, sizeof(text))) {
        if (strncmp(entry.mnt_type, "cgroup", 6) == 0 && !hasmntopt(&entry, "ro"))
            r = call(entry.mnt_dir, name);
    }
    (void)endmntent(table);
    return r;
}

static int join(const char *mount, const char *name)
{
    char dir[HOST_PATH_MAX];
    char procs[HOST_PATH_MAX + 16];
    int r;

    (void)snprintf(dir, sizeof(dir), "%s/%s", mount, name);
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return host_fail("cannot make the cgroup %s: %s", dir, strerror(errno));
    inherit(mount, dir, "cpuset.cpus");
    inherit(mount, dir, "cpuset.mems");
    (void)snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
    r = write_file(procs, "0");
    return r < 0 ? host_fail("cannot enter the cgroup %s: %s", dir, strerror(-r)) : 0;
}

int host_enter_cgroup(const char *name)
{
    return each_hierarchy(join, name);
}

static int kill_members(const char *dir)
{
    char path[HOST_PATH_MAX + 16];
    FILE *list;
    int count = 0;
    int pid;

    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
    list = fopen(path, "re");
    while (list && fscanf(list, "%d", &pid) == 1 && pid > 1) {
        (void)kill(pid, SIGKILL);
        count++;
    }
    if (list)
        (void)fclose(list);
    return count;
}

static int kill_below(const char *dir, int depth)
{
    DIR *list = depth > 0 ? opendir(dir) : NULL;
    const struct dirent *entry;
    int count = kill_members(dir);

    while (list && (entry = readdir(list))) {
        char path[HOST_PATH_MAX];

        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        count += kill_below(path, depth - 1);
    }
    if (list)
        (void)closedir(list);
    if (count == 0)
        (void)rmdir(dir);
    return count;
}

static int remove_one(const char *mount, const char *name)
{
    char dir[HOST_PATH_MAX];

    (void)snprintf(dir, sizeof(dir), "%s/%s", mount, name);
    for (int i = 0; i < KILL_ROUNDS_MAX && access(dir, F_OK) == 0; i++) {
        if (kill_below(dir, 3) > 0)
            (void)usleep(KILL_ROUND_US);
    }
    return 0;
}

void host_remove_cgroup(const char *name)
{
    (void)each_hierarchy(remove_one, name);
}
