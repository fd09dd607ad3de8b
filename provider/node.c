/* Registration and status of the Node (contract 1.1-1.3): compute every few seconds, post only what
 * changed, say why when machines cannot run. The Lease is lease.c's. */
#include "provider/node_priv.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/events.h"
#include "provider/host.h"
#include "provider/local_storage.h"
#include "provider/pressure.h"
#include "provider/startup.h"
#include "runtime/image.h"
#include "runtime/network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_AGAIN_MS 60000u       /* machines can run: asked again so often */
#define PROBE_FAILED_AGAIN_MS 5000u /* they cannot: somebody may be mending it now */
#define LABELS_MAX (CONFIG_LIST_MAX + 10)
#define LABEL_KEY_MAX (253 + 1 + 63 + 1) /* prefix/name */

static void status_update(struct node *node);
static void register_node(struct node *node);

/* ---- what is said ---- */

static size_t fill_labels(const struct node *node, struct key_value *labels,
                          char (*storage)[LABEL_KEY_MAX])
{
    const struct config *config = &node->agent->config;
    const struct host *host = node->agent->host;
    size_t n = 0;
    labels[n++] = (struct key_value){"kubernetes.io/hostname", config->node_name};
    labels[n++] = (struct key_value){"kubernetes.io/os", "linux"};
    labels[n++] = (struct key_value){"kubernetes.io/arch", host->architecture};
    labels[n++] = (struct key_value){"beta.kubernetes.io/os", "linux"};
    labels[n++] = (struct key_value){"beta.kubernetes.io/arch", host->architecture};
    labels[n++] = (struct key_value){"node.kubernetes.io/instance-type", "unikernel"};
    labels[n++] = (struct key_value){"type", "virtual-kubelet"};
    labels[n++] = (struct key_value){"unikubelet.dev/runtime", "true"};
    for (size_t i = 0; i < config->node_labels.len; i++) {
        const char *text = config->node_labels.items[i];
        const char *value = strchr(text, '=');
        size_t at = 0;
        str_fmt(storage[i], sizeof(storage[i]), "%.*s", (int)(value - text), text);
        while (at < n && !str_eq(labels[at].key, storage[i]))
            at++; /* one of the above may be given another value */
        labels[at] = (struct key_value){storage[i], value + 1};
        n += at == n;
    }
    return n;
}

static size_t fill_images(const struct node *node, struct node_image *images)
{
    struct image_listing listing[NODE_IMAGES_MAX];
    size_t len = image_list(node->agent->images, listing, NODE_IMAGES_MAX);
    for (size_t i = 0; i < len; i++)
        images[i] = (struct node_image){.name = listing[i].name,
                                        .tag = listing[i].tag,
                                        .digest = listing[i].digest,
                                        .size_bytes = listing[i].size_bytes};
    return len;
}

/* Everything but the moving parts goes to write, which makes the body. */
static void with_status(struct node *node, int64_t heartbeat_ms,
                        void (*write)(struct node *node, const struct node_status *status))
{
    static const struct key_value taints[] = {{"virtual-kubelet.io/provider", "unikubelet"}};
    static const char *const handlers[] = {"", "unikernel"};
    static const char *const features[] = {"ExtendWebSocketsToKubelet"}; /* contract 5.5, 5.6 */
    const struct agent *agent = node->agent;
    const struct config *config = &agent->config;
    const struct host *host = agent->host;
    struct key_value labels[LABELS_MAX];
    char storage[CONFIG_LIST_MAX][LABEL_KEY_MAX];
    struct node_image images[NODE_IMAGES_MAX];
    char runtime[64];
    str_fmt(runtime, sizeof(runtime), "unikernel://%s", UNIKUBELET_VERSION);
    struct node_status status = {
        .name = config->node_name,
        .labels = labels,
        .labels_len = fill_labels(node, labels, storage),
        .taints = taints,
        .taints_len = 1,
        .provider_id = str_empty(config->provider_id) ? NULL : config->provider_id,
        .cpu_milli = host->cpu_milli,
        .cpu_allocatable_milli = host->cpu_allocatable_milli,
        .memory_bytes = host->memory_bytes,
        .memory_allocatable_bytes = host->memory_allocatable_bytes,
        .storage_bytes = host->storage_bytes,
        .storage_allocatable_bytes = host->storage_allocatable_bytes,
        .pods_max = config->max_pods,
        .internal_ip = agent->host_ip,
        .hostname = config->node_name,
        .port = (uint16_t)config->port,
        .machine_id = host->machine_id,
        .system_uuid = host->system_uuid,
        .boot_id = host->boot_id,
        .kernel_version = host->kernel_version,
        .os_image = host->os_image,
        .runtime_version = runtime,
        .kubelet_version = NODE_KUBELET_VERSION,
        .architecture = host->architecture,
        .runtime_handlers = handlers,
        .runtime_handlers_len = 2,
        .declared_features = features,
        .declared_features_len = 1,
        .images = images,
        .images_len = fill_images(node, images),
        .conditions_len = node->conditions_len,
        .heartbeat_ms = heartbeat_ms,
    };
    memcpy(status.conditions, node->conditions, sizeof(status.conditions));
    write(node, &status);
}

