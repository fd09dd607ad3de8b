/* What is different of static Pods: no API server has to know them. Their status goes to a mirror
 * when there is one, else to the log; they end because their file is gone, and nobody is asked.
 * Part of reconcile. */
#include "provider/reconcile_priv.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

bool reconcile_end_static(struct reconcile *r, const char *uid)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod)
        return false;
    if (pod->spec->deletion_ms)
        return true;
    /* As if it were deleted: stopped within its grace, then taken down. */
    struct pod_spec *spec = arena_alloc(pod->arena, sizeof(*spec));
    *spec = *pod->spec;
    spec->deletion_ms = r->ops->now(r->world).unix_ms;
    spec->deletion_grace_s = spec->grace_s;
    pod->spec = spec;
    pod_dirty(r, pod);
    return true;
}

void reconcile_tell_again(struct reconcile *r, const char *uid)
{
    struct pod *pod = map_get(r->by_uid, uid);
    if (!pod)
        return;
    pod->acked_hash = 0;
    pod->acked_version[0] = '\0';
    pod->refusals = 0;
    pod->patch_failures = 0;
    pod->status_due_ms = 0;
    pod_dirty(r, pod);
}

const char *pod_mirror_uid(const struct reconcile *r, const struct pod *pod)
{
    if (!r->synced || pod->spec->deletion_ms || !r->ops->mirror_uid)
        return NULL;
    return r->ops->mirror_uid(r->world, pod);
}

void pod_report_local(struct reconcile *r, struct pod *pod, const struct now *now)
{
    struct pod_status status;
    char text[160];
    pod_status(pod->spec, &pod->obs, pod->refused ? pod->refusal : NULL, r->host_ip, now, &status);
    const struct container_status *c = &status.containers[0];
    const char *state = c->state == STATE_RUNNING ? "running" : c->reason;
    str_fmt(text, sizeof(text), "%s, %s, restarts %u%s%s", pod_phase_to_string(status.phase),
            status.containers_len && state ? state : "no container",
            status.containers_len ? c->restart_count : 0, status.pod_ip[0] ? ", " : "",
            status.pod_ip);
    uint64_t hash = str_hash(text, strlen(text));
    struct log_ctx ctx = pod_log(pod);
    pod->status_due_ms = 0;
    if (hash != pod->acked_hash)
        log_info(&ctx, "status", "%s", text);
    pod->acked_hash = hash;
}

void pod_take_static(struct pod *pod)
{
    /* A shutdown of the node ended it: the node is here again, and its file too. */
    if (!(pod->spec->features & PF_STATIC) || !pod->verdict)
        return;
    free(pod->verdict);
    pod->verdict = NULL;
    pod->obs.verdict = NULL;
    pod->obs.stopped_for_good = false;
}
