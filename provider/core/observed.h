/* What the agent knows of a Pod's machine, network, image and API object: the second input of
 * pod_step. Callbacks only call the observe_* functions below and mark the Pod dirty. Pure: the
 * time is an argument, texts are copied into fixed fields (cut, never refused), nothing allocates.
 * Everything marked [saved] is written to the state directory and survives the agent. */
#pragma once

#include "provider/core/pod.h"

#define OBSERVED_TEXT_MAX 256 /* an error or last console line, for a container's message */
#define OBSERVED_ID_MAX 72    /* instance id or image digest with "sha256:" */
#define OBSERVED_REASON_MAX 40
#define OBSERVED_VERDICT_MAX 512 /* why the node ended a Pod */
#define OBSERVED_IP_MAX 93       /* two of INET6_ADDRSTRLEN: "10.0.0.2,fd00::2" */

/* Both clocks at one moment: deadlines use mono, what is reported uses unix. */
struct now {
    uint64_t mono_ms; /* CLOCK_BOOTTIME */
    int64_t unix_ms;
};

enum image_state {
    IMAGE_NEEDED,  /* not asked for yet, or to be asked again for the next start */
    IMAGE_PULLING, /* asked; an answer will come */
    IMAGE_READY,
    IMAGE_FAILED, /* retry at image_retry_ms */
};

enum net_state {
    NET_NONE,
    NET_ADDING, /* asked; an answer will come */
    NET_UP,
    NET_FAILED, /* retry at net_retry_ms */
    NET_DELETING,
};

enum machine_state {
    MACHINE_NONE,     /* never started, or the last attempt was put away */
    MACHINE_STARTING, /* launch asked */
    MACHINE_RUNNING,  /* the VMM executes */
    MACHINE_EXITED,   /* ended by itself, or stopped; see exit */
    MACHINE_FAILED,   /* could not be started; retry at restart_ms */
};

/* What a start needs of the API and of this host beside image and network: values of ConfigMaps and
 * Secrets, and the volumes' files. */
enum prepare_state {
    PREPARE_NEEDED,
    PREPARE_ASKED,  /* an answer will come */
    PREPARE_READY,  /* for the next start; each start needs it anew */
    PREPARE_FAILED, /* start_reason and start_error say why; retry at prepare_retry_ms */
};

/* Of a probe, as far as its thresholds let it count. */
enum probe_result { PROBE_UNKNOWN, PROBE_SUCCESS, PROBE_FAILURE };

enum hook_state {
    HOOK_NONE, /* not begun */
    HOOK_RUNNING,
    HOOK_DONE, /* or failed */
};

/* Why an attempt is being ended that is neither deleted nor replaced: its end counts as a crash. */
enum doom { DOOM_NONE, DOOM_LIVENESS, DOOM_STARTUP, DOOM_POST_START };

/* The end of an attempt: Kubernetes' ContainerStateTerminated. */
struct machine_exit {
    bool valid;
    int32_t exit_code;
    int32_t signal;                   /* 0: none */
    char reason[OBSERVED_REASON_MAX]; /* Completed, Error, OOMKilled, ContainerStatusUnknown, ... */
    char message[OBSERVED_TEXT_MAX];
    int64_t started_ms; /* unix */
    int64_t finished_ms;
    bool unhealthy; /* ended for a probe's sake: a failure, whatever the code says */
    char id[OBSERVED_ID_MAX];
    /* The console's last lines, reported instead of message: terminationMessagePolicy
     * FallbackToLogsOnError. NULL: none. Owned by who made the observation [saved] */
    const char *console;
};

/* The limits of the kubelet's FallbackToLogsOnError, and what all containers of a Pod share. */
#define CONSOLE_LINES_MAX 80
#define CONSOLE_BYTES_MAX 2048
#define MESSAGES_BYTES_MAX (12 * 1024)

struct container_observed {
    enum image_state image;
    enum machine_state machine;
    uint64_t image_hash;   /* str_hash of the reference that image is about; 0: unknown */
    uint64_t running_hash; /* and of the one that the current attempt was started from [saved] */
    char image_digest[OBSERVED_ID_MAX];     /* "sha256:..", empty until resolved [saved] */
    char image_reason[OBSERVED_REASON_MAX]; /* ErrImagePull, ErrImageNeverPull, Invalid... */
    char image_error[OBSERVED_TEXT_MAX];
    uint32_t image_failures; /* in a row: its own back-off 10 s to 300 s (contract 3.7) */
    uint64_t image_retry_ms; /* mono */

