/* Names of the enumerations of pod.h and look-ups in its pair lists. Pure; called by the codecs,
 * the other files of this folder and the kubelet endpoints. */
#include "provider/core/pod.h"

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

const char *key_value_find(const struct key_value *pairs, size_t len, const char *key)
{
    for (size_t i = 0; i < len; i++) {
        if (strcmp(pairs[i].key, key) == 0)
            return pairs[i].value;
    }
    return NULL;
}
