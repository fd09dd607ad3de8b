/* What may stand in a static Pod's manifest, as tables: a field that is misspelt, or text without
 * quotes that YAML takes for a number, is an error with its line here and nowhere else. Fields
 * below these are left to the decoder. References to API objects are refused, as the API server
 * refuses them in mirror Pods. */
#include "k8s/static_check.h"

#include "base/err.h"
#include "base/str.h"
#include "k8s/yaml.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define FIELD_MAX 256
#define NAME_MAX_POD 253

enum want {
    WANT_ANY,
    WANT_TEXT,
    WANT_NUMBER,
    WANT_BOOL,
    WANT_MAP,
    WANT_LIST,
    WANT_TEXTS,
    WANT_PAIRS
};

struct field {
    const char *name;
    enum want want;
};

static const struct field pod_fields[] = {{"apiVersion", WANT_TEXT}, {"kind", WANT_TEXT},
                                          {"metadata", WANT_MAP},    {"spec", WANT_MAP},
                                          {"status", WANT_ANY},      {NULL, WANT_ANY}};

static const struct field metadata_fields[] = {
    {"name", WANT_TEXT},         {"namespace", WANT_TEXT},        {"labels", WANT_PAIRS},
    {"annotations", WANT_PAIRS}, {"creationTimestamp", WANT_ANY}, {NULL, WANT_ANY}};

static const struct field spec_fields[] = {
    {"activeDeadlineSeconds", WANT_NUMBER},
    {"affinity", WANT_MAP},
    {"automountServiceAccountToken", WANT_BOOL},
    {"containers", WANT_LIST},
    {"dnsConfig", WANT_MAP},
    {"dnsPolicy", WANT_TEXT},
    {"enableServiceLinks", WANT_BOOL},
    {"hostAliases", WANT_LIST},
    {"hostIPC", WANT_BOOL},
    {"hostNetwork", WANT_BOOL},
    {"hostPID", WANT_BOOL},
    {"hostUsers", WANT_BOOL},
    {"hostname", WANT_TEXT},
    {"imagePullSecrets", WANT_LIST},
    {"initContainers", WANT_LIST},
    {"nodeName", WANT_TEXT},
    {"nodeSelector", WANT_PAIRS},
    {"os", WANT_MAP},
    {"overhead", WANT_MAP},
    {"preemptionPolicy", WANT_TEXT},
    {"priority", WANT_NUMBER},
    {"priorityClassName", WANT_TEXT},
    {"readinessGates", WANT_LIST},
    {"restartPolicy", WANT_TEXT},
    {"runtimeClassName", WANT_TEXT},
    {"schedulerName", WANT_TEXT},
    {"securityContext", WANT_MAP},
    {"setHostnameAsFQDN", WANT_BOOL},
    {"shareProcessNamespace", WANT_BOOL},
    {"subdomain", WANT_TEXT},
    {"terminationGracePeriodSeconds", WANT_NUMBER},
    {"tolerations", WANT_LIST},
    {"topologySpreadConstraints", WANT_LIST},
    {"volumes", WANT_LIST},
    {NULL, WANT_ANY},
};

static const struct field container_fields[] = {
    {"args", WANT_TEXTS},
    {"command", WANT_TEXTS},
    {"env", WANT_LIST},
    {"image", WANT_TEXT},
    {"imagePullPolicy", WANT_TEXT},
    {"lifecycle", WANT_MAP},
    {"livenessProbe", WANT_MAP},
    {"name", WANT_TEXT},
    {"ports", WANT_LIST},
    {"readinessProbe", WANT_MAP},
    {"resizePolicy", WANT_LIST},
    {"resources", WANT_MAP},
    {"restartPolicy", WANT_TEXT},
    {"securityContext", WANT_MAP},
    {"startupProbe", WANT_MAP},
    {"stdin", WANT_BOOL},
    {"stdinOnce", WANT_BOOL},
    {"terminationMessagePath", WANT_TEXT},
    {"terminationMessagePolicy", WANT_TEXT},
    {"tty", WANT_BOOL},
    {"volumeDevices", WANT_LIST},
    {"volumeMounts", WANT_LIST},
    {"workingDir", WANT_TEXT},
    {NULL, WANT_ANY},
};

static const struct field env_fields[] = {
    {"name", WANT_TEXT}, {"value", WANT_TEXT}, {"valueFrom", WANT_MAP}, {NULL, WANT_ANY}};

