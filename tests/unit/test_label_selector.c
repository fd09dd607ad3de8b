/* Table tests of k8s/label_selector.c. */
#include "k8s/label_selector.h"

#include "base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *get(void *userdata, const char *key)
{
    (void)userdata;
    if (str_eq(key, "app"))
        return "web";
    if (str_eq(key, "unikubelet.dev/scale"))
        return "activate";
    return str_eq(key, "empty") ? "" : NULL;
}

static void test_match(void **state)
{
    static const struct {
        const char *selector;
        int wanted;
    } rows[] = {
        {"", 1},
        {"  ", 1},
        {"app=web", 1},
        {"app == web", 1},
        {"app=db", 0},
        {"app!=db", 1},
        {"app!=web", 0},
        {"absent!=web", 1}, /* as the API server: what is not there differs */
        {"absent=web", 0},
        {"app", 1},
        {"absent", 0},
        {"!absent", 1},
        {"!app", 0},
        {"app in (db, web)", 1},
        {"app in (db)", 0},
        {"app notin (db)", 1},
        {"app notin (web)", 0},
        {"absent notin (web)", 1},
        {"empty=", 1},
        {"empty in (,a)", 1},
        {"app=web,unikubelet.dev/scale=activate", 1},
        {"app=web,unikubelet.dev/scale=metrics", 0},
        {"app=db,=", -EINVAL},
        {"=web", -EINVAL},
        {"app=web,", -EINVAL},
        {"app in web", -EINVAL},
        {"app in (web", -EINVAL},
        {"app within (web)", -EINVAL},
        {"app>1", -EINVAL},
        {"app=web x", -EINVAL},
        {"!", -EINVAL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int got = label_selector_match(rows[i].selector, get, NULL);
        if (got != rows[i].wanted)
            fail_msg("\"%s\": %d, not %d", rows[i].selector, got, rows[i].wanted);
    }
}

static void test_limits(void **state)
{
    char text[LABEL_SELECTOR_MAX + 2];
    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(label_selector_match(text, get, NULL), -EINVAL);
    text[400] = '\0'; /* longer than any key */
    assert_int_equal(label_selector_match(text, get, NULL), -EINVAL);
    text[0] = '\0';
    for (int i = 0; i < LABEL_SELECTOR_TERMS_MAX + 1; i++)
        memcpy(text + (size_t)i * 4, "app,", 5);
    text[(LABEL_SELECTOR_TERMS_MAX + 1) * 4 - 1] = '\0';
    assert_int_equal(label_selector_match(text, get, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_match), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
