/* As whom one pull asks: at the image's registry, and at mirrors that the user has an entry for. */
#pragma once

#include "base/digest.h"
#include "runtime/image_keyring.h"

struct image_login {
    char *user; /* at the registry; NULL: anonymous */
    char *password;
    struct keyring mirrors; /* by host[:port] alone */
};

/* Copies. user NULL: nobody. */
void login_set(struct image_login *login, const char *user, const char *password);
void login_copy(struct image_login *dst, const struct image_login *src);
void login_free(struct image_login *login); /* wipes */
/* Of credentials, to know the same ones again: 64 hex digits; "" for none. */
void login_hash(const struct image_login *login, char hex[DIGEST_HEX_LEN + 1]);