struct check {
    const char *path;
    struct err *err;
};

static int wrong(const struct check *check, const struct yaml_node *node, const char *field,
                 const char *what)
{
    return err_spec(check->err, -EINVAL, "%s:%u: %s: %s", check->path, node ? yaml_line(node) : 1,
                    field, what);
}

/* Text that YAML takes for something else unless it is quoted. */
static bool is_text(const struct yaml_node *node)
{
    const char *text = yaml_scalar(node);

    if (!text || yaml_is_null(node))
        return false;
    if (!yaml_is_plain(node))
        return true;
    return !str_eq(text, "true") && !str_eq(text, "false") &&
           text[strspn(text, "+-.0123456789")] != '\0';
}

static bool is_number(const struct yaml_node *node)
{
    int64_t number;

    return yaml_is_plain(node) && str_to_i64(yaml_scalar(node), &number) == 0;
}

static bool is_bool(const struct yaml_node *node)
{
    return yaml_is_plain(node) &&
           (str_eq(yaml_scalar(node), "true") || str_eq(yaml_scalar(node), "false"));
}

static int check_each_text(const struct check *check, const struct yaml_node *node,
                           const char *field)
{
    for (const struct yaml_node *v = yaml_first(node); v; v = yaml_next(v)) {
        if (!is_text(v))
            return wrong(check, v, field, "must hold text: put numbers and true in quotes");
    }
    return 0;
}

static int check_value(const struct check *check, const struct yaml_node *node, const char *field,
                       enum want want)
{
    if (yaml_is_null(node))
        return 0; /* as if it were not there */
    switch (want) {
    case WANT_TEXT:
        return is_text(node) ? 0 : wrong(check, node, field, "must be text: put it in quotes");
    case WANT_NUMBER:
        return is_number(node) ? 0 : wrong(check, node, field, "must be a whole number");
    case WANT_BOOL:
        return is_bool(node) ? 0 : wrong(check, node, field, "must be true or false");
    case WANT_MAP:
        return yaml_is_map(node) ? 0 : wrong(check, node, field, "must be a map");
    case WANT_LIST:
        return yaml_is_list(node) ? 0 : wrong(check, node, field, "must be a list");
    case WANT_TEXTS:
        return yaml_is_list(node) ? check_each_text(check, node, field)
                                  : wrong(check, node, field, "must be a list of texts");
    case WANT_PAIRS:
        return yaml_is_map(node) ? check_each_text(check, node, field)
                                 : wrong(check, node, field, "must be a map of texts");
    case WANT_ANY:
        break;
    }
    return 0;
}

static int check_fields(const struct check *check, const struct yaml_node *map, const char *at,
                        const struct field *fields)
{
    if (!yaml_is_map(map))
        return wrong(check, map, at, "must be a map");
    for (const struct yaml_node *v = yaml_first(map); v; v = yaml_next(v)) {
        const struct field *f = fields;
        char field[FIELD_MAX];
        int result;

        str_fmt(field, sizeof(field), "%s%s%s", at, *at ? "." : "", yaml_key(v));
        while (f->name && !str_eq(f->name, yaml_key(v)))
            f++;
        if (!f->name)
            return wrong(check, v, field, "unknown or not possible in a static Pod");
        result = check_value(check, v, field, f->want);
        if (result < 0)
            return result;
    }
    return 0;
}

static int need(const struct check *check, const struct yaml_node *map, const char *at,
                const char *key)
{
    char field[FIELD_MAX];
    const char *text = yaml_scalar(yaml_get(map, key));

    str_fmt(field, sizeof(field), "%s%s%s", at, *at ? "." : "", key);
    return str_empty(text) ? wrong(check, map, field, "is missing") : 0;
}

