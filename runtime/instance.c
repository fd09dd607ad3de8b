/* The agent's handle on a running machine: one socket to its shim, watched on the loop. Starts in
 * instance_start.c, look-ups and removal in instance_find.c, the wait for dead processes in
 * instance_after.c. Called by provider. Every instance ends in instance_conclude or with its
 * release. */
#include "runtime/instance_priv.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/cgroup.h"
#include "runtime/guest_int.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define NS_PER_MS 1000000
#define MESSAGES_MAX 8                 /* of one shim in one turn of the loop */
#define SHIM_CMDLINE_MAX (1024 * 1024) /* the guest's command line is in it */

static void on_timer_closed(uv_handle_t *handle)
{
    instances_unref(handle->data);
}

static void on_kill_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void instances_unref(struct instances *all)
{
    all->refs--;
    if (all->refs > 0)
        return;
    cgroups_close(all->cgroups);
    free((void *)(uintptr_t)all->config.dir);
    free((void *)(uintptr_t)all->config.shim);
    free((void *)(uintptr_t)all->config.vmm_config.binary);
    free(all);
}

/* Group of /dev/kvm, when membership is what opens it. */
static uint32_t find_kvm_gid(enum vmm_accel accel)
{
    struct stat info;

    if (accel == ACCEL_TCG || stat("/dev/kvm", &info) < 0)
        return 0;
    return (info.st_mode & 0060) == 0060 ? info.st_gid : 0;
}

int instances_open(struct uv_loop_s *loop, const struct instance_config *config,
                   struct instances **ret, struct err *err)
{
    struct instances *all;
    struct err cgroup_err;
    int r = file_mkdirs(config->dir, 0700);

    if (r < 0)
        return err_set(err, r, "cannot make %s: %s", config->dir, strerror(-r));
    all = xcalloc(1, sizeof(*all));
    all->loop = loop;
    all->config = *config;
    all->config.dir = xstrdup(config->dir);
    all->config.shim = xstrdup(config->shim);
    all->config.vmm_config.binary = xstrdup(config->vmm_config.binary);
    all->kvm_gid = find_kvm_gid(config->vmm_config.accel);
    all->refs = 3;
    (void)uv_timer_init(loop, &all->deferred_timer);
    (void)uv_timer_init(loop, &all->group_timer);
    all->deferred_timer.data = all;
    all->group_timer.data = all;
    if (config->cgroup && cgroups_open(config->cgroup, &all->cgroups, &cgroup_err) < 0)
        str_copy(all->cgroup_error, sizeof(all->cgroup_error), cgroup_err.text);
    instance_sweep_groups(all);
    *ret = all;
    return 0;
}

void instances_close(struct instances *all)
{
    if (!all)
        return;
    while (all->list)
        instance_release(all->list);
    aftermath_cancel_all(all);
    instance_forget_groups(all);
    uv_close((uv_handle_t *)&all->deferred_timer, on_timer_closed);
    uv_close((uv_handle_t *)&all->group_timer, on_timer_closed);
    instances_unref(all);
}

static struct instance *new_instance(struct instances *all, const char *id,
                                     const struct guest_ops *guest, const struct instance_ops *ops,
                                     void *userdata)
{
    struct instance *instance = xcalloc(1, sizeof(*instance));

    instance->all = all;
    instance->guest = guest;
    instance->ops = ops;
    instance->userdata = userdata;
    instance->fd = -1;
    str_copy(instance->id, sizeof(instance->id), id);
    instance->next = all->list;
    if (instance->next)
        instance->next->prev = instance;
    all->list = instance;
    all->refs++;
    return instance;
}

static void free_instance(struct instance *instance)
{
    struct instances *all = instance->all;

    free(instance);
    instances_unref(all);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct instance *instance = handle->data;

    instance->poll_open = false;
    if (instance->released)
        free_instance(instance);
}

