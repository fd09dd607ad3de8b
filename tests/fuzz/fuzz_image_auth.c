/* WWW-Authenticate headers of a hostile registry: the parse ends, and what it takes fits. */
#include "runtime/image_auth.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct auth_challenge challenge = {.scheme = AUTH_NONE};
    char *text = malloc(size + 1);
    char *url;

    memcpy(text, data, size);
    text[size] = '\0';
    auth_parse(text, &challenge);
    if (challenge.scheme == AUTH_BEARER && challenge.realm[0] == '\0')
        abort();
    url = auth_token_url(&challenge, "repository:a:pull");
    if (strncmp(url, challenge.realm, strlen(challenge.realm)) != 0)
        abort();
    free(url);
    free(text);
    return 0;
}
