/* Reads request lines and header fields (RFC 9112 2-5, RFC 9110 5). One copy of the head is cut
 * into strings in place; nothing here looks at what a path means. */
#include "k8s/server_head.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decodes %XX in place, once; NUL is refused: it would hide what follows from C strings. */
static int decode(char *text, bool plus)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        char c = *in;
        if (c == '+' && plus) {
            c = ' ';
        } else if (c == '%') {
            int high = hex_value(in[1]);
            int low = high < 0 ? -1 : hex_value(in[2]);
            if (low < 0)
                return -EBADMSG;
            c = (char)(high * 16 + low);
            if (c == '\0')
                return -EBADMSG;
            in += 2;
        }
        *out++ = c;
    }
    *out = '\0';
    return 0;
}

/* Rights hang on the path's beginning: ".", ".." and "//", the classic ways round that, have no
 * use for a kubelet's client. */
static int check_path(const char *path)
{
    if (path[0] != '/' || strlen(path) > HEAD_PATH_MAX)
        return -EBADMSG;
    for (const char *p = path; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return -EBADMSG;
        if (p[0] != '/')
            continue;
        size_t segment = strcspn(p + 1, "/");
        bool last = p[1 + segment] == '\0';
        if ((segment == 0 && !last) || (segment == 1 && p[1] == '.') ||
            (segment == 2 && p[1] == '.' && p[2] == '.'))
            return -EBADMSG;
    }
    return 0;
}

static int parse_query(char *query, struct head *head)
{
    size_t count = 1;
    for (const char *p = query; *p; p++)
        count += *p == '&';
    if (count > HEAD_QUERY_MAX)
        return -EBADMSG;
    head->query = xcalloc(count, sizeof(*head->query));
    char *rest = query;
    while (rest) {
        char *pair = strsep(&rest, "&");
        if (!*pair)
            continue;
        char *value = strchr(pair, '=');
        if (value)
            *value++ = '\0';
        else
            value = pair + strlen(pair);
        if (decode(pair, true) < 0 || decode(value, true) < 0)
            return -EBADMSG;
        head->query[head->query_len++] = (struct head_field){pair, value};
    }
    return 0;
}

static int parse_target(char *target, struct head *head, int *ret_status)
{
    if (strlen(target) > HEAD_TARGET_MAX) {
        *ret_status = 414;
        return -E2BIG;
    }
    for (const char *p = target; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7f || *p == '#')
            return -EBADMSG;
    }
    char *query = strchr(target, '?');
    if (query)
        *query++ = '\0';
    head->path = target;
    if (decode(target, false) < 0 || check_path(target) < 0)
        return -EBADMSG;
    return query ? parse_query(query, head) : 0;
}

static int parse_request_line(char *line, struct head *head, int *ret_status)
{
    char *target = strchr(line, ' ');
    if (!target)
        return -EBADMSG;
    *target++ = '\0';
    char *version = strchr(target, ' ');
    if (!version)
        return -EBADMSG;
    *version++ = '\0';
    head->method = line;
    if (!*line || strlen(line) > HEAD_METHOD_MAX)
        return -EBADMSG;
    for (const char *p = line; *p; p++) {
        if (!is_token_char(*p))
            return -EBADMSG;
    }
    if (str_eq(version, "HTTP/1.1")) {
        head->minor = 1;
    } else if (!str_eq(version, "HTTP/1.0")) {
        if (str_starts(version, "HTTP/") && strlen(version) == 8 && version[6] == '.')
            *ret_status = 505;
        return -EBADMSG;
    }
    return parse_target(target, head, ret_status);
}

static int parse_field(char *line, struct head *head, int *ret_status)
{
    char *colon = strchr(line, ':');
    if (!colon || colon == line)
        return -EBADMSG;
    *colon = '\0';
    for (char *p = line; *p; p++) {
        if (!is_token_char(*p)) /* a folded line begins with a space and ends here too */
            return -EBADMSG;
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    }
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t len = strlen(value);
    while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        value[--len] = '\0';
    for (const char *p = value; *p; p++) {
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return -EBADMSG;
    }
    if (head->fields_len == HEAD_FIELDS_MAX) {
        *ret_status = 431;
        return -E2BIG;
    }
    head->fields[head->fields_len++] = (struct head_field){line, value};
    return 0;
}

const char *head_get(const struct head *head, const char *name)
{
    for (size_t i = 0; i < head->fields_len; i++) {
        if (str_eq(head->fields[i].name, name))
            return head->fields[i].value;
    }
    return NULL;
}

const char *head_query(const struct head *head, const char *name)
{
    for (size_t i = 0; i < head->query_len; i++) {
        if (str_eq(head->query[i].name, name))
            return head->query[i].value;
    }
    return NULL;
}

