/* How a Pod's volumes reach its guest: copied into an initrd of its own, or shared by the VMM where
 * the guest has 9p; then changes of ConfigMaps, Secrets and tokens arrive while it runs. Decides on
 * the loop, works in a worker. Part of prepare. */
#include "provider/prepare_priv.h"

#include "base/arena.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "provider/core/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MOUNTS_MAX 64u
#define SHARES_MAX 7u                   /* microvm's virtio-mmio slots, without the NIC's */
#define SHARES_UNIKRAFT_MAX 3u          /* VIRTIO_MMIO_MAX_DEV_CMDLINE is 4 */
#define ETC_COPY_MAX (16 * 1024 * 1024) /* a larger initrd is not copied for /etc alone */
#define SHARED_FILES "unikubelet.dev/shared-files"

/* A job in the worker. Belongs to itself: the Pod may go meanwhile. */
struct volumes_work {
    uv_work_t work;
    struct agent *agent;
    struct needs *needs; /* NULL: nobody wants the result any more */
    struct arena *arena;
    struct volumes_job job;
    struct volumes_mount mounts[MOUNTS_MAX];
    bool refresh;
    gid_t gid;
    int result;
    struct err err;
};

struct plan {
    struct needs *needs;
    struct pod *pod;
    const struct container_spec *container;
    const struct image *image;
    struct volumes_work *work;
    struct answer *answer;
    struct answer ignored; /* of the automatic volume, which never stops a Pod */
    bool shares;
    size_t shares_len;
};

static const char *state_dir(const struct machine *m, struct arena *arena, const char *name)
{
    char *path = xasprintf("%s/volumes/%s/%s", m->agent->config.state_dir, m->uid, name);
    const char *copy = arena_strdup(arena, path);

    free(path);
    return copy;
}

static const char *run_path(const struct machine *m, struct arena *arena, const char *kind,
                            const char *name)
{
    char *dir = prepare_run_dir(m);
    char *path = xasprintf("%s/%s/%s", dir, kind, name);
    const char *copy = arena_strdup(arena, path);

    free(path);
    free(dir);
    return copy;
}

static const struct volume *find_volume(const struct pod_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->volumes_len; i++) {
        if (str_eq(spec->volumes[i].name, name))
            return &spec->volumes[i];
    }
    return NULL;
}

/* 9p, by the kernel's own configuration or the Pod's word for it. */
static bool takes_shares(const struct image *image, const struct pod_spec *spec)
{
    for (size_t i = 0; i < image->os_features_len; i++) {
        if (str_eq(image->os_features[i], "CONFIG_LIBUK9P=y"))
            return true;
    }
    return str_eq(key_value_find(spec->annotations, spec->annotations_len, SHARED_FILES), "9p");
}

static int refuse(struct plan *plan, const struct volume *volume, const char *why)
{
    str_copy(plan->answer->reason, sizeof(plan->answer->reason), "CreateContainerConfigError");
    str_fmt(plan->answer->text, sizeof(plan->answer->text),
            "volume \"%s\" cannot reach the guest: %s", volume->name, why);
    return -ENOTSUP;
}

static int mount_failed(struct plan *plan, const struct volume *volume, const char *why)
{
    plan->answer->mount = true;
    str_fmt(plan->answer->text, sizeof(plan->answer->text),
            "MountVolume.SetUp failed for volume \"%s\" : %s", volume->name, why);
    return -EAGAIN;
}

static bool mounted_elsewhere(const struct plan *plan, const char *name)
{
    const struct pod_spec *spec = plan->pod->spec;

    for (size_t i = 0; i < pod_containers_len(spec); i++) {
        const struct container_spec *c = pod_container(spec, i);

        for (size_t k = 0; c != plan->container && k < c->mounts_len; k++) {
            if (str_eq(c->mounts[k].name, name))
                return true;
        }
    }
    return false;
}

