/* Whole pulls against a registry without a network: what is asked for, when, by whom, and the words
 * of every failure. */
#include "tests/unit/image_world.h"

static void kraft_image(void **state)
{
    struct pushed p;
    struct world w;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    pull(&w, "reg.io/app:v1", IMAGE_IF_NOT_PRESENT);
    want_kraft(&w, &p);
    assert_true(w.last.pulled);
    assert_int_equal(w.last.bytes, w.last.image->size_bytes);
    assert_string_equal(w.last.image->reference, "reg.io/app:v1");
    assert_int_equal(w.fake.requests, 5); /* tag, manifest, config, two layers */
    world_close(&w);
}

/* What IfNotPresent, Always and Never ask of the registry, before and after a restart. */
static void policies(void **state)
{
    struct image_listing list[4];
    struct pushed p;
    struct world w;
    struct image *found;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    pull(&w, "reg.io/app:v1", IMAGE_NEVER);
    want_failure(&w, "ErrImageNeverPull",
                 "Container image \"reg.io/app:v1\" is not present with pull policy of Never");
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&w, &p);
    for (int round = 0; round < 2; round++) {
        int before = w.fake.requests;

        pull(&w, "reg.io/app:v1", IMAGE_IF_NOT_PRESENT);
        want_kraft(&w, &p);
        assert_false(w.last.pulled);
        pull(&w, "reg.io/app:v1", IMAGE_NEVER);
        want_kraft(&w, &p);
        assert_int_equal(w.fake.requests, before);
        pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
        want_kraft(&w, &p);
        assert_true(w.last.pulled);
        assert_int_equal(w.fake.requests, before + 1);
        assert_int_equal(hits(&w, "HEAD", REG, "manifests", "v1"), round + 1);

        found = image_find(w.store, "reg.io/app", p.index);
        assert_non_null(found);
        assert_string_equal(found->kernel, w.last.image->kernel);
        image_unref(found);
        assert_null(image_find(w.store, "reg.io/app", p.config));
        assert_int_equal(image_list(w.store, list, 4), 1);
        assert_string_equal(list[0].name, "reg.io/app");
        assert_string_equal(list[0].tag, "v1");
        assert_string_equal(list[0].digest, p.index);
        image_store_close(w.store);
        world_open_store(&w);
    }
    assert_int_equal(hits(&w, "GET", REG, "blobs", p.layers[0]), 1);
    world_close(&w);
}

/* A tag that moves: Always sees it, the old digest stays findable, known layers are not fetched. */
static void moving_tag(void **state)
{
    static const struct fake_file kernel = {.path = "/unikraft/bin/kernel", .text = KERNEL};
    static const struct fake_file other = {.path = "unikraft/bin/initrd", .text = "another"};
    struct pushed first;
    struct pushed second;
    struct buf layers[2];
    struct image *found;
    struct world w;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &first);
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    fake_tar(&layers[0], &other, 1, 0);
    fake_tar(&layers[1], &kernel, 1, 0);
    push_manifest(&w, REG, "v1", CONFIG_QEMU, layers, kraft_specs, 2, &second);
    pull(&w, "reg.io/app:v1", IMAGE_IF_NOT_PRESENT);
    assert_string_equal(w.last.image->digest, first.index);
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    assert_string_equal(w.last.image->digest, second.manifest);
    want_file(w.last.image->initrd, "another");
    assert_int_equal(hits(&w, "GET", REG, "blobs", second.config), 0); /* known already */
    assert_int_equal(hits(&w, "GET", REG, "blobs", second.layers[1]), 0);
    assert_int_equal(hits(&w, "GET", REG, "blobs", second.layers[0]), 1);
    found = image_find(w.store, "reg.io/app", first.index);
    assert_non_null(found);
    want_file(found->initrd, INITRD);
    image_unref(found);
    pull(&w, "reg.io/app:v1", IMAGE_IF_NOT_PRESENT);
    assert_string_equal(w.last.image->digest, second.manifest);
    buf_free(&layers[0]);
    buf_free(&layers[1]);
    world_close(&w);
}

