/* httpGet and tcpSocket. Redirects are followed here, not by curl: only to the same host, ten at
 * most; one that leads elsewhere ends the probe as a success with a warning (contract 3.8). */
#include "k8s/probe_priv.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "provider/core/pod.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define STATUS_OK 200
#define STATUS_REDIRECT 300
#define STATUS_BAD 400

/* Those that frame a message are nobody's to set; Go leaves them out too. */
static bool is_ours(const char *name)
{
    static const char *const names[] = {"Content-Length", "Transfer-Encoding", "Trailer",
                                        "Connection"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcasecmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* One that would become two lines, or none. */
static bool is_good(const struct key_value *header)
{
    for (const unsigned char *c = (const unsigned char *)header->value; *c; c++) {
        if ((*c < ' ' && *c != '\t') || *c == 0x7f)
            return false;
    }
    for (const unsigned char *c = (const unsigned char *)header->key; *c; c++) {
        if (*c <= ' ' || *c >= 0x7f || *c == ':')
            return false;
    }
    return header->key[0] != '\0';
}

/* Bytes that must not stand in a request line, written as %XX like Go's net/url does. */
static void add_path(struct buf *out, const char *path)
{
    static const char unsafe[] = "\"<>\\^`{|}";

    if (path[0] && path[0] != '/' && path[0] != '?' && path[0] != '#')
        (void)buf_addc(out, '/');
    for (const unsigned char *c = (const unsigned char *)path; *c; c++) {
        if (*c <= ' ' || *c >= 0x7f || strchr(unsafe, *c))
            (void)buf_addf(out, "%%%02X", *c);
        else
            (void)buf_addc(out, (char)*c);
    }
}

void probe_http_prepare(struct probe_call *call, const struct handler *handler)
{
    struct buf url = BUF_INIT(65536);
    char address[OBSERVED_TEXT_MAX];

    probe_address(call, address, sizeof(address));
    (void)buf_addf(&url, "%s://%s", handler->tls ? "https" : "http", address);
    add_path(&url, handler->path);
    call->url = buf_take(&url);
    call->headers = xcalloc(handler->headers_len + 1, sizeof(*call->headers));
    for (size_t i = 0; i < handler->headers_len; i++) {
        const struct key_value *h = &handler->headers[i];

        if (!is_good(h) && !call->bad_header)
            call->bad_header = xstrdup(h->key);
        if (!is_good(h) || is_ours(h->key))
            continue;
        call->headers[call->headers_len++] =
            (struct key_value){.key = xstrdup(h->key), .value = xstrdup(h->value)};
    }
}

static void finish(struct probe_call *call, enum probe_outcome outcome, CURLcode code,
                   const char *text)
{
    long status = 0;

    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    struct probe_answer answer = {
        .outcome = outcome,
        .status = (int)status,
        .unheard = code != CURLE_OK && probe_unheard(call, code),
        .plain_http = call->tls && code == CURLE_SSL_CONNECT_ERROR &&
                      strstr(call->transfer->error, "wrong version number") != NULL,
        .result = "failure",
        .text = text,
    };

    probe_finish(call, &answer);
}

/* ---- one request ---- */

static size_t on_header(char *data, size_t size, size_t n, void *userdata)
{
    static const char name[] = "location:";
    struct transfer *t = userdata;
    struct probe_call *call = t->userdata;
    size_t len = size * n, at = sizeof(name) - 1;

    if (len <= at || strncasecmp(data, name, at) != 0)
        return len;
    while (at < len && (data[at] == ' ' || data[at] == '\t'))
        at++;
    /* "http://..." or "//host": then the Host header of the first request is not for it. */
    call->location_absolute =
        at < len && (memchr(data + at, ':', len - at) != NULL ||
                     (len - at > 1 && data[at] == '/' && data[at + 1] == '/'));
    return len;
}

static int on_body(struct transfer *t, const char *data, size_t len)
{
    struct probe_call *call = t->userdata;
    size_t room = PROBE_BODY_MAX - call->body.len;

    if (len > room) {
        (void)buf_add(&call->body, data, room);
        call->body_full = true; /* enough: the rest is not waited for */
        return -1;
    }
    (void)buf_add(&call->body, data, len);
    return 0;
}

/* curl takes "Name: " for the wish to leave that header out; this is its way to say empty. */
static void add_empty(struct transfer *t, const char *name)
{
    char *line = xasprintf("%s;", name);
    struct curl_slist *list = curl_slist_append(t->headers, line);

    free(line);
    if (!list)
        abort(); /* out of memory, as in xmalloc */
    t->headers = list;
}

static void add_headers(const struct probe_call *call, struct transfer *t)
{
    bool agent = false, accept = false;
    char name[40];

    for (size_t i = 0; i < call->headers_len; i++) {
        const struct key_value *h = &call->headers[i];
        bool empty = h->value[0] == '\0';

        agent = agent || strcasecmp(h->key, "User-Agent") == 0;
        accept = accept || strcasecmp(h->key, "Accept") == 0;
        if (strcasecmp(h->key, "Host") == 0 && (empty || call->drop_host))
            continue;
        /* Of these two, empty means none. */
        if (empty && strcasecmp(h->key, "User-Agent") != 0 && strcasecmp(h->key, "Accept") != 0)
            add_empty(t, h->key);
        else
            transfer_header(t, h->key, empty ? NULL : h->value);
    }
    str_fmt(name, sizeof(name), "kube-%s/%s", call->purpose == PURPOSE_HOOK ? "lifecycle" : "probe",
            PROBE_VERSION);
    if (!agent)
        transfer_header(t, "User-Agent", name);
    if (!accept)
        transfer_header(t, "Accept", "*/*");
    transfer_header(t, "Connection", "close");
}

static void on_done(struct transfer *t, CURLcode code);

static void request(struct probe_call *call, struct engine *engine)
{
    static const struct transfer_ops ops = {.on_data = on_body, .on_done = on_done};
    struct transfer *t = transfer_new(engine, &ops, call);
    long version =
        call->h2c ? (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE : (long)CURL_HTTP_VERSION_2TLS;

    call->transfer = t;
    call->location_absolute = false;
    buf_reset(&call->body);
    transfer_url(t, call->url);
    (void)curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(t->easy, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, 0L);
    (void)curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION,
                           call->tls || call->h2c ? version : (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYPEER, 0L);
    (void)curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    (void)curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    (void)curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
    (void)curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)probe_left_ms(call));
    (void)curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)call->timeout_ms);
    add_headers(call, t);
    transfer_start(t);
}

