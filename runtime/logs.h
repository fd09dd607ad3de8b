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

/* Never calls back before it returned. With follow it ends after logs_container_ended. */
int logs_open(struct uv_loop_s *loop, const char *path, const struct logs_options *options,
              const struct logs_ops *ops, void *userdata, struct logs_reader **ret);
void logs_resume(struct logs_reader *reader);
/* The container stopped: drain, then on_end. */
void logs_container_ended(struct logs_reader *reader);
void logs_close(struct logs_reader *reader);
