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
        strchr(r->spec->name, '/') || r->spec->containers_len == 0 ||
        pod_containers_len(r->spec) != r->obs.containers_len ||
        r->obs.containers_len > POD_MACHINES_MAX)
        abort();
    for (size_t i = 0; i < r->obs.containers_len; i++) {
        const struct container_observed *c = &r->containers[i];
        if (c->machine == MACHINE_RUNNING || (c->machine == MACHINE_EXITED && !c->exit.valid))
            abort();
    }
}

/* The Pod is the record's: it points into it. */
static void fill(struct pod *pod, struct record *r)
{
    memset(pod, 0, sizeof(*pod));
    pod->spec = r->spec;
    pod->obs = r->obs;
    pod->containers = pod->obs.containers = r->containers;
    pod->image_names = r->image_names;
}

/* Written and read again: out is what was written. */
static void again(struct record *r, struct arena *arena, struct buf *out)
{
    struct pod pod;

    fill(&pod, r);
    record_encode(&pod, out);
    if (out->overflow || record_decode(buf_str(out), out->len, true, arena, r) != 0)
        abort();
    check(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(1024);
    struct record record;
    struct buf a = BUF_INIT(RECORD_MAX), b = BUF_INIT(RECORD_MAX), c = BUF_INIT(RECORD_MAX);

    if (size < RECORD_MAX / 8 && /* written anew, a byte takes six at most */
        record_decode((const char *)data, size, size & 1, arena, &record) == 0) {
        check(&record);
        again(&record, arena, &a); /* replaces what is no UTF-8, which may cut a text */
        again(&record, arena, &b);
        again(&record, arena, &c);
        if (!str_eq(buf_str(&b), buf_str(&c)))
            abort();
    }
    buf_free(&a);
    buf_free(&b);
    buf_free(&c);
    arena_free(arena);
    return 0;
}
