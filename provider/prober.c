/* See prober.h. */
#include "provider/prober_priv.h"

#include "base/cleanup.h"
#include "base/map.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE SIZE_MAX

/* Prometheus' default bounds, which the kubelet uses here. */
static const double kubelet_bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
static const double took_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                     0.1,    0.25,  0.5,    1,     2.5,  5,     10};
static const double late_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                     0.25,  0.5,    1,     2.5,  5,     10};

/* ---- the heap ---- */

static void put(struct prober *p, size_t at, struct worker *w)
{
    p->heap[at] = w;
    w->at = at;
}

static void sift_up(struct prober *p, size_t at)
{
    struct worker *w = p->heap[at];

    while (at > 0 && p->heap[(at - 1) / 2]->rule.next_ms > w->rule.next_ms) {
        put(p, at, p->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(p, at, w);
}

static void sift_down(struct prober *p, size_t at)
{
    struct worker *w = p->heap[at];

    for (size_t child; (child = 2 * at + 1) < p->heap_len; at = child) {
        if (child + 1 < p->heap_len &&
            p->heap[child + 1]->rule.next_ms < p->heap[child]->rule.next_ms)
            child++;
        if (p->heap[child]->rule.next_ms >= w->rule.next_ms)
            break;
        put(p, at, p->heap[child]);
    }
    put(p, at, w);
}

static void heap_add(struct prober *p, struct worker *w)
{
    if (p->heap_len == p->heap_cap) {
        p->heap_cap = p->heap_cap ? 2 * p->heap_cap : 64;
        p->heap = xrealloc(p->heap, p->heap_cap * sizeof(*p->heap));
    }
    put(p, p->heap_len++, w);
    sift_up(p, w->at);
}

static void heap_remove(struct prober *p, struct worker *w)
{
    size_t at = w->at;

    if (at == NOWHERE)
        return;
    w->at = NOWHERE;
    p->heap_len--;
    if (at == p->heap_len)
        return;
    put(p, at, p->heap[p->heap_len]);
    sift_up(p, at);
    sift_down(p, p->heap[at]->at);
}

/* ---- asking ---- */

static void on_timer(uv_timer_t *timer);

static void arm(struct prober *p)
{
    if (p->heap_len == 0) {
        (void)uv_timer_stop(&p->timer);
        return;
    }
    uint64_t now_ms = p->ops->now(p->userdata).mono_ms, next_ms = p->heap[0]->rule.next_ms;

    (void)uv_timer_start(&p->timer, on_timer, next_ms > now_ms ? next_ms - now_ms : 0, 0);
}

/* Only what a former agent began is spread over a period: nobody waits for it. */
static void begin(struct worker *w, const struct probe_spec *spec,
                  const struct container_observed *c)
{
    struct prober *p = w->owner->prober;
    struct now now = p->ops->now(p->userdata);
    bool adopted = c->started_ms != 0 && c->started_ms < p->started_ms;
    uint32_t random = (uint32_t)str_hash(c->id, strlen(c->id)) ^ (uint32_t)w->type * 0x9e3779b9u;

    str_copy(w->id, sizeof(w->id), c->id);
    probe_begin(&w->rule, spec, c->started_ms, adopted,
                adopted ? random % (spec->period_s * 1000u) : 0, &now);
}

static const struct probe_spec *spec_of(const struct worker *w, const struct pod *pod)
{
    if (!pod || w->container >= pod->obs.containers_len)
        return NULL;
    return pod_container(pod->spec, w->container)->probes[w->type];
}

static void tell(struct worker *w, struct pod *pod, const struct probe_answer *answer)
{
    struct prober *p = w->owner->prober;
    const char *type = probe_type_to_string(w->type);
    char text[PROBE_TEXT_MAX + 64];

    switch (answer->outcome) {
    case PROBE_OK:
        return;
    case PROBE_WARNING:
        str_fmt(text, sizeof(text), "%s probe warning: %s", type, answer->text);
        p->ops->event(p->userdata, pod, (int)w->container, "ProbeWarning", text);
        return;
    case PROBE_FAILED:
        str_fmt(text, sizeof(text), "%s probe failed: %s", type, answer->text);
        break;
    case PROBE_ERROR:
        str_fmt(text, sizeof(text), "%s probe errored and resulted in %s state: %s", type,
                answer->result, answer->text);
        break;
    }
    p->ops->event(p->userdata, pod, (int)w->container, "Unhealthy", text);
}

static void on_answer(void *userdata, const struct probe_answer *answer)
{
    struct worker *w = userdata;
    struct prober *p = w->owner->prober;
    struct now now = p->ops->now(p->userdata);
    struct pod *pod = p->ops->find(p->userdata, w->owner->uid);
    const struct probe_spec *spec = spec_of(w, pod);

    w->call = NULL;
    if (!spec)
        return;
    if (answer->took_ns) {
        double seconds = (double)answer->took_ns / 1e9;
        double late = (double)(now.mono_ms - w->due_ms) / 1e3 - seconds;

        histogram_add(&p->stats.took[w->type], seconds);
        histogram_add(&p->stats.late, late > 0 ? late : 0);
        if (answer->outcome == PROBE_OK || answer->outcome == PROBE_WARNING)
            histogram_add(&w->seconds, seconds);
    }
    struct probe_verdict verdict =
        probe_answered(&w->rule, spec, w->type, answer->outcome, answer->unheard, &now);
    if (verdict.counted)
        w->counts[answer->outcome == PROBE_FAILED]++;
    if (!w->rule.hold)
        heap_add(p, w);
    arm(p);
    if (verdict.told)
        tell(w, pod, answer);
    if (verdict.changed)
        p->ops->result(p->userdata, w->owner->uid, w->id, w->type, verdict.result);
}

static void ask(struct worker *w, const struct now *now)
{
    struct prober *p = w->owner->prober;
    struct pod *pod = p->ops->find(p->userdata, w->owner->uid);
    const struct probe_spec *spec = spec_of(w, pod);
    char text[128];

    if (!spec)
        return;
    struct probe_question question = {
        .handler = &spec->handler,
        .host = spec->handler.host ? spec->handler.host : pod->obs.pod_ip,
        .port = handler_port(&spec->handler, pod_container(pod->spec, w->container), text,
                             sizeof(text)),
        .timeout_ms = spec->timeout_s < UINT32_MAX / 1000 ? spec->timeout_s * 1000 : UINT32_MAX,
        .purpose = PURPOSE_PROBE,
    };
    w->due_ms = w->rule.next_ms;
    probe_asked(&w->rule, now);
    if (question.port == 0) {
        struct probe_answer answer = {.outcome = PROBE_ERROR, .result = "unknown", .text = text};

        on_answer(w, &answer);
        return;
    }
    w->call = probe_call(p->caller, &question, on_answer, w);
}

static void on_timer(uv_timer_t *timer)
{
    struct prober *p = timer->data;
    struct now now = p->ops->now(p->userdata);

    /* As many as were due when it began: one that is due again at once waits a turn. */
    for (size_t n = p->heap_len; n > 0 && p->heap_len > 0; n--) {
        struct worker *w = p->heap[0];

        if (w->rule.next_ms > now.mono_ms)
            break;
        heap_remove(p, w);
        ask(w, &now);
    }
    arm(p);
}

/* ---- Pods ---- */

static struct worker *find_worker(const struct probed *probed, size_t container,
                                  enum probe_type type)
{
    for (size_t i = 0; probed && i < probed->len; i++) {
        if (probed->workers[i]->container == container && probed->workers[i]->type == type)
            return probed->workers[i];
    }
    return NULL;
}

static struct worker *add_worker(struct prober *p, const char *uid, size_t container,
                                 enum probe_type type)
{
    struct probed *probed = map_get(p->by_uid, uid);
    struct worker *w = xcalloc(1, sizeof(*w));

    if (!probed) {
        probed = xcalloc(1, sizeof(*probed));
        probed->prober = p;
        probed->uid = xstrdup(uid);
        map_set(p->by_uid, uid, probed);
    }
    w->owner = probed;
    w->container = container;
    w->type = type;
    w->at = NOWHERE;
    histogram_init(&w->seconds, kubelet_bounds, ARRAY_LEN(kubelet_bounds));
    probed->workers[probed->len++] = w;
    return w;
}

static void stop_asking(struct worker *w)
{
    heap_remove(w->owner->prober, w);
    probe_call_cancel(w->call);
    w->call = NULL;
}

static void look_at(struct prober *p, struct pod *pod, size_t i, enum probe_type type)
{
    const struct container_spec *container = pod_container(pod->spec, i);
    const struct container_observed *c = &pod->obs.containers[i];
    struct worker *w = find_worker(map_get(p->by_uid, pod->spec->uid), i, type);

    if (!probe_wanted(pod->spec, container, &pod->obs, c, type)) {
        if (w)
            stop_asking(w);
        return;
    }
    if (!w)
        w = add_worker(p, pod->spec->uid, i, type);
    if (!str_eq(w->id, c->id)) {
        stop_asking(w);
        begin(w, container->probes[type], c);
    }
    if (!w->call && w->at == NOWHERE && !w->rule.hold)
        heap_add(p, w);
}

void prober_look(struct prober *p, struct pod *pod)
{
    bool any = false;

    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        const struct container_spec *container = pod_container(pod->spec, i);

        for (int type = 0; type < _PROBE_MAX; type++) {
            if (!container->probes[type])
                continue;
            look_at(p, pod, i, (enum probe_type)type);
            any = true;
        }
    }
    if (any)
        arm(p);
    hooks_look(p, pod);
}

static void probed_free(struct probed *probed)
{
    for (size_t i = 0; i < probed->len; i++) {
        stop_asking(probed->workers[i]);
        free(probed->workers[i]);
    }
    free(probed->uid);
    free(probed);
}

void prober_forget(struct prober *p, const char *uid)
{
    struct probed *probed = map_remove(p->by_uid, uid);

    hooks_forget(p, uid);
    if (probed)
        probed_free(probed);
}

struct prober *prober_new(uv_loop_t *loop, const struct prober_ops *ops, void *userdata)
{
    struct prober *p = xcalloc(1, sizeof(*p));

    p->caller = probe_caller_new(loop);
    if (!p->caller) {
        free(p);
        return NULL;
    }
    p->loop = loop;
    p->ops = ops;
    p->userdata = userdata;
    p->by_uid = map_new();
    p->started_ms = ops->now(userdata).unix_ms;
    LIST_INIT(&p->hooks);
    (void)uv_timer_init(loop, &p->timer); /* cannot fail */
    p->timer.data = p;
    for (int i = 0; i < _PROBE_MAX; i++)
        histogram_init(&p->stats.took[i], took_bounds, ARRAY_LEN(took_bounds));
    histogram_init(&p->stats.late, late_bounds, ARRAY_LEN(late_bounds));
    return p;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void prober_free(struct prober *p)
{
    const char *key;
    void *value;

    if (!p)
        return;
    hooks_forget(p, NULL);
    for (size_t it = 0; map_next(p->by_uid, &it, &key, &value);)
        probed_free(value);
    map_free(p->by_uid);
    probe_caller_free(p->caller);
    free(p->heap);
    uv_close((uv_handle_t *)&p->timer, on_closed);
}

const struct prober_stats *prober_stats(const struct prober *p)
{
    return &p->stats;
}

void prober_each(const struct prober *p,
                 void (*each)(void *userdata, const struct prober_sample *sample), void *userdata)
{
    const char *key;
    void *value;

    for (size_t it = 0; map_next(p->by_uid, &it, &key, &value);) {
        const struct probed *probed = value;

        for (size_t i = 0; i < probed->len; i++) {
            const struct worker *w = probed->workers[i];
            struct prober_sample sample = {
                .uid = probed->uid,
                .container = w->container,
                .type = w->type,
                .counts = w->counts,
                .seconds = &w->seconds,
            };

            each(userdata, &sample);
        }
    }
}
