/* Two kinds that take no command line of ours. raw: any kernel that QEMU's -kernel starts; the
 * container's command and args are its command line, joined by spaces, byte for byte. nanos: a
 * kernel that boots by PVH and then reads no command line at all (platform/pc/service.c), so that
 * all there is lies in the manifest on its disk. */
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/guest_int.h"

#include <errno.h>

/* Variables are for $(VAR) in args; the address too: $(POD_IP) by a fieldRef. */
static int raw_cmdline(const struct guest_input *input, struct buf *out, struct err *err)
{
    for (size_t i = 0; i < input->argv_len; i++) {
        if (guest_control_char(input->argv[i]))
            return err_spec(err, -EINVAL,
                            "argument %zu has a line break or control character, which no command "
                            "line can carry",
                            i + 1);
        guest_add_word(out, input->argv[i]);
    }
    return out->overflow ? err_spec(err, -E2BIG,
                                    "the command line has more than the %zu bytes allowed: use "
                                    "fewer or shorter arguments",
                                    out->max)
                         : 0;
}

static int nanos_cmdline(const struct guest_input *input, struct buf *out, struct err *err)
{
    (void)out;
    if (!input->has_disk)
        return err_spec(err, -ENOENT,
                        "the image has a Nanos kernel but no disk: name it (dev.unikubelet.disk)");
    if (input->argv_len > 0)
        return err_spec(err, -ENOTSUP,
                        "a Nanos guest takes no arguments from outside: they are in the manifest "
                        "on its disk (arguments)");
    if (input->net && input->net->ip)
        return err_spec(err, -ENOTSUP,
                        "a Nanos kernel on QEMU takes no address from outside and would ask DHCP, "
                        "which a Pod's network does not have: run it on a node with network: none");
    return guest_refuse_env(input,
                            "a Nanos guest takes none from outside, they are in the manifest on "
                            "its disk (environment)",
                            err);
}

/* A value written to the debug-exit port is the exit code; a power-off is a good end. */
static void code_decode(const struct vmm_exit *end, bool stop_was_asked, const char *tail,
                        struct guest_exit *ret)
{
    (void)stop_was_asked;
    (void)tail;
    if (!guest_decode_vmm(end, ret))
        *ret = (struct guest_exit){.exit_code = end->end == VMM_END_CODE ? end->guest_code : 0};
}

const struct guest_ops guest_raw = {
    .kind = "raw",
    .board = BOARD_PC,
    .stop = GUEST_STOP_NONE,
    .debug_exit = true,
    .memory_mib_min = 1,
    .cmdline = raw_cmdline,
    .decode = code_decode,
};

const struct guest_ops guest_nanos = {
    .kind = "nanos",
    .board = BOARD_Q35,
    .stop = GUEST_STOP_POWERDOWN, /* becomes SIGTERM for the program */
    .debug_exit = true,
    .memory_mib_min = 64,
    .cmdline = nanos_cmdline,
    .decode = code_decode,
};
