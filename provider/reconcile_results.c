/* What comes in: Pods from the watch, answers of the world, what a former agent left behind. Each
 * function records and marks the Pod dirty; nothing is decided here. Part of reconcile. */
#include "provider/reconcile_priv.h"

#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The record's is in an arena that goes with the record. */
static void keep_console(struct pod *pod, struct machine_exit *exit)
{
    if (exit->console)
        exit->console = console_keep(pod, exit->console);
}

int reconcile_restore(struct reconcile *r, const char *uid, const char *data, size_t len,
                      bool same_boot)
{
    struct arena *arena = arena_new(1024);
    struct record record;
    int result = record_decode(data, len, same_boot, arena, &record);
    if (result == 0 && !str_eq(record.spec->uid, uid))
        result = -EBADMSG;
    if (result < 0) {
        arena_free(arena);
        return result;
    }
    struct pod *pod = pod_insert(r, arena, record.spec, POD_FROM_STATE);
    pod->obs = record.obs;
    pod->obs.containers = pod->containers;
    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        pod->containers[i] = record.containers[i];
        pod->containers[i].restart_max_ms = r->restart_max_ms;
        keep_console(pod, &pod->containers[i].exit);
        keep_console(pod, &pod->containers[i].last);
        memcpy(pod->image_names[i], record.image_names[i], POD_IMAGE_NAME_MAX);
    }
    if (record.verdict.reason[0])
        pod_verdict_set(pod, &record.verdict);
    if (record.resized)
        pod_resize_restore(r, pod, &record.resize);
    pod->same_boot = same_boot;
    return 0;
}

void reconcile_restore_bare(struct reconcile *r, const char *uid, const char *container,
                            const char *id, uint32_t attempt)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod) {
        struct arena *arena = arena_new(1024);
        struct pod_spec *spec = arena_alloc(arena, sizeof(*spec));
        struct container_spec *c = arena_alloc(arena, sizeof(*c));
        c->name = arena_strdup(arena, container ? container : "");
        c->image = "";
        spec->uid = arena_strdup(arena, uid);
        spec->ns = spec->name = spec->resource_version = spec->node_name = "";
        spec->dns_policy = "";
        spec->containers = c;
        spec->containers_len = 1;
        pod = pod_insert(r, arena, spec, POD_FROM_STATE);
        pod->same_boot = true;
    }
    size_t index = 0;
    if (container)
        (void)pod_find_container(pod->spec, container, &index);
    struct container_observed *c = &pod->containers[index];
    if (id && str_empty(c->id)) {
        observe_starting(c, id);
        c->attempt = attempt;
    }
}

void reconcile_net_partial(struct reconcile *r, const char *uid)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod)
        return;
    /* The kept intent is what DEL works from; a fresh ADD follows when the Pod is still wanted. */
    observe_net_deleting(&pod->obs);
    r->ops->net_del(r->world, pod);
}

void reconcile_restored(struct reconcile *r, bool (*found)(void *userdata, const char *id),
                        void *userdata)
{
    void *value;
    const char *key;
    struct now now = r->ops->now(r->world);
    for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);) {
        struct pod *pod = value;
        size_t i = pod_active(pod);
        struct container_observed *c = &pod->containers[i];
        if (c->machine != MACHINE_STARTING)
            continue;
        pod->obs.admitted = true; /* of a machine that was, or was about to be, started */
        if (found(userdata, c->id)) {
            pod->adopting = true;
            r->adopting++;
            continue;
        }
        if (pod->same_boot)
            c->machine = MACHINE_NONE; /* the agent ended between the record and the launch */
        else
            observe_lost(c, pod_container(pod->spec, i), &now);
    }
    r->adopted = r->adopting;
    r->restored_ms = now.mono_ms;
}

void reconcile_relist(struct reconcile *r)
{
    void *value;
    const char *key;
    for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);)
        ((struct pod *)value)->listed = ((struct pod *)value)->spec->features & PF_STATIC;
}

static void seed_from_api(struct pod *pod)
{
    const struct pod_spec *spec = pod->spec;
    /* Also of one found without a record, whose start we could only guess. */
    if (spec->api_start_ms)
        pod->obs.start_ms = spec->api_start_ms;
    for (size_t i = 0; i < pod->obs.containers_len; i++)
        observe_api_restarts(&pod->containers[i], pod_container(spec, i)->api_restart_count);
    for (int i = 0; i < _COND_MAX; i++) {
        if (pod->obs.conditions[i].known || !spec->api_conditions[i].known)
            continue;
        pod->obs.conditions[i].known = true;
        pod->obs.conditions[i].status = spec->api_conditions[i].status;
        pod->obs.conditions[i].since_ms = spec->api_conditions[i].since_ms;
    }
}

