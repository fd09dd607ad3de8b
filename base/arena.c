/* The bump allocator of arena.h: a chain of zeroed blocks, newest first, freed at once.
 * Used for each Pod's spec; knows nothing of what it holds. */
#include "base/arena.h"

#include "base/str.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN sizeof(void *)
#define ARENA_BLOCK_MIN 512 /* later blocks are at least so large, to keep them few */

struct block {
    struct block *next;
    size_t size; /* usable bytes */
    size_t used;
    _Alignas(void *) char data[];
};

struct arena {
    struct block *newest;
    size_t bytes;
    struct block first; /* must be last: its data follows */
};

struct arena *arena_new(size_t first_bytes)
{
    struct arena *arena;

    if (first_bytes > SIZE_MAX / 2)
        abort();
    arena = xcalloc(1, sizeof(*arena) + first_bytes);
    arena->first.size = first_bytes;
    arena->newest = &arena->first;
    arena->bytes = sizeof(*arena) + first_bytes;
    return arena;
}

void arena_free(struct arena *arena)
{
    if (!arena)
        return;
    for (struct block *block = arena->newest; block != &arena->first;) {
        struct block *next = block->next;

        free(block);
        block = next;
    }
    free(arena);
}

void *arena_alloc(struct arena *arena, size_t size)
{
    struct block *block = arena->newest;
    void *p;

    if (size > SIZE_MAX / 2)
        abort();
    size = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (block->used > block->size || size > block->size - block->used) {
        size_t want = size > ARENA_BLOCK_MIN ? size : ARENA_BLOCK_MIN;

        block = xcalloc(1, sizeof(*block) + want);
        block->size = want;
        block->next = arena->newest;
        arena->newest = block;
        arena->bytes += sizeof(*block) + want;
    }
    p = block->data + block->used;
    block->used += size;
    return p;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        abort();
    return arena_alloc(arena, bytes);
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return text ? arena_strndup(arena, text, strlen(text)) : NULL;
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
    char *copy;

    if (!text)
        return NULL;
    len = strnlen(text, len);
    copy = arena_alloc(arena, len + 1);
    memcpy(copy, text, len);
    return copy;
}

size_t arena_bytes(const struct arena *arena)
{
    return arena->bytes;
}

size_t arena_used(const struct arena *arena)
{
    size_t used = arena->first.used;

    for (const struct block *block = arena->newest; block != &arena->first; block = block->next)
        used += block->used;
    return used;
}