static void set_condition(struct node *node, size_t at, const char *type, bool status,
                          const char *reason, const char *message)
{
    struct node_condition *c = &node->conditions[at];
    if (at >= node->conditions_len || c->status != status)
        c->since_ms = clock_unix_ms();
    if (at >= node->conditions_len)
        node->conditions_len = at + 1;
    c->type = type;
    c->status = status;
    c->reason = reason;
    c->message = message;
}

void node_event(struct node *node, bool warning, const char *reason, const char *message)
{
    struct event event = {
        .ns = "default",
        .kind = "Node",
        .name = node->agent->config.node_name,
        .uid = node->uid,
        .api_version = "v1",
        .reason = reason,
        .message = message,
        .warning = warning,
    };
    log_write(warning ? LOG_WARN : LOG_INFO, NULL, "node", "%s: %s", reason, message);
    if (node->uid[0])
        events_post(node->agent->events, &event);
}

static void tell_ready(struct node *node, bool ready)
{
    char text[256];
    const char *reason = ready ? "NodeReady" : "NodeNotReady";
    str_fmt(text, sizeof(text), "Node %s status is now: %s", node->agent->config.node_name, reason);
    node_event(node, false, reason, text);
    if (!ready)
        log_warn(NULL, "node", "%s: %s", reason, node->ready_message);
}

static void set_pressures(struct node *node)
{
    const struct pressure *pressure = node->pressure;
    bool memory = pressure_holds(pressure, EVICT_MEMORY);
    bool disk = pressure_holds(pressure, EVICT_DISK);
    bool pid = pressure_holds(pressure, EVICT_PID);
    set_condition(node, NODE_MEMORY_PRESSURE, "MemoryPressure", memory,
                  memory ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
                  memory ? "kubelet has insufficient memory available"
                         : "kubelet has sufficient memory available");
    set_condition(node, NODE_DISK_PRESSURE, "DiskPressure", disk,
                  disk ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
                  disk ? "kubelet has disk pressure" : "kubelet has no disk pressure");
    set_condition(node, NODE_PID_PRESSURE, "PIDPressure", pid,
                  pid ? "KubeletHasInsufficientPID" : "KubeletHasSufficientPID",
                  pid ? "kubelet has insufficient PID available"
                      : "kubelet has sufficient PID available");
}

static void compute_conditions(struct node *node)
{
    struct agent *agent = node->agent;
    struct err err = {0};
    bool first = node->conditions_len < NODE_CONDITIONS;
    bool was_ready = !first && node->conditions[NODE_READY].status;
    set_pressures(node);
    bool net_ok = !agent->network || network_check(agent->network, &err) == 0;
    bool ready = node->backend_ok && net_ok && !node->shutting_down;
    if (node->shutting_down)
        str_copy(node->ready_message, sizeof(node->ready_message), "node is shutting down");
    else if (ready)
        str_copy(node->ready_message, sizeof(node->ready_message),
                 "kubelet is posting ready status");
    else
        str_fmt(node->ready_message, sizeof(node->ready_message), "%s%s%s",
                node->backend_ok ? "" : node->backend_error,
                !node->backend_ok && !net_ok ? "; " : "", net_ok ? "" : err.text);
    set_condition(node, NODE_READY, "Ready", ready, ready ? "KubeletReady" : "KubeletNotReady",
                  node->ready_message);
    if (node->uid[0] && !first && ready != was_ready)
        tell_ready(node, ready);
}

/* ---- can machines run? ---- */

