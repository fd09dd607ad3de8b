/* WWW-Authenticate challenges of registries (RFC 9110 11.6.1, distribution's token specification).
 * Pure; called by image_http.c. */
#pragma once

#include <stddef.h>

enum auth_scheme { AUTH_NONE, AUTH_BASIC, AUTH_BEARER };

#define AUTH_VALUE_MAX 512

struct auth_challenge {
    enum auth_scheme scheme;
    char realm[AUTH_VALUE_MAX];
    char service[AUTH_VALUE_MAX];
    char scope[AUTH_VALUE_MAX];
};

/* Takes the best challenge out of one header's value into *best: Bearer before Basic; what is not
 * understood, or does not fit, is passed over. *best may hold one from an earlier header. */
void auth_parse(const char *value, struct auth_challenge *best);
/* realm?service=..&scope=..; scope is used when the challenge has none. malloc'd. */
char *auth_token_url(const struct auth_challenge *challenge, const char *scope);
