/* Who is at the other end: client certificates as the kubelet reads them, common name = user,
 * organizations = groups (contract 5.1). */
#include "k8s/tls_priv.h"

#include "base/str.h"
#include "k8s/x509_priv.h"

#include <errno.h>
#include <openssl/err.h>

#define PEER_TEXT_MAX 1024

/* Intermediate CAs may be trusted as they are, as in Go's verifier: hence PARTIAL_CHAIN. */
static bool verify(X509_STORE *store, X509 *leaf, STACK_OF(X509) * others)
{
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    if (!check)
        abort();
    bool ok = X509_STORE_CTX_init(check, store, leaf, others) == 1 &&
              X509_STORE_CTX_set_default(check, "ssl_client") == 1;
    if (ok) {
        X509_STORE_CTX_set_flags(check, X509_V_FLAG_PARTIAL_CHAIN);
        ok = X509_verify_cert(check) == 1 && X509_STORE_CTX_get_error(check) == X509_V_OK;
    }
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return ok;
}

static int read_subject(const X509_NAME *name, struct tls_peer *peer)
{
    for (int i = 0; i < X509_NAME_entry_count(name); i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
        if (nid != NID_commonName && nid != NID_organizationName)
            continue;
        char *text = x509_text(X509_NAME_ENTRY_get_data(entry));
        bool usable = text && *text && strlen(text) <= PEER_TEXT_MAX;
        if (usable && nid == NID_commonName && !peer->common_name) {
            peer->common_name = text;
        } else if (usable && nid == NID_organizationName &&
                   peer->organizations_len < TLS_GROUPS_MAX) {
            peer->organizations[peer->organizations_len++] = text;
        } else {
            /* Two names, a NUL, too many groups: nothing to guess about. */
            free(text);
            return -EACCES;
        }
    }
    return peer->common_name ? 0 : -EACCES;
}

int tls_peer_read(const struct tls *tls, const struct tls_context *context, struct tls_peer *ret)
{
    X509 *leaf = SSL_get0_peer_certificate(tls->ssl);
    if (!leaf || !context->client_ca)
        return -ENOENT;
    if (!verify(context->client_ca, leaf, SSL_get_peer_cert_chain(tls->ssl)))
        return -EACCES;
    struct tls_peer peer = {0};
    int r = read_subject(X509_get_subject_name(leaf), &peer);
    if (r < 0) {
        tls_peer_free(&peer);
        return r;
    }
    *ret = peer;
    return 0;
}

void tls_peer_free(struct tls_peer *peer)
{
    free(peer->common_name);
    for (size_t i = 0; i < peer->organizations_len; i++)
        free(peer->organizations[i]);
    *peer = (struct tls_peer){0};
}
