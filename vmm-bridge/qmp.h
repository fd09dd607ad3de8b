/* A client of QEMU's machine protocol (QMP): one JSON object per line over a unix socket. In two
 * halves: the core turns bytes into answers and has no I/O, so that it can be fuzzed; the rest
 * moves bytes on the loop. A side channel: nothing of a machine's start waits for it. QEMU serves
 * one client at a time, so a connection is opened for a question and closed after the answer.
 * Source: docs/interop/qmp-spec in QEMU's tree. Used by qemu.c only. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json;
struct uv_loop_s;

#define QMP_LINE_MAX 65536 /* the longest we ask for, registers of one CPU, has some 4 kB */
#define QMP_OUT_MAX 4096
#define QMP_CALLS_MAX 8

enum qmp_command {
    QMP_CAPABILITIES, /* the core's own */
    QMP_POWERDOWN,
    QMP_QUERY_STATUS,
    QMP_INFO_REGISTERS, /* the human monitor's text */
    _QMP_COMMAND_MAX,
};

enum qmp_state {
    QMP_GREETING,     /* connecting, or waiting for QEMU's greeting */
    QMP_NEGOTIATING,  /* qmp_capabilities was sent */
    QMP_RUNNING,      /* commands are taken */
    QMP_DISCONNECTED, /* every pending call was answered; nothing more will happen */
    _QMP_STATE_MAX,
};

/* Success: (0, value, NULL), value alive during the call. QEMU refused: (-EIO, NULL, its words).
 * Transport: (other negative errno, NULL, what happened). Exactly one call for each invocation. */
typedef void (*qmp_reply)(void *userdata, int result, const struct json *value, const char *text);
/* Something that QEMU tells unasked: SHUTDOWN, STOP, ... data may be NULL. */
typedef void (*qmp_event)(void *userdata, const char *name, const struct json *data);

struct qmp_call {
    uint32_t id;
    enum qmp_command command;
    uint64_t deadline_ms; /* 0 until the transport knows the time */
    qmp_reply reply;
    void *userdata;
};

struct qmp_core {
    enum qmp_state state;
    uint32_t next_id;
    size_t calls_len;
    size_t sent; /* calls[0..sent) were written to out */
    struct qmp_call calls[QMP_CALLS_MAX];
    struct buf in;      /* an unfinished line */
    struct buf out;     /* bytes for QEMU; the transport empties it */
    qmp_event on_event; /* NULL: not wanted */
    void *event_userdata;
};

void qmp_core_init(struct qmp_core *core);
/* Pending calls must have been answered (qmp_core_fail). */
void qmp_core_done(struct qmp_core *core);
/* Takes bytes from QEMU. Negative when the stream makes no sense: all calls are answered with it.
 */
int qmp_core_feed(struct qmp_core *core, const char *data, size_t len);
/* -EBUSY: too many calls; -ENOTCONN. Then reply is not called. */
int qmp_core_invoke(struct qmp_core *core, enum qmp_command command, qmp_reply reply,
                    void *userdata);
/* The connection is over: answers every pending call with code. */
void qmp_core_fail(struct qmp_core *core, int code, const char *text);
/* Answers calls whose deadline passed with -ETIMEDOUT; a late reply to them is ignored. */
void qmp_core_expire(struct qmp_core *core, uint64_t now_ms);
uint32_t qmp_timeout_ms(enum qmp_command command);
const char *qmp_state_to_string(enum qmp_state state);

struct qmp;

/* Connects; a failure is seen by the calls made on it. path is copied. */
struct qmp *qmp_open(struct uv_loop_s *loop, const char *path);
/* The same on a connected stream socket, which it owns from then on. */
struct qmp *qmp_open_fd(struct uv_loop_s *loop, int fd);
/* Pending calls are answered -ECANCELED. May be called from within a reply. */
void qmp_close(struct qmp *qmp); /* NULL is accepted */
/* Replies are never made from within, except for calls that cannot be queued. */
void qmp_invoke(struct qmp *qmp, enum qmp_command command, qmp_reply reply, void *userdata);
void qmp_on_event(struct qmp *qmp, qmp_event on_event, void *userdata);
