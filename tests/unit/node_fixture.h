/* A Node and its Lease against an API server that behaves as the real one does with these two
 * objects, for test_node and test_lease. What node.c calls of the agent's other parts is replaced
 * here: the linker takes these instead of the archive's. */
#pragma once

#include "fake_api.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "k8s/events.h"
#include "provider/host.h"
#include "provider/node_priv.h"
#include "provider/local_storage.h"
#include "provider/pressure.h"
#include "provider/startup.h"
#include "runtime/image.h"
#include "runtime/network.h"

#include <poll.h>
#include <unistd.h>

#define WAIT_MS 5000
#define PATH_NODES "/api/v1/nodes"
#define PATH_NODE PATH_NODES "/uk-0"
#define PATH_STATUS PATH_NODE "/status"
#define PATH_LEASES "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
#define PATH_LEASE PATH_LEASES "/uk-0"

/* One answer instead of the usual one. */
struct override {
    const char *method, *target;
    int status, times; /* -1: always */
    const char *body;
};

struct api {
    struct buf log; /* "POST nodes;PATCH status;..." */
    bool silent;    /* takes requests and never answers */
    struct override override;
    unsigned node_posts, node_gets, label_patches, status_patches, lease_gets, lease_posts,
        lease_puts;

    bool node_exists;
    struct fake_conn *watch; /* of the Node; the last */
    unsigned node_lists;
    unsigned uids; /* given so far; the last is the Node's */
    unsigned node_version;
    char node_conditions[512];
    struct json *posted, *labels, *status; /* last bodies */

    bool lease_exists;
    unsigned version;
    char holder_id[64], renew[64], owner[64];
    bool lease_alive; /* somebody else renews it before each GET */
};

struct bench {
    struct agent agent; /* first: the replaced functions find the rest by it */
    struct host host;
    struct fake fake;
    struct api api;
    struct node *node;
    char dir[64];

    int claimed, accels, stopped, exit_code, doubts;
    struct buf events; /* "Starting;NodeReady;" */
    int64_t memory_available;
    const char *network_error;
    struct image_listing images[2];
    size_t images_len;
    /* Set while no probe runs. */
    const char *probe_error;
    enum vmm_accel probe_asked;
    int probes;
};

/* ---- what node.c calls ---- */

void startup_claimed(struct agent *agent)
{
    ((struct bench *)agent)->claimed++;
}

void api_doubt(struct agent *agent)
{
    ((struct bench *)agent)->doubts++;
}

void startup_accel(struct agent *agent)
{
    ((struct bench *)agent)->accels++;
}

void agent_stop(struct agent *agent, int code)
{
    ((struct bench *)agent)->stopped++;
    ((struct bench *)agent)->exit_code = code;
}

void host_refresh(const struct config *config, struct host *host)
{
    const struct bench *b =
        (const struct bench *)((const char *)config - offsetof(struct agent, config));
    host->memory_available_bytes = b->memory_available;
    host->storage_bytes = 1000;
    host->storage_available_bytes = 500;
}

struct pressure *pressure_new(struct agent *agent)
{
    return (struct pressure *)(void *)agent; /* the bench, which says what holds */
}

void pressure_free(struct pressure *pressure)
{
    (void)pressure;
}

void pressure_check(struct pressure *pressure)
{
    (void)pressure;
}

/* The Pods' disk is test_core_storage's and the end-to-end tests'. */
struct local_storage *local_storage_new(struct agent *agent)
{
    (void)agent;
    return NULL;
}

void local_storage_free(struct local_storage *storage)
{
    (void)storage;
}

void local_storage_check(struct local_storage *storage)
{
    (void)storage;
}

bool pressure_holds(const struct pressure *pressure, enum evict_condition condition)
{
    const struct bench *b = (const void *)pressure;
    return condition == EVICT_MEMORY && b->memory_available < 100LL * 1024 * 1024;
}

int instances_check(const struct instances *all, bool network, struct err *err)
{
    (void)all;
    (void)network;
    (void)err;
    return 0;
}

int network_check(struct network *network, struct err *err)
{
    const struct bench *b = (const void *)network;
    return b->network_error ? err_set(err, -EIO, "%s", b->network_error) : 0;
}

size_t image_list(struct image_store *store, struct image_listing *out, size_t max)
{
    const struct bench *b = (const void *)store;
    assert_true(max >= b->images_len);
    memcpy(out, b->images, sizeof(b->images));
    return b->images_len;
}

