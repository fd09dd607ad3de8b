/* Resizes in place: part of reconcile. What a Pod's containers were given is kept with the
 * observation and stands in pod->spec for what they ask for, so that nothing else need know of the
 * difference; a version of the spec that asks for more or less is judged by core/resize.h. */
#include "provider/reconcile_priv.h"

#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"
#include "k8s/codec.h"

#include <stdlib.h>
#include <string.h>

#define RESIZE_RETRY_MS 10000u /* after a try that failed: the kubelet's next sync of the Pod */
#define SUMMARY_MAX 8192       /* an event's text is cut to less */

static struct container_spec *copy_list(struct arena *arena, const struct container_spec *list,
                                        size_t len)
{
    struct container_spec *copy = arena_array(arena, len + 1, sizeof(*copy));
    for (size_t i = 0; i < len; i++)
        copy[i] = list[i];
    return copy;
}

/* A copy whose containers have the resources that were given to them. */
static const struct pod_spec *given(const struct pod *pod, struct arena *arena,
                                    const struct pod_spec *spec)
{
    struct pod_spec *copy = arena_alloc(arena, sizeof(*copy));
    struct container_spec *regular = copy_list(arena, spec->containers, spec->containers_len);
    struct container_spec *inits =
        copy_list(arena, spec->init_containers, spec->init_containers_len);
    size_t len = pod_common_len(spec, &pod->obs);
    *copy = *spec;
    for (size_t i = 0; i < len; i++) {
        struct container_spec *c =
            i < spec->containers_len ? &regular[i] : &inits[i - spec->containers_len];
        if (pod->containers[i].allocated_known)
            c->resources = pod->containers[i].allocated;
    }
    copy->containers = regular;
    copy->init_containers = inits;
    return copy;
}

const struct pod_spec *pod_as_given(const struct pod *pod, struct arena *arena,
                                    const struct pod_spec *spec)
{
    size_t len = pod_common_len(spec, &pod->obs);
    for (size_t i = 0; i < len; i++) {
        const struct container_observed *c = &pod->containers[i];
        if (c->allocated_known &&
            memcmp(&c->allocated, &pod_container(spec, i)->resources, sizeof(c->allocated)) != 0)
            return given(pod, arena, spec);
    }
    return spec;
}

static struct pod_resize *resize_of(struct pod *pod)
{
    if (!pod->resize)
        pod->resize = xcalloc(1, sizeof(*pod->resize));
    pod->obs.resize = pod->resize;
    return pod->resize;
}

static void set_pending(struct reconcile *r, struct pod_resize *resize, enum resize_pending pending)
{
    r->deferred -= resize->pending == RESIZE_DEFERRED;
    r->deferred += pending == RESIZE_DEFERRED;
    resize->pending = pending;
}

static void save_soon(struct pod *pod)
{
    pod->unsaved = true;
    pod->save_due_ms = 0;
}

static void tell(struct reconcile *r, struct pod *pod, bool warning, const char *reason,
                 const char *what, bool desired, int64_t generation, const char *error)
{
    struct buf summary = BUF_INIT(SUMMARY_MAX);
    codec_resize_summary(pod->spec, desired, generation, error, &summary);
    pod_event(r, pod, -1, warning, reason, "Pod resize %s: %s", what, buf_str(&summary));
    buf_free(&summary);
}

/* From now on this is what it has; its machine follows in the next step. */
static void accept(struct reconcile *r, struct pod *pod, const struct now *now)
{
    struct pod_resize *resize = resize_of(pod);
    struct amounts before = pod_requests(pod->spec), after = pod_requests_desired(pod->spec);
    size_t len = pod_common_len(pod->spec, &pod->obs);
    for (size_t i = 0; i < len; i++) {
        pod->containers[i].allocated = pod_container(pod->spec, i)->desired;
        pod->containers[i].resize_retry_ms = 0;
    }
    set_pending(r, resize, RESIZE_NONE);
    if (!resize->in_progress)
        resize->progress_since_ms = now->unix_ms;
    resize->in_progress = true;
    resize->error[0] = '\0';
    resize->progress_generation = pod->spec->generation;
    r->room =
        r->room || after.cpu_milli < before.cpu_milli || after.memory_bytes < before.memory_bytes;
    tell(r, pod, false, "ResizeStarted", "started", true, pod->spec->generation, NULL);
    pod->spec = given(pod, pod->arena, pod->spec);
    save_soon(pod);
}

