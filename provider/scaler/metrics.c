/* The metrics' names: one table. Called by api.c and health.c. */
#include "provider/scaler/metrics.h"

#include "base/str.h"

#include <assert.h>

static const char *const names[] = {
    [METRIC_CONNECTIONS_PER_SECOND] = "unikubelet_connections_per_second",
    [METRIC_OPEN_CONNECTIONS] = "unikubelet_open_connections",
    [METRIC_PENDING_CONNECTIONS] = "unikubelet_pending_connections",
    [METRIC_IDLE_SECONDS] = "unikubelet_idle_seconds",
    [METRIC_ACTIVE] = "unikubelet_active",
};
static_assert(sizeof(names) / sizeof(names[0]) == _METRIC_MAX, "a name for each metric");

const char *metric_to_string(enum metric metric)
{
    return names[metric];
}

bool metric_from_string(const char *text, enum metric *ret)
{
    for (int i = 0; i < _METRIC_MAX; i++) {
        if (!str_eq(names[i], text))
            continue;
        *ret = (enum metric)i;
        return true;
    }
    return false;
}
