/* See objects_data.h. */
#include "provider/objects_data.h"

#include "base/json.h"
#include "base/str.h"
#include "provider/objects.h"

#include <stdlib.h>
#include <string.h>

#define SERVICE_NAME_MAX 64 /* a DNS label, and its NUL */
#define SERVICE_IP_MAX 46
#define PORT_NAME_MAX 16

struct object_copy {
    struct object_data data;
    size_t bytes; /* of the block */
};

/* ---- ConfigMaps and Secrets ---- */

struct member {
    const char *key;
    char *decoded; /* NULL: text is the JSON's own */
    const char *text;
    size_t len;
    bool binary;
};

static size_t collect(const struct json *map, bool base64, bool binary, struct member *list,
                      size_t len)
{
    for (const struct json *v = json_first(map); v && len < OBJECT_KEYS_MAX; v = json_next(v)) {
        struct member *member = &list[len];
        const char *text = json_string(v);

        if (!text || !json_key(v))
            continue;
        *member = (struct member){
            .key = json_key(v), .text = text, .len = strlen(text), .binary = binary};
        if (base64) {
            if (str_unbase64(text, strlen(text), &member->decoded, &member->len) < 0)
                member->len = 0;
            member->text = member->decoded ? member->decoded : "";
        }
        len++;
    }
    return len;
}

static int by_key(const void *a, const void *b)
{
    const struct member *first = a, *second = b;

    return strcmp(first->key, second->key);
}

static struct object_copy *pack(const struct member *list, size_t len)
{
    size_t bytes = sizeof(struct object_copy) + len * sizeof(struct data_item);
    struct object_copy *copy;
    struct data_item *items;
    char *at;

    for (size_t i = 0; i < len; i++)
        bytes += strlen(list[i].key) + 1 + list[i].len + 1;
    copy = xcalloc(1, bytes);
    items = (struct data_item *)(copy + 1);
    at = (char *)(items + len);
    for (size_t i = 0; i < len; i++) {
        size_t key_len = strlen(list[i].key) + 1;

        items[i].key = at;
        memcpy(at, list[i].key, key_len);
        at += key_len;
        items[i].data = at;
        items[i].len = list[i].len;
        items[i].binary = list[i].binary;
        memcpy(at, list[i].text, list[i].len);
        at += list[i].len + 1;
    }
    copy->data = (struct object_data){.items = items, .len = len};
    copy->bytes = bytes;
    return copy;
}

struct object_copy *object_copy_new(const struct json *json, bool secret)
{
    const struct json *data = json_get(json, "data");
    const struct json *binary = secret ? NULL : json_get(json, "binaryData");
    size_t max = json_len(data) + json_len(binary);
    struct member *list = xcalloc(max + 1, sizeof(*list));
    size_t len = collect(data, secret, false, list, 0);
    struct object_copy *copy;

    len = collect(binary, true, true, list, len);
    qsort(list, len, sizeof(*list), by_key);
    copy = pack(list, len);
    for (size_t i = 0; i < len; i++) {
        if (list[i].decoded)
            explicit_bzero(list[i].decoded, list[i].len);
        free(list[i].decoded);
    }
    free(list);
    return copy;
}

void object_copy_free(struct object_copy *copy)
{
    if (copy)
        explicit_bzero(copy, copy->bytes);
    free(copy);
}

const struct object_data *object_copy_data(const struct object_copy *copy)
{
    return &copy->data;
}

uint64_t object_copy_hash(const struct object_copy *copy)
{
    uint64_t hash = copy->data.len;

    for (size_t i = 0; i < copy->data.len; i++) {
        const struct data_item *item = &copy->data.items[i];

        hash = (hash ^ str_hash(item->key, strlen(item->key))) * 0x9e3779b97f4a7c15u;
        hash = (hash ^ str_hash(item->data, item->len) ^ item->len) * 0x9e3779b97f4a7c15u;
    }
    return hash;
}

/* ---- Services ---- */

struct port_copy {
    char name[PORT_NAME_MAX];
    uint16_t number;
    enum protocol protocol;
};

struct service_copy {
    char name[SERVICE_NAME_MAX];
    char ip[SERVICE_IP_MAX];
    size_t ports_len;
    struct port_copy ports[];
};

struct service_copy *service_copy_new(const struct json *json)
{
    const struct json *spec = json_get(json, "spec");
    const struct json *ports = json_get(spec, "ports");
    const char *ip = json_get_string(spec, "clusterIP");
    const char *name = json_string(json_path(json, "metadata.name"));
    size_t max = json_len(ports) < SERVICE_PORTS_MAX ? json_len(ports) : SERVICE_PORTS_MAX;
    struct service_copy *copy;

    if (str_empty(ip) || str_eq(ip, "None") || str_empty(name) || max == 0)
        return NULL;
    copy = xcalloc(1, sizeof(*copy) + max * sizeof(copy->ports[0]));
    str_copy(copy->name, sizeof(copy->name), name);
    str_copy(copy->ip, sizeof(copy->ip), ip);
    for (const struct json *v = json_first(ports); v && copy->ports_len < max; v = json_next(v)) {
        struct port_copy *port = &copy->ports[copy->ports_len];
        const char *protocol = json_get_string(v, "protocol");
        const char *port_name = json_get_string(v, "name");
        int64_t number;

        if (!json_get_int(v, "port", &number) || number <= 0 || number > UINT16_MAX)
            continue;
        port->number = (uint16_t)number;
        str_copy(port->name, sizeof(port->name), port_name ? port_name : "");
        if (str_eq(protocol, "UDP"))
            port->protocol = PROTOCOL_UDP;
        else
            port->protocol = str_eq(protocol, "SCTP") ? PROTOCOL_SCTP : PROTOCOL_TCP;
        copy->ports_len++;
    }
    return copy;
}

static const char *keep(env_alloc alloc, void *userdata, const char *text)
{
    size_t len = strlen(text);
    char *copy = alloc(userdata, len + 1);

    memcpy(copy, text, len);
    return copy;
}

void service_copy_env(const struct service_copy *copy, env_alloc alloc, void *userdata,
                      struct env_service *ret)
{
    struct container_port *ports = alloc(userdata, (copy->ports_len + 1) * sizeof(*ports));

    for (size_t i = 0; i < copy->ports_len; i++) {
        ports[i].name = keep(alloc, userdata, copy->ports[i].name);
        ports[i].container_port = copy->ports[i].number;
        ports[i].protocol = copy->ports[i].protocol;
    }
    ret->name = keep(alloc, userdata, copy->name);
    ret->ip = keep(alloc, userdata, copy->ip);
    ret->ports = ports;
    ret->ports_len = copy->ports_len;
}
