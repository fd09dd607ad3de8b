/* What network.c (jobs and their order, on the loop) and network_steps.c and network_care.c (the
 * blocking parts, on threads) share. A job is one network_add, _del or _verify, or the garbage
 * collection at start: while a thread or a chain works for it,
 * nobody else touches it. */
#pragma once

#include "base/err.h"
#include "runtime/cni_chain.h"
#include "runtime/network_store.h"

#include <uv.h>

#define NETWORK_JOBS_MAX 8192   /* an add and a del for each of 4,096 Pods */
#define NETWORK_PLUGIN_MS 60000 /* as long as CNI itself waits in other runtimes, halved */
#define NETWORK_NS_PREFIX "unik-"

struct network_work;

struct network {
    uv_loop_t *loop;
    uv_timer_t soon; /* jobs begin and are refused on the next turn, never inside a call */
    char *conf_dir;
    char **bin_dirs;
    size_t bin_dirs_len;
    char *netns_dir;
    int lock_fd;     /* of netns_dir: what lies in it belongs to one agent */
    char *store_dir; /* state_dir/net: records and the guard's FIFO */
    char *ipam_dir;
    char *pod_cidr;
    char *pod_cidr6;
    char *bridge;
    char *boot_id;
    uint32_t plugin_ms_max;
    bool netns_dir_ready;
    struct cni_guard *guard;
    bool guard_ready; /* no plugin of an earlier agent is left */
    bool collecting;  /* no other job may run: CNI's GC must know every attachment */
    struct net_job *pending;
    struct net_job **pending_end;
    struct net_job *running;
    size_t running_len;
    size_t pending_len; /* without checks, which wait until it is 0 */
    size_t jobs_len;
    char skipped[ERR_TEXT_MAX]; /* the last warning about a bad file, not to repeat it */
};

enum net_kind { NET_JOB_ADD, NET_JOB_DEL, NET_JOB_VERIFY, NET_JOB_COLLECT };

enum net_next {
    NET_FINISH,  /* with job->result */
    NET_ADD,     /* the CNI chain, then join */
    NET_UNDO,    /* find out what to undo, then NET_DEL */
    NET_DEL,     /* the CNI chain, then clean */
    NET_CLEAN,   /* namespace and record */
    NET_BEGIN,   /* an add over remains that are undone now */
    NET_VERIFY,  /* the CNI chain, then settle */
    NET_COLLECT, /* the CNI chain */
};

struct net_job {
    struct network *network;
    struct net_job *next;
    enum net_kind kind;
    bool undone; /* the remains of an earlier add were undone for this one */
    char uid[NETWORK_UID_MAX];
    char netns[256];
    network_done done;
    void *userdata;
    struct network_record record;         /* add: what is, or will be, on disk */
    struct network_record old;            /* what was found there and is undone */
    const struct network_record *undoing; /* one of the two */
    struct cni_list *list;
    const char *cni_netns; /* netns, or "" when it is gone */
    char *cni_args;
    char *attachments; /* of a collection, JSON */
    struct network_work *work;
    struct cni_chain *chain;
    enum net_next next_step; /* set by the thread for the loop */
    bool del_again;          /* the DEL chain failed once and runs a second time */
    int result;              /* the first failure */
    struct err err;
    char skipped[ERR_TEXT_MAX];
    uint64_t begun_ns;
    uint64_t chain_ns; /* when the present CNI chain began */
    uint64_t cni_ns;   /* spent in CNI chains */
};

/* Thread functions; userdata is the job. Each sets next_step, and result and err on failure. */
void network_step_begin(void *userdata);
void network_step_join(void *userdata);
void network_step_undo(void *userdata);
void network_step_clean(void *userdata);
void network_step_verify(void *userdata);
void network_step_settle(void *userdata);
void network_step_collect(void *userdata);

/* The list that holds now: the host's, or our default. wants: what our default has plugins for;
 * NULL: all of them. */
int network_current_list(const struct network *network, const struct network_wants *wants,
                         struct cni_list **ret, bool *ret_default, char *ret_skipped,
                         struct err *err);

/* Puts the garbage collection before all that comes, once. */
void network_collect(struct network *network);
void network_pump(struct network *network);
/* network_pump on the next turn of the loop. */
void network_soon(struct network *network);
void network_job_free(struct net_job *job);
