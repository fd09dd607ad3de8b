/* Lets Pods in, and ends what the node ends: part of reconcile.
 *
 * A rejected Pod fails, and the controller that owns it makes another at once, without a pause of
 * its own: two replicas bound by name to a full node make dozens of failed Pods a second on a
 * kubelet. Here the first Pod of an owner is rejected at once, as there; the next one waits,
 * Pending with the reason in its container's state, for a pause that doubles from 1 s to 5 min. It
 * comes in when there is room by then. */
#include "provider/reconcile_priv.h"

#include "base/log.h"
#include "base/map.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define OWNER_PAUSE_MS 1000u       /* after an owner's first rejected Pod, doubling ... */
#define OWNER_PAUSE_MS_MAX 300000u /* ... to this, the kubelet's longest back-off */
#define OWNER_FORGET_MS 900000u    /* no rejection for so long: forgotten */
#define OWNERS_MAX 1000            /* beyond them all owners count as one */
#define OWNER_OTHERS "others"

struct owner {
    uint32_t rejections;
    uint64_t last_ms; /* mono */
};

static uint64_t owner_pause(const struct owner *owner)
{
    uint32_t doublings = owner->rejections < 16 ? owner->rejections - 1 : 15;
    uint64_t pause = (uint64_t)OWNER_PAUSE_MS << doublings;
    return pause < OWNER_PAUSE_MS_MAX ? pause : OWNER_PAUSE_MS_MAX;
}

static void owners_prune(struct reconcile *r, uint64_t now_ms)
{
    const char *key;
    void *value;
    for (size_t it = 0; map_next(r->owners, &it, &key, &value);) {
        const struct owner *owner = value;
        if (now_ms - owner->last_ms > OWNER_FORGET_MS)
            free(map_remove(r->owners, key));
    }
}

void owners_free(struct reconcile *r)
{
    const char *key;
    void *value;
    for (size_t it = 0; map_next(r->owners, &it, &key, &value);)
        free(value);
    map_free(r->owners);
}

/* When a Pod of this owner may be rejected: 0 for now. */
static uint64_t owner_due(struct reconcile *r, const char *uid, uint64_t now_ms)
{
    if (!uid)
        return 0;
    owners_prune(r, now_ms);
    if (!map_get(r->owners, uid) && map_len(r->owners) >= OWNERS_MAX)
        uid = OWNER_OTHERS;
    struct owner *owner = map_get(r->owners, uid);
    if (!owner) {
        owner = xcalloc(1, sizeof(*owner));
        map_set(r->owners, uid, owner);
    } else if (now_ms < owner->last_ms + owner_pause(owner)) {
        return owner->last_ms + owner_pause(owner);
    }
    owner->rejections += owner->rejections < UINT32_MAX;
    owner->last_ms = now_ms;
    return 0;
}

static bool was_begun(const struct pod *pod)
{
    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        if (!str_empty(pod->containers[i].id))
            return true;
    }
    return false;
}

/* One of an agent before counts before its turn to be let in has come. */
bool pod_is_active(const struct pod *pod)
{
    if (pod->obs.gone && pod_machines_gone(&pod->obs))
        return false;
    return (pod->obs.admitted || was_begun(pod)) && !pod_stopped_for_good(pod->spec, &pod->obs);
}

struct amounts pods_used(const struct reconcile *r)
{
    struct amounts sum = {0};
    const char *key;
    void *value;
    for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);) {
        const struct pod *pod = value;
        if (!pod_is_active(pod))
            continue;
        struct amounts more = pod_requests(pod->spec);
        amounts_add(&sum, &more);
    }
    return sum;
}

static void hold(struct reconcile *r, struct pod *pod, const char *reason, const char *message,
                 uint64_t due_ms)
{
    if (!pod->refusal)
        pod->refusal = xmalloc(sizeof(*pod->refusal));
    pod->refused = true;
    pod->refusal->reason = reason;
    str_fmt(pod->refusal->message, sizeof(pod->refusal->message),
            "%s; held back, because its controller would make another Pod at once", message);
    pod->held = true;
    pod->deadline_ms = due_ms;
    if (!pod->refusal_told)
        pod_event(r, pod, -1, true, reason, "%s", pod->refusal->message);
    pod->refusal_told = true;
}

