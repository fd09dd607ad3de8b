/* The rules of storage.h; sums do not overflow, limits are compared in bytes. */
#include "provider/core/storage.h"

#include "base/str.h"
#include "provider/core/quantity.h"

static bool is_counted(const struct volume *volume)
{
    return volume->kind == VOLUME_EMPTY_DIR && !volume->memory && !volume->huge_pages;
}

bool storage_counts(const struct pod_spec *spec)
{
    for (size_t i = 0; i < spec->volumes_len; i++)
        if (is_counted(&spec->volumes[i]))
            return true;
    for (size_t i = 0; i < pod_containers_len(spec); i++)
        if (pod_container(spec, i)->resources.ephemeral_limit_bytes > 0)
            return true;
    return false;
}

static bool volume_exceeds(const struct pod_spec *spec, const struct storage_used *used, char *text,
                           size_t size)
{
    char limit[QUANTITY_MAX];

    for (size_t i = 0; i < spec->volumes_len; i++) {
        const struct volume *volume = &spec->volumes[i];

        if (!is_counted(volume) || volume->size_limit <= 0 ||
            used->volumes[i] <= volume->size_limit)
            continue;
        str_fmt(text, size, "Usage of EmptyDir volume \"%s\" exceeds the limit \"%s\". ",
                volume->name, quantity_bytes(limit, volume->size_limit));
        return true;
    }
    return false;
}

/* The sum of the containers' limits is the Pod's, as soon as one has one; an init container runs
 * alone, so the largest of theirs counts if it is larger. */
static int64_t pod_limit(const struct pod_spec *spec)
{
    int64_t init = -1;
    int64_t sum = -1;

    for (size_t i = 0; i < pod_containers_len(spec); i++) {
        int64_t limit = pod_container(spec, i)->resources.ephemeral_limit_bytes;

        if (limit < 0)
            continue;
        if (pod_is_init(spec, i))
            init = limit > init ? limit : init;
        else if (sum < 0)
            sum = limit;
        else
            sum = limit > INT64_MAX - sum ? INT64_MAX : sum + limit;
    }
    return init > sum ? init : sum;
}

static bool pod_exceeds(const struct pod_spec *spec, const struct storage_used *used, char *text,
                        size_t size)
{
    int64_t limit = pod_limit(spec);
    char quantity[QUANTITY_MAX];
    int64_t total = 0;

    if (limit < 0)
        return false;
    for (size_t i = 0; i < spec->volumes_len; i++)
        total += is_counted(&spec->volumes[i]) ? used->volumes[i] : 0;
    for (size_t i = 0; i < pod_containers_len(spec); i++)
        total += used->containers[i];
    if (total <= limit)
        return false;
    str_fmt(text, size,
            "Pod ephemeral local storage usage exceeds the total limit of containers %s. ",
            quantity_bytes(quantity, limit));
    return true;
}

static bool container_exceeds(const struct pod_spec *spec, const struct storage_used *used,
                              char *text, size_t size)
{
    char quantity[QUANTITY_MAX];

    for (size_t i = 0; i < pod_containers_len(spec); i++) {
        const struct container_spec *c = pod_container(spec, i);
        int64_t limit = c->resources.ephemeral_limit_bytes;

        if (limit < 0 || used->containers[i] <= limit)
            continue;
        str_fmt(text, size, "Container %s exceeded its local ephemeral storage limit \"%s\". ",
                c->name, quantity_bytes(quantity, limit));
        return true;
    }
    return false;
}

bool storage_exceeds(const struct pod_spec *spec, const struct storage_used *used, char *text,
                     size_t size)
{
    return volume_exceeds(spec, used, text, size) || pod_exceeds(spec, used, text, size) ||
           container_exceeds(spec, used, text, size);
}
