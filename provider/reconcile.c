/* The table of Pods, the dirty list and the flush: what is decided by provider/core is done here,
 * once a loop turn. Answers of the world come in through reconcile_results.c, actions leave through
 * reconcile_actions.c. No I/O of its own. */
#include "provider/reconcile_priv.h"

#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reconcile *reconcile_new(const struct reconcile_config *config, const struct world_ops *ops,
                                void *world)
{
    struct reconcile *r = xcalloc(1, sizeof(*r));
    r->ops = ops;
    r->world = world;
    r->host_ip = xstrdup(config->host_ip);
    r->restart_max_ms = config->restart_max_ms;
    r->by_uid = map_new();
    r->by_name = map_new();
    r->owners = map_new();
    r->dirty_tail = &r->dirty_head;
    r->deadline_ms = DEADLINE_NONE;
    buf_init(&r->patch, PATCH_MAX);
    buf_init(&r->record, RECORD_MAX);
    return r;
}

static char *name_key(const struct pod_spec *spec)
{
    return xasprintf("%s/%s", spec->ns, spec->name);
}

static void release(struct pod *pod)
{
    arena_free(pod->arena);
    free(pod->refusal);
    console_free_all(pod);
    free(pod->containers);
    free(pod->image_names);
    free(pod->verdict);
    free(pod->resize);
    free(pod);
}

void reconcile_free(struct reconcile *r)
{
    if (!r)
        return;
    void *value;
    const char *key;
    for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);) {
        struct pod *pod = value;
        r->ops->forget(r->world, pod);
        release(pod);
    }
    map_free(r->by_uid);
    map_free(r->by_name);
    owners_free(r);
    buf_free(&r->patch);
    buf_free(&r->record);
    free(r->host_ip);
    free(r);
}

void pod_dirty(struct reconcile *r, struct pod *pod)
{
    if (pod->dirty)
        return;
    pod->dirty = true;
    pod->dirty_next = NULL;
    *r->dirty_tail = pod;
    r->dirty_tail = &pod->dirty_next;
}

static void cap_backoff(const struct reconcile *r, struct pod *pod)
{
    for (size_t i = 0; i < pod->obs.containers_len; i++)
        pod->containers[i].restart_max_ms = r->restart_max_ms;
}

struct pod *pod_insert(struct reconcile *r, struct arena *arena, const struct pod_spec *spec,
                       enum pod_origin origin)
{
    struct pod *pod = xcalloc(1, sizeof(*pod));
    struct now now = r->ops->now(r->world);
    pod->arena = arena;
    pod->spec = spec;
    pod->origin = origin;
    pod->deadline_ms = DEADLINE_NONE;
    size_t len = pod_containers_len(spec);
    if (len > POD_MACHINES_MAX)
        len = POD_MACHINES_MAX; /* refused anyhow; see refuse.h */
    pod->containers = xcalloc(len, sizeof(*pod->containers));
    pod->image_names = xcalloc(len, sizeof(*pod->image_names));
    observe_init(&pod->obs, spec, pod->containers, &now);
    cap_backoff(r, pod);
    map_set(r->by_uid, spec->uid, pod);
    char *key = name_key(spec);
    map_set(r->by_name, key, pod);
    free(key);
    return pod;
}

void pod_fit(struct reconcile *r, struct pod *pod, const struct pod_spec *spec)
{
    struct container_observed *old = pod->containers;
    char(*old_names)[POD_IMAGE_NAME_MAX] = pod->image_names;
    size_t old_len = pod->obs.containers_len, len = pod_containers_len(spec);
    if (len > POD_MACHINES_MAX)
        len = POD_MACHINES_MAX;
    pod->containers = xcalloc(len, sizeof(*pod->containers));
    pod->image_names = xcalloc(len, sizeof(*pod->image_names));
    for (size_t i = 0; i < old_len; i++) {
        size_t to;
        if (!pod_find_container(spec, pod_container(pod->spec, i)->name, &to) || to >= len)
            to =
                i; /* it was found without a name, or names nothing: its machine must not be lost */
        if (to >= len)
            continue;
        pod->containers[to] = old[i];
        memcpy(pod->image_names[to], old_names[i], POD_IMAGE_NAME_MAX);
    }
    pod->obs.containers = pod->containers;
    pod->obs.containers_len = len;
    cap_backoff(r, pod);
    free(old);
    free(old_names);
}

