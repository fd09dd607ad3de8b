/* A check goes: user (given, cached, or by TokenReview), then each subresource in turn (cached,
 * or by SubjectAccessReview). Equal reviews under way are one; whoever waits goes on from the
 * cache when it is answered. An answer that is none is never cached and never an allowance. */
#include "k8s/auth.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/map.h"
#include "base/str.h"
#include "k8s/auth_cache.h"
#include "k8s/auth_calls.h"
#include "k8s/auth_user.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define KEY_MAX (DIGEST_HEX_LEN + 3) /* "t:" or "a:" and the hash */
#define TOKEN_PATH "/apis/authentication.k8s.io/v1/tokenreviews"
#define ACCESS_PATH "/apis/authorization.k8s.io/v1/subjectaccessreviews"

struct review {
    struct auth *auth;
    char key[KEY_MAX];
    bool about_token;
    struct kube_request *request;
    struct auth_check *waiters;
};

struct auth {
    struct kube_client *client;
    const struct auth_calls *calls;
    char *node_name;
    bool anonymous;
    auth_mapper map;
    struct auth_cache *tokens;     /* struct auth_user */
    struct auth_cache *bad_tokens; /* the key's text, for there must be a value */
    struct auth_cache *access;     /* "1" or "0" */
    struct map *reviews;           /* by key */
    size_t checks;
};

struct auth_check {
    struct auth *auth;
    char *token;            /* until it has a user */
    struct auth_user *user; /* owned */
    struct auth_attributes attributes;
    size_t at; /* the subresource being asked for */
    struct review *review;
    struct auth_check *next, **link; /* among the review's waiters */
    auth_done done;
    void *userdata;
};

enum step { STEP_DONE, STEP_WAIT };

static void free_user(void *value)
{
    auth_user_free(value);
}

struct auth *auth_new(struct kube_client *client, const struct auth_calls *calls,
                      const char *node_name, bool anonymous)
{
    struct auth *auth = xcalloc(1, sizeof(*auth));
    auth->client = client;
    auth->calls = calls ? calls : &auth_calls_real;
    auth->node_name = xstrdup(node_name);
    auth->anonymous = anonymous;
    auth->map = auth_map;
    auth->tokens = auth_cache_new(AUTH_TOKENS_MAX, free_user);
    auth->bad_tokens = auth_cache_new(AUTH_BAD_TOKENS_MAX, free);
    auth->access = auth_cache_new(AUTH_ACCESS_MAX, free);
    auth->reviews = map_new();
    return auth;
}

void auth_set_map(struct auth *auth, auth_mapper map)
{
    auth->map = map;
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    const char *key;
    void *value;
    for (size_t it = 0; map_next(auth->reviews, &it, &key, &value);) {
        struct review *review = value;
        auth->calls->cancel(review->request);
        free(review);
    }
    map_free(auth->reviews);
    auth_cache_free(auth->tokens);
    auth_cache_free(auth->bad_tokens);
    auth_cache_free(auth->access);
    free(auth->node_name);
    free(auth);
}

static enum step settle(struct auth_verdict *verdict, int status, const char *text)
{
    verdict->status = status;
    str_copy(verdict->text, sizeof(verdict->text), text);
    return STEP_DONE;
}

static void token_key(const char *token, char key[KEY_MAX])
{
    memcpy(key, "t:", 2);
    digest_sha256_hex(token, strlen(token), key + 2);
}

/* Lengths go in too, so that no two users can be written alike. */
static void add_text(struct digest *digest, const char *text)
{
    uint64_t len = text ? strlen(text) : UINT64_MAX;
    digest_add(digest, &len, sizeof(len));
    if (text)
        digest_add(digest, text, strlen(text));
}

static void access_key(const struct auth_user *user, const struct auth_attributes *at,
                       const char *subresource, char key[KEY_MAX])
{
    struct digest *digest = digest_new();
    add_text(digest, user->name);
    add_text(digest, user->uid);
    add_text(digest, user->extra_json);
    add_text(digest, at->verb);
    add_text(digest, subresource);
    add_text(digest, at->group);
    add_text(digest, at->resource);
    add_text(digest, at->ns);
    add_text(digest, at->path);
    for (size_t i = 0; i < user->groups_len; i++)
        add_text(digest, user->groups[i]);
    memcpy(key, "a:", 2);
    digest_hex(digest, key + 2);
    digest_free(digest);
}

