/* The authentication ConfigMap (first line) and a request's head (the rest): whoever is named has a
 * name, and only when the proxy is allowed to speak. */
#include "k8s/front_proxy.h"

#include "base/err.h"
#include "base/json.h"
#include "k8s/auth.h"
#include "k8s/server_head.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    size_t first = end ? (size_t)(end - data) : size;
    struct front_proxy *proxy = NULL;
    struct head head;
    size_t scanned = 0;
    size_t used;
    int status;
    struct err err = {0};
    struct json *root = json_parse((const char *)data, first, &err);

    if (root && end && front_proxy_parse(root, &proxy, &err) == 0 &&
        head_parse((const char *)end + 1, size - first - 1, &scanned, &head, &used, &status) == 0) {
        struct auth_user *user = front_proxy_user(proxy, "front-proxy-client", &head);

        if (user && !user->name[0])
            abort();
        auth_user_free(user);
        head_free(&head);
    }
    front_proxy_free(proxy);
    json_free(root);
    return 0;
}