/* The handle is closed with the descriptor: closed later, it would take whatever has the number
 * then out of the loop's epoll set, and nobody would ever hear of that again. */
static void stop_watching(struct instance *instance)
{
    if (instance->fd < 0)
        return;
    uv_close((uv_handle_t *)&instance->poll, on_poll_closed);
    (void)close(TAKE_FD(instance->fd));
}

static void stop_kill_timer(struct instance *instance)
{
    if (instance->kill_timer)
        uv_close((uv_handle_t *)TAKE(instance->kill_timer), on_kill_timer_closed);
}

static void close_control(struct instance *instance)
{
    if (instance->control)
        instance->all->config.vmm->close(TAKE(instance->control));
}

static void undefer(struct instance *instance)
{
    struct instance **at = &instance->all->deferred;

    if (!instance->deferred)
        return;
    while (*at != instance)
        at = &(*at)->next_deferred;
    *at = instance->next_deferred;
    instance->deferred = false;
}

void instance_release(struct instance *instance)
{
    struct instances *all;

    if (!instance)
        return;
    all = instance->all;
    undefer(instance);
    stop_kill_timer(instance);
    close_control(instance);
    if (instance->aftermath)
        aftermath_forget(TAKE(instance->aftermath));
    if (instance->prev)
        instance->prev->next = instance->next;
    else
        all->list = instance->next;
    if (instance->next)
        instance->next->prev = instance->prev;
    stop_watching(instance);
    instance->released = true;
    if (!instance->poll_open)
        free_instance(instance);
}

/* The reader wants the VMM's own words where it failed: they name the option or file that is wrong.
 */
static void explain_vmm_error(const char *stderr_tail, struct guest_exit *exit)
{
    size_t len = strlen(stderr_tail);
    size_t start;

    while (len > 0 && stderr_tail[len - 1] == '\n')
        len--;
    for (start = len; start > 0 && stderr_tail[start - 1] != '\n'; start--)
        continue;
    if (start < len)
        str_fmt(exit->message, sizeof(exit->message), "the virtual machine monitor failed: %.*s",
                (int)(len - start), stderr_tail + start);
}

static void report_end(struct instance *instance, const struct instance_record *record)
{
    const struct vmm_machine machine = {
        .board = instance->board,
        .memory_mib = instance->memory_mib,
        .debug_exit = instance->debug_exit,
    };
    struct instance_end end = {
        .oom = record->oom,
        .tail = record->tail,
        .started_ms = record->started_ns / NS_PER_MS,
        .finished_ms = record->finished_ns / NS_PER_MS,
    };
    char what[160];
    struct vmm_exit how;

    instance->all->config.vmm->decode(&machine, record->wait_status, record->stderr_tail, &how);
    instance->guest->decode(&how, instance->stop_asked, record->tail, &end.exit);
    if (record->fatal[0]) /* the guest's crash: nobody outside asked for that kill */
        guest_decode_crash(
            str_fmt(what, sizeof(what), "the machine cannot go on: %s", record->fatal),
            record->tail, &end.exit);
    else if (how.end == VMM_END_VMM_ERROR)
        explain_vmm_error(record->stderr_tail, &end.exit);
    if (instance->ops->on_exit)
        instance->ops->on_exit(instance->userdata, &end);
}

static void report_failure(struct instance *instance, const struct instance_record *record)
{
    struct err err;

    (void)err_set(&err, record->failed, "%s", record->reason);
    if (instance->ops->on_failed)
        instance->ops->on_failed(instance->userdata, &err);
}

/* The machine is over: nothing of it may be touched after this. */
static void settle(struct instance *instance)
{
    instance->state = INSTANCE_ENDED;
    instance->vmm_pid = 0;
    stop_kill_timer(instance);
    close_control(instance);
    stop_watching(instance);
}

