/* k8s/static_pod.c and static_check.c: a manifest becomes the Pod that runs and the mirror that is
 * shown; each mistake is named with its line and field. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/static_pod.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOOD                                                              \
    "apiVersion: v1\n"                                                    \
    "kind: Pod\n"                                                         \
    "metadata:\n"                                                         \
    "  name: web\n"                                                       \
    "  labels: {app: web}\n"                                              \
    "  annotations: {note: \"1\", kubernetes.io/config.mirror: forged}\n" \
    "spec:\n"                                                             \
    "  nodeName: elsewhere\n"                                             \
    "  tolerations: [{key: a, operator: Exists}]\n"                       \
    "  containers:\n"                                                     \
    "  - name: c\n"                                                       \
    "    image: reg/app:v1\n"                                             \
    "    args: [\"8080\", --flag]\n"                                      \
    "    env: [{name: A, value: \"true\"}]\n"                             \
    "    resources: {limits: {cpu: 1, memory: 64Mi}}\n"

static struct static_pod pod_of(const char *text)
{
    return (struct static_pod){.path = "/m/web.yaml",
                               .text = text,
                               .len = strlen(text),
                               .node_name = "uk-0",
                               .seen_ms = 1700000000000};
}

static void the_pod_that_runs(void **state)
{
    struct static_pod pod = pod_of(GOOD);
    struct arena *arena = arena_new(1024);
    const struct pod_spec *spec = NULL;
    struct err err = {0};
    char hash[STATIC_POD_HASH_LEN + 1];

    (void)state;
    assert_int_equal(static_pod_read(&pod, arena, &spec, &err), 0);
    static_pod_hash(&pod, hash);
    assert_string_equal(spec->uid, hash);
    assert_string_equal(spec->ns, "default");
    assert_string_equal(spec->name, "web-uk-0");
    assert_string_equal(spec->node_name, "uk-0");
    assert_int_equal(spec->features, PF_STATIC); /* the forged annotation is not taken over */
    assert_string_equal(key_value_find(spec->annotations, spec->annotations_len, "note"), "1");
    assert_string_equal(
        key_value_find(spec->annotations, spec->annotations_len, "kubernetes.io/config.source"),
        "file");
    assert_int_equal(spec->tolerations_len, 2);
    assert_string_equal(spec->tolerations[1].effect, "NoExecute");
    assert_string_equal(spec->containers[0].args[0], "8080");
    assert_string_equal(spec->containers[0].env[0].value, "true");
    assert_int_equal(spec->containers[0].resources.cpu_limit_milli, 1000);
    assert_int_equal(spec->containers[0].resources.memory_limit_bytes, 64 << 20);
    arena_free(arena);
}

static void its_mirror(void **state)
{
    struct static_pod pod = pod_of(GOOD);
    struct buf body = BUF_INIT(65536);
    char hash[STATIC_POD_HASH_LEN + 1];

    (void)state;
    static_pod_hash(&pod, hash);
    static_pod_mirror(&pod, "node-uid", &body);
    struct json *root = json_parse(buf_str(&body), body.len, NULL);
    const struct json *metadata = json_get(root, "metadata");
    assert_null(json_get(metadata, "uid"));
    const struct json *owner = json_first(json_get(metadata, "ownerReferences"));
    assert_string_equal(json_get_string(owner, "kind"), "Node");
    assert_string_equal(json_get_string(owner, "name"), "uk-0");
    assert_string_equal(json_get_string(owner, "uid"), "node-uid");
    const struct json *notes = json_get(metadata, "annotations");
    assert_string_equal(json_get_string(notes, "kubernetes.io/config.mirror"), hash);
    assert_string_equal(json_get_string(notes, "kubernetes.io/config.hash"), hash);
    assert_string_equal(json_get_string(notes, "kubernetes.io/config.seen"),
                        "2023-11-14T22:13:20Z");
    assert_string_equal(json_string(json_path(root, "spec.nodeName")), "uk-0");
    json_free(root);
    buf_free(&body);
}

/* Another text, path or node is another Pod; JSON is read as well. */
static void hashes_and_json(void **state)
{
    struct static_pod a = pod_of(GOOD), b = a, c = a, d = pod_of(GOOD "\n");
    char hash[4][STATIC_POD_HASH_LEN + 1];
    struct arena *arena = arena_new(1024);
    const struct pod_spec *spec = NULL;

    (void)state;
    b.path = "/m/other.yaml";
    c.node_name = "uk-1";
    static_pod_hash(&a, hash[0]);
    static_pod_hash(&b, hash[1]);
    static_pod_hash(&c, hash[2]);
    static_pod_hash(&d, hash[3]);
    for (int i = 1; i < 4; i++)
        assert_string_not_equal(hash[0], hash[i]);
    a = pod_of(
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\n\t\"metadata\":{\"name\":\"j\",\"namespace\":"
        "\"ns\"},\"spec\":{\"hostNetwork\":true,\"terminationGracePeriodSeconds\":7,"
        "\"containers\":[{\"name\":\"c\",\"image\":\"i:1\"}]}}");
    assert_int_equal(static_pod_read(&a, arena, &spec, NULL), 0);
    assert_string_equal(spec->ns, "ns");
    assert_int_equal(spec->grace_s, 7);
    assert_int_equal(spec->features, PF_STATIC | PF_HOST_NETWORK);
    arena_free(arena);
}

