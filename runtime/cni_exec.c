/* Runs one CNI plugin. Its input is a memfd, so that nothing can block on writing it; its output
 * comes through pipes with a limit; its end by pidfd. It leads a session of its own, so that it can
 * be killed together with the IPAM plugin or iptables that it started. Called by cni_chain.c. */
#include "runtime/cni_exec.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/spawn.h"
#include "base/str.h"
#include "runtime/cni.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <uv.h>

#define DRAIN_READS_MAX 65 /* of 4 KiB: all that a pipe holds, and more than a result may have */

struct stream {
    uv_poll_t poll;
    int fd;
    struct buf text;
};

struct cni_exec {
    uv_poll_t exited;
    uv_timer_t timer;
    struct stream out;
    struct stream errors;
    int pidfd;
    pid_t pid;
    char *type;
    uint32_t ms_max;
    unsigned int handles; /* not closed yet */
    bool timed_out;
    bool too_much;
    bool finished;
    cni_exec_done done;
    void *userdata;
};

static void free_exec(struct cni_exec *exec)
{
    cleanup_close(&exec->out.fd);
    cleanup_close(&exec->errors.fd);
    cleanup_close(&exec->pidfd);
    buf_free(&exec->out.text);
    buf_free(&exec->errors.text);
    free(exec->type);
    free(exec);
}

static void on_closed(uv_handle_t *handle)
{
    struct cni_exec *exec = handle->data;

    if (--exec->handles == 0)
        free_exec(exec);
}

static void close_handles(struct cni_exec *exec)
{
    exec->finished = true;
    uv_close((uv_handle_t *)&exec->exited, on_closed);
    uv_close((uv_handle_t *)&exec->timer, on_closed);
    uv_close((uv_handle_t *)&exec->out.poll, on_closed);
    uv_close((uv_handle_t *)&exec->errors.poll, on_closed);
}

static void kill_group(const struct cni_exec *exec)
{
    /* The group's number is ours for as long as its leader is not reaped. */
    (void)kill(-exec->pid, SIGKILL);
}

/* Reads what is there. Too much on stdout ends the plugin; too much on stderr loses its beginning.
 */
static void drain(struct cni_exec *exec, struct stream *stream)
{
    char chunk[4096];

    /* A plugin that writes without end must not hold up the loop: the rest comes next turn. */
    for (int turn = 0; turn < DRAIN_READS_MAX; turn++) {
        ssize_t n = read(stream->fd, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (n == 0)
                (void)uv_poll_stop(&stream->poll); /* its end; the process's is told by pidfd */
            return;
        }
        if (stream == &exec->errors) {
            if (stream->text.len + (size_t)n > stream->text.max)
                buf_reset(&stream->text);
            if ((size_t)n > stream->text.max)
                n = (ssize_t)stream->text.max;
            (void)buf_add(&stream->text, chunk, (size_t)n);
        } else if (exec->too_much || buf_add(&stream->text, chunk, (size_t)n) < 0) {
            exec->too_much = true;
            kill_group(exec);
            return;
        }
    }
}

static void on_stream(uv_poll_t *poll, int status, int events)
{
    struct cni_exec *exec = poll->data;

    (void)status;
    (void)events;
    if (!exec->too_much)
        drain(exec, poll == &exec->out.poll ? &exec->out : &exec->errors);
    else
        (void)uv_poll_stop(poll); /* killed: only its end is of interest */
}

static void on_timeout(uv_timer_t *timer)
{
    struct cni_exec *exec = timer->data;

    exec->timed_out = true;
    kill_group(exec);
}

/* The last line of what it wrote on stderr, without its newline. */
static const char *last_words(struct buf *errors)
{
    const char *newline;

    while (errors->len && strchr("\r\n", errors->data[errors->len - 1]))
        errors->data[--errors->len] = '\0';
    newline = errors->len ? strrchr(errors->data, '\n') : NULL;
    return newline ? newline + 1 : buf_str(errors);
}

static int judge(struct cni_exec *exec, int status, struct err *err)
{
    if (exec->timed_out)
        return err_set(err, -ETIMEDOUT, "CNI plugin %s did not end within %u ms", exec->type,
                       exec->ms_max);
    if (exec->too_much)
        return err_set(err, -ENOBUFS, "CNI plugin %s printed more than %d bytes", exec->type,
                       CNI_RESULT_MAX);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return cni_error_parse(exec->type, buf_str(&exec->out.text), exec->out.text.len,
                           last_words(&exec->errors.text), status, err);
}

