/* Certificate and key in files: one PEM file a pair, 0600, replaced atomically; and the key of a
 * request that is under way. Inside of identity*.c. */
#pragma once

#include <stdint.h>

struct err;

struct store_pair {
    char *cert_pem;
    char *key_pem;
    int64_t not_before_ms;
    int64_t not_after_ms;
};

void store_pair_free(struct store_pair *pair);

/* A pair as text: the certificates, and the one key. -EBADMSG otherwise. Fuzzed. */
int store_parse(const char *text, struct store_pair *ret, struct err *err);
/* Parsed, matching, with this common name, and valid at now. -ENOENT: there is none. A pair that
 * is no good is renamed to <name>.bad and the error says what was wrong with it. */
int store_load(const char *dir, const char *name, const char *common_name, int64_t now_ms,
               struct store_pair *ret, struct err *err);
int store_save(const char *dir, const char *name, const char *cert_pem, const char *key_pem,
               struct err *err);

/* The key in <name>, or a new one that is saved there first: a request with it survives a crash. */
int store_key(const char *dir, const char *name, char **ret_key_pem, struct err *err);
void store_remove(const char *dir, const char *name);
