/* A state file as somebody else's bytes; and the same bytes as the payload of a good record, which
 * must come back unchanged. */
#include "base/buf.h"
#include "runtime/statedir_record.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char boot[] = "11111111-2222-3333-4444-555555555555";
    struct buf text = BUF_INIT(2 * 1024 * 1024);
    const char *payload;
    size_t len;
    bool same_boot;

    if (statedir_decode((const char *)data, size, boot, &payload, &len, &same_boot) == 0 &&
        (len > size || payload + len != (const char *)data + size))
        abort();
    if (statedir_encode(boot, data, size, &text) == 0) {
        if (statedir_decode(text.data, text.len, boot, &payload, &len, &same_boot) != 0 ||
            !same_boot || len != size || (len && memcmp(payload, data, len) != 0))
            abort();
    }
    buf_free(&text);
    return 0;
}
