/* What Services and EndpointSlices say, for our purpose. Anything may be missing or odd: an
 * annotation that cannot be used is told as a refusal and never guessed. Called by services.c. */
#include "provider/scaler/service_priv.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "unikubelet.dev/"
#define SECONDS_MAX (7 * 24 * 3600)
#define SELECTOR_BYTES_MAX 8192

static const struct {
    const char *kind;
    const char *resource;
} kinds[] = {
    {"Deployment", "deployments"}, {"StatefulSet", "statefulsets"}, {"ReplicaSet", "replicasets"}};

const char *kind_of_resource(const char *resource)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eq(kinds[i].resource, resource))
            return kinds[i].kind;
    }
    return "";
}

void service_forget_spec(struct service *service)
{
    for (size_t i = 0; i < service->labels_len; i++) {
        free(service->labels[i].key);
        free(service->labels[i].value);
    }
    service->labels_len = 0;
    free(service->selector);
    service->selector = NULL;
}

static void refuse(struct service *service, const char *text)
{
    if (!service->refused[0])
        str_copy(service->refused, sizeof(service->refused), text);
}

static void parse_labels(struct service *service, const struct json *labels)
{
    for (const struct json *l = json_first(labels); l; l = json_next(l)) {
        const char *value = json_string(l);
        if (!value || service->labels_len == SERVICE_LABELS_MAX)
            continue;
        service->labels[service->labels_len++] =
            (struct label){.key = xstrdup(json_key(l)), .value = xstrdup(value)};
    }
}

static void add_encoded(struct buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (isalnum(c) || strchr("-._~", c))
            (void)buf_addc(out, *text);
        else
            (void)buf_addf(out, "%%%02X", c);
    }
}

static void parse_selector(struct service *service, const struct json *selector)
{
    struct buf out = BUF_INIT(SELECTOR_BYTES_MAX);
    for (const struct json *s = json_first(selector); s; s = json_next(s)) {
        if (!json_string(s))
            continue;
        (void)buf_adds(&out, out.len ? "%2C" : "");
        add_encoded(&out, json_key(s));
        (void)buf_adds(&out, "%3D");
        add_encoded(&out, json_string(s));
    }
    if (out.len && !out.overflow)
        service->selector = buf_take(&out);
    else
        refuse(service, "the Service has no selector: nobody knows which Pods are its own");
    buf_free(&out);
}

static void parse_ports(struct service *service, const struct json *ports)
{
    struct service_port old[SERVICE_PORTS_MAX];
    size_t old_len = service->ports_len;
    memcpy(old, service->ports, sizeof(old));
    service->ports_len = 0;
    for (const struct json *p = json_first(ports); p; p = json_next(p)) {
        if (service->ports_len == SERVICE_PORTS_MAX) {
            refuse(service, "the Service has more ports than can be held");
            return;
        }
        struct service_port *port = &service->ports[service->ports_len];
        const char *name = json_get_string(p, "name");
        const char *protocol = json_get_string(p, "protocol");
        int64_t number = 0;
        *port = (struct service_port){.tcp = !protocol || str_eq(protocol, "TCP"),
                                      .udp = str_eq(protocol, "UDP")};
        str_copy(port->name, sizeof(port->name), name ? name : "");
        if (json_get_int(p, "port", &number) && number > 0 && number < 65536)
            port->port = port->target = (uint16_t)number;
        if (json_get_int(p, "targetPort", &number) && number > 0 && number < 65536)
            port->target = (uint16_t)number;
        const char *target = json_get_string(p, "targetPort");
        if (target) {
            str_copy(port->target_name, sizeof(port->target_name), target);
            port->target = 0;
        }
        /* Data ports go by position: what listens already stays. */
        if (service->ports_len < old_len)
            port->data = old[service->ports_len].data;
        service->ports_len++;
    }
}

