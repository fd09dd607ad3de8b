/* Writes metrics in Prometheus' text format 0.0.4, family by family. The caller keeps the samples
 * of a family together and gives each set of labels once. Called by provider/endpoints_*.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct buf;
struct histogram;

#define PROM_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum prom_type { PROM_COUNTER, PROM_GAUGE, PROM_HISTOGRAM };

struct prom_label {
    const char *name;
    const char *value; /* any text: escaped here; NULL counts as "" */
};

/* HELP and TYPE lines. */
void prom_family(struct buf *out, const char *name, enum prom_type type, const char *help);
/* Appends `a="x",b="y"`, in the order given: the labels argument of the functions below. */
void prom_labels(struct buf *out, const struct prom_label *labels, size_t len);
/* One sample. labels: as above, "" for none. at_ms: unix time of the measurement, 0 for none. */
void prom_u64(struct buf *out, const char *name, const char *labels, uint64_t value, int64_t at_ms);
/* Nanoseconds, written as seconds without loss. */
void prom_ns(struct buf *out, const char *name, const char *labels, uint64_t ns, int64_t at_ms);
void prom_double(struct buf *out, const char *name, const char *labels, double value,
                 int64_t at_ms);
/* All _bucket lines, _sum and _count. */
void prom_histogram(struct buf *out, const char *name, const char *labels,
                    const struct histogram *h);
