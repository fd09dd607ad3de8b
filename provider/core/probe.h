/* When a probe is due, what its answers mean, and when a container counts as started and ready: the
 * kubelet's prober (contract 3.8) without its goroutines and grids. Pure. Each rule is a row of
 * tests/unit/test_core_probe.c. */
#pragma once

#include "provider/core/observed.h"

/* After so many errors (not failures) in a row one probe gives up, as the kubelet does. */
#define PROBE_TRIES_MAX 3
/* While nobody listens yet, a fresh attempt is asked again this soon, doubling ... */
#define PROBE_EARLY_MS 20u
#define PROBE_EARLY_MS_MAX 1000u /* ... up to this, and for one period at most */

enum probe_outcome {
    PROBE_OK,
    PROBE_WARNING, /* counts as a success, with an event: redirected to another host */
    PROBE_FAILED,
    PROBE_ERROR, /* says nothing about the container: thrown away */
};

/* One probe of one attempt. */
struct probe_worker {
    enum probe_result last;
    uint32_t run;      /* answers in a row that were as last */
    uint32_t errors;   /* of the probe that is due, in a row */
    uint32_t early;    /* times that nobody listened */
    bool hold;         /* nothing more to learn of this attempt */
    bool adopted;      /* of a former agent's attempt: it had its time to come up */
    uint64_t begun_ms; /* mono: the probe under way began, or the last one did */
    uint64_t next_ms;  /* mono: the next one */
    uint64_t grid_ms;  /* mono: until then nobody needs to listen yet */
};

/* What an answer leads to. */
struct probe_verdict {
    bool changed; /* result is to be taken over */
    enum probe_result result;
    bool told; /* worth an event, where it was no success */
    bool counted;
};

/* A new attempt runs. started_ms: unix, when it began to. delay_ms: of the first probe, on top of
 * initialDelaySeconds; only for an adopted attempt, so that not all come at once. */
void probe_begin(struct probe_worker *w, const struct probe_spec *spec, int64_t started_ms,
                 bool adopted, uint64_t delay_ms, const struct now *now);
/* It is being asked. */
void probe_asked(struct probe_worker *w, const struct now *now);
/* unheard: nobody took the connection. */
struct probe_verdict probe_answered(struct probe_worker *w, const struct probe_spec *spec,
                                    enum probe_type type, enum probe_outcome outcome, bool unheard,
                                    const struct now *now);

/* Whether this probe is to be asked at all now. container: of the number that obs has. */
bool probe_wanted(const struct pod_spec *spec, const struct container_spec *container,
                  const struct pod_observed *obs, const struct container_observed *c,
                  enum probe_type type);
/* status.containerStatuses[].started and ready of a container that runs. */
bool probe_started(const struct container_spec *container, const struct container_observed *c);
bool probe_ready(const struct container_spec *container, const struct container_observed *c);
/* The probe by which this attempt has to be ended, or _PROBE_MAX. */
enum probe_type probe_condemned(const struct container_spec *container,
                                const struct container_observed *c);

/* The number of a handler's port, or 0 with the kubelet's sentence in text. */
uint16_t handler_port(const struct handler *handler, const struct container_spec *container,
                      char *text, size_t size);

/* "Readiness", and "readiness" as events name them. */
const char *probe_type_to_string(enum probe_type type);
