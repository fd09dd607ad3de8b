/* Static Pods: a directory of manifests, looked at when inotify says so and every twenty seconds. A
 * file is one Pod; its uid is a hash of node, path and text, so that a changed file is another Pod,
 * which begins when the one before has ended. A file that cannot be read says so once, with its
 * line, and leaves the Pod of its last good text alone. Mirrors are made, and made again, to match;
 * nothing of it is needed to run a Pod, nor does anything have to be saved: the files are there. */
#include "provider/static_pods.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/map.h"
#include "base/str.h"
#include "k8s/static_pod.h"
#include "k8s/yaml.h"
#include "provider/agent.h"
#include "provider/node.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

#define FILES_MAX 500         /* Pods from files; more is a mistake */
#define CHECK_MS 20000u       /* the kubelet's fileCheckFrequency */
#define SETTLE_MS 50u         /* after a change: an editor writes more than once */
#define MIRROR_AGAIN_MS 2000u /* a mirror's request failed: again after */
#define MIRROR_ANNOTATION "kubernetes.io/config.mirror"

struct manifest {
    char *path;
    char *text; /* of uid */
    size_t len;
    char uid[STATIC_POD_HASH_LEN + 1];   /* of the Pod that runs, "" while none could be read */
    char tried[STATIC_POD_HASH_LEN + 1]; /* of the text that was looked at last */
    char *key;                           /* ns/name */
    int64_t seen_ms;
    bool present; /* in this look at the directory */
    bool ending;  /* its Pod was asked to end: the file is gone or another */
};

struct mirror {
    char uid[64];
    char hash[64];
    char *ns, *name;
    bool deleting; /* being deleted by whoever */
    bool listed;
};

struct call {
    LIST_ENTRY(call) link;
    struct static_pods *all;
    struct kube_request *request;
    char *key;
};

struct static_pods {
    struct agent *agent;
    char *dir; /* NULL: none */
    uv_fs_event_t event;
    uv_timer_t check, mirror_timer;
    struct map *files;   /* path -> struct manifest */
    struct map *mirrors; /* ns/name -> struct mirror */
    struct map *busy;    /* ns/name -> struct call */
    LIST_HEAD(call_list, call) calls;
    bool synced;
    bool dir_told; /* that it cannot be read */
};

static void scan(struct static_pods *all);

/* ---- mirrors ---- */

static struct manifest *file_of(const struct static_pods *all, const char *key)
{
    const char *path;
    void *value;
    for (size_t it = 0; map_next(all->files, &it, &path, &value);) {
        struct manifest *file = value;
        if (file->uid[0] && !file->ending && str_eq(file->key, key))
            return file;
    }
    return NULL;
}

static void sync_mirrors(struct static_pods *all);

static void on_mirrors_again(uv_timer_t *timer)
{
    sync_mirrors(timer->data);
}

static void call_free(struct call *call)
{
    LIST_REMOVE(call, link);
    map_remove(call->all->busy, call->key);
    free(call->key);
    free(call);
}

static void on_called(void *userdata, const struct kube_answer *answer)
{
    struct call *call = userdata;
    struct static_pods *all = call->all;
    /* 404 and 409: the watch is about to say how things are. */
    bool fine = answer->result == 0 &&
                (answer->status < 300 || answer->status == 404 || answer->status == 409);
    if (!fine)
        log_warn(NULL, "mirror", "%s: %s", call->key, answer->text);
    call_free(call);
    if (!fine)
        uv_timer_start(&all->mirror_timer, on_mirrors_again, MIRROR_AGAIN_MS, 0);
}

static void ask(struct static_pods *all, enum kube_method method, const char *key, const char *path,
                const struct buf *body)
{
    struct call *call = xcalloc(1, sizeof(*call));
    call->all = all;
    call->key = xstrdup(key);
    LIST_INSERT_HEAD(&all->calls, call, link);
    map_set(all->busy, key, call);
    call->request = kube_request(all->agent->client, method, path, buf_str(body), body->len,
                                 KUBE_ONCE, on_called, call);
}

