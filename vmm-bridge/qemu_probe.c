/* Whether this host can run machines with QEMU: the binary executes, is new enough, has microvm,
 * and an accelerator. Blocks for as long as QEMU needs to print its help (20 to 150 ms), bounded by
 * PROBE_MS: called from a worker. The questions are asked at the same time. */
#include "vmm-bridge/qemu.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/spawn.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PROBE_MS 5000 /* a first start from a cold disk reads some 50 MB of libraries */
#define OUTPUT_MAX 65536
#define OUTPUT_SHOWN_MAX 200
#define VERSION_MAJOR 7
#define VERSION_MINOR 2

enum question { ASK_VERSION, ASK_MACHINES, ASK_ACCELS, _ASK_MAX };

struct run {
    struct buf output; /* standard output and error together */
    int out;           /* read end; -1: at its end */
    int pidfd;         /* -1: not started */
    int status;
};

static int start_run(struct run *run, const char *binary, const char *const *words, struct err *err)
{
    const char *const argv[] = {binary, words[0], words[1], NULL};
    CLEANUP(close) int writer = -1;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
    run->out = ends[0];
    writer = ends[1];

    const int fds[] = {-1, writer, writer};
    const struct spawn spawn = {
        .path = binary, .argv = argv, .fds = fds, .fds_len = ARRAY_LEN(fds)};

    return spawn_start(&spawn, &pid, &run->pidfd, err);
}

static void read_some(struct run *run)
{
    char text[4096];
    ssize_t n = read(run->out, text, sizeof(text));

    if (n > 0)
        (void)buf_add(&run->output, text, (size_t)n); /* what is beyond the limit is not needed */
    else if (n == 0 || errno != EAGAIN)
        (void)close(TAKE_FD(run->out));
}

/* Reads all outputs to their ends; -ETIMEDOUT. */
static int read_all(struct run *runs)
{
    uint64_t end_ms = clock_mono_ms() + PROBE_MS;

    for (;;) {
        struct pollfd fds[_ASK_MAX];
        uint64_t now_ms = clock_mono_ms();
        int open = 0;

        for (int i = 0; i < _ASK_MAX; i++) {
            fds[i] = (struct pollfd){.fd = runs[i].out, .events = POLLIN};
            open += runs[i].out >= 0;
        }
        if (open == 0)
            return 0;
        if (now_ms >= end_ms)
            return -ETIMEDOUT;
        if (poll(fds, _ASK_MAX, (int)(end_ms - now_ms)) < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < _ASK_MAX; i++) {
            if (fds[i].fd >= 0 && fds[i].revents)
                read_some(&runs[i]);
        }
    }
}

/* Ends and reaps: what closed its output has ended or is about to, the rest is killed. */
static void end_run(struct run *run, bool killed)
{
    siginfo_t info = {.si_pid = 0};

    if (run->out >= 0)
        (void)close(TAKE_FD(run->out));
    if (run->pidfd < 0)
        return;
    if (killed)
        (void)pidfd_send_signal(run->pidfd, SIGKILL, NULL, 0);
    run->status = -1;
    if (waitid(P_PIDFD, (id_t)run->pidfd, &info, WEXITED) == 0 && info.si_code == CLD_EXITED)
        run->status = info.si_status;
    (void)close(TAKE_FD(run->pidfd));
}

/* For people: the first line, and only what can be printed. It may be no QEMU at all. */
static int refused(const char *binary, const char *word, const char *output, struct err *err)
{
    char line[OUTPUT_SHOWN_MAX + 1];

    str_fmt(line, sizeof(line), "%.*s", (int)strcspn(output, "\r\n"), output);
    for (char *at = line; *at; at++) {
        if (*at < ' ' || *at == 127)
            *at = '?';
    }
    return err_set(err, -ENOEXEC, "%s %s failed: %s", binary, word,
                   line[0] ? line : "it says nothing");
}

static int run_all(const char *binary, struct run *runs, struct err *err)
{
    static const char *const words[_ASK_MAX][2] = {
        [ASK_VERSION] = {"--version", NULL},
        [ASK_MACHINES] = {"-machine", "help"},
        [ASK_ACCELS] = {"-accel", "help"},
    };
    int r = 0;

    for (int i = 0; i < _ASK_MAX && r == 0; i++)
        r = start_run(&runs[i], binary, words[i], err);
    if (r == 0) {
        r = read_all(runs);
        if (r < 0)
            r = err_set(err, r, "%s gave no answer in %d s", binary, PROBE_MS / 1000);
    }
    for (int i = 0; i < _ASK_MAX; i++)
        end_run(&runs[i], r < 0);
    for (int i = 0; i < _ASK_MAX && r == 0; i++) {
        if (runs[i].status != 0)
            r = refused(binary, words[i][0], buf_str(&runs[i].output), err);
    }
    return r;
}

