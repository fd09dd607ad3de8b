/* The wrapper round cJSON (reading) and a writer that needs no tree. Called by whatever speaks
 * JSON; nobody else includes cJSON's header. A scan before cJSON checks nesting and balance: cJSON
 * recurses a level a bracket, and releases before 1.7.18 read one byte past truncated input. */
#include "base/json.h"

#include "base/err.h"
#include "base/str.h"

#include <cjson/cJSON.h>

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define JSON_INT_MAX 9007199254740992.0 /* 2^53: beyond it a double skips integers */

static_assert(JSON_DEPTH_MAX <= 64, "the scan keeps one bit a level");

struct scan {
    uint64_t objects; /* bit d: the bracket at depth d is a brace */
    int depth;
    bool in_string;
    bool nul; /* an escaped NUL was seen: cJSON would end the text there */
};

static const cJSON *in(const struct json *value)
{
    return (const cJSON *)(const void *)value;
}

static const struct json *out(const cJSON *value)
{
    return (const struct json *)(const void *)value;
}

static int scan_bracket(struct scan *scan, char c, struct err *err)
{
    bool object = c == '{' || c == '}';

    if (c == '{' || c == '[') {
        if (scan->depth == JSON_DEPTH_MAX)
            return err_set(err, -EBADMSG, "JSON is nested deeper than %d", JSON_DEPTH_MAX);
        scan->objects &= ~(UINT64_C(1) << scan->depth);
        scan->objects |= (uint64_t)object << scan->depth;
        scan->depth++;
        return 0;
    }
    if (scan->depth == 0 || (scan->objects >> (scan->depth - 1) & 1) != object)
        return err_set(err, -EBADMSG, "JSON has an unmatched '%c'", c);
    scan->depth--;
    return 0;
}

static int scan_text(struct scan *scan, const char *text, size_t len, struct err *err)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        int r = 0;

        if (scan->in_string) {
            if (c == '\\') {
                scan->nul |= len - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0;
                i++;
            } else if (c == '"') {
                scan->in_string = false;
            }
        } else if (c == '"') {
            scan->in_string = true;
        } else if (c == '{' || c == '[' || c == '}' || c == ']') {
            r = scan_bracket(scan, c, err);
        } else if (c == '\0') {
            r = err_set(err, -EBADMSG, "JSON holds a NUL byte");
        }
        if (r < 0)
            return r;
    }
    if (scan->depth || scan->in_string)
        return err_set(err, -EBADMSG, "JSON ends early");
    return 0;
}

/* A copy whose escaped NULs are U+0001: same length, the text behind them is not lost, and who
 * takes no control characters refuses it. */
static char *without_nul(const char *text, size_t len)
{
    char *copy = xmalloc(len + 1);

    memcpy(copy, text, len);
    copy[len] = '\0';
    for (size_t i = 0; i + 6 <= len; i++) {
        if (copy[i] != '\\')
            continue;
        if (memcmp(copy + i, "\\u0000", 6) == 0)
            memcpy(copy + i, "\\u0001", 6);
        i++; /* the escaped character may be a backslash itself */
    }
    return copy;
}

struct json *json_parse(const char *text, size_t len, struct err *err)
{
    struct scan scan = {0};
    char *copy = NULL;
    const char *end = NULL;
    const char *start = text;
    cJSON *root;
    size_t at;

    if (scan_text(&scan, text, len, err) < 0)
        return NULL;
    if (scan.nul)
        start = copy = without_nul(text, len);
    root = cJSON_ParseWithLengthOpts(start, len, &end, 0);
    at = end ? (size_t)(end - start) : 0;
    free(copy);
    if (!root) {
        (void)err_set(err, -EBADMSG, "JSON is malformed near byte %zu of %zu", at, len);
        return NULL;
    }
    while (at < len && strchr(" \t\r\n", text[at]))
        at++;
    if (at < len) {
        cJSON_Delete(root);
        (void)err_set(err, -EBADMSG, "JSON is followed by other text at byte %zu", at);
        return NULL;
    }
    return (struct json *)(void *)root;
}

void json_free(struct json *root)
{
    cJSON_Delete((cJSON *)(void *)root);
}

