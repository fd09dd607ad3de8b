/* For whom an aggregator asks (contract 6.3): its certificate is proved by the TLS handshake, the
 * user stands in headers whose names the ConfigMap kube-system/extension-apiserver-authentication
 * gives. Pure but for allocation; no I/O. Called by server*.c and provider/scaler/. */
#pragma once

#include <stddef.h>

struct auth_user;
struct err;
struct head;
struct json;

#define FRONT_PROXY_LIST_MAX 16
#define FRONT_PROXY_GROUPS_MAX 256 /* of one user */
#define FRONT_PROXY_EXTRA_MAX 64

struct front_proxy_list {
    char *items[FRONT_PROXY_LIST_MAX];
    size_t len;
};

/* Header names in lower case. */
struct front_proxy {
    char *ca_pem;
    struct front_proxy_list names; /* common names; none: any certificate of the CA */
    struct front_proxy_list user_headers;
    struct front_proxy_list uid_headers;
    struct front_proxy_list group_headers;
    struct front_proxy_list extra_prefixes;
};

/* From the ConfigMap object. -ENOENT: it has no requestheader CA (the API server runs without
 * aggregation); -EBADMSG: one of its lists is no JSON list of strings. The text says which. */
int front_proxy_parse(const struct json *config_map, struct front_proxy **ret, struct err *err);
void front_proxy_free(struct front_proxy *proxy); /* NULL is accepted */

/* The user that the proxy of this common name speaks for; NULL: it may not, or names nobody. */
struct auth_user *front_proxy_user(const struct front_proxy *proxy, const char *common_name,
                                   const struct head *head);
