/* k8s/yaml.c and k8s/kubeconfig.c: the tree with its lines, what is refused and in which words, and
 * kubeconfig files in all their forms. */
#include "k8s/kubeconfig.h"
#include "k8s/yaml.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_tree(void **state)
{
    static const char text[] = "# a comment\n"
                               "name: uk-0\n"
                               "empty:\n"
                               "quoted: \"null\"\n"
                               "list:\n"
                               "  - a: 1\n"
                               "    b: [x, 'y z']\n"
                               "  - ~\n"
                               "text: |\n"
                               "  two\n"
                               "  lines\n";
    struct yaml_doc *doc = NULL;
    const struct yaml_node *root, *list, *n;

    (void)state;
    assert_int_equal(yaml_parse("f", text, strlen(text), &doc, NULL), 0);
    root = yaml_root(doc);
    assert_true(yaml_is_map(root));
    assert_string_equal(yaml_scalar(yaml_get(root, "name")), "uk-0");
    assert_int_equal(yaml_line(yaml_get(root, "name")), 2);
    assert_true(yaml_is_null(yaml_get(root, "empty")));
    assert_false(yaml_is_null(yaml_get(root, "quoted")));
    list = yaml_get(root, "list");
    assert_true(yaml_is_list(list));
    assert_int_equal(yaml_line(list), 5); /* of the key */
    n = yaml_first(list);
    assert_null(yaml_key(n));
    assert_int_equal(yaml_line(n), 6);
    assert_string_equal(yaml_scalar(yaml_next(yaml_first(yaml_get(n, "b")))), "y z");
    assert_int_equal(yaml_line(yaml_get(n, "b")), 7);
    n = yaml_next(n);
    assert_true(yaml_is_null(n));
    assert_null(yaml_next(n));
    assert_string_equal(yaml_scalar(yaml_get(root, "text")), "two\nlines\n");
    assert_string_equal(yaml_key(yaml_first(root)), "name");
    /* Everything accepts nothing. */
    assert_null(yaml_get(NULL, "x"));
    assert_null(yaml_get(list, "x"));
    assert_null(yaml_scalar(list));
    assert_null(yaml_first(NULL));
    assert_false(yaml_is_null(NULL));
    yaml_doc_free(doc);
    yaml_doc_free(NULL);
}

static void test_empty(void **state)
{
    static const char *const texts[] = {"", "\n", "# only a comment\n"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct yaml_doc *doc = NULL;

        assert_int_equal(yaml_parse("f", texts[i], strlen(texts[i]), &doc, NULL), 0);
        assert_null(yaml_root(doc));
        yaml_doc_free(doc);
    }
}

static void test_refused_yaml(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"a: 1\nb: 2\na: 3\n", "f:3: \"a\" is here twice (also on line 1)"},
        {"a: &x 1\n", "f:1: anchors are not supported"},
        {"a: &x {b: 1}\n", "f:1: anchors are not supported"},
        {"a: &x [1]\n", "f:1: anchors are not supported"},
        {"a: 1\nb: *x\n", "f:2: aliases are not supported"},
        {"? [a]\n: 1\n", "f:1: a key must be plain text"},
        {"? *x\n: 1\n", "f:1: aliases are not supported"},
        {"a: !!int 1\n", "f:1: tags are not supported"},
        {"a: !x {}\n", "f:1: tags are not supported"},
        {"!x a: 1\n", "f:1: tags are not supported"},
        {"a: 1\n---\nb: 2\n", "f:2: a second document begins here; one is expected"},
        {"a: \"\\0\"\n", "f:1: a value holds a NUL byte"},
        {"\"\\0\": 1\n", "f:1: a key holds a NUL byte"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct yaml_doc *doc = NULL;
        struct err err = {0};

        assert_int_equal(yaml_parse("f", rows[i].text, strlen(rows[i].text), &doc, &err), -EBADMSG);
        assert_string_equal(err.text, rows[i].want);
        assert_int_equal(err.kind, ERR_SPEC);
        assert_null(doc);
    }
}

