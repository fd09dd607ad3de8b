/* Carries out what provider/core decides. Callbacks record what was observed and mark the Pod
 * dirty; reconcile_flush, once a loop turn, steps the dirty Pods, asks the world for the actions
 * and sends at most one status PATCH per Pod. Everything outside is behind struct world_ops, so
 * that the simulation runs this very code. Results come back by uid: a Pod may be gone by then. */
#pragma once

#include "provider/core/resize.h"
#include "provider/pod.h"

struct arena;
struct image_result;
struct reconcile;

/* Everything asked of the world. No function calls back into reconcile before it returned. */
struct world_ops {
    struct now (*now)(void *world);

    /* Machines. */
    void (*pull)(void *world, struct pod *pod, uint32_t container);
    void (*net_add)(void *world, struct pod *pod);
    void (*net_del)(void *world, struct pod *pod);
    /* Whatever a start needs beside image and network. True: it is there; else reconcile_prepared
     * follows. Values may change until the launch, which looks again. */
    bool (*prepare)(void *world, struct pod *pod, uint32_t container);
    /* The id of the new attempt was saved before this call. */
    void (*launch)(void *world, struct pod *pod, uint32_t container, const char *id);
    /* Asks the guest to end by its own channel; -ENOTSUP when it has none. */
    int (*stop)(void *world, struct pod *pod, uint32_t container);
    void (*kill)(void *world, struct pod *pod, uint32_t container);
    /* Gives a running machine the CPU of its spec; 0, or negative with the reason in error. */
    int (*resize)(void *world, struct pod *pod, uint32_t container, char error[OBSERVED_TEXT_MAX]);
    /* For resize.h. NULL: nothing is known. */
    void (*resize_host)(void *world, struct pod *pod, uint32_t container, struct resize_host *ret);
    /* Runs a lifecycle hook of the current attempt; reconcile_hooked follows. */
    void (*hook)(void *world, struct pod *pod, uint32_t container, enum hook_type type);
    /* The Pod was stepped: probing begins, goes on or ends as its state now says.
     * NULL: nobody probes. */
    void (*look)(void *world, struct pod *pod);
    /* An attempt ended and its end is saved: put its remains away. */
    void (*put_away)(void *world, struct pod *pod, uint32_t container, const char *id);
    /* Directories, logs, cgroup: everything but network and state record. */
    void (*clean)(void *world, struct pod *pod);
    /* The Pod is about to be freed: let go of pod->machine. */
    void (*forget)(void *world, struct pod *pod);

    /* API server. */
    void (*patch_status)(void *world, struct pod *pod, const char *body, size_t len);
    void (*delete_pod)(void *world, struct pod *pod);
    /* Of a static Pod: the object that its status is posted to, NULL while there is none. The
     * member may be NULL where no Pod is static. */
    const char *(*mirror_uid)(void *world, const struct pod *pod);
    /* container -1: about the Pod. Never blocks. */
    void (*event)(void *world, struct pod *pod, int container, bool warning, const char *reason,
                  const char *message);

    /* State directory; a failure is logged by the world and tried again at the next change. */
    int (*save)(void *world, const char *uid, const char *data, size_t len);
    int (*unsave)(void *world, const char *uid);

    /* New 32-hex-digit id. */
    void (*new_id)(void *world, char id[OBSERVED_ID_MAX]);
    /* For refuse.h: what the world knows of the Pod's RuntimeClass and the Node. False: not known
     * yet, do not start it now; reconcile_touch_all comes when that changes. */
    bool (*refuse_env)(void *world, const struct pod_spec *spec, struct refuse_env *ret);
};

struct reconcile_config {
    const char *host_ip;
    uint32_t restart_max_ms; /* see container_observed; 0: the default */
};

struct reconcile *reconcile_new(const struct reconcile_config *config, const struct world_ops *ops,
                                void *world);
/* Frees the memory; machines, networks and records stay. */
void reconcile_free(struct reconcile *r);

/* At start, before the first list: a Pod's record. -EBADMSG: unreadable, nothing was taken. Then
 * what is left of it on this host is reported by the functions below. */
int reconcile_restore(struct reconcile *r, const char *uid, const char *data, size_t len,
                      bool same_boot);
/* A machine or network without a record: an orphan unless the API names it. */
void reconcile_restore_bare(struct reconcile *r, const char *uid, const char *container,
                            const char *id, uint32_t attempt);
/* A network that was begun and not finished: it is deleted before anything else is done with it. */
void reconcile_net_partial(struct reconcile *r, const char *uid);
/* After all of the above. found says whether an attempt left anything on this host: one that did
 * not was never started (same boot) or is lost (the host was started anew). */
