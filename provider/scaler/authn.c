/* Keeps the server's idea of the aggregator up to date: the ConfigMap
 * kube-system/extension-apiserver-authentication, watched (contract 6.3). Called by startup.c. */
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/front_proxy.h"
#include "k8s/server.h"
#include "k8s/watch.h"
#include "provider/scaler/scaler.h"

#include <stdlib.h>

struct authn {
    struct scaler *scaler;
    struct watch *watch;
    bool ready;
};

static void on_object(void *userdata, enum watch_event event, const struct json *object)
{
    struct authn *authn = userdata;
    struct front_proxy *proxy;
    struct err err = {0};
    if (event == WATCH_DELETED)
        return; /* what was known goes on: the API server makes it anew */
    int r = front_proxy_parse(object, &proxy, &err);
    if (r == 0)
        r = server_set_front_proxy(authn->scaler->server, proxy, &err);
    if (r < 0)
        log_error(NULL, "authentication", "extension-apiserver-authentication: %s", err.text);
    else if (!authn->ready)
        log_info(NULL, "authentication", "the aggregator's certificates are known");
    authn->ready = authn->ready || r == 0;
}

static void on_error(void *userdata, const char *text)
{
    (void)userdata;
    log_warn(NULL, "authentication", "extension-apiserver-authentication: %s", text);
}

static void ignore(void *userdata)
{
    (void)userdata;
}

struct authn *authn_start(struct scaler *scaler)
{
    static const struct watch_ops ops = {
        .on_relist = ignore, .on_object = on_object, .on_synced = ignore, .on_error = on_error};
    static const struct watch_config config = {
        .path = "/api/v1/namespaces/kube-system/configmaps",
        .query = "fieldSelector=metadata.name%3Dextension-apiserver-authentication"};
    struct authn *authn = xcalloc(1, sizeof(*authn));
    authn->scaler = scaler;
    authn->watch = watch_start(scaler->client, &config, &ops, authn);
    return authn;
}

bool authn_ready(const struct authn *authn)
{
    return authn && authn->ready;
}

void authn_stop(struct authn *authn)
{
    if (!authn)
        return;
    watch_stop(authn->watch);
    free(authn);
}
