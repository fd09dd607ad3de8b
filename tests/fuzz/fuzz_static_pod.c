/* k8s/static_pod.c: any bytes are a Pod or an error that begins with the path and line; a Pod's
 * mirror is JSON that decodes again. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/static_pod.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct static_pod *pod, const struct pod_spec *spec)
{
    struct buf body = BUF_INIT(1 << 20);
    char hash[STATIC_POD_HASH_LEN + 1];

    static_pod_hash(pod, hash);
    if (!str_eq(spec->uid, hash) || !(spec->features & PF_STATIC) || spec->containers_len == 0 ||
        !str_ends(spec->name, "-uk-0"))
        abort();
    static_pod_mirror(pod, "node-uid", &body);
    struct json *root = json_parse(buf_str(&body), body.len, NULL);
    if (!root || !str_eq(json_string(json_path(root, "spec.nodeName")), "uk-0"))
        abort();
    json_free(root);
    buf_free(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct static_pod pod = {
        .path = "f", .text = (const char *)data, .len = size, .node_name = "uk-0", .seen_ms = 1};
    const struct pod_spec *spec = NULL;
    struct err err = {0};

    if (size > 16384)
        return 0;
    struct arena *arena = arena_new(1024);
    if (static_pod_read(&pod, arena, &spec, &err) == 0)
        look_at(&pod, spec);
    else if (!str_starts(err.text, "f:"))
        abort();
    arena_free(arena);
    return 0;
}
