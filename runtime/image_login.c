/* Credentials of one pull: copies that are wiped, and a hash that stands for them. */
#include "runtime/image_login.h"

#include "base/buf.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (2 * KEYRING_TEXT_MAX)

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void login_set(struct image_login *login, const char *user, const char *password)
{
    *login = (struct image_login){
        .user = user ? xstrdup(user) : NULL,
        .password = user && password ? xstrdup(password) : NULL,
    };
}

void login_copy(struct image_login *dst, const struct image_login *src)
{
    login_set(dst, src->user, src->password);
    for (size_t i = 0; i < src->mirrors.len; i++) {
        const struct keyring_entry *entry = &src->mirrors.entries[i];

        keyring_add(&dst->mirrors, entry->where, entry->user, entry->password);
    }
}

void login_free(struct image_login *login)
{
    wipe(login->user);
    wipe(login->password);
    keyring_free(&login->mirrors);
    *login = (struct image_login){.user = NULL};
}

void login_hash(const struct image_login *login, char hex[DIGEST_HEX_LEN + 1])
{
    struct buf secret = BUF_INIT(TEXT_MAX);

    hex[0] = '\0';
    if (login->user)
        (void)buf_addf(&secret, "%s%c%s", login->user, 1, login->password ? login->password : "");
    for (size_t i = 0; i < login->mirrors.len; i++) {
        const struct keyring_entry *entry = &login->mirrors.entries[i];

        (void)buf_addf(&secret, "%c%s%c%s%c%s", 2, entry->where, 1, entry->user, 1,
                       entry->password);
    }
    if (secret.len) {
        digest_sha256_hex(buf_str(&secret), secret.len, hex);
        explicit_bzero(secret.data, secret.len);
    }
    buf_free(&secret);
}
