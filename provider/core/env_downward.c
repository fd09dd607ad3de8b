/* The downward API as files: fields, all labels or annotations at once, resources; and $(VAR) where
 * a missing variable is an error (subPathExpr). Pure. */
#include "provider/core/env_priv.h"

#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct text {
    char *dst; /* NULL: only the length is asked for */
    size_t len;
};

static void put(struct text *text, const char *data, size_t len)
{
    if (text->dst)
        memcpy(text->dst + text->len, data, len);
    text->len += len;
}

/* Go's strconv.Quote, for UTF-8: what is printable stays. */
static void put_quoted(struct text *text, const char *value)
{
    size_t left = strlen(value);

    put(text, "\"", 1);
    while (left) {
        unsigned char c = (unsigned char)*value;
        size_t len = str_utf8_len(value, left);
        const char *plain = strchr("\a\b\f\n\r\t\v\"\\", c);
        char escape[8];

        if (plain && c) {
            escape[0] = '\\';
            escape[1] = "abfnrtv\"\\"[plain - "\a\b\f\n\r\t\v\"\\"];
            put(text, escape, 2);
        } else if (len == 0 || c < 0x20 || c == 0x7f) {
            str_fmt(escape, sizeof(escape), "\\x%02x", c);
            put(text, escape, 4);
            len = 1;
        } else {
            put(text, value, len);
        }
        len = len ? len : 1;
        value += len;
        left -= len;
    }
    put(text, "\"", 1);
}

static const struct key_value *next_key(const struct key_value *pairs, size_t len, const char *last)
{
    const struct key_value *best = NULL;

    for (size_t i = 0; i < len; i++) {
        if ((!last || strcmp(pairs[i].key, last) > 0) &&
            (!best || strcmp(pairs[i].key, best->key) < 0))
            best = &pairs[i];
    }
    return best;
}

/* key="value" lines, sorted by key, without a last line end. */
static const char *map_text(struct resolver *r, const struct key_value *pairs, size_t len)
{
    struct text text = {0};
    char *dst = NULL;

    for (int pass = 0; pass < 2; pass++) {
        const struct key_value *pair = NULL;

        text = (struct text){.dst = dst};
        while ((pair = next_key(pairs, len, pair ? pair->key : NULL))) {
            if (text.len)
                put(&text, "\n", 1);
            put(&text, pair->key, strlen(pair->key));
            put(&text, "=", 1);
            put_quoted(&text, pair->value);
        }
        if (pass == 0)
            dst = r->alloc(r->userdata, text.len + 1);
    }
    return dst;
}

int env_downward(const struct pod_spec *pod, const struct volume_item *item,
                 const struct env_facts *facts, env_alloc alloc, void *userdata, const char **ret,
                 char *error, size_t error_size)
{
    struct env_var var = {.name = item->path, .value = item->key, .ref = item->container};
    struct resolver r = {
        .pod = pod,
        .container = &pod->containers[0],
        .facts = facts,
        .alloc = alloc,
        .userdata = userdata,
        .error = error,
        .error_size = error_size,
    };

    var.divisor = item->divisor;
    if (item->resource)
        return env_resource_value(&r, &var, ret);
    if (str_eq(item->key, "metadata.labels"))
        *ret = map_text(&r, pod->labels, pod->labels_len);
    else if (str_eq(item->key, "metadata.annotations"))
        *ret = map_text(&r, pod->annotations, pod->annotations_len);
    else
        return env_field_value(&r, &var, ret);
    return 0;
}

static const char *find(const struct env_result *env, const char *name, size_t len)
{
    for (size_t i = 0; i < env->env_len; i++) {
        if (env->env[i].origin != ENV_OF_IMAGE && strlen(env->env[i].key) == len &&
            memcmp(env->env[i].key, name, len) == 0)
            return env->env[i].value;
    }
    return NULL;
}

/* One pass; -EINVAL with the name of what is missing. */
static int expand(const char *text, const struct env_result *env, struct text *out, char *error,
                  size_t error_size)
{
    while (*text) {
        const char *end = text[0] == '$' && text[1] == '(' ? strchr(text, ')') : NULL;
        const char *value;

        if (text[0] == '$' && text[1] == '$') {
            put(out, "$", 1);
            text += 2;
        } else if (!end) {
            put(out, text++, 1);
        } else {
            value = find(env, text + 2, (size_t)(end - text - 2));
            if (!value) {
                str_fmt(error, error_size, "missing value for \"%.*s\"", (int)(end - text - 2),
                        text + 2);
                return -EINVAL;
            }
            put(out, value, strlen(value));
            text = end + 1;
        }
        if (out->len > ENV_VALUE_MAX) {
            str_fmt(error, error_size, "a subPathExpr is longer than 128 KiB");
            return -EINVAL;
        }
    }
    return 0;
}

int env_expand_strict(const char *text, const struct env_result *env, env_alloc alloc,
                      void *userdata, const char **ret, char *error, size_t error_size)
{
    struct text out = {0};
    int result = expand(text, env, &out, error, error_size);

    if (result < 0)
        return result;
    out = (struct text){.dst = alloc(userdata, out.len + 1)};
    (void)expand(text, env, &out, error, error_size);
    *ret = out.dst;
    return 0;
}