void pod_free(struct reconcile *r, struct pod *pod)
{
    r->ops->forget(r->world, pod);
    pod_resize_forget(r, pod);
    char *key = name_key(pod->spec);
    if (map_get(r->by_name, key) == pod)
        map_remove(r->by_name, key);
    free(key);
    map_remove(r->by_uid, pod->spec->uid);
    r->adopting -= pod->adopting;
    release(pod);
}

int pod_save(struct reconcile *r, struct pod *pod)
{
    buf_reset(&r->record);
    record_encode(pod, &r->record);
    int result = r->record.overflow
                     ? -ENOBUFS
                     : r->ops->save(r->world, pod->spec->uid, buf_str(&r->record), r->record.len);
    pod->unsaved = result < 0;
    return result;
}

void pod_event(struct reconcile *r, struct pod *pod, int container, bool warning,
               const char *reason, const char *fmt, ...)
{
    char text[1024]; /* the API's own limit on an event's message */
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    r->ops->event(r->world, pod, container, warning, reason, text);
}

/* Whether the agent may act on this Pod at all now. */
static bool pod_actionable(const struct reconcile *r, const struct pod *pod)
{
    if (pod->spec->features & PF_MIRROR)
        return false;
    /* What the API has not spoken of yet may be an orphan or may be wanted: only a complete list
     * tells (contract 2, last but one rule). */
    return pod->origin == POD_FROM_API || (r->synced && pod->obs.gone);
}

/* Decides once per version of the spec whether the Pod is run. False: not known yet. */
static bool pod_judge(struct reconcile *r, struct pod *pod, const struct now *now)
{
    if (pod->obs.gone || pod->spec->deletion_ms || pod->obs.verdict)
        return true; /* to be ended in any case */
    struct refuse_env env;
    if (!r->ops->refuse_env(r->world, pod->spec, &env))
        return false;
    switch (pod_admission(r, pod, &env.node, now)) {
    case ADMISSION_UNKNOWN:
        return false;
    case ADMISSION_HELD:
        return true;
    case ADMISSION_IN:
        break;
    }
    if (pod->obs.verdict)
        return true;
    pod_resize(r, pod, &env.node, now);
    struct refusal refusal;
    pod->refused = pod_refuse(pod->spec, &env, &refusal);
    if (pod->refused) {
        if (!pod->refusal)
            pod->refusal = xmalloc(sizeof(*pod->refusal));
        *pod->refusal = refusal;
    }
    if (pod->refused && !pod->refusal_told) {
        pod->refusal_told = true;
        pod_event(r, pod, -1, true, "Failed", "Error: %s", pod->refusal->message);
    }
    return true;
}

/* Steps one Pod until nothing is left to be done now. False: it is no more. */
static bool pod_process(struct reconcile *r, struct pod *pod)
{
    struct now now = r->ops->now(r->world);
    pod->deadline_ms = DEADLINE_NONE;
    if ((pod->spec->features & PF_MIRROR) && pod->obs.gone) {
        pod_free(r, pod);
        return false;
    }
    if (!pod_actionable(r, pod) || !pod_judge(r, pod, &now))
        return true;
    uint64_t held_ms = pod->held ? pod->deadline_ms : DEADLINE_NONE;
    uint64_t end_ms = pod_check_deadline(r, pod, &now);
    if (end_ms < held_ms)
        held_ms = end_ms;
    for (unsigned round = 0; round < STEP_ROUNDS_MAX; round++) {
        struct action actions[ACTIONS_MAX];
        size_t count = pod_step(pod->spec, &pod->obs, pod->refused ? pod->refusal : NULL, &now,
                                actions, &pod->deadline_ms);
        if (count == 0)
            break;
        for (size_t i = 0; i < count; i++) {
            if (!pod_act(r, pod, &actions[i]))
                return false;
        }
    }
    if (held_ms < pod->deadline_ms)
        pod->deadline_ms = held_ms;
    pod_resized(r, pod);
    if (r->ops->look)
        r->ops->look(r->world, pod);
    pod_report(r, pod, &now);
    /* Else another agent would start from an older truth, and report it. */
    if (pod->unsaved && now.mono_ms >= pod->save_due_ms && pod_save(r, pod) < 0)
        pod->save_due_ms = now.mono_ms + SAVE_RETRY_MS;
    if (pod->unsaved && pod->save_due_ms < pod->deadline_ms)
        pod->deadline_ms = pod->save_due_ms;
    if (pod->status_due_ms && pod->status_due_ms < pod->deadline_ms)
        pod->deadline_ms = pod->status_due_ms;
    return true;
}

