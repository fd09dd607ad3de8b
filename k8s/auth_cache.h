/* A bounded cache with an age: least recently used goes first. Who uses it says what time it is. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct auth_cache;

/* free_value: called for each value that leaves. */
struct auth_cache *auth_cache_new(size_t entries_max, void (*free_value)(void *value));
void auth_cache_free(struct auth_cache *cache);
/* NULL: absent or too old. The value stays the cache's and is valid until the next call. */
void *auth_cache_get(struct auth_cache *cache, const char *key, uint64_t now_ms);
/* Takes value over, in the place of an older one. */
void auth_cache_put(struct auth_cache *cache, const char *key, void *value, uint64_t expires_ms);
size_t auth_cache_len(const struct auth_cache *cache);
