/* posix_spawn with exactly the wanted descriptors and a clean signal state, and reaping by pidfd.
 * glibc's posix_spawn is clone(CLONE_VM|CLONE_VFORK): cheap from a large heap, and a failed exec
 * comes back as an error. No fork(), no waitpid(-1). Called by runtime for shims and CNI plugins.
 */
#include "base/spawn.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#define SPAWN_FDS_MAX 64 /* a shim gets fewer than ten */
#define SPAWN_FDS_MIN 3  /* without 0 to 2 a child's errors land in the next file it opens */

struct plan {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int high[SPAWN_FDS_MAX]; /* close-on-exec copies above all targets; -1: none */
    size_t high_len;
};

/* The child's descriptor i. Sources are copied above all targets first, so no dup2 in the child can
 * overwrite a source that is still needed, and none is a dup2 onto itself (which would leave
 * close-on-exec set). */
static int add_fd(struct plan *plan, const struct spawn *spawn, size_t i, size_t targets)
{
    int source = i < spawn->fds_len ? spawn->fds[i] : -1;
    int r;

    if (source < 0)
        return -posix_spawn_file_actions_addopen(&plan->actions, (int)i, "/dev/null", O_RDWR, 0);
    r = fcntl(source, F_DUPFD_CLOEXEC, (int)targets);
    if (r < 0)
        return -errno;
    plan->high[plan->high_len++] = r;
    return -posix_spawn_file_actions_adddup2(&plan->actions, r, (int)i);
}

static int fill_fds(struct plan *plan, const struct spawn *spawn)
{
    size_t targets = spawn->fds_len > SPAWN_FDS_MIN ? spawn->fds_len : SPAWN_FDS_MIN;

    if (targets > SPAWN_FDS_MAX)
        return -E2BIG;
    for (size_t i = 0; i < targets; i++) {
        int r = add_fd(plan, spawn, i, targets);

        if (r < 0)
            return r;
    }
    return -posix_spawn_file_actions_addclosefrom_np(&plan->actions, (int)targets);
}

/* The child starts with nothing blocked and nothing ignored, whatever libraries did to the agent.
 */
static int fill_attr(struct plan *plan, const struct spawn *spawn)
{
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t none;
    sigset_t all;
    int r;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGKILL);
    (void)sigdelset(&all, SIGSTOP);
    if (spawn->session)
        flags = (short)(flags | POSIX_SPAWN_SETSID);
    r = posix_spawnattr_setflags(&plan->attr, flags);
    if (r == 0)
        r = posix_spawnattr_setsigmask(&plan->attr, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(&plan->attr, &all);
    return -r;
}

/* posix_spawn takes char *const[] but writes to neither array: POSIX keeps the type for execve. */
static char *const *unconst(const char *const *vector)
{
    union {
        const char *const *in;
        char *const *out;
    } cast = {.in = vector};

    return cast.out;
}

static int run(const struct spawn *spawn, const struct plan *plan, pid_t *ret_pid, int *ret_pidfd)
{
    static const char *const empty[] = {NULL};
    const char *const *envp = spawn->envp ? spawn->envp : empty;
    pid_t pid;
    int pidfd;
    int r;

    r = posix_spawn(&pid, spawn->path, &plan->actions, &plan->attr, unconst(spawn->argv),
                    unconst(envp));
    if (r)
        return -r;
    /* Valid even when the child exited already: it is ours and not reaped yet. */
    pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        r = -errno;
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        return r;
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}

int spawn_start(const struct spawn *spawn, pid_t *ret_pid, int *ret_pidfd, struct err *err)
{
    struct plan plan = {.high_len = 0};
    int r;

    r = -posix_spawn_file_actions_init(&plan.actions);
    if (r < 0)
        return err_set(err, r, "cannot start %s: %s", spawn->path, strerror(-r));
    r = -posix_spawnattr_init(&plan.attr);
    if (r == 0) {
        r = fill_attr(&plan, spawn);
        if (r == 0)
            r = fill_fds(&plan, spawn);
        if (r == 0)
            r = run(spawn, &plan, ret_pid, ret_pidfd);
        (void)posix_spawnattr_destroy(&plan.attr);
    }
    (void)posix_spawn_file_actions_destroy(&plan.actions);
    for (size_t i = 0; i < plan.high_len; i++)
        cleanup_close(&plan.high[i]);
    if (r < 0)
        return err_set(err, r, "cannot start %s: %s", spawn->path, strerror(-r));
    return 0;
}

int spawn_reap(int pidfd, int *ret_status)
{
    siginfo_t info = {0};

    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    if (info.si_pid == 0)
        return -EAGAIN;
    if (info.si_code == CLD_EXITED)
        *ret_status = W_EXITCODE(info.si_status, 0);
    else
        *ret_status = W_EXITCODE(0, info.si_status) | (info.si_code == CLD_DUMPED ? WCOREFLAG : 0);
    return 0;
}
