/* Kubernetes quantities: reading with rounding up, and the canonical texts that we write. Not for
 * negative amounts: no field that a node reads may hold one, so they are an error. Called by the
 * codec, by env.c for resourceFieldRef divisors, and by the node status. */
#include "provider/core/quantity.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Digits kept: 10^20 times 2^60 still fits into 128 bits; what is cut only rounds up. */
#define DIGITS_MAX 20
#define TEXT_MAX 64 /* the API server writes the canonical form: at most 20 digits and a suffix */
/* An exponent beyond this can only be zero, one or out of range. */
#define EXPONENT_MAX 99

typedef unsigned __int128 wide;

struct number {
    wide mantissa;
    int exp10;   /* power of ten */
    int exp2;    /* power of two */
    bool sticky; /* digits below the mantissa were cut, and not all were zero */
};

struct suffix {
    const char *text;
    int exp10;
    int exp2;
};

static const struct suffix suffixes[] = {
    {"", 0, 0},    {"n", -9, 0},  {"u", -6, 0},  {"m", -3, 0},  {"k", 3, 0},   {"M", 6, 0},
    {"G", 9, 0},   {"T", 12, 0},  {"P", 15, 0},  {"E", 18, 0},  {"Ki", 0, 10}, {"Mi", 0, 20},
    {"Gi", 0, 30}, {"Ti", 0, 40}, {"Pi", 0, 50}, {"Ei", 0, 60},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads digits with at most one point. -ERANGE: too many before the point. */
static int read_digits(const char **text, struct number *n)
{
    const char *p = *text;
    int kept = 0;
    bool any = false, point = false;

    for (; is_digit(*p) || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        if (kept == DIGITS_MAX) {
            if (!point)
                return -ERANGE;
            n->sticky = n->sticky || *p != '0';
            continue;
        }
        n->mantissa = n->mantissa * 10 + (wide)(*p - '0');
        if (n->mantissa > 0)
            kept++;
        if (point)
            n->exp10--;
    }
    if (!any)
        return -EINVAL;
    *text = p;
    return 0;
}

static int read_exponent(const char *p, struct number *n)
{
    int sign = 1, value = 0;

    if (*p == '+' || *p == '-')
        sign = *p++ == '-' ? -1 : 1;
    if (!is_digit(*p))
        return -EINVAL;
    for (; is_digit(*p); p++) {
        if (value <= EXPONENT_MAX)
            value = value * 10 + (*p - '0');
    }
    if (*p != '\0')
        return -EINVAL;
    n->exp10 += sign * value;
    return 0;
}

static int read_suffix(const char *text, struct number *n)
{
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (strcmp(text, suffixes[i].text) == 0) {
            n->exp10 += suffixes[i].exp10;
            n->exp2 = suffixes[i].exp2;
            return 0;
        }
    }
    if (*text == 'e' || *text == 'E')
        return read_exponent(text + 1, n);
    return -EINVAL;
}

/* The number rounded up; -ERANGE past INT64_MAX. */
static int round_up(const struct number *n, int64_t *ret)
{
    wide value = n->mantissa << n->exp2;
    bool rest = n->sticky;
    int exp10 = n->exp10;

    for (; exp10 < 0 && value > 0; exp10++) {
        rest = rest || value % 10 != 0;
        value /= 10;
    }
    for (; exp10 > 0 && value > 0; exp10--) {
        if (value > INT64_MAX)
            return -ERANGE;
        value *= 10;
    }
    if (rest)
        value++;
    if (value > INT64_MAX)
        return -ERANGE;
    *ret = (int64_t)value;
    return 0;
}

static int quantity_parse(const char *text, int exp10, int64_t *ret)
{
    struct number n = {.exp10 = exp10};
    int r;

    if (!text || strlen(text) > TEXT_MAX)
        return -EINVAL;
    if (*text == '+')
        text++;
    r = read_digits(&text, &n);
    if (r < 0)
        return r;
    r = read_suffix(text, &n);
    if (r < 0)
        return r;
    return round_up(&n, ret);
}

int quantity_value(const char *text, int64_t *ret)
{
    return quantity_parse(text, 0, ret);
}

int quantity_milli(const char *text, int64_t *ret)
{
    return quantity_parse(text, 3, ret);
}

char *quantity_bytes(char dst[QUANTITY_MAX], int64_t bytes)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    size_t unit = 0;

    while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    snprintf(dst, QUANTITY_MAX, "%lld%s", (long long)bytes, units[unit]);
    return dst;
}

char *quantity_cpu(char dst[QUANTITY_MAX], int64_t milli)
{
    if (milli % 1000 == 0)
        snprintf(dst, QUANTITY_MAX, "%lld", (long long)(milli / 1000));
    else
        snprintf(dst, QUANTITY_MAX, "%lldm", (long long)milli);
    return dst;
}