static void by_digest(void **state)
{
    CLEANUP(free) char *name = NULL;
    struct pushed p;
    struct world w;
    int before;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    name = xasprintf("reg.io/app@%s", p.index);
    pull(&w, name, IMAGE_IF_NOT_PRESENT);
    want_kraft(&w, &p);
    before = w.fake.requests;
    pull(&w, name, IMAGE_ALWAYS); /* a digest cannot move */
    want_kraft(&w, &p);
    assert_int_equal(w.fake.requests, before);
    world_close(&w);
}

/* Ten waiters, one download; and one blob for two repositories. */
static void shared(void **state)
{
    struct pushed p;
    struct world w;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    push_kraft(&w, "https://reg.io/v2/copy/", "v1", &p);
    for (int i = 0; i < 10; i++)
        image_pull_start(w.store, "reg.io/app:v1", i & 1 ? IMAGE_ALWAYS : IMAGE_IF_NOT_PRESENT,
                         NULL, NULL, NULL, on_pulled, &w);
    image_pull_start(w.store, "reg.io/copy:v1", IMAGE_ALWAYS, NULL, NULL, NULL, on_pulled, &w);
    while (w.calls < 11)
        uv_run(&w.fake.loop, UV_RUN_ONCE);
    assert_int_equal(w.calls, 11);
    assert_string_equal(w.reason, "");
    assert_int_equal(hits(&w, "GET", REG, "manifests", "v1"), 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(hits(&w, "GET", REG, "blobs", p.layers[i]) +
                             hits(&w, "GET", "https://reg.io/v2/copy/", "blobs", p.layers[i]),
                         1);
    world_close(&w);
}

static void bearer(void **state)
{
    static const char challenge[] =
        "Bearer realm=\"https://auth.io/token\",service=\"reg.io\",scope=\"repository:app:pull\"";
    static const char url[] = "https://auth.io/token?service=reg.io&scope=repository:app:pull";
    static const char token[] = "{\"token\":\"tok\",\"expires_in\":300}";
    struct fake_route *route;
    struct pushed p;
    struct world w;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    for (size_t i = 0; i < w.fake.routes_len; i++) {
        w.fake.routes[i].challenge = challenge;
        w.fake.routes[i].authorization = "Bearer tok";
    }
    fake_add(&w.fake, "GET", url, 200, token, strlen(token));
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&w, &p);
    route = fake_route(&w.fake, "GET", url);
    assert_int_equal(route->hits, 1); /* one token for all five requests */
    assert_int_equal(w.fake.requests, 7);

    /* Another user's pull does not ride on that token; and wrong credentials say so. */
    route->status = 401;
    pull_as(&w, "reg.io/app:v1", IMAGE_ALWAYS, "eve");
    want_failure(&w, "ErrImagePull",
                 "failed to pull and unpack image \"reg.io/app:v1\": failed to resolve reference "
                 "\"reg.io/app:v1\": failed to fetch oauth token: pull access denied, repository "
                 "does not exist or may require authorization: 401 Unauthorized");
    assert_true(route->hits >= 2);
    world_close(&w);
}

static void basic(void **state)
{
    struct pushed p;
    struct world w;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    for (size_t i = 0; i < w.fake.routes_len; i++) {
        w.fake.routes[i].challenge = "Basic realm=\"r\"";
        w.fake.routes[i].user = "joe";
    }
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "pull access denied");
    pull_as(&w, "reg.io/app:v1", IMAGE_ALWAYS, "joe");
    want_kraft(&w, &p);
    world_close(&w);
}