/* libyaml's own words differ by version: only the place is ours. */
static void test_malformed(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"a: 1\n b: 2\n", "f:2: "}, {"a: [1,\n", "f:2: "},   {"{", "f:"},
        {"\ta: 1\n", "f:1: "},      {"a: \"\nb: 1\n", "f:"}, {"a\xff: 1\n", "f:"},
    };
    char deep[2 * YAML_DEPTH_MAX + 8];
    struct yaml_doc *doc = NULL;
    struct err err = {0};
    struct buf big = BUF_INIT(YAML_FILE_MAX + 1);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        err.text[0] = '\0';
        assert_int_equal(yaml_parse("f", rows[i].text, strlen(rows[i].text), &doc, &err), -EBADMSG);
        if (!str_starts(err.text, rows[i].want))
            fail_msg("%s: %s", rows[i].text, err.text);
        assert_true(strlen(err.text) > strlen(rows[i].want));
    }
    memset(deep, '[', sizeof(deep));
    assert_int_equal(yaml_parse("f", deep, sizeof(deep), &doc, &err), -EBADMSG);
    assert_string_equal(err.text, "f:1: this is nested too deeply");
    while (big.len <= YAML_FILE_MAX)
        assert_int_equal(buf_addc(&big, '#'), 0);
    assert_int_equal(yaml_parse("f", big.data, big.len, &doc, &err), -EFBIG);
    buf_reset(&big);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(buf_addf(&big, "k%d:\n", i), 0);
    assert_int_equal(yaml_parse("f", big.data, big.len, &doc, &err), -EBADMSG);
    assert_string_equal(err.text, "f:4097: this map has too many members");
    buf_free(&big);
    assert_int_equal(yaml_load("/nonexistent/f", &doc, &err), -ENOENT);
    assert_string_equal(err.text, "/nonexistent/f: No such file or directory");
}

/* ---- kubeconfig ---- */

#define PEM "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
#define PEM64 "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCngKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="
#define CONFIG(cluster, user)                                                                  \
    "apiVersion: v1\nkind: Config\ncurrent-context: two\n"                                     \
    "contexts:\n"                                                                              \
    "- {name: one, context: {cluster: none, user: none}}\n"                                    \
    "- {name: two, context: {cluster: c, user: u, namespace: x}}\n"                            \
    "clusters:\n- name: c\n  cluster:\n    " cluster "\nusers:\n- name: u\n  user:\n    " user \
    "\n"

static char dir[] = "/tmp/test_kubeconfig.XXXXXX";

static int load(const char *text, struct kube_config *ret, struct err *err)
{
    char *path = xasprintf("%s/config", dir);
    int r;

    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600), 0);
    r = kube_config_load(path, ret, err);
    free(path);
    return r;
}

static void test_good_configs(void **state)
{
    static const struct {
        const char *text;
        const char *server, *ca, *cert, *key, *token, *token_file, *tls_name, *proxy;
        int insecure;
    } rows[] = {
        {CONFIG("server: https://h:6443", "token: t"), "https://h:6443", NULL, NULL, NULL, "t",
         NULL, NULL, NULL, 0},
        {CONFIG("{server: \"https://h\", certificate-authority-data: " PEM64
                ", tls-server-name: n, proxy-url: \"http://p:1\"}",
                "{client-certificate-data: " PEM64 ", client-key-data: " PEM64 "}"),
         "https://h", PEM, PEM, PEM, NULL, NULL, "n", "http://p:1", 0},
        {CONFIG("{server: \"https://h\", certificate-authority: ca.pem}",
                "{client-certificate: ca.pem, client-key: ./ca.pem, tokenFile: tok}"),
         "https://h", PEM, PEM, PEM, NULL, "tok", NULL, NULL, 0},
        {CONFIG("{server: \"https://h\", insecure-skip-tls-verify: true}", "{}"), "https://h", NULL,
         NULL, NULL, NULL, NULL, NULL, NULL, 1},
        /* Data wins over a file that is not even there; null counts as absent. */
        {CONFIG("{server: \"https://h\", certificate-authority: gone, "
                "certificate-authority-data: " PEM64 ", proxy-url: null, "
                "insecure-skip-tls-verify: false}",
                "{token: \"\", exec: null}"),
         "https://h", PEM, NULL, NULL, NULL, NULL, NULL, NULL, 0},
    };
    char *pem = xasprintf("%s/ca.pem", dir), *tok = xasprintf("%s/tok", dir);

    (void)state;
    assert_int_equal(file_write_atomic(pem, PEM, strlen(PEM), 0600), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct kube_config c = {0}, copy;
        struct err err = {0};

        if (load(rows[i].text, &c, &err) != 0)
            fail_msg("%zu: %s", i, err.text);
        kube_config_copy(&c, &copy);
        kube_config_free(&c);
        assert_string_equal(copy.server, rows[i].server);
        assert_true(str_eq(copy.ca_pem, rows[i].ca));
        assert_true(str_eq(copy.cert_pem, rows[i].cert));
        assert_true(str_eq(copy.key_pem, rows[i].key));
        assert_true(str_eq(copy.token, rows[i].token));
        assert_true(str_eq(copy.token_file, rows[i].token_file ? tok : NULL));
        assert_true(str_eq(copy.tls_server_name, rows[i].tls_name));
        assert_true(str_eq(copy.proxy_url, rows[i].proxy));
        assert_int_equal(copy.insecure, rows[i].insecure);
        kube_config_free(&copy);
    }
    free(pem);
    free(tok);
}