/* What the API server made of the status that it acknowledged, to tell others' writing from it. */
static void settle(struct pod *pod)
{
    if (pod->settled || !str_eq(pod->spec->resource_version, pod->acked_version))
        return;
    pod->settled = true;
    pod->settled_hash = pod->spec->api_hash;
}

void reconcile_pod(struct reconcile *r, struct arena *arena, const struct pod_spec *spec)
{
    struct pod *pod = map_get(r->by_uid, spec->uid);
    if (!pod) {
        pod = pod_insert(r, arena, spec, POD_FROM_API);
        seed_from_api(pod);
        if (spec->api_phase == PHASE_SUCCEEDED || spec->api_phase == PHASE_FAILED)
            pod->obs.stopped_for_good = true;
    } else {
        bool changed = pod->spec->generation != spec->generation;
        struct arena *old = pod->arena;
        bool renamed = pod->origin == POD_FROM_STATE;
        if (renamed || pod_containers_len(pod->spec) != pod_containers_len(spec))
            pod_fit(r, pod, spec);
        pod->arena = arena;
        pod->spec = spec = pod_as_given(pod, arena, spec);
        arena_free(old);
        /* Of an agent before, whose last words came later than our list: it never changes. */
        if (spec->api_start_ms)
            pod->obs.start_ms = spec->api_start_ms;
        if (renamed) {
            char *key = xasprintf("%s/%s", spec->ns, spec->name);
            map_set(r->by_name, key, pod);
            free(key);
            pod->origin = POD_FROM_API;
            seed_from_api(pod);
            pod_take_static(pod);
            if (!pod->same_boot)
                pod_sandbox_changed(spec, &pod->obs);
        }
        if (changed)
            pod->refusal_told = false;
    }
    pod->listed = true;
    settle(pod);
    pod_dirty(r, pod);
}

void reconcile_pod_gone(struct reconcile *r, const char *uid)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod)
        return;
    pod->obs.gone = true;
    pod_dirty(r, pod);
}

void reconcile_doubt(struct reconcile *r)
{
    r->doubt = true;
}

/* All that was acknowledged may never have been: it is said again, and a final DELETE too. */
static void forget_answers(struct reconcile *r)
{
    void *value;
    const char *key;
    for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);) {
        struct pod *pod = value;
        pod->acked_hash = 0;
        pod->refusals = 0;
        pod->acked_version[0] = '\0';
        pod->settled = false;
        pod->reassert_ms = 0;
        if (pod->obs.gone)
            continue;
        pod->obs.terminal_acked = false;
        if (pod->obs.api_delete == API_DELETE_DONE)
            pod->obs.api_delete = API_DELETE_NONE;
    }
}

void reconcile_synced(struct reconcile *r)
{
    void *value;
    const char *key;
    r->synced = true;
    for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);) {
        struct pod *pod = value;
        if (pod->listed)
            continue;
        pod->obs.gone = true;
        pod_dirty(r, pod);
    }
    if (r->doubt)
        forget_answers(r);
    r->doubt = false;
    reconcile_touch_all(r);
}

void reconcile_pulled(struct reconcile *r, const char *uid, uint32_t container,
                      const struct pull_result *result)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod || container >= pod->obs.containers_len)
        return;
    struct container_observed *c = &pod->obs.containers[container];
    const char *image = pod_container(pod->spec, container)->image;
    if (result->result == 0) {
        observe_image_ready(c, result->digest);
        str_copy(pod->image_names[container], POD_IMAGE_NAME_MAX, result->name);
        if (result->pulled)
            pod_event(r, pod, (int)container, false, "Pulled",
                      "Successfully pulled image \"%s\" in %llums (%llums including waiting). "
                      "Image size: %llu bytes.",
                      image, (unsigned long long)result->took_ms,
                      (unsigned long long)result->took_ms, (unsigned long long)result->bytes);
        else
            pod_event(r, pod, (int)container, false, "Pulled", PRESENT, image);
    } else {
        struct now now = r->ops->now(r->world);
        observe_image_failed(c, result->reason, result->error, &now);
        pod->told = TOLD_NOTHING;
        pod_event(r, pod, (int)container, true, "Failed", "Failed to pull image \"%s\": %s", image,
                  result->error);
        pod_event(r, pod, (int)container, true, "Failed", "Error: %s", result->reason);
    }
    pod_dirty(r, pod);
}

