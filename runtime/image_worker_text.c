/* Request and answer of the unpacking process. */
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/image_worker.h"

#include <errno.h>
#include <string.h>

#define WORKER_LAYERS_MAX 1024

static void cleanup_json(struct json **root)
{
    json_free(*root);
}

void worker_write_request(const struct unpack *unpack, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    jw_string(&w, "dir", unpack->dir);
    jw_bool(&w, "urunc", unpack->want_urunc);
    jw_begin_array(&w, "layers");
    for (size_t i = 0; i < unpack->layers_len; i++) {
        const struct unpack_layer *layer = &unpack->layers[i];

        jw_begin_object(&w, NULL);
        jw_string(&w, "digest", layer->digest);
        jw_int(&w, "size", (int64_t)layer->size);
        jw_bool(&w, "verify", layer->verify);
        jw_bool(&w, "neverTar", layer->never_tar);
        jw_begin_array(&w, "files");
        for (int file = 0; file < _UNPACK_FILES; file++)
            jw_string(&w, NULL, layer->files[file]);
        jw_end_array(&w);
        jw_begin_array(&w, "whole");
        for (int file = 0; file < _UNPACK_FILES; file++)
            jw_bool(&w, NULL, layer->whole[file]);
        jw_end_array(&w);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    jw_end_object(&w);
}

static void read_layer(const struct json *value, struct arena *arena, struct unpack_layer *layer)
{
    const struct json *files = json_first(json_get(value, "files"));
    const struct json *whole = json_first(json_get(value, "whole"));
    int64_t size = 0;

    layer->digest = arena_strdup(arena, json_get_string(value, "digest"));
    (void)json_get_int(value, "size", &size);
    layer->size = (uint64_t)size;
    (void)json_get_bool(value, "verify", &layer->verify);
    (void)json_get_bool(value, "neverTar", &layer->never_tar);
    for (int file = 0; file < _UNPACK_FILES && files && whole; file++) {
        layer->files[file] = arena_strdup(arena, json_string(files));
        (void)json_bool(whole, &layer->whole[file]);
        files = json_next(files);
        whole = json_next(whole);
    }
}

int worker_read_request(const char *text, size_t len, struct arena *arena, struct unpack *ret)
{
    struct err err;
    CLEANUP(json) struct json *root = json_parse(text, len, &err);
    const struct json *list = json_get(root, "layers");
    struct unpack_layer *layers;
    size_t i = 0;

    if (!json_is_array(list) || json_len(list) > WORKER_LAYERS_MAX || !json_get_string(root, "dir"))
        return -EBADMSG;
    layers = arena_array(arena, json_len(list) + 1, sizeof(*layers));
    for (const struct json *v = json_first(list); v; v = json_next(v))
        read_layer(v, arena, &layers[i++]);
    for (size_t k = 0; k < i; k++)
        if (!layers[k].digest)
            return -EBADMSG;
    ret->layers = layers;
    ret->layers_len = i;
    ret->dir = arena_strdup(arena, json_get_string(root, "dir"));
    (void)json_get_bool(root, "urunc", &ret->want_urunc);
    return 0;
}

static void write_kernel(struct json_writer *w, const struct kernel_facts *kernel)
{
    jw_begin_object(w, "kernel");
    jw_bool(w, "elf", kernel->is_elf);
    jw_bool(w, "64", kernel->is_64);
    jw_bool(w, "pvh", kernel->has_pvh);
    jw_bool(w, "multiboot", kernel->multiboot);
    jw_bool(w, "bzImage", kernel->is_bzimage);
    jw_bool(w, "badManifest", kernel->bad_manifest);
    jw_int(w, "solo5", kernel->solo5);
    jw_begin_array(w, "devices");
    for (size_t i = 0; i < kernel->devices_len; i++) {
        jw_begin_object(w, NULL);
        jw_string(w, "name", kernel->devices[i].name);
        jw_bool(w, "net", kernel->devices[i].is_net);
        jw_end_object(w);
    }
    jw_end_array(w);
    jw_end_object(w);
}

void worker_write_answer(const struct unpack *unpack, const struct err *err, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    jw_int(&w, "code", err->code);
    jw_bool(&w, "spec", err->kind == ERR_SPEC);
    jw_string(&w, "text", err->code < 0 ? err->text : "");
    jw_int(&w, "corrupt", unpack->corrupt);
    jw_string(&w, "urunc", buf_str(&unpack->urunc));
    jw_begin_array(&w, "has");
    for (int file = 0; file < _UNPACK_FILES; file++)
        jw_bool(&w, NULL, unpack->has[file]);
    jw_end_array(&w);
    write_kernel(&w, &unpack->kernel);
    jw_end_object(&w);
}

static bool read_kernel(const struct json *value, struct kernel_facts *ret)
{
    int64_t solo5 = -1;

    if (!json_get_bool(value, "elf", &ret->is_elf) || !json_get_bool(value, "64", &ret->is_64) ||
        !json_get_bool(value, "pvh", &ret->has_pvh) ||
        !json_get_bool(value, "multiboot", &ret->multiboot) ||
        !json_get_bool(value, "bzImage", &ret->is_bzimage) ||
        !json_get_bool(value, "badManifest", &ret->bad_manifest) ||
        !json_get_int(value, "solo5", &solo5) || solo5 < 0 || solo5 > SOLO5_XEN)
        return false;
    ret->solo5 = (enum solo5_target)solo5;
    for (const struct json *v = json_first(json_get(value, "devices")); v; v = json_next(v)) {
        struct elf_device *device = &ret->devices[ret->devices_len];
        const char *name = json_get_string(v, "name");

        if (ret->devices_len == ELF_DEVICES_MAX || !name || strlen(name) >= sizeof(device->name) ||
            !json_get_bool(v, "net", &device->is_net))
            return false;
        str_copy(device->name, sizeof(device->name), name);
        ret->devices_len++;
    }
    return true;
}

int worker_read_answer(const char *text, size_t len, struct unpack *ret, struct err *err)
{
    struct err parse_err;
    CLEANUP(json) struct json *root = json_parse(text, len, &parse_err);
    const struct json *has = json_first(json_get(root, "has"));
    const char *urunc = json_get_string(root, "urunc");
    int64_t code = 1;
    int64_t corrupt = -1;
    bool spec = false;

    if (!json_get_int(root, "code", &code) || code > 0 || code < -4095 || !urunc ||
        !json_get_int(root, "corrupt", &corrupt) || corrupt < -1 ||
        corrupt >= (int64_t)ret->layers_len || !read_kernel(json_get(root, "kernel"), &ret->kernel))
        return err_set(err, -EPROTO, "the unpacking process ended without an answer");
    for (int file = 0; file < _UNPACK_FILES && has; file++, has = json_next(has))
        (void)json_bool(has, &ret->has[file]);
    ret->corrupt = (ssize_t)corrupt;
    buf_init(&ret->urunc, URUNC_JSON_BYTES_MAX);
    if (buf_adds(&ret->urunc, urunc) < 0)
        return err_set(err, -EPROTO, "the unpacking process answers too much");
    if (code == 0)
        return 0;
    (void)json_get_bool(root, "spec", &spec);
    text = json_get_string(root, "text");
    (void)(spec ? err_spec(err, (int)code, "%s", text ? text : "")
                : err_set(err, (int)code, "%s", text ? text : ""));
    return (int)code;
}
