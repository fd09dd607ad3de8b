/* The hosts that may have what is asked for, one after the other, in containerd's order: the file's
 * mirrors that can do it, then its server, or the registry itself. Any failure of one sends the
 * request to the next, with what arrived kept where a digest says what it is. */
#include "runtime/image_registry.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WARNED_MAX 256   /* more files than that are not told about */
#define FAILURES_MAX 320 /* of an error's 512 bytes */
#define FAILURE_MAX 120

struct registry_call {
    struct registry *registry;
    struct registry_ops ops;
    void *userdata;
    struct image_name name;
    struct image_login login;
    char *method;
    char *path;
    char *accept;
    bool by_digest;
    uint64_t from; /* grows by what was handed on */
    bool began;    /* something was */
    bool ended;    /* on_body did not want it */
    struct arena *arena;
    struct image_hosts hosts;
    size_t next; /* of the mirrors, then the server */
    const struct image_endpoint *endpoint;
    struct buf ca;
    struct http_call *http;
    struct buf failures; /* of the mirrors: "a: why; b: why" */
    struct err err;      /* what is wrong before anything was asked */
    unsigned waits;
    uv_timer_t *timer;
};

void registry_init(struct registry *registry, struct uv_loop_s *loop, const struct fetcher *fetcher,
                   const struct image_store_config *config)
{
    *registry = (struct registry){.config = config, .loop = loop, .warned = map_new()};
    http_init(&registry->http, fetcher, config);
}

void registry_done(struct registry *registry)
{
    http_done(&registry->http);
    map_free(registry->warned);
    registry->warned = NULL;
}

/* Once for what a file says, as long as the agent runs. */
static void warn_ignored(struct registry *registry, const struct image_hosts *hosts)
{
    char *key;

    if (!hosts->file || !hosts->ignored[0] || map_len(registry->warned) >= WARNED_MAX)
        return;
    key = xasprintf("%s %s", hosts->file, hosts->ignored);
    if (!map_set(registry->warned, key, registry))
        log_warn(NULL, "images",
                 "%s: ignored: %s; known are server, host, capabilities, ca, skip_verify and "
                 "override_path",
                 hosts->file, hosts->ignored);
    free(key);
}

static void on_timer_closed(uv_handle_t *timer)
{
    free(timer);
}

static void call_free(struct registry_call *call)
{
    http_cancel(call->http);
    if (call->timer)
        uv_close((uv_handle_t *)call->timer, on_timer_closed);
    login_free(&call->login);
    buf_free(&call->ca);
    buf_free(&call->failures);
    arena_free(call->arena);
    free(call->method);
    free(call->path);
    free(call->accept);
    free(call);
}

static void finish(struct registry_call *call, const struct err *err, const char *digest)
{
    struct registry_ops ops = call->ops;
    void *userdata = call->userdata;

    call_free(call);
    ops.on_done(userdata, err, digest);
}

static void later(struct registry_call *call, uv_timer_cb callback, uint64_t ms)
{
    if (!call->timer) {
        call->timer = xcalloc(1, sizeof(*call->timer));
        (void)uv_timer_init(call->registry->loop, call->timer);
        call->timer->data = call;
    }
    (void)uv_timer_start(call->timer, callback, ms, 0);
}

/* The next host that can do it. NULL: there is none left. */
static const struct image_endpoint *next_endpoint(const struct registry_call *call, size_t *next)
{
    unsigned need = call->by_digest ? IMAGE_CAN_PULL : IMAGE_CAN_RESOLVE;

    while (*next <= call->hosts.mirrors_len) {
        const struct image_endpoint *endpoint =
            *next < call->hosts.mirrors_len ? &call->hosts.mirrors[*next] : &call->hosts.server;

        ++*next;
        if (endpoint->can & need)
            return endpoint;
    }
    return NULL;
}

static const char *host_of(const struct registry_call *call)
{
    return call->endpoint->host ? call->endpoint->host : call->name.host;
}

static void give_up(struct registry_call *call, const struct err *failure)
{
    struct err err = *failure;

    if (call->failures.len)
        (void)err_set(&err, failure->code, "%s: %s (%s)", host_of(call), failure->text,
                      buf_str(&call->failures));
    err.kind = failure->kind;
    finish(call, &err, "");
}

static void ask(struct registry_call *call);

/* After a failure of this host: whether the next one is asked. */
static bool go_on(struct registry_call *call, const char *why)
{
    size_t next = call->next;

    if (call->ended || (call->began && !call->by_digest) || !next_endpoint(call, &next))
        return false;
    (void)buf_addf(&call->failures, "%s%s: %.*s", call->failures.len ? "; " : "", host_of(call),
                   FAILURE_MAX, why);
    call->endpoint = next_endpoint(call, &call->next);
    ask(call);
    return true;
}

static void on_waited(uv_timer_t *timer)
{
    ask(timer->data);
}

