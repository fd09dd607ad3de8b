/* Variables from ConfigMaps, Secrets and Services, files of the downward API, and $(VAR) of
 * subPathExpr (contract 4.1, 4.2): one row a rule. */
#include "core_fixture.h"

#include "provider/core/env.h"

#include <errno.h>
#include <stdlib.h>

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

static const struct data_item map_items[] = {
    {"a.b", "dotted", 6, false},
    {"blob", "\1\2", 2, true},
    {"k", "v$(A)", 5, false},
};
static const struct data_item secret_items[] = {
    {"nul", "a\0b", 3, false},
    {"password", "p w", 3, false},
};
static const struct object_data map_data = {map_items, LEN(map_items)};
static const struct object_data secret_data = {secret_items, LEN(secret_items)};

static const struct object_data *find_object(void *userdata, bool secret, const char *name)
{
    (void)userdata;
    if (strcmp(name, "m") == 0 && !secret)
        return &map_data;
    return strcmp(name, "s") == 0 && secret ? &secret_data : NULL;
}

/* "K=V" pairs joined by a line end, or "!" and the error. */
static void resolve(struct fixture *f, const struct env_facts *facts, char *text, size_t size)
{
    struct pool pool = {0};
    struct env_result result = {0};
    char error[256] = "";
    int r = env_resolve(&f->spec, &f->container, facts, pool_alloc, &pool, &result, error,
                        sizeof(error));

    text[0] = '\0';
    if (r < 0)
        snprintf(text, size, "!%s%s", r == -ENOENT ? "" : "?", error);
    for (size_t i = 0; r == 0 && i < result.env_len; i++) {
        size_t used = strlen(text);

        snprintf(text + used, size - used, "%s%s=%s", i ? "\n" : "", result.env[i].key,
                 result.env[i].value);
    }
    pool_free(&pool);
}

#define KEY(kind_, ref_, key_, optional_)                                                     \
    {                                                                                         \
        .kind = (kind_), .name = "X", .value = (key_), .ref = (ref_), .optional = (optional_) \
    }

/* "!": to be looked for again; "!?": wrong for good. */
static const struct {
    struct env_var var;
    const char *want;
} key_rows[] = {
    {KEY(ENV_CONFIG_MAP, "m", "k", false), "X=v$(A)"}, /* not expanded */
    {KEY(ENV_CONFIG_MAP, "m", "a.b", false), "X=dotted"},
    {KEY(ENV_SECRET, "s", "password", false), "X=p w"},
    {KEY(ENV_CONFIG_MAP, "x", "k", false), "!configmap \"x\" not found"},
    {KEY(ENV_SECRET, "x", "k", false), "!secret \"x\" not found"},
    {KEY(ENV_SECRET, "m", "k", false), "!secret \"m\" not found"},
    {KEY(ENV_CONFIG_MAP, "m", "z", false), "!couldn't find key z in ConfigMap default/m"},
    {KEY(ENV_SECRET, "s", "z", false), "!couldn't find key z in Secret default/s"},
    {KEY(ENV_CONFIG_MAP, "m", "blob", false), "!couldn't find key blob in ConfigMap default/m"},
    {KEY(ENV_CONFIG_MAP, "x", "k", true), ""},
    {KEY(ENV_SECRET, "s", "z", true), ""},
    {KEY(ENV_SECRET, "s", "nul", false),
     "!?environment variable X of container c: its value has a NUL byte, which no environment can "
     "hold: nul"},
};

static void key_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(key_rows); i++) {
        struct env_facts facts = {.object = find_object};
        struct fixture f;
        char text[1024];

        fixture_init(&f);
        f.container.env = &key_rows[i].var;
        f.container.env_len = 1;
        resolve(&f, &facts, text, sizeof(text));
        assert_string_equal(text, key_rows[i].want);
    }
}

/* envFrom in order, then env, which sees it; later values win in the earlier one's place. */
static void env_from_table(void **state)
{
    static const struct env_var env[] = {
        {.kind = ENV_VALUE, .name = "A", .value = "<$(P_k)$(password)>"},
        {.kind = ENV_VALUE, .name = "P_a.b", .value = "mine"},
    };
    static const struct env_from good[] = {{false, "m", "P_", false}, {false, "x", "", true}};
    static const struct env_from bad[] = {{true, "x", "", false}};
    struct env_facts facts = {.object = find_object};
    struct fixture f;
    char text[1024];

    (void)state;
    fixture_init(&f);
    f.container.env_from = good;
    f.container.env_from_len = LEN(good);
    f.container.env = env;
    f.container.env_len = LEN(env);
    resolve(&f, &facts, text, sizeof(text));
    assert_string_equal(text, "P_a.b=mine\nP_k=v$(A)\nA=<v$(A)$(password)>");
    f.container.env_from = bad;
    f.container.env_from_len = 1;
    resolve(&f, &facts, text, sizeof(text));
    assert_string_equal(text, "!secret \"x\" not found");
}

