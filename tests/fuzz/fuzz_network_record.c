/* A network record as it may lie on the disk: what is taken must survive being written again. */
#include "base/buf.h"
#include "base/str.h"
#include "runtime/network_store.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool fine)
{
    if (!fine)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct network_record record;
    struct network_record again;
    struct buf text = BUF_INIT(16 * NETWORK_RECORD_MAX);

    if (network_record_decode((const char *)data, size, &record) < 0)
        return 0;
    for (size_t i = 0; i < size; i++) {
        if (data[i] < 0x80)
            continue;
        /* The writer never writes what is no UTF-8, and would not write it back as it is. */
        network_record_free(&record);
        return 0;
    }
    require(network_record_encode(&record, &text) == 0);
    require(network_record_decode(buf_str(&text), text.len, &again) == 0);
    require(again.phase == record.phase && str_eq(again.conf, record.conf) &&
            str_eq(again.result, record.result) && str_eq(again.boot_id, record.boot_id) &&
            again.ports_len == record.ports_len && str_eq(again.net.ip, record.net.ip));
    network_record_free(&again);
    network_record_free(&record);
    buf_free(&text);
    return 0;
}