static void probe_work(uv_work_t *work)
{
    struct node *node = work->data;
    struct probe *probe = &node->probe;
    struct err err = {0};
    int result = node->agent->vmm->probe(&probe->config, &probe->accel, &probe->version, &err);
    probe->ok = result == 0;
    str_copy(probe->error, sizeof(probe->error), err.text);
}

/* The first one that works says what accelerator ACCEL_AUTO is: before, no Pod is started. */
static void probe_done(uv_work_t *work, int status)
{
    struct node *node = work->data;
    struct agent *agent = node->agent;
    const struct probe *probe = &node->probe;
    bool first = !node->probed;
    (void)status;
    node->probing = false;
    node->probed = true;
    node->probed_mono_ms = clock_mono_ms();
    node->backend_ok = probe->ok;
    str_copy(node->backend_error, sizeof(node->backend_error), probe->error);
    struct err err = {0};
    if (probe->ok && !node->closing &&
        instances_check(agent->instances, agent->network != NULL, &err) < 0) {
        node->backend_ok = false;
        str_copy(node->backend_error, sizeof(node->backend_error), err.text);
    }
    if (probe->ok && !node->accel_known && !node->closing) {
        node->accel_known = true;
        agent->vmm_config.accel = probe->accel;
        log_info(NULL, "vmm", "%s %s, accelerator %s", agent->vmm->name,
                 probe->version ? probe->version : "", vmm_accel_to_string(probe->accel));
        startup_accel(agent);
    }
    free(probe->version);
    if (node->closing)
        return;
    if (first && node->state == NODE_CLAIMED)
        register_node(node);
    else
        status_update(node);
}

static void probe_start(struct node *node)
{
    if (node->probing)
        return;
    node->probing = true;
    node->probe = (struct probe){.config = node->agent->vmm_config};
    node->probe_work.data = node;
    uv_queue_work(&node->agent->loop, &node->probe_work, probe_work, probe_done);
}

/* Machines cannot run now, or could when last asked: it is time to ask again. */
static bool probe_is_due(const struct node *node)
{
    uint64_t pause = node->backend_ok ? PROBE_AGAIN_MS : PROBE_FAILED_AGAIN_MS;
    return node->probed && clock_mono_ms() - node->probed_mono_ms >= pause;
}

/* ---- registration ---- */

static void on_retry(uv_timer_t *timer)
{
    struct node *node = timer->data;
    if (node->state == NODE_REGISTERING)
        register_node(node);
}

static void retry_later(struct node *node, const char *what, const char *text)
{
    uint64_t pause = NODE_RETRY_MS << (node->failures < 6 ? node->failures : 6);
    node->failures++;
    if (pause > NODE_RETRY_MS_MAX)
        pause = NODE_RETRY_MS_MAX;
    log_warn(NULL, "register", "%s: %s; trying again in %llu ms", what, text,
             (unsigned long long)pause);
    uv_timer_start(&node->retry, on_retry, pause, 0);
}

static uint64_t status_hash(struct node *node);

static void registered(struct node *node, const char *uid)
{
    bool anew = !str_eq(node->uid, uid);
    str_copy(node->uid, sizeof(node->uid), uid);
    node->state = NODE_REGISTERED;
    node->failures = 0;
    log_info(NULL, "register", "Node %s is registered (uid %s)", node->agent->config.node_name,
             uid);
    if (anew)
        lease_start(node);
    node_watch_start(node);
    if (!node->started_told) {
        node->started_told = true;
        node_event(node, false, "Starting", "Starting kubelet.");
    }
}

static void on_labels(void *userdata, const struct kube_answer *answer)
{
    struct node *node = userdata;
    node->request = NULL;
    if (answer->result < 0 || answer->status >= 300)
        log_warn(NULL, "register", "labels of the Node not updated: %s", answer->text);
    node->posted_hash = 0; /* whatever stands there, ours is posted now */
    status_update(node);
}

static void write_labels(struct node *node, const struct node_status *status)
{
    codec_node_labels(status, node->uid, &node->body);
}

/* Transition times that the Node already has: a restart of the agent is no transition. */
static void keep_times(struct node *node, const struct json *root)
{
    const struct json *list = json_path(root, "status.conditions");
    for (const struct json *c = json_first(list); c; c = json_next(c)) {
        const char *type = json_get_string(c, "type");
        const char *since = json_get_string(c, "lastTransitionTime");
        bool status = str_eq(json_get_string(c, "status"), "True");
        for (size_t i = 0; i < node->conditions_len; i++) {
            struct node_condition *own = &node->conditions[i];
            int64_t since_ms;
            if (str_eq(own->type, type) && own->status == status && since &&
                clock_parse_rfc3339(since, &since_ms) == 0 && since_ms < own->since_ms)
                own->since_ms = since_ms;
        }
    }
}

