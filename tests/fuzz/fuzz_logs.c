/* The CRI record parser: any bytes between newlines parse or are refused. What parses lies inside
 * the record, and written anew with its canonical time it parses to the same. */
#include "base/buf.h"
#include "base/clock.h"
#include "runtime/logs_line.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *record, size_t len)
{
    struct buf again = BUF_INIT(len + LOGS_HEAD_MAX);
    struct logs_line line;
    struct logs_line second;
    char stamp[CLOCK_RFC3339_MAX];

    if (logs_line_parse(record, len, &line) < 0)
        return;
    if (line.text < record || line.text + line.len != record + len)
        abort();
    clock_rfc3339_nano(stamp, line.unix_ns);
    buf_addf(&again, "%s %s %c ", stamp, line.is_stderr ? "stderr" : "stdout",
             line.partial ? 'P' : 'F');
    buf_add(&again, line.text, line.len);
    if (again.overflow || logs_line_parse(again.data, again.len, &second) < 0)
        abort();
    if (second.unix_ns != line.unix_ns || second.partial != line.partial ||
        second.is_stderr != line.is_stderr || second.len != line.len ||
        memcmp(second.text, line.text, line.len) != 0)
        abort();
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data;
    const char *end = at + size;

    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = newline ? (size_t)(newline - at) : (size_t)(end - at);

        check(at, len);
        at += len + (newline != NULL);
    }
    return 0;
}
