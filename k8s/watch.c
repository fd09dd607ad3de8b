/* List, then watch, for ever (contract 2). One stream at a time: a page of the list, or the watch.
 * What comes next is decided when the stream has ended; user code may stop the watch from inside
 * any callback, so each of them is followed by a look at w->stopped. Memory goes with the timer's
 * close. */
#include "k8s/watch.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/client_priv.h"
#include "k8s/list_split.h"
#include "k8s/object_parse.h"
#include "k8s/watch_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_LIMIT 500u
#define PAGES_MAX 20000u      /* of one list: a server that never ends it is broken */
#define LIST_MS_MAX 60000L    /* one page */
#define WATCH_S_MIN 300u      /* timeoutSeconds: at random up to twice that */
#define WATCH_GRACE_S 30u     /* silence after timeoutSeconds that ends a watch from our side */
#define BACKOFF_MS_FIRST 800u /* doubles, with up to as much again at random */
#define BACKOFF_MS_MAX 30000u
#define BACKOFF_FORGET_MS 120000u
#define REFUSED_MS 300u        /* to twice that: nobody listens there, asking costs nothing ... */
#define REFUSED_MS_MAX 300000u /* ... but for so long only */
#define RELIST_MS 200u         /* at random: a new list after a good while needs no back-off ... */
#define RELIST_FREE_MS 10000u  /* ... which is this since the last one */
#define HEALTHY_MS 10000u      /* no more watches than one in that time are free of back-off */
#define SHORT_WATCH_MS 1000u
#define SHORT_PAUSE_MS \
    40u                /* after a watch that ended at once, doubling: API servers end the watches */
#define SHORT_MAX 5u   /* of clients that they could not serve for a moment; in a row */
#define GARBAGE_MAX 3u /* broken streams in a row until a new list is asked for */
#define VERSION_MAX 128u /* a resourceVersion is a number of 20 digits today */
#define REPORT_MS 30000u /* the same outage is told again after so long */
#define TEXT_MAX 512

enum next {
    NEXT_NORMAL, /* as result and status say */
    NEXT_RELIST, /* what we have is too old */
    NEXT_BROKEN, /* the server sent nonsense */
};

struct watch {
    struct kube_client *client;
    char *path, *query;
    uint32_t page_limit, healthy_ms;
    struct watch_ops ops;
    void *userdata;
    bool stopped;

    struct kube_stream *stream;
    uv_timer_t timer;
    uint64_t began_ms; /* mono, of the stream */
    bool heard;        /* an event or bookmark in this stream */
    unsigned shorts;   /* watches in a row that ended at once */
    enum next next;    /* decided inside of the stream */
    char text[TEXT_MAX];

    char version[VERSION_MAX]; /* watch from here; "": list first */
    bool list_fresh;           /* list with resourceVersion="", not 0 */
    bool relist_told;
    char *token; /* of the next page; NULL: the first */
    uint32_t pages;
    struct list_split split;
    struct watch_stream events;

    uint32_t backoff_ms;
    uint64_t backoff_at_ms;
    uint64_t refused_at_ms; /* 0: somebody listens */
    uint64_t synced_at_ms;
    unsigned garbage;
    uint64_t reported_ms; /* 0: healthy */
};

static void begin(struct watch *w);

static void report(struct watch *w, const char *text)
{
    uint64_t now = clock_mono_ms();

    if (w->reported_ms != 0 && now - w->reported_ms < REPORT_MS)
        return;
    w->reported_ms = now;
    if (w->ops.on_error)
        w->ops.on_error(w->userdata, text);
}

static int verdict(struct watch *w, enum next next, const char *text)
{
    w->next = next;
    (void)str_copy(w->text, sizeof(w->text), text);
    return -ECANCELED;
}

/* False when it is unusable: the old one stays. */
static bool set_version(struct watch *w, const struct json *object)
{
    const char *version = json_get_string(json_get(object, "metadata"), "resourceVersion");

    if (str_empty(version) || strlen(version) >= VERSION_MAX)
        return false;
    (void)str_copy(w->version, sizeof(w->version), version);
    return true;
}

static void on_timer(uv_timer_t *timer)
{
    begin(timer->data);
}