/* Names become parts of paths and of the API's names. */
static bool is_dns_name(const char *text)
{
    size_t len = strlen(text);

    if (len == 0 || len > NAME_MAX_POD ||
        strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.") != len)
        return false;
    return !strchr("-.", text[0]) && !strchr("-.", text[len - 1]) && !strstr(text, "..");
}

static int check_name(const struct check *check, const struct yaml_node *map, const char *at,
                      const char *key, bool needed)
{
    char field[FIELD_MAX];
    const struct yaml_node *node = yaml_get(map, key);
    int result = needed ? need(check, map, at, key) : 0;

    if (result < 0 || !node || yaml_is_null(node))
        return result;
    str_fmt(field, sizeof(field), "%s.%s", at, key);
    return is_dns_name(yaml_scalar(node))
               ? 0
               : wrong(check, node, field, "must be lower-case letters, digits, '-' and '.'");
}

/* Anywhere below: what a mirror Pod may not have. */
static int check_references(const struct check *check, const struct yaml_node *node)
{
    static const char *const names[] = {
        "secretKeyRef", "configMapKeyRef",     "secretRef", "configMapRef",
        "secretName",   "serviceAccountToken", "configMap", "persistentVolumeClaim"};

    for (const struct yaml_node *v = yaml_first(node); v; v = yaml_next(v)) {
        int result;

        for (size_t i = 0; yaml_key(v) && i < sizeof(names) / sizeof(names[0]); i++) {
            if (str_eq(yaml_key(v), names[i]))
                return wrong(check, v, names[i],
                             "a static Pod cannot refer to objects of the API server");
        }
        result = check_references(check, v);
        if (result < 0)
            return result;
    }
    return 0;
}

static int check_env(const struct check *check, const struct yaml_node *list, const char *at)
{
    size_t i = 0;

    for (const struct yaml_node *v = yaml_first(list); v; v = yaml_next(v), i++) {
        char field[FIELD_MAX];
        int result;

        str_fmt(field, sizeof(field), "%s.env[%zu]", at, i);
        result = check_fields(check, v, field, env_fields);
        if (result == 0)
            result = need(check, v, field, "name");
        if (result < 0)
            return result;
    }
    return 0;
}

static int check_containers(const struct check *check, const struct yaml_node *spec,
                            const char *key)
{
    size_t i = 0;
    const struct yaml_node *list = yaml_get(spec, key);

    for (const struct yaml_node *v = yaml_first(list); v; v = yaml_next(v), i++) {
        char field[FIELD_MAX];
        int result;

        str_fmt(field, sizeof(field), "spec.%s[%zu]", key, i);
        result = check_fields(check, v, field, container_fields);
        if (result == 0)
            result = check_name(check, v, field, "name", true);
        if (result == 0)
            result = need(check, v, field, "image");
        if (result == 0)
            result = check_env(check, yaml_get(v, "env"), field);
        if (result < 0)
            return result;
    }
    return 0;
}

static int check_kind(const struct check *check, const struct yaml_node *root)
{
    const char *version = yaml_scalar(yaml_get(root, "apiVersion"));
    const char *kind = yaml_scalar(yaml_get(root, "kind"));

    if (kind && !str_eq(kind, "Pod"))
        return wrong(check, root, "kind", "must be Pod");
    if (!str_eq(version, "v1"))
        return wrong(check, root, "apiVersion", "must be v1");
    return str_eq(kind, "Pod") ? 0 : wrong(check, root, "kind", "must be Pod");
}

static int check_spec(const struct check *check, const struct yaml_node *spec)
{
    int result = check_fields(check, spec, "spec", spec_fields);

    if (result == 0 && !yaml_first(yaml_get(spec, "containers")))
        result = wrong(check, spec, "spec.containers", "is missing");
    if (result == 0)
        result = check_containers(check, spec, "containers");
    if (result == 0)
        result = check_containers(check, spec, "initContainers");
    return result == 0 ? check_references(check, spec) : result;
}

int static_check(const char *path, const struct yaml_node *root, struct err *err)
{
    const struct check check = {path, err};
    const struct yaml_node *metadata = yaml_get(root, "metadata");
    int result = root ? check_fields(&check, root, "", pod_fields)
                      : wrong(&check, NULL, "Pod", "the file is empty");

    if (result == 0)
        result = check_kind(&check, root);
    if (result == 0 && !metadata)
        result = wrong(&check, root, "metadata", "is missing");
    if (result == 0)
        result = check_fields(&check, metadata, "metadata", metadata_fields);
    if (result == 0)
        result = check_name(&check, metadata, "metadata", "name", true);
    if (result == 0)
        result = check_name(&check, metadata, "metadata", "namespace", false);
    if (result == 0 && !yaml_get(root, "spec"))
        result = wrong(&check, root, "spec", "is missing");
    return result == 0 ? check_spec(&check, yaml_get(root, "spec")) : result;
}
