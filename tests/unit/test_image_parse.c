/* References, challenges and OCI documents: tables of what is accepted and what is not. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/image_auth.h"
#include "runtime/image_oci.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define D "sha256:" HEX
#define D2 "sha256:1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define LONG50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG250 LONG50 LONG50 LONG50 LONG50 LONG50

struct name_case {
    const char *text;
    const char *want; /* full form; NULL: refused */
    const char *api;  /* host */
};

static const struct name_case names[] = {
    {"nginx", "docker.io/library/nginx:latest", "registry-1.docker.io"},
    {"nginx:1.25", "docker.io/library/nginx:1.25", "registry-1.docker.io"},
    {"me/app", "docker.io/me/app:latest", "registry-1.docker.io"},
    {"docker.io/nginx", "docker.io/library/nginx:latest", "registry-1.docker.io"},
    {"index.docker.io/nginx", "docker.io/library/nginx:latest", "registry-1.docker.io"},
    {"unikraft.org/nginx:1.25", "index.unikraft.io/unikraft.org/nginx:1.25", "index.unikraft.io"},
    {"index.unikraft.io/unikraft.org/nginx", "index.unikraft.io/unikraft.org/nginx:latest",
     "index.unikraft.io"},
    {"localhost/app", "localhost/app:latest", "localhost"},
    {"localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000"},
    {"10.0.0.1:5000/a/b/c", "10.0.0.1:5000/a/b/c:latest", "10.0.0.1:5000"},
    {"[fd00::1]:5000/app", "[fd00::1]:5000/app:latest", "[fd00::1]:5000"},
    {"Registry/app", "Registry/app:latest", "Registry"},
    {"reg.io/app@" D, "reg.io/app@" D, "reg.io"},
    {"reg.io/app:v1@" D, "reg.io/app@" D, "reg.io"},
    {"reg.io/a.b_c__d---e/f", "reg.io/a.b_c__d---e/f:latest", "reg.io"},
    {"reg.io/app:A_b.c-d", "reg.io/app:A_b.c-d", "reg.io"},
    {"", NULL, NULL},
    {":", NULL, NULL},
    {"/app", NULL, NULL},
    {"app/", NULL, NULL},
    {"reg.io//app", NULL, NULL},
    {"App", NULL, NULL},
    {"reg.io/App", NULL, NULL},
    {"app:", NULL, NULL},
    {"app:-x", NULL, NULL},
    {"app:a b", NULL, NULL},
    {"a b", NULL, NULL},
    {"app@sha256:12", NULL, NULL},
    {"app@md5:" HEX, NULL, NULL},
    {"app@", NULL, NULL},
    {"a..b", NULL, NULL},
    {"a___b", NULL, NULL},
    {"-a", NULL, NULL},
    {"a-", NULL, NULL},
    {"reg.io:port/app", NULL, NULL},
    {"reg.io:123456/app", NULL, NULL},
    {"-reg.io/app", NULL, NULL},
    {"reg-.io/app", NULL, NULL},
    {"[fd00/app", NULL, NULL},
    {"../../etc/passwd", NULL, NULL},
    {"https://reg.io/app", NULL, NULL},
    {"app:" LONG50 LONG50 LONG50, NULL, NULL},
    {"reg.io/" LONG250, NULL, NULL},
};

static void name_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char full[IMAGE_FULL_MAX];
        struct image_name name;
        struct err err;
        int r = image_name_parse(names[i].text, &name, &err);

        if ((r == 0) != (names[i].want != NULL))
            fail_msg("%s: %s", names[i].text, r == 0 ? image_name_full(&name, full) : err.text);
        if (r == 0) {
            assert_string_equal(image_name_full(&name, full), names[i].want);
            assert_string_equal(image_name_api_host(&name), names[i].api);
        } else {
            assert_int_equal(err.kind, ERR_SPEC);
            assert_true(str_starts(err.text, "couldn't parse image name \""));
            assert_non_null(strstr(err.text, "\": invalid reference format"));
        }
    }
}