static void wait_ms(struct watch *w, uint64_t ms)
{
    if (!w->stopped)
        (void)uv_timer_start(&w->timer, on_timer, ms, 0);
}

/* Contract 2: 800 ms doubling to 30 s, jitter 1.0, forgotten after two minutes. A refused
 * connection is asked for again sooner: a restarted API server finds its nodes back within a
 * second. */
static void back_off(struct watch *w, const struct kube_stream_end *end)
{
    uint64_t now = clock_mono_ms();

    if (end->result != -ECONNREFUSED)
        w->refused_at_ms = 0;
    else if (w->refused_at_ms == 0)
        w->refused_at_ms = now;
    if (w->refused_at_ms != 0 && now - w->refused_at_ms < REFUSED_MS_MAX) {
        wait_ms(w, REFUSED_MS + client_random(REFUSED_MS));
        return;
    }
    if (end->retry_after_s > 0) {
        wait_ms(w, end->retry_after_s * 1000ull + client_random(BACKOFF_MS_FIRST));
        return;
    }
    if (w->backoff_ms == 0 || now - w->backoff_at_ms > BACKOFF_FORGET_MS)
        w->backoff_ms = BACKOFF_MS_FIRST;
    else if (w->backoff_ms < BACKOFF_MS_MAX / 2)
        w->backoff_ms *= 2;
    else
        w->backoff_ms = BACKOFF_MS_MAX;
    w->backoff_at_ms = now;
    wait_ms(w, w->backoff_ms + client_random(w->backoff_ms));
}

/* "Expired" and "Gone", in a Status object. */
static bool is_expired(const struct json *status)
{
    const char *reason = json_get_string(status, "reason");
    int64_t code = 0;

    (void)json_get_int(status, "code", &code);
    return code == 410 || str_eq(reason, "Expired") || str_eq(reason, "Gone");
}

static const char *describe(const struct kube_stream_end *end, char *text, size_t size)
{
    struct json *status = json_parse(end->body, end->len, NULL);
    const char *message = json_get_string(status, "message");

    (void)str_fmt(text, size, "%s%s%s", end->text, message ? ": " : "", message ? message : "");
    json_free(status);
    return text;
}

/* ---- list ---- */

static int tell_relist(struct watch *w)
{
    if (w->relist_told)
        return 0;
    w->relist_told = true;
    if (w->ops.on_relist)
        w->ops.on_relist(w->userdata);
    return w->stopped ? -ECANCELED : 0;
}

static int on_item(void *userdata, const char *text, size_t len)
{
    struct watch *w = userdata;
    struct json *object = object_parse(text, len);

    if (!object)
        return -EBADMSG;
    w->ops.on_object(w->userdata, WATCH_ADDED, object);
    json_free(object);
    return w->stopped ? -ECANCELED : 0;
}

static int on_list_data(void *userdata, const char *data, size_t len)
{
    struct watch *w = userdata;
    int r = tell_relist(w);

    if (r == 0)
        r = list_split_feed(&w->split, data, len);
    if (r < 0 && !w->stopped)
        return verdict(w, NEXT_BROKEN,
                       r == -EMSGSIZE ? "the list has an object over 16 MiB"
                                      : "the list is malformed");
    return r;
}

static void list_failed(struct watch *w, const struct kube_stream_end *end)
{
    char text[TEXT_MAX];
    struct json *status = json_parse(end->body, end->len, NULL);
    const char *message = json_get_string(status, "message");
    bool too_large = message && strstr(message, "Too large resource version");
    bool had_token = w->token != NULL;

    /* A page cannot be taken up in the middle: the whole list again. */
    free(w->token);
    w->token = NULL;
    if (end->status == 410 || is_expired(status) || too_large || (end->status == 400 && had_token))
        w->list_fresh = true;
    json_free(status);
    report(w, w->next == NEXT_NORMAL ? describe(end, text, sizeof(text)) : w->text);
    back_off(w, end);
}

/* The page came whole. False: it is no list after all. */
static bool list_page_done(struct watch *w)
{
    struct json *rest = json_parse(buf_str(&w->split.rest), w->split.rest.len, NULL);
    const struct json *metadata = json_get(rest, "metadata");
    const char *token = json_get_string(metadata, "continue");
    bool good = false;

    free(w->token);
    w->token = NULL;
    if (!str_empty(token) && ++w->pages <= PAGES_MAX) {
        w->token = xstrdup(token);
        good = true;
    } else if (str_empty(token)) {
        good = set_version(w, rest);
    }
    json_free(rest);
    return good;
}

