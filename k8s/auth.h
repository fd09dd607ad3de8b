/* Who asks, and may they: client certificate, TokenReview or anonymous; then SubjectAccessReview
 * on the own Node with the kubelet's subresources (contract 5.1). Never lets anybody through
 * because something could not be asked. Called by server*.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct auth;
struct auth_calls;
struct auth_check;
struct kube_client;

#define AUTH_TEXT_MAX 512
#define AUTH_TOKEN_TTL_MS (2 * 60 * 1000)
#define AUTH_BAD_TOKEN_TTL_MS (10 * 1000) /* short: a token may become valid */
#define AUTH_ALLOWED_TTL_MS (5 * 60 * 1000)
#define AUTH_DENIED_TTL_MS (30 * 1000)
#define AUTH_TOKENS_MAX 1024
#define AUTH_BAD_TOKENS_MAX 256 /* apart, so that guessing pushes no good token out */
#define AUTH_ACCESS_MAX 4096
#define AUTH_REVIEWS_MAX 64 /* at the API server at once */
#define AUTH_CHECKS_MAX 512 /* waiting for them */

/* Somebody with a name. Also what a TokenReview says. */
struct auth_user {
    char *name;
    char *uid; /* NULL: none */
    char **groups;
    size_t groups_len;
    char *extra_json; /* an object's text, NULL: none */
};

struct auth_user *auth_user_new(const char *name, const char *const *groups, size_t groups_len);
void auth_user_free(struct auth_user *user);

/* calls NULL: the real ones. */
struct auth *auth_new(struct kube_client *client, const struct auth_calls *calls,
                      const char *node_name, bool anonymous);
/* Checks under way are cancelled by their owners before. */
void auth_free(struct auth *auth);

struct auth_question {
    const struct auth_user *peer; /* from a verified client certificate; NULL: none */
    const char *authorization;    /* the header; NULL: none */
    const char *method;
    const char *path;
};

struct auth_verdict {
    int status; /* 200: go on; 401, 403, 429, 503: the answer, with text */
    char text[AUTH_TEXT_MAX];
};

typedef void (*auth_done)(void *userdata, const struct auth_verdict *verdict);

/* NULL: answered at once in *ret. Else done comes from the loop. Everything is copied. */
struct auth_check *auth_begin(struct auth *auth, const struct auth_question *question,
                              struct auth_verdict *ret, auth_done done, void *userdata);
void auth_cancel(struct auth_check *check); /* NULL is accepted; no callback afterwards */

#define AUTH_SUBRESOURCES_MAX 2

#define AUTH_RESOURCE_MAX 256 /* of a metric's or namespace's name */

/* What a request is to the authorizer; the first allowed subresource is enough. */
struct auth_attributes {
    const char *verb;
    const char *subresources[AUTH_SUBRESOURCES_MAX]; /* of the own Node */
    size_t subresources_len;
    /* Instead, with subresources_len 0: a resource of another group, or a path when group is "". */
    char group[AUTH_RESOURCE_MAX];
    char resource[AUTH_RESOURCE_MAX];
    char ns[AUTH_RESOURCE_MAX];
    char path[AUTH_TEXT_MAX];
};
/* Pure. */
typedef void (*auth_mapper)(const char *method, const char *path, struct auth_attributes *ret);
/* The kubelet's. */
void auth_map(const char *method, const char *path, struct auth_attributes *ret);
/* Another mapping than the kubelet's, before the first check. */
void auth_set_map(struct auth *auth, auth_mapper map);
