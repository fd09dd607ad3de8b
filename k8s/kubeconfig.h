/* Where the API server is and who we are: kubeconfig file, in-cluster ServiceAccount (contract
 * 0). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

/* Members are malloc'd; NULL: not given. PEM data is held in memory, read from files when named. */
struct kube_config {
    char *server; /* https://host:port */
    char *ca_pem;
    char *cert_pem; /* client certificate chain and key */
    char *key_pem;
    char *token;
    char *token_file; /* re-read at least every minute */
    char *tls_server_name;
    char *proxy_url;
    int insecure; /* insecure-skip-tls-verify */
};

int kube_config_load(const char *path, struct kube_config *ret, struct err *err);
/* -ENOENT when not in a cluster. */
int kube_config_in_cluster(struct kube_config *ret, struct err *err);
/* The same from a directory with token and ca.crt, and the API server's address. */
int kube_config_from_dir(const char *dir, const char *host, const char *port,
                         struct kube_config *ret, struct err *err);
/* to is overwritten, not freed. */
void kube_config_copy(const struct kube_config *from, struct kube_config *to);
bool kube_config_equal(const struct kube_config *a, const struct kube_config *b);
void kube_config_free(struct kube_config *config); /* frees the members */