static void on_existing(void *userdata, const struct kube_answer *answer)
{
    struct node *node = userdata;
    node->request = NULL;
    if (answer->result == 0 && answer->status == 404 && node->uid[0]) {
        register_node(node); /* it was ours, and is gone */
        return;
    }
    if (answer->result < 0 || answer->status != 200) {
        /* What stopped its creation says more than that it is not there. */
        bool absent = answer->result == 0 && answer->status == 404;
        retry_later(node, absent ? "creating the Node" : "reading the existing Node",
                    absent ? node->refusal : answer->text);
        return;
    }
    struct json *root = json_parse(answer->body, answer->len, NULL);
    const char *uid = json_string(json_path(root, "metadata.uid"));
    bool same = node->uid[0] && str_eq(node->uid, uid);
    if (!same)
        keep_times(node, root);
    node_facts_take(node, root);
    registered(node, uid ? uid : "");
    json_free(root);
    if (same) {
        /* Not deleted: its status was refused for another reason. The next one is due soon. */
        log_error(NULL, "status", "the API server refuses the Node's status: %s", node->refusal);
        return;
    }
    buf_reset(&node->body);
    with_status(node, clock_unix_ms(), write_labels);
    char *path = xasprintf("/api/v1/nodes/%s", node->agent->config.node_name);
    node->request = kube_request(node->agent->client, KUBE_PATCH, path, buf_str(&node->body),
                                 node->body.len, KUBE_RETRY, on_labels, node);
    free(path);
}

static void look_up(struct node *node)
{
    char *path = xasprintf("/api/v1/nodes/%s", node->agent->config.node_name);
    node->state = NODE_REGISTERING;
    node->request =
        kube_request(node->agent->client, KUBE_GET, path, NULL, 0, KUBE_ONCE, on_existing, node);
    free(path);
}

static void on_created(void *userdata, const struct kube_answer *answer)
{
    struct node *node = userdata;
    node->request = NULL;
    if (answer->result == 0 && answer->status == 201) {
        struct json *root = json_parse(answer->body, answer->len, NULL);
        const char *uid = json_string(json_path(root, "metadata.uid"));
        bool ready = node->conditions_len == NODE_CONDITIONS && node->conditions[NODE_READY].status;
        registered(node, uid ? uid : "");
        node->posted_hash = status_hash(node);
        node->posted_mono_ms = clock_mono_ms();
        node_facts_take(node, root);
        node_watch_acked(node, root);
        json_free(root);
        tell_ready(node, ready);
        return;
    }
    if (answer->result == 0 && (answer->status == 409 || answer->status == 403)) {
        node->uid[0] = '\0'; /* whatever is there is not what we had */
        str_copy(node->refusal, sizeof(node->refusal), answer->text);
        look_up(node);
        return;
    }
    retry_later(node, "creating the Node", answer->text);
}

static void write_node(struct node *node, const struct node_status *status)
{
    codec_node(status, &node->body);
}

static void register_node(struct node *node)
{
    node->state = NODE_REGISTERING;
    if (node->request)
        return;
    compute_conditions(node);
    buf_reset(&node->body);
    with_status(node, clock_unix_ms(), write_node);
    node->request = kube_request(node->agent->client, KUBE_POST, "/api/v1/nodes",
                                 buf_str(&node->body), node->body.len, KUBE_ONCE, on_created, node);
}

void node_claimed(struct node *node)
{
    node->state = NODE_CLAIMED;
    startup_claimed(node->agent);
    if (node->probed)
        register_node(node);
}

/* ---- status ---- */

static void write_status(struct node *node, const struct node_status *status)
{
    codec_node_status(status, node->uid, &node->body);
}

/* Of all that is said but the heartbeat. */
static uint64_t status_hash(struct node *node)
{
    buf_reset(&node->body);
    with_status(node, 0, write_status);
    return str_hash(buf_str(&node->body), node->body.len);
}

