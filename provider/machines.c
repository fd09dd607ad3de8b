/* The world of reconcile on this host: images, networks and machines of Pods, joined to the
 * callbacks of runtime/. Turns a Pod's spec into a machine's. Called by reconcile only. */
#include "provider/machines.h"
#include "provider/pull.h"
#include "provider/static_pods.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "provider/metrics.h"
#include "provider/prepare.h"
#include "provider/prober.h"
#include "provider/wants.h"
#include "runtime/statedir.h"
#include "runtime/stats.h"
#include "runtime/traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum deferred_kind {
    DEFER_PREPARED,
    DEFER_START_FAILED,
    DEFER_NET_ADDED,
    DEFER_NET_DELETED,
    DEFER_CLEANED
};

struct deferred {
    struct deferred *next;
    enum deferred_kind kind;
    char *uid;
    char *id;
    uint32_t container;
    int result;
    bool spec_error;
    char *reason;
    char *text;
};

static struct deferred *defer(struct agent *agent, enum deferred_kind kind, const char *uid)
{
    struct deferred *d = xcalloc(1, sizeof(*d));
    d->kind = kind;
    d->uid = xstrdup(uid);
    *agent->deferred_tail = d;
    agent->deferred_tail = &d->next;
    return d;
}

static void deferred_free(struct deferred *d)
{
    free(d->uid);
    free(d->id);
    free(d->reason);
    free(d->text);
    free(d);
}

static void deferred_answer(struct agent *agent, const struct deferred *d)
{
    struct reconcile *r = agent->reconcile;
    switch (d->kind) {
    case DEFER_PREPARED:
        reconcile_prepared(r, d->uid, d->container, d->result, d->reason, d->text);
        break;
    case DEFER_START_FAILED:
        reconcile_start_failed(r, d->uid, d->container, d->id, d->reason, d->text, d->spec_error);
        break;
    case DEFER_NET_ADDED:
        reconcile_net_added(r, d->uid, d->result, agent->host_ip, d->text);
        break;
    case DEFER_NET_DELETED:
        reconcile_net_deleted(r, d->uid, d->result, d->text);
        break;
    case DEFER_CLEANED:
        reconcile_cleaned(r, d->uid, d->result);
        break;
    }
}

void machine_answer_prepared(struct agent *agent, const char *uid, uint32_t container, int result,
                             const char *reason, const char *text)
{
    struct deferred *d = defer(agent, DEFER_PREPARED, uid);
    d->container = container;
    d->result = result;
    d->reason = xstrdup(reason);
    d->text = xstrdup(text);
}

bool machines_turn(struct agent *agent)
{
    struct deferred *list = agent->deferred_head;
    agent->deferred_head = NULL;
    agent->deferred_tail = &agent->deferred_head;
    bool any = list != NULL;
    while (list) {
        struct deferred *d = list;
        list = d->next;
        deferred_answer(agent, d);
        deferred_free(d);
    }
    return any;
}

void machines_end(struct agent *agent)
{
    while (agent->deferred_head) {
        struct deferred *d = agent->deferred_head;
        agent->deferred_head = d->next;
        deferred_free(d);
    }
}

struct machine *machine_of(struct agent *agent, struct pod *pod)
{
    if (!pod->machine) {
        struct machine *m = xcalloc(1, sizeof(*m));
        m->agent = agent;
        m->uid = xstrdup(pod->spec->uid);
        pod->machine = m;
    }
    return pod->machine;
}

/* ---- images ---- */

static void count_pull(const struct agent *agent, const struct image_result *result)
{
    struct metrics *metrics = metrics_of(agent);
    if (!metrics || (result->image && !result->pulled))
        return;
    metrics->pulled_bytes += result->image ? result->bytes : 0;
    metrics_operation(metrics, OPERATION_PULL_IMAGE, clock_mono_ns() - result->took_ms * 1000000,
                      !result->image);
}