/* 429 or 503 with a time to come back: waited for a few times, else told. */
static bool wait_as_asked(struct registry_call *call, int64_t seconds, struct err *err)
{
    char text[ERR_TEXT_MAX];

    if (seconds < 0 || call->ended)
        return false;
    if (seconds <= REGISTRY_WAIT_S_MAX && call->waits < REGISTRY_WAITS_MAX) {
        call->waits++;
        later(call, on_waited, (uint64_t)seconds * 1000);
        return true;
    }
    str_copy(text, sizeof(text), err->text);
    if (call->waits)
        (void)err_set(err, err->code, "%s; waited for %u times, it asks for another %lld s", text,
                      call->waits, (long long)seconds);
    else
        (void)err_set(err, err->code, "%s; it asks to wait for %lld s", text, (long long)seconds);
    return false;
}

static int on_body(void *userdata, const void *data, size_t len)
{
    struct registry_call *call = userdata;
    int r;

    call->began = true;
    call->from += len;
    r = call->ops.on_body ? call->ops.on_body(call->userdata, data, len) : 0;
    call->ended = r < 0;
    return r;
}

static void on_done(void *userdata, const struct http_end *end)
{
    struct registry_call *call = userdata;
    struct err err;

    call->http = NULL;
    if (!end->err) {
        finish(call, NULL, end->digest);
        return;
    }
    err = *end->err;
    if (go_on(call, end->why) || wait_as_asked(call, end->retry_after_s, &err))
        return;
    give_up(call, &err);
}

/* Whose entry is for this host: the registry's own is nobody else's business. */
static void add_login(const struct registry_call *call, struct http_request *request)
{
    struct image_name mirror = call->name;
    const struct keyring_entry *entry;

    if (hosts_is_origin(call->endpoint, &call->name)) {
        request->user = call->login.user;
        request->password = call->login.password;
        return;
    }
    str_copy(mirror.host, sizeof(mirror.host), call->endpoint->host);
    entry = keyring_find(&call->login.mirrors, &mirror, 0);
    request->user = entry ? entry->user : NULL;
    request->password = entry ? entry->password : NULL;
}

static void on_failed(uv_timer_t *timer)
{
    struct registry_call *call = timer->data;
    struct err err = call->err;

    if (!call->endpoint)
        finish(call, &err, "");
    else if (!go_on(call, err.text))
        give_up(call, &err);
}

/* Asks call->endpoint. What is wrong before that is told from the loop. */
static void ask(struct registry_call *call)
{
    static const struct http_ops ops = {.on_body = on_body, .on_done = on_done};
    struct http_request request = {
        .name = &call->name,
        .endpoint = call->endpoint,
        .method = call->method,
        .path = call->path,
        .accept = call->accept,
        .from = call->from,
    };

    buf_reset(&call->ca);
    if (hosts_read_ca(call->endpoint, &call->ca, &call->err) < 0) {
        later(call, on_failed, 0);
        return;
    }
    request.ca_text = call->ca.len ? buf_str(&call->ca) : NULL;
    add_login(call, &request);
    call->http = http_start(&call->registry->http, &request, &ops, call);
}

struct registry_call *registry_start(struct registry *registry,
                                     const struct registry_request *request,
                                     const struct registry_ops *ops, void *userdata)
{
    struct registry_call *call = xcalloc(1, sizeof(*call));

    call->registry = registry;
    call->ops = *ops;
    call->userdata = userdata;
    call->name = *request->name;
    login_copy(&call->login, request->login);
    call->method = xstrdup(request->method);
    call->path = xstrdup(request->path);
    call->accept = request->accept ? xstrdup(request->accept) : NULL;
    call->by_digest = request->by_digest;
    call->from = request->from;
    call->arena = arena_new(1024);
    buf_init(&call->ca, HOSTS_CA_TEXT_MAX);
    buf_init(&call->failures, FAILURES_MAX);
    if (hosts_load(registry->config->registry_config_dir, call->name.host, call->arena,
                   &call->hosts, &call->err) < 0) {
        later(call, on_failed, 0);
        return call;
    }
    warn_ignored(registry, &call->hosts);
    call->endpoint = next_endpoint(call, &call->next);
    if (call->endpoint) {
        ask(call);
        return call;
    }
    (void)err_spec(&call->err, -ENOTSUP, "%s: no host has the capability %s", call->hosts.file,
                   call->by_digest ? "pull" : "resolve");
    later(call, on_failed, 0);
    return call;
}

void registry_cancel(struct registry_call *call)
{
    if (call)
        call_free(call);
}

void registry_mirror_logins(struct registry *registry, const struct image_name *name,
                            const struct keyring *keyring, struct image_login *login)
{
    struct arena *arena;
    struct image_hosts hosts;
    struct err err; /* a file that is wrong is told by the request */
    bool good;

    if (!registry->config->registry_config_dir || !keyring || keyring->len == 0)
        return;
    arena = arena_new(1024);
    good = hosts_load(registry->config->registry_config_dir, name->host, arena, &hosts, &err) == 0;
    for (size_t i = 0; good && i <= hosts.mirrors_len; i++) {
        const struct image_endpoint *endpoint =
            i < hosts.mirrors_len ? &hosts.mirrors[i] : &hosts.server;
        struct image_name mirror = *name;
        const struct keyring_entry *entry;

        if (hosts_is_origin(endpoint, name))
            continue;
        str_copy(mirror.host, sizeof(mirror.host), endpoint->host);
        entry = keyring_find(keyring, &mirror, 0);
        if (entry)
            keyring_add(&login->mirrors, mirror.host, entry->user, entry->password);
    }
    arena_free(arena);
}
