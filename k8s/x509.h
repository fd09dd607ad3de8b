/* Keys, certificate requests and certificates as PEM text, by OpenSSL: what identity.c and the
 * tests need, no more. No I/O, no clock of its own beyond "now" given. Loading accepts anything
 * from outside and is fuzzed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define X509_PEM_MAX (256 * 1024)
#define X509_CHAIN_MAX 16
#define X509_SANS_MAX 64

struct x509_subject {
    const char *organization; /* NULL: none */
    const char *common_name;
    const char *const *ips;
    size_t ips_len;
    const char *const *names;
    size_t names_len;
};

struct x509_info {
    char *common_name; /* malloc'd; "" when there is none */
    int64_t not_before_ms;
    int64_t not_after_ms;
};

/* A new ECDSA P-256 key, PKCS#8 PEM, malloc'd: wipe it with x509_key_free. */
int x509_key_new(char **ret_key_pem, struct err *err);
void x509_key_free(char *key_pem); /* wiped first; NULL is accepted */
/* SHA-256 of the public key (SubjectPublicKeyInfo), 64 hex digits and a NUL. */
int x509_key_hash(const char *key_pem, char hex[65], struct err *err);

/* PKCS#10, signed by the key. */
int x509_csr(const char *key_pem, const struct x509_subject *subject, char **ret_csr_pem,
             struct err *err);
/* For serving until a signed one is there; valid from five minutes ago for `days`. */
int x509_self_signed(const char *key_pem, const struct x509_subject *subject, int64_t now_ms,
                     int days, char **ret_cert_pem, struct err *err);

/* Reads the first certificate and checks that all of the text is a chain. -EBADMSG otherwise. */
int x509_read(const char *cert_pem, struct x509_info *ret, struct err *err);
void x509_info_free(struct x509_info *info);
/* 0, or -EKEYREJECTED when the first certificate is not for this key. */
int x509_check_pair(const char *cert_pem, const char *key_pem, struct err *err);
/* Whether the first certificate names exactly these addresses and names, in any order. */
bool x509_has_sans(const char *cert_pem, const struct x509_subject *subject);
