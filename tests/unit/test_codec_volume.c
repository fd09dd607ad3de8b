/* spec.volumes, volumeMounts, envFrom and what names a guest, decoded. */
#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "k8s/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct pod_spec *decode(struct arena *arena, const char *spec)
{
    char text[4096];
    const struct pod_spec *pod = NULL;
    struct err err = {0};

    (void)snprintf(text, sizeof(text),
                   "{'metadata':{'uid':'u','namespace':'n','name':'p'},'spec':{%s}}", spec);
    for (char *p = text; *p; p++) /* the tests write single quotes */
        *p = *p == '\'' ? '"' : *p;
    struct json *root = json_parse(text, strlen(text), &err);

    assert_non_null(root);
    assert_int_equal(codec_pod(root, arena, &pod, &err), 0);
    json_free(root);
    return pod;
}

#define CONTAINER "'containers':[{'name':'c','image':'i'}]"

static const struct {
    const char *json, *type;
    enum volume_kind kind;
    const char *path;
    uint32_t mode;
} kinds[] = {
    {"", "emptyDir", VOLUME_EMPTY_DIR, "", 0},
    {",'emptyDir':{}", "emptyDir", VOLUME_EMPTY_DIR, "", 0644},
    {",'configMap':{'name':'m','defaultMode':256}", "configMap", VOLUME_PROJECTED, "", 0400},
    {",'secret':{'secretName':'m'}", "secret", VOLUME_PROJECTED, "", 0644},
    {",'downwardAPI':{'items':[]}", "downwardAPI", VOLUME_PROJECTED, "", 0644},
    {",'projected':{'sources':[],'defaultMode':99999}", "projected", VOLUME_PROJECTED, "", 0644},
    {",'hostPath':{'path':'/x','type':'File'}", "hostPath", VOLUME_HOST_PATH, "/x", 0644},
    {",'persistentVolumeClaim':{'claimName':'d'}", "persistentVolumeClaim", VOLUME_CLAIM, "d",
     0644},
    {",'ephemeral':{'volumeClaimTemplate':{}}", "ephemeral", VOLUME_CLAIM, "p-v", 0644},
    {",'image':{'reference':'r/a:1'}", "image", VOLUME_IMAGE, "r/a:1", 0644},
    {",'nfs':{'server':'s'}", "nfs", VOLUME_OTHER, "", 0644},
    {",'nfs':7", "emptyDir", VOLUME_EMPTY_DIR, "", 0},
};

static void volume_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct arena *arena = arena_new(1024);
        char spec[1024];

        (void)snprintf(spec, sizeof(spec), "'volumes':[{'name':'v'%s}]," CONTAINER, kinds[i].json);
        const struct pod_spec *pod = decode(arena, spec);

        assert_int_equal(pod->volumes_len, 1);
        assert_string_equal(pod->volumes[0].name, "v");
        assert_string_equal(pod->volumes[0].type, kinds[i].type);
        assert_int_equal(pod->volumes[0].kind, kinds[i].kind);
        assert_string_equal(pod->volumes[0].path, kinds[i].path);
        assert_int_equal(pod->volumes[0].default_mode, kinds[i].mode);
        assert_int_equal(pod->volumes[0].size_limit, -1);
        assert_false(pod->volumes[0].kube_api_access);
        arena_free(arena);
    }
}

/* The automatic volume, as the API server writes it. */
static void automatic_volume(void **state)
{
    struct arena *arena = arena_new(1024);
    const struct pod_spec *pod = decode(
        arena, "'volumes':[{'name':'kube-api-access-x','projected':{'defaultMode':420,"
               "'sources':[{'serviceAccountToken':{'expirationSeconds':3607,'path':'token'}},"
               "{'configMap':{'name':'kube-root-ca.crt','items':[{'key':'ca.crt','path':"
               "'ca.crt','mode':256}]}},{'downwardAPI':{'items':[{'path':'namespace',"
               "'fieldRef':{'fieldPath':'metadata.namespace'}},{'path':'cpu',"
               "'resourceFieldRef':{'containerName':'c','resource':'limits.cpu','divisor':"
               "'0'}}]}},{'secret':{'name':'s','optional':true}},{'other':{}}]}},"
               "{'name':'e','emptyDir':{'medium':'Memory','sizeLimit':'1Mi'}}]," CONTAINER);
    const struct volume *v = &pod->volumes[0];

    (void)state;
    assert_true(v->kube_api_access);
    assert_int_equal(v->sources_len, 5);
    assert_int_equal(v->sources[0].kind, SOURCE_TOKEN);
    assert_int_equal(v->sources[0].expiration_s, 3607);
    assert_string_equal(v->sources[0].path, "token");
    assert_string_equal(v->sources[0].audience, "");
    assert_string_equal(v->sources[1].name, "kube-root-ca.crt");
    assert_string_equal(v->sources[1].items[0].key, "ca.crt");
    assert_int_equal(v->sources[1].items[0].mode, 0400);
    assert_string_equal(v->sources[2].items[0].key, "metadata.namespace");
    assert_int_equal(v->sources[2].items[0].mode, -1);
    assert_true(v->sources[2].items[1].resource);
    assert_string_equal(v->sources[2].items[1].container, "c");
    assert_null(v->sources[2].items[1].divisor);
    assert_true(v->sources[3].optional);
    assert_int_equal(v->sources[3].kind, SOURCE_SECRET);
    assert_int_equal(v->sources[4].kind, SOURCE_UNKNOWN);
    assert_true(pod->volumes[1].memory);
    assert_int_equal(pod->volumes[1].size_limit, 1024 * 1024);
    arena_free(arena);
}

static void mounts_and_names(void **state)
{
    struct arena *arena = arena_new(1024);
    const struct pod_spec *pod =
        decode(arena, "'containers':[{'name':'c','image':'i','envFrom':[{'configMapRef':"
                      "{'name':'m'},'prefix':'P_'},{'secretRef':{'name':'s','optional':"
                      "true}},{}],'volumeMounts':[{'name':'v','mountPath':'/d','subPath':'a'},"
                      "{'name':'v','mountPath':'/e','subPathExpr':'$(A)','readOnly':true}]}],"
                      "'hostAliases':[{'ip':'1.2.3.4','hostnames':['a','b']}],"
                      "'setHostnameAsFQDN':true,'enableServiceLinks':false,'dnsConfig':{"
                      "'options':[{'name':'ndots','value':'2'},{'name':'edns0'}]}");
    const struct container_spec *c = &pod->containers[0];

    (void)state;
    assert_int_equal(c->env_from_len, 2);
    assert_string_equal(c->env_from[0].prefix, "P_");
    assert_false(c->env_from[0].secret);
    assert_true(c->env_from[1].secret && c->env_from[1].optional);
    assert_string_equal(c->mounts[0].sub_path, "a");
    assert_null(c->mounts[0].sub_path_expr);
    assert_string_equal(c->mounts[1].sub_path_expr, "$(A)");
    assert_true(c->mounts[1].read_only);
    assert_int_equal(pod->host_aliases_len, 1);
    assert_int_equal(pod->host_aliases[0].names_len, 2);
    assert_string_equal(pod->host_aliases[0].names[1], "b");
    assert_true(pod->hostname_as_fqdn);
    assert_true(pod->no_service_links);
    assert_int_equal(pod->dns_options_len, 2);
    assert_string_equal(pod->dns_options[0].value, "2");
    assert_string_equal(pod->dns_options[1].value, "");
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(volume_kinds),
        cmocka_unit_test(automatic_volume),
        cmocka_unit_test(mounts_and_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
