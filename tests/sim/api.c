/* The simulated API server: Pods of one node with versions and graceful deletion (contract 3.6),
 * status patches that are lost, refused or answered late, and a watch that keeps its order, repeats
 * itself and breaks. */
#include "sim.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

#define EVENTS_OF_A_POD_MAX 1000

enum news { NEWS_RELIST, NEWS_OBJECT, NEWS_GONE, NEWS_SYNCED };

static bool is_terminal(enum pod_phase phase)
{
    return phase == PHASE_SUCCEEDED || phase == PHASE_FAILED;
}

/* ---- watch ---- */

static const struct probe_spec probe = {.handler = {.kind = HANDLER_TCP},
                                        .period_s = 1,
                                        .timeout_s = 1,
                                        .success_threshold = 1,
                                        .failure_threshold = 1,
                                        .grace_s = 3};
static const struct handler hook = {.kind = HANDLER_SLEEP};

static void give_pod(struct sim *sim, const struct api_pod *api)
{
    struct sim_pod *p = &sim->pods[api->index];
    struct arena *arena = arena_new(1024);
    struct pod_spec *spec = arena_alloc(arena, sizeof(*spec));
    static const int32_t codes[] = {RULE_CODE};
    static const struct restart_rule rule = {RESTART_IN, codes, 1};
    static const char *const names[] = {"i1", "i2"};
    struct container_spec *c = arena_alloc(arena, sizeof(*c));
    struct container_spec *inits = arena_array(arena, INITS_MAX, sizeof(*inits));
    char version[24], image[24];
    str_fmt(version, sizeof(version), "%llu", (unsigned long long)api->version);
    str_fmt(image, sizeof(image), "reg/app:v%u", api->image);
    p->image_seen = api->image;
    *c = (struct container_spec){
        .name = "c",
        .image = arena_strdup(arena, image),
        .pull_policy = p->pull_policy,
        .api_restart_count = api->restarts[0],
        .own_restart_policy = p->rule,
        .restart_policy = RESTART_NEVER,
        .restart_rules = &rule,
        .restart_rules_len = p->rule,
        .resources = api->size,
        .desired = api->size,
        .cpu_restarts = p->cpu_restarts,
        .memory_restarts = p->memory_restarts,
    };
    for (uint32_t i = 0; i < p->inits; i++)
        inits[i] = (struct container_spec){
            .name = names[i],
            .image = "reg/init:v0",
            .pull_policy = p->pull_policy,
            .api_restart_count = api->restarts[1 + i],
            .resources = {-1, -1, -1, -1, -1, -1},
            .desired = {-1, -1, -1, -1, -1, -1},
        };
    for (int type = 0; type < _PROBE_MAX; type++)
        c->probes[type] = p->health & (1u << type) ? &probe : NULL;
    c->post_start = p->health & SIM_POST_START ? &hook : NULL;
    c->pre_stop = p->health & SIM_PRE_STOP ? &hook : NULL;
    *spec = (struct pod_spec){
        .uid = arena_strdup(arena, p->uid),
        .ns = "default",
        .name = arena_strdup(arena, p->name),
        .resource_version = arena_strdup(arena, version),
        .generation = api->generation,
        .deletion_ms = api->deletion_ms,
        .deletion_grace_s = api->grace_s,
        .node_name = "uk-0",
        .dns_policy = "ClusterFirst",
        .restart_policy = p->restart_policy,
        .grace_s = 30,
        .active_deadline_s = p->deadline_s,
        .features = p->features,
        .containers = c,
        .containers_len = 1,
        .init_containers = inits,
        .init_containers_len = p->inits,
        .api_phase = api->phase,
        .api_start_ms = api->start_ms,
        .api_scheduled = true,
        .api_hash = api->phase * 4u + api->ready_known * 2u + api->ready,
        .api_conditions[COND_READY] = {.known = api->ready_known, .status = api->ready},
    };
    p->deletion_seen = p->deletion_seen || api->deletion_ms != 0;
    reconcile_pod(sim->agent, arena, spec);
}

static void deliver(struct sim *sim, const struct event *event)
{
    if (event->b != sim->stream)
        return;
    const char *uid = sim->pods[event->pod.index].uid;
    switch ((enum news)event->n) {
    case NEWS_RELIST:
        reconcile_relist(sim->agent);
        break;
    case NEWS_OBJECT:
        sim_trace(sim, "news: %s version %llu%s", uid, (unsigned long long)event->pod.version,
                  event->pod.deletion_ms ? " deleted" : "");
        give_pod(sim, &event->pod);
        break;
    case NEWS_GONE:
        sim_trace(sim, "news: %s is gone", uid);
        sim->pods[event->pod.index].deletion_seen = true;
        reconcile_pod_gone(sim->agent, uid);
        break;
    case NEWS_SYNCED:
        sim_trace(sim, "news: synced");
        reconcile_synced(sim->agent);
        break;
    }
}

