/* The two small files that describe a machine while no agent looks: meta (written by us before the
 * shim starts) and the exit record (written by the shim). Pure text in, structs out; a file that is
 * cut, foreign or of another version is -EBADMSG. Used by instance*.c, fuzzed by fuzz_instance. */
#pragma once

#include "runtime/shim_proto.h"
#include "vmm-bridge/vmm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

#define INSTANCE_ID_MAX 71
#define INSTANCE_META_MAX 4096

struct instance_meta {
    char id[INSTANCE_ID_MAX + 1];
    char pod_uid[64];
    char container[64];
    uint32_t attempt;
    char guest[32];
    enum vmm_board board;
    uint32_t memory_mib;
    uint32_t vmm_uid; /* 0: the agent's */
    bool debug_exit;
};

struct instance_record {
    int failed; /* negative errno: never started; 0: ended */
    int wait_status;
    bool oom;
    int64_t started_ns;
    int64_t finished_ns;
    char reason[SHIM_TEXT_MAX + 1]; /* of failed */
    char fatal[SHIM_TEXT_MAX + 1];  /* the VMM's words for which the shim ended it, or "" */
    char stderr_tail[SHIM_STDERR_MAX + 1];
    char tail[SHIM_TAIL_MAX + 1]; /* NUL bytes of the console are shown as '?' */
};

/* [A-Za-z0-9-], 1 to INSTANCE_ID_MAX: what may become a directory's and a cgroup's name. */
bool instance_id_ok(const char *id);
/* -EINVAL when a value holds a control character. */
int instance_meta_format(const struct instance_meta *meta, struct buf *out);
int instance_meta_parse(const char *text, size_t len, struct instance_meta *ret);
int instance_record_parse(const char *text, size_t len, struct instance_record *ret);
