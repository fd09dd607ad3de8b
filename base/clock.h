/* The only door to time. Everything that decides gets its "now" as an argument; these feed it.
 * mono is CLOCK_BOOTTIME: it counts through suspend and survives an agent restart, not a reboot. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CLOCK_RFC3339_MAX 40

uint64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);
int64_t clock_unix_ms(void);
int64_t clock_unix_ns(void);

/* metav1.Time: whole seconds, UTC (contract 0). dst holds CLOCK_RFC3339_MAX. Returns dst. */
char *clock_rfc3339(char *dst, int64_t unix_ms);
/* MicroTime: exactly six fractional digits (contract 0). */
char *clock_rfc3339_micro(char *dst, int64_t unix_ms);
/* Nine fractional digits, as in CRI log lines. */
char *clock_rfc3339_nano(char *dst, int64_t unix_ns);
/* Any RFC 3339 time, with or without fraction and offset, to ms. -EINVAL otherwise. */
int clock_parse_rfc3339(const char *text, int64_t *ret_unix_ms);
/* The same from len bytes and to ns, for log lines; also -ERANGE outside the years 1678 to 2261. */
int clock_parse_rfc3339_ns(const char *text, size_t len, int64_t *ret_unix_ns);
