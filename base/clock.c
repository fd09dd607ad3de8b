/* Time sources and RFC 3339 text. What decides never calls the sources: it gets its now as an
 * argument. Calendar arithmetic is done here because the text must not depend on TZ or locale. */
#include "base/clock.h"

#include "base/str.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define SECONDS_MIN INT64_C(-62167219200) /* 0000-01-01: RFC 3339 has four digits of year */
#define SECONDS_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59 */

struct civil {
    int64_t seconds; /* since 1970, UTC */
    int64_t ns;      /* 0 to 999,999,999 */
};

static int64_t read_ns(clockid_t id)
{
    struct timespec ts = {0};

    (void)clock_gettime(id, &ts); /* cannot fail for these ids */
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_ns() / (uint64_t)NS_PER_MS;
}

uint64_t clock_mono_ns(void)
{
    return (uint64_t)read_ns(CLOCK_BOOTTIME);
}

int64_t clock_unix_ms(void)
{
    return clock_unix_ns() / NS_PER_MS;
}

int64_t clock_unix_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

/* Splits units into seconds and what remains, rounding down. */
static int64_t split(int64_t value, int64_t per_second, int64_t *ret_rest)
{
    int64_t seconds = value / per_second;
    int64_t rest = value % per_second;

    if (rest < 0) {
        rest += per_second;
        seconds--;
    }
    if (seconds < SECONDS_MIN || seconds > SECONDS_MAX)
        rest = 0;
    *ret_rest = rest;
    return seconds;
}

/* Writes YYYY-MM-DDThh:mm:ss, a fraction of digits and Z. */
static char *write_time(char *dst, int64_t seconds, int64_t fraction, int digits)
{
    struct tm tm = {0};
    time_t t;

    if (seconds < SECONDS_MIN)
        seconds = SECONDS_MIN;
    if (seconds > SECONDS_MAX)
        seconds = SECONDS_MAX;
    t = (time_t)seconds;
    (void)gmtime_r(&t, &tm);
    if (digits == 0)
        return str_fmt(dst, CLOCK_RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return str_fmt(dst, CLOCK_RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%0*lldZ",
                   tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   digits, (long long)fraction);
}

char *clock_rfc3339(char *dst, int64_t unix_ms)
{
    int64_t ms;
    int64_t seconds = split(unix_ms, 1000, &ms);

    return write_time(dst, seconds, 0, 0);
}

char *clock_rfc3339_micro(char *dst, int64_t unix_ms)
{
    int64_t ms;
    int64_t seconds = split(unix_ms, 1000, &ms);

    return write_time(dst, seconds, ms * 1000, 6);
}

char *clock_rfc3339_nano(char *dst, int64_t unix_ns)
{
    int64_t ns;
    int64_t seconds = split(unix_ns, NS_PER_S, &ns);

    return write_time(dst, seconds, ns, 9);
}

/* Exactly n digits at *text, which moves past them. */
static bool take_digits(const char **text, const char *end, int n, int *ret)
{
    int value = 0;

    if (end - *text < n)
        return false;
    for (int i = 0; i < n; i++) {
        char c = (*text)[i];

        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *text += n;
    *ret = value;
    return true;
}

static bool take_char(const char **text, const char *end, char c)
{
    if (*text >= end || **text != c)
        return false;
    (*text)++;
    return true;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = year - (month <= 2); /* years begin in March */
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static bool valid_date(int year, int month, int day)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    if (month < 1 || month > 12 || day < 1)
        return false;
    return day <= lengths[month - 1] + (month == 2 && leap);
}

static bool take_fraction(const char **text, const char *end, int64_t *ret_ns)
{
    int64_t ns = 0;
    int64_t unit = NS_PER_S;
    const char *p = *text;

    while (p < end && *p >= '0' && *p <= '9') {
        unit /= 10; /* reaches 0: digits past the ninth are dropped */
        ns += (*p++ - '0') * unit;
    }
    if (p == *text)
        return false;
    *text = p;
    *ret_ns = ns;
    return true;
}

/* Z, or +hh:mm, or -hh:mm, and then the end. */
static bool take_offset(const char **text, const char *end, int64_t *ret_seconds)
{
    int hours;
    int minutes;
    bool minus;

    if (take_char(text, end, 'Z')) {
        *ret_seconds = 0;
        return *text == end;
    }
    minus = take_char(text, end, '-');
    if (!minus && !take_char(text, end, '+'))
        return false;
    if (!take_digits(text, end, 2, &hours) || !take_char(text, end, ':') ||
        !take_digits(text, end, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_seconds = (hours * 3600 + minutes * 60) * (minus ? -1 : 1);
    return *text == end;
}

/* RFC 3339 section 5.6, capital T and Z as Go reads it; no leap second, as Go. */
static bool parse(const char *text, size_t len, struct civil *ret)
{
    const char *end = text + len;
    int year, month, day, hour, minute, second;
    int64_t ns = 0;
    int64_t offset;

    if (!take_digits(&text, end, 4, &year) || !take_char(&text, end, '-') ||
        !take_digits(&text, end, 2, &month) || !take_char(&text, end, '-') ||
        !take_digits(&text, end, 2, &day) || !take_char(&text, end, 'T') ||
        !take_digits(&text, end, 2, &hour) || !take_char(&text, end, ':') ||
        !take_digits(&text, end, 2, &minute) || !take_char(&text, end, ':') ||
        !take_digits(&text, end, 2, &second))
        return false;
    if (!valid_date(year, month, day) || hour > 23 || minute > 59 || second > 59)
        return false;
    if (take_char(&text, end, '.') && !take_fraction(&text, end, &ns))
        return false;
    if (!take_offset(&text, end, &offset))
        return false;
    ret->seconds =
        days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    ret->ns = ns;
    return true;
}

int clock_parse_rfc3339(const char *text, int64_t *ret_unix_ms)
{
    struct civil civil;

    if (!text || !parse(text, strlen(text), &civil))
        return -EINVAL;
    *ret_unix_ms = civil.seconds * 1000 + civil.ns / NS_PER_MS;
    return 0;
}

int clock_parse_rfc3339_ns(const char *text, size_t len, int64_t *ret_unix_ns)
{
    struct civil civil;
    int64_t ns;

    if (!parse(text, len, &civil))
        return -EINVAL;
    if (__builtin_mul_overflow(civil.seconds, NS_PER_S, &ns) ||
        __builtin_add_overflow(ns, civil.ns, &ns))
        return -ERANGE;
    *ret_unix_ns = ns;
    return 0;
}
