/* Requests to one host through base/fetch.h. A call is one to three fetches: without credentials
 * (or with a token kept from before); at a 401 one for a token, where the challenge says; and once
 * more. Credentials never go to a plain-HTTP token server unless the registry may be plain HTTP.
 * What hosts.toml says of a host (CAs, skip_verify) is for its token server too. */
#include "runtime/image_http.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/fetch.h"
#include "base/json.h"
#include "base/map.h"
#include "base/str.h"
#include "runtime/image_auth.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define ERROR_BODY_MAX 4096
#define TOKEN_BODY_MAX (256 * 1024)
#define TOKENS_MAX 1024
#define TLS_HOSTS_MAX 256
#define TOKEN_LIFE_S_DEFAULT 60 /* distribution's specification: when expires_in is absent */
#define TOKEN_LIFE_S_MAX 3600
#define TOKEN_EARLY_MS 5000 /* not used in its last seconds */
#define STALL_MS_MAX 60000
#define SERVER_TEXT_MAX 200

enum call_state {
    CALL_PLAIN,   /* first try: no token, or a kept one */
    CALL_TOKEN,   /* asking the token server */
    CALL_GRANTED, /* second try, with what the challenge asked for */
};

struct token {
    char *authorization; /* header's value; NULL: basic, the user and password themselves */
    uint64_t expires_ms; /* mono */
};

struct http_call {
    struct http *http;
    struct http_ops ops;
    void *userdata;
    struct fetch *fetch;
    enum call_state state;
    char *host;
    char *url;
    char *method;
    char *accept;
    char *scope;
    char *token_key;
    char *user; /* copies: callbacks may end the owner's */
    char *password;
    const char *ca_text;
    bool skip_verify;
    bool insecure;
    bool tls_guess; /* plain HTTP is our own idea: TLS is tried when it is none */
    uint64_t from;  /* first byte that is wanted */
    uint64_t skip;  /* bytes still to be passed over: the server knows no ranges */
    struct auth_challenge challenge;
    char digest[IMAGE_DIGEST_MAX];
    int64_t retry_after_s;
    struct buf body; /* of an error, or of the token */
};

static void token_free(struct token *token)
{
    free(token->authorization);
    free(token);
}

void http_init(struct http *http, const struct fetcher *fetcher,
               const struct image_store_config *config)
{
    *http = (struct http){
        .fetcher = fetcher,
        .config = config,
        .tokens = map_new(),
        .tls_hosts = map_new(),
    };
}

/* Drops the tokens that are spent; all when that is not enough. */
static void tokens_purge(struct http *http, bool all)
{
    uint64_t now_ms = clock_mono_ms();
    const char *key;
    void *value;

    for (size_t it = 0; map_next(http->tokens, &it, &key, &value);) {
        struct token *token = value;

        if (!all && token->expires_ms > now_ms)
            continue;
        (void)map_remove(http->tokens, key);
        token_free(token);
    }
}

void http_done(struct http *http)
{
    tokens_purge(http, true);
    map_free(http->tokens);
    map_free(http->tls_hosts);
    http->tokens = NULL;
    http->tls_hosts = NULL;
}

static void token_keep(struct http_call *call, char *authorization, int64_t life_s)
{
    struct token *token = xcalloc(1, sizeof(*token));
    struct token *old;

    if (map_len(call->http->tokens) >= TOKENS_MAX)
        tokens_purge(call->http, false);
    if (map_len(call->http->tokens) >= TOKENS_MAX)
        tokens_purge(call->http, true);
    token->authorization = authorization;
    token->expires_ms = clock_mono_ms() + (uint64_t)life_s * 1000;
    old = map_set(call->http->tokens, call->token_key, token);
    if (old)
        token_free(old);
}

static const struct token *token_find(const struct http_call *call)
{
    const struct token *token = map_get(call->http->tokens, call->token_key);

    return token && token->expires_ms > clock_mono_ms() + TOKEN_EARLY_MS ? token : NULL;
}

static void token_forget(struct http_call *call)
{
    struct token *token = map_remove(call->http->tokens, call->token_key);

    if (token)
        token_free(token);
}

static void call_free(struct http_call *call)
{
    free(call->host);
    free(call->url);
    free(call->method);
    free(call->accept);
    free(call->scope);
    free(call->token_key);
    free(call->user);
    free(call->password);
    buf_free(&call->body);
    free(call);
}

