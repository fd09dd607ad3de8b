/* Unikraft: its command line as lib/ukargparse, lib/uklibparam and lib/ukboot read it, and how it
 * ends. Not here: which VMM, how files get in. Every rule below is one of that parser's traps: what
 * it would drop in silence is refused before launch. See docs/guests.md. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/guest_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Defaults of the kernel's KConfig; an image packed with its KConfig may say otherwise. */
#define TOKENS_DEFAULT 60  /* LIBUKBOOT_MAXNBARGS: what comes after is not seen, "--" included */
#define BYTES_DEFAULT 4096 /* LIBUKBOOT_CMDLINE_MAX_LEN: longer ones fail to boot */
#define ENV_DEFAULT 8      /* LIBPOSIX_ENVIRON_LIBPARAM_MAXCOUNT: the rest is dropped */
#define TOKENS_LIMIT 4096  /* against a foolish KConfig */
#define BYTES_LIMIT 65536

/* QEMU's multiboot loader puts the kernel's path before our text: one token, these bytes. */
#define LOADER_TOKENS 1
#define LOADER_BYTES 256

/* microvm without ACPI fills its eight transports from the last on: NIC first, then the
 * disk, then the shares. */
#define MMIO_SLOTS 8u
#define MMIO_BASE 0xfeb00000u
#define MMIO_BYTES 0x200u
#define MMIO_IRQ 5u

#define DNS_MAX 2 /* places in netdev.ip */

/* isa-debug-exit values of plat/common/x86: 41 after a halt, 42 after a crash. */
#define DEBUG_EXIT_HALT 41
#define DEBUG_EXIT_CRASH 42

struct line {
    struct buf text;
    size_t tokens;
    size_t params;
};

/* Both generations of the parser read this alike: the old one knows quotes but no backslash, the
 * new one takes backslashes literally only inside single quotes. So: single quotes round
 * everything, and each single quote in double quotes. */
static void add_quoted(struct buf *out, const char *text)
{
    if (!strpbrk(text, " \t\v'\"\\")) {
        buf_adds(out, text);
        return;
    }
    while (*text) {
        size_t plain = strcspn(text, "'");
        size_t quotes = strspn(text + plain, "'");

        if (plain) {
            buf_addc(out, '\'');
            buf_add(out, text, plain);
            buf_addc(out, '\'');
        }
        if (quotes) {
            buf_addc(out, '"');
            buf_add(out, text + plain, quotes);
            buf_addc(out, '"');
        }
        text += plain + quotes;
    }
}

static void add_token(struct line *line, const char *text)
{
    if (line->tokens++)
        buf_addc(&line->text, ' ');
    add_quoted(&line->text, text);
}

static void add_param(struct line *line, const char *param, const char *value)
{
    CLEANUP(free) char *token = xasprintf("%s=%s", param, value);

    add_token(line, token);
    line->params++;
}

/* argv[0] of a loader that gives none; with multiboot it is a parameter without a dot, ignored. */
static void add_name(struct line *line, const char *name)
{
    char clean[64];
    size_t len = 0;

    for (const char *p = str_empty(name) ? "unikraft" : name; *p && len + 1 < sizeof(clean); p++) {
        bool fine = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                    (*p >= '0' && *p <= '9') || *p == '-' || *p == '_';

        clean[len++] = fine ? *p : '_';
    }
    clean[len] = '\0';
    /* "help" among the parameters prints the usage and stops the boot, "--" ends them. */
    add_token(line, str_eq(clean, "help") || str_eq(clean, "--") ? "unikraft" : clean);
}

static int check_net(const struct guest_input *input, struct err *err)
{
    const struct guest_net *net = input->net;

    if (!guest_is_ipv4(net->ip) || net->prefix_len > 32)
        return err_spec(
            err, -EAFNOSUPPORT,
            "the Pod's address %s/%u is not IPv4, the only kind that a Unikraft command "
            "line carries",
            net->ip, net->prefix_len);
    if (!str_empty(net->gateway) && !guest_is_ipv4(net->gateway))
        return err_spec(err, -EAFNOSUPPORT, "the gateway %s is not IPv4", net->gateway);
    if (guest_features_complete(input) && !guest_feature(input, "LIBUKNETDEV_EINFO_LIBPARAM"))
        return err_spec(err, -ENOTSUP,
                        "the image's kernel takes no address from its command line: build it with "
                        "CONFIG_LIBUKNETDEV_EINFO_LIBPARAM=y");
    return 0;
}

