/* See objects.h. Called by prepare.c for each start and by volumes that follow their sources. */
#include "provider/objects.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/map.h"
#include "base/str.h"
#include "k8s/watch.h"
#include "provider/objects_data.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define ERROR_MAX 256

LIST_HEAD(object_holds, object_hold);

struct object {
    struct objects *all;
    enum object_kind kind;
    char *key, *name;
    struct object_holds holds;
    struct watch *watch;
    enum object_state state;
    bool seen; /* in the list under way */
    bool immutable;
    bool listed_once; /* not watched: the list is all there is */
    struct object_copy *copy;
    uint64_t hash; /* of the data */
    char error[ERROR_MAX];
};

struct object_hold {
    LIST_ENTRY(object_hold) link;
    struct object *object;
    void *userdata;
};

struct objects {
    struct kube_client *client;
    struct objects_ops ops;
    void *userdata;
    struct map *map; /* "kind/ns/name" */
    size_t watches;
    struct watch *services_watch;
    struct map *services; /* "ns/name" -> struct service_copy */
    bool services_synced;
};

struct objects *objects_new(struct kube_client *client, const struct objects_ops *ops,
                            void *all_userdata)
{
    struct objects *all = xcalloc(1, sizeof(*all));

    all->client = client;
    all->ops = *ops;
    all->userdata = all_userdata;
    all->map = map_new();
    all->services = map_new();
    return all;
}

static void clear_services(struct objects *all)
{
    const char *key;
    void *value;

    for (size_t it = 0; map_next(all->services, &it, &key, &value);)
        free(map_remove(all->services, key));
}

void objects_free(struct objects *all)
{
    if (!all)
        return;
    watch_stop(all->services_watch);
    clear_services(all);
    map_free(all->services);
    map_free(all->map);
    free(all);
}

/* ---- one object ---- */

static void tell(struct object *object)
{
    struct object_hold *hold, *next;

    for (hold = LIST_FIRST(&object->holds); hold; hold = next) {
        next = LIST_NEXT(hold, link);
        object->all->ops.changed(hold->userdata);
    }
}

static void end_watch(struct object *object)
{
    if (!object->watch)
        return;
    watch_stop(object->watch);
    object->watch = NULL;
    object->all->watches--;
}

static void set_missing(struct object *object)
{
    bool news = object->state != OBJECT_MISSING;

    object_copy_free(object->copy);
    object->copy = NULL;
    object->state = OBJECT_MISSING;
    object->error[0] = '\0';
    if (news)
        tell(object);
}

static void take(struct object *object, const struct json *json)
{
    struct object_copy *copy = object_copy_new(json, object->kind == OBJECT_SECRET);
    uint64_t hash = object_copy_hash(copy);
    bool immutable = false;
    bool news = object->state != OBJECT_THERE || hash != object->hash;

    object_copy_free(object->copy);
    object->copy = copy;
    object->hash = hash;
    object->state = OBJECT_THERE;
    object->error[0] = '\0';
    object->immutable = json_get_bool(json, "immutable", &immutable) && immutable;
    if (news)
        tell(object);
}

static void on_relist(void *userdata)
{
    struct object *object = userdata;

    object->seen = false;
}

static void on_object(void *userdata, enum watch_event event, const struct json *json)
{
    struct object *object = userdata;
    const char *name = json_string(json_path(json, "metadata.name"));

    if (!str_eq(name, object->name))
        return; /* a server that does not know the selector */
    object->seen = event != WATCH_DELETED;
    if (event == WATCH_DELETED)
        set_missing(object);
    else
        take(object, json);
}

static void on_synced(void *userdata)
{
    struct object *object = userdata;

    if (!object->seen)
        set_missing(object);
    if (object->immutable || object->listed_once)
        end_watch(object);
}

static void on_error(void *userdata, const char *text)
{
    struct object *object = userdata;

    if (object->state != OBJECT_UNKNOWN)
        return; /* what is known stands; the watch is taken up again by itself */
    str_copy(object->error, sizeof(object->error), text);
    tell(object);
}

static void begin_watch(struct object *object, const char *ns)
{
    static const struct watch_ops ops = {
        .on_relist = on_relist,
        .on_object = on_object,
        .on_synced = on_synced,
        .on_error = on_error,
    };
    const char *kind = object->kind == OBJECT_SECRET ? "secrets" : "configmaps";
    char *path = xasprintf("/api/v1/namespaces/%s/%s", ns, kind);
    char *query = xasprintf("fieldSelector=metadata.name%%3D%s", object->name);
    struct watch_config config = {.path = path, .query = query};

    object->listed_once = object->all->watches >= OBJECT_WATCHES_MAX;
    object->all->watches++;
    object->watch = watch_start(object->all->client, &config, &ops, object);
    free(path);
    free(query);
}

