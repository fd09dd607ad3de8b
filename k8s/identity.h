/* The node's own identity (contract 1.2, 1.6): client certificate by CSR from bootstrap
 * credentials, serving certificate by CSR or self-signed, both renewed when 70-90 % of their
 * life has passed. */
#pragma once

#include "k8s/kubeconfig.h"

#include <stdbool.h>

struct kube_client;
struct uv_loop_s;
struct identity;

struct identity_config {
    const char *node_name;
    const char *dir; /* holds node-client.pem and node-serving.pem, 0600 */
    /* Bootstrap credentials: used only to create CSRs, and only while there is no valid identity to
     * do it with. Its server, CA and proxy are the identity's too. NULL: the client certificate was
     * given by the user, only the serving part is done. */
    const struct kube_config *bootstrap;
    bool want_serving_csr; /* else self-signed only */
    const char *const *serving_ips;
    size_t serving_ips_len;
    const char *const *serving_names;
    size_t serving_names_len;
};

struct identity_ops {
    /* A usable client certificate: at the start, and after each renewal. config is complete. */
    void (*on_client)(void *userdata, const struct kube_config *config);
    /* A serving certificate (PEM chain, key); self_signed while the CSR waits for approval. */
    void (*on_serving)(void *userdata, const char *cert_pem, const char *key_pem, bool self_signed);
    /* What is being waited for, for people: "CSR csr-x waits for approval". May come from inside
     * of a client's callback: call nothing of identity here. */
    void (*on_note)(void *userdata, const char *text);
};

/* Starts; calls back from the loop, never before it returned. What config points to is copied.
 * Fails only when dir cannot be made; everything later is told by on_note and tried again. */
int identity_start(struct uv_loop_s *loop, const struct identity_config *config,
                   const struct identity_ops *ops, void *userdata, struct identity **ret,
                   struct err *err);
/* The client that serving CSRs go through, once there is one. NULL before that client is freed. */
void identity_set_client(struct identity *identity, struct kube_client *client);
/* Other bootstrap credentials, server or CA: for what is asked next, and for the identity held. */
void identity_set_bootstrap(struct identity *identity, const struct kube_config *bootstrap);
/* The Node's addresses or names changed: a new CSR when wanted, and meanwhile what is there goes on
 * serving; else a new self-signed certificate. */
void identity_set_serving_names(struct identity *identity, const char *const *ips, size_t ips_len,
                                const char *const *names, size_t names_len);
/* NULL is accepted; no callback afterwards. The loop must run on for the handles to close. */
void identity_stop(struct identity *identity);
