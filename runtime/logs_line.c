/* Parses one CRI log record. Files may come from other writers, so anything may stand in a line.
 * Called by logs.c. */
#include "runtime/logs_line.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

/* The word up to the next space; moves past that space. */
static bool take_word(const char **at, const char *end, const char **ret_word, size_t *ret_len)
{
    const char *space = *at < end ? memchr(*at, ' ', (size_t)(end - *at)) : NULL;

    if (!space || space == *at)
        return false;
    *ret_word = *at;
    *ret_len = (size_t)(space - *at);
    *at = space + 1;
    return true;
}

int logs_line_parse(const char *record, size_t len, struct logs_line *ret)
{
    const char *at = record;
    const char *end = record + len;
    const char *stamp, *stream, *tags;
    size_t stamp_len, stream_len, tags_len;
    struct logs_line line = {0};

    if (!take_word(&at, end, &stamp, &stamp_len) || !take_word(&at, end, &stream, &stream_len) ||
        !take_word(&at, end, &tags, &tags_len))
        return -EINVAL;
    if (clock_parse_rfc3339_ns(stamp, stamp_len, &line.unix_ns) < 0)
        return -EINVAL;
    if (stream_len != 6 || (memcmp(stream, "stdout", 6) != 0 && memcmp(stream, "stderr", 6) != 0))
        return -EINVAL;
    /* Further tags may follow after a colon; none is defined. */
    if ((tags[0] != 'P' && tags[0] != 'F') || (tags_len > 1 && tags[1] != ':'))
        return -EINVAL;
    line.is_stderr = stream[3] == 'e';
    line.partial = tags[0] == 'P';
    line.text = at;
    line.len = (size_t)(end - at);
    *ret = line;
    return 0;
}
