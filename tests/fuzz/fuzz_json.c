/* json.h from outside: any bytes parse or are refused; what parses prints, and the print parses to
 * the same print again. Strings of the tree also go through the RFC 3339, number and base64
 * readers, which get them from there in the agent. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PRINT_FACTOR 8 /* a byte becomes at most "\u0000"; a number of few bytes at most 24 */

static void visit(const struct json *value)
{
    const char *text = json_string(value);
    int64_t integer;
    uint64_t natural;

    if (text) {
        CLEANUP(free) char *decoded = NULL;
        size_t len;

        (void)clock_parse_rfc3339(text, &integer);
        (void)clock_parse_rfc3339_ns(text, strlen(text), &integer);
        (void)str_to_u64(text, &natural);
        (void)str_to_i64(text, &integer);
        if (str_unbase64(text, strlen(text), &decoded, &len) == 0 && decoded[len] != '\0')
            abort();
    }
    for (const struct json *item = json_first(value); item; item = json_next(item)) {
        const char *key = json_key(item);

        /* The first of equal keys is the one that is found. */
        if (key && !json_get(value, key))
            abort();
        visit(item);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {.text = ""};
    CLEANUP(buf) struct buf once = BUF_INIT((size + 8) * PRINT_FACTOR * 4);
    CLEANUP(buf) struct buf twice = BUF_INIT((size + 8) * PRINT_FACTOR * 4);
    struct json *root = json_parse((const char *)data, size, &err);

    if (!root) {
        if (err.code >= 0 || err.text[0] == '\0')
            abort();
        return 0;
    }
    visit(root);
    if (json_print(root, &once) < 0)
        abort();
    json_free(root);
    root = json_parse(once.data, once.len, NULL);
    if (!root || json_print(root, &twice) < 0 || !str_eq(once.data, twice.data))
        abort();
    json_free(root);
    return 0;
}
