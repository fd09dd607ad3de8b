/* Image references: [host[:port]/]repository[:tag][@digest], as distribution's grammar has them and
 * containers' users write them. Pure; called by the pull and by whoever shows names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

#define IMAGE_HOST_MAX 256
#define IMAGE_REPO_MAX 256  /* host and repository together: 255 */
#define IMAGE_TAG_MAX 129   /* 128 and the NUL */
#define IMAGE_DIGEST_MAX 72 /* "sha256:" and 64 hex digits */
#define IMAGE_FULL_MAX (IMAGE_HOST_MAX + IMAGE_REPO_MAX + IMAGE_TAG_MAX + IMAGE_DIGEST_MAX + 4)

struct image_name {
    char host[IMAGE_HOST_MAX];     /* docker.io, index.unikraft.io, localhost:5000 */
    char repo[IMAGE_REPO_MAX];     /* library/nginx */
    char tag[IMAGE_TAG_MAX];       /* "" with a digest; else "latest" when none was given */
    char digest[IMAGE_DIGEST_MAX]; /* "" when none was given */
};

/* -EINVAL and the kubelet's sentence: couldn't parse image name "x": invalid reference format. */
int image_name_parse(const char *text, struct image_name *ret, struct err *err);
/* host/repo */
char *image_name_repo(const struct image_name *name, char dst[IMAGE_FULL_MAX]);
/* host/repo:tag or host/repo@digest */
char *image_name_full(const struct image_name *name, char dst[IMAGE_FULL_MAX]);
/* Where the registry's API is: docker.io is another host's name for people. */
const char *image_name_api_host(const struct image_name *name);
/* 127.0.0.0/8, [::1] or localhost, with or without port. */
bool image_host_is_loopback(const char *host);
/* "sha256:" and 64 lower-case hex digits, nothing else. */
bool image_digest_valid(const char *text);
/* The hex digits of a valid digest. */
const char *image_digest_hex(const char *digest);
