/* An API server of a few lines for TokenReview and SubjectAccessReview: a table of struct
 * auth_calls whose client is a struct fake_api. Answers come when fake_api_step is called. Its
 * time stands still until it is set. */
#pragma once

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/auth_calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kube_request {
    struct kube_request *next;
    struct fake_api *api;
    bool cancelled;
    char *path;
    char *body;
    kube_done done;
    void *userdata;
};

struct fake_api {
    struct kube_request *first, **tail;
    unsigned token_reviews, access_reviews, cancelled;
    unsigned pending;
    bool down;     /* answers are transport errors */
    bool nonsense; /* answers are no reviews */
    char last_body[4096];
};

static uint64_t fake_now_ms = 1000000;

static inline uint64_t fake_mono(void)
{
    return fake_now_ms;
}

static inline void fake_api_init(struct fake_api *api)
{
    *api = (struct fake_api){0};
    api->tail = &api->first;
}

static inline struct kube_request *fake_request(struct kube_client *client, enum kube_method method,
                                                const char *path, const char *body, size_t len,
                                                enum kube_retry retry, kube_done done,
                                                void *userdata)
{
    struct fake_api *api = (struct fake_api *)(void *)client;
    struct kube_request *request = calloc(1, sizeof(*request));
    (void)method;
    (void)retry;
    request->api = api;
    request->path = xstrdup(path);
    request->body = xstrndup(body, len);
    request->done = done;
    request->userdata = userdata;
    str_copy(api->last_body, sizeof(api->last_body), request->body);
    *api->tail = request;
    api->tail = &request->next;
    api->pending++;
    if (strstr(path, "tokenreviews"))
        api->token_reviews++;
    else
        api->access_reviews++;
    return request;
}

static inline void fake_cancel(struct kube_request *request)
{
    request->cancelled = true;
    request->api->cancelled++;
}

static const struct auth_calls fake_calls = {
    .request = fake_request, .cancel = fake_cancel, .mono_ms = fake_mono};

/* "token-<user>" is that user's; anything else is nobody's. */
static inline void fake_token_review(const char *body, struct buf *out)
{
    struct json *root = json_parse(body, strlen(body), NULL);
    const char *token = json_get_string(json_get(root, "spec"), "token");
    if (token && str_starts(token, "token-"))
        (void)buf_addf(out,
                       "{\"status\":{\"authenticated\":true,\"user\":{\"username\":\"%s\","
                       "\"uid\":\"u-1\",\"groups\":[\"people\"],\"extra\":{\"k\":[\"v\"]}}}}",
                       token + 6);
    else
        (void)buf_adds(out, "{\"status\":{\"user\":{},\"error\":\"invalid bearer token\"}}");
    json_free(root);
}

/* admin may all; reader may get pods, metrics, stats, healthz; proxyer may get proxy. */
static inline bool fake_allowed(const char *user, const char *verb, const char *subresource)
{
    static const char *const readable[] = {"pods", "metrics", "stats", "healthz"};
    if (str_eq(user, "admin"))
        return true;
    if (str_eq(user, "proxyer"))
        return str_eq(verb, "get") && str_eq(subresource, "proxy");
    for (size_t i = 0; i < 4; i++) {
        if (str_eq(user, "reader") && str_eq(verb, "get") && str_eq(subresource, readable[i]))
            return true;
    }
    return false;
}

static inline void fake_access_review(const char *body, struct buf *out)
{
    struct json *root = json_parse(body, strlen(body), NULL);
    const struct json *spec = json_get(root, "spec");
    const struct json *what = json_get(spec, "resourceAttributes");
    bool right = str_eq(json_get_string(what, "resource"), "nodes") &&
                 str_eq(json_get_string(what, "name"), "uk-0");
    bool ok = right && fake_allowed(json_get_string(spec, "user"), json_get_string(what, "verb"),
                                    json_get_string(what, "subresource"));
    (void)buf_addf(out, "{\"status\":{\"allowed\":%s}}", ok ? "true" : "false");
    json_free(root);
}

/* Answers what is pending now. */
static inline void fake_api_step(struct fake_api *api)
{
    struct kube_request *list = api->first;
    api->first = NULL;
    api->tail = &api->first;
    while (list) {
        struct kube_request *request = list;
        list = request->next;
        api->pending--;
        struct buf body = BUF_INIT(65536);
        if (api->nonsense)
            (void)buf_adds(&body, "{\"kind\":\"Status\",\"status\":\"Success\"}");
        else if (strstr(request->path, "tokenreviews"))
            fake_token_review(request->body, &body);
        else
            fake_access_review(request->body, &body);
        struct kube_answer answer = {
            .status = 201, .body = buf_str(&body), .len = body.len, .reason = "", .text = ""};
        if (api->down)
            answer = (struct kube_answer){
                .result = -ECONNREFUSED, .body = "", .reason = "", .text = "connection refused"};
        if (!request->cancelled)
            request->done(request->userdata, &answer);
        buf_free(&body);
        free(request->path);
        free(request->body);
        free(request);
    }
}
