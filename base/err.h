/* An error whose text a user will read: in a Pod's condition, a container's message or an event.
 * The text lives in the caller's frame, so an error path allocates nothing and frees nothing.
 * Functions return a negative errno and fill the struct; on success they leave it alone. */
#pragma once

#include <stdarg.h>

#define ERR_TEXT_MAX 512 /* longer texts are cut: an event's message may hold 1,024 bytes */

/* Whether trying again can help; decided where the error arises, obeyed by provider/core. */
enum err_kind {
    ERR_TRANSIENT, /* back off and try again */
    ERR_SPEC,      /* the user's input is wrong: the same try fails again */
};

struct err {
    int code; /* negative errno */
    enum err_kind kind;
    char text[ERR_TEXT_MAX];
};

/* Sets code and text; returns code. A NULL err only returns code. Kind becomes ERR_TRANSIENT. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same with kind ERR_SPEC. */
int err_spec(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "context: " before the text on the way up; returns err->code. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