void reconcile_restored(struct reconcile *r, bool (*found)(void *userdata, const char *id),
                        void *userdata);

/* From the watch. reconcile takes the arena over. */
void reconcile_relist(struct reconcile *r);
void reconcile_pod(struct reconcile *r, struct arena *arena, const struct pod_spec *spec);
void reconcile_pod_gone(struct reconcile *r, const char *uid);
void reconcile_synced(struct reconcile *r);
/* The API server's memory went back in time (an older backup was restored): with the next complete
 * list nothing counts as acknowledged any more. */
void reconcile_doubt(struct reconcile *r);

/* Answers of the world. */
struct pull_result {
    int result;         /* 0 or negative */
    const char *digest; /* on success */
    const char *name;   /* repository, on success */
    const char *reason; /* on failure: waiting reason */
    const char *error;
    bool pulled; /* false: was here already */
    uint64_t took_ms;
    uint64_t bytes;
};
void reconcile_pulled(struct reconcile *r, const char *uid, uint32_t container,
                      const struct pull_result *result);
void reconcile_net_added(struct reconcile *r, const char *uid, int result, const char *pod_ip,
                         const char *error);
void reconcile_net_deleted(struct reconcile *r, const char *uid, int result, const char *error);
/* reason and error on failure; see observe_prepare_failed. */
void reconcile_prepared(struct reconcile *r, const char *uid, uint32_t container, int result,
                        const char *reason, const char *error);
/* What a Pod's starts wait for may be there now. */
void reconcile_prepare_again(struct reconcile *r, const char *uid);
void reconcile_running(struct reconcile *r, const char *uid, uint32_t container, const char *id,
                       int64_t started_unix_ms);
void reconcile_start_failed(struct reconcile *r, const char *uid, uint32_t container,
                            const char *id, const char *reason, const char *error, bool spec_error);
/* exit->id says which attempt. exit->console is the whole end of the console, of which what is to
 * be reported is copied. */
void reconcile_exited(struct reconcile *r, const char *uid, uint32_t container,
                      const struct machine_exit *exit);
void reconcile_lost(struct reconcile *r, const char *uid, uint32_t container, const char *id);
/* A probe's thresholds were passed. */
void reconcile_probed(struct reconcile *r, const char *uid, const char *id, enum probe_type type,
                      enum probe_result result);
void reconcile_hooked(struct reconcile *r, const char *uid, const char *id, enum hook_type type,
                      bool failed);
void reconcile_cleaned(struct reconcile *r, const char *uid, int result);
/* http 0: no answer. version: resourceVersion of the answer, or "". */
void reconcile_patched(struct reconcile *r, const char *uid, int http, const char *version,
                       const char *error);
void reconcile_deleted(struct reconcile *r, const char *uid, int http, const char *error);

/* The node ends this Pod: its machines are asked to end within verdict->grace_ms, then it is Failed
 * with the verdict's reason. Survives the agent. False when the Pod is unknown, being deleted or at
 * its end already. The event is the caller's. */
bool reconcile_end(struct reconcile *r, const char *uid, const struct pod_verdict *verdict);

/* A static Pod's file is gone or another: it ends within its grace. False when it is unknown. */
bool reconcile_end_static(struct reconcile *r, const char *uid);
/* Its status was told to an object that is no more. */
void reconcile_tell_again(struct reconcile *r, const char *uid);

/* Once a loop turn. Returns the next deadline (mono ms), DEADLINE_NONE for none. */
uint64_t reconcile_flush(struct reconcile *r);
/* Something that all Pods depend on changed. */
void reconcile_touch_all(struct reconcile *r);
/* Whether a flush has something to do. */
bool reconcile_pending(const struct reconcile *r);

/* Looking in, for the kubelet endpoints and the Node's status. NULL: unknown. */
struct pod *reconcile_find(struct reconcile *r, const char *ns, const char *name);
struct pod *reconcile_find_uid(struct reconcile *r, const char *uid);
bool reconcile_is_synced(const struct reconcile *r); /* a complete list was seen */
size_t reconcile_count(const struct reconcile *r);
/* All of them, in no order; none may come or go meanwhile. */
void reconcile_each(struct reconcile *r, void (*each)(void *userdata, struct pod *pod),
                    void *userdata);
/* The status as it would be reported now. Points into the Pod and into itself. */
struct pod_look {
    struct pod_status status;
    struct pod_observed obs; /* copies: looking must not change what was observed */
    struct container_observed containers[POD_MACHINES_MAX];
};
void reconcile_status(struct reconcile *r, const struct pod *pod, struct pod_look *ret);
