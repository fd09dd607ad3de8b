/* A GET whose answer is handed on as it arrives: lists and watches (watch.c). Ends with the
 * connection, with its time limit, or when the client leaves the connection. Never retries. */
#include "k8s/client_priv.h"

#include "base/str.h"

#include <errno.h>
#include <stdlib.h>

#define FAILURE_MAX 65536u /* bytes kept of an answer that is no success */

struct kube_stream {
    TAILQ_ENTRY(kube_stream) link;
    struct kube_client *client;
    struct transfer *transfer;
    const struct kube_stream_ops *ops;
    void *userdata;
    struct buf failure;
    bool refused; /* on_data returned an error */
    bool broken;
    int broken_result;
};

static void stream_free(struct kube_stream *s)
{
    TAILQ_REMOVE(&s->client->streams, s, link);
    transfer_end(s->transfer);
    buf_free(&s->failure);
    free(s);
}

static int on_data(struct transfer *t, const char *data, size_t len)
{
    struct kube_stream *s = t->userdata;

    if (t->status != 200) {
        size_t room = FAILURE_MAX - s->failure.len;

        return buf_add(&s->failure, data, len < room ? len : room);
    }
    if (s->broken)
        return -ECANCELED;
    if (s->ops->on_data(s->userdata, data, len) < 0) {
        /* When it was stopped from inside, s is gone; the engine knows and ends the transfer. */
        if (t->state == TRANSFER_ON)
            s->refused = true;
        return -ECANCELED;
    }
    return 0;
}

static void finish(struct kube_stream *s, const struct kube_stream_end *end)
{
    const struct kube_stream_ops *ops = s->ops;
    void *userdata = s->userdata;
    struct buf failure = s->failure;

    buf_init(&s->failure, FAILURE_MAX);
    stream_free(s);
    ops->on_end(userdata, end);
    buf_free(&failure);
}

static void on_done(struct transfer *t, CURLcode code)
{
    struct kube_stream *s = t->userdata;
    struct kube_client *client = s->client;
    char text[CURL_ERROR_SIZE + 64];
    curl_off_t after = 0;
    struct kube_stream_end end = {
        .result = transfer_errno(code), .status = t->status, .text = "", .body = ""};

    (void)curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after);
    if (after > 0)
        end.retry_after_s = after > RETRY_AFTER_S_MAX ? RETRY_AFTER_S_MAX : (uint32_t)after;
    client->stats.requests++;
    if (s->broken)
        end.result = s->broken_result;
    else if (s->refused)
        end.result = -ECANCELED;
    if (end.result < 0)
        end.text = str_copy(text, sizeof(text), transfer_text(t, code));
    else if (t->status != 200)
        end.text = str_fmt(text, sizeof(text), "HTTP status %d", t->status);
    if (end.result < 0 || t->status != 200)
        client->stats.failures++;
    end.body = buf_str(&s->failure);
    end.len = s->failure.len;
    finish(s, &end);
}

struct kube_stream *kube_stream_start(struct kube_client *client, const char *path, long total_ms,
                                      const struct kube_stream_ops *ops, void *userdata)
{
    static const struct transfer_ops transfer_ops = {.on_data = on_data, .on_done = on_done};
    struct kube_stream *s = xcalloc(1, sizeof(*s));

    s->client = client;
    s->ops = ops;
    s->userdata = userdata;
    buf_init(&s->failure, FAILURE_MAX);
    s->transfer = transfer_new(client->engine, &transfer_ops, s);
    client_prepare(client, s->transfer, path, ACCEPT_JSON, total_ms);
    TAILQ_INSERT_TAIL(&client->streams, s, link);
    transfer_start(s->transfer);
    return s;
}

void kube_stream_stop(struct kube_stream *stream)
{
    if (stream)
        stream_free(stream);
}

void client_break_streams(struct kube_client *client, int result)
{
    struct kube_stream *s;

    TAILQ_FOREACH(s, &client->streams, link)
    {
        /* Those of the new engine are not concerned. */
        if (s->transfer->engine == client->engine || s->broken)
            continue;
        s->broken = true;
        s->broken_result = result;
    }
    client_wake(client, 0);
}

bool client_run_broken_streams(struct kube_client *client)
{
    struct kube_stream *s;

    TAILQ_FOREACH(s, &client->streams, link)
    {
        struct kube_stream_end end = {.body = ""};

        if (!s->broken)
            continue;
        end.result = s->broken_result;
        end.status = end.result == 0 ? 200 : 0;
        end.text = end.result < 0 ? "the connection to the API server went silent" : "";
        finish(s, &end);
        return true; /* anything may have changed */
    }
    return false;
}

void client_free_streams(struct kube_client *client)
{
    struct kube_stream *s;

    while ((s = TAILQ_FIRST(&client->streams)))
        stream_free(s);
}
