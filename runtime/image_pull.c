/* One pull: from a name to the manifest and config that say what the image is. Looks into the OCI
 * layouts first, then at the registry. Every document is kept in the store by its digest, so that
 * what is known is not fetched again. Driven by image.c, by answers of the registry and, from the
 * layers on, by image_layers.c. */
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/map.h"
#include "base/str.h"
#include "runtime/image_job.h"

#include <errno.h>
#include <string.h>

static void job_take(struct image_job *job);

char *image_job_key(const struct image_name *name, const struct image_login *login)
{
    char full[IMAGE_FULL_MAX];
    char hex[DIGEST_HEX_LEN + 1];

    login_hash(login, hex);
    return xasprintf("%s %s", image_name_full(name, full), hex);
}

struct image_job *image_job_new(struct image_store *store, const struct image_name *name,
                                const struct image_login *login)
{
    struct image_job *job = xcalloc(1, sizeof(*job));

    job->store = store;
    job->key = image_job_key(name, login);
    job->name = *name;
    image_name_full(name, job->full);
    login_copy(&job->login, login);
    job->arena = arena_new(4096);
    TAILQ_INIT(&job->waiters);
    buf_init(&job->text, OCI_DOCUMENT_MAX);
    map_set(store->jobs, job->key, job);
    return job;
}

static void job_free(struct image_job *job)
{
    registry_cancel(job->call);
    job_drop_layers(job);
    (void)map_remove(job->store->jobs, job->key);
    buf_free(&job->text);
    arena_free(job->arena);
    free(job->key);
    login_free(&job->login);
    free(job);
}

void image_job_join(struct image_job *job, struct image_pull *pull)
{
    pull->job = job;
    TAILQ_INSERT_TAIL(&job->waiters, pull, link);
}

void image_job_leave(struct image_job *job, struct image_pull *pull)
{
    TAILQ_REMOVE(&job->waiters, pull, link);
    pull->job = NULL;
    if (TAILQ_EMPTY(&job->waiters))
        job_free(job);
}

void image_job_abandon(struct image_job *job)
{
    struct image_pull *pull;
    bool last;

    do {
        pull = TAILQ_FIRST(&job->waiters);
        last = !TAILQ_NEXT(pull, link);
        image_pull_cancel(pull);
    } while (!last);
}

void job_fail(struct image_job *job, const struct err *err)
{
    struct err full = *err;

    err_wrap(&full, "failed to pull and unpack image \"%s\"", job->full);
    image_settle(job->store, &job->waiters, NULL, "ErrImagePull", full.text);
    job_free(job);
}

void job_refuse(struct image_job *job, const struct err *err)
{
    image_settle(job->store, &job->waiters, NULL, "CreateContainerError", err->text);
    job_free(job);
}

void job_succeed(struct image_job *job)
{
    struct disk *disk = &job->store->disk;
    char access[DIGEST_HEX_LEN + 1] = "";
    char repo[IMAGE_FULL_MAX];
    struct err err;

    /* What lies on this host's own disk is for all of its Pods. */
    if (!job->layout)
        login_hash(&job->login, access);
    if (disk_ref_set(disk, &job->name, job->target, job->manifest, access, job->size_bytes, &err) <
        0) {
        job_fail(job, &err);
        return;
    }
    image_name_repo(&job->name, repo);
    image_settle(job->store, &job->waiters, disk_ref_find_digest(disk, repo, job->target), NULL,
                 NULL);
    job_free(job);
}

/* The image is unpacked already, and whole. */
static bool is_here(struct image_job *job, const char *manifest)
{
    struct image *image = disk_image_load(&job->store->disk, job->full, "", "", manifest);

    image_unref(image);
    return image != NULL;
}

static int on_body(void *userdata, const void *data, size_t len)
{
    struct image_job *job = userdata;

    return buf_add(&job->text, data, len);
}

/* A document came: are its bytes those that were asked for? */
static int verify(struct image_job *job, const char *said, struct err *err)
{
    char digest[IMAGE_DIGEST_MAX] = "sha256:";

    digest_sha256_hex(buf_str(&job->text), job->text.len, digest + strlen("sha256:"));
    if (job->wanted[0] && !str_eq(job->wanted, digest))
        return err_set(err, -EBADMSG, "%s digest %s expected, got %s",
                       job->step == JOB_CONFIG ? "config" : "manifest", job->wanted, digest);
    if (!job->wanted[0] && said[0] && !str_eq(said, digest))
        return err_set(err, -EBADMSG, "manifest digest %s expected, got %s", said, digest);
    str_copy(job->wanted, sizeof(job->wanted), digest);
    if (!job->target[0])
        str_copy(job->target, sizeof(job->target), digest);
    return disk_document_save(&job->store->disk, digest, &job->text, err);
}