static void on_list_end(void *userdata, const struct kube_stream_end *end)
{
    struct watch *w = userdata;
    bool whole = end->result == 0 && end->status == 200 && list_split_complete(&w->split);

    w->stream = NULL;
    if (w->next == NEXT_NORMAL && whole) {
        if (tell_relist(w) < 0) /* no data at all cannot be, but an empty list is told as well */
            return;
        whole = list_page_done(w);
    } else if (w->next == NEXT_NORMAL && end->status == 200 && end->result == 0) {
        whole = false;
    }
    if (w->next == NEXT_NORMAL && end->result == 0 && end->status == 200 && !whole)
        (void)verdict(w, NEXT_BROKEN, "the list is cut short or malformed");
    list_split_free(&w->split);
    if (w->next != NEXT_NORMAL || !whole) {
        list_failed(w, end);
        return;
    }
    w->refused_at_ms = 0;
    if (!w->token) {
        w->reported_ms = 0;
        w->relist_told = false;
        w->list_fresh = false;
        w->garbage = 0;
        w->synced_at_ms = clock_mono_ms();
        if (w->ops.on_synced)
            w->ops.on_synced(w->userdata);
    }
    if (!w->stopped)
        begin(w);
}

static void begin_list(struct watch *w)
{
    static const struct kube_stream_ops ops = {.on_data = on_list_data, .on_end = on_list_end};
    const char *more = *w->query ? "&" : "";
    char *path;

    if (w->token) {
        char *token = curl_easy_escape(NULL, w->token, 0);

        path = xasprintf("%s?limit=%u&continue=%s%s%s", w->path, w->page_limit, token ? token : "",
                         more, w->query);
        curl_free(token);
    } else {
        w->relist_told = false;
        w->pages = 0;
        path = xasprintf("%s?limit=%u&resourceVersion=%s%s%s", w->path, w->page_limit,
                         w->list_fresh ? "" : "0", more, w->query);
    }
    list_split_init(&w->split, on_item, w);
    w->stream = kube_stream_start(w->client, path, LIST_MS_MAX, &ops, w);
    free(path);
}

/* ---- watch ---- */

static int on_error_event(struct watch *w, const struct json *object)
{
    const char *message = json_get_string(object, "message");

    if (is_expired(object))
        return verdict(w, NEXT_RELIST, message ? message : "the resource version is too old");
    return verdict(w, NEXT_BROKEN, message ? message : "the watch ended with an error");
}

static int on_event(void *userdata, enum stream_event event, const struct json *object)
{
    static const enum watch_event events[] = {
        [STREAM_ADDED] = WATCH_ADDED,
        [STREAM_MODIFIED] = WATCH_MODIFIED,
        [STREAM_DELETED] = WATCH_DELETED,
    };
    struct watch *w = userdata;

    if (event == STREAM_ERROR)
        return on_error_event(w, object);
    w->heard = true;
    if (event != STREAM_BOOKMARK)
        w->ops.on_object(w->userdata, events[event], object);
    if (w->stopped)
        return -ECANCELED;
    (void)set_version(w, object);
    return 0;
}

static int on_watch_data(void *userdata, const char *data, size_t len)
{
    struct watch *w = userdata;
    int r;

    w->reported_ms = 0;
    w->refused_at_ms = 0;
    r = watch_stream_feed(&w->events, data, len);
    if (r < 0 && !w->stopped && w->next == NEXT_NORMAL)
        return verdict(w, NEXT_BROKEN,
                       r == -EMSGSIZE ? "the watch has a line over 16 MiB"
                                      : "the watch has a line that is no event");
    return r;
}

static void must_relist(struct watch *w)
{
    w->version[0] = '\0';
    w->list_fresh = true;
}

