/* The rules of probes; see probe.h. The kubelet asks on a grid that begins when the Pod was added,
 * so its first answer comes somewhere within a period. Here the first one is asked as soon as the
 * machine runs, and as long as nobody listens yet (a guest boots in tens of milliseconds) again
 * shortly after, without counting that: the container is ready the moment it answers, and has a
 * full period before its first failure counts, as the kubelet's grid gives it at most. */
#include "provider/core/probe.h"

#include "base/str.h"
#include "provider/core/step.h"

#include <assert.h>
#include <string.h>

#define PORT_MAX 65535

void probe_begin(struct probe_worker *w, const struct probe_spec *spec, int64_t started_ms,
                 bool adopted, uint64_t delay_ms, const struct now *now)
{
    int64_t left_ms = started_ms + (int64_t)spec->initial_delay_s * 1000 - now->unix_ms;

    /* A clock that was set back must not keep a probe waiting longer than it asked for. */
    if (left_ms > (int64_t)spec->initial_delay_s * 1000)
        left_ms = (int64_t)spec->initial_delay_s * 1000;
    *w = (struct probe_worker){.adopted = adopted};
    w->next_ms = now->mono_ms + (left_ms > 0 ? (uint64_t)left_ms : 0) + delay_ms;
    w->grid_ms = w->next_ms + (adopted ? 0 : (uint64_t)spec->period_s * 1000);
}

void probe_asked(struct probe_worker *w, const struct now *now)
{
    /* A second try after an error is part of the same probe. */
    if (w->errors == 0)
        w->begun_ms = now->mono_ms;
}

static bool try_early(struct probe_worker *w, const struct now *now)
{
    uint64_t pause_ms = PROBE_EARLY_MS << (w->early < 6 ? w->early : 6);

    if (w->last != PROBE_UNKNOWN || now->mono_ms >= w->grid_ms)
        return false;
    w->early++;
    if (pause_ms > PROBE_EARLY_MS_MAX)
        pause_ms = PROBE_EARLY_MS_MAX;
    w->next_ms = now->mono_ms + pause_ms;
    if (w->next_ms > w->grid_ms)
        w->next_ms = w->grid_ms;
    return true;
}

static void schedule(struct probe_worker *w, const struct probe_spec *spec, const struct now *now)
{
    w->next_ms = w->begun_ms + (uint64_t)spec->period_s * 1000;
    if (w->next_ms < now->mono_ms)
        w->next_ms = now->mono_ms;
}

struct probe_verdict probe_answered(struct probe_worker *w, const struct probe_spec *spec,
                                    enum probe_type type, enum probe_outcome outcome, bool unheard,
                                    const struct now *now)
{
    struct probe_verdict verdict = {0};
    enum probe_result result = outcome == PROBE_FAILED ? PROBE_FAILURE : PROBE_SUCCESS;
    uint32_t threshold =
        result == PROBE_FAILURE ? spec->failure_threshold : spec->success_threshold;

    if (outcome == PROBE_ERROR) {
        if (++w->errors < PROBE_TRIES_MAX) {
            w->next_ms = now->mono_ms;
            return verdict;
        }
        w->errors = 0;
        schedule(w, spec, now);
        verdict.told = true;
        return verdict;
    }
    w->errors = 0;
    if (outcome == PROBE_FAILED && unheard && try_early(w, now))
        return verdict;
    schedule(w, spec, now);
    verdict.counted = verdict.told = true;
    w->run = w->last == result ? w->run + 1 : 1;
    w->last = result;
    if (w->run < threshold)
        return verdict;
    verdict.changed = true;
    verdict.result = result;
    /* Its work is done, or the machine's days are numbered. */
    w->hold = type == PROBE_STARTUP || (type == PROBE_LIVENESS && result == PROBE_FAILURE);
    return verdict;
}

bool probe_started(const struct container_spec *container, const struct container_observed *c)
{
    if (c->machine != MACHINE_RUNNING || (container->post_start && c->post_start != HOOK_DONE))
        return false;
    return !container->probes[PROBE_STARTUP] || c->probes[PROBE_STARTUP] == PROBE_SUCCESS;
}

bool probe_ready(const struct container_spec *container, const struct container_observed *c)
{
    return probe_started(container, c) &&
           (!container->probes[PROBE_READINESS] || c->probes[PROBE_READINESS] == PROBE_SUCCESS);
}

bool probe_wanted(const struct pod_spec *spec, const struct container_spec *container,
                  const struct pod_observed *obs, const struct container_observed *c,
                  enum probe_type type)
{
    if (!container->probes[type] || c->machine != MACHINE_RUNNING || obs->net != NET_UP)
        return false;
    if (container->post_start && c->post_start != HOOK_DONE)
        return false;
    /* While it is being ended only readiness still matters: traffic comes until it says no. */
    if (type != PROBE_READINESS && (pod_ending(spec, obs) || c->doom != DOOM_NONE || c->stop_sent ||
                                    c->kill_sent || c->pre_stop != HOOK_NONE))
        return false;
    if (type == PROBE_STARTUP)
        return c->probes[type] == PROBE_UNKNOWN;
    return probe_started(container, c) &&
           (type != PROBE_LIVENESS || c->probes[type] != PROBE_FAILURE);
}

enum probe_type probe_condemned(const struct container_spec *container,
                                const struct container_observed *c)
{
    if (c->machine != MACHINE_RUNNING)
        return _PROBE_MAX;
    if (container->probes[PROBE_LIVENESS] && c->probes[PROBE_LIVENESS] == PROBE_FAILURE)
        return PROBE_LIVENESS;
    if (container->probes[PROBE_STARTUP] && c->probes[PROBE_STARTUP] == PROBE_FAILURE)
        return PROBE_STARTUP;
    return _PROBE_MAX;
}

uint16_t handler_port(const struct handler *handler, const struct container_spec *container,
                      char *text, size_t size)
{
    int32_t port = handler->port;

    if (handler->port_name) {
        port = -1;
        for (size_t i = 0; i < container->ports_len && port < 0; i++) {
            if (str_eq(container->ports[i].name, handler->port_name))
                port = container->ports[i].container_port;
        }
        if (port < 0) {
            str_fmt(text, size, "port \"%s\" not found", handler->port_name);
            return 0;
        }
    }
    if (port > 0 && port <= PORT_MAX)
        return (uint16_t)port;
    str_fmt(text, size, "invalid port number: %d", port);
    return 0;
}

const char *probe_type_to_string(enum probe_type type)
{
    static const char *const names[] = {
        [PROBE_STARTUP] = "Startup",
        [PROBE_LIVENESS] = "Liveness",
        [PROBE_READINESS] = "Readiness",
    };
    static_assert(sizeof(names) / sizeof(names[0]) == _PROBE_MAX, "a name for each probe");

    return (unsigned)type < _PROBE_MAX ? names[type] : "?";
}
