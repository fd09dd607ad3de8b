/* SHA-256 by OpenSSL's EVP: the one place outside k8s/ that includes OpenSSL, so that image code
 * can verify without it. A failure of the library here means no memory: it aborts. */
#include "base/digest.h"

#include "base/str.h"

#include <openssl/evp.h>

#include <stdlib.h>

#define SHA256_LEN 32

struct digest {
    EVP_MD_CTX *ctx;
};

struct digest *digest_new(void)
{
    struct digest *digest = xcalloc(1, sizeof(*digest));

    digest->ctx = EVP_MD_CTX_new();
    if (!digest->ctx || EVP_DigestInit_ex(digest->ctx, EVP_sha256(), NULL) != 1)
        abort();
    return digest;
}

void digest_free(struct digest *digest)
{
    if (!digest)
        return;
    EVP_MD_CTX_free(digest->ctx);
    free(digest);
}

void digest_add(struct digest *digest, const void *data, size_t len)
{
    if (EVP_DigestUpdate(digest->ctx, data, len) != 1)
        abort();
}

void digest_hex(struct digest *digest, char hex[DIGEST_HEX_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    if (EVP_DigestFinal_ex(digest->ctx, sum, &len) != 1 || len != SHA256_LEN)
        abort();
    for (size_t i = 0; i < SHA256_LEN; i++) {
        hex[2 * i] = digits[sum[i] >> 4];
        hex[2 * i + 1] = digits[sum[i] & 15];
    }
    hex[DIGEST_HEX_LEN] = '\0';
}

void digest_sha256_hex(const void *data, size_t len, char hex[DIGEST_HEX_LEN + 1])
{
    struct digest *digest = digest_new();

    digest_add(digest, data, len);
    digest_hex(digest, hex);
    digest_free(digest);
}
