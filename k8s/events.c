/* Events with the kubelet's habits (contract 3.9), in client-go's order: similar ones are combined,
 * repeated ones counted, then the spam filter. What is left waits in a bounded queue for one of a
 * few requests at a time, so that a storm of events never stands before a Pod's status. */
#include "k8s/events.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/client_priv.h"
#include "k8s/codec_priv.h"
#include "k8s/events_cache.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_QUEUED_MAX 512 /* the oldest goes first */
#define EVENTS_RUNNING_MAX 4
#define EVENTS_LINGER_MS 200u /* nobody waits for an event; what it tells of has just begun */
#define EVENTS_SEEN_MAX 1024  /* remembered for counting */
#define EVENTS_SIMILAR_MAX 512
#define EVENTS_SOURCES_MAX 512
#define EVENT_SEEN_MS 600000u /* a repetition within counts, a later one is new */
#define SIMILAR_MAX 10        /* different messages until they are combined */
#define SPAM_BURST 25.0
#define SPAM_REFILL_MS 300000.0 /* one more */
#define EVENT_TRIES_MAX 12      /* of one event, as in client-go ... */
#define EVENT_RETRY_MS 10000u   /* ... at this distance */
#define EVENT_NAME_MAX 253      /* of an API object */
#define EVENT_MESSAGE_MAX 1024  /* API validation */
#define EVENT_BODY_MAX 16384u
#define COMBINED "(combined from similar events): "

/* One event's history; keyed by all that makes it the same. */
struct seen {
    bool created; /* the API server has it under name */
    int64_t count;
    int64_t first_ms; /* unix */
    uint64_t last_ms; /* mono */
    char name[EVENT_NAME_MAX + 1];
};

struct similar {
    uint64_t last_ms; /* mono */
    size_t len;
    uint64_t messages[SIMILAR_MAX];
};

struct source {
    bool known;
    double tokens;
    uint64_t last_ms; /* mono */
};

struct item {
    TAILQ_ENTRY(item) link;
    struct events *events;
    struct arena *arena; /* holds this too */
    struct event event;
    uint64_t key; /* of struct seen */
    char name[EVENT_NAME_MAX + 1];
    int64_t count, first_ms, last_ms; /* unix */
    uint64_t due_ms;                  /* mono: not before */
    unsigned tries;
    bool patching;
    struct kube_request *request; /* while on the running list */
};

TAILQ_HEAD(items, item);

struct events {
    struct kube_client *client;
    char *component, *host;
    struct cache *seen, *similar, *sources;
    struct items queued, running;
    size_t queued_len, running_len;
    uv_timer_t timer; /* active: what is queued is not due, or no answers come */
    int64_t last_ns;
    bool closing;
};

static void pump(struct events *events);

static uint64_t mix(uint64_t hash, const char *text)
{
    /* The NUL counts, so that "a","bc" and "ab","c" differ. */
    return (hash ^ str_hash(text ? text : "", text ? strlen(text) + 1 : 1)) * 0x9e3779b97f4a7c15u;
}

static uint64_t object_key(const struct event *e)
{
    return mix(mix(mix(mix(mix(1, e->ns), e->kind), e->name), e->uid), e->api_version);
}

static void item_free(struct item *item)
{
    arena_free(item->arena);
}

/* A name of its own for each: object name and the time in ns (contract 3.9). */
static void new_name(struct events *events, const char *object, char dst[EVENT_NAME_MAX + 1])
{
    char head[EVENT_NAME_MAX - 16];
    int64_t now = clock_unix_ns();
    size_t len;

    if (now <= events->last_ns)
        now = events->last_ns + 1;
    events->last_ns = now;
    len = strlen(str_copy(head, sizeof(head), object));
    while (len > 0 && !isalnum((unsigned char)head[len - 1]))
        head[--len] = '\0'; /* a cut name must still end like one */
    (void)str_fmt(dst, EVENT_NAME_MAX + 1, "%s.%llx", head, (unsigned long long)now);
}

/* True when this message is one too many of its kind. */
static bool combine(struct events *events, const struct event *e, uint64_t kind, uint64_t now)
{
    struct similar *s = cache_get(events->similar, kind);
    uint64_t message = mix(2, e->message);

    if (now - s->last_ms > EVENT_SEEN_MS)
        s->len = 0;
    s->last_ms = now;
    for (size_t i = 0; i < s->len; i++) {
        if (s->messages[i] == message)
            return false;
    }
    if (s->len >= SIMILAR_MAX)
        return true;
    s->messages[s->len++] = message;
    return false;
}

static bool is_spam(struct events *events, const struct event *e, uint64_t now)
{
    struct source *s = cache_get(events->sources, object_key(e));

    if (!s->known)
        s->tokens = SPAM_BURST;
    else
        s->tokens += (double)(now - s->last_ms) / SPAM_REFILL_MS;
    if (s->tokens > SPAM_BURST)
        s->tokens = SPAM_BURST;
    s->known = true;
    s->last_ms = now;
    if (s->tokens < 1.0)
        return true;
    s->tokens -= 1.0;
    return false;
}