void reconcile_net_added(struct reconcile *r, const char *uid, int result, const char *pod_ip,
                         const char *error)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod)
        return;
    if (result == 0) {
        observe_net_up(&pod->obs, pod_ip);
    } else {
        struct now now = r->ops->now(r->world);
        observe_net_failed(&pod->obs, error, &now);
        pod_event(r, pod, -1, true, "FailedCreatePodSandBox", "Failed to create pod sandbox: %s",
                  error);
    }
    pod_dirty(r, pod);
}

void reconcile_net_deleted(struct reconcile *r, const char *uid, int result, const char *error)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod)
        return;
    if (result == 0) {
        observe_net_gone(&pod->obs);
    } else {
        struct now now = r->ops->now(r->world);
        observe_net_failed(&pod->obs, error, &now);
        pod_event(r, pod, -1, true, "FailedKillPod", "error killing pod: %s", error);
    }
    pod_dirty(r, pod);
}

void reconcile_prepared(struct reconcile *r, const char *uid, uint32_t container, int result,
                        const char *reason, const char *error)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod || container >= pod->obs.containers_len)
        return;
    struct container_observed *c = &pod->obs.containers[container];
    struct now now = r->ops->now(r->world);
    if (c->prepare != PREPARE_ASKED)
        return;
    if (result == 0)
        observe_prepared(c);
    else
        observe_prepare_failed(c, reason, error, &now);
    pod_dirty(r, pod);
}

void reconcile_prepare_again(struct reconcile *r, const char *uid)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod)
        return;
    for (size_t i = 0; i < pod->obs.containers_len; i++)
        observe_prepare_again(&pod->obs.containers[i]);
    pod_dirty(r, pod);
}

/* The Pod's container when the answer is about its current attempt, else NULL. Found by the id: the
 * number may be from before the API's word on a Pod that only a directory told of. */
static struct container_observed *current(struct reconcile *r, const char *uid, const char *id,
                                          struct pod **ret_pod, uint32_t *ret_container)
{
    struct pod *pod = map_get(r->by_uid, uid);
    for (size_t i = 0; pod && i < pod->obs.containers_len; i++) {
        if (!str_eq(pod->containers[i].id, id))
            continue;
        *ret_pod = pod;
        *ret_container = (uint32_t)i;
        return &pod->containers[i];
    }
    return NULL;
}

void reconcile_running(struct reconcile *r, const char *uid, uint32_t container, const char *id,
                       int64_t started_unix_ms)
{
    struct pod *pod;
    struct container_observed *c = current(r, uid, id, &pod, &container);
    if (!c || c->machine != MACHINE_STARTING)
        return;
    observe_running(c, started_unix_ms);
    if (pod->origin == POD_FROM_API && !pod->adopting) {
        pod_event(r, pod, (int)container, false, "Created", "Container created");
        pod_event(r, pod, (int)container, false, "Started", "Container started");
    }
    pod_dirty(r, pod);
}

void reconcile_start_failed(struct reconcile *r, const char *uid, uint32_t container,
                            const char *id, const char *reason, const char *error, bool spec_error)
{
    struct pod *pod;
    struct container_observed *c = current(r, uid, id, &pod, &container);
    if (!c || c->machine != MACHINE_STARTING)
        return;
    struct now now = r->ops->now(r->world);
    observe_start_failed(c, reason, error, spec_error, &now);
    (void)pod_save(r, pod);
    pod_event(r, pod, (int)container, true, "Failed", "Error: %s", error);
    pod_dirty(r, pod);
}

void reconcile_exited(struct reconcile *r, const char *uid, uint32_t container,
                      const struct machine_exit *exit)
{
    struct pod *pod;
    struct container_observed *c = current(r, uid, exit->id, &pod, &container);
    if (!c || (c->machine != MACHINE_RUNNING && c->machine != MACHINE_STARTING))
        return;
    struct now now = r->ops->now(r->world);
    struct machine_exit end = *exit;
    const char *console = exit->console ? console_message(pod_container(pod->spec, container), exit,
                                                          exit->console, pod->obs.containers_len)
                                        : NULL;
    end.console = console ? console_keep(pod, console) : NULL;
    observe_exit(c, pod_container(pod->spec, container), &end, &now);
    console_sweep(pod);
    if (pod_save(r, pod) == 0)
        r->ops->put_away(r->world, pod, container, c->exit.id);
    pod_dirty(r, pod);
}

