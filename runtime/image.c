/* The image store as others see it: opening, who waits for which pull, what is here. Callbacks come
 * from a timer of zero, so never before the asking function has returned. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fetch.h"
#include "base/map.h"
#include "base/str.h"
#include "runtime/image_int.h"

#include <errno.h>
#include <string.h>

static void pull_free(struct image_pull *pull)
{
    free(pull->reference);
    free(pull);
}

/* One round: those that callbacks make ready get the next. */
static void on_timer(uv_timer_t *timer)
{
    struct image_store *store = timer->data;
    struct image_pull *pull;
    size_t round = 0;

    for (pull = TAILQ_FIRST(&store->ready); pull; pull = TAILQ_NEXT(pull, link))
        round++;
    while (round-- > 0 && (pull = TAILQ_FIRST(&store->ready))) {
        TAILQ_REMOVE(&store->ready, pull, link);
        pull->result.error = pull->result.reason ? pull->error : NULL;
        pull->result.took_ms = clock_mono_ms() - pull->started_ms;
        pull->done(pull->userdata, &pull->result);
        pull_free(pull);
    }
    if (!TAILQ_EMPTY(&store->ready))
        (void)uv_timer_start(store->timer, on_timer, 0, 0);
}

static void make_ready(struct image_pull *pull)
{
    struct image_store *store = pull->store;

    pull->job = NULL;
    TAILQ_INSERT_TAIL(&store->ready, pull, link);
    if (!uv_is_active((const uv_handle_t *)store->timer))
        (void)uv_timer_start(store->timer, on_timer, 0, 0);
}

static void ready_error(struct image_pull *pull, const char *reason, const char *error)
{
    pull->result.reason = reason;
    str_copy(pull->error, sizeof(pull->error), error);
    make_ready(pull);
}

static bool ready_image(struct image_pull *pull, const struct disk_ref *ref, bool pulled)
{
    struct image *image =
        disk_image_load(&pull->store->disk, pull->reference, ref->name, ref->digest, ref->manifest);

    if (!image)
        return false;
    pull->result.image = image;
    pull->result.pulled = pulled;
    pull->result.bytes = image->size_bytes;
    make_ready(pull);
    return true;
}

void image_settle(struct image_store *store, struct image_pulls *waiters,
                  const struct disk_ref *ref, const char *reason, const char *error)
{
    struct image_pull *pull;

    (void)store;
    while ((pull = TAILQ_FIRST(waiters))) {
        TAILQ_REMOVE(waiters, pull, link);
        if (!ref)
            ready_error(pull, reason, error);
        else if (!ready_image(pull, ref, true))
            ready_error(pull, "ErrImagePull", "the unpacked image was damaged, it is pulled again");
    }
}

/* From this disk alone, as far as the policy allows; false: a job must do it. What was got with
 * credentials is only for who has the same: others ask the registry, as with the kubelet's
 * KubeletEnsureSecretPulledImages. */
static bool try_local(struct image_pull *pull, const struct image_name *name,
                      enum image_policy policy, const char *access)
{
    const struct disk_ref *ref = disk_ref_find(&pull->store->disk, name);
    char text[ERR_TEXT_MAX];

    if (policy == IMAGE_ALWAYS)
        return false;
    if (ref && ref->access[0] && !str_eq(ref->access, access))
        ref = NULL;
    if (ref && ready_image(pull, ref, false))
        return true;
    if (policy == IMAGE_IF_NOT_PRESENT)
        return false;
    ready_error(pull, "ErrImageNeverPull",
                str_fmt(text, sizeof(text),
                        "Container image \"%s\" is not present with pull policy of Never",
                        pull->reference));
    return true;
}

/* The job under way for the same name and credentials, or a new one. */
static void join(struct image_pull *pull, const struct image_name *name,
                 const struct image_login *login)
{
    CLEANUP(free) char *key = image_job_key(name, login);
    struct image_job *job = map_get(pull->store->jobs, key);
    bool run = !job;

    if (!job)
        job = image_job_new(pull->store, name, login);
    image_job_join(job, pull);
    if (run)
        image_job_run(job);
}

struct image_pull *image_pull_start(struct image_store *store, const char *reference,
                                    enum image_policy policy, const char *user,
                                    const char *password, const struct keyring *keyring,
                                    image_done done, void *userdata)
{
    struct image_pull *pull = xcalloc(1, sizeof(*pull));
    char access[DIGEST_HEX_LEN + 1];
    struct image_login login;
    struct image_name name;
    struct err err;

    pull->store = store;
    pull->reference = xstrdup(reference);
    pull->done = done;
    pull->userdata = userdata;
    pull->started_ms = clock_mono_ms();
    if (image_name_parse(reference, &name, &err) < 0) {
        ready_error(pull, "InvalidImageName", err.text);
        return pull;
    }
    login_set(&login, user, password);
    registry_mirror_logins(&store->registry, &name, keyring, &login);
    login_hash(&login, access);
    if (!try_local(pull, &name, policy, access))
        join(pull, &name, &login);
    login_free(&login);
    return pull;
}

void image_pull_cancel(struct image_pull *pull)
{
    if (pull->job)
        image_job_leave(pull->job, pull);
    else
        TAILQ_REMOVE(&pull->store->ready, pull, link);
    image_unref(pull->result.image);
    pull_free(pull);
}

void image_pull_progress(const struct image_pull *pull, struct image_progress *ret)
{
    *ret = (struct image_progress){.got = 0};
    if (pull->job)
        image_job_progress(pull->job, ret);
}