void events_post(struct events *events, const struct event *event)
{
    struct bench *b = (void *)events;
    assert_string_equal(event->kind, "Node");
    assert_string_equal(event->name, "uk-0");
    assert_string_equal(event->ns, "default");
    assert_true(event->uid[0] != '\0');
    (void)buf_addf(&b->events, "%s;", event->reason);
}

static inline int bench_probe(const struct vmm_config *config, enum vmm_accel *ret_accel,
                              char **ret_version, struct err *err)
{
    struct bench *b = (struct bench *)(uintptr_t)config->binary;
    b->probes++;
    b->probe_asked = config->accel;
    if (b->probe_error)
        return err_set(err, -ENOENT, "%s", b->probe_error);
    *ret_accel = config->accel == ACCEL_AUTO ? ACCEL_TCG : config->accel;
    *ret_version = xstrdup("7.2.22");
    return 0;
}

static const struct vmm_ops bench_vmm = {.name = "test", .probe = bench_probe};

/* ---- the API server ---- */

static inline void api_refuse(struct fake_conn *conn, int status, const char *message)
{
    char *body = xasprintf("{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"%s\","
                           "\"reason\":\"X\",\"code\":%d}",
                           message, status);
    fake_reply(conn, status, "", body);
    free(body);
}

static inline void api_node(struct api *api, struct fake_conn *conn, int status)
{
    char *body = xasprintf("{\"kind\":\"Node\",\"metadata\":{\"name\":\"uk-0\",\"uid\":\"uid-%u\","
                           "\"resourceVersion\":\"%u\"},\"status\":{\"conditions\":[%s]}}",
                           api->uids, api->node_version, api->node_conditions);
    fake_reply(conn, status, "", body);
    free(body);
}

/* The uid that a patch names as its precondition. */
static inline bool api_same_uid(const struct api *api, const struct json *body)
{
    const char *uid = json_string(json_path(body, "metadata.uid"));
    char want[32];
    return !uid || str_eq(uid, str_fmt(want, sizeof(want), "uid-%u", api->uids));
}

static inline void api_nodes(struct api *api, struct fake_request *q, struct json *body)
{
    if (str_eq(q->method, "POST")) {
        api->node_posts++;
        json_free(api->posted);
        api->posted = body;
        if (api->node_exists) {
            api_refuse(q->conn, 409, "nodes \\\"uk-0\\\" already exists");
            return;
        }
        api->node_exists = true;
        api->uids++;
        api_node(api, q->conn, 201);
        return;
    }
    bool status = str_eq(q->target, PATH_STATUS);
    if (str_eq(q->method, "GET")) {
        json_free(body);
        api->node_gets++;
    } else if (status) {
        api->status_patches++;
        json_free(api->status);
        api->status = body;
    } else {
        assert_string_equal(q->target, PATH_NODE);
        api->label_patches++;
        json_free(api->labels);
        api->labels = body;
    }
    if (!api->node_exists)
        api_refuse(q->conn, 404, "nodes \\\"uk-0\\\" not found");
    else if (str_eq(q->method, "PATCH") && !api_same_uid(api, body))
        api_refuse(q->conn, 422, "metadata.uid: field is immutable");
    else
        api_node(api, q->conn, 200);
}

static inline void api_lease(struct api *api, struct fake_conn *conn, int status)
{
    char *body = xasprintf("{\"kind\":\"Lease\",\"metadata\":{\"name\":\"uk-0\","
                           "\"resourceVersion\":\"%u\",\"annotations\":{\"%s\":\"%s\"}},\"spec\":{"
                           "\"leaseDurationSeconds\":1,\"renewTime\":\"%s\"}}",
                           api->version, AGENT_ID_ANNOTATION, api->holder_id, api->renew);
    fake_reply(conn, status, "", body);
    free(body);
}

/* Somebody else's. ago_ms: renewed then. */
static inline void api_foreign_lease(struct api *api, int64_t ago_ms)
{
    api->lease_exists = true;
    api->version++;
    str_copy(api->holder_id, sizeof(api->holder_id), "somebody-else");
    clock_rfc3339_micro(api->renew, clock_unix_ms() - ago_ms);
}