static void ask(struct image_job *job, enum job_step step, const char *digest);

/* A tag's HEAD: the same as before, or something new to get by its digest. */
static void on_head(struct image_job *job, const char *digest)
{
    const struct disk_ref *ref = disk_ref_find(&job->store->disk, &job->name);

    if (!digest[0]) {
        ask(job, JOB_TAG, "");
        return;
    }
    str_copy(job->target, sizeof(job->target), digest);
    if (ref && str_eq(ref->digest, digest) && is_here(job, ref->manifest)) {
        str_copy(job->manifest, sizeof(job->manifest), ref->manifest);
        job->size_bytes = ref->size_bytes;
        job_succeed(job);
        return;
    }
    ask(job, JOB_MANIFEST, digest);
}

static void on_done(void *userdata, const struct err *failure, const char *digest)
{
    struct image_job *job = userdata;
    struct err err = {.code = 0};

    job->call = NULL;
    if (job->step == JOB_HEAD) {
        /* A GET says why in its body; a registry that is out of reach need not be asked twice. */
        if (failure && failure->code != -ENOENT && failure->code != -EACCES &&
            failure->code != -EIO) {
            err = *failure;
            err_wrap(&err, "failed to resolve reference \"%s\"", job->full);
            job_fail(job, &err);
        } else if (failure && job->name.digest[0]) {
            err = *failure;
            err_wrap(&err, "failed to resolve reference \"%s\"", job->full);
            job_fail(job, &err);
        } else {
            on_head(job, failure ? "" : job->name.digest[0] ? job->name.digest : digest);
        }
        return;
    }
    if (failure && failure->code == -ENOBUFS)
        err_spec(&err, -EFBIG, "the document is larger than the %u bytes allowed",
                 OCI_DOCUMENT_MAX);
    else if (failure && failure->code == -ENOENT)
        err_set(&err, -ENOENT, "%s: %s", job->step == JOB_CONFIG ? job->wanted : job->full,
                failure->text);
    else if (failure)
        err = *failure;
    else
        (void)verify(job, digest, &err);
    if (err.code == 0) {
        job_take(job);
        return;
    }
    if (job->step != JOB_CONFIG && failure)
        err_wrap(&err, "failed to resolve reference \"%s\"", job->full);
    job_fail(job, &err);
}

static const struct registry_ops ops = {.on_body = on_body, .on_done = on_done};

static void ask(struct image_job *job, enum job_step step, const char *digest)
{
    CLEANUP(free)
    char *path = xasprintf("%s/%s", step == JOB_CONFIG ? "blobs" : "manifests",
                           digest[0] ? digest : job->name.tag);
    struct registry_request request = {
        .name = &job->name,
        .login = &job->login,
        .method = step == JOB_HEAD ? "HEAD" : "GET",
        .path = path,
        .by_digest = digest[0] != '\0',
        .accept = step == JOB_CONFIG ? NULL : OCI_ACCEPT,
    };

    job->step = step;
    str_copy(job->wanted, sizeof(job->wanted), digest);
    /* A document that is here may be another Pod's alone: a HEAD asks whether this one may too. */
    if (step != JOB_HEAD && digest[0] &&
        disk_document(&job->store->disk, digest, &job->text) == 0) {
        if (!job->target[0])
            str_copy(job->target, sizeof(job->target), digest);
        job_take(job);
        return;
    }
    buf_reset(&job->text);
    job->call = registry_start(&job->store->registry, &request, &ops, job);
}

/* A document of the layout, or else of the registry. Ends the job when it cannot. */
static void want_document(struct image_job *job, enum job_step step, const char *digest)
{
    CLEANUP(free) char *path = NULL;
    struct err err;
    int r;

    if (!job->layout) {
        ask(job, step, digest);
        return;
    }
    path = xasprintf("%s/blobs/sha256/%s", job->layout, image_digest_hex(digest));
    job->step = step;
    str_copy(job->wanted, sizeof(job->wanted), digest);
    buf_reset(&job->text);
    r = file_read(path, &job->text);
    if (r < 0)
        err_set(&err, r, "%s: %s", path, strerror(-r));
    else
        r = verify(job, "", &err);
    if (r < 0) {
        err_wrap(&err, "OCI layout");
        job_fail(job, &err);
        return;
    }
    job_take(job);
}

