/* What admission asks of the Node (contract 3.10): its labels and taints, which others write, as
 * the API has them, and what this host can give. Part of node. */
#include "provider/node_priv.h"

#include "base/arena.h"
#include "base/json.h"
#include "provider/core/admit.h"
#include "provider/host.h"

#define FACTS_BYTES 2048 /* labels and taints of an ordinary Node */

void node_facts_take(struct node *node, const struct json *object)
{
    const struct json *metadata = json_get(object, "metadata");
    bool first = !node->facts;
    if (!json_is_object(metadata))
        return;
    if (node->facts)
        arena_free(node->facts);
    node->facts = arena_new(FACTS_BYTES);
    node->labels = codec_pairs(node->facts, json_get(metadata, "labels"), &node->labels_len);
    node->taints = codec_taints(node->facts, json_path(object, "spec.taints"), &node->taints_len);
    if (first && node->agent->reconcile) /* Pods wait for it */
        reconcile_touch_all(node->agent->reconcile);
}

const char *node_uid(const struct node *node)
{
    return node->uid;
}

static bool condition(const struct node *node, size_t at)
{
    return at < node->conditions_len && node->conditions[at].status;
}

void node_admit_env(const struct node *node, struct admit_env *ret)
{
    const struct agent *agent = node->agent;
    const struct host *host = agent->host;
    *ret = (struct admit_env){
        .known = node->facts != NULL,
        .node_name = agent->config.node_name,
        .labels = node->labels,
        .labels_len = node->labels_len,
        .taints = node->taints,
        .taints_len = node->taints_len,
        .allocatable =
            {
                .cpu_milli = host->cpu_allocatable_milli,
                .memory_bytes = host->memory_allocatable_bytes,
                .storage_bytes = host->storage_allocatable_bytes,
                .pods = agent->config.max_pods,
            },
        .memory_pressure = condition(node, NODE_MEMORY_PRESSURE),
        .disk_pressure = condition(node, NODE_DISK_PRESSURE),
        .pid_pressure = condition(node, NODE_PID_PRESSURE),
        .shutting_down = node->shutting_down,
    };
}
