/* Linux as a guest: kernel parameters, ip=, environment and arguments for init, and how it ends.
 * Its initrd is the image's and must configure the interface from ip= where the kernel has no
 * IP_PNP (Debian's has not). Rules as in Linux' kernel/params.c, lib/cmdline.c and init/main.c. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/guest_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define BYTES_MAX 2048 /* COMMAND_LINE_SIZE on x86, with the NUL */
/* CONFIG_INIT_ENV_ARG_LIMIT is 32 for each, past it the kernel panics; HOME, TERM and what our own
 * parameters become when the kernel does not know them take their share. */
#define ENV_MAX 26
#define ARGS_MAX 30
#define DNS_MAX 2

#define TSC_MEASURE_NS 2000000

struct line {
    struct buf text;
};

/* Linux knows double quotes and no escape: next_arg() strips them round a whole word. */
static void add_token(struct line *line, const char *text)
{
    const char *quote = (*text == '\0' || strpbrk(text, " \t")) ? "\"" : "";

    if (line->text.len)
        buf_addc(&line->text, ' ');
    buf_addf(&line->text, "%s%s%s", quote, text, quote);
}

static int check_text(const char *what, const char *text, struct err *err)
{
    if (guest_control_char(text) || strchr(text, '"'))
        return err_spec(err, -EINVAL,
                        "%s has a line break, control character or double quote, which a Linux "
                        "command line cannot carry",
                        what);
    return 0;
}

/* The frequency of the time stamp counter as this host sees it, which under TCG is the guest's too.
 * Without it about one boot in twelve hangs there: "could not calculate TSC khz". 2 ms against the
 * monotonic clock is exact to some 50 ppm. 0: unknown. */
static uint64_t tsc_khz(void)
{
#if defined(__x86_64__)
    struct timespec from;
    struct timespec to;
    uint64_t ticks;
    int64_t ns;

    clock_gettime(CLOCK_MONOTONIC_RAW, &from);
    ticks = __rdtsc();
    do {
        clock_gettime(CLOCK_MONOTONIC_RAW, &to);
        ns = (to.tv_sec - from.tv_sec) * 1000000000LL + (to.tv_nsec - from.tv_nsec);
    } while (ns < TSC_MEASURE_NS);
    ticks = __rdtsc() - ticks;
    return ticks * 1000000u / (uint64_t)ns;
#else
    return 0;
#endif
}

/* ip=CLIENT::GATEWAY:MASK:HOST:DEVICE:off:DNS0:DNS1 (Documentation/admin-guide/nfs/nfsroot). */
static int add_net(struct line *line, const struct guest_net *net, struct err *err)
{
    const char *dns[DNS_MAX] = {"", ""};
    size_t dns_len = 0;
    char mask[16];

    if (net->hostname && strpbrk(net->hostname, ": \t\""))
        return err_spec(err, -EINVAL, "the host name %s cannot go into ip=", net->hostname);
    for (size_t i = 0; i < net->dns_len && dns_len < DNS_MAX; i++)
        if (guest_is_ipv4(net->dns[i]))
            dns[dns_len++] = net->dns[i];
    guest_netmask(net->prefix_len, mask);
    buf_addf(&line->text, " ip=%s::%s:%s:%s:eth0:off", net->ip, net->gateway ? net->gateway : "",
             mask, net->hostname ? net->hostname : "");
    for (size_t i = 0; i < dns_len; i++)
        buf_addf(&line->text, ":%s", dns[i]);
    return 0;
}

/* ip6=ADDRESS/PREFIX,GATEWAY,DNS0,DNS1: ours, because ip= has no place for it. The kernel hands it
 * to init as an environment variable. */
static void add_net6(struct line *line, const struct guest_net *net, const char *ip,
                     uint32_t prefix_len, const char *gateway)
{
    size_t count = 0;

    buf_addf(&line->text, " ip6=%s/%u,%s", ip, prefix_len, gateway ? gateway : "");
    for (size_t i = 0; i < net->dns_len && count < DNS_MAX; i++)
        if (strchr(net->dns[i], ':')) {
            buf_addf(&line->text, ",%s", net->dns[i]);
            count++;
        }
}

/* hostname= is the kernel's own since 5.19, and where it is not init has it as a variable. */
static int add_families(struct line *line, const struct guest_net *net, struct err *err)
{
    bool four = guest_is_ipv4(net->ip) && net->prefix_len <= 32;
    int r = 0;

    if (four)
        r = add_net(line, net, err);
    else
        add_net6(line, net, net->ip, net->prefix_len, net->gateway);
    if (!four && !str_empty(net->hostname))
        buf_addf(&line->text, " hostname=%s", net->hostname);
    if (four && !str_empty(net->ip6))
        add_net6(line, net, net->ip6, net->prefix6_len, net->gateway6);
    return r;
}

/* For init, which mounts them: no parameter of the kernel's own names more than one. */
static int add_mounts(struct line *line, const struct guest_input *input, struct err *err)
{
    for (size_t i = 0; i < input->mounts_len; i++) {
        const struct guest_mount *mount = &input->mounts[i];
        CLEANUP(free)
        char *token = xasprintf("unikubelet.mount=%s:%s:%s", mount->tag,
                                mount->read_only ? "ro" : "rw", mount->path);
        int r = check_text("mountPath", mount->path, err);

        if (r < 0)
            return r;
        add_token(line, token);
    }
    return 0;
}

