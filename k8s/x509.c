/* Reading keys and certificates. Passphrases are never asked for: a key that has one is refused. */
#include "k8s/x509.h"

#include "base/digest.h"
#include "base/err.h"
#include "base/str.h"
#include "k8s/x509_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

int x509_fail(struct err *err, int code, const char *what)
{
    unsigned long first = ERR_get_error();
    const char *reason = first ? ERR_reason_error_string(first) : NULL;
    ERR_clear_error();
    return err_set(err, code, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
}

static int no_password(char *text, int size, int writing, void *userdata)
{
    (void)text;
    (void)size;
    (void)writing;
    (void)userdata;
    return -1;
}

/* Each PEM block must be a certificate: a key in a CA file is a mistake worth telling. */
STACK_OF(X509) * x509_chain(const char *pem, size_t certs_max, struct err *err)
{
    size_t len = strlen(pem);
    if (len > X509_PEM_MAX) {
        err_set(err, -EFBIG, "the certificates are longer than %d bytes", X509_PEM_MAX);
        return NULL;
    }
    CLEANUP(bio) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    CLEANUP(x509_list) STACK_OF(X509) *certs = sk_X509_new_null();
    if (!bio || !certs)
        abort();
    for (;;) {
        X509 *cert = PEM_read_bio_X509(bio, NULL, no_password, NULL);
        if (!cert)
            break;
        if ((size_t)sk_X509_num(certs) == certs_max) {
            X509_free(cert);
            err_set(err, -EFBIG, "more than %zu certificates", certs_max);
            return NULL;
        }
        if (sk_X509_push(certs, cert) <= 0)
            abort();
    }
    unsigned long last = ERR_peek_last_error();
    bool at_end = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
    if (sk_X509_num(certs) == 0 || !at_end || strstr(pem, "PRIVATE KEY-----")) {
        x509_fail(err, -EBADMSG, "not a PEM certificate chain");
        return NULL;
    }
    ERR_clear_error();
    return TAKE(certs);
}

EVP_PKEY *x509_key(const char *key_pem, struct err *err)
{
    size_t len = strlen(key_pem);
    if (len > X509_PEM_MAX) {
        err_set(err, -EFBIG, "the key is longer than %d bytes", X509_PEM_MAX);
        return NULL;
    }
    CLEANUP(bio) BIO *bio = BIO_new_mem_buf(key_pem, (int)len);
    if (!bio)
        abort();
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    if (!key)
        x509_fail(err, -EBADMSG, "not a PEM private key");
    ERR_clear_error();
    return key;
}

char *x509_bio_text(BIO *bio)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    return xstrndup(data ? data : "", len > 0 ? (size_t)len : 0);
}

char *x509_text(const ASN1_STRING *string)
{
    unsigned char *utf8 = NULL;
    int len = string ? ASN1_STRING_to_UTF8(&utf8, string) : -1;
    if (len < 0) {
        ERR_clear_error();
        return NULL;
    }
    char *text = memchr(utf8, '\0', (size_t)len) ? NULL : xstrndup((char *)utf8, (size_t)len);
    OPENSSL_free(utf8);
    return text;
}

void x509_key_free(char *key_pem)
{
    if (key_pem)
        OPENSSL_cleanse(key_pem, strlen(key_pem));
    free(key_pem);
}

int x509_key_hash(const char *key_pem, char hex[65], struct err *err)
{
    CLEANUP(pkey) EVP_PKEY *key = x509_key(key_pem, err);
    if (!key)
        return -EBADMSG;
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    if (len <= 0)
        return x509_fail(err, -EBADMSG, "the key has no public half");
    digest_sha256_hex(der, (size_t)len, hex);
    OPENSSL_free(der);
    return 0;
}

static int64_t time_ms(const ASN1_TIME *time)
{
    struct tm tm;
    if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
        return -1;
    return (int64_t)timegm(&tm) * 1000;
}

int x509_read(const char *cert_pem, struct x509_info *ret, struct err *err)
{
    CLEANUP(x509_list) STACK_OF(X509) *chain = x509_chain(cert_pem, X509_CHAIN_MAX, err);
    if (!chain)
        return -EBADMSG;
    const X509 *cert = sk_X509_value(chain, 0);
    int64_t before = time_ms(X509_get0_notBefore(cert));
    int64_t after = time_ms(X509_get0_notAfter(cert));
    if (before < 0 || after <= before)
        return x509_fail(err, -EBADMSG, "the certificate's dates make no sense");
    const X509_NAME *name = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    char *text = NULL;
    if (at >= 0)
        text = x509_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    ret->common_name = text ? text : xstrdup("");
    ret->not_before_ms = before;
    ret->not_after_ms = after;
    return 0;
}

void x509_info_free(struct x509_info *info)
{
    free(info->common_name);
    *info = (struct x509_info){0};
}

int x509_check_pair(const char *cert_pem, const char *key_pem, struct err *err)
{
    CLEANUP(x509_list) STACK_OF(X509) *chain = x509_chain(cert_pem, X509_CHAIN_MAX, err);
    if (!chain)
        return -EBADMSG;
    CLEANUP(pkey) EVP_PKEY *key = x509_key(key_pem, err);
    if (!key)
        return -EBADMSG;
    if (X509_check_private_key(sk_X509_value(chain, 0), key) != 1)
        return x509_fail(err, -EKEYREJECTED, "the key is not the certificate's");
    return 0;
}

/* Both ways of writing an address give the same bytes; a name is compared as it is. */
static bool san_is(const GENERAL_NAME *san, const struct x509_subject *subject, size_t index)
{
    if (index < subject->names_len) {
        if (san->type != GEN_DNS)
            return false;
        CLEANUP(free) char *text = x509_text(san->d.dNSName);
        return text && str_eq(text, subject->names[index]);
    }
    unsigned char bytes[16];
    const char *ip = subject->ips[index - subject->names_len];
    int len = inet_pton(AF_INET, ip, bytes) == 1 ? 4 : inet_pton(AF_INET6, ip, bytes) == 1 ? 16 : 0;
    return san->type == GEN_IPADD && len && ASN1_STRING_length(san->d.iPAddress) == len &&
           memcmp(ASN1_STRING_get0_data(san->d.iPAddress), bytes, (size_t)len) == 0;
}

bool x509_has_sans(const char *cert_pem, const struct x509_subject *subject)
{
    CLEANUP(x509_list) STACK_OF(X509) *chain = x509_chain(cert_pem, X509_CHAIN_MAX, NULL);
    size_t want = subject->names_len + subject->ips_len;
    if (!chain)
        return false;
    CLEANUP(sans)
    GENERAL_NAMES *sans =
        X509_get_ext_d2i(sk_X509_value(chain, 0), NID_subject_alt_name, NULL, NULL);
    size_t have = sans ? (size_t)sk_GENERAL_NAME_num(sans) : 0;
    ERR_clear_error();
    if (have > X509_SANS_MAX)
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < want; i++) {
        bool found = false;
        for (size_t j = 0; !found && j < have; j++)
            found = san_is(sk_GENERAL_NAME_value(sans, (int)j), subject, i);
        ok = found;
    }
    for (size_t j = 0; ok && j < have; j++) {
        bool found = false;
        for (size_t i = 0; !found && i < want; i++)
            found = san_is(sk_GENERAL_NAME_value(sans, (int)j), subject, i);
        ok = found;
    }
    return ok;
}
