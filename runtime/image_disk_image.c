/* Unpacked images on disk: image.json beside kernel and initrd, and struct image made from it.
 * The other half of image_disk.h. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/image_disk.h"
#include "runtime/image_oci.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define IMAGE_JSON_MAX (8u * 1024 * 1024) /* a config's strings, escaped */
#define FORMAT_VERSION 1

struct held_image {
    struct image image; /* first: handed out as this */
    struct arena *arena;
    size_t refs;
    struct disk *disk; /* NULL: it was closed */
    struct held_image *next;
    const char *manifest;
};

static void cleanup_json(struct json **root)
{
    json_free(*root);
}

static void write_strings(struct json_writer *w, const char *key, const struct oci_strings *list)
{
    jw_begin_array(w, key);
    for (size_t i = 0; i < list->len; i++)
        jw_string(w, NULL, list->items[i]);
    jw_end_array(w);
}

static void write_solo5(struct json_writer *w, const struct disk_facts *facts)
{
    if (!facts->solo5_target)
        return;
    jw_string(w, "solo5", facts->solo5_target);
    jw_begin_array(w, "devices");
    for (size_t i = 0; i < facts->devices_len; i++) {
        jw_begin_object(w, NULL);
        jw_string(w, "name", facts->devices[i].name);
        jw_bool(w, "net", facts->devices[i].is_net);
        jw_end_object(w);
    }
    jw_end_array(w);
}

int disk_image_commit(const struct disk *disk, const char *tmp, const char *manifest,
                      const struct oci_config *config, const struct disk_facts *facts,
                      struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(IMAGE_JSON_MAX);
    CLEANUP(free) char *json = xasprintf("%s/image.json", tmp);
    CLEANUP(free) char *path = disk_image_path(disk, manifest);
    struct json_writer w = JSON_WRITER(&text);
    int r;

    jw_begin_object(&w, NULL);
    jw_int(&w, "version", FORMAT_VERSION);
    jw_string(&w, "guest", facts->guest_kind);
    jw_bool(&w, "kernel", facts->has_kernel);
    jw_bool(&w, "initrd", facts->has_initrd);
    jw_bool(&w, "disk", facts->has_disk);
    jw_bool(&w, "diskReadOnly", facts->disk_readonly);
    write_solo5(&w, facts);
    jw_int(&w, "size", (int64_t)facts->size_bytes);
    jw_string(&w, "os", config->os);
    jw_string(&w, "architecture", config->architecture);
    write_strings(&w, "osFeatures", &config->os_features);
    write_strings(&w, "entrypoint", &config->entrypoint);
    write_strings(&w, "cmd", &config->cmd);
    write_strings(&w, "env", &config->env);
    jw_end_object(&w);
    if (text.overflow)
        return err_spec(err, -EFBIG, "the image's config is too large");
    r = file_write_atomic(json, text.data, text.len, 0644);
    if (r < 0)
        return disk_write_error("image.json", disk->dir, -r, err);
    /* Another pull may have made the same image meanwhile: that one is as good. */
    if (rename(tmp, path) < 0 && errno != ENOTEMPTY && errno != EEXIST)
        return disk_write_error("the image", disk->dir, errno, err);
    return 0;
}

static bool read_strings(struct arena *arena, const struct json *root, const char *key,
                         const char *const **ret, size_t *ret_len)
{
    const struct json *array = json_get(root, key);
    const char **items;
    size_t i = 0;

    if (!json_is_array(array))
        return false;
    items = arena_array(arena, json_len(array) + 1, sizeof(*items));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        if (!json_string(v))
            return false;
        items[i++] = arena_strdup(arena, json_string(v));
    }
    *ret = items;
    *ret_len = i;
    return true;
}

static bool file_is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

static void read_solo5(struct arena *arena, const struct json *root, struct image *image)
{
    const struct json *list = json_get(root, "devices");
    struct image_device *devices = arena_array(arena, json_len(list) + 1, sizeof(*devices));
    const char *target = json_get_string(root, "solo5");

    image->solo5_target = arena_strdup(arena, target ? target : "");
    for (const struct json *v = json_first(list); v; v = json_next(v)) {
        struct image_device *device = &devices[image->devices_len];

        device->name = arena_strdup(arena, json_get_string(v, "name"));
        if (device->name && json_get_bool(v, "net", &device->is_net))
            image->devices_len++;
    }
    image->devices = devices;
}

/* A file of the image, or NULL; false: it should be there and is not. */
static bool take_file(struct arena *arena, const char *dir, const char *name, bool has,
                      const char **ret)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);

    if (!has)
        return true;
    *ret = arena_strdup(arena, path);
    return file_is_there(path);
}

