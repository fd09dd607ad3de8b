/* Variables that tell of a Service, as Docker links had them and the kubelet still makes them. */
#include "provider/core/env.h"

#include "base/str.h"

#include <stdio.h>
#include <string.h>

#define NAME_MAX_ 64 /* a Service's name is a DNS label of 63 */
#define KEY_MAX 192  /* a port's name adds 15, the numbers and words the rest */

struct out {
    env_alloc alloc;
    void *userdata;
    struct key_value *vars;
    size_t len;
};

static const char *keep(const struct out *out, const char *text)
{
    size_t len = strlen(text);
    char *copy = out->alloc(out->userdata, len + 1);

    memcpy(copy, text, len);
    return copy;
}

static void add(struct out *out, const char *key, const char *value)
{
    out->vars[out->len++] = (struct key_value){.key = keep(out, key), .value = keep(out, value)};
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static char lower_of(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void to_upper(char *dst, size_t size, const char *text)
{
    str_fmt(dst, size, "%s", text);
    for (char *p = dst; *p; p++)
        *p = *p == '-' ? '_' : upper(*p);
}

static void add_port(struct out *out, const char *name, const struct env_service *service,
                     const struct container_port *port)
{
    const char *bracket = strchr(service->ip, ':') ? "[" : "";
    const char *close = bracket[0] ? "]" : "";
    char protocol[8], lower[8], prefix[KEY_MAX], key[KEY_MAX], url[128], number[8];

    to_upper(protocol, sizeof(protocol), protocol_to_string(port->protocol));
    str_fmt(lower, sizeof(lower), "%s", protocol);
    for (char *p = lower; *p; p++)
        *p = lower_of(*p);
    str_fmt(number, sizeof(number), "%u", port->container_port);
    str_fmt(url, sizeof(url), "%s://%s%s%s:%s", lower, bracket, service->ip, close, number);
    str_fmt(prefix, sizeof(prefix), "%s_PORT_%s_%s", name, number, protocol);
    if (port == service->ports) {
        str_fmt(key, sizeof(key), "%s_PORT", name);
        add(out, key, url);
    }
    add(out, prefix, url);
    str_fmt(key, sizeof(key), "%s_PROTO", prefix);
    add(out, key, lower);
    str_fmt(key, sizeof(key), "%s_PORT", prefix);
    add(out, key, number);
    str_fmt(key, sizeof(key), "%s_ADDR", prefix);
    add(out, key, service->ip);
}

size_t env_service_vars(const struct env_service *service, env_alloc alloc, void *userdata,
                        struct key_value *vars)
{
    struct out out = {.alloc = alloc, .userdata = userdata, .vars = vars};
    char name[NAME_MAX_], key[KEY_MAX], port_name[32], number[8];

    if (service->ports_len == 0)
        return 0;
    to_upper(name, sizeof(name), service->name);
    str_fmt(key, sizeof(key), "%s_SERVICE_HOST", name);
    add(&out, key, service->ip);
    str_fmt(key, sizeof(key), "%s_SERVICE_PORT", name);
    str_fmt(number, sizeof(number), "%u", service->ports[0].container_port);
    add(&out, key, number);
    for (size_t i = 0; i < service->ports_len; i++) {
        if (str_empty(service->ports[i].name))
            continue;
        to_upper(port_name, sizeof(port_name), service->ports[i].name);
        str_fmt(key, sizeof(key), "%s_SERVICE_PORT_%s", name, port_name);
        str_fmt(number, sizeof(number), "%u", service->ports[i].container_port);
        add(&out, key, number);
    }
    for (size_t i = 0; i < service->ports_len; i++)
        add_port(&out, name, service, &service->ports[i]);
    return out.len;
}
