/* The kubelet's admission as one list of rules, in the kubelet's order, because the first that
 * fails gives the Pod its reason. Called once for each Pod before anything is begun for it. */
#include "provider/core/admit.h"

#include "base/str.h"

#include <string.h>

#define LABEL_OS "kubernetes.io/os"
#define MEMORY_PRESSURE "node.kubernetes.io/memory-pressure"

/* The reason, or NULL when the rule is content. */
typedef const char *(*admit_rule)(const struct pod_spec *spec, const struct admit_env *env,
                                  char message[OBSERVED_VERDICT_MAX]);

static int64_t add_up(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int64_t positive(int64_t amount)
{
    return amount > 0 ? amount : 0;
}

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

void amounts_add(struct amounts *sum, const struct amounts *more)
{
    sum->cpu_milli = add_up(sum->cpu_milli, more->cpu_milli);
    sum->memory_bytes = add_up(sum->memory_bytes, more->memory_bytes);
    sum->storage_bytes = add_up(sum->storage_bytes, more->storage_bytes);
    sum->pods = add_up(sum->pods, more->pods);
}

static struct amounts of_container(const struct container_spec *c, bool desired)
{
    const struct resources *r = desired ? &c->desired : &c->resources;

    return (struct amounts){
        .cpu_milli = positive(r->cpu_request_milli),
        .memory_bytes = positive(r->memory_request_bytes),
        .storage_bytes = positive(r->ephemeral_request_bytes),
    };
}

static struct amounts sum_requests(const struct pod_spec *spec, bool desired)
{
    struct amounts sum = {.pods = 1};
    struct amounts overhead = {
        .cpu_milli = positive(spec->overhead_cpu_milli),
        .memory_bytes = positive(spec->overhead_memory_bytes),
    };

    for (size_t i = 0; i < spec->containers_len; i++) {
        struct amounts more = of_container(&spec->containers[i], desired);

        amounts_add(&sum, &more);
    }
    for (size_t i = 0; i < spec->init_containers_len; i++) {
        struct amounts init = of_container(&spec->init_containers[i], desired);

        sum.cpu_milli = max_of(sum.cpu_milli, init.cpu_milli);
        sum.memory_bytes = max_of(sum.memory_bytes, init.memory_bytes);
        sum.storage_bytes = max_of(sum.storage_bytes, init.storage_bytes);
    }
    amounts_add(&sum, &overhead);
    return sum;
}

struct amounts pod_requests(const struct pod_spec *spec)
{
    return sum_requests(spec, false);
}

struct amounts pod_requests_desired(const struct pod_spec *spec)
{
    return sum_requests(spec, true);
}

bool pod_is_critical(const struct pod_spec *spec)
{
    return (spec->features & PF_STATIC) || spec->priority >= PRIORITY_CRITICAL;
}

static bool asks_for_nothing(const struct container_spec *list, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const struct resources *r = &list[i].resources;

        if (r->cpu_request_milli > 0 || r->cpu_limit_milli > 0 || r->memory_request_bytes > 0 ||
            r->memory_limit_bytes > 0)
            return false;
    }
    return true;
}

bool pod_is_best_effort(const struct pod_spec *spec)
{
    return asks_for_nothing(spec->containers, spec->containers_len) &&
           asks_for_nothing(spec->init_containers, spec->init_containers_len);
}

static bool tolerates(const struct pod_spec *spec, const struct taint *taint)
{
    for (size_t i = 0; i < spec->tolerations_len; i++) {
        const struct toleration *t = &spec->tolerations[i];

        if ((!t->effect || str_eq(t->effect, taint->effect)) &&
            (t->key ? str_eq(t->key, taint->key) : t->exists) &&
            (t->exists || str_eq(t->value, taint->value)))
            return true;
    }
    return false;
}

static const char *under_pressure(const struct pod_spec *spec, const struct admit_env *env,
                                  char message[OBSERVED_VERDICT_MAX])
{
    static const struct taint memory = {MEMORY_PRESSURE, "", "NoSchedule"};
    const char *names[3];
    size_t n = 0;

    if (env->disk_pressure)
        names[n++] = "DiskPressure";
    if (env->memory_pressure)
        names[n++] = "MemoryPressure";
    if (env->pid_pressure)
        names[n++] = "PIDPressure";
    if (n == 0 || pod_is_critical(spec))
        return NULL;
    /* With memory alone being short, those whose memory is counted on may come. */
    if (n == 1 && env->memory_pressure && (!pod_is_best_effort(spec) || tolerates(spec, &memory)))
        return NULL;
    str_fmt(message, OBSERVED_VERDICT_MAX, "The node had condition: [%s%s%s%s%s]. ", names[0],
            n > 1 ? " " : "", n > 1 ? names[1] : "", n > 2 ? " " : "", n > 2 ? names[2] : "");
    return "Evicted";
}

static const char *shutting_down(const struct pod_spec *spec, const struct admit_env *env,
                                 char message[OBSERVED_VERDICT_MAX])
{
    (void)spec;
    str_copy(message, OBSERVED_VERDICT_MAX, "Pod was rejected as the node is shutting down.");
    return env->shutting_down ? "NodeShutdown" : NULL;
}

static const char *os_label(const struct pod_spec *spec, const struct admit_env *env,
                            char message[OBSERVED_VERDICT_MAX])
{
    const char *os = key_value_find(spec->labels, spec->labels_len, LABEL_OS);

    (void)env; /* the kubelet asserts the Node's own label, so linux is what is compared with */
    str_copy(message, OBSERVED_VERDICT_MAX,
             "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label");
    return os && !str_eq(os, "linux") ? "PodOSSelectorNodeLabelDoesNotMatch" : NULL;
}