static void finish(struct http_call *call, int status, const struct err *err, const char *why)
{
    struct http_ops ops = call->ops;
    void *userdata = call->userdata;
    char digest[IMAGE_DIGEST_MAX];
    const struct http_end end = {
        .err = err,
        .why = why,
        .digest = str_copy(digest, sizeof(digest), call->digest),
        .retry_after_s = status == 429 || status == 503 ? call->retry_after_s : -1,
    };

    call_free(call);
    ops.on_done(userdata, &end);
}

int64_t http_retry_after_s(const char *value, int64_t now_s)
{
    struct tm tm = {.tm_sec = 0};
    uint64_t number;
    const char *end;
    int r = str_to_u64(value, &number);

    if (r == -ERANGE || (r == 0 && number > INT64_MAX))
        return INT64_MAX;
    if (r == 0)
        return (int64_t)number;
    end = strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (!end || *end)
        return -1;
    return timegm(&tm) > now_s ? timegm(&tm) - now_s : 0;
}

/* The registry's own words: {"errors":[{"code":..,"message":..}]}. */
static void server_text(const struct buf *body, char dst[SERVER_TEXT_MAX])
{
    struct err err;
    struct json *root = json_parse(buf_str(body), body->len, &err);
    const struct json *first = json_first(json_get(root, "errors"));
    const char *message = json_get_string(first, "message");
    const char *code = json_get_string(first, "code");

    dst[0] = '\0';
    if (code || message)
        str_fmt(dst, SERVER_TEXT_MAX, ": server message: %s%s%s", code ? code : "",
                code && message ? ": " : "", message ? message : "");
    for (char *p = dst; *p; p++)
        if ((unsigned char)*p < 0x20)
            *p = ' ';
    json_free(root);
}

/* Words as containerd's, which users search for. */
static int status_error(const struct http_call *call, int status, struct err *err)
{
    const char *what = call->state == CALL_TOKEN ? "failed to fetch oauth token: " : "";
    char text[SERVER_TEXT_MAX];

    server_text(&call->body, text);
    if (status == 404 && call->state != CALL_TOKEN)
        return err_set(err, -ENOENT, "not found");
    if (status == 401 || status == 403)
        return err_set(err, -EACCES,
                       "%spull access denied, repository does not exist or may require "
                       "authorization%s",
                       what,
                       text[0]         ? text
                       : status == 401 ? ": 401 Unauthorized"
                                       : ": 403 Forbidden");
    if (status == 429)
        return err_set(err, -EAGAIN, "%stoo many requests: 429%s", what, text);
    return err_set(err, -EIO, "%sunexpected status from %s request to %s: %d%s", what,
                   call->state == CALL_TOKEN ? "GET" : call->method,
                   call->state == CALL_TOKEN ? call->challenge.realm : call->url, status, text);
}

/* What was asked for, not an error or a token; 206 is the rest of it (RFC 9110 15.3.7). */
static bool is_content(const struct http_call *call, int status)
{
    return call->state != CALL_TOKEN && (status == 200 || (status == 206 && call->from > 0));
}

static int on_body(void *userdata, int status, const void *data, size_t len)
{
    struct http_call *call = userdata;

    if (is_content(call, status)) {
        size_t old = 0;

        if (status == 200)
            old = call->skip < len ? (size_t)call->skip : len;
        call->skip -= old;
        if (old == len || !call->ops.on_body)
            return 0;
        return call->ops.on_body(call->userdata, (const char *)data + old, len - old);
    }
    if (status == 200)
        return buf_add(&call->body, data, len);
    if (call->body.len + len <= ERROR_BODY_MAX) /* the rest of an error is not worth reading */
        (void)buf_add(&call->body, data, len);
    return 0;
}

static void on_header(void *userdata, const char *name, const char *value)
{
    struct http_call *call = userdata;

    if (str_eq(name, "retry-after"))
        call->retry_after_s = http_retry_after_s(value, clock_unix_ms() / 1000);
    if (call->state == CALL_TOKEN)
        return;
    if (str_eq(name, "www-authenticate"))
        auth_parse(value, &call->challenge);
    else if (str_eq(name, "docker-content-digest") && image_digest_valid(value))
        str_copy(call->digest, sizeof(call->digest), value);
}