static void wake_due(struct reconcile *r, uint64_t mono_ms)
{
    if (mono_ms < r->deadline_ms)
        return;
    r->deadline_ms = DEADLINE_NONE;
    void *value;
    const char *key;
    for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);) {
        struct pod *pod = value;
        if (pod->deadline_ms <= mono_ms)
            pod_dirty(r, pod);
        else if (pod->deadline_ms < r->deadline_ms)
            r->deadline_ms = pod->deadline_ms;
    }
}

/* The rest of a list, before those that became dirty since. */
static void put_back(struct reconcile *r, struct pod *list)
{
    struct pod *last = list;
    while (last->dirty_next)
        last = last->dirty_next;
    last->dirty_next = r->dirty_head;
    if (!r->dirty_head)
        r->dirty_tail = &last->dirty_next;
    r->dirty_head = list;
}

/* Every machine of a former agent is in hand again, and its Pod as the API server knows it. */
static void tell_adopted(struct reconcile *r, uint64_t mono_ms)
{
    if (r->adopted == 0 || r->adopting > 0 || !r->synced || r->dirty_head)
        return;
    log_info(NULL, "adopted", "%zu machines of a former agent taken over in %llu ms", r->adopted,
             (unsigned long long)(mono_ms - r->restored_ms));
    r->adopted = 0;
}

uint64_t reconcile_flush(struct reconcile *r)
{
    struct now now = r->ops->now(r->world);
    wake_due(r, now.mono_ms);
    /* Pods that become dirty meanwhile are taken in the next turn. */
    struct pod *list = r->dirty_head;
    r->dirty_head = NULL;
    r->dirty_tail = &r->dirty_head;
    while (list) {
        struct pod *pod = list;
        list = pod->dirty_next;
        pod->dirty = false;
        if (pod_process(r, pod) && pod->deadline_ms < r->deadline_ms)
            r->deadline_ms = pod->deadline_ms;
        if (list && r->ops->now(r->world).mono_ms - now.mono_ms >= FLUSH_MS) {
            put_back(r, list);
            break;
        }
    }
    resizes_wake(r);
    tell_adopted(r, r->ops->now(r->world).mono_ms);
    return r->dirty_head ? now.mono_ms : r->deadline_ms;
}

bool reconcile_pending(const struct reconcile *r)
{
    return r->dirty_head != NULL;
}

void reconcile_touch_all(struct reconcile *r)
{
    void *value;
    const char *key;
    for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);) {
        struct pod *pod = value;
        pod->patch_failures = 0;
        pod->status_due_ms = 0;
        pod_dirty(r, pod);
    }
}

struct pod *reconcile_find_uid(struct reconcile *r, const char *uid)
{
    return map_get(r->by_uid, uid);
}

struct pod *reconcile_find(struct reconcile *r, const char *ns, const char *name)
{
    char *key = xasprintf("%s/%s", ns, name);
    struct pod *pod = map_get(r->by_name, key);
    free(key);
    return pod;
}

bool reconcile_is_synced(const struct reconcile *r)
{
    return r->synced;
}

size_t reconcile_count(const struct reconcile *r)
{
    return map_len(r->by_uid);
}