static void on_watch_end(void *userdata, const struct kube_stream_end *end)
{
    struct watch *w = userdata;
    bool clean = end->result == 0 && end->status == 200 && w->next == NEXT_NORMAL;
    bool cut = watch_stream_end(&w->events);
    char text[TEXT_MAX];

    w->stream = NULL;
    if (w->heard)
        w->garbage = w->shorts = 0;
    if (clean && !cut && (w->heard || clock_mono_ms() - w->began_ms >= SHORT_WATCH_MS)) {
        begin(w); /* its time was over: go on where it ended */
        return;
    }
    if (clean && !cut && w->shorts < SHORT_MAX) {
        uint32_t pause = SHORT_PAUSE_MS << w->shorts++;

        wait_ms(w, pause + client_random(pause));
        return;
    }
    if (clean)
        (void)verdict(w, NEXT_BROKEN,
                      cut ? "the watch ended within a line" : "the watch ended at once");
    /* A wrong version (400) helps as little as one that is too old. */
    if (w->next == NEXT_RELIST || end->status == 410 || end->status == 400)
        must_relist(w);
    if (w->next == NEXT_BROKEN && ++w->garbage >= GARBAGE_MAX)
        must_relist(w);
    report(w, w->next == NEXT_NORMAL ? describe(end, text, sizeof(text)) : w->text);
    /* Something on the way cuts connections now and then: being deaf for a minute helps nobody. */
    if (end->status == 200 && w->next == NEXT_NORMAL &&
        clock_mono_ms() - w->began_ms >= w->healthy_ms) {
        w->backoff_ms = 0;
        wait_ms(w, client_random(RELIST_MS));
        return;
    }
    /* What follows a restart of the API server: everyone waits for the new list. */
    if (!w->version[0] && w->garbage < GARBAGE_MAX && end->retry_after_s == 0 &&
        w->began_ms - w->synced_at_ms > RELIST_FREE_MS)
        wait_ms(w, client_random(RELIST_MS));
    else
        back_off(w, end);
}

static void begin_watch(struct watch *w)
{
    static const struct kube_stream_ops ops = {.on_data = on_watch_data, .on_end = on_watch_end};
    uint32_t seconds = WATCH_S_MIN + client_random(WATCH_S_MIN + 1);
    char *version = curl_easy_escape(NULL, w->version, 0);
    char *path =
        xasprintf("%s?watch=1&allowWatchBookmarks=true&resourceVersion=%s&timeoutSeconds=%u%s%s",
                  w->path, version ? version : "", seconds, *w->query ? "&" : "", w->query);

    curl_free(version);
    w->stream = kube_stream_start(w->client, path, (long)(seconds + WATCH_GRACE_S) * 1000, &ops, w);
    free(path);
}

static void begin(struct watch *w)
{
    if (w->stopped)
        return;
    w->began_ms = clock_mono_ms();
    w->heard = false;
    w->next = NEXT_NORMAL;
    if (w->version[0])
        begin_watch(w);
    else
        begin_list(w);
}

struct watch *watch_start(struct kube_client *client, const struct watch_config *config,
                          const struct watch_ops *ops, void *userdata)
{
    struct watch *w = xcalloc(1, sizeof(*w));

    w->client = client;
    w->path = xstrdup(config->path);
    w->query = xstrdup(config->query ? config->query : "");
    w->page_limit = config->page_limit > 0 ? config->page_limit : PAGE_LIMIT;
    w->healthy_ms = config->healthy_ms > 0 ? config->healthy_ms : HEALTHY_MS;
    w->ops = *ops;
    w->userdata = userdata;
    watch_stream_init(&w->events, on_event, w);
    (void)uv_timer_init(client->loop, &w->timer);
    w->timer.data = w;
    begin(w);
    return w;
}

void watch_relist(struct watch *w)
{
    if (w->stopped)
        return;
    kube_stream_stop(w->stream);
    w->stream = NULL;
    list_split_free(&w->split);
    (void)watch_stream_end(&w->events);
    free(w->token);
    w->token = NULL;
    must_relist(w);
    wait_ms(w, 0);
}

static void on_closed(uv_handle_t *handle)
{
    struct watch *w = handle->data;

    list_split_free(&w->split);
    (void)watch_stream_end(&w->events);
    free(w->token);
    free(w->path);
    free(w->query);
    free(w);
}

void watch_stop(struct watch *w)
{
    if (!w || w->stopped)
        return;
    w->stopped = true;
    kube_stream_stop(w->stream);
    w->stream = NULL;
    uv_close((uv_handle_t *)&w->timer, on_closed);
}
