/* OCI documents of a hostile registry, read as manifest or index, as config and as a layout's
 * index: only valid digests and bounded counts come out. */
#include "base/arena.h"
#include "base/err.h"
#include "runtime/image_oci.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool fine)
{
    if (!fine)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(4096);
    const char *text = (const char *)data;
    struct oci_manifest manifest;
    struct oci_config config;
    struct image_name name;
    struct oci_desc desc;
    enum oci_type type;
    struct err err;

    if (oci_read(text, size, arena, &type, &desc, &manifest, &err) == 0) {
        if (type == OCI_INDEX)
            require(image_digest_valid(desc.digest));
        for (size_t i = 0; type == OCI_MANIFEST && i < manifest.layers_len; i++)
            require(image_digest_valid(manifest.layers[i].desc.digest) &&
                    manifest.layers[i].desc.size <= OCI_LAYER_BYTES_MAX);
    }
    if (oci_read_config(text, size, arena, &config, &err) == 0)
        for (size_t i = 0; i < config.cmd.len; i++)
            require(config.cmd.items[i] != NULL);
    (void)image_name_parse("reg.io/app:v1", &name, &err);
    if (oci_find_ref(text, size, &name, true, &desc, &err) == 0)
        require(image_digest_valid(desc.digest));
    arena_free(arena);
    return 0;
}
