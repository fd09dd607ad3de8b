/* What the agent and unikubelet-shim say to each other: one struct per SOCK_SEQPACKET message, the
 * files both know in an instance's directory, and the descriptors that a new shim inherits. Plain
 * integers in host order: both ends are always on one host. A shim may be older than the agent, so
 * fields are only ever added before the text, which is found through text_at, never by its place.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SHIM_PROTO_VERSION 1
#define SHIM_TEXT_MAX 512
#define SHIM_AGENTS_MAX 4 /* connections at a time; a further one is closed at once */
/* Connections that wait to be accepted. A shim that hangs keeps those of every agent that came and
 * went: with none left, an agent could not even tell that shim from the others to end it. */
#define SHIM_BACKLOG 4096
#define SHIM_INPUT_MAX 4096 /* bytes for the guest's console that wait in the shim */
#define SHIM_TAIL_MAX 2048  /* last console bytes, kept for the exit record */
#define SHIM_STDERR_MAX 512 /* last bytes of the VMM's standard error, kept for the exit record */
#define SHIM_VMM_LOG_MAX 65536 /* size of vmm.log */
#define SHIM_RECORD_MAX 8192   /* size of the exit record */

/* Files in the directory of an instance. */
#define SHIM_FILE_SOCK "shim.sock"       /* agents connect here */
#define SHIM_FILE_CONTROL "control.sock" /* the VMM listens here, as VMM_FD_CONTROL */
#define SHIM_FILE_META "meta"            /* written by the agent before the shim starts */
#define SHIM_FILE_EXIT "exit"            /* written by the shim, once, when all is over */
#define SHIM_FILE_VMM_LOG "vmm.log"

/* Descriptors of a starting shim. The agent binds shim.sock and hands the listening socket over:
 * the socket answers from the moment when the shim's process exists, so that an agent which starts
 * while a shim starts never takes the machine for lost. The first connection is inherited too. */
enum shim_fd {
    SHIM_FD_AGENT = 3,
    SHIM_FD_LISTEN = 4,
    SHIM_FD_NEXT = 5,
};

enum shim_type {
    /* Shim to agent. */
    SHIM_STATUS = 1,  /* first message on each connection, and the answer to SHIM_CMD_STATUS */
    SHIM_STARTED = 2, /* the VMM executes */
    SHIM_FAILED = 3,  /* it will never: value is a negative errno, text says why */
    SHIM_EXITED = 4,  /* value: wait status; the exit record is on disk; tap and netns are free */
    SHIM_INPUT_TAKEN = 5, /* answer to SHIM_CMD_INPUT: value bytes of it were queued */
    SHIM_INPUT_READY = 6, /* the queue is empty again after a SHIM_CMD_INPUT was cut */
    SHIM_REOPENED = 7,    /* answer to SHIM_CMD_REOPEN: value is 0 or a negative errno */
    /* Agent to shim. */
    SHIM_CMD_KILL = 32,   /* value: signal for the VMM */
    SHIM_CMD_REOPEN = 33, /* open the log's path again: it was renamed */
    SHIM_CMD_STATUS = 34,
    SHIM_CMD_INPUT = 35, /* text: bytes for the guest's console */
};

enum shim_flag {
    SHIM_FLAG_OOM = 1,   /* the machine's cgroup killed it */
    SHIM_FLAG_FATAL = 2, /* the shim did, for a line on the VMM's standard error: the text */
    SHIM_FLAG_TAIL = 4,  /* of SHIM_EXITED: the text is the end of the console */
};

struct shim_msg {
    uint8_t version;
    uint8_t type;
    uint16_t flags;
    uint16_t text_at; /* offset of the text in the message */
    uint16_t text_len;
    int32_t value;
    int32_t vmm_pid;     /* 0: not started yet, or gone */
    int64_t started_ns;  /* unix time; 0: not started yet */
    int64_t finished_ns; /* unix time; 0: not finished yet */
    char text[SHIM_TEXT_MAX];
};

#define SHIM_MSG_HEAD offsetof(struct shim_msg, text)

/* The exit record: key=value lines. The last line is SHIM_RECORD_END, so that a cut file is known.
 */
#define SHIM_RECORD_END "end=1\n"