static uint64_t seconds_of(struct service *service, const struct json *annotations,
                           const char *name, uint64_t default_ms)
{
    char key[64];
    char text[SERVICE_TEXT_MAX];
    uint64_t seconds = 0;
    str_fmt(key, sizeof(key), PREFIX "%s", name);
    const char *value = json_get_string(annotations, key);
    if (!value)
        return default_ms;
    if (str_to_u64(value, &seconds) == 0 && seconds <= SECONDS_MAX)
        return seconds * 1000;
    str_fmt(text, sizeof(text), "annotation %s must be a number of seconds up to %d, not \"%.40s\"",
            key, SECONDS_MAX, value);
    refuse(service, text);
    return 0;
}

/* "Deployment/web", or "web"; none: the Deployment of the Service's name. */
static void parse_target(struct service *service, const char *target)
{
    const char *slash = target ? strchr(target, '/') : NULL;
    const char *name = slash ? slash + 1 : target ? target : service->name;
    const char *resource = slash ? NULL : kinds[0].resource;
    for (size_t i = 0; i < ARRAY_LEN(kinds) && slash; i++) {
        if (strlen(kinds[i].kind) == (size_t)(slash - target) &&
            strncmp(kinds[i].kind, target, strlen(kinds[i].kind)) == 0)
            resource = kinds[i].resource;
    }
    for (const char *c = name; *c; c++) {
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '-' && *c != '.')
            resource = NULL;
    }
    if (!resource || !*name || strlen(name) >= sizeof(service->workload)) {
        refuse(service, "annotation " PREFIX "scale-target must be Deployment/NAME, "
                        "StatefulSet/NAME or ReplicaSet/NAME");
        return;
    }
    str_copy(service->resource, sizeof(service->resource), resource);
    str_copy(service->workload, sizeof(service->workload), name);
}

static void parse_annotations(struct service *service, const struct json *annotations)
{
    parse_target(service, json_get_string(annotations, PREFIX "scale-target"));
    service->spec.idle_ms = seconds_of(service, annotations, "idle-seconds", 0);
    service->spec.min_up_ms =
        seconds_of(service, annotations, "min-up-seconds", SCALE_MIN_UP_MS_DEFAULT);
    service->hold.hold_ms = seconds_of(service, annotations, "hold-seconds", 0);
    const char *failure = json_get_string(annotations, PREFIX "on-failure");
    service->hold.http = str_eq(failure, "http-503");
    if (failure && !service->hold.http && !str_eq(failure, "reset"))
        refuse(service, "annotation " PREFIX "on-failure must be reset or http-503");
}

void service_parse(struct service *service, const struct json *object)
{
    const struct json *metadata = json_get(object, "metadata");
    const struct json *spec = json_get(object, "spec");
    const char *uid = json_get_string(metadata, "uid");
    const char *type = json_get_string(spec, "type");
    service_forget_spec(service);
    free(service->uid);
    service->uid = xstrdup(uid ? uid : "");
    service->refused[0] = service->resource[0] = service->workload[0] = '\0';
    parse_labels(service, json_get(metadata, "labels"));
    const char *mode = service_label(service, SCALER_LABEL);
    parse_selector(service, json_get(spec, "selector"));
    parse_ports(service, json_get(spec, "ports"));
    parse_annotations(service, json_get(metadata, "annotations"));
    bool v4 = false;
    const struct json *families = json_get(spec, "ipFamilies");
    for (const struct json *f = json_first(families); f; f = json_next(f))
        v4 = v4 || str_eq(json_string(f), "IPv4");
    if (str_eq(json_get_string(spec, "clusterIP"), "None"))
        refuse(service, "a headless Service's clients come to the Pods' own ports: nothing can be "
                        "held for them");
    if (str_eq(type, "ExternalName"))
        refuse(service, "an ExternalName Service has no endpoints");
    if (!v4 && json_len(families))
        refuse(service, "connections are held for IPv4 Services only");
    if (!str_eq(mode, "metrics") && !str_eq(mode, "activate"))
        refuse(service, "label " SCALER_LABEL " must be metrics or activate");
    bool any = false;
    for (size_t i = 0; i < service->ports_len; i++)
        any = any || service->ports[i].tcp || service->ports[i].udp;
    if (!any)
        refuse(service, "the Service has no TCP or UDP port");
    service->spec.activate = str_eq(mode, "activate") && !service->refused[0];
}

