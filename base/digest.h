/* SHA-256 as images use it ("sha256:<64 hex>"). Wraps OpenSSL's EVP so that runtime needs none. */
#pragma once

#include <stddef.h>

#define DIGEST_HEX_LEN 64

struct digest;

struct digest *digest_new(void);
void digest_free(struct digest *digest); /* NULL is accepted */
void digest_add(struct digest *digest, const void *data, size_t len);
/* Writes 64 lower-case hex digits and a NUL; the digest is spent afterwards. */
void digest_hex(struct digest *digest, char hex[DIGEST_HEX_LEN + 1]);
/* One call for a whole buffer. */
void digest_sha256_hex(const void *data, size_t len, char hex[DIGEST_HEX_LEN + 1]);