/* ---- what comes back ---- */

static void fail_get(struct probe_call *call, CURLcode code, const char *reason)
{
    char text[PROBE_TEXT_MAX];

    str_fmt(text, sizeof(text), "Get \"%s\": %s", call->url, reason);
    finish(call, PROBE_FAILED, code, text);
}

static void on_broken(struct probe_call *call, CURLcode code)
{
    char text[PROBE_TEXT_MAX];
    bool late = code == CURLE_OPERATION_TIMEDOUT;
    long status = 0;

    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= STATUS_OK) {
        /* The head was good: the kubelet then has an error, not a failure. */
        probe_wire_text(call, code, text, sizeof(text));
        finish(call, PROBE_ERROR, code,
               late ? "context deadline exceeded (Client.Timeout or context cancellation while "
                      "reading body)"
                    : text);
        return;
    }
    probe_wire_text(call, code, text, sizeof(text));
    if (late)
        str_copy(text, sizeof(text),
                 "context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
    if (call->tls && code == CURLE_SSL_CONNECT_ERROR &&
        strstr(call->transfer->error, "wrong version number"))
        str_copy(text, sizeof(text), "http: server gave HTTP response to HTTPS client");
    fail_get(call, code, text);
}

/* The host of a URL as curl gives it, without port; false: none. */
static bool url_host(const char *url, char *dst, size_t size)
{
    CURLU *parsed = curl_url();
    char *host = NULL;
    bool good = parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK;

    if (good)
        str_copy(dst, size, host);
    curl_free(host);
    curl_url_cleanup(parsed);
    return good;
}

