/* The API server as a client sees it: one connection (HTTP/2 where the server speaks it), many
 * requests at once, on the loop. Retries, Retry-After and back-off are decided here; callers see
 * final answers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct uv_loop_s;
struct fetcher;
struct kube_config;

struct kube_client;
struct kube_request;

enum kube_method { KUBE_GET, KUBE_POST, KUBE_PUT, KUBE_PATCH, KUBE_MERGE_PATCH, KUBE_DELETE };

struct kube_answer {
    int result;       /* 0: HTTP answer below; negative errno: none after all tries */
    int status;       /* HTTP */
    const char *body; /* NUL-terminated, never NULL; of a failure: a Status object, usually */
    size_t len;
    const char *reason; /* metav1.Status.reason ("NotFound", ...), "" when none */
    const char *text;   /* a sentence on any failure, for logs; "" on success */
};

typedef void (*kube_done)(void *userdata, const struct kube_answer *answer);

enum kube_retry {
    KUBE_ONCE,  /* one try: the caller has newer data by the time of a second one */
    KUBE_RETRY, /* transport errors, 429 and 5xx: back off and try again, a few times */
    KUBE_IDLE,  /* one try, when nothing else is under way or it has waited for long */
};

/* config: server address, CA and credentials; see kubeconfig.h. Copied. */
int kube_client_new(struct uv_loop_s *loop, const struct kube_config *config,
                    struct kube_client **ret, struct err *err);
/* Pending requests get no callback. */
void kube_client_free(struct kube_client *client);
/* New credentials (renewed certificate, rotated token): used from the next request on. */
int kube_client_set_config(struct kube_client *client, const struct kube_config *config,
                           struct err *err);

/* KUBE_PATCH is a strategic merge patch. Patches and DELETEs are answered with the object's
 * metadata alone. body is copied. Never calls back before it returned. */
struct kube_request *kube_request(struct kube_client *client, enum kube_method method,
                                  const char *path, const char *body, size_t body_len,
                                  enum kube_retry retry, kube_done done, void *userdata);
void kube_request_cancel(struct kube_request *request); /* no callback afterwards */

struct kube_stats {
    uint64_t requests;
    uint64_t failures;
    uint64_t connections; /* opened since the start */
};
void kube_client_stats(const struct kube_client *client, struct kube_stats *ret);

/* HTTP for others (images) on the same multi handle, with none of the cluster's credentials. */
void kube_client_fetcher(struct kube_client *client, struct fetcher *ret);
