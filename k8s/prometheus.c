/* Prometheus' text format 0.0.4 (prometheus.io, "Exposition formats"). Numbers are written by hand
 * where that is exact and cheap: a scrape of 1,000 Pods is thousands of them. */
#include "k8s/prometheus.h"

#include "base/buf.h"
#include "base/histogram.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 20 /* of a 64-bit number */
#define NS_DIGITS 9

static const char *const type_names[] = {
    [PROM_COUNTER] = "counter",
    [PROM_GAUGE] = "gauge",
    [PROM_HISTOGRAM] = "histogram",
};

/* Backslash and newline, and the quote inside of labels; what is no UTF-8 becomes "?". */
static void add_escaped(struct buf *out, const char *text, bool quote)
{
    size_t left = strlen(text);

    while (left > 0) {
        size_t plain = 0;
        size_t n;

        while (plain < left && text[plain] != '\\' && text[plain] != '\n' &&
               !(quote && text[plain] == '"') && (unsigned char)text[plain] < 0x80)
            plain++;
        (void)buf_add(out, text, plain);
        text += plain;
        left -= plain;
        if (left == 0)
            break;
        n = str_utf8_len(text, left);
        if (n > 1)
            (void)buf_add(out, text, n);
        else if (*text == '\n')
            (void)buf_adds(out, "\\n");
        else if (*text == '\\' || *text == '"')
            (void)buf_add(out, (const char[]){'\\', *text}, 2);
        else
            (void)buf_addc(out, '?');
        n = n > 1 ? n : 1;
        text += n;
        left -= n;
    }
}

void prom_family(struct buf *out, const char *name, enum prom_type type, const char *help)
{
    (void)buf_addf(out, "# HELP %s ", name);
    add_escaped(out, help, false);
    (void)buf_addf(out, "\n# TYPE %s %s\n", name, type_names[type]);
}

void prom_labels(struct buf *out, const struct prom_label *labels, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (i > 0)
            (void)buf_addc(out, ',');
        (void)buf_adds(out, labels[i].name);
        (void)buf_adds(out, "=\"");
        add_escaped(out, labels[i].value ? labels[i].value : "", true);
        (void)buf_addc(out, '"');
    }
}

static void add_digits(struct buf *out, uint64_t value, size_t width)
{
    char digits[DIGITS_MAX];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0 || sizeof(digits) - at < width);
    (void)buf_add(out, digits + at, sizeof(digits) - at);
}

static void begin(struct buf *out, const char *name, const char *labels)
{
    (void)buf_adds(out, name);
    if (*labels) {
        (void)buf_addc(out, '{');
        (void)buf_adds(out, labels);
        (void)buf_addc(out, '}');
    }
    (void)buf_addc(out, ' ');
}

static void end(struct buf *out, int64_t at_ms)
{
    if (at_ms > 0) {
        (void)buf_addc(out, ' ');
        add_digits(out, (uint64_t)at_ms, 1);
    }
    (void)buf_addc(out, '\n');
}

void prom_u64(struct buf *out, const char *name, const char *labels, uint64_t value, int64_t at_ms)
{
    begin(out, name, labels);
    add_digits(out, value, 1);
    end(out, at_ms);
}

void prom_ns(struct buf *out, const char *name, const char *labels, uint64_t ns, int64_t at_ms)
{
    uint64_t rest = ns % 1000000000u;
    size_t width = NS_DIGITS;

    begin(out, name, labels);
    add_digits(out, ns / 1000000000u, 1);
    if (rest > 0) {
        for (; rest % 10 == 0; rest /= 10)
            width--;
        (void)buf_addc(out, '.');
        add_digits(out, rest, width);
    }
    end(out, at_ms);
}

/* The shortest text that reads back as the same number. */
static void add_double(struct buf *out, double value)
{
    char text[40];

    if (isnan(value)) {
        (void)buf_adds(out, "NaN");
    } else if (isinf(value)) {
        (void)buf_adds(out, value > 0 ? "+Inf" : "-Inf");
    } else {
        str_fmt(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) < value || strtod(text, NULL) > value)
            str_fmt(text, sizeof(text), "%.17g", value);
        (void)buf_adds(out, text);
    }
}

void prom_double(struct buf *out, const char *name, const char *labels, double value, int64_t at_ms)
{
    begin(out, name, labels);
    add_double(out, value);
    end(out, at_ms);
}

static void add_bucket(struct buf *out, const char *name, const char *labels, double bound,
                       uint64_t count)
{
    (void)buf_addf(out, "%s_bucket{%s%sle=\"", name, labels, *labels ? "," : "");
    add_double(out, bound);
    (void)buf_adds(out, "\"} ");
    add_digits(out, count, 1);
    (void)buf_addc(out, '\n');
}

void prom_histogram(struct buf *out, const char *name, const char *labels,
                    const struct histogram *h)
{
    uint64_t count = 0;
    char part[128];

    for (size_t i = 0; i < h->len; i++) {
        count += h->counts[i];
        add_bucket(out, name, labels, h->bounds[i], count);
    }
    count += h->counts[h->len];
    add_bucket(out, name, labels, INFINITY, count);
    prom_double(out, str_fmt(part, sizeof(part), "%s_sum", name), labels, h->sum, 0);
    prom_u64(out, str_fmt(part, sizeof(part), "%s_count", name), labels, count, 0);
}
