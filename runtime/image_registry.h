/* A request to a registry, at its mirrors first: hosts.toml says which, image_hosts.h reads it. One
 * host after the other is asked until one answers; one that says when to come back (Retry-After)
 * is waited for. Knows no images: paths and bytes only. Called by image_blob.c and image_pull.c. */
#pragma once

#include "runtime/image.h"
#include "runtime/image_http.h"
#include "runtime/image_login.h"
#include "runtime/image_name.h"

struct err;
struct fetcher;
struct map;
struct registry_call;
struct uv_loop_s;

#define REGISTRY_WAITS_MAX 3            /* of one request, as Retry-After asked */
#define REGISTRY_WAIT_S_MAX INT64_C(60) /* longer: the Pod's own back-off, with the number told */

struct registry {
    struct http http;
    const struct image_store_config *config;
    struct uv_loop_s *loop;
    struct map *warned; /* files whose ignored keys were told */
};

void registry_init(struct registry *registry, struct uv_loop_s *loop, const struct fetcher *fetcher,
                   const struct image_store_config *config);
void registry_done(struct registry *registry);

struct registry_request {
    const struct image_name *name; /* whose repository */
    const struct image_login *login;
    const char *method; /* "GET", "HEAD" */
    const char *path;   /* below /v2/<repo>/: "manifests/latest" */
    const char *accept; /* NULL: anything */
    bool by_digest;     /* the path names a digest: any host's bytes are the same */
    uint64_t from;      /* bytes that the caller has: on_body gets those behind them */
};

struct registry_ops {
    /* A piece of a 200's or 206's body; a negative return ends the call with that code. It may not
     * cancel. */
    int (*on_body)(void *userdata, const void *data, size_t len);
    /* Exactly once, last, unless cancelled. NULL err: the answer is whole. digest: the server's
     * Docker-Content-Digest, "" when there was none or it is no sha256. */
    void (*on_done)(void *userdata, const struct err *err, const char *digest);
};

/* Copies the request. Never calls back before it returned. */
struct registry_call *registry_start(struct registry *registry,
                                     const struct registry_request *request,
                                     const struct registry_ops *ops, void *userdata);
void registry_cancel(struct registry_call *call); /* no callback afterwards; NULL is accepted */

/* The keyring's entries for mirrors of the image into login->mirrors. */
void registry_mirror_logins(struct registry *registry, const struct image_name *name,
                            const struct keyring *keyring, struct image_login *login);
