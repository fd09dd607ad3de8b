/* /urunc.json of a hostile image: what comes out has a type and a path in urunc's own alphabet. */
#include "base/arena.h"
#include "base/err.h"
#include "runtime/image_urunc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(1024);
    struct urunc urunc;
    struct err err;

    if (urunc_read((const char *)data, size, arena, &urunc, &err) == 0) {
        if (!urunc.type || !urunc.binary || !urunc.binary[0] || strpbrk(urunc.binary, " \t\n\"'\\"))
            abort();
        (void)urunc_guest_kind(urunc.type);
    }
    arena_free(arena);
    return 0;
}
