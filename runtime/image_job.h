/* One pull of one name, as image_pull.c (documents) and image_layers.c (layers) see it. */
#pragma once

#include "base/buf.h"
#include "runtime/image_int.h"
#include "runtime/image_oci.h"
#include "runtime/image_unpack.h"

#define JOB_DOWNLOADS_MAX 3 /* layers of one image at a time */

/* What is being asked for; decides what the answer is taken for. */
enum job_step {
    JOB_HEAD,     /* whether a known tag still means the same */
    JOB_TAG,      /* index or manifest, by tag */
    JOB_MANIFEST, /* index or manifest, by digest */
    JOB_CONFIG,
    JOB_LAYERS, /* downloads */
    JOB_UNPACK, /* the worker has them */
};

struct job_layer {
    struct image_want want;
    struct image_job *job;
    const struct oci_layer *oci;
    const char *files[_UNPACK_FILES]; /* paths to take out of it; NULL: none */
    bool verified;                    /* downloaded just now */
};

struct unpack_work;

struct image_job {
    struct image_store *store;
    char *key;
    struct image_name name;
    char full[IMAGE_FULL_MAX];
    struct image_login login;
    struct image_pulls waiters;

    enum job_step step;
    struct arena *arena;
    const char *layout; /* the OCI layout that has the image; NULL: a registry */
    struct registry_call *call;
    struct buf text;                 /* the document that is arriving */
    char wanted[IMAGE_DIGEST_MAX];   /* its digest; "" by tag */
    char target[IMAGE_DIGEST_MAX];   /* what the name refers to */
    char manifest[IMAGE_DIGEST_MAX]; /* the one that was chosen */
    bool indexed;                    /* an index was followed: what it names must be a manifest */
    struct oci_manifest oci;
    struct oci_config config;
    uint64_t size_bytes;

    struct job_layer *layers; /* those that are needed */
    size_t layers_len;
    size_t next; /* the first that was not started */
    size_t under_way;
    bool annotated;  /* some layer is said to have the kernel, or to be the image's only content */
    bool want_urunc; /* nothing says where the kernel is: /urunc.json may */
    bool again;      /* a corrupt blob was found once already */
    struct unpack_work *work;
};

/* Settles all waiters and frees the job. err's text gets containerd's words before it. */
void job_fail(struct image_job *job, const struct err *err);
/* The image cannot run: reason CreateContainerError, text as it is. */
void job_refuse(struct image_job *job, const struct err *err);
void job_succeed(struct image_job *job);

/* image_layers.c: from a read config on. */
void job_start_layers(struct image_job *job);
/* Lets go of downloads and of the worker, which cleans up after itself. */
void job_drop_layers(struct image_job *job);
