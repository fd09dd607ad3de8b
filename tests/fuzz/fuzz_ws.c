/* WebSocket frames: what comes in pieces, and is taken in pieces, is read as what comes at once. */
#include "base/buf.h"
#include "base/str.h"
#include "k8s/ws.h"

#include <stdlib.h>
#include <string.h>

#define STORY_MAX (4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_all(const uint8_t *data, size_t size, size_t piece, struct buf *story)
{
    char *copy = xmalloc(size + 1); /* unmasked in place */
    struct ws ws = {0};
    size_t at = 0;
    size_t end = 0;
    int r = 0;
    memcpy(copy, data, size);
    while (r >= 0 && end < size) {
        end = size - end < piece ? size : end + piece;
        do {
            struct ws_event event = {0};
            size_t used = 0;
            r = ws_next(&ws, copy + at, end - at, &used, &event);
            if (used > end - at)
                abort();
            at += used;
            if (r != 1)
                break;
            if (event.type == WS_DATA) {
                size_t n = event.len / 2 + 1;
                if (event.len == 0 || event.len > end - at)
                    abort();
                (void)buf_add(story, event.data, n);
                ws_take(&ws, n);
                at += n;
            } else {
                (void)buf_addf(story, "<%d%d>", (int)event.type, event.text);
                if (event.len)
                    (void)buf_add(story, event.data, event.len);
            }
        } while (r == 1);
    }
    free(copy);
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
