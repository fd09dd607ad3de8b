/* Helpers on C strings and the aborting allocators. No policy, no I/O but getrandom(2).
 * Used everywhere. */
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static _Noreturn void out_of_memory(void)
{
    static const char text[] = "lvl=error ev=oom msg=\"out of memory\"\n";

    /* Nothing sensible is left to do when even this fails. */
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        abort();
    abort();
}

void *xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);

    if (!p)
        out_of_memory();
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);

    if (!p)
        out_of_memory();
    return p;
}

void *xrealloc(void *p, size_t size)
{
    p = realloc(p, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

char *xstrdup(const char *text)
{
    return xstrndup(text, strlen(text));
}

char *xstrndup(const char *text, size_t len)
{
    char *copy;

    len = strnlen(text, len);
    copy = xmalloc(len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *xasprintf(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    int len;

    va_start(args, fmt);
    len = vasprintf(&text, fmt, args);
    va_end(args);
    if (len < 0)
        out_of_memory();
    return text;
}

bool str_eq(const char *a, const char *b)
{
    if (!a || !b)
        return a == b;
    return strcmp(a, b) == 0;
}

bool str_starts(const char *text, const char *prefix)
{
    return text && prefix && strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *suffix)
{
    size_t len;
    size_t tail;

    if (!text || !suffix)
        return false;
    len = strlen(text);
    tail = strlen(suffix);
    return tail <= len && memcmp(text + len - tail, suffix, tail) == 0;
}

bool str_empty(const char *text)
{
    return !text || text[0] == '\0';
}

size_t str_utf8_len(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t need;

    if (len == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        need = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        need = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        need = 4;
    else
        return 0;
    if (len < need)
        return 0;
    /* RFC 3629 section 4: overlong forms, surrogates and what lies past U+10FFFF. */
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++) {
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    }
    return need;
}

/* Where to cut text so that at most max bytes stay and no sequence is split. */
static size_t cut(const char *text, size_t max)
{
    size_t start = max;

    for (int back = 0; back < 3 && start > 0; back++) {
        if (((unsigned char)text[start] & 0xc0) != 0x80)
            return start;
        start--;
    }
    if (((unsigned char)text[start] & 0xc0) == 0x80)
        return max; /* no UTF-8 at all: any place is as good */
    return start;
}

char *str_copy(char *dst, size_t size, const char *src)
{
    size_t len = strlen(src);

    if (len >= size)
        len = cut(src, size - 1);
    memmove(dst, src, len);
    dst[len] = '\0';
    return dst;
}

char *str_fmt(char *dst, size_t size, const char *fmt, ...)
{
    va_list args;
    char last[4] = "";
    int len;

    va_start(args, fmt);
    len = vsnprintf(dst, size, fmt, args);
    va_end(args);
    if (len < 0) {
        dst[0] = '\0';
        return dst;
    }
    if ((size_t)len < size || size < 2)
        return dst;
    /* vsnprintf cut at a byte: drop the last sequence when it is only the start of one. */
    for (size_t back = 1; back < sizeof(last) && back < size; back++) {
        const char *start = dst + size - 1 - back;

        if (((unsigned char)*start & 0xc0) == 0x80)
            continue;
        if ((unsigned char)*start >= 0xc0 && str_utf8_len(start, back) == 0)
            dst[size - 1 - back] = '\0';
        break;
    }
    return dst;
}

int str_to_u64(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    if (str_empty(text))
        return -EINVAL;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return -EINVAL;
    }
    for (const char *p = text; *p; p++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return -ERANGE;
    }
    *ret = value;
    return 0;
}

int str_to_i64(const char *text, int64_t *ret)
{
    uint64_t value;
    bool minus;
    int r;

    if (str_empty(text))
        return -EINVAL;
    minus = text[0] == '-';
    r = str_to_u64(text + minus, &value);
    if (r < 0)
        return r;
    if (value > (uint64_t)INT64_MAX + minus)
        return -ERANGE;
    *ret = minus ? (int64_t)(0 - value) : (int64_t)value;
    return 0;
}

char *str_base64(const void *data, size_t len)
{
    const unsigned char *in = data;
    char *text = xmalloc((len + 2) / 3 * 4 + 1);
    char *out = text;

    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t bits = (uint32_t)in[i] << 16;

        if (n > 1)
            bits |= (uint32_t)in[i + 1] << 8;
        if (n > 2)
            bits |= in[i + 2];
        *out++ = base64_digits[bits >> 18];
        *out++ = base64_digits[bits >> 12 & 63];
        *out++ = n > 1 ? base64_digits[bits >> 6 & 63] : '=';
        *out++ = n > 2 ? base64_digits[bits & 63] : '=';
    }
    *out = '\0';
    return text;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* Four digits to up to three bytes; returns how many, or -EINVAL. */
static int unbase64_quad(const char quad[4], char out[3])
{
    int pad = (quad[3] == '=') + (quad[3] == '=' && quad[2] == '=');
    uint32_t bits = 0;

    for (int i = 0; i < 4; i++) {
        int value = i >= 4 - pad ? 0 : base64_value(quad[i]);

        if (value < 0)
            return -EINVAL;
        bits = bits << 6 | (uint32_t)value;
    }
    out[0] = (char)(bits >> 16);
    out[1] = (char)(bits >> 8);
    out[2] = (char)bits;
    return 3 - pad;
}

int str_unbase64(const char *text, size_t len, char **ret_data, size_t *ret_len)
{
    char *data = xmalloc(len / 4 * 3 + 4);
    size_t out = 0;
    char quad[4];
    size_t have = 0;
    bool ended = false;

    for (size_t i = 0; i < len; i++) {
        int n;

        if (text[i] == '\n' || text[i] == '\r')
            continue; /* as Go's decoder: kubeconfigs come with wrapped lines */
        quad[have++] = text[i];
        if (have < 4)
            continue;
        n = ended ? -EINVAL : unbase64_quad(quad, data + out);
        if (n < 0)
            goto bad;
        out += (size_t)n;
        ended = n < 3;
        have = 0;
    }
    if (have)
        goto bad;
    data[out] = '\0';
    *ret_data = data;
    *ret_len = out;
    return 0;
bad:
    free(data);
    return -EINVAL;
}

uint64_t str_hash(const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t hash = 0xcbf29ce484222325;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ p[i]) * 0x100000001b3;
    return hash;
}

void str_random_hex(char *dst, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[64];

    for (size_t done = 0; done < n;) {
        size_t want = n - done < sizeof(bytes) ? n - done : sizeof(bytes);
        ssize_t got = getrandom(bytes, want, 0);

        if (got < 0 && errno != EINTR)
            abort(); /* Linux has it since 3.17; going on with no randomness is no choice */
        for (ssize_t i = 0; i < got; i++, done++) {
            dst[2 * done] = digits[bytes[i] >> 4];
            dst[2 * done + 1] = digits[bytes[i] & 15];
        }
    }
    dst[2 * n] = '\0';
}