static const char *os_field(const struct pod_spec *spec, const struct admit_env *env,
                            char message[OBSERVED_VERDICT_MAX])
{
    (void)env;
    str_copy(message, OBSERVED_VERDICT_MAX,
             "Failed to admit pod as the OS field doesn't match node OS");
    return spec->features & PF_OS_NOT_LINUX ? "PodOSNotSupported" : NULL;
}

static bool lacks(const char *what, int64_t wanted, int64_t used, int64_t most,
                  char message[OBSERVED_VERDICT_MAX])
{
    if (wanted <= 0 || wanted <= most - used)
        return false;
    str_fmt(message, OBSERVED_VERDICT_MAX,
            "Node didn't have enough resource: %s, requested: %lld, used: %lld, capacity: %lld",
            what, (long long)wanted, (long long)used, (long long)most);
    return true;
}

static const char *fits(const struct pod_spec *spec, const struct admit_env *env,
                        char message[OBSERVED_VERDICT_MAX])
{
    const struct amounts *most = &env->allocatable, *used = &env->used;
    struct amounts wanted = pod_requests(spec);

    if (lacks("pods", wanted.pods, used->pods, most->pods, message))
        return "OutOfpods";
    if (lacks("cpu", wanted.cpu_milli, used->cpu_milli, most->cpu_milli, message))
        return "OutOfcpu";
    if (lacks("memory", wanted.memory_bytes, used->memory_bytes, most->memory_bytes, message))
        return "OutOfmemory";
    if (lacks("ephemeral-storage", wanted.storage_bytes, used->storage_bytes, most->storage_bytes,
              message))
        return "OutOfephemeral-storage";
    return NULL;
}

static bool is_among(const char *value, const struct node_match *match)
{
    for (size_t i = 0; i < match->values_len; i++) {
        if (str_eq(value, match->values[i]))
            return true;
    }
    return false;
}

/* Gt and Lt: both sides must be numbers. */
static bool compares(const char *value, const struct node_match *match)
{
    int64_t has, bound;

    if (!value || match->values_len != 1 || str_to_i64(value, &has) < 0 ||
        str_to_i64(match->values[0], &bound) < 0)
        return false;
    return match->op == NODE_GT ? has > bound : has < bound;
}

/* value: NULL when the Node has no such label. */
static bool matches(const char *value, const struct node_match *match)
{
    switch (match->op) {
    case NODE_IN:
        return value && is_among(value, match);
    case NODE_NOT_IN:
        return !value || !is_among(value, match);
    case NODE_EXISTS:
        return value;
    case NODE_DOES_NOT_EXIST:
        return !value;
    case NODE_GT:
    case NODE_LT:
        return compares(value, match);
    case NODE_OPERATOR_UNKNOWN:
        break;
    }
    return false;
}

static bool term_matches(const struct node_term *term, const struct admit_env *env)
{
    for (size_t i = 0; i < term->labels_len; i++) {
        if (!matches(key_value_find(env->labels, env->labels_len, term->labels[i].key),
                     &term->labels[i]))
            return false;
    }
    for (size_t i = 0; i < term->fields_len; i++) {
        bool name = str_eq(term->fields[i].key, "metadata.name"); /* the only field there is */

        if (!name || !matches(env->node_name, &term->fields[i]))
            return false;
    }
    return term->labels_len + term->fields_len > 0; /* an empty term matches no Node */
}

static bool selects_node(const struct pod_spec *spec, const struct admit_env *env)
{
    for (size_t i = 0; i < spec->node_selector_len; i++) {
        const struct key_value *wanted = &spec->node_selector[i];

        if (!str_eq(key_value_find(env->labels, env->labels_len, wanted->key), wanted->value))
            return false;
    }
    if (!spec->node_affinity)
        return true;
    for (size_t i = 0; i < spec->node_terms_len; i++) {
        if (term_matches(&spec->node_terms[i], env))
            return true;
    }
    return false;
}

static const char *node_affinity(const struct pod_spec *spec, const struct admit_env *env,
                                 char message[OBSERVED_VERDICT_MAX])
{
    str_copy(message, OBSERVED_VERDICT_MAX,
             "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector");
    return selects_node(spec, env) ? NULL : "NodeAffinity";
}

/* The kubelet leaves NoSchedule to the scheduler: a Pod that is bound here by name means it. */
static const char *taints(const struct pod_spec *spec, const struct admit_env *env,
                          char message[OBSERVED_VERDICT_MAX])
{
    for (size_t i = 0; i < env->taints_len; i++) {
        const struct taint *taint = &env->taints[i];

        if (!str_eq(taint->effect, "NoExecute") || tolerates(spec, taint))
            continue;
        str_copy(message, OBSERVED_VERDICT_MAX,
                 "Predicate TaintToleration failed: node(s) had taints that the pod didn't "
                 "tolerate");
        return "TaintToleration";
    }
    return NULL;
}

const char *pod_admit(const struct pod_spec *spec, const struct admit_env *env,
                      char message[OBSERVED_VERDICT_MAX])
{
    static const struct {
        admit_rule rule;
        bool of_api; /* about what only the API says of the Node: not for static Pods */
    } rules[] = {
        {shutting_down, false}, {under_pressure, false}, {os_label, false}, {os_field, false},
        {fits, false},          {node_affinity, true},   {taints, true},
    };

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const char *reason;

        if (rules[i].of_api && (spec->features & PF_STATIC))
            continue;
        reason = rules[i].rule(spec, env, message);
        if (reason)
            return reason;
    }
    message[0] = '\0';
    return NULL;
}
