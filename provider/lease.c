/* The Lease in kube-node-lease: the real heartbeat (contract 1.4), and the place where two agents
 * of one name notice each other: each writes its own id into an annotation. Part of node. */
#include "provider/node_priv.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define LEASES "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

static void on_lease(void *userdata, const struct kube_answer *answer);

static char *lease_path(const struct node *node)
{
    return xasprintf(LEASES "/%s", node->agent->config.node_name);
}

static void write_lease(struct node *node)
{
    struct agent *agent = node->agent;
    bool create = node->lease_version[0] == '\0';
    struct lease lease = {
        .name = agent->config.node_name,
        .holder = agent->config.node_name,
        .node_uid = node->uid,
        .resource_version = node->lease_version,
        .duration_s = agent->config.lease_seconds,
        .renew_ms = clock_unix_ms(),
        .annotation_key = AGENT_ID_ANNOTATION,
        .annotation_value = node->agent_id,
    };
    char *path = create ? xstrdup(LEASES) : lease_path(node);
    buf_reset(&node->body);
    codec_lease(&lease, &node->body);
    node->lease_request =
        kube_request(agent->client, create ? KUBE_POST : KUBE_PUT, path, buf_str(&node->body),
                     node->body.len, KUBE_ONCE, on_lease, node);
    free(path);
}

static void read_lease(struct node *node)
{
    char *path = lease_path(node);
    node->lease_request =
        kube_request(node->agent->client, KUBE_GET, path, NULL, 0, KUBE_ONCE, on_lease, node);
    free(path);
}

static void on_timer(uv_timer_t *timer)
{
    struct node *node = timer->data;
    if (node->lease_request)
        return; /* the last one is still under way: its time-out is below the Lease's life */
    if (node->lease_owned)
        write_lease(node);
    else
        read_lease(node);
}

static void again_in(struct node *node, uint64_t ms)
{
    uv_timer_start(&node->lease_timer, on_timer, ms, 0);
}

static void take(struct node *node)
{
    bool claiming = node->state == NODE_CLAIMING; /* at start; else a renewal */
    node->lease_owned = true;
    node->foreign_since_ms = 0;
    if (claiming)
        node_claimed(node);
    else
        write_lease(node);
}

/* A Lease with another id: is its writer alive? Seen to change, yes; silent for its whole life, no.
 */
static void judge_foreign(struct node *node, const struct json *root, const char *renew)
{
    struct agent *agent = node->agent;
    uint64_t now = clock_mono_ms();
    uint64_t life_ms = (uint64_t)agent->config.lease_seconds * 1000;
    int64_t seconds;
    if (json_get_int(json_get(root, "spec"), "leaseDurationSeconds", &seconds) && seconds > 0)
        life_ms = (uint64_t)seconds * 1000;
    if (node->foreign_since_ms && !str_eq(renew, node->foreign_renew)) {
        log_error(NULL, "name-taken",
                  "another agent is alive under the node name %s and renews its Lease; give this "
                  "host another nodeName",
                  agent->config.node_name);
        agent_stop(agent, EXIT_NAME_TAKEN);
        return;
    }
    int64_t renewed_ms = 0;
    bool fresh = clock_parse_rfc3339(renew, &renewed_ms) == 0 &&
                 clock_unix_ms() - renewed_ms < (int64_t)life_ms;
    if (!node->foreign_since_ms) {
        if (!fresh) {
            take(node);
            return;
        }
        log_warn(NULL, "name-held",
                 "the Lease of node %s was renewed by another agent at %s: waiting up to %llu s to "
                 "see whether it is alive",
                 agent->config.node_name, renew, (unsigned long long)(life_ms / 1000));
        node->foreign_since_ms = now;
        str_copy(node->foreign_renew, sizeof(node->foreign_renew), renew);
    }
    if (now - node->foreign_since_ms >= life_ms)
        take(node);
    else
        again_in(node, life_ms / 8);
}

/* Versions only grow, but for an API server that got an older backup back: then what it
 * acknowledged since, and what its watches said, counts no more. */
static void set_version(struct node *node, const struct json *root)
{
    const char *version = json_string(json_path(root, "metadata.resourceVersion"));
    uint64_t now = 0;
    str_copy(node->lease_version, sizeof(node->lease_version), version ? version : "");
    if (str_to_u64(node->lease_version, &now) < 0)
        return;
    bool back = now < node->lease_highest;
    node->lease_highest = now;
    if (!back)
        return;
    log_warn(NULL, "lease", "the API server went back in time: telling it everything anew");
    api_doubt(node->agent);
    node_watch_again(node);
    node_doubt(node);
}

/* What the Lease object says of its writer. */
static void judge(struct node *node, const struct kube_answer *answer)
{
    struct json *root = json_parse(answer->body, answer->len, NULL);
    const struct json *annotations = json_path(root, "metadata.annotations");
    const char *id = json_get_string(annotations, AGENT_ID_ANNOTATION);
    const char *renew = json_string(json_path(root, "spec.renewTime"));
    set_version(node, root);
    if (str_eq(id, node->agent_id) || !renew)
        take(node);
    else
        judge_foreign(node, root, renew);
    json_free(root);
}

static void on_written(struct node *node, const struct kube_answer *answer)
{
    /* Created by a renewal: the garbage collector had taken it, as it does when the Node itself was
     * deleted, which nothing else tells before the next status is due. */
    if (answer->status == 201 && node->lease_version[0])
        node_doubt(node);
    struct json *root = json_parse(answer->body, answer->len, NULL);
    set_version(node, root);
    json_free(root);
    node->lease_failures = 0;
    again_in(node, (uint64_t)node->agent->config.lease_seconds * 1000 / 4);
}

static void on_lease(void *userdata, const struct kube_answer *answer)
{
    struct node *node = userdata;
    bool wrote = node->lease_owned;
    node->lease_request = NULL;
    if (answer->result == 0 && answer->status >= 200 && answer->status < 300) {
        if (wrote)
            on_written(node, answer);
        else
            judge(node, answer);
        return;
    }
    /* None yet, or somebody deleted it: make it. When making it finds nothing, its namespace is not
     * there yet. */
    bool made = wrote && !node->lease_version[0];
    if (answer->result == 0 && answer->status == 404 && !made) {
        if (wrote)
            node_doubt(node);
        node->lease_version[0] = '\0';
        take(node);
        return;
    }
    if (answer->result == 0 && answer->status == 409) {
        /* Somebody else wrote it: look who. When that is nobody else, and it happens again, he does
         * as we do: a copy of this host, for one. */
        node->lease_owned = false;
        if (wrote && node->lease_failures == 0) {
            node->lease_failures++;
            read_lease(node);
            return;
        }
    }
    log_warn(NULL, "lease", "the Node's Lease: %s", answer->text);
    uint64_t pause = NODE_RETRY_MS << (node->lease_failures < 6 ? node->lease_failures : 6);
    node->lease_failures++;
    again_in(node, pause < NODE_RETRY_MS_MAX ? pause : NODE_RETRY_MS_MAX);
}

void lease_claim(struct node *node)
{
    uv_timer_init(&node->agent->loop, &node->lease_timer);
    node->lease_timer.data = node;
    read_lease(node);
}

void lease_start(struct node *node)
{
    if (node->lease_owned && !node->lease_request)
        write_lease(node);
}

void lease_stop(struct node *node)
{
    if (node->lease_request)
        kube_request_cancel(node->lease_request);
    node->lease_request = NULL;
    uv_timer_stop(&node->lease_timer);
}