static void put_off(struct reconcile *r, struct pod *pod, enum resize_pending pending,
                    const char *message, const struct now *now)
{
    struct pod_resize *resize = resize_of(pod);
    bool infeasible = pending == RESIZE_INFEASIBLE;
    bool news = resize->pending != pending || resize->pending_generation != pod->spec->generation;
    if (resize->pending == RESIZE_NONE)
        resize->pending_since_ms = now->unix_ms;
    set_pending(r, resize, pending);
    resize->pending_generation = pod->spec->generation;
    str_copy(resize->message, sizeof(resize->message), message);
    if (!news)
        return;
    tell(r, pod, true, infeasible ? "ResizeInfeasible" : "ResizeDeferred",
         infeasible ? "Infeasible" : "Deferred", true, pod->spec->generation, message);
    save_soon(pod);
}

static void judge(struct reconcile *r, struct pod *pod, const struct admit_env *env,
                  const struct now *now)
{
    struct amounts own = pod_requests(pod->spec);
    struct resize_env resize = {.allocatable = env->allocatable, .others = pods_used(r)};
    char message[OBSERVED_VERDICT_MAX];
    resize.others.cpu_milli -= own.cpu_milli;
    resize.others.memory_bytes -= own.memory_bytes;
    if (r->ops->resize_host)
        r->ops->resize_host(r->world, pod, (uint32_t)pod_active(pod), &resize.host);
    enum resize_pending pending = pod_resize_judge(pod->spec, &pod->obs, &resize, message);
    if (pending == RESIZE_NONE)
        accept(r, pod, now);
    else
        put_off(r, pod, pending, message, now);
}

void pod_resize(struct reconcile *r, struct pod *pod, const struct admit_env *env,
                const struct now *now)
{
    size_t len = pod_common_len(pod->spec, &pod->obs);
    if (pod->held || pod_stopped_for_good(pod->spec, &pod->obs))
        return;
    for (size_t i = 0; i < len; i++) {
        struct container_observed *c = &pod->containers[i];
        if (c->allocated_known)
            continue;
        c->allocated_known = true;
        c->allocated = pod_container(pod->spec, i)->resources;
    }
    /* An agent before, whose record is lost, left one: it is taken back. */
    if (pod->spec->api_resize)
        (void)resize_of(pod);
    if (pod_resize_wanted(pod->spec)) {
        if (env->known)
            judge(r, pod, env, now);
    } else if (pod->resize && pod->resize->pending != RESIZE_NONE) {
        set_pending(r, pod->resize, RESIZE_NONE); /* taken back */
        save_soon(pod);
    }
}

void pod_resized(struct reconcile *r, struct pod *pod)
{
    bool active = pod_is_active(pod);
    r->room = r->room || (pod->counted && !active);
    pod->counted = active;
    if (!pod->resize || !pod->resize->in_progress || pod->adopting ||
        pod_resizing(pod->spec, &pod->obs))
        return;
    pod->resize->in_progress = false;
    pod->resize->error[0] = '\0';
    if (!pod_ending(pod->spec, &pod->obs) && !pod->obs.verdict)
        tell(r, pod, false, "ResizeCompleted", "completed", false, pod->resize->progress_generation,
             NULL);
    save_soon(pod);
}

void pod_resize_act(struct reconcile *r, struct pod *pod, uint32_t container)
{
    struct container_observed *c = &pod->containers[container];
    struct pod_resize *resize = resize_of(pod);
    struct now now = r->ops->now(r->world);
    char error[OBSERVED_TEXT_MAX] = "";
    int result = r->ops->resize(r->world, pod, container, error);
    if (result == 0) {
        c->actual = pod_container(pod->spec, container)->resources;
        c->resize_retry_ms = 0;
        resize->error[0] = '\0';
        save_soon(pod);
        return;
    }
    c->resize_retry_ms = now.mono_ms + RESIZE_RETRY_MS;
    if (!str_eq(resize->error, error))
        tell(r, pod, true, "ResizeError", "error", false, pod->spec->generation, error);
    str_copy(resize->error, sizeof(resize->error), error);
}

void pod_resize_restore(struct reconcile *r, struct pod *pod, const struct pod_resize *resize)
{
    *resize_of(pod) = *resize;
    r->deferred += resize->pending == RESIZE_DEFERRED;
}

void pod_resize_forget(struct reconcile *r, struct pod *pod)
{
    if (pod->resize)
        set_pending(r, pod->resize, RESIZE_NONE);
    r->room = r->room || pod->counted;
}

void resizes_wake(struct reconcile *r)
{
    const char *key;
    void *value;
    if (r->room && r->deferred > 0) {
        for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);) {
            struct pod *pod = value;
            if (pod->resize && pod->resize->pending == RESIZE_DEFERRED)
                pod_dirty(r, pod);
        }
    }
    r->room = false;
}
