/* QEMU behind vmm_ops: command lines and ends as tables, and real machines under TCG through the
 * shim, where the host has QEMU. */
#include "instance_fixture.h"
#include "tiny_guest.h"

#include "vmm-bridge/qemu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#define QEMU "/usr/bin/qemu-system-x86_64"

static char *join(const struct vmm_argv *argv)
{
    struct buf text = BUF_INIT(65536);

    for (size_t i = 0; i < argv->len; i++)
        (void)buf_addf(&text, "%s%s", i ? " " : "", argv->argv[i]);
    return buf_take(&text);
}

static const struct {
    struct vmm_config config;
    struct vmm_machine machine;
    const char *line;
} descriptions[] = {
    {{QEMU, ACCEL_TCG, true, 0},
     {.kernel = "/k",
      .initrd = "/i",
      .cmdline = "app a=b -- x y",
      .board = BOARD_MICROVM_NOACPI,
      .memory_mib = 32,
      .cpus = 1,
      .mac = "02:00:00:00:00:01",
      .mtu = 1500,
      .debug_exit = true,
      .name = "unik-1"},
     QEMU " -name unik-1 -nodefaults -no-user-config -display none -no-reboot"
          " -M microvm,acpi=off,auto-kernel-cmdline=off"
          " -accel tcg,thread=single,tb-size=32 -cpu max,-apic"
          " -global virtio-mmio.force-legacy=false -m 32 -smp 1"
          " -chardev stdio,id=con,signal=off -serial chardev:con"
          " -chardev socket,id=qmp,fd=4,server=on,wait=off -mon chardev=qmp,mode=control"
          " -device isa-debug-exit,iobase=0x501,iosize=2"
          " -netdev tap,id=n0,fd=3"
          " -device virtio-net-device,netdev=n0,mac=02:00:00:00:00:01"
          " -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
          " -kernel /k -initrd /i -append app a=b -- x y"},
    {{QEMU, ACCEL_KVM, false, 0},
     {.kernel = "/k",
      .cmdline = "console=ttyS0",
      .board = BOARD_MICROVM_ACPI,
      .memory_mib = 128,
      .cpus = 2,
      .name = "n"},
     QEMU " -name n -nodefaults -no-user-config -display none -no-reboot"
          " -M microvm,rtc=on -accel kvm -cpu host,-arch-capabilities"
          " -global virtio-mmio.force-legacy=false -m 128 -smp 2"
          " -chardev stdio,id=con,signal=off -serial chardev:con"
          " -chardev socket,id=qmp,fd=4,server=on,wait=off -mon chardev=qmp,mode=control"
          " -device pvpanic -action panic=exit-failure"
          " -kernel /k -append console=ttyS0"},
    {{QEMU, ACCEL_KVM, false, 0},
     {.kernel = "/k",
      .cmdline = "",
      .board = BOARD_MICROVM_ACPI,
      .memory_mib = 128,
      .cpus = 1,
      .mac = "02:00:00:00:00:01",
      .vhost = true,
      .name = "n"},
     QEMU " -name n -nodefaults -no-user-config -display none -no-reboot"
          " -M microvm,rtc=on -accel kvm -cpu host,-arch-capabilities"
          " -global virtio-mmio.force-legacy=false -m 128 -smp 1"
          " -chardev stdio,id=con,signal=off -serial chardev:con"
          " -chardev socket,id=qmp,fd=4,server=on,wait=off -mon chardev=qmp,mode=control"
          " -device pvpanic -action panic=exit-failure"
          " -netdev tap,id=n0,fd=3,vhost=on,vhostfd=5"
          " -device virtio-net-device,netdev=n0,mac=02:00:00:00:00:01"
          " -kernel /k -append "},
    {{QEMU, ACCEL_TCG, false, 0},
     {.kernel = "/k",
      .cmdline = "",
      .board = BOARD_PC,
      .memory_mib = 64,
      .cpus = 1,
      .disk = "/a,b/disk",
      .debug_exit = true,
      .debug_exit_port = 0xf4,
      .name = "n"},
     QEMU " -name n -nodefaults -no-user-config -display none -no-reboot"
          " -M pc -accel tcg,thread=single,tb-size=32 -cpu max -m 64 -smp 1"
          " -chardev stdio,id=con,signal=off -serial chardev:con"
          " -chardev socket,id=qmp,fd=4,server=on,wait=off -mon chardev=qmp,mode=control"
          " -device isa-debug-exit,iobase=0xf4,iosize=4"
          " -drive if=none,id=d0,format=raw,snapshot=on,file.locking=off,file=/a,,b/disk"
          " -device virtio-blk-pci,drive=d0"
          " -kernel /k -append "},
    {{QEMU, ACCEL_TCG, false, 0},
     {.kernel = "/k",
      .cmdline = "",
      .board = BOARD_Q35,
      .memory_mib = 64,
      .cpus = 1,
      .mac = "02:00:00:00:00:02",
      .mtu = 1450,
      .name = "n"},
     QEMU " -name n -nodefaults -no-user-config -display none -no-reboot"
          " -M q35 -accel tcg,thread=single,tb-size=32 -cpu max -m 64 -smp 1"
          " -chardev stdio,id=con,signal=off -serial chardev:con"
          " -chardev socket,id=qmp,fd=4,server=on,wait=off -mon chardev=qmp,mode=control"
          " -device pvpanic -action panic=exit-failure -netdev tap,id=n0,fd=3"
          " -device virtio-net-pci,netdev=n0,mac=02:00:00:00:00:02,host_mtu=1450,romfile="
          " -kernel /k -append "},
};

