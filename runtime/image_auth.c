/* Parser of WWW-Authenticate headers, for what registries say in them. */
#include "runtime/image_auth.h"

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define URL_MAX (4 * AUTH_VALUE_MAX * 3)

static bool is_token(char c)
{
    return c > 0x20 && c < 0x7f && !strchr("()<>@,;:\\\"/[]?={}", c);
}

static const char *skip(const char *p, const char *set)
{
    return p + strspn(p, set);
}

/* Reads a token of at most size-1 bytes; a longer one is read over and dst is "". */
static const char *read_token(const char *p, char *dst, size_t size)
{
    size_t len = 0;

    while (is_token(p[len]))
        len++;
    dst[0] = '\0';
    if (len < size)
        str_fmt(dst, size, "%.*s", (int)len, p);
    return p + len;
}

/* The value of a parameter: a token, or a quoted string with backslash pairs. NULL: malformed. */
static const char *read_value(const char *p, char *dst, size_t size)
{
    size_t len = 0;

    if (*p != '"')
        return read_token(p, dst, size);
    for (p++; *p && *p != '"'; p++) {
        if (*p == '\\' && p[1])
            p++;
        if (len < size)
            dst[len++] = *p;
    }
    if (*p != '"')
        return NULL;
    if (len == size)
        len = 0; /* does not fit: as if it were not there */
    dst[len] = '\0';
    return p + 1;
}

static const char *read_params(const char *p, struct auth_challenge *out)
{
    char name[32];
    char value[AUTH_VALUE_MAX];

    for (;;) {
        const char *start = skip(p, " \t,");
        const char *after = skip(read_token(start, name, sizeof(name)), " \t");

        if (*after != '=') /* the next scheme, or the end */
            return start;
        p = read_value(skip(after + 1, " \t"), value, sizeof(value));
        if (!p)
            return NULL;
        if (strcasecmp(name, "realm") == 0)
            str_copy(out->realm, sizeof(out->realm), value);
        else if (strcasecmp(name, "service") == 0)
            str_copy(out->service, sizeof(out->service), value);
        else if (strcasecmp(name, "scope") == 0)
            str_copy(out->scope, sizeof(out->scope), value);
    }
}

void auth_parse(const char *value, struct auth_challenge *best)
{
    const char *p = skip(value, " \t,");

    while (p && *p) {
        struct auth_challenge one = {.scheme = AUTH_NONE};
        char scheme[32];
        const char *after = read_token(p, scheme, sizeof(scheme));

        if (after == p)
            return;
        if (strcasecmp(scheme, "bearer") == 0)
            one.scheme = AUTH_BEARER;
        else if (strcasecmp(scheme, "basic") == 0)
            one.scheme = AUTH_BASIC;
        p = read_params(after, &one);
        if (!p)
            return;
        if (one.scheme == AUTH_BEARER && str_empty(one.realm))
            continue;
        if (one.scheme > best->scheme)
            *best = one;
    }
}

static void add_escaped(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if ((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
            (*text >= '0' && *text <= '9') || strchr("-._~/:", *text))
            buf_addc(out, *text);
        else
            buf_addf(out, "%%%02X", (unsigned char)*text);
    }
}

char *auth_token_url(const struct auth_challenge *challenge, const char *scope)
{
    struct buf url = BUF_INIT(URL_MAX);
    char sep = strchr(challenge->realm, '?') ? '&' : '?';

    buf_adds(&url, challenge->realm);
    if (challenge->service[0]) {
        buf_addf(&url, "%cservice=", sep);
        add_escaped(&url, challenge->service);
        sep = '&';
    }
    buf_addf(&url, "%cscope=", sep);
    add_escaped(&url, challenge->scope[0] ? challenge->scope : scope);
    return buf_take(&url);
}
