/* A bump allocator freed at once: one for each Pod's spec. Memory is zeroed and pointer-aligned. */
#pragma once

#include <stddef.h>

struct arena;

/* first_bytes: size of the first block, allocated together with the arena. */
struct arena *arena_new(size_t first_bytes);
void arena_free(struct arena *arena); /* NULL is accepted */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_array(struct arena *arena, size_t count, size_t size); /* overflow aborts */
char *arena_strdup(struct arena *arena, const char *text);         /* NULL stays NULL */
char *arena_strndup(struct arena *arena, const char *text, size_t len);
size_t arena_bytes(const struct arena *arena); /* memory held, blocks' unused parts included */
/* Of that, what was given out: as a first block, the next one of its kind fits exactly. */
size_t arena_used(const struct arena *arena);
