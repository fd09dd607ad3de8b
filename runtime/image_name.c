/* The parser of image references. Grammar: distribution/reference, names as the CRI shows them. */
#include "runtime/image_name.h"

#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define NAME_LEN_MAX 255 /* of host and repository together, in distribution's grammar */
#define PORT_LEN_MAX 5

static bool is_lower(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower(c) || (c >= 'A' && c <= 'Z');
}

/* Dot-separated labels of letters, digits and inner hyphens; or [IPv6]; then an optional port. */
static bool host_valid(const char *host, size_t len)
{
    const char *colon;
    size_t name_len;
    size_t label = 0;

    if (len == 0 || len >= IMAGE_HOST_MAX)
        return false;
    if (host[0] == '[') {
        const char *end = memchr(host, ']', len);

        if (!end || end == host + 1)
            return false;
        for (const char *p = host + 1; p < end; p++)
            if (!strchr("0123456789abcdefABCDEF:", *p))
                return false;
        name_len = (size_t)(end - host) + 1;
        colon = name_len < len ? host + name_len : NULL;
        if (colon && *colon != ':')
            return false;
    } else {
        colon = memchr(host, ':', len);
        name_len = colon ? (size_t)(colon - host) : len;
        for (size_t i = 0; i <= name_len; i++) {
            if (i == name_len || host[i] == '.') {
                if (label == 0 || host[i - 1] == '-')
                    return false;
                label = 0;
            } else if (!is_alnum(host[i]) && (host[i] != '-' || label == 0)) {
                return false;
            } else {
                label++;
            }
        }
    }
    if (!colon)
        return true;
    if (len - name_len - 1 == 0 || len - name_len - 1 > PORT_LEN_MAX)
        return false;
    for (size_t i = name_len + 1; i < len; i++)
        if (host[i] < '0' || host[i] > '9')
            return false;
    return true;
}

/* Components of lower-case letters and digits, divided inside by one '.', one or two '_', or any
 * number of '-'. */
static bool repo_valid(const char *repo)
{
    bool alnum = false; /* the last one was a letter or digit */

    for (const char *p = repo;; p++) {
        if (is_lower(*p)) {
            alnum = true;
            continue;
        }
        if (!alnum)
            return false;
        if (*p == '\0')
            return true;
        if (*p == '/') {
            alnum = false;
            continue;
        }
        if (*p == '_' && p[1] == '_')
            p++;
        else if (*p == '-')
            while (p[1] == '-')
                p++;
        else if (*p != '.' && *p != '_')
            return false;
        if (!is_lower(p[1]))
            return false;
    }
}