/* As the API server would default it. */
static void pull_policies(void **state)
{
    static const struct {
        const char *image;
        enum pull_policy policy;
    } rows[] = {
        {"app", PULL_ALWAYS},
        {"reg:5000/app", PULL_ALWAYS},
        {"reg:5000/app:latest", PULL_ALWAYS},
        {"reg:5000/app:v1", PULL_IF_NOT_PRESENT},
        {"reg/app@sha256:aa", PULL_IF_NOT_PRESENT},
        {"reg/app\n    imagePullPolicy: Never", PULL_NEVER},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = xasprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n"
                               "  containers:\n  - name: c\n    image: %s\n",
                               rows[i].image);
        struct static_pod pod = pod_of(text);
        struct arena *arena = arena_new(256);
        const struct pod_spec *spec = NULL;

        assert_int_equal(static_pod_read(&pod, arena, &spec, NULL), 0);
        assert_int_equal(spec->containers[0].pull_policy, rows[i].policy);
        arena_free(arena);
        free(text);
    }
}

#define HEAD "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n"
#define ONE "  containers:\n  - name: c\n    image: i:1\n"

static void wrong_table(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } rows[] = {
        {"", "/m/web.yaml:1: Pod: the file is empty"},
        {"[]", "/m/web.yaml:1: : must be a map"},
        {"kind: Pod\n", "/m/web.yaml:1: apiVersion: must be v1"},
        {"apiVersion: v1\nkind: Deployment\n", "/m/web.yaml:1: kind: must be Pod"},
        {"apiVersion: v1\nkind: Pod\n", "/m/web.yaml:1: metadata: is missing"},
        {"apiVersion: v1\nkind: Pod\nspek: {}\n",
         "/m/web.yaml:3: spek: unknown or not possible in a static Pod"},
        {"apiVersion: v1\nkind: Pod\nmetadata: {}\n", "/m/web.yaml:3: metadata.name: is missing"},
        {"apiVersion: v1\nkind: Pod\nmetadata:\n  name: 12\n",
         "/m/web.yaml:4: metadata.name: must be text: put it in quotes"},
        {"apiVersion: v1\nkind: Pod\nmetadata:\n  name: ../up\n",
         "/m/web.yaml:4: metadata.name: must be lower-case letters, digits, '-' and '.'"},
        {"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {n: 1}\n",
         "/m/web.yaml:5: metadata.labels: must hold text: put numbers and true in quotes"},
        {"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", "/m/web.yaml:1: spec: is missing"},
        {HEAD "  hostname: a\n", "/m/web.yaml:5: spec.containers: is missing"},
        {HEAD "  containers: {}\n", "/m/web.yaml:6: spec.containers: must be a list"},
        {HEAD "  restartPolice: Never\n" ONE,
         "/m/web.yaml:6: spec.restartPolice: unknown or not possible in a static Pod"},
        {HEAD "  hostNetwork: yes\n" ONE, "/m/web.yaml:6: spec.hostNetwork: must be true or false"},
        {HEAD "  terminationGracePeriodSeconds: 1s\n" ONE,
         "/m/web.yaml:6: spec.terminationGracePeriodSeconds: must be a whole number"},
        {HEAD "  serviceAccountName: robot\n" ONE,
         "/m/web.yaml:6: spec.serviceAccountName: unknown or not possible in a static Pod"},
        {HEAD "  containers:\n  - name: c\n",
         "/m/web.yaml:7: spec.containers[0].image: is missing"},
        {HEAD ONE "    args: [8080]\n", "/m/web.yaml:9: spec.containers[0].args: must hold text: "
                                        "put numbers and true in quotes"},
        {HEAD ONE "    env:\n    - name: A\n      value: 1\n",
         "/m/web.yaml:11: spec.containers[0].env[0].value: must be text: put it in quotes"},
        {HEAD ONE "    env:\n    - name: A\n      valueFrom: {secretKeyRef: {name: s, key: k}}\n",
         "/m/web.yaml:11: secretKeyRef: a static Pod cannot refer to objects of the API server"},
        {HEAD ONE "  volumes: [{name: v, configMap: {name: c}}]\n",
         "/m/web.yaml:9: configMap: a static Pod cannot refer to objects of the API server"},
        {"apiVersion: v1\nkind: Pod\nkind: Pod\n",
         "/m/web.yaml:3: \"kind\" is here twice (also on line 2)"},
        {"a: [", "/m/web.yaml:2: "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct static_pod pod = pod_of(rows[i].text);
        struct arena *arena = arena_new(256);
        const struct pod_spec *spec = NULL;
        struct err err = {0};

        if (static_pod_read(&pod, arena, &spec, &err) == 0 || !str_starts(err.text, rows[i].error))
            fail_msg("row %zu: \"%s\"", i, err.text);
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pod_that_runs), cmocka_unit_test(its_mirror),
        cmocka_unit_test(hashes_and_json),   cmocka_unit_test(wrong_table),
        cmocka_unit_test(pull_policies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
