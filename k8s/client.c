/* Requests to the API server: a queue, at most REQUESTS_RUNNING_MAX on the wire, retries with
 * back-off, and the decoding of failures. Everything curl is behind client_engine.h. */
#include "k8s/client_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ANSWER_TEXT_MAX 1024

static void pump(struct kube_client *client);

uint32_t client_random(uint32_t below)
{
    uint32_t n = 0;

    /* Never blocks once the kernel is up. */
    if (below == 0 || getrandom(&n, sizeof(n), GRND_NONBLOCK) != (ssize_t)sizeof(n))
        return 0;
    return n % below;
}

static const char *content_type(enum kube_method method)
{
    if (method == KUBE_PATCH)
        return "application/strategic-merge-patch+json";
    if (method == KUBE_MERGE_PATCH)
        return "application/merge-patch+json";
    return "application/json";
}

static const char *accepted(enum kube_method method)
{
    bool known = method == KUBE_PATCH || method == KUBE_MERGE_PATCH || method == KUBE_DELETE;

    return known ? ACCEPT_METADATA : ACCEPT_JSON;
}

/* The request is on no list any more. */
static void request_free(struct kube_request *r)
{
    transfer_end(r->transfer);
    buf_free(&r->answer);
    free(r->path);
    free(r->body);
    free(r);
}

static struct request_list *queue_of(struct kube_request *r)
{
    return r->retry == KUBE_IDLE ? &r->client->idle : &r->client->queued;
}

static void unlist(struct kube_request *r)
{
    struct kube_client *c = r->client;

    switch (r->state) {
    case REQUEST_QUEUED:
        TAILQ_REMOVE(queue_of(r), r, link);
        c->waiting_len--;
        break;
    case REQUEST_RUNNING:
        TAILQ_REMOVE(&c->running, r, link);
        c->running_len--;
        c->idle_running_len -= r->retry == KUBE_IDLE;
        break;
    case REQUEST_WAITING:
        TAILQ_REMOVE(&c->waiting, r, link);
        c->waiting_len--;
        break;
    case REQUEST_ANSWERING:
        break;
    }
}

static void set_state(struct kube_request *r, enum request_state state)
{
    struct kube_client *c = r->client;

    r->state = state;
    if (state == REQUEST_QUEUED) {
        TAILQ_INSERT_TAIL(queue_of(r), r, link);
        c->waiting_len++;
    } else if (state == REQUEST_RUNNING) {
        TAILQ_INSERT_TAIL(&c->running, r, link);
        c->running_len++;
        c->idle_running_len += r->retry == KUBE_IDLE;
    } else if (state == REQUEST_WAITING) {
        TAILQ_INSERT_TAIL(&c->waiting, r, link);
        c->waiting_len++;
    }
}

static void wait_until(struct kube_request *r, uint64_t delay_ms)
{
    r->due_ms = clock_mono_ms() + delay_ms;
    set_state(r, REQUEST_WAITING);
    client_wake(r->client, delay_ms);
}

static void call_back(struct kube_request *r, const struct kube_answer *answer)
{
    struct kube_client *c = r->client;

    r->state = REQUEST_ANSWERING;
    c->stats.requests++;
    if (answer->result < 0 || answer->status >= 300)
        c->stats.failures++;
    r->done(r->userdata, answer);
    request_free(r);
    pump(c);
}

/* text: why there is no answer. */
static void answer_error(struct kube_request *r, int result, const char *text)
{
    char line[ANSWER_TEXT_MAX];
    struct kube_answer answer = {.result = result, .body = "", .reason = ""};

    answer.text =
        str_fmt(line, sizeof(line), "%s %s: %s", kube_method_to_string(r->method), r->path, text);
    call_back(r, &answer);
}

static void answer_http(struct kube_request *r, int status)
{
    char line[ANSWER_TEXT_MAX];
    struct json *root = NULL;
    struct kube_answer answer = {.status = status,
                                 .body = buf_str(&r->answer),
                                 .len = r->answer.len,
                                 .reason = "",
                                 .text = ""};

    if (status >= 300) {
        const char *message = NULL, *reason = NULL;

        root = json_parse(answer.body, answer.len, NULL);
        if (str_eq(json_get_string(root, "kind"), "Status")) {
            message = json_get_string(root, "message");
            reason = json_get_string(root, "reason");
        }
        if (reason)
            answer.reason = reason;
        answer.text = str_fmt(line, sizeof(line), "%s %s: HTTP status %d%s%s%s%s",
                              kube_method_to_string(r->method), r->path, status, reason ? " " : "",
                              reason ? reason : "", message ? ": " : "", message ? message : "");
    }
    call_back(r, &answer);
    json_free(root);
}