static void parse_endpoint(struct endpoint *endpoint, const struct json *e)
{
    const struct json *conditions = json_get(e, "conditions");
    const char *ip = json_string(json_first(json_get(e, "addresses")));
    const char *uid = json_string(json_path(e, "targetRef.uid"));
    *endpoint = (struct endpoint){.is.ready = true}; /* unset means ready */
    str_copy(endpoint->ip, sizeof(endpoint->ip), ip ? ip : "");
    str_copy(endpoint->uid, sizeof(endpoint->uid), uid ? uid : "");
    (void)json_get_bool(conditions, "ready", &endpoint->is.ready);
    (void)json_get_bool(conditions, "terminating", &endpoint->is.terminating);
}

/* What is not in the object: whether the Pod was there when the workload went to zero. */
static void keep_leaving(struct slice *slice, const struct endpoint *old, size_t old_len)
{
    for (size_t i = 0; i < old_len; i++) {
        for (size_t j = 0; old[i].is.leaving && j < slice->endpoints_len; j++) {
            struct endpoint *e = &slice->endpoints[j];
            e->is.leaving = e->is.leaving || str_eq(e->uid, old[i].uid);
        }
    }
}

bool slice_parse(struct slice *slice, const struct json *object)
{
    struct endpoint *old = slice->endpoints;
    size_t old_len = slice->endpoints_len;
    const struct json *endpoints = json_get(object, "endpoints");
    size_t len = json_len(endpoints);
    if (!str_eq(json_get_string(object, "addressType"), "IPv4"))
        return false;
    slice->endpoints_len = slice->ports_len = 0;
    if (len > SERVICE_ENDPOINTS_MAX)
        len = SERVICE_ENDPOINTS_MAX;
    slice->endpoints = len ? xcalloc(len, sizeof(*slice->endpoints)) : NULL;
    for (const struct json *e = json_first(endpoints); e && slice->endpoints_len < len;
         e = json_next(e))
        parse_endpoint(&slice->endpoints[slice->endpoints_len++], e);
    keep_leaving(slice, old, old_len);
    free(old);
    for (const struct json *p = json_first(json_get(object, "ports")); p; p = json_next(p)) {
        const char *name = json_get_string(p, "name");
        int64_t number = 0;
        if (slice->ports_len == SERVICE_PORTS_MAX || !json_get_int(p, "port", &number) ||
            number < 1 || number > 65535)
            continue;
        struct slice_port *port = &slice->ports[slice->ports_len++];
        str_copy(port->name, sizeof(port->name), name ? name : "");
        port->port = (uint16_t)number;
    }
    return true;
}

void slice_free(struct slice *slice)
{
    free(slice->endpoints);
    free(slice);
}

void slice_signature(const struct json *object, char *dst, size_t size)
{
    struct buf out = BUF_INIT(size - 1);
    for (const struct json *e = json_first(json_get(object, "endpoints")); e; e = json_next(e)) {
        const char *ip = json_string(json_first(json_get(e, "addresses")));
        (void)buf_addf(&out, "%s ", ip ? ip : "");
    }
    for (const struct json *p = json_first(json_get(object, "ports")); p; p = json_next(p)) {
        const char *name = json_get_string(p, "name");
        int64_t number = 0;
        (void)json_get_int(p, "port", &number);
        (void)buf_addf(&out, "%s/%lld ", name ? name : "", (long long)number);
    }
    str_copy(dst, size, out.overflow ? "" : buf_str(&out));
    buf_free(&out);
}