static void on_review(void *userdata, const struct kube_answer *answer);

/* Joins the review of this key, or begins one. */
static enum step wait_for(struct auth_check *check, const char *key, bool about_token,
                          const struct buf *body, struct auth_verdict *verdict)
{
    struct auth *auth = check->auth;
    struct review *review = map_get(auth->reviews, key);
    if (!review) {
        if (map_len(auth->reviews) >= AUTH_REVIEWS_MAX)
            return settle(verdict, 429, "Too many requests wait for authentication");
        review = xcalloc(1, sizeof(*review));
        review->auth = auth;
        review->about_token = about_token;
        memcpy(review->key, key, sizeof(review->key));
        map_set(auth->reviews, key, review);
        review->request =
            auth->calls->request(auth->client, KUBE_POST, about_token ? TOKEN_PATH : ACCESS_PATH,
                                 body->data, body->len, KUBE_RETRY, on_review, review);
    }
    check->review = review;
    check->next = review->waiters;
    check->link = &review->waiters;
    if (check->next)
        check->next->link = &check->next;
    review->waiters = check;
    return STEP_WAIT;
}

static enum step step_token(struct auth_check *check, struct auth_verdict *verdict)
{
    struct auth *auth = check->auth;
    uint64_t now = auth->calls->mono_ms();
    char key[KEY_MAX];
    token_key(check->token, key);
    const struct auth_user *user = auth_cache_get(auth->tokens, key, now);
    if (user) {
        check->user = auth_user_copy(user);
        return STEP_WAIT;
    }
    if (auth_cache_get(auth->bad_tokens, key, now))
        return settle(verdict, 401, "Unauthorized");
    CLEANUP(buf) struct buf body = BUF_INIT(AUTH_BODY_MAX);
    auth_user_token_review(check->token, &body);
    if (body.overflow)
        return settle(verdict, 401, "Unauthorized");
    enum step step = wait_for(check, key, true, &body, verdict);
    explicit_bzero(body.data, body.len);
    return step;
}

static enum step forbid(const struct auth_check *check, struct auth_verdict *verdict)
{
    const struct auth_attributes *at = &check->attributes;
    verdict->status = 403;
    if (!at->subresources_len) {
        str_fmt(verdict->text, sizeof(verdict->text),
                "Forbidden (user=%s, verb=%s, group=%s, resource=%s, namespace=%s, path=%s)",
                check->user->name, at->verb, at->group, at->resource, at->ns, at->path);
        return STEP_DONE;
    }
    str_fmt(verdict->text, sizeof(verdict->text),
            "Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=[%s%s%s])",
            check->user->name, at->verb, at->subresources[0], at->subresources_len > 1 ? " " : "",
            at->subresources_len > 1 ? at->subresources[1] : "");
    return STEP_DONE;
}

static enum step step_access(struct auth_check *check, struct auth_verdict *verdict)
{
    struct auth *auth = check->auth;
    const struct auth_attributes *at = &check->attributes;
    size_t len = at->subresources_len ? at->subresources_len : 1;
    for (; check->at < len; check->at++) {
        const char *subresource = at->subresources_len ? at->subresources[check->at] : NULL;
        char key[KEY_MAX];
        access_key(check->user, at, subresource, key);
        const char *known = auth_cache_get(auth->access, key, auth->calls->mono_ms());
        if (!known) {
            CLEANUP(buf) struct buf body = BUF_INIT(AUTH_BODY_MAX);
            if (subresource)
                auth_user_access_review(check->user, auth->node_name, at->verb, subresource, &body);
            else
                auth_user_review_attributes(check->user, at, &body);
            if (body.overflow)
                return settle(verdict, 403, "Forbidden: the user has too many groups");
            return wait_for(check, key, false, &body, verdict);
        }
        if (known[0] == '1')
            return settle(verdict, 200, "");
    }
    return forbid(check, verdict);
}

/* Goes as far as it can. STEP_WAIT: check->review is set. */
static enum step advance(struct auth_check *check, struct auth_verdict *verdict)
{
    if (!check->user) {
        enum step step = step_token(check, verdict);
        if (step == STEP_DONE || check->review)
            return step;
    }
    return step_access(check, verdict);
}