static struct item *find_queued(struct events *events, uint64_t key)
{
    struct item *item;

    TAILQ_FOREACH(item, &events->queued, link)
    {
        if (item->key == key)
            return item;
    }
    return NULL;
}

static void unqueue(struct events *events, struct item *item)
{
    TAILQ_REMOVE(&events->queued, item, link);
    events->queued_len--;
}

static struct item *new_item(struct events *events, const struct event *e, const char *message)
{
    struct arena *arena = arena_new(1536);
    struct item *item = arena_alloc(arena, sizeof(*item));

    item->events = events;
    item->arena = arena;
    item->event = (struct event){
        .ns = arena_strdup(arena, e->ns),
        .kind = arena_strdup(arena, e->kind),
        .name = arena_strdup(arena, e->name),
        .uid = arena_strdup(arena, e->uid),
        .api_version = arena_strdup(arena, e->api_version),
        .resource_version = arena_strdup(arena, e->resource_version),
        .field_path = arena_strdup(arena, e->field_path),
        .reason = arena_strdup(arena, e->reason),
        .message = arena_strdup(arena, message),
        .warning = e->warning,
    };
    return item;
}

static void enqueue(struct events *events, const struct event *e, const char *message, uint64_t key,
                    const struct seen *seen)
{
    struct item *item = find_queued(events, key);

    if (item) {
        /* Not told yet: one request with the new count. A combined one shows its last message. */
        item->event.message = arena_strdup(item->arena, message);
    } else {
        while (events->queued_len >= EVENTS_QUEUED_MAX) {
            struct item *oldest = TAILQ_FIRST(&events->queued);

            unqueue(events, oldest);
            item_free(oldest);
        }
        item = new_item(events, e, message);
        item->key = key;
        item->due_ms = clock_mono_ms() + EVENTS_LINGER_MS;
        TAILQ_INSERT_TAIL(&events->queued, item, link);
        events->queued_len++;
    }
    (void)str_copy(item->name, sizeof(item->name), seen->name);
    item->count = seen->count;
    item->first_ms = seen->first_ms;
    item->last_ms = clock_unix_ms();
}

void events_post(struct events *events, const struct event *event)
{
    uint64_t now = clock_mono_ms();
    uint64_t kind, key;
    char message[EVENT_MESSAGE_MAX];
    struct seen *seen;
    bool combined;

    kind = mix(mix(mix(object_key(event), event->field_path), event->reason),
               event->warning ? "w" : "n");
    combined = combine(events, event, kind, now);
    key = combined ? kind : mix(kind, event->message);
    (void)str_fmt(message, sizeof(message), "%s%s", combined ? COMBINED : "", event->message);
    seen = cache_get(events->seen, key);
    if (seen->count == 0 || now - seen->last_ms > EVENT_SEEN_MS) {
        *seen = (struct seen){.first_ms = clock_unix_ms()};
        new_name(events, event->name, seen->name);
    }
    seen->count++;
    seen->last_ms = now;
    if (is_spam(events, event, now))
        return;
    enqueue(events, event, message, key, seen);
    pump(events);
}

static void write_object(struct json_writer *w, const struct event *e)
{
    jw_begin_object(w, "involvedObject");
    jw_string(w, "kind", e->kind);
    if (!str_eq(e->kind, "Node"))
        jw_string_opt(w, "namespace", e->ns);
    jw_string(w, "name", e->name);
    jw_string_opt(w, "uid", e->uid);
    jw_string_opt(w, "apiVersion", e->api_version);
    jw_string_opt(w, "resourceVersion", e->resource_version);
    jw_string_opt(w, "fieldPath", e->field_path);
    jw_end_object(w);
}

static void write_create(struct json_writer *w, const struct events *events,
                         const struct item *item)
{
    const struct event *e = &item->event;

    jw_begin_object(w, NULL);
    jw_string(w, "apiVersion", "v1");
    jw_string(w, "kind", "Event");
    jw_begin_object(w, "metadata");
    jw_string(w, "name", item->name);
    jw_string(w, "namespace", e->ns);
    jw_end_object(w);
    write_object(w, e);
    jw_string(w, "reason", e->reason);
    jw_string(w, "message", e->message);
    jw_string(w, "type", e->warning ? "Warning" : "Normal");
    jw_begin_object(w, "source");
    jw_string(w, "component", events->component);
    jw_string(w, "host", events->host);
    jw_end_object(w);
    jw_string(w, "reportingComponent", events->component);
    jw_string(w, "reportingInstance", events->host);
    codec_write_time(w, "firstTimestamp", item->first_ms);
    codec_write_time(w, "lastTimestamp", item->last_ms);
    jw_int(w, "count", item->count);
    jw_null(w, "eventTime");
    jw_end_object(w);
}

static void write_patch(struct json_writer *w, const struct item *item)
{
    jw_begin_object(w, NULL);
    jw_int(w, "count", item->count);
    codec_write_time(w, "lastTimestamp", item->last_ms);
    jw_string(w, "message", item->event.message);
    jw_end_object(w);
}

