/* The bytes of a watch made into events: lines, however they are cut, each one JSON object. Used by
 * watch.c; knows no versions, no retries, no network. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

struct json;

enum stream_event {
    STREAM_ADDED, /* the first three as in enum watch_event */
    STREAM_MODIFIED,
    STREAM_DELETED,
    STREAM_BOOKMARK,
    STREAM_ERROR, /* object is a Status */
    _STREAM_MAX,
};

/* object lives until the return; a negative return ends the feeding. */
typedef int (*stream_on_event)(void *userdata, enum stream_event event, const struct json *object);

struct watch_stream {
    stream_on_event on_event;
    void *userdata;
    struct buf line; /* an incomplete one, up to OBJECT_MAX */
};

void watch_stream_init(struct watch_stream *s, stream_on_event on_event, void *userdata);
/* -EBADMSG: a line is no event; -EMSGSIZE: it is too long; else what the callback said. */
int watch_stream_feed(struct watch_stream *s, const char *data, size_t len);
/* Frees what is left; true when that was a part of a line. May be used again. */
bool watch_stream_end(struct watch_stream *s);
