/* key=value lines on stderr: `ts=.. lvl=info pod=ns/name uid=.. ev=launch msg="..."`.
 * base, k8s, vmm-bridge and provider/core never log above debug; provider logs each fact once.
 * A value never holds a secret; control characters are escaped, a line is at most LOG_LINE_MAX. */
#pragma once

#include <stddef.h>

#define LOG_LINE_MAX 2048

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, _LOG_LEVEL_MAX };

/* What a line is about. Any member may be NULL. */
struct log_ctx {
    const char *ns;
    const char *name;
    const char *uid;
};

/* The threshold is set once, at start, by main; lines below it cost one comparison. */
void log_set_level(enum log_level level);
/* "debug", "info", "warn", "error"; -EINVAL for anything else. */
int log_level_from_string(const char *text, enum log_level *ret_level);

/* ev is a short fixed word ("launch"); fmt is the sentence for people. */
void log_write(enum log_level level, const struct log_ctx *ctx, const char *ev, const char *fmt,
               ...) __attribute__((format(printf, 4, 5)));

#define log_debug(ctx, ev, ...) log_write(LOG_DEBUG, ctx, ev, __VA_ARGS__)
#define log_info(ctx, ev, ...) log_write(LOG_INFO, ctx, ev, __VA_ARGS__)
#define log_warn(ctx, ev, ...) log_write(LOG_WARN, ctx, ev, __VA_ARGS__)
#define log_error(ctx, ev, ...) log_write(LOG_ERROR, ctx, ev, __VA_ARGS__)
