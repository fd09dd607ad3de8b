/* Making keys, certificate requests and self-signed certificates. Usages as the signers of
 * contract 1.6 want them: digital signature only, for an elliptic-curve key encrypts nothing. */
#include "k8s/x509.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "k8s/x509_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <string.h>

#define SAN_TEXT_MAX 16384
#define BACKDATE_SECONDS 300 /* clocks of a cluster differ a little */

int x509_key_new(char **ret_key_pem, struct err *err)
{
    CLEANUP(pkey) EVP_PKEY *key = EVP_EC_gen("P-256");
    CLEANUP(bio) BIO *bio = BIO_new(BIO_s_mem());
    if (!key || !bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return x509_fail(err, -EIO, "cannot make a key");
    *ret_key_pem = x509_bio_text(bio);
    return 0;
}

/* A plain UTF-8 string: the MBSTRING kinds cut common names at 64 bytes, node names may be
 * longer. */
static int add_entry(X509_NAME *name, const char *field, const char *value)
{
    if (!value)
        return 0;
    int ok = X509_NAME_add_entry_by_txt(name, field, V_ASN1_UTF8STRING,
                                        (const unsigned char *)value, -1, -1, 0);
    return ok == 1 ? 0 : -EINVAL;
}

static int fill_name(X509_NAME *name, const struct x509_subject *subject)
{
    int r = add_entry(name, "O", subject->organization);
    return r < 0 ? r : add_entry(name, "CN", subject->common_name);
}

/* Names come from the configuration and go through OpenSSL's little language: only what a DNS
 * name or an address may hold is let through. */
static int san_text(const struct x509_subject *subject, struct buf *out, struct err *err)
{
    if (subject->ips_len + subject->names_len > X509_SANS_MAX)
        return err_spec(err, -EINVAL, "more than %d names for one certificate", X509_SANS_MAX);
    for (size_t i = 0; i < subject->names_len; i++) {
        const char *name = subject->names[i];
        size_t len = strlen(name);
        if (len == 0 || len > 253 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != len)
            return err_spec(err, -EINVAL, "\"%s\" is no DNS name for a certificate", name);
        if (buf_addf(out, "%sDNS:%s", out->len ? "," : "", name) < 0)
            return err_spec(err, -EINVAL, "the names are too long together");
    }
    for (size_t i = 0; i < subject->ips_len; i++) {
        unsigned char bytes[16];
        const char *ip = subject->ips[i];
        if (inet_pton(AF_INET, ip, bytes) != 1 && inet_pton(AF_INET6, ip, bytes) != 1)
            return err_spec(err, -EINVAL, "\"%s\" is no IP address", ip);
        if (buf_addf(out, "%sIP:%s", out->len ? "," : "", ip) < 0)
            return err_spec(err, -EINVAL, "the names are too long together");
    }
    return 0;
}

static int push_ext(STACK_OF(X509_EXTENSION) * list, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    if (!ext || sk_X509_EXTENSION_push(list, ext) <= 0) {
        X509_EXTENSION_free(ext);
        return -EINVAL;
    }
    return 0;
}

int x509_csr(const char *key_pem, const struct x509_subject *subject, char **ret_csr_pem,
             struct err *err)
{
    CLEANUP(pkey) EVP_PKEY *key = x509_key(key_pem, err);
    if (!key)
        return -EBADMSG;
    CLEANUP(buf) struct buf sans = BUF_INIT(SAN_TEXT_MAX);
    int r = san_text(subject, &sans, err);
    if (r < 0)
        return r;
    CLEANUP(x509_req) X509_REQ *req = X509_REQ_new();
    CLEANUP(extensions) STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
    CLEANUP(bio) BIO *bio = BIO_new(BIO_s_mem());
    if (!req || !list || !bio)
        abort();
    if (fill_name(X509_REQ_get_subject_name(req), subject) < 0)
        return x509_fail(err, -EINVAL, "the certificate's subject is not usable");
    if (sans.len && (push_ext(list, NID_subject_alt_name, sans.data) < 0 ||
                     X509_REQ_add_extensions(req, list) != 1))
        return x509_fail(err, -EINVAL, "cannot put the names into a certificate request");
    if (X509_REQ_set_version(req, 0) != 1 || X509_REQ_set_pubkey(req, key) != 1 ||
        X509_REQ_sign(req, key, EVP_sha256()) <= 0 || PEM_write_bio_X509_REQ(bio, req) != 1)
        return x509_fail(err, -EIO, "cannot make a certificate request");
    *ret_csr_pem = x509_bio_text(bio);
    return 0;
}

static int add_exts(X509 *cert, STACK_OF(X509_EXTENSION) * list, const char *sans)
{
    if (push_ext(list, NID_basic_constraints, "critical,CA:FALSE") < 0 ||
        push_ext(list, NID_key_usage, "critical,digitalSignature") < 0 ||
        push_ext(list, NID_ext_key_usage, "serverAuth") < 0 ||
        (*sans && push_ext(list, NID_subject_alt_name, sans) < 0))
        return -EINVAL;
    for (int i = 0; i < sk_X509_EXTENSION_num(list); i++) {
        if (X509_add_ext(cert, sk_X509_EXTENSION_value(list, i), -1) != 1)
            return -EINVAL;
    }
    return 0;
}

static int set_serial(X509 *cert)
{
    uint64_t serial;
    if (RAND_bytes((unsigned char *)&serial, sizeof(serial)) != 1)
        return -EIO;
    return ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1 | 1) == 1 ? 0 : -EIO;
}

int x509_self_signed(const char *key_pem, const struct x509_subject *subject, int64_t now_ms,
                     int days, char **ret_cert_pem, struct err *err)
{
    CLEANUP(pkey) EVP_PKEY *key = x509_key(key_pem, err);
    if (!key)
        return -EBADMSG;
    CLEANUP(buf) struct buf sans = BUF_INIT(SAN_TEXT_MAX);
    int r = san_text(subject, &sans, err);
    if (r < 0)
        return r;
    CLEANUP(x509) X509 *cert = X509_new();
    CLEANUP(extensions) STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
    CLEANUP(bio) BIO *bio = BIO_new(BIO_s_mem());
    if (!cert || !list || !bio)
        abort();
    time_t now = (time_t)(now_ms / 1000);
    if (fill_name(X509_get_subject_name(cert), subject) < 0 ||
        X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1)
        return x509_fail(err, -EINVAL, "the certificate's subject is not usable");
    if (X509_set_version(cert, 2) != 1 || set_serial(cert) < 0 ||
        !ASN1_TIME_set(X509_getm_notBefore(cert), now - BACKDATE_SECONDS) ||
        !ASN1_TIME_set(X509_getm_notAfter(cert), now + (time_t)days * 86400) ||
        X509_set_pubkey(cert, key) != 1 || add_exts(cert, list, buf_str(&sans)) < 0 ||
        X509_sign(cert, key, EVP_sha256()) <= 0 || PEM_write_bio_X509(bio, cert) != 1)
        return x509_fail(err, -EIO, "cannot make a self-signed certificate");
    *ret_cert_pem = x509_bio_text(bio);
    return 0;
}
