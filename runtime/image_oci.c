/* Reads OCI documents. Everything in them is a stranger's: types, counts and digests are checked
 * here, sizes against what arrives by whoever fetches. */
#include "runtime/image_oci.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define PLATFORMS_SHOWN_MAX 300 /* bytes of the list in an error */

/* Best first. kraft's fc and xen kernels do not boot on QEMU; the platform of Unikraft's cloud is
 * taken only where an image has no other. */
static const struct {
    const char *os;
    bool last_resort;
} systems[] = {
    {"qemu", false},
    {"kvm", false},
    {"linux", false},
    {"kraftcloud", true},
};

#if defined(__aarch64__)
static const char *const machines[] = {"arm64", "aarch64"};
#else
static const char *const machines[] = {"x86_64", "amd64"};
#endif

#define THIS_HOST_RUNS "this host runs qemu, kvm and linux"

static void cleanup_json(struct json **root)
{
    json_free(*root);
}

static bool machine_fits(const char *architecture)
{
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        if (str_eq(machines[i], architecture))
            return true;
    return false;
}

/* 0 is best; -1: not for this host. */
static int system_rank(const char *os)
{
    for (size_t i = 0; i < ARRAY_LEN(systems); i++)
        if (str_eq(systems[i].os, os))
            return (int)i;
    return -1;
}

static int read_desc(const struct json *value, struct oci_desc *ret, struct err *err)
{
    const char *digest = json_get_string(value, "digest");
    int64_t size = -1;

    if (!digest || !image_digest_valid(digest))
        return err_spec(err, -EBADMSG, "a descriptor has no valid sha256 digest");
    if (!json_get_int(value, "size", &size) || size < 0)
        return err_spec(err, -EBADMSG, "the descriptor of %s has no valid size", digest);
    if ((uint64_t)size > OCI_LAYER_BYTES_MAX)
        return err_spec(err, -EFBIG, "%s has %lld bytes, more than the %llu allowed", digest,
                        (long long)size, OCI_LAYER_BYTES_MAX);
    str_copy(ret->digest, sizeof(ret->digest), digest);
    ret->size = (uint64_t)size;
    return 0;
}

/* A map of strings may be absent; members of other types are as if absent. */
static const char *annotation(const struct json *object, const char *map, const char *key,
                              struct arena *arena)
{
    return arena_strdup(arena, json_get_string(json_get(object, map), key));
}

static void show_platform(struct buf *out, const struct json *platform)
{
    const char *os = json_get_string(platform, "os");
    const char *architecture = json_get_string(platform, "architecture");

    if (out->len < PLATFORMS_SHOWN_MAX)
        buf_addf(out, "%s%.32s/%.32s", out->len ? ", " : "", os ? os : "?",
                 architecture ? architecture : "?");
}

static int choose(const struct json *manifests, struct oci_desc *ret, struct err *err)
{
    struct buf shown = BUF_INIT(PLATFORMS_SHOWN_MAX + 100);
    const struct json *best = NULL;
    int best_rank = -1;
    bool others = false;
    int r;

    for (const struct json *m = json_first(manifests); m; m = json_next(m)) {
        const struct json *platform = json_get(m, "platform");
        const char *os = json_get_string(platform, "os");
        int rank = system_rank(os);

        if (str_eq(os, "unknown")) /* attestations */
            continue;
        show_platform(&shown, platform);
        if (!str_eq(os, "kraftcloud"))
            others = true;
        if (rank < 0 || !machine_fits(json_get_string(platform, "architecture")))
            continue;
        if (best_rank < 0 || rank < best_rank) {
            best = m;
            best_rank = rank;
        }
    }
    if (best && systems[best_rank].last_resort && others)
        best = NULL;
    if (best)
        r = read_desc(best, ret, err);
    else
        r = err_spec(err, -ENOENT,
                     "no match for platform in manifest: " THIS_HOST_RUNS
                     " for %s, the image offers %s",
                     machines[0], shown.len ? shown.data : "nothing");
    buf_free(&shown);
    return r;
}

static void read_paths(const struct json *map, struct arena *arena, struct oci_paths *ret)
{
    static const char *const keys[][2] = {
        {OCI_KERNEL, OCI_OWN_KERNEL},
        {OCI_INITRD, OCI_OWN_INITRD},
        {OCI_DISK, OCI_OWN_DISK},
    };
    const char *found[ARRAY_LEN(keys)];

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *own = json_get_string(map, keys[i][1]);

        found[i] = arena_strdup(arena, own ? own : json_get_string(map, keys[i][0]));
    }
    *ret = (struct oci_paths){.kernel = found[0], .initrd = found[1], .disk = found[2]};
}

