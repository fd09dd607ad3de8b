/* Carries out single actions of provider/core and posts the status. Part of reconcile. */
#include "provider/reconcile_priv.h"

#include "base/json.h"
#include "base/str.h"
#include "k8s/codec.h"

#include <errno.h>
#include <string.h>

/* A restart whose image was not asked for again: the kubelet says each time that it is there. */
static void tell_present(struct reconcile *r, struct pod *pod, uint32_t index,
                         const struct container_observed *before)
{
    const struct container_spec *c = pod_container(pod->spec, index);
    if (before->exit.valid && before->running_hash == before->image_hash &&
        c->pull_policy != PULL_ALWAYS)
        pod_event(r, pod, (int)index, false, "Pulled", PRESENT, c->image);
}

static void act_launch(struct reconcile *r, struct pod *pod, uint32_t index)
{
    struct container_observed *c = &pod->obs.containers[index];
    const struct container_observed before = *c;
    char id[OBSERVED_ID_MAX];
    if (c->prepare != PREPARE_READY) {
        observe_preparing(c);
        if (!r->ops->prepare(r->world, pod, index))
            return;
        observe_prepared(c);
    }
    r->ops->new_id(r->world, id);
    observe_starting(c, id);
    c->actual = pod_container(pod->spec, index)->resources;
    c->actual_known = true;
    c->cpus = resources_cpus(&c->actual);
    c->resize_retry_ms = 0;
    /* On disk before the machine exists: whatever happens now, it is found again. */
    int result = pod_save(r, pod);
    if (result < 0) {
        struct now now = r->ops->now(r->world);
        char text[OBSERVED_TEXT_MAX];
        str_fmt(text, sizeof(text), "cannot write the state directory: %s", strerror(-result));
        *c =
            before; /* there was no attempt, and what the one before left is still to be put away */
        if (c->machine == MACHINE_EXITED)
            c->restart_ms = now.mono_ms + backoff_ms(1);
        else
            observe_start_failed(c, "CreateContainerError", text, false, &now);
        pod_event(r, pod, (int)index, true, "Failed", "Error: %s", text);
        return;
    }
    console_sweep(pod);
    tell_present(r, pod, index, &before);
    if (before.id[0])
        r->ops->put_away(r->world, pod, index, before.id);
    pod->told = TOLD_NOTHING;
    r->ops->launch(r->world, pod, index, id);
}

static void tell_killing(struct reconcile *r, struct pod *pod, uint32_t index)
{
    const struct container_observed *c = &pod->obs.containers[index];
    const struct container_spec *spec = pod_container(pod->spec, index);
    enum doom doom = container_doom(spec, c);
    const char *after = pod->spec->restart_policy == RESTART_NEVER ? "" : ", will be restarted";
    if (c->stop_sent || c->kill_sent || c->pre_stop != HOOK_NONE || pod->obs.gone)
        return;
    if (!pod->spec->deletion_ms && doom == DOOM_POST_START)
        pod_event(r, pod, (int)index, false, "Killing", "FailedPostStartHook");
    else if (!pod->spec->deletion_ms && doom != DOOM_NONE)
        pod_event(r, pod, (int)index, false, "Killing", "Container %s failed %s probe%s",
                  spec->name, doom == DOOM_LIVENESS ? "liveness" : "startup", after);
    else if (!pod->spec->deletion_ms && container_resize(spec, c) == RESIZE_BY_RESTART)
        pod_event(r, pod, (int)index, false, "Killing", "Container %s resize requires restart",
                  spec->name);
    else if (!pod->spec->deletion_ms && container_changed(spec, c))
        pod_event(r, pod, (int)index, false, "Killing",
                  "Container %s definition changed, will be restarted", spec->name);
    else
        pod_event(r, pod, (int)index, false, "Killing", "Stopping container %s", spec->name);
}

/* The first that is done about its end: what made us do it is noted. */
static void begin_end(struct reconcile *r, struct pod *pod, uint32_t index)
{
    struct container_observed *c = &pod->obs.containers[index];
    tell_killing(r, pod, index);
    if (!pod_ending(pod->spec, &pod->obs) && !c->stop_sent && !c->kill_sent)
        c->doom = container_doom(pod_container(pod->spec, index), c);
}

static void act_hook(struct reconcile *r, struct pod *pod, const struct action *action)
{
    struct container_observed *c = &pod->obs.containers[action->container];
    struct now now = r->ops->now(r->world);
    if (action->kind == ACTION_POST_START) {
        c->post_start = HOOK_RUNNING;
        r->ops->hook(r->world, pod, action->container, HOOK_POST_START);
        return;
    }
    begin_end(r, pod, action->container);
    c->stop_deadline_ms = now.mono_ms + (uint64_t)action->grace_ms;
    if (c->pre_stop != HOOK_NONE)
        return; /* only its time was shortened */
    c->pre_stop = HOOK_RUNNING;
    r->ops->hook(r->world, pod, action->container, HOOK_PRE_STOP);
}

