/* Images: reference -> verified, unpacked kernel and initrd on disk, and the image's configuration.
 * Sources: a registry over HTTP(S) with the bearer token flow, and OCI layouts on this disk. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct fetcher;
struct keyring;
struct uv_loop_s;

#define IMAGE_WORKER_COMMAND "image-worker"

enum image_policy { IMAGE_ALWAYS, IMAGE_IF_NOT_PRESENT, IMAGE_NEVER };

struct image_device {
    const char *name;
    bool is_net; /* else a block device */
};

/* An unpacked image. Owned by the store, alive while it is referenced (image_ref/image_unref).
 * Strings never NULL unless said. */
struct image {
    const char *reference;  /* as asked for */
    const char *digest;     /* "sha256:..": of what the name refers to, an index or a manifest, as
                             * containerd has it; kubectl shows it in imageID */
    const char *name;       /* repository without tag: imageID is name@digest */
    const char *kernel;     /* path; of the platform's kernel when the image has none */
    const char *initrd;     /* path, NULL when it has none */
    const char *disk;       /* path of a raw disk image, NULL when it has none */
    bool disk_readonly;     /* a ROM */
    const char *guest_kind; /* "unikraft", "linux": see image_kind.h and guest.h */
    const struct image_device *devices; /* of a solo5 manifest */
    size_t devices_len;
    const char *solo5_target; /* "hvt", "virtio", ..; "" for other kinds */
    const char *os;           /* platform as packed: qemu, kvm, linux, ... */
    const char *architecture;
    const char *const *os_features; /* CONFIG_X=y */
    size_t os_features_len;
    const char *const *entrypoint;
    size_t entrypoint_len;
    const char *const *cmd;
    size_t cmd_len;
    const char *const *env;
    size_t env_len;
    uint64_t size_bytes; /* of all layers, as stored in the registry */
};

struct image_store_config {
    const char *dir; /* everything of the store is below it */
    /* OCI image layout directories, searched first; may be empty. An entry of index.json is found
     * by its full name or digest; by its tag alone where the directory is named after the
     * repository
     * (.../nginx): otherwise any image's v1 would be this one's. */
    const char *const *layouts;
    size_t layouts_len;
    /* An OCI image layout that is asked instead of all else: its image by that name, or its only
     * one whatever its name. NULL: none. */
    const char *import_layout;
    const char *const *insecure_registries; /* host[:port]: plain HTTP allowed, as for loopback */
    size_t insecure_registries_len;
    const char *registry_ca_file; /* NULL: system */
    /* Mirrors, CAs and servers of registries, in containerd's layout (image_hosts.h). NULL: none.
     */
    const char *registry_config_dir;
    /* For images with a root file system but no kernel; NULL: they are refused. */
    const char *platform_kernel;
    /* Program that unpacks when it is called with IMAGE_WORKER_COMMAND (this agent's own); NULL:
     * unpacking is not confined. */
    const char *worker;
};

struct image_store;

int image_store_open(struct uv_loop_s *loop, const struct fetcher *fetcher,
                     const struct image_store_config *config, struct image_store **ret,
                     struct err *err);
/* Not from inside a callback. Ends all pulls without a callback; run the loop afterwards, so that a
 * worker that is unpacking can clean up. */
void image_store_close(struct image_store *store);

struct image_pull; /* a pull under way */

struct image_result {
    struct image *image; /* a reference for the caller, on success */
    const char *reason;  /* on failure: ErrImagePull, ErrImageNeverPull, InvalidImageName,
                          * RegistryUnavailable, CreateContainerError (no kernel for this host) */
    const char *error;   /* on failure: one sentence */
    bool pulled;         /* false: was present already */
    uint64_t took_ms;
    uint64_t bytes; /* of layers */
};

typedef void (*image_done)(void *userdata, const struct image_result *result);

/* Never calls back before it returned. Concurrent pulls of one reference share one download.
 * user/password: basic credentials for the registry, NULL: anonymous. keyring: where entries for
 * the registry's mirrors are looked for; NULL: none. */
struct image_pull *image_pull_start(struct image_store *store, const char *reference,
                                    enum image_policy policy, const char *user,
                                    const char *password, const struct keyring *keyring,
                                    image_done done, void *userdata);
void image_pull_cancel(struct image_pull *pull); /* no callback afterwards */

/* How far its layers are, in bytes as the registry has them; total is 0 until the manifest is read,
 * and then stays. */
struct image_progress {
    uint64_t got, total;
    bool unpacking;
};
void image_pull_progress(const struct image_pull *pull, struct image_progress *ret);

/* Forgets the name, as asked for; with an image's last name go its files, and layers that no other
 * image needs. Pods that run of it go on, and pull it again at their next start. -ENOENT. */
int image_remove(struct image_store *store, const char *reference, struct err *err);

/* Whether the image is here. */
bool image_present(struct image_store *store, const char *reference);
/* Whether it is, and was got with credentials: then a pull by anybody needs theirs, whatever the
 * policy. */
bool image_private(struct image_store *store, const char *reference);

/* For re-adoption after a restart: the unpacked image of a digest, without network. NULL: not here.
 */
struct image *image_find(struct image_store *store, const char *name, const char *digest);
/* What is here under a name, whoever got it. NULL: nothing. */
struct image *image_local(struct image_store *store, const char *reference);
struct image *image_ref(struct image *image);
void image_unref(struct image *image); /* NULL is accepted */

/* For Node.status.images: at most max, biggest first. Returns the count. */
struct image_listing {
    const char *name; /* valid until the store changes */
    const char *tag;  /* "" when pulled by digest */
    const char *digest;
    uint64_t size_bytes;
};
size_t image_list(struct image_store *store, struct image_listing *out, size_t max);
