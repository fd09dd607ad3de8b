/* The agent's life: configuration, parts in their order, the loop, and an end that leaves every
 * machine running. Nothing is decided here. */
#include "runtime/image_worker.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "provider/agent.h"
#include "provider/image_cli.h"
#include "provider/metrics.h"
#include "provider/node.h"
#include "provider/shutdown.h"
#include "provider/startup.h"
#include "provider/static_pods.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define EXIT_CONFIG 2 /* the configuration is wrong: restarting does not help */
#define TRIM_MS 5000u
#define TRIM_BYTES (512 * 1024)

/* What a burst left free inside of the heap goes back to the host; the top alone goes by itself. */
static void trim(struct agent *agent, uint64_t now)
{
    if (now - agent->trimmed_ms < TRIM_MS)
        return;
    agent->trimmed_ms = now;
    size_t unused = mallinfo2().fordblks;
    if (unused < agent->trimmed_free)
        agent->trimmed_free = unused;
    if (unused - agent->trimmed_free < TRIM_BYTES)
        return;
    (void)malloc_trim(0);
    agent->trimmed_free = mallinfo2().fordblks;
}

static uint64_t flush(struct agent *agent)
{
    uint64_t deadline = DEADLINE_NONE;
    if (!agent->reconcile)
        return deadline;
    /* Deferred answers may come of a flush: twice is enough, the rest waits a turn. */
    for (int round = 0; round < 2; round++) {
        bool any = machines_turn(agent);
        deadline = reconcile_flush(agent->reconcile);
        if (!any && !agent->deferred_head)
            break;
    }
    return agent->deferred_head ? clock_mono_ms() : deadline;
}

static void on_deadline(uv_timer_t *timer)
{
    (void)timer; /* waking the loop is all: the flush follows */
}

/* From the moment when the loop woke with something to do until nothing is left to be begun. */
static void measure_lag(const struct agent *agent)
{
    struct metrics *metrics = metrics_of(agent);
    if (!metrics)
        return;
    if (!metrics->behind_ns)
        metrics->behind_ns = uv_now(&agent->loop) * 1000000;
    if (agent->deferred_head || reconcile_pending(agent->reconcile))
        return;
    histogram_add(&metrics->lag, (double)(uv_hrtime() - metrics->behind_ns) / 1e9);
    metrics->behind_ns = 0;
}

/* Runs just before the loop sleeps: everything that the callbacks of this turn recorded is acted
 * upon together. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct agent *agent = prepare->data;
    bool work = agent->deferred_head || (agent->reconcile && reconcile_pending(agent->reconcile));
    uint64_t deadline = flush(agent);
    uint64_t now = clock_mono_ms();
    if (work)
        measure_lag(agent);
    shutdown_turn(agent);
    if (deadline == DEADLINE_NONE)
        uv_timer_stop(&agent->timer);
    else
        uv_timer_start(&agent->timer, on_deadline, deadline > now ? deadline - now : 0, 0);
    trim(agent, now);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct agent *agent = handle->data;
    bool first = !agent->shutdown;
    if (agent->config.drain_on_exit && agent->node && first) {
        log_info(NULL, "stop", "signal %d: ending all Pods; a second one stops at once", signum);
        shutdown_begin(agent);
        return;
    }
    log_info(NULL, "stop", "signal %d: stopping; machines go on", signum);
    agent_stop(agent, 0);
}

static void close_handle(uv_handle_t *handle, void *userdata)
{
    (void)userdata;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Lets what is being closed close, and work in the pool end: nothing is left for a leak checker to
 * wonder about. */
static void close_loop(struct agent *agent)
{
    uv_prepare_stop(&agent->prepare);
    uv_walk(&agent->loop, close_handle, NULL);
    (void)uv_run(&agent->loop, UV_RUN_DEFAULT);
    node_free(agent->node);
    shutdown_end(agent);
    static_pods_free(agent->static_pods);
    (void)uv_loop_close(&agent->loop);
}

static int run(struct agent *agent, struct err *err)
{
    int result = uv_loop_init(&agent->loop);
    if (result < 0)
        return err_set(err, result, "event loop: %s", uv_strerror(result));
    uv_prepare_init(&agent->loop, &agent->prepare);
    uv_timer_init(&agent->loop, &agent->timer);
    uv_signal_init(&agent->loop, &agent->sigterm);
    uv_signal_init(&agent->loop, &agent->sigint);
    agent->prepare.data = agent->sigterm.data = agent->sigint.data = agent;
    uv_prepare_start(&agent->prepare, on_prepare);
    uv_signal_start(&agent->sigterm, on_signal, SIGTERM);
    uv_signal_start(&agent->sigint, on_signal, SIGINT);
    result = startup_begin(agent, err);
    if (result == 0) {
        (void)uv_run(&agent->loop, UV_RUN_DEFAULT);
        result = agent->exit_code;
    }
    startup_end(agent);
    close_loop(agent);
    return result;
}

/* Each machine costs the agent a descriptor or two. */
static void raise_files_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    struct agent agent = {0};
    struct err err = {0};
    enum config_command command;
    enum log_level level = LOG_INFO;
    /* Few arenas and no hoarding: the agent's memory is one of its promises. */
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_TRIM_THRESHOLD, 256 * 1024);
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && str_eq(argv[1], IMAGE_WORKER_COMMAND))
        return image_worker_main();
    if (argc > 1 && str_eq(argv[1], IMAGE_CLI_COMMAND))
        return image_cli_main(argc, argv);
    raise_files_limit();
    if (config_load(argc, argv, &agent.config, &command, &err) < 0) {
        fprintf(stderr, "unikubelet: %s\n", err.text);
        return EXIT_CONFIG;
    }
    (void)log_level_from_string(agent.config.log_level, &level);
    log_set_level(level);
    int result = 0;
    switch (command) {
    case CONFIG_HELP:
        config_help(stdout);
        break;
    case CONFIG_VERSION:
        printf("unikubelet %s\n", UNIKUBELET_VERSION);
        break;
    case CONFIG_CHECK:
        printf("the configuration is good\n");
        break;
    case CONFIG_PRINT:
        config_print(&agent.config, stdout);
        break;
    case CONFIG_RUN:
        log_info(NULL, "start", "unikubelet %s for node %s", UNIKUBELET_VERSION,
                 agent.config.node_name);
        result = run(&agent, &err);
        if (result < 0)
            log_error(NULL, "start", "%s", err.text);
        break;
    }
    config_free(&agent.config);
    return result < 0 ? EXIT_FAILURE : result;
}