/* netdev.ip=CIDR:GW:DNS0:DNS1:HOST:DOMAIN. Names with a colon in them would shift the rest. */
static int add_net(struct line *line, const struct guest_input *input, struct err *err)
{
    const struct guest_net *net = input->net;
    struct buf value = BUF_INIT(BYTES_LIMIT);
    const char *dns[DNS_MAX] = {"", ""};
    size_t dns_len = 0;
    size_t end;
    int r = check_net(input, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < net->dns_len && dns_len < DNS_MAX; i++)
        if (guest_is_ipv4(net->dns[i]))
            dns[dns_len++] = net->dns[i];
    if ((net->hostname && strpbrk(net->hostname, ": \t'\"\\[]")) ||
        (net->search && strpbrk(net->search, ": \t'\"\\[]")))
        return err_spec(err, -EINVAL, "host name or search domain cannot go into netdev.ip");

    buf_addf(&value, "%s/%u:%s:%s:%s:%s:%s", net->ip, net->prefix_len,
             net->gateway ? net->gateway : "", dns[0], dns[1], net->hostname ? net->hostname : "",
             net->search ? net->search : "");
    for (end = value.len; value.data[end - 1] == ':'; end--)
        ;
    value.data[end] = '\0';
    add_param(line, "netdev.ip", value.data);
    buf_free(&value);
    return 0;
}

/* Where the devices are, in the order of vmm_machine: the network, the disk, the shares. */
static void add_devices(struct line *line, const struct guest_input *input)
{
    size_t devices =
        input->mounts_len + (input->net && input->net->ip ? 1 : 0) + (input->has_disk ? 1 : 0);

    if (input->board != BOARD_MICROVM_NOACPI)
        return;
    for (size_t i = 0; i < devices && i < MMIO_SLOTS; i++) {
        uint32_t slot = MMIO_SLOTS - 1 - (uint32_t)i;
        char place[64];

        str_fmt(place, sizeof(place), "%u@0x%x:%u", MMIO_BYTES, MMIO_BASE + slot * MMIO_BYTES,
                MMIO_IRQ + slot);
        /* Two spellings, one per kind of build; each ignores the other's. */
        add_param(line, "virtio_mmio.device", place);
        add_param(line, "libvirtio_mmio.device", place);
    }
}

/* As kraft decides it: the kernel must look for an fstab. Unknown features: the default is yes. */
static int add_fstab(struct line *line, const struct guest_input *input, struct err *err)
{
    bool none = guest_features_complete(input) && !guest_feature(input, "LIBVFSCORE_FSTAB") &&
                !guest_feature(input, "LIBVFSCORE_AUTOMOUNT_UP");

    if (input->has_initrd && !none)
        add_param(line, "vfs.fstab", "initrd0:/:extract:::");
    if (input->mounts_len && none)
        return err_spec(err, -ENOTSUP,
                        "volumes: the image's kernel reads no vfs.fstab, build it with "
                        "CONFIG_LIBVFSCORE_FSTAB=y");
    for (size_t i = 0; i < input->mounts_len; i++) {
        const struct guest_mount *mount = &input->mounts[i];
        CLEANUP(free) char *entry = xasprintf("%s:%s:9pfs:::mkmp", mount->tag, mount->path);

        /* A colon would shift the fields, a bracket end the list. */
        if (strpbrk(mount->path, ":[]") || guest_control_char(mount->path))
            return err_spec(err, -EINVAL, "mountPath %s cannot go into vfs.fstab", mount->path);
        add_param(line, "vfs.fstab", entry);
    }
    return 0;
}

/* One variable is one env.vars=K=V: in the list form an element ending in ']' ends the list. */
static int add_env(struct line *line, const struct guest_input *input, struct err *err)
{
    uint64_t max = guest_feature_number(input, "LIBPOSIX_ENVIRON_LIBPARAM_MAXCOUNT", ENV_DEFAULT);
    bool takes =
        !guest_features_complete(input) || guest_feature(input, "LIBPOSIX_ENVIRON_LIBPARAM");
    uint64_t count = 0;

    for (size_t i = 0; i < input->env_len; i++) {
        const struct guest_env *env = &input->env[i];
        CLEANUP(free) char *pair = NULL;

        if (!takes && env->optional)
            continue;
        if (!takes)
            return err_spec(err, -ENOTSUP,
                            "environment variable %s: the image's kernel takes none, build it with "
                            "CONFIG_LIBPOSIX_ENVIRON_LIBPARAM=y",
                            env->key);
        if (guest_control_char(env->value) || guest_control_char(env->key))
            return err_spec(
                err, -EINVAL,
                "environment variable %s has a line break or control character, which a "
                "Unikraft command line cannot carry",
                env->key);
        if (str_empty(env->key) || env->key[0] == '[')
            return err_spec(err, -EINVAL,
                            "environment variable \"%s\": Unikraft would read its "
                            "name as a list",
                            env->key);
        count++;
        pair = xasprintf("%s=%s", env->key, env->value);
        add_param(line, "env.vars", pair);
    }
    if (count > max)
        return err_spec(err, -E2BIG,
                        "%llu environment variables, but the image's kernel takes %llu: set "
                        "enableServiceLinks: false, use fewer, or build it with a higher "
                        "CONFIG_LIBPOSIX_ENVIRON_LIBPARAM_MAXCOUNT and pack its KConfig",
                        (unsigned long long)count, (unsigned long long)max);
    return 0;
}

