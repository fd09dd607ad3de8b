/* From the command line to an executing VMM: control socket, tap in the Pod's namespace, console
 * pipes, and a child that gives up every privilege before it becomes the VMM. fork() is fine here,
 * as it is not in the agent: this process has next to no memory to copy. */
#include "runtime/shim/shim.h"
#include "base/cleanup.h"
#include "vmm-bridge/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CAPS_MAX 64       /* the kernel's capability sets have 64 bits */
#define OOM_FILE_MAX 1024 /* memory.events and memory.oom_control are far smaller */

/* The child's ends of everything, in the order of the descriptors that the VMM gets. */
struct child {
    int fds[VMM_FD_NEXT]; /* -1: none */
    int report;           /* pipe: a struct misstep when the VMM cannot be executed */
    pid_t parent;
};

enum step {
    STEP_CGROUP,
    STEP_FDS,
    STEP_LIMITS,
    STEP_CAPS,
    STEP_USER,
    STEP_BIND,
    STEP_EXEC,
    _STEP_MAX,
};

static const char *const step_text[] = {
    [STEP_CGROUP] = "cannot enter the machine's cgroup",
    [STEP_FDS] = "cannot hand over descriptors",
    [STEP_LIMITS] = "cannot set resource limits",
    [STEP_CAPS] = "cannot drop capabilities",
    [STEP_USER] = "cannot become the VMM's user",
    [STEP_BIND] = "cannot bind the VMM's life to the shim's",
    [STEP_EXEC] = "cannot execute",
};

_Static_assert(sizeof(step_text) / sizeof(step_text[0]) == _STEP_MAX, "every step has a text");

struct misstep {
    enum step step;
    int code;
};

static int control_open(struct failure *failure)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SHIM_FILE_CONTROL};
    CLEANUP(close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mode_t before;
    int r;

    if (fd < 0)
        return failure_set(failure, -errno, "cannot make the control socket");
    (void)unlink(SHIM_FILE_CONTROL);
    before = umask(0177);
    r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    (void)umask(before);
    if (r < 0 || listen(fd, 1) < 0)
        return failure_set(failure, r < 0 ? r : -errno, "cannot bind the control socket");
    return TAKE_FD(fd);
}

/* The shim stays in the namespace, so that the VMM starts there and, broken, reaches nothing else.
 */
static int netns_enter(const char *path, struct failure *failure)
{
    CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return failure_set(failure, -errno, "cannot open the network namespace %s", path);
    if (setns(fd, CLONE_NEWNET) < 0)
        return failure_set(failure, -errno, "cannot enter the network namespace %s", path);
    return 0;
}

static int tap_open(const char *name, struct failure *failure)
{
    CLEANUP(close) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    if (fd < 0)
        return failure_set(failure, -errno, "cannot open /dev/net/tun");
    if (strlen(name) >= sizeof(request.ifr_name))
        return failure_set(failure, -ENAMETOOLONG, "bad tap name %s", name);
    memcpy(request.ifr_name, name, strlen(name));
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        return failure_set(failure, -errno, "cannot attach to the tap %s", name);
    /* A missing device would just have been made anew, joined to nothing. */
    if (ioctl(fd, TUNGETIFF, &request) < 0 || !(request.ifr_flags & IFF_PERSIST))
        return failure_set(failure, -ENODEV, "there is no tap %s in the Pod's namespace", name);
    return TAKE_FD(fd);
}

static int write_zero(const char *path)
{
    CLEANUP(close) int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, "0", 1) != 1 ? -errno : 0;
}

static int child_limits(void)
{
    struct rlimit files;
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) < 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
        return -errno;
    if (files.rlim_max > SHIM_NOFILE_MAX)
        files.rlim_max = SHIM_NOFILE_MAX;
    files.rlim_cur = files.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &files) < 0 ? -errno : 0;
}

static int child_caps(void)
{
    for (int cap = 0; cap < CAPS_MAX; cap++) {
        if (prctl(PR_CAPBSET_READ, cap) == 1 && prctl(PR_CAPBSET_DROP, cap) < 0)
            return -errno;
    }
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ? -errno : 0;
}

/* Leaving uid 0 empties the capability sets; the bounding set was emptied before. */
static int child_user(const struct options *options)
{
    gid_t kvm = options->kvm_gid;

    if (setgroups(kvm ? 1 : 0, &kvm) < 0 ||
        setresgid(options->gid, options->gid, options->gid) < 0 ||
        setresuid(options->uid, options->uid, options->uid) < 0)
        return -errno;
    return 0;
}

static int child_fds(const struct child *child)
{
    for (int i = 0; i < VMM_FD_NEXT; i++) {
        if (child->fds[i] >= 0 && dup2(child->fds[i], i) < 0)
            return -errno;
    }
    return chdir("/") < 0 ? -errno : 0;
}

/* After the change of user, which would clear the death signal again. */
static int child_bind(const struct child *child)
{
    sigset_t none;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -errno;
    if (getppid() != child->parent)
        return -ESRCH; /* the shim died before the signal was set */
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}

static struct misstep child_run(const struct options *options, const struct child *child)
{
    static char *const empty[] = {NULL};
    int r = 0;