static bool fill(struct arena *arena, const struct json *root, const char *dir,
                 const char *platform_kernel, struct image *image)
{
    bool has_kernel = true; /* older records do not say */
    bool has_initrd = false;
    bool has_disk = false;
    int64_t version = 0;
    int64_t size = 0;

    if (!json_get_int(root, "version", &version) || version != FORMAT_VERSION ||
        !json_get_bool(root, "initrd", &has_initrd) || !json_get_int(root, "size", &size) ||
        !json_get_string(root, "guest"))
        return false;
    (void)json_get_bool(root, "kernel", &has_kernel);
    (void)json_get_bool(root, "disk", &has_disk);
    (void)json_get_bool(root, "diskReadOnly", &image->disk_readonly);
    if (!take_file(arena, dir, "kernel", has_kernel, &image->kernel) ||
        !take_file(arena, dir, "initrd", has_initrd, &image->initrd) ||
        !take_file(arena, dir, "disk", has_disk, &image->disk))
        return false;
    if (!has_kernel)
        image->kernel = arena_strdup(arena, platform_kernel);
    read_solo5(arena, root, image);
    image->guest_kind = arena_strdup(arena, json_get_string(root, "guest"));
    image->size_bytes = (uint64_t)size;
    image->os = arena_strdup(arena, json_get_string(root, "os"));
    image->architecture = arena_strdup(arena, json_get_string(root, "architecture"));
    return image->os && image->architecture &&
           read_strings(arena, root, "osFeatures", &image->os_features, &image->os_features_len) &&
           read_strings(arena, root, "entrypoint", &image->entrypoint, &image->entrypoint_len) &&
           read_strings(arena, root, "cmd", &image->cmd, &image->cmd_len) &&
           read_strings(arena, root, "env", &image->env, &image->env_len);
}

struct image *image_ref(struct image *image)
{
    ((struct held_image *)image)->refs++;
    return image;
}

static bool is_whole(const struct image *image)
{
    return image->kernel && file_is_there(image->kernel) &&
           (!image->initrd || file_is_there(image->initrd)) &&
           (!image->disk || file_is_there(image->disk));
}

static struct image *find_held(const struct disk *disk, const char *reference, const char *repo,
                               const char *digest, const char *manifest)
{
    for (struct held_image *held = disk->held; held; held = held->next) {
        const struct image *image = &held->image;

        if (str_eq(held->manifest, manifest) && str_eq(image->digest, digest) &&
            str_eq(image->name, repo) && str_eq(image->reference, reference) && is_whole(image))
            return image_ref(&held->image);
    }
    return NULL;
}

bool disk_image_held(const struct disk *disk, const char *manifest)
{
    for (const struct held_image *held = disk->held; held; held = held->next)
        if (str_eq(held->manifest, manifest))
            return true;
    return false;
}

void disk_image_forget(struct disk *disk)
{
    for (struct held_image *held = disk->held; held; held = held->next)
        held->disk = NULL;
    disk->held = NULL;
}

struct image *disk_image_load(struct disk *disk, const char *reference, const char *repo,
                              const char *digest, const char *manifest)
{
    CLEANUP(free) char *dir = disk_image_path(disk, manifest);
    CLEANUP(free) char *path = xasprintf("%s/image.json", dir);
    CLEANUP(buf) struct buf text = BUF_INIT(IMAGE_JSON_MAX);
    CLEANUP(json) struct json *root = NULL;
    struct held_image *held;
    struct image *image = find_held(disk, reference, repo, digest, manifest);
    struct arena *arena;
    struct err err;

    if (image)
        return image;
    if (file_read(path, &text) < 0)
        return NULL;
    arena = arena_new(1024);
    held = arena_alloc(arena, sizeof(*held));
    root = json_parse(buf_str(&text), text.len, &err);
    if (!root || !fill(arena, root, dir, disk->platform_kernel, &held->image)) {
        arena_free(arena);
        (void)file_remove_tree(dir);
        return NULL;
    }
    (void)utimensat(AT_FDCWD, dir, NULL, 0); /* used now: image_gc.c */
    held->arena = arena;
    held->refs = 1;
    held->image.reference = arena_strdup(arena, reference);
    held->image.name = arena_strdup(arena, repo);
    held->image.digest = arena_strdup(arena, digest);
    held->manifest = arena_strdup(arena, manifest);
    held->disk = disk;
    held->next = disk->held;
    disk->held = held;
    return &held->image;
}

void image_unref(struct image *image)
{
    struct held_image *held = (struct held_image *)image;

    if (!held || --held->refs > 0)
        return;
    if (held->disk) {
        CLEANUP(free) char *dir = disk_image_path(held->disk, held->manifest);
        struct held_image **at = &held->disk->held;

        (void)utimensat(AT_FDCWD, dir, NULL, 0);

        while (*at != held)
            at = &(*at)->next;
        *at = held->next;
    }
    arena_free(held->arena);
}
