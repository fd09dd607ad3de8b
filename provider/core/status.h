/* What is reported of a Pod, derived afresh each time from spec and observation (contract 3.2-3.5).
 * k8s/ writes it as a strategic-merge patch. Pointers point into spec, observed or static text. */
#pragma once

#include "provider/core/step.h"

enum container_state_kind { STATE_WAITING, STATE_RUNNING, STATE_TERMINATED };

/* A terminated whose started_ms or finished_ms is 0 and id empty never ran: leave them out. */
struct container_status {
    const struct container_spec *spec;
    enum container_state_kind state;
    const char *reason; /* waiting, terminated */
    char message[OBSERVED_TEXT_MAX + 128];
    int64_t started_ms;                    /* running, unix */
    const struct machine_exit *terminated; /* terminated */
    const struct machine_exit *last;       /* NULL: none */
    const struct resources *resources;     /* that the machine runs with, or would */
    const char *id;                        /* without "unikernel://"; "" before the first attempt */
    const char *image_digest;              /* "" until resolved */
    uint32_t restart_count;
    bool ready;
    bool started;
};

struct condition_status {
    enum condition_type type;
    bool status;
    int64_t since_ms;
    const char *reason; /* NULL: none */
    char message[512];  /* "": none */
};

struct pod_status {
    enum pod_phase phase;
    const char *reason;                /* NULL: none */
    const char *message;               /* NULL: none */
    const struct pod_verdict *verdict; /* that reason and message come from; NULL: none */
    bool keep_reason;    /* the API's reason and message are of an end that we know nothing of */
    const char *host_ip; /* one address, or two with a comma between: hostIPs */
    const char *pod_ip;  /* likewise; "": none */
    int64_t start_ms;
    int64_t observed_generation;
    struct condition_status conditions[_COND_MAX];
    const struct pod_resize *resize; /* of a Pod that was resized once; NULL: none */
    bool resize_over;                /* at its end it has neither of the conditions */
    struct container_status containers[POD_MACHINES_MAX]; /* numbered as pod_container does */
    /* Nothing runs and nothing here will change: once the API server has it, set terminal_acked. */
    bool final;
    /* The API holds a terminal status of a Pod that we know nothing of (state lost, or run by
     * an earlier agent): do not write over it. */
    bool keep_api;
    size_t containers_len; /* regular ones in front of the others; a refused Pod with more than
                              POD_MACHINES_MAX reports the first */
    size_t inits_len;      /* init containers behind them */
};

/* Fills ret; updates obs->conditions' transition times and containers' ready, nothing else. */
void pod_status(const struct pod_spec *spec, struct pod_observed *obs,
                const struct refusal *refusal, const char *host_ip, const struct now *now,
                struct pod_status *ret);

/* Contract 3.3. */
enum pod_phase pod_phase(const struct pod_spec *spec, const struct pod_observed *obs,
                         const struct refusal *refusal);

/* How long an intermediate status may wait to be coalesced with the next one, in ms: 0 for a status
 * that someone waits for (Ready, terminal, an error), up to STATUS_COALESCE_MS for "creating". */
#define STATUS_COALESCE_MS 100
uint32_t pod_status_delay_ms(const struct pod_status *status);

const char *condition_type_to_string(enum condition_type type);
