/* Users as TokenReview and SubjectAccessReview write them. Inside of auth*.c. */
#pragma once

#include "k8s/auth.h"

#include <sys/types.h>

struct buf;

struct auth_user *auth_user_copy(const struct auth_user *user);
/* The body of a TokenReview; of a SubjectAccessReview. */
void auth_user_token_review(const char *token, struct buf *out);
void auth_user_access_review(const struct auth_user *user, const char *node, const char *verb,
                             const char *subresource, struct buf *out);
/* The same about a resource of any group, or a path (auth_attributes without subresources). */
void auth_user_review_attributes(const struct auth_user *user, const struct auth_attributes *at,
                                 struct buf *out);
/* 0 and the user; -EACCES: the token is nobody's; -EBADMSG: no usable TokenReview. */
int auth_user_from_review(const char *body, size_t len, struct auth_user **ret);
/* 1 allowed, 0 not, -EBADMSG no usable SubjectAccessReview. */
int auth_user_allowed(const char *body, size_t len);

#define AUTH_BODY_MAX 65536
