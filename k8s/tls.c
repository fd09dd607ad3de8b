/* TLS contexts and the byte stream. TLS 1.2 at least, ALPN http/1.1, no renegotiation and no
 * session resumption: who the peer is must come from this handshake. The socket's BIO is ours
 * because OpenSSL's own writes raise SIGPIPE. */
#include "k8s/tls_priv.h"

#include "base/err.h"
#include "base/str.h"
#include "k8s/x509.h"
#include "k8s/x509_priv.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

static int sock_write(BIO *bio, const char *data, int len)
{
    const struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = send(tls->fd, data, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)n;
}

static int sock_read(BIO *bio, char *data, int len)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = recv(tls->fd, data, (size_t)len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    tls->eof = n == 0;
    return (int)n;
}

static long sock_ctrl(BIO *bio, int what, long number, void *pointer)
{
    const struct tls *tls = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    if (what == BIO_CTRL_EOF)
        return tls->eof;
    return what == BIO_CTRL_FLUSH ? 1 : 0;
}

static int choose_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                       const unsigned char *offered, unsigned offered_len, void *userdata)
{
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)userdata;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, ret_len, ours, sizeof(ours) - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* The handshake proves that the peer has the key; whether the certificate is good is asked for each
 * request, against the CA of that moment, and a bad one is a 401 rather than a broken handshake. */
static int accept_any(X509_STORE_CTX *store, void *userdata)
{
    (void)store;
    (void)userdata;
    return 1;
}

static int use_certificate(struct tls_context *context, const char *cert_pem, const char *key_pem,
                           struct err *err)
{
    CLEANUP(x509_list) STACK_OF(X509) *chain = x509_chain(cert_pem, X509_CHAIN_MAX, err);
    if (!chain)
        return -EBADMSG;
    CLEANUP(pkey) EVP_PKEY *key = x509_key(key_pem, err);
    if (!key)
        return -EBADMSG;
    X509 *leaf = sk_X509_value(chain, 0);
    if (X509_check_private_key(leaf, key) != 1)
        return x509_fail(err, -EKEYREJECTED, "the key is not the certificate's");
    if (SSL_CTX_use_certificate(context->ssl, leaf) != 1 ||
        SSL_CTX_use_PrivateKey(context->ssl, key) != 1)
        return x509_fail(err, -EBADMSG, "the certificate is not usable for TLS");
    for (int i = 1; i < sk_X509_num(chain); i++) {
        if (SSL_CTX_add1_chain_cert(context->ssl, sk_X509_value(chain, i)) != 1)
            return x509_fail(err, -EBADMSG, "the certificate's chain is not usable");
    }
    return 0;
}

static int use_client_ca(struct tls_context *context, const char *pem, struct err *err)
{
    CLEANUP(x509_list) STACK_OF(X509) *certs = x509_chain(pem, TLS_CA_CERTS_MAX, err);
    if (!certs)
        return err_wrap(err, "client CA");
    context->client_ca = X509_STORE_new();
    if (!context->client_ca)
        abort();
    for (int i = 0; i < sk_X509_num(certs); i++) {
        X509 *cert = sk_X509_value(certs, i);
        if (X509_STORE_add_cert(context->client_ca, cert) != 1 ||
            SSL_CTX_add_client_CA(context->ssl, cert) != 1)
            return x509_fail(err, -EBADMSG, "client CA: a certificate is not usable");
    }
    SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(context->ssl, accept_any, NULL);
    return 0;
}

static int set_up(struct tls_context *context, struct err *err)
{
    context->ssl = SSL_CTX_new(TLS_server_method());
    context->bio = BIO_meth_new(BIO_TYPE_START | BIO_TYPE_SOURCE_SINK, "socket");
    if (!context->ssl || !context->bio)
        abort();
    BIO_meth_set_write(context->bio, sock_write);
    BIO_meth_set_read(context->bio, sock_read);
    BIO_meth_set_ctrl(context->bio, sock_ctrl);
    SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                          SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                       SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(context->ssl, choose_alpn, NULL);
    if (SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(context->ssl, 0) != 1 ||
        SSL_CTX_set_cipher_list(context->ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
        return x509_fail(err, -EIO, "cannot set TLS up");
    return 0;
}

int tls_context_new(const char *cert_pem, const char *key_pem, const char *client_ca_pem,
                    struct tls_context **ret, struct err *err)
{
    struct tls_context *context = xcalloc(1, sizeof(*context));
    context->refs = 1;
    int r = set_up(context, err);
    if (r == 0)
        r = use_certificate(context, cert_pem, key_pem, err);
    if (r == 0 && client_ca_pem)
        r = use_client_ca(context, client_ca_pem, err);
    if (r < 0) {
        tls_context_unref(context);
        return r;
    }
    *ret = context;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    context->refs++;
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (!context || --context->refs)
        return;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio);
    X509_STORE_free(context->client_ca);
    free(context);
}

struct tls *tls_accept(struct tls_context *context, int fd)
{
    struct tls *tls = xcalloc(1, sizeof(*tls));
    tls->context = tls_context_ref(context);
    tls->fd = fd;
    tls->ssl = SSL_new(context->ssl);
    BIO *bio = BIO_new(context->bio);
    if (!tls->ssl || !bio)
        abort();
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_accept_state(tls->ssl);
    return tls;
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    tls_context_unref(tls->context);
    free(tls);
}

/* What a call of OpenSSL that did not succeed means. 0: the end of the stream. */
static int outcome(struct tls *tls, int result)
{
    int error = SSL_get_error(tls->ssl, result);
    ERR_clear_error();
    tls->wants_write = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    tls->failed = true;
    return error == SSL_ERROR_SYSCALL ? -ECONNRESET : -EPROTO;
}

int tls_handshake(struct tls *tls)
{
    if (tls->failed)
        return -EPROTO;
    ERR_clear_error();
    int ok = SSL_do_handshake(tls->ssl);
    if (ok == 1) {
        tls->wants_write = false;
        return 0;
    }
    int r = outcome(tls, ok);
    return r == 0 ? -ECONNRESET : r;
}

ssize_t tls_read(struct tls *tls, void *data, size_t len)
{
    if (tls->failed)
        return -EPROTO;
    ERR_clear_error();
    size_t n = 0;
    int ok = SSL_read_ex(tls->ssl, data, len, &n);
    return ok == 1 ? (ssize_t)n : outcome(tls, ok);
}

ssize_t tls_write(struct tls *tls, const void *data, size_t len)
{
    if (tls->failed)
        return -EPROTO;
    ERR_clear_error();
    size_t n = 0;
    int ok = SSL_write_ex(tls->ssl, data, len, &n);
    if (ok == 1)
        return (ssize_t)n;
    int r = outcome(tls, ok);
    return r == 0 ? -ECONNRESET : r;
}

bool tls_wants_write(const struct tls *tls)
{
    return tls->wants_write;
}

void tls_goodbye(struct tls *tls)
{
    if (tls->failed || !SSL_is_init_finished(tls->ssl))
        return;
    ERR_clear_error();
    (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
}
