/* unikubelet-shim: starts one VMM, keeps what must outlive the agent, and records how the VMM
 * ended. Started by the agent (runtime/instance.c), never by people. One epoll loop, no timers but
 * one. */
#include "runtime/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 8

static int64_t clock_ns(clockid_t id)
{
    struct timespec now;

    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t unix_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int failure_set(struct failure *failure, int code, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(failure->text, sizeof(failure->text), fmt, args);
    va_end(args);
    failure->code = code;
    if (n > 0 && (size_t)n < sizeof(failure->text) - 1)
        (void)snprintf(failure->text + n, sizeof(failure->text) - (size_t)n, ": %s",
                       strerrordesc_np(-code));
    return code;
}

int shim_watch(struct shim *shim, int fd, uint32_t events, uint32_t tag)
{
    struct epoll_event event = {.events = events, .data.u32 = tag};

    return epoll_ctl(shim->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

enum option_id {
    OPT_DIR = 1,
    OPT_LOG,
    OPT_NETNS,
    OPT_TAP,
    OPT_VHOST,
    OPT_OOM,
    OPT_VMM_CG,
    OPT_SHIM_CG,
    OPT_UID,
    OPT_GID,
    OPT_KVM,
    OPT_LOG_BYTES,
    OPT_LOG_FILES,
    OPT_FATAL,
};

static const struct option long_options[] = {
    {"dir", required_argument, NULL, OPT_DIR},
    {"log", required_argument, NULL, OPT_LOG},
    {"netns", required_argument, NULL, OPT_NETNS},
    {"tap", required_argument, NULL, OPT_TAP},
    {"vhost", required_argument, NULL, OPT_VHOST},
    {"oom-file", required_argument, NULL, OPT_OOM},
    {"vmm-cgroup", required_argument, NULL, OPT_VMM_CG},
    {"shim-cgroup", required_argument, NULL, OPT_SHIM_CG},
    {"uid", required_argument, NULL, OPT_UID},
    {"gid", required_argument, NULL, OPT_GID},
    {"kvm-gid", required_argument, NULL, OPT_KVM},
    {"log-bytes-max", required_argument, NULL, OPT_LOG_BYTES},
    {"log-files-max", required_argument, NULL, OPT_LOG_FILES},
    {"fatal", required_argument, NULL, OPT_FATAL},
    {NULL, 0, NULL, 0},
};

/* Strict: a user id that is read wrong could be root's. */
static int parse_u32(const char *text, uint32_t *ret)
{
    uint64_t value = 0;

    if (*text == '\0')
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        value = value * 10 + (uint64_t)(*text - '0');
        if (value >= UINT32_MAX)
            return -ERANGE;
    }
    *ret = (uint32_t)value;
    return 0;
}

static int take_cgroup(const char **list, size_t *len, const char *value)
{
    if (*len == SHIM_CGROUPS_MAX)
        return -E2BIG;
    list[(*len)++] = value;
    return 0;
}

static int take_fatal(struct options *options, const char *value)
{
    size_t len = strlen(value);

    if (options->fatals_len == SHIM_FATALS_MAX || len == 0 || len > SHIM_FATAL_LEN_MAX)
        return -E2BIG;
    options->fatals[options->fatals_len++] = value;
    return 0;
}

static int take_option(struct options *options, int option, const char *value)
{
    switch (option) {
    case OPT_DIR:
        options->dir = value;
        return 0;
    case OPT_LOG:
        options->log = value;
        return 0;
    case OPT_NETNS:
        options->netns = value;
        return 0;
    case OPT_TAP:
        options->tap = value;
        return 0;
    case OPT_VHOST:
        options->vhost = value;
        return 0;
    case OPT_OOM:
        options->oom_file = value;
        return 0;
    case OPT_VMM_CG:
        return take_cgroup(options->vmm_cgroups, &options->vmm_cgroups_len, value);
    case OPT_SHIM_CG:
        return take_cgroup(options->shim_cgroups, &options->shim_cgroups_len, value);
    case OPT_UID:
        return parse_u32(value, &options->uid);
    case OPT_GID:
        return parse_u32(value, &options->gid);
    case OPT_KVM:
        return parse_u32(value, &options->kvm_gid);
    case OPT_LOG_BYTES:
        return parse_u32(value, &options->log_bytes_max);
    case OPT_LOG_FILES:
        return parse_u32(value, &options->log_files_max);
    case OPT_FATAL:
        return take_fatal(options, value);
    default:
        return -EINVAL;
    }
}

static int parse_options(struct options *options, int argc, char **argv)
{
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "+", long_options, NULL)) != -1) {
        if (take_option(options, option, optarg) < 0)
            return -EINVAL;
    }
    options->vmm_argv = argv + optind;
    if (options->log_bytes_max > 0 &&
        (options->log_files_max < 2 || options->log_files_max > CONSOLE_FILES_MAX))
        return -EINVAL;
    return options->dir && optind < argc ? 0 : -EINVAL;
}

