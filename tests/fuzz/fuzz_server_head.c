/* A connection's bytes as server_conn.c reads them: head, body, head, ... What comes in pieces
 * must be read as what comes at once, and what is accepted must be safe to route and to log by. */
#include "base/cleanup.h"
#include "base/str.h"
#include "k8s/auth.h"
#include "k8s/server_body.h"
#include "k8s/server_head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct head *head)
{
    if (head->path[0] != '/' || strstr(head->path, "/../") || strstr(head->path, "//") ||
        str_ends(head->path, "/.."))
        abort();
    for (const char *p = head->path; *p; p++) {
        if ((unsigned char)*p < 0x20)
            abort();
    }
    if (head->chunked && head->content_length)
        abort();
    for (size_t i = 0; i < head->fields_len; i++) {
        if (strpbrk(head->fields[i].value, "\r\n") || !head_get(head, head->fields[i].name))
            abort();
    }
    for (size_t i = 0; i < head->query_len; i++) {
        if (!head_query(head, head->query[i].name))
            abort();
    }
    struct auth_attributes at;
    auth_map(head->method, head->path, &at);
    if (at.subresources_len == 0)
        abort();
    if (str_starts(head->path, "/exec/") && !str_eq(at.verb, "create"))
        abort();
}

/* The whole, and byte by byte: the same result after the same bytes. */
static int parse_both(const char *data, size_t size, struct head *ret, size_t *ret_used)
{
    struct head slow;
    size_t scanned = 0;
    size_t used = 0;
    int status = 0;
    int slow_result = -EAGAIN;
    for (size_t len = 1; slow_result == -EAGAIN && len <= size && size <= 4096; len++)
        slow_result = head_parse(data, len, &scanned, &slow, &used, &status);
    scanned = 0;
    int r = size ? head_parse(data, size, &scanned, ret, ret_used, &status) : -EAGAIN;
    if (size && size <= 4096 && r != slow_result)
        abort();
    if (size <= 4096 && slow_result == 0) {
        if (used != *ret_used || !str_eq(slow.path, ret->path) ||
            slow.fields_len != ret->fields_len)
            abort();
        head_free(&slow);
    }
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(free) char *text = xstrndup("", 0);
    text = xrealloc(text, size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    size_t at = 0;
    for (int requests = 0; requests < 64; requests++) {
        struct head head;
        struct body body;
        size_t used = 0;
        if (parse_both(text + at, size - at, &head, &used) < 0)
            break;
        if (used == 0 || used > size - at)
            abort();
        at += used;
        check(&head);
        int r = body_begin(&body, head.chunked, head.content_length);
        head_free(&head);
        if (r == 0)
            r = body_feed(&body, text + at, size - at, &used);
        if (r != 1)
            break;
        if (used > size - at)
            abort();
        at += used;
    }
    return 0;
}
