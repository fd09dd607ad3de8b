/* Registry credentials of a hostile Secret: what is taken has a place, a user and a password, and
 * is found for the image that its place names. */
#include "base/err.h"
#include "base/str.h"
#include "runtime/image_keyring.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct keyring *keyring, const char *reference)
{
    struct image_name name;
    size_t n = 0;

    if (image_name_parse(reference, &name, NULL) < 0)
        return;
    while (keyring_find(keyring, &name, n))
        n++;
    if (n > keyring->len)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keyring keyring = {.len = 0};
    struct err err;

    for (int config_json = 0; config_json < 2; config_json++)
        (void)keyring_add_docker(&keyring, (const char *)data, size, config_json, &err);
    if (keyring.len > KEYRING_ENTRIES_MAX)
        abort();
    for (size_t i = 0; i < keyring.len; i++) {
        const struct keyring_entry *entry = &keyring.entries[i];

        if (!entry->where || str_empty(entry->user) || !entry->password)
            abort();
        look(&keyring, entry->where);
    }
    look(&keyring, "reg.io:5000/team/app:v1");
    keyring_free(&keyring);
    return 0;
}