/* True when another request was begun, or the call is over. */
static bool follow(struct probe_call *call, long status)
{
    char *next = NULL;
    char to[256], from[256];
    struct engine *engine = call->transfer->engine;
    bool redirect =
        status == 301 || status == 302 || status == 303 || status == 307 || status == 308;

    (void)curl_easy_getinfo(call->transfer->easy, CURLINFO_REDIRECT_URL, &next);
    if (!redirect || !next)
        return false;
    if (!url_host(next, to, sizeof(to)) || !url_host(call->url, from, sizeof(from)) ||
        strcasecmp(to, from) != 0)
        return false;
    if (++call->redirects > PROBE_REDIRECTS_MAX - 1) {
        char text[PROBE_TEXT_MAX];

        str_fmt(text, sizeof(text), "Get \"%s\": stopped after %d redirects", next,
                PROBE_REDIRECTS_MAX);
        finish(call, PROBE_FAILED, CURLE_OK, text);
        return true;
    }
    call->drop_host = call->drop_host || call->location_absolute;
    char *url = xstrdup(next);
    free(call->url);
    call->url = url;
    call->tls = str_starts(url, "https:");
    transfer_end(call->transfer);
    request(call, engine);
    return true;
}

static void on_done(struct transfer *t, CURLcode code)
{
    struct probe_call *call = t->userdata;
    char text[PROBE_TEXT_MAX];
    long status = 0;

    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_WRITE_ERROR && call->body_full)
        code = CURLE_OK;
    if (code != CURLE_OK) {
        on_broken(call, code);
        return;
    }
    if (follow(call, status))
        return;
    if (status >= STATUS_REDIRECT && status < STATUS_BAD) {
        str_fmt(text, sizeof(text), "Probe terminated redirects, Response body: %s",
                buf_str(&call->body));
        finish(call, PROBE_WARNING, CURLE_OK, text);
    } else if (status >= STATUS_OK && status < STATUS_REDIRECT) {
        finish(call, PROBE_OK, CURLE_OK, "");
    } else {
        str_fmt(text, sizeof(text), "HTTP probe failed with statuscode: %ld", status);
        finish(call, PROBE_FAILED, CURLE_OK, text);
    }
}

static void on_bad_header(struct transfer *t, CURLcode code)
{
    struct probe_call *call = t->userdata;
    char text[PROBE_TEXT_MAX];

    (void)code;
    str_fmt(text, sizeof(text), "Get \"%s\": net/http: invalid header field value for \"%s\"",
            call->url, call->bad_header);
    finish(call, PROBE_FAILED, CURLE_OK, text);
}

/* Nothing is sent: a transfer that curl refuses at once brings the answer in its time. */
static void refuse(struct probe_call *call, struct engine *engine)
{
    static const struct transfer_ops ops = {.on_done = on_bad_header};

    call->transfer = transfer_new(engine, &ops, call);
    transfer_url(call->transfer, "none:");
    transfer_start(call->transfer);
}

void probe_http_start(struct probe_call *call, struct engine *engine)
{
    if (call->bad_header)
        refuse(call, engine);
    else
        request(call, engine);
}

/* ---- TCP ---- */

static void on_connected(struct transfer *t, CURLcode code)
{
    struct probe_call *call = t->userdata;
    char text[PROBE_TEXT_MAX] = "";

    if (code != CURLE_OK)
        probe_wire_text(call, code, text, sizeof(text));
    finish(call, code == CURLE_OK ? PROBE_OK : PROBE_FAILED, code, text);
}

void probe_tcp_start(struct probe_call *call, struct engine *engine)
{
    static const struct transfer_ops ops = {.on_done = on_connected};
    struct transfer *t = transfer_new(engine, &ops, call);
    char url[OBSERVED_TEXT_MAX + 16], address[OBSERVED_TEXT_MAX];

    call->transfer = t;
    probe_address(call, address, sizeof(address));
    str_fmt(url, sizeof(url), "http://%s/", address);
    transfer_url(t, url);
    (void)curl_easy_setopt(t->easy, CURLOPT_CONNECT_ONLY, 1L);
    (void)curl_easy_setopt(t->easy, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    (void)curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)probe_left_ms(call));
    (void)curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)call->timeout_ms);
    transfer_start(t);
}