static void on_status(void *userdata, const struct kube_answer *answer)
{
    struct node *node = userdata;
    node->request = NULL;
    if (answer->result == 0 && answer->status >= 200 && answer->status < 300) {
        struct json *root = json_parse(answer->body, answer->len, NULL);
        node->posted_hash = node->pending_hash;
        node->posted_mono_ms = clock_mono_ms();
        node_watch_acked(node, root);
        json_free(root);
        return;
    }
    if (answer->result == 0 && answer->status == 422) {
        /* Our uid is not the Node's any more, or what we say of it is wrong. */
        str_copy(node->refusal, sizeof(node->refusal), answer->text);
        look_up(node);
        return;
    }
    if (answer->result == 0 && answer->status == 404) {
        log_warn(NULL, "register", "the Node %s was deleted; registering it again",
                 node->agent->config.node_name);
        register_node(node);
        return;
    }
    log_warn(NULL, "status", "status of the Node not posted: %s", answer->text);
}

static void status_update(struct node *node)
{
    if (node->state != NODE_REGISTERED || node->request)
        return;
    compute_conditions(node);
    uint64_t hash = status_hash(node);
    uint64_t age = clock_mono_ms() - node->posted_mono_ms;
    if (hash == node->posted_hash && age < (uint64_t)node->agent->config.status_report_ms)
        return;
    node->pending_hash = hash;
    buf_reset(&node->body);
    with_status(node, clock_unix_ms(), write_status);
    char *path = xasprintf("/api/v1/nodes/%s/status", node->agent->config.node_name);
    node->request = kube_request(node->agent->client, KUBE_PATCH, path, buf_str(&node->body),
                                 node->body.len, KUBE_ONCE, on_status, node);
    free(path);
}

static void on_status_timer(uv_timer_t *timer)
{
    struct node *node = timer->data;
    if (probe_is_due(node))
        probe_start(node);
    /* Also while the API server is away. */
    host_refresh(&node->agent->config, node->agent->host);
    pressure_check(node->pressure);
    local_storage_check(node->agent->local_storage);
    status_update(node);
}

void node_doubt(struct node *node)
{
    node->posted_hash = 0;
    status_update(node);
}

void node_shutting_down(struct node *node)
{
    node->shutting_down = true;
    node_event(node, false, "NodeShutdown", "Shutdown manager detected shutdown event");
    node_doubt(node);
}

/* This agent's own id: the same over restarts on this host, another on any other. */
static void read_agent_id(struct node *node)
{
    char *path = xasprintf("%s/agent-id", node->agent->config.state_dir);
    struct buf text = BUF_INIT(256);
    if (file_read(path, &text) == 0 && text.len == 32)
        str_copy(node->agent_id, sizeof(node->agent_id), buf_str(&text));
    if (!node->agent_id[0]) {
        str_random_hex(node->agent_id, 16);
        int result = file_write_atomic(path, node->agent_id, strlen(node->agent_id), 0600);
        if (result < 0)
            log_warn(NULL, "agent-id", "cannot write %s: %s", path, strerror(-result));
    }
    buf_free(&text);
    free(path);
}

struct node *node_start(struct agent *agent)
{
    struct node *node = xcalloc(1, sizeof(*node));
    node->agent = agent;
    node->state = NODE_CLAIMING;
    node->pressure = pressure_new(agent);
    agent->local_storage = local_storage_new(agent);
    host_refresh(&agent->config, agent->host);
    pressure_check(node->pressure);
    buf_init(&node->body, NODE_BODY_MAX);
    read_agent_id(node);
    uv_timer_init(&agent->loop, &node->retry);
    uv_timer_init(&agent->loop, &node->status_timer);
    node->retry.data = node;
    node->status_timer.data = node;
    uint64_t period = (uint64_t)agent->config.status_update_ms;
    uv_timer_start(&node->status_timer, on_status_timer, period, period);
    probe_start(node);
    if (str_empty(agent->config.standalone))
        lease_claim(node);
    return node;
}

void node_stop(struct node *node)
{
    if (!node)
        return;
    node->closing = 1;
    if (node->request)
        kube_request_cancel(node->request);
    node->request = NULL;
    lease_stop(node);
    node_watch_stop(node);
    uv_timer_stop(&node->retry);
    uv_timer_stop(&node->status_timer);
}

void node_free(struct node *node)
{
    if (!node)
        return;
    buf_free(&node->body);
    pressure_free(node->pressure);
    local_storage_free(node->agent->local_storage);
    if (node->facts)
        arena_free(node->facts);
    free(node);
}