static void loopback(void **state)
{
    (void)state;
    assert_true(image_host_is_loopback("localhost"));
    assert_true(image_host_is_loopback("localhost:5000"));
    assert_true(image_host_is_loopback("127.0.0.1:5000"));
    assert_true(image_host_is_loopback("127.9.9.9"));
    assert_true(image_host_is_loopback("[::1]:5000"));
    assert_false(image_host_is_loopback("localhost.example.com"));
    assert_false(image_host_is_loopback("127.0.0.1.example.com"));
    assert_false(image_host_is_loopback("127.example.com"));
    assert_false(image_host_is_loopback("10.0.0.1"));
}

struct auth_case {
    const char *header;
    enum auth_scheme scheme;
    const char *realm;
    const char *service;
    const char *scope;
};

static const struct auth_case challenges[] = {
    {"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull\"", AUTH_BEARER,
     "https://a/t", "s", "repository:x:pull"},
    {"bearer  realm = https://a/t , error=\"x\"", AUTH_BEARER, "", "", ""},
    {"Bearer realm=\"https://a/t\", scope=\"a,b\\\"c\"", AUTH_BEARER, "https://a/t", "", "a,b\"c"},
    {"Basic realm=\"Registry\"", AUTH_BASIC, "Registry", "", ""},
    {"Basic realm=x, Bearer realm=\"https://a/t\"", AUTH_BEARER, "https://a/t", "", ""},
    {"Bearer realm=\"https://a/t\", Basic realm=x", AUTH_BEARER, "https://a/t", "", ""},
    {"Negotiate", AUTH_NONE, "", "", ""},
    {"Negotiate abc==", AUTH_NONE, "", "", ""},
    {"Negotiate abc==, Basic realm=x", AUTH_BASIC, "x", "", ""},
    {"Bearer service=\"s\"", AUTH_NONE, "", "", ""},
    {"Bearer realm=\"https://a", AUTH_NONE, "", "", ""},
    {"", AUTH_NONE, "", "", ""},
    {"=,=\"", AUTH_NONE, "", "", ""},
};

static void challenge_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(challenges); i++) {
        struct auth_challenge got = {.scheme = AUTH_NONE};

        auth_parse(challenges[i].header, &got);
        if (i == 1) { /* an unquoted URL is no token: its end is unclear, so it is not used */
            assert_true(got.scheme != AUTH_BEARER || !str_starts(got.realm, "https://a/t"));
            continue;
        }
        if (got.scheme != challenges[i].scheme)
            fail_msg("%s: scheme %d", challenges[i].header, got.scheme);
        assert_string_equal(got.realm, challenges[i].realm);
        assert_string_equal(got.service, challenges[i].service);
        assert_string_equal(got.scope, challenges[i].scope);
    }
}

static void token_urls(void **state)
{
    struct auth_challenge c = {.realm = "https://a/t", .service = "reg io&x"};
    CLEANUP(free) char *first = auth_token_url(&c, "repository:a/b:pull");
    CLEANUP(free) char *second = NULL;

    (void)state;
    assert_string_equal(first, "https://a/t?service=reg%20io%26x&scope=repository:a/b:pull");
    str_copy(c.realm, sizeof(c.realm), "https://a/t?x=1");
    c.service[0] = '\0';
    second = auth_token_url(&c, "s");
    assert_string_equal(second, "https://a/t?x=1&scope=s");
}

#define CHILD(dig, arch, os)                                                                       \
    "{\"digest\":\"" dig "\",\"size\":10,\"platform\":{\"architecture\":\"" arch "\",\"os\":\"" os \
    "\"}}"
#define INDEX(children) "{\"schemaVersion\":2,\"manifests\":[" children "]}"

struct doc_case {
    const char *what;
    const char *text;
    const char *child; /* of an index; NULL and no error: a manifest */
    const char *error;
};