/* What an initrd cannot be: it is a copy, and gone with the machine. */
static int check_copy(struct plan *plan, const struct volume *volume,
                      const struct volume_mount *mount)
{
    bool host = volume->kind == VOLUME_HOST_PATH || volume->kind == VOLUME_CLAIM;

    if (!plan->image->initrd)
        return refuse(plan, volume,
                      "the image has no initrd to put files into, and its kernel no 9pfs "
                      "(CONFIG_LIBUK9P=y)");
    if (host && !mount->read_only && !volume->read_only)
        return refuse(plan, volume,
                      "it is writable and the guest would get a copy in its initrd; mount it "
                      "readOnly, or use an image with 9pfs");
    if (volume->kind == VOLUME_EMPTY_DIR && mounted_elsewhere(plan, volume->name))
        return refuse(plan, volume,
                      "several containers mount it and each guest would have an empty one of its "
                      "own; use images with 9pfs");
    return 0;
}

static int find_sub_path(struct plan *plan, const struct volume *volume,
                         const struct volume_mount *mount, struct volumes_mount *ret)
{
    char error[OBSERVED_TEXT_MAX] = "";
    struct env_result env;
    int result;

    ret->sub_path = mount->sub_path;
    if (mount->sub_path_expr) {
        result = machine_env(plan->needs->machine, plan->pod, plan->needs->container,
                             plan->work->arena, &env, error, sizeof(error));
        if (result == 0)
            result = machine_expand(&env, mount->sub_path_expr, plan->work->arena, &ret->sub_path,
                                    error, sizeof(error));
        if (result < 0)
            return refuse(plan, volume, error);
    }
    if (ret->sub_path)
        ret->sub_path = arena_strdup(plan->work->arena, ret->sub_path);
    if (!ret->sub_path || volumes_sub_path_ok(ret->sub_path))
        return 0;
    return refuse(plan, volume,
                  ret->sub_path[0] == '/' ? "subPath must not be an absolute path"
                                          : "subPath must not contain '..'");
}

static int fill_host(struct plan *plan, const struct volume *volume, struct volumes_mount *ret)
{
    const char *error;

    ret->source = VOLUMES_HOST;
    ret->host_path = arena_strdup(plan->work->arena, volume->path);
    ret->host_type = volume->kind == VOLUME_CLAIM
                         ? "Directory"
                         : arena_strdup(plan->work->arena, volume->host_type);
    if (volume->kind == VOLUME_HOST_PATH)
        return 0;
    ret->host_path = claim_get(plan->needs, volume->path, &error);
    if (!ret->host_path)
        return *error ? mount_failed(plan, volume, error) : 1;
    ret->host_path = arena_strdup(plan->work->arena, ret->host_path);
    return 0;
}

/* 0; positive: not known yet; negative: answer says why. */
static int fill(struct plan *plan, const struct volume *volume, const struct volume_mount *mount,
                struct volumes_mount *ret)
{
    const struct machine *m = plan->needs->machine;
    struct arena *arena = plan->work->arena;

    switch (volume->kind) {
    case VOLUME_PROJECTED:
        ret->source = VOLUMES_FILES;
        ret->read_only = true;
        ret->dir = run_path(m, arena, "p", volume->name);
        return files_collect(plan->needs, plan->pod, volume, arena, &ret->files, &ret->files_len,
                             plan->answer);
    case VOLUME_EMPTY_DIR:
        ret->source = VOLUMES_EMPTY;
        ret->memory = volume->memory;
        ret->size_limit = volume->size_limit;
        ret->dir = volume->memory ? run_path(m, arena, "m", volume->name)
                                  : state_dir(m, arena, volume->name);
        return 0;
    case VOLUME_HOST_PATH:
    case VOLUME_CLAIM:
        ret->read_only = mount->read_only || volume->read_only;
        return fill_host(plan, volume, ret);
    case VOLUME_IMAGE:
    case VOLUME_OTHER:
        break;
    }
    return refuse(plan, volume, "its kind is not supported");
}

/* A file alone cannot be a share. */
static bool is_one_file(const struct volumes_mount *mount)
{
    for (size_t i = 0; mount->sub_path && i < mount->files_len; i++) {
        if (str_eq(mount->files[i].path, mount->sub_path))
            return true;
    }
    return false;
}

