/* Shared by node.c (registration, status) and lease.c (heartbeat, ownership of the name). */
#pragma once

#include "base/buf.h"
#include "k8s/codec.h"
#include "provider/agent.h"
#include "provider/node.h"

#define NODE_BODY_MAX (256 * 1024)
#define NODE_RETRY_MS 200u      /* first pause after a failed registration step, doubling ... */
#define NODE_RETRY_MS_MAX 7000u /* ... to this (contract 1.1) */
#define NODE_REASSERT_MS 5000u  /* another's writing is answered at once, but no more often */
#define AGENT_ID_ANNOTATION "unikubelet.dev/agent-id"
#define EXIT_NAME_TAKEN 3 /* another live agent holds the Node's name */

/* Places in node->conditions. */
enum { NODE_MEMORY_PRESSURE, NODE_DISK_PRESSURE, NODE_PID_PRESSURE, NODE_READY, NODE_CONDITIONS };

struct pressure;

enum node_state {
    NODE_CLAIMING,    /* is the name free? reading the Lease */
    NODE_CLAIMED,     /* it is ours; waiting for the word on whether machines can run */
    NODE_REGISTERING, /* POST, or GET and PATCH of what exists */
    NODE_REGISTERED,
};

struct node {
    struct agent *agent;
    enum node_state state;
    char agent_id[40];
    char uid[64]; /* of the Node object */
    struct buf body;
    uv_timer_t retry;
    uint32_t failures;
    char refusal[512]; /* why the Node was not created, or its status not taken */

    /* Status. */
    uv_timer_t status_timer;
    struct kube_request *request; /* registration or status, one at a time */
    uint64_t posted_hash;         /* without heartbeat times */
    uint64_t pending_hash;
    uint64_t posted_mono_ms;
    struct node_condition conditions[NODE_CONDITIONS_MAX];
    size_t conditions_len;
    char ready_message[1024];
    bool started_told;

    struct pressure *pressure;
    bool shutting_down;

    /* What admission needs of the Node object as the API has it; NULL: not seen yet. */
    struct arena *facts;
    const struct key_value *labels;
    size_t labels_len;
    const struct taint *taints;
    size_t taints_len;

    /* What others do to it. */
    struct watch *watch;
    uint64_t acked_version; /* of our last write */
    uint64_t other_version; /* of what was seen last ... */
    uint64_t other_ms;      /* mono: another's writing was answered last; 0: never */
    bool other;             /* ... and it is not as we say */
    bool listed;

    /* Whether machines can run: asked of the VMM in a worker, which sees only probe. */
    uv_work_t probe_work;
    struct probe {
        struct vmm_config config;
        bool ok;
        char error[512];
        char *version;
        enum vmm_accel accel;
    } probe;
    bool probing;
    bool probed;
    bool accel_known;
    bool backend_ok;
    char backend_error[512];
    uint64_t probed_mono_ms;

    /* Lease. */
    uv_timer_t lease_timer;
    struct kube_request *lease_request;
    uint32_t lease_failures;
    char lease_version[32]; /* resourceVersion, "" when there is none yet */
    uint64_t lease_highest; /* of all seen, as a number; 0: none */
    char foreign_renew[64]; /* renewTime of another agent's Lease when first seen */
    uint64_t foreign_since_ms;
    bool lease_owned;
    unsigned closing; /* handles still to be closed */
};

/* lease.c */
void lease_claim(struct node *node); /* calls node_claimed when the name is ours */
void lease_start(struct node *node); /* renews from now on, if the name is still ours */
void lease_stop(struct node *node);
/* node_watch.c */
void node_watch_start(struct node *node); /* from the first registration on */
void node_watch_stop(struct node *node);
/* What our own write made of the Node. */
void node_watch_acked(struct node *node, const struct json *object);
/* Answers what was seen meanwhile, once no request is under way. */
void node_watch_check(struct node *node);
void node_watch_again(struct node *node); /* versions begin anew */
/* node_facts.c */
void node_facts_take(struct node *node, const struct json *object); /* the Node object */
/* node.c */
void node_claimed(struct node *node);
void node_doubt(struct node *node); /* the Node may have been deleted: posts its status at once */
