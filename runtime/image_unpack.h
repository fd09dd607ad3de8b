/* Takes kernel and initrd out of an image's layers. Blocking: runs in a worker thread and touches
 * nothing but what it is given. What is not asked for by name is never written. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

#define UNPACK_KERNEL_BYTES_MAX (256ull * 1024 * 1024)
#define UNPACK_INITRD_BYTES_MAX (8ull * 1024 * 1024 * 1024)
#define UNPACK_LAYER_BYTES_MAX (32ull * 1024 * 1024 * 1024) /* of one layer, decompressed */
#define UNPACK_ENTRIES_MAX 1000000

struct unpack_layer {
    const char *path;   /* of the blob */
    const char *digest; /* "sha256:.." */
    uint64_t size;
    bool verify;        /* read it all and compare size and digest first */
    const char *kernel; /* path inside the tar; NULL: not in here */
    const char *initrd;
    bool whole_kernel; /* the layer may be the file itself, not a tar */
    bool whole_initrd;
};

struct unpack {
    const struct unpack_layer *layers;
    size_t layers_len;
    const char *dir; /* exists; gets "kernel" and "initrd" */
    atomic_bool cancelled;

    bool has_kernel;
    bool has_initrd;
    bool is_bzimage; /* the kernel has Linux' boot header */
    ssize_t corrupt; /* index of the layer whose bytes are not its digest's; -1: none */
};

/* A later layer's file replaces an earlier one's. Files are on disk (fsync) when it returns 0. */
int unpack_run(struct unpack *unpack, struct err *err);
