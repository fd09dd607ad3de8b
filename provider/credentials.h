/* Who the agent is towards the API server, and the serving certificate that was given, as the
 * configuration's files say: at start, and whenever somebody replaces them. Certificates that the
 * agent asks for itself are k8s/identity's. Called by startup. */
#pragma once

#include "k8s/kubeconfig.h"

#include <stdbool.h>

struct agent;
struct credentials;
struct err;

struct credentials_ops {
    /* The kubeconfig, bootstrap kubeconfig or ServiceAccount says something else than before. A
     * negative return: refused, see err, and not told again before the next change. */
    int (*on_kube)(struct agent *agent, const struct kube_config *kube, struct err *err);
    int (*on_serving)(struct agent *agent, const char *cert_pem, const char *key_pem,
                      struct err *err);
};

/* Reads what the configuration names. ret_bootstrap: only good for certificate requests. */
int credentials_load(const struct agent *agent, struct kube_config *ret, bool *ret_bootstrap,
                     struct err *err);
int credentials_read_pem(const char *path, char **ret, struct err *err);
/* Looks again every CREDENTIALS_MS. kube is what credentials_load gave. */
#define CREDENTIALS_MS 10000u
struct credentials *credentials_watch(struct agent *agent, const struct kube_config *kube,
                                      const struct credentials_ops *ops);
void credentials_stop(struct credentials *credentials); /* NULL is accepted */