    enum prepare_state prepare;
    uint32_t prepare_failures; /* in a row */
    uint64_t prepare_retry_ms; /* mono */

    char id[OBSERVED_ID_MAX]; /* of the current attempt; new for each [saved] */
    uint32_t attempt;         /* 0, 1, 2, ...: restartCount and the log file's number [saved] */
    int64_t started_ms;       /* unix; valid in RUNNING [saved] */
    struct machine_exit exit; /* of the current attempt, in MACHINE_EXITED [saved] */
    struct machine_exit last; /* of the one before: lastState.terminated [saved] */
    char start_reason[OBSERVED_REASON_MAX]; /* in MACHINE_FAILED and PREPARE_FAILED: ... */
    char start_error[OBSERVED_TEXT_MAX];
    bool start_spec_error;   /* trying again cannot help unless image or spec change */
    uint32_t restart_max_ms; /* cap of the back-off after crashes; 0: BACKOFF_MAX_MS */
    uint32_t crashes;        /* in a row, for CrashLoopBackOff: 0 means start at once [saved] */
    uint64_t restart_ms;     /* mono; not before this [saved] */
    bool again; /* the sandbox before is gone, and what this one did in it counts no more [saved] */
    bool ready; /* as last reported; kept over an agent restart [saved] */

    enum probe_result probes[_PROBE_MAX]; /* of the current attempt [saved] */
    enum hook_state post_start;           /* [saved] */
    enum hook_state pre_stop;
    enum doom doom; /* [saved once ended] */

    bool allocated_known; /* allocated is what it was given, whatever its Pod asks for [saved] */
    struct resources allocated;
    bool actual_known; /* actual is what the current attempt runs with [saved] */
    struct resources actual;
    uint32_t cpus;            /* of the limit that it was started with: resources_cpus [saved] */
    uint64_t resize_retry_ms; /* mono; not before this */

    bool stop_sent;            /* a graceful stop was asked of this attempt [saved once ended] */
    bool kill_sent;            /* the hard kill was asked */
    uint64_t stop_deadline_ms; /* mono; when stop_sent, or pre_stop was begun */
};

/* The node's own end of a Pod: not let in, evicted, shut down with the host. Its phase is Failed
 * with this reason as soon as nothing of it runs (contract 3.5, 3.10). */
struct pod_verdict {
    char reason[OBSERVED_REASON_MAX];   /* status.reason: OutOfcpu, Evicted, Terminated, ... */
    char message[OBSERVED_VERDICT_MAX]; /* status.message */
    bool rejected;                      /* it never began: no container has a state */
    bool disruption;                    /* DisruptionTarget is True, as for every Pod that lived */
    int64_t grace_ms;                   /* its machines have so long to end */
    int64_t since_ms;                   /* unix */
};

/* A resize of the Pod that waits, and one that is under way (contract 3.10). */
enum resize_pending { RESIZE_NONE, RESIZE_DEFERRED, RESIZE_INFEASIBLE };

struct pod_resize {
    enum resize_pending pending;
    char message[OBSERVED_VERDICT_MAX]; /* why */
    int64_t pending_generation;
    int64_t pending_since_ms; /* unix */
    bool in_progress;
    char error[OBSERVED_TEXT_MAX]; /* of the last try to carry it out; "": none */
    int64_t progress_generation;
    int64_t progress_since_ms; /* unix */
};

enum api_delete_state { API_DELETE_NONE, API_DELETE_SENT, API_DELETE_DONE };

struct condition_observed {
    bool known;
    bool status;
    int64_t since_ms; /* unix: lastTransitionTime [saved] */
};

struct pod_observed {
    enum net_state net;
    /* One address, or one of each family with a comma between them, the Node's first family first
     * (as the kubelet sorts them). Kept without network: EndpointSlices need it [saved] */
    char pod_ip[OBSERVED_IP_MAX];
    char net_error[OBSERVED_TEXT_MAX];
    uint32_t net_failures;
    uint64_t net_retry_ms; /* mono */

