/* Certificates, keys and stored pairs from outside: what is accepted must be usable for TLS. */
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "k8s/identity_store.h"
#include "k8s/tls.h"
#include "k8s/x509.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_pair(const struct store_pair *pair)
{
    struct err err;
    struct x509_info info;
    struct tls_context *context = NULL;
    if (x509_check_pair(pair->cert_pem, pair->key_pem, &err) < 0 ||
        x509_read(pair->cert_pem, &info, &err) < 0)
        abort(); /* store_parse said that it is good */
    if (info.not_after_ms != pair->not_after_ms)
        abort();
    x509_info_free(&info);
    if (tls_context_new(pair->cert_pem, pair->key_pem, pair->cert_pem, &context, &err) == 0)
        tls_context_unref(context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ips[] = {"127.0.0.1", "::1"};
    static const char *const names[] = {"node"};
    const struct x509_subject subject = {
        .common_name = "x", .ips = ips, .ips_len = 2, .names = names, .names_len = 1};
    if (size > X509_PEM_MAX + 1)
        return 0;
    CLEANUP(free) char *text = xmalloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    struct err err;
    struct x509_info info;
    struct store_pair pair = {0};
    char hash[65];
    if (x509_read(text, &info, &err) == 0)
        x509_info_free(&info);
    (void)x509_key_hash(text, hash, &err);
    (void)x509_has_sans(text, &subject);
    if (store_parse(text, &pair, &err) == 0) {
        use_pair(&pair);
        store_pair_free(&pair);
    }
    return 0;
}
