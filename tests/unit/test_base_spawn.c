/* Children: which descriptors and signals they get, and how they are reaped. They are shells, which
 * tell on themselves through a pipe. */
#include "base/spawn.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WAIT_MS_MAX 10000

/* Waits for the end and returns the wait status. */
static int reap(int pidfd)
{
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    int status = -1;

    assert_int_equal(poll(&poll_fd, 1, WAIT_MS_MAX), 1);
    assert_int_equal(spawn_reap(pidfd, &status), 0);
    assert_int_equal(spawn_reap(pidfd, &status), -ECHILD);
    close(pidfd);
    return status;
}

static void read_all(int fd, struct buf *out)
{
    char chunk[512];
    ssize_t n;

    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        assert_int_equal(buf_add(out, chunk, (size_t)n), 0);
}

static int shell(const char *script, const int *fds, size_t fds_len, int *ret_pidfd)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    static const char *const envp[] = {"PATH=/usr/bin:/bin", "ONLY=this", NULL};
    struct spawn spawn = {
        .path = "/bin/sh", .argv = argv, .envp = envp, .fds = fds, .fds_len = fds_len};
    struct err err = {.text = ""};
    pid_t pid = -1;
    int r = spawn_start(&spawn, &pid, ret_pidfd, &err);

    assert_string_equal(err.text, "");
    assert_true(r < 0 || pid > 0);
    return r;
}

static void test_status(void **state)
{
    static const struct {
        const char *script;
        int status;
    } rows[] = {
        {"exit 0", 0},
        {"exit 7", 7 << 8},
        {"kill -KILL $$", SIGKILL},
        {"kill -TERM $$", SIGTERM},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int pidfd = -1;

        assert_int_equal(shell(rows[i].script, NULL, 0, &pidfd), 0);
        assert_true(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(reap(pidfd) & ~0x80, rows[i].status);
    }
}

static void test_running(void **state)
{
    int ends[2];
    int pidfd = -1;
    int status = 42;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(shell("read line; exit 3", &ends[0], 1, &pidfd), 0);
    assert_int_equal(spawn_reap(pidfd, &status), -EAGAIN);
    assert_int_equal(status, 42);
    close(ends[0]);
    close(ends[1]); /* the end of its input */
    assert_int_equal(reap(pidfd), 3 << 8);
    assert_true(spawn_reap(-1, &status) < 0);
}

/* Sources and targets overlap in every way: swapped, in a cycle, onto themselves, twice, and with
 * close-on-exec set. The script says what it can read from each descriptor. */
static void test_fds(void **state)
{
    CLEANUP(buf) struct buf out = BUF_INIT(4096);
    char names[5][32];
    int file[5];
    int pipe_ends[2];
    int fds[9];
    int pidfd = -1;

    (void)state;
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    for (int i = 0; i < 5; i++) {
        char text[3] = {(char)('A' + i), '\n', '\0'};
        int fd;

        str_copy(names[i], sizeof(names[i]), "/tmp/test-base-spawn-XXXXXX");
        fd = mkstemp(names[i]);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, 2), 2);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        /* Into the range of the child's targets, whatever was there: 3 to 7. */
        file[i] = 3 + i;
        if (pipe_ends[1] == file[i])
            pipe_ends[1] = fcntl(pipe_ends[1], F_DUPFD_CLOEXEC, 50);
        if (pipe_ends[0] == file[i])
            pipe_ends[0] = fcntl(pipe_ends[0], F_DUPFD_CLOEXEC, 50);
        if (fd != file[i]) {
            assert_true(dup3(fd, file[i], O_CLOEXEC) >= 0);
            close(fd);
        } else {
            assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
        }
    }
    fds[0] = -1;
    fds[1] = pipe_ends[1];
    fds[2] = pipe_ends[1];
    fds[3] = file[1]; /* 3 <-> 4 */
    fds[4] = file[0];
    fds[5] = file[2]; /* itself, close-on-exec set */
    fds[6] = file[4]; /* 6 <-> 7 */
    fds[7] = file[3];
    fds[8] = -1;
    assert_int_equal(shell("for f in 3 4 5 6 7; do eval \"head -c1 <&$f\"; done; echo; "
                           "readlink /proc/self/fd/0 /proc/self/fd/8; echo $ONLY; env | wc -l; "
                           "ls /proc/$$/fd",
                           fds, 9, &pidfd),
                     0);
    close(pipe_ends[1]);
    read_all(pipe_ends[0], &out);
    close(pipe_ends[0]);
    for (int i = 0; i < 5; i++) {
        close(file[i]);
        unlink(names[i]);
    }
    assert_int_equal(reap(pidfd), 0);
    assert_true(str_starts(buf_str(&out), "BACED\n/dev/null\n/dev/null\nthis\n"));
    /* Nothing above 8: neither the copies that were made on the way nor what the test has open. */
    assert_true(str_ends(buf_str(&out), "\n8\n"));
    assert_null(strstr(buf_str(&out), "\n1\n10\n"));
}