static void test_describe(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(descriptions); i++) {
        struct vmm_argv argv = {.len = 0};
        struct err err = {0};

        assert_int_equal(
            vmm_qemu.describe(&descriptions[i].config, &descriptions[i].machine, &argv, &err), 0);

        CLEANUP(free) char *line = join(&argv);

        assert_string_equal(line, descriptions[i].line);
        vmm_argv_free(&argv);
    }
}

static void test_describe_refuses(void **state)
{
    const struct vmm_config config = {QEMU, ACCEL_TCG, false, 0};
    struct vmm_machine machine = {
        .kernel = "/k", .cmdline = "", .memory_mib = 32, .cpus = 1, .name = "a,b=c"};
    struct vmm_argv argv = {.len = 0};
    struct err err = {0};

    (void)state;
    assert_int_equal(vmm_qemu.describe(&config, &machine, &argv, &err), -EINVAL);
    machine.name = "n";
    machine.memory_mib = 0;
    assert_int_equal(vmm_qemu.describe(&config, &machine, &argv, &err), -EINVAL);
    machine.memory_mib = 32;

    CLEANUP(free) char *huge = xmalloc(200 * 1024);

    memset(huge, 'x', 200 * 1024 - 1);
    huge[200 * 1024 - 1] = '\0';
    machine.cmdline = huge;
    assert_int_equal(vmm_qemu.describe(&config, &machine, &argv, &err), -E2BIG);
    assert_int_equal(err.kind, ERR_SPEC);
    assert_int_equal(argv.len, 0);
}

