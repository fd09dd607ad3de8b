/* Pulls by hosts.toml: who is asked, in which order, as whom, and the words when nobody has it; and
 * registries that say when to come back. */
#include "tests/unit/image_world.h"

#include "runtime/image_keyring.h"
#include "runtime/image_registry.h"

#define MIRROR "http://m.io:5000/v2/app/"
#define OTHER "https://n.io/v2/app/"
#define NS "?ns=reg.io"
#define TWO "[host.'http://m.io:5000']\n[host.'https://n.io']\n"

struct hosts_world {
    struct world w;
    struct pushed p;
    char root[64];
};

static void say(struct hosts_world *h, const char *dir, const char *text)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", h->root, dir);
    CLEANUP(free) char *file = xasprintf("%s/hosts.toml", path);

    assert_int_equal(file_mkdirs(path, 0755), 0);
    assert_int_equal(file_write_atomic(file, text, strlen(text), 0644), 0);
}

static void hosts_open(struct hosts_world *h, const char *text)
{
    world_open(&h->w);
    str_copy(h->root, sizeof(h->root), "/tmp/unikubelet-hosts-XXXXXX");
    assert_non_null(mkdtemp(h->root));
    h->w.config.registry_config_dir = h->root;
    image_store_close(h->w.store);
    world_open_store(&h->w);
    if (text)
        say(h, "reg.io", text);
}

static void hosts_close(struct hosts_world *h)
{
    world_close(&h->w);
    file_remove_tree(h->root);
}

/* As a mirror gets it: each of its URLs with the registry's name behind. */
static void push_mirror(struct hosts_world *h, const char *base)
{
    size_t first = h->w.fake.routes_len;

    push_kraft(&h->w, base, "v1", &h->p);
    for (size_t i = first; i < h->w.fake.routes_len; i++) {
        char url[512];

        str_copy(url, sizeof(url), h->w.fake.routes[i].url);
        str_fmt(h->w.fake.routes[i].url, sizeof(url), "%s%s", url, NS);
    }
}

static int asked(struct hosts_world *h, const char *where)
{
    int count = 0;

    for (size_t i = 0; i < h->w.fake.routes_len; i++)
        if (str_starts(h->w.fake.routes[i].url, where))
            count += h->w.fake.routes[i].hits;
    return count;
}

static struct fake_route *route_of(struct hosts_world *h, const char *base, const char *kind,
                                   const char *what)
{
    CLEANUP(free) char *url = xasprintf("%s%s/%s%s", base, kind, what, NS);
    struct fake_route *route = fake_route(&h->w.fake, "GET", url);

    assert_non_null(route);
    return route;
}

static void fails(struct hosts_world *h, const char *base, int status, int result, const char *text)
{
    CLEANUP(free) char *url = xasprintf("%smanifests/v1%s", base, NS);
    struct fake_route *route = fake_add(&h->w.fake, "GET", url, status, "", 0);

    route->result = result;
    route->text = text;
}

static void everything_from_the_mirror(void **state)
{
    struct hosts_world h;

    (void)state;
    hosts_open(&h, TWO);
    push_mirror(&h, MIRROR);
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&h.w, &h.p);
    assert_int_equal(h.w.fake.requests, 5);
    assert_int_equal(asked(&h, MIRROR), 5);
    pull(&h.w, "else.io/app:v1", IMAGE_ALWAYS); /* not this registry's mirror */
    want_failure(&h.w, "ErrImagePull", "else.io/app:v1: not found");
    assert_int_equal(asked(&h, MIRROR), 5);
    hosts_close(&h);
}

/* Out of reach, 404, 5xx and 401 alike: the next one, then the registry itself. */
static void next_after_any_failure(void **state)
{
    static const struct {
        int status;
        int result;
        const char *text;
    } how[] = {{0, -ECONNREFUSED, "refused"}, {404, 0, ""}, {503, 0, ""}, {401, 0, ""}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(how); i++) {
        struct hosts_world h;

        hosts_open(&h, TWO);
        fails(&h, MIRROR, how[i].status, how[i].result, how[i].text);
        push_mirror(&h, OTHER);
        pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
        want_kraft(&h.w, &h.p);
        assert_int_equal(asked(&h, MIRROR), 1);
        assert_int_equal(asked(&h, OTHER), 5);
        assert_int_equal(asked(&h, REG), 0);
        hosts_close(&h);
        hosts_open(&h, TWO);
        fails(&h, MIRROR, how[i].status, how[i].result, how[i].text);
        push_kraft(&h.w, REG, "v1", &h.p);
        pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
        want_kraft(&h.w, &h.p);
        assert_int_equal(asked(&h, REG), 5);
        hosts_close(&h);
    }
}

static void says_who_failed_why(void **state)
{
    struct hosts_world h;

    (void)state;
    hosts_open(&h, TWO);
    fails(&h, MIRROR, 0, -ECONNREFUSED, "connection refused");
    fails(&h, OTHER, 500, 0, "");
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&h.w, "ErrImagePull",
                 "reg.io/app:v1: reg.io: not found (m.io:5000: connection refused; n.io: 500)");
    hosts_close(&h);
}

