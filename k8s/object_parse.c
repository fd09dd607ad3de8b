/* See object_parse.h. Called by watch.c, watch_stream.c and whoever reads an answer that is an
 * object. */
#include "k8s/object_parse.h"

#include "base/json.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* As the API server writes it. Inside of a string its quotes would have backslashes. */
#define KEY "\"managedFields\":["

/* The bracket that closes the array whose first byte is at text[at]; len: none. */
static size_t array_end(const char *text, size_t at, size_t len)
{
    size_t depth = 1;
    bool in_string = false;

    for (; at < len; at++) {
        char c = text[at];

        if (in_string) {
            if (c == '\\')
                at++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if ((c == ']' || c == '}') && --depth == 0) {
            return at;
        }
    }
    return len;
}

struct json *object_parse(const char *text, size_t len)
{
    const char *key = memmem(text, len, KEY, strlen(KEY));
    struct json *root;
    size_t head, end;
    char *copy;

    if (!key)
        return json_parse(text, len, NULL);
    head = (size_t)(key - text) + strlen(KEY);
    end = array_end(text, head, len);
    copy = xmalloc(head + (len - end) + 1);
    memcpy(copy, text, head);
    memcpy(copy + head, text + end, len - end);
    copy[head + (len - end)] = '\0';
    root = json_parse(copy, head + (len - end), NULL);
    free(copy);
    return root;
}