    for (size_t i = 0; r == 0 && i < options->vmm_cgroups_len; i++)
        r = write_zero(options->vmm_cgroups[i]);
    if (r < 0)
        return (struct misstep){STEP_CGROUP, r};
    r = child_fds(child);
    if (r < 0)
        return (struct misstep){STEP_FDS, r};
    r = child_limits();
    if (r < 0)
        return (struct misstep){STEP_LIMITS, r};
    if (options->uid != 0) {
        r = child_caps();
        if (r < 0)
            return (struct misstep){STEP_CAPS, r};
        r = child_user(options);
        if (r < 0)
            return (struct misstep){STEP_USER, r};
    }
    r = child_bind(child);
    if (r < 0)
        return (struct misstep){STEP_BIND, r};
    (void)execve(options->vmm_argv[0], options->vmm_argv, empty);
    return (struct misstep){STEP_EXEC, -errno};
}

/* keep_write: the shim's end is the write end. Both ends close on exec. */
static int make_pipe(int *ret_ours, int *ret_childs, bool keep_write)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = ends[keep_write ? 1 : 0];
    *ret_childs = ends[keep_write ? 0 : 1];
    return fcntl(*ret_ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int spawn_vmm(struct machine *machine, const struct options *options, struct child *child,
                     int report_in, struct failure *failure)
{
    struct misstep misstep;
    ssize_t n;
    pid_t pid;

    child->parent = getpid();
    pid = fork();
    if (pid < 0)
        return failure_set(failure, -errno, "cannot fork");
    if (pid == 0) {
        misstep = child_run(options, child);
        (void)!write(child->report, &misstep, sizeof(misstep));
        _exit(127);
    }
    (void)close(child->report);
    child->report = -1;
    machine->pid = pid;
    /* The kernel closes the pipe when the new program is in place. */
    n = read(report_in, &misstep, sizeof(misstep));
    if (n == 0)
        return 0;
    if (n != (ssize_t)sizeof(misstep) || (unsigned)misstep.step >= _STEP_MAX)
        misstep = (struct misstep){STEP_EXEC, -EIO};
    return failure_set(failure, misstep.code, "%s %s", step_text[misstep.step],
                       misstep.step == STEP_EXEC ? options->vmm_argv[0] : "");
}

static int prepare(struct machine *machine, const struct options *options, struct child *child,
                   struct failure *failure)
{
    int r;

    child->fds[VMM_FD_CONTROL] = control_open(failure);
    if (child->fds[VMM_FD_CONTROL] < 0)
        return child->fds[VMM_FD_CONTROL];
    if (options->netns) {
        r = netns_enter(options->netns, failure);
        if (r < 0)
            return r;
    }
    if (options->tap) {
        machine->tap = tap_open(options->tap, failure);
        if (machine->tap < 0)
            return machine->tap;
        child->fds[VMM_FD_TAP] = machine->tap;
    }
    if (options->vhost) {
        child->fds[VMM_FD_VHOST] = open(options->vhost, O_RDWR | O_CLOEXEC);
        if (child->fds[VMM_FD_VHOST] < 0)
            return failure_set(failure, -errno, "cannot open %s", options->vhost);
    }
    r = make_pipe(&machine->console_in, &child->fds[STDIN_FILENO], true);
    if (r == 0)
        r = make_pipe(&machine->console_out, &child->fds[STDOUT_FILENO], false);
    if (r == 0)
        r = make_pipe(&machine->err_out, &child->fds[STDERR_FILENO], false);
    return r < 0 ? failure_set(failure, r, "cannot make the console's pipes") : 0;
}

int machine_start(struct machine *machine, const struct options *options, struct failure *failure)
{
    struct child child = {.fds = {-1, -1, -1, -1, -1, -1}, .report = -1};
    int report[2] = {-1, -1};
    int r = prepare(machine, options, &child, failure);

    if (r == 0 && pipe2(report, O_CLOEXEC) < 0)
        r = failure_set(failure, -errno, "cannot make a pipe");
    if (r == 0) {
        child.report = report[1];
        r = spawn_vmm(machine, options, &child, report[0], failure);
        report[1] = child.report;
    }
    /* The VMM's ends are the VMM's alone: their closing is how its end is seen. The tap stays. */
    for (int i = 0; i < VMM_FD_NEXT; i++) {
        if (child.fds[i] >= 0 && i != VMM_FD_TAP)
            (void)close(child.fds[i]);
    }
    for (int i = 0; i < 2; i++) {
        if (report[i] >= 0)
            (void)close(report[i]);
    }
    machine->started_ns = r == 0 ? unix_now_ns() : 0;
    return r;
}

bool machine_oom(const struct options *options)
{
    static const char key[] = "oom_kill ";
    char text[OOM_FILE_MAX + 1];
    ssize_t n;

    if (!options->oom_file)
        return false;
    CLEANUP(close) int fd = open(options->oom_file, O_RDONLY | O_CLOEXEC);

    n = fd < 0 ? -1 : read(fd, text, OOM_FILE_MAX);
    if (n <= 0)
        return false;
    text[n] = '\0';
    for (const char *at = text; (at = strstr(at, key)); at += strlen(key)) {
        if (at == text || at[-1] == '\n')
            return at[strlen(key)] != '0' && at[strlen(key)] != '\0';
    }
    return false;
}
