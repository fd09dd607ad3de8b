/* cgroup v2 and v1 behind one set of calls. Limits that the kernel does not offer on this host are
 * left out (swap, mostly); a memory limit that cannot be set is an error, since a machine without
 * it could take the whole node. Sources: the kernel's cgroup-v1 and cgroup-v2 documentation; the
 * CPU shares and weights are the kubelet's, so that unikernels and containers share alike. */
#include "runtime/cgroup.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#define CPU_PERIOD_US 100000
#define CPU_QUOTA_MIN_US 1000 /* the kernel refuses less */
#define CPU_SHARES_MIN 2
#define CPU_SHARES_MAX 262144
#define MOUNTS_MAX (1024 * 1024)
#define STAT_MAX 16384
#define PROCS_MAX 65536

struct cgroups {
    struct cgroup_layout layout;
    char parent[64];
};

static bool in_list(const char *list, char separator, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; (at = strstr(at, word)); at += len) {
        bool starts = at == list || at[-1] == separator;

        if (starts && (at[len] == separator || at[len] == '\0' || at[len] == '\n'))
            return true;
    }
    return false;
}

/* Copies the space-separated field number n (from 0) of a line; false when it is absent or longer.
 */
static bool field(const char *line, int n, char *ret, size_t size)
{
    size_t len;

    for (; n > 0; n--) {
        line += strcspn(line, " \n");
        if (*line != ' ')
            return false;
        line++;
    }
    len = strcspn(line, " \n");
    if (len == 0 || len >= size)
        return false;
    memcpy(ret, line, len);
    ret[len] = '\0';
    return true;
}

static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return *line ? line + 1 : line;
}

int cgroup_find_v2(const char *mounts, char *ret, size_t size)
{
    for (const char *line = mounts; *line; line = next_line(line)) {
        char type[32];

        if (field(line, 2, type, sizeof(type)) && str_eq(type, "cgroup2") &&
            field(line, 1, ret, size))
            return 0;
    }
    return -ENOENT;
}

static void add_hierarchy(struct cgroup_layout *layout, const char *mount, const char *list,
                          char separator)
{
    static const char *const wanted[] = {"memory", "cpu", "cpuacct", "pids"};
    char *controllers;
    size_t used = 0;

    if (layout->len == CGROUP_HIERARCHIES_MAX)
        return;
    controllers = layout->at[layout->len].controllers;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        if (!in_list(list, separator, wanted[i]))
            continue;
        str_fmt(controllers + used, sizeof(layout->at[0].controllers) - used, "%s%s",
                used ? "," : "", wanted[i]);
        used = strlen(controllers);
    }
    if (used > 0)
        str_copy(layout->at[layout->len++].mount, sizeof(layout->at[0].mount), mount);
}

/* v2 only where it has the memory controller: on a hybrid host it is mounted too, but empty. */
void cgroup_layout_parse(const char *mounts, const char *v2_controllers, struct cgroup_layout *ret)
{
    char mount[sizeof(ret->at[0].mount)];
    char type[32];
    char options[512];

    *ret = (struct cgroup_layout){.version = 0};
    if (in_list(v2_controllers, ' ', "memory") &&
        cgroup_find_v2(mounts, mount, sizeof(mount)) == 0) {
        ret->version = 2;
        add_hierarchy(ret, mount, v2_controllers, ' ');
        return;
    }
    for (const char *line = mounts; *line; line = next_line(line)) {
        if (field(line, 2, type, sizeof(type)) && str_eq(type, "cgroup") &&
            field(line, 1, mount, sizeof(mount)) && field(line, 3, options, sizeof(options)))
            add_hierarchy(ret, mount, options, ',');
    }
    ret->version = ret->len > 0 ? 1 : 0;
}

