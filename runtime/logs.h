/* Reading CRI log files (contract 5.3): from a file written by the shim, also while it grows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct logs_reader;

struct logs_options {
    bool follow;
    bool timestamps;
    int64_t since_unix_ns; /* 0: from the start */
    int64_t tail_lines;    /* -1: all */
    int64_t limit_bytes;   /* -1: none */
};

struct logs_ops {
    /* Offers text; returns how much was taken (0: full, call logs_resume later). */
    size_t (*on_text)(void *userdata, const char *text, size_t len);
    /* Nothing more will come. result negative: why. */
    void (*on_end)(void *userdata, int result);
};

/* Never calls back before it returned. With follow it ends after logs_container_ended, and the file
 * and its directory need not exist yet; without it -ENOENT. Also errors of inotify's limits.
 * A rotated file is read to its end, then the new one at path; what was rotated away before is not.
 * The tail counts lines, not records; since is applied to what the tail left. */
int logs_open(struct uv_loop_s *loop, const char *path, const struct logs_options *options,
              const struct logs_ops *ops, void *userdata, struct logs_reader **ret);
void logs_resume(struct logs_reader *reader);
/* The container stopped: drain, then on_end. */
void logs_container_ended(struct logs_reader *reader);
/* At any time, also inside the callbacks; none follows. NULL is accepted. */
void logs_close(struct logs_reader *reader);