static int add_args(struct line *line, const struct guest_input *input, struct err *err)
{
    /* Parameters count only before a "--", and a "--" only after a parameter; a loader that brings
     * its own argv[0] makes ours an argument unless a "--" follows. So there is always a parameter;
     * this one is nobody's and only makes the kernel say so at its warning level. */
    if (line->params == 0)
        add_param(line, "unikubelet.args", "1");
    add_token(line, "--");
    for (size_t i = 0; i < input->argv_len; i++) {
        const char *arg = input->argv[i];

        if (guest_control_char(arg))
            return err_spec(err, -EINVAL,
                            "argument %zu has a line break or control character, which a Unikraft "
                            "command line cannot carry",
                            i + 1);
        if (arg[0] == '\0' || arg[0] == ' ' || arg[0] == '\t')
            return err_spec(err, -EINVAL,
                            "argument %zu is empty or begins with white space, which Unikraft's "
                            "command-line parser drops",
                            i + 1);
        add_token(line, arg);
    }
    return 0;
}

static int check_limits(const struct line *line, const struct guest_input *input, struct err *err)
{
    uint64_t tokens = guest_feature_number(input, "LIBUKBOOT_MAXNBARGS", TOKENS_DEFAULT);
    uint64_t bytes = guest_feature_number(input, "LIBUKBOOT_CMDLINE_MAX_LEN", BYTES_DEFAULT);

    if (tokens > TOKENS_LIMIT)
        tokens = TOKENS_LIMIT;
    if (bytes > BYTES_LIMIT)
        bytes = BYTES_LIMIT;
    if (line->tokens + LOADER_TOKENS > tokens)
        return err_spec(
            err, -E2BIG,
            "the command line has %zu words, Unikraft reads %llu and would ignore every "
            "parameter, the address too: use fewer arguments and variables "
            "(enableServiceLinks: false)",
            line->tokens + LOADER_TOKENS, (unsigned long long)tokens);
    if (line->text.overflow || line->text.len + LOADER_BYTES > bytes)
        return err_spec(err, -E2BIG,
                        "the command line has %zu bytes, Unikraft takes %llu (%d of them kept for "
                        "the loader): use fewer or shorter arguments and variables",
                        line->text.len, (unsigned long long)bytes, LOADER_BYTES);
    return 0;
}

static int unikraft_cmdline(const struct guest_input *input, struct buf *out, struct err *err)
{
    struct line line = {.text = BUF_INIT(BYTES_LIMIT)};
    int r = 0;

    add_name(&line, input->name);
    add_devices(&line, input);
    if (input->net && input->net->ip)
        r = add_net(&line, input, err);
    if (r >= 0)
        r = add_fstab(&line, input, err);
    if (r >= 0)
        r = add_env(&line, input, err);
    if (r >= 0)
        r = add_args(&line, input, err);
    if (r >= 0)
        r = check_limits(&line, input, err);
    if (r >= 0 && buf_add(out, line.text.data, line.text.len) < 0)
        r = err_spec(err, -E2BIG, "the command line has %zu bytes, too many", line.text.len);
    buf_free(&line.text);
    return r;
}

/* main's result is printed and dropped by the kernel: the console line is all there is. */
static int main_result(const char *tail)
{
    const char *text = guest_tail_after(tail, "main returned ");
    char *end = NULL;
    long value;

    if (!text)
        return 0;
    value = strtol(text, &end, 10);
    return end == text ? 0 : (int)((unsigned long)value & 0xff);
}

static void unikraft_decode(const struct vmm_exit *end, bool stop_was_asked, const char *tail,
                            struct guest_exit *ret)
{
    (void)stop_was_asked; /* there is no channel to ask by */
    if (guest_decode_vmm(end, ret))
        return;
    if (end->end == VMM_END_CODE && end->guest_code == DEBUG_EXIT_CRASH) {
        guest_decode_crash("the unikernel crashed", tail, ret);
        return;
    }
    *ret = (struct guest_exit){.exit_code = main_result(tail)};
    if (end->end == VMM_END_CODE && end->guest_code != DEBUG_EXIT_HALT) {
        ret->exit_code = end->guest_code;
        str_fmt(ret->message, sizeof(ret->message), "the guest wrote %d to its debug-exit port",
                end->guest_code);
    }
}

const struct guest_ops guest_unikraft = {
    .kind = "unikraft",
    .board = BOARD_MICROVM_NOACPI,
    .stop = GUEST_STOP_NONE,
    .debug_exit = true,
    .memory_mib_min = 8,
    .cmdline = unikraft_cmdline,
    .decode = unikraft_decode,
};