static void test_signals_and_session(void **state)
{
    const char *argv[] = {"sh", "-c", "grep -E '^Sig(Blk|Ign)' /proc/self/status; ps -o sid= -p $$",
                          NULL};
    static const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    CLEANUP(buf) struct buf out = BUF_INIT(4096);
    int ends[2];
    int fds[3];
    struct spawn spawn = {
        .path = "/bin/sh", .argv = argv, .envp = envp, .fds = fds, .fds_len = 3, .session = 1};
    sigset_t blocked;
    sigset_t before;
    const char *ignored;
    pid_t pid = -1;
    int pidfd = -1;
    char sid[32];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fds[0] = -1;
    fds[1] = ends[1];
    fds[2] = ends[1];
    sigfillset(&blocked);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(spawn_start(&spawn, &pid, &pidfd, NULL), 0);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    read_all(ends[0], &out);
    close(ends[0]);
    assert_int_equal(reap(pidfd), 0);
    assert_non_null(strstr(buf_str(&out), "SigBlk:\t0000000000000000\n"));
    /* Of the ignored ones only 32 and 33, glibc's own, may be left: posix_spawn sees to that. */
    ignored = strstr(buf_str(&out), "SigIgn:\t");
    assert_non_null(ignored);
    assert_int_equal(strtoull(ignored + 8, NULL, 16) & ~UINT64_C(0x180000000), 0);
    str_fmt(sid, sizeof(sid), "%d\n", (int)pid);
    assert_non_null(strstr(buf_str(&out), sid)); /* the session is its own */
}

static int open_fds(void)
{
    CLEANUP(closedir) DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(dir))
        count++;
    return count;
}

static void test_failures(void **state)
{
    static const char *const argv[] = {"x", NULL};
    static const int bad_fds[] = {-1, 999};
    int many[100];
    struct spawn spawn = {.path = "/nonexistent/program", .argv = argv};
    struct err err = {.text = ""};
    pid_t pid = 42;
    int pidfd = 42;
    int before = open_fds();

    (void)state;
    assert_int_equal(spawn_start(&spawn, &pid, &pidfd, &err), -ENOENT);
    assert_string_equal(err.text, "cannot start /nonexistent/program: No such file or directory");
    spawn.path = "/etc/passwd";
    assert_int_equal(spawn_start(&spawn, &pid, &pidfd, &err), -EACCES);
    spawn.path = "/bin/true";
    spawn.fds = bad_fds;
    spawn.fds_len = 2;
    assert_int_equal(spawn_start(&spawn, &pid, &pidfd, &err), -EBADF);
    memset(many, 0, sizeof(many));
    spawn.fds = many;
    spawn.fds_len = ARRAY_LEN(many);
    assert_int_equal(spawn_start(&spawn, &pid, &pidfd, &err), -E2BIG);
    assert_int_equal(pid, 42);
    assert_int_equal(pidfd, 42);
    assert_int_equal(open_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),   cmocka_unit_test(test_running),
        cmocka_unit_test(test_fds),      cmocka_unit_test(test_signals_and_session),
        cmocka_unit_test(test_failures),
    };

    return cmocka_run_group_tests_name("base_spawn", tests, NULL, NULL);
}
