/* The second half of a pull: which layers are needed, their downloads, unpacking in a worker
 * thread, and what kind of guest it is. Layers are chosen by annotation, label, media type or
 * well-known path, never by their order (kraft's layout has the kernel anywhere). */
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/guest.h"
#include "runtime/image_job.h"
#include "runtime/image_unpack.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define KERNEL_PATH "/unikraft/bin/kernel"
#define INITRD_PATH "/unikraft/bin/initrd"

/* The worker's own: it may outlive the job. */
struct unpack_work {
    uv_work_t req;
    struct image_job *job; /* NULL: it left, nobody wants the result */
    struct arena *arena;
    struct unpack unpack;
    struct err err;
    int result;
};

static void start_downloads(struct image_job *job);

/* Runs in the worker thread. */
static void work_run(uv_work_t *req)
{
    struct unpack_work *work = req->data;

    if (mkdir(work->unpack.dir, 0755) < 0)
        work->result = disk_write_error("the image", work->unpack.dir, errno, &work->err);
    else
        work->result = unpack_run(&work->unpack, &work->err);
    if (work->result < 0 || atomic_load(&work->unpack.cancelled))
        (void)file_remove_tree(work->unpack.dir);
}

static void work_free(struct unpack_work *work)
{
    arena_free(work->arena);
    free(work);
}

/* The kind that the image names, else by platform: see docs/guests.md. NULL: the kind is unknown.
 */
static const char *guest_kind(const struct image_job *job, const struct unpack_work *work)
{
    const char *named = job->config.guest ? job->config.guest : job->oci.guest;

    if (named)
        return guest_find(named) ? named : NULL;
    if (str_eq(job->config.os, "linux") && work->unpack.is_bzimage)
        return "linux";
    return "unikraft";
}

static void refuse_kernelless(struct image_job *job)
{
    struct err err;

    if (job->annotated)
        err_spec(&err, -ENOENT,
                 "image \"%s\" has no unikernel kernel: a layer is annotated %s, but the file is "
                 "not in it",
                 job->full, OCI_KERNEL);
    else
        err_spec(&err, -ENOENT,
                 "image \"%s\" has no unikernel kernel: none of its %zu layers is annotated %s or "
                 "has %s (platform %s/%s)",
                 job->full, job->oci.layers_len, OCI_KERNEL, KERNEL_PATH, job->config.os,
                 job->config.architecture);
    job_refuse(job, &err);
}

/* Unpacked into work's directory: give it its name. */
static void commit(struct image_job *job, struct unpack_work *work)
{
    const char *kind = guest_kind(job, work);
    struct err err;
    int r;

    if (!work->unpack.has_kernel || !kind) {
        (void)file_remove_tree(work->unpack.dir);
        if (work->unpack.has_kernel) {
            err_spec(&err, -ENOTSUP,
                     "image \"%s\" is of guest kind \"%.64s\" (%s), which is not "
                     "supported",
                     job->full, job->config.guest ? job->config.guest : job->oci.guest, OCI_GUEST);
            job_refuse(job, &err);
        } else {
            refuse_kernelless(job);
        }
        return;
    }
    r = disk_image_commit(&job->store->disk, work->unpack.dir, job->manifest, &job->config, kind,
                          work->unpack.has_initrd, job->size_bytes, &err);
    (void)file_remove_tree(work->unpack.dir); /* still there when it was not renamed */
    if (r < 0)
        job_fail(job, &err);
    else
        job_succeed(job);
}

/* A blob of the store is not what its name says: get it again, once. */
static bool heal(struct image_job *job, const struct unpack_work *work)
{
    if (work->unpack.corrupt < 0 || job->layout || job->again)
        return false;
    (void)unlink(work->unpack.layers[work->unpack.corrupt].path);
    job->again = true;
    job->next = 0;
    job->step = JOB_LAYERS;
    start_downloads(job);
    return true;
}

static void work_done(uv_work_t *req, int status)
{
    struct unpack_work *work = req->data;
    struct image_job *job = work->job;

    if (!job) {
        (void)file_remove_tree(work->unpack.dir); /* it had finished before it was told */
    } else {
        job->work = NULL;
        if (status < 0)
            work->result = err_set(&work->err, status, "unpacking: %s", uv_strerror(status));
        if (work->result >= 0)
            commit(job, work);
        else if (!heal(job, work))
            job_fail(job, &work->err);
    }
    work_free(work);
}

