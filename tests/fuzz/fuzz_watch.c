/* k8s/watch_stream.c: a watch's bytes, whole and in pieces: the same events in the same order, and
 * the same verdict. */
#include "base/buf.h"
#include "base/json.h"
#include "k8s/watch_stream.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_event(void *userdata, enum stream_event event, const struct json *object)
{
    struct buf *out = userdata;

    if (!json_is_object(object))
        abort();
    (void)buf_addf(out, "%d ", (int)event);
    (void)json_print(object, out);
    return 0;
}

static int run(const char *text, size_t len, size_t step, struct buf *out)
{
    struct watch_stream s;
    int r = 0;

    buf_init(out, 8u << 20);
    watch_stream_init(&s, on_event, out);
    for (size_t i = 0; i < len && r == 0; i += step)
        r = watch_stream_feed(&s, text + i, len - i < step ? len - i : step);
    if (watch_stream_end(&s) && r == 0)
        r = 1;
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct buf whole, pieces;

    for (size_t step = 1; step <= 5; step += 2) {
        int a = run(text, size, size ? size : 1, &whole);
        int b = run(text, size, step, &pieces);

        if ((a < 0) != (b < 0) || (a >= 0 && a != b) ||
            strcmp(buf_str(&whole), buf_str(&pieces)) != 0)
            abort();
        buf_free(&whole);
        buf_free(&pieces);
    }
    return 0;
}
