/* QMP streams, in pieces whose sizes the input itself chooses: the first byte of the input. Every
 * call must be answered exactly once, whatever QEMU says. */
#include "vmm-bridge/qmp.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_reply(void *userdata, int result, const struct json *value, const char *text)
{
    int *count = userdata;

    (void)value;
    assert(result == 0 || text);
    (*count)++;
}

static void on_event(void *userdata, const char *name, const struct json *data)
{
    (void)userdata;
    (void)data;
    assert(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qmp_core core;
    int counts[QMP_CALLS_MAX] = {0};
    size_t piece = size > 0 ? data[0] % 64 + 1U : 1;

    qmp_core_init(&core);
    core.on_event = on_event;
    for (int i = 0; i < QMP_CALLS_MAX; i++)
        (void)qmp_core_invoke(&core, (enum qmp_command)(1 + i % (_QMP_COMMAND_MAX - 1)), on_reply,
                              &counts[i]);
    for (size_t at = size > 0 ? 1 : 0; at < size; at += piece) {
        size_t n = size - at < piece ? size - at : piece;

        if (qmp_core_feed(&core, (const char *)data + at, n) < 0)
            break;
        buf_reset(&core.out);
    }
    qmp_core_fail(&core, -ECONNRESET, "end");
    for (int i = 0; i < QMP_CALLS_MAX; i++)
        assert(counts[i] == 1);
    qmp_core_done(&core);
    return 0;
}
