/* Solo5 and MirageOS, built for the virtio target: arguments as Mirage reads them (Functoria's
 * Parse_argv), the address as options of the network device that the manifest in the kernel names.
 * Every device of the manifest must exist. The other targets are for tenders (image_kind.c). */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/guest_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX 8191 /* solo5's bindings/virtio keep so many */
#define DEBUG_EXIT 41  /* written to the port for an exit and an abort alike: QEMU ends with 83 */

/* Double quotes round what has white space or quotes; a backslash escapes inside of them. */
static void add_quoted(struct buf *out, const char *text)
{
    if (*text && !strpbrk(text, " \t\"'\\")) {
        guest_add_word(out, text);
        return;
    }
    guest_add_word(out, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_addc(out, '\\');
        buf_addc(out, *text);
    }
    buf_addc(out, '"');
}

/* What the manifest asks for, against what the Pod has. */
static int check_devices(const struct guest_input *input, const char **ret_net, struct err *err)
{
    bool has_net = input->net && input->net->ip;
    size_t nets = 0;
    size_t blocks = 0;

    for (size_t i = 0; i < input->devices_len; i++) {
        if (!input->devices[i].is_net) {
            blocks++;
        } else if (nets++ == 0) {
            *ret_net = input->devices[i].name;
        }
        if (nets > 1 || blocks > 1 || (blocks == 1 && !input->has_disk) || (nets && !has_net))
            return err_spec(err, -ENODEV,
                            "the kernel's manifest asks for the %s device \"%s\", which this Pod "
                            "does not have: a Pod has one network device, and a block device when "
                            "the image has a disk",
                            input->devices[i].is_net ? "network" : "block", input->devices[i].name);
    }
    return 0;
}

/* --ipv4=A/N --ipv4-gateway=G; Mirage's usual device is called service, others are prefixes. */
static int add_net(struct buf *out, const struct guest_net *net, const char *device,
                   struct err *err)
{
    bool usual = str_eq(device, "service");
    int r = guest_check_ipv4(net, "a Mirage", err);

    if (r < 0)
        return r;
    buf_addf(out, "%s--%s%sipv4=%s/%u", out->len ? " " : "", usual ? "" : device, usual ? "" : "-",
             net->ip, net->prefix_len);
    if (!str_empty(net->gateway))
        buf_addf(out, " --%s%sipv4-gateway=%s", usual ? "" : device, usual ? "" : "-",
                 net->gateway);
    return 0;
}

static int solo5_cmdline(const struct guest_input *input, struct buf *out, struct err *err)
{
    struct buf line = BUF_INIT(64 * 1024);
    const char *device = NULL;
    int r = check_devices(input, &device, err);

    if (r >= 0)
        r = guest_refuse_env(input, "a solo5 unikernel takes none, use an argument instead", err);
    if (r >= 0 && device)
        r = add_net(&line, input->net, device, err);
    for (size_t i = 0; i < input->argv_len && r >= 0; i++) {
        if (guest_control_char(input->argv[i]))
            r = err_spec(err, -EINVAL,
                         "argument %zu has a line break or control character, which a solo5 "
                         "command line cannot carry",
                         i + 1);
        else
            add_quoted(&line, input->argv[i]);
    }
    if (r >= 0 && (line.overflow || line.len > BYTES_MAX || buf_adds(out, buf_str(&line)) < 0))
        r = err_spec(err, -E2BIG,
                     "the command line has %zu bytes, solo5 takes %d: use fewer or "
                     "shorter arguments",
                     line.len, BYTES_MAX);
    buf_free(&line);
    return r;
}

/* The exit code is on the console only: "Solo5: solo5_exit(N) called". */
static void solo5_decode(const struct vmm_exit *end, bool stop_was_asked, const char *tail,
                         struct guest_exit *ret)
{
    const char *text = guest_tail_after(tail, "solo5_exit(");
    char *stop = NULL;
    long code = text ? strtol(text, &stop, 10) : 0;

    (void)stop_was_asked; /* there is no channel to ask by */
    if (guest_decode_vmm(end, ret))
        return;
    if (guest_tail_after(tail, "solo5_abort()") || guest_tail_after(tail, "Solo5: PANIC")) {
        guest_decode_crash("the unikernel aborted", tail, ret);
        return;
    }
    *ret = (struct guest_exit){.exit_code = text && stop != text ? (int)(code & 0xff) : 0};
    if (end->end == VMM_END_CODE && end->guest_code != DEBUG_EXIT)
        ret->exit_code = end->guest_code;
}

const struct guest_ops guest_solo5 = {
    .kind = "solo5",
    .board = BOARD_PC,
    .stop = GUEST_STOP_NONE,
    .debug_exit = true,
    .memory_mib_min = 16,
    .cmdline = solo5_cmdline,
    .decode = solo5_decode,
};
