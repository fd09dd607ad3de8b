/* What the files of reconcile share. Nobody else includes this. */
#pragma once

#include "base/buf.h"
#include "provider/reconcile.h"

struct map;

#define PATCH_MAX (256 * 1024)  /* a status patch; texts in it are all bounded */
#define RECORD_MAX (256 * 1024) /* a state record; the same */
#define STEP_ROUNDS_MAX 8       /* steps of one Pod in a turn: each makes progress or ends it */
#define PATCH_BACKOFF_MS 500u   /* first pause after a failed status PATCH, doubling ... */
#define PATCH_BACKOFF_MS_MAX 10000u
#define REFUSED_MS 10000u /* pause after a status that was refused for good, doubling ... */
#define REFUSED_MS_MAX 300000u
#define SAVE_RETRY_MS 5000u   /* pause after a record that could not be written */
#define FLUSH_MS 10u          /* of launches and the like in a turn, before the loop reads again */
#define DELETE_RETRY_MS 2000u /* pause after a failed final DELETE; retried for ever */
#define REASSERT_MS 5000u     /* pause between two answers to another writer of the same status */

/* The kubelet's words (1.35) for an image that need not be pulled. */
#define PRESENT "Container image \"%s\" already present on machine and can be accessed by the pod"

struct reconcile {
    const struct world_ops *ops;
    void *world;
    char *host_ip;
    uint32_t restart_max_ms;
    struct map *by_uid;
    struct map *by_name; /* "ns/name": the newest Pod of that name */
    struct pod *dirty_head, **dirty_tail;
    uint64_t deadline_ms; /* earliest of all Pods, may be too early */
    bool doubt;           /* see reconcile_doubt */
    bool synced;          /* a complete list was seen: only then may anything be ended */
    size_t adopting;      /* machines found at start that have not answered yet ... */
    size_t adopted;       /* ... of so many; 0 once that was told */
    uint64_t restored_ms; /* mono: when they were found */
    struct buf patch;
    struct buf record;
    size_t deferred;    /* resizes that wait for room */
    bool room;          /* some came free */
    struct map *owners; /* controllers whose Pods were rejected; see reconcile_admit.c */
};

enum admission {
    ADMISSION_IN,      /* or ended already */
    ADMISSION_HELD,    /* not let in, and not rejected yet */
    ADMISSION_UNKNOWN, /* the Node is not known yet */
};

/* reconcile_admit.c. env->used is filled here. */
enum admission pod_admission(struct reconcile *r, struct pod *pod, struct admit_env *env,
                             const struct now *now);
struct amounts pods_used(const struct reconcile *r);
/* Ends the Pod when its activeDeadlineSeconds are over; else when that is (mono). */
uint64_t pod_check_deadline(struct reconcile *r, struct pod *pod, const struct now *now);
void pod_verdict_set(struct pod *pod, const struct pod_verdict *verdict); /* copies */
void owners_free(struct reconcile *r);
/* reconcile_resize.c. The spec with what the Pod's containers were given instead of what it asks
 * for now, in arena where they differ. */
const struct pod_spec *pod_as_given(const struct pod *pod, struct arena *arena,
                                    const struct pod_spec *spec);
/* Of a Pod that was let in: gives it what it asks for now, or says why not. */
void pod_resize(struct reconcile *r, struct pod *pod, const struct admit_env *env,
                const struct now *now);
/* After it was stepped: says so when a resize is through, and notices room that came free. */
void pod_resized(struct reconcile *r, struct pod *pod);
void pod_resize_act(struct reconcile *r, struct pod *pod, uint32_t container);
void pod_resize_restore(struct reconcile *r, struct pod *pod, const struct pod_resize *resize);
void pod_resize_forget(struct reconcile *r, struct pod *pod);
/* Marks the Pods dirty whose resize waits for room, when some came free. */
void resizes_wake(struct reconcile *r);
bool pod_is_active(const struct pod *pod); /* counts among what is in use here */
/* reconcile_static.c. NULL: none to post to. */
const char *pod_mirror_uid(const struct reconcile *r, const struct pod *pod);
void pod_report_local(struct reconcile *r, struct pod *pod, const struct now *now);
void pod_take_static(struct pod *pod); /* of a former agent's record */

void pod_dirty(struct reconcile *r, struct pod *pod);
/* A new Pod in the tables, from a decoded or a minimal spec. */
struct pod *pod_insert(struct reconcile *r, struct arena *arena, const struct pod_spec *spec,
                       enum pod_origin origin);
void pod_free(struct reconcile *r, struct pod *pod);
/* Before pod->spec becomes spec, and that one's containers may be others than those that a record
 * or a directory told of: what was observed stays with the container's name. */
void pod_fit(struct reconcile *r, struct pod *pod, const struct pod_spec *spec);
/* Writes the Pod's record; 0 or negative errno. */
int pod_save(struct reconcile *r, struct pod *pod);
/* Carries one action out; false when the Pod is no more. */
bool pod_act(struct reconcile *r, struct pod *pod, const struct action *action);
/* Posts the status when it is due; may set pod->status_due_ms. */
void pod_report(struct reconcile *r, struct pod *pod, const struct now *now);
void pod_event(struct reconcile *r, struct pod *pod, int container, bool warning,
               const char *reason, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* reconcile_console.c: a copy of text (CONSOLE_BYTES_MAX at most) that lives as long as an exit of
 * this Pod points to it; console_sweep, after exits changed, frees the others. */
const char *console_keep(struct pod *pod, const char *text);
void console_sweep(struct pod *pod);
void console_free_all(struct pod *pod);

/* record.c: the text of a record and back. The minimal spec is made in arena. */
void record_encode(const struct pod *pod, struct buf *out);
struct record {
    const struct pod_spec *spec;
    struct pod_observed obs;
    struct container_observed containers[POD_MACHINES_MAX];
    char image_names[POD_MACHINES_MAX][POD_IMAGE_NAME_MAX];
    struct pod_verdict verdict; /* reason "": none */
    bool resized;
    struct pod_resize resize;
};
int record_decode(const char *data, size_t len, bool same_boot, struct arena *arena,
                  struct record *ret);
