/* JSON of TokenReview and SubjectAccessReview (contract 5.1). A token appears here and nowhere
 * else. */
#include "k8s/auth_user.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define GROUPS_MAX 4096
#define AUTHENTICATED "system:authenticated"

static void add_group(struct auth_user *user, const char *group)
{
    user->groups = xrealloc(user->groups, (user->groups_len + 1) * sizeof(*user->groups));
    user->groups[user->groups_len++] = xstrdup(group);
}

struct auth_user *auth_user_new(const char *name, const char *const *groups, size_t groups_len)
{
    struct auth_user *user = xcalloc(1, sizeof(*user));
    user->name = xstrdup(name);
    for (size_t i = 0; i < groups_len; i++)
        add_group(user, groups[i]);
    return user;
}

struct auth_user *auth_user_copy(const struct auth_user *user)
{
    struct auth_user *copy =
        auth_user_new(user->name, (const char *const *)user->groups, user->groups_len);
    copy->uid = user->uid ? xstrdup(user->uid) : NULL;
    copy->extra_json = user->extra_json ? xstrdup(user->extra_json) : NULL;
    return copy;
}

void auth_user_free(struct auth_user *user)
{
    if (!user)
        return;
    for (size_t i = 0; i < user->groups_len; i++)
        free(user->groups[i]);
    free(user->groups);
    free(user->name);
    free(user->uid);
    free(user->extra_json);
    free(user);
}

void auth_user_token_review(const char *token, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);
    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "authentication.k8s.io/v1");
    jw_string(&w, "kind", "TokenReview");
    jw_begin_object(&w, "spec");
    jw_string(&w, "token", token);
    jw_end_object(&w);
    jw_end_object(&w);
}

static void begin_review(struct json_writer *w, const struct auth_user *user)
{
    jw_begin_object(w, NULL);
    jw_string(w, "apiVersion", "authorization.k8s.io/v1");
    jw_string(w, "kind", "SubjectAccessReview");
    jw_begin_object(w, "spec");
    jw_string(w, "user", user->name);
    jw_begin_array(w, "groups");
    for (size_t i = 0; i < user->groups_len; i++)
        jw_string(w, NULL, user->groups[i]);
    jw_end_array(w);
    jw_string_opt(w, "uid", user->uid);
    if (user->extra_json)
        jw_raw(w, "extra", user->extra_json, strlen(user->extra_json));
}

void auth_user_review_attributes(const struct auth_user *user, const struct auth_attributes *at,
                                 struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);
    begin_review(&w, user);
    if (at->group[0]) {
        jw_begin_object(&w, "resourceAttributes");
        jw_string(&w, "verb", at->verb);
        jw_string(&w, "group", at->group);
        jw_string(&w, "version", "*");
        jw_string(&w, "resource", at->resource);
        jw_string_opt(&w, "namespace", at->ns);
    } else {
        jw_begin_object(&w, "nonResourceAttributes");
        jw_string(&w, "verb", at->verb);
        jw_string(&w, "path", at->path);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    jw_end_object(&w);
}

void auth_user_access_review(const struct auth_user *user, const char *node, const char *verb,
                             const char *subresource, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);
    begin_review(&w, user);
    jw_begin_object(&w, "resourceAttributes");
    jw_string(&w, "verb", verb);
    jw_string(&w, "group", "");
    jw_string(&w, "version", "v1");
    jw_string(&w, "resource", "nodes");
    jw_string(&w, "subresource", subresource);
    jw_string(&w, "name", node);
    jw_end_object(&w);
    jw_end_object(&w);
    jw_end_object(&w);
}

static char *extra_of(const struct json *user)
{
    const struct json *extra = json_get(user, "extra");
    struct buf text = BUF_INIT(AUTH_BODY_MAX);
    if (!json_is_object(extra) || json_print(extra, &text) < 0) {
        buf_free(&text);
        return NULL;
    }
    return buf_take(&text);
}

int auth_user_from_review(const char *body, size_t len, struct auth_user **ret)
{
    struct err err;
    struct json *root = json_parse(body, len, &err);
    const struct json *status = json_get(root, "status");
    if (!json_is_object(status)) {
        json_free(root);
        return -EBADMSG;
    }
    const struct json *who = json_get(status, "user");
    const char *name = json_get_string(who, "username");
    bool authenticated = false;
    if (!json_get_bool(status, "authenticated", &authenticated) || !authenticated ||
        str_empty(name)) {
        json_free(root);
        return -EACCES;
    }
    struct auth_user *user = auth_user_new(name, NULL, 0);
    bool known = false;
    for (const struct json *v = json_first(json_get(who, "groups")); v; v = json_next(v)) {
        const char *group = json_string(v);
        if (!group || user->groups_len == GROUPS_MAX)
            continue;
        known = known || str_eq(group, AUTHENTICATED);
        add_group(user, group);
    }
    if (!known)
        add_group(user, AUTHENTICATED);
    const char *uid = json_get_string(who, "uid");
    user->uid = str_empty(uid) ? NULL : xstrdup(uid);
    user->extra_json = extra_of(who);
    json_free(root);
    *ret = user;
    return 0;
}

int auth_user_allowed(const char *body, size_t len)
{
    struct err err;
    struct json *root = json_parse(body, len, &err);
    const struct json *status = json_get(root, "status");
    bool allowed = false;
    bool denied = false;
    int r = -EBADMSG;
    if (json_is_object(status)) {
        (void)json_get_bool(status, "denied", &denied);
        r = json_get_bool(status, "allowed", &allowed) && allowed && !denied;
    }
    json_free(root);
    return r;
}
