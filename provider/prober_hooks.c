/* postStart and preStop (contract 3.7): an HTTP request whose answer may be anything, or a pause.
 * How long a preStop may take is pod_step's business, which stops waiting for it; what is left here
 * ends with its attempt. Part of prober. */
#include "provider/prober_priv.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The kubelet waits for ever; a hook that has not been answered by now will not be. */
#define HOOK_HTTP_MS 600000u
#define HOOK_SLEEP_S_MAX (INT32_MAX / 1000)

struct hook_run {
    LIST_ENTRY(hook_run) link;
    struct prober *prober;
    char *uid;
    size_t container;
    char id[OBSERVED_ID_MAX];
    enum hook_type type;
    struct probe_call *call; /* NULL: none */
    uv_timer_t timer;        /* a pause, or a failure that is told in a moment */
    bool failed;
    bool fallback; /* HTTPS was answered by HTTP: the second try */
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void run_free(struct hook_run *run)
{
    LIST_REMOVE(run, link);
    probe_call_cancel(run->call);
    free(run->uid);
    uv_close((uv_handle_t *)&run->timer, on_closed);
}

static void finish(struct hook_run *run, bool failed)
{
    struct prober *p = run->prober;

    p->ops->hooked(p->userdata, run->uid, run->id, run->type, failed);
    run_free(run);
}

static void on_timer(uv_timer_t *timer)
{
    struct hook_run *run = timer->data;

    finish(run, run->failed);
}

static void finish_later(struct hook_run *run, bool failed, uint64_t ms)
{
    run->failed = failed;
    (void)uv_timer_start(&run->timer, on_timer, ms, 0);
}

static const struct handler *handler_of(const struct hook_run *run, const struct pod *pod)
{
    const struct container_spec *container;

    if (!pod || run->container >= pod->obs.containers_len)
        return NULL;
    container = pod_container(pod->spec, run->container);
    return run->type == HOOK_POST_START ? container->post_start : container->pre_stop;
}

static void on_answer(void *userdata, const struct probe_answer *answer);

static void request(struct hook_run *run, const struct pod *pod, const struct handler *handler)
{
    char text[128];
    struct probe_question question = {
        .handler = handler,
        .host = handler->host ? handler->host : pod->obs.pod_ip,
        .port = handler_port(handler, pod_container(pod->spec, run->container), text, sizeof(text)),
        .timeout_ms = HOOK_HTTP_MS,
        .purpose = PURPOSE_HOOK,
    };

    if (question.port == 0 || str_empty(question.host))
        finish_later(run, true, 0);
    else
        run->call = probe_call(run->prober->caller, &question, on_answer, run);
}

/* Once more without TLS, and without what was meant for a secret ear. */
static void fall_back(struct hook_run *run, const struct pod *pod, const struct handler *handler)
{
    struct key_value *headers = xcalloc(handler->headers_len + 1, sizeof(*headers));
    struct handler plain = *handler;

    plain.tls = false;
    plain.headers = headers;
    plain.headers_len = 0;
    for (size_t i = 0; i < handler->headers_len; i++) {
        if (strcasecmp(handler->headers[i].key, "Authorization") != 0)
            headers[plain.headers_len++] = handler->headers[i];
    }
    run->fallback = true;
    request(run, pod, &plain);
    free(headers);
}

static void tell_fallback(const struct hook_run *run, struct pod *pod,
                          const struct handler *handler)
{
    const struct prober *p = run->prober;
    const char *host = handler->host ? handler->host : pod->obs.pod_ip;
    bool v6 = strchr(host, ':') != NULL;
    char text[512];

    str_fmt(text, sizeof(text),
            "request to HTTPS lifecycle hook %s%s%s:%u got HTTP response, retry with HTTP "
            "succeeded",
            v6 ? "[" : "", host, v6 ? "]" : "",
            handler_port(handler, pod_container(pod->spec, run->container), (char[64]){0}, 64));
    p->ops->event(p->userdata, pod, -1, "LifecycleHTTPFallback", text);
}

static void on_answer(void *userdata, const struct probe_answer *answer)
{
    struct hook_run *run = userdata;
    struct pod *pod = run->prober->ops->find(run->prober->userdata, run->uid);
    const struct handler *handler = handler_of(run, pod);

    run->call = NULL;
    if (answer->plain_http && handler && !run->fallback) {
        fall_back(run, pod, handler);
        return;
    }
    if (run->fallback && handler && answer->status != 0)
        tell_fallback(run, pod, handler);
    finish(run, answer->status == 0);
}

void prober_hook(struct prober *p, struct pod *pod, size_t container, enum hook_type type)
{
    struct hook_run *run = xcalloc(1, sizeof(*run));
    const struct handler *handler;

    run->prober = p;
    run->uid = xstrdup(pod->spec->uid);
    run->container = container;
    run->type = type;
    str_copy(run->id, sizeof(run->id), pod->obs.containers[container].id);
    (void)uv_timer_init(p->loop, &run->timer); /* cannot fail */
    run->timer.data = run;
    LIST_INSERT_HEAD(&p->hooks, run, link);
    handler = handler_of(run, pod);
    if (handler && handler->kind == HANDLER_HTTP)
        request(run, pod, handler);
    else if (handler && handler->kind == HANDLER_SLEEP)
        finish_later(run, false,
                     1000 * (uint64_t)(handler->sleep_s < HOOK_SLEEP_S_MAX ? handler->sleep_s
                                                                           : HOOK_SLEEP_S_MAX));
    else
        finish_later(run, true, 0);
}

void hooks_look(struct prober *p, const struct pod *pod)
{
    struct hook_run *next;

    for (struct hook_run *run = LIST_FIRST(&p->hooks); run; run = next) {
        next = LIST_NEXT(run, link);
        if (!str_eq(run->uid, pod->spec->uid))
            continue;
        const struct container_observed *c = &pod->obs.containers[run->container];
        if (c->machine != MACHINE_RUNNING || !str_eq(c->id, run->id))
            run_free(run);
    }
}

void hooks_forget(struct prober *p, const char *uid)
{
    struct hook_run *next;

    for (struct hook_run *run = LIST_FIRST(&p->hooks); run; run = next) {
        next = LIST_NEXT(run, link);
        if (!uid || str_eq(run->uid, uid))
            run_free(run);
    }
}
