/* Names of the enumerations of pod.h and look-ups in its pair lists. Pure; called by the codecs,
 * the other files of this folder and the kubelet endpoints. */
#include "provider/core/pod.h"

#include "base/str.h"

#include <string.h>

const char *pod_phase_to_string(enum pod_phase phase)
{
    switch (phase) {
    case PHASE_PENDING:
        return "Pending";
    case PHASE_RUNNING:
        return "Running";
    case PHASE_SUCCEEDED:
        return "Succeeded";
    case PHASE_FAILED:
        return "Failed";
    case PHASE_UNKNOWN:
        break;
    }
    return "Unknown";
}

const char *protocol_to_string(enum protocol protocol)
{
    switch (protocol) {
    case PROTOCOL_UDP:
        return "UDP";
    case PROTOCOL_SCTP:
        return "SCTP";
    case PROTOCOL_TCP:
        break;
    }
    return "TCP";
}

size_t pod_containers_len(const struct pod_spec *spec)
{
    return spec->containers_len + spec->init_containers_len;
}

const struct container_spec *pod_container(const struct pod_spec *spec, size_t i)
{
    return pod_is_init(spec, i) ? &spec->init_containers[i - spec->containers_len]
                                : &spec->containers[i];
}

bool pod_is_init(const struct pod_spec *spec, size_t i)
{
    return i >= spec->containers_len;
}

bool pod_find_container(const struct pod_spec *spec, const char *name, size_t *ret)
{
    for (size_t i = 0; i < pod_containers_len(spec); i++) {
        if (strcmp(pod_container(spec, i)->name, name) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

const char *pod_container_path(const struct pod_spec *spec, size_t i, char *dst, size_t size)
{
    return pod_is_init(spec, i)
               ? str_fmt(dst, size, "spec.initContainers[%zu]", i - spec->containers_len)
               : str_fmt(dst, size, "spec.containers[%zu]", i);
}

const char *pod_container_field(const struct pod_spec *spec, size_t i, char *dst, size_t size)
{
    return str_fmt(dst, size, "spec.%s{%s}", pod_is_init(spec, i) ? "initContainers" : "containers",
                   pod_container(spec, i)->name);
}

const char *key_value_find(const struct key_value *pairs, size_t len, const char *key)
{
    for (size_t i = 0; i < len; i++) {
        if (strcmp(pairs[i].key, key) == 0)
            return pairs[i].value;
    }
    return NULL;
}

char *pod_first_address(char *dst, size_t size, const char *list)
{
    size_t len = list ? strcspn(list, ",") : 0;

    if (len >= size)
        len = size - 1;
    memcpy(dst, list ? list : "", len);
    dst[len] = '\0';
    return dst;
}
