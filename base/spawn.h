/* Children by posix_spawn, watched by pidfd: never fork() from the agent, whose heap makes it cost
 * milliseconds, and never waitpid(-1), which steals other code's children. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct err;

struct spawn {
    const char *path;        /* absolute; no PATH search */
    const char *const *argv; /* argv[0] included, NULL-terminated */
    const char *const *envp; /* NULL: an empty environment */
    const int *fds;          /* fds[i] becomes descriptor i in the child; -1: /dev/null */
    size_t fds_len;          /* the rest is closed on exec, but 0 to 2 are then /dev/null */
    int session;             /* non-zero: setsid, so that it outlives the agent's terminal */
};

/* Starts; returns 0 and the pid and a pidfd (close-on-exec, readable when it exited). */
int spawn_start(const struct spawn *spawn, pid_t *ret_pid, int *ret_pidfd, struct err *err);
/* Reaps the child behind pidfd without blocking: 0 and the wait status (as waitpid gives it),
 * -EAGAIN while it runs, -ECHILD when it is not ours. */
int spawn_reap(int pidfd, int *ret_status);
