/* QEMU behind vmm_ops: its command line for each board and accelerator, how its end reads, and its
 * control channel. The lines are those measured to work with QEMU 7.2 to 10 (docs/machines.md);
 * what probes the host is qemu_probe.c. */
#include "vmm-bridge/qemu.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "vmm-bridge/qmp.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>

/* MiB of translated code. The default is sized for one big guest; measured with Debian's kernel, 32
 * boots as fast as 128 and saves 10 MiB of resident memory. */
#define TCG_TB_MIB 32

/* Beside the guest's memory, measured at the peak of a Linux boot (QEMU 7.2, anonymous memory): TCG
 * 58 MiB, most of it translated code and its tables; KVM 20. The rest is for page tables, sockets
 * and the page cache of the kernel file, which is charged to whoever reads it first. */
#define OVERHEAD_TCG_MIB 96
#define OVERHEAD_KVM_MIB 48

#define EXIT_LOADER 127 /* the dynamic loader, or a shell, could not run it */
#define RFLAGS_IF 0x200 /* interrupts enabled */

static const char *const machines[] = {
    [BOARD_MICROVM_NOACPI] = "microvm,acpi=off,auto-kernel-cmdline=off",
    [BOARD_MICROVM_ACPI] = "microvm",
    [BOARD_PC] = "pc",
    [BOARD_Q35] = "q35",
};

_Static_assert(ARRAY_LEN(machines) == _BOARD_MAX, "every board has a machine");

static bool is_microvm(enum vmm_board board)
{
    return board == BOARD_MICROVM_NOACPI || board == BOARD_MICROVM_ACPI;
}

/* qboot leaves LINT0 masked, so without ACPI the local APIC must go, or no interrupt of the 8259
 * arrives. A nested KVM may refuse arch-capabilities. */
static void add_board(struct vmm_argv *argv, enum vmm_board board, bool kvm)
{
    const char *apic = board == BOARD_MICROVM_NOACPI ? ",-apic" : "";
    const char *rtc = kvm && is_microvm(board) ? ",rtc=on" : "";

    (void)vmm_argv_add(argv, "-M");
    (void)vmm_argv_add(argv, "%s%s", machines[board], rtc);
    (void)vmm_argv_add(argv, "-accel");
    if (kvm)
        (void)vmm_argv_add(argv, "kvm");
    else
        (void)vmm_argv_add(argv, "tcg,thread=single,tb-size=%d", TCG_TB_MIB);
    (void)vmm_argv_add(argv, "-cpu");
    (void)vmm_argv_add(argv, "%s%s", kvm ? "host,-arch-capabilities" : "max", apic);
    if (is_microvm(board)) {
        (void)vmm_argv_add(argv, "-global");
        (void)vmm_argv_add(argv, "virtio-mmio.force-legacy=false");
    }
}

/* One queue: a second one costs memory and wakes another thread, for guests of one CPU mostly.
 * vhost only with KVM, whose eventfds carry its notifications; under TCG it would be slower than
 * without. */
static void add_net(struct vmm_argv *argv, const struct vmm_machine *machine, bool kvm)
{
    bool mmio = is_microvm(machine->board);
    char mtu[32] = "";

    if (machine->mtu != 0 && machine->mtu != 1500)
        str_fmt(mtu, sizeof(mtu), ",host_mtu=%" PRIu32, machine->mtu);
    (void)vmm_argv_add(argv, "-netdev");
    if (kvm && machine->vhost)
        (void)vmm_argv_add(argv, "tap,id=n0,fd=%d,vhost=on,vhostfd=%d", VMM_FD_TAP, VMM_FD_VHOST);
    else
        (void)vmm_argv_add(argv, "tap,id=n0,fd=%d", VMM_FD_TAP);
    (void)vmm_argv_add(argv, "-device");
    (void)vmm_argv_add(argv, "%s,netdev=n0,mac=%s%s%s",
                       mmio ? "virtio-net-device" : "virtio-net-pci", machine->mac, mtu,
                       mmio ? "" : ",romfile=");
}

