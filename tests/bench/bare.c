/* The peer of row 3: what a person would do by hand for one guest, and nothing else. A network
 * namespace with a tap in it, one CNI plugin's ADD on it, and the VMM's own argv with tap and
 * control socket. No shim, no cgroup, no state on disk, no log. Prints the ms from the first step
 * until the VMM executes, then takes it all away. bare NETNS PLUGIN PLUGIN_DIR CONFIG_JSON VMM
 * ARG... */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RESULT_MAX 65536
#define TEXT_MAX 4096
#define CONTROL_BACKLOG 8
#define FD_TAP 3 /* as runtime hands them over */
#define FD_CONTROL 4
#define FD_ABOVE 5

__attribute__((format(printf, 1, 2))) static void die(const char *fmt, ...)
{
    va_list args;

    (void)fprintf(stderr, "bare: ");
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fprintf(stderr, ": %s\n", strerror(errno));
    exit(1);
}

static double now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Leaves this process where it was; the tap stays in the new namespace. */
static int make_netns(const char *path)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    int tap;

    if (home < 0 || file < 0 || unshare(CLONE_NEWNET) < 0 ||
        mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0)
        die("cannot make %s", path);
    (void)close(file);
    tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    (void)snprintf(request.ifr_name, sizeof(request.ifr_name), "tap0");
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) < 0 || setns(home, CLONE_NEWNET) < 0)
        die("cannot make a tap");
    (void)close(home);
    return tap;
}

static void run_plugin(const char *command, const char *netns, char **argv)
{
    char texts[5][TEXT_MAX];
    char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"; /* of iptables */
    char *env[] = {texts[0], texts[1], texts[2], texts[3], texts[4], path, NULL};
    char *plugin[] = {argv[0], NULL};
    char result[RESULT_MAX + 1] = "";
    posix_spawn_file_actions_t actions;
    int in[2], out[2], status;
    pid_t pid;

    (void)snprintf(texts[0], TEXT_MAX, "CNI_COMMAND=%s", command);
    (void)snprintf(texts[1], TEXT_MAX, "CNI_CONTAINERID=bench-bare");
    (void)snprintf(texts[2], TEXT_MAX, "CNI_NETNS=%s", netns);
    (void)snprintf(texts[3], TEXT_MAX, "CNI_IFNAME=eth0");
    (void)snprintf(texts[4], TEXT_MAX, "CNI_PATH=%s", argv[1]);
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        die("pipe");
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    (void)posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    errno = posix_spawn(&pid, plugin[0], &actions, NULL, plugin, env);
    if (errno)
        die("%s", plugin[0]);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(in[0]);
    (void)close(out[1]);
    if (write(in[1], argv[2], strlen(argv[2])) < 0)
        die("%s's input", plugin[0]);
    (void)close(in[1]);
    for (size_t len = 0, n = 1; len < RESULT_MAX && n > 0; len += n) {
        ssize_t got = read(out[0], result + len, RESULT_MAX - len);

        n = got > 0 ? (size_t)got : 0;
        result[len + n] = '\0';
    }
    (void)close(out[0]);
    if (waitpid(pid, &status, 0) < 0 || status != 0) {
        errno = EIO;
        die("%s %s: status %d: %s", plugin[0], command, status, result);
    }
}

static int make_control(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s.sock", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, CONTROL_BACKLOG) < 0)
        die("cannot make %s", address.sun_path);
    return fd;
}

static pid_t spawn_vmm(char **argv, int tap, int control, int console[2])
{
    static char *const env[] = {NULL};
    posix_spawn_file_actions_t actions;
    int high_tap = fcntl(tap, F_DUPFD_CLOEXEC, FD_ABOVE);
    int high_control = fcntl(control, F_DUPFD_CLOEXEC, FD_ABOVE);
    pid_t pid;

    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, console[1], 1);
    (void)posix_spawn_file_actions_adddup2(&actions, high_tap, FD_TAP);
    (void)posix_spawn_file_actions_adddup2(&actions, high_control, FD_CONTROL);
    (void)posix_spawn_file_actions_addclosefrom_np(&actions, FD_ABOVE);
    errno = posix_spawn(&pid, argv[0], &actions, NULL, argv, env);
    if (errno)
        die("%s", argv[0]);
    (void)posix_spawn_file_actions_destroy(&actions);
    return pid;
}

int main(int argc, char **argv)
{
    char socket_path[TEXT_MAX];
    int console[2];
    int tap, control;
    double begin, end;
    pid_t pid;
    char first;

    if (argc < 6) {
        (void)fprintf(stderr, "usage: bare NETNS PLUGIN PLUGIN_DIR CONFIG_JSON VMM ARG...\n");
        return 2;
    }
    begin = now_ms();
    tap = make_netns(argv[1]);
    run_plugin("ADD", argv[1], argv + 2);
    control = make_control(argv[1]);
    if (pipe2(console, O_CLOEXEC) < 0)
        die("pipe");
    pid = spawn_vmm(argv + 5, tap, control, console);
    end = now_ms();
    /* A VMM that refused its arguments was no launch. */
    (void)close(console[1]);
    if (read(console[0], &first, 1) != 1)
        die("the guest said nothing");
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    run_plugin("DEL", argv[1], argv + 2);
    (void)umount2(argv[1], MNT_DETACH);
    (void)unlink(argv[1]);
    (void)snprintf(socket_path, sizeof(socket_path), "%s.sock", argv[1]);
    (void)unlink(socket_path);
    (void)printf("%.3f\n", end - begin);
    return 0;
}
