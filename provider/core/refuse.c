/* The fields that stop a Pod from being run here, each with the sentence that its owner reads: in
 * the container's waiting message and in an event. One table, in the order in which it is looked
 * through; docs/pod-api.md is its published form. Called by the reconciler once per version of the
 * spec. Not for what only shows at launch (too little memory for the image, a long command line).
 */
#include "provider/core/refuse.h"

#include "base/str.h"
#include "provider/core/quantity.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HANDLER "unikernel"
#define PATH_MAX_TEXT 160

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)

struct rule;

/* True when the field is set; path names it with its index and value. */
typedef bool (*rule_test)(const struct rule *rule, const struct pod_spec *spec,
                          const struct refuse_env *env, char path[PATH_MAX_TEXT]);

struct rule {
    rule_test test;
    const char *field; /* of the Pod, or of a container when test is container_bit */
    uint32_t bit;
    const char *advice;
};

/* Of container i: "spec.initContainers[1].env[0]". */
__attribute__((format(printf, 4, 5))) static void
field_path(char path[PATH_MAX_TEXT], const struct pod_spec *spec, size_t i, const char *fmt, ...)
{
    char field[PATH_MAX_TEXT], where[64];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(field, sizeof(field), fmt, args);
    va_end(args);
    str_fmt(path, PATH_MAX_TEXT, "%s.%s", pod_container_path(spec, i, where, sizeof(where)), field);
}

static bool pod_bit(const struct rule *rule, const struct pod_spec *spec,
                    const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    (void)env;
    str_fmt(path, PATH_MAX_TEXT, "spec.%s", rule->field);
    return (spec->features & rule->bit) != 0;
}

static bool container_bit(const struct rule *rule, const struct pod_spec *spec,
                          const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    (void)env;
    for (size_t i = 0; i < pod_containers_len(spec); i++) {
        if (pod_container(spec, i)->features & rule->bit) {
            field_path(path, spec, i, "%s", rule->field);
            return true;
        }
    }
    return false;
}

static bool no_such_class(const struct rule *rule, const struct pod_spec *spec,
                          const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    str_fmt(path, PATH_MAX_TEXT, "spec.%s (%s)", rule->field,
            spec->runtime_class ? spec->runtime_class : "");
    return env->runtime_class_missing;
}

/* No handler at all is fine: such a Pod was bound here by name, on purpose. */
static bool other_handler(const struct rule *rule, const struct pod_spec *spec,
                          const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    if (!env->runtime_handler || !env->runtime_handler[0] || str_eq(env->runtime_handler, HANDLER))
        return false;
    str_fmt(path, PATH_MAX_TEXT, "spec.%s (%s, handler %s)", rule->field,
            spec->runtime_class ? spec->runtime_class : "", env->runtime_handler);
    return true;
}

static bool no_container(const struct rule *rule, const struct pod_spec *spec,
                         const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    (void)env;
    str_fmt(path, PATH_MAX_TEXT, "spec.%s", rule->field);
    return spec->containers_len == 0;
}

static bool several_containers(const struct rule *rule, const struct pod_spec *spec,
                               const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    (void)env;
    if (spec->containers_len < 2)
        return false;
    str_fmt(path, PATH_MAX_TEXT, "spec.%s[1] (%s)", rule->field, spec->containers[1].name);
    return true;
}

static bool too_many_inits(const struct rule *rule, const struct pod_spec *spec,
                           const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    (void)env;
    str_fmt(path, PATH_MAX_TEXT, "spec.%s (%zu)", rule->field, spec->init_containers_len);
    return spec->init_containers_len > POD_INITS_MAX;
}