/* An unknown parameter with a value becomes an environment variable of init. */
static int add_env(struct line *line, const struct guest_input *input, struct err *err)
{
    if (input->env_len > ENV_MAX)
        return err_spec(err, -E2BIG,
                        "%zu environment variables, but Linux hands %d to init: set "
                        "enableServiceLinks: false or use fewer",
                        input->env_len, ENV_MAX);
    for (size_t i = 0; i < input->env_len; i++) {
        const struct guest_env *env = &input->env[i];
        CLEANUP(free) char *what = xasprintf("environment variable %s", env->key);
        CLEANUP(free) char *pair = xasprintf("%s=%s", env->key, env->value);
        int r = check_text(what, pair, err);

        if (r < 0)
            return r;
        if (str_empty(env->key) || strpbrk(env->key, ". \t"))
            return err_spec(err, -EINVAL,
                            "environment variable \"%s\": Linux does not hand names with a dot or "
                            "white space to init",
                            env->key);
        add_token(line, pair);
    }
    return 0;
}

static int add_args(struct line *line, const struct guest_input *input, struct err *err)
{
    if (input->argv_len == 0)
        return 0;
    if (input->argv_len > ARGS_MAX)
        return err_spec(err, -E2BIG, "%zu arguments, but Linux hands %d to init", input->argv_len,
                        ARGS_MAX);
    buf_adds(&line->text, " --");
    for (size_t i = 0; i < input->argv_len; i++) {
        char what[32];
        int r;

        str_fmt(what, sizeof(what), "argument %zu", i + 1);
        r = check_text(what, input->argv[i], err);
        if (r < 0)
            return r;
        if (str_eq(input->argv[i], "--"))
            return err_spec(err, -EINVAL, "argument %zu is \"--\", at which Linux stops reading",
                            i + 1);
        add_token(line, input->argv[i]);
    }
    return 0;
}

static int linux_cmdline(const struct guest_input *input, struct buf *out, struct err *err)
{
    struct line line = {.text = BUF_INIT(64 * 1024)};
    uint64_t khz = tsc_khz();
    int r = 0;

    buf_adds(&line.text, "console=ttyS0 panic=-1");
    if (khz)
        buf_addf(&line.text, " tsc_early_khz=%llu", (unsigned long long)khz);
    if (input->net && input->net->ip)
        r = add_families(&line, input->net, err);
    if (r >= 0)
        r = add_mounts(&line, input, err);
    if (r >= 0)
        r = add_env(&line, input, err);
    if (r >= 0)
        r = add_args(&line, input, err);
    if (r >= 0 && (line.text.overflow || line.text.len >= BYTES_MAX))
        r = err_spec(err, -E2BIG,
                     "the command line has %zu bytes, Linux takes %d: use fewer or "
                     "shorter arguments and variables (enableServiceLinks: false)",
                     line.text.len, BYTES_MAX - 1);
    if (r >= 0 && buf_add(out, line.text.data, line.text.len) < 0)
        r = err_spec(err, -E2BIG, "the command line has %zu bytes, too many", line.text.len);
    buf_free(&line.text);
    return r;
}

/* "Attempted to kill init! exitcode=0x00000300": the wait status of a program that ran as init. */
static bool init_ended(const char *tail, struct guest_exit *ret)
{
    const char *text = guest_tail_after(tail, "Attempted to kill init! exitcode=0x");
    unsigned long status;
    char *end = NULL;

    if (!text)
        return false;
    status = strtoul(text, &end, 16);
    if (end == text)
        return false;
    if (status & 0x7f)
        *ret = (struct guest_exit){.exit_code = 128 + (int)(status & 0x7f),
                                   .signal = (int)(status & 0x7f)};
    else
        *ret = (struct guest_exit){.exit_code = (int)((status >> 8) & 0xff)};
    return true;
}

/* A power-off carries no code: init may say "unikubelet: exit N" on the console before it. */
static void linux_decode(const struct vmm_exit *end, bool stop_was_asked, const char *tail,
                         struct guest_exit *ret)
{
    const char *text = guest_tail_after(tail, "unikubelet: exit ");
    char *stop = NULL;
    long code = text ? strtol(text, &stop, 10) : 0;

    /* The end of init is a panic as well, and the console has its exit code. */
    if (end->end != VMM_END_PANIC && guest_decode_vmm(end, ret))
        return;
    if (text && stop != text) {
        *ret = (struct guest_exit){.exit_code = (int)((unsigned long)code & 0xff)};
        return;
    }
    if (init_ended(tail, ret))
        return;
    if (!stop_was_asked &&
        (end->end == VMM_END_PANIC || guest_tail_after(tail, "Kernel panic - not syncing"))) {
        guest_decode_crash("the guest's kernel panicked", tail, ret);
        return;
    }
    *ret = (struct guest_exit){.exit_code = end->end == VMM_END_CODE ? end->guest_code : 0};
}

const struct guest_ops guest_linux = {
    .kind = "linux",
    .board = BOARD_MICROVM_ACPI,
    .stop = GUEST_STOP_POWERDOWN,
    .debug_exit = false,
    .ipv6 = true,
    .memory_mib_min = 96, /* Debian's cloud kernel: 64 MiB die before the first line, 72 boot */
    .cmdline = linux_cmdline,
    .decode = linux_decode,
};
