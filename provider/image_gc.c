/* When images are collected, and which of them Pods use. */
#include "provider/image_gc.h"

#include "base/log.h"
#include "base/str.h"
#include "provider/agent.h"
#include "runtime/image_gc.h"

#include <errno.h>
#include <stdlib.h>

struct image_collector {
    struct agent *agent;
    uv_timer_t timer;
};

struct question {
    const char *digest;
    bool used;
};

static void look(void *userdata, struct pod *pod)
{
    struct question *question = userdata;
    for (size_t i = 0; i < pod->obs.containers_len; i++)
        if (str_eq(pod->containers[i].image_digest, question->digest))
            question->used = true;
}

static bool in_use(void *userdata, const char *digest)
{
    struct agent *agent = userdata;
    struct question question = {.digest = digest};
    reconcile_each(agent->reconcile, look, &question);
    return question.used;
}

static int collect(struct agent *agent, const struct image_gc_config *rules)
{
    struct image_gc_result result;
    /* Before the first list nobody knows what is used. */
    if (!agent->images || !agent->reconcile || !reconcile_is_synced(agent->reconcile))
        return -EAGAIN;
    int r = image_gc(agent->images, rules, in_use, agent, &result);
    if (r < 0)
        return r;
    if (result.removed || result.blobs)
        log_info(NULL, "images",
                 "removed %zu images and %zu blobs: the disk was %u%% full, is %u%%",
                 result.removed, result.blobs, result.before, result.after);
    if (result.still_too_full && rules->high_percent > 0)
        log_warn(NULL, "images", "the images' disk is %u%% full and no image is left to remove",
                 result.after);
    return result.removed || result.blobs;
}

int image_collector_reclaim(struct agent *agent)
{
    static const struct image_gc_config everything = {.high_percent = 0, .low_percent = 0};
    return collect(agent, &everything);
}

static void on_timer(uv_timer_t *timer)
{
    struct image_collector *collector = timer->data;
    struct agent *agent = collector->agent;
    const struct config *config = &agent->config;
    const struct image_gc_config rules = {
        .high_percent = (unsigned)config->image_gc_high,
        .low_percent = (unsigned)config->image_gc_low,
        .min_age_s = (uint64_t)config->image_gc_min_age_s,
        .max_age_s = (uint64_t)config->image_gc_max_age_s,
    };
    /* 100 turns it off, as with the kubelet. */
    if (rules.high_percent < 100 || rules.max_age_s > 0)
        (void)collect(agent, &rules);
}

struct image_collector *image_collector_start(struct agent *agent)
{
    struct image_collector *collector = xcalloc(1, sizeof(*collector));
    collector->agent = agent;
    uv_timer_init(&agent->loop, &collector->timer);
    collector->timer.data = collector;
    uv_timer_start(&collector->timer, on_timer, IMAGE_GC_MS, IMAGE_GC_MS);
    return collector;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void image_collector_stop(struct image_collector *collector)
{
    if (collector)
        uv_close((uv_handle_t *)&collector->timer, on_closed);
}