/* The shim leaves the agent's cgroups, so that whatever stops the agent there does not reach it.
 * Off the start's critical path, and best effort: it works without. */
static void leave_cgroups(const struct options *options)
{
    for (size_t i = 0; i < options->shim_cgroups_len; i++) {
        int fd = open(options->shim_cgroups[i], O_WRONLY | O_CLOEXEC);

        if (fd < 0)
            continue;
        (void)!write(fd, "0", 1);
        (void)close(fd);
    }
}

static int init(struct shim *shim)
{
    sigset_t signals;

    for (size_t i = 0; i < SHIM_AGENTS_MAX; i++)
        shim->agents[i] = -1;
    shim->agents[0] = SHIM_FD_AGENT;
    shim->listener = SHIM_FD_LISTEN;
    shim->machine = (struct machine){.tap = -1, .console_in = -1, .console_out = -1, .err_out = -1};
    shim->vmmlog.fd = -1;
    shim->console.fd = -1;
    shim->console.path = shim->options.log;
    shim->console.bytes_max = shim->options.log_bytes_max;
    shim->console.files_max = shim->options.log_files_max;
    (void)umask(0027);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGCHLD);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0 ||
        fcntl(SHIM_FD_AGENT, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(SHIM_FD_LISTEN, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    (void)listen(SHIM_FD_LISTEN, SHIM_BACKLOG); /* again: its credentials are now the shim's */
    shim->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    shim->epoll = epoll_create1(EPOLL_CLOEXEC);
    return shim->signals < 0 || shim->epoll < 0 ? -errno : 0;
}

static int start(struct shim *shim, struct failure *failure)
{
    int r;

    if (chdir(shim->options.dir) < 0)
        return failure_set(failure, -errno, "cannot enter %s", shim->options.dir);
    r = console_open(&shim->console);
    if (r < 0 && r != -ENOSPC && r != -EDQUOT)
        return failure_set(failure, r, "cannot write the log %s", shim->options.log);
    shim->console.drop_code = r;
    return machine_start(&shim->machine, &shim->options, failure);
}

static int watch_all(struct shim *shim)
{
    int r = shim_watch(shim, shim->signals, EPOLLIN, EV_SIGNAL);

    if (r == 0)
        r = shim_watch(shim, shim->listener, EPOLLIN, EV_LISTEN);
    if (r == 0)
        r = shim_watch(shim, shim->machine.console_out, EPOLLIN, EV_CONSOLE);
    if (r == 0)
        r = shim_watch(shim, shim->machine.err_out, EPOLLIN, EV_STDERR);
    if (r == 0 && shim->agents[0] >= 0)
        r = shim_watch(shim, shim->agents[0], EPOLLIN, EV_AGENT);
    return r;
}

/* One bounded read. False: nothing there now. */
static bool read_console(struct shim *shim)
{
    struct console *console = &shim->console;
    ssize_t n;

    if (shim->machine.console_out < 0)
        return false;
    n = read(shim->machine.console_out, console->in, sizeof(console->in));
    if (n > 0) {
        console_feed(console, (size_t)n, unix_now_ns());
        shim->silence_ms =
            console_waits(console) ? clock_ns(CLOCK_MONOTONIC) / 1000000 + CONSOLE_IDLE_MS : 0;
        return true;
    }
    if (n == 0 || errno != EAGAIN) {
        (void)close(shim->machine.console_out);
        shim->machine.console_out = -1;
    }
    return false;
}

/* A VMM that says it cannot go on and stays: its machine is over, and so is the VMM now. */
static void heed_stderr(struct shim *shim)
{
    struct machine *machine = &shim->machine;
    const char *line;
    size_t len;

    if (machine->fatal_len > 0 || machine->pid <= 0)
        return;
    len = vmmlog_find(&shim->vmmlog, shim->options.fatals, shim->options.fatals_len, &line);
    if (len == 0)
        return;
    machine->fatal_len = len < SHIM_FATAL_LEN_MAX ? len : SHIM_FATAL_LEN_MAX;
    memcpy(machine->fatal, line, machine->fatal_len);
    (void)kill(machine->pid, SIGKILL);
}

static bool read_stderr(struct shim *shim)
{
    char text[SHIM_STDERR_READ_MAX];
    ssize_t n;

    if (shim->machine.err_out < 0)
        return false;
    n = read(shim->machine.err_out, text, sizeof(text));
    if (n > 0) {
        vmmlog_add(&shim->vmmlog, text, (size_t)n);
        heed_stderr(shim);
        return true;
    }
    if (n == 0 || errno != EAGAIN) {
        (void)close(shim->machine.err_out);
        shim->machine.err_out = -1;
    }
    return false;
}

/* The VMM's end, or -EAGAIN. A request to end the shim ends the VMM first. */
static int take_signals(struct shim *shim)
{
    struct signalfd_siginfo info;
    struct machine *machine = &shim->machine;

    while (read(shim->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if ((info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) && machine->pid > 0)
            (void)kill(machine->pid, SIGKILL);
    }
    if (waitpid(machine->pid, &machine->wait_status, WNOHANG) != machine->pid)
        return -EAGAIN;
    machine->pid = 0;
    machine->finished_ns = unix_now_ns();
    return 0;
}

static int take_event(struct shim *shim, uint32_t tag)
{
    switch (tag) {
    case EV_SIGNAL:
        return take_signals(shim);
    case EV_LISTEN:
        agents_accept(shim);
        break;
    case EV_CONSOLE:
        (void)read_console(shim);
        break;
    case EV_STDERR:
        (void)read_stderr(shim);
        break;
    case EV_STDIN:
        agents_input_drain(shim);
        break;
    default:
        agents_read(shim, tag - EV_AGENT);
        break;
    }
    return -EAGAIN;
}

/* Until the VMM ended. Each event costs one bounded step, so a flooding guest waits its turn. */
static void run(struct shim *shim)
{
    struct epoll_event events[EVENTS_MAX];

    for (;;) {
        int64_t wait_ms = -1;
        bool ended = false;
        int n;

        if (shim->silence_ms > 0) {
            wait_ms = shim->silence_ms - clock_ns(CLOCK_MONOTONIC) / 1000000;
            if (wait_ms <= 0) {
                console_silence(&shim->console, unix_now_ns());
                shim->silence_ms = 0;
                wait_ms = -1;
            }
        }
        n = epoll_wait(shim->epoll, events, EVENTS_MAX, (int)wait_ms);
        for (int i = 0; i < n; i++)
            ended |= take_event(shim, events[i].data.u32) == 0;
        if (ended)
            return;
    }
}

/* Order matters: the record is on disk and the tap is free before an agent hears of the end. */
static int finish(struct shim *shim)
{
    struct machine *machine = &shim->machine;
    int r;

    for (int i = 0; i < CONSOLE_DRAIN_MAX && read_console(shim); i++)
        ;
    for (int i = 0; i < CONSOLE_DRAIN_MAX && read_stderr(shim); i++)
        ;
    console_finish(&shim->console, machine->finished_ns);
    machine->oom = machine_oom(&shim->options);
    if (machine->tap >= 0)
        (void)close(machine->tap);
    (void)unlink(SHIM_FILE_CONTROL);
    r = record_write(machine, NULL, &shim->console, &shim->vmmlog);
    agents_tell_end(shim);
    return r < 0 ? 1 : 0;
}

static int give_up(struct shim *shim, const struct failure *failure)
{
    struct machine *machine = &shim->machine;

    if (machine->pid > 0) {
        (void)kill(machine->pid, SIGKILL);
        (void)waitpid(machine->pid, &machine->wait_status, 0);
        machine->pid = 0;
    }
    machine->started_ns = 0;
    machine->finished_ns = unix_now_ns();
    if (machine->tap >= 0)
        (void)close(machine->tap);
    (void)unlink(SHIM_FILE_CONTROL);
    (void)record_write(machine, failure, &shim->console, &shim->vmmlog);
    agents_tell(shim, SHIM_FAILED, failure->code, failure->text);
    return 1;
}

int main(int argc, char **argv)
{
    struct shim shim; /* not cleared: its pages become dirty only when used */
    struct failure failure = {0};
    int r;

    memset(&shim, 0, offsetof(struct shim, input));
    memset(&shim.console, 0, offsetof(struct console, stamp));
    if (parse_options(&shim.options, argc, argv) < 0)
        return 2;
    r = init(&shim);
    if (r < 0)
        r = failure_set(&failure, r, "cannot set the shim up");
    else
        r = start(&shim, &failure);
    if (r == 0) {
        r = watch_all(&shim);
        if (r < 0)
            r = failure_set(&failure, r, "cannot watch the machine");
    }
    if (r < 0)
        return give_up(&shim, &failure);
    agents_tell(&shim, SHIM_STARTED, 0, NULL);
    leave_cgroups(&shim.options);
    run(&shim);
    return finish(&shim);
}
