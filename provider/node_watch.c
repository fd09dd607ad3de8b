/* What others do to the Node object: deleting it, or writing its conditions, as the node lifecycle
 * controller does with a Node that was silent and never takes back itself. Each is answered by
 * posting the status again, which finds out the rest. Part of node. */
#include "provider/node_priv.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/watch.h"

#include <stdlib.h>
#include <string.h>

static bool conditions_stand(const struct node *node, const struct json *object)
{
    size_t found = 0;
    const struct json *list = json_path(object, "status.conditions");
    for (const struct json *c = json_first(list); c; c = json_next(c)) {
        const char *type = json_get_string(c, "type");
        const char *status = json_get_string(c, "status");
        for (size_t i = 0; i < node->conditions_len; i++) {
            const struct node_condition *own = &node->conditions[i];
            if (!str_eq(own->type, type))
                continue;
            found++;
            if (!str_eq(status, own->status ? "True" : "False"))
                return false;
        }
    }
    return found == node->conditions_len;
}

void node_watch_check(struct node *node)
{
    uint64_t now = clock_mono_ms();
    if (!node->other || node->other_version <= node->acked_version || node->request ||
        node->state != NODE_REGISTERED)
        return;
    node->other = false;
    if (node->other_ms && now - node->other_ms < NODE_REASSERT_MS) {
        node->posted_hash = 0; /* somebody keeps writing: with the next status */
        return;
    }
    node->other_ms = now;
    log_info(NULL, "node", "the Node %s was changed by another: posting its status again",
             node->agent->config.node_name);
    node_doubt(node);
}

void node_watch_acked(struct node *node, const struct json *object)
{
    const char *version = json_string(json_path(object, "metadata.resourceVersion"));
    if (version)
        (void)str_to_u64(version, &node->acked_version);
    node_watch_check(node);
}

static void on_relist(void *userdata)
{
    struct node *node = userdata;
    node->listed = false;
}

static void on_object(void *userdata, enum watch_event event, const struct json *object)
{
    struct node *node = userdata;
    const char *uid = json_string(json_path(object, "metadata.uid"));
    const char *version = json_string(json_path(object, "metadata.resourceVersion"));
    node->listed = true;
    if (event != WATCH_DELETED)
        node_facts_take(node, object);
    if (!version || str_to_u64(version, &node->other_version) < 0)
        return;
    node->other =
        event == WATCH_DELETED || !str_eq(uid, node->uid) || !conditions_stand(node, object);
    node_watch_check(node);
}

static void on_synced(void *userdata)
{
    struct node *node = userdata;
    if (node->listed)
        return;
    node->other = true;
    node->other_version = UINT64_MAX;
    node_watch_check(node);
}

static void on_error(void *userdata, const char *text)
{
    (void)userdata;
    log_warn(NULL, "watch", "Node: %s", text);
}

void node_watch_start(struct node *node)
{
    static const struct watch_ops ops = {
        .on_relist = on_relist,
        .on_object = on_object,
        .on_synced = on_synced,
        .on_error = on_error,
    };
    if (node->watch)
        return;
    char *query = xasprintf("fieldSelector=metadata.name%%3D%s", node->agent->config.node_name);
    struct watch_config config = {.path = "/api/v1/nodes", .query = query};
    node->watch = watch_start(node->agent->client, &config, &ops, node);
    free(query);
}

void node_watch_again(struct node *node)
{
    node->acked_version = 0;
    if (node->watch)
        watch_relist(node->watch);
}

void node_watch_stop(struct node *node)
{
    watch_stop(node->watch);
    node->watch = NULL;
}