static inline void api_take_lease(struct api *api, const struct json *body)
{
    const struct json *owner = json_first(json_path(body, "metadata.ownerReferences"));
    const struct json *ids = json_path(body, "metadata.annotations");
    api->lease_exists = true;
    api->version++;
    str_copy(api->holder_id, sizeof(api->holder_id), json_get_string(ids, AGENT_ID_ANNOTATION));
    str_copy(api->renew, sizeof(api->renew), json_string(json_path(body, "spec.renewTime")));
    str_copy(api->owner, sizeof(api->owner), json_get_string(owner, "uid"));
    assert_string_equal(json_string(json_path(body, "spec.holderIdentity")), "uk-0");
}

static inline void api_leases(struct api *api, struct fake_request *q, const struct json *body)
{
    if (str_eq(q->method, "GET")) {
        api->lease_gets++;
        if (api->lease_alive)
            api_foreign_lease(api, 0);
        if (api->lease_exists)
            api_lease(api, q->conn, 200);
        else
            api_refuse(q->conn, 404, "leases \\\"uk-0\\\" not found");
    } else if (str_eq(q->method, "POST")) {
        api->lease_posts++;
        if (api->lease_exists) {
            api_refuse(q->conn, 409, "leases \\\"uk-0\\\" already exists");
            return;
        }
        api_take_lease(api, body);
        api_lease(api, q->conn, 201);
    } else {
        const char *text = json_string(json_path(body, "metadata.resourceVersion"));
        bool existed = api->lease_exists;
        int64_t version = 0;
        api->lease_puts++;
        assert_int_equal(str_to_i64(text ? text : "0", &version), 0);
        if (existed && version != api->version) {
            api_refuse(q->conn, 409, "the object has been modified");
            return;
        }
        api_take_lease(api, body);
        api_lease(api, q->conn, existed ? 200 : 201);
    }
}

/* List and watch of the Node: not in the log, they come when they like. */
static inline void api_watch(struct api *api, struct fake_request *q)
{
    char item[64] = "";
    assert_non_null(strstr(q->target, "fieldSelector=metadata.name%3Duk-0"));
    if (strstr(q->target, "watch=1")) {
        fake_begin(q->conn);
        api->watch = q->conn;
        return;
    }
    api->node_lists++;
    if (api->node_exists)
        str_fmt(item, sizeof(item), "{\"metadata\":{\"uid\":\"uid-%u\"}}", api->uids);
    char *body = xasprintf("{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[%s]}", item);
    fake_reply(q->conn, 200, "", body);
    free(body);
}

/* What the watch tells of the Node; ready: "True", "Unknown". */
static inline void api_tell(struct api *api, const char *type, unsigned version, const char *ready)
{
    char *line = xasprintf(
        "{\"type\":\"%s\",\"object\":{\"metadata\":{\"uid\":\"uid-%u\",\"resourceVersion\":\"%u\"},"
        "\"status\":{\"conditions\":[{\"type\":\"MemoryPressure\",\"status\":\"False\"},"
        "{\"type\":\"DiskPressure\",\"status\":\"False\"},{\"type\":\"PIDPressure\",\"status\":"
        "\"False\"},"
        "{\"type\":\"Mine\",\"status\":\"Unknown\"},{\"type\":\"Ready\",\"status\":\"%s\"}]}}}",
        type, api->uids, version, ready);
    fake_line(api->watch, line);
    free(line);
}

static inline void api_serve(struct fake *fake, struct fake_request *q)
{
    struct api *api = fake->userdata;
    if (str_starts(q->target, PATH_NODES "?")) {
        api_watch(api, q);
        return;
    }
    struct override *o = &api->override;
    struct json *body = q->body[0] ? json_parse(q->body, strlen(q->body), NULL) : NULL;
    bool lease = str_starts(q->target, PATH_LEASES);
    (void)buf_addf(&api->log, "%s %s;", q->method,
                   lease                            ? "lease"
                   : str_eq(q->target, PATH_STATUS) ? "status"
                                                    : "node");
    assert_true(body || !q->body[0]);
    if (api->silent || (o->times && str_eq(q->method, o->method) && str_eq(q->target, o->target))) {
        json_free(body);
        if (api->silent)
            return;
        o->times -= o->times > 0;
        api_refuse(q->conn, o->status, o->body ? o->body : "refused by the test");
    } else if (lease) {
        api_leases(api, q, body);
        json_free(body);
    } else {
        api_nodes(api, q, body);
    }
}

/* ---- the bench ---- */

