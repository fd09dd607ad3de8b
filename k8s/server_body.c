/* Steps over a request's body (RFC 9112 6 and 7.1), byte for byte. */
#include "k8s/server_body.h"

#include <errno.h>
#include <string.h>

int body_begin(struct body *body, int chunked, uint64_t content_length)
{
    *body = (struct body){.state = chunked ? BODY_SIZE : BODY_FIXED};
    if (chunked)
        return 0;
    if (content_length > BODY_BYTES_MAX)
        return -EFBIG;
    body->remaining = content_length;
    return 0;
}

/* "1a2b" or "1a2b;extension". No sign, no space, no "0x". */
static int parse_size(const char *line, size_t len, uint64_t *ret)
{
    uint64_t size = 0;
    size_t i = 0;
    for (; i < len && line[i] != ';'; i++) {
        char c = line[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (unsigned)(c - 'A') + 10;
        else
            return -EBADMSG;
        if (i >= 8)
            return -EFBIG;
        size = size * 16 + digit;
    }
    if (i == 0)
        return -EBADMSG;
    *ret = size;
    return 0;
}

static int end_of_line(struct body *body)
{
    if (body->state == BODY_DATA_END) {
        body->state = BODY_SIZE;
        return body->line_len == 0 ? 0 : -EBADMSG;
    }
    if (body->state == BODY_TRAILER) {
        if (body->line_len == 0)
            body->state = BODY_DONE;
        return 0;
    }
    uint64_t size;
    int r = parse_size(body->line, body->line_len, &size);
    if (r < 0)
        return r;
    body->total += size;
    if (body->total > BODY_BYTES_MAX)
        return -EFBIG;
    body->remaining = size;
    body->state = size ? BODY_DATA : BODY_TRAILER;
    return 0;
}

/* One byte of a line that ends with CRLF; a lone CR or LF is refused. */
static int line_byte(struct body *body, char c)
{
    if (body->state == BODY_TRAILER && ++body->trailer_len > BODY_TRAILER_MAX)
        return -EFBIG;
    if (c == '\n') {
        if (body->line_len == 0 || body->line[body->line_len - 1] != '\r')
            return -EBADMSG;
        body->line_len--;
        int r = end_of_line(body);
        body->line_len = 0;
        return r;
    }
    if (body->line_len && body->line[body->line_len - 1] == '\r')
        return -EBADMSG;
    if (body->line_len == sizeof(body->line))
        return -EFBIG;
    body->line[body->line_len++] = c;
    return 0;
}

int body_feed(struct body *body, const char *data, size_t len, size_t *ret_used)
{
    size_t used = 0;
    int r = 0;
    while (r == 0 && body->state != BODY_DONE) {
        if (body->state == BODY_FIXED || body->state == BODY_DATA) {
            size_t take = len - used;
            if (take > body->remaining)
                take = (size_t)body->remaining;
            used += take;
            body->remaining -= take;
            if (body->remaining)
                break;
            body->state = body->state == BODY_FIXED ? BODY_DONE : BODY_DATA_END;
        } else {
            if (used == len)
                break;
            r = line_byte(body, data[used++]);
        }
    }
    if (r < 0)
        return r;
    *ret_used = used;
    return body->state == BODY_DONE;
}
