/* Authentication and authorization: the mapping of contract 5.1, caches and their ages, coalescing,
 * bounds, and that nothing but an allowance ever lets anybody through. */
#include "auth_fixture.h"
#include "k8s/auth.h"
#include "k8s/auth_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_map(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *verb, *first, *second;
    } rows[] = {
        {"GET", "/pods", "get", "pods", "proxy"},
        {"GET", "/pods/", "get", "pods", "proxy"},
        {"GET", "/runningpods", "get", "pods", "proxy"},
        {"GET", "/runningpods/", "get", "pods", "proxy"},
        {"GET", "/podsx", "get", "proxy", NULL},
        {"GET", "/healthz", "get", "healthz", "proxy"},
        {"GET", "/healthz/ping", "get", "healthz", "proxy"},
        {"GET", "/configz", "get", "configz", "proxy"},
        {"GET", "/flagz", "get", "configz", "proxy"},
        {"GET", "/stats/summary", "get", "stats", NULL},
        {"GET", "/metrics", "get", "metrics", NULL},
        {"GET", "/metrics/resource", "get", "metrics", NULL},
        {"HEAD", "/metrics/cadvisor", "get", "metrics", NULL},
        {"GET", "/logs/", "get", "log", NULL},
        {"POST", "/checkpoint/a/b/c", "create", "checkpoint", NULL},
        {"GET", "/statusz", "get", "statusz", NULL},
        {"GET", "/containerLogs/a/b/c", "get", "proxy", NULL},
        {"GET", "/exec/a/b/c", "create", "proxy", NULL},
        {"POST", "/exec/a/b/c", "create", "proxy", NULL},
        {"GET", "/attach/a/b/c", "create", "proxy", NULL},
        {"POST", "/run/a/b/c", "create", "proxy", NULL},
        {"GET", "/portForward/a/b", "create", "proxy", NULL},
        {"GET", "/", "get", "proxy", NULL},
        {"PUT", "/x", "update", "proxy", NULL},
        {"PATCH", "/x", "patch", "proxy", NULL},
        {"DELETE", "/pods", "delete", "pods", "proxy"},
        {"OPTIONS", "/x", "", "proxy", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct auth_attributes at;
        auth_map(rows[i].method, rows[i].path, &at);
        assert_string_equal(at.verb, rows[i].verb);
        assert_string_equal(at.subresources[0], rows[i].first);
        assert_int_equal(at.subresources_len, rows[i].second ? 2 : 1);
        if (rows[i].second)
            assert_string_equal(at.subresources[1], rows[i].second);
    }
}

static void test_cache(void **state)
{
    (void)state;
    struct auth_cache *cache = auth_cache_new(3, free);
    auth_cache_put(cache, "a", xstrdup("1"), 100);
    auth_cache_put(cache, "b", xstrdup("2"), 200);
    auth_cache_put(cache, "c", xstrdup("3"), 200);
    assert_string_equal(auth_cache_get(cache, "a", 99), "1");
    auth_cache_put(cache, "d", xstrdup("4"), 200); /* b was used longest ago */
    assert_null(auth_cache_get(cache, "b", 99));
    assert_string_equal(auth_cache_get(cache, "a", 99), "1");
    assert_null(auth_cache_get(cache, "a", 100));
    assert_int_equal(auth_cache_len(cache), 2);
    auth_cache_put(cache, "c", xstrdup("5"), 300);
    assert_string_equal(auth_cache_get(cache, "c", 250), "5");
    assert_int_equal(auth_cache_len(cache), 2);
    auth_cache_free(cache);
}

struct outcome {
    unsigned calls;
    struct auth_verdict verdict;
};

static void on_done(void *userdata, const struct auth_verdict *verdict)
{
    struct outcome *outcome = userdata;
    outcome->calls++;
    outcome->verdict = *verdict;
}

static struct auth_check *begin(struct auth *auth, const char *authorization, const char *method,
                                const char *path, struct outcome *outcome)
{
    const struct auth_question question = {
        .authorization = authorization, .method = method, .path = path};
    *outcome = (struct outcome){0};
    return auth_begin(auth, &question, &outcome->verdict, on_done, outcome);
}

/* The status, answering whatever is asked on the way. */
static int ask(struct fake_api *api, struct auth *auth, const char *authorization,
               const char *method, const char *path, struct outcome *outcome)
{
    struct auth_check *check = begin(auth, authorization, method, path, outcome);
    for (int i = 0; check && outcome->calls == 0 && i < 10; i++)
        fake_api_step(api);
    assert_int_equal(outcome->calls, check ? 1 : 0);
    return outcome->verdict.status;
}

static struct auth *open_auth(struct fake_api *api, bool anonymous)
{
    fake_api_init(api);
    return auth_new((struct kube_client *)(void *)api, &fake_calls, "uk-0", anonymous);
}