static void start_unpacking(struct image_job *job)
{
    struct unpack_work *work = xcalloc(1, sizeof(*work));
    struct arena *arena = arena_new(4096);
    struct unpack_layer *layers = arena_array(arena, job->layers_len + 1, sizeof(*layers));
    CLEANUP(free) char *dir = disk_tmp_path(&job->store->disk);

    for (size_t i = 0; i < job->layers_len; i++) {
        const struct job_layer *layer = &job->layers[i];
        const struct oci_desc *desc = &layer->oci->desc;
        CLEANUP(free) char *path = NULL;

        path = job->layout
                   ? xasprintf("%s/blobs/sha256/%s", job->layout, image_digest_hex(desc->digest))
                   : disk_blob_path(&job->store->disk, desc->digest);
        layers[i] = (struct unpack_layer){
            .path = arena_strdup(arena, path),
            .digest = arena_strdup(arena, desc->digest),
            .size = desc->size,
            .verify = !layer->verified,
            .kernel = arena_strdup(arena, layer->kernel),
            .initrd = arena_strdup(arena, layer->initrd),
            .whole_kernel = layer->oci->is_kernel,
            .whole_initrd = layer->oci->is_initrd,
        };
    }
    work->arena = arena;
    work->job = job;
    work->req.data = work;
    work->unpack.layers = layers;
    work->unpack.layers_len = job->layers_len;
    work->unpack.dir = arena_strdup(arena, dir);
    job->step = JOB_UNPACK;
    job->work = work;
    (void)uv_queue_work(job->store->loop, &work->req, work_run, work_done);
}

static void on_layer(void *userdata, const struct err *err)
{
    struct job_layer *layer = userdata;
    struct image_job *job = layer->job;

    job->under_way--;
    if (err) {
        job_fail(job, err);
        return;
    }
    layer->verified = true;
    start_downloads(job);
}

/* Starts as many as may be; when none is left, the worker. */
static void start_downloads(struct image_job *job)
{
    while (job->next < job->layers_len && job->under_way < JOB_DOWNLOADS_MAX) {
        struct job_layer *layer = &job->layers[job->next++];
        const struct oci_desc *desc = &layer->oci->desc;

        if (job->layout || disk_has_blob(&job->store->disk, desc->digest, desc->size))
            continue;
        layer->want.name = &job->name;
        layer->want.user = job->user;
        layer->want.password = job->password;
        layer->want.size = desc->size;
        layer->want.done = on_layer;
        layer->want.userdata = layer;
        job->under_way++;
        blob_want(job->store, &layer->want, desc->digest);
    }
    if (job->under_way == 0)
        start_unpacking(job);
}

/* Where to look in a layer. With an annotated kernel only annotated layers are fetched; without,
 * all of them, for the paths that the image's labels or kraft's convention name. */
static void choose_layers(struct image_job *job)
{
    const struct oci_manifest *m = &job->oci;
    const struct oci_config *c = &job->config;
    const char *kernel = m->kernel ? m->kernel : c->kernel ? c->kernel : KERNEL_PATH;
    const char *initrd = m->initrd ? m->initrd : c->initrd ? c->initrd : INITRD_PATH;

    for (size_t i = 0; i < m->layers_len; i++)
        if (m->layers[i].kernel || m->layers[i].is_kernel)
            job->annotated = true;
    job->layers = arena_array(job->arena, m->layers_len + 1, sizeof(*job->layers));
    for (size_t i = 0; i < m->layers_len; i++) {
        const struct oci_layer *oci = &m->layers[i];
        struct job_layer *layer = &job->layers[job->layers_len];

        if (job->annotated && !oci->kernel && !oci->is_kernel && !oci->initrd && !oci->is_initrd)
            continue;
        layer->job = job;
        layer->oci = oci;
        layer->kernel = oci->kernel;
        if (!oci->kernel && (oci->is_kernel || !job->annotated))
            layer->kernel = kernel;
        layer->initrd = oci->initrd ? oci->initrd : initrd;
        job->layers_len++;
    }
}

void job_start_layers(struct image_job *job)
{
    choose_layers(job);
    if (job->layers_len == 0) {
        refuse_kernelless(job);
        return;
    }
    job->step = JOB_LAYERS;
    start_downloads(job);
}

void job_drop_layers(struct image_job *job)
{
    for (size_t i = 0; i < job->layers_len; i++)
        blob_unwant(&job->layers[i].want);
    if (!job->work)
        return;
    job->work->job = NULL;
    atomic_store(&job->work->unpack.cancelled, true);
    (void)uv_cancel((uv_req_t *)&job->work->req); /* not when it has started: it looks itself */
    job->work = NULL;
}
