/* One CertificateSigningRequest from POST to certificate (contract 1.6). Knows neither files nor
 * keys; does not try again by itself: identity.c decides that. Inside of identity*.c. */
#pragma once

#include "k8s/auth_calls.h"

struct csr;

enum csr_end {
    CSR_SIGNED,  /* text: the PEM chain */
    CSR_REFUSED, /* denied or failed: the same request would be so again. text: why */
    CSR_BROKEN,  /* could not be asked for, or is gone. text: why */
};

struct csr_config {
    const char *name;
    const char *signer;
    const char *usage; /* beside "digital signature" */
    const char *request_pem;
};

struct csr_ops {
    /* Last; csr_free from inside is fine. Comes from a turn of the loop of its own. */
    void (*on_end)(void *userdata, enum csr_end end, const char *text);
    void (*on_note)(void *userdata, const char *text);
};

/* The client must outlive it. */
struct csr *csr_start(struct uv_loop_s *loop, const struct auth_calls *calls,
                      struct kube_client *client, const struct csr_config *config,
                      const struct csr_ops *ops, void *userdata);
void csr_free(struct csr *csr); /* NULL is accepted; no callback afterwards */