static void retry_later(struct events *events, struct item *item);

static void on_answer(void *userdata, const struct kube_answer *answer)
{
    struct item *item = userdata;
    struct events *events = item->events;
    struct seen *seen = cache_peek(events->seen, item->key);

    TAILQ_REMOVE(&events->running, item, link);
    events->running_len--;
    item->request = NULL;
    if (seen && !str_eq(seen->name, item->name))
        seen = NULL; /* a later one has taken the place */
    if (answer->result < 0 || answer->status == 429 || answer->status >= 500) {
        retry_later(events, item);
        return;
    }
    if (answer->status == 404 && item->patching) {
        /* It expired on the server: the same again, as a new object. */
        if (seen)
            seen->created = false;
        item->patching = false;
        TAILQ_INSERT_HEAD(&events->queued, item, link);
        events->queued_len++;
        pump(events);
        return;
    }
    /* 409: an earlier try had arrived after all. Anything else (a namespace that is going away)
     * cannot be helped: the event is dropped. */
    if (seen && (answer->status < 300 || answer->status == 409))
        seen->created = true;
    item_free(item);
    pump(events);
}

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

static void retry_later(struct events *events, struct item *item)
{
    if (++item->tries >= EVENT_TRIES_MAX) {
        item_free(item);
    } else {
        TAILQ_INSERT_HEAD(&events->queued, item, link);
        events->queued_len++;
    }
    (void)uv_timer_start(&events->timer, on_timer, EVENT_RETRY_MS, 0);
}

static void send_item(struct events *events, struct item *item)
{
    struct seen *seen = cache_peek(events->seen, item->key);
    struct buf body = BUF_INIT(EVENT_BODY_MAX);
    struct json_writer w = JSON_WRITER(&body);
    char *path;

    item->patching = seen && seen->created && str_eq(seen->name, item->name);
    if (item->patching)
        write_patch(&w, item);
    else
        write_create(&w, events, item);
    if (body.overflow) { /* a Pod cannot have such names: not ours to tell about */
        buf_free(&body);
        item_free(item);
        return;
    }
    path = item->patching ? xasprintf("/api/v1/namespaces/%s/events/%s", item->event.ns, item->name)
                          : xasprintf("/api/v1/namespaces/%s/events", item->event.ns);
    TAILQ_INSERT_TAIL(&events->running, item, link);
    events->running_len++;
    item->request = kube_request(events->client, item->patching ? KUBE_PATCH : KUBE_POST, path,
                                 body.data, body.len, KUBE_IDLE, on_answer, item);
    free(path);
    buf_free(&body);
}

/* One event's requests go one after the other: a count must not arrive before its event. */
static bool is_running(const struct events *events, uint64_t key)
{
    const struct item *item;

    TAILQ_FOREACH(item, &events->running, link)
    {
        if (item->key == key)
            return true;
    }
    return false;
}

/* A status must never share server and connection with the events of the same moment: these wait.
 */
static void pump(struct events *events)
{
    struct item *item = TAILQ_FIRST(&events->queued);
    uint64_t now = clock_mono_ms();

    if (events->closing || uv_is_active((uv_handle_t *)&events->timer))
        return;
    while (item && events->running_len < EVENTS_RUNNING_MAX) {
        struct item *next = TAILQ_NEXT(item, link);

        if (item->due_ms > now) {
            (void)uv_timer_start(&events->timer, on_timer, item->due_ms - now, 0);
            return;
        }
        if (!is_running(events, item->key)) {
            unqueue(events, item);
            send_item(events, item);
        }
        item = next;
    }
}

struct events *events_new(struct kube_client *client, const char *component, const char *host)
{
    struct events *events = xcalloc(1, sizeof(*events));

    events->client = client;
    events->component = xstrdup(component);
    events->host = xstrdup(host);
    events->seen = cache_new(EVENTS_SEEN_MAX, sizeof(struct seen));
    events->similar = cache_new(EVENTS_SIMILAR_MAX, sizeof(struct similar));
    events->sources = cache_new(EVENTS_SOURCES_MAX, sizeof(struct source));
    TAILQ_INIT(&events->queued);
    TAILQ_INIT(&events->running);
    (void)uv_timer_init(client->loop, &events->timer);
    events->timer.data = events;
    return events;
}

static void on_closed(uv_handle_t *handle)
{
    struct events *events = handle->data;

    free(events->component);
    free(events->host);
    free(events);
}

void events_free(struct events *events)
{
    struct item *item;

    events->closing = true;
    while ((item = TAILQ_FIRST(&events->running))) {
        TAILQ_REMOVE(&events->running, item, link);
        kube_request_cancel(item->request);
        item_free(item);
    }
    while ((item = TAILQ_FIRST(&events->queued))) {
        unqueue(events, item);
        item_free(item);
    }
    cache_free(events->seen);
    cache_free(events->similar);
    cache_free(events->sources);
    uv_close((uv_handle_t *)&events->timer, on_closed);
}
