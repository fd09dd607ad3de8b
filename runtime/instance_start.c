/* Launching: everything between a spec and a running unikubelet-shim. The order makes every crash
 * of the agent harmless: directory and meta come first, the listening socket next, the shim last.
 * Whoever finds a meta without a listener and without an exit record knows that nothing runs. */
#include "runtime/instance_priv.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/spawn.h"
#include "base/str.h"
#include "runtime/cgroup.h"
#include "runtime/network.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool has_user(const struct instances *all, uint32_t uid)
{
    for (const struct instance *i = all->list; i; i = i->next) {
        if (i->vmm_uid == uid)
            return true;
    }
    return false;
}

/* From a random place on: a user that was let go is not taken again at once, when something of its
 * machine may still be dying. */
static int pick_user(const struct instances *all, uint32_t *ret, struct err *err)
{
    uint32_t count = all->config.vmm_uids;
    uint32_t start = 0;

    if (all->config.vmm_uid == 0 || count < 2) {
        *ret = all->config.vmm_uid;
        return 0;
    }
    (void)!getrandom(&start, sizeof(start), GRND_NONBLOCK);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t uid = all->config.vmm_uid + (uint32_t)(((uint64_t)start + i) % count);

        if (!has_user(all, uid)) {
            *ret = uid;
            return 0;
        }
    }
    return err_set(err, -EUSERS, "each of the %" PRIu32 " users for machines has one", count);
}