static void delete_mirror(struct static_pods *all, const char *key, const struct mirror *mirror)
{
    struct buf body = BUF_INIT(1024);
    char *path = xasprintf("/api/v1/namespaces/%s/pods/%s", mirror->ns, mirror->name);
    codec_delete_options(mirror->uid, &body);
    ask(all, KUBE_DELETE, key, path, &body);
    free(path);
    buf_free(&body);
}

static struct static_pod pod_of(const struct static_pods *all, const struct manifest *file)
{
    return (struct static_pod){.path = file->path,
                               .text = file->text,
                               .len = file->len,
                               .node_name = all->agent->config.node_name,
                               .seen_ms = file->seen_ms};
}

static void create_mirror(struct static_pods *all, const struct manifest *file)
{
    struct buf body = BUF_INIT(2 * YAML_FILE_MAX);
    struct static_pod pod = pod_of(all, file);
    char *ns = xstrndup(file->key, strcspn(file->key, "/"));
    char *path = xasprintf("/api/v1/namespaces/%s/pods", ns);
    static_pod_mirror(&pod, node_uid(all->agent->node), &body);
    ask(all, KUBE_POST, file->key, path, &body);
    free(path);
    free(ns);
    buf_free(&body);
}

static void sync_mirrors(struct static_pods *all)
{
    const char *key;
    void *value;
    if (!all->synced || !all->agent->client || str_empty(node_uid(all->agent->node)))
        return;
    for (size_t it = 0; map_next(all->mirrors, &it, &key, &value);) {
        const struct mirror *mirror = value;
        const struct manifest *file = file_of(all, key);
        bool right = file && str_eq(mirror->hash, file->uid) && !mirror->deleting;
        if (!right && !map_get(all->busy, key))
            delete_mirror(all, key, mirror);
    }
    for (size_t it = 0; map_next(all->files, &it, &key, &value);) {
        const struct manifest *file = value;
        if (file->uid[0] && !file->ending && !map_get(all->mirrors, file->key) &&
            !map_get(all->busy, file->key))
            create_mirror(all, file);
    }
}

static void mirror_free(struct mirror *mirror)
{
    if (!mirror)
        return;
    free(mirror->ns);
    free(mirror->name);
    free(mirror);
}

void static_pods_relist(struct static_pods *all)
{
    const char *key;
    void *value;
    for (size_t it = 0; map_next(all->mirrors, &it, &key, &value);)
        ((struct mirror *)value)->listed = false;
}

/* Another mirror than before: the status is posted to it from the start. */
static void status_anew(struct static_pods *all, const char *key)
{
    const struct manifest *file = file_of(all, key);
    if (file)
        reconcile_tell_again(all->agent->reconcile, file->uid);
}

void static_pods_mirror(struct static_pods *all, const struct pod_spec *spec)
{
    char *key = xasprintf("%s/%s", spec->ns, spec->name);
    const char *hash = key_value_find(spec->annotations, spec->annotations_len, MIRROR_ANNOTATION);
    struct mirror *mirror = map_get(all->mirrors, key);
    if (!mirror) {
        mirror = xcalloc(1, sizeof(*mirror));
        mirror->ns = xstrdup(spec->ns);
        mirror->name = xstrdup(spec->name);
        map_set(all->mirrors, key, mirror);
    }
    bool anew = !str_eq(mirror->uid, spec->uid);
    str_copy(mirror->uid, sizeof(mirror->uid), spec->uid);
    str_copy(mirror->hash, sizeof(mirror->hash), hash ? hash : "");
    mirror->deleting = spec->deletion_ms != 0;
    mirror->listed = true;
    if (anew)
        status_anew(all, key);
    free(key);
    sync_mirrors(all);
}

