/* What the unpacking process gives up. In this order: memory and files by resource limits, every
 * path but those below its directory (chroot), capabilities, and all system calls but those that
 * unpacking needs. The filter needs no privilege and is the one thing that must succeed. */
#include "runtime/image_worker.h"

#include "base/cleanup.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MEMORY_MAX (1024ull * 1024 * 1024) /* zstd's window, 128 MiB, and a mapped kernel */
#define CPU_SECONDS_MAX 3600
#define CAPABILITIES_MAX 64

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

/* Beside reading and writing what is open: memory, time, locks, and files by openat, which after
 * the chroot finds its own directory only. No exec, no process, no socket, no link, no mount. */
static const unsigned allowed[] = {
    SYS_read,
    SYS_write,
    SYS_pread64,
    SYS_readv,
    SYS_writev,
    SYS_lseek,
    SYS_openat,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_unlinkat,
    SYS_ftruncate,
    SYS_fsync,
    SYS_fadvise64,
    SYS_fcntl,
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_futex,
    SYS_getrandom,
    SYS_clock_gettime,
    SYS_gettimeofday,
    SYS_rt_sigreturn,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_getpid,
    SYS_gettid,
    SYS_tgkill,
    SYS_exit,
    SYS_exit_group,
    SYS_sched_yield,
    SYS_ppoll,
    SYS_restart_syscall,
};

static void limit(int what, rlim_t value)
{
    struct rlimit old;

    if (getrlimit((__rlimit_resource_t)what, &old) < 0)
        return;
    if (old.rlim_max != RLIM_INFINITY && value > old.rlim_max)
        value = old.rlim_max;
    (void)setrlimit((__rlimit_resource_t)what, &(struct rlimit){value, value});
}

static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    for (int cap = 0; cap < CAPABILITIES_MAX; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    (void)syscall(SYS_capset, &header, none);
}

static int filter_system_calls(void)
{
    struct sock_filter filter[ARRAY_LEN(allowed) + 6];
    struct sock_fprog program = {.len = ARRAY_LEN(filter), .filter = filter};
    size_t n = 0;

    filter[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    filter[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i],
                                                   (unsigned char)(ARRAY_LEN(allowed) - i), 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
        return -errno;
    return 0;
}

int image_confine(int dir_fd)
{
    limit(RLIMIT_AS, MEMORY_MAX);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, CPU_SECONDS_MAX);
    limit(RLIMIT_FSIZE, UNPACK_DISK_BYTES_MAX);
    /* Who may not (an operator's import, not as root) keeps the filter and their own rights. */
    if (fchdir(dir_fd) < 0)
        return -errno;
    if (chroot(".") == 0 && chdir("/") < 0)
        return -errno;
    drop_capabilities();
    return filter_system_calls();
}
