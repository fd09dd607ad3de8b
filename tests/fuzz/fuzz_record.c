/* A Pod's record as anybody's bytes. What is taken must be usable as it is, and written and read
 * again it must be the same. */
#include "base/arena.h"
#include "base/str.h"
#include "provider/reconcile_priv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct record *r)
{
    if (!r->spec->uid[0] || strchr(r->spec->uid, '/') || strchr(r->spec->ns, '/') ||
        strchr(r->spec->name, '/') || r->spec->containers_len != r->obs.containers_len ||
        r->spec->containers_len > STATUS_CONTAINERS_MAX)
        abort();
    for (size_t i = 0; i < r->obs.containers_len; i++) {
        const struct container_observed *c = &r->containers[i];
        if (c->machine == MACHINE_RUNNING || (c->machine == MACHINE_EXITED && !c->exit.valid))
            abort();
    }
}

static void fill(struct pod *pod, const struct record *r)
{
    memset(pod, 0, sizeof(*pod));
    pod->spec = r->spec;
    pod->obs = r->obs;
    memcpy(pod->containers, r->containers, sizeof(pod->containers));
    memcpy(pod->image_names, r->image_names, sizeof(pod->image_names));
    pod->obs.containers = pod->containers;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(1024);
    struct record first, second;
    struct pod pod;
    struct buf a = BUF_INIT(RECORD_MAX), b = BUF_INIT(RECORD_MAX);

    if (size < RECORD_MAX / 8 && /* written anew, a byte takes six at most */
        record_decode((const char *)data, size, size & 1, arena, &first) == 0) {
        check(&first);
        fill(&pod, &first);
        record_encode(&pod, &a);
        if (a.overflow || record_decode(buf_str(&a), a.len, true, arena, &second) != 0)
            abort();
        fill(&pod, &second);
        record_encode(&pod, &b);
        if (b.overflow || !str_eq(buf_str(&a), buf_str(&b)))
            abort();
    }
    buf_free(&a);
    buf_free(&b);
    arena_free(arena);
    return 0;
}
