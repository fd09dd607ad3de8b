/* Both ends of the unpacking process: the agent's, which starts it, feeds it and waits, and its own
 * main. */
#include "runtime/image_worker.h"

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/file.h"
#include "base/spawn.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FD_DIR 3
#define FD_LAYERS 4
#define CANCEL_LOOK_MS 100 /* how soon a cancelled pull's process ends */

/* Up to the end of what the other end says; -ECANCELED when the pull was. */
static int read_all(int fd, const atomic_bool *cancelled, struct buf *out)
{
    char block[4096];

    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = poll(&wait, 1, cancelled ? CANCEL_LOOK_MS : -1);
        ssize_t n;

        if (cancelled && atomic_load(cancelled))
            return -ECANCELED;
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        n = read(fd, block, sizeof(block));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        if (buf_add(out, block, (size_t)n) < 0)
            return -ENOBUFS;
    }
}

static int start(const char *program, const struct unpack *u, int request, int answer,
                 pid_t *ret_pid, int *ret_pidfd, struct err *err)
{
    const char *const argv[] = {"unikubelet", IMAGE_WORKER_COMMAND, NULL};
    size_t len = FD_LAYERS + u->layers_len;
    CLEANUP(free) int *fds = xcalloc(len, sizeof(*fds));
    const struct spawn spawn = {.path = program, .argv = argv, .fds = fds, .fds_len = len};

    fds[0] = request;
    fds[1] = answer;
    fds[2] = -1;
    fds[FD_DIR] = u->dir_fd;
    for (size_t i = 0; i < u->layers_len; i++)
        fds[FD_LAYERS + i] = u->layer_fds[i];
    return spawn_start(&spawn, ret_pid, ret_pidfd, err);
}

static int explain_end(int status, struct err *err)
{
    if (WIFSIGNALED(status))
        return err_set(err, -EPROTO, "the unpacking process was ended by signal %d%s",
                       WTERMSIG(status),
                       WTERMSIG(status) == SIGSYS    ? ", for a system call that it may not make"
                       : WTERMSIG(status) == SIGKILL ? ": is there memory enough?"
                                                     : "");
    return err_set(err, -EPROTO, "the unpacking process ended with status %d",
                   WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

/* Feeds the process and takes its answer. Both ends of the pipes that are ours are in pipes. */
static int talk(struct unpack *u, pid_t pid, int pidfd, int request, int answer, struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(WORKER_TEXT_MAX);
    CLEANUP(buf) struct buf got = BUF_INIT(WORKER_TEXT_MAX);
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    int status = 0;
    int r;

    worker_write_request(u, &text);
    r = text.overflow ? -ENOBUFS : file_write_all(request, text.data, text.len);
    (void)close(request);
    if (r == -EPIPE)
        r = 0; /* it ended without reading all: its answer or its status says why */
    if (r >= 0)
        r = read_all(answer, &u->cancelled, &got);
    if (r < 0)
        (void)kill(pid, SIGKILL);
    while (poll(&end, 1, -1) < 0 && errno == EINTR)
        ;
    (void)spawn_reap(pidfd, &status);
    if (r == -ECANCELED)
        return err_set(err, r, "cancelled");
    if (status != 0)
        return explain_end(status, err);
    if (r < 0)
        return err_set(err, r, "the unpacking process: %s", strerror(-r));
    return worker_read_answer(buf_str(&got), got.len, u, err);
}

static int run_apart(const char *program, struct unpack *u, struct err *err)
{
    CLEANUP(close) int pidfd = -1;
    int request[2];
    int answer[2];
    pid_t pid = 0;
    int r;

    if (pipe2(request, O_CLOEXEC) < 0)
        return err_set(err, -errno, "unpacking: %s", strerror(errno));
    if (pipe2(answer, O_CLOEXEC) < 0) {
        r = err_set(err, -errno, "unpacking: %s", strerror(errno));
        (void)close(request[0]);
        (void)close(request[1]);
        return r;
    }
    r = start(program, u, request[0], answer[1], &pid, &pidfd, err);
    (void)close(request[0]);
    (void)close(answer[1]);
    if (r >= 0)
        r = talk(u, pid, pidfd, request[1], answer[0], err);
    else
        (void)close(request[1]);
    (void)close(answer[0]);
    return r;
}

int image_worker_run(const char *program, struct unpack *unpack, struct err *err)
{
    int r = unpack_open(unpack, err);

    if (r >= 0)
        r = program ? run_apart(program, unpack, err) : unpack_run(unpack, err);
    unpack_close(unpack);
    return r;
}

int image_worker_main(void)
{
    struct arena *arena = arena_new(4096);
    struct buf text = BUF_INIT(WORKER_TEXT_MAX);
    struct unpack unpack = {.corrupt = -1, .dir_fd = FD_DIR};
    struct err err = {.code = 0};
    int r;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would take the answer */
    digest_free(digest_new());              /* OpenSSL reads its configuration while it may */
    r = read_all(STDIN_FILENO, NULL, &text);
    if (r >= 0)
        r = worker_read_request(buf_str(&text), text.len, arena, &unpack);
    if (r < 0)
        return EXIT_FAILURE;
    unpack.layer_fds = arena_array(arena, unpack.layers_len + 1, sizeof(*unpack.layer_fds));
    for (size_t i = 0; i < unpack.layers_len; i++)
        unpack.layer_fds[i] = FD_LAYERS + (int)i;
    r = image_confine(FD_DIR);
    if (r < 0)
        (void)err_set(&err, r, "the unpacking process cannot be confined: %s", strerror(-r));
    else
        (void)unpack_run(&unpack, &err);
    buf_reset(&text);
    worker_write_answer(&unpack, &err, &text);
    r = text.overflow ? -ENOBUFS : file_write_all(STDOUT_FILENO, text.data, text.len);
    buf_free(&text);
    buf_free(&unpack.urunc);
    arena_free(arena);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