static void push(struct sim *sim, enum news news, const struct api_pod *pod)
{
    if (!sim->watching)
        return;
    uint64_t at_ms = sim->mono_ms + sim_random(sim, sim_chance(sim, 5) ? 5000 : 50);
    if (at_ms < sim->stream_ms)
        at_ms = sim->stream_ms;
    sim->stream_ms = at_ms;
    struct event event = {.fn = deliver, .epoch = sim->epoch, .b = sim->stream, .n = news};
    if (pod)
        event.pod = *pod;
    sim_after(sim, (uint32_t)(at_ms - sim->mono_ms), event);
    if (news == NEWS_OBJECT && sim_chance(sim, 5))
        sim_after(sim, (uint32_t)(at_ms - sim->mono_ms), event);
}

void api_list(struct sim *sim)
{
    sim->stream++;
    sim->watching = true;
    sim->stream_ms = sim->mono_ms;
    push(sim, NEWS_RELIST, NULL);
    for (uint32_t i = 0; i < sim->pods_len; i++) {
        if (sim->pods[i].api.exists)
            push(sim, NEWS_OBJECT, &sim->pods[i].api);
    }
    push(sim, NEWS_SYNCED, NULL);
}

static void list_again(struct sim *sim, const struct event *event)
{
    (void)event;
    api_list(sim);
}

void api_break_watch(struct sim *sim)
{
    if (!sim->agent || !sim->watching)
        return;
    sim_trace(sim, "the watch breaks");
    sim->watching = false;
    sim->stream++;
    sim_after(sim, sim_random(sim, 5000), (struct event){.fn = list_again, .epoch = sim->epoch});
}

/* ---- objects ---- */

void api_changed(struct sim *sim, struct sim_pod *pod)
{
    pod->api.version = ++sim->version;
    push(sim, NEWS_OBJECT, &pod->api);
}

static void remove_object(struct sim *sim, struct sim_pod *pod)
{
    sim_trace(sim, "API: %s is gone", pod->uid);
    pod->api.exists = false;
    pod->api.version = ++sim->version;
    push(sim, NEWS_GONE, &pod->api);
    if (pod->recreate && !sim->calm)
        (void)api_create(sim, pod->name);
}

struct sim_pod *api_create(struct sim *sim, const char *name)
{
    if (sim->pods_len == PODS_MAX)
        return NULL;
    uint32_t index = sim->pods_len++;
    struct sim_pod *pod = &sim->pods[index];
    *pod = (struct sim_pod){
        .api = {.index = index, .exists = true, .generation = 1, .phase = PHASE_PENDING},
        .restart_policy = (enum restart_policy)sim_random(sim, 3),
        .pull_policy = (enum pull_policy)sim_random(sim, 3),
        .features = sim_random(sim, 20) == 0 ? PF_HOST_NETWORK : 0,
        .health = sim_random(sim, 2) ? sim_random(sim, 32) : 0,
        .quality = sim_random(sim, 4) ? SIM_IMAGE_GOOD : (enum sim_image)(1 + sim_random(sim, 2)),
        .stop = (enum sim_stop)sim_random(sim, 3),
        .bad_kernel = sim_random(sim, 15) == 0,
        .run_ms = sim_random(sim, 2) ? 1 + sim_random(sim, 40000) : 0,
        .exit_code = sim_random(sim, 2) ? 0 : (int32_t)sim_random(sim, 256),
        .recreate = sim_random(sim, 3) == 0,
    };
    pod->api.finalizer = sim_random(sim, 10) == 0;
    pod->inits = sim_random(sim, 3) ? 0 : 1 + sim_random(sim, INITS_MAX);
    pod->rule = pod->restart_policy == RESTART_NEVER && sim_random(sim, 2);
    if (!pod->features && sim_random(sim, 8) == 0)
        pod->deadline_s = 1 + sim_random(sim, 60);
    if (pod->rule && sim_random(sim, 2))
        pod->exit_code = RULE_CODE;
    resize_create(sim, pod);
    str_fmt(pod->uid, sizeof(pod->uid), "u%u", index);
    str_copy(pod->name, sizeof(pod->name), name);
    sim_trace(sim, "API: %s (%s) is created, policy %d, runs %u ms to exit %d", pod->uid, pod->name,
              pod->restart_policy, pod->run_ms, pod->exit_code);
    api_changed(sim, pod);
    return pod;
}

