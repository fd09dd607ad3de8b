/* Walks the logs and disk emptyDirs of Pods for which they count, in a worker, and judges on the
 * loop. What came or went meanwhile is looked up again by uid. */
#include "provider/local_storage.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "provider/agent.h"
#include "provider/core/storage.h"
#include "provider/machines.h"

#include <stdlib.h>

#define GRACE_MS 1000 /* as of a hard eviction */

/* One directory to measure. */
struct place {
    const char *uid;
    const char *dir;
    bool is_volume;
    size_t index; /* in the Pod's volumes or containers */
    int result;
    struct stats_files files;
};

struct walk {
    uv_work_t req;
    struct local_storage *storage; /* NULL: it was freed */
    struct arena *arena;
    struct place *places;
    size_t len, room;
};

struct local_storage {
    struct agent *agent;
    struct walk *walk;   /* under way, or NULL */
    struct map *volumes; /* uid -> struct stats_files, of the last walk */
};

struct local_storage *local_storage_new(struct agent *agent)
{
    struct local_storage *storage = xcalloc(1, sizeof(*storage));
    storage->agent = agent;
    storage->volumes = map_new();
    return storage;
}

static void drop_volumes(struct local_storage *storage)
{
    const char *uid;
    void *value;
    for (size_t it = 0; map_next(storage->volumes, &it, &uid, &value);)
        free(value);
    map_free(storage->volumes);
}

void local_storage_free(struct local_storage *storage)
{
    if (!storage)
        return;
    if (storage->walk)
        storage->walk->storage = NULL;
    drop_volumes(storage);
    free(storage);
}

void local_storage_volumes(const struct local_storage *storage, const char *uid,
                           struct stats_files *ret)
{
    const struct stats_files *files = storage ? map_get(storage->volumes, uid) : NULL;
    *ret = files ? *files : (struct stats_files){0};
}

/* ---- what there is to measure ---- */

static void add_place(struct walk *walk, const struct pod_spec *spec, bool is_volume, size_t index,
                      char *dir)
{
    if (walk->len == walk->room) {
        walk->room = walk->room ? 2 * walk->room : 16;
        walk->places = xrealloc(walk->places, walk->room * sizeof(*walk->places));
    }
    walk->places[walk->len++] = (struct place){.uid = arena_strdup(walk->arena, spec->uid),
                                               .dir = arena_strdup(walk->arena, dir),
                                               .is_volume = is_volume,
                                               .index = index};
    free(dir);
}

static void add_pod(void *userdata, struct pod *pod)
{
    struct walk *walk = userdata;
    const struct agent *agent = walk->storage->agent;
    const struct pod_spec *spec = pod->spec;
    if (pod->refused || pod->obs.verdict || pod_ending(spec, &pod->obs) || !storage_counts(spec))
        return;
    for (size_t i = 0; i < spec->volumes_len; i++)
        if (spec->volumes[i].kind == VOLUME_EMPTY_DIR && !spec->volumes[i].memory)
            add_place(walk, spec, true, i,
                      xasprintf("%s/volumes/%s/%s", agent->config.state_dir, spec->uid,
                                spec->volumes[i].name));
    for (size_t i = 0; i < pod->obs.containers_len; i++) {
        char *logs = machine_log_dir(agent, spec);
        add_place(walk, spec, false, i, xasprintf("%s/%s", logs, pod_container(spec, i)->name));
        free(logs);
    }
}

/* In a worker. */
static void measure(uv_work_t *req)
{
    struct walk *walk = req->data;
    for (size_t i = 0; i < walk->len; i++)
        walk->places[i].result = stats_files(walk->places[i].dir, &walk->places[i].files);
}

/* ---- what follows ---- */

static void evict(struct agent *agent, struct pod *pod, const char *text)
{
    struct pod_verdict verdict = {
        .reason = "Evicted", .disruption = true, .grace_ms = GRACE_MS, .since_ms = clock_unix_ms()};
    str_copy(verdict.message, sizeof(verdict.message), text);
    agent_event(agent, pod, -1, true, "Evicted", "%s", text);
    (void)reconcile_end(agent->reconcile, pod->spec->uid, &verdict);
}

static void keep_volumes(struct local_storage *storage, const char *uid,
                         const struct stats_files *files)
{
    struct stats_files *kept = xcalloc(1, sizeof(*kept));
    *kept = *files;
    free(map_set(storage->volumes, uid, kept));
}

/* The places from first on that are of the same Pod; returns how many. */
static size_t judge(struct walk *walk, size_t first)
{
    struct local_storage *storage = walk->storage;
    const char *uid = walk->places[first].uid;
    struct pod *pod = reconcile_find_uid(storage->agent->reconcile, uid);
    struct stats_files volumes = {0};
    char text[OBSERVED_VERDICT_MAX];
    size_t len = 0;
    /* A Pod's volumes and containers cannot change while it lives: the indices are good. */
    int64_t *of_volumes = xcalloc((pod ? pod->spec->volumes_len : 0) + 1, sizeof(*of_volumes));
    int64_t *of_containers = xcalloc((pod ? pod->obs.containers_len : 0) + 1, sizeof(*of_volumes));
    for (; first + len < walk->len && str_eq(walk->places[first + len].uid, uid); len++) {
        const struct place *place = &walk->places[first + len];
        if (!pod || place->result < 0)
            continue;
        if (place->is_volume && place->index < pod->spec->volumes_len) {
            of_volumes[place->index] = (int64_t)place->files.bytes;
            volumes.bytes += place->files.bytes;
            volumes.inodes += place->files.inodes;
        } else if (!place->is_volume && place->index < pod->obs.containers_len) {
            of_containers[place->index] = (int64_t)place->files.bytes;
        }
    }
    const struct storage_used used = {of_volumes, of_containers};
    if (pod)
        keep_volumes(storage, uid, &volumes);
    if (pod && !pod->obs.verdict && !pod_ending(pod->spec, &pod->obs) &&
        storage_exceeds(pod->spec, &used, text, sizeof(text)))
        evict(storage->agent, pod, text);
    free(of_volumes);
    free(of_containers);
    return len;
}

static void walk_free(struct walk *walk)
{
    arena_free(walk->arena);
    free(walk->places);
    free(walk);
}

static void on_measured(uv_work_t *req, int status)
{
    struct walk *walk = req->data;
    struct local_storage *storage = walk->storage;
    if (storage) {
        storage->walk = NULL;
        drop_volumes(storage);
        storage->volumes = map_new();
    }
    for (size_t i = 0; storage && status == 0 && i < walk->len;)
        i += judge(walk, i);
    walk_free(walk);
}

void local_storage_check(struct local_storage *storage)
{
    struct agent *agent = storage->agent;
    if (storage->walk || !agent->reconcile || !reconcile_is_synced(agent->reconcile))
        return;
    struct walk *walk = xcalloc(1, sizeof(*walk));
    walk->req.data = walk;
    walk->storage = storage;
    walk->arena = arena_new(1024);
    reconcile_each(agent->reconcile, add_pod, walk);
    if (walk->len == 0 || uv_queue_work(&agent->loop, &walk->req, measure, on_measured) < 0) {
        walk_free(walk);
        return;
    }
    storage->walk = walk;
}
