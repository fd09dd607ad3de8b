/* The second half of a pull: which layers are needed, their downloads, unpacking in a worker
 * thread, and what kind of guest it is. Layers are chosen by annotation, label, media type or
 * well-known path, never by their order (kraft's layout has the kernel anywhere). */
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/image_job.h"
#include "runtime/image_kind.h"
#include "runtime/image_worker.h"

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
    const char *program; /* of the worker; NULL: this process */
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
        work->result = image_worker_run(work->program, &work->unpack, &work->err);
    if (work->result < 0 || atomic_load(&work->unpack.cancelled))
        (void)file_remove_tree(work->unpack.dir);
}

static void work_free(struct unpack_work *work)
{
    buf_free(&work->unpack.urunc);
    arena_free(work->arena);
    free(work);
}

/* Unpacked into work's directory: give it its name. */
static void commit(struct image_job *job, struct unpack_work *work)
{
    const struct image_store_config *config = &job->store->config;
    struct image_found found = {
        .full = job->full,
        .manifest = &job->oci,
        .config = &job->config,
        .unpacked = &work->unpack,
        .annotated = job->annotated,
        .platform_kernel = config->platform_kernel != NULL,
    };
    struct disk_facts facts = {.size_bytes = job->size_bytes};
    struct err err;
    int r = image_kind(&found, job->arena, &facts, &err);

    if (r < 0) {
        (void)file_remove_tree(work->unpack.dir);
        job_refuse(job, &err);
        return;
    }
    r = disk_image_commit(&job->store->disk, work->unpack.dir, job->manifest, &job->config, &facts,
                          &err);
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
            .whole =
                {
                    [UNPACK_KERNEL] = layer->oci->is_kernel,
                    [UNPACK_INITRD] = layer->oci->is_initrd,
                    [UNPACK_DISK] = layer->oci->is_rom,
                },
            .never_tar = layer->oci->is_rom,
        };
        for (int file = 0; file < _UNPACK_FILES; file++)
            layers[i].files[file] = arena_strdup(arena, layer->files[file]);
    }
    work->arena = arena;
    work->job = job;
    work->req.data = work;
    work->unpack.layers = layers;
    work->unpack.layers_len = job->layers_len;
    work->unpack.dir = arena_strdup(arena, dir);
    work->unpack.want_urunc = job->want_urunc;
    work->program = arena_strdup(arena, job->store->config.worker);
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
        layer->want.login = &job->login;
        layer->want.size = desc->size;
        layer->want.done = on_layer;
        layer->want.userdata = layer;
        job->under_way++;
        blob_want(job->store, &layer->want, desc->digest);
    }
    if (job->under_way == 0)
        start_unpacking(job);
}

void image_job_progress(const struct image_job *job, struct image_progress *ret)
{
    *ret = (struct image_progress){.unpacking = job->step == JOB_UNPACK};
    for (size_t i = 0; i < job->layers_len; i++) {
        const struct job_layer *layer = &job->layers[i];
        uint64_t size = layer->oci->desc.size;

        ret->total += size;
        if (layer->want.blob)
            ret->got += blob_got(&layer->want);
        else if (i < job->next || job->layout)
            ret->got += size;
    }
}

static bool is_said(const struct oci_layer *layer)
{
    return layer->paths.kernel || layer->paths.initrd || layer->paths.disk || layer->is_kernel ||
           layer->is_initrd || layer->is_rom;
}

/* Where the image as a whole says that its files are: its annotations, its labels, urunc's; else
 * kraft's well-known paths. */
static void image_paths(struct image_job *job, struct oci_paths *ret)
{
    const struct oci_paths *m = &job->oci.paths;
    const struct oci_paths *c = &job->config.paths;
    const struct urunc *urunc = job->oci.urunc.present ? &job->oci.urunc : &job->config.urunc;

    *ret = (struct oci_paths){
        .kernel = m->kernel ? m->kernel : c->kernel,
        .initrd = m->initrd ? m->initrd : c->initrd,
        .disk = m->disk ? m->disk : c->disk,
    };
    job->want_urunc = !ret->kernel && !urunc->present && !job->annotated;
    if (!ret->kernel && urunc->present) {
        *ret = (struct oci_paths){urunc->binary, urunc->initrd, urunc->block};
        return;
    }
    if (!ret->kernel)
        ret->kernel = KERNEL_PATH;
    if (!ret->initrd)
        ret->initrd = INITRD_PATH;
}

/* With an annotated kernel only annotated layers are fetched; without, all of them, for the paths
 * that the image names or kraft's convention has. A kernel-less image of kraft's is annotated too:
 * its one layer is an initrd or a ROM. */
static void choose_layers(struct image_job *job)
{
    const struct oci_manifest *m = &job->oci;
    struct oci_paths paths;
    bool kernels = false;

    for (size_t i = 0; i < m->layers_len; i++) {
        if (m->layers[i].paths.kernel || m->layers[i].is_kernel)
            kernels = true;
        if (is_said(&m->layers[i]))
            job->annotated = true;
    }
    job->annotated = kernels || (job->annotated && !str_eq(job->config.os, "linux"));
    image_paths(job, &paths);
    job->layers = arena_array(job->arena, m->layers_len + 1, sizeof(*job->layers));
    for (size_t i = 0; i < m->layers_len; i++) {
        const struct oci_layer *oci = &m->layers[i];
        struct job_layer *layer = &job->layers[job->layers_len];

        if (oci->is_meta || (job->annotated && !is_said(oci)))
            continue;
        layer->job = job;
        layer->oci = oci;
        layer->files[UNPACK_KERNEL] = oci->paths.kernel;
        if (!oci->paths.kernel && (oci->is_kernel || !kernels))
            layer->files[UNPACK_KERNEL] = paths.kernel;
        layer->files[UNPACK_INITRD] = oci->paths.initrd ? oci->paths.initrd : paths.initrd;
        layer->files[UNPACK_DISK] = oci->paths.disk ? oci->paths.disk : paths.disk;
        job->layers_len++;
    }
}

void job_start_layers(struct image_job *job)
{
    struct err err;

    choose_layers(job);
    if (job->layers_len == 0) {
        image_refuse_kernelless(job->full, &job->oci, &job->config, job->annotated, &err);
        job_refuse(job, &err);
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
