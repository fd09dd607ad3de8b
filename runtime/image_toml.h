/* A strict reader of the TOML (toml.io, 1.0) that hosts.toml files are written in: tables, bare,
 * quoted and dotted keys, one-line strings, booleans, arrays of strings. Other values (numbers,
 * dates, nested arrays, inline tables) are read over, so that keys nobody asks for do no harm.
 * Refused with file and line: several-line strings, arrays of tables, and all that is no TOML.
 * Pure but for the arena; called by image_hosts.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct err;

#define TOML_TEXT_MAX (64 * 1024) /* a file of mirrors has a few hundred bytes */
#define TOML_STRING_MAX 4096      /* a path of this host fits */
#define TOML_ITEMS_MAX 64         /* of an array */
#define TOML_DEPTH_MAX 8          /* parts of a key with its table's; values in values */

enum toml_type { TOML_STRING, TOML_BOOL, TOML_STRINGS, TOML_OTHER };

struct toml_value {
    enum toml_type type;
    const char *text;   /* TOML_STRING */
    bool truth;         /* TOML_BOOL */
    const char **items; /* TOML_STRINGS, in the arena */
    size_t items_len;
};

struct toml_ops {
    /* [path]; a negative return with err's text ends the reading. Strings are in the arena. */
    int (*on_table)(void *userdata, const char *const *path, size_t len, struct err *err);
    /* The path is the table's and the key's. */
    int (*on_value)(void *userdata, const char *const *path, size_t len,
                    const struct toml_value *value, struct err *err);
};

/* 0, or -EBADMSG (or what an op returned) and "file:line: what is wrong". */
int toml_read(const char *text, size_t len, const char *file, struct arena *arena,
              const struct toml_ops *ops, void *userdata, struct err *err);