/* Older kraftkits called the kernel an image; both ages may append "+gzip" and the like. */
static const struct {
    const char *name;
    size_t offset;
} layer_types[] = {
    {"application/vnd.unikraft.kernel.v1", offsetof(struct oci_layer, is_kernel)},
    {"application/vnd.unikraft.image.v1", offsetof(struct oci_layer, is_kernel)},
    {"application/vnd.unikraft.initrd.v1", offsetof(struct oci_layer, is_initrd)},
    {"application/vnd.unikraft.rom.v1", offsetof(struct oci_layer, is_rom)},
    {"application/vnd.unikraft.kernel.dbg.v1", offsetof(struct oci_layer, is_meta)},
    {"application/vnd.unikraft.config.v1", offsetof(struct oci_layer, is_meta)},
};

static bool is_type(const char *type, const char *name)
{
    size_t len = strlen(name);

    return strncmp(type, name, len) == 0 && (type[len] == '\0' || strchr("+.;", type[len]));
}

static int read_layer(const struct json *value, struct arena *arena, struct oci_layer *ret,
                      struct err *err)
{
    const char *type = json_get_string(value, "mediaType");

    read_paths(json_get(value, "annotations"), arena, &ret->paths);
    for (size_t i = 0; type && i < ARRAY_LEN(layer_types); i++)
        if (is_type(type, layer_types[i].name))
            *(bool *)((char *)ret + layer_types[i].offset) = true;
    return read_desc(value, &ret->desc, err);
}

static int read_manifest(const struct json *root, struct arena *arena, struct oci_manifest *ret,
                         struct err *err)
{
    const struct json *layers = json_get(root, "layers");
    struct oci_manifest m = {.layers = NULL};
    size_t i = 0;
    int r = read_desc(json_get(root, "config"), &m.config, err);

    if (r < 0)
        return err_wrap(err, "config of the manifest");
    if (m.config.size > OCI_DOCUMENT_MAX)
        return err_spec(err, -EFBIG, "the image's config has %llu bytes, more than the %u allowed",
                        (unsigned long long)m.config.size, OCI_DOCUMENT_MAX);
    m.layers_len = json_len(layers);
    if (m.layers_len > OCI_LAYERS_MAX)
        return err_spec(err, -EFBIG, "the image has %zu layers, more than the %d allowed",
                        m.layers_len, OCI_LAYERS_MAX);
    m.layers = arena_array(arena, m.layers_len + 1, sizeof(*m.layers));
    for (const struct json *v = json_first(layers); v && i < m.layers_len; v = json_next(v), i++) {
        r = read_layer(v, arena, &m.layers[i], err);
        if (r < 0)
            return err_wrap(err, "layer %zu of the manifest", i + 1);
    }
    read_paths(json_get(root, "annotations"), arena, &m.paths);
    m.guest = annotation(root, "annotations", OCI_GUEST, arena);
    r = urunc_from_map(json_get(root, "annotations"), arena, &m.urunc, err);
    if (r < 0)
        return err_wrap(err, "annotations of the manifest");
    *ret = m;
    return 0;
}

static int parse(const char *text, size_t len, struct json **ret, struct err *err)
{
    *ret = json_parse(text, len, err);
    if (*ret && json_is_object(*ret))
        return 0;
    if (*ret)
        return err_spec(err, -EBADMSG, "the document is no JSON object");
    return err_spec(err, -EBADMSG, "the document is no JSON: %s", err->text);
}

int oci_read(const char *text, size_t len, struct arena *arena, enum oci_type *ret_type,
             struct oci_desc *ret_child, struct oci_manifest *ret_manifest, struct err *err)
{
    CLEANUP(json) struct json *root = NULL;
    int64_t version = 0;
    int r = parse(text, len, &root, err);

    if (r < 0)
        return r;
    if (!json_get_int(root, "schemaVersion", &version) || version != 2)
        return err_spec(
            err, -EBADMSG,
            "the manifest has schema version %lld, only 2 is understood: push the image "
            "again with a current tool",
            (long long)version);
    /* By content, not by media type: OCI lets documents go without one. Both at once is an attack
     * on those who look at one of them. */
    if (json_is_array(json_get(root, "manifests")) && !json_get(root, "layers")) {
        r = choose(json_get(root, "manifests"), ret_child, err);
        if (r >= 0)
            *ret_type = OCI_INDEX;
        return r;
    }
    if (!json_is_array(json_get(root, "layers")) || json_get(root, "manifests"))
        return err_spec(err, -EBADMSG, "the document is neither an image index nor a manifest");
    r = read_manifest(root, arena, ret_manifest, err);
    if (r >= 0)
        *ret_type = OCI_MANIFEST;
    return r;
}

static int read_strings(const struct json *object, const char *key, struct arena *arena,
                        struct oci_strings *ret, struct err *err)
{
    const struct json *array = json_get(object, key);
    const char **items;
    size_t i = 0;