bool head_list_has(const char *list, const char *token)
{
    size_t want = strlen(token);
    while (list && *list) {
        list += strspn(list, ", \t");
        size_t len = strcspn(list, ",");
        size_t word = len;
        while (word && (list[word - 1] == ' ' || list[word - 1] == '\t'))
            word--;
        if (word == want && strncasecmp(list, token, want) == 0)
            return true;
        list += len;
    }
    return false;
}

static size_t count(const struct head *head, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < head->fields_len; i++)
        n += str_eq(head->fields[i].name, name);
    return n;
}

static bool any_has(const struct head *head, const char *name, const char *token)
{
    for (size_t i = 0; i < head->fields_len; i++) {
        if (str_eq(head->fields[i].name, name) && head_list_has(head->fields[i].value, token))
            return true;
    }
    return false;
}

/* How long the body is must have one answer only (RFC 9112 6.3): no request smuggling. */
static int parse_framing(struct head *head, int *ret_status)
{
    size_t lengths = count(head, "content-length");
    size_t encodings = count(head, "transfer-encoding");
    if (lengths > 1 || encodings > 1 || (lengths && encodings))
        return -EBADMSG;
    if (encodings) {
        if (head->minor == 0)
            return -EBADMSG;
        if (strcasecmp(head_get(head, "transfer-encoding"), "chunked") != 0) {
            *ret_status = 501;
            return -EBADMSG;
        }
        head->chunked = true;
    }
    if (lengths) {
        const char *text = head_get(head, "content-length");
        if (!*text || text[strspn(text, "0123456789")] != '\0')
            return -EBADMSG;
        if (str_to_u64(text, &head->content_length) < 0) {
            *ret_status = 413;
            return -E2BIG;
        }
    }
    return 0;
}

static int parse_meaning(struct head *head, int *ret_status)
{
    size_t hosts = count(head, "host");
    if (hosts > 1 || (hosts == 0 && head->minor >= 1) || count(head, "authorization") > 1)
        return -EBADMSG;
    int r = parse_framing(head, ret_status);
    if (r < 0)
        return r;
    head->keep_alive = head->minor >= 1 && !any_has(head, "connection", "close");
    head->upgrade = any_has(head, "connection", "upgrade") && head_get(head, "upgrade") != NULL;
    const char *expect = head_get(head, "expect");
    if (expect && head->minor >= 1) {
        if (strcasecmp(expect, "100-continue") != 0) {
            *ret_status = 417;
            return -EBADMSG;
        }
        head->expect_continue = true;
    }
    return 0;
}

static int parse_lines(struct head *head, int *ret_status)
{
    char *line = head->block;
    for (bool first = true; *line; first = false) {
        char *end = strstr(line, "\r\n"); /* the copy ends with one */
        *end = '\0';
        if (strpbrk(line, "\r\n"))
            return -EBADMSG;
        int r = first ? parse_request_line(line, head, ret_status)
                      : parse_field(line, head, ret_status);
        if (r < 0)
            return r;
        line = end + 2;
    }
    return parse_meaning(head, ret_status);
}

int head_parse(const char *data, size_t len, size_t *scanned, struct head *ret, size_t *ret_used,
               int *ret_status)
{
    size_t skip = len >= 2 && data[0] == '\r' && data[1] == '\n' ? 2 : 0; /* RFC 9112 2.2 */
    size_t from = *scanned > skip + 3 ? *scanned - 3 : skip;
    const char *end = len > from ? memmem(data + from, len - from, "\r\n\r\n", 4) : NULL;
    size_t used = end ? (size_t)(end - data) + 4 : len;
    if (used > HEAD_BYTES_MAX || (!end && len >= HEAD_BYTES_MAX)) {
        *ret_status = 431;
        return -E2BIG;
    }
    if (!end) {
        *scanned = len;
        return -EAGAIN;
    }
    int status = 400;
    struct head head = {.block = xstrndup(data + skip, used - skip - 2)};
    head.fields = xcalloc(HEAD_FIELDS_MAX, sizeof(*head.fields));
    /* An embedded NUL would cut the copy short of what was received. */
    int r = memchr(data + skip, '\0', used - skip) ? -EBADMSG : parse_lines(&head, &status);
    if (r == 0 && !head.method)
        r = -EBADMSG;
    if (r < 0) {
        head_free(&head);
        *ret_status = status;
        return r;
    }
    *scanned = 0;
    *ret_used = used;
    *ret = head;
    return 0;
}

void head_free(struct head *head)
{
    free(head->block);
    free(head->fields);
    free(head->query);
    *head = (struct head){0};
}
