/* Environment, command and arguments (contract 4.1): one row a rule. */
#include "core_fixture.h"

#include "provider/core/env.h"

#include <errno.h>
#include <stdlib.h>

/* All memory of one resolution, freed at once. */
struct pool {
    void *blocks[4096];
    size_t len;
};

static void *pool_alloc(void *userdata, size_t size)
{
    struct pool *pool = userdata;

    assert_true(pool->len < LEN(pool->blocks));
    pool->blocks[pool->len] = calloc(1, size);
    return pool->blocks[pool->len++];
}

static void pool_free(struct pool *pool)
{
    for (size_t i = 0; i < pool->len; i++)
        free(pool->blocks[i]);
    pool->len = 0;
}

static const struct key_value labels[] = {{"app", "shop"}, {"a/b", "x'y"}};
static const struct key_value annotations[] = {{"note", "hi $(A)"}};

static void pod_for_env(struct fixture *f)
{
    fixture_init(f);
    f->spec.labels = labels;
    f->spec.labels_len = LEN(labels);
    f->spec.annotations = annotations;
    f->spec.annotations_len = LEN(annotations);
    f->container.resources = (struct resources){
        .cpu_request_milli = 250,
        .cpu_limit_milli = 1500,
        .memory_request_bytes = -1,
        .memory_limit_bytes = 100000000,
        .ephemeral_request_bytes = -1,
        .ephemeral_limit_bytes = -1,
    };
}

static const char *const image_env[] = {"PATH=/bin", "A=image", "odd", "=x", "B=a=b"};

static struct env_facts facts_for_env(void)
{
    return (struct env_facts){
        .node_name = "uk-0",
        .host_ip = "192.0.2.2",
        .pod_ip = "10.88.0.5,fd00::5",
        .allocatable_cpu_milli = 7500,
        .allocatable_memory_bytes = 1 << 30,
        .allocatable_ephemeral_bytes = 5000,
    };
}

#define VALUE(n, v)                                  \
    {                                                \
        .kind = ENV_VALUE, .name = (n), .value = (v) \
    }
#define FIELD(v)                                     \
    {                                                \
        .kind = ENV_FIELD, .name = "X", .value = (v) \
    }
#define AMOUNT(v, d)                                                    \
    {                                                                   \
        .kind = ENV_RESOURCE, .name = "X", .value = (v), .divisor = (d) \
    }

