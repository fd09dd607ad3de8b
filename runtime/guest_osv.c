/* OSv: loader.elf or kernel.elf and a disk (usr.img). Options of the loader, then the application
 * and its arguments (OSv's loader.cc, core/commands.cc, scripts/firecracker.py). Its parser knows
 * double quotes and takes ; & and ! as divisions between programs. */
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/guest_int.h"

#include <errno.h>
#include <string.h>

#define BYTES_MAX 2047 /* what the kernel keeps of it when it boots as Linux does */

static int check_text(const char *what, size_t number, const char *text, const char *bad,
                      struct err *err)
{
    if (!guest_control_char(text) && !strpbrk(text, bad))
        return 0;
    return err_spec(err, -EINVAL,
                    "%s %zu has a control character or one of %s (white space in a variable's "
                    "value included), which an OSv command line cannot carry",
                    what, number, "\" \\");
}

static int add_net(struct buf *out, const struct guest_net *net, struct err *err)
{
    char mask[16];
    int r = guest_check_ipv4(net, "an OSv", err);

    if (r < 0)
        return r;
    guest_netmask(net->prefix_len, mask);
    buf_addf(out, " --ip=eth0,%s,%s", net->ip, mask);
    if (!str_empty(net->gateway))
        buf_addf(out, " --defaultgw=%s", net->gateway);
    for (size_t i = 0; i < net->dns_len; i++)
        if (guest_is_ipv4(net->dns[i])) { /* it takes one */
            buf_addf(out, " --nameserver=%s", net->dns[i]);
            break;
        }
    return 0;
}

static int add_words(struct buf *out, const struct guest_input *input, struct err *err)
{
    for (size_t i = 0; i < input->env_len; i++) {
        const struct guest_env *env = &input->env[i];
        int r = check_text("environment variable", i + 1, env->value, "\"\\ \t", err);

        if (r < 0)
            return err_wrap(err, "%s", env->key);
        buf_addf(out, " --env=%s=%s", env->key, env->value);
    }
    for (size_t i = 0; i < input->argv_len; i++) {
        const char *arg = input->argv[i];
        const char *quote = *arg == '\0' || strpbrk(arg, " \t;&!'") ? "\"" : "";
        int r = check_text("argument", i + 1, arg, "\"\\", err);

        if (r < 0)
            return r;
        buf_addf(out, " %s%s%s", quote, arg, quote);
    }
    return 0;
}

static int osv_cmdline(const struct guest_input *input, struct buf *out, struct err *err)
{
    struct buf line = BUF_INIT(64 * 1024);
    int r = 0;

    if (input->argv_len == 0)
        r = err_spec(err, -EINVAL,
                     "an OSv guest needs to be told which program to run: give the container args, "
                     "or the image a Cmd");
    if (r >= 0 && input->net && input->net->ip)
        r = add_net(&line, input->net, err);
    if (r >= 0)
        r = add_words(&line, input, err);
    if (r >= 0 && (line.overflow || line.len > BYTES_MAX || buf_adds(out, buf_str(&line) + 1) < 0))
        r = err_spec(err, -E2BIG,
                     "the command line has %zu bytes, OSv takes %d: use fewer or shorter arguments "
                     "and variables (enableServiceLinks: false)",
                     line.len, BYTES_MAX);
    buf_free(&line);
    return r;
}

static void osv_decode(const struct vmm_exit *end, bool stop_was_asked, const char *tail,
                       struct guest_exit *ret)
{
    if (end->end != VMM_END_PANIC && guest_decode_vmm(end, ret))
        return;
    if (!stop_was_asked && (end->end == VMM_END_PANIC || guest_tail_after(tail, "Aborted\n") ||
                            guest_tail_after(tail, "Assertion failed:"))) {
        guest_decode_crash("the unikernel aborted", tail, ret);
        return;
    }
    *ret = (struct guest_exit){.exit_code = end->end == VMM_END_CODE ? end->guest_code : 0};
}

const struct guest_ops guest_osv = {
    .kind = "osv",
    .board = BOARD_Q35,
    .stop = GUEST_STOP_POWERDOWN, /* drivers/acpi.cc */
    .debug_exit = false,
    .memory_mib_min = 64,
    .cmdline = osv_cmdline,
    .decode = osv_decode,
};
