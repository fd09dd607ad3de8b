/* Counts of values in fixed ranges. Called by provider/metrics.c. */
#include "base/histogram.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void histogram_init(struct histogram *h, const double *bounds, size_t len)
{
    assert(len <= HISTOGRAM_BOUNDS_MAX);
    memset(h, 0, sizeof(*h));
    h->bounds = bounds;
    h->len = len;
}

void histogram_add(struct histogram *h, double value)
{
    size_t i = 0;

    if (isnan(value))
        return;
    while (i < h->len && value > h->bounds[i])
        i++;
    h->counts[i]++;
    h->sum += value;
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t count = 0;

    for (size_t i = 0; i <= h->len; i++)
        count += h->counts[i];
    return count;
}
