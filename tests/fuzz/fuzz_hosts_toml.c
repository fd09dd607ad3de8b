/* hosts.toml of an operator's hand: what comes out are URLs of hosts, within the limits. */
#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/image_hosts.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct image_endpoint *endpoint)
{
    if (!endpoint->host || !endpoint->host[0] || strpbrk(endpoint->host, "/ \t\r\n@?#"))
        abort();
    if (!str_starts(endpoint->base, "http://") && !str_starts(endpoint->base, "https://"))
        abort();
    for (size_t i = 0; i < endpoint->ca_len; i++)
        if (endpoint->ca[i][0] != '/')
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(1024);
    struct image_hosts hosts;
    struct err err;

    if (hosts_read((const char *)data, size, "/d/hosts.toml", "/d", arena, &hosts, &err) == 0) {
        if (hosts.mirrors_len > HOSTS_MIRRORS_MAX || strlen(hosts.ignored) >= HOSTS_IGNORED_MAX)
            abort();
        for (size_t i = 0; i < hosts.mirrors_len; i++)
            check(&hosts.mirrors[i]);
        if (hosts.server.base)
            check(&hosts.server);
    } else if (!str_starts(err.text, "/d/hosts.toml:")) {
        abort();
    }
    arena_free(arena);
    return 0;
}
