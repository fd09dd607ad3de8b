/* The rules of eviction. Called by provider/pressure.c with what it measured, by config_shape.c and
 * host.c for the thresholds' own texts. Not for reclaiming what no Pod uses. */
#include "provider/core/evict.h"

#include "base/str.h"
#include "provider/core/quantity.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define PERCENT_WHOLE 100000 /* 100% in thousandths of a percent */

static const struct {
    const char *name;
    const char *resource;
    enum evict_condition condition;
    bool bytes;
} signals[] = {
    [SIGNAL_MEMORY] = {"memory.available", "memory", EVICT_MEMORY, true},
    [SIGNAL_NODEFS] = {"nodefs.available", "ephemeral-storage", EVICT_DISK, true},
    [SIGNAL_NODEFS_INODES] = {"nodefs.inodesFree", "inodes", EVICT_DISK, false},
    [SIGNAL_IMAGEFS] = {"imagefs.available", "ephemeral-storage", EVICT_DISK, true},
    [SIGNAL_IMAGEFS_INODES] = {"imagefs.inodesFree", "inodes", EVICT_DISK, false},
    [SIGNAL_PID] = {"pid.available", "pids", EVICT_PID, false},
};

static_assert(sizeof(signals) / sizeof(signals[0]) == _SIGNAL_MAX, "a row for each signal");

enum evict_condition signal_condition(enum evict_signal signal)
{
    return signals[signal].condition;
}

const char *signal_resource(enum evict_signal signal)
{
    return signals[signal].resource;
}

/* "10%", "7.5%": in thousandths of a percent. */
static int parse_percent(const char *text, size_t len, int64_t *ret)
{
    char number[16];

    if (len == 0 || len >= sizeof(number))
        return -EINVAL;
    str_fmt(number, sizeof(number), "%.*s", (int)len, text);
    if (strspn(number, "0123456789.") != len || quantity_milli(number, ret) < 0)
        return -EINVAL;
    return *ret > PERCENT_WHOLE ? -EINVAL : 0;
}

int threshold_parse(const char *text, struct threshold *ret)
{
    const char *less = strchr(text, '<');
    const char *value = less ? less + 1 : "";
    size_t len = strlen(value);
    int64_t amount = 0;

    if (!less)
        return -EINVAL;
    for (int i = 0; i < _SIGNAL_MAX; i++) {
        bool named = strlen(signals[i].name) == (size_t)(less - text) &&
                     strncmp(signals[i].name, text, (size_t)(less - text)) == 0;
        bool percent = len > 0 && value[len - 1] == '%';

        if (!named)
            continue;
        if (percent ? parse_percent(value, len - 1, &amount) < 0
                    : quantity_value(value, &amount) < 0 || amount <= 0)
            return -EINVAL;
        *ret = (struct threshold){(enum evict_signal)i, amount, percent};
        return 0;
    }
    return -EINVAL;
}

int64_t threshold_amount(const struct threshold *threshold, int64_t capacity)
{
    if (!threshold->percent)
        return threshold->amount;
    if (threshold->amount >= PERCENT_WHOLE)
        return 0;
    return capacity / PERCENT_WHOLE * threshold->amount +
           capacity % PERCENT_WHOLE * threshold->amount / PERCENT_WHOLE;
}

bool threshold_met(const struct threshold *threshold, const struct level *level)
{
    return level->capacity > 0 && level->available < threshold_amount(threshold, level->capacity);
}

bool pressure_update(uint64_t *seen_ms, bool met, uint64_t now_ms, uint64_t transition_ms)
{
    if (met)
        *seen_ms = now_ms;
    return met || (*seen_ms != 0 && now_ms - *seen_ms < transition_ms);
}

int64_t candidate_request(const struct pod_spec *spec, enum evict_signal signal)
{
    struct amounts wanted = pod_requests(spec);

    if (signal == SIGNAL_MEMORY)
        return wanted.memory_bytes;
    return signal == SIGNAL_NODEFS || signal == SIGNAL_IMAGEFS ? wanted.storage_bytes : 0;
}

int candidate_compare(const struct candidate *a, const struct candidate *b)
{
    bool a_exceeds = a->usage > a->request, b_exceeds = b->usage > b->request;
    int64_t a_excess = a->usage - a->request, b_excess = b->usage - b->request;

    if (a_exceeds != b_exceeds)
        return a_exceeds ? -1 : 1;
    if (a->spec->priority != b->spec->priority)
        return a->spec->priority < b->spec->priority ? -1 : 1;
    if (a_excess != b_excess)
        return a_excess > b_excess ? -1 : 1;
    return 0;
}

size_t candidate_first(const struct candidate *list, size_t len)
{
    size_t first = len;

    for (size_t i = 0; i < len; i++) {
        if (pod_is_critical(list[i].spec))
            continue;
        if (first == len || candidate_compare(&list[i], &list[first]) < 0)
            first = i;
    }
    return first;
}

/* Without the Pod's overhead, which the ranking counts. */
static int64_t container_request(const struct container_spec *c, enum evict_signal signal)
{
    int64_t amount = 0;

    if (signal == SIGNAL_MEMORY)
        amount = c->resources.memory_request_bytes;
    else if (signal == SIGNAL_NODEFS || signal == SIGNAL_IMAGEFS)
        amount = c->resources.ephemeral_request_bytes;
    return amount > 0 ? amount : 0;
}

static const char *amount_text(char dst[QUANTITY_MAX], enum evict_signal signal, int64_t amount)
{
    if (signals[signal].bytes)
        return quantity_bytes(dst, amount);
    return str_fmt(dst, QUANTITY_MAX, "%lld", (long long)amount);
}

void evict_message(char *dst, size_t size, const struct threshold *threshold,
                   const struct level *level, const struct candidate *candidate)
{
    enum evict_signal signal = threshold->signal;
    char quantity[QUANTITY_MAX], available[QUANTITY_MAX];
    char usage[QUANTITY_MAX], request[QUANTITY_MAX];
    int64_t asked;
    size_t at;

    str_fmt(dst, size, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ",
            signal_resource(signal),
            amount_text(quantity, signal, threshold_amount(threshold, level->capacity)),
            amount_text(available, signal, level->available));
    if (candidate->spec->containers_len == 0)
        return;
    asked = container_request(&candidate->spec->containers[0], signal);
    if (candidate->usage <= asked)
        return;
    at = strlen(dst);
    str_fmt(dst + at, size - at,
            "Container %s was using %s, request is %s, has larger consumption of %s. ",
            candidate->spec->containers[0].name, amount_text(usage, signal, candidate->usage),
            amount_text(request, signal, asked), signal_resource(signal));
}
