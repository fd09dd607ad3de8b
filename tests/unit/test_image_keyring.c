/* Docker's credential files, and which entry is for which image: the kubelet's rules. */
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/image_keyring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *pattern;
    const char *image;
    bool matches;
} matches[] = {
    {"reg.io", "reg.io/app", true},
    {"https://reg.io", "reg.io/app", true},
    {"http://reg.io/v2/", "reg.io/app", true},
    {"reg.io:5000", "reg.io/app", false},
    {"reg.io", "reg.io:5000/app", false},
    {"reg.io:5000", "reg.io:5000/app", true},
    {"*.reg.io", "a.reg.io/app", true},
    {"*.io", "a.reg.io/app", false},
    {"*.reg.io", "reg.io/app", false},
    {"re?.io", "reg.io/app", true},
    {"reg.io/team", "reg.io/team/app", true},
    {"reg.io/team", "reg.io/other/app", false},
    {"https://index.docker.io/v1/", "nginx", true},
    {"docker.io", "nginx", true},
    {"docker.io/library", "nginx", true},
    {"index.docker.io.evil", "nginx", false},
    {"", "nginx", false},
};

static void match_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(matches); i++) {
        struct image_name name;

        assert_int_equal(image_name_parse(matches[i].image, &name, NULL), 0);
        if (keyring_matches(matches[i].pattern, &name) != matches[i].matches)
            fail_msg("%s against %s", matches[i].pattern, matches[i].image);
    }
}

/* auth is base64 of a:b */
#define CONFIG                                                                   \
    "{\"auths\":{\"reg.io\":{\"auth\":\"YTpi\"},"                                \
    "\"reg.io/team\":{\"username\":\"u\",\"password\":\"p\",\"email\":\"x@y\"}," \
    "\"*.io\":{\"auth\":\"not base64!\",\"username\":\"z\",\"password\":\"z\"}," \
    "\"empty.io\":{},\"odd.io\":7,\"nocolon.io\":{\"auth\":\"YWI=\"}},\"credsStore\":\"x\"}"

static void finds_the_longest_first(void **state)
{
    struct keyring keyring = {.entries = NULL};
    struct image_name name;
    struct err err;

    (void)state;
    assert_int_equal(keyring_add_docker(&keyring, CONFIG, strlen(CONFIG), true, &err), 0);
    assert_int_equal(keyring.len, 2);
    keyring_add(&keyring, "*.io", "c", "d:e");
    assert_int_equal(image_name_parse("reg.io/team/app:v1", &name, NULL), 0);
    assert_string_equal(keyring_find(&keyring, &name, 0)->user, "u");
    assert_string_equal(keyring_find(&keyring, &name, 1)->user, "a");
    assert_string_equal(keyring_find(&keyring, &name, 1)->password, "b");
    assert_string_equal(keyring_find(&keyring, &name, 2)->password, "d:e");
    assert_null(keyring_find(&keyring, &name, 3));
    keyring_free(&keyring);
}

static void dockercfg_and_nonsense(void **state)
{
    static const char *const bad[] = {"", "[]", "{\"auths\":[]}", "{"};
    static const char old[] = "{\"https://reg.io\":{\"auth\":\"YTpi\"}}";
    struct keyring keyring = {.entries = NULL};
    struct image_name name;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(keyring_add_docker(&keyring, bad[i], strlen(bad[i]), true, &err) < 0);
    assert_int_equal(keyring.len, 0);
    assert_int_equal(keyring_add_docker(&keyring, old, strlen(old), false, &err), 0);
    assert_int_equal(image_name_parse("reg.io/app", &name, NULL), 0);
    assert_string_equal(keyring_find(&keyring, &name, 0)->user, "a");
    keyring_free(&keyring);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(match_table),
        cmocka_unit_test(finds_the_longest_first),
        cmocka_unit_test(dockercfg_and_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
