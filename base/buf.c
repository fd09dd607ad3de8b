/* The growing byte buffer of buf.h: amortised doubling up to the buffer's own limit.
 * Used by whatever collects text or bytes of unknown length. */
#include "base/buf.h"

#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 64 /* bytes of the first allocation: a short line fits */

void buf_init(struct buf *buf, size_t max)
{
    *buf = BUF_INIT(max);
}

/* Makes room for more bytes and the NUL. */
static int reserve(struct buf *buf, size_t more)
{
    size_t need;
    size_t cap;

    if (buf->max > SIZE_MAX / 4)
        buf->max = SIZE_MAX / 4; /* keeps the sums below from wrapping */
    if (buf->len > buf->max || more > buf->max - buf->len) {
        buf->overflow = true;
        return -ENOBUFS;
    }
    need = buf->len + more + 1;
    if (need <= buf->cap)
        return 0;
    cap = buf->cap * 2 > BUF_FIRST ? buf->cap * 2 : BUF_FIRST;
    if (cap > buf->max + 1)
        cap = buf->max + 1;
    if (cap < need)
        cap = need;
    buf->data = xrealloc(buf->data, cap);
    buf->cap = cap;
    return 0;
}

int buf_add(struct buf *buf, const void *data, size_t len)
{
    int r = reserve(buf, len);

    if (r < 0)
        return r;
    if (len)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

int buf_adds(struct buf *buf, const char *text)
{
    return buf_add(buf, text, strlen(text));
}

int buf_addc(struct buf *buf, char c)
{
    return buf_add(buf, &c, 1);
}

int buf_addf(struct buf *buf, const char *fmt, ...)
{
    va_list args;
    int r;

    va_start(args, fmt);
    r = buf_vaddf(buf, fmt, args);
    va_end(args);
    return r;
}

int buf_vaddf(struct buf *buf, const char *fmt, va_list args)
{
    va_list again;
    char small[256];
    int len;
    int r;

    va_copy(again, args);
    len = vsnprintf(small, sizeof(small), fmt, args);
    if (len < 0) {
        r = -EINVAL;
    } else if ((size_t)len < sizeof(small)) {
        r = buf_add(buf, small, (size_t)len);
    } else {
        r = reserve(buf, (size_t)len);
        if (r == 0) {
            (void)vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
            buf->len += (size_t)len;
        }
    }
    va_end(again);
    return r;
}

void buf_drop(struct buf *buf, size_t n)
{
    assert(n <= buf->len);
    if (n == 0)
        return;
    memmove(buf->data, buf->data + n, buf->len - n + 1);
    buf->len -= n;
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
    buf->overflow = false;
    if (buf->data)
        buf->data[0] = '\0';
}

void buf_free(struct buf *buf)
{
    free(buf->data);
    *buf = BUF_INIT(buf->max);
}

const char *buf_str(const struct buf *buf)
{
    return buf->data ? buf->data : "";
}

char *buf_take(struct buf *buf)
{
    char *data = buf->data ? buf->data : xstrdup("");

    *buf = BUF_INIT(buf->max);
    return data;
}
