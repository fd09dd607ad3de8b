/* What events.c remembers about earlier events: three bounded tables that forget the least recently
 * used entry. Keys are 64-bit hashes: a collision would add to a wrong count, no more. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct cache;

/* entry_bytes: of the data behind each key, zeroed when it is new. */
struct cache *cache_new(size_t max, size_t entry_bytes);
void cache_free(struct cache *cache); /* NULL is accepted */
/* The entry, made when absent: the oldest makes room. Valid until the next cache_get. */
void *cache_get(struct cache *cache, uint64_t key);
/* NULL when absent; does not count as a use. */
void *cache_peek(struct cache *cache, uint64_t key);
void cache_drop(struct cache *cache, uint64_t key);
size_t cache_len(const struct cache *cache);
