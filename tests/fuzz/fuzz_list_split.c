/* k8s/list_split.c: a List answer of any bytes. Wherever it is cut, the items and the rest are the
 * same; and what cJSON takes for a whole list has the same items in it. */
#include "base/buf.h"
#include "base/json.h"
#include "k8s/list_split.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    struct buf out;
    size_t items;
    int code;
    bool complete;
};

static int on_item(void *userdata, const char *text, size_t len)
{
    struct result *r = userdata;

    r->items++;
    (void)buf_add(&r->out, text, len);
    (void)buf_addc(&r->out, '\n');
    return 0;
}

static void run(const char *text, size_t len, size_t step, struct result *r)
{
    struct list_split s;

    memset(r, 0, sizeof(*r));
    buf_init(&r->out, 8u << 20);
    list_split_init(&s, on_item, r);
    for (size_t i = 0; i < len && r->code == 0; i += step)
        r->code = list_split_feed(&s, text + i, len - i < step ? len - i : step);
    r->complete = r->code == 0 && list_split_complete(&s);
    if (r->complete)
        (void)buf_add(&r->out, buf_str(&s.rest), s.rest.len);
    list_split_free(&s);
}

/* Duplicate "items" members make more items than the one that cJSON finds. */
static void compare(const struct json *root, const struct result *r)
{
    const struct json *items = NULL;
    size_t found = 0;

    for (const struct json *v = json_first(root); v; v = json_next(v)) {
        if (json_key(v) && strcmp(json_key(v), "items") == 0) {
            items = v;
            found++;
        }
    }
    if (!json_is_object(root) || found != 1 || !json_is_array(items) || !r->complete)
        return;
    /* An escaped key ("\u0069tems") is none to the splitter. */
    if (r->items != json_len(items) && r->items != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct result whole, bytes, pieces;
    struct json *root;

    if (size > 65536)
        return 0;
    run(text, size, size ? size : 1, &whole);
    run(text, size, 1, &bytes);
    run(text, size, 7, &pieces);
    if (whole.code != bytes.code || whole.code != pieces.code || whole.complete != bytes.complete ||
        whole.items != bytes.items || strcmp(buf_str(&whole.out), buf_str(&bytes.out)) != 0 ||
        strcmp(buf_str(&whole.out), buf_str(&pieces.out)) != 0)
        abort();
    root = json_parse(text, size, NULL);
    if (root)
        compare(root, &whole);
    json_free(root);
    buf_free(&whole.out);
    buf_free(&bytes.out);
    buf_free(&pieces.out);
    return 0;
}