char *qemu_parse_version(const char *text)
{
    static const char key[] = "emulator version ";
    const char *at = strstr(text, key);
    size_t len;

    if (!at)
        return NULL;
    at += strlen(key);
    len = strspn(at, "0123456789.");
    return len > 0 ? xstrndup(at, len) : NULL;
}

int qemu_version_at_least(const char *version, unsigned major, unsigned minor)
{
    char *end = NULL;
    unsigned long has_major = strtoul(version, &end, 10);
    unsigned long has_minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;

    return has_major > major || (has_major == major && has_minor >= minor) ? 0 : -1;
}

bool qemu_help_lists(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (; *text; text += strcspn(text, "\n"), text += *text ? 1 : 0) {
        if (strncmp(text, word, len) == 0 && strchr(" \n", text[len]))
            return true;
    }
    return false;
}

/* We may be root, the VMM is not: it opens the device as others, or as a member of its group. */
static bool opens_for(const struct stat *info, uint32_t uid)
{
    bool group = info->st_gid != 0 && (info->st_mode & 0060) == 0060;

    return uid == 0 || group || (info->st_mode & 0006) == 0006;
}

bool qemu_kvm_usable(uint32_t uid, struct err *err)
{
    CLEANUP(close) int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    struct stat info;

    if (fd < 0 || fstat(fd, &info) < 0) {
        (void)err_set(err, -errno, "cannot open /dev/kvm: %s", strerror(errno));
        return false;
    }
    if (!opens_for(&info, uid)) {
        (void)err_set(err, -EACCES,
                      "/dev/kvm (mode %03o) does not open for user %u, as whom machines run: give "
                      "it a group that may read and write it",
                      info.st_mode & 0777, uid);
        return false;
    }
    if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
        (void)err_set(err, -ENOTSUP, "/dev/kvm speaks an unknown version");
        return false;
    }
    return true;
}

static int choose_accel(const struct vmm_config *config, const char *accels,
                        enum vmm_accel *ret_accel, struct err *err)
{
    bool has_kvm = qemu_help_lists(accels, "kvm");
    bool has_tcg = qemu_help_lists(accels, "tcg");

    if (config->accel == ACCEL_KVM && !has_kvm)
        return err_set(err, -ENOTSUP, "%s is built without KVM", config->binary);
    if (config->accel == ACCEL_KVM && !qemu_kvm_usable(config->uid, err))
        return err_wrap(err, "KVM is asked for");
    if (config->accel != ACCEL_TCG && has_kvm && qemu_kvm_usable(config->uid, NULL)) {
        *ret_accel = ACCEL_KVM;
        return 0;
    }
    if (!has_tcg)
        return err_set(err, -ENOTSUP, "%s is built without TCG and KVM cannot be used",
                       config->binary);
    *ret_accel = ACCEL_TCG;
    return 0;
}

static int judge(const struct vmm_config *config, const struct run *runs, enum vmm_accel *ret_accel,
                 char **ret_version, struct err *err)
{
    CLEANUP(free) char *version = qemu_parse_version(buf_str(&runs[ASK_VERSION].output));
    int r;

    if (!version)
        return err_set(err, -ENOEXEC, "%s is no QEMU", config->binary);
    if (qemu_version_at_least(version, VERSION_MAJOR, VERSION_MINOR) < 0)
        return err_set(err, -ENOTSUP, "QEMU %s is too old: %d.%d or later is needed", version,
                       VERSION_MAJOR, VERSION_MINOR);
    /* pc and q35 are for guests that cannot do with it; builds without them run the others. */
    if (!qemu_help_lists(buf_str(&runs[ASK_MACHINES].output), "microvm"))
        return err_set(err, -ENOTSUP, "%s has no machine \"microvm\"", config->binary);
    r = choose_accel(config, buf_str(&runs[ASK_ACCELS].output), ret_accel, err);
    if (r == 0)
        *ret_version = TAKE(version);
    return r;
}

int qemu_probe(const struct vmm_config *config, enum vmm_accel *ret_accel, char **ret_version,
               struct err *err)
{
    struct run runs[_ASK_MAX];
    int r;

    for (int i = 0; i < _ASK_MAX; i++)
        runs[i] = (struct run){.output = BUF_INIT(OUTPUT_MAX), .out = -1, .pidfd = -1};
    r = run_all(config->binary, runs, err);
    if (r == 0)
        r = judge(config, runs, ret_accel, ret_version, err);
    for (int i = 0; i < _ASK_MAX; i++)
        buf_free(&runs[i].output);
    return r;
}
