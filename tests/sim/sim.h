/* The seeded simulation: the agent's real reconcile and core between an API server and a host that
 * are a few structs in memory. One seed decides everything: what users do, how long each answer
 * takes, what fails, and between which two actions the agent dies. Nothing sleeps and nothing is
 * a thread, so a failing seed is a complete bug report. Not for codecs of the watch or for sockets.
 */
#pragma once

#include "provider/reconcile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PODS_MAX 24
#define MACHINES_MAX 1024
#define EVENTS_MAX 8192
#define STEPS_MAX 60000 /* events of one run: more means that something never comes to rest */
#define RECORD_BYTES 16384
#define INITS_MAX 2
#define CONTAINERS_MAX (1 + INITS_MAX) /* the one that stays is number 0 */
#define RULE_CODE 42                   /* with which a container is restarted by its own rule */
#define TEXT_BYTES 256

/* A Pod as the API server holds it: what travels in watch events is a copy. */
struct api_pod {
    uint32_t index; /* of struct sim_pod */
    bool exists;
    uint64_t version;
    int64_t generation;
    int64_t deletion_ms;
    int64_t grace_s;
    bool finalizer;
    enum pod_phase phase;
    bool ready_known, ready;
    bool late; /* reason DeadlineExceeded */
    int64_t start_ms;
    uint32_t restarts[CONTAINERS_MAX];
    bool init_done[CONTAINERS_MAX]; /* reported as ended with 0 */
    uint32_t image;                 /* its version: users change it */
    struct resources size;          /* of the container that stays; users change it */
    bool resize_waits, resize_runs; /* as last posted */
    /* The container's state as last posted. */
    bool terminated;
    int32_t exit_code;
    char container_id[OBSERVED_ID_MAX + 16];
};

#define SIM_POST_START 8u
#define SIM_PRE_STOP 16u

enum sim_image { SIM_IMAGE_GOOD, SIM_IMAGE_FLAKY, SIM_IMAGE_BAD };
enum sim_stop { SIM_STOP_OBEYS, SIM_STOP_DEAF, SIM_STOP_NO_CHANNEL };
enum sim_net { SIM_NET_NONE, SIM_NET_PARTIAL, SIM_NET_UP };

/* Of one container, all that the host holds and what came of it. */
struct sim_container {
    uint32_t pull; /* counts pulls: a new one cancels the one before */
    uint32_t ends; /* machines that ran and ended by themselves */
    int32_t last_exit;
    bool last_asked; /* that end was asked for: the policy has no say */
    bool started;    /* one of its machines ran */
};

/* A Pod for the whole run, and all that the host holds for it. */
struct sim_pod {
    char uid[16];
    char name[16];
    struct api_pod api;
    enum restart_policy restart_policy;
    bool rule; /* with policy Never: the container restarts after RULE_CODE */
    bool cpu_restarts, memory_restarts;
    uint32_t inits;     /* init containers */
    int64_t deadline_s; /* activeDeadlineSeconds; 0: none */
    struct sim_container containers[CONTAINERS_MAX];
    enum pull_policy pull_policy;
    uint32_t features;
    uint32_t health; /* 1 << probe_type: has that probe; SIM_POST_START, SIM_PRE_STOP */
    enum sim_image quality;
    uint32_t pulled; /* version of the image that the agent has */
    enum sim_stop stop;
    bool bad_kernel; /* each launch fails, and says that the image is at fault */
    uint32_t run_ms; /* 0: runs until it is stopped */
    int32_t exit_code;
    bool recreate; /* a Pod of the same name follows when it is gone */

    enum sim_net net;
    char record[RECORD_BYTES]; /* "" none */
    uint32_t record_boot;      /* when it was written */
    uint32_t image_seen;       /* by the living agent */
    bool deletion_seen;        /* the living agent has been told */
    bool forgiven; /* its record was destroyed, or its host restarted: history is lost */
    bool evicted;  /* the node ended it, whatever it did itself */
    bool cleaned;
    uint32_t events;
};

enum sim_machine_state { SIM_BOOTING, SIM_RUNNING, SIM_FAILED, SIM_ENDED };

struct sim_machine {
    char id[OBSERVED_ID_MAX];
    uint32_t pod;
    uint32_t container;
    uint32_t attempt;
    enum sim_machine_state state;
    uint32_t image;
    struct resources size;
    int64_t cpu_most; /* what it was started with */
    bool asked;       /* to end, by the agent */
    bool lost;        /* its end was never written down */
    bool removed;     /* nothing of it is left on the host */
    bool held;        /* the living agent listens to it */
    uint32_t probing; /* 1 << type: an answer is under way */
    int64_t started_ms;
    int64_t finished_ms;
    int32_t exit_code;
};

struct sim;
struct event;
typedef void (*event_fn)(struct sim *sim, const struct event *event);

