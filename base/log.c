/* One key=value line a fact on stderr, by one write(2), so that lines of threads never mix.
 * Whatever a guest, an image or the API put into a value cannot break a line or reach a terminal:
 * control characters and broken UTF-8 come out as \xNN. */
#include "base/log.h"

#include "base/clock.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

static_assert(sizeof(level_names) / sizeof(level_names[0]) == _LOG_LEVEL_MAX, "a name each");

/* The project's one variable of file scope: written once, by main, before anything else runs. */
static _Atomic int threshold = LOG_INFO;

struct line {
    char text[LOG_LINE_MAX];
    size_t len;
};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

int log_level_from_string(const char *text, enum log_level *ret_level)
{
    for (int i = 0; i < _LOG_LEVEL_MAX; i++) {
        if (str_eq(text, level_names[i])) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* Adds a piece that is whole or absent; two bytes stay free for the closing quote and newline. */
static bool put(struct line *line, const char *piece, size_t len)
{
    if (len > sizeof(line->text) - 2 - line->len)
        return false;
    memcpy(line->text + line->len, piece, len);
    line->len += len;
    return true;
}

/* One character of a value; returns how many bytes of text it took, 0 when the line is full. */
static size_t put_char(struct line *line, const char *text, size_t len, bool quoted)
{
    unsigned char c = (unsigned char)text[0];
    size_t n = str_utf8_len(text, len);
    bool plain = n > 0 && c >= 0x20 && c != 0x7f;
    char escaped[5];

    if (n == 2 && c == 0xc2 && (unsigned char)text[1] < 0xa0)
        plain = false; /* C1 controls: some terminals obey them */
    if (!quoted && (c == ' ' || c == '"' || c == '='))
        plain = false;
    if (plain && c != '"' && c != '\\')
        return put(line, text, n) ? n : 0;
    if (c == '\n')
        str_copy(escaped, sizeof(escaped), "\\n");
    else if (c == '\t')
        str_copy(escaped, sizeof(escaped), "\\t");
    else if (plain)
        str_fmt(escaped, sizeof(escaped), "\\%c", c);
    else
        str_fmt(escaped, sizeof(escaped), "\\x%02x", c);
    return put(line, escaped, strlen(escaped)) ? 1 : 0;
}

static void put_value(struct line *line, const char *text, bool quoted)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len;) {
        size_t n = put_char(line, text + i, len - i, quoted);

        if (n == 0)
            return;
        i += n;
    }
}

static void put_key(struct line *line, const char *key, const char *value)
{
    if (!value)
        return;
    (void)put(line, key, strlen(key));
    put_value(line, value, false);
}

void log_write(enum log_level level, const struct log_ctx *ctx, const char *ev, const char *fmt,
               ...)
{
    struct line line = {.len = 0};
    char message[LOG_LINE_MAX];
    char now[CLOCK_RFC3339_MAX];
    va_list args;

    if ((int)level < atomic_load_explicit(&threshold, memory_order_relaxed))
        return;
    va_start(args, fmt);
    if (vsnprintf(message, sizeof(message), fmt, args) < 0)
        message[0] = '\0';
    va_end(args);
    put_key(&line, "ts=", clock_rfc3339_micro(now, clock_unix_ms()));
    put_key(&line, " lvl=", level_names[level]);
    if (ctx && ctx->name) {
        put_key(&line, " pod=", ctx->ns ? ctx->ns : "");
        put_key(&line, "/", ctx->name);
    }
    if (ctx)
        put_key(&line, " uid=", ctx->uid);
    put_key(&line, " ev=", ev);
    if (put(&line, " msg=\"", 6)) {
        put_value(&line, message, true);
        line.text[line.len++] = '"';
    }
    line.text[line.len++] = '\n';
    /* A full or closed stderr must not hurt the agent: the line is lost. */
    while (write(STDERR_FILENO, line.text, line.len) < 0 && errno == EINTR)
        continue;
}
