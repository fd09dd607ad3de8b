/* One request to one host of a registry: URL, HTTP or HTTPS, and the token dance of distribution's
 * specification. Called by image_registry.c. */
#pragma once

#include "runtime/image.h"
#include "runtime/image_hosts.h"
#include "runtime/image_name.h"

struct err;
struct fetcher;
struct http_call;
struct map;

struct http {
    const struct fetcher *fetcher;
    const struct image_store_config *config;
    struct map *tokens;    /* by host, repository and credentials */
    struct map *tls_hosts; /* may be plain, but answered that they are not */
};

void http_init(struct http *http, const struct fetcher *fetcher,
               const struct image_store_config *config);
void http_done(struct http *http);

struct http_request {
    const struct image_name *name;         /* whose repository */
    const struct image_endpoint *endpoint; /* whom to ask */
    const char *ca_text;                   /* its CAs, PEM; NULL: the configured ones */
    const char *user;                      /* NULL: anonymous */
    const char *password;
    const char *method; /* "GET", "HEAD" */
    const char *path;   /* below <repo>/: "manifests/latest" */
    const char *accept; /* NULL: anything */
    uint64_t from;      /* bytes that the caller has: on_body gets those behind them */
};

/* Strings are valid during the call. */
struct http_end {
    const struct err *err; /* NULL: the answer is whole */
    const char *why;       /* err in few words, without the URL */
    const char *digest;    /* the server's Docker-Content-Digest, or "" */
    int64_t retry_after_s; /* what a 429 or 503 asked for; -1: nothing */
};

struct http_ops {
    /* A piece of a 200's or 206's body; a negative return ends the call with that code. */
    int (*on_body)(void *userdata, const void *data, size_t len);
    /* Exactly once, last, unless cancelled. */
    void (*on_done)(void *userdata, const struct http_end *end);
};

/* The request's strings are copied but for ca_text, which outlives the call. Never calls back
 * before it returned. */
struct http_call *http_start(struct http *http, const struct http_request *request,
                             const struct http_ops *ops, void *userdata);
void http_cancel(struct http_call *call); /* no callback afterwards; NULL is accepted */

/* Seconds of a Retry-After header (RFC 9110 10.2.3), a number or a date; now in seconds of Unix
 * time. -1: neither. A date that is over is 0. */
int64_t http_retry_after_s(const char *value, int64_t now_s);
