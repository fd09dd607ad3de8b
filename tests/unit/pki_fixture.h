/* A certificate authority for tests: signs what x509_csr made. Blocking, in memory, no files. */
#pragma once

#include "base/str.h"
#include "k8s/x509.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct pki {
    EVP_PKEY *key;
    X509 *cert;
    char *ca_pem;
};

static inline char *pki_text(BIO *bio)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *text = xstrndup(data, (size_t)len);
    BIO_free(bio);
    return text;
}

static inline void pki_ext(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

static inline void pki_init(struct pki *pki, const char *name)
{
    pki->key = EVP_EC_gen("P-256");
    pki->cert = X509_new();
    X509_set_version(pki->cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(pki->cert), 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(pki->cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(pki->cert, X509_get_subject_name(pki->cert));
    X509_gmtime_adj(X509_getm_notBefore(pki->cert), -300);
    X509_gmtime_adj(X509_getm_notAfter(pki->cert), 86400);
    X509_set_pubkey(pki->cert, pki->key);
    pki_ext(pki->cert, NID_basic_constraints, "critical,CA:TRUE");
    pki_ext(pki->cert, NID_key_usage, "critical,keyCertSign,cRLSign");
    X509_sign(pki->cert, pki->key, EVP_sha256());
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, pki->cert);
    pki->ca_pem = pki_text(bio);
}

static inline void pki_done(struct pki *pki)
{
    EVP_PKEY_free(pki->key);
    X509_free(pki->cert);
    free(pki->ca_pem);
}

/* usage: "clientAuth" or "serverAuth". Times in seconds from now. Malloc'd PEM. */
static inline char *pki_sign(const struct pki *pki, const char *csr_pem, const char *usage,
                             long from, long until)
{
    BIO *in = BIO_new_mem_buf(csr_pem, -1);
    X509_REQ *req = PEM_read_bio_X509_REQ(in, NULL, NULL, NULL);
    BIO_free(in);
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    static long serial = 100;
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
    X509_set_subject_name(cert, X509_REQ_get_subject_name(req));
    X509_set_issuer_name(cert, X509_get_subject_name(pki->cert));
    X509_gmtime_adj(X509_getm_notBefore(cert), from);
    X509_gmtime_adj(X509_getm_notAfter(cert), until);
    EVP_PKEY *key = X509_REQ_get_pubkey(req);
    X509_set_pubkey(cert, key);
    EVP_PKEY_free(key);
    pki_ext(cert, NID_ext_key_usage, usage);
    STACK_OF(X509_EXTENSION) *exts = X509_REQ_get_extensions(req);
    for (int i = 0; exts && i < sk_X509_EXTENSION_num(exts); i++)
        X509_add_ext(cert, sk_X509_EXTENSION_value(exts, i), -1);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    X509_sign(cert, pki->key, EVP_sha256());
    BIO *out = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(out, cert);
    X509_free(cert);
    X509_REQ_free(req);
    return pki_text(out);
}

/* A key and a certificate for it. Both malloc'd. */
static inline void pki_issue(const struct pki *pki, const struct x509_subject *subject,
                             const char *usage, long from, long until, char **ret_cert,
                             char **ret_key)
{
    char *csr = NULL;
    if (x509_key_new(ret_key, NULL) < 0 || x509_csr(*ret_key, subject, &csr, NULL) < 0)
        abort();
    *ret_cert = pki_sign(pki, csr, usage, from, until);
    free(csr);
}
