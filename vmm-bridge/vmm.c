/* What all VMMs share: argument lists, names of accelerators, and the memory that a VMM needs
 * beside its guest's. */
#include "vmm-bridge/vmm.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>

#define ARG_MAX_BYTES (128 * 1024) /* the kernel's MAX_ARG_STRLEN */

void vmm_argv_free(struct vmm_argv *argv)
{
    for (size_t i = 0; i < argv->len; i++)
        free(argv->argv[i]);
    *argv = (struct vmm_argv){.len = 0};
}

int vmm_argv_add(struct vmm_argv *argv, const char *fmt, ...)
{
    struct buf text = BUF_INIT(ARG_MAX_BYTES - 1);
    va_list args;
    int r;

    if (argv->len == VMM_ARGS_MAX)
        return -E2BIG;
    va_start(args, fmt);
    r = buf_vaddf(&text, fmt, args);
    va_end(args);
    if (r < 0) {
        buf_free(&text);
        return -E2BIG;
    }
    argv->argv[argv->len++] = buf_take(&text);
    argv->argv[argv->len] = NULL;
    return 0;
}

static const char *const accel_names[] = {
    [ACCEL_AUTO] = "auto",
    [ACCEL_KVM] = "kvm",
    [ACCEL_TCG] = "tcg",
};

_Static_assert(ARRAY_LEN(accel_names) == _ACCEL_MAX, "every accelerator has a name");

const char *vmm_accel_to_string(enum vmm_accel accel)
{
    return (unsigned)accel < _ACCEL_MAX ? accel_names[accel] : "unknown";
}

int vmm_accel_from_string(const char *text, enum vmm_accel *ret)
{
    for (int i = 0; i < _ACCEL_MAX; i++) {
        if (str_eq(text, accel_names[i])) {
            *ret = (enum vmm_accel)i;
            return 0;
        }
    }
    return -EINVAL;
}

uint32_t vmm_overhead_mib(const struct vmm_ops *ops, enum vmm_accel accel)
{
    return ops->overhead_mib(accel);
}
