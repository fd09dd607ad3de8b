/* Hermit: the kernel is hermit-loader, the application its initrd. The kernel splits its command
 * line as a shell does words (shell_words, in Hermit's src/env.rs): options until "--", then the
 * application's arguments. QEMU's multiboot loader gives argv[0]. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/guest_int.h"

#include <errno.h>
#include <string.h>

#define BYTES_MAX 8191

/* POSIX words: single quotes round everything but the single quotes themselves. */
static void add_quoted(struct buf *out, const char *text)
{
    if (*text && !strpbrk(text, " \t'\"\\#$`*?~|&;<>()[]{}!")) {
        guest_add_word(out, text);
        return;
    }
    guest_add_word(out, "'");
    for (; *text; text++)
        if (*text == '\'')
            buf_adds(out, "'\\''");
        else
            buf_addc(out, *text);
    buf_addc(out, '\'');
}

static int check_text(const char *what, const char *text, struct err *err)
{
    if (!guest_control_char(text))
        return 0;
    return err_spec(err, -EINVAL,
                    "%s has a line break or control character, which a Hermit command line cannot "
                    "carry",
                    what);
}

static int add_net(struct buf *out, const struct guest_net *net, struct err *err)
{
    char mask[16];
    int r = guest_check_ipv4(net, "a Hermit", err);

    if (r < 0)
        return r;
    guest_netmask(net->prefix_len, mask);
    buf_addf(out, "-ip %s -mask %s", net->ip, mask);
    if (!str_empty(net->gateway))
        buf_addf(out, " -gateway %s", net->gateway);
    return 0;
}

static int add_env(struct buf *out, const struct guest_input *input, struct err *err)
{
    for (size_t i = 0; i < input->env_len; i++) {
        CLEANUP(free) char *what = xasprintf("environment variable %s", input->env[i].key);
        CLEANUP(free)
        char *pair = xasprintf("env=%s=%s", input->env[i].key, input->env[i].value);
        int r = check_text(what, pair, err);

        if (r < 0)
            return r;
        add_quoted(out, pair);
    }
    return 0;
}

static int add_args(struct buf *out, const struct guest_input *input, struct err *err)
{
    if (input->argv_len > 0)
        guest_add_word(out, "--");
    for (size_t i = 0; i < input->argv_len; i++) {
        char what[32];
        int r;

        str_fmt(what, sizeof(what), "argument %zu", i + 1);
        r = check_text(what, input->argv[i], err);
        if (r < 0)
            return r;
        add_quoted(out, input->argv[i]);
    }
    return 0;
}

static int hermit_cmdline(const struct guest_input *input, struct buf *out, struct err *err)
{
    struct buf line = BUF_INIT(64 * 1024);
    int r = 0;

    if (!input->has_initrd)
        r = err_spec(err, -ENOENT,
                     "the image has Hermit's loader as its kernel but no application: name it as "
                     "the initrd (dev.unikubelet.initrd or com.urunc.unikernel.initrd)");
    if (r >= 0 && input->net && input->net->ip)
        r = add_net(&line, input->net, err);
    if (r >= 0)
        r = add_env(&line, input, err);
    if (r >= 0)
        r = add_args(&line, input, err);
    if (r >= 0 && (line.overflow || line.len > BYTES_MAX || buf_adds(out, buf_str(&line)) < 0))
        r = err_spec(err, -E2BIG,
                     "the command line has %zu bytes, %d are allowed: use fewer or shorter "
                     "arguments and variables (enableServiceLinks: false)",
                     line.len, BYTES_MAX);
    buf_free(&line);
    return r;
}

/* Port 0xf4: 1 for success, 0 for failure (Hermit's arch/x86_64/kernel/processor.rs). */
static void hermit_decode(const struct vmm_exit *end, bool stop_was_asked, const char *tail,
                          struct guest_exit *ret)
{
    (void)stop_was_asked; /* there is no channel to ask by */
    if (guest_decode_vmm(end, ret))
        return;
    if (end->end == VMM_END_CODE && end->guest_code == 0 && guest_tail_after(tail, "[PANIC]")) {
        guest_decode_crash("the unikernel panicked", tail, ret);
        return;
    }
    *ret = (struct guest_exit){.exit_code = 0};
    if (end->end == VMM_END_CODE && end->guest_code != 1)
        ret->exit_code = end->guest_code == 0 ? 1 : end->guest_code;
}

const struct guest_ops guest_hermit = {
    .kind = "hermit",
    .board = BOARD_Q35,
    .stop = GUEST_STOP_NONE,
    .debug_exit = true,
    .debug_exit_port = 0xf4,
    .memory_mib_min = 64,
    .cmdline = hermit_cmdline,
    .decode = hermit_decode,
};
