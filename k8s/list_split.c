/* See list_split.h. One pass over the bytes, state in the struct, so that a piece may end
 * anywhere. */
#include "k8s/list_split.h"

#include <errno.h>
#include <string.h>

void list_split_init(struct list_split *s, list_item item, void *userdata)
{
    memset(s, 0, sizeof(*s));
    s->item = item;
    s->userdata = userdata;
    buf_init(&s->text, OBJECT_MAX);
    buf_init(&s->rest, LIST_REST_MAX);
}

void list_split_free(struct list_split *s)
{
    buf_free(&s->text);
    buf_free(&s->rest);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void string_byte(struct list_split *s, char c)
{
    if (s->escaped) {
        s->escaped = false;
    } else if (c == '\\') {
        s->escaped = true;
    } else if (c == '"') {
        s->in_string = false;
        if (s->in_key)
            s->items_next = s->key_len == 5 && memcmp(s->key, "items", 5) == 0;
        s->in_key = false;
        return;
    }
    if (s->in_key && s->key_len < sizeof(s->key))
        s->key[s->key_len++] = c;
}

/* A byte that is in no string, outside of the items. */
static int outside_byte(struct list_split *s, char c)
{
    if (is_space(c))
        return 0;
    if (s->complete || (s->depth == 0 && c != '{'))
        return -EBADMSG;
    switch (c) {
    case '"':
        s->in_string = true;
        s->in_key = s->key_next;
        s->key_len = 0;
        s->key_next = false;
        break;
    case '{':
    case '[':
        if (c == '[' && s->depth == 1 && s->items_next) {
            s->mode = LIST_BETWEEN;
            s->comma_due = false;
        }
        s->depth++;
        s->key_next = s->depth == 1;
        s->items_next = false;
        break;
    case '}':
    case ']':
        s->depth--;
        s->complete = s->depth == 0;
        break;
    case ',':
        s->key_next = s->depth == 1;
        break;
    case ':':
        break;
    default: /* a number or a word: "items" has no array then */
        s->items_next = false;
        break;
    }
    return 0;
}

static int between_byte(struct list_split *s, char c)
{
    if (is_space(c))
        return 0;
    if (c == ',' && s->comma_due) {
        s->comma_due = false;
        return 0;
    }
    if (c == '{' && !s->comma_due) {
        s->mode = LIST_INSIDE;
        s->depth++;
        return 0;
    }
    if (c == ']') {
        s->mode = LIST_OUTSIDE;
        s->depth--;
        return 0;
    }
    return -EBADMSG;
}

/* True when the item is complete. */
static bool inside_byte(struct list_split *s, char c)
{
    if (c == '"')
        s->in_string = true;
    else if (c == '{' || c == '[')
        s->depth++;
    else if ((c == '}' || c == ']') && --s->depth == 2)
        return true;
    return false;
}

/* The item ends with this piece. Most lie in one piece and are not copied. */
static int item_done(struct list_split *s, const char *piece, size_t len)
{
    int r;

    s->mode = LIST_BETWEEN;
    s->comma_due = true;
    if (s->text.len == 0)
        return s->item(s->userdata, piece, len);
    if (buf_add(&s->text, piece, len) < 0)
        return -EMSGSIZE;
    r = s->item(s->userdata, s->text.data, s->text.len);
    buf_free(&s->text); /* a large one's memory is not kept */
    return r;
}

static int keep(struct list_split *s, const char *piece, size_t len)
{
    if (s->mode == LIST_BETWEEN || len == 0)
        return 0;
    return buf_add(s->mode == LIST_INSIDE ? &s->text : &s->rest, piece, len) < 0 ? -EMSGSIZE : 0;
}

int list_split_feed(struct list_split *s, const char *data, size_t len)
{
    size_t from = 0; /* the first byte that is not kept yet, in the current mode */

    for (size_t i = 0; i < len; i++) {
        enum list_mode before = s->mode;
        int r = 0;

        if (s->in_string) {
            string_byte(s, data[i]);
        } else if (before == LIST_INSIDE) {
            if (inside_byte(s, data[i])) {
                r = item_done(s, data + from, i + 1 - from);
                from = i + 1;
            }
        } else if (before == LIST_BETWEEN) {
            r = between_byte(s, data[i]);
            if (s->mode != LIST_BETWEEN)
                from = i;
        } else {
            r = outside_byte(s, data[i]);
            if (r == 0 && s->mode != LIST_OUTSIDE) /* "[" belongs to the rest */
                r = buf_add(&s->rest, data + from, i + 1 - from) < 0 ? -EMSGSIZE : 0;
        }
        if (r < 0)
            return r;
    }
    return keep(s, data + from, len - from);
}

bool list_split_complete(const struct list_split *s)
{
    return s->complete;
}
