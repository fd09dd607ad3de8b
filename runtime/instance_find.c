/* Machines on this host that no handle exists for: found by their directories after a start of the
 * agent, set aside when a directory makes no sense, and removed with their cgroups when over. */
#include "runtime/instance_priv.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

int instance_path(const struct instances *all, const char *id, const char *file, char *ret,
                  size_t size)
{
    int n =
        snprintf(ret, size, "%s/%s%s%s", all->config.dir, id, file ? "/" : "", file ? file : "");

    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int instance_read_meta(const struct instances *all, const char *id, struct instance_meta *ret)
{
    CLEANUP(buf) struct buf text = BUF_INIT(INSTANCE_META_MAX);
    struct instance_meta meta;
    char path[INSTANCE_PATH_MAX];
    int r = instance_path(all, id, SHIM_FILE_META, path, sizeof(path));

    if (r == 0)
        r = file_read(path, &text);
    if (r < 0)
        return r;
    r = instance_meta_parse(buf_str(&text), text.len, &meta);
    if (r == 0 && !str_eq(meta.id, id))
        r = -EBADMSG; /* copied or renamed by someone */
    if (r == 0)
        *ret = meta;
    return r;
}

int instance_read_record(const struct instances *all, const char *id, struct instance_record *ret)
{
    CLEANUP(buf) struct buf text = BUF_INIT(SHIM_RECORD_MAX);
    char path[INSTANCE_PATH_MAX];
    int r = instance_path(all, id, SHIM_FILE_EXIT, path, sizeof(path));

    if (r == 0)
        r = file_read(path, &text);
    return r < 0 ? r : instance_record_parse(buf_str(&text), text.len, ret);
}

const char *instances_cgroup_error(const struct instances *all)
{
    return all->cgroup_error[0] ? all->cgroup_error : NULL;
}

int instance_resize(struct instance *instance, int64_t cpu_limit_milli, int64_t cpu_request_milli)
{
    struct cgroup_limits limits = {.cpu_limit_milli = cpu_limit_milli,
                                   .cpu_request_milli = cpu_request_milli};

    return instance->all->cgroups ? cgroup_resize(instance->all->cgroups, instance->id, &limits)
                                  : 0;
}

int instance_usage(const struct instance *instance, struct cgroup_usage *ret)
{
    return instance->all->cgroups ? cgroup_usage(instance->all->cgroups, instance->id, ret)
                                  : -ENODEV;
}

int instances_check(const struct instances *all, bool network, struct err *err)
{
    struct stat info;

    if (access(all->config.shim, X_OK) < 0 || stat(all->config.shim, &info) < 0)
        return err_set(err, -errno, "cannot run the shim %s: %s", all->config.shim,
                       strerror(errno));
    if (!S_ISREG(info.st_mode))
        return err_set(err, -ENOEXEC, "the shim %s is no program", all->config.shim);
    if (network && access("/dev/net/tun", R_OK | W_OK) < 0)
        return err_set(err, -errno, "/dev/net/tun, which guests' networks need, cannot be used: %s",
                       strerror(errno));
    return 0;
}

/* Credentials on every message: the kernel's word on which process answers. */
int instance_connect(const struct instances *all, const char *id)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CLEANUP(close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    int r = instance_path(all, id, SHIM_FILE_SOCK, address.sun_path, sizeof(address.sun_path));

    if (r < 0)
        return r;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return TAKE_FD(fd);
}

int instance_command(int fd, enum shim_type type, int value)
{
    struct shim_msg msg = {
        .version = SHIM_PROTO_VERSION,
        .type = (uint8_t)type,
        .text_at = SHIM_MSG_HEAD,
        .value = value,
    };

    return send(fd, &msg, SHIM_MSG_HEAD, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void retry_groups(uv_timer_t *timer)
{
    struct instances *all = timer->data;
    struct stale_group **at = &all->stale;

    while (*at) {
        struct stale_group *group = *at;

        group->tries++;
        if (cgroup_remove(all->cgroups, group->id) == -EBUSY &&
            group->tries < INSTANCE_GROUP_TRIES) {
            at = &group->next;
            continue;
        }
        *at = group->next;
        free(group);
    }
    if (!all->stale)
        (void)uv_timer_stop(timer);
}

void instance_drop_group(struct instances *all, const char *id)
{
    struct stale_group *group;

    if (!all->cgroups || cgroup_remove(all->cgroups, id) != -EBUSY)
        return;
    cgroup_kill(all->cgroups, id);
    group = xcalloc(1, sizeof(*group));
    str_copy(group->id, sizeof(group->id), id);
    group->next = all->stale;
    all->stale = group;
    if (!uv_is_active((uv_handle_t *)&all->group_timer))
        (void)uv_timer_start(&all->group_timer, retry_groups, INSTANCE_GROUP_MS, INSTANCE_GROUP_MS);
}

void instance_forget_groups(struct instances *all)
{
    while (all->stale) {
        struct stale_group *group = all->stale;

        all->stale = group->next;
        free(group);
    }
}

/* A group whose machine has no directory here is what a killed agent left, unless another agent
 * with another directory is just about to use it: hence the age. In use, it cannot be removed
 * anyway. */
static void sweep_one(void *userdata, const char *id)
{
    struct instances *all = userdata;
    char path[CGROUP_PATH_MAX];
    struct stat info;

    if (!instance_id_ok(id) || instance_path(all, id, NULL, path, sizeof(path)) < 0 ||
        stat(path, &info) == 0)
        return;
    if (cgroup_procs(all->cgroups, id, 0, path, sizeof(path)) < 0 || stat(path, &info) < 0)
        return;
    if (time(NULL) - info.st_mtime >= INSTANCE_GROUP_AGE_S)
        (void)cgroup_remove(all->cgroups, id);
}

void instance_sweep_groups(struct instances *all)
{
    if (all->cgroups)
        cgroup_each(all->cgroups, sweep_one, all);
}

int instance_remove(struct instances *all, const char *id, struct err *err)
{
    char path[INSTANCE_PATH_MAX];
    int r;

    if (!instance_id_ok(id))
        return err_set(err, -EINVAL, "bad instance id");
    instance_drop_group(all, id);
    r = instance_path(all, id, NULL, path, sizeof(path));
    if (r == 0)
        r = file_remove_tree(path);
    return r < 0 ? err_set(err, r, "cannot remove %s: %s", path, strerror(-r)) : 0;
}

static void release_exited(void *userdata, const struct instance_end *end)
{
    (void)end;
    instance_release(userdata);
}

static void release_failed(void *userdata, const struct err *err)
{
    (void)err;
    instance_release(userdata);
}

static void release_lost(void *userdata)
{
    instance_release(userdata);
}

int instance_end_stray(struct instances *all, const char *id, struct err *err)
{
    static const struct instance_ops ops = {
        .on_exit = release_exited, .on_failed = release_failed, .on_lost = release_lost};
    struct instance *instance = NULL;
    int r = instance_adopt(all, id, &ops, NULL, &instance, err);

    if (r < 0)
        return r;
    instance->userdata = instance;
    instance_kill(instance);
    return 0;
}

/* Nobody can tell whose machine it is, so it must not go on. */
static void kill_unknown(const struct instances *all, const char *id)
{
    CLEANUP(close) int fd = instance_connect(all, id);

    if (fd >= 0)
        (void)instance_command(fd, SHIM_CMD_KILL, SIGKILL);
}

static void set_aside(struct instances *all, const char *id, size_t *bad)
{
    char from[INSTANCE_PATH_MAX];
    char to[INSTANCE_PATH_MAX + 4];
    struct err ignored;

    kill_unknown(all, id);
    instance_drop_group(all, id);
    if (instance_path(all, id, NULL, from, sizeof(from)) < 0)
        return;
    str_fmt(to, sizeof(to), "%s.bad", from);
    if (*bad < INSTANCE_BAD_MAX && rename(from, to) == 0)
        (*bad)++;
    else
        (void)instance_remove(all, id, &ignored);
}

static bool answers(const struct instances *all, const char *id)
{
    CLEANUP(close) int fd = instance_connect(all, id);

    return fd >= 0 || fd == -EAGAIN; /* EAGAIN: it has as many callers as it can hold */
}

static void look_at(struct instances *all, const char *id, struct instance_found *found,
                    size_t *len, size_t *bad)
{
    struct instance_meta meta;
    struct err ignored;
    int r = instance_read_meta(all, id, &meta);

    if (r == -ENOENT && !answers(all, id)) {
        (void)instance_remove(all, id, &ignored); /* the agent died before anything started */
        return;
    }
    if (r < 0) {
        set_aside(all, id, bad);
        return;
    }
    str_copy(found->id, sizeof(found->id), id);
    str_copy(found->pod_uid, sizeof(found->pod_uid), meta.pod_uid);
    str_copy(found->container, sizeof(found->container), meta.container);
    found->attempt = meta.attempt;
    found->running = answers(all, id);
    (*len)++;
}

/* Names are collected first: what is set aside changes the directory under the scan. */
static int list_names(DIR *dir, char ***ret, size_t *ret_len, size_t *ret_bad)
{
    struct dirent *entry;
    char **names = NULL;
    size_t len = 0;
    size_t cap = 0;

    *ret_bad = 0;
    while ((entry = readdir(dir))) {
        if (str_ends(entry->d_name, ".bad"))
            (*ret_bad)++;
        if (!instance_id_ok(entry->d_name) ||
            (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN))
            continue;
        if (len == cap) {
            cap = cap ? 2 * cap : 64;
            names = xrealloc(names, cap * sizeof(*names));
        }
        names[len++] = xstrdup(entry->d_name);
    }
    *ret = names;
    *ret_len = len;
    return 0;
}

int instances_find(struct instances *all, struct instance_found **ret, size_t *ret_len,
                   struct err *err)
{
    CLEANUP(closedir) DIR *dir = opendir(all->config.dir);
    struct instance_found *found;
    char **names;
    size_t names_len;
    size_t len = 0;
    size_t bad;

    if (!dir)
        return err_set(err, -errno, "cannot read %s: %s", all->config.dir, strerror(errno));
    (void)list_names(dir, &names, &names_len, &bad);
    found = xcalloc(names_len + 1, sizeof(*found));
    for (size_t i = 0; i < names_len; i++) {
        look_at(all, names[i], &found[len], &len, &bad);
        free(names[i]);
    }
    free(names);
    *ret = found;
    *ret_len = len;
    return 0;
}