static void test_verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *authorization, *method, *path;
        int status;
    } rows[] = {
        {NULL, "GET", "/pods", 401},
        {"", "GET", "/pods", 401},
        {"Basic YTpi", "GET", "/pods", 401},
        {"Bearer", "GET", "/pods", 401},
        {"Bearer ", "GET", "/pods", 401},
        {"Bearer wrong", "GET", "/pods", 401},
        {"Bearer a b", "GET", "/pods", 401},
        {"Bearer token-admin", "GET", "/pods", 200},
        {"bearer token-admin", "POST", "/exec/a/b/c", 200},
        {"Bearer token-reader", "GET", "/pods", 200},
        {"Bearer token-reader", "GET", "/metrics/resource", 200},
        {"Bearer token-reader", "GET", "/containerLogs/a/b/c", 403},
        {"Bearer token-reader", "DELETE", "/pods", 403},
        {"Bearer token-proxyer", "GET", "/pods", 200}, /* by the old right */
        {"Bearer token-proxyer", "GET", "/metrics", 403},
        {"Bearer token-proxyer", "GET", "/containerLogs/a/b/c", 200},
        {"Bearer token-proxyer", "GET", "/exec/a/b/c", 403},
        {"Bearer token-proxyer", "GET", "/portForward/a/b", 403},
        {"Bearer token-other", "GET", "/healthz", 403},
    };
    struct fake_api api;
    struct auth *auth = open_auth(&api, false);
    struct outcome outcome;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int status = ask(&api, auth, rows[i].authorization, rows[i].method, rows[i].path, &outcome);
        assert_int_equal(status, rows[i].status);
    }
    ask(&api, auth, "Bearer token-other", "GET", "/pods", &outcome);
    assert_string_equal(
        outcome.verdict.text,
        "Forbidden (user=other, verb=get, resource=nodes, subresource(s)=[pods proxy])");
    assert_non_null(strstr(api.last_body, "\"uid\":\"u-1\""));
    assert_non_null(strstr(api.last_body, "\"extra\":{\"k\":[\"v\"]}"));
    assert_non_null(strstr(api.last_body, "[\"people\",\"system:authenticated\"]"));
    auth_free(auth);
}

static void test_anonymous_and_peer(void **state)
{
    (void)state;
    struct fake_api api;
    struct auth *auth = open_auth(&api, true);
    struct outcome outcome;
    assert_int_equal(ask(&api, auth, NULL, "GET", "/pods", &outcome), 403);
    assert_non_null(strstr(outcome.verdict.text, "user=system:anonymous"));
    assert_non_null(strstr(api.last_body, "[\"system:unauthenticated\"]"));
    /* A wrong token is not the same as none. */
    assert_int_equal(ask(&api, auth, "Bearer wrong", "GET", "/pods", &outcome), 401);
    /* A certificate comes before the token. */
    struct auth_user *peer = auth_user_new("admin", NULL, 0);
    const struct auth_question question = {
        .peer = peer, .authorization = "Bearer wrong", .method = "GET", .path = "/pods"};
    outcome = (struct outcome){0};
    unsigned reviews = api.token_reviews;
    assert_non_null(auth_begin(auth, &question, &outcome.verdict, on_done, &outcome));
    auth_user_free(peer); /* it was copied */
    fake_api_step(&api);
    assert_int_equal(outcome.verdict.status, 200);
    assert_int_equal(api.token_reviews, reviews);
    auth_free(auth);
}

static void test_ages(void **state)
{
    (void)state;
    struct fake_api api;
    struct auth *auth = open_auth(&api, false);
    struct outcome outcome;
    static const char *const admin = "Bearer token-admin";
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&api, auth, admin, "GET", "/metrics", &outcome), 200);
    assert_int_equal(api.token_reviews, 1);
    assert_int_equal(api.access_reviews, 1);
    fake_now_ms += AUTH_TOKEN_TTL_MS - 1;
    ask(&api, auth, admin, "GET", "/metrics", &outcome);
    assert_int_equal(api.token_reviews, 1);
    fake_now_ms += 1;
    ask(&api, auth, admin, "GET", "/metrics", &outcome);
    assert_int_equal(api.token_reviews, 2);
    assert_int_equal(api.access_reviews, 1);
    fake_now_ms += AUTH_ALLOWED_TTL_MS - AUTH_TOKEN_TTL_MS;
    ask(&api, auth, admin, "GET", "/metrics", &outcome);
    assert_int_equal(api.access_reviews, 2);
    /* Denials are forgotten sooner. */
    unsigned before = api.access_reviews;
    ask(&api, auth, "Bearer token-other", "GET", "/metrics", &outcome);
    fake_now_ms += AUTH_DENIED_TTL_MS - 1;
    assert_int_equal(ask(&api, auth, "Bearer token-other", "GET", "/metrics", &outcome), 403);
    assert_int_equal(api.access_reviews, before + 1);
    fake_now_ms += 1;
    ask(&api, auth, "Bearer token-other", "GET", "/metrics", &outcome);
    assert_int_equal(api.access_reviews, before + 2);
    /* Wrong tokens too. */
    before = api.token_reviews;
    ask(&api, auth, "Bearer wrong", "GET", "/metrics", &outcome);
    ask(&api, auth, "Bearer wrong", "GET", "/pods", &outcome);
    assert_int_equal(api.token_reviews, before + 1);
    fake_now_ms += AUTH_BAD_TOKEN_TTL_MS;
    ask(&api, auth, "Bearer wrong", "GET", "/metrics", &outcome);
    assert_int_equal(api.token_reviews, before + 2);
    auth_free(auth);
}

