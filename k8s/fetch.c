/* HTTP for the image code behind base/fetch.h: same loop and multi handle as the API client, none
 * of its credentials, certificates or headers. Bodies are handed on as they arrive. */
#include "base/fetch.h"

#include "base/str.h"
#include "k8s/client_priv.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_CONNECT_MS 10000u
#define FETCH_STALL_MS 60000u
#define FETCH_REDIRECTS_MAX 10L
#define HEADER_NAME_MAX 128

struct fetch {
    TAILQ_ENTRY(fetch) link;
    struct kube_client *client;
    struct transfer *transfer;
    struct fetch_ops ops;
    void *userdata;
    bool calling;   /* the user's code is on the stack */
    bool cancelled; /* by it: freed when it returns */
    bool headers_told;
    int body_result; /* what on_body ended the transfer with */
};

static void unlist(struct fetch *f)
{
    TAILQ_REMOVE(&f->client->fetches, f, link);
}

static void fetch_free(struct fetch *f)
{
    transfer_end(f->transfer);
    free(f);
}

static void cancel(struct fetch *f)
{
    if (f->cancelled)
        return;
    unlist(f);
    f->cancelled = true;
    if (!f->calling)
        fetch_free(f);
}

/* The last answer's headers, once. */
static void tell_headers(struct fetch *f)
{
    struct curl_header *h = NULL;
    char name[HEADER_NAME_MAX], *value;
    size_t len;

    if (f->headers_told || !f->ops.on_header)
        return;
    f->headers_told = true;
    while (!f->cancelled && (h = curl_easy_nextheader(f->transfer->easy, CURLH_HEADER, -1, h))) {
        (void)str_copy(name, sizeof(name), h->name);
        for (char *p = name; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        /* curl 7.88 leaves the line's end in an empty value. */
        len = strlen(h->value);
        while (len > 0 && strchr(" \t\r\n", h->value[len - 1]))
            len--;
        value = xstrndup(h->value, len);
        f->ops.on_header(f->userdata, name, value);
        free(value);
    }
}

static int on_data(struct transfer *t, const char *data, size_t len)
{
    struct fetch *f = t->userdata;
    int r = 0;

    f->calling = true;
    tell_headers(f);
    if (!f->cancelled && f->ops.on_body)
        r = f->ops.on_body(f->userdata, t->status, data, len);
    f->calling = false;
    if (f->cancelled) {
        fetch_free(f); /* the engine keeps the transfer until curl has returned */
        return -ECANCELED;
    }
    if (r < 0)
        f->body_result = r;
    return r;
}

static void on_done(struct transfer *t, CURLcode code)
{
    struct fetch *f = t->userdata;
    int result = transfer_errno(code);
    const char *text = result < 0 ? transfer_text(t, code) : "";

    if (f->body_result < 0) {
        result = f->body_result;
        text = "the receiver ended the transfer";
    }
    f->calling = true;
    if (result == 0)
        tell_headers(f);
    if (!f->cancelled) {
        unlist(f);
        f->cancelled = true; /* a cancel from inside on_done is too late, and harmless */
        f->ops.on_done(f->userdata, result, t->status, text);
    }
    fetch_free(f);
}

static void set_options(CURL *easy, const struct fetch_request *request)
{
    uint32_t stall_ms = request->stall_ms_max > 0 ? request->stall_ms_max : FETCH_STALL_MS;
    uint32_t connect_ms = request->connect_ms_max > 0 ? request->connect_ms_max : FETCH_CONNECT_MS;

    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    /* Less than a byte a second for so many seconds: curl counts whole ones. */
    (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)((stall_ms + 999) / 1000));
    /* curl drops Authorization, the caller's own header included, when a redirect changes host,
     * port or scheme. Registries rely on it: storage behind them refuses a second authorization. */
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_MAXREDIRS, FETCH_REDIRECTS_MAX);
    (void)curl_easy_setopt(easy, CURLOPT_UNRESTRICTED_AUTH, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    /* The system's bundle as a parsed store is more memory than the whole agent may use. */
    (void)curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
    if (request->ca_text) {
        struct curl_blob blob = {.data = (void *)request->ca_text,
                                 .len = strlen(request->ca_text),
                                 .flags = CURL_BLOB_COPY};

        (void)curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
    } else if (request->ca_file) {
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_file);
    }
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, request->skip_verify ? 0L : 1L);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, request->skip_verify ? 0L : 2L);
    if (request->user) {
        (void)curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        (void)curl_easy_setopt(easy, CURLOPT_USERNAME, request->user);
        (void)curl_easy_setopt(easy, CURLOPT_PASSWORD, request->password ? request->password : "");
    }
    if (request->method && str_eq(request->method, "HEAD"))
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (request->method)
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static struct fetch *fetch_start(void *impl, const struct fetch_request *request,
                                 const struct fetch_ops *ops, void *userdata)
{
    static const struct transfer_ops transfer_ops = {.on_data = on_data, .on_done = on_done};
    struct kube_client *client = impl;
    struct fetch *f = xcalloc(1, sizeof(*f));

    f->client = client;
    f->ops = *ops;
    f->userdata = userdata;
    f->transfer = transfer_new(client->engine, &transfer_ops, f);
    transfer_url(f->transfer, request->url);
    set_options(f->transfer->easy, request);
    for (size_t i = 0; i < request->headers_len; i++)
        transfer_header(f->transfer, request->headers[i].name, request->headers[i].value);
    TAILQ_INSERT_TAIL(&client->fetches, f, link);
    transfer_start(f->transfer);
    return f;
}

static void fetch_cancel(void *impl, struct fetch *fetch)
{
    (void)impl;
    if (fetch)
        cancel(fetch);
}

void client_free_fetches(struct kube_client *client)
{
    struct fetch *f;

    while ((f = TAILQ_FIRST(&client->fetches)))
        cancel(f);
}

void kube_client_fetcher(struct kube_client *client, struct fetcher *ret)
{
    *ret = (struct fetcher){.start = fetch_start, .cancel = fetch_cancel, .impl = client};
}