static uint64_t retry_delay_ms(const struct kube_request *r, const struct transfer *t)
{
    uint32_t base = RETRY_MS_FIRST << (r->tries - 1);
    curl_off_t after = 0;

    if (base > RETRY_MS_MAX)
        base = RETRY_MS_MAX;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after);
    if (after > 0)
        /* Spread, so that all who were told the same moment do not come at once. */
        return (uint64_t)(after > RETRY_AFTER_S_MAX ? RETRY_AFTER_S_MAX : after) * 1000 +
               client_random(RETRY_MS_FIRST);
    return base + client_random(base);
}

static bool worth_retrying(const struct kube_request *r, CURLcode code, int status)
{
    int error = transfer_errno(code);

    if (r->retry != KUBE_RETRY || r->tries >= TRIES_MAX || r->answer.overflow)
        return false;
    if (code != CURLE_OK)
        return error != -EINVAL && error != -EKEYREJECTED;
    return status == 429 || status >= 500;
}

static int on_data(struct transfer *t, const char *data, size_t len)
{
    struct kube_request *r = t->userdata;

    return buf_add(&r->answer, data, len);
}

static void count(struct kube_request *r, const struct transfer *t, CURLcode code)
{
    curl_off_t us = 0;

    (void)curl_easy_getinfo(t->easy, CURLINFO_TOTAL_TIME_T, &us);
    kube_answers_add(&r->client->answers, r->method, code == CURLE_OK ? t->status : 0,
                     (double)us / 1e6);
}

static void on_done(struct transfer *t, CURLcode code)
{
    struct kube_request *r = t->userdata;
    struct kube_client *client = r->client;

    count(r, t, code);
    unlist(r);
    if (code == CURLE_OPERATION_TIMEDOUT)
        client_suspect(client, t);
    if (code == CURLE_OK && t->status == 401 && !r->reauth && client_token_expire(client)) {
        r->reauth = true; /* the token was replaced before its time */
        wait_until(r, 0);
    } else if (worth_retrying(r, code, t->status)) {
        wait_until(r, retry_delay_ms(r, t));
    } else if (r->answer.overflow) {
        answer_error(r, -EMSGSIZE, "the answer is larger than 64 MiB");
        return;
    } else if (code != CURLE_OK) {
        answer_error(r, transfer_errno(code), transfer_text(t, code));
        return;
    } else {
        answer_http(r, t->status);
        return;
    }
    client->stats.failures++;
    transfer_end(r->transfer);
    r->transfer = NULL;
    buf_free(&r->answer);
    pump(client);
}

static void start_try(struct kube_request *r)
{
    static const struct transfer_ops ops = {.on_data = on_data, .on_done = on_done};
    struct transfer *t = transfer_new(r->client->engine, &ops, r);

    r->transfer = t;
    r->tries++;
    client_prepare(r->client, t, r->path, accepted(r->method), REQUEST_MS_MAX);
    if (r->method != KUBE_GET) {
        (void)curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, kube_method_to_string(r->method));
        if (r->body_len > 0 || r->method != KUBE_DELETE) {
            (void)curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, r->body);
            (void)curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
            transfer_header(t, "Content-Type", content_type(r->method));
            transfer_header(t, "Expect", NULL);
        }
    }
    transfer_start(t);
}

/* The next to be sent. Those that can wait do so while others are under way, but not for ever: a
 * host that is never idle sends them one by one. */
static struct kube_request *next_queued(struct kube_client *client)
{
    struct kube_request *r = TAILQ_FIRST(&client->queued);
    uint64_t now;

    if (r)
        return r;
    r = TAILQ_FIRST(&client->idle);
    if (!r || client->running_len == client->idle_running_len)
        return r;
    now = clock_mono_ms();
    if (r->due_ms > now)
        client_wake(client, r->due_ms - now);
    else if (client->idle_running_len == 0)
        return r;
    return NULL;
}

static void pump(struct kube_client *client)
{
    struct kube_request *r;

    while (!client->closing && client->running_len < REQUESTS_RUNNING_MAX &&
           (r = next_queued(client))) {
        unlist(r);
        set_state(r, REQUEST_RUNNING);
        start_try(r);
    }
}

struct kube_request *kube_request(struct kube_client *client, enum kube_method method,
                                  const char *path, const char *body, size_t body_len,
                                  enum kube_retry retry, kube_done done, void *userdata)
{
    struct kube_request *r = xcalloc(1, sizeof(*r));