static void check_free(struct auth_check *check)
{
    if (check->token) {
        explicit_bzero(check->token, strlen(check->token));
        free(check->token);
    }
    auth_user_free(check->user);
    check->auth->checks--;
    free(check);
}

static void leave_review(struct auth_check *check)
{
    *check->link = check->next;
    if (check->next)
        check->next->link = check->link;
    check->review = NULL;
}

/* What the API server said goes into a cache. 0, or negative when it said nothing usable. */
static int learn(const struct review *review, const struct kube_answer *answer)
{
    struct auth *auth = review->auth;
    uint64_t now = auth->calls->mono_ms();
    if (answer->result < 0 || (answer->status != 200 && answer->status != 201))
        return -EIO;
    if (review->about_token) {
        struct auth_user *user;
        int r = auth_user_from_review(answer->body, answer->len, &user);
        if (r == 0)
            auth_cache_put(auth->tokens, review->key, user, now + AUTH_TOKEN_TTL_MS);
        else if (r == -EACCES)
            auth_cache_put(auth->bad_tokens, review->key, xstrdup("0"),
                           now + AUTH_BAD_TOKEN_TTL_MS);
        return r == -EACCES ? 0 : r;
    }
    int allowed = auth_user_allowed(answer->body, answer->len);
    if (allowed < 0)
        return allowed;
    auth_cache_put(auth->access, review->key, xstrdup(allowed ? "1" : "0"),
                   now + (allowed ? AUTH_ALLOWED_TTL_MS : AUTH_DENIED_TTL_MS));
    return 0;
}

static void unavailable(const struct review *review, const struct kube_answer *answer,
                        struct auth_verdict *verdict)
{
    verdict->status = 503;
    str_fmt(verdict->text, sizeof(verdict->text), "%s is not possible now: %s",
            review->about_token ? "Authentication (TokenReview)"
                                : "Authorization (SubjectAccessReview)",
            str_empty(answer->text) ? "the API server gave no usable answer" : answer->text);
}

static void on_review(void *userdata, const struct kube_answer *answer)
{
    struct review *review = userdata;
    struct auth *auth = review->auth;
    int r = learn(review, answer);
    map_remove(auth->reviews, review->key);
    /* A callback may cancel other waiters or begin new checks: take one at a time. */
    while (review->waiters) {
        struct auth_check *check = review->waiters;
        leave_review(check);
        struct auth_verdict verdict = {0};
        if (r < 0)
            unavailable(review, answer, &verdict);
        else if (advance(check, &verdict) == STEP_WAIT)
            continue;
        auth_done done = check->done;
        void *whose = check->userdata;
        check_free(check);
        done(whose, &verdict);
    }
    free(review);
}

/* The token of "Bearer <token>", malloc'd; NULL when there is none. */
static char *bearer(const char *authorization)
{
    if (!authorization || strncasecmp(authorization, "bearer ", 7) != 0)
        return NULL;
    const char *token = authorization + 7 + strspn(authorization + 7, " ");
    return *token ? xstrdup(token) : NULL;
}

static bool printable(const char *token)
{
    for (const char *p = token; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7f)
            return false;
    }
    return true;
}

struct auth_check *auth_begin(struct auth *auth, const struct auth_question *question,
                              struct auth_verdict *ret, auth_done done, void *userdata)
{
    static const char *const nobody[] = {"system:unauthenticated"};
    if (auth->checks >= AUTH_CHECKS_MAX) {
        settle(ret, 429, "Too many requests wait for authentication");
        return NULL;
    }
    struct auth_check *check = xcalloc(1, sizeof(*check));
    auth->checks++;
    *check = (struct auth_check){.auth = auth, .done = done, .userdata = userdata};
    if (question->peer)
        check->user = auth_user_copy(question->peer);
    else
        check->token = bearer(question->authorization);
    if (!check->user && !check->token && auth->anonymous)
        check->user = auth_user_new("system:anonymous", nobody, 1);
    if (!check->user && (!check->token || !printable(check->token))) {
        settle(ret, 401, "Unauthorized");
        check_free(check);
        return NULL;
    }
    auth->map(question->method, question->path, &check->attributes);
    if (advance(check, ret) == STEP_WAIT)
        return check;
    check_free(check);
    return NULL;
}

void auth_cancel(struct auth_check *check)
{
    if (!check)
        return;
    leave_review(check);
    check_free(check);
}