static int write_text(const char *path, const char *text)
{
    CLEANUP(close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    size_t len = strlen(text);

    return fd < 0 || write(fd, text, len) != (ssize_t)len ? -errno : 0;
}

/* mount/parent/id/file; id and file may be NULL. */
static int make_path(const struct cgroups *all, size_t i, const char *id, const char *file,
                     char *ret, size_t size)
{
    int n = snprintf(ret, size, "%s/%s%s%s%s%s", all->layout.at[i].mount, all->parent,
                     id ? "/" : "", id ? id : "", file ? "/" : "", file ? file : "");

    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* The hierarchy that has the controller, -ENOENT otherwise. */
static int find_controller(const struct cgroups *all, const char *controller)
{
    for (size_t i = 0; i < all->layout.len; i++) {
        if (in_list(all->layout.at[i].controllers, ',', controller))
            return (int)i;
    }
    return -ENOENT;
}

static int set(const struct cgroups *all, const char *controller, const char *id, const char *file,
               const char *value)
{
    char path[CGROUP_PATH_MAX];
    int i = find_controller(all, controller);
    int r = i < 0 ? i : make_path(all, (size_t)i, id, file, path, sizeof(path));

    return r < 0 ? r : write_text(path, value);
}

/* v2: children get a controller only when their parent passes it on. */
static void pass_on_controllers(const char *dir)
{
    static const char *const words[] = {"+memory", "+cpu", "+pids"};
    char path[CGROUP_PATH_MAX];

    str_fmt(path, sizeof(path), "%s/cgroup.subtree_control", dir);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        (void)write_text(path, words[i]); /* what is missing shows when a limit is set */
}

static int make_parent(struct cgroups *all, struct err *err)
{
    char path[CGROUP_PATH_MAX];

    for (size_t i = 0; i < all->layout.len; i++) {
        if (all->layout.version == 2)
            pass_on_controllers(all->layout.at[i].mount);
        if (make_path(all, i, NULL, NULL, path, sizeof(path)) < 0)
            return err_set(err, -ENAMETOOLONG, "the cgroup's path is too long");
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return err_set(err, -errno, "cannot make the cgroup %s: %s", path, strerror(errno));
        if (all->layout.version == 2)
            pass_on_controllers(path);
        (void)make_path(all, i, CGROUP_SHIMS, NULL, path, sizeof(path));
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return err_set(err, -errno, "cannot make the cgroup %s: %s", path, strerror(errno));
    }
    return 0;
}

int cgroups_open(const char *parent, struct cgroups **ret, struct err *err)
{
    CLEANUP(buf) struct buf mounts = BUF_INIT(MOUNTS_MAX);
    CLEANUP(buf) struct buf controllers = BUF_INIT(STAT_MAX);
    char path[CGROUP_PATH_MAX];
    char v2[sizeof(((struct cgroup_layout *)0)->at[0].mount)];
    struct cgroups *all;
    int r = file_read("/proc/mounts", &mounts);

    if (r < 0)
        return err_set(err, r, "cannot read /proc/mounts: %s", strerror(-r));
    if (strchr(parent, '/') || strlen(parent) >= sizeof(all->parent) || parent[0] == '.')
        return err_spec(err, -EINVAL, "bad cgroup name \"%s\": a plain name is wanted", parent);
    if (cgroup_find_v2(buf_str(&mounts), v2, sizeof(v2)) == 0) {
        str_fmt(path, sizeof(path), "%s/cgroup.controllers", v2);
        (void)file_read(path, &controllers);
    }
    all = xcalloc(1, sizeof(*all));
    cgroup_layout_parse(buf_str(&mounts), buf_str(&controllers), &all->layout);
    str_copy(all->parent, sizeof(all->parent), parent);
    if (all->layout.version == 0 || find_controller(all, "memory") < 0)
        r = err_set(err, -ENODEV, "this host has no memory cgroup controller");
    else
        r = make_parent(all, err);
    if (r < 0) {
        cgroups_close(all);
        return r;
    }
    *ret = all;
    return 0;
}

void cgroups_close(struct cgroups *all)
{
    free(all);
}

/* The kubelet's MilliCPUToShares, and runc's map from shares to weights. */
static uint64_t cpu_shares(int64_t milli)
{
    int64_t shares = milli < 0 ? CPU_SHARES_MIN : milli * 1024 / 1000;

    if (shares < CPU_SHARES_MIN)
        return CPU_SHARES_MIN;
    return shares > CPU_SHARES_MAX ? CPU_SHARES_MAX : (uint64_t)shares;
}

/* What the kernel of this host does not offer is no error: -ENOENT. */
static int keep_error(int so_far, int r)
{
    return so_far == 0 && r != -ENOENT ? r : so_far;
}

/* fresh: the group was just made, and has no limit. */
static int set_cpu(const struct cgroups *all, const char *id, const struct cgroup_limits *limits,
                   bool fresh)
{
    bool limited = limits->cpu_limit_milli > 0;
    int r;

    uint64_t shares = cpu_shares(limits->cpu_request_milli);
    int64_t quota_us = limits->cpu_limit_milli * (CPU_PERIOD_US / 1000);
    char text[64];

    if (quota_us < CPU_QUOTA_MIN_US)
        quota_us = CPU_QUOTA_MIN_US;
    if (all->layout.version == 2) {
        str_fmt(text, sizeof(text), "%" PRIu64, 1 + (shares - 2) * 9999 / 262142);
        r = keep_error(0, set(all, "cpu", id, "cpu.weight", text));
        str_fmt(text, sizeof(text), "%" PRId64 " %d", quota_us, CPU_PERIOD_US);
        if (limited || !fresh)
            r = keep_error(r, set(all, "cpu", id, "cpu.max", limited ? text : "max"));
        return r;
    }
    str_fmt(text, sizeof(text), "%" PRIu64, shares);
    r = keep_error(0, set(all, "cpu", id, "cpu.shares", text));
    str_fmt(text, sizeof(text), "%" PRId64, limited ? quota_us : -1);
    if (limited || !fresh) /* the period's default is ours */
        r = keep_error(r, set(all, "cpu", id, "cpu.cfs_quota_us", text));
    return r;
}

int cgroup_resize(struct cgroups *all, const char *id, const struct cgroup_limits *limits)
{
    return set_cpu(all, id, limits, false);
}

static int set_memory(const struct cgroups *all, const char *id, uint64_t bytes, struct err *err)
{
    bool v2 = all->layout.version == 2;
    char text[32];
    int r;

    str_fmt(text, sizeof(text), "%" PRIu64, bytes);
    r = set(all, "memory", id, v2 ? "memory.max" : "memory.limit_in_bytes", text);
    if (r < 0)
        return err_set(err, r, "cannot limit the machine's memory to %s bytes: %s", text,
                       strerror(-r));
    /* No swap, as the kubelet's default is; hosts without swap accounting lack the files. */
    if (v2)
        (void)set(all, "memory", id, "memory.swap.max", "0");
    else
        (void)set(all, "memory", id, "memory.memsw.limit_in_bytes", text);
    return 0;
}

int cgroup_create(struct cgroups *all, const char *id, const struct cgroup_limits *limits,
                  struct err *err)
{
    char path[CGROUP_PATH_MAX];
    char text[32];
    int r = 0;

    for (size_t i = 0; i < all->layout.len; i++) {
        r = make_path(all, i, id, NULL, path, sizeof(path));
        if (r == 0 && mkdir(path, 0755) < 0 && errno != EEXIST)
            r = -errno;
        if (r < 0) {
            (void)cgroup_remove(all, id);
            return err_set(err, r, "cannot make the cgroup %s: %s", path, strerror(-r));
        }
    }
    if (limits->memory_bytes > 0)
        r = set_memory(all, id, limits->memory_bytes, err);
    if (r < 0) {
        (void)cgroup_remove(all, id);
        return r;
    }
    (void)set_cpu(all, id, limits, true);
    str_fmt(text, sizeof(text), "%" PRIu32, limits->pids);
    if (limits->pids > 0)
        (void)set(all, "pids", id, "pids.max", text);
    return 0;
}

int cgroup_procs(const struct cgroups *all, const char *id, size_t i, char *ret, size_t size)
{
    /* By "tasks" a lone thread moves itself without the lock over all forks, which costs its taker
     * a grace period of RCU: 10 ms and more. Version 2 has nothing like it for domains. */
    const char *name = all->layout.version == 2 ? "cgroup.procs" : "tasks";

    return i < all->layout.len ? make_path(all, i, id, name, ret, size) : -ENOENT;
}

int cgroup_oom_file(const struct cgroups *all, const char *id, char *ret, size_t size)
{
    int i = find_controller(all, "memory");

    if (i < 0)
        return i;
    return make_path(all, (size_t)i, id,
                     all->layout.version == 2 ? "memory.events" : "memory.oom_control", ret, size);
}

int cgroup_file(const struct cgroups *all, const char *controller, const char *id,
                const char *v1_name, const char *v2_name, char *ret, size_t size)
{
    bool v2 = all->layout.version == 2;
    int i = find_controller(all, controller);
    int r = i < 0 ? i : make_path(all, (size_t)i, id, v2 ? v2_name : v1_name, ret, size);

    return r < 0 ? r : all->layout.version;
}

/* The number behind "key " at a line's start, or the whole text's number when key is NULL. */
static int read_number(const struct cgroups *all, const char *controller, const char *id,
                       const char *file, const char *key, uint64_t *ret)
{
    CLEANUP(buf) struct buf text = BUF_INIT(STAT_MAX);
    char path[CGROUP_PATH_MAX];
    char number[32];
    int i = find_controller(all, controller);
    int r = i < 0 ? i : make_path(all, (size_t)i, id, file, path, sizeof(path));

    if (r == 0)
        r = file_read(path, &text);
    if (r < 0)
        return r;
    if (!key)
        return field(buf_str(&text), 0, number, sizeof(number)) ? str_to_u64(number, ret)
                                                                : -EBADMSG;
    for (const char *line = buf_str(&text); *line; line = next_line(line)) {
        char name[64];

        if (field(line, 0, name, sizeof(name)) && str_eq(name, key))
            return field(line, 1, number, sizeof(number)) ? str_to_u64(number, ret) : -EBADMSG;
    }
    return -ENOENT;
}

int cgroup_usage(const struct cgroups *all, const char *id, struct cgroup_usage *ret)
{
    bool v2 = all->layout.version == 2;
    struct cgroup_usage usage = {0};
    uint64_t inactive = 0;
    int r;

    if (v2)
        r = read_number(all, "cpu", id, "cpu.stat", "usage_usec", &usage.cpu_ns);
    else
        r = read_number(all, "cpuacct", id, "cpuacct.usage", NULL, &usage.cpu_ns);
    if (v2)
        usage.cpu_ns *= 1000;
    if (r == 0)
        r = read_number(all, "memory", id, v2 ? "memory.current" : "memory.usage_in_bytes", NULL,
                        &usage.memory_bytes);
    if (r == 0)
        r = read_number(all, "memory", id, "memory.stat",
                        v2 ? "inactive_file" : "total_inactive_file", &inactive);
    if (r < 0)
        return r;
    usage.working_set_bytes = inactive < usage.memory_bytes ? usage.memory_bytes - inactive : 0;
    *ret = usage;
    return 0;
}

/* The pid is in the group before and after its pidfd is open: so the pidfd is the group's member,
 * whatever happened to pids in between. */
static bool still_listed(const char *path, uint64_t pid)
{
    CLEANUP(buf) struct buf text = BUF_INIT(PROCS_MAX);
    char number[32];
    uint64_t listed;

    if (file_read(path, &text) < 0)
        return false;
    for (const char *line = buf_str(&text); *line; line = next_line(line)) {
        if (field(line, 0, number, sizeof(number)) && str_to_u64(number, &listed) == 0 &&
            listed == pid)
            return true;
    }
    return false;
}

static void kill_listed(const char *path)
{
    CLEANUP(buf) struct buf text = BUF_INIT(PROCS_MAX);
    char number[32];
    uint64_t pid;

    if (file_read(path, &text) < 0)
        return;
    for (const char *line = buf_str(&text); *line; line = next_line(line)) {
        if (!field(line, 0, number, sizeof(number)) || str_to_u64(number, &pid) < 0 || pid == 0)
            continue;
        CLEANUP(close) int fd = pidfd_open((pid_t)pid, 0);

        if (fd >= 0 && still_listed(path, pid))
            (void)pidfd_send_signal(fd, SIGKILL, NULL, 0);
    }
}

void cgroup_kill(const struct cgroups *all, const char *id)
{
    char path[CGROUP_PATH_MAX];

    for (size_t i = 0; i < all->layout.len; i++) {
        if (all->layout.version == 2 &&
            make_path(all, i, id, "cgroup.kill", path, sizeof(path)) == 0 &&
            write_text(path, "1") == 0)
            continue;
        if (make_path(all, i, id, "cgroup.procs", path, sizeof(path)) == 0)
            kill_listed(path);
    }
}

int cgroup_remove(const struct cgroups *all, const char *id)
{
    char path[CGROUP_PATH_MAX];
    int result = 0;

    for (size_t i = 0; i < all->layout.len; i++) {
        int r = make_path(all, i, id, NULL, path, sizeof(path));

        if (r == 0 && rmdir(path) < 0 && errno != ENOENT)
            r = -errno;
        if (r < 0)
            result = r;
    }
    return result;
}

void cgroup_each(const struct cgroups *all, void (*found)(void *userdata, const char *id),
                 void *userdata)
{
    char path[CGROUP_PATH_MAX];

    for (size_t i = 0; i < all->layout.len; i++) {
        CLEANUP(closedir) DIR *dir = NULL;
        struct dirent *entry;

        if (make_path(all, i, NULL, NULL, path, sizeof(path)) < 0)
            continue;
        dir = opendir(path);
        while (dir && (entry = readdir(dir))) {
            if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
                !str_eq(entry->d_name, CGROUP_SHIMS))
                found(userdata, entry->d_name);
        }
    }
}
