/* A map for finding, a ring for the order of use. */
#include "k8s/auth_cache.h"

#include "base/map.h"
#include "base/str.h"

#include <stdlib.h>

struct entry {
    struct entry *newer; /* towards the most recently used; a ring through cache->ring */
    struct entry *older;
    char *key;
    void *value;
    uint64_t expires_ms;
};

struct auth_cache {
    struct map *map;
    struct entry ring;
    size_t entries_max;
    void (*free_value)(void *value);
};

struct auth_cache *auth_cache_new(size_t entries_max, void (*free_value)(void *value))
{
    struct auth_cache *cache = xcalloc(1, sizeof(*cache));
    cache->map = map_new();
    cache->ring.newer = cache->ring.older = &cache->ring;
    cache->entries_max = entries_max;
    cache->free_value = free_value;
    return cache;
}

static void unlink_entry(struct entry *entry)
{
    entry->newer->older = entry->older;
    entry->older->newer = entry->newer;
}

static void link_newest(struct auth_cache *cache, struct entry *entry)
{
    entry->older = cache->ring.older;
    entry->newer = &cache->ring;
    entry->older->newer = entry;
    cache->ring.older = entry;
}

static void drop(struct auth_cache *cache, struct entry *entry)
{
    unlink_entry(entry);
    map_remove(cache->map, entry->key);
    cache->free_value(entry->value);
    free(entry->key);
    free(entry);
}

void auth_cache_free(struct auth_cache *cache)
{
    if (!cache)
        return;
    while (cache->ring.newer != &cache->ring)
        drop(cache, cache->ring.newer);
    map_free(cache->map);
    free(cache);
}

void *auth_cache_get(struct auth_cache *cache, const char *key, uint64_t now_ms)
{
    struct entry *entry = map_get(cache->map, key);
    if (!entry)
        return NULL;
    if (entry->expires_ms <= now_ms) {
        drop(cache, entry);
        return NULL;
    }
    unlink_entry(entry);
    link_newest(cache, entry);
    return entry->value;
}

void auth_cache_put(struct auth_cache *cache, const char *key, void *value, uint64_t expires_ms)
{
    struct entry *entry = map_get(cache->map, key);
    if (entry)
        drop(cache, entry);
    else if (map_len(cache->map) == cache->entries_max)
        drop(cache, cache->ring.newer); /* the ring begins with the oldest */
    entry = xcalloc(1, sizeof(*entry));
    entry->key = xstrdup(key);
    entry->value = value;
    entry->expires_ms = expires_ms;
    link_newest(cache, entry);
    map_set(cache->map, key, entry);
}

size_t auth_cache_len(const struct auth_cache *cache)
{
    return map_len(cache->map);
}
