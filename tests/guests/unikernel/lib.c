/* The few functions of the C library that lwIP and the guest need, and a heap that only grows. */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

static uintptr_t heap_at, heap_end;

void heap_init(uintptr_t start, uintptr_t end)
{
    heap_at = (start + 15) & ~(uintptr_t)15;
    heap_end = end;
}

void *heap_take(size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (size > heap_end - heap_at)
        return NULL;
    void *p = (void *)heap_at;
    heap_at += size;
    return p;
}

void *memcpy(void *dst, const void *src, size_t len)
{
    void *at = dst;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(src), "+c"(len) : : "memory");
    return dst;
}

void *memmove(void *dst, const void *src, size_t len)
{
    if ((uintptr_t)dst - (uintptr_t)src >= len)
        return memcpy(dst, src, len);
    for (size_t i = len; i > 0; i--)
        ((char *)dst)[i - 1] = ((const char *)src)[i - 1];
    return dst;
}

void *memset(void *dst, int value, size_t len)
{
    void *at = dst;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(len) : "a"(value) : "memory");
    return dst;
}

int memcmp(const void *a, const void *b, size_t len)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < len; i++) {
        if (x[i] != y[i])
            return x[i] - y[i];
    }
    return 0;
}

size_t strlen(const char *text)
{
    size_t len = 0;
    while (text[len])
        len++;
    return len;
}

int strncmp(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (a[i] != b[i] || !a[i])
            return (unsigned char)a[i] - (unsigned char)b[i];
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, (size_t)-1);
}

int atoi(const char *text)
{
    int value = 0, sign = 1;
    if (*text == '-') {
        sign = -1;
        text++;
    }
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (*text - '0');
    return sign * value;
}
