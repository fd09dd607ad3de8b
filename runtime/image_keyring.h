/* Registry credentials as containers' users write them: ~/.docker/config.json, which Secrets of
 * type kubernetes.io/dockerconfigjson hold, the older .dockercfg, and what credential provider
 * plugins answer. Which of them are for an image is the kubelet's rule (its
 * pkg/credentialprovider): host by host label with * and ?, the same port, a path that the image's
 * begins with; the longest first. Pure but for memory, which is wiped. */
#pragma once

#include "runtime/image_name.h"

struct err;

#define KEYRING_ENTRIES_MAX 1024
#define KEYRING_TEXT_MAX (1024 * 1024) /* what a Secret may hold */

struct keyring_entry {
    char *where; /* host[:port][/path], without scheme and /v1, /v2 */
    char *user;
    char *password;
};

struct keyring {
    struct keyring_entry *entries;
    size_t len;
};

/* config_json: {"auths": {..}}, else the map itself. -EBADMSG; entries without a user and password
 * are passed over. The text is in no error. */
int keyring_add_docker(struct keyring *keyring, const char *text, size_t len, bool config_json,
                       struct err *err);
/* Copies. */
void keyring_add(struct keyring *keyring, const char *where, const char *user,
                 const char *password);
void keyring_free(struct keyring *keyring);
/* The n-th entry that is for the image, best first; NULL: there is none. */
const struct keyring_entry *keyring_find(const struct keyring *keyring,
                                         const struct image_name *name, size_t n);
/* Whether a pattern (*.example.com, reg.io:5000/team) is for the image. */
bool keyring_matches(const char *pattern, const struct image_name *name);