static void test_bad_configs(void **state)
{
    static const struct {
        const char *text, *want; /* after the path */
    } rows[] = {
        {"", ": this is no kubeconfig"},
        {"[]", ": this is no kubeconfig"},
        {"a: b\n", ": current-context is not set"},
        {"current-context: x\n", ": there is no context \"x\""},
        {"current-context: [x]\n", ":1: current-context must be text"},
        {"current-context: x\ncontexts:\n- {name: x, context: {cluster: c}}\n",
         ": there is no cluster \"c\""},
        {"current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
         "clusters: [{name: c, cluster: {server: \"https://h\"}}]\n",
         ": there is no user \"u\""},
        {CONFIG("{}", "{}"), ":9: the cluster has no server"},
        {CONFIG("server: [1]", "{}"), ":10: server must be text"},
        {CONFIG("certificate-authority-data: \"%\"\n    server: x", "{}"),
         ":10: certificate-authority-data is no base64"},
        {CONFIG("server: x\n    certificate-authority-data: eA==", "{}"),
         ":11: certificate-authority holds no PEM data"},
        {CONFIG("{server: x, insecure-skip-tls-verify: maybe}", "{}"),
         ":10: insecure-skip-tls-verify must be true or false"},
        {CONFIG("server: x", "client-key-data: " PEM64),
         ":13: a client certificate and its key belong together"},
        {CONFIG("server: x", "exec: {command: aws}"),
         ":14: exec is not supported: give a client certificate or a token"},
        {CONFIG("server: x", "username: admin"),
         ":14: username is not supported: give a client certificate or a token"},
    };
    char *path = xasprintf("%s/config", dir);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct kube_config c = {0};
        struct err err = {0};
        char *want = xasprintf("%s%s", path, rows[i].want);

        assert_true(load(rows[i].text, &c, &err) < 0);
        assert_string_equal(err.text, want);
        assert_int_equal(err.kind, ERR_SPEC);
        assert_null(c.server);
        free(want);
    }
    free(path);
}

static void test_service_account(void **state)
{
    char *sa = xasprintf("%s/sa", dir), *ca = xasprintf("%s/ca.crt", sa),
         *token = xasprintf("%s/token", sa);
    struct kube_config c = {0};
    struct err err = {0};

    (void)state;
    (void)unsetenv("KUBERNETES_SERVICE_HOST");
    assert_int_equal(kube_config_in_cluster(&c, &err), -ENOENT);
    assert_int_equal(file_mkdirs(sa, 0700), 0);
    assert_int_equal(kube_config_from_dir(sa, "10.0.0.1", "443", &c, &err), -ENOENT);
    assert_int_equal(file_write_atomic(token, "t\n", 2, 0600), 0);
    assert_int_equal(kube_config_from_dir(sa, "10.0.0.1", "443", &c, &err), -ENOENT);
    assert_true(str_starts(err.text, "certificate authority "));
    assert_int_equal(file_write_atomic(ca, PEM, strlen(PEM), 0600), 0);
    assert_int_equal(kube_config_from_dir(sa, "10.0.0.1", "443", &c, &err), 0);
    assert_string_equal(c.server, "https://10.0.0.1:443");
    assert_string_equal(c.ca_pem, PEM);
    assert_string_equal(c.token_file, token);
    assert_null(c.token);
    kube_config_free(&c);
    assert_int_equal(kube_config_from_dir(sa, "fd00::1", "6443", &c, &err), 0);
    assert_string_equal(c.server, "https://[fd00::1]:6443");
    kube_config_free(&c);
    free(sa);
    free(ca);
    free(token);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_refused_yaml),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_good_configs),
        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_service_account),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
