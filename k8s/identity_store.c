/* The files of identity.h. They are small and local: read and written on the loop's thread. */
#include "k8s/identity_store.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "k8s/x509.h"

#include <errno.h>
#include <string.h>

void store_pair_free(struct store_pair *pair)
{
    free(pair->cert_pem);
    x509_key_free(pair->key_pem);
    *pair = (struct store_pair){0};
}

/* The only private-key block of a text; NULL: none, or several. */
static const char *find_key(const char *text, size_t *ret_len)
{
    const char *found = NULL;
    for (const char *p = text; (p = strstr(p, "-----BEGIN ")) != NULL; p++) {
        size_t line = strcspn(p, "\r\n");
        if (!memmem(p, line, "PRIVATE KEY-----", 16))
            continue;
        const char *end = strstr(p + line, "-----END ");
        if (found || !end)
            return NULL;
        found = p;
        *ret_len = (size_t)(end - p) + strcspn(end, "\n");
    }
    return found;
}

int store_parse(const char *text, struct store_pair *ret, struct err *err)
{
    size_t key_len = 0;
    const char *key = find_key(text, &key_len);
    if (!key)
        return err_set(err, -EBADMSG, "there is not exactly one private key");
    struct store_pair pair = {.key_pem = xasprintf("%.*s\n", (int)key_len, key)};
    pair.cert_pem = xasprintf("%.*s%s", (int)(key - text), text, key + key_len);
    struct x509_info info = {0};
    int r = x509_check_pair(pair.cert_pem, pair.key_pem, err);
    if (r == 0)
        r = x509_read(pair.cert_pem, &info, err);
    if (r < 0) {
        store_pair_free(&pair);
        return r;
    }
    pair.not_before_ms = info.not_before_ms;
    pair.not_after_ms = info.not_after_ms;
    x509_info_free(&info);
    *ret = pair;
    return 0;
}

static int check(const struct store_pair *pair, const char *common_name, int64_t now_ms,
                 struct err *err)
{
    struct x509_info info;
    int r = x509_read(pair->cert_pem, &info, err);
    if (r < 0)
        return r;
    if (!str_eq(info.common_name, common_name))
        r = err_set(err, -EKEYREJECTED, "it is for \"%s\", not for \"%s\"", info.common_name,
                    common_name);
    else if (info.not_after_ms <= now_ms)
        r = err_set(err, -EKEYEXPIRED, "it has expired");
    x509_info_free(&info);
    return r;
}

static int set_aside(const char *path, int code, struct err *err)
{
    CLEANUP(free) char *aside = xasprintf("%s.bad", path);
    (void)rename(path, aside);
    err->code = code;
    err_wrap(err, "%s is not usable and was set aside as %s", path, aside);
    return code;
}

int store_load(const char *dir, const char *name, const char *common_name, int64_t now_ms,
               struct store_pair *ret, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);
    CLEANUP(buf) struct buf text = BUF_INIT(X509_PEM_MAX);
    int r = file_read(path, &text);
    if (r == -ENOENT)
        return r;
    struct store_pair pair = {0};
    if (r < 0)
        err_set(err, r, "%s", strerror(-r));
    else if (strlen(buf_str(&text)) != text.len)
        r = err_set(err, -EBADMSG, "it is no text");
    else
        r = store_parse(buf_str(&text), &pair, err);
    if (text.data)
        explicit_bzero(text.data, text.len);
    if (r == 0)
        r = check(&pair, common_name, now_ms, err);
    if (r < 0) {
        store_pair_free(&pair);
        return set_aside(path, r, err);
    }
    *ret = pair;
    return 0;
}

int store_save(const char *dir, const char *name, const char *cert_pem, const char *key_pem,
               struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);
    CLEANUP(buf) struct buf text = BUF_INIT(2 * X509_PEM_MAX + 1);
    (void)buf_addf(&text, "%s\n%s", cert_pem, key_pem);
    int r = file_write_atomic(path, text.data, text.len, 0600);
    explicit_bzero(text.data, text.len);
    return r < 0 ? err_set(err, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int store_key(const char *dir, const char *name, char **ret_key_pem, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);
    CLEANUP(buf) struct buf text = BUF_INIT(X509_PEM_MAX);
    char hash[65];
    if (file_read(path, &text) == 0 && strlen(buf_str(&text)) == text.len &&
        x509_key_hash(buf_str(&text), hash, NULL) == 0) {
        *ret_key_pem = xstrdup(text.data);
        explicit_bzero(text.data, text.len);
        return 0;
    }
    char *key = NULL;
    int r = x509_key_new(&key, err);
    if (r < 0)
        return r;
    r = file_write_atomic(path, key, strlen(key), 0600);
    if (r < 0) {
        x509_key_free(key);
        return err_set(err, r, "cannot write %s: %s", path, strerror(-r));
    }
    *ret_key_pem = key;
    return 0;
}

void store_remove(const char *dir, const char *name)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);
    (void)unlink(path);
}
