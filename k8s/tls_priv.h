/* Inside of tls*.c. */
#pragma once

#include "k8s/tls.h"

#include <openssl/ssl.h>

struct tls_context {
    unsigned refs;
    SSL_CTX *ssl;
    BIO_METHOD *bio;       /* outlives the SSL_CTX's own references: connections use it */
    X509_STORE *client_ca; /* NULL: no client certificates */
};

struct tls {
    struct tls_context *context;
    SSL *ssl;
    int fd;
    bool wants_write;
    bool eof;
    bool failed; /* OpenSSL forbids further calls after a fatal error */
};
