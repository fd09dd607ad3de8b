/* The rules, each beside its reason. Level-triggered: the same view gives the same decision, so a
 * lost write is simply decided again. */
#include "provider/core/scale.h"

/* Something happens, or may be about to: nobody loses a workload in use (a slow starter included:
 * it is not idle, it has not begun). */
static bool in_use(const struct scale_observed *o)
{
    return o->held > 0 || o->relayed > 0 || o->open > 0;
}

static bool young(const struct scale_spec *spec, const struct scale_observed *o, uint64_t now_ms)
{
    return now_ms < o->up_ms + spec->min_up_ms || now_ms < o->ready_ms + spec->min_up_ms;
}

/* The idle time counts from when the workload could first be used: its Pods may have been silent
 * because they were booting. */
static bool idle(const struct scale_spec *spec, const struct scale_observed *o, uint64_t now_ms)
{
    return o->idle_ms >= spec->idle_ms && now_ms >= o->ready_ms + spec->idle_ms;
}

static bool wants_zero(const struct scale_spec *spec, const struct scale_observed *o,
                       uint64_t now_ms)
{
    if (!spec->activate || spec->idle_ms == 0 || o->autoscaled_to_zero)
        return false;
    if (o->replicas <= 0 || o->ready == 0 || o->starting > 0)
        return false;
    return o->traffic_known && !in_use(o) && !young(spec, o, now_ms) && idle(spec, o, now_ms);
}

bool scale_endpoint_counts(const struct scale_endpoint *endpoint, int64_t replicas,
                           uint64_t zero_ms, uint64_t now_ms)
{
    bool leaving = endpoint->leaving && zero_ms && now_ms < zero_ms + SCALE_LEAVING_MS;
    return endpoint->ready && !endpoint->terminating && !leaving && replicas != 0;
}

void scale_decide(const struct scale_spec *spec, const struct scale_observed *o, uint64_t now_ms,
                  struct scale_decision *ret)
{
    *ret = (struct scale_decision){.publish = o->published};
    if (!o->leading || !o->synced)
        return;
    bool zero = wants_zero(spec, o, now_ms);
    /* Without a workload there is nothing to wake: the caller's refusal is the honest answer. */
    bool nobody = o->ready == 0 || o->replicas == 0;
    ret->publish = spec->activate && o->replicas != SCALE_REPLICAS_UNKNOWN && (nobody || zero);
    ret->wake = spec->activate && o->held > 0 && o->replicas == 0;
    /* First the activator's address, then the end: no connection falls between the two. */
    ret->zero = zero && o->published && o->sample_ms >= o->published_ms + SCALE_SETTLE_MS;
}

bool scale_active(const struct scale_spec *spec, const struct scale_observed *o, uint64_t now_ms,
                  bool *ret_active)
{
    if (!o->synced || o->replicas == SCALE_REPLICAS_UNKNOWN)
        return false;
    bool known = o->traffic_known;
    if (o->held > 0 || o->relayed > 0) {
        *ret_active = true;
        return true;
    }
    if (o->replicas == 0) {
        *ret_active = false;
        return true;
    }
    if (o->starting > 0 || o->ready == 0 || young(spec, o, now_ms)) {
        *ret_active = true;
        return true;
    }
    if (!known)
        return false;
    *ret_active = in_use(o) || !idle(spec, o, now_ms);
    return true;
}

uint64_t scale_open(const struct scale_observed *o)
{
    uint64_t ours = (uint64_t)o->held + o->relayed;
    return o->open > ours ? o->open : ours;
}

bool scale_quiet_at_zero(const struct scale_observed *o)
{
    return o->replicas == 0 && o->ready == 0 && o->held == 0 && o->relayed == 0;
}

static const struct scale_sample *at(const struct scale_series *series, size_t index)
{
    return &series->samples[(series->first + index) % SCALE_SAMPLES_MAX];
}

bool scale_series_last(const struct scale_series *series, struct scale_sample *ret)
{
    if (series->len == 0)
        return false;
    *ret = *at(series, series->len - 1);
    return true;
}

void scale_series_add(struct scale_series *series, uint64_t epoch, uint64_t at_ms,
                      uint64_t connections)
{
    struct scale_sample last;
    if (scale_series_last(series, &last) &&
        (epoch != series->epoch || connections < last.connections || at_ms <= last.at_ms))
        series->first = series->len = 0;
    if (series->len == SCALE_SAMPLES_MAX) {
        series->first = (series->first + 1) % SCALE_SAMPLES_MAX;
        series->len--;
    }
    series->epoch = epoch;
    series->samples[(series->first + series->len) % SCALE_SAMPLES_MAX] =
        (struct scale_sample){.at_ms = at_ms, .connections = connections};
    series->len++;
}

bool scale_series_rate(const struct scale_series *series, uint64_t now_ms, uint64_t window_ms,
                       uint64_t stale_ms, uint64_t *ret_milli)
{
    struct scale_sample last;
    if (series->len < 2 || !scale_series_last(series, &last) || now_ms > last.at_ms + stale_ms)
        return false;
    /* The oldest in the window; the one before the last when the window holds no other. */
    size_t from = series->len - 2;
    while (from > 0 && at(series, from - 1)->at_ms + window_ms >= last.at_ms)
        from--;
    const struct scale_sample *begin = at(series, from);
    uint64_t counted = last.connections - begin->connections;
    if (counted > UINT64_MAX / 1000000)
        return false;
    *ret_milli = counted * 1000000 / (last.at_ms - begin->at_ms);
    return true;
}