static void on_done(void *userdata, int result, int status, const char *text);

static const struct fetch_ops fetch_ops = {
    .on_header = on_header,
    .on_body = on_body,
    .on_done = on_done,
};

static void fetch(struct http_call *call, const char *url, const char *authorization, bool basic)
{
    struct fetch_header headers[3];
    char range[48];
    struct fetch_request request = {
        .url = url,
        .method = call->state == CALL_TOKEN ? NULL : call->method,
        .headers = headers,
        .ca_file = call->http->config->registry_ca_file,
        .ca_text = call->ca_text,
        .skip_verify = call->skip_verify,
        .user = basic ? call->user : NULL,
        .password = basic ? call->password : NULL,
        .stall_ms_max = STALL_MS_MAX,
    };
    const struct fetcher *fetcher = call->http->fetcher;

    if (call->accept && call->state != CALL_TOKEN)
        headers[request.headers_len++] = (struct fetch_header){"Accept", call->accept};
    if (authorization)
        headers[request.headers_len++] = (struct fetch_header){"Authorization", authorization};
    if (call->from > 0 && call->state != CALL_TOKEN) {
        str_fmt(range, sizeof(range), "bytes=%llu-", (unsigned long long)call->from);
        headers[request.headers_len++] = (struct fetch_header){"Range", range};
    }
    call->skip = call->from;
    buf_reset(&call->body);
    call->digest[0] = '\0';
    call->retry_after_s = -1;
    call->fetch = fetcher->start(fetcher->impl, &request, &fetch_ops, call);
}

/* Without credentials, or with a token from before. */
static void send_first(struct http_call *call)
{
    const struct token *token = token_find(call);

    fetch(call, call->url, token ? token->authorization : NULL, token && !token->authorization);
}

static int start_token(struct http_call *call, struct err *err)
{
    const struct auth_challenge *challenge = &call->challenge;
    CLEANUP(free) char *url = NULL;

    if (challenge->scheme == AUTH_BASIC) {
        if (!call->user)
            return status_error(call, 401, err);
        call->state = CALL_GRANTED;
        token_keep(call, NULL, TOKEN_LIFE_S_MAX);
        fetch(call, call->url, NULL, true);
        return 0;
    }
    if (challenge->scheme == AUTH_NONE)
        return status_error(call, 401, err);
    if (!str_starts(challenge->realm, "https://") &&
        !(call->insecure && str_starts(challenge->realm, "http://")))
        return err_set(err, -EACCES, "the registry's token server %s is not HTTPS: refused",
                       challenge->realm);
    call->state = CALL_TOKEN;
    url = auth_token_url(challenge, call->scope);
    fetch(call, url, NULL, call->user != NULL);
    return 0;
}

static int take_token(struct http_call *call, struct err *err)
{
    struct err parse_err;
    struct json *root = json_parse(buf_str(&call->body), call->body.len, &parse_err);
    const char *token = json_get_string(root, "token");
    int64_t life_s = TOKEN_LIFE_S_DEFAULT;
    char *authorization = NULL;

    if (str_empty(token))
        token = json_get_string(root, "access_token");
    (void)json_get_int(root, "expires_in", &life_s);
    if (life_s < 0 || life_s > TOKEN_LIFE_S_MAX)
        life_s = TOKEN_LIFE_S_MAX;
    if (!str_empty(token) && !strpbrk(token, "\r\n"))
        authorization = xasprintf("Bearer %s", token);
    json_free(root);
    if (!authorization)
        return err_set(err, -EACCES, "the token server %s gave no token", call->challenge.realm);
    call->state = CALL_GRANTED;
    token_keep(call, authorization, life_s);
    fetch(call, call->url, authorization, false);
    return 0;
}

/* A server that speaks TLS where plain HTTP is allowed says 400 to plain HTTP. */
static bool retry_with_tls(struct http_call *call, int status)
{
    char *plain = call->url;

    if (status != 400 || call->state != CALL_PLAIN || !call->tls_guess ||
        !str_starts(plain, "http://"))
        return false;
    call->url = xasprintf("https://%s", plain + strlen("http://"));
    free(plain);
    if (map_len(call->http->tls_hosts) < TLS_HOSTS_MAX)
        (void)map_set(call->http->tls_hosts, call->host, call->http);
    send_first(call);
    return true;
}

