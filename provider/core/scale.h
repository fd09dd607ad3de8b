/* When a Service's connections are held, when its workload is woken or put to zero, and what is
 * known of its traffic. Pure: no I/O, no clock. Called by provider/scaler/. Times are ms of one
 * clock that never goes back. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* After the activator's address was published, until what connects to a Pod directly is counted
 * too: kube-proxies take it up within a second. */
#define SCALE_SETTLE_MS 2000u

/* After a workload went to zero its Pods are told as ready until the controllers have ended them;
 * what connects to one then is lost with it. Ended within a second where they are not overloaded; a
 * Pod that outlives this time stays, for the workload was woken before anybody looked. */
#define SCALE_LEAVING_MS 3000u

/* Where the Service's owner says nothing: an autoscaler looks every 15 s, so it does not see what
 * came up and was idle again between two looks, and would put a workload to zero that just woke. */
#define SCALE_MIN_UP_MS_DEFAULT 30000u

/* What the Service's owner asks for. */
struct scale_spec {
    bool activate;      /* hold connections while nothing is ready */
    uint64_t idle_ms;   /* put to zero after so long without a connection; 0: never by us */
    uint64_t min_up_ms; /* a workload that came up stays for so long */
};

#define SCALE_REPLICAS_UNKNOWN (-1) /* the workload is not there, or not seen yet */

struct scale_observed {
    bool leading;            /* only the leader changes anything */
    bool synced;             /* Services, slices, autoscalers and workload were listed once */
    int64_t replicas;        /* spec.replicas, or SCALE_REPLICAS_UNKNOWN */
    uint32_t ready;          /* endpoints that are ready and not terminating */
    uint32_t starting;       /* neither ready nor terminating */
    uint32_t held;           /* connections that wait at the activator */
    uint32_t relayed;        /* connections that it carries to Pods */
    bool traffic_known;      /* of every endpoint, and not too old */
    uint64_t open;           /* connections at the Pods */
    uint64_t idle_ms;        /* since the last sign of a connection at any Pod */
    uint64_t sample_ms;      /* when the oldest of these counts was taken */
    uint64_t up_ms;          /* when replicas were last seen to leave zero, or first seen */
    uint64_t ready_ms;       /* when the first endpoint became ready, or was first seen so */
    bool autoscaled_to_zero; /* an autoscaler with minReplicas 0 has the workload */
    bool published;          /* our endpoint slice is there as it should be */
    uint64_t published_ms;
};

struct scale_decision {
    bool publish; /* the activator's address is to be an endpoint of the Service */
    bool wake;    /* replicas to 1, now */
    bool zero;    /* replicas to 0 */
};

struct scale_endpoint {
    bool ready, terminating;
    bool leaving; /* was there when the workload last went to zero */
};

/* Whether connections may go there. zero_ms: when the workload last went to zero; 0: never. */
bool scale_endpoint_counts(const struct scale_endpoint *endpoint, int64_t replicas,
                           uint64_t zero_ms, uint64_t now_ms);

void scale_decide(const struct scale_spec *spec, const struct scale_observed *observed,
                  uint64_t now_ms, struct scale_decision *ret);

/* Whether the Service is to be up as far as traffic says: the metric unikubelet_active. false: what
 * there is to know is missing. */
bool scale_active(const struct scale_spec *spec, const struct scale_observed *observed,
                  uint64_t now_ms, bool *ret_active);

/* Connections that are open or about to be, for who scales by their number: held ones, and carried
 * ones that no agent has counted yet, are none the less there. */
uint64_t scale_open(const struct scale_observed *observed);
/* Whether a workload at zero is known to have no new connections: not while somebody waits. */
bool scale_quiet_at_zero(const struct scale_observed *observed);

#define SCALE_SAMPLES_MAX 32

struct scale_sample {
    uint64_t at_ms;
    uint64_t connections; /* since the epoch's beginning; only grows */
};

/* The counter of one Pod as its agent tells it. */
struct scale_series {
    uint64_t epoch; /* another one: the counter began anew */
    struct scale_sample samples[SCALE_SAMPLES_MAX];
    size_t first, len; /* a ring, oldest first */
    uint64_t open;
    uint64_t idle_ms; /* at the last sample */
};

/* A sample that is not newer than the last, or counts less within an epoch, begins anew. */
void scale_series_add(struct scale_series *series, uint64_t epoch, uint64_t at_ms,
                      uint64_t connections);
/* Connections per 1,000 s over the window that ends with the last sample. false: not two samples
 * there, or the last one is older than stale_ms. */
bool scale_series_rate(const struct scale_series *series, uint64_t now_ms, uint64_t window_ms,
                       uint64_t stale_ms, uint64_t *ret_milli);
/* false: none. */
bool scale_series_last(const struct scale_series *series, struct scale_sample *ret);
