/* The VMM's own complaints, apart from the guest's console. The file holds the beginning, where a
 * VMM says why it refuses to start, and the latest part; what is between them gives way. Best
 * effort: no failure here is worth the machine. */
#include "runtime/shim/shim.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define VMMLOG_KEEP (SHIM_VMM_LOG_MAX / 2) /* of the beginning, when the file is full */

void tail_add(char *tail, size_t *tail_len, size_t max, const char *data, size_t len)
{
    size_t keep = *tail_len;

    if (len >= max) {
        memcpy(tail, data + (len - max), max);
        *tail_len = max;
        return;
    }
    if (keep > max - len) {
        size_t drop = keep - (max - len);

        memmove(tail, tail + drop, keep - drop);
        keep -= drop;
    }
    memcpy(tail + keep, data, len);
    *tail_len = keep + len;
}

void vmmlog_add(struct vmmlog *log, const char *data, size_t len)
{
    tail_add(log->tail, &log->tail_len, sizeof(log->tail), data, len);
    if (log->fd < 0) {
        log->fd =
            open(SHIM_FILE_VMM_LOG, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (log->fd < 0)
            return;
    }
    if (len > VMMLOG_KEEP)
        len = VMMLOG_KEEP;
    if (log->size + len > SHIM_VMM_LOG_MAX) {
        if (ftruncate(log->fd, VMMLOG_KEEP) < 0 || lseek(log->fd, VMMLOG_KEEP, SEEK_SET) < 0)
            return;
        log->size = VMMLOG_KEEP;
    }
    if (write(log->fd, data, len) == (ssize_t)len)
        log->size += len;
}

size_t vmmlog_find(const struct vmmlog *log, const char *const *texts, size_t texts_len,
                   const char **ret_line)
{
    for (size_t i = 0; i < texts_len; i++) {
        const char *at = memmem(log->tail, log->tail_len, texts[i], strlen(texts[i]));
        size_t rest = at ? (size_t)(log->tail + log->tail_len - at) : 0;
        const char *newline = at ? memchr(at, '\n', rest) : NULL;

        if (!at)
            continue;
        *ret_line = at;
        return newline ? (size_t)(newline - at) : rest;
    }
    return 0;
}
