/* Downloads that break off: the rest is asked for, not the whole, and the digest still decides. */
#include "tests/unit/image_world.h"

#define SIZE (64 * 1024)

static struct fake_route *push_one(struct world *w, struct pushed *p)
{
    static char text[SIZE];
    static const struct layer_spec spec = {"org.unikraft.kernel.image", "/k", NULL};
    const struct fake_file file = {.path = "k", .text = text, .len = sizeof(text)};
    CLEANUP(free) char *url = NULL;
    struct buf layer;

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)random();
    world_open(w);
    fake_tar(&layer, &file, 1, 0);
    push_manifest(w, REG, "v1", CONFIG_LINUX, &layer, &spec, 1, p);
    buf_free(&layer);
    url = xasprintf("%sblobs/%s", REG, p->layers[0]);
    return fake_route(&w->fake, "GET", url);
}

static void goes_on_where_it_broke(void **state)
{
    struct fake_route *route;
    struct pushed p;
    struct world w;

    (void)state;
    route = push_one(&w, &p);
    route->cuts = 4;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    assert_string_equal(w.error, "");
    assert_int_equal(route->hits, 5);
    assert_int_equal(route->sent, route->len); /* each byte once */
    world_close(&w);
}

/* A server without ranges sends all of it again: what is here already is passed over. */
static void without_ranges(void **state)
{
    struct fake_route *route;
    struct pushed p;
    struct world w;

    (void)state;
    route = push_one(&w, &p);
    route->cuts = 3;
    route->no_ranges = true;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    assert_string_equal(w.error, "");
    assert_int_equal(route->hits, 4);
    assert_true(route->sent > route->len);
    world_close(&w);
}

static void not_for_ever(void **state)
{
    struct fake_route *route;
    struct pushed p;
    struct world w;

    (void)state;
    route = push_one(&w, &p);
    route->cuts = 1000;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "the connection was reset");
    assert_int_equal(route->hits, 6);
    route->cuts = 0;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    assert_string_equal(w.error, "");
    world_close(&w);
}

/* The rest of something else: the digest says so. */
static void another_rest(void **state)
{
    struct fake_route *route;
    struct pushed p;
    struct world w;

    (void)state;
    route = push_one(&w, &p);
    route->cuts = 1;
    route->body[route->len - 1] ^= 1;
    pull(&w, "reg.io/app:v1", IMAGE_ALWAYS);
    want_failure(&w, "ErrImagePull", "layer digest sha256:");
    world_close(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_where_it_broke),
        cmocka_unit_test(without_ranges),
        cmocka_unit_test(not_for_ever),
        cmocka_unit_test(another_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