static void act_stop(struct reconcile *r, struct pod *pod, const struct action *action)
{
    struct container_observed *c = &pod->obs.containers[action->container];
    struct now now = r->ops->now(r->world);
    begin_end(r, pod, action->container);
    int result = r->ops->stop(r->world, pod, action->container);
    c->stop_sent = true;
    c->stop_deadline_ms = now.mono_ms + (uint64_t)(action->grace_ms > 0 ? action->grace_ms : 0);
    if (result < 0) {
        /* Waiting out the grace for a guest that cannot hear would only cost time. */
        c->stop_deadline_ms = now.mono_ms;
        if (result == -ENOTSUP && action->grace_ms > 0)
            pod_event(r, pod, (int)action->container, false, "NoGracefulStop",
                      "The guest of container %s has no channel for a stop request; "
                      "its machine is ended at once",
                      pod_container(pod->spec, action->container)->name);
    }
}

bool pod_act(struct reconcile *r, struct pod *pod, const struct action *action)
{
    switch (action->kind) {
    case ACTION_PULL:
        observe_image_pulling(&pod->obs.containers[action->container],
                              pod_container(pod->spec, action->container)->image);
        r->ops->pull(r->world, pod, action->container);
        break;
    case ACTION_NET_ADD:
        observe_net_adding(&pod->obs);
        r->ops->net_add(r->world, pod);
        break;
    case ACTION_LAUNCH:
        act_launch(r, pod, action->container);
        break;
    case ACTION_STOP:
        act_stop(r, pod, action);
        break;
    case ACTION_RESIZE:
        pod_resize_act(r, pod, action->container);
        break;
    case ACTION_POST_START:
    case ACTION_PRE_STOP:
        act_hook(r, pod, action);
        break;
    case ACTION_KILL:
        begin_end(r, pod, action->container);
        pod->obs.containers[action->container].kill_sent = true;
        r->ops->kill(r->world, pod, action->container);
        break;
    case ACTION_NET_DEL:
        observe_net_deleting(&pod->obs);
        r->ops->net_del(r->world, pod);
        break;
    case ACTION_API_DELETE:
        if (pod->spec->features & PF_STATIC) {
            pod->obs.gone = true; /* nobody else knows of it */
            break;
        }
        pod->obs.api_delete = API_DELETE_SENT;
        r->ops->delete_pod(r->world, pod);
        break;
    case ACTION_CLEAN:
        pod->obs.clean_sent = true;
        r->ops->clean(r->world, pod);
        break;
    case ACTION_FORGET:
        (void)r->ops->unsave(r->world, pod->spec->uid);
        pod_free(r, pod);
        return false;
    case _ACTION_MAX:
        break;
    }
    return true;
}

/* Back-offs are told once each, when they first show in the status. */
static void tell_backoff(struct reconcile *r, struct pod *pod, const struct pod_status *status)
{
    size_t i = 0, init;
    if (pod_find_init(pod->spec, &pod->obs, &init))
        i = init;
    if (i >= status->containers_len + status->inits_len ||
        status->containers[i].state != STATE_WAITING)
        return;
    const struct container_spec *c = pod_container(pod->spec, i);
    const char *reason = status->containers[i].reason;
    if (str_eq(reason, "ImagePullBackOff") && pod->told != TOLD_PULL_BACKOFF) {
        pod->told = TOLD_PULL_BACKOFF;
        pod_event(r, pod, (int)i, false, "BackOff", "Back-off pulling image \"%s\"", c->image);
        pod_event(r, pod, (int)i, true, "Failed", "Error: ImagePullBackOff");
    } else if (str_eq(reason, "CrashLoopBackOff") && pod->told != TOLD_CRASH_BACKOFF) {
        pod->told = TOLD_CRASH_BACKOFF;
        pod_event(r, pod, (int)i, true, "BackOff",
                  "Back-off restarting failed container %s in pod %s_%s(%s)", c->name,
                  pod->spec->name, pod->spec->ns, pod->spec->uid);
    }
}

/* Nothing of the Pod executes any more, nor will: what is reported now is the last word. */
static bool is_last_word(const struct pod *pod)
{
    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        enum machine_state state = pod->obs.containers[i].machine;
        if (state == MACHINE_STARTING || state == MACHINE_RUNNING)
            return false;
    }
    return pod_stopped_for_good(pod->spec, &pod->obs) || pod->spec->deletion_ms != 0;
}

/* The API's status differs from what it acknowledged to us: the node lifecycle controller, for one,
 * writes Ready=False on the Pods of a silent Node and never sets it back (contract 1.5). When the
 * version acknowledged was never seen, nobody knows, and posting it again costs nothing. Nor is a
 * refusal for ever: it may have been a proxy's. */