/* Credentials do not go over plain HTTP, unless the registry is allowed to be plain. */
static void plain_token_server(void **state)
{
    struct fake_route *route;
    struct world w;

    (void)state;
    world_open(&w);
    route = fake_add(&w.fake, "GET", REG "manifests/v1", 401, "", 0);
    route->challenge = "Bearer realm=\"http://auth.io/token\"";
    pull_as(&w, "reg.io/app:v1", IMAGE_ALWAYS, "joe");
    want_failure(&w, "ErrImagePull", "http://auth.io/token is not HTTPS: refused");
    assert_int_equal(w.fake.requests, 1);
    world_close(&w);
}

static void insecure(void **state)
{
    static const char *const hosts[] = {"plain.io:5000"};
    struct pushed p;
    struct world w;

    (void)state;
    world_open(&w);
    image_store_close(w.store);
    w.config.insecure_registries = hosts;
    w.config.insecure_registries_len = 1;
    world_open_store(&w);
    push_kraft(&w, "http://plain.io:5000/v2/app/", "latest", &p);
    push_kraft(&w, "http://127.0.0.1:5000/v2/app/", "latest", &p);
    push_kraft(&w, "http://plain.io/v2/app/", "latest", &p);
    pull(&w, "plain.io:5000/app", IMAGE_ALWAYS);
    assert_string_equal(w.reason, "");
    pull(&w, "127.0.0.1:5000/app", IMAGE_ALWAYS);
    assert_string_equal(w.reason, "");
    pull(&w, "plain.io/app", IMAGE_ALWAYS); /* another port is another registry */
    want_failure(&w, "ErrImagePull", "not found");
    world_close(&w);
}

/* A loopback registry that speaks TLS: one 400, then HTTPS from the start. */
static void loopback_tls(void **state)
{
    struct fake_route *plain;
    struct pushed p;
    struct world w;

    (void)state;
    world_open(&w);
    push_kraft(&w, "https://127.0.0.1:5000/v2/app/", "v1", &p);
    plain = fake_add(&w.fake, "GET", "http://127.0.0.1:5000/v2/app/manifests/v1", 400, "no", 2);
    pull(&w, "127.0.0.1:5000/app:v1", IMAGE_ALWAYS);
    assert_string_equal(w.reason, "");
    assert_int_equal(plain->hits, 1);
    assert_int_equal(w.fake.requests, 6);
    world_close(&w);
}

static void answer(struct world *w, const char *url, int status, const char *body)
{
    fake_add(&w->fake, "GET", url, status, body, strlen(body));
}

static void failures(void **state)
{
    static const char prefix[] = "failed to pull and unpack image \"reg.io/app:v1\": "
                                 "failed to resolve reference \"reg.io/app:v1\": ";
    CLEANUP(free) char *big = xcalloc(1, (4u << 20) + 2);
    struct fake_route *route;
    struct world w;

    (void)state;
    world_open(&w);
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "reg.io/app:v1: not found");
    assert_true(str_starts(w.error, prefix));
    pull(&w, "reg.io/App", IMAGE_ALWAYS);
    want_failure(&w, "InvalidImageName",
                 "couldn't parse image name \"reg.io/App\": invalid reference format");
    answer(&w, REG "manifests/v1", 500,
           "{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"bo\\nom\"}]}");
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull",
                 "unexpected status from GET request to " REG
                 "manifests/v1: 500: server message: UNKNOWN: bo om");
    answer(&w, REG "manifests/v1", 403, "");
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "pull access denied");
    answer(&w, REG "manifests/v1", 200, "<html>proxy</html>");
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "\"reg.io/app:v1\": the document is no JSON");
    route = fake_add(&w.fake, "GET", REG "manifests/v1", 0, "", 0);
    route->result = -ECONNREFUSED;
    route->text = "connection refused";
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull",
                 "failed to do request: GET \"" REG "manifests/v1\": connection refused");
    memset(big, ' ', (4u << 20) + 1);
    answer(&w, REG "manifests/v1", 200, big);
    w.fake.chunk_max = 1 << 17;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "larger than the 4194304 bytes allowed");
    world_close(&w);
}

