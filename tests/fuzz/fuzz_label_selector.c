/* Label selectors as clients write them: any text gives an answer, and the same one each time. */
#include "k8s/label_selector.h"

#include "base/str.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *get(void *userdata, const char *key)
{
    (void)userdata;
    return str_eq(key, "app") ? "web" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    memcpy(text, data, size);
    text[size] = '\0';
    int first = label_selector_match(text, get, NULL);
    if (first > 1 || first != label_selector_match(text, get, NULL))
        abort();
    free(text);
    return 0;
}
