/* ServiceAccount tokens by TokenRequest (contract 4.2): one a source, bound to the Pod, renewed at
 * 80 % of its life for as long as the Pod is there. Kept in memory and in the Pod's volume alone.
 * Part of prepare. */
#include "provider/prepare_priv.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 4096
#define DAY_MS (24 * 3600 * 1000LL)
#define RETRY_MS 10000u /* after a failure; the old token is kept meanwhile */

int64_t token_refresh_ms(int64_t issued_ms, int64_t expires_ms)
{
    int64_t life_ms = expires_ms - issued_ms;
    int64_t wait_ms = life_ms > 0 ? life_ms / 5 * 4 : 0;

    return issued_ms + (wait_ms < DAY_MS ? wait_ms : DAY_MS);
}

static void on_timer(uv_timer_t *timer)
{
    struct needs *needs = timer->data;
    int64_t now = clock_unix_ms();

    for (size_t i = 0; i < needs->tokens_len; i++) {
        struct token *token = needs->tokens[i];

        if (token->text && now >= token_refresh_ms(token->issued_ms, token->expires_ms))
            token->error[0] = '\0';
    }
    needs_changed(needs);
}

/* For the earliest of all tokens. */
static void set_timer(struct needs *needs)
{
    int64_t now = clock_unix_ms(), first = INT64_MAX;

    for (size_t i = 0; i < needs->tokens_len; i++) {
        const struct token *token = needs->tokens[i];
        int64_t at = token->text ? token_refresh_ms(token->issued_ms, token->expires_ms) : 0;

        if (token->error[0])
            at = now + RETRY_MS;
        if (!token->request && at && at < first)
            first = at;
    }
    if (first == INT64_MAX)
        return;
    if (!needs->timer) {
        needs->timer = xcalloc(1, sizeof(*needs->timer));
        (void)uv_timer_init(&needs->machine->agent->loop, needs->timer);
        needs->timer->data = needs;
    }
    (void)uv_timer_start(needs->timer, on_timer, first > now ? (uint64_t)(first - now) : 1, 0);
}

static void take(struct token *token, const struct kube_answer *answer)
{
    struct json *root = json_parse(answer->body, answer->len, NULL);
    const char *text = json_string(json_path(root, "status.token"));
    const char *expires = json_string(json_path(root, "status.expirationTimestamp"));
    int64_t expires_ms = 0;

    if (str_empty(text) || !expires || clock_parse_rfc3339(expires, &expires_ms) < 0) {
        str_copy(token->error, sizeof(token->error), "the API server's answer has no token");
    } else {
        if (token->text)
            explicit_bzero(token->text, strlen(token->text));
        free(token->text);
        token->text = xstrdup(text);
        token->issued_ms = clock_unix_ms();
        token->expires_ms = expires_ms;
        token->error[0] = '\0';
    }
    json_free(root);
}

static void on_token(void *userdata, const struct kube_answer *answer)
{
    struct token *token = userdata;

    token->request = NULL;
    if (answer->result == 0 && answer->status < 300)
        take(token, answer);
    else
        str_fmt(token->error, sizeof(token->error), "failed to fetch token: %s", answer->text);
    set_timer(token->needs);
    needs_changed(token->needs);
}

static void ask(struct token *token)
{
    struct needs *needs = token->needs;
    struct buf body = BUF_INIT(BODY_MAX);
    struct json_writer w = JSON_WRITER(&body);
    char *path =
        xasprintf("/api/v1/namespaces/%s/serviceaccounts/%s/token", needs->ns, needs->account);

    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "authentication.k8s.io/v1");
    jw_string(&w, "kind", "TokenRequest");
    jw_begin_object(&w, "spec");
    if (token->audience[0]) {
        jw_begin_array(&w, "audiences");
        jw_string(&w, NULL, token->audience);
        jw_end_array(&w);
    }
    jw_int(&w, "expirationSeconds", token->expiration_s);
    jw_begin_object(&w, "boundObjectRef");
    jw_string(&w, "apiVersion", "v1");
    jw_string(&w, "kind", "Pod");
    jw_string(&w, "name", needs->name);
    jw_string(&w, "uid", needs->machine->uid);
    jw_end_object(&w);
    jw_end_object(&w);
    jw_end_object(&w);
    token->request = kube_request(needs->machine->agent->client, KUBE_POST, path, buf_str(&body),
                                  body.len, KUBE_RETRY, on_token, token);
    buf_free(&body);
    free(path);
}

static struct token *find(struct needs *needs, const struct volume *volume, size_t source)
{
    struct token *token;

    for (size_t i = 0; i < needs->tokens_len; i++) {
        if (needs->tokens[i]->source == source && str_eq(needs->tokens[i]->volume, volume->name))
            return needs->tokens[i];
    }
    if (needs->tokens_len == TOKENS_MAX)
        return NULL;
    token = xcalloc(1, sizeof(*token));
    token->volume = xstrdup(volume->name);
    token->source = source;
    token->audience = xstrdup(volume->sources[source].audience);
    token->expiration_s = volume->sources[source].expiration_s;
    token->needs = needs;
    needs->tokens[needs->tokens_len++] = token;
    return token;
}

const char *token_get(struct needs *needs, const struct volume *volume, size_t source,
                      const char **ret_error)
{
    struct token *token = find(needs, volume, source);
    int64_t now = clock_unix_ms();

    *ret_error = "";
    if (!token) {
        *ret_error = "the Pod has too many ServiceAccount tokens";
        return NULL;
    }
    if (str_empty(needs->account)) {
        *ret_error = "the Pod has no ServiceAccount";
        return NULL;
    }
    bool due = !token->text || now >= token_refresh_ms(token->issued_ms, token->expires_ms);
    if (due && !token->request && !token->error[0])
        ask(token);
    if (token->text && now < token->expires_ms)
        return token->text;
    *ret_error = token->error;
    return NULL;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

void tokens_end(struct needs *needs)
{
    for (size_t i = 0; i < needs->tokens_len; i++) {
        struct token *token = needs->tokens[i];

        if (token->request)
            kube_request_cancel(token->request);
        if (token->text)
            explicit_bzero(token->text, strlen(token->text));
        free(token->text);
        free(token->audience);
        free(token->volume);
        free(token);
    }
    needs->tokens_len = 0;
    if (needs->timer) {
        (void)uv_timer_stop(needs->timer);
        uv_close((uv_handle_t *)needs->timer, on_closed);
    }
    needs->timer = NULL;
}
