/* A whole ADD or DEL: the list's plugins one after the other, each with the result of the one
 * before. Called by network.c alone. */
#pragma once

#include "runtime/cni.h"

struct cni_chain;
struct uv_loop_s;

struct cni_call {
    const struct cni_list *list;
    bool del;
    const char *container_id;
    const char *netns; /* path; "": gone already (DEL only) */
    const char *args;  /* CNI_ARGS */
    const char *const *bin_dirs;
    size_t bin_dirs_len;
    const struct network_port *ports;
    size_t ports_len;
    const char *prev; /* DEL: the kept result of ADD, or NULL */
    int guard_fd;     /* held open by every plugin; -1: none */
    uint32_t ms_max;  /* for one plugin */
};

/* ADD: stops at the first failure; output is the last plugin's result. DEL: goes on after a
 * failure, to leave as little as possible, and reports the first. */
typedef void (*cni_chain_done)(void *userdata, int result, const char *output, size_t output_len,
                               const struct err *err);

/* One callback, never before it returned. Everything in call must live until then. */
struct cni_chain *cni_chain_start(struct uv_loop_s *loop, const struct cni_call *call,
                                  cni_chain_done done, void *userdata);
/* No callback and no further plugin; the one under way runs on. NULL is accepted. */
void cni_chain_abandon(struct cni_chain *chain);
