/* Counts of values in fixed ranges: how long things took. Knows no names and no output format; see
 * k8s/prometheus.h for that. Used by provider/metrics.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BOUNDS_MAX 20

struct histogram {
    const double *bounds; /* upper, rising; static, the last range has none */
    size_t len;
    uint64_t counts[HISTOGRAM_BOUNDS_MAX + 1]; /* each of its own range alone */
    double sum;
};

/* len at most HISTOGRAM_BOUNDS_MAX; bounds must outlive the histogram. */
void histogram_init(struct histogram *h, const double *bounds, size_t len);
/* A value on a bound counts below it. What is no number is left out. */
void histogram_add(struct histogram *h, double value);
uint64_t histogram_count(const struct histogram *h);
