/* Reading: what is refused and how getters treat wrong types. Writing: escapes, commas, limits. */
#include "base/json.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* In memory of exactly its size, so that a read past the end is found. */
static struct json *parse(const char *text, size_t len, struct err *err)
{
    CLEANUP(free) char *exact = xmalloc(len);

    memcpy(exact, text, len);
    return json_parse(exact, len, err);
}

static void test_refused(void **state)
{
    static const char *const rows[] = {
        "",        " ",      "{",          "}",         "[",           "]",     "{]",
        "[}",      "{\"a\"", "{\"a\":",    "{\"1\":1,", "{\"a\":1,}",  "[1,",   "[1,]",
        "[1 2]",   "\"abc",  "\"\\",       "\"\\u12",   "\"\\ud800\"", "{} {}", "1 2",
        "nul",     "tru",    "nulll",      "{a:1}",     "{'a':1}",     "[1]x",  "{\"a\":1}}",
        "\"\\q\"", "[[[[",   "{\"a\":[1}", "-",         "+1",          "[,1]",  "{,}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {.text = ""};
        struct json *root = parse(rows[i], strlen(rows[i]), &err);

        if (root)
            fail_msg("accepted: %s", rows[i]);
        assert_int_equal(err.code, -EBADMSG);
        assert_true(strlen(err.text) > 10);
    }
    assert_null(parse("1\0", 2, NULL));
    assert_null(parse("[1\0]", 4, NULL));
}

static void test_depth(void **state)
{
    struct buf deep = BUF_INIT(1 << 22);
    struct err err = {.text = ""};
    struct json *root;

    (void)state;
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        buf_adds(&deep, i % 2 ? "[" : "{\"a\":");
    for (int i = JSON_DEPTH_MAX - 1; i >= 0; i--)
        buf_adds(&deep, i % 2 ? "]" : "}");
    root = json_parse(deep.data, deep.len, &err);
    assert_non_null(root);
    json_free(root);
    buf_reset(&deep);
    for (int i = 0; i <= JSON_DEPTH_MAX; i++)
        buf_addc(&deep, '[');
    for (int i = 0; i <= JSON_DEPTH_MAX; i++)
        buf_addc(&deep, ']');
    assert_null(json_parse(deep.data, deep.len, &err));
    assert_string_equal(err.text, "JSON is nested deeper than 64");
    buf_reset(&deep);
    for (int i = 0; i < 1 << 20; i++)
        buf_addc(&deep, '[');
    assert_null(json_parse(deep.data, deep.len, &err));
    buf_reset(&deep);
    buf_addc(&deep, '"'); /* brackets in text are no nesting */
    for (int i = 0; i < 1000; i++)
        buf_addc(&deep, '[');
    buf_addc(&deep, '"');
    root = json_parse(deep.data, deep.len, &err);
    assert_int_equal(strlen(json_string(root)), 1000);
    json_free(root);
    buf_free(&deep);
}

static void test_getters(void **state)
{
    static const char text[] =
        "{\"s\":\"x\",\"S\":\"upper\",\"i\":-5,\"t\":true,\"f\":false,\"n\":null,\"d\":1.5,"
        "\"a\":[1,\"two\",{}],\"o\":{\"p\":{\"q\":7},\"p.q\":1},\"\":3}\n";
    struct json *root = parse(text, strlen(text), NULL);
    int64_t i = 99;
    bool b = true;
    double d = 0;

    (void)state;
    assert_non_null(root);
    assert_string_equal(json_get_string(root, "s"), "x");
    assert_string_equal(json_get_string(root, "S"), "upper");
    assert_null(json_get_string(root, "i"));
    assert_null(json_get(root, "missing"));
    assert_true(json_get_int(root, "i", &i) && i == -5);
    assert_false(json_get_int(root, "s", &i));
    assert_false(json_get_int(root, "d", &i));
    assert_int_equal(i, -5);
    assert_true(json_get_bool(root, "f", &b) && !b);
    assert_true(json_get_bool(root, "t", &b) && b);
    assert_false(json_get_bool(root, "n", &b));
    assert_true(json_double(json_get(root, "d"), &d) && d == 1.5);
    assert_false(json_double(json_get(root, "s"), &d));
    assert_true(json_is_null(json_get(root, "n")));
    assert_false(json_is_null(NULL));
    assert_true(json_get_int(root, "", &i) && i == 3);
    assert_true(json_int(json_path(root, "o.p.q"), &i) && i == 7);
    assert_null(json_path(root, "o.p.q.r"));
    assert_null(json_path(root, "a.0"));
    assert_null(json_path(root, "o.x.q"));
    assert_ptr_equal(json_path(root, "o"), json_get(root, "o"));
    assert_null(json_path(NULL, "a"));
    assert_null(json_get(NULL, "a"));
    assert_null(json_get(json_get(root, "a"), "x"));
    assert_false(json_is_object(NULL) || json_is_array(NULL));
    assert_null(json_string(NULL));
    json_free(root);
    json_free(NULL);
}