/* A tag is asked for where it may be resolved, layers where they may be pulled; server replaces the
 * registry. */
static void capabilities_and_server(void **state)
{
    struct hosts_world h;

    (void)state;
    hosts_open(&h, "server = 'https://n.io'\n[host.'http://m.io:5000']\ncapabilities = ['pull']\n");
    push_mirror(&h, MIRROR);
    push_mirror(&h, OTHER);
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&h.w, &h.p);
    assert_int_equal(asked(&h, OTHER), 1);
    assert_int_equal(asked(&h, MIRROR), 4);
    say(&h, "reg.io", "capabilities = ['push']"); /* read anew, without a restart */
    pull(&h.w, "reg.io/app:v2", IMAGE_ALWAYS);
    want_failure(&h.w, "ErrImagePull", "hosts.toml: no host has the capability resolve");
    hosts_close(&h);
}

/* The rest of a layer comes from the next host: each byte once. */
static void breaks_in_a_layer(void **state)
{
    struct hosts_world h;
    struct fake_route *first;

    (void)state;
    hosts_open(&h, TWO);
    push_mirror(&h, MIRROR);
    push_mirror(&h, OTHER);
    h.w.fake.chunk_max = 64;
    first = route_of(&h, MIRROR, "blobs", h.p.layers[0]);
    first->cuts = 1;
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&h.w, &h.p);
    assert_int_equal(first->cuts, 0);
    assert_int_equal(first->sent + route_of(&h, OTHER, "blobs", h.p.layers[0])->sent, first->len);
    hosts_close(&h);
}

static void bad_file(void **state)
{
    struct hosts_world h;

    (void)state;
    hosts_open(&h, "server = 'https://n.io'\nskip_verify = 1\n");
    push_kraft(&h.w, REG, "v1", &h.p);
    push_kraft(&h.w, "https://else.io/v2/app/", "v1", &h.p);
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&h.w, "ErrImagePull", "reg.io/hosts.toml:2: skip_verify must be true or false");
    assert_int_equal(h.w.fake.requests, 0);
    pull(&h.w, "else.io/app:v1", IMAGE_ALWAYS);
    assert_non_null(h.w.last.image);
    say(&h, "reg.io", "client = 'a'"); /* mended; a key that means nothing here is no error */
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&h.w, &h.p);
    hosts_close(&h);
}

static void certificates(void **state)
{
    CLEANUP(free) char *ca = NULL;
    struct hosts_world h;

    (void)state;
    hosts_open(&h, "[host.'https://n.io']\nca = 'own.crt'\n[host.'http://m.io:5000']\n"
                   "skip_verify = true\n");
    push_mirror(&h, OTHER);
    push_mirror(&h, MIRROR);
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS); /* a CA that is not there: the next one */
    want_kraft(&h.w, &h.p);
    assert_int_equal(asked(&h, OTHER), 0);
    assert_true(route_of(&h, MIRROR, "manifests", "v1")->skip_verify);
    ca = xasprintf("%s/reg.io/own.crt", h.root);
    assert_int_equal(file_write_atomic(ca, "PEM", 3, 0644), 0);
    say(&h, "reg.io", "[host.'https://n.io']\nca = 'own.crt'\n");
    for (size_t i = 0; i < h.w.fake.routes_len; i++)
        h.w.fake.routes[i].hits = 0;
    image_remove(h.w.store, "reg.io/app:v1", NULL);
    image_unref(h.w.last.image);
    h.w.last.image = NULL;
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&h.w, &h.p);
    assert_true(asked(&h, OTHER) > 0);
    assert_string_equal(route_of(&h, OTHER, "manifests", "v1")->ca_text, "PEM\n");
    assert_false(route_of(&h, OTHER, "manifests", "v1")->skip_verify);
    hosts_close(&h);
}

static void want_user(struct hosts_world *h, const char *base, const char *user)
{
    for (size_t i = 0; i < h->w.fake.routes_len; i++) {
        struct fake_route *route = &h->w.fake.routes[i];

        if (str_starts(route->url, base)) {
            route->user = user;
            route->challenge = "Basic realm=\"m\"";
        }
    }
}