/* Bytes that are not what their digest says, at each place. */
static void corrupt(void **state)
{
    CLEANUP(free) char *url = NULL;
    struct fake_route *route;
    struct pushed p;
    struct world w;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    url = xasprintf(REG "manifests/%s", p.manifest);
    route = fake_route(&w.fake, "GET", url);
    route->body[20] ^= 1;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "manifest digest sha256:");
    want_failure(&w, "ErrImagePull", " expected, got sha256:");
    route->body[20] ^= 1;

    free(url);
    url = xasprintf(REG "blobs/%s", p.config);
    route = fake_route(&w.fake, "GET", url);
    route->body[2] ^= 1;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "config digest sha256:");
    route->body[2] ^= 1;

    free(url);
    url = xasprintf(REG "blobs/%s", p.layers[1]);
    route = fake_route(&w.fake, "GET", url);
    route->body[600] ^= 1;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "\"reg.io/app:v1\": layer digest sha256:");
    route->len -= 10;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", " bytes expected, got ");
    route->len += 10;
    route->body = xrealloc(route->body, route->len + 10);
    memset(route->body + route->len, 0, 10);
    route->len += 10;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "more than the ");
    route->len -= 10;
    route->body[600] ^= 1;
    assert_int_equal(count_tmp(&w), 0);
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&w, &p);
    world_close(&w);
}

/* A layer that rotted on disk is fetched again; a damaged image is unpacked again. */
static void rotten_store(void **state)
{
    CLEANUP(free) char *path = NULL;
    CLEANUP(free) char *json = NULL;
    struct pushed p;
    struct world w;
    FILE *file;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    json = xasprintf("%s/images/%s/image.json", w.dir, p.manifest + strlen("sha256:"));
    path = xasprintf("%s/blobs/sha256/%s", w.dir, p.layers[1] + strlen("sha256:"));
    file = fopen(json, "w");
    fputs("{\"version\":", file);
    fclose(file);
    file = fopen(path, "r+");
    fseek(file, 700, SEEK_SET);
    fputc('x', file);
    fclose(file);
    assert_null(image_find(w.store, "reg.io/app", p.index));
    pull(&w, "reg.io/app:v1", IMAGE_IF_NOT_PRESENT);
    want_kraft(&w, &p);
    assert_int_equal(hits(&w, "GET", REG, "blobs", p.layers[1]), 2);
    assert_int_equal(hits(&w, "GET", REG, "blobs", p.layers[0]), 1);
    world_close(&w);
}

/* refs.json of somebody else: set aside, and the store works. */
static void foreign_refs(void **state)
{
    CLEANUP(free) char *path = NULL;
    CLEANUP(free) char *bad = NULL;
    struct pushed p;
    struct world w;
    struct stat st;

    (void)state;
    world_open(&w);
    push_kraft(&w, REG, "v1", &p);
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    image_store_close(w.store);
    path = xasprintf("%s/refs.json", w.dir);
    bad = xasprintf("%s/refs.json.bad", w.dir);
    assert_int_equal(file_write_atomic(path, "{\"version\":1,", 13, 0644), 0);
    world_open_store(&w);
    assert_int_equal(stat(bad, &st), 0);
    pull(&w, "reg.io/app:v1", IMAGE_NEVER);
    want_failure(&w, "ErrImageNeverPull", "not present");
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_kraft(&w, &p);
    assert_int_equal(hits(&w, "GET", REG, "blobs", p.layers[0]), 1);
    world_close(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(kraft_image),  cmocka_unit_test(policies),
        cmocka_unit_test(moving_tag),   cmocka_unit_test(by_digest),
        cmocka_unit_test(shared),       cmocka_unit_test(bearer),
        cmocka_unit_test(basic),        cmocka_unit_test(plain_token_server),
        cmocka_unit_test(insecure),     cmocka_unit_test(loopback_tls),
        cmocka_unit_test(failures),     cmocka_unit_test(corrupt),
        cmocka_unit_test(rotten_store), cmocka_unit_test(foreign_refs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