/* The last variable's value after A=1 and B=$(A)2. */
static const struct {
    struct env_var var;
    const char *want;  /* NULL: an error ... */
    const char *error; /* ... that holds this */
} value_rows[] = {
    {VALUE("X", "plain"), "plain", NULL},
    {VALUE("X", ""), "", NULL},
    {VALUE("X", "$(A)"), "1", NULL},
    {VALUE("X", "<$(B)>$(A)"), "<12>1", NULL},
    {VALUE("X", "$(NOPE)"), "$(NOPE)", NULL},
    {VALUE("X", "$(X)"), "$(X)", NULL},       /* itself is not declared before */
    {VALUE("X", "$(PATH)"), "$(PATH)", NULL}, /* the image's is not seen */
    {VALUE("X", "$$(A)"), "$(A)", NULL},
    {VALUE("X", "$$$(A)"), "$1", NULL},
    {VALUE("X", "$A"), "$A", NULL},
    {VALUE("X", "$(A"), "$(A", NULL},
    {VALUE("X", "$("), "$(", NULL},
    {VALUE("X", "$"), "$", NULL},
    {VALUE("X", "$$"), "$", NULL},
    {VALUE("X", "a$()b"), "a$()b", NULL},
    {FIELD("metadata.name"), "web", NULL},
    {FIELD("metadata.namespace"), "default", NULL},
    {FIELD("metadata.uid"), "u1", NULL},
    {FIELD("metadata.labels['app']"), "shop", NULL},
    {FIELD("metadata.labels['a/b']"), "x'y", NULL},
    {FIELD("metadata.labels['none']"), "", NULL},
    {FIELD("metadata.annotations['note']"), "hi $(A)", NULL},
    {FIELD("spec.nodeName"), "uk-0", NULL},
    {FIELD("spec.serviceAccountName"), "default", NULL},
    {FIELD("status.hostIP"), "192.0.2.2", NULL},
    {FIELD("status.hostIPs"), "192.0.2.2", NULL},
    {FIELD("status.podIP"), "10.88.0.5", NULL},
    {FIELD("status.podIPs"), "10.88.0.5,fd00::5", NULL},
    {FIELD("metadata.labels"), NULL, "unsupported fieldRef metadata.labels"},
    {FIELD("metadata.labels['"), NULL, "unsupported fieldRef"},
    {FIELD("metadata.labels['']"), "", NULL},
    {FIELD("spec.hostname"), NULL, "unsupported fieldRef spec.hostname"},
    {AMOUNT("limits.cpu", NULL), "2", NULL},
    {AMOUNT("limits.cpu", "1m"), "1500", NULL},
    {AMOUNT("requests.cpu", "1m"), "250", NULL},
    {AMOUNT("limits.memory", NULL), "100000000", NULL},
    {AMOUNT("limits.memory", "1Mi"), "96", NULL},
    {AMOUNT("requests.memory", NULL), "0", NULL},
    {AMOUNT("limits.ephemeral-storage", "1k"), "5", NULL}, /* the node's, when not given */
    {AMOUNT("limits.memory", "0"), "100000000", NULL},
    {AMOUNT("limits.memory", "1x"), NULL, "unusable divisor 1x"},
    {AMOUNT("limits.gpu", NULL), NULL, "unsupported resourceFieldRef limits.gpu"},
    {{.kind = ENV_RESOURCE, .name = "X", .value = "limits.cpu", .ref = "d"},
     NULL,
     "names no container: d"},
    {{.kind = ENV_RESOURCE, .name = "X", .value = "limits.cpu", .ref = "c"}, "2", NULL},
    {{.kind = ENV_FILE, .name = "X", .value = "k", .ref = "s"}, NULL, "not supported"},
    {VALUE("", "x"), NULL, "may not be empty"},
    {VALUE("a=b", "x"), NULL, "may not be empty"},
};

static void value_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(value_rows); i++) {
        struct env_var env[] = {VALUE("A", "1"), VALUE("B", "$(A)2"), value_rows[i].var};
        struct env_facts facts = facts_for_env();
        struct env_result result = {.env_len = 99};
        struct pool pool = {0};
        struct fixture f;
        char error[256] = "";
        int r;

        pod_for_env(&f);
        f.container.env = env;
        f.container.env_len = LEN(env);
        r = env_resolve(&f.spec, &f.container, &facts, pool_alloc, &pool, &result, error,
                        sizeof(error));
        if (value_rows[i].want) {
            assert_int_equal(r, 0);
            assert_int_equal(result.env_len, 3);
            assert_string_equal(result.env[2].value, value_rows[i].want);
        } else {
            assert_int_equal(r, -EINVAL);
            assert_int_equal(result.env_len, 99); /* untouched */
            assert_non_null(strstr(error, value_rows[i].error));
            assert_non_null(strstr(error, "of container c"));
        }
        pool_free(&pool);
    }
}

/* The image's first, the later value in the earlier one's place. */
static void order_and_overrides(void **state)
{
    static const struct env_var env[] = {VALUE("Z", "1"), VALUE("A", "pod"), VALUE("Z", "$(Z)2"),
                                         VALUE("Y", "$(A)")};
    static const struct key_value want[] = {
        {"PATH", "/bin"}, {"A", "pod"}, {"B", "a=b"}, {"Z", "12"}, {"Y", "pod"}};
    struct env_facts facts = facts_for_env();
    struct env_result result;
    struct pool pool = {0};
    struct fixture f;
    char error[256];

    (void)state;
    pod_for_env(&f);
    facts.image_env = image_env;
    facts.image_env_len = LEN(image_env);
    f.container.env = env;
    f.container.env_len = LEN(env);
    assert_int_equal(env_resolve(&f.spec, &f.container, &facts, pool_alloc, &pool, &result, error,
                                 sizeof(error)),
                     0);
    assert_int_equal(result.env_len, LEN(want));
    for (size_t i = 0; i < LEN(want); i++) {
        assert_string_equal(result.env[i].key, want[i].key);
        assert_string_equal(result.env[i].value, want[i].value);
    }
    pool_free(&pool);
}

