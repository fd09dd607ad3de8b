/* One record of a CRI log file: `<RFC 3339 time> stdout|stderr P|F[:more tags] <text>`
 * (contract 5.3). Not the reading of files, which is logs.c; apart from it for the tests and the
 * fuzzer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest head, up to and with the space before the text, that is looked for backwards. */
#define LOGS_HEAD_MAX 128

struct logs_line {
    int64_t unix_ns;
    bool is_stderr;
    bool partial;     /* P: the next record goes on in the same line */
    const char *text; /* into the record */
    size_t len;
};

/* record: without its newline. -EINVAL when it is none of the format. */
int logs_line_parse(const char *record, size_t len, struct logs_line *ret);