/* A copy of the caller's configuration: it may be made on the fly. */
static void copy_config(struct image_store_config *dst, const struct image_store_config *src)
{
    const char **layouts = xcalloc(src->layouts_len + 1, sizeof(*layouts));
    const char **hosts = xcalloc(src->insecure_registries_len + 1, sizeof(*hosts));

    for (size_t i = 0; i < src->layouts_len; i++)
        layouts[i] = xstrdup(src->layouts[i]);
    for (size_t i = 0; i < src->insecure_registries_len; i++)
        hosts[i] = xstrdup(src->insecure_registries[i]);
    *dst = *src;
    dst->dir = NULL; /* the disk's */
    dst->layouts = layouts;
    dst->insecure_registries = hosts;
    dst->registry_ca_file = src->registry_ca_file ? xstrdup(src->registry_ca_file) : NULL;
    dst->registry_config_dir = src->registry_config_dir ? xstrdup(src->registry_config_dir) : NULL;
    dst->import_layout = src->import_layout ? xstrdup(src->import_layout) : NULL;
    dst->worker = src->worker ? xstrdup(src->worker) : NULL;
    dst->platform_kernel = src->platform_kernel ? xstrdup(src->platform_kernel) : NULL;
}

static void free_config(struct image_store_config *config)
{
    for (size_t i = 0; i < config->layouts_len; i++)
        free((char *)config->layouts[i]);
    for (size_t i = 0; i < config->insecure_registries_len; i++)
        free((char *)config->insecure_registries[i]);
    free((void *)config->layouts);
    free((void *)config->insecure_registries);
    free((char *)config->registry_ca_file);
    free((char *)config->registry_config_dir);
    free((char *)config->platform_kernel);
    free((char *)config->import_layout);
    free((char *)config->worker);
}

int image_store_open(struct uv_loop_s *loop, const struct fetcher *fetcher,
                     const struct image_store_config *config, struct image_store **ret,
                     struct err *err)
{
    struct image_store *store = xcalloc(1, sizeof(*store));
    int r = disk_open(&store->disk, config->dir, err);

    if (r < 0) {
        err_wrap(err, "image store");
        disk_close(&store->disk);
        free(store);
        return r;
    }
    store->loop = loop;
    copy_config(&store->config, config);
    if (config->platform_kernel)
        store->disk.platform_kernel = xstrdup(config->platform_kernel);
    store->blobs = map_new();
    store->jobs = map_new();
    TAILQ_INIT(&store->ready);
    registry_init(&store->registry, loop, fetcher, &store->config);
    store->timer = xcalloc(1, sizeof(*store->timer));
    (void)uv_timer_init(loop, store->timer);
    store->timer->data = store;
    *ret = store;
    return 0;
}

static void on_timer_closed(uv_handle_t *timer)
{
    free(timer);
}

void image_store_close(struct image_store *store)
{
    struct image_pull *pull;
    const char *key;
    void *value;
    size_t it = 0;

    if (!store)
        return;
    while (map_next(store->jobs, &it, &key, &value))
        image_job_abandon(value);
    while ((pull = TAILQ_FIRST(&store->ready)))
        image_pull_cancel(pull);
    uv_close((uv_handle_t *)store->timer, on_timer_closed);
    registry_done(&store->registry);
    map_free(store->blobs);
    map_free(store->jobs);
    disk_close(&store->disk);
    free_config(&store->config);
    free(store);
}

struct image *image_find(struct image_store *store, const char *name, const char *digest)
{
    const struct disk_ref *ref = disk_ref_find_digest(&store->disk, name, digest);
    CLEANUP(free) char *reference = xasprintf("%s@%s", name, digest);

    if (ref)
        return disk_image_load(&store->disk, reference, name, digest, ref->manifest);
    /* Forgotten by name, but a manifest's digest finds its files. */
    return image_digest_valid(digest)
               ? disk_image_load(&store->disk, reference, name, digest, digest)
               : NULL;
}

struct image *image_local(struct image_store *store, const char *reference)
{
    const struct disk_ref *ref;
    struct image_name name;

    if (image_name_parse(reference, &name, NULL) < 0)
        return NULL;
    ref = disk_ref_find(&store->disk, &name);
    return ref ? disk_image_load(&store->disk, reference, ref->name, ref->digest, ref->manifest)
               : NULL;
}

static int by_size(const void *a, const void *b)
{
    const struct image_listing *x = a;
    const struct image_listing *y = b;

    if (x->size_bytes != y->size_bytes)
        return x->size_bytes > y->size_bytes ? -1 : 1;
    return strcmp(x->digest, y->digest);
}

size_t image_list(struct image_store *store, struct image_listing *out, size_t max)
{
    struct image_listing *all;
    size_t len;

    disk_refs_sync(&store->disk);
    len = store->disk.refs_len;
    all = xcalloc(len + 1, sizeof(*all));
    for (size_t i = 0; i < len; i++) {
        const struct disk_ref *ref = &store->disk.refs[i];

        all[i] = (struct image_listing){
            .name = ref->name,
            .tag = ref->tag,
            .digest = ref->digest,
            .size_bytes = ref->size_bytes,
        };
    }
    qsort(all, len, sizeof(*all), by_size);
    if (len > max)
        len = max;
    memcpy(out, all, len * sizeof(*all));
    free(all);
    return len;
}

bool image_present(struct image_store *store, const char *reference)
{
    struct image_name name;

    return image_name_parse(reference, &name, NULL) == 0 && disk_ref_find(&store->disk, &name);
}

bool image_private(struct image_store *store, const char *reference)
{
    const struct disk_ref *ref;
    struct image_name name;

    if (image_name_parse(reference, &name, NULL) < 0)
        return false;
    ref = disk_ref_find(&store->disk, &name);
    return ref && ref->access[0];
}