static void test_iterate(void **state)
{
    static const char text[] = " [10, {\"k\":1,\"l\":2}, [] ] ";
    struct json *root = parse(text, strlen(text), NULL);
    const struct json *item = json_first(root);
    int64_t i;

    (void)state;
    assert_int_equal(json_len(root), 3);
    assert_true(json_int(item, &i) && i == 10);
    assert_null(json_key(item));
    assert_null(json_first(item));
    item = json_next(item);
    assert_int_equal(json_len(item), 2);
    assert_string_equal(json_key(json_first(item)), "k");
    assert_string_equal(json_key(json_next(json_first(item))), "l");
    item = json_next(item);
    assert_true(json_is_array(item));
    assert_null(json_first(item));
    assert_null(json_next(item));
    assert_null(json_next(NULL));
    assert_int_equal(json_len(NULL), 0);
    assert_null(json_key(NULL));
    json_free(root);
}

static void test_int_exact(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t want;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"9007199254740992", true, INT64_C(9007199254740992)},
        {"-9007199254740992", true, INT64_C(-9007199254740992)},
        {"4294967296", true, INT64_C(4294967296)}, /* cJSON's own int would saturate */
        {"9007199254740994", false, 0},
        {"1e400", false, 0},
        {"1.5", false, 0},
        {"1e3", true, 1000},
        {"\"1\"", false, 0},
        {"true", false, 0},
        {"null", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json *root = parse(rows[i].text, strlen(rows[i].text), NULL);
        int64_t value = 0;

        assert_non_null(root);
        assert_int_equal(json_int(root, &value), rows[i].ok);
        assert_true(value == rows[i].want);
        json_free(root);
    }
}

static void test_strings(void **state)
{
    static const char *const rows[][2] = {
        {"\"a\\u0000z\"", "a\x01z"},  /* an escaped NUL does not end the text */
        {"\"\\\\u0000\"", "\\u0000"}, /* here the backslash is escaped, not the NUL */
        {"\"\\u00e9\\ud83d\\ude00\"", "\xc3\xa9\xf0\x9f\x98\x80"},
        {"\"\\\"\\/\\b\\f\\n\\r\\t\"", "\"/\b\f\n\r\t"},
        {"\"\"", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json *root = parse(rows[i][0], strlen(rows[i][0]), NULL);

        assert_non_null(root);
        assert_string_equal(json_string(root), rows[i][1]);
        json_free(root);
    }
}

static void test_write(void **state)
{
    CLEANUP(buf) struct buf out = BUF_INIT(4096);
    struct json_writer w = JSON_WRITER(&out);

    (void)state;
    jw_begin_object(&w, NULL);
    jw_string(&w, "s", "q\"b\\ n\n t\t c\x01 d\x7f e\xc3\xa9 bad\xff");
    jw_string(&w, "null", NULL);
    jw_string_opt(&w, "left-out", "");
    jw_string_opt(&w, "left-out", NULL);
    jw_string_opt(&w, "in", "x");
    jw_string_n(&w, "nul", "a\0b", 3);
    jw_begin_array(&w, "a");
    jw_int(&w, NULL, INT64_MIN);
    jw_begin_object(&w, NULL);
    jw_end_object(&w);
    jw_begin_array(&w, NULL);
    jw_end_array(&w);
    jw_bool(&w, NULL, false);
    jw_end_array(&w);
    jw_double(&w, "d", 0.1);
    jw_double(&w, "third", 1.0 / 3);
    jw_double(&w, "nan", NAN);
    jw_raw(&w, "k\"", "{}", 2);
    jw_end_object(&w);
    assert_false(out.overflow);
    assert_string_equal(
        buf_str(&out),
        "{\"s\":\"q\\\"b\\\\ n\\n t\\t c\\u0001 d\x7f e\xc3\xa9 bad\xef\xbf\xbd\",\"null\":null,"
        "\"in\":\"x\",\"nul\":\"a\\u0000b\",\"a\":[-9223372036854775808,{},[],false],\"d\":0.1,"
        "\"third\":0.33333333333333331,\"nan\":null,\"k\\\"\":{}}");
}

static void test_write_limit(void **state)
{
    CLEANUP(buf) struct buf out = BUF_INIT(10);
    struct json_writer w = JSON_WRITER(&out);

    (void)state;
    jw_begin_array(&w, NULL);
    jw_string(&w, NULL, "longer than ten");
    jw_end_array(&w);
    assert_true(out.overflow);
    assert_true(out.len <= 10);
}

static void test_print(void **state)
{
    static const char text[] = "{\"a\":[1,2.5,\"x\\ny\",null,true,{\"b\":{}}],\"\":[]}";
    struct json *root = parse(text, strlen(text), NULL);
    CLEANUP(buf) struct buf out = BUF_INIT(sizeof(text) + 1);

    (void)state;
    buf_adds(&out, "> ");
    assert_int_equal(json_print(root, &out), 0);
    assert_string_equal(buf_str(&out) + 2, text);
    assert_int_equal(json_print(root, &out), -ENOBUFS);
    assert_string_equal(buf_str(&out) + 2, text); /* nothing of the second copy stayed */
    json_free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_depth),
        cmocka_unit_test(test_getters),   cmocka_unit_test(test_iterate),
        cmocka_unit_test(test_int_exact), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_write),     cmocka_unit_test(test_write_limit),
        cmocka_unit_test(test_print),
    };

    return cmocka_run_group_tests_name("base_json", tests, NULL, NULL);
}