void instance_conclude(struct instance *instance)
{
    struct instance_record record;
    int r = instance_read_record(instance->all, instance->id, &record);

    settle(instance);
    if (r == 0 && record.failed < 0) {
        report_failure(instance, &record);
    } else if (r == 0) {
        report_end(instance, &record);
    } else {
        if (instance->all->cgroups)
            cgroup_kill(instance->all->cgroups, instance->id);
        if (instance->ops->on_lost)
            instance->ops->on_lost(instance->userdata);
    }
}

static void take_end(struct instance *instance, const struct shim_msg *msg, const char *text)
{
    struct instance_record record = {
        .failed = msg->type == SHIM_FAILED ? msg->value : 0,
        .wait_status = msg->value,
        .oom = msg->flags & SHIM_FLAG_OOM,
        .started_ns = msg->started_ns,
        .finished_ns = msg->finished_ns,
    };

    str_copy(record.reason, sizeof(record.reason), text);
    if (msg->flags & SHIM_FLAG_FATAL)
        str_copy(record.fatal, sizeof(record.fatal), text);
    if (msg->flags & SHIM_FLAG_TAIL)
        str_copy(record.tail, sizeof(record.tail), text);
    /* The record on disk says more; the message is enough where the disk was full. */
    (void)instance_read_record(instance->all, instance->id, &record);
    if (instance->child)
        aftermath_start(instance->all, NULL, instance->shim_pid, 0, true);
    settle(instance);
    if (record.failed < 0)
        report_failure(instance, &record);
    else
        report_end(instance, &record);
}

static void take_started(struct instance *instance, const struct shim_msg *msg)
{
    instance->vmm_pid = msg->vmm_pid;
    if (instance->state != INSTANCE_STARTING || msg->started_ns == 0)
        return;
    instance->state = INSTANCE_RUNNING;
    if (instance->ops->on_running)
        instance->ops->on_running(instance->userdata, msg->started_ns / NS_PER_MS);
}

/* The connection broke without a word: the shim was killed, or ended while we connected. */
static void take_loss(struct instance *instance)
{
    instance->state = INSTANCE_LOSING;
    stop_kill_timer(instance);
    stop_watching(instance);
    aftermath_start(instance->all, instance, instance->shim_pid, instance->vmm_pid,
                    instance->child);
}

/* True while more may be read: the instance is still there and its connection open. */
static bool take_message(struct instance *instance, const struct shim_msg *msg, size_t size)
{
    char text[SHIM_TEXT_MAX + 1] = "";

    if (size < SHIM_MSG_HEAD || msg->version != SHIM_PROTO_VERSION)
        return true;
    if (msg->text_at <= size && msg->text_len <= size - msg->text_at &&
        msg->text_len <= SHIM_TEXT_MAX) {
        memcpy(text, (const char *)msg + msg->text_at, msg->text_len);
        text[msg->text_len] = '\0';
        for (char *nul = text; (nul = memchr(nul, '\0', (size_t)(text + msg->text_len - nul)));)
            *nul = '?'; /* of the console; the record does the same */
    }
    switch (msg->type) {
    case SHIM_STATUS:
    case SHIM_STARTED:
        take_started(instance, msg);
        return false; /* its callback may have released the instance; poll is level-triggered */
    case SHIM_FAILED:
    case SHIM_EXITED:
        take_end(instance, msg, text);
        return false;
    default:
        return true;
    }
}

/* Who sent it, by the kernel's word; 0 when it does not say. */
static pid_t sender(struct msghdr *head)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(head); c; c = CMSG_NXTHDR(head, c)) {
        struct ucred credentials;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
            continue;
        memcpy(&credentials, CMSG_DATA(c), sizeof(credentials));
        return credentials.pid;
    }
    return 0;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct instance *instance = poll->data;

    (void)events;
    for (int i = 0; i < MESSAGES_MAX; i++) {
        struct shim_msg msg = {0};
        char control[CMSG_SPACE(sizeof(struct ucred))];
        struct iovec iov = {.iov_base = &msg, .iov_len = sizeof(msg)};
        struct msghdr head = {.msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control,
                              .msg_controllen = sizeof(control)};
        ssize_t n = status < 0 ? 0 : recvmsg(instance->fd, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            take_loss(instance);
            return;
        }
        if (!instance->child && instance->shim_pid == 0)
            instance->shim_pid = sender(&head);
        if (!take_message(instance, &msg, (size_t)n))
            return;
    }
}

