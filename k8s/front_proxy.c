/* The requestheader part of the API server's authentication ConfigMap, and its application to one
 * request, as k8s.io/apiserver does it: the first user header that has a value, all groups, and
 * each header with an extra prefix. */
#include "k8s/front_proxy.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/auth.h"
#include "k8s/server_head.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXTRA_BYTES_MAX 65536

static void list_free(struct front_proxy_list *list)
{
    for (size_t i = 0; i < list->len; i++)
        free(list->items[i]);
}

void front_proxy_free(struct front_proxy *proxy)
{
    if (!proxy)
        return;
    list_free(&proxy->names);
    list_free(&proxy->user_headers);
    list_free(&proxy->uid_headers);
    list_free(&proxy->group_headers);
    list_free(&proxy->extra_prefixes);
    free(proxy->ca_pem);
    free(proxy);
}

static int parse_list(const struct json *data, const char *key, bool header,
                      struct front_proxy_list *list, struct err *err)
{
    const char *text = json_get_string(data, key);
    if (str_empty(text))
        return 0;
    struct json *root = json_parse(text, strlen(text), err);
    int r = json_is_array(root) ? 0 : -EBADMSG;
    for (const struct json *v = json_first(root); v && r == 0; v = json_next(v)) {
        if (!json_string(v) || list->len == FRONT_PROXY_LIST_MAX) {
            r = -EBADMSG;
            break;
        }
        char *item = xstrdup(json_string(v));
        for (char *c = item; header && *c; c++)
            *c = (char)tolower((unsigned char)*c);
        list->items[list->len++] = item;
    }
    json_free(root);
    return r < 0 ? err_set(err, r, "%s is no JSON list of at most %d strings", key,
                           FRONT_PROXY_LIST_MAX)
                 : 0;
}

int front_proxy_parse(const struct json *config_map, struct front_proxy **ret, struct err *err)
{
    const struct json *data = json_get(config_map, "data");
    const char *ca = json_get_string(data, "requestheader-client-ca-file");
    if (str_empty(ca))
        return err_set(err, -ENOENT,
                       "there is no requestheader-client-ca-file: the API server "
                       "runs without aggregation");
    struct front_proxy *proxy = xcalloc(1, sizeof(*proxy));
    proxy->ca_pem = xstrdup(ca);
    int r = parse_list(data, "requestheader-allowed-names", false, &proxy->names, err);
    if (r == 0)
        r = parse_list(data, "requestheader-username-headers", true, &proxy->user_headers, err);
    if (r == 0)
        r = parse_list(data, "requestheader-uid-headers", true, &proxy->uid_headers, err);
    if (r == 0)
        r = parse_list(data, "requestheader-group-headers", true, &proxy->group_headers, err);
    if (r == 0)
        r = parse_list(data, "requestheader-extra-headers-prefix", true, &proxy->extra_prefixes,
                       err);
    if (r < 0) {
        front_proxy_free(proxy);
        return r;
    }
    *ret = proxy;
    return 0;
}

static const char *first_value(const struct front_proxy_list *names, const struct head *head)
{
    for (size_t i = 0; i < names->len; i++) {
        const char *value = head_get(head, names->items[i]);
        if (!str_empty(value))
            return value;
    }
    return NULL;
}

static size_t groups_of(const struct front_proxy *proxy, const struct head *head,
                        const char *groups[FRONT_PROXY_GROUPS_MAX])
{
    size_t len = 0;
    for (size_t i = 0; i < proxy->group_headers.len; i++) {
        for (size_t f = 0; f < head->fields_len && len < FRONT_PROXY_GROUPS_MAX; f++) {
            if (str_eq(head->fields[f].name, proxy->group_headers.items[i]))
                groups[len++] = head->fields[f].value;
        }
    }
    return len;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Keys are percent-encoded in header names; what is no encoding stands for itself. Malloc'd. */
static char *unescape(const char *text)
{
    char *out = xstrdup(text);
    char *to = out;
    for (const char *at = text; *at; at++) {
        int high = at[0] == '%' ? hex_digit(at[1]) : -1;
        int low = high >= 0 ? hex_digit(at[2]) : -1;
        if (low > 0 || (low == 0 && high > 0)) {
            *to++ = (char)(high * 16 + low);
            at += 2;
        } else {
            *to++ = *at;
        }
    }
    *to = '\0';
    return out;
}

static const char *extra_key(const struct front_proxy *proxy, const char *name)
{
    for (size_t i = 0; i < proxy->extra_prefixes.len; i++) {
        const char *prefix = proxy->extra_prefixes.items[i];
        if (str_starts(name, prefix) && name[strlen(prefix)])
            return name + strlen(prefix);
    }
    return NULL;
}

/* {"key": ["value", ...], ...}; NULL when there is none. */
static char *extra_of(const struct front_proxy *proxy, const struct head *head)
{
    struct buf out = BUF_INIT(EXTRA_BYTES_MAX);
    struct json_writer w = JSON_WRITER(&out);
    size_t count = 0;
    jw_begin_object(&w, NULL);
    for (size_t f = 0; f < head->fields_len && count < FRONT_PROXY_EXTRA_MAX; f++) {
        const char *name = head->fields[f].name;
        const char *key = extra_key(proxy, name);
        bool seen = false;
        for (size_t e = 0; e < f && key && !seen; e++)
            seen = str_eq(head->fields[e].name, name);
        if (!key || seen)
            continue;
        char *plain = unescape(key);
        jw_begin_array(&w, plain);
        for (size_t e = f; e < head->fields_len; e++) {
            if (str_eq(head->fields[e].name, name))
                jw_string(&w, NULL, head->fields[e].value);
        }
        jw_end_array(&w);
        free(plain);
        count++;
    }
    jw_end_object(&w);
    if (count && !out.overflow)
        return buf_take(&out);
    buf_free(&out);
    return NULL;
}

struct auth_user *front_proxy_user(const struct front_proxy *proxy, const char *common_name,
                                   const struct head *head)
{
    const char *groups[FRONT_PROXY_GROUPS_MAX];
    bool allowed = proxy->names.len == 0;
    for (size_t i = 0; i < proxy->names.len; i++)
        allowed = allowed || str_eq(proxy->names.items[i], common_name);
    const char *name = allowed ? first_value(&proxy->user_headers, head) : NULL;
    if (!name)
        return NULL;
    struct auth_user *user = auth_user_new(name, groups, groups_of(proxy, head, groups));
    const char *uid = first_value(&proxy->uid_headers, head);
    user->uid = uid ? xstrdup(uid) : NULL;
    user->extra_json = extra_of(proxy, head);
    return user;
}