void api_change_image(struct sim *sim, struct sim_pod *pod)
{
    if (!pod->api.exists)
        return;
    pod->api.image++;
    pod->api.generation++;
    sim_trace(sim, "API: %s gets image %u", pod->uid, pod->api.image);
    api_changed(sim, pod);
}

void api_touch(struct sim *sim, struct sim_pod *pod)
{
    if (!pod->api.exists)
        return;
    if (sim_random(sim, 2) && pod->api.ready) {
        /* The node lifecycle controller, after a silence of the node. */
        sim_trace(sim, "API: %s is marked not ready", pod->uid);
        pod->api.ready = false;
    } else if (sim_random(sim, 2) && pod->api.phase == PHASE_RUNNING) {
        sim_trace(sim, "API: somebody writes that %s is pending", pod->uid);
        pod->api.phase = PHASE_PENDING;
    }
    api_changed(sim, pod);
}

static void mark_deleted(struct sim *sim, struct sim_pod *pod, int64_t grace_s)
{
    sim_trace(sim, "API: %s is deleted with %lld s of grace", pod->uid, (long long)grace_s);
    pod->api.deletion_ms = sim_now(sim).unix_ms + grace_s * 1000;
    pod->api.grace_s = grace_s;
    pod->api.generation++;
    api_changed(sim, pod);
}

void api_delete(struct sim *sim, struct sim_pod *pod, int64_t grace_s)
{
    if (!pod->api.exists)
        return;
    bool at_once = is_terminal(pod->api.phase) || grace_s == 0;
    if (!pod->api.deletion_ms || grace_s < pod->api.grace_s)
        mark_deleted(sim, pod, at_once ? 0 : grace_s);
    if (at_once && !pod->api.finalizer)
        remove_object(sim, pod);
}

void api_force_delete(struct sim *sim, struct sim_pod *pod)
{
    api_delete(sim, pod, 0);
}

void api_drop_finalizer(struct sim *sim, struct sim_pod *pod)
{
    if (!pod->api.exists || !pod->api.finalizer)
        return;
    pod->api.finalizer = false;
    api_changed(sim, pod);
    /* With grace 0 the object only waited for this. */
    if (pod->api.deletion_ms && pod->api.grace_s == 0)
        remove_object(sim, pod);
}

/* ---- what the agent posts ---- */

struct fault {
    int http; /* 0: no answer came */
    bool applied;
};

static struct fault pick_fault(struct sim *sim)
{
    static const struct fault faults[] = {
        {0, false}, {0, true}, {500, false}, {429, false}, {409, false}, {403, false},
    };
    if (!sim_chance(sim, 15))
        return (struct fault){.http = 200, .applied = true};
    return faults[sim_random(sim, sizeof(faults) / sizeof(faults[0]))];
}

static void patch_answered(struct sim *sim, const struct event *event)
{
    char version[24];
    str_fmt(version, sizeof(version), "%llu", (unsigned long long)event->pod.version);
    sim_trace(sim, "patch of %s: %lld", sim->pods[event->a].uid, (long long)event->n);
    reconcile_patched(sim->agent, sim->pods[event->a].uid, (int)event->n, version, "fault");
}

/* The API server's own rules, and what no status may ever do. */
static bool patch_is_valid(struct sim *sim, const struct sim_pod *pod, const struct api_pod *next)
{
    const struct api_pod *old = &pod->api;
    if (is_terminal(old->phase) && next->phase != old->phase)
        sim_fail(sim, "%s: phase %s after %s", pod->uid, pod_phase_to_string(next->phase),
                 pod_phase_to_string(old->phase));
    if (old->start_ms && next->start_ms != old->start_ms)
        sim_fail(sim, "%s: its start time changes", pod->uid);
    for (uint32_t i = 0; i < CONTAINERS_MAX && !pod->forgiven; i++) {
        if (next->restarts[i] < old->restarts[i])
            sim_fail(sim, "%s: restartCount %u falls from %u to %u", pod->uid, i, old->restarts[i],
                     next->restarts[i]);
        if (old->init_done[i] && !next->init_done[i])
            sim_fail(sim, "%s: init container %u is done no more", pod->uid, i);
    }
    if (is_terminal(next->phase) && host_live_machine(sim, old->index))
        sim_fail(sim, "%s: its end is reported while it lives", pod->uid);
    bool final = !sim_will_restart(pod, 0, old->exit_code);
    if (old->terminated && !next->terminated && final) {
        if (!pod->forgiven)
            sim_fail(sim, "%s: back from terminated, which the API refuses", pod->uid);
        return false;
    }
    return true;
}

