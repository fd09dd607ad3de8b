/* A hash map from strings (copied) to pointers (not owned). Iteration order is unspecified. */
#pragma once

#include <stddef.h>

struct map;

struct map *map_new(void);
/* Frees the map and its keys, not the values. NULL is accepted. */
void map_free(struct map *map);
/* Sets the value (never NULL); returns the one it replaces, or NULL. */
void *map_set(struct map *map, const char *key, void *value);
void *map_get(const struct map *map, const char *key);
/* Removes; returns the value or NULL. */
void *map_remove(struct map *map, const char *key);
size_t map_len(const struct map *map);
/* for (size_t it = 0; map_next(map, &it, &key, &value);) — only the current key may be removed
 * inside the loop; nothing may be added. */
int map_next(const struct map *map, size_t *it, const char **ret_key, void **ret_value);