static void on_pulled(void *userdata, const struct image_result *result)
{
    struct machine *m = userdata;
    m->pull = NULL;
    count_pull(m->agent, result);
    struct pull_result answer = {
        .result = result->image ? 0 : -EIO,
        .reason = result->reason,
        .error = result->error,
        .pulled = result->pulled,
        .took_ms = result->took_ms,
        .bytes = result->bytes,
    };
    if (result->image) {
        image_unref(m->image);
        m->image = result->image;
        m->image_of = m->pull_of;
        answer.digest = m->image->digest;
        answer.name = m->image->name;
    }
    reconcile_pulled(m->agent->reconcile, m->uid, m->pull_of, &answer);
}

static void world_pull(void *world, struct pod *pod, uint32_t container)
{
    struct agent *agent = world;
    struct machine *m = machine_of(agent, pod);
    if (m->pull)
        pull_cancel(m->pull);
    m->pull_of = container;
    m->pull = pull_start(agent, pod, container, on_pulled, m);
}

/* ---- network ---- */

struct net_call {
    struct agent *agent;
    char *uid;
    uint64_t began_ns; /* mono */
};

static struct net_call *net_call_new(struct agent *agent, const char *uid)
{
    struct net_call *call = xmalloc(sizeof(*call));
    call->agent = agent;
    call->uid = xstrdup(uid);
    call->began_ns = clock_mono_ns();
    return call;
}

/* A meta-plugin's further interfaces: nothing joins them to the machine, which has one NIC. */
static void tell_others(struct agent *agent, struct pod *pod, const struct network_result *net)
{
    if (net->others[0])
        agent_event(agent, pod, -1, true, "NetworkInterfaceUnused",
                    "CNI made a further interface, %s, in the Pod's network namespace; the guest "
                    "has one, eth0, and does not see it",
                    net->others);
}

/* As the kubelet sorts a Pod's addresses (kubelet.go, sortPodIPs): of the Node's first family
 * first. */
void machine_addresses(const struct agent *agent, const struct network_result *net,
                       char dst[OBSERVED_IP_MAX])
{
    bool six_first = strcspn(agent->host_ip, ":") < strcspn(agent->host_ip, ",");
    const char *first = six_first ? net->ip6 : net->ip;
    const char *second = six_first ? net->ip : net->ip6;
    if (!net->ip6[0])
        str_copy(dst, OBSERVED_IP_MAX, net->ip);
    else
        str_fmt(dst, OBSERVED_IP_MAX, "%s,%s", first, second);
}

static void on_net_added(void *userdata, int result, const struct network_result *net,
                         const char *error)
{
    struct net_call *call = userdata;
    struct pod *pod = reconcile_find_uid(call->agent->reconcile, call->uid);
    metrics_operation(metrics_of(call->agent), OPERATION_RUN_SANDBOX, call->began_ns, result < 0);
    char addresses[OBSERVED_IP_MAX] = "";
    if (pod && result == 0) {
        struct machine *m = machine_of(call->agent, pod);
        m->net = *net;
        m->net_up = true;
        machine_addresses(call->agent, net, addresses);
        tell_others(call->agent, pod, net);
        traffic_open(call->agent->traffic, call->uid, net->netns, net->ip);
    }
    reconcile_net_added(call->agent->reconcile, call->uid, result, addresses, error);
    free(call->uid);
    free(call);
}

static void world_net_add(void *world, struct pod *pod)
{
    struct agent *agent = world;
    struct network_port ports[CONTAINER_PORTS_MAX];
    struct network_pod net = {
        .uid = pod->spec->uid,
        .ns = pod->spec->ns,
        .name = pod->spec->name,
    };
    struct err err;
    if (!agent->network) {
        defer(agent, DEFER_NET_ADDED, pod->spec->uid);
        return;
    }
    int result = pod_network_wants(pod->spec, ports, &net.wants, &err);
    if (result < 0) {
        struct deferred *d = defer(agent, DEFER_NET_ADDED, pod->spec->uid);
        d->result = result;
        d->text = xstrdup(err.text);
        return;
    }
    network_add(agent->network, &net, on_net_added, net_call_new(agent, pod->spec->uid));
}

