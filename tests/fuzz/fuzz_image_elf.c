/* Kernels of a hostile image: headers, notes and solo5's manifest. Names of devices come out as
 * letters and digits, never more than there may be. */
#include "runtime/image_elf.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kernel_facts facts;

    kernel_read(data, size, &facts);
    if (facts.devices_len > ELF_DEVICES_MAX || (facts.bad_manifest && facts.devices_len > 0))
        abort();
    for (size_t i = 0; i < facts.devices_len; i++) {
        const char *name = facts.devices[i].name;

        if (strnlen(name, ELF_DEVICE_NAME_MAX) == ELF_DEVICE_NAME_MAX || !isalnum(name[0]))
            abort();
    }
    (void)solo5_target_name(facts.solo5);
    return 0;
}
