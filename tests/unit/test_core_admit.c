/* provider/core/admit.c: one row for each rule of the node's admission, with the kubelet's reason
 * and words; the operators of node affinity; what a Pod counts for. */
#include "provider/core/admit.h"

#include "core_fixture.h"

#define MIB (1LL << 20)

struct world {
    struct fixture f;
    struct container_spec init;
    struct admit_env env;
    struct key_value selector;
    struct node_match match;
    const char *values[2];
    struct node_term term;
    struct toleration toleration;
    struct taint taint;
};

static const struct key_value node_labels[] = {
    {"kubernetes.io/hostname", "uk-0"}, {"zone", "a"}, {"cores", "8"}, {"empty", ""}};

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    fixture_init(&w->f);
    w->f.container.resources.cpu_request_milli = 500;
    w->f.container.resources.memory_request_bytes = 64 * MIB;
    w->env = (struct admit_env){
        .known = true,
        .node_name = "uk-0",
        .labels = node_labels,
        .labels_len = LEN(node_labels),
        .taints = &w->taint,
        .allocatable = {4000, 1024 * MIB, 1024 * MIB, 10},
        .used = {1000, 512 * MIB, 0, 3},
    };
    w->match = (struct node_match){.key = "zone", .values = w->values};
    w->term = (struct node_term){.labels = &w->match, .labels_len = 1};
}

static void nothing(struct world *w)
{
    (void)w;
}

static void cpu_exactly(struct world *w)
{
    w->f.container.resources.cpu_request_milli = 3000;
}

static void cpu_too_much(struct world *w)
{
    w->f.container.resources.cpu_request_milli = 3001;
}

static void cpu_by_overhead(struct world *w)
{
    cpu_exactly(w);
    w->f.spec.overhead_cpu_milli = 1;
}

static void cpu_limit_alone(struct world *w)
{
    w->f.container.resources.cpu_limit_milli = 64000;
}

static void cpu_none_wanted(struct world *w)
{
    w->f.container.resources.cpu_request_milli = 0;
    w->env.used.cpu_milli = 9000; /* an over-full node takes what asks for nothing more */
}

static void memory_too_much(struct world *w)
{
    w->f.container.resources.memory_request_bytes = 512 * MIB + 1;
}

static void memory_by_init(struct world *w)
{
    w->init = w->f.container;
    w->init.resources.memory_request_bytes = 600 * MIB;
    w->f.spec.init_containers = &w->init;
    w->f.spec.init_containers_len = 1;
}

static void storage_too_much(struct world *w)
{
    w->f.container.resources.ephemeral_request_bytes = 2048 * MIB;
}

static void pods_full(struct world *w)
{
    cpu_too_much(w); /* the number of Pods is looked at first */
    w->env.used.pods = 10;
}

static void os_field(struct world *w)
{
    w->f.spec.features |= PF_OS_NOT_LINUX;
}

static void os_label(struct world *w)
{
    static const struct key_value windows = {"kubernetes.io/os", "windows"};

    w->f.spec.labels = &windows;
    w->f.spec.labels_len = 1;
}

static void selector(struct world *w, const char *key, const char *value)
{
    w->selector = (struct key_value){key, value};
    w->f.spec.node_selector = &w->selector;
    w->f.spec.node_selector_len = 1;
}

static void selector_matches(struct world *w)
{
    selector(w, "zone", "a");
}

static void selector_other(struct world *w)
{
    selector(w, "zone", "b");
}

static void selector_absent(struct world *w)
{
    selector(w, "disk", "");
}

static void selector_and_cpu(struct world *w)
{
    selector_other(w);
    cpu_too_much(w);
}

static void affinity_without_terms(struct world *w)
{
    w->f.spec.node_affinity = true;
}

static void affinity_empty_term(struct world *w)
{
    w->f.spec.node_affinity = true;
    w->term = (struct node_term){0};
    w->f.spec.node_terms = &w->term;
    w->f.spec.node_terms_len = 1;
}

static void taint(struct world *w, const char *effect)
{
    w->taint = (struct taint){"maintenance", "now", effect};
    w->env.taints_len = 1;
}

static void taint_no_execute(struct world *w)
{
    taint(w, "NoExecute");
}

static void taint_no_schedule(struct world *w)
{
    taint(w, "NoSchedule");
}

static void tolerate(struct world *w, const char *key, const char *value, const char *effect,
                     bool exists)
{
    taint_no_execute(w);
    w->toleration = (struct toleration){key, value, effect, exists};
    w->f.spec.tolerations = &w->toleration;
    w->f.spec.tolerations_len = 1;
}

static void tolerated(struct world *w)
{
    tolerate(w, "maintenance", "now", "NoExecute", false);
}

static void tolerated_by_key(struct world *w)
{
    tolerate(w, "maintenance", "", NULL, true);
}

static void tolerated_all(struct world *w)
{
    tolerate(w, NULL, "", NULL, true);
}

static void tolerated_other_value(struct world *w)
{
    tolerate(w, "maintenance", "later", "NoExecute", false);
}