/* The registry's credentials are not the mirror's: it is passed over, unless the user has its. */
static void credentials(void **state)
{
    struct keyring keyring = {.len = 0};
    struct hosts_world h;

    (void)state;
    hosts_open(&h, "[host.'http://m.io:5000']\n");
    push_mirror(&h, MIRROR);
    push_kraft(&h.w, REG, "v1", &h.p);
    want_user(&h, MIRROR, "user");
    want_user(&h, REG, "user");
    pull_as(&h.w, "reg.io/app:v1", IMAGE_ALWAYS, "user");
    want_kraft(&h.w, &h.p);
    for (size_t i = 0; i < h.w.fake.routes_len; i++)
        if (str_starts(h.w.fake.routes[i].url, MIRROR))
            assert_int_equal(h.w.fake.routes[i].sent, 0);
    hosts_close(&h);
    hosts_open(&h, "[host.'http://m.io:5000']\n");
    push_mirror(&h, MIRROR);
    want_user(&h, MIRROR, "mine");
    keyring_add(&keyring, "reg.io", "user", "secret");
    keyring_add(&keyring, "m.io:5000", "mine", "secret");
    h.w.keyring = &keyring;
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&h.w, &h.p);
    assert_int_equal(asked(&h, REG), 0);
    /* What they brought is not for a Pod that has none. */
    assert_true(image_private(h.w.store, "reg.io/app:v1"));
    pull(&h.w, "reg.io/app:v1", IMAGE_NEVER);
    want_kraft(&h.w, &h.p);
    h.w.keyring = NULL;
    pull(&h.w, "reg.io/app:v1", IMAGE_IF_NOT_PRESENT);
    want_failure(&h.w, "ErrImagePull", "m.io:5000: ");
    keyring_free(&keyring);
    hosts_close(&h);
}

static void busy(struct hosts_world *h, int times, const char *retry_after)
{
    struct fake_route *route = fake_route(&h->w.fake, "GET", REG "manifests/v1");

    route->busy = times;
    route->retry_after = retry_after;
    route->hits = 0;
}

static void comes_back_when_told(void **state)
{
    struct hosts_world h;

    (void)state;
    hosts_open(&h, NULL);
    push_kraft(&h.w, REG, "v1", &h.p);
    busy(&h, REGISTRY_WAITS_MAX + 1, "0");
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&h.w, "ErrImagePull",
                 "too many requests: 429; waited for 3 times, it asks for another 0 s");
    assert_int_equal(hits(&h.w, "GET", REG, "manifests", "v1"), REGISTRY_WAITS_MAX + 1);
    busy(&h, 1, "3600");
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&h.w, "ErrImagePull", "429; it asks to wait for 3600 s");
    assert_int_equal(hits(&h.w, "GET", REG, "manifests", "v1"), 1);
    busy(&h, 1, NULL);
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&h.w, "ErrImagePull", "too many requests: 429");
    assert_int_equal(hits(&h.w, "GET", REG, "manifests", "v1"), 1);
    busy(&h, REGISTRY_WAITS_MAX, "0");
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&h.w, &h.p);
    hosts_close(&h);
}

/* Cancelled while it waits: no timer is left. And a busy mirror is not waited for. */
static void busy_and_elsewhere(void **state)
{
    struct image_pull *waiting;
    struct hosts_world h;

    (void)state;
    hosts_open(&h, NULL);
    push_kraft(&h.w, REG, "v1", &h.p);
    busy(&h, 1, "60");
    waiting = image_pull_start(h.w.store, "reg.io/app:v1", IMAGE_ALWAYS, NULL, NULL, NULL,
                               on_pulled, &h.w);
    while (hits(&h.w, "GET", REG, "manifests", "v1") == 0 || !TAILQ_EMPTY(&h.w.fake.fetches))
        uv_run(&h.w.fake.loop, UV_RUN_ONCE);
    image_pull_cancel(waiting);
    assert_int_equal(h.w.calls, 0);
    say(&h, "reg.io", "[host.'https://n.io']\n");
    push_mirror(&h, OTHER);
    route_of(&h, OTHER, "manifests", "v1")->busy = 1;
    route_of(&h, OTHER, "manifests", "v1")->retry_after = "60";
    pull(&h.w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&h.w, &h.p);
    hosts_close(&h);
}

/* RFC 9110 10.2.3. */
static void retry_after(void **state)
{
    static const int64_t now_s = 1700000000; /* Tue, 14 Nov 2023 22:13:20 GMT */

    (void)state;
    assert_int_equal(http_retry_after_s("0", now_s), 0);
    assert_int_equal(http_retry_after_s("120", now_s), 120);
    assert_int_equal(http_retry_after_s("99999999999999999999", now_s), INT64_MAX);
    assert_int_equal(http_retry_after_s("Tue, 14 Nov 2023 22:13:50 GMT", now_s), 30);
    assert_int_equal(http_retry_after_s("Tue, 14 Nov 2023 22:13:00 GMT", now_s), 0);
    assert_int_equal(http_retry_after_s("-1", now_s), -1);
    assert_int_equal(http_retry_after_s("soon", now_s), -1);
    assert_int_equal(http_retry_after_s("", now_s), -1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_from_the_mirror),
        cmocka_unit_test(next_after_any_failure),
        cmocka_unit_test(says_who_failed_why),
        cmocka_unit_test(capabilities_and_server),
        cmocka_unit_test(breaks_in_a_layer),
        cmocka_unit_test(bad_file),
        cmocka_unit_test(certificates),
        cmocka_unit_test(credentials),
        cmocka_unit_test(comes_back_when_told),
        cmocka_unit_test(busy_and_elsewhere),
        cmocka_unit_test(retry_after),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