static void test_decode(void **state)
{
    static const struct {
        int wait_status;
        bool debug_exit;
        const char *complaint;
        struct vmm_exit want;
    } cases[] = {
        {0, true, "", {VMM_END_CLEAN, 0, 0}},
        {0,
         true,
         "qemu-system-x86_64: terminating on signal 15 from pid 1\n",
         {VMM_END_CLEAN, 0, 0}},
        {1 << 8, true, "", {VMM_END_CODE, 0, 0}},
        {1 << 8,
         true,
         "qemu-system-x86_64: warning: TCG doesn't support requested feature\n",
         {VMM_END_CODE, 0, 0}},
        {1 << 8, true, "qemu-system-x86_64: -m 1: invalid\n", {VMM_END_VMM_ERROR, 0, 0}},
        {1 << 8,
         true,
         "qemu-system-x86_64: warning: x\nqemu-system-x86_64: could not load y\n",
         {VMM_END_VMM_ERROR, 0, 0}},
        {1 << 8, false, "", {VMM_END_VMM_ERROR, 0, 0}},
        {15 << 8, true, "", {VMM_END_CODE, 7, 0}},
        {83 << 8, true, "", {VMM_END_CODE, 41, 0}},
        {127 << 8, true, "", {VMM_END_CODE, 63, 0}},
        {127 << 8,
         true,
         "/usr/bin/qemu-system-x86_64: error while loading shared libraries: x\n",
         {VMM_END_VMM_ERROR, 0, 0}},
        {255 << 8, true, "", {VMM_END_CODE, 127, 0}},
        {2 << 8, true, "", {VMM_END_VMM_ERROR, 0, 0}},
        {SIGKILL, true, "", {VMM_END_SIGNAL, 0, SIGKILL}},
        {SIGABRT | 0x80, true, "", {VMM_END_SIGNAL, 0, SIGABRT}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct vmm_machine machine = {.debug_exit = cases[i].debug_exit};
        struct vmm_exit got = {0};

        vmm_qemu.decode(&machine, cases[i].wait_status, cases[i].complaint, &got);
        assert_int_equal(got.end, cases[i].want.end);
        assert_int_equal(got.guest_code, cases[i].want.guest_code);
        assert_int_equal(got.signal, cases[i].want.signal);
    }
}

/* Status 1 of a machine that has pvpanic. */
static void test_decode_panic(void **state)
{
    const struct vmm_machine machine = {.board = BOARD_Q35};
    struct vmm_exit got = {0};

    (void)state;
    vmm_qemu.decode(&machine, 1 << 8, "", &got);
    assert_int_equal(got.end, VMM_END_PANIC);
    vmm_qemu.decode(&machine, 1 << 8, "qemu-system-x86_64: could not load y\n", &got);
    assert_int_equal(got.end, VMM_END_VMM_ERROR);
    vmm_qemu.decode(&machine, 2 << 8, "", &got);
    assert_int_equal(got.end, VMM_END_VMM_ERROR);
}

static void test_versions(void **state)
{
    CLEANUP(free)
    char *version =
        qemu_parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright\n");

    (void)state;
    assert_string_equal(version, "10.0.2");
    assert_null(qemu_parse_version("bash, version 5\n"));
    assert_null(qemu_parse_version("QEMU emulator version \n"));
    assert_int_equal(qemu_version_at_least("7.2.22", 7, 2), 0);
    assert_int_equal(qemu_version_at_least("10.0.2", 7, 2), 0);
    assert_int_equal(qemu_version_at_least("7.1.9", 7, 2), -1);
    assert_int_equal(qemu_version_at_least("6.9", 7, 2), -1);
    assert_true(qemu_help_lists("x\nmicrovm   microvm (i386)\n", "microvm"));
    assert_false(qemu_help_lists("microvm2  other\n", "microvm"));
    assert_true(qemu_help_lists("Accelerators:\ntcg\nkvm\n", "kvm"));
}

static bool have_qemu(void)
{
    struct stat info;

    return stat(QEMU, &info) == 0;
}

static void test_probe(void **state)
{
    struct vmm_config config = {QEMU, ACCEL_TCG, false, 0};
    enum vmm_accel accel = ACCEL_AUTO;
    CLEANUP(free) char *version = NULL;
    struct err err = {0};

    (void)state;
    if (!have_qemu())
        skip();
    assert_int_equal(vmm_qemu.probe(&config, &accel, &version, &err), 0);
    assert_int_equal(accel, ACCEL_TCG);
    assert_int_equal(qemu_version_at_least(version, 7, 2), 0);
    config.binary = "/bin/true";
    assert_int_equal(vmm_qemu.probe(&config, &accel, &version, &err), -ENOEXEC);
    assert_string_equal(err.text, "/bin/true is no QEMU");
    config.binary = "/bin/false";
    assert_int_equal(vmm_qemu.probe(&config, &accel, &version, &err), -ENOEXEC);
    assert_non_null(strstr(err.text, "/bin/false --version failed: "));
    config.binary = "/bin/uname"; /* knows no "-machine", and says so in three lines */
    assert_int_equal(vmm_qemu.probe(&config, &accel, &version, &err), -ENOEXEC);
    assert_null(strchr(err.text, '\n'));
    config.binary = "/nonexistent";
    assert_int_equal(vmm_qemu.probe(&config, &accel, &version, &err), -ENOENT);
}

/* We are root, the machine is not: it cannot open what is root's alone. */
static void test_probe_for_the_user(void **state)
{
    struct vmm_config config = {QEMU, ACCEL_AUTO, false, 65534};
    enum vmm_accel accel = ACCEL_AUTO;
    CLEANUP(free) char *version = NULL;
    CLEANUP(free) char *again = NULL;
    struct err err = {0};
    struct stat info;

    (void)state;
    if (!have_qemu() || !qemu_kvm_usable(0, NULL) || stat("/dev/kvm", &info) < 0 ||
        (info.st_mode & 0006) == 0006 || ((info.st_mode & 0060) == 0060 && info.st_gid != 0))
        skip();
    assert_int_equal(vmm_qemu.probe(&config, &accel, &version, &err), 0);
    assert_int_equal(accel, ACCEL_TCG);
    config.accel = ACCEL_KVM;
    assert_int_equal(vmm_qemu.probe(&config, &accel, &again, &err), -EACCES);
    assert_non_null(strstr(err.text, "does not open for user 65534"));
}

/* A world on real QEMU with one tiny guest in it. */
static void qemu_open_world(struct world *world, const char *text, int code, char *ret_kernel)
{
    world_open(world);
    assert_int_equal(chmod(world->base, 0755), 0); /* the VMM's user reads the kernel */
    str_fmt(ret_kernel, PATH_MAX, "%s/kernel", world->base);
    assert_int_equal(tiny_guest_write(ret_kernel, text, code), 0);
    world->config.vmm = &vmm_qemu;
    world->config.vmm_config = (struct vmm_config){QEMU, ACCEL_TCG, true, 0};
    if (getuid() == 0)
        world->config.vmm_uid = world->config.vmm_gid = 65534;
    world_reopen(world);
}

static void qemu_launch(struct world *world, const char *kernel, const char *guest,
                        struct seen *seen)
{
    struct instance_spec spec = {
        .id = test_id(1),
        .pod_uid = "u",
        .container = "c",
        .log_path = log_path(world, 1),
        .guest = guest_find(guest),
        .machine = {.kernel = kernel,
                    .cmdline = "x",
                    .board = BOARD_MICROVM_NOACPI,
                    .memory_mib = 32,
                    .cpus = 1,
                    .debug_exit = true,
                    .name = "unik-test"},
        .cpu_limit_milli = -1,
        .cpu_request_milli = -1,
    };
    struct err err = {0};

    assert_int_equal(instance_launch(world->all, &spec, &seen_ops, seen, &seen->instance, &err), 0);
}

static void run_to_end(const char *text, int code, const char *guest, int want_code)
{
    struct world world;
    struct seen seen = {0};
    char kernel[PATH_MAX];

    qemu_open_world(&world, text, code, kernel);
    qemu_launch(&world, kernel, guest, &seen);
    WAIT_FOR(&world, seen.exited || seen.failed || seen.lost);
    assert_int_equal(seen.exited, 1);
    assert_int_equal(seen.running, 1);
    if (seen.end.exit.exit_code != want_code)
        print_error("%s\n", seen.end.exit.message);
    assert_int_equal(seen.end.exit.exit_code, want_code);

    CLEANUP(free) char *log = log_text(&world, 1);

    assert_string_equal(log, "stdout F hello\n");
    instance_release(seen.instance);
    world_close(&world);
}

static void test_boots(void **state)
{
    (void)state;
    if (!have_qemu())
        skip();
    run_to_end("hello\r\n", 7, "linux", 7);
    run_to_end("hello\r\n", 0, "linux", 0);
    run_to_end("hello", 41, "unikraft", 0); /* no newline at the end: the line is kept */
}

/* What a kernel does that finds the device: a byte with its first bit to port 0x505. The machine
 * ends with it, whatever its console says. */
static void test_guest_that_panics(void **state)
{
    static const enum vmm_board boards[] = {BOARD_MICROVM_ACPI, BOARD_PC, BOARD_Q35};

    (void)state;
    if (!have_qemu())
        skip();
    for (size_t i = 0; i < ARRAY_LEN(boards); i++) {
        struct world world;
        struct seen seen = {0};
        struct err err = {0};
        char kernel[PATH_MAX];
        struct instance_spec spec = {
            .id = test_id(1),
            .pod_uid = "u",
            .container = "c",
            .guest = guest_find(i == 0 ? "linux" : "osv"),
            .machine = {.kernel = kernel,
                        .cmdline = "x",
                        .board = boards[i],
                        .memory_mib = 32,
                        .cpus = 1,
                        .name = "unik-test"},
            .cpu_limit_milli = -1,
            .cpu_request_milli = -1,
        };

        qemu_open_world(&world, "", 0, kernel);
        assert_int_equal(tiny_guest_write_to(kernel, "help\r\n", 1, 0x505), 0);
        spec.log_path = log_path(&world, 1);
        assert_int_equal(instance_launch(world.all, &spec, &seen_ops, &seen, &seen.instance, &err),
                         0);
        WAIT_FOR(&world, seen.exited || seen.failed || seen.lost);
        assert_int_equal(seen.exited, 1);
        assert_int_equal(seen.end.exit.exit_code, 134);
        assert_string_equal(seen.end.exit.reason, "Error");
        assert_non_null(strstr(seen.end.exit.message, "last console lines: help"));
        instance_release(seen.instance);
        world_close(&world);
    }
}

/* On a host whose KVM works the guest's fault is a reset, on one whose KVM emulates instructions it
 * stops the machine for ever while QEMU stays: both have to be ends. */
static void test_kvm_that_cannot_go_on(void **state)
{
    struct world world;
    struct seen seen = {0};
    char kernel[PATH_MAX];

    (void)state;
    if (!have_qemu() || getuid() != 0 || !qemu_kvm_usable(0, NULL))
        skip();
    qemu_open_world(&world, "hello\r\n", TINY_TRAPS, kernel);
    world.config.vmm_config.accel = ACCEL_KVM;
    world.config.vmm_uid = world.config.vmm_gid = 0; /* the device may be root's alone */
    world_reopen(&world);
    qemu_launch(&world, kernel, "linux", &seen);
    WAIT_FOR(&world, seen.exited || seen.failed || seen.lost);
    assert_int_equal(seen.exited, 1);
    if (seen.end.exit.exit_code != 0) {
        assert_int_equal(seen.end.exit.exit_code, 134);
        assert_string_equal(seen.end.exit.reason, "Error");
        assert_non_null(strstr(seen.end.exit.message, "cannot go on: KVM internal error"));
    }

    CLEANUP(free) char *log = log_text(&world, 1);

    assert_string_equal(log, "stdout F hello\n");
    instance_release(seen.instance);
    world_close(&world);
}

static void test_bad_kernel(void **state)
{
    struct world world;
    struct seen seen = {0};
    char kernel[PATH_MAX];

    (void)state;
    if (!have_qemu())
        skip();
    qemu_open_world(&world, "", 0, kernel);
    assert_int_equal(file_write_atomic(kernel, "not a kernel", 12, 0644), 0);
    qemu_launch(&world, kernel, "unikraft", &seen);
    WAIT_FOR(&world, seen.exited || seen.failed || seen.lost);
    assert_int_equal(seen.exited, 1);
    assert_int_equal(seen.end.exit.exit_code, 128);
    assert_string_equal(seen.end.exit.reason, "StartError");
    assert_non_null(strstr(seen.end.exit.message, "the virtual machine monitor failed: qemu"));
    instance_release(seen.instance);
    world_close(&world);
}

/* One line of /proc/<pid>/status holds the text. */
static void assert_status(pid_t pid, const char *line)
{
    CLEANUP(buf) struct buf text = BUF_INIT(65536);
    char path[64];

    str_fmt(path, sizeof(path), "/proc/%d/status", (int)pid);
    assert_int_equal(file_read(path, &text), 0);
    if (!strstr(buf_str(&text), line))
        print_error("no \"%s\" in\n%s", line, buf_str(&text));
    assert_non_null(strstr(buf_str(&text), line));
}

struct answer {
    int count;
    int result;
    char text[128];
};

static void on_answer(void *userdata, int result, const char *text)
{
    struct answer *answer = userdata;

    answer->count++;
    answer->result = result;
    str_copy(answer->text, sizeof(answer->text), text);
}

static bool log_has(const struct world *world, int n, const char *word)
{
    CLEANUP(buf) struct buf text = BUF_INIT(1 << 20);

    return file_read(log_path(world, n), &text) == 0 && strstr(buf_str(&text), word);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer; /* it only turns the loop */
}

static void test_control_and_privileges(void **state)
{
    struct world world;
    struct seen seen = {0};
    struct answer answer = {0};
    struct vmm_control *control;
    char kernel[PATH_MAX];
    char path[INSTANCE_PATH_MAX];
    uv_timer_t tick;

    (void)state;
    if (!have_qemu())
        skip();
    qemu_open_world(&world, "up\n", TINY_STAYS, kernel);
    qemu_launch(&world, kernel, "linux", &seen);
    (void)uv_timer_init(&world.loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 5, 5);
    WAIT_FOR(&world, log_has(&world, 1, "up")); /* nothing announces text in the file */
    uv_close((uv_handle_t *)&tick, NULL);
    if (getuid() == 0) {
        pid_t pid = instance_pid(seen.instance);

        assert_status(pid, "Uid:\t65534\t65534\t65534\t65534\n");
        assert_status(pid, "Gid:\t65534\t65534\t65534\t65534\n");
        assert_status(pid, "Groups:\t \n");
        assert_status(pid, "CapEff:\t0000000000000000\n");
        assert_status(pid, "CapBnd:\t0000000000000000\n");
        assert_status(pid, "NoNewPrivs:\t1\n");
        assert_status(pid, "Seccomp:\t2\n");
    }
    assert_int_equal(instance_path(world.all, test_id(1), SHIM_FILE_CONTROL, path, sizeof(path)),
                     0);
    control = vmm_qemu.open(&world.loop, path);
    vmm_qemu.query(control, on_answer, &answer);
    WAIT_FOR(&world, answer.count == 1);
    assert_string_equal(answer.text, "halted with interrupts off");
    assert_int_equal(answer.result, 0);
    vmm_qemu.powerdown(control, on_answer, &answer);
    WAIT_FOR(&world, answer.count == 2);
    assert_int_equal(answer.result, 0);
    vmm_qemu.query(control, on_answer, &answer);
    vmm_qemu.close(control); /* a question under way is answered all the same */
    assert_int_equal(answer.count, 3);
    assert_int_equal(answer.result, -ECANCELED);
    instance_kill(seen.instance);
    WAIT_FOR(&world, seen.exited);
    assert_int_equal(seen.end.exit.exit_code, 137);
    instance_release(seen.instance);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_describe_refuses),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_boots),
        cmocka_unit_test(test_guest_that_panics),
        cmocka_unit_test(test_decode_panic),
        cmocka_unit_test(test_bad_kernel),
        cmocka_unit_test(test_control_and_privileges),
        cmocka_unit_test(test_kvm_that_cannot_go_on),
        cmocka_unit_test(test_probe_for_the_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