static void tolerated_other_effect(struct world *w)
{
    tolerate(w, "maintenance", "now", "NoSchedule", false);
}

static void taint_for_static(struct world *w)
{
    taint_no_execute(w);
    selector_other(w);
    w->f.spec.features |= PF_STATIC;
}

static void best_effort(struct world *w)
{
    w->f.container.resources.cpu_request_milli = -1;
    w->f.container.resources.memory_request_bytes = -1;
}

static void memory_pressure(struct world *w)
{
    best_effort(w);
    w->env.memory_pressure = true;
}

static void memory_pressure_burstable(struct world *w)
{
    w->env.memory_pressure = true;
}

static void memory_pressure_tolerated(struct world *w)
{
    memory_pressure(w);
    w->toleration =
        (struct toleration){"node.kubernetes.io/memory-pressure", "", "NoSchedule", true};
    w->f.spec.tolerations = &w->toleration;
    w->f.spec.tolerations_len = 1;
}

static void disk_pressure(struct world *w)
{
    w->env.disk_pressure = true;
}

static void all_pressures(struct world *w)
{
    w->env.memory_pressure = w->env.disk_pressure = w->env.pid_pressure = true;
}

static void pressure_critical(struct world *w)
{
    all_pressures(w);
    w->f.spec.priority = PRIORITY_CRITICAL;
}

static void shutdown(struct world *w)
{
    all_pressures(w);
    w->env.shutting_down = true;
}

#define LACKS "Node didn't have enough resource: "
#define AFFINITY "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
#define TAINT "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"

static const struct {
    const char *name;
    void (*set)(struct world *w);
    const char *reason; /* NULL: let in */
    const char *message;
} rows[] = {
    {"an ordinary Pod", nothing, NULL, NULL},
    {"cpu exactly", cpu_exactly, NULL, NULL},
    {"cpu", cpu_too_much, "OutOfcpu", LACKS "cpu, requested: 3001, used: 1000, capacity: 4000"},
    {"cpu of the overhead", cpu_by_overhead, "OutOfcpu",
     LACKS "cpu, requested: 3001, used: 1000, capacity: 4000"},
    {"a limit is no request", cpu_limit_alone, NULL, NULL},
    {"nothing asked of a full node", cpu_none_wanted, NULL, NULL},
    {"memory", memory_too_much, "OutOfmemory",
     LACKS "memory, requested: 536870913, used: 536870912, capacity: 1073741824"},
    {"memory of an init container", memory_by_init, "OutOfmemory",
     LACKS "memory, requested: 629145600, used: 536870912, capacity: 1073741824"},
    {"storage", storage_too_much, "OutOfephemeral-storage",
     LACKS "ephemeral-storage, requested: 2147483648, used: 0, capacity: 1073741824"},
    {"number of Pods", pods_full, "OutOfpods", LACKS "pods, requested: 1, used: 10, capacity: 10"},
    {"os", os_field, "PodOSNotSupported",
     "Failed to admit pod as the OS field doesn't match node OS"},
    {"label of the os", os_label, "PodOSSelectorNodeLabelDoesNotMatch",
     "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"},
    {"selector", selector_matches, NULL, NULL},
    {"selector of another value", selector_other, "NodeAffinity", AFFINITY},
    {"selector of an absent label", selector_absent, "NodeAffinity", AFFINITY},
    {"resources come before affinity", selector_and_cpu, "OutOfcpu",
     LACKS "cpu, requested: 3001, used: 1000, capacity: 4000"},
    {"affinity without terms", affinity_without_terms, "NodeAffinity", AFFINITY},
    {"affinity with an empty term", affinity_empty_term, "NodeAffinity", AFFINITY},
    {"NoExecute", taint_no_execute, "TaintToleration", TAINT},
    {"NoSchedule is the scheduler's", taint_no_schedule, NULL, NULL},
    {"tolerated", tolerated, NULL, NULL},
    {"tolerated by key", tolerated_by_key, NULL, NULL},
    {"everything tolerated", tolerated_all, NULL, NULL},
    {"another value tolerated", tolerated_other_value, "TaintToleration", TAINT},
    {"another effect tolerated", tolerated_other_effect, "TaintToleration", TAINT},
    {"a static Pod asks no API", taint_for_static, NULL, NULL},
    {"memory pressure", memory_pressure, "Evicted", "The node had condition: [MemoryPressure]. "},
    {"memory pressure and a request", memory_pressure_burstable, NULL, NULL},
    {"memory pressure tolerated", memory_pressure_tolerated, NULL, NULL},
    {"disk pressure", disk_pressure, "Evicted", "The node had condition: [DiskPressure]. "},
    {"every pressure", all_pressures, "Evicted",
     "The node had condition: [DiskPressure MemoryPressure PIDPressure]. "},
    {"pressure and a critical Pod", pressure_critical, NULL, NULL},
    {"shutdown", shutdown, "NodeShutdown", "Pod was rejected as the node is shutting down."},
};

