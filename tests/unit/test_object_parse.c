/* object_parse: what is left out, and that nothing else is. */
#include "k8s/object_parse.h"

#include "base/json.h"
#include "base/str.h"

/* cmocka wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_rows(void **state)
{
    static const struct {
        const char *text;
        const char *name; /* of metadata.name behind it; NULL: no JSON */
        size_t managed;   /* entries that are left */
    } rows[] = {
        {"{\"metadata\":{\"name\":\"a\"}}", "a", 0},
        {"{\"metadata\":{\"managedFields\":[],\"name\":\"a\"}}", "a", 0},
        {"{\"metadata\":{\"managedFields\":[{\"f\":{\"k:{\\\"x\\\":\\\"]}\\\"}\":[{}]}}],\"name\":"
         "\"a\"}}",
         "a", 0},
        /* Not ours to judge: written in another way, it is parsed like everything else. */
        {"{\"metadata\":{\"managedFields\" : [1, 2],\"name\":\"a\"}}", "a", 2},
        /* The words inside of a string are text. */
        {"{\"metadata\":{\"name\":\"\\\"managedFields\\\":[\"}}", "\"managedFields\":[", 0},
        {"{\"metadata\":{\"managedFields\":[{\"name\":\"a\"}}", NULL, 0},
        {"{\"metadata\":{\"managedFields\":[", NULL, 0},
        {"{\"metadata\":{\"managedFields\":[\"\\", NULL, 0},
        {"{\"metadata\":{\"managedFields\":[],\"name\":\"a\"}", NULL, 0},
        {"", NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        /* Exactly as long as it is, so that the sanitizer sees a read behind its end. */
        size_t len = strlen(rows[i].text);
        char *text = test_malloc(len ? len : 1);
        struct json *root;

        memcpy(text, rows[i].text, len);
        root = object_parse(text, len);
        if (!rows[i].name) {
            assert_null(root);
        } else {
            assert_string_equal(json_string(json_path(root, "metadata.name")), rows[i].name);
            assert_int_equal(json_len(json_path(root, "metadata.managedFields")), rows[i].managed);
        }
        json_free(root);
        test_free(text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