/* A disk image belongs to all Pods of the image: what one writes goes to an unlinked file of its
 * QEMU's (snapshot=on). Locks are for images that are written to. */
static void add_disk(struct vmm_argv *argv, const struct vmm_machine *machine)
{
    CLEANUP(free) char *path = xmalloc(2 * strlen(machine->disk) + 1);
    char *end = path;

    for (const char *p = machine->disk; *p; p++) {
        *end++ = *p;
        if (*p == ',') /* an option list takes it doubled */
            *end++ = ',';
    }
    *end = '\0';
    (void)vmm_argv_add(argv, "-drive");
    (void)vmm_argv_add(argv, "if=none,id=d0,format=raw,%s,file.locking=off,file=%s",
                       machine->disk_readonly ? "readonly=on" : "snapshot=on", path);
    (void)vmm_argv_add(argv, "-device");
    (void)vmm_argv_add(argv, "%s,drive=d0",
                       is_microvm(machine->board) ? "virtio-blk-device" : "virtio-blk-pci");
}

/* Commas are doubled in an option list. The files' owners and modes are the host's: the VMM has no
 * right to change owners, and needs none. */
static void add_shares(struct vmm_argv *argv, const struct vmm_machine *machine)
{
    for (size_t i = 0; i < machine->shares_len; i++) {
        const struct vmm_share *share = &machine->shares[i];
        CLEANUP(free) char *dir = xcalloc(2, strlen(share->dir) + 1);
        char *at = dir;

        for (const char *p = share->dir; *p; p++) {
            *at++ = *p;
            if (*p == ',')
                *at++ = ',';
        }
        (void)vmm_argv_add(argv, "-fsdev");
        (void)vmm_argv_add(argv, "local,id=f%zu,path=%s,security_model=none%s,multidevs=remap", i,
                           dir, share->read_only ? ",readonly=on" : "");
        (void)vmm_argv_add(argv, "-device");
        (void)vmm_argv_add(argv, "%s,fsdev=f%zu,mount_tag=%s",
                           is_microvm(machine->board) ? "virtio-9p-device" : "virtio-9p-pci", i,
                           share->tag);
    }
}

static void add_channels(struct vmm_argv *argv)
{
    (void)vmm_argv_add(argv, "-chardev");
    (void)vmm_argv_add(argv, "stdio,id=con,signal=off");
    (void)vmm_argv_add(argv, "-serial");
    (void)vmm_argv_add(argv, "chardev:con");
    (void)vmm_argv_add(argv, "-chardev");
    (void)vmm_argv_add(argv, "socket,id=qmp,fd=%d,server=on,wait=off", VMM_FD_CONTROL);
    (void)vmm_argv_add(argv, "-mon");
    (void)vmm_argv_add(argv, "chardev=qmp,mode=control");
}

/* After each of these QEMU stops the machine for ever and stays (run state internal-error): the
 * guest executed what this host's KVM cannot, or KVM failed. */
static void add_fatals(struct vmm_argv *argv)
{
    argv->fatals[0] = "KVM internal error";
    argv->fatals[1] = "KVM: entry failed";
    argv->fatals[2] = "KVM: unknown exit";
    argv->fatals[3] = "kvm run failed";
    argv->fatals[4] = NULL;
}

/* What QEMU reads as an option list takes a comma for its end. */
static int check(const struct vmm_machine *machine, struct err *err)
{
    if ((unsigned)machine->board >= _BOARD_MAX || machine->memory_mib == 0 || machine->cpus == 0)
        return err_set(err, -EINVAL, "no board, memory or CPU given for the machine");
    if (strchr(machine->name, ',') || (machine->mac && strchr(machine->mac, ',')))
        return err_set(err, -EINVAL, "bad name or MAC address of a machine");
    return 0;
}

/* A guest finds pvpanic by ACPI. Its exit status, 1, would also be a debug-exit's 0: one of them.
 */