static int write_meta(const struct instances *all, const struct instance_spec *spec, uint32_t uid,
                      struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(INSTANCE_META_MAX);
    struct instance_meta meta = {
        .attempt = spec->attempt,
        .board = spec->machine.board,
        .memory_mib = spec->machine.memory_mib,
        .debug_exit = spec->machine.debug_exit,
        .vmm_uid = uid,
    };
    char path[INSTANCE_PATH_MAX];
    int r;

    if (strlen(spec->pod_uid) >= sizeof(meta.pod_uid) ||
        strlen(spec->container) >= sizeof(meta.container))
        return err_spec(err, -ENAMETOOLONG, "the Pod's uid or container name is too long");
    str_copy(meta.id, sizeof(meta.id), spec->id);
    str_copy(meta.pod_uid, sizeof(meta.pod_uid), spec->pod_uid);
    str_copy(meta.container, sizeof(meta.container), spec->container);
    str_copy(meta.guest, sizeof(meta.guest), spec->guest->kind);
    r = instance_meta_format(&meta, &text);
    if (r < 0)
        return err_spec(err, r, "the Pod's uid or container name holds control characters");
    r = instance_path(all, spec->id, SHIM_FILE_META, path, sizeof(path));
    if (r == 0)
        r = file_write_atomic(path, text.data, text.len, 0600);
    return r < 0 ? err_set(err, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

/* Nobody asks for a log older than the attempt's before this: "<attempt>.log", and what grew too
 * long under that name. Best effort. */
static void drop_old_logs(const char *dir, uint32_t keep_from)
{
    CLEANUP(closedir) DIR *handle = opendir(dir);
    struct dirent *entry;

    while (handle && (entry = readdir(handle))) {
        size_t digits = strspn(entry->d_name, "0123456789");
        char number[16];
        uint64_t attempt;

        if (digits == 0 || digits >= sizeof(number) || !str_starts(entry->d_name + digits, ".log"))
            continue;
        str_fmt(number, sizeof(number), "%.*s", (int)digits, entry->d_name);
        if (str_to_u64(number, &attempt) == 0 && attempt < keep_from)
            (void)unlinkat(dirfd(handle), entry->d_name, 0);
    }
}

static int make_log_dir(const struct instance_spec *spec, struct err *err)
{
    const char *slash = strrchr(spec->log_path, '/');
    CLEANUP(free) char *dir = NULL;
    int r;

    if (!slash || slash == spec->log_path)
        return err_set(err, -EINVAL, "the log path \"%s\" is not absolute", spec->log_path);
    dir = xstrndup(spec->log_path, (size_t)(slash - spec->log_path));
    r = file_mkdirs(dir, 0755);
    if (r < 0)
        return err_set(err, r, "cannot make %s: %s", dir, strerror(-r));
    if (spec->attempt > 1)
        drop_old_logs(dir, spec->attempt - 1);
    return 0;
}

static int make_files(struct instances *all, const struct instance_spec *spec, uint32_t uid,
                      struct err *err)
{
    char path[INSTANCE_PATH_MAX];
    int r;

    if (!instance_id_ok(spec->id))
        return err_spec(err, -EINVAL, "bad instance id \"%s\"", spec->id);
    r = instance_path(all, spec->id, NULL, path, sizeof(path));
    if (r == 0)
        r = file_mkdirs(all->config.dir, 0700); /* somebody may have removed it meanwhile */
    if (r == 0 && mkdir(path, 0700) < 0)
        r = -errno;
    if (r < 0)
        return err_set(err, r, "cannot make the directory of machine %s: %s", spec->id,
                       strerror(-r));
    r = make_log_dir(spec, err);
    if (r == 0)
        r = write_meta(all, spec, uid, err);
    return r;
}

static int make_listener(const struct instances *all, const char *id, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CLEANUP(close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = instance_path(all, id, SHIM_FILE_SOCK, address.sun_path, sizeof(address.sun_path));

    if (r < 0)
        return err_spec(err, r, "the path of %s is too long for a socket: shorten it",
                        all->config.dir);
    /* The mode of an unbound socket is the mode of its file: no window in which others connect. */
    if (fd < 0 || fchmod(fd, 0600) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, SHIM_BACKLOG) < 0)
        return err_set(err, -errno, "cannot make %s: %s", address.sun_path, strerror(errno));
    return TAKE_FD(fd);
}

static int make_group(struct instances *all, const struct instance_spec *spec, struct err *err)
{
    struct cgroup_limits limits = {
        .memory_bytes = spec->memory_limit_bytes,
        .cpu_limit_milli = spec->cpu_limit_milli,
        .cpu_request_milli = spec->cpu_request_milli,
        .pids = INSTANCE_PIDS_MAX + spec->machine.cpus,
    };

    return all->cgroups ? cgroup_create(all->cgroups, spec->id, &limits, err) : 0;
}

static void add_groups(const struct instances *all, const char *id, struct vmm_argv *argv)
{
    char path[CGROUP_PATH_MAX];

    for (size_t i = 0; cgroup_procs(all->cgroups, id, i, path, sizeof(path)) == 0; i++)
        (void)vmm_argv_add(argv, "--vmm-cgroup=%s", path);
    for (size_t i = 0; cgroup_procs(all->cgroups, CGROUP_SHIMS, i, path, sizeof(path)) == 0; i++)
        (void)vmm_argv_add(argv, "--shim-cgroup=%s", path);
    if (cgroup_oom_file(all->cgroups, id, path, sizeof(path)) == 0)
        (void)vmm_argv_add(argv, "--oom-file=%s", path);
}

static int shim_argv(const struct instances *all, const struct instance_spec *spec,
                     const struct vmm_argv *vmm, uint32_t uid, struct vmm_argv *argv)
{
    const struct instance_config *config = &all->config;

    (void)vmm_argv_add(argv, "%s", config->shim);
    (void)vmm_argv_add(argv, "--dir=%s/%s", config->dir, spec->id);
    (void)vmm_argv_add(argv, "--log=%s", spec->log_path);
    if (config->log_bytes_max != 0) {
        (void)vmm_argv_add(argv, "--log-bytes-max=%" PRIu32, config->log_bytes_max);
        (void)vmm_argv_add(argv, "--log-files-max=%" PRIu32, config->log_files_max);
    }
    for (size_t i = 0; i < VMM_FATALS_MAX && vmm->fatals[i]; i++)
        (void)vmm_argv_add(argv, "--fatal=%s", vmm->fatals[i]);
    if (spec->netns)
        (void)vmm_argv_add(argv, "--netns=%s", spec->netns);
    if (spec->netns && spec->machine.mac)
        (void)vmm_argv_add(argv, "--tap=%s", NETWORK_TAP_NAME);
    if (spec->machine.mac && spec->machine.vhost)
        (void)vmm_argv_add(argv, "--vhost=%s", NETWORK_VHOST_DEVICE);
    if (uid != 0) {
        (void)vmm_argv_add(argv, "--uid=%" PRIu32, uid);
        (void)vmm_argv_add(argv, "--gid=%" PRIu32, instance_group(all, uid));
        if (all->kvm_gid != 0)
            (void)vmm_argv_add(argv, "--kvm-gid=%" PRIu32, all->kvm_gid);
    }
    if (all->cgroups)
        add_groups(all, spec->id, argv);
    return vmm_argv_add(argv, "--");
}

static int spawn_shim(const struct instances *all, const struct instance_spec *spec,
                      const struct vmm_argv *vmm, uint32_t uid, int agent_fd, int listener,
                      pid_t *ret_pid, struct err *err)
{
    const char *argv[2 * VMM_ARGS_MAX + 1];
    const int fds[SHIM_FD_NEXT] = {-1, -1, -1, agent_fd, listener};
    struct vmm_argv options = {.len = 0};
    struct spawn spawn = {
        .path = all->config.shim, .argv = argv, .fds = fds, .fds_len = SHIM_FD_NEXT, .session = 1};
    size_t len = 0;
    int pidfd = -1;
    int r = shim_argv(all, spec, vmm, uid, &options);

    if (r < 0) {
        vmm_argv_free(&options);
        return err_set(err, r, "too many arguments for the shim");
    }
    for (size_t i = 0; i < options.len; i++)
        argv[len++] = options.argv[i];
    for (size_t i = 0; i < vmm->len; i++)
        argv[len++] = vmm->argv[i];
    argv[len] = NULL;
    r = spawn_start(&spawn, ret_pid, &pidfd, err);
    /* One descriptor fewer per machine: a child's pid stays its own until we reap it, so the pidfd
     * can be opened again when it is needed. */
    if (r == 0)
        (void)close(pidfd);
    vmm_argv_free(&options);
    return r;
}

static int start_all(struct instances *all, const struct instance_spec *spec,
                     const struct vmm_argv *vmm, uint32_t uid, int *ret_fd, pid_t *ret_pid,
                     struct err *err)
{
    CLEANUP(close) int listener = -1;
    CLEANUP(close) int ours = -1;
    CLEANUP(close) int theirs = -1;
    int pair[2];
    int r = make_files(all, spec, uid, err);

    if (r < 0)
        return r;
    listener = make_listener(all, spec->id, err);
    if (listener < 0)
        return listener;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return err_set(err, -errno, "cannot make a socket pair: %s", strerror(errno));
    ours = pair[0];
    theirs = pair[1];
    r = make_group(all, spec, err);
    if (r == 0)
        r = spawn_shim(all, spec, vmm, uid, theirs, listener, ret_pid, err);
    if (r == 0)
        *ret_fd = TAKE_FD(ours);
    return r;
}

uint32_t instance_group(const struct instances *all, uint32_t uid)
{
    if (uid == 0)
        return 0;
    return all->config.vmm_uids > 1 ? uid : all->config.vmm_gid;
}

uint32_t instance_gid(const struct instance *instance)
{
    return instance_group(instance->all, instance->vmm_uid);
}

int instance_start(struct instances *all, const struct instance_spec *spec, int *ret_fd,
                   pid_t *ret_pid, uint32_t *ret_uid, struct err *err)
{
    struct vmm_argv vmm = {.len = 0};
    struct err ignored;
    int r = pick_user(all, ret_uid, err);

    if (r == 0 && spec->give)
        r = spec->give(spec->give_userdata, *ret_uid, instance_group(all, *ret_uid), err);
    if (r < 0)
        return r;
    r = all->config.vmm->describe(&all->config.vmm_config, &spec->machine, &vmm, err);
    if (r == 0) {
        r = start_all(all, spec, &vmm, *ret_uid, ret_fd, ret_pid, err);
        if (r < 0 && r != -EEXIST)
            (void)instance_remove(all, spec->id, &ignored);
    }
    vmm_argv_free(&vmm);
    return r;
}
