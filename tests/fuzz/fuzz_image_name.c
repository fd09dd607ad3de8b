/* Image references: what is accepted names a host, a repository and a tag or digest from which the
 * same name is read again, and holds nothing that could leave its place in a URL or path. */
#include "runtime/image_name.h"

#include "base/err.h"

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
    char *text = malloc(size + 1);
    struct image_name name;
    struct err err;

    memcpy(text, data, size);
    text[size] = '\0';
    if (image_name_parse(text, &name, &err) == 0) {
        char full[IMAGE_FULL_MAX];
        char again[IMAGE_FULL_MAX];
        struct image_name second;

        image_name_full(&name, full);
        require(name.host[0] && name.repo[0]);
        require((name.tag[0] == '\0') == (name.digest[0] != '\0'));
        require(!strstr(name.host, "..") && !strstr(name.repo, "..") &&
                !strpbrk(full, " \n\"\\?#%"));
        require(image_name_parse(full, &second, &err) == 0);
        require(strcmp(image_name_full(&second, again), full) == 0);
        (void)image_host_is_loopback(name.host);
    } else {
        require(err.code < 0 && err.text[0]);
    }
    free(text);
    return 0;
}
