/* Filling struct err. Used by everything whose failure a user reads; see err.h for the rules.
 * Text is formatted into a local array first, so an argument may point into the struct itself. */
#include "base/err.h"

#include "base/str.h"

#include <errno.h>
#include <stdio.h>

static void format(char text[ERR_TEXT_MAX], const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

static void format(char text[ERR_TEXT_MAX], const char *fmt, va_list args)
{
    /* One byte more than is kept, so that str_copy finds where to cut between characters. */
    char all[ERR_TEXT_MAX + 1];

    if (vsnprintf(all, sizeof(all), fmt, args) < 0)
        all[0] = '\0';
    str_copy(text, ERR_TEXT_MAX, all);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
    va_list args;
    char text[ERR_TEXT_MAX];

    if (!err)
        return code;
    va_start(args, fmt);
    format(text, fmt, args);
    va_end(args);
    err->code = code;
    err->kind = ERR_TRANSIENT;
    str_copy(err->text, sizeof(err->text), text);
    return code;
}

int err_spec(struct err *err, int code, const char *fmt, ...)
{
    va_list args;
    char text[ERR_TEXT_MAX];

    if (!err)
        return code;
    va_start(args, fmt);
    format(text, fmt, args);
    va_end(args);
    err->code = code;
    err->kind = ERR_SPEC;
    str_copy(err->text, sizeof(err->text), text);
    return code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    va_list args;
    char context[ERR_TEXT_MAX];
    char inner[ERR_TEXT_MAX];

    if (!err)
        return -EIO;
    va_start(args, fmt);
    format(context, fmt, args);
    va_end(args);
    str_copy(inner, sizeof(inner), err->text);
    str_fmt(err->text, sizeof(err->text), "%s: %s", context, inner);
    return err->code;
}