static void on_done(void *userdata, int result, int status, const char *text)
{
    struct http_call *call = userdata;
    struct err err = {.code = 0};
    char why[SERVER_TEXT_MAX] = "";
    int r;

    call->fetch = NULL;
    if (result == 0 && retry_with_tls(call, status))
        return;
    if (result < 0) {
        str_copy(why, sizeof(why), text);
        r = err_set(&err, result, "failed to do request: %s \"%s\": %s",
                    call->state == CALL_TOKEN ? "GET" : call->method,
                    call->state == CALL_TOKEN ? call->challenge.realm : call->url, text);
    } else if (call->state == CALL_TOKEN && status == 200) {
        r = take_token(call, &err);
    } else if (call->state == CALL_PLAIN && status == 401) {
        token_forget(call);
        r = start_token(call, &err);
    } else if (!is_content(call, status)) {
        str_fmt(why, sizeof(why), "%s%d", call->state == CALL_TOKEN ? "token server: " : "",
                status);
        r = status_error(call, status, &err);
    } else {
        finish(call, status, NULL, "");
        return;
    }
    if (r < 0)
        finish(call, result < 0 ? 0 : status, &err, why[0] ? why : err.text);
}

static bool may_be_plain(const struct image_store_config *config, const char *host)
{
    for (size_t i = 0; i < config->insecure_registries_len; i++)
        if (str_eq(config->insecure_registries[i], host))
            return true;
    return image_host_is_loopback(host);
}

/* The key holds a hash of the credentials: a token is used only for who got it. */
static char *token_key(const struct http_request *request, const char *host)
{
    CLEANUP(free)
    char *secret = xasprintf("%s%c%s", request->user ? request->user : "", 1,
                             request->password ? request->password : "");
    char hex[DIGEST_HEX_LEN + 1];

    digest_sha256_hex(secret, strlen(secret), hex);
    return xasprintf("%s/%s %s", host, request->name->repo, hex);
}

/* What hosts.toml names is spoken to as it says; a mirror is told whose image it is (containerd's
 * ns), as caches for several registries need. */
static void aim_at(struct http_call *call, const struct http_request *request)
{
    const struct image_endpoint *endpoint = request->endpoint;
    bool origin = hosts_is_origin(endpoint, request->name);

    call->host = xstrdup(endpoint->host);
    call->insecure = str_starts(endpoint->base, "http://");
    call->url = xasprintf("%s/%s/%s%s%s", endpoint->base, request->name->repo, request->path,
                          origin ? "" : "?ns=", origin ? "" : request->name->host);
}

/* The registry of the image's name. */
static void aim_at_origin(struct http_call *call, const struct http_request *request)
{
    const char *host = image_name_api_host(request->name);
    bool plain;

    call->host = xstrdup(host);
    call->insecure = may_be_plain(call->http->config, host);
    plain = call->insecure && !map_get(call->http->tls_hosts, host);
    call->url = xasprintf("%s://%s/v2/%s/%s", plain ? "http" : "https", host, request->name->repo,
                          request->path);
}

struct http_call *http_start(struct http *http, const struct http_request *request,
                             const struct http_ops *ops, void *userdata)
{
    struct http_call *call = xcalloc(1, sizeof(*call));

    call->http = http;
    call->ops = *ops;
    call->userdata = userdata;
    call->tls_guess = !request->endpoint->base;
    if (request->endpoint->base)
        aim_at(call, request);
    else
        aim_at_origin(call, request);
    call->ca_text = request->ca_text;
    call->skip_verify = request->endpoint->skip_verify;
    call->method = xstrdup(request->method);
    call->accept = request->accept ? xstrdup(request->accept) : NULL;
    call->from = request->from;
    call->scope = xasprintf("repository:%s:pull", request->name->repo);
    call->user = request->user ? xstrdup(request->user) : NULL;
    call->password = request->password ? xstrdup(request->password) : NULL;
    call->token_key = token_key(request, call->host);
    buf_init(&call->body, TOKEN_BODY_MAX);
    send_first(call);
    return call;
}

void http_cancel(struct http_call *call)
{
    const struct fetcher *fetcher;

    if (!call)
        return;
    fetcher = call->http->fetcher;
    if (call->fetch)
        fetcher->cancel(fetcher->impl, call->fetch);
    call_free(call);
}
