/* Inside of identity*.c. identity.c is what others call; identity_part.c moves one certificate
 * (client or serving) from key to request to certificate to renewal. */
#pragma once

#include "k8s/auth_calls.h"
#include "k8s/identity.h"
#include "k8s/identity_csr.h"
#include "k8s/identity_store.h"
#include "k8s/x509.h"

#include <uv.h>

#define PART_BACKOFF_MS 2000 /* doubles to the maximum, with a quarter of jitter */
#define PART_BACKOFF_MS_MAX 32000
#define PART_REFUSED_MS 300000     /* after "Denied": a new request right away would only annoy */
#define PART_ATTEMPT_MS_MAX 900000 /* then the request is looked up, or made, again */
#define PART_LOOK_MS_MAX 3600000   /* wall clocks are set and machines sleep: look again */
#define SELF_SIGNED_DAYS 365

struct part_kind {
    const char *what; /* for notes */
    const char *file, *key_file;
    const char *csr_prefix, *signer, *usage;
    bool serving;
};

enum part_state {
    PART_OFF,
    PART_START,   /* the first turn of the loop loads what is stored */
    PART_HELD,    /* has a certificate; waits until it is time to renew */
    PART_CLIENT,  /* needs a client to ask with */
    PART_ASKING,  /* a CSR is under way */
    PART_BACKOFF, /* waits for the next try */
};

struct part {
    struct identity *identity;
    const struct part_kind *kind;
    enum part_state state;
    uv_timer_t timer;
    struct store_pair pair; /* cert_pem NULL: none */
    bool self_signed;
    int64_t renew_at_ms; /* unix */
    uint32_t backoff_ms;
    bool self_refused; /* asking as itself was not enough: use the bootstrap credentials */
    char *key_pem;     /* of the request under way */
    struct csr *csr;
    struct kube_client *client; /* opened for this request; the client part only */
};

struct identity {
    uv_loop_t *loop;
    const struct auth_calls *calls;
    struct identity_ops ops;
    void *userdata;
    char *dir;
    char *common_name; /* system:node:<name> */
    struct kube_config bootstrap;
    bool has_bootstrap;
    bool want_serving_csr;
    char **ips, **names;
    size_t ips_len, names_len;
    struct kube_client *client; /* of the owner, for serving CSRs */
    struct part parts[2];       /* client, serving */
    unsigned handles;
    bool stopped;
};

/* identity_start with another table of calls: for tests. */
int identity_start_with(struct uv_loop_s *loop, const struct auth_calls *calls,
                        const struct identity_config *config, const struct identity_ops *ops,
                        void *userdata, struct identity **ret, struct err *err);

/* The subject that certificates of this part have. */
void identity_subject(const struct part *part, struct x509_subject *ret);
void identity_note(struct identity *identity, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A new certificate: tells the owner. */
void identity_tell(struct part *part);
/* The identity as a configuration; free it. */
void identity_kube_config(const struct identity *identity, struct kube_config *ret);

void part_start(struct part *part);
void part_stop(struct part *part); /* the timer stays open */
/* Drops a request under way and begins again with what holds now. */
void part_again(struct part *part);