static void take_config(struct image_job *job)
{
    struct err err;

    if (oci_read_config(buf_str(&job->text), job->text.len, job->arena, &job->config, &err) < 0) {
        job_fail(job, &err);
        return;
    }
    job_start_layers(job);
}

/* What was asked for is in job->text, and is what it should be. */
static void job_take(struct image_job *job)
{
    struct oci_desc child;
    enum oci_type type;
    struct err err;

    if (job->step == JOB_CONFIG) {
        take_config(job);
        return;
    }
    if (oci_read(buf_str(&job->text), job->text.len, job->arena, &type, &child, &job->oci, &err) <
        0) {
        job_fail(job, &err);
        return;
    }
    if (type == OCI_INDEX) {
        if (job->indexed) {
            err_spec(&err, -EBADMSG, "the index names another index for this host");
            job_fail(job, &err);
            return;
        }
        job->indexed = true;
        want_document(job, JOB_MANIFEST, child.digest);
        return;
    }
    str_copy(job->manifest, sizeof(job->manifest), job->wanted);
    for (size_t i = 0; i < job->oci.layers_len; i++)
        job->size_bytes += job->oci.layers[i].desc.size;
    if (is_here(job, job->manifest))
        job_succeed(job);
    else
        want_document(job, JOB_CONFIG, job->oci.config.digest);
}

/* Whether the directory is this repository's own: .../nginx for library/nginx. */
static bool is_named_after(const char *dir, const char *repo)
{
    const char *last = strrchr(repo, '/');
    size_t len = strlen(dir);
    size_t want;

    last = last ? last + 1 : repo;
    want = strlen(last);
    while (len > 0 && dir[len - 1] == '/')
        len--;
    return len >= want && strncmp(dir + len - want, last, want) == 0 &&
           (len == want || dir[len - want - 1] == '/');
}

/* 0 when the layout has the name; -ENOENT; or what is wrong with it. */
static int find_in_layout(struct image_job *job, const char *dir, struct oci_desc *ret,
                          struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/index.json", dir);
    int r;

    buf_reset(&job->text);
    r = file_read(path, &job->text);
    if (r == -ENOENT)
        return r;
    if (r < 0)
        return err_set(err, r, "OCI layout %s: %s", path, strerror(-r));
    r = oci_find_ref(buf_str(&job->text), job->text.len, &job->name,
                     is_named_after(dir, job->name.repo), ret, err);
    return r < 0 && r != -ENOENT ? err_wrap(err, "OCI layout %s", path) : r;
}

/* A digest cannot move; but its document may be here by somebody else's right alone. */
static bool must_ask(const struct image_job *job)
{
    struct disk *disk = &job->store->disk;
    const struct disk_ref *ref = disk_ref_find(disk, &job->name);
    char access[DIGEST_HEX_LEN + 1];

    login_hash(&job->login, access);
    if (ref && (!ref->access[0] || str_eq(ref->access, access)))
        return false;
    return disk_has_blob(disk, job->name.digest, 0);
}

static void import(struct image_job *job, const char *dir)
{
    struct oci_desc target;
    struct err err;
    int r = find_in_layout(job, dir, &target, &err);

    if (r == -ENOENT && job->text.len == 0)
        (void)err_set(&err, r, "%s is no OCI image layout: it has no index.json", dir);
    else if (r == -ENOENT)
        r = oci_only_ref(buf_str(&job->text), job->text.len, &target, &err);
    if (r < 0) {
        (void)err_wrap(&err, "OCI layout %s", dir);
        job_fail(job, &err);
        return;
    }
    job->layout = job->store->config.import_layout;
    want_document(job, JOB_MANIFEST, target.digest);
}

void image_job_run(struct image_job *job)
{
    const struct image_store_config *config = &job->store->config;
    struct oci_desc target;
    struct err err;

    if (config->import_layout) {
        import(job, config->import_layout);
        return;
    }
    for (size_t i = 0; i < config->layouts_len; i++) {
        int r = find_in_layout(job, config->layouts[i], &target, &err);

        if (r == -ENOENT)
            continue;
        if (r < 0) {
            job_fail(job, &err);
            return;
        }
        job->layout = config->layouts[i];
        want_document(job, JOB_MANIFEST, target.digest);
        return;
    }
    if (job->name.digest[0])
        ask(job, must_ask(job) ? JOB_HEAD : JOB_MANIFEST, job->name.digest);
    else if (disk_ref_find(&job->store->disk, &job->name))
        ask(job, JOB_HEAD, "");
    else
        ask(job, JOB_TAG, "");
}
