/* What the image store keeps on disk, below one directory:
 *   blobs/sha256/<hex>   manifests, configs and layers as the registry has them
 *   images/<hex>/        kernel, initrd, image.json; <hex> is the manifest's; made by one rename
 *   refs.json            which names were resolved to what, so that IfNotPresent survives us
 *   tmp/                 whatever is under way; emptied by who opens the store alone
 *   lock                 shared by all that have the store open
 * Several processes may have it open: the agent, and `unikubelet image`. No network, no loop.
 * Called by image.c and image_pull.c. */
#pragma once

#include "runtime/image.h"
#include "runtime/image_name.h"

#include <sys/stat.h>

struct buf;
struct oci_config;
struct err;

#define DISK_REFS_MAX 4096 /* the oldest is forgotten; its files stay */

/* A name that was resolved once. Strings are owned by the disk. */
struct disk_ref {
    char *name;     /* host/repo */
    char *tag;      /* "" when asked for by digest */
    char *digest;   /* what the name refers to: an index or a manifest */
    char *manifest; /* the manifest that this host took */
    char *access;   /* hash of the credentials that it was last got with; "": without any */
    uint64_t size_bytes;
};

struct disk {
    char *dir;
    struct disk_ref *refs; /* oldest first */
    size_t refs_len;
    struct stat refs_seen; /* of refs.json, as it is here */
    int lock_fd;
    struct held_image *held; /* images in use: Pods of one image share it */
    char *platform_kernel;   /* NULL: none */
};

int disk_open(struct disk *disk, const char *dir, struct err *err);
void disk_close(struct disk *disk);

/* image_refs.c, for disk_open and disk_close. */
void disk_refs_open(struct disk *disk);
void disk_refs_close(struct disk *disk);
/* What another process made of the names meanwhile is known here. What the functions below returned
 * is no longer valid; they do it themselves. */
void disk_refs_sync(struct disk *disk);

/* The newest entry of a name by tag or digest; NULL. */
const struct disk_ref *disk_ref_find(struct disk *disk, const struct image_name *name);
/* The newest entry with this repository and digest; NULL. */
const struct disk_ref *disk_ref_find_digest(struct disk *disk, const char *repo,
                                            const char *digest);
/* Remembers and saves. Nothing is written when it is known already. access: see disk_ref. */
int disk_ref_set(struct disk *disk, const struct image_name *name, const char *digest,
                 const char *manifest, const char *access, uint64_t size_bytes, struct err *err);

/* Forgets all names of an image, and saves. */
int disk_ref_forget(struct disk *disk, const char *manifest, struct err *err);

struct disk_removed {
    char digest[IMAGE_DIGEST_MAX];
    char manifest[IMAGE_DIGEST_MAX];
    bool last; /* no other name has the manifest */
};
/* Forgets a name by tag or digest, and saves. -ENOENT. */
int disk_ref_remove(struct disk *disk, const struct image_name *name, struct disk_removed *ret,
                    struct err *err);

/* malloc'd paths. */
char *disk_blob_path(const struct disk *disk, const char *digest);
char *disk_image_path(const struct disk *disk, const char *manifest);
char *disk_tmp_path(const struct disk *disk);
/* A blob with this digest and, unless 0, this size; its content is verified by whoever reads it. */
bool disk_has_blob(const struct disk *disk, const char *digest, uint64_t size);
/* A manifest or config whose bytes have the digest; -ENOENT when there is none (a corrupt one is
 * removed). */
int disk_document(const struct disk *disk, const char *digest, struct buf *out);
int disk_document_save(const struct disk *disk, const char *digest, const struct buf *text,
                       struct err *err);

/* What image.json remembers beside the config. Strings are the caller's. */
struct disk_facts {
    const char *guest_kind;
    bool has_kernel; /* else it is run with the platform's */
    bool has_initrd;
    bool has_disk;
    bool disk_readonly;
    const struct image_device *devices;
    size_t devices_len;
    const char *solo5_target; /* NULL: none */
    uint64_t size_bytes;
};

/* Writes image.json into tmp and makes tmp the image of the manifest. */
int disk_image_commit(const struct disk *disk, const char *tmp, const char *manifest,
                      const struct oci_config *config, const struct disk_facts *facts,
                      struct err *err);
/* An unpacked image with one reference for the caller; NULL: not here, or unreadable (then it is
 * removed). */
struct image *disk_image_load(struct disk *disk, const char *reference, const char *repo,
                              const char *digest, const char *manifest);
/* Whether somebody has a reference to this manifest's image. */
bool disk_image_held(const struct disk *disk, const char *manifest);
/* Images in use stay, and are nobody's. */
void disk_image_forget(struct disk *disk);

/* "no space left on device: ..." or "WHAT: strerror". */
int disk_write_error(const char *what, const char *dir, int error, struct err *err);
