/* The volumes of a Pod: the part of codec_pod.c that reads spec.volumes[]. What is of a kind that
 * the agent does not know keeps its member's name, for the sentence that refuses it. */
#include "k8s/codec_priv.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/str.h"

#include <stdlib.h>

#define MODE_DEFAULT 0644u
#define TOKEN_S_DEFAULT 3600

/* The API server puts this one into nearly every Pod (contract 3.1). */
static bool is_kube_api_access(const struct volume *volume)
{
    if (!str_eq(volume->type, "projected") || !str_starts(volume->name, "kube-api-access-"))
        return false;
    for (size_t i = 0; i < volume->sources_len; i++) {
        if (volume->sources[i].kind == SOURCE_TOKEN)
            return true;
    }
    return false;
}

static int32_t mode_of(const struct json *object, const char *key, int32_t otherwise)
{
    int64_t mode;

    return json_get_int(object, key, &mode) && mode >= 0 && mode <= 0777 ? (int32_t)mode
                                                                         : otherwise;
}

static void read_items(struct arena *arena, const struct json *array, struct volume_source *source)
{
    struct volume_item *list;

    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct volume_item *item = &list[source->items_len++];
        const struct json *field = json_get(v, "fieldRef");
        const struct json *resource = json_get(v, "resourceFieldRef");

        item->path = codec_text(arena, v, "path");
        item->mode = mode_of(v, "mode", -1);
        item->key = codec_text(arena, v, "key");
        if (json_is_object(field)) {
            item->key = codec_text(arena, field, "fieldPath");
        } else if (json_is_object(resource)) {
            item->resource = true;
            item->key = codec_text(arena, resource, "resource");
            item->container = codec_text_opt(arena, resource, "containerName");
            item->divisor = codec_text_opt(arena, resource, "divisor");
            if (str_eq(item->divisor, "0")) /* the API server's way to say 1 */
                item->divisor = NULL;
        }
    }
    source->items = list;
}

/* name_key: configMap has "name", secret as a volume "secretName", as a source "name". */
static void read_source(struct arena *arena, enum source_kind kind, const struct json *object,
                        const char *name_key, struct volume_source *source)
{
    source->kind = kind;
    source->name = codec_text(arena, object, name_key);
    source->optional = codec_true(object, "optional");
    source->audience = codec_text(arena, object, "audience");
    source->path = codec_text(arena, object, "path");
    source->expiration_s = TOKEN_S_DEFAULT;
    (void)json_get_int(object, "expirationSeconds", &source->expiration_s);
    read_items(arena, codec_array(object, "items"), source);
}

static void read_projected(struct arena *arena, const struct json *array, struct volume *volume)
{
    static const struct {
        const char *member;
        enum source_kind kind;
    } kinds[] = {
        {"configMap", SOURCE_CONFIG_MAP},
        {"secret", SOURCE_SECRET},
        {"downwardAPI", SOURCE_DOWNWARD},
        {"serviceAccountToken", SOURCE_TOKEN},
        {"clusterTrustBundle", SOURCE_TRUST_BUNDLE},
        {"podCertificate", SOURCE_POD_CERTIFICATE},
    };
    struct volume_source *list;

    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct volume_source *source = &list[volume->sources_len++];
        const struct json *object = NULL;

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !object; i++) {
            object = json_get(v, kinds[i].member);
            if (json_is_object(object))
                read_source(arena, kinds[i].kind, object, "name", source);
            else
                object = NULL;
        }
        if (!object)
            read_source(arena, SOURCE_UNKNOWN, NULL, "name", source);
    }
    volume->sources = list;
}

static void read_one_source(struct arena *arena, enum source_kind kind, const struct json *object,
                            const char *name_key, struct volume *volume)
{
    struct volume_source *source = arena_alloc(arena, sizeof(*source));

    read_source(arena, kind, object, name_key, source);
    volume->kind = VOLUME_PROJECTED;
    volume->sources = source;
    volume->sources_len = 1;
}

static void read_empty_dir(const struct json *object, struct volume *volume)
{
    const char *medium = json_get_string(object, "medium");

    volume->kind = VOLUME_EMPTY_DIR;
    volume->memory = str_eq(medium, "Memory");
    volume->huge_pages = medium && str_starts(medium, "HugePages");
    volume->size_limit = codec_quantity(object, "sizeLimit", false);
}

static void read_member(struct arena *arena, const struct json *object, const struct pod_spec *pod,
                        struct volume *volume)
{
    const char *type = volume->type;

    volume->default_mode = (uint32_t)mode_of(object, "defaultMode", MODE_DEFAULT);
    if (str_eq(type, "emptyDir")) {
        read_empty_dir(object, volume);
    } else if (str_eq(type, "configMap")) {
        read_one_source(arena, SOURCE_CONFIG_MAP, object, "name", volume);
    } else if (str_eq(type, "secret")) {
        read_one_source(arena, SOURCE_SECRET, object, "secretName", volume);
    } else if (str_eq(type, "downwardAPI")) {
        read_one_source(arena, SOURCE_DOWNWARD, object, "name", volume);
    } else if (str_eq(type, "projected")) {
        volume->kind = VOLUME_PROJECTED;
        read_projected(arena, codec_array(object, "sources"), volume);
    } else if (str_eq(type, "hostPath")) {
        volume->kind = VOLUME_HOST_PATH;
        volume->path = codec_text(arena, object, "path");
        volume->host_type = codec_text(arena, object, "type");
    } else if (str_eq(type, "persistentVolumeClaim")) {
        volume->kind = VOLUME_CLAIM;
        volume->path = codec_text(arena, object, "claimName");
        volume->read_only = codec_true(object, "readOnly");
    } else if (str_eq(type, "ephemeral")) {
        char *claim = xasprintf("%s-%s", pod->name, volume->name);

        volume->kind = VOLUME_CLAIM;
        volume->path = arena_strdup(arena, claim);
        free(claim);
    } else if (str_eq(type, "image")) {
        volume->kind = VOLUME_IMAGE;
        volume->path = codec_text(arena, object, "reference");
    }
    volume->kube_api_access = is_kube_api_access(volume);
}

void codec_volumes(struct arena *arena, const struct json *array, struct pod_spec *pod)
{
    struct volume *list;

    if (!array)
        return;
    list = arena_array(arena, json_len(array), sizeof(*list));
    for (const struct json *v = json_first(array); v; v = json_next(v)) {
        struct volume *volume = &list[pod->volumes_len++];

        volume->name = codec_text(arena, v, "name");
        volume->type = "emptyDir"; /* what the API means by a volume without a source */
        volume->kind = VOLUME_EMPTY_DIR;
        volume->path = volume->host_type = "";
        volume->size_limit = -1;
        for (const struct json *m = json_first(v); m; m = json_next(m)) {
            if (!json_is_object(m))
                continue;
            volume->type = arena_strdup(arena, json_key(m));
            volume->kind = VOLUME_OTHER;
            read_member(arena, m, pod, volume);
            break;
        }
    }
    pod->volumes = list;
}
