/* The calls on the API server that authentication, authorization and identity make, as a table: the
 * functions of client.h and watch.h, or a test's own, for which a client is whatever it likes. */
#pragma once

#include "k8s/client.h"
#include "k8s/watch.h"

struct auth_calls {
    int (*open)(struct uv_loop_s *loop, const struct kube_config *config, struct kube_client **ret,
                struct err *err);
    void (*close)(struct kube_client *client);
    struct kube_request *(*request)(struct kube_client *client, enum kube_method method,
                                    const char *path, const char *body, size_t body_len,
                                    enum kube_retry retry, kube_done done, void *userdata);
    void (*cancel)(struct kube_request *request);
    struct watch *(*watch)(struct kube_client *client, const struct watch_config *config,
                           const struct watch_ops *ops, void *userdata);
    void (*unwatch)(struct watch *watch);
    uint64_t (*mono_ms)(void);
    int64_t (*unix_ms)(void);
};

/* The real ones. */
extern const struct auth_calls auth_calls_real;