static bool has_pvpanic(const struct vmm_machine *machine)
{
    return !machine->debug_exit && machine->board != BOARD_MICROVM_NOACPI;
}

static void add_ends(struct vmm_argv *argv, const struct vmm_machine *machine)
{
    if (has_pvpanic(machine)) {
        (void)vmm_argv_add(argv, "-device");
        (void)vmm_argv_add(argv, "pvpanic");
        (void)vmm_argv_add(argv, "-action");
        (void)vmm_argv_add(argv, "panic=exit-failure");
    }
    if (!machine->debug_exit)
        return;
    (void)vmm_argv_add(argv, "-device");
    if (machine->debug_exit_port)
        (void)vmm_argv_add(argv, "isa-debug-exit,iobase=0x%x,iosize=4", machine->debug_exit_port);
    else
        (void)vmm_argv_add(argv, "isa-debug-exit,iobase=0x501,iosize=2");
}

static int qemu_describe(const struct vmm_config *config, const struct vmm_machine *machine,
                         struct vmm_argv *ret, struct err *err)
{
    static const char *const plain[] = {"-nodefaults", "-no-user-config", "-display", "none",
                                        "-no-reboot"};
    bool kvm = config->accel == ACCEL_KVM ||
               (config->accel == ACCEL_AUTO && qemu_kvm_usable(config->uid, NULL));
    int r = check(machine, err);

    if (r < 0)
        return r;
    (void)vmm_argv_add(ret, "%s", config->binary);
    (void)vmm_argv_add(ret, "-name");
    (void)vmm_argv_add(ret, "%s", machine->name);
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        (void)vmm_argv_add(ret, "%s", plain[i]);
    add_board(ret, machine->board, kvm);
    if (kvm)
        add_fatals(ret);
    (void)vmm_argv_add(ret, "-m");
    (void)vmm_argv_add(ret, "%" PRIu32, machine->memory_mib);
    (void)vmm_argv_add(ret, "-smp");
    (void)vmm_argv_add(ret, "%" PRIu32, machine->cpus);
    add_channels(ret);
    add_ends(ret, machine);
    if (machine->mac)
        add_net(ret, machine, kvm);
    if (machine->disk)
        add_disk(ret, machine);
    add_shares(ret, machine);
    if (config->sandbox) {
        (void)vmm_argv_add(ret, "-sandbox");
        (void)vmm_argv_add(ret, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
                                "resourcecontrol=deny");
    }
    (void)vmm_argv_add(ret, "-kernel");
    (void)vmm_argv_add(ret, "%s", machine->kernel);
    if (machine->initrd) {
        (void)vmm_argv_add(ret, "-initrd");
        (void)vmm_argv_add(ret, "%s", machine->initrd);
    }
    (void)vmm_argv_add(ret, "-append");
    if (vmm_argv_add(ret, "%s", machine->cmdline) == 0)
        return 0;
    vmm_argv_free(ret);
    return err_spec(err, -E2BIG, "the guest's command line is too long");
}

/* Whether QEMU said more than warnings: "<program>: <words>" is how it reports an error, and
 * "<program>: warning: " or "info: " what does not end it. */
static bool complained(const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        const char *colon = memmem(text, len, ": ", 2);
        bool warning = colon && (str_starts(colon, ": warning:") || str_starts(colon, ": info:"));

        if (colon && !warning && memmem(text, (size_t)(colon - text), "qemu", 4))
            return true;
        text += len + (text[len] ? 1 : 0);
    }
    return false;
}

/* isa-debug-exit makes the status (v << 1) | 1. So 1 is both a guest's 0, the clean end of many
 * guests, and QEMU's own failure: QEMU then says why on its standard error, the guest cannot write
 * there. 127 is a guest's 63 or a program that could not be loaded, told apart likewise. Values
 * above 127 lose their upper bits to the size of an exit status. */
static void qemu_decode(const struct vmm_machine *machine, int wait_status, const char *complaint,
                        struct vmm_exit *ret)
{
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;
    bool own = (status == EXIT_FAILURE || status == EXIT_LOADER) && complained(complaint);

