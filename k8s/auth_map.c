/* From method and path to verb and subresources of "nodes" (contract 5.1,
 * KubeletFineGrainedAuthz). Pure. */
#include "k8s/auth.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <string.h>

static const struct {
    const char *path;
    const char *subresource;
    bool or_proxy; /* a finer right that came later: the old one still does */
} paths[] = {
    {"/stats", "stats", false},     {"/metrics", "metrics", false},
    {"/logs", "log", false},        {"/checkpoint", "checkpoint", false},
    {"/statusz", "statusz", false}, {"/pods", "pods", true},
    {"/runningpods", "pods", true}, {"/healthz", "healthz", true},
    {"/configz", "configz", true},  {"/flagz", "configz", true},
};

/* Reaching into a Pod changes it, whatever the method: a WebSocket comes as GET, and nodes/proxy
 * get alone must not open a shell. */
static const char *const entering[] = {"/exec", "/attach", "/run", "/portForward"};

static bool below(const char *path, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(path, prefix, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static const char *verb_of(const char *method)
{
    static const struct {
        const char *method;
        const char *verb;
    } verbs[] = {
        {"GET", "get"},    {"HEAD", "get"},    {"POST", "create"},
        {"PUT", "update"}, {"PATCH", "patch"}, {"DELETE", "delete"},
    };
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (str_eq(method, verbs[i].method))
            return verbs[i].verb;
    }
    return ""; /* as the kubelet: no rule but "*" matches it */
}

void auth_map(const char *method, const char *path, struct auth_attributes *ret)
{
    *ret = (struct auth_attributes){.verb = verb_of(method)};
    for (size_t i = 0; i < ARRAY_LEN(entering); i++) {
        if (below(path, entering[i]))
            ret->verb = "create";
    }
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (!below(path, paths[i].path))
            continue;
        ret->subresources[ret->subresources_len++] = paths[i].subresource;
        if (!paths[i].or_proxy)
            return;
        break;
    }
    ret->subresources[ret->subresources_len++] = "proxy";
}
