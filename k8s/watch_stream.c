/* See watch_stream.h. */
#include "k8s/watch_stream.h"

#include "base/json.h"
#include "base/str.h"
#include "k8s/list_split.h"
#include "k8s/object_parse.h"

#include <errno.h>
#include <string.h>

#define LINE_KEEP_MAX 65536u /* memory of longer lines is given back */

void watch_stream_init(struct watch_stream *s, stream_on_event on_event, void *userdata)
{
    s->on_event = on_event;
    s->userdata = userdata;
    buf_init(&s->line, OBJECT_MAX);
}

static int on_line(struct watch_stream *s, const char *text, size_t len)
{
    static const char *const types[_STREAM_MAX] = {
        [STREAM_ADDED] = "ADDED",     [STREAM_MODIFIED] = "MODIFIED",
        [STREAM_DELETED] = "DELETED", [STREAM_BOOKMARK] = "BOOKMARK",
        [STREAM_ERROR] = "ERROR",
    };
    struct json *root;
    const struct json *object;
    const char *type;
    int r = -EBADMSG;

    if (len == 0 || (len == 1 && text[0] == '\r'))
        return 0;
    root = object_parse(text, len);
    type = json_get_string(root, "type");
    object = json_get(root, "object");
    for (int i = 0; type && json_is_object(object) && i < _STREAM_MAX; i++) {
        if (str_eq(type, types[i])) {
            r = s->on_event(s->userdata, (enum stream_event)i, object);
            break;
        }
    }
    json_free(root);
    return r;
}

int watch_stream_feed(struct watch_stream *s, const char *data, size_t len)
{
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len;
        int r;

        if ((!end || s->line.len > 0) && buf_add(&s->line, data, n) < 0)
            return -EMSGSIZE;
        if (!end)
            return 0;
        r = s->line.len > 0 ? on_line(s, s->line.data, s->line.len) : on_line(s, data, n);
        if (r < 0)
            return r;
        if (s->line.cap > LINE_KEEP_MAX)
            buf_free(&s->line);
        else
            buf_reset(&s->line);
        data += n + 1;
        len -= n + 1;
    }
    return 0;
}

bool watch_stream_end(struct watch_stream *s)
{
    bool cut = s->line.len > 0;

    buf_free(&s->line);
    return cut;
}
