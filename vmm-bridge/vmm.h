/* Virtual machine monitors behind one table of functions. Knows machines, not Pods. A VMM's process
 * is never a child of the caller: unikubelet-shim starts the argv made here and reports its end;
 * what is left for this folder is to say how a machine is described, asked to stop, and how its
 * end is to be read. The control channel is a side channel: no start ever waits for it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct uv_loop_s;

enum vmm_accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG, _ACCEL_MAX };

/* Board of the machine; which one a guest can take is the guest kind's business. */
enum vmm_board {
    BOARD_MICROVM_NOACPI, /* virtio-mmio named on the guest's command line; Unikraft, ours */
    BOARD_MICROVM_ACPI,   /* Linux */
    BOARD_PC,             /* i440fx with PCI */
    BOARD_Q35,
    _BOARD_MAX,
};

/* Descriptors that unikubelet-shim holds and hands to the VMM under these numbers. */
enum vmm_fd {
    VMM_FD_TAP = 3,     /* the Pod's tap, opened in its netns */
    VMM_FD_CONTROL = 4, /* a listening unix socket for the VMM's control protocol */
    VMM_FD_VHOST = 5,   /* /dev/vhost-net, of a machine with vhost */
    VMM_FD_NEXT = 6,
};
/* Console: the VMM's standard input and output. Its own complaints: standard error. */

/* Host-wide facts and settings, from configuration; outlives every machine. */
struct vmm_config {
    const char *binary; /* absolute path of the VMM */
    enum vmm_accel accel;
    bool sandbox; /* the VMM's own seccomp filter, where it has one */
    uint32_t uid; /* the VMM's process runs as it: what it may open is asked for that user */
};

#define VMM_SHARES_MAX 8 /* virtio-mmio slots of a microvm without ACPI, one of them the NIC's */

/* A directory of the host that the guest mounts by its tag (9p). */
struct vmm_share {
    const char *tag; /* [a-z0-9] */
    const char *dir; /* absolute */
    bool read_only;
};

struct vmm_machine {
    const char *kernel; /* absolute paths, readable by the VMM's user */
    const char *initrd; /* NULL: none */
    const struct vmm_share *shares;
    size_t shares_len;
    const char *cmdline; /* complete, as the guest kind wrote it */
    enum vmm_board board;
    uint32_t memory_mib;
    uint32_t cpus;
    const char *mac; /* NULL: no network device, and no VMM_FD_TAP */
    uint32_t mtu;
    bool vhost;         /* the kernel moves the frames (vhost-net): VMM_FD_VHOST is there */
    const char *disk;   /* raw image, the same for all machines of an image; NULL: none. What the
                         * guest writes is its own, and gone when it ends */
    bool disk_readonly; /* the guest is told that it cannot write */
    bool debug_exit;    /* isa-debug-exit */
    uint16_t debug_exit_port; /* 0: 0x501 */
    const char *name;         /* shown in the process list; [A-Za-z0-9-] */
};

#define VMM_ARGS_MAX 128

/* argv for the shim. Strings are malloc'd; free with vmm_argv_free. */
#define VMM_FATALS_MAX 8

struct vmm_argv {
    char *argv[VMM_ARGS_MAX + 1];
    size_t len;
    /* Static texts. On the VMM's standard error each means that the machine is over although the
     * VMM stays: the shim ends it then. NULL: no more of them. */
    const char *fatals[VMM_FATALS_MAX];
};

void vmm_argv_free(struct vmm_argv *argv);
int vmm_argv_add(struct vmm_argv *argv, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* How the machine ended, as far as the VMM tells. */
enum vmm_end {
    VMM_END_CLEAN,     /* powered off, reset with no-reboot, or asked to quit */
    VMM_END_CODE,      /* debug-exit: guest_code is what the guest wrote */
    VMM_END_PANIC,     /* the guest said so by pvpanic; only boards with ACPI, without debug_exit */
    VMM_END_SIGNAL,    /* the VMM was killed: signal */
    VMM_END_VMM_ERROR, /* the VMM itself failed, e.g. refused its arguments */
};

struct vmm_exit {
    enum vmm_end end;
    int guest_code;
    int signal;
};

struct vmm_control; /* a connection to a running machine's control socket */

/* Called once a command is answered, or with the reason why it never will be. */
typedef void (*vmm_done)(void *userdata, int result, const char *text);

struct vmm_ops {
    const char *name; /* "qemu", "fake" */

    /* Whether this host can run machines: the binary executes, has the boards, and the accelerator
     * that ACCEL_AUTO resolves to. Blocking (up to a second): call it from a worker. ret_version is
     * malloc'd, e.g. "7.2.22". The text of err is shown in the Node's Ready condition. */
    int (*probe)(const struct vmm_config *config, enum vmm_accel *ret_accel, char **ret_version,
                 struct err *err);

    int (*describe)(const struct vmm_config *config, const struct vmm_machine *machine,
                    struct vmm_argv *ret, struct err *err);

    /* wait_status is as waitpid gives it. complaint: the last part of the VMM's standard error, ""
     * when it was silent; it tells a VMM that failed from a guest that ended with the same code. */
    void (*decode)(const struct vmm_machine *machine, int wait_status, const char *complaint,
                   struct vmm_exit *ret);

    /* Memory beside the guest's, in MiB; see vmm_overhead_mib. */
    uint32_t (*overhead_mib)(enum vmm_accel accel);

    /* Connects to the control socket at path; NULL when the VMM has no such channel. */
    struct vmm_control *(*open)(struct uv_loop_s *loop, const char *path);
    void (*close)(struct vmm_control *control); /* pending calls are answered -ECANCELED */
    /* The power button. */
    void (*powerdown)(struct vmm_control *control, vmm_done done, void *userdata);
    /* Whether the machine still executes: result 1 running, 0 stopped by itself (KVM internal
     * error, dead halt), negative: unknown; text says which. */
    void (*query)(struct vmm_control *control, vmm_done done, void *userdata);
    /* Seams for later issues, NULL until then: pause, resume, snapshot, restore, statistics. */
};

extern const struct vmm_ops vmm_qemu;
extern const struct vmm_ops vmm_fake;

/* Memory that the VMM itself needs beside the guest's, in MiB, measured per accelerator. */
uint32_t vmm_overhead_mib(const struct vmm_ops *ops, enum vmm_accel accel);
const char *vmm_accel_to_string(enum vmm_accel accel);
int vmm_accel_from_string(const char *text, enum vmm_accel *ret);