static bool overwritten(const struct pod *pod)
{
    const char *seen = pod->spec->resource_version;
    size_t seen_len = strlen(seen);
    size_t acked_len = strlen(pod->acked_version);
    bool older =
        seen_len != acked_len ? seen_len < acked_len : strcmp(seen, pod->acked_version) <= 0;
    return pod->refusals || (!older && (!pod->settled || pod->spec->api_hash != pod->settled_hash));
}

static bool find_ready(const struct pod_status *status)
{
    for (int i = 0; i < _COND_MAX; i++) {
        if (status->conditions[i].type == COND_READY)
            return status->conditions[i].status;
    }
    return false;
}

/* A machine that was adopted says in a moment how it is; until then the API's word stands, which is
 * better than "creating" for a Pod that runs. */
static bool is_unknown(struct reconcile *r, struct pod *pod)
{
    if (pod->adopting && pod->containers[pod_active(pod)].machine != MACHINE_STARTING) {
        pod->adopting = false;
        r->adopting--;
    }
    return pod->adopting;
}

/* A static Pod's status: true when it was told here, because nothing stands for it in the API; else
 * it is the mirror's, whose uid spec gets. */
static bool is_told_here(struct reconcile *r, struct pod *pod, struct pod_spec *spec,
                         const struct now *now)
{
    const char *mirror = pod_mirror_uid(r, pod);
    if (mirror) {
        spec->uid = mirror;
        return false;
    }
    if (is_unknown(r, pod))
        return true;
    pod_report_local(r, pod, now);
    if (is_last_word(pod) && !pod->obs.terminal_acked)
        pod_dirty(r, pod);
    pod->obs.terminal_acked = is_last_word(pod);
    return true;
}

/* It runs, and a probe may be about to say that it is ready. */
static bool nearly_ready(const struct pod *pod, const struct pod_status *status)
{
    return !pod->acked_ready && !find_ready(status) && !is_last_word(pod) &&
           status->containers_len > 0 && status->containers[0].state == STATE_RUNNING;
}

void pod_report(struct reconcile *r, struct pod *pod, const struct now *now)
{
    struct pod_status status;
    if (pod->patch == PATCH_SENT)
        return;
    struct pod_spec spec = *pod->spec;
    if ((spec.features & PF_STATIC) && is_told_here(r, pod, &spec, now))
        return;
    /* At start the list goes first: the statuses of Pods that go on are rarely news. */
    if (!r->synced)
        return;
    if (pod->obs.gone || pod->obs.api_delete == API_DELETE_DONE || is_unknown(r, pod)) {
        pod->status_due_ms = 0;
        return;
    }
    pod_status(pod->spec, &pod->obs, pod->refused ? pod->refusal : NULL, r->host_ip, now, &status);
    if (status.keep_api) {
        /* Its end was reported by an agent that knew more. */
        pod->status_due_ms = 0;
        if (!pod->obs.terminal_acked)
            pod_dirty(r, pod);
        pod->obs.terminal_acked = true;
        return;
    }
    const char *names[POD_MACHINES_MAX];
    for (size_t i = 0; i < pod->obs.containers_len; i++)
        names[i] = pod->image_names[i];
    buf_reset(&r->patch);
    codec_pod_status(&spec, &status, names, &r->patch);
    if (r->patch.overflow)
        return;
    tell_backoff(r, pod, &status);
    uint64_t hash = str_hash(buf_str(&r->patch), r->patch.len);
    if (hash == pod->acked_hash && !overwritten(pod)) {
        pod->status_due_ms = 0;
        if (is_last_word(pod) && !pod->obs.terminal_acked) {
            pod->obs.terminal_acked = true;
            pod_dirty(r, pod);
        }
        return;
    }
    if (hash == pod->acked_hash && now->mono_ms < pod->reassert_ms) {
        pod->status_due_ms = 0;
        if (pod->reassert_ms < pod->deadline_ms)
            pod->deadline_ms = pod->reassert_ms;
        return;
    }
    uint32_t delay = pod->patch_failures ? 0 : pod_status_delay_ms(&status);
    if (!pod->patch_failures && nearly_ready(pod, &status))
        delay = STATUS_COALESCE_MS;
    /* Being deleted changes a running Pod's status by its observedGeneration alone. */
    if (!pod->patch_failures && pod->spec->deletion_ms && !is_last_word(pod) &&
        find_ready(&status) == pod->acked_ready)
        delay = STATUS_COALESCE_MS;
    if (pod->status_due_ms == 0 && delay)
        pod->status_due_ms = now->mono_ms + delay;
    else if (!pod->patch_failures && !delay)
        pod->status_due_ms = 0;
    if (now->mono_ms < pod->status_due_ms)
        return;
    pod->status_due_ms = 0;
    if (hash == pod->acked_hash)
        pod->reassert_ms = now->mono_ms + REASSERT_MS;
    pod->patch = PATCH_SENT;
    pod->sent_hash = hash;
    pod->sent_ready = find_ready(&status);
    pod->patch_terminal = is_last_word(pod);
    r->ops->patch_status(r->world, pod, buf_str(&r->patch), r->patch.len);
}