static void patch_arrives(struct sim *sim, const struct event *event)
{
    struct sim_pod *pod = &sim->pods[event->a];
    struct fault fault = pick_fault(sim);
    struct event answer = {.fn = patch_answered, .epoch = event->b, .a = event->a, .n = fault.http};
    if (!pod->api.exists) {
        answer.n = 404;
    } else if (fault.applied && !patch_is_valid(sim, pod, &event->pod)) {
        answer.n = 422;
    } else if (fault.applied) {
        struct api_pod *api = &pod->api;
        api->phase = event->pod.phase;
        api->ready_known = event->pod.ready_known;
        api->ready = event->pod.ready;
        api->late = event->pod.late;
        api->resize_waits = event->pod.resize_waits;
        api->resize_runs = event->pod.resize_runs;
        api->start_ms = event->pod.start_ms;
        memcpy(api->restarts, event->pod.restarts, sizeof(api->restarts));
        memcpy(api->init_done, event->pod.init_done, sizeof(api->init_done));
        api->terminated = event->pod.terminated;
        api->exit_code = event->pod.exit_code;
        memcpy(api->container_id, event->pod.container_id, sizeof(api->container_id));
        api_changed(sim, pod);
        answer.pod.version = api->version;
    }
    sim_after(sim, sim_random(sim, 100), answer);
}

static enum pod_phase phase_from(const char *text)
{
    for (int phase = 0; phase < PHASE_UNKNOWN; phase++) {
        if (str_eq(text, pod_phase_to_string((enum pod_phase)phase)))
            return (enum pod_phase)phase;
    }
    return PHASE_UNKNOWN;
}

static void read_container(struct sim *sim, const struct sim_pod *pod, const struct json *status,
                           struct api_pod *ret)
{
    const struct json *c = json_first(json_get(status, "containerStatuses"));
    const struct json *state = json_get(c, "state");
    const struct json *terminated = json_get(state, "terminated");
    int64_t number = 0;
    const char *id = json_get_string(c, "containerID");
    if (json_len(state) != 1)
        sim_fail(sim, "%s: %zu states at once", pod->uid, json_len(state));
    if (json_get_int(c, "restartCount", &number))
        ret->restarts[0] = (uint32_t)number;
    ret->terminated = terminated != NULL;
    if (terminated && json_get_int(terminated, "exitCode", &number))
        ret->exit_code = (int32_t)number;
    str_copy(ret->container_id, sizeof(ret->container_id), id ? id : "");
    if (json_get(state, "running") && !json_get_string(status, "podIP"))
        sim_fail(sim, "%s: running without an address", pod->uid);
}

static void read_inits(struct sim *sim, const struct sim_pod *pod, const struct json *status,
                       struct api_pod *ret)
{
    const struct json *c = json_first(json_get(status, "initContainerStatuses"));
    uint32_t i = 1;
    for (; c && i < CONTAINERS_MAX; c = json_next(c), i++) {
        const struct json *state = json_get(c, "state");
        int64_t number = 0;
        if (json_len(state) != 1)
            sim_fail(sim, "%s: %zu states of an init container", pod->uid, json_len(state));
        if (json_get_int(c, "restartCount", &number))
            ret->restarts[i] = (uint32_t)number;
        number = -1;
        ret->init_done[i] =
            json_int(json_path(state, "terminated.exitCode"), &number) && number == 0;
    }
    if (c || i != 1 + pod->inits)
        sim_fail(sim, "%s: %u init containers are reported", pod->uid, i - 1);
}

static bool read_status(struct sim *sim, const struct sim_pod *pod, const struct json *root,
                        struct api_pod *ret)
{
    const struct json *status = json_get(root, "status");
    const char *uid = json_string(json_path(root, "metadata.uid"));
    *ret = (struct api_pod){.index = pod->api.index};
    if (!str_eq(uid, pod->uid))
        return false;
    ret->phase = phase_from(json_get_string(status, "phase"));
    ret->late = json_get(status, "reason") /* left out: it stays */
                    ? str_eq(json_get_string(status, "reason"), "DeadlineExceeded")
                    : pod->api.late;
    if (ret->late && (!pod->deadline_s || ret->phase != PHASE_FAILED))
        sim_fail(sim, "%s: DeadlineExceeded and %s", pod->uid, pod_phase_to_string(ret->phase));
    const char *start = json_get_string(status, "startTime");
    if (!start || clock_parse_rfc3339(start, &ret->start_ms) < 0)
        return false;
    const struct json *cond = json_first(json_get(status, "conditions"));
    for (; cond; cond = json_next(cond)) {
        resize_read(cond, ret);
        if (!str_eq(json_get_string(cond, "type"), "Ready"))
            continue;
        ret->ready_known = true;
        ret->ready = str_eq(json_get_string(cond, "status"), "True");
    }
    read_container(sim, pod, status, ret);
    read_inits(sim, pod, status, ret);
    return ret->phase != PHASE_UNKNOWN && ret->ready_known && ret->start_ms;
}

