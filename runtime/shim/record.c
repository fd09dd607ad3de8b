/* The exit record: what an agent that was away must know about the end of a machine. Written once,
 * atomically, before any agent is told, and read by instance_files.c. */
#include "runtime/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct record {
    char text[SHIM_RECORD_MAX];
    size_t len;
};

static void add_text(struct record *record, const char *text, size_t len)
{
    if (len > sizeof(record->text) - record->len)
        return;
    memcpy(record->text + record->len, text, len);
    record->len += len;
}

static void add_number(struct record *record, const char *key, int64_t value)
{
    char line[64];
    int n = snprintf(line, sizeof(line), "%s=%lld\n", key, (long long)value);

    if (n > 0 && (size_t)n < sizeof(line))
        add_text(record, line, (size_t)n);
}

static void add_base64(struct record *record, const char *key, const char *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    add_text(record, key, strlen(key));
    add_text(record, "=", 1);
    for (size_t i = 0; i < len; i += 3) {
        uint32_t b[3] = {(uint8_t)data[i], i + 1 < len ? (uint8_t)data[i + 1] : 0,
                         i + 2 < len ? (uint8_t)data[i + 2] : 0};
        uint32_t bits = b[0] << 16 | b[1] << 8 | b[2];
        char quad[4] = {digits[bits >> 18], digits[bits >> 12 & 63], digits[bits >> 6 & 63],
                        digits[bits & 63]};

        if (i + 2 >= len)
            quad[3] = '=';
        if (i + 1 >= len)
            quad[2] = '=';
        add_text(record, quad, sizeof(quad));
    }
    add_text(record, "\n", 1);
}

_Static_assert((SHIM_TAIL_MAX + SHIM_STDERR_MAX + SHIM_TEXT_MAX + SHIM_FATAL_LEN_MAX) / 3 * 4 +
                       512 <
                   SHIM_RECORD_MAX,
               "an exit record always fits");

static int write_file(const struct record *record)
{
    static const char temporary[] = SHIM_FILE_EXIT ".tmp";
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    ssize_t n;
    int r = 0;

    if (fd < 0)
        return -errno;
    n = write(fd, record->text, record->len);
    if (n != (ssize_t)record->len)
        r = n < 0 ? -errno : -ENOSPC;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(temporary, SHIM_FILE_EXIT) < 0)
        r = -errno;
    if (r < 0)
        (void)unlink(temporary);
    return r;
}

int record_write(const struct machine *machine, const struct failure *failure,
                 const struct console *console, const struct vmmlog *log)
{
    struct record record;
    int r;

    record.len = 0;
    add_number(&record, "version", SHIM_PROTO_VERSION);
    if (failure) {
        add_number(&record, "failed", failure->code);
        add_base64(&record, "reason", failure->text, strlen(failure->text));
    } else {
        add_number(&record, "status", machine->wait_status);
        add_number(&record, "oom", machine->oom);
        if (machine->fatal_len > 0)
            add_base64(&record, "fatal", machine->fatal, machine->fatal_len);
    }
    add_number(&record, "started", machine->started_ns);
    add_number(&record, "finished", machine->finished_ns);
    add_base64(&record, "stderr", log->tail, log->tail_len);
    /* The tail is the one big part: on a full disk the rest is worth writing without it. */
    r = (int)record.len;
    add_base64(&record, "tail", console->tail, console->tail_len);
    add_text(&record, SHIM_RECORD_END, strlen(SHIM_RECORD_END));
    if (write_file(&record) == 0)
        return 0;
    record.len = (size_t)r;
    add_text(&record, SHIM_RECORD_END, strlen(SHIM_RECORD_END));
    return write_file(&record);
}
