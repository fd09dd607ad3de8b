/* The string map of map.h: open addressing, linear probing, removed slots marked so that an
 * iteration survives the removal of its current key. Used for look-ups by name or UID. */
#include "base/map.h"

#include "base/str.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAP_SLOTS_MIN 8 /* a power of two */

struct slot {
    char *key;   /* NULL: free, unless gone */
    void *value; /* never NULL where key is set */
    uint64_t hash;
};

struct map {
    struct slot *slots;
    size_t slots_len; /* a power of two, or 0 */
    size_t len;       /* keys */
    size_t used;      /* keys and removed slots */
};

/* A removed slot: no key, but the search goes on past it. */
static bool slot_gone(const struct slot *slot)
{
    return !slot->key && slot->hash == 1;
}

struct map *map_new(void)
{
    return xcalloc(1, sizeof(struct map));
}

void map_free(struct map *map)
{
    if (!map)
        return;
    for (size_t i = 0; i < map->slots_len; i++)
        free(map->slots[i].key);
    free(map->slots);
    free(map);
}

static struct slot *find(const struct map *map, const char *key, uint64_t hash)
{
    size_t mask = map->slots_len - 1;

    if (map->slots_len == 0)
        return NULL;
    /* Ends: at least a quarter of the slots is free. */
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct slot *slot = &map->slots[i];

        if (slot->key && slot->hash == hash && strcmp(slot->key, key) == 0)
            return slot;
        if (!slot->key && !slot_gone(slot))
            return NULL;
    }
}

/* Puts a slot whose key is known to be absent into its place. */
static void place(struct map *map, struct slot new_slot)
{
    size_t mask = map->slots_len - 1;
    size_t i = (size_t)new_slot.hash & mask;

    while (map->slots[i].key || slot_gone(&map->slots[i]))
        i = (i + 1) & mask;
    map->slots[i] = new_slot;
    map->len++;
    map->used++;
}

/* Makes room for one key more; also sheds removed slots and shrinks. */
static void make_room(struct map *map)
{
    struct slot *old = map->slots;
    size_t old_len = map->slots_len;
    size_t want = MAP_SLOTS_MIN;

    if (map->slots_len && (map->used + 1) * 4 <= map->slots_len * 3)
        return;
    while ((map->len + 1) * 2 > want)
        want *= 2;
    map->slots = xcalloc(want, sizeof(*map->slots));
    map->slots_len = want;
    map->len = 0;
    map->used = 0;
    for (size_t i = 0; i < old_len; i++) {
        if (old[i].key)
            place(map, old[i]);
    }
    free(old);
}

void *map_set(struct map *map, const char *key, void *value)
{
    uint64_t hash = str_hash(key, strlen(key));
    struct slot *slot = find(map, key, hash);

    assert(value);
    if (slot) {
        void *old = slot->value;

        slot->value = value;
        return old;
    }
    make_room(map);
    place(map, (struct slot){.key = xstrdup(key), .value = value, .hash = hash});
    return NULL;
}

void *map_get(const struct map *map, const char *key)
{
    const struct slot *slot = find(map, key, str_hash(key, strlen(key)));

    return slot ? slot->value : NULL;
}

void *map_remove(struct map *map, const char *key)
{
    struct slot *slot = find(map, key, str_hash(key, strlen(key)));
    void *value;

    if (!slot)
        return NULL;
    value = slot->value;
    free(slot->key); /* key may be this very text: it is not used below */
    *slot = (struct slot){.hash = 1};
    map->len--;
    return value;
}

size_t map_len(const struct map *map)
{
    return map->len;
}

int map_next(const struct map *map, size_t *it, const char **ret_key, void **ret_value)
{
    for (; *it < map->slots_len; (*it)++) {
        const struct slot *slot = &map->slots[*it];

        if (!slot->key)
            continue;
        if (ret_key)
            *ret_key = slot->key;
        if (ret_value)
            *ret_value = slot->value;
        (*it)++;
        return 1;
    }
    return 0;
}
