/* List, then watch, for ever (contract 2): pages, bookmarks, 410 in both forms, bounded time-outs,
 * back-off. Delivers a consistent view: after on_synced the set of objects delivered since
 * on_relist is complete. Objects are parsed one by one and never retained. */
#pragma once

#include "k8s/client.h"

struct json;
struct watch;

enum watch_event { WATCH_ADDED, WATCH_MODIFIED, WATCH_DELETED };

struct watch_ops {
    /* A new complete list begins: objects not delivered before the next on_synced are gone. */
    void (*on_relist)(void *userdata);
    /* From the list: WATCH_ADDED. object lives until the return. */
    void (*on_object)(void *userdata, enum watch_event event, const struct json *object);
    void (*on_synced)(void *userdata);
    /* The stream broke; it is taken up again by itself. For logs and metrics. */
    void (*on_error)(void *userdata, const char *text);
};

struct watch_config {
    const char *path;    /* "/api/v1/pods" */
    const char *query;   /* "fieldSelector=spec.nodeName%3Duk-0", URL-encoded; "" none */
    uint32_t page_limit; /* objects a LIST page; 0: 500 */
    uint32_t healthy_ms; /* a watch that lived so long ends all back-off; 0: 10 s */
};

struct watch *watch_start(struct kube_client *client, const struct watch_config *config,
                          const struct watch_ops *ops, void *userdata);
/* Lists again from what the API server holds now, whatever was seen before. Never calls back before
 * it returned. */
void watch_relist(struct watch *watch);
void watch_stop(struct watch *watch); /* NULL is accepted; no callback afterwards */
