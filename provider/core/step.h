/* The one decision: what is to be done for a Pod now. Total, idempotent (the same input twice gives
 * the same list), without hidden state. Each kubelet rule is a row of tests/unit/test_core_step.c.
 */
#pragma once

#include "provider/core/observed.h"

#define ACTIONS_MAX (POD_MACHINES_MAX + 3) /* one for each container, and a few for the Pod */
#define DEADLINE_NONE UINT64_MAX
/* A guest gets so long to end even when its preStop hook ate all of the grace (contract 3.6). */
#define GRACE_MS_MIN 2000

enum action_kind {
    ACTION_PULL,       /* container; -> observe_image_pulling, then _ready or _failed */
    ACTION_NET_ADD,    /* -> observe_net_adding, then _up or _failed */
    ACTION_LAUNCH,     /* container, attempt; -> observe_starting, then _running or _start_failed */
    ACTION_RESIZE,     /* container: its running machine gets what it is given now */
    ACTION_STOP,       /* container, grace_ms: ask the guest to end; -> stop_sent, deadline */
    ACTION_POST_START, /* container: run its hook; -> observe_hooked */
    ACTION_PRE_STOP,   /* container, grace_ms: the same, before it is asked to end; -> deadline */
    ACTION_KILL,       /* container: end the VMM now; -> kill_sent */
    ACTION_NET_DEL,    /* -> observe_net_deleting, then _gone */
    ACTION_API_DELETE, /* final DELETE, grace 0, uid precondition; -> api_delete */
    ACTION_CLEAN,      /* remove directories, cgroup, state file; -> clean_sent, cleaned */
    ACTION_FORGET,     /* drop the Pod from memory; nothing of it is left */
    _ACTION_MAX,
};

struct action {
    enum action_kind kind;
    uint32_t container; /* see pod_container */
    uint32_t attempt;   /* ACTION_LAUNCH */
    int64_t grace_ms;   /* ACTION_STOP, ACTION_PRE_STOP */
};

/* Why the agent will not run this Pod at all; see refuse.h. NULL members: it will. */
struct refusal {
    const char *reason; /* container waiting reason */
    char message[OBSERVED_TEXT_MAX];
};

/* Returns the number of actions written to out, <= ACTIONS_MAX. *ret_deadline_ms: call again then
 * (mono) even if nothing happens, DEADLINE_NONE for never. refusal may be NULL: none. */
size_t pod_step(const struct pod_spec *spec, const struct pod_observed *obs,
                const struct refusal *refusal, const struct now *now,
                struct action out[ACTIONS_MAX], uint64_t *ret_deadline_ms);

/* Whether container i, having ended so, is started again (contract 3.3, last paragraph). */
bool container_will_restart(const struct pod_spec *spec, size_t i, const struct machine_exit *exit);

/* The init container whose turn it is, or that failed for good; those before it are done. False:
 * all are, or a regular container was started before, after which no init container runs again. */
bool pod_find_init(const struct pod_spec *spec, const struct pod_observed *obs, size_t *ret);
/* The host was started anew, and the Pod's network and files in memory went with it: as with a
 * kubelet's new sandbox, init containers run again before the container that stays, unless the
 * Pod's policy is Never or nothing of it will run any more. Of a Pod whose machines are known to be
 * gone, once. */
void pod_sandbox_changed(const struct pod_spec *spec, struct pod_observed *obs);
/* Containers that both spec and observation know. */
size_t pod_common_len(const struct pod_spec *spec, const struct pod_observed *obs);

/* spec.activeDeadlineSeconds after status.startTime, on the wall clock as the kubelet counts it.
 * False: not yet, *ret_due_ms (mono) is when; DEADLINE_NONE when the Pod has no deadline. */
bool pod_past_deadline(const struct pod_spec *spec, const struct pod_observed *obs,
                       const struct now *now, uint64_t *ret_due_ms);

/* Nothing of this Pod will ever run again and nothing runs: its resources can go (contract 3.3).
 * For a Pod that is not deleted; a deleted one is never started again anyway. */
bool pod_stopped_for_good(const struct pod_spec *spec, const struct pod_observed *obs);
/* The image reference is another than the current attempt's: that is ended and a new one started,
 * whatever the restart policy, as the kubelet does (contract 3.10). */
bool container_changed(const struct container_spec *container, const struct container_observed *c);
/* Why this attempt has to be ended though its Pod lives: said already, or by a probe's result. */
enum doom container_doom(const struct container_spec *container,
                         const struct container_observed *c);
/* It ended because we asked, not for a deletion, nor for its health: the new attempt is due. */
bool container_replaced(const struct container_observed *c);
/* Deleted, or gone from the API: it only has to be taken down. */
bool pod_ending(const struct pod_spec *spec, const struct pod_observed *obs);
/* No machine exists or is being started. */
bool pod_machines_gone(const struct pod_observed *obs);

const char *action_kind_to_string(enum action_kind kind);