    int64_t start_ms;      /* unix: status.startTime, 0 until accepted; never changes [saved] */
    bool gone;             /* the API object is gone: DELETED seen, or not in a complete list */
    bool stopped_for_good; /* no container will start again: set once, never cleared [saved] */
    bool admitted;         /* let in by admit.h, which is never asked again */
    const struct pod_verdict *verdict; /* NULL: none; the caller's, set once [saved] */
    const struct pod_resize *resize;   /* NULL: it never was; the caller's [saved] */
    bool cleaned;                      /* state, cgroup and network of this Pod are off the host */
    bool clean_sent;
    enum api_delete_state api_delete;
    uint64_t api_delete_retry_ms; /* mono */
    bool terminal_acked;          /* the API server has our terminal status */
    struct condition_observed conditions[_COND_MAX];

    struct container_observed *containers; /* numbered as pod_container does; the caller's */
    size_t containers_len;                 /* pod_containers_len, POD_MACHINES_MAX at most */
};

/* Containers of a Pod that are kept track of. One container that stays, until several machines
 * behind one address are agreed on (design), and init containers, of which people have a handful.
 * More are refused (refuse.h). */
#define POD_INITS_MAX 16
#define POD_MACHINES_MAX (1 + POD_INITS_MAX)

/* Called when a Pod is first seen. containers is a zeroed array owned by the caller, of
 * pod_containers_len elements, POD_MACHINES_MAX at most. */
void observe_init(struct pod_observed *obs, const struct pod_spec *spec,
                  struct container_observed *containers, const struct now *now);

/* image: the reference as the spec has it now; another than before forgets that one's failures. */
void observe_image_pulling(struct container_observed *c, const char *image);
void observe_image_ready(struct container_observed *c, const char *digest);
/* reason is one of contract 3.5's waiting reasons; the back-off is computed here. */
void observe_image_failed(struct container_observed *c, const char *reason, const char *text,
                          const struct now *now);

void observe_net_adding(struct pod_observed *obs);
void observe_net_up(struct pod_observed *obs, const char *pod_ip);
void observe_net_failed(struct pod_observed *obs, const char *text, const struct now *now);
void observe_net_deleting(struct pod_observed *obs);
void observe_net_gone(struct pod_observed *obs);

void observe_preparing(struct container_observed *c);
void observe_prepared(struct container_observed *c);
/* reason: the waiting reason, "" for ContainerCreating. Tried again from half a second on, doubling
 * to two minutes as the kubelet does with mounts, or when observe_prepare_again says so. */
void observe_prepare_failed(struct container_observed *c, const char *reason, const char *text,
                            const struct now *now);
/* Something that it waits for changed. */
void observe_prepare_again(struct container_observed *c);

/* What a probe's thresholds came to; true when that is news. */
bool observe_probe(struct container_observed *c, enum probe_type type, enum probe_result result);
/* A hook came to its end. A postStart that failed dooms the attempt. */
void observe_hooked(struct container_observed *c, enum hook_type type, bool failed);

/* id is the new attempt's; the exit of the one before moves to last. */
void observe_starting(struct container_observed *c, const char *id);
void observe_running(struct container_observed *c, int64_t started_unix_ms);
/* The launch itself failed; back-off as for a crash. spec_error: see container_observed. */
void observe_start_failed(struct container_observed *c, const char *reason, const char *text,
                          bool spec_error, const struct now *now);
/* Ended. Decides reason (Completed/Error unless given), crash count and restart_ms, and asks for
 * the image again when the policy is Always. An empty reason lets the exit code decide. */
void observe_exit(struct container_observed *c, const struct container_spec *spec,
                  const struct machine_exit *exit, const struct now *now);
/* What is reported of text, a console's end, by terminationMessagePolicy: its last lines, as many
 * as the limits above let one of count containers have; NULL: nothing, it ended well or asks for
 * none. */
const char *console_message(const struct container_spec *spec, const struct machine_exit *exit,
                            const char *text, size_t count);
/* The machine's whereabouts cannot be told (host reboot, shim vanished): 137. */
void observe_lost(struct container_observed *c, const struct container_spec *spec,
                  const struct now *now);
/* STARTING was saved, but the launch never happened: the agent died between the two. */
void observe_never_started(struct container_observed *c);

/* What the API holds as restartCount: ours never falls below it when a record was lost or old. */
void observe_api_restarts(struct container_observed *c, uint32_t count);

#define BACKOFF_MAX_MS 300000u
/* Back-off of contract 3.7: 10 s doubling to 300 s. failures >= 1. */
uint64_t backoff_ms(uint32_t failures);
/* The wait before restart number crashes of a container: the first is at once, then 10 s doubling
 * to its cap. An attempt that ran for twice the cap forgets the crashes before. */
uint64_t crash_backoff_ms(const struct container_observed *c);
