/* OpenSSL's objects shared by x509*.c and tls*.c only. */
#pragma once

#include "base/cleanup.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

struct err;

static inline void cleanup_bio(BIO **bio)
{
    BIO_free(*bio);
}

static inline void cleanup_pkey(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static inline void cleanup_x509(X509 **cert)
{
    X509_free(*cert);
}

static inline void cleanup_x509_req(X509_REQ **req)
{
    X509_REQ_free(*req);
}

static inline void cleanup_x509_list(STACK_OF(X509) * *certs)
{
    sk_X509_pop_free(*certs, X509_free);
}

static inline void cleanup_extensions(STACK_OF(X509_EXTENSION) * *list)
{
    sk_X509_EXTENSION_pop_free(*list, X509_EXTENSION_free);
}

static inline void cleanup_sans(GENERAL_NAMES **names)
{
    GENERAL_NAMES_free(*names);
}

/* err gets "what: OpenSSL's first reason"; OpenSSL's queue is emptied. Returns code. */
int x509_fail(struct err *err, int code, const char *what);
/* The certificates of a PEM text, at least one and nothing else; owned by the caller. NULL: err. */
STACK_OF(X509) * x509_chain(const char *pem, size_t certs_max, struct err *err);
EVP_PKEY *x509_key(const char *key_pem, struct err *err);
/* A buffer's text, malloc'd. */
char *x509_bio_text(BIO *bio);
/* malloc'd UTF-8; NULL when it holds a NUL or cannot be converted. */
char *x509_text(const ASN1_STRING *string);