static inline void turn(struct bench *b)
{
    struct pollfd fds[] = {
        {.fd = uv_backend_fd(&b->agent.loop), .events = POLLIN},
        {.fd = uv_backend_fd(&b->fake.loop), .events = POLLIN},
    };
    (void)poll(fds, 2, 2);
    (void)uv_run(&b->agent.loop, UV_RUN_NOWAIT);
    (void)uv_run(&b->fake.loop, UV_RUN_NOWAIT);
}

#define WAIT(b, condition)                                                  \
    do {                                                                    \
        uint64_t until_ = clock_mono_ms() + WAIT_MS;                        \
        while (!(condition) && clock_mono_ms() < until_)                    \
            turn(b);                                                        \
        if (!(condition))                                                   \
            fail_msg("%s; so far: %s", #condition, buf_str(&(b)->api.log)); \
    } while (0)

static inline void pass(struct bench *b, uint64_t ms)
{
    uint64_t until = clock_mono_ms() + ms;
    while (clock_mono_ms() < until)
        turn(b);
}

static inline void bench_open(struct bench *b)
{
    static char name[] = "uk-0", empty[] = "";
    struct kube_config kube = {0};
    memset(b, 0, sizeof(*b));
    str_copy(b->dir, sizeof(b->dir), "/tmp/test-node-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    buf_init(&b->api.log, 1 << 20);
    buf_init(&b->events, 4096);
    fake_start(&b->fake, api_serve, &b->api);
    assert_int_equal(uv_loop_init(&b->agent.loop), 0);
    kube.server = b->fake.url;
    assert_int_equal(kube_client_new(&b->agent.loop, &kube, &b->agent.client, NULL), 0);
    b->agent.config.node_name = name;
    b->agent.config.provider_id = empty;
    b->agent.config.state_dir = b->dir;
    b->agent.config.port = 10250;
    b->agent.config.max_pods = 250;
    b->agent.config.lease_seconds = 1;
    b->agent.config.status_update_ms = 20;
    b->agent.config.status_report_ms = 300000;
    str_copy(b->agent.host_ip, sizeof(b->agent.host_ip), "192.0.2.1");
    b->agent.host = &b->host;
    b->host = (struct host){.architecture = "amd64",
                            .cpu_milli = 4000,
                            .cpu_allocatable_milli = 3900,
                            .memory_bytes = 8LL << 30,
                            .memory_allocatable_bytes = 7LL << 30,
                            .storage_allocatable_bytes = 900};
    b->memory_available = 4LL << 30;
    b->agent.vmm = &bench_vmm;
    b->agent.vmm_config.binary = (const char *)b;
    b->agent.images = (void *)b;
    b->agent.network = (void *)b;
    b->agent.events = (void *)b;
}

static inline void bench_start(struct bench *b)
{
    b->node = node_start(&b->agent);
}

static inline void bench_close_handle(uv_handle_t *handle, void *userdata)
{
    (void)userdata;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static inline void bench_stop(struct bench *b)
{
    node_stop(b->node);
    b->agent.node = NULL;
}

static inline void bench_close(struct bench *b)
{
    bench_stop(b);
    kube_client_free(b->agent.client);
    uv_walk(&b->agent.loop, bench_close_handle, NULL);
    (void)uv_run(&b->agent.loop, UV_RUN_DEFAULT);
    node_free(b->node);
    assert_int_equal(uv_loop_close(&b->agent.loop), 0);
    fake_stop(&b->fake);
    json_free(b->api.posted);
    json_free(b->api.labels);
    json_free(b->api.status);
    buf_free(&b->api.log);
    buf_free(&b->events);
    assert_int_equal(file_remove_tree(b->dir), 0);
}

/* Up to the point where Node and Lease are there and nothing is under way. */
static inline void bench_settle(struct bench *b)
{
    bench_start(b);
    WAIT(b, b->node->state == NODE_REGISTERED && !b->node->request && b->api.lease_exists &&
                !b->node->lease_request && b->node->lease_owned);
}

/* A condition in a body; NULL when it is not there. */
static inline const struct json *condition(const struct json *body, const char *type)
{
    const struct json *list = json_path(body, "status.conditions");
    for (const struct json *c = json_first(list); c; c = json_next(c)) {
        if (str_eq(json_get_string(c, "type"), type))
            return c;
    }
    return NULL;
}

static inline bool is_ready(const struct json *body, const char *status)
{
    return str_eq(json_get_string(condition(body, "Ready"), "status"), status);
}