static void rule_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct world w;
        char message[OBSERVED_VERDICT_MAX];
        const char *reason;

        world_init(&w);
        rows[i].set(&w);
        reason = pod_admit(&w.f.spec, &w.env, message);
        if (!reason != !rows[i].reason)
            fail_msg("%s: %s", rows[i].name, reason ? message : "let in");
        if (!reason)
            continue;
        assert_string_equal(reason, rows[i].reason);
        assert_string_equal(message, rows[i].message);
    }
}

static void operator_table(void **state)
{
    static const struct {
        const char *key;
        enum node_operator op;
        const char *values[2];
        size_t len;
        bool fits;
    } table[] = {
        {"zone", NODE_IN, {"b", "a"}, 2, true},
        {"zone", NODE_IN, {"b"}, 1, false},
        {"disk", NODE_IN, {"a"}, 1, false},
        {"zone", NODE_NOT_IN, {"b"}, 1, true},
        {"zone", NODE_NOT_IN, {"a"}, 1, false},
        {"disk", NODE_NOT_IN, {"a"}, 1, true}, /* absent is not in */
        {"empty", NODE_EXISTS, {0}, 0, true},
        {"disk", NODE_EXISTS, {0}, 0, false},
        {"disk", NODE_DOES_NOT_EXIST, {0}, 0, true},
        {"zone", NODE_DOES_NOT_EXIST, {0}, 0, false},
        {"cores", NODE_GT, {"7"}, 1, true},
        {"cores", NODE_GT, {"8"}, 1, false},
        {"cores", NODE_LT, {"9"}, 1, true},
        {"cores", NODE_LT, {"8"}, 1, false},
        {"zone", NODE_GT, {"7"}, 1, false}, /* no number */
        {"cores", NODE_GT, {"few"}, 1, false},
        {"disk", NODE_LT, {"9"}, 1, false},
        {"cores", NODE_LT, {"9", "10"}, 2, false},
        {"zone", NODE_OPERATOR_UNKNOWN, {"a"}, 1, false},
    };

    (void)state;
    for (size_t i = 0; i < LEN(table); i++) {
        struct world w;
        char message[OBSERVED_VERDICT_MAX];

        world_init(&w);
        w.f.spec.node_affinity = true;
        w.f.spec.node_terms = &w.term;
        w.f.spec.node_terms_len = 1;
        w.match = (struct node_match){table[i].key, table[i].op, table[i].values, table[i].len};
        if (!pod_admit(&w.f.spec, &w.env, message) != table[i].fits)
            fail_msg("row %zu (%s)", i, table[i].key);
    }
}

/* All of a term, one of the terms; and the only field that there is. */
static void terms(void **state)
{
    static const char *const here[] = {"uk-0"}, *const there[] = {"uk-1"}, *const zone_b[] = {"b"};
    const struct node_match name = {"metadata.name", NODE_IN, here, 1};
    const struct node_match other_name = {"metadata.name", NODE_IN, there, 1};
    const struct node_match other_field = {"metadata.uid", NODE_EXISTS, NULL, 0};
    const struct node_match zone = {"zone", NODE_IN, zone_b, 1};
    const struct node_term by_name = {.fields = &name, .fields_len = 1};
    const struct node_term by_both = {&zone, 1, &name, 1};
    const struct node_term by_other = {.fields = &other_name, .fields_len = 1};
    const struct node_term by_field = {.fields = &other_field, .fields_len = 1};
    const struct {
        struct node_term terms[2];
        bool fits;
    } table[] = {{{by_name, by_both}, true},
                 {{by_both, by_name}, true},
                 {{by_both, by_both}, false},
                 {{by_other, by_other}, false},
                 {{by_field, by_field}, false}};

    (void)state;
    for (size_t i = 0; i < LEN(table); i++) {
        struct world w;
        char message[OBSERVED_VERDICT_MAX];

        world_init(&w);
        w.f.spec.node_affinity = true;
        w.f.spec.node_terms = table[i].terms;
        w.f.spec.node_terms_len = 2;
        assert_int_equal(!pod_admit(&w.f.spec, &w.env, message), table[i].fits);
    }
}

static void sums(void **state)
{
    struct world w;
    struct amounts sum, huge = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};

    (void)state;
    world_init(&w);
    memory_by_init(&w);
    w.init.resources.cpu_request_milli = 100;
    w.f.spec.overhead_cpu_milli = 10;
    w.f.spec.overhead_memory_bytes = MIB;
    sum = pod_requests(&w.f.spec);
    assert_int_equal(sum.cpu_milli, 510);
    assert_int_equal(sum.memory_bytes, 601 * MIB);
    assert_int_equal(sum.storage_bytes, 0);
    assert_int_equal(sum.pods, 1);
    amounts_add(&huge, &sum);
    assert_true(huge.memory_bytes == INT64_MAX && huge.pods == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule_table),
        cmocka_unit_test(operator_table),
        cmocka_unit_test(terms),
        cmocka_unit_test(sums),
    };

    return cmocka_run_group_tests_name("core_admit", tests, NULL, NULL);
}