/* command replaces ENTRYPOINT and drops CMD, args replaces CMD; only the Pod's are expanded. */
static void command_table(void **state)
{
    static const char *const entrypoint[] = {"/entry", "$(A)"};
    static const char *const cmd[] = {"cmd"};
    static const char *const command[] = {"/mine", "$(A)"};
    static const char *const args[] = {"-p", "$(A)$$(A)", "$(PATH)"};
    static const struct {
        size_t entrypoint_len, cmd_len, command_len, args_len;
        const char *want;
    } rows[] = {
        {0, 0, 0, 0, ""},
        {2, 1, 0, 0, "/entry $(A) cmd"},
        {2, 1, 0, 3, "/entry $(A) -p 1$(A) $(PATH)"},
        {2, 1, 2, 0, "/mine 1"},
        {2, 1, 2, 3, "/mine 1 -p 1$(A) $(PATH)"},
        {0, 1, 0, 0, "cmd"},
    };
    static const struct env_var env[] = {VALUE("A", "1")};

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct env_facts facts = facts_for_env();
        struct env_result result;
        struct pool pool = {0};
        struct fixture f;
        char error[256], got[256] = "";

        pod_for_env(&f);
        facts.image_env = image_env;
        facts.image_env_len = LEN(image_env);
        facts.image_entrypoint = entrypoint;
        facts.image_entrypoint_len = rows[i].entrypoint_len;
        facts.image_cmd = cmd;
        facts.image_cmd_len = rows[i].cmd_len;
        f.container.env = env;
        f.container.env_len = LEN(env);
        f.container.command = command;
        f.container.command_len = rows[i].command_len;
        f.container.args = args;
        f.container.args_len = rows[i].args_len;
        assert_int_equal(env_resolve(&f.spec, &f.container, &facts, pool_alloc, &pool, &result,
                                     error, sizeof(error)),
                         0);
        for (size_t j = 0; j < result.argv_len; j++)
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", j ? " " : "",
                     result.argv[j]);
        assert_string_equal(got, rows[i].want);
        pool_free(&pool);
    }
}

/* Twenty lines of YAML that would be 2^20 times as long. */
static void limits(void **state)
{
    struct env_var doubling[21] = {VALUE("V0", "0123456789")};
    static struct env_var many[ENV_VARS_MAX + 1];
    char names[21][16], values[21][40], error[256];
    struct env_facts facts = facts_for_env();
    struct env_result result;
    struct pool pool = {0};
    struct fixture f;

    (void)state;
    for (int i = 1; i < 21; i++) {
        snprintf(names[i], sizeof(names[i]), "V%d", i);
        snprintf(values[i], sizeof(values[i]), "$(V%d)$(V%d)", i - 1, i - 1);
        doubling[i] = (struct env_var)VALUE(names[i], values[i]);
    }
    pod_for_env(&f);
    f.container.env = doubling;
    f.container.env_len = LEN(doubling);
    assert_int_equal(env_resolve(&f.spec, &f.container, &facts, pool_alloc, &pool, &result, error,
                                 sizeof(error)),
                     -EINVAL);
    assert_string_equal(error, "environment variable V14 of container c: it is longer than 128 KiB "
                               "after $(VAR) expansion");
    pool_free(&pool);

    for (size_t i = 0; i < LEN(many); i++)
        many[i] = (struct env_var)VALUE("A", "1");
    f.container.env = many;
    f.container.env_len = LEN(many);
    assert_int_equal(env_resolve(&f.spec, &f.container, &facts, pool_alloc, &pool, &result, error,
                                 sizeof(error)),
                     -EINVAL);
    assert_non_null(strstr(error, "1025 environment variables"));
    pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_table),
        cmocka_unit_test(order_and_overrides),
        cmocka_unit_test(command_table),
        cmocka_unit_test(limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
