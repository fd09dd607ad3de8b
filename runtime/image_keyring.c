/* Docker's credential files and which entry is for which image. */
#include "runtime/image_keyring.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

static void cleanup_json(struct json **root)
{
    json_free(*root);
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void cleanup_secret(char **text)
{
    wipe(*text);
}

/* "https://index.docker.io/v1/" is docker.io to images; /v1 and /v2 are versions of the API. */
static char *plain_where(const char *text)
{
    static const char *const hub[] = {"index.docker.io", "registry-1.docker.io"};
    char *where;
    size_t len;

    if (str_starts(text, "https://"))
        text += strlen("https://");
    else if (str_starts(text, "http://"))
        text += strlen("http://");
    len = strlen(text);
    while (len > 0 && text[len - 1] == '/')
        len--;
    if (len >= 3 &&
        (strncmp(text + len - 3, "/v1", 3) == 0 || strncmp(text + len - 3, "/v2", 3) == 0))
        len -= 3;
    where = xstrndup(text, len);
    for (size_t i = 0; i < ARRAY_LEN(hub); i++) {
        size_t host = strlen(hub[i]);
        char *changed;

        if (strncmp(where, hub[i], host) != 0 || (where[host] && where[host] != '/'))
            continue;
        changed = xasprintf("docker.io%s", where + host);
        free(where);
        return changed;
    }
    return where;
}

void keyring_add(struct keyring *keyring, const char *where, const char *user, const char *password)
{
    if (keyring->len == KEYRING_ENTRIES_MAX)
        return;
    keyring->entries = xrealloc(keyring->entries, (keyring->len + 1) * sizeof(*keyring->entries));
    keyring->entries[keyring->len++] = (struct keyring_entry){
        .where = plain_where(where), .user = xstrdup(user), .password = xstrdup(password)};
}

void keyring_free(struct keyring *keyring)
{
    for (size_t i = 0; i < keyring->len; i++) {
        free(keyring->entries[i].where);
        wipe(keyring->entries[i].user);
        wipe(keyring->entries[i].password);
    }
    free(keyring->entries);
    *keyring = (struct keyring){.entries = NULL};
}

/* auth: base64 of user:password, before the two by themselves, as the kubelet has it. */
static void add_entry(struct keyring *keyring, const struct json *value)
{
    const char *user = json_get_string(value, "username");
    const char *password = json_get_string(value, "password");
    const char *auth = json_get_string(value, "auth");
    CLEANUP(secret) char *text = NULL;
    size_t len = 0;

    if (!str_empty(auth)) {
        char *colon;

        if (str_unbase64(auth, strlen(auth), &text, &len) < 0 || strlen(text) != len)
            return;
        colon = strchr(text, ':');
        if (!colon)
            return;
        *colon = '\0';
        keyring_add(keyring, json_key(value), text, colon + 1);
        explicit_bzero(text, len);
    } else if (!str_empty(user) && password) {
        keyring_add(keyring, json_key(value), user, password);
    }
}

int keyring_add_docker(struct keyring *keyring, const char *text, size_t len, bool config_json,
                       struct err *err)
{
    struct err parse_err;
    CLEANUP(json) struct json *root = NULL;
    const struct json *map;

    if (len > KEYRING_TEXT_MAX)
        return err_spec(err, -EFBIG, "more than %d bytes", KEYRING_TEXT_MAX);
    root = json_parse(text, len, &parse_err);
    map = config_json ? json_get(root, "auths") : root;
    if (!json_is_object(root) || (map && !json_is_object(map)))
        return err_spec(err, -EBADMSG, "it is no Docker configuration");
    for (const struct json *v = json_first(map); v; v = json_next(v))
        add_entry(keyring, v);
    return 0;
}

/* Label by label, so that *.io does not match a.b.io. Port must be the same text. */
static bool host_matches(const char *pattern, size_t len, const char *host)
{
    CLEANUP(free) char *p = xstrndup(pattern, len);
    CLEANUP(free) char *h = xstrdup(host);
    char *p_at = p;
    char *h_at = h;
    char *p_port = strrchr(p, ':');
    char *h_port = strrchr(h, ':');

    if (!str_eq(p_port, h_port))
        return false;
    if (p_port)
        *p_port = *h_port = '\0';
    while (p_at && h_at) {
        const char *p_label = strsep(&p_at, ".");
        const char *h_label = strsep(&h_at, ".");

        if (fnmatch(p_label, h_label, FNM_NOESCAPE) != 0)
            return false;
    }
    return !p_at && !h_at;
}

bool keyring_matches(const char *pattern, const struct image_name *name)
{
    CLEANUP(free) char *where = plain_where(pattern);
    size_t host = strcspn(where, "/");
    const char *path = where[host] ? where + host + 1 : "";

    return host_matches(where, host, name->host) && str_starts(name->repo, path);
}

const struct keyring_entry *keyring_find(const struct keyring *keyring,
                                         const struct image_name *name, size_t n)
{
    const struct keyring_entry *last = NULL;

    /* The n-th by length of the pattern; entries of one length in the order they were added. */
    for (size_t round = 0; round <= n; round++) {
        const struct keyring_entry *best = NULL;

        for (size_t i = 0; i < keyring->len; i++) {
            const struct keyring_entry *entry = &keyring->entries[i];
            size_t len = strlen(entry->where);
            size_t last_len = last ? strlen(last->where) : 0;

            if (last && (len > last_len || (len == last_len && entry <= last)))
                continue;
            if ((!best || len > strlen(best->where)) && keyring_matches(entry->where, name))
                best = entry;
        }
        if (!best)
            return NULL;
        last = best;
    }
    return last;
}
