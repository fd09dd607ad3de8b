/* What a kernel's file says about itself: how a loader may start it, and the manifest of devices
 * that solo5 puts into an ELF note (Solo5's include/elf_abi.h and mft_abi.h). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_DEVICES_MAX 64 /* MFT_MAX_ENTRIES */
#define ELF_DEVICE_NAME_MAX 68

enum solo5_target {
    SOLO5_NONE,
    SOLO5_HVT,
    SOLO5_SPT,
    SOLO5_VIRTIO,
    SOLO5_MUEN,
    SOLO5_GENODE,
    SOLO5_XEN,
};

struct elf_device {
    char name[ELF_DEVICE_NAME_MAX]; /* [A-Za-z0-9]+ */
    bool is_net;                    /* else a block device */
};

struct kernel_facts {
    bool is_elf;     /* a whole header for this host's kind of machine */
    bool is_64;      /* ELF64 */
    bool has_pvh;    /* the Xen note that QEMU, Firecracker and Cloud Hypervisor start by */
    bool multiboot;  /* version 1 header in the first 8 KiB */
    bool is_bzimage; /* Linux' boot protocol */
    enum solo5_target solo5;
    struct elf_device devices[ELF_DEVICES_MAX]; /* of the solo5 manifest */
    size_t devices_len;
    bool bad_manifest; /* there is one, but it is malformed */
};

/* data: the whole file. Never fails: what is not understood is not there. */
void kernel_read(const void *data, size_t len, struct kernel_facts *ret);
/* "hvt", "spt", ... */
const char *solo5_target_name(enum solo5_target target);
