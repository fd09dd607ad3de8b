/* The queue of questions and their life; see probe_call.h. Each gets a connection of its own, which
 * is closed with it: what is asked is whether the container takes one. */
#include "k8s/probe_priv.h"

#include "base/clock.h"
#include "base/str.h"

#include <stdlib.h>
#include <uv.h>

struct probe_caller {
    uv_idle_t later; /* starts what the end of another made room for */
    struct engine *engine;
    struct probe_calls queued, running;
    size_t queued_len, running_len;
};

static void on_later(uv_idle_t *idle);

static void wake(struct probe_caller *caller)
{
    if (caller->queued_len > 0 && caller->running_len < PROBE_CALLS_RUNNING_MAX)
        (void)uv_idle_start(&caller->later, on_later);
}

static void call_free(struct probe_call *call)
{
    struct probe_caller *caller = call->caller;

    if (call->running) {
        TAILQ_REMOVE(&caller->running, call, link);
        caller->running_len--;
    } else {
        TAILQ_REMOVE(&caller->queued, call, link);
        caller->queued_len--;
    }
    transfer_end(call->transfer);
    for (size_t i = 0; i < call->headers_len; i++) {
        free((char *)call->headers[i].key);
        free((char *)call->headers[i].value);
    }
    free(call->headers);
    buf_free(&call->body);
    free(call->host);
    free(call->url);
    free(call->service);
    free(call->bad_header);
    free(call);
}

void probe_finish(struct probe_call *call, const struct probe_answer *answer)
{
    struct probe_caller *caller = call->caller;
    struct probe_answer copy = *answer;
    probe_done done = call->done;
    void *userdata = call->userdata;

    copy.took_ns = clock_mono_ns() - call->began_ns;
    if (!copy.text)
        copy.text = "";
    call->transfer = (transfer_end(call->transfer), NULL);
    done(userdata, &copy);
    call_free(call);
    wake(caller);
}

uint32_t probe_left_ms(const struct probe_call *call)
{
    uint64_t gone_ms = (clock_mono_ns() - call->began_ns) / 1000000;

    return gone_ms < call->timeout_ms ? call->timeout_ms - (uint32_t)gone_ms : 1;
}

static void start(struct probe_call *call)
{
    struct probe_caller *caller = call->caller;

    TAILQ_REMOVE(&caller->queued, call, link);
    caller->queued_len--;
    TAILQ_INSERT_TAIL(&caller->running, call, link);
    caller->running_len++;
    call->running = true;
    call->began_ns = clock_mono_ns();
    switch (call->kind) {
    case HANDLER_HTTP:
        probe_http_start(call, caller->engine);
        break;
    case HANDLER_GRPC:
        probe_grpc_start(call, caller->engine);
        break;
    case HANDLER_TCP:
    case HANDLER_NONE:
    case HANDLER_SLEEP:
    case HANDLER_EXEC: /* the last three are never asked here */
        probe_tcp_start(call, caller->engine);
        break;
    }
}

static void on_later(uv_idle_t *idle)
{
    struct probe_caller *caller = idle->data;

    (void)uv_idle_stop(idle);
    while (caller->queued_len > 0 && caller->running_len < PROBE_CALLS_RUNNING_MAX)
        start(TAILQ_FIRST(&caller->queued));
}

struct probe_caller *probe_caller_new(struct uv_loop_s *loop)
{
    struct probe_caller *caller = xcalloc(1, sizeof(*caller));

    caller->engine = engine_new(loop);
    if (!caller->engine) {
        free(caller);
        return NULL;
    }
    engine_unlimited(caller->engine);
    (void)uv_idle_init(loop, &caller->later); /* cannot fail */
    caller->later.data = caller;
    TAILQ_INIT(&caller->queued);
    TAILQ_INIT(&caller->running);
    return caller;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void probe_caller_free(struct probe_caller *caller)
{
    struct probe_call *call;

    if (!caller)
        return;
    while ((call = TAILQ_FIRST(&caller->running)))
        call_free(call);
    while ((call = TAILQ_FIRST(&caller->queued)))
        call_free(call);
    engine_retire(caller->engine);
    uv_close((uv_handle_t *)&caller->later, on_closed);
}

struct probe_call *probe_call(struct probe_caller *caller, const struct probe_question *question,
                              probe_done done, void *userdata)
{
    struct probe_call *call = xcalloc(1, sizeof(*call));
    const struct handler *handler = question->handler;

    call->caller = caller;
    call->done = done;
    call->userdata = userdata;
    call->kind = handler->kind;
    call->purpose = question->purpose;
    call->tls = handler->tls;
    call->h2c = handler->h2c;
    call->host = xstrdup(question->host);
    call->port = question->port;
    call->timeout_ms = question->timeout_ms;
    call->grpc_status = -1;
    buf_init(&call->body, PROBE_BODY_MAX);
    if (handler->kind == HANDLER_HTTP)
        probe_http_prepare(call, handler);
    if (handler->kind == HANDLER_GRPC)
        call->service = xstrdup(handler->service);
    TAILQ_INSERT_TAIL(&caller->queued, call, link);
    caller->queued_len++;
    wake(caller);
    return call;
}

void probe_call_cancel(struct probe_call *call)
{
    struct probe_caller *caller;

    if (!call)
        return;
    caller = call->caller;
    call_free(call);
    wake(caller);
}

size_t probe_caller_running(const struct probe_caller *caller)
{
    return caller->running_len;
}

size_t probe_caller_waiting(const struct probe_caller *caller)
{
    return caller->queued_len;
}