    if (WIFSIGNALED(wait_status))
        *ret = (struct vmm_exit){.end = VMM_END_SIGNAL, .signal = WTERMSIG(wait_status)};
    else if (status == 0)
        *ret = (struct vmm_exit){.end = VMM_END_CLEAN};
    else if (has_pvpanic(machine) && status == EXIT_FAILURE && !own)
        *ret = (struct vmm_exit){.end = VMM_END_PANIC};
    else if (machine->debug_exit && (status & 1) && !own)
        *ret = (struct vmm_exit){.end = VMM_END_CODE, .guest_code = status >> 1};
    else
        *ret = (struct vmm_exit){.end = VMM_END_VMM_ERROR};
}

static uint32_t qemu_overhead(enum vmm_accel accel)
{
    return accel == ACCEL_KVM ? OVERHEAD_KVM_MIB : OVERHEAD_TCG_MIB;
}

/* A question on its way. */
struct ask {
    struct vmm_control *control;
    vmm_done done;
    void *userdata;
};

struct vmm_control {
    struct qmp *qmp;
};

static struct vmm_control *qemu_open(struct uv_loop_s *loop, const char *path)
{
    struct vmm_control *control = xcalloc(1, sizeof(*control));

    control->qmp = qmp_open(loop, path);
    return control;
}

static void qemu_close(struct vmm_control *control)
{
    qmp_close(control->qmp);
    free(control);
}

static void invoke(struct vmm_control *control, enum qmp_command command, qmp_reply reply,
                   vmm_done done, void *userdata)
{
    struct ask *ask = xcalloc(1, sizeof(*ask));

    *ask = (struct ask){control, done, userdata};
    qmp_invoke(control->qmp, command, reply, ask);
}

static void end_ask(struct ask *ask, int result, const char *text)
{
    struct ask copy = *ask;

    free(ask);
    copy.done(copy.userdata, result, text ? text : "");
}

static void on_powerdown(void *userdata, int result, const struct json *value, const char *text)
{
    (void)value;
    end_ask(userdata, result, text);
}

static void qemu_powerdown(struct vmm_control *control, vmm_done done, void *userdata)
{
    invoke(control, QMP_POWERDOWN, on_powerdown, done, userdata);
}

/* Halted with interrupts off: nothing will ever wake it. An idle guest halts with them on. */
static bool halted_for_ever(const char *registers)
{
    const char *halt = strstr(registers, "HLT=");
    const char *flags = strstr(registers, "RFL=");

    if (!flags)
        flags = strstr(registers, "EFL=");
    return halt && flags && halt[4] == '1' && !(strtoull(flags + 4, NULL, 16) & RFLAGS_IF);
}

static void on_registers(void *userdata, int result, const struct json *value, const char *text)
{
    const char *registers = json_string(value);

    if (result < 0)
        end_ask(userdata, result, text);
    else if (registers && halted_for_ever(registers))
        end_ask(userdata, 0, "halted with interrupts off");
    else
        end_ask(userdata, 1, "running");
}

static void on_status(void *userdata, int result, const struct json *value, const char *text)
{
    struct ask *ask = userdata;
    const char *status = json_get_string(value, "status");

    if (result < 0)
        end_ask(ask, result, text);
    else if (!str_eq(status, "running"))
        end_ask(ask, 0, status ? status : "unknown");
    else
        qmp_invoke(ask->control->qmp, QMP_INFO_REGISTERS, on_registers, ask);
}

static void qemu_query(struct vmm_control *control, vmm_done done, void *userdata)
{
    invoke(control, QMP_QUERY_STATUS, on_status, done, userdata);
}

const struct vmm_ops vmm_qemu = {
    .name = "qemu",
    .probe = qemu_probe,
    .describe = qemu_describe,
    .decode = qemu_decode,
    .overhead_mib = qemu_overhead,
    .open = qemu_open,
    .close = qemu_close,
    .powerdown = qemu_powerdown,
    .query = qemu_query,
};