const struct json *json_get(const struct json *object, const char *key)
{
    const cJSON *member;

    if (!json_is_object(object))
        return NULL;
    cJSON_ArrayForEach(member, in(object)) {
        if (member->string && strcmp(member->string, key) == 0)
            return out(member);
    }
    return NULL;
}

const struct json *json_path(const struct json *object, const char *path)
{
    const cJSON *member;

    while (object) {
        size_t len = strcspn(path, ".");

        if (!json_is_object(object))
            return NULL;
        cJSON_ArrayForEach(member, in(object)) {
            if (member->string && strncmp(member->string, path, len) == 0 &&
                member->string[len] == '\0')
                break;
        }
        object = out(member);
        if (path[len] == '\0')
            return object;
        path += len + 1;
    }
    return NULL;
}

bool json_is_object(const struct json *value)
{
    return cJSON_IsObject(in(value));
}

bool json_is_array(const struct json *value)
{
    return cJSON_IsArray(in(value));
}

bool json_is_null(const struct json *value)
{
    return cJSON_IsNull(in(value));
}

const char *json_string(const struct json *value)
{
    return cJSON_GetStringValue(in(value));
}

bool json_int(const struct json *value, int64_t *ret)
{
    double number;

    if (!cJSON_IsNumber(in(value)))
        return false;
    number = in(value)->valuedouble;
    if (!(number >= -JSON_INT_MAX && number <= JSON_INT_MAX) || number != trunc(number))
        return false;
    *ret = (int64_t)number;
    return true;
}

bool json_bool(const struct json *value, bool *ret)
{
    if (!cJSON_IsBool(in(value)))
        return false;
    *ret = cJSON_IsTrue(in(value));
    return true;
}

bool json_double(const struct json *value, double *ret)
{
    if (!cJSON_IsNumber(in(value)))
        return false;
    *ret = in(value)->valuedouble;
    return true;
}

const char *json_get_string(const struct json *object, const char *key)
{
    return json_string(json_get(object, key));
}

bool json_get_int(const struct json *object, const char *key, int64_t *ret)
{
    return json_int(json_get(object, key), ret);
}

bool json_get_bool(const struct json *object, const char *key, bool *ret)
{
    return json_bool(json_get(object, key), ret);
}

const struct json *json_first(const struct json *value)
{
    return json_is_object(value) || json_is_array(value) ? out(in(value)->child) : NULL;
}

const struct json *json_next(const struct json *value)
{
    return value ? out(in(value)->next) : NULL;
}

const char *json_key(const struct json *member)
{
    return member ? in(member)->string : NULL;
}

size_t json_len(const struct json *value)
{
    size_t len = 0;

    for (const struct json *item = json_first(value); item; item = json_next(item))
        len++;
    return len;
}

static void print_leaf(struct json_writer *w, const char *key, const struct json *value)
{
    int64_t integer;
    double number;
    bool truth;

    if (json_string(value))
        jw_string(w, key, json_string(value));
    else if (json_int(value, &integer))
        jw_int(w, key, integer);
    else if (json_double(value, &number))
        jw_double(w, key, number);
    else if (json_bool(value, &truth))
        jw_bool(w, key, truth);
    else
        jw_null(w, key);
}

/* Recursion is bounded: json_parse made the tree, at most JSON_DEPTH_MAX deep. */
static void print_value(struct json_writer *w, const char *key, const struct json *value)
{
    const struct json *item;

    if (json_is_object(value)) {
        jw_begin_object(w, key);
        for (item = json_first(value); item; item = json_next(item))
            print_value(w, json_key(item) ? json_key(item) : "", item);
        jw_end_object(w);
    } else if (json_is_array(value)) {
        jw_begin_array(w, key);
        for (item = json_first(value); item; item = json_next(item))
            print_value(w, NULL, item);
        jw_end_array(w);
    } else {
        print_leaf(w, key, value);
    }
}

int json_print(const struct json *value, struct buf *out_buf)
{
    struct json_writer w = JSON_WRITER(out_buf);
    size_t start = out_buf->len;

    if (out_buf->overflow)
        return -ENOBUFS;
    print_value(&w, NULL, value);
    if (!out_buf->overflow)
        return 0;
    out_buf->len = start; /* no half of a value stays behind */
    if (out_buf->data)
        out_buf->data[start] = '\0';
    return -ENOBUFS;
}