struct event {
    uint64_t at_ms;
    uint64_t seq; /* of equals, the first queued comes first */
    event_fn fn;
    uint32_t epoch; /* of the agent; 0: whoever lives */
    uint32_t a, b, c;
    int64_t n;
    struct api_pod pod;
};

struct sim {
    uint64_t seed;
    uint64_t random;
    bool verbose;
    bool calm; /* no more faults: everything must come to rest */
    char failure[TEXT_BYTES];

    uint64_t mono_ms;
    int64_t unix_offset_ms;
    uint64_t boot_offset_ms;        /* mono_ms at the host's last start */
    struct event queue[EVENTS_MAX]; /* a heap */
    size_t queue_len;
    uint64_t seq;
    uint64_t steps;

    /* The agent. */
    struct world_ops ops;
    struct reconcile *agent; /* NULL: none lives */
    uint32_t epoch;
    bool dying;         /* killed inside a call: what it asks for from now on never happens */
    uint64_t op_count;  /* asked of the world in this epoch */
    uint64_t die_at_op; /* 0: lives on */
    uint64_t wake_ms;
    bool env_known;
    uint32_t boot; /* counts starts of the host */
    uint32_t crashes;

    /* The API server. */
    uint64_t version;
    bool watching;
    uint32_t stream;    /* counts watch streams: news of a broken one is dropped */
    uint64_t stream_ms; /* the last delivery: news keeps its order */

    struct sim_pod pods[PODS_MAX];
    uint32_t pods_len;
    struct sim_machine machines[MACHINES_MAX];
    uint32_t machines_len;
    uint32_t ids; /* given to attempts so far */
};

/* main.c */
uint32_t sim_random(struct sim *sim, uint32_t below);
bool sim_chance(struct sim *sim, uint32_t percent); /* never in calm */
void sim_after(struct sim *sim, uint32_t delay_ms, struct event event);
void sim_trace(const struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Notes the first broken invariant; the run ends there. */
void sim_fail(struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct now sim_now(const struct sim *sim);
struct sim_pod *sim_pod_of(struct sim *sim, const char *uid);
/* True when this action of the agent takes place; false when it died before. */
bool sim_op(struct sim *sim, const char *what, const char *uid);

/* agent.c: the life of the agent: start, restore, crash, flush. */
void agent_start(struct sim *sim);
void agent_flush(struct sim *sim);
/* After a call in which it died: buries it and lets another one start later. */
void agent_reap(struct sim *sim);
void agent_free(struct sim *sim);

/* host.c: the world's machines, networks, images and state directory. */
void host_ops(struct world_ops *ops);
void host_reboot(struct sim *sim);
bool host_is_clean(struct sim *sim, const struct sim_pod *pod); /* no machine, no network */
struct sim_machine *host_machine(struct sim *sim, const char *id);
struct sim_machine *host_live_machine(struct sim *sim, uint32_t pod);
/* What becomes of a machine that the agent listens to again after its start. */
void host_adopt(struct sim *sim, struct sim_machine *machine);
void host_kill(struct sim *sim, struct sim_machine *machine);

/* hooks.c */
void hook_ask(void *world, struct pod *pod, uint32_t container, enum hook_type type);

/* api.c: the API server and the watch. */
void api_ops(struct world_ops *ops);
void api_list(struct sim *sim); /* a new list, then a watch */
void api_break_watch(struct sim *sim);
struct sim_pod *api_create(struct sim *sim, const char *name);
void api_delete(struct sim *sim, struct sim_pod *pod, int64_t grace_s);
void api_force_delete(struct sim *sim, struct sim_pod *pod);
void api_drop_finalizer(struct sim *sim, struct sim_pod *pod);
void api_change_image(struct sim *sim, struct sim_pod *pod);
void api_touch(struct sim *sim, struct sim_pod *pod);

/* What the policy and rules say to such an end of a container. */
bool sim_will_restart(const struct sim_pod *pod, uint32_t container, int32_t exit_code);

void api_changed(struct sim *sim, struct sim_pod *pod); /* a new version of it, and news */

/* resize.c */
struct json;
void resize_ops(struct world_ops *ops);
void resize_create(struct sim *sim, struct sim_pod *pod);
void resize_pod(struct sim *sim, struct sim_pod *pod);
void resize_launched(struct sim_machine *machine, const struct pod *pod);
void resize_read(const struct json *condition, struct api_pod *ret);
void resize_check(struct sim *sim, const struct sim_pod *pod, const struct sim_machine *machine);

/* story.c: what users and fate do, and what must be true in the end. */
void story_begin(struct sim *sim);
void story_calm(struct sim *sim);
void story_check_survivors(struct sim *sim);
void story_delete_all(struct sim *sim);
void story_check_empty(struct sim *sim);
