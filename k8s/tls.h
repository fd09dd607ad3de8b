/* The server side of TLS on a non-blocking socket: no loop, no HTTP. A context is one
 * certificate and one client CA and never changes: a swap makes a new one, live connections keep
 * theirs. Called by server*.c only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct tls;
struct tls_context;

#define TLS_CA_CERTS_MAX 256
#define TLS_GROUPS_MAX 32

/* client_ca_pem NULL: clients are not asked for certificates. */
int tls_context_new(const char *cert_pem, const char *key_pem, const char *client_ca_pem,
                    struct tls_context **ret, struct err *err);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); /* NULL is accepted */

/* fd stays the caller's. */
struct tls *tls_accept(struct tls_context *context, int fd);
void tls_free(struct tls *tls); /* NULL is accepted */

/* 0: done. -EAGAIN: wait until the socket is readable, or writable when tls_wants_write says so.
 * Anything else: the connection is of no more use. */
int tls_handshake(struct tls *tls);
/* > 0: bytes. 0: the peer will send no more. Negative as above. */
ssize_t tls_read(struct tls *tls, void *data, size_t len);
ssize_t tls_write(struct tls *tls, const void *data, size_t len);
bool tls_wants_write(const struct tls *tls);
/* Says goodbye once; does not wait for the answer. */
void tls_goodbye(struct tls *tls);

/* Who the peer's certificate says it is. Malloc'd. */
struct tls_peer {
    char *common_name;
    char *organizations[TLS_GROUPS_MAX];
    size_t organizations_len;
};

/* 0: the peer holds a certificate that is valid now under the client CA of `context`, which may
 * be newer than the connection's own. -ENOENT: it sent none, or none are accepted. -EACCES: it
 * sent one that does not hold, or without a usable common name. */
int tls_peer_read(const struct tls *tls, const struct tls_context *context, struct tls_peer *ret);
void tls_peer_free(struct tls_peer *peer);
