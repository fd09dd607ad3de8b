/* HTTP for those who must not know curl: runtime pulls images through this door, k8s/ implements
 * it, provider joins them. All calls and callbacks are on the loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fetch; /* a request under way, owned by the implementation until done or cancelled */

struct fetch_header {
    const char *name;
    const char *value;
};

struct fetch_request {
    const char *url;
    const char *method; /* NULL: GET */
    const struct fetch_header *headers;
    size_t headers_len;
    const char *ca_file; /* NULL: the system's certificates */
    const char *ca_text; /* PEM, instead of ca_file's; NULL: none */
    bool skip_verify;    /* whoever the server says it is */
    const char *user;    /* basic authentication; NULL: none */
    const char *password;
    uint32_t stall_ms_max;   /* no byte for so long: -ETIMEDOUT; 0: a default */
    uint32_t connect_ms_max; /* 0: a default */
};

struct fetch_ops {
    /* Status and headers are there, before the first byte of body. Redirects (<= 10, credentials
     * only to the same host) are followed before. name is lower case. NULL: not wanted. */
    void (*on_header)(void *userdata, const char *name, const char *value);
    /* A piece of the body; a negative return ends the transfer with that code. */
    int (*on_body)(void *userdata, int status, const void *data, size_t len);
    /* Exactly once, last, unless cancelled. result 0: a complete answer with this HTTP status;
     * negative errno: none, and text says why in words for people. */
    void (*on_done)(void *userdata, int result, int status, const char *text);
};

struct fetcher {
    struct fetch *(*start)(void *impl, const struct fetch_request *request,
                           const struct fetch_ops *ops, void *userdata);
    void (*cancel)(void *impl, struct fetch *fetch); /* no callback afterwards */
    void *impl;
};