void reconcile_lost(struct reconcile *r, const char *uid, uint32_t container, const char *id)
{
    struct pod *pod;
    struct container_observed *c = current(r, uid, id, &pod, &container);
    if (!c || (c->machine != MACHINE_RUNNING && c->machine != MACHINE_STARTING))
        return;
    struct now now = r->ops->now(r->world);
    observe_lost(c, pod_container(pod->spec, container), &now);
    if (pod_save(r, pod) == 0)
        r->ops->put_away(r->world, pod, container, id);
    pod_dirty(r, pod);
}

void reconcile_probed(struct reconcile *r, const char *uid, const char *id, enum probe_type type,
                      enum probe_result result)
{
    struct pod *pod;
    uint32_t container;
    struct container_observed *c = current(r, uid, id, &pod, &container);
    if (!c || c->machine != MACHINE_RUNNING || !observe_probe(c, type, result))
        return;
    /* Another agent goes on with it. */
    pod->unsaved = true;
    pod->save_due_ms = 0;
    pod_dirty(r, pod);
}

void reconcile_hooked(struct reconcile *r, const char *uid, const char *id, enum hook_type type,
                      bool failed)
{
    struct pod *pod;
    uint32_t container;
    struct container_observed *c = current(r, uid, id, &pod, &container);
    if (!c || c->machine != MACHINE_RUNNING)
        return;
    observe_hooked(c, type, failed);
    /* The kubelet does not say why either: what the server answered may be a secret. */
    if (failed && type == HOOK_POST_START)
        pod_event(r, pod, (int)container, true, "FailedPostStartHook", "PostStartHook failed");
    else if (failed)
        pod_event(r, pod, (int)container, true, "FailedPreStopHook", "PreStopHook failed");
    pod->unsaved = true;
    pod->save_due_ms = 0;
    pod_dirty(r, pod);
}

void reconcile_cleaned(struct reconcile *r, const char *uid, int result)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod)
        return;
    pod->obs.cleaned = result == 0;
    pod->obs.clean_sent = result == 0;
    pod_dirty(r, pod);
}

/* Most often the Pod is gone, and the watch is about to say so. */
static void refused(struct pod *pod, uint64_t now_ms)
{
    uint64_t pause = (uint64_t)REFUSED_MS << (pod->refusals < 6 ? pod->refusals : 6);
    pod->refusals++;
    pod->reassert_ms = now_ms + (pause < REFUSED_MS_MAX ? pause : REFUSED_MS_MAX);
}

void reconcile_patched(struct reconcile *r, const char *uid, int http, const char *version,
                       const char *error)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod || pod->patch != PATCH_SENT)
        return;
    struct log_ctx ctx = pod_log(pod);
    struct now now = r->ops->now(r->world);
    pod->patch = PATCH_IDLE;
    bool taken = http >= 200 && http < 300;
    /* 404, or 422 for another uid: the object is gone and the watch will say so. */
    /* 409 and 403 pass: a busy object, and an authorizer that does not know of the Pod yet. */
    bool final = http == 404 || http == 422 || http == 400;
    if (taken || final) {
        pod->acked_hash = pod->sent_hash;
        pod->acked_ready = pod->sent_ready;
        pod->patch_failures = 0;
        pod->settled = false;
        str_copy(pod->acked_version, sizeof(pod->acked_version), taken ? version : "");
        settle(pod);
        if (taken)
            pod->refusals = 0;
        else
            refused(pod, now.mono_ms);
        if (pod->patch_terminal)
            pod->obs.terminal_acked = true;
        if (final && http != 404)
            log_warn(&ctx, "status", "the API server refused the status: %s", error);
    } else {
        uint64_t pause = PATCH_BACKOFF_MS << (pod->patch_failures < 6 ? pod->patch_failures : 6);
        pod->patch_failures++;
        pod->status_due_ms =
            now.mono_ms + (pause < PATCH_BACKOFF_MS_MAX ? pause : PATCH_BACKOFF_MS_MAX);
        log_warn(&ctx, "status", "status not posted, trying again: %s", error);
    }
    pod_dirty(r, pod);
}

void reconcile_deleted(struct reconcile *r, const char *uid, int http, const char *error)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod)
        return;
    /* 409: the name belongs to another uid, then the watch says that ours is gone; or the object
     * was busy, then it is tried again. */
    if ((http >= 200 && http < 300) || http == 404) {
        pod->obs.api_delete = API_DELETE_DONE;
    } else {
        struct log_ctx ctx = pod_log(pod);
        struct now now = r->ops->now(r->world);
        pod->obs.api_delete = API_DELETE_NONE;
        pod->obs.api_delete_retry_ms = now.mono_ms + DELETE_RETRY_MS;
        log_warn(&ctx, "delete", "final DELETE failed, trying again: %s", error);
    }
    pod_dirty(r, pod);
}
