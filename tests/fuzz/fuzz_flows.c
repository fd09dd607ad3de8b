/* Packets of any content and a table of any content: the numbers stay those of the table. */
#include "runtime/flows.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct flows *flows)
{
    uint32_t used = 0;
    uint32_t open = 0;

    for (size_t i = 0; i < FLOWS_MAX; i++) {
        used += flows->slots[i].key != 0;
        open += flows->slots[i].key != 0 && flows->slots[i].state == 2;
    }
    if (used != flows->used || open != flows->open || used > FLOWS_USED_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct flows *flows = malloc(sizeof(*flows));
    uint32_t pod = 0;
    size_t at = 0;

    flows_init(flows, 1);
    /* The first byte: so many slots of the found table are the input's. */
    if (size > 0 && data[0] > 0) {
        size_t len = data[0] * sizeof(struct flow);
        if (len > size - 1)
            len = size - 1;
        memcpy(flows->slots, data + 1, len);
        at = 1 + len;
        if (!flows_adopt(flows, 4000000000000u))
            flows_init(flows, 1);
    }
    check(flows);
    memcpy(&pod, "\x0a\x58\x00\x05", 4);
    while (at + 1 < size) {
        size_t len = data[at] < size - at - 1 ? data[at] : size - at - 1;
        (void)flows_packet(flows, data + at + 1, len, pod, 1000u * at);
        at += 1 + len;
    }
    flows_expire(flows, 1000u * size + FLOW_SYN_MS);
    check(flows);
    free(flows);
    return 0;
}
