/* unikubelet-host run|remove|wait. The container's own process stays in the container's cgroup and
 * ends with the agent, and the agent with it: so the runtime stops and kills the agent as any
 * other container's process, while the agent itself lives on the host's side. */
#include "runtime/host/host.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "unikubelet-host"

int host_fail(const char *fmt, ...)
{
    va_list args;

    (void)fputs(NAME ": ", stderr);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
    return -1;
}

static int usage(void)
{
    (void)host_fail("usage: run|remove [--payload DIR] [--install DIR] [--cgroup NAME] "
                    "[--state-dir DIR] [--run-dir DIR] [--netns-dir DIR] [--bridge NAME] "
                    "[-- AGENT-FLAGS...], or: wait");
    return 2;
}

static int parse(int argc, char **argv, struct host_options *ret)
{
    static const struct option longs[] = {
        {"payload", required_argument, NULL, 'p'}, {"install", required_argument, NULL, 'i'},
        {"cgroup", required_argument, NULL, 'c'},  {"state-dir", required_argument, NULL, 's'},
        {"run-dir", required_argument, NULL, 'r'}, {"netns-dir", required_argument, NULL, 'n'},
        {"bridge", required_argument, NULL, 'b'},  {NULL, 0, NULL, 0},
    };
    int c;

    *ret = (struct host_options){.payload = "/usr/lib/unikubelet",
                                 .install = "/opt/unikubelet",
                                 .cgroup = "unikubelet",
                                 .state_dir = "/var/lib/unikubelet",
                                 .run_dir = "/run/unikubelet",
                                 .netns_dir = "/run/netns",
                                 .bridge = "unik0"};
    while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
        switch (c) {
        case 'p':
            ret->payload = optarg;
            break;
        case 'i':
            ret->install = optarg;
            break;
        case 'c':
            ret->cgroup = optarg;
            break;
        case 's':
            ret->state_dir = optarg;
            break;
        case 'r':
            ret->run_dir = optarg;
            break;
        case 'n':
            ret->netns_dir = optarg;
            break;
        case 'b':
            ret->bridge = optarg;
            break;
        default:
            return -1;
        }
    }
    return 0;
}

/* The other side of the fork. Returns only when it failed. */
static int become(const char *mode, const struct host_options *options, char **args, size_t len)
{
    char group[64];
    char dir[HOST_PATH_MAX];
    struct host_kept kept;

    if (host_enter(options, &kept) < 0)
        return EXIT_FAILURE;
    if (strcmp(mode, "remove") == 0)
        return host_remove(options) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    (void)snprintf(group, sizeof(group), "%s-agent", options->cgroup);
    if (host_enter_cgroup(group) < 0 || host_install(kept.payload, options, dir) < 0)
        return EXIT_FAILURE;
    host_install_prune(options->install, dir);
    host_exec_agent(dir, kept.account, args, len);
    return EXIT_FAILURE;
}

/* Passes on what asks for an end; ends as the child ends. */
static int supervise(pid_t child, const sigset_t *signals)
{
    for (;;) {
        siginfo_t info;
        int status;

        if (sigwaitinfo(signals, &info) < 0 && errno != EINTR)
            return EXIT_FAILURE;
        if (info.si_signo != SIGCHLD) {
            (void)kill(child, info.si_signo);
            continue;
        }
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

static int fork_and_run(const char *mode, const struct host_options *options, char **args,
                        size_t len)
{
    static const int passed[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    sigset_t signals;
    pid_t self = getpid();
    pid_t child;

    (void)sigemptyset(&signals);
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        (void)sigaddset(&signals, passed[i]);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    child = fork();
    if (child < 0)
        return host_fail("cannot fork: %s", strerror(errno)), EXIT_FAILURE;
    if (child > 0)
        return supervise(child, &signals);
    /* When the runtime kills the container's process, the agent must not stay behind. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self)
        return EXIT_FAILURE;
    (void)sigprocmask(SIG_UNBLOCK, &signals, NULL);
    return become(mode, options, args, len);
}

int main(int argc, char **argv)
{
    const char *self = (const char *)getauxval(AT_EXECFN);
    const char *slash = self ? strrchr(self, '/') : NULL;
    struct host_options options;

    if (slash && strcmp(slash + 1, NAME) != 0)
        return host_launch(self, argv);
    if (argc == 2 && strcmp(argv[1], "wait") == 0) {
        sigset_t signals;
        int number;

        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigaddset(&signals, SIGINT);
        (void)sigprocmask(SIG_BLOCK, &signals, NULL);
        return sigwait(&signals, &number) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (argc < 2 || (strcmp(argv[1], "run") != 0 && strcmp(argv[1], "remove") != 0) ||
        parse(argc - 1, argv + 1, &options) < 0)
        return usage();
    return fork_and_run(argv[1], &options, argv + 1 + optind, (size_t)(argc - 1 - optind));
}