enum admission pod_admission(struct reconcile *r, struct pod *pod, struct admit_env *env,
                             const struct now *now)
{
    pod->held = false;
    if (pod->obs.admitted || pod->obs.verdict || pod->obs.stopped_for_good)
        return ADMISSION_IN;
    /* One that was begun by an agent before is never judged again. */
    if (was_begun(pod)) {
        pod->obs.admitted = true;
        return ADMISSION_IN;
    }
    /* Before the list is complete, what is in use here is not known either. */
    if (!(env->known && r->synced) && !(pod->spec->features & PF_STATIC))
        return ADMISSION_UNKNOWN;
    env->used = pods_used(r);
    struct pod_verdict verdict = {.rejected = true, .since_ms = now->unix_ms};
    char message[OBSERVED_VERDICT_MAX];
    const char *reason = pod_admit(pod->spec, env, message);
    if (!reason) {
        pod->obs.admitted = true;
        pod->refusal_told = false;
        return ADMISSION_IN;
    }
    uint64_t due_ms = owner_due(r, pod->spec->controller_uid, now->mono_ms);
    if (due_ms) {
        hold(r, pod, reason, message, due_ms);
        return ADMISSION_HELD;
    }
    str_copy(verdict.reason, sizeof(verdict.reason), reason);
    str_fmt(verdict.message, sizeof(verdict.message), "Pod was rejected: %s", message);
    pod->refused = false;
    pod_verdict_set(pod, &verdict);
    pod_event(r, pod, -1, true, reason, "%s", message);
    return ADMISSION_IN;
}

void pod_verdict_set(struct pod *pod, const struct pod_verdict *verdict)
{
    if (!pod->verdict)
        pod->verdict = xmalloc(sizeof(*pod->verdict));
    *pod->verdict = *verdict;
    pod->obs.verdict = pod->verdict;
}

bool reconcile_end(struct reconcile *r, const char *uid, const struct pod_verdict *verdict)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod || pod->obs.verdict || pod_ending(pod->spec, &pod->obs) ||
        pod_stopped_for_good(pod->spec, &pod->obs))
        return false;
    /* Until the API's word on it, a record does not say by which policy it may have ended. */
    if (pod->origin == POD_FROM_STATE && pod_machines_gone(&pod->obs))
        return false;
    pod_verdict_set(pod, verdict);
    /* On disk before anything is stopped: another agent must not start it again. */
    (void)pod_save(r, pod);
    pod_dirty(r, pod);
    return true;
}

uint64_t pod_check_deadline(struct reconcile *r, struct pod *pod, const struct now *now)
{
    static const char message[] = "Pod was active on the node longer than the specified deadline";
    uint64_t due_ms;
    bool past = pod_past_deadline(pod->spec, &pod->obs, now, &due_ms);
    if (pod->end_of_s != pod->spec->active_deadline_s)
        pod->end_ms = DEADLINE_NONE; /* it was changed */
    pod->end_of_s = pod->spec->active_deadline_s;
    /* A wall clock that is set back must not give the Pod hours more. */
    if (!past && due_ms < pod->end_ms)
        pod->end_ms = due_ms;
    if (!past && now->mono_ms < pod->end_ms)
        return pod->end_ms;
    if (!past && due_ms == DEADLINE_NONE)
        return due_ms;
    int64_t grace_s = pod->spec->grace_s < INT32_MAX ? pod->spec->grace_s : INT32_MAX;
    struct pod_verdict verdict = {
        .reason = "DeadlineExceeded", .grace_ms = grace_s * 1000, .since_ms = now->unix_ms};
    str_copy(verdict.message, sizeof(verdict.message), message);
    if (reconcile_end(r, pod->spec->uid, &verdict))
        pod_event(r, pod, -1, false, "DeadlineExceeded", "%s", message);
    return DEADLINE_NONE;
}