static int plan_mount(struct plan *plan, const struct volume_mount *mount)
{
    const struct volume *volume = find_volume(plan->pod->spec, mount->name);
    struct volumes_job *job = &plan->work->job;
    struct volumes_mount *ret = &plan->work->mounts[job->mounts_len];
    bool unikraft = str_eq(plan->image->guest_kind, "unikraft");
    int result;

    if (!volume)
        return 0;
    if (job->mounts_len == MOUNTS_MAX)
        return refuse(plan, volume, "the container has too many volumeMounts");
    *ret = (struct volumes_mount){
        .volume = arena_strdup(plan->work->arena, volume->name),
        .path = arena_strdup(plan->work->arena, mount->mount_path),
        .read_only = mount->read_only,
        .size_limit = -1,
    };
    result = find_sub_path(plan, volume, mount, ret);
    if (result == 0)
        result = fill(plan, volume, mount, ret);
    if (result)
        return result;
    ret->shared = plan->shares && !is_one_file(ret);
    if (!ret->shared)
        result = check_copy(plan, volume, mount);
    else if (++plan->shares_len > (unikraft ? SHARES_UNIKRAFT_MAX : SHARES_MAX))
        return refuse(plan, volume, "the machine has no place for another share");
    if (result == 0)
        job->mounts_len++;
    return result;
}

/* Never a reason to stop a Pod, and not worth a copy of the initrd alone. */
static int plan_automatic(struct plan *plan)
{
    struct volumes_job *job = &plan->work->job;

    for (size_t i = 0; i < plan->container->mounts_len; i++) {
        const struct volume_mount *mount = &plan->container->mounts[i];
        const struct volume *volume = find_volume(plan->pod->spec, mount->name);
        bool room = job->mounts_len < MOUNTS_MAX &&
                    (plan->shares ? plan->shares_len < SHARES_MAX : job->mounts_len > 0);
        int result;

        if (!volume || !volume->kube_api_access || !room)
            continue;
        needs_hold_automatic(plan->needs, plan->pod->spec);
        if (needs_known(plan->needs, &plan->ignored) > 0)
            return 1;
        plan->answer = &plan->ignored;
        result = plan_mount(plan, mount);
        if (result > 0)
            return result;
    }
    return 0;
}

static int plan_all(struct plan *plan)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < plan->container->mounts_len; i++) {
        const struct volume *volume = find_volume(plan->pod->spec, plan->container->mounts[i].name);

        if (volume && !volume->kube_api_access)
            result = plan_mount(plan, &plan->container->mounts[i]);
    }
    struct answer *answer = plan->answer;
    result = result ? result : plan_automatic(plan);
    plan->answer = answer;
    return result;
}

static bool wants_copy(const struct volumes_job *job)
{
    for (size_t i = 0; i < job->mounts_len; i++) {
        if (!job->mounts[i].shared)
            return true;
    }
    return false;
}

/* /etc by the initrd: always where it is rewritten anyway, else where names are wanted that no
 * command line carries, and for Linux, which has no other way. */
static void plan_initrd(struct plan *plan)
{
    const struct machine *m = plan->needs->machine;
    struct volumes_job *job = &plan->work->job;
    bool is_linux = str_eq(plan->image->guest_kind, "linux");
    bool names = plan->pod->spec->host_aliases_len > 0 ||
                 (is_linux && file_size(plan->image->initrd) <= ETC_COPY_MAX);
    char name[32];

    if (!plan->image->initrd || !(wants_copy(job) || names))
        return;
    str_fmt(name, sizeof(name), "%u", plan->needs->container);
    job->initrd = arena_strdup(plan->work->arena, plan->image->initrd);
    job->concatenates = is_linux;
    job->out = run_path(m, plan->work->arena, "initrd", name);
    job->extra_len = files_of_etc(m, plan->pod, plan->work->arena, &job->extra);
}

/* ---- the worker ---- */

static void work_free(struct volumes_work *work)
{
    for (size_t i = 0; i < work->job.mounts_len; i++)
        free(work->mounts[i].share);
    arena_free(work->arena);
    free(work);
}

static void run(uv_work_t *request)
{
    struct volumes_work *work = request->data;

    if (work->refresh)
        work->result = volumes_refresh(&work->job, work->gid, &work->err);
    else
        work->result = volumes_run(&work->job, &work->err);
}

static void forget_results(struct needs *needs)
{
    for (size_t i = 0; i < needs->shares_len; i++) {
        free(needs->shares[i].dir);
        free(needs->shares[i].path);
    }
    free(needs->shares);
    free(needs->initrd);
    needs->shares = NULL;
    needs->shares_len = 0;
    needs->initrd = NULL;
}