static int watch(struct instance *instance, int fd, struct err *err)
{
    int r = uv_poll_init(instance->all->loop, &instance->poll, fd);

    if (r < 0) {
        (void)close(fd);
        return err_set(err, r, "cannot watch machine %s: %s", instance->id, uv_strerror(r));
    }
    instance->fd = fd;
    instance->poll_open = true;
    instance->poll.data = instance;
    (void)uv_poll_start(&instance->poll, UV_READABLE, on_readable);
    return 0;
}

int instance_launch(struct instances *all, const struct instance_spec *spec,
                    const struct instance_ops *ops, void *userdata, struct instance **ret,
                    struct err *err)
{
    struct instance *instance;
    pid_t pid = 0;
    int fd = -1;
    uint32_t uid = 0;
    int r = instance_start(all, spec, &fd, &pid, &uid, err);

    if (r < 0)
        return r;
    instance = new_instance(all, spec->id, spec->guest, ops, userdata);
    instance->child = true;
    instance->shim_pid = pid;
    instance->vmm_uid = uid;
    instance->board = spec->machine.board;
    instance->memory_mib = spec->machine.memory_mib;
    instance->debug_exit = spec->machine.debug_exit;
    r = watch(instance, fd, err);
    if (r < 0) {
        (void)kill(pid, SIGTERM); /* our child and not reaped: the pid is its own */
        aftermath_start(all, NULL, pid, 0, true);
        instance_release(instance);
        return r;
    }
    *ret = instance;
    return 0;
}

static void run_deferred(uv_timer_t *timer)
{
    struct instances *all = timer->data;

    while (all->deferred) {
        struct instance *instance = all->deferred;

        undefer(instance);
        instance_conclude(instance);
    }
}

static void defer(struct instance *instance)
{
    struct instances *all = instance->all;

    instance->state = INSTANCE_ENDED;
    instance->deferred = true;
    instance->next_deferred = all->deferred;
    all->deferred = instance;
    (void)uv_timer_start(&all->deferred_timer, run_deferred, 0, 0);
}

int instance_adopt(struct instances *all, const char *id, const struct instance_ops *ops,
                   void *userdata, struct instance **ret, struct err *err)
{
    const struct guest_ops *guest;
    struct instance_meta meta;
    struct instance *instance;
    int fd;
    int r = instance_id_ok(id) ? instance_read_meta(all, id, &meta) : -EINVAL;

    if (r < 0)
        return err_set(err, r, "cannot read the description of machine %s: %s", id, strerror(-r));
    guest = guest_find(meta.guest);
    if (!guest)
        return err_set(err, -ENOTSUP, "machine %s has an unknown guest kind \"%s\"", id,
                       meta.guest);
    fd = instance_connect(all, id);
    if (fd < 0 && fd != -ENOENT && fd != -ECONNREFUSED)
        return err_set(err, fd, "cannot reach the shim of machine %s: %s", id, strerror(-fd));
    instance = new_instance(all, id, guest, ops, userdata);
    instance->vmm_uid = meta.vmm_uid;
    instance->board = meta.board;
    instance->memory_mib = meta.memory_mib;
    instance->debug_exit = meta.debug_exit;
    if (fd < 0) {
        defer(instance);
    } else {
        r = watch(instance, fd, err);
        if (r < 0) {
            instance_release(instance);
            return r;
        }
    }
    *ret = instance;
    return 0;
}