static void on_net_verified(void *userdata, int result, const struct network_result *net,
                            const char *error)
{
    struct net_call *call = userdata;
    struct pod *pod = reconcile_find_uid(call->agent->reconcile, call->uid);
    (void)net;
    /* The Pod may have gone meanwhile, and its network with it. */
    if (pod && pod->obs.net == NET_UP && result < 0)
        agent_event(call->agent, pod, -1, true, "NetworkCheckFailed",
                    "The Pod's network is not as CNI made it: %s; delete the Pod to have it made "
                    "anew",
                    error);
    free(call->uid);
    free(call);
}

void machine_verify_network(struct agent *agent, const char *uid)
{
    network_verify(agent->network, uid, on_net_verified, net_call_new(agent, uid));
}

static void on_net_deleted(void *userdata, int result, const struct network_result *net,
                           const char *error)
{
    struct net_call *call = userdata;
    (void)net;
    metrics_operation(metrics_of(call->agent), OPERATION_STOP_SANDBOX, call->began_ns, result < 0);
    reconcile_net_deleted(call->agent->reconcile, call->uid, result, error);
    free(call->uid);
    free(call);
}

static void world_net_del(void *world, struct pod *pod)
{
    struct agent *agent = world;
    struct machine *m = pod->machine;
    if (m)
        m->net_up = false;
    if (!agent->network)
        defer(agent, DEFER_NET_DELETED, pod->spec->uid);
    if (agent->traffic) /* or its socket would keep the namespace */
        traffic_close(agent->traffic, pod->spec->uid);
    if (agent->network)
        network_del(agent->network, pod->spec->uid, on_net_deleted,
                    net_call_new(agent, pod->spec->uid));
}

/* ---- machines ---- */

/* One that runs is either what was just launched, or an earlier agent's. */
static void count_running(struct machine *m, int64_t started_unix_ms)
{
    struct metrics *metrics = metrics_of(m->agent);
    const struct pod *pod = reconcile_find_uid(m->agent->reconcile, m->uid);
    if (!metrics || !pod)
        return;
    if (!m->launched_ns) {
        metrics->adopted++;
        return;
    }
    uint32_t attempt = pod->containers[m->container].attempt;
    metrics->machines_started++;
    metrics->restarts += attempt > 0;
    metrics->pods_started += attempt == 0;
    if (attempt == 0 && pod->obs.start_ms && started_unix_ms >= pod->obs.start_ms)
        histogram_add(&metrics->pod_start, (double)(started_unix_ms - pod->obs.start_ms) / 1e3);
    metrics_boot(metrics, m->agent->vmm->name, m->image ? m->image->guest_kind : "unknown",
                 (double)(clock_mono_ns() - m->launched_ns) / 1e9);
    metrics_operation(metrics, OPERATION_START_CONTAINER, m->launched_ns, false);
    m->launched_ns = 0;
}

static void on_running(void *userdata, int64_t started_unix_ms)
{
    struct machine *m = userdata;
    count_running(m, started_unix_ms);
    struct pod *pod = reconcile_find_uid(m->agent->reconcile, m->uid);
    if (pod && pod->origin == POD_FROM_API)
        prepare_running(m, pod);
    reconcile_running(m->agent->reconcile, m->uid, m->container, m->id, started_unix_ms);
}

static void on_failed(void *userdata, const struct err *err)
{
    struct machine *m = userdata;
    instance_release(m->instance);
    m->instance = NULL;
    metrics_operation(metrics_of(m->agent), OPERATION_START_CONTAINER, m->launched_ns, true);
    reconcile_start_failed(m->agent->reconcile, m->uid, m->container, m->id, "RunContainerError",
                           err->text, err->kind == ERR_SPEC);
}