static const struct doc_case docs[] = {
    {"qemu before all",
     INDEX(CHILD(D2, "amd64", "linux") "," CHILD(D2, "x86_64", "kvm") "," CHILD(
         D, "x86_64", "qemu") "," CHILD(D2, "x86_64", "fc")),
     D, NULL},
    {"kvm before linux", INDEX(CHILD(D2, "amd64", "linux") "," CHILD(D, "x86_64", "kvm")), D, NULL},
    {"amd64 is x86_64", INDEX(CHILD(D2, "arm64", "qemu") "," CHILD(D, "amd64", "qemu")), D, NULL},
    {"kraftcloud when alone", INDEX(CHILD(D, "x86_64", "kraftcloud")), D, NULL},
    {"kraftcloud not beside others",
     INDEX(CHILD(D, "x86_64", "kraftcloud") "," CHILD(D, "x86_64", "fc")), NULL,
     "the image offers kraftcloud/x86_64, fc/x86_64"},
    {"fc and xen alone", INDEX(CHILD(D, "x86_64", "fc") "," CHILD(D, "x86_64", "xen")), NULL,
     "this host runs qemu, kvm and linux for x86_64, the image offers fc/x86_64, xen/x86_64"},
    {"other machine", INDEX(CHILD(D, "arm64", "qemu")), NULL, "offers qemu/arm64"},
    {"attestations do not count",
     INDEX(CHILD(D2, "unknown", "unknown") "," CHILD(D, "amd64", "linux")), D, NULL},
    {"empty index", INDEX(""), NULL, "the image offers nothing"},
    {"bad digest", INDEX(CHILD("sha256:xyz", "x86_64", "qemu")), NULL, "no valid sha256 digest"},
    {"no size",
     INDEX("{\"digest\":\"" D "\",\"platform\":{\"architecture\":\"amd64\",\"os\":"
           "\"linux\"}}"),
     NULL, "no valid size"},
    {"manifest", "{\"schemaVersion\":2,\"config\":{\"digest\":\"" D "\",\"size\":2},\"layers\":[]}",
     NULL, NULL},
    {"manifest without config", "{\"schemaVersion\":2,\"layers\":[]}", NULL, "config"},
    {"both", "{\"schemaVersion\":2,\"layers\":[],\"manifests\":[]}", NULL, "neither"},
    {"neither", "{\"schemaVersion\":2}", NULL, "neither"},
    {"schema 1", "{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, "schema version 1"},
    {"no JSON", "<html>", NULL, "no JSON"},
    {"cut", "{\"schemaVersion\":2,", NULL, "no JSON"},
    {"array", "[]", NULL, "no JSON object"},
    {"huge layer",
     "{\"schemaVersion\":2,\"config\":{\"digest\":\"" D "\",\"size\":2},\"layers\":"
     "[{\"digest\":\"" D "\",\"size\":99999999999999}]}",
     NULL, "more than"},
    {"negative layer",
     "{\"schemaVersion\":2,\"config\":{\"digest\":\"" D "\",\"size\":2},"
     "\"layers\":[{\"digest\":\"" D "\",\"size\":-1}]}",
     NULL, "layer 1 of the manifest"},
};

static void doc_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(docs); i++) {
        struct arena *arena = arena_new(1024);
        struct oci_manifest manifest;
        struct oci_desc child;
        enum oci_type type;
        struct err err;
        int r = oci_read(docs[i].text, strlen(docs[i].text), arena, &type, &child, &manifest, &err);

        if ((r < 0) != (docs[i].error != NULL) || (r < 0 && !strstr(err.text, docs[i].error)))
            fail_msg("%s: %d %s", docs[i].what, r, r < 0 ? err.text : "");
        if (r == 0) {
            assert_int_equal(type, docs[i].child ? OCI_INDEX : OCI_MANIFEST);
            if (docs[i].child)
                assert_string_equal(child.digest, docs[i].child);
        }
        arena_free(arena);
    }
}

static void manifest_fields(void **state)
{
    static const char text[] =
        "{\"schemaVersion\":2,\"config\":{\"digest\":\"" D "\",\"size\":2},\"layers\":["
        "{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"" D "\",\"size\":5,"
        "\"annotations\":{\"org.unikraft.kernel.initrd\":\"/unikraft/bin/initrd\"}},"
        "{\"mediaType\":\"application/vnd.unikraft.kernel.v1\",\"digest\":\"" D2 "\",\"size\":6,"
        "\"annotations\":{\"org.unikraft.kernel.image\":\"/k\",\"x\":1}}],"
        "\"annotations\":{\"dev.unikubelet.guest\":\"linux\"}}";
    struct arena *arena = arena_new(1024);
    struct oci_manifest m;
    struct oci_desc child;
    enum oci_type type;
    struct err err;

    (void)state;
    assert_int_equal(oci_read(text, strlen(text), arena, &type, &child, &m, &err), 0);
    assert_int_equal(m.layers_len, 2);
    assert_string_equal(m.layers[0].paths.initrd, "/unikraft/bin/initrd");
    assert_null(m.layers[0].paths.kernel);
    assert_string_equal(m.layers[1].paths.kernel, "/k");
    assert_true(m.layers[1].is_kernel);
    assert_int_equal(m.layers[1].desc.size, 6);
    assert_string_equal(m.guest, "linux");
    arena_free(arena);
}

