/* SPDY frames: what comes in pieces is read as what comes at once, within the limits. */
#include "base/buf.h"
#include "k8s/spdy.h"

#include <stdlib.h>
#include <string.h>

#define STORY_MAX (4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All events but the cuts between data as one text. */
static int read_all(const uint8_t *data, size_t size, size_t piece, struct buf *story)
{
    struct spdy *spdy = spdy_new();
    size_t at = 0;
    size_t end = 0;
    int r = 0;
    while (r >= 0 && end < size) {
        end = size - end < piece ? size : end + piece;
        do {
            struct spdy_event event = {0};
            size_t used = 0;
            r = spdy_next(spdy, (const char *)data + at, end - at, &used, &event);
            if (used > end - at)
                abort();
            at += used;
            if (r != 1)
                break;
            if (event.type == SPDY_DATA) {
                if (event.len == 0 || event.len > end - at)
                    abort();
                for (size_t i = 0; i < event.len; i++)
                    (void)buf_addf(story, "D%u:%02x;", event.stream, (uint8_t)event.data[i]);
                spdy_take(spdy, event.len);
                at += event.len;
            } else {
                (void)buf_addf(story, "%d %u %u;", (int)event.type, event.stream, event.value);
            }
        } while (r == 1);
    }
    (void)spdy_header(spdy, "streamtype");
    if (spdy_last_stream(spdy) > 0x7fffffff)
        abort();
    spdy_free(spdy);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_INIT(STORY_MAX);
    struct buf pieces = BUF_INIT(STORY_MAX);
    int r = read_all(data, size, size ? size : 1, &whole);
    int slow = read_all(data, size, 1, &pieces);
    if (r != slow || whole.len != pieces.len ||
        (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0))
        abort();
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