static void on_exit_(void *userdata, const struct instance_end *end)
{
    struct machine *m = userdata;
    struct machine_exit exit = {
        .valid = true,
        .exit_code = end->oom ? 137 : end->exit.exit_code,
        .signal = end->exit.signal,
        .started_ms = end->started_ms,
        .finished_ms = end->finished_ms,
        .console = end->tail,
    };
    str_copy(exit.reason, sizeof(exit.reason),
             end->oom ? "OOMKilled" : (end->exit.reason ? end->exit.reason : ""));
    str_copy(exit.message, sizeof(exit.message), end->exit.message);
    str_copy(exit.id, sizeof(exit.id), m->id);
    struct metrics *metrics = metrics_of(m->agent);
    stats_close(m->stats);
    if (m->agent->traffic)
        traffic_ended(m->agent->traffic, m->uid);
    if (metrics) {
        metrics->ended++;
        metrics->oom_killed += end->oom;
    }
    instance_release(m->instance);
    m->instance = NULL;
    prepare_ended(m);
    reconcile_exited(m->agent->reconcile, m->uid, m->container, &exit);
    endpoints_container_ended(m->agent->endpoints, m->uid);
}

static void on_lost(void *userdata)
{
    struct machine *m = userdata;
    instance_release(m->instance);
    m->instance = NULL;
    prepare_ended(m);
    struct metrics *metrics = metrics_of(m->agent);
    stats_close(m->stats);
    if (m->agent->traffic)
        traffic_ended(m->agent->traffic, m->uid);
    if (metrics)
        metrics->lost++;
    reconcile_lost(m->agent->reconcile, m->uid, m->container, m->id);
    endpoints_container_ended(m->agent->endpoints, m->uid);
}

static const struct instance_ops instance_callbacks = {
    .on_running = on_running,
    .on_failed = on_failed,
    .on_exit = on_exit_,
    .on_lost = on_lost,
};

static void world_launch(void *world, struct pod *pod, uint32_t container, const char *id)
{
    struct agent *agent = world;
    struct machine *m = machine_of(agent, pod);
    struct err err = {0};
    str_copy(m->id, sizeof(m->id), id);
    m->container = container;
    m->launched_ns = clock_mono_ns();
    int result = machine_launch(m, pod, &instance_callbacks, &err);
    if (result == 0)
        return;
    metrics_operation(metrics_of(agent), OPERATION_START_CONTAINER, m->launched_ns, true);
    struct deferred *d = defer(agent, DEFER_START_FAILED, pod->spec->uid);
    d->container = container;
    d->id = xstrdup(id);
    d->reason =
        xstrdup(err.kind == ERR_SPEC ? "CreateContainerConfigError" : "CreateContainerError");
    d->text = xstrdup(err.text);
    d->spec_error = err.kind == ERR_SPEC;
}

static int world_stop(void *world, struct pod *pod, uint32_t container)
{
    struct machine *m = pod->machine;
    (void)world;
    (void)container;
    return m && m->instance ? instance_stop(m->instance) : -ENOTSUP;
}

static void world_kill(void *world, struct pod *pod, uint32_t container)
{
    struct machine *m = pod->machine;
    (void)world;
    (void)container;
    if (m && m->instance)
        instance_kill(m->instance);
}

static int world_resize(void *world, struct pod *pod, uint32_t container,
                        char error[OBSERVED_TEXT_MAX])
{
    const struct resources *to = &pod_container(pod->spec, container)->resources;
    struct machine *m = pod->machine;
    (void)world;
    int result = m && m->instance && m->container == container
                     ? instance_resize(m->instance, to->cpu_limit_milli, to->cpu_request_milli)
                     : -ENODEV;
    if (result < 0)
        str_fmt(error, OBSERVED_TEXT_MAX, "cannot change the limits of the machine's cgroup: %s",
                strerror(-result));
    return result;
}

static void world_resize_host(void *world, struct pod *pod, uint32_t container,
                              struct resize_host *ret)
{
    struct agent *agent = world;
    struct machine *m = pod->machine;
    const struct image *image =
        m && m->instance && m->container == container ? machine_image(m, pod, container) : NULL;
    const struct guest_ops *guest = image ? guest_find(image->guest_kind) : NULL;
    *ret = (struct resize_host){.cpus_max = machine_cpus_max(agent)};
    if (!guest)
        return;
    ret->guest_kind = guest->kind;
    ret->memory_mib_min = guest->memory_mib_min;
}