/* What the kubelet makes of a Service; the container's own come later and win. */
static void service_variables(void **state)
{
    static const struct container_port ports[] = {
        {.name = "https", .container_port = 443},
        {.name = "dns-u", .container_port = 53, .protocol = PROTOCOL_UDP}};
    static const struct env_service services[] = {
        {.name = "my-svc", .ip = "10.0.0.1", .ports = ports, .ports_len = 2},
        {.name = "six", .ip = "fd00::1", .ports = &ports[1], .ports_len = 1}};
    static const struct env_var env[] = {
        {.kind = ENV_VALUE, .name = "MY_SVC_PORT", .value = "x$(MY_SVC_SERVICE_HOST)"}};
    struct env_facts facts = {.services = services, .services_len = 2};
    struct fixture f;
    char text[4096];

    (void)state;
    fixture_init(&f);
    f.container.env = env;
    f.container.env_len = 1;
    resolve(&f, &facts, text, sizeof(text));
    assert_string_equal(text, "MY_SVC_SERVICE_HOST=10.0.0.1\n"
                              "MY_SVC_SERVICE_PORT=443\n"
                              "MY_SVC_SERVICE_PORT_HTTPS=443\n"
                              "MY_SVC_SERVICE_PORT_DNS_U=53\n"
                              "MY_SVC_PORT=x10.0.0.1\n"
                              "MY_SVC_PORT_443_TCP=tcp://10.0.0.1:443\n"
                              "MY_SVC_PORT_443_TCP_PROTO=tcp\n"
                              "MY_SVC_PORT_443_TCP_PORT=443\n"
                              "MY_SVC_PORT_443_TCP_ADDR=10.0.0.1\n"
                              "MY_SVC_PORT_53_UDP=udp://10.0.0.1:53\n"
                              "MY_SVC_PORT_53_UDP_PROTO=udp\n"
                              "MY_SVC_PORT_53_UDP_PORT=53\n"
                              "MY_SVC_PORT_53_UDP_ADDR=10.0.0.1\n"
                              "SIX_SERVICE_HOST=fd00::1\n"
                              "SIX_SERVICE_PORT=53\n"
                              "SIX_SERVICE_PORT_DNS_U=53\n"
                              "SIX_PORT=udp://[fd00::1]:53\n"
                              "SIX_PORT_53_UDP=udp://[fd00::1]:53\n"
                              "SIX_PORT_53_UDP_PROTO=udp\n"
                              "SIX_PORT_53_UDP_PORT=53\n"
                              "SIX_PORT_53_UDP_ADDR=fd00::1");
}

static const struct key_value labels[] = {
    {"b", "2"}, {"a", "say \"hi\"\n\\"}, {"c", "\x01\xff\xc3\xa9"}};

static const struct {
    struct volume_item item;
    const char *want; /* NULL: an error */
} downward_rows[] = {
    {{.key = "metadata.name", .path = "f"}, "web"},
    {{.key = "metadata.labels", .path = "f"},
     "a=\"say \\\"hi\\\"\\n\\\\\"\nb=\"2\"\nc=\"\\x01\\xff\xc3\xa9\""},
    {{.key = "metadata.annotations", .path = "f"}, ""},
    {{.key = "metadata.labels['b']", .path = "f"}, "2"},
    {{.key = "limits.cpu", .path = "f", .resource = true, .container = "c", .divisor = "1m"},
     "250"},
    {{.key = "limits.cpu", .path = "f", .resource = true, .container = "d"}, NULL},
    {{.key = "spec.volumes", .path = "f"}, NULL},
};

static void downward_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(downward_rows); i++) {
        struct env_facts facts = {.node_name = "uk-0"};
        struct pool pool = {0};
        struct fixture f;
        const char *text = NULL;
        char error[256] = "";

        fixture_init(&f);
        f.spec.labels = labels;
        f.spec.labels_len = LEN(labels);
        f.container.resources.cpu_limit_milli = 250;
        int r = env_downward(&f.spec, &downward_rows[i].item, &facts, pool_alloc, &pool, &text,
                             error, sizeof(error));
        if (downward_rows[i].want) {
            assert_int_equal(r, 0);
            assert_string_equal(text, downward_rows[i].want);
        } else {
            assert_int_equal(r, -EINVAL);
            assert_true(error[0] != '\0');
        }
        pool_free(&pool);
    }
}

static void sub_path_expressions(void **state)
{
    static const struct env_entry env[] = {{"POD", "web-0", ENV_OF_POD},
                                           {"PATH", "/bin", ENV_OF_IMAGE}};
    static const struct env_result all = {.env = env, .env_len = 2};
    static const struct {
        const char *text, *want; /* NULL: missing */
    } rows[] = {
        {"logs/$(POD)", "logs/web-0"},
        {"$$(POD)", "$(POD)"},
        {"a$b", "a$b"},
        {"$(POD", "$(POD"},
        {"$(PATH)", NULL},
        {"x$(NOPE)", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct pool pool = {0};
        const char *text = NULL;
        char error[256] = "";
        int r =
            env_expand_strict(rows[i].text, &all, pool_alloc, &pool, &text, error, sizeof(error));

        assert_int_equal(r, rows[i].want ? 0 : -EINVAL);
        if (rows[i].want)
            assert_string_equal(text, rows[i].want);
        else
            assert_non_null(strstr(error, "missing value for"));
        pool_free(&pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_table),
        cmocka_unit_test(env_from_table),
        cmocka_unit_test(service_variables),
        cmocka_unit_test(downward_table),
        cmocka_unit_test(sub_path_expressions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
