/* An image's kind: what it names (dev.unikubelet.guest), else urunc's type, else what the kernel's
 * own file says, else its platform. Documented in docs/guests.md. */
#include "runtime/image_kind.h"

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/guest.h"

#include <errno.h>

int image_refuse_kernelless(const char *full, const struct oci_manifest *manifest,
                            const struct oci_config *config, bool annotated, struct err *err)
{
    if (annotated)
        return err_spec(err, -ENOENT,
                        "image \"%s\" has no unikernel kernel: a layer is annotated %s, but the "
                        "file is not in it",
                        full, OCI_KERNEL);
    return err_spec(err, -ENOENT,
                    "image \"%s\" has no unikernel kernel: none of its %zu layers is annotated %s "
                    "or has /unikraft/bin/kernel or /urunc.json (platform %s/%s). An ordinary "
                    "container image must be built into a unikernel first, with kraft or bunny, or "
                    "its Pod run on another node, without runtimeClassName",
                    full, manifest->layers_len, OCI_KERNEL, config->os, config->architecture);
}

/* A root file system that came without a kernel (kraft's kernel-less images). */
static int check_kernelless(const struct image_found *found, struct err *err)
{
    const struct unpack *u = found->unpacked;

    if (!u->has[UNPACK_INITRD] && !u->has[UNPACK_DISK])
        return image_refuse_kernelless(found->full, found->manifest, found->config,
                                       found->annotated, err);
    if (found->platform_kernel)
        return 0;
    return err_spec(err, -ENOENT,
                    "image \"%s\" has no unikernel kernel, only a root file system: pack it with a "
                    "kernel, or let the node's operator set platformKernel",
                    found->full);
}

/* What QEMU's -kernel would refuse. A file that is neither an ELF nor a bzImage is left to it. */
static int check_loader(const struct image_found *found, struct err *err)
{
    const struct kernel_facts *kernel = &found->unpacked->kernel;

    if (!kernel->is_elf || kernel->has_pvh || kernel->multiboot || kernel->is_bzimage)
        return 0;
    return err_spec(
        err, -ENOTSUP,
        "image \"%s\": its kernel is a %d-bit ELF with neither a PVH note nor a "
        "multiboot header, such as Unikraft's builds for Firecracker: QEMU cannot start "
        "it, build it for the platform qemu",
        found->full, kernel->is_64 ? 64 : 32);
}

static int check_solo5(const struct image_found *found, struct err *err)
{
    const struct kernel_facts *kernel = &found->unpacked->kernel;
    const char *target = solo5_target_name(kernel->solo5);

    if (kernel->bad_manifest)
        return err_spec(err, -EBADMSG,
                        "image \"%s\": the solo5 manifest in its kernel is malformed", found->full);
    if (kernel->solo5 == SOLO5_HVT || kernel->solo5 == SOLO5_SPT)
        return err_spec(
            err, -ENOTSUP,
            "image \"%s\" is built for solo5-%s, a tender that this node does not have: "
            "build it for solo5's virtio target (mirage configure -t virtio), which "
            "QEMU runs",
            found->full, target);
    if (kernel->solo5 != SOLO5_VIRTIO)
        return err_spec(err, -ENOTSUP,
                        "image \"%s\" is built for solo5's target %s: this node runs virtio",
                        found->full, target);
    return 0;
}

static void take_devices(const struct kernel_facts *kernel, struct arena *arena,
                         struct disk_facts *ret)
{
    struct image_device *devices = arena_array(arena, kernel->devices_len + 1, sizeof(*devices));

    for (size_t i = 0; i < kernel->devices_len; i++)
        devices[i] = (struct image_device){arena_strdup(arena, kernel->devices[i].name),
                                           kernel->devices[i].is_net};
    ret->devices = devices;
    ret->devices_len = kernel->devices_len;
    ret->solo5_target = solo5_target_name(kernel->solo5);
}

/* urunc's type from wherever it was said; NULL: it is no image of urunc's. */
static int urunc_type(const struct image_found *found, struct arena *arena, struct urunc *ret,
                      struct err *err)
{
    const struct unpack *u = found->unpacked;

    *ret = found->manifest->urunc.present ? found->manifest->urunc : found->config->urunc;
    if (!ret->present && u->urunc.len > 0)
        return urunc_read(buf_str(&u->urunc), u->urunc.len, arena, ret, err);
    return 0;
}

static int check_urunc(const struct image_found *found, const struct urunc *urunc, struct err *err)
{
    if (!urunc_guest_kind(urunc->type))
        return err_spec(err, -ENOTSUP,
                        "image \"%s\" is of urunc's type \"%.64s\", which this node does not run: "
                        "unikraft, linux, mirage and hermit are",
                        found->full, urunc->type);
    if (urunc->mount_root && !urunc->initrd && !urunc->block)
        return err_spec(err, -ENOTSUP,
                        "image \"%s\" wants its root file system mounted (mountRootfs): pack it as "
                        "an initrd (com.urunc.unikernel.initrd) instead",
                        found->full);
    return 0;
}

/* The kind's name; NULL when it is unknown, and what was named instead. */
static const char *find_kind(const struct image_found *found, const struct urunc *urunc,
                             const char **ret_named)
{
    const struct kernel_facts *kernel = &found->unpacked->kernel;
    const char *named = found->config->guest ? found->config->guest : found->manifest->guest;

    *ret_named = named;
    if (named)
        return guest_find(named) ? named : NULL;
    if (urunc->present)
        return urunc_guest_kind(urunc->type);
    if (kernel->solo5 != SOLO5_NONE)
        return "solo5";
    if (str_eq(found->config->os, "linux") && kernel->is_bzimage)
        return "linux";
    return "unikraft";
}

int image_kind(const struct image_found *found, struct arena *arena, struct disk_facts *ret,
               struct err *err)
{
    const struct unpack *u = found->unpacked;
    struct urunc urunc;
    const char *named;
    int r = 0;

    if (!u->has[UNPACK_KERNEL])
        r = check_kernelless(found, err);
    if (r >= 0)
        r = urunc_type(found, arena, &urunc, err);
    if (r >= 0 && urunc.present)
        r = check_urunc(found, &urunc, err);
    if (r < 0)
        return r;
    ret->guest_kind = find_kind(found, &urunc, &named);
    if (!ret->guest_kind)
        return err_spec(err, -ENOTSUP,
                        "image \"%s\" is of guest kind \"%.64s\" (%s), which is not supported",
                        found->full, named, OCI_GUEST);
    if (str_eq(ret->guest_kind, "solo5")) {
        r = check_solo5(found, err);
        if (r >= 0)
            take_devices(&u->kernel, arena, ret);
    }
    if (r >= 0)
        r = check_loader(found, err);
    ret->has_kernel = u->has[UNPACK_KERNEL];
    ret->has_initrd = u->has[UNPACK_INITRD];
    ret->has_disk = u->has[UNPACK_DISK];
    for (size_t i = 0; i < found->manifest->layers_len; i++)
        if (found->manifest->layers[i].is_rom)
            ret->disk_readonly = true;
    return r;
}