static void keep_results(struct needs *needs, struct volumes_work *work)
{
    forget_results(needs);
    needs->initrd = work->job.out ? xstrdup(work->job.out) : NULL;
    needs->shares = xcalloc(work->job.mounts_len + 1, sizeof(*needs->shares));
    for (size_t i = 0; i < work->job.mounts_len; i++) {
        struct volumes_mount *mount = &work->mounts[i];
        struct share *share = &needs->shares[needs->shares_len];

        if (!mount->share)
            continue;
        share->dir = mount->share;
        mount->share = NULL;
        share->path = xstrdup(mount->path);
        share->read_only = mount->read_only;
        str_fmt(share->tag, sizeof(share->tag), "fs%zu", needs->shares_len);
        needs->shares_len++;
    }
}

static void after(uv_work_t *request, int status)
{
    struct volumes_work *work = request->data;
    struct needs *needs = work->needs;

    (void)status;
    if (needs) {
        needs->work = NULL;
        if (!work->refresh && work->result == 0)
            keep_results(needs, work);
        prepare_worked(needs, work->refresh, work->result, &work->err);
    }
    work_free(work);
}

static struct volumes_work *work_new(struct needs *needs)
{
    struct volumes_work *work = xcalloc(1, sizeof(*work));
    const struct config *config = &needs->machine->agent->config;

    work->work.data = work;
    work->agent = needs->machine->agent;
    work->needs = needs;
    work->arena = arena_new(8192);
    work->job.mounts = work->mounts;
    work->job.host_prefixes = (const char *const *)config->host_path_prefixes.items;
    work->job.host_prefixes_len = config->host_path_prefixes.len;
    work->job.vmm_uid = work->agent->vmm_config.uid;
    return work;
}

static void queue(struct needs *needs, struct volumes_work *work)
{
    needs->work = work;
    (void)uv_queue_work(&work->agent->loop, &work->work, run, after);
}

int volumes_prepare(struct needs *needs, struct pod *pod, struct answer *answer)
{
    struct plan plan = {
        .needs = needs,
        .pod = pod,
        .container = pod_container(pod->spec, needs->container),
        .image = machine_image(needs->machine, pod, needs->container),
        .answer = answer,
    };
    int result;

    if (needs->work)
        return 1; /* its end asks again */
    forget_results(needs);
    if (!plan.image)
        return 0; /* the launch says so */
    plan.shares = takes_shares(plan.image, pod->spec);
    plan.work = work_new(needs);
    result = plan_all(&plan);
    if (result == 0)
        plan_initrd(&plan);
    if (result || (plan.work->job.mounts_len == 0 && !plan.work->job.initrd)) {
        work_free(plan.work);
        return result;
    }
    queue(needs, plan.work);
    return 1;
}

void volumes_follow(struct needs *needs, struct pod *pod)
{
    struct answer ignored = {0};
    struct plan plan = {
        .needs = needs,
        .pod = pod,
        .container = pod_container(pod->spec, needs->container),
        .image = machine_image(needs->machine, pod, needs->container),
        .answer = &ignored,
        .shares = true,
    };
    struct instance *instance = needs->machine->instance;

    if (needs->work) {
        needs->again = true;
        return;
    }
    needs->again = false;
    if (!plan.image || !instance || !takes_shares(plan.image, pod->spec))
        return;
    plan.work = work_new(needs);
    /* What cannot be had now stays as it is: a guest keeps the files that it has. */
    if (plan_all(&plan) != 0 || plan.shares_len == 0) {
        work_free(plan.work);
        return;
    }
    plan.work->refresh = true;
    plan.work->gid = instance_gid(instance);
    queue(needs, plan.work);
}

bool volumes_are_shared(struct machine *m, struct pod *pod)
{
    const struct image *image = machine_image(m, pod, m->container);

    return image && takes_shares(image, pod->spec) &&
           pod_container(pod->spec, m->container)->mounts_len > 0;
}

void volumes_end(struct needs *needs)
{
    if (needs->work)
        needs->work->needs = NULL;
    needs->work = NULL;
    forget_results(needs);
}