static void on_powerdown(void *userdata, int result, const char *text)
{
    struct instance *instance = userdata;

    (void)text;
    if (result != -ECANCELED) /* then we are in close_control already */
        close_control(instance);
}

int instance_stop(struct instance *instance)
{
    const struct vmm_ops *vmm = instance->all->config.vmm;
    char path[INSTANCE_PATH_MAX];
    int r;

    if (instance->guest->stop != GUEST_STOP_POWERDOWN || !vmm->open)
        return -ENOTSUP;
    if (instance->state == INSTANCE_LOSING || instance->state == INSTANCE_ENDED)
        return -ESRCH;
    instance->stop_asked = true;
    if (instance->control)
        return 0; /* asked, not answered yet */
    r = instance_path(instance->all, instance->id, SHIM_FILE_CONTROL, path, sizeof(path));
    if (r < 0)
        return r;
    instance->control = vmm->open(instance->all->loop, path);
    if (!instance->control)
        return -ENOTSUP;
    vmm->powerdown(instance->control, on_powerdown, instance);
    return 0;
}

/* A shim that never spoke to us, adopted while stuck: the socket's credentials are those of who
 * listened last, the shim or an agent of the past, so the command line has to name this machine. */
static pid_t find_stuck_shim(const struct instance *instance)
{
    CLEANUP(buf) struct buf text = BUF_INIT(SHIM_CMDLINE_MAX);
    struct ucred peer = {.pid = 0};
    socklen_t size = sizeof(peer);
    char path[64];

    if (getsockopt(instance->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0)
        return 0;
    str_fmt(path, sizeof(path), "/proc/%d/cmdline", (int)peer.pid);
    if (file_read(path, &text) < 0 || !memmem(text.data, text.len, "--dir=", strlen("--dir=")) ||
        !memmem(text.data, text.len, instance->id, strlen(instance->id)))
        return 0;
    return peer.pid;
}

/* The pidfd is the shim's for certain when its end of the socket is still open afterwards: a
 * process closes its files before its pid can be used again. */
static void on_kill_timeout(uv_timer_t *timer)
{
    struct instance *instance = timer->data;
    CLEANUP(close) int pidfd = -1;
    struct pollfd end = {.fd = instance->fd};

    stop_kill_timer(instance);
    if (instance->fd < 0)
        return;
    if (instance->shim_pid == 0)
        instance->shim_pid = find_stuck_shim(instance);
    if (instance->shim_pid <= 0)
        return;
    pidfd = pidfd_open(instance->shim_pid, 0);
    if (pidfd < 0 || (poll(&end, 1, 0) > 0 && (end.revents & (POLLHUP | POLLERR))))
        return; /* dying: take_loss follows */
    (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
}

void instance_kill(struct instance *instance)
{
    if (instance->fd < 0 || instance->kill_timer)
        return;
    (void)instance_command(instance->fd, SHIM_CMD_KILL, SIGKILL);
    instance->kill_timer = xcalloc(1, sizeof(*instance->kill_timer));
    (void)uv_timer_init(instance->all->loop, instance->kill_timer);
    instance->kill_timer->data = instance;
    (void)uv_timer_start(instance->kill_timer, on_kill_timeout, INSTANCE_KILL_MS, 0);
}

int instance_reopen_log(struct instance *instance)
{
    return instance->fd < 0 ? -ESRCH : instance_command(instance->fd, SHIM_CMD_REOPEN, 0);
}

int instance_pid(const struct instance *instance)
{
    return (int)instance->vmm_pid;
}

int instance_probe(const struct instance *instance, struct cgroup_probe *ret)
{
    return instance->all->cgroups ? cgroup_probe_open(instance->all->cgroups, instance->id, ret)
                                  : -ENODEV;
}

void instances_set_accel(struct instances *all, enum vmm_accel accel)
{
    all->config.vmm_config.accel = accel;
    all->kvm_gid = find_kvm_gid(accel);
}
