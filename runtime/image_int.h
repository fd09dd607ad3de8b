/* What the parts of the image store share; nobody else includes it. image.c: the store and those
 * who wait; image_pull.c: one pull of one name, shared by all who wait for it; image_layers.c: its
 * layers, from wants to files; image_blob.c: one download of one blob, shared by all pulls. */
#pragma once

#include "base/digest.h"
#include "base/err.h"
#include "runtime/image_disk.h"
#include "runtime/image_registry.h"

#include <sys/queue.h>
#include <uv.h>

struct image_job;

TAILQ_HEAD(image_pulls, image_pull);

struct image_store {
    struct uv_loop_s *loop;
    struct fetcher *fetcher;
    struct image_store_config config;
    struct registry registry;
    struct disk disk;
    struct map *blobs; /* downloads under way, by digest */
    struct map *jobs;  /* pulls under way, by name and credentials */
    uv_timer_t *timer; /* fires at once when ready has something; lives until its close callback */
    struct image_pulls ready;
};

/* One who waits: for a job, or on the ready list for its callback. */
struct image_pull {
    TAILQ_ENTRY(image_pull) link;
    struct image_store *store;
    struct image_job *job; /* NULL: on the ready list */
    char *reference;
    image_done done;
    void *userdata;
    uint64_t started_ms; /* mono */
    struct image_result result;
    char error[ERR_TEXT_MAX];
};

/* image.c: ends the wait of all in waiters with the same words; their callbacks come from the ready
 * list. ref: on success, what the name refers to; else reason and error. */
void image_settle(struct image_store *store, struct image_pulls *waiters,
                  const struct disk_ref *ref, const char *reason, const char *error);

/* image_pull.c. A job runs when it has its first waiter; it ends and frees itself when it has
 * settled its waiters (perhaps before image_job_run returned) or when the last one left. */
char *image_job_key(const struct image_name *name, const struct image_login *login);
/* Copies. */
struct image_job *image_job_new(struct image_store *store, const struct image_name *name,
                                const struct image_login *login);
void image_job_join(struct image_job *job, struct image_pull *pull);
void image_job_run(struct image_job *job);
void image_job_leave(struct image_job *job, struct image_pull *pull);
void image_job_progress(const struct image_job *job, struct image_progress *ret);
/* All leave. */
void image_job_abandon(struct image_job *job);

/* image_blob.c: one who wants a blob; part of the job. */
struct image_want {
    TAILQ_ENTRY(image_want) link;
    struct blob *blob;             /* NULL: not waiting */
    const struct image_name *name; /* whose repository to ask, as whom */
    const struct image_login *login;
    uint64_t size; /* as its manifest says */
    /* Exactly once unless cancelled, never before blob_want returned. NULL: it is in the store,
     * verified. */
    void (*done)(void *userdata, const struct err *err);
    void *userdata;
};

/* Fills link and blob; the other members are the caller's. */
void blob_want(struct image_store *store, struct image_want *want, const char *digest);
uint64_t blob_got(const struct image_want *want); /* bytes of it that are here so far */
void blob_unwant(struct image_want *want);        /* no callback afterwards */