static void test_coalescing(void **state)
{
    (void)state;
    enum { N = 100 };
    static struct outcome outcomes[N];
    struct auth_check *checks[N];
    struct fake_api api;
    struct auth *auth = open_auth(&api, false);
    for (int i = 0; i < N; i++)
        checks[i] = begin(auth, "Bearer token-admin", "GET", "/metrics", &outcomes[i]);
    assert_int_equal(api.token_reviews, 1);
    auth_cancel(checks[3]);
    auth_cancel(checks[N - 1]);
    fake_api_step(&api);
    assert_int_equal(api.access_reviews, 1);
    auth_cancel(checks[7]);
    fake_api_step(&api);
    for (int i = 0; i < N; i++)
        assert_int_equal(outcomes[i].calls, i == 3 || i == 7 || i == N - 1 ? 0 : 1);
    assert_int_equal(outcomes[0].verdict.status, 200);
    assert_int_equal(api.token_reviews + api.access_reviews, 2);
    auth_free(auth);
}

static void test_unavailable(void **state)
{
    (void)state;
    struct fake_api api;
    struct auth *auth = open_auth(&api, false);
    struct outcome outcome;
    api.down = true;
    assert_int_equal(ask(&api, auth, "Bearer token-admin", "GET", "/pods", &outcome), 503);
    assert_non_null(strstr(outcome.verdict.text, "connection refused"));
    assert_null(strstr(outcome.verdict.text, "token-admin"));
    api.down = false;
    assert_int_equal(ask(&api, auth, "Bearer token-admin", "GET", "/pods", &outcome), 200);
    api.down = true; /* known: no need to ask */
    assert_int_equal(ask(&api, auth, "Bearer token-admin", "GET", "/pods", &outcome), 200);
    assert_int_equal(ask(&api, auth, "Bearer token-admin", "GET", "/metrics", &outcome), 503);
    api.down = false;
    api.nonsense = true;
    assert_int_equal(ask(&api, auth, "Bearer token-reader", "GET", "/pods", &outcome), 503);
    assert_int_equal(ask(&api, auth, "Bearer token-admin", "GET", "/stats", &outcome), 503);
    auth_free(auth);
}

static void test_bounds(void **state)
{
    (void)state;
    static struct outcome outcomes[AUTH_CHECKS_MAX + 1];
    struct fake_api api;
    struct auth *auth = open_auth(&api, false);
    char token[64];
    for (int i = 0; i < AUTH_REVIEWS_MAX; i++)
        assert_non_null(begin(auth, str_fmt(token, sizeof(token), "Bearer guess-%d", i), "GET",
                              "/pods", &outcomes[i]));
    assert_null(begin(auth, "Bearer guess-more", "GET", "/pods", &outcomes[0]));
    assert_int_equal(outcomes[0].verdict.status, 429);
    fake_api_step(&api);
    assert_int_equal(outcomes[1].verdict.status, 401);
    struct auth_check *checks[AUTH_CHECKS_MAX];
    for (int i = 0; i < AUTH_CHECKS_MAX; i++)
        checks[i] = begin(auth, "Bearer token-admin", "GET", "/pods", &outcomes[i]);
    assert_null(begin(auth, "Bearer token-admin", "GET", "/pods", &outcomes[AUTH_CHECKS_MAX]));
    assert_int_equal(outcomes[AUTH_CHECKS_MAX].verdict.status, 429);
    for (int i = 0; i < AUTH_CHECKS_MAX; i++)
        auth_cancel(checks[i]);
    auth_free(auth); /* with a review under way: cancelled */
    assert_int_equal(api.cancelled, 1);
    fake_api_step(&api);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),         cmocka_unit_test(test_cache),
        cmocka_unit_test(test_verdicts),    cmocka_unit_test(test_anonymous_and_peer),
        cmocka_unit_test(test_ages),        cmocka_unit_test(test_coalescing),
        cmocka_unit_test(test_unavailable), cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