static bool tag_valid(const char *tag)
{
    size_t len = strlen(tag);

    if (len == 0 || len >= IMAGE_TAG_MAX || tag[0] == '.' || tag[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_alnum(tag[i]) && tag[i] != '_' && tag[i] != '.' && tag[i] != '-')
            return false;
    return true;
}

bool image_digest_valid(const char *text)
{
    if (!text || !str_starts(text, "sha256:") || strlen(text) != IMAGE_DIGEST_MAX - 1)
        return false;
    for (const char *p = text + strlen("sha256:"); *p; p++)
        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f')))
            return false;
    return true;
}

const char *image_digest_hex(const char *digest)
{
    return digest + strlen("sha256:");
}

/* Whether the part before the first slash names a registry, as containers' tools decide it. */
static bool names_host(const char *text, size_t len)
{
    if (len == strlen("localhost") && strncmp(text, "localhost", len) == 0)
        return true;
    for (size_t i = 0; i < len; i++)
        if (text[i] == '.' || text[i] == ':' || (text[i] >= 'A' && text[i] <= 'Z'))
            return true;
    return false;
}

static int refuse(const char *text, const char *why, struct err *err)
{
    return err_spec(err, -EINVAL, "couldn't parse image name \"%s\": invalid reference format%s",
                    text, why);
}

static int parse_repo(const char *text, const char *repo, const char *prefix,
                      struct image_name *out, struct err *err)
{
    for (const char *p = repo; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            return refuse(text, ": repository name must be lowercase", err);
    if (strlen(out->host) + 1 + strlen(prefix) + strlen(repo) > NAME_LEN_MAX)
        return refuse(text, ": repository name must not be more than 255 characters", err);
    if (!repo_valid(repo))
        return refuse(text, "", err);
    str_fmt(out->repo, sizeof(out->repo), "%s%s", prefix, repo);
    return 0;
}

/* name is host/repository, without tag and digest; cut out of text. */
static int parse_name(const char *text, const char *name, struct image_name *out, struct err *err)
{
    const char *slash = strchr(name, '/');
    size_t host_len = slash ? (size_t)(slash - name) : 0;

    if (!slash || !names_host(name, host_len)) {
        str_copy(out->host, sizeof(out->host), "docker.io");
        return parse_repo(text, name, slash ? "" : "library/", out, err);
    }
    if (!host_valid(name, host_len))
        return refuse(text, "", err);
    str_fmt(out->host, sizeof(out->host), "%.*s", (int)host_len, name);
    if (str_eq(out->host, "index.docker.io"))
        str_copy(out->host, sizeof(out->host), "docker.io");
    if (str_eq(out->host, "docker.io"))
        return parse_repo(text, slash + 1, strchr(slash + 1, '/') ? "" : "library/", out, err);
    /* unikraft.org/x is kraft's short name of a project at its registry, not a registry. */
    if (str_eq(out->host, "unikraft.org")) {
        str_copy(out->host, sizeof(out->host), "index.unikraft.io");
        return parse_repo(text, slash + 1, "unikraft.org/", out, err);
    }
    return parse_repo(text, slash + 1, "", out, err);
}

int image_name_parse(const char *text, struct image_name *ret, struct err *err)
{
    struct image_name out = {.host = ""};
    char name[IMAGE_FULL_MAX];
    char *at;
    char *colon;
    int r;

    if (str_empty(text) || strlen(text) >= sizeof(name))
        return refuse(str_empty(text) ? "" : "(too long)", "", err);
    str_copy(name, sizeof(name), text);
    at = strchr(name, '@');
    if (at) {
        *at = '\0';
        if (!image_digest_valid(at + 1))
            return refuse(text,
                          str_starts(at + 1, "sha256:") ? ": invalid checksum digest format"
                                                        : ": unsupported digest algorithm",
                          err);
        str_copy(out.digest, sizeof(out.digest), at + 1);
    }
    colon = strrchr(name, ':');
    if (colon && !strchr(colon, '/')) {
        *colon = '\0';
        if (!tag_valid(colon + 1))
            return refuse(text, "", err);
        if (!at) /* the digest says more, and it is what is shown */
            str_copy(out.tag, sizeof(out.tag), colon + 1);
    } else if (!at) {
        str_copy(out.tag, sizeof(out.tag), "latest");
    }
    r = parse_name(text, name, &out, err);
    if (r < 0)
        return r;
    *ret = out;
    return 0;
}

char *image_name_repo(const struct image_name *name, char dst[IMAGE_FULL_MAX])
{
    return str_fmt(dst, IMAGE_FULL_MAX, "%s/%s", name->host, name->repo);
}

char *image_name_full(const struct image_name *name, char dst[IMAGE_FULL_MAX])
{
    const char *sep = name->digest[0] ? "@" : ":";

    return str_fmt(dst, IMAGE_FULL_MAX, "%s/%s%s%s", name->host, name->repo, sep,
                   name->digest[0] ? name->digest : name->tag);
}

const char *image_name_api_host(const struct image_name *name)
{
    return str_eq(name->host, "docker.io") ? "registry-1.docker.io" : name->host;
}

bool image_host_is_loopback(const char *host)
{
    size_t dots = 0;

    if (strncmp(host, "localhost", 9) == 0 && (host[9] == '\0' || host[9] == ':'))
        return true;
    if (str_starts(host, "[::1]"))
        return true;
    if (!str_starts(host, "127."))
        return false;
    for (const char *p = host; *p && *p != ':'; p++) {
        if (*p == '.')
            dots++;
        else if (*p < '0' || *p > '9')
            return false; /* 127.example.com */
    }
    return dots == 3;
}