    *ret = (struct oci_strings){.items = NULL};
    if (!array || json_is_null(array))
        return 0;
    if (!json_is_array(array) || json_len(array) > OCI_STRINGS_MAX)
        return err_spec(err, -EBADMSG, "the image's config: %s is no list of at most %d texts", key,
                        OCI_STRINGS_MAX);
    items = arena_array(arena, json_len(array) + 1, sizeof(*items));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        if (!json_string(v))
            return err_spec(err, -EBADMSG, "the image's config: %s has something else than texts",
                            key);
        items[i++] = arena_strdup(arena, json_string(v));
    }
    *ret = (struct oci_strings){.items = items, .len = i};
    return 0;
}

int oci_read_config(const char *text, size_t len, struct arena *arena, struct oci_config *ret,
                    struct err *err)
{
    CLEANUP(json) struct json *root = NULL;
    const struct json *config;
    const char *os;
    const char *architecture;
    struct oci_config c;
    int r = parse(text, len, &root, err);

    if (r < 0)
        return r;
    config = json_get(root, "config");
    os = json_get_string(root, "os");
    architecture = json_get_string(root, "architecture");
    if ((!str_empty(os) && system_rank(os) < 0) ||
        (!str_empty(architecture) && !machine_fits(architecture)))
        return err_spec(err, -ENOENT,
                        "no match for platform in manifest: " THIS_HOST_RUNS
                        " for %s, the image is for %.32s/%.32s",
                        machines[0], os ? os : "?", architecture ? architecture : "?");
    c.os = arena_strdup(arena, os ? os : "");
    c.architecture = arena_strdup(arena, architecture ? architecture : "");
    read_paths(json_get(config, "Labels"), arena, &c.paths);
    c.guest = annotation(config, "Labels", OCI_GUEST, arena);
    r = urunc_from_map(json_get(config, "Labels"), arena, &c.urunc, err);
    if (r >= 0)
        r = read_strings(root, "os.features", arena, &c.os_features, err);
    if (r >= 0)
        r = read_strings(config, "Entrypoint", arena, &c.entrypoint, err);
    if (r >= 0)
        r = read_strings(config, "Cmd", arena, &c.cmd, err);
    if (r >= 0)
        r = read_strings(config, "Env", arena, &c.env, err);
    if (r >= 0)
        *ret = c;
    return r;
}

static bool ref_matches(const struct json *entry, const struct image_name *name, bool tag_counts)
{
    const struct json *annotations = json_get(entry, "annotations");
    const char *ref = json_get_string(annotations, OCI_REF_NAME);
    const char *full = json_get_string(annotations, OCI_CONTAINERD_NAME);
    char want[IMAGE_FULL_MAX];
    struct image_name given;

    if (name->digest[0])
        return str_eq(json_get_string(entry, "digest"), name->digest);
    image_name_full(name, want);
    if (tag_counts && str_eq(ref, name->tag))
        return true;
    /* kraft writes the repository without its tag here, and the whole under containerd's key. */
    for (int i = 0; i < 2; i++) {
        const char *text = i == 0 ? ref : full;
        char got[IMAGE_FULL_MAX];

        if (!text || (i == 0 && full) || (!strchr(text, '/') && !strchr(text, ':')))
            continue;
        if (image_name_parse(text, &given, NULL) == 0 && str_eq(image_name_full(&given, got), want))
            return true;
    }
    return false;
}

int oci_find_ref(const char *text, size_t len, const struct image_name *name, bool tag_counts,
                 struct oci_desc *ret, struct err *err)
{
    CLEANUP(json) struct json *root = NULL;
    int r = parse(text, len, &root, err);

    if (r < 0)
        return r;
    for (const struct json *m = json_first(json_get(root, "manifests")); m; m = json_next(m))
        if (ref_matches(m, name, tag_counts))
            return read_desc(m, ret, err);
    return -ENOENT;
}

int oci_only_ref(const char *text, size_t len, struct oci_desc *ret, struct err *err)
{
    CLEANUP(json) struct json *root = NULL;
    int r = parse(text, len, &root, err);

    if (r < 0)
        return r;
    if (json_len(json_get(root, "manifests")) != 1)
        return err_set(err, -ENOENT, "it has %zu images, and none of that name or tag",
                       json_len(json_get(root, "manifests")));
    return read_desc(json_first(json_get(root, "manifests")), ret, err);
}

char *oci_ref_name(const char *text, size_t len, size_t n, bool *ret_more)
{
    CLEANUP(json) struct json *root = NULL;
    const struct json *entry;
    const char *name;
    struct image_name parsed;
    struct err err;

    *ret_more = false;
    if (parse(text, len, &root, &err) < 0)
        return NULL;
    entry = json_first(json_get(root, "manifests"));
    while (entry && n-- > 0)
        entry = json_next(entry);
    if (!entry)
        return NULL;
    *ret_more = true;
    name = json_get_string(json_get(entry, "annotations"), OCI_CONTAINERD_NAME);
    if (!name)
        name = json_get_string(json_get(entry, "annotations"), OCI_REF_NAME);
    /* A tag alone is no name. */
    return name && (strchr(name, '/') || strchr(name, ':')) &&
                   image_name_parse(name, &parsed, NULL) == 0
               ? xstrdup(name)
               : NULL;
}
