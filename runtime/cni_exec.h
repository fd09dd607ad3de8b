/* One run of one CNI plugin: a process with its input in memory, bounded output and a time limit,
 * watched by the loop. Called by cni_chain.c alone. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct cni_exec;
struct err;
struct uv_loop_s;

#define CNI_STDERR_MAX 2048 /* a Go panic's first lines; only the end reaches people */

struct cni_exec_spec {
    const char *path;
    const char *type;
    const char *const *envp;
    const char *input;
    size_t input_len;
    int guard_fd; /* becomes descriptor 3; -1: none */
    uint32_t ms_max;
};

/* result 0: it exited with status 0 within limits. Else err says what happened, with the plugin's
 * own words where it had any. output is NUL-terminated and valid during the call only. */
typedef void (*cni_exec_done)(void *userdata, int result, const char *output, size_t output_len,
                              const struct err *err);

/* Exactly one callback after 0, none after an error, never before it returned. Input is copied. */
int cni_exec_start(struct uv_loop_s *loop, const struct cni_exec_spec *spec, cni_exec_done done,
                   void *userdata, struct cni_exec **ret, struct err *err);
/* Lets go of the plugin, which runs on: half a DEL is worse than a whole one. No callback. */
void cni_exec_abandon(struct cni_exec *exec);
