/* A whole ADD, CHECK, DEL or GC: the list's plugins one after the other. Called by network.c alone.
 */
#pragma once

#include "runtime/cni.h"
#include "runtime/network.h"

struct cni_chain;
struct uv_loop_s;

enum cni_command { CNI_ADD, CNI_CHECK, CNI_DEL, CNI_GC };

struct cni_call {
    const struct cni_list *list;
    enum cni_command command;
    const char *container_id; /* NULL: of no container (GC) */
    const char *netns;        /* path; "": gone already (DEL only) */
    const char *args;         /* CNI_ARGS */
    const char *const *bin_dirs;
    size_t bin_dirs_len;
    struct network_wants wants;
    const char *prev;        /* CHECK, DEL: the kept result of ADD, or NULL */
    const char *attachments; /* GC: those that are valid, a JSON array */
    int guard_fd;            /* held open by every plugin; -1: none */
    uint32_t ms_max;         /* for one plugin */
};

/* ADD and CHECK stop at the first failure; output is the last plugin's result of an ADD. DEL and GC
 * go on after a failure, to leave as little as possible, and report the first. Backwards: DEL. */
typedef void (*cni_chain_done)(void *userdata, int result, const char *output, size_t output_len,
                               const struct err *err);

/* One callback, never before it returned. Everything in call must live until then. */
struct cni_chain *cni_chain_start(struct uv_loop_s *loop, const struct cni_call *call,
                                  cni_chain_done done, void *userdata);
/* No callback and no further plugin; the one under way runs on. NULL is accepted. */
void cni_chain_abandon(struct cni_chain *chain);