void static_pods_gone(struct static_pods *all, const char *uid)
{
    const char *key;
    void *value;
    for (size_t it = 0; map_next(all->mirrors, &it, &key, &value);) {
        struct mirror *mirror = value;
        if (!str_eq(mirror->uid, uid))
            continue;
        map_remove(all->mirrors, key);
        mirror_free(mirror);
        break;
    }
    sync_mirrors(all);
}

void static_pods_synced(struct static_pods *all)
{
    const char *key;
    void *value;
    for (size_t it = 0; map_next(all->mirrors, &it, &key, &value);) {
        struct mirror *mirror = value;
        if (mirror->listed)
            continue;
        map_remove(all->mirrors, key);
        mirror_free(mirror);
    }
    all->synced = true;
    sync_mirrors(all);
    /* The Node may not be registered yet. */
    uv_timer_start(&all->mirror_timer, on_mirrors_again, MIRROR_AGAIN_MS, 0);
}

const char *static_pods_mirror_uid(const struct static_pods *all, const struct pod_spec *spec)
{
    char *key = xasprintf("%s/%s", spec->ns, spec->name);
    const struct mirror *mirror = map_get(all->mirrors, key);
    free(key);
    return mirror && !mirror->deleting && str_eq(mirror->hash, spec->uid) ? mirror->uid : NULL;
}

/* ---- files ---- */

static void file_free(struct manifest *file)
{
    free(file->path);
    free(file->text);
    free(file->key);
    free(file);
}

static void end_pod(struct static_pods *all, struct manifest *file)
{
    if (!file->ending)
        log_info(NULL, "static", "%s: its Pod %s is ended", file->path, file->key);
    file->ending = true;
    reconcile_end_static(all->agent->reconcile, file->uid);
}

static void run_pod(struct static_pods *all, struct manifest *file, struct buf *text)
{
    struct err err = {0};
    struct arena *arena = arena_new(1024);
    const struct pod_spec *spec = NULL;
    struct static_pod pod = pod_of(all, file);
    pod.text = buf_str(text);
    pod.len = text->len;
    pod.seen_ms = clock_unix_ms();
    if (static_pod_read(&pod, arena, &spec, &err) < 0) {
        log_error(NULL, "static", "%s", err.text);
        arena_free(arena);
        return;
    }
    char *key = xasprintf("%s/%s", spec->ns, spec->name);
    const struct manifest *other = file_of(all, key);
    if (other && other != file) {
        log_error(NULL, "static", "%s: a Pod %s is in %s already", file->path, key, other->path);
        arena_free(arena);
        free(key);
        return;
    }
    if (file->uid[0] && !str_eq(file->uid, spec->uid)) {
        /* One of the file at a time. */
        file->tried[0] = '\0';
        arena_free(arena);
        free(key);
        end_pod(all, file);
        return;
    }
    free(file->key);
    free(file->text);
    file->key = key;
    file->text = xstrndup(pod.text, pod.len);
    file->len = pod.len;
    file->seen_ms = pod.seen_ms;
    str_copy(file->uid, sizeof(file->uid), spec->uid);
    log_info(NULL, "static", "%s: Pod %s", file->path, key);
    reconcile_pod(all->agent->reconcile, arena, spec);
}

static void look_at(struct static_pods *all, const char *path)
{
    struct buf text = BUF_INIT(YAML_FILE_MAX);
    struct manifest *file = map_get(all->files, path);
    if (!file && map_len(all->files) >= FILES_MAX)
        return;
    if (!file) {
        file = xcalloc(1, sizeof(*file));
        file->path = xstrdup(path);
        map_set(all->files, path, file);
    }
    file->present = true;
    int result = file_read(path, &text);
    char hash[STATIC_POD_HASH_LEN + 1] = "unreadable";
    if (result == 0) {
        struct static_pod pod = pod_of(all, file);
        pod.text = buf_str(&text);
        pod.len = text.len;
        static_pod_hash(&pod, hash);
    }
    if (!str_eq(hash, file->tried) && !file->ending) {
        str_copy(file->tried, sizeof(file->tried), hash);
        if (result == 0)
            run_pod(all, file, &text);
        else
            log_error(NULL, "static", "%s: %s", path, strerror(-result));
    }
    buf_free(&text);
}

