/* Takes a List answer apart while it arrives, so that 1,000 objects are never one tree: each
 * element of the top object's "items" goes to a callback as text, everything else is collected
 * as the small text around an empty array. Used by watch.c. No I/O; whether a text is JSON is
 * json_parse's say. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define OBJECT_MAX (16u << 20) /* bytes of one object's text; etcd takes 1.5 MiB */
#define LIST_REST_MAX 65536u   /* bytes of a list without its items */

/* The text of one item; valid during the call. A negative return ends the splitting. */
typedef int (*list_item)(void *userdata, const char *text, size_t len);

enum list_mode {
    LIST_OUTSIDE, /* of the items */
    LIST_BETWEEN, /* two items */
    LIST_INSIDE,  /* an item */
};

struct list_split {
    list_item item;
    void *userdata;
    enum list_mode mode;
    unsigned depth; /* open brackets, of both kinds */
    bool in_string;
    bool escaped;
    bool key_next; /* at depth 1: the next string is a key */
    bool in_key;
    bool items_next; /* the key was "items" */
    bool comma_due;  /* between: an item ended */
    bool complete;   /* the top object was closed */
    size_t key_len;
    char key[8];
    struct buf text; /* the current item's, as far as it came in earlier pieces */
    struct buf rest;
};

void list_split_init(struct list_split *s, list_item item, void *userdata);
void list_split_free(struct list_split *s);
/* -EBADMSG: this is no list; -EMSGSIZE: a limit was passed; else what the callback said. After an
 * error only list_split_free. */
int list_split_feed(struct list_split *s, const char *data, size_t len);
/* Whether the answer was whole; then s->rest is its text without the items. */
bool list_split_complete(const struct list_split *s);