static void op_patch_status(void *world, struct pod *pod, const char *body, size_t len)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    if (!p || !sim_op(sim, "patch", p->uid))
        return;
    struct event event = {.fn = patch_arrives, .a = p->api.index};
    struct json *root = json_parse(body, len, NULL);
    if (!root || !read_status(sim, p, root, &event.pod))
        sim_fail(sim, "%s: a status that cannot be read: %.*s", p->uid, (int)len, body);
    json_free(root);
    sim_trace(sim, "  %s: %s%s%s", p->uid, pod_phase_to_string(event.pod.phase),
              event.pod.ready ? " ready" : "", event.pod.terminated ? " terminated" : "");
    event.b = sim->epoch; /* whom to answer: the request itself outlives the agent */
    sim_after(sim, sim_random(sim, 100), event);
}

/* ---- the final DELETE ---- */

static void delete_answered(struct sim *sim, const struct event *event)
{
    sim_trace(sim, "delete of %s: %lld", sim->pods[event->a].uid, (long long)event->n);
    reconcile_deleted(sim->agent, sim->pods[event->a].uid, (int)event->n, "fault");
}

/* A Pod may only go when nothing of it is left, and its true end is on record. */
static void check_final_delete(struct sim *sim, const struct sim_pod *pod)
{
    const struct api_pod *api = &pod->api;
    if (!api->deletion_ms)
        sim_fail(sim, "%s: deleted by the agent alone", pod->uid);
    if (!is_terminal(api->phase))
        sim_fail(sim, "%s: deleted before its end was reported", pod->uid);
    if (!host_is_clean(sim, pod))
        sim_fail(sim, "%s: deleted while something of it is on the host", pod->uid);
    const struct sim_container *c = &pod->containers[0];
    if (c->ends == 0 || pod->forgiven || pod->evicted)
        return;
    if (!api->terminated || api->exit_code != c->last_exit ||
        (api->phase == PHASE_SUCCEEDED) != (c->last_exit == 0 && !api->late))
        sim_fail(sim, "%s: ended with %d, but %s with %d was reported", pod->uid, c->last_exit,
                 pod_phase_to_string(api->phase), api->exit_code);
}

static void delete_arrives(struct sim *sim, const struct event *event)
{
    struct sim_pod *pod = &sim->pods[event->a];
    struct fault fault = pick_fault(sim);
    if (!pod->api.exists) {
        fault.http = 404;
    } else if (fault.applied) {
        check_final_delete(sim, pod);
        pod->api.grace_s = 0;
        if (pod->api.finalizer)
            api_changed(sim, pod);
        else
            remove_object(sim, pod);
    }
    sim_after(
        sim, sim_random(sim, 100),
        (struct event){.fn = delete_answered, .epoch = event->b, .a = event->a, .n = fault.http});
}

static void op_delete_pod(void *world, struct pod *pod)
{
    struct sim *sim = world;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    if (p && sim_op(sim, "delete", p->uid))
        sim_after(sim, sim_random(sim, 100),
                  (struct event){.fn = delete_arrives, .a = p->api.index, .b = sim->epoch});
}

static void op_event(void *world, struct pod *pod, int container, bool warning, const char *reason,
                     const char *message)
{
    struct sim *sim = world;
    (void)container;
    (void)warning;
    if (sim->dying)
        return;
    struct sim_pod *p = sim_pod_of(sim, pod->spec->uid);
    sim_trace(sim, "  event of %s: %s: %s", pod->spec->uid, reason, message);
    if (p && ++p->events > EVENTS_OF_A_POD_MAX)
        sim_fail(sim, "%s: a storm of events", p->uid);
}

static bool op_refuse_env(void *world, const struct pod_spec *spec, struct refuse_env *ret)
{
    const struct sim *sim = world;
    (void)spec;
    *ret = (struct refuse_env){
        .allocatable_memory_bytes = 1 << 30,
        .node = {.known = true, .node_name = "uk-0", .allocatable = {4000, 1 << 30, 1 << 30, 110}},
    };
    return sim->env_known;
}

void api_ops(struct world_ops *ops)
{
    ops->patch_status = op_patch_status;
    ops->delete_pod = op_delete_pod;
    ops->event = op_event;
    ops->refuse_env = op_refuse_env;
}