    r->client = client;
    r->method = method;
    r->retry = retry;
    r->done = done;
    r->userdata = userdata;
    r->path = xstrdup(path);
    r->body = xstrndup(body ? body : "", body ? body_len : 0);
    r->body_len = body ? body_len : 0;
    buf_init(&r->answer, ANSWER_MAX);
    if (client->waiting_len >= REQUESTS_WAITING_MAX) {
        r->refused = -ENOBUFS;
        wait_until(r, 1);
        return r;
    }
    r->due_ms = clock_mono_ms() + IDLE_WAIT_MS;
    set_state(r, REQUEST_QUEUED);
    pump(client);
    return r;
}

void kube_request_cancel(struct kube_request *request)
{
    struct kube_client *client = request->client;

    if (request->state == REQUEST_ANSWERING)
        return; /* from inside its own callback: it is being freed */
    unlist(request);
    request_free(request);
    pump(client);
}

/* One due request; true when there may be another. */
static bool run_due(struct kube_client *client, uint64_t now, uint64_t *ret_next_ms)
{
    struct kube_request *r;

    *ret_next_ms = UINT64_MAX;
    TAILQ_FOREACH(r, &client->waiting, link)
    {
        if (r->due_ms > now) {
            *ret_next_ms = r->due_ms < *ret_next_ms ? r->due_ms : *ret_next_ms;
            continue;
        }
        unlist(r);
        if (r->refused < 0)
            answer_error(r, r->refused, "too many requests are waiting");
        else
            set_state(r, REQUEST_QUEUED);
        return true;
    }
    return false;
}

static void on_timer(uv_timer_t *timer)
{
    struct kube_client *client = timer->data;
    uint64_t now = clock_mono_ms(), next;

    while (!client->closing && client_run_broken_streams(client))
        ;
    while (!client->closing && run_due(client, now, &next))
        ;
    if (client->closing)
        return;
    if (next != UINT64_MAX)
        client_wake(client, next - now);
    pump(client);
}

void client_wake(struct kube_client *client, uint64_t delay_ms)
{
    if (client->closing)
        return;
    if (uv_is_active((uv_handle_t *)&client->timer) &&
        uv_timer_get_due_in(&client->timer) <= delay_ms)
        return;
    (void)uv_timer_start(&client->timer, on_timer, delay_ms, 0);
}

int kube_client_new(struct uv_loop_s *loop, const struct kube_config *config,
                    struct kube_client **ret, struct err *err)
{
    struct kube_client *client;
    int r;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, -EIO, "libcurl cannot be initialised");
    client = xcalloc(1, sizeof(*client));
    kube_answers_init(&client->answers);
    client->loop = loop;
    TAILQ_INIT(&client->queued);
    TAILQ_INIT(&client->idle);
    TAILQ_INIT(&client->running);
    TAILQ_INIT(&client->waiting);
    TAILQ_INIT(&client->streams);
    TAILQ_INIT(&client->fetches);
    r = client_setup(client, config, err);
    if (r == 0 && (r = client_new_engine(client)) < 0)
        (void)err_set(err, r, "the HTTP client cannot be set up");
    if (r < 0) {
        client_setup_free(client);
        free(client);
        curl_global_cleanup();
        return r;
    }
    (void)uv_timer_init(loop, &client->timer);
    client->timer.data = client;
    *ret = client;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
    curl_global_cleanup();
}

void kube_client_free(struct kube_client *client)
{
    struct request_list *lists[] = {&client->queued, &client->idle, &client->running,
                                    &client->waiting};

    client->closing = true;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct kube_request *r;

        while ((r = TAILQ_FIRST(lists[i]))) {
            unlist(r);
            request_free(r);
        }
    }
    client_free_streams(client);
    client_free_fetches(client);
    engine_retire(client->engine);
    client_setup_free(client);
    uv_close((uv_handle_t *)&client->timer, on_timer_closed);
}

int kube_client_set_config(struct kube_client *client, const struct kube_config *config,
                           struct err *err)
{
    const struct kube_config *old = &client->config;
    bool same = str_eq(old->server, config->server) && str_eq(old->ca_pem, config->ca_pem) &&
                str_eq(old->cert_pem, config->cert_pem) && str_eq(old->key_pem, config->key_pem) &&
                str_eq(old->tls_server_name, config->tls_server_name) &&
                str_eq(old->proxy_url, config->proxy_url) && !old->insecure == !config->insecure;
    int r = client_setup(client, config, err);

    if (r < 0)
        return r;
    if (same)
        return 0; /* tokens go with each request, not with the connection */
    r = client_new_engine(client);
    if (r < 0)
        return err_set(err, r, "the HTTP client cannot be set up");
    client_break_streams(client, 0);
    return 0;
}

void kube_client_stats(const struct kube_client *client, struct kube_stats *ret)
{
    *ret = client->stats;
}
