/* What is in a Pod's volumes: files from ConfigMaps, Secrets, the Pod's own fields and tokens, in
 * the order of the sources, a later one over an earlier (contract 4.2); and the files that name the
 * Pod and its resolver. All of it in memory. Part of prepare. */
#include "provider/prepare_priv.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"
#include "provider/dns.h"
#include "provider/host.h"
#include "provider/objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX 20000u /* of one volume: above what its objects' 1 MiB each can hold */
#define ETC_MAX 65536u   /* of /etc/hosts: hostAliases are part of the Pod's text */

struct collect {
    struct needs *needs;
    const struct pod *pod;
    const struct volume *volume;
    struct arena *arena;
    struct payload_file *list;
    size_t len, cap;
    struct answer *answer;
};

static int fail(struct collect *c, int result, const char *fmt, const char *a)
{
    char text[OBSERVED_TEXT_MAX];

    c->answer->mount = true;
    str_copy(text, sizeof(text), fmt);
    str_fmt(c->answer->text, sizeof(c->answer->text),
            "MountVolume.SetUp failed for volume \"%s\" : %s%s", c->volume->name, text, a);
    return result;
}

static void *alloc_from_arena(void *userdata, size_t size)
{
    return arena_alloc(userdata, size);
}

static int add(struct collect *c, const char *path, const char *data, size_t len, int32_t mode)
{
    struct payload_file file = {.path = arena_strdup(c->arena, path), .len = len};
    char *copy = arena_alloc(c->arena, len + 1);

    if (!payload_path_ok(path))
        return fail(c, -EINVAL, "invalid path: ", path);
    memcpy(copy, data, len);
    file.data = copy;
    file.mode = mode >= 0 ? (mode_t)mode : c->volume->default_mode;
    for (size_t i = 0; i < c->len; i++) {
        if (str_eq(c->list[i].path, path)) {
            c->list[i] = file;
            return 0;
        }
    }
    if (c->len == FILES_MAX)
        return fail(c, -E2BIG, "it has too many files", "");
    if (c->len == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 16;
        struct payload_file *list = arena_array(c->arena, cap, sizeof(*list));

        if (c->len)
            memcpy(list, c->list, c->len * sizeof(*list));
        c->list = list;
        c->cap = cap;
    }
    c->list[c->len++] = file;
    return 0;
}

static const struct data_item *find_key(const struct object_data *data, const char *key)
{
    for (size_t i = 0; i < data->len; i++) {
        if (str_eq(data->items[i].key, key))
            return &data->items[i];
    }
    return NULL;
}

static int add_object(struct collect *c, const struct volume_source *source)
{
    bool secret = source->kind == SOURCE_SECRET;
    const struct object_data *data = prepare_object(c->needs->machine, secret, source->name);
    int result = 0;

    if (!data && source->optional)
        return 0;
    if (!data) {
        char *text =
            xasprintf("%s \"%s\" not found", secret ? "secret" : "configmap", source->name);

        result = fail(c, -ENOENT, text, "");
        free(text);
        return result;
    }
    for (size_t i = 0; result == 0 && source->items_len == 0 && i < data->len; i++)
        result = add(c, data->items[i].key, data->items[i].data, data->items[i].len, -1);
    for (size_t i = 0; result == 0 && i < source->items_len; i++) {
        const struct volume_item *item = &source->items[i];
        const struct data_item *found = find_key(data, item->key);

        if (found)
            result = add(c, item->path, found->data, found->len, item->mode);
        else if (!source->optional)
            result = fail(c, -ENOENT,
                          secret ? "references non-existent secret key: "
                                 : "configmap references non-existent config key: ",
                          item->key);
    }
    return result;
}

static int add_downward(struct collect *c, const struct volume_source *source)
{
    struct env_facts facts;
    int result = 0;

    machine_facts(c->needs->machine, c->pod, &facts);
    for (size_t i = 0; result == 0 && i < source->items_len; i++) {
        const struct volume_item *item = &source->items[i];
        char error[OBSERVED_TEXT_MAX];
        const char *text;

        result = env_downward(c->pod->spec, item, &facts, alloc_from_arena, c->arena, &text, error,
                              sizeof(error));
        result = result < 0 ? fail(c, result, error, "")
                            : add(c, item->path, text, strlen(text), item->mode);
    }
    return result;
}

static int add_token(struct collect *c, const struct volume_source *source)
{
    const char *error;
    const char *text =
        token_get(c->needs, c->volume, (size_t)(source - c->volume->sources), &error);

    if (!text)
        return *error ? fail(c, -EAGAIN, error, "") : 1;
    return add(c, source->path, text, strlen(text), -1);
}

static int add_source(struct collect *c, const struct volume_source *source)
{
    switch (source->kind) {
    case SOURCE_CONFIG_MAP:
    case SOURCE_SECRET:
        return add_object(c, source);
    case SOURCE_DOWNWARD:
        return add_downward(c, source);
    case SOURCE_TOKEN:
        return add_token(c, source);
    case SOURCE_TRUST_BUNDLE:
    case SOURCE_POD_CERTIFICATE:
    case SOURCE_UNKNOWN:
        break;
    }
    return fail(c, -ENOTSUP, "a source of it is not supported", ""); /* refuse.c names it before */
}

int files_collect(struct needs *needs, const struct pod *pod, const struct volume *volume,
                  struct arena *arena, const struct payload_file **ret, size_t *ret_len,
                  struct answer *answer)
{
    struct collect c = {
        .needs = needs, .pod = pod, .volume = volume, .arena = arena, .answer = answer};
    int result = 0;

    for (size_t i = 0; result == 0 && i < volume->sources_len; i++)
        result = add_source(&c, &volume->sources[i]);
    *ret = c.list;
    *ret_len = c.len;
    return result;
}

/* ---- /etc ---- */

static void add_etc(struct arena *arena, struct payload_file *file, const char *path,
                    struct buf *text)
{
    file->path = path;
    file->len = text->len;
    file->data = arena_strndup(arena, buf_str(text), text->len);
    file->mode = 0644;
    buf_reset(text);
}

size_t files_of_etc(const struct machine *m, const struct pod *pod, struct arena *arena,
                    const struct payload_file **ret)
{
    struct payload_file *files = arena_array(arena, 3, sizeof(*files));
    struct buf text = BUF_INIT(ETC_MAX);

    dns_hosts(&m->agent->config, pod->spec, pod->obs.pod_ip, &text);
    add_etc(arena, &files[0], "etc/hosts", &text);
    dns_resolv_conf(&m->agent->config, &m->agent->host->dns, pod->spec, arena, &text);
    add_etc(arena, &files[1], "etc/resolv.conf", &text);
    (void)buf_addf(&text, "%s\n", dns_hostname(&m->agent->config, pod->spec, arena));
    add_etc(arena, &files[2], "etc/hostname", &text);
    buf_free(&text);
    *ret = files;
    return 3;
}
