/* Small helpers on C strings. Nothing here truncates silently. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Aborting allocators: see buf.h for why that is safe. */
void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t len);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* NULL counts as a string of its own. */
bool str_eq(const char *a, const char *b);
bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);
/* NULL or "". */
bool str_empty(const char *text);
/* Copies, cutting at size-1 and never inside a UTF-8 sequence. Returns dst. size > 0. */
char *str_copy(char *dst, size_t size, const char *src);
/* printf into a fixed array, cut like str_copy. */
char *str_fmt(char *dst, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Bytes (1 to 4) of the valid UTF-8 sequence that text starts with; 0: none, or len is 0. */
size_t str_utf8_len(const char *text, size_t len);
/* The whole text as a decimal number; -EINVAL or -ERANGE otherwise. */
int str_to_u64(const char *text, uint64_t *ret);
int str_to_i64(const char *text, int64_t *ret);
/* Standard base64 with padding. Decoded data is malloc'd, NUL-terminated, owned by the caller. */
char *str_base64(const void *data, size_t len);
int str_unbase64(const char *text, size_t len, char **ret_data, size_t *ret_len);
/* 64-bit FNV-1a: for hash tables and change detection, never for security. */
uint64_t str_hash(const void *data, size_t len);
/* n bytes of /dev/urandom as 2n hex digits. dst holds 2n+1. */
void str_random_hex(char *dst, size_t n);
