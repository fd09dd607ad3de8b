/* See events_cache.h: a hash table with chains, and a list in the order of use. */
#include "k8s/events_cache.h"

#include "base/str.h"

#include <stdlib.h>
#include <sys/queue.h>

#define CACHE_BUCKETS 256u

struct entry {
    TAILQ_ENTRY(entry) used; /* oldest first */
    struct entry *next;      /* in the bucket */
    uint64_t key;
    max_align_t data[];
};

TAILQ_HEAD(entries, entry);

struct cache {
    size_t max, len, entry_bytes;
    struct entries used;
    struct entry *buckets[CACHE_BUCKETS];
};

struct cache *cache_new(size_t max, size_t entry_bytes)
{
    struct cache *cache = xcalloc(1, sizeof(*cache));

    cache->max = max;
    cache->entry_bytes = entry_bytes;
    TAILQ_INIT(&cache->used);
    return cache;
}

static struct entry **find(struct cache *cache, uint64_t key)
{
    struct entry **at = &cache->buckets[key % CACHE_BUCKETS];

    while (*at && (*at)->key != key)
        at = &(*at)->next;
    return at;
}

static void drop(struct cache *cache, struct entry **at)
{
    struct entry *e = *at;

    *at = e->next;
    TAILQ_REMOVE(&cache->used, e, used);
    cache->len--;
    free(e);
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    while (!TAILQ_EMPTY(&cache->used))
        drop(cache, find(cache, TAILQ_FIRST(&cache->used)->key));
    free(cache);
}

void *cache_get(struct cache *cache, uint64_t key)
{
    struct entry **at = find(cache, key);
    struct entry *e = *at;

    if (e) {
        TAILQ_REMOVE(&cache->used, e, used);
    } else {
        if (cache->len >= cache->max) {
            drop(cache, find(cache, TAILQ_FIRST(&cache->used)->key));
            at = find(cache, key);
        }
        e = xcalloc(1, sizeof(*e) + cache->entry_bytes);
        e->key = key;
        e->next = *at;
        *at = e;
        cache->len++;
    }
    TAILQ_INSERT_TAIL(&cache->used, e, used);
    return e->data;
}

void *cache_peek(struct cache *cache, uint64_t key)
{
    struct entry *e = *find(cache, key);

    return e ? e->data : NULL;
}

void cache_drop(struct cache *cache, uint64_t key)
{
    struct entry **at = find(cache, key);

    if (*at)
        drop(cache, at);
}

size_t cache_len(const struct cache *cache)
{
    return cache->len;
}
