/* Buffers, arenas and maps: limits, growth, and that memory stays right over many operations. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/map.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_buf_limit(void **state)
{
    CLEANUP(buf) struct buf buf = BUF_INIT(5);

    (void)state;
    assert_string_equal(buf_str(&buf), "");
    assert_int_equal(buf_adds(&buf, "abc"), 0);
    assert_int_equal(buf_adds(&buf, "def"), -ENOBUFS);
    assert_true(buf.overflow);
    assert_string_equal(buf_str(&buf), "abc");
    assert_int_equal(buf_addf(&buf, "%d", 123), -ENOBUFS);
    assert_int_equal(buf_addc(&buf, 'd'), 0);
    assert_int_equal(buf_addf(&buf, "%d", 7), 0);
    assert_string_equal(buf_str(&buf), "abcd7");
    assert_int_equal(buf_addc(&buf, 'x'), -ENOBUFS);
    assert_int_equal(buf_add(&buf, "", 0), 0);
    buf_drop(&buf, 4);
    assert_string_equal(buf_str(&buf), "7");
    buf_drop(&buf, 1);
    buf_drop(&buf, 0);
    assert_int_equal(buf.len, 0);
    buf_reset(&buf);
    assert_false(buf.overflow);
    assert_int_equal(buf.max, 5);
    assert_int_equal(buf_add(&buf, "abc", SIZE_MAX), -ENOBUFS);
}

static void test_buf_grow(void **state)
{
    CLEANUP(buf) struct buf buf = {0};
    CLEANUP(free) char *big = xmalloc(1001);
    char *taken;

    (void)state;
    assert_int_equal(buf_addc(&buf, 'x'), -ENOBUFS); /* a zeroed struct has no room */
    buf_init(&buf, SIZE_MAX);
    memset(big, 'a', 1000);
    big[1000] = '\0';
    for (int i = 0; i < 100; i++) {
        assert_int_equal(buf_addf(&buf, "%s", big), 0); /* longer than the formatting's array */
        assert_int_equal(buf.data[buf.len], '\0');
    }
    assert_int_equal(buf.len, 100000);
    taken = buf_take(&buf);
    assert_int_equal(strlen(taken), 100000);
    free(taken);
    assert_int_equal(buf.len, 0);
    taken = buf_take(&buf);
    assert_string_equal(taken, "");
    free(taken);
    assert_int_equal(buf_adds(&buf, "again"), 0);
    buf_free(&buf);
    assert_string_equal(buf_str(&buf), "");
}

static void test_arena(void **state)
{
    struct arena *arena = arena_new(100);
    size_t before = arena_bytes(arena);
    char *first = arena_strdup(arena, "hello");
    char *odd = arena_strndup(arena, "abcdef", 3);
    uint64_t *numbers = arena_array(arena, 3, sizeof(*numbers));

    (void)state;
    assert_true(before >= 100);
    assert_int_equal(arena_bytes(arena), before); /* all fitted into the first block */
    assert_null(arena_strdup(arena, NULL));
    for (size_t i = 1; i < 2000; i++) {
        unsigned char *p = arena_alloc(arena, i);

        assert_int_equal((uintptr_t)p % sizeof(void *), 0);
        for (size_t j = 0; j < i; j++)
            assert_int_equal(p[j], 0);
        memset(p, 0xff, i); /* touches neighbours if they overlap */
    }
    assert_string_equal(first, "hello");
    assert_string_equal(odd, "abc");
    assert_true(numbers[0] == 0 && numbers[1] == 0 && numbers[2] == 0);
    assert_true(arena_bytes(arena) > before);
    arena_free(arena);
    arena_free(NULL);
}

static void test_map_basic(void **state)
{
    struct map *map = map_new();
    char key[] = "k";
    int a = 1;
    int b = 2;

    (void)state;
    assert_null(map_get(map, "k"));
    assert_null(map_remove(map, "k"));
    assert_null(map_set(map, key, &a));
    key[0] = 'x'; /* the key was copied */
    assert_ptr_equal(map_get(map, "k"), &a);
    assert_ptr_equal(map_set(map, "k", &b), &a);
    assert_int_equal(map_len(map), 1);
    assert_null(map_set(map, "", &a));
    assert_ptr_equal(map_get(map, ""), &a);
    assert_ptr_equal(map_remove(map, "k"), &b);
    assert_null(map_get(map, "k"));
    assert_int_equal(map_len(map), 1);
    map_free(map);
    map_free(NULL);
}

/* Random sets and removes against a plain array that says what must be there. */
static void test_map_model(void **state)
{
    enum { KEYS = 200 };
    struct map *map = map_new();
    static int values[KEYS];
    bool present[KEYS] = {false};
    unsigned int seed = 12345;
    size_t len = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char key[16];
        unsigned int k;

        seed = seed * 1103515245 + 12345;
        k = (seed >> 16) % KEYS;
        str_fmt(key, sizeof(key), "key-%u", k);
        if (seed >> 31) {
            assert_ptr_equal(map_set(map, key, &values[k]), present[k] ? &values[k] : NULL);
            len += !present[k];
            present[k] = true;
        } else {
            assert_ptr_equal(map_remove(map, key), present[k] ? &values[k] : NULL);
            len -= present[k];
            present[k] = false;
        }
        assert_int_equal(map_len(map), len);
    }
    for (unsigned int k = 0; k < KEYS; k++) {
        char key[16];

        str_fmt(key, sizeof(key), "key-%u", k);
        assert_ptr_equal(map_get(map, key), present[k] ? &values[k] : NULL);
    }
    map_free(map);
}

static void test_map_iterate(void **state)
{
    struct map *map = map_new();
    int values[50];
    bool seen[50] = {false};
    const char *key;
    void *value;
    size_t count = 0;

    (void)state;
    for (int i = 0; i < 50; i++) {
        char name[8];

        str_fmt(name, sizeof(name), "%d", i);
        map_set(map, name, &values[i]);
    }
    for (size_t it = 0; map_next(map, &it, &key, &value);) {
        ptrdiff_t i = (int *)value - values;

        assert_false(seen[i]);
        seen[i] = true;
        count++;
        if (i % 2)
            assert_ptr_equal(map_remove(map, key), value); /* the current key, by its own text */
    }
    assert_int_equal(count, 50);
    assert_int_equal(map_len(map), 25);
    map_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_limit), cmocka_unit_test(test_buf_grow),
        cmocka_unit_test(test_arena),     cmocka_unit_test(test_map_basic),
        cmocka_unit_test(test_map_model), cmocka_unit_test(test_map_iterate),
    };

    return cmocka_run_group_tests_name("base_buf", tests, NULL, NULL);
}
