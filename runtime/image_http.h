/* One registry request: URL, HTTP or HTTPS, and the token dance of distribution's specification.
 * Knows no images: paths and bytes only. Called by image_blob.c and image_pull.c. */
#pragma once

#include "runtime/image.h"
#include "runtime/image_name.h"

struct err;
struct fetcher;
struct map;
struct registry_call;

struct registry {
    const struct fetcher *fetcher;
    const struct image_store_config *config;
    struct map *tokens;    /* by host, repository and credentials */
    struct map *tls_hosts; /* may be plain, but answered that they are not */
};

void registry_init(struct registry *registry, const struct fetcher *fetcher,
                   const struct image_store_config *config);
void registry_done(struct registry *registry);

struct registry_request {
    const struct image_name *name; /* whose repository */
    const char *user;              /* NULL: anonymous */
    const char *password;
    const char *method; /* "GET", "HEAD" */
    const char *path;   /* below /v2/<repo>/: "manifests/latest" */
    const char *accept; /* NULL: anything */
    uint64_t from;      /* bytes that the caller has: on_body gets those behind them */
};

struct registry_ops {
    /* A piece of a 200's or 206's body; a negative return ends the call with that code. */
    int (*on_body)(void *userdata, const void *data, size_t len);
    /* Exactly once, last, unless cancelled. NULL err: the answer is whole. digest: the server's
     * Docker-Content-Digest, "" when there was none or it is no sha256. */
    void (*on_done)(void *userdata, const struct err *err, const char *digest);
};

/* Strings of the request are copied but for name, user and password, which outlive the call. Never
 * calls back before it returned. */
struct registry_call *registry_start(struct registry *registry,
                                     const struct registry_request *request,
                                     const struct registry_ops *ops, void *userdata);
void registry_cancel(struct registry_call *call); /* no callback afterwards; NULL is accepted */
