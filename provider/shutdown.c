/* Graceful shutdown of the node (contract 3.10), as the kubelet's shutdown manager: the Node says
 * "node is shutting down" and lets nothing in; ordinary Pods end first, critical and static ones
 * after them, each within the time of its group and never longer than its own grace; all are Failed
 * with reason Terminated. Every verdict is in the Pod's record before anything stops: if the agent
 * is killed meanwhile, the next one goes on ending them. */
#include "provider/shutdown.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "provider/agent.h"
#include "provider/core/admit.h"
#include "provider/node.h"

#include <stdlib.h>

#define KILL_MS 2000u     /* after a group's time: for machines that had to be killed */
#define POST_MS_MAX 5000u /* after the last machine: for the API server to take the statuses */

enum stage { STAGE_ORDINARY, STAGE_CRITICAL, STAGE_POSTING, STAGE_DONE };

struct shutdown {
    struct agent *agent;
    enum stage stage;
    uv_timer_t timer;
    uint64_t deadline_ms; /* mono: of the stage */
    size_t ended;         /* Pods */
};

static uint64_t stage_ms(const struct agent *agent, enum stage stage)
{
    uint64_t all = (uint64_t)agent->config.shutdown_seconds * 1000;
    uint64_t critical = (uint64_t)agent->config.shutdown_critical_seconds * 1000;
    if (critical > all)
        critical = all;
    return stage == STAGE_CRITICAL ? critical : all - critical;
}

static bool is_of(const struct pod *pod, enum stage stage)
{
    return pod_is_critical(pod->spec) == (stage == STAGE_CRITICAL);
}

static void end_pod(void *userdata, struct pod *pod)
{
    struct shutdown *shutdown = userdata;
    int64_t budget_ms = (int64_t)stage_ms(shutdown->agent, shutdown->stage);
    int64_t grace_ms =
        pod->spec->grace_s < budget_ms / 1000 ? pod->spec->grace_s * 1000 : budget_ms;
    struct pod_verdict verdict = {
        .reason = "Terminated",
        .message = "Pod was terminated in response to imminent node shutdown.",
        .disruption = true,
        .grace_ms = grace_ms > 0 ? grace_ms : 0,
        .since_ms = clock_unix_ms(),
    };
    if (!is_of(pod, shutdown->stage) || (pod->spec->features & PF_MIRROR) ||
        pod->origin == POD_FROM_STATE)
        return;
    shutdown->ended += reconcile_end(shutdown->agent->reconcile, pod->spec->uid, &verdict);
}

static void on_time(uv_timer_t *timer)
{
    (void)timer; /* waking the loop is all: the turn follows */
}

static void enter(struct shutdown *shutdown, enum stage stage)
{
    uint64_t wait_ms = POST_MS_MAX;
    shutdown->stage = stage;
    if (stage < STAGE_POSTING) {
        wait_ms = stage_ms(shutdown->agent, stage) + KILL_MS;
        reconcile_each(shutdown->agent->reconcile, end_pod, shutdown);
    }
    shutdown->deadline_ms = clock_mono_ms() + wait_ms;
    uv_timer_start(&shutdown->timer, on_time, wait_ms, 0);
}

void shutdown_begin(struct agent *agent)
{
    struct shutdown *shutdown = xcalloc(1, sizeof(*shutdown));
    shutdown->agent = agent;
    agent->shutdown = shutdown;
    uv_timer_init(&agent->loop, &shutdown->timer);
    log_info(NULL, "shutdown", "ending all Pods within %lld s",
             (long long)agent->config.shutdown_seconds);
    node_shutting_down(agent->node);
    enter(shutdown, STAGE_ORDINARY);
}

struct count {
    enum stage stage;
    size_t running;
    size_t unposted;
};

static void count_pod(void *userdata, struct pod *pod)
{
    struct count *count = userdata;
    if (pod->spec->features & PF_MIRROR)
        return;
    if (!pod_machines_gone(&pod->obs))
        count->running += is_of(pod, count->stage);
    else if (pod->obs.verdict && !pod->obs.terminal_acked && !(pod->spec->features & PF_STATIC))
        count->unposted++;
}

void shutdown_turn(struct agent *agent)
{
    struct shutdown *shutdown = agent->shutdown;
    if (!shutdown || shutdown->stage == STAGE_DONE)
        return;
    struct count count = {.stage = shutdown->stage};
    bool late = clock_mono_ms() >= shutdown->deadline_ms;
    reconcile_each(agent->reconcile, count_pod, &count);
    if (shutdown->stage < STAGE_POSTING) {
        if (count.running && !late)
            return;
        if (count.running)
            log_warn(NULL, "shutdown", "%zu Pods did not end in time", count.running);
        enter(shutdown, shutdown->stage + 1);
        uv_timer_start(&shutdown->timer, on_time, 0, 0); /* look again at once */
        return;
    }
    if (count.unposted && !late)
        return;
    log_info(NULL, "shutdown", "%zu Pods ended, the status of %zu could not be posted",
             shutdown->ended, count.unposted);
    shutdown->stage = STAGE_DONE;
    agent_stop(agent, 0);
}

void shutdown_end(struct agent *agent)
{
    free(agent->shutdown);
    agent->shutdown = NULL;
}
