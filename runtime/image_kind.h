/* Which kind of guest an unpacked image is, and the sentences for images that cannot run here. No
 * I/O; called by the pull when the files are there. */
#pragma once

#include "runtime/image_disk.h"
#include "runtime/image_oci.h"
#include "runtime/image_unpack.h"

struct arena;
struct err;

struct image_found {
    const char *full; /* name, for sentences */
    const struct oci_manifest *manifest;
    const struct oci_config *config;
    const struct unpack *unpacked;
    bool annotated;       /* some layer was said to have the kernel or the root file system */
    bool platform_kernel; /* the host has one for images without */
};

/* Kind and files; strings in *ret are static or live in the arena. -ENOENT: no kernel; -ENOTSUP: of
 * a kind, or for a loader, that this host has not. The text is for the Pod's owner. */
int image_kind(const struct image_found *found, struct arena *arena, struct disk_facts *ret,
               struct err *err);
/* The sentence for an image without a kernel; returns its code. */
int image_refuse_kernelless(const char *full, const struct oci_manifest *manifest,
                            const struct oci_config *config, bool annotated, struct err *err);