/* The kubelet's: no hidden files, no directories. */
static bool is_manifest(const char *path, const char *name)
{
    struct stat st;
    return name[0] != '.' && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_dir(struct static_pods *all)
{
    struct dirent **list = NULL;
    int len = scandir(all->dir, &list, NULL, by_name);
    if (len < 0 && !all->dir_told)
        log_error(NULL, "static", "staticPodPath %s: %s", all->dir, strerror(errno));
    all->dir_told = len < 0;
    for (int i = 0; i < len; i++) {
        char *path = xasprintf("%s/%s", all->dir, list[i]->d_name);
        if (is_manifest(path, list[i]->d_name))
            look_at(all, path);
        free(path);
        free(list[i]);
    }
    free(list);
}

static void scan(struct static_pods *all)
{
    const char *path;
    void *value;
    for (size_t it = 0; map_next(all->files, &it, &path, &value);)
        ((struct manifest *)value)->present = false;
    read_dir(all);
    for (size_t it = 0; map_next(all->files, &it, &path, &value);) {
        struct manifest *file = value;
        if (file->present || all->dir_told)
            continue;
        if (file->uid[0]) {
            end_pod(all, file);
            continue;
        }
        map_remove(all->files, path);
        file_free(file);
    }
    sync_mirrors(all);
}

static void on_check(uv_timer_t *timer)
{
    struct static_pods *all = timer->data;
    scan(all);
    uv_timer_start(timer, on_check, CHECK_MS, 0);
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    struct static_pods *all = event->data;
    (void)name;
    (void)events;
    (void)status;
    uv_timer_start(&all->check, on_check, SETTLE_MS, 0);
}

void static_pods_forgot(struct static_pods *all, const char *uid)
{
    const char *path;
    void *value;
    for (size_t it = 0; map_next(all->files, &it, &path, &value);) {
        struct manifest *file = value;
        if (!str_eq(file->uid, uid))
            continue;
        file->uid[0] = file->tried[0] = '\0';
        file->ending = false;
        uv_timer_start(&all->check, on_check, 0, 0);
    }
}

struct static_pods *static_pods_start(struct agent *agent, const char *dir)
{
    struct static_pods *all = xcalloc(1, sizeof(*all));
    all->agent = agent;
    all->dir = str_empty(dir) ? NULL : xstrdup(dir);
    all->files = map_new();
    all->mirrors = map_new();
    all->busy = map_new();
    LIST_INIT(&all->calls);
    uv_timer_init(&agent->loop, &all->check);
    uv_timer_init(&agent->loop, &all->mirror_timer);
    uv_fs_event_init(&agent->loop, &all->event);
    all->check.data = all->mirror_timer.data = all->event.data = all;
    if (!all->dir)
        return all;
    int result = uv_fs_event_start(&all->event, on_event, all->dir, 0);
    if (result < 0)
        log_warn(NULL, "static", "%s is not watched, only looked at every %u s: %s", all->dir,
                 CHECK_MS / 1000, uv_strerror(result));
    on_check(&all->check);
    return all;
}

void static_pods_stop(struct static_pods *all)
{
    struct call *call;
    if (!all)
        return;
    while ((call = LIST_FIRST(&all->calls))) {
        kube_request_cancel(call->request);
        call_free(call);
    }
    uv_timer_stop(&all->check);
    uv_timer_stop(&all->mirror_timer);
    uv_fs_event_stop(&all->event);
}

void static_pods_free(struct static_pods *all)
{
    const char *key;
    void *value;
    if (!all)
        return;
    for (size_t it = 0; map_next(all->files, &it, &key, &value);)
        file_free(value);
    for (size_t it = 0; map_next(all->mirrors, &it, &key, &value);)
        mirror_free(value);
    map_free(all->files);
    map_free(all->mirrors);
    map_free(all->busy);
    free(all->dir);
    free(all);
}
