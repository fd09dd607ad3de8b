/* OCI documents (image-spec 1.1, and Docker's types that say the same): index, manifest, config.
 * Pure: text in, plain structs out; strings live in the caller's arena. Called by the pull. */
#pragma once

#include "runtime/image_name.h"
#include "runtime/image_urunc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;

#define OCI_DOCUMENT_MAX (4u * 1024 * 1024) /* manifest, index or config; what registries allow */
#define OCI_LAYERS_MAX 256
#define OCI_STRINGS_MAX 4096 /* of one list: features, environment, arguments */
#define OCI_LAYER_BYTES_MAX (16ull * 1024 * 1024 * 1024)

/* What to accept of a registry when a tag is asked for. */
#define OCI_ACCEPT                                                \
    "application/vnd.oci.image.index.v1+json, "                   \
    "application/vnd.oci.image.manifest.v1+json, "                \
    "application/vnd.docker.distribution.manifest.list.v2+json, " \
    "application/vnd.docker.distribution.manifest.v2+json"

/* Annotations, and labels of the config, that this project reads. */
#define OCI_KERNEL "org.unikraft.kernel.image"
#define OCI_INITRD "org.unikraft.kernel.initrd"
#define OCI_DISK "org.unikraft.disk-0"
/* Ours, for the kinds whose makers have no layout of their own: see docs/guests.md. */
#define OCI_GUEST "dev.unikubelet.guest"
#define OCI_OWN_KERNEL "dev.unikubelet.kernel"
#define OCI_OWN_INITRD "dev.unikubelet.initrd"
#define OCI_OWN_DISK "dev.unikubelet.disk"
#define OCI_REF_NAME "org.opencontainers.image.ref.name"
#define OCI_CONTAINERD_NAME "io.containerd.image.name"

struct oci_desc {
    char digest[IMAGE_DIGEST_MAX];
    uint64_t size; /* 0: unknown */
};

struct oci_strings {
    const char *const *items;
    size_t len;
};

/* Where in a tar the files of an image are. NULL: not said. */
struct oci_paths {
    const char *kernel;
    const char *initrd;
    const char *disk;
};

struct oci_layer {
    struct oci_desc desc;
    struct oci_paths paths;
    bool is_kernel; /* by media type: a tar with one file, or the file itself */
    bool is_initrd;
    bool is_rom;  /* the file itself, never a tar */
    bool is_meta; /* debug symbols, or a config: nothing to take out */
};

struct oci_manifest {
    struct oci_desc config;
    struct oci_layer *layers;
    size_t layers_len;
    struct oci_paths paths; /* annotations of the whole image */
    const char *guest;
    struct urunc urunc;
};

struct oci_config {
    const char *os;
    const char *architecture;
    struct oci_strings os_features;
    struct oci_strings entrypoint;
    struct oci_strings cmd;
    struct oci_strings env;
    struct oci_paths paths; /* labels */
    const char *guest;
    struct urunc urunc;
};

enum oci_type { OCI_INDEX, OCI_MANIFEST };

/* Which of the two a document is; for an index: the child that this host runs best; for a manifest:
 * its content. -EBADMSG malformed, -ENOENT no child for this host (the text lists what there is).
 */
int oci_read(const char *text, size_t len, struct arena *arena, enum oci_type *ret_type,
             struct oci_desc *ret_child, struct oci_manifest *ret_manifest, struct err *err);
/* Also says -ENOENT when the config's platform is one that this host cannot run. */
int oci_read_config(const char *text, size_t len, struct arena *arena, struct oci_config *ret,
                    struct err *err);
/* An image layout's only entry, whatever its name; -ENOENT when it has none or several. */
int oci_only_ref(const char *text, size_t len, struct oci_desc *ret, struct err *err);
/* The n-th entry's whole name, malloc'd; NULL: it has none. *ret_more: there is an n-th entry. */
char *oci_ref_name(const char *text, size_t len, size_t n, bool *ret_more);
/* An image layout's index.json: what the name refers to; -ENOENT. tag_counts: a ref.name that is
 * only a tag is enough (the directory is the repository's). */
int oci_find_ref(const char *text, size_t len, const struct image_name *name, bool tag_counts,
                 struct oci_desc *ret, struct err *err);
