/* Files of the initrd: a newc archive in memory. */
#include "guest.h"

#include <string.h>

#define HEADER_LEN 110u

static const char *begin, *limit;

static size_t hex(const char *digits)
{
    size_t value = 0;
    for (unsigned i = 0; i < 8; i++) {
        char c = digits[i];
        value = value << 4 | (size_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static size_t align4(size_t len)
{
    return (len + 3) & ~(size_t)3;
}

void files_init(uintptr_t start, uintptr_t end)
{
    begin = (const char *)start;
    limit = (const char *)end;
    print("initrd of %u bytes\n", (unsigned)(end - start));
}

const char *files_find(const char *path, size_t path_len, size_t *ret_len)
{
    const char *at = begin, *found = NULL;
    while (at && (size_t)(limit - at) > HEADER_LEN && memcmp(at, "07070", 5) == 0) {
        size_t name_len = hex(at + 94) - 1, size = hex(at + 54);
        const char *name = at + HEADER_LEN;
        const char *data = at + align4(HEADER_LEN + name_len + 1);
        if (name_len == 10 && memcmp(name, "TRAILER!!!", 10) == 0)
            break;
        at = data + align4(size);
        if (name_len > 2 && name[0] == '.' && name[1] == '/') {
            name += 2;
            name_len -= 2;
        }
        if (name_len == path_len && memcmp(name, path, path_len) == 0) {
            found = data;
            *ret_len = size;
        }
    }
    return found;
}