static void world_put_away(void *world, struct pod *pod, uint32_t container, const char *id)
{
    struct agent *agent = world;
    struct log_ctx ctx = pod_log(pod);
    struct err err = {0};
    (void)container;
    if (instance_remove(agent->instances, id, &err) < 0)
        log_warn(&ctx, "put-away", "%s", err.text);
}

static void world_clean(void *world, struct pod *pod)
{
    struct agent *agent = world;
    struct log_ctx ctx = pod_log(pod);
    struct err err = {0};
    int result = 0;
    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        const char *id = pod->containers[i].id;
        if (id[0] && instance_remove(agent->instances, id, &err) < 0) {
            log_warn(&ctx, "clean", "%s", err.text);
            result = -EBUSY;
        }
    }
    endpoints_container_ended(agent->endpoints, pod->spec->uid);
    char *dir = machine_log_dir(agent, pod->spec);
    int removed = file_remove_tree(dir);
    if (removed < 0)
        log_warn(&ctx, "clean", "cannot remove %s: %s", dir, strerror(-removed));
    free(dir);
    if (result == 0)
        result = prepare_clean(pod->machine, pod->spec->uid, agent, &err);
    if (result == -EBUSY && pod->machine && prepare_is_busy(pod->machine))
        return; /* a worker is in the volumes: it answers */
    if (result < 0)
        log_warn(&ctx, "clean", "%s", err.text);
    defer(agent, DEFER_CLEANED, pod->spec->uid)->result = result;
}

static void world_forget(void *world, struct pod *pod)
{
    struct machine *m = pod->machine;
    struct agent *agent = world;
    if ((pod->spec->features & PF_STATIC) && agent->static_pods)
        static_pods_forgot(agent->static_pods, pod->spec->uid);
    prober_forget(agent->prober, pod->spec->uid);
    if (!m)
        return;
    if (m->pull)
        pull_cancel(m->pull);
    if (m->instance)
        instance_release(m->instance);
    image_unref(m->image);
    prepare_forget(m);
    stats_close(m->stats);
    free(m->stats);
    free(m->uid);
    free(m);
    pod->machine = NULL;
}

static int world_save(void *world, const char *uid, const char *data, size_t len)
{
    struct agent *agent = world;
    struct log_ctx ctx = {.uid = uid};
    struct err err = {0};
    int result = statedir_save(agent->state, uid, data, len, &err);
    if (result < 0)
        log_error(&ctx, "state", "%s", err.text);
    return result;
}

static int world_unsave(void *world, const char *uid)
{
    struct agent *agent = world;
    struct log_ctx ctx = {.uid = uid};
    struct err err = {0};
    int result = statedir_remove(agent->state, uid, &err);
    if (result < 0)
        log_error(&ctx, "state", "%s", err.text);
    return result;
}

static struct now world_now(void *world)
{
    (void)world;
    return (struct now){.mono_ms = clock_mono_ms(), .unix_ms = clock_unix_ms()};
}

static void world_new_id(void *world, char id[OBSERVED_ID_MAX])
{
    (void)world;
    str_random_hex(id, 16);
}

void machines_init(struct agent *agent, struct world_ops *ops)
{
    agent->deferred_tail = &agent->deferred_head;
    ops->now = world_now;
    ops->pull = world_pull;
    ops->net_add = world_net_add;
    ops->net_del = world_net_del;
    ops->prepare = prepare_start;
    ops->launch = world_launch;
    ops->stop = world_stop;
    ops->kill = world_kill;
    ops->resize = world_resize;
    ops->resize_host = world_resize_host;
    ops->put_away = world_put_away;
    ops->clean = world_clean;
    ops->forget = world_forget;
    ops->save = world_save;
    ops->unsave = world_unsave;
    ops->new_id = world_new_id;
}

const struct instance_ops *machine_callbacks(void)
{
    return &instance_callbacks;
}