/* "/a" holds "/a" and "/a/b", not "/ab". */
static bool is_below(const char *path, const char *prefix)
{
    size_t len = strlen(prefix);

    while (len && prefix[len - 1] == '/')
        len--;
    return strncmp(path, prefix, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* By its text; links on the way are looked at when it is mounted. */
static bool forbidden_path(const struct rule *rule, const struct pod_spec *spec,
                           const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    for (size_t i = 0; i < spec->volumes_len; i++) {
        bool allowed = spec->volumes[i].kind != VOLUME_HOST_PATH;

        for (size_t k = 0; k < env->host_prefixes_len && !allowed; k++)
            allowed = is_below(spec->volumes[i].path, env->host_prefixes[k]);
        if (!allowed) {
            str_fmt(path, PATH_MAX_TEXT, "spec.%s[%zu].hostPath.path (%s)", rule->field, i,
                    spec->volumes[i].path);
            return true;
        }
    }
    return false;
}

static const char *odd_source(const struct volume *volume)
{
    for (size_t i = 0; i < volume->sources_len; i++) {
        switch (volume->sources[i].kind) {
        case SOURCE_TRUST_BUNDLE:
            return "clusterTrustBundle";
        case SOURCE_POD_CERTIFICATE:
            return "podCertificate";
        case SOURCE_UNKNOWN:
            return "unknown source";
        case SOURCE_CONFIG_MAP:
        case SOURCE_SECRET:
        case SOURCE_DOWNWARD:
        case SOURCE_TOKEN:
            break;
        }
    }
    return NULL;
}

static bool odd_volumes(const struct rule *rule, const struct pod_spec *spec,
                        const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    (void)env;
    for (size_t i = 0; i < spec->volumes_len; i++) {
        const struct volume *volume = &spec->volumes[i];
        const char *odd = odd_source(volume);

        if (volume->kube_api_access)
            continue;
        if (volume->kind == VOLUME_OTHER || volume->kind == VOLUME_IMAGE)
            odd = volume->type ? volume->type : volume->name;
        else if (volume->huge_pages)
            odd = "emptyDir.medium HugePages";
        if (odd) {
            str_fmt(path, PATH_MAX_TEXT, "spec.%s[%zu] (%s)", rule->field, i, odd);
            return true;
        }
    }
    return false;
}

static const char *env_source(enum env_kind kind)
{
    switch (kind) {
    case ENV_FILE:
        return "fileKeyRef";
    case ENV_UNKNOWN:
        return "unknown source";
    case ENV_VALUE:
    case ENV_FIELD:
    case ENV_RESOURCE:
    case ENV_CONFIG_MAP:
    case ENV_SECRET:
        break;
    }
    return NULL;
}

static bool env_sources(const struct rule *rule, const struct pod_spec *spec,
                        const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    (void)env;
    for (size_t i = 0; i < pod_containers_len(spec); i++) {
        const struct container_spec *c = pod_container(spec, i);

        for (size_t j = 0; j < c->env_len; j++) {
            const char *source = env_source(c->env[j].kind);

            if (source) {
                field_path(path, spec, i, "%s[%zu].valueFrom (%s)", rule->field, j, source);
                return true;
            }
        }
    }
    return false;
}

static bool working_dir(const struct rule *rule, const struct pod_spec *spec,
                        const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    (void)env;
    for (size_t i = 0; i < pod_containers_len(spec); i++) {
        if (!str_empty(pod_container(spec, i)->working_dir)) {
            field_path(path, spec, i, "%s", rule->field);
            return true;
        }
    }
    return false;
}

/* The machine gets its whole limit: unlike a container's it is not shared with others later. A
 * request that is too large is admit.h's. */
static bool too_much_memory(const struct rule *rule, const struct pod_spec *spec,
                            const struct refuse_env *env, char path[PATH_MAX_TEXT])
{
    char wanted[QUANTITY_MAX], given[QUANTITY_MAX];

    for (size_t i = 0; i < pod_containers_len(spec); i++) {
        int64_t bytes = pod_container(spec, i)->resources.memory_limit_bytes;

        if (env->allocatable_memory_bytes > 0 && bytes > env->allocatable_memory_bytes) {
            field_path(path, spec, i, "resources.limits.%s (%s; the node has %s)", rule->field,
                       quantity_bytes(wanted, bytes),
                       quantity_bytes(given, env->allocatable_memory_bytes));
            return true;
        }
    }
    return false;
}

#define NO_PROBE \
    "needs httpGet, tcpSocket or grpc: a unikernel has no second process that could run exec"
#define NO_SHARE "has no meaning for a machine with its own kernel: remove it"
#define NO_HOOK "needs httpGet or sleep: a unikernel has no second process that could run exec"
#define NOT_YET "is not supported on unikernel nodes yet: remove it"

static const struct rule rules[] = {
    {no_such_class, "runtimeClassName", 0,
     "names a RuntimeClass that does not exist: create it, or use \"" HANDLER "\""},
    {other_handler, "runtimeClassName", 0,
     "is not for this node, which runs only handler \"" HANDLER "\": use that RuntimeClass, or "
     "bind the Pod to another node"},
    {pod_bit, "securityContext.windowsOptions", PF_WINDOWS_OPTIONS,
     "is for Windows nodes: remove it"},
    {no_container, "containers", 0, "is empty: name one container"},
    {several_containers, "containers", 0,
     "is one too many: a Pod here is one machine; move the other containers to Pods of their own"},
    {too_many_inits, "initContainers", 0,
     "are more than " STRING(POD_INITS_MAX) ", the most for a Pod here: do their work in fewer"},
    {container_bit, "restartPolicy (Always)", CF_SIDECAR,
     "makes it a sidecar, and a Pod here is one machine at a time: move it to a Pod of its own"},
    {pod_bit, "ephemeralContainers", PF_EPHEMERAL_CONTAINERS,
     "is not supported: nothing can be added to a running unikernel; use its logs"},
    {odd_volumes, "volumes", 0,
     "is not supported on unikernel nodes: remove it, or put the files into the image or a "
     "ConfigMap"},
    {forbidden_path, "volumes", 0,
     "is not below a directory that this node's operator allows (hostPathPrefixes): use another "
     "volume, or ask for it"},
    {container_bit, "volumeDevices", CF_VOLUME_DEVICES, NOT_YET},
    {pod_bit, "hostNetwork", PF_HOST_NETWORK,
     "cannot be given to a machine: remove it; the Pod has an address of its own"},
    {pod_bit, "hostPID", PF_HOST_PID, NO_SHARE},
    {pod_bit, "hostIPC", PF_HOST_IPC, NO_SHARE},
    {pod_bit, "shareProcessNamespace", PF_SHARE_PROCESS_NAMESPACE, NO_SHARE},
    {pod_bit, "hostUsers", PF_USER_NAMESPACE,
     "must not be false: a machine has users of its own already; remove it"},
    {container_bit, "securityContext.privileged", CF_PRIVILEGED,
     "cannot be given to a machine: remove it; the guest already owns its kernel"},
    {container_bit, "livenessProbe", CF_LIVENESS_PROBE, NO_PROBE},
    {container_bit, "readinessProbe", CF_READINESS_PROBE, NO_PROBE},
    {container_bit, "startupProbe", CF_STARTUP_PROBE, NO_PROBE},
    {container_bit, "lifecycle.postStart", CF_POST_START, NO_HOOK},
    {container_bit, "lifecycle.preStop", CF_PRE_STOP, NO_HOOK},
    {env_sources, "env", 0,
     "is not supported on unikernel nodes yet: give a value, a fieldRef, a resourceFieldRef or a "
     "key of a ConfigMap or Secret"},
    {working_dir, "workingDir", 0,
     "cannot be set from outside a unikernel: remove it and use absolute paths"},
    {container_bit, "restartPolicyRules", CF_RESTART_RULE,
     "has an action that is not supported on unikernel nodes: only Restart is"},
    {pod_bit, "resources", PF_POD_RESOURCES,
     "is not supported on unikernel nodes yet: set the container's resources instead"},
    {pod_bit, "resourceClaims", PF_RESOURCE_CLAIMS,
     "is not supported: no device is passed into a machine; remove it"},
    {container_bit, "resources.claims", CF_RESOURCE_CLAIMS,
     "is not supported: no device is passed into a machine; remove it"},
    {container_bit, "resources (hugepages-*)", CF_HUGEPAGES, NOT_YET},
    {container_bit, "resources (extended resource)", CF_EXTENDED_RESOURCES,
     "is not supported: only cpu, memory and ephemeral-storage are; remove it"},
    {too_much_memory, "memory", 0,
     "is more than this node can give: lower it or use a larger node"},
};

bool pod_refuse(const struct pod_spec *spec, const struct refuse_env *env, struct refusal *ret)
{
    char path[PATH_MAX_TEXT];

    if (spec->features & PF_MIRROR)
        return false; /* not ours to run or to refuse */
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (!rules[i].test(&rules[i], spec, env, path))
            continue;
        ret->reason = "CreateContainerConfigError";
        str_fmt(ret->message, sizeof(ret->message), "%s %s.", path, rules[i].advice);
        return true;
    }
    return false;
}