struct object_hold *objects_hold(struct objects *all, enum object_kind kind, const char *ns,
                                 const char *name, void *userdata)
{
    char *key = xasprintf("%d/%s/%s", (int)kind, ns, name);
    struct object *object = map_get(all->map, key);
    struct object_hold *hold;

    if (!object && map_len(all->map) >= OBJECTS_MAX) {
        free(key);
        return NULL;
    }
    if (!object) {
        object = xcalloc(1, sizeof(*object));
        object->all = all;
        object->kind = kind;
        object->name = xstrdup(name);
        object->key = TAKE(key);
        LIST_INIT(&object->holds);
        map_set(all->map, object->key, object);
        begin_watch(object, ns);
    }
    free(key);
    hold = xcalloc(1, sizeof(*hold));
    hold->object = object;
    hold->userdata = userdata;
    LIST_INSERT_HEAD(&object->holds, hold, link);
    return hold;
}

void object_release(struct object_hold *hold)
{
    if (!hold)
        return;
    struct object *object = hold->object;

    LIST_REMOVE(hold, link);
    free(hold);
    if (!LIST_EMPTY(&object->holds))
        return;
    end_watch(object);
    map_remove(object->all->map, object->key);
    object_copy_free(object->copy);
    free(object->key);
    free(object->name);
    free(object);
}

enum object_state object_state(const struct object_hold *hold)
{
    return hold->object->state;
}

const struct object_data *object_data(const struct object_hold *hold)
{
    return hold->object->state == OBJECT_THERE ? object_copy_data(hold->object->copy) : NULL;
}

const char *object_error(const struct object_hold *hold)
{
    return hold->object->error;
}

void object_refresh(struct object_hold *hold)
{
    struct object *object = hold->object;

    if (object->watch || (object->immutable && object->state == OBJECT_THERE))
        return;
    char *ns = xstrdup(object->key + 2);
    *strchr(ns, '/') = '\0';
    object->state = OBJECT_UNKNOWN;
    begin_watch(object, ns);
    free(ns);
}

bool object_is_secret(const struct object_hold *hold)
{
    return hold->object->kind == OBJECT_SECRET;
}

bool object_is(const struct object_hold *hold, enum object_kind kind, const char *name)
{
    return hold->object->kind == kind && str_eq(hold->object->name, name);
}

size_t objects_count(const struct objects *all)
{
    return map_len(all->map);
}

/* ---- Services ---- */

static void services_relist(void *userdata)
{
    clear_services(userdata);
}

static void services_object(void *userdata, enum watch_event event, const struct json *json)
{
    struct objects *all = userdata;
    const char *ns = json_string(json_path(json, "metadata.namespace"));
    const char *name = json_string(json_path(json, "metadata.name"));
    struct service_copy *copy = event == WATCH_DELETED ? NULL : service_copy_new(json);
    char *key = xasprintf("%s/%s", ns ? ns : "", name ? name : "");

    if (copy && map_len(all->services) < SERVICES_MAX)
        free(map_set(all->services, key, TAKE(copy)));
    else
        free(map_remove(all->services, key));
    free(copy);
    free(key);
}

static void services_synced(void *userdata)
{
    struct objects *all = userdata;

    all->services_synced = true;
    all->ops.services_synced(all->userdata);
}

static void services_error(void *userdata, const char *text)
{
    (void)userdata;
    (void)text; /* the watch of Pods, on the same connection, tells of outages */
}

bool objects_services_synced(struct objects *all)
{
    static const struct watch_ops ops = {
        .on_relist = services_relist,
        .on_object = services_object,
        .on_synced = services_synced,
        .on_error = services_error,
    };
    struct watch_config config = {
        .path = "/api/v1/services",
        .query = "labelSelector=%21service.kubernetes.io%2Fheadless",
    };

    if (!all->services_watch)
        all->services_watch = watch_start(all->client, &config, &ops, all);
    return all->services_synced;
}

static int by_name(const void *a, const void *b)
{
    const struct env_service *first = a, *second = b;

    return strcmp(first->name, second->name);
}

size_t objects_services(struct objects *all, const char *ns, bool links, env_alloc alloc,
                        void *userdata, const struct env_service **ret)
{
    struct env_service *list = NULL;
    size_t prefix = strlen(ns), len = 0;
    bool own_master = links && str_eq(ns, "default");
    const char *key;
    void *value;

    if (!all)
        return 0;
    /* Twice: to count, then to fill. One of the Pod's own hides the API server's of that name. */
    for (int pass = 0; pass < 2; pass++) {
        len = 0;
        for (size_t it = 0; map_next(all->services, &it, &key, &value);) {
            bool own = links && strncmp(key, ns, prefix) == 0 && key[prefix] == '/';
            bool master = !own_master && str_eq(key, "default/kubernetes");

            if (master && links) {
                char *same = xasprintf("%s/kubernetes", ns);

                master = map_get(all->services, same) == NULL;
                free(same);
            }
            if (!own && !master)
                continue;
            if (list)
                service_copy_env(value, alloc, userdata, &list[len]);
            len++;
        }
        if (!list)
            list = alloc(userdata, (len + 1) * sizeof(*list));
    }
    qsort(list, len, sizeof(*list), by_name);
    *ret = list;
    return len;
}
