/* Takes kernel, initrd and disk out of an image's layers. Blocking: runs in a worker process (see
 * image_worker.h) and touches nothing but what it is given. What is not asked for by name is never
 * written. */
#pragma once

#include "base/buf.h"
#include "runtime/image_elf.h"
#include "runtime/image_urunc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

#define UNPACK_KERNEL_BYTES_MAX (256ull * 1024 * 1024)
#define UNPACK_INITRD_BYTES_MAX (8ull * 1024 * 1024 * 1024)
#define UNPACK_DISK_BYTES_MAX (16ull * 1024 * 1024 * 1024)
#define UNPACK_LAYER_BYTES_MAX (32ull * 1024 * 1024 * 1024) /* of one layer, decompressed */
#define UNPACK_ENTRIES_MAX 1000000

/* The files that an image becomes; each has a fixed name in the directory. */
enum unpack_file { UNPACK_KERNEL, UNPACK_INITRD, UNPACK_DISK, _UNPACK_FILES };

struct unpack_layer {
    const char *path;   /* of the blob; only for unpack_open */
    const char *digest; /* "sha256:.." */
    uint64_t size;
    bool verify;                      /* read it all and compare size and digest first */
    const char *files[_UNPACK_FILES]; /* paths inside the tar; NULL: not in here */
    bool whole[_UNPACK_FILES];        /* the layer may be the file itself, not a tar */
    bool never_tar;                   /* it is the file itself */
};

struct unpack {
    const struct unpack_layer *layers;
    size_t layers_len;
    const char *dir; /* exists; gets the files. For unpack_open, and for what an error says */
    bool want_urunc; /* look for /urunc.json; what it names is then taken instead */
    atomic_bool cancelled;
    int dir_fd; /* these two by unpack_open, or as a confined worker was given them */
    int *layer_fds;

    bool has[_UNPACK_FILES];
    struct buf urunc; /* text of /urunc.json, "": none; the caller frees it */
    struct kernel_facts kernel;
    ssize_t corrupt; /* index of the layer whose bytes are not its digest's; -1: none */
};

/* "kernel", "initrd", "disk". */
const char *unpack_file_name(enum unpack_file file);
/* Opens the directory and the layers. Whatever it returns, unpack_close closes. */
int unpack_open(struct unpack *unpack, struct err *err);
void unpack_close(struct unpack *unpack);
/* A later layer's file replaces an earlier one's. Files are on disk (fsync) when it returns 0.
 * Needs nothing but what unpack_open opened: no other path is looked up. */
int unpack_run(struct unpack *unpack, struct err *err);