static void config_fields(void **state)
{
    static const char good[] =
        "{\"architecture\":\"x86_64\",\"os\":\"qemu\",\"os.features\":[\"CONFIG_A=y\"],\"config\":"
        "{\"Cmd\":[\"/a\",\"b c\"],\"Entrypoint\":null,\"Env\":[\"PATH=/bin\"],"
        "\"Labels\":{\"dev.unikubelet.guest\":\"unikraft\"}},\"rootfs\":{}}";
    static const char *const bad[] = {
        "{\"architecture\":\"x86_64\",\"os\":\"fc\"}",
        "{\"architecture\":\"riscv64\",\"os\":\"linux\"}",
        "{\"config\":{\"Cmd\":\"text\"}}",
        "{\"config\":{\"Env\":[1]}}",
        "{\"config\":{\"Cmd\":[null]}}",
        "[1]",
    };
    struct arena *arena = arena_new(1024);
    struct oci_config c;
    struct err err;

    (void)state;
    assert_int_equal(oci_read_config(good, strlen(good), arena, &c, &err), 0);
    assert_string_equal(c.os, "qemu");
    assert_int_equal(c.cmd.len, 2);
    assert_string_equal(c.cmd.items[1], "b c");
    assert_int_equal(c.entrypoint.len, 0);
    assert_string_equal(c.os_features.items[0], "CONFIG_A=y");
    assert_string_equal(c.guest, "unikraft");
    assert_int_equal(oci_read_config("{}", 2, arena, &c, &err), 0);
    assert_string_equal(c.os, "");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(oci_read_config(bad[i], strlen(bad[i]), arena, &c, &err) < 0);
    arena_free(arena);
}

static void layout_refs(void **state)
{
    static const char text[] =
        "{\"schemaVersion\":2,\"manifests\":["
        "{\"digest\":\"" D "\",\"size\":1,\"annotations\":{\"org.opencontainers.image.ref.name\":"
        "\"v1\"}},"
        "{\"digest\":\"" D2 "\",\"size\":1,\"annotations\":{\"org.opencontainers.image.ref.name\":"
        "\"reg.io/app:v2\"}},"
        "{\"digest\":\"" D2 "\",\"size\":1,\"annotations\":{\"org.opencontainers.image.ref.name\":"
        "\"index.unikraft.io/unikraft.org/nginx\",\"io.containerd.image.name\":"
        "\"index.unikraft.io/unikraft.org/nginx:1.25\"}}]}";
    static const struct {
        const char *name;
        bool tag_counts;
        const char *digest;
    } cases[] = {
        {"reg.io/app:v2", false, D2},
        {"reg.io/app:v1", false, NULL},
        {"reg.io/app:v1", true, D},
        {"reg.io/other:v2", true, NULL},
        {"unikraft.org/nginx:1.25", false, D2},
        {"unikraft.org/nginx", false, NULL},
        {"any/thing@" D, false, D},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_name name;
        struct oci_desc desc;
        struct err err;
        int r;

        assert_int_equal(image_name_parse(cases[i].name, &name, &err), 0);
        r = oci_find_ref(text, strlen(text), &name, cases[i].tag_counts, &desc, &err);
        if ((r == 0) != (cases[i].digest != NULL))
            fail_msg("%s: %d", cases[i].name, r);
        if (r == 0)
            assert_string_equal(desc.digest, cases[i].digest);
        else
            assert_int_equal(r, -ENOENT);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_table),      cmocka_unit_test(loopback),
        cmocka_unit_test(challenge_table), cmocka_unit_test(token_urls),
        cmocka_unit_test(doc_table),       cmocka_unit_test(manifest_fields),
        cmocka_unit_test(config_fields),   cmocka_unit_test(layout_refs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
