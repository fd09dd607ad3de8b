/* The clock, the queue and the command line of the simulation:
 *   sim [--seeds N] [--seed S] [--verbose]
 * --seed S runs one seed with its trace. A seed that fails is run again with its trace. The last
 * line is "N passed, N failed". */
#include "sim.h"

#include "base/log.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_MS 1000000u
#define UNIX_AT_START 1700000000000
#define STORY_MS 120000u     /* users and faults */
#define REST_MS 14400000u    /* then everything must come to rest within four hours */
#define FAILED_SEEDS_SHOWN 1 /* traces are long */

uint32_t sim_random(struct sim *sim, uint32_t below)
{
    /* xorshift64*: any seed but 0 */
    sim->random ^= sim->random >> 12;
    sim->random ^= sim->random << 25;
    sim->random ^= sim->random >> 27;
    uint64_t mixed = sim->random * 2685821657736338717u;
    return (uint32_t)((mixed >> 32) % below);
}

bool sim_chance(struct sim *sim, uint32_t percent)
{
    bool yes = sim_random(sim, 100) < percent;
    return yes && !sim->calm;
}

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

void sim_after(struct sim *sim, uint32_t delay_ms, struct event event)
{
    if (sim->queue_len == EVENTS_MAX) {
        sim_fail(sim, "the queue of events is full");
        return;
    }
    event.at_ms = sim->mono_ms + delay_ms;
    event.seq = sim->seq++;
    size_t i = sim->queue_len++;
    for (; i > 0 && earlier(&event, &sim->queue[(i - 1) / 2]); i = (i - 1) / 2)
        sim->queue[i] = sim->queue[(i - 1) / 2];
    sim->queue[i] = event;
}

static struct event queue_pop(struct sim *sim)
{
    struct event first = sim->queue[0];
    struct event last = sim->queue[--sim->queue_len];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim->queue_len)
            break;
        if (child + 1 < sim->queue_len && earlier(&sim->queue[child + 1], &sim->queue[child]))
            child++;
        if (!earlier(&sim->queue[child], &last))
            break;
        sim->queue[i] = sim->queue[child];
        i = child;
    }
    sim->queue[i] = last;
    return first;
}

void sim_trace(const struct sim *sim, const char *fmt, ...)
{
    if (!sim->verbose)
        return;
    va_list args;
    va_start(args, fmt);
    printf("%9.3f [%u] ", (double)(sim->mono_ms - START_MS) / 1000, sim->epoch);
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
}

void sim_fail(struct sim *sim, const char *fmt, ...)
{
    if (sim->failure[0])
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(sim->failure, sizeof(sim->failure), fmt, args);
    va_end(args);
    sim_trace(sim, "BROKEN: %s", sim->failure);
}

struct now sim_now(const struct sim *sim)
{
    return (struct now){
        .mono_ms = sim->mono_ms - sim->boot_offset_ms,
        .unix_ms = (int64_t)sim->mono_ms + sim->unix_offset_ms,
    };
}

struct sim_pod *sim_pod_of(struct sim *sim, const char *uid)
{
    for (uint32_t i = 0; i < sim->pods_len; i++) {
        if (strcmp(sim->pods[i].uid, uid) == 0)
            return &sim->pods[i];
    }
    sim_fail(sim, "the agent names an unknown uid %s", uid);
    return NULL;
}

bool sim_op(struct sim *sim, const char *what, const char *uid)
{
    if (sim->dying)
        return false;
    if (++sim->op_count == sim->die_at_op) {
        sim_trace(sim, "*** the agent is killed before %s %s", what, uid);
        sim->dying = true;
        return false;
    }
    sim_trace(sim, "%s %s", what, uid);
    return true;
}

/* One event, or the agent's next deadline, whichever is first. False: neither before until_ms. */
static bool step(struct sim *sim, uint64_t until_ms)
{
    uint64_t next = sim->queue_len ? sim->queue[0].at_ms : UINT64_MAX;
    bool wake = sim->agent && sim->wake_ms < next;
    if (wake)
        next = sim->wake_ms;
    if (next == UINT64_MAX || next > until_ms)
        return false;
    if (next > sim->mono_ms)
        sim->mono_ms = next;
    if (++sim->steps > STEPS_MAX)
        sim_fail(sim, "no rest after %d events", STEPS_MAX);
    if (!wake) {
        struct event event = queue_pop(sim);
        if (event.epoch == 0 || (event.epoch == sim->epoch && sim->agent))
            event.fn(sim, &event);
        agent_reap(sim);
    }
    agent_flush(sim);
    agent_reap(sim);
    return true;
}

static void run_until(struct sim *sim, uint64_t until_ms)
{
    while (!sim->failure[0] && step(sim, until_ms))
        ;
}

/* Until nothing happens any more. */
static void run_to_rest(struct sim *sim, const char *what)
{
    uint64_t until_ms = sim->mono_ms + REST_MS;
    run_until(sim, until_ms);
    if (!sim->failure[0] && (sim->queue_len || (sim->agent && sim->wake_ms != DEADLINE_NONE)))
        sim_fail(sim, "%s: no rest after %u s", what, REST_MS / 1000);
    sim_trace(sim, "--- %s", what);
}

/* True when every invariant held. */
static bool run(uint64_t seed, bool verbose)
{
    struct sim *sim = xcalloc(1, sizeof(*sim));
    sim->seed = seed;
    sim->random = seed * 0x9e3779b97f4a7c15u + 1;
    sim->verbose = verbose;
    sim->mono_ms = START_MS;
    sim->unix_offset_ms = UNIX_AT_START - START_MS;
    sim->wake_ms = DEADLINE_NONE;
    agent_start(sim);
    story_begin(sim);
    run_until(sim, START_MS + STORY_MS);
    story_calm(sim);
    run_to_rest(sim, "calm");
    if (!sim->failure[0])
        story_check_survivors(sim);
    story_delete_all(sim);
    run_to_rest(sim, "all deleted");
    if (!sim->failure[0])
        story_check_empty(sim);
    agent_free(sim);
    bool good = !sim->failure[0];
    if (!good)
        printf("seed %llu: %s (at %.3f s, agent %u)\n", (unsigned long long)seed, sim->failure,
               (double)(sim->mono_ms - START_MS) / 1000, sim->epoch);
    free(sim);
    return good;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 200;
    uint64_t first = 1;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (str_eq(argv[i], "--verbose")) {
            verbose = true;
        } else if (more && str_eq(argv[i], "--seeds") && str_to_u64(argv[i + 1], &seeds) == 0) {
            i++;
        } else if (more && str_eq(argv[i], "--seed") && str_to_u64(argv[i + 1], &first) == 0) {
            i++;
            seeds = 1;
            verbose = true;
        } else {
            fprintf(stderr, "usage: sim [--seeds N] [--seed S] [--verbose]\n");
            return 2;
        }
    }
    log_set_level(_LOG_LEVEL_MAX); /* failures are what this is about, and the trace has them */
    uint64_t failed = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        if (run(seed, verbose))
            continue;
        if (!verbose && failed < FAILED_SEEDS_SHOWN)
            (void)run(seed, true);
        failed++;
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)(seeds - failed),
           (unsigned long long)failed);
    return failed ? 1 : 0;
}