static void on_exited(uv_poll_t *poll, int status, int events)
{
    struct cni_exec *exec = poll->data;
    struct err err = {.code = 0};
    int wait_status = 0;
    int r;

    (void)status;
    (void)events;
    r = spawn_reap(exec->pidfd, &wait_status);
    if (r == -EAGAIN)
        return;
    if (!exec->too_much)
        drain(exec, &exec->out);
    drain(exec, &exec->errors);
    if (r < 0)
        err_set(&err, r, "CNI plugin %s: its end cannot be told: %s", exec->type, strerror(-r));
    else
        r = judge(exec, wait_status, &err);
    close_handles(exec);
    exec->done(exec->userdata, r, buf_str(&exec->out.text), exec->out.text.len, &err);
}

static int make_input(const struct cni_exec_spec *spec, int *ret_fd)
{
    CLEANUP(close) int fd = memfd_create("cni-input", MFD_CLOEXEC);
    size_t at = 0;

    if (fd < 0)
        return -errno;
    while (at < spec->input_len) {
        ssize_t n = write(fd, spec->input + at, spec->input_len - at);

        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    if (lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int make_pipe(int *ret_ours, int *ret_theirs)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = fds[0];
    *ret_theirs = fds[1];
    /* Ours alone: the plugin's end must block as any program expects. */
    return fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int start_process(struct cni_exec *exec, const struct cni_exec_spec *spec, struct err *err)
{
    CLEANUP(close) int input = -1;
    CLEANUP(close) int out = -1;
    CLEANUP(close) int errors = -1;
    const char *const argv[] = {spec->path, NULL};
    int r = make_input(spec, &input);

    if (r == 0)
        r = make_pipe(&exec->out.fd, &out);
    if (r == 0)
        r = make_pipe(&exec->errors.fd, &errors);
    if (r < 0)
        return err_set(err, r, "cannot start CNI plugin %s: %s", spec->type, strerror(-r));
    const int fds[] = {input, out, errors, spec->guard_fd};
    const struct spawn spawn = {.path = spec->path,
                                .argv = argv,
                                .envp = spec->envp,
                                .fds = fds,
                                .fds_len = spec->guard_fd < 0 ? 3 : 4,
                                .session = 1};

    r = spawn_start(&spawn, &exec->pid, &exec->pidfd, err);
    return r < 0 ? err_wrap(err, "CNI plugin %s", spec->type) : 0;
}

/* libuv's init functions fail here only without memory or descriptors of its own: both are bugs or
 * a host beyond help, and the half that was made could not be undone before the loop turns. */
static void must(int r)
{
    if (r < 0)
        abort();
}

int cni_exec_start(struct uv_loop_s *loop, const struct cni_exec_spec *spec, cni_exec_done done,
                   void *userdata, struct cni_exec **ret, struct err *err)
{
    struct cni_exec *exec = xcalloc(1, sizeof(*exec));
    int r;

    exec->out.fd = -1;
    exec->errors.fd = -1;
    exec->pidfd = -1;
    exec->type = xstrdup(spec->type);
    exec->ms_max = spec->ms_max;
    exec->done = done;
    exec->userdata = userdata;
    buf_init(&exec->out.text, CNI_RESULT_MAX);
    buf_init(&exec->errors.text, CNI_STDERR_MAX);
    r = start_process(exec, spec, err);
    if (r < 0) {
        free_exec(exec);
        return r;
    }
    exec->handles = 4;
    exec->exited.data = exec;
    exec->timer.data = exec;
    exec->out.poll.data = exec;
    exec->errors.poll.data = exec;
    must(uv_poll_init(loop, &exec->exited, exec->pidfd));
    must(uv_poll_init(loop, &exec->out.poll, exec->out.fd));
    must(uv_poll_init(loop, &exec->errors.poll, exec->errors.fd));
    must(uv_timer_init(loop, &exec->timer));
    must(uv_poll_start(&exec->exited, UV_READABLE, on_exited));
    must(uv_poll_start(&exec->out.poll, UV_READABLE, on_stream));
    must(uv_poll_start(&exec->errors.poll, UV_READABLE, on_stream));
    must(uv_timer_start(&exec->timer, on_timeout, spec->ms_max, 0));
    *ret = exec;
    return 0;
}

void cni_exec_abandon(struct cni_exec *exec)
{
    if (exec && !exec->finished)
        close_handles(exec);
}
