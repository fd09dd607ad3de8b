/* A growing byte buffer that cannot exist without its limit. Always NUL-terminated when non-empty.
 * Out of memory aborts the process: machines outlive the agent, which re-adopts them. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* NULL until the first byte */
    size_t len; /* without the NUL */
    size_t cap;
    size_t max;    /* len never passes it */
    bool overflow; /* an append was refused since the last buf_reset; nothing was written by it */
};

#define BUF_INIT(limit) ((struct buf){.max = (limit)})

void buf_init(struct buf *buf, size_t max);
/* -ENOBUFS when the limit would be passed: nothing is appended and overflow is set. */
int buf_add(struct buf *buf, const void *data, size_t len);
int buf_adds(struct buf *buf, const char *text);
int buf_addc(struct buf *buf, char c);
int buf_addf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vaddf(struct buf *buf, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));
/* Drops the first n bytes, keeping the rest. n <= len. */
void buf_drop(struct buf *buf, size_t n);
/* Empties; keeps the memory. */
void buf_reset(struct buf *buf);
/* Frees; the buffer may be used again with the same limit. Accepts a zeroed struct. */
void buf_free(struct buf *buf);
/* Never NULL. */
const char *buf_str(const struct buf *buf);
/* Hands over the malloc'd text (never NULL); the buffer is empty afterwards. */
char *buf_take(struct buf *buf);

static inline void cleanup_buf(struct buf *buf)
{
    buf_free(buf);
}
