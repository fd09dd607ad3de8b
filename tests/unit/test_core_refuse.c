/* Every refusal of docs/pod-api.md: the field that it names, and that it says what to do. And what
 * is not refused. */
#include "core_fixture.h"

#include "provider/core/refuse.h"

static const struct container_spec two[] = {{.name = "c", .image = "a"},
                                            {.name = "d", .image = "b"}};
static const struct volume automatic = {
    .name = "kube-api-access-x", .type = "projected", .kube_api_access = true};
static const struct volume vols[] = {
    {.name = "kube-api-access-x", .type = "projected", .kube_api_access = true},
    {.name = "host", .type = "nfs", .kind = VOLUME_OTHER}};
static const struct env_var fine_env[] = {
    {.kind = ENV_VALUE, .name = "A", .value = "1"},
    {.kind = ENV_FIELD, .name = "B", .value = "metadata.name"},
    {.kind = ENV_RESOURCE, .name = "C", .value = "limits.cpu"},
    {.kind = ENV_SECRET, .name = "D", .value = "k", .ref = "s"},
    {.kind = ENV_CONFIG_MAP, .name = "E", .value = "k", .ref = "s"},
};
static const struct env_var file_env[] = {
    {.kind = ENV_VALUE, .name = "A", .value = "1"},
    {.kind = ENV_FILE, .name = "B", .value = "k", .ref = "s", .optional = true},
};

static void with_two(struct fixture *f)
{
    f->spec.containers = two;
    f->spec.containers_len = 2;
}

static void with_none(struct fixture *f)
{
    f->spec.containers_len = 0;
}

static void with_inits(struct fixture *f)
{
    fixture_inits(f, POD_INITS_MAX);
}

static void with_too_many_inits(struct fixture *f)
{
    fixture_inits(f, POD_INITS_MAX);
    f->spec.init_containers_len++;
}

static void with_sidecar(struct fixture *f)
{
    fixture_inits(f, 2);
    f->inits[1].features = CF_SIDECAR;
}

static void with_bad_init(struct fixture *f)
{
    fixture_inits(f, 2);
    f->inits[0].features = CF_PRIVILEGED;
}

static void with_large_init(struct fixture *f)
{
    fixture_inits(f, 1);
    f->inits[0].resources.memory_limit_bytes = 9LL << 30;
}

static void with_volumes(struct fixture *f)
{
    f->spec.volumes = vols;
    f->spec.volumes_len = 2;
}

static void with_volume(struct fixture *f, const struct volume *volume)
{
    f->spec.volumes = volume;
    f->spec.volumes_len = 1;
}

static void with_bundle(struct fixture *f)
{
    static const struct volume_source bundle = {.kind = SOURCE_TRUST_BUNDLE};
    static const struct volume volume = {.name = "v",
                                         .type = "projected",
                                         .kind = VOLUME_PROJECTED,
                                         .sources = &bundle,
                                         .sources_len = 1};

    with_volume(f, &volume);
}

static void with_huge_pages(struct fixture *f)
{
    static const struct volume volume = {
        .name = "v", .type = "emptyDir", .kind = VOLUME_EMPTY_DIR, .huge_pages = true};

    with_volume(f, &volume);
}

static void with_host_path(struct fixture *f)
{
    static const struct volume volume = {
        .name = "v", .type = "hostPath", .kind = VOLUME_HOST_PATH, .path = "/srv/ab"};

    with_volume(f, &volume);
}

static void with_allowed_path(struct fixture *f)
{
    static const struct volume volume = {
        .name = "v", .type = "hostPath", .kind = VOLUME_HOST_PATH, .path = "/srv/a/b"};

    with_volume(f, &volume);
}

static void with_automatic_volume(struct fixture *f)
{
    f->spec.volumes = &automatic;
    f->spec.volumes_len = 1;
}

static void with_fine_env(struct fixture *f)
{
    f->container.env = fine_env;
    f->container.env_len = LEN(fine_env);
}

static void with_file_env(struct fixture *f)
{
    f->container.env = file_env;
    f->container.env_len = LEN(file_env);
}

static void with_working_dir(struct fixture *f)
{
    f->container.working_dir = "/srv";
}

static void with_class(struct fixture *f)
{
    f->spec.runtime_class = "other";
}

static void with_limit(struct fixture *f)
{
    f->container.resources.memory_request_bytes = 1;
    f->container.resources.memory_limit_bytes = (8LL << 30) + 1024;
}

static void with_all_that_fits(struct fixture *f)
{
    f->container.resources = (struct resources){4000, 9000, 8LL << 30, 8LL << 30, 1, 1};
}

struct row {
    void (*set_up)(struct fixture *f);
    uint32_t pod, container;
    const char *handler;
    bool missing;
    const char *field; /* how the message begins; NULL: not refused */
};

static const struct row rows[] = {
    {.field = NULL},
    {.handler = "unikernel"},
    {.handler = ""},
    {with_automatic_volume, .field = NULL},
    {with_fine_env, .field = NULL},
    {with_all_that_fits, .field = NULL},
    {.pod = PF_MIRROR | PF_HOST_NETWORK, .field = NULL},

    {with_class, .missing = true, .field = "spec.runtimeClassName (other) names"},
    {with_class, .handler = "kata", .field = "spec.runtimeClassName (other, handler kata) is not"},
    {.pod = PF_WINDOWS_OPTIONS, .field = "spec.securityContext.windowsOptions is"},
    {with_none, .field = "spec.containers is empty"},
    {with_two, .field = "spec.containers[1] (d) is"},
    {with_inits, .handler = "unikernel"},
    {with_too_many_inits, .field = "spec.initContainers (17) are more than 16,"},
    {with_sidecar, .field = "spec.initContainers[1].restartPolicy (Always) makes it a sidecar"},
    {with_bad_init, .field = "spec.initContainers[0].securityContext.privileged cannot"},
    {with_large_init, .field = "spec.initContainers[0].resources.limits.memory (9Gi;"},
    {.pod = PF_EPHEMERAL_CONTAINERS, .field = "spec.ephemeralContainers is"},
    {with_volumes, .field = "spec.volumes[1] (nfs) is"},
    {with_bundle, .field = "spec.volumes[0] (clusterTrustBundle) is"},
    {with_huge_pages, .field = "spec.volumes[0] (emptyDir.medium HugePages) is"},
    {with_host_path, .field = "spec.volumes[0].hostPath.path (/srv/ab) is not below"},
    {with_allowed_path, .field = NULL},
    {.container = CF_VOLUME_DEVICES, .field = "spec.containers[0].volumeDevices is"},
    {.pod = PF_HOST_NETWORK, .field = "spec.hostNetwork cannot"},
    {.pod = PF_HOST_PID, .field = "spec.hostPID has"},
    {.pod = PF_HOST_IPC, .field = "spec.hostIPC has"},
    {.pod = PF_SHARE_PROCESS_NAMESPACE, .field = "spec.shareProcessNamespace has"},
    {.pod = PF_USER_NAMESPACE, .field = "spec.hostUsers must"},
    {.container = CF_PRIVILEGED, .field = "spec.containers[0].securityContext.privileged cannot"},
    {.container = CF_LIVENESS_PROBE, .field = "spec.containers[0].livenessProbe needs"},
    {.container = CF_READINESS_PROBE, .field = "spec.containers[0].readinessProbe needs"},
    {.container = CF_STARTUP_PROBE, .field = "spec.containers[0].startupProbe needs"},
    {.container = CF_POST_START, .field = "spec.containers[0].lifecycle.postStart needs"},
    {.container = CF_PRE_STOP, .field = "spec.containers[0].lifecycle.preStop needs"},
    {with_file_env, .field = "spec.containers[0].env[1].valueFrom (fileKeyRef) is"},
    {with_working_dir, .field = "spec.containers[0].workingDir cannot"},
    {.container = CF_RESTART_RULE, .field = "spec.containers[0].restartPolicyRules has"},
    {.pod = PF_POD_RESOURCES, .field = "spec.resources is"},
    {.pod = PF_RESOURCE_CLAIMS, .field = "spec.resourceClaims is"},
    {.container = CF_RESOURCE_CLAIMS, .field = "spec.containers[0].resources.claims is"},
    {.container = CF_HUGEPAGES, .field = "spec.containers[0].resources (hugepages-*) is"},
    {.container = CF_EXTENDED_RESOURCES,
     .field = "spec.containers[0].resources (extended resource) is"},
    {with_limit,
     .field = "spec.containers[0].resources.limits.memory (8388609Ki; the node has 8Gi) is"},
};

static void refusal_table(void **state)
{
    unsigned wrong = 0;

    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        static const char *const prefixes[] = {"/opt/", "/srv/a"};
        struct refuse_env env = {
            .host_prefixes = prefixes,
            .host_prefixes_len = LEN(prefixes),
            .runtime_handler = rows[i].handler,
            .runtime_class_missing = rows[i].missing,
            .allocatable_memory_bytes = 8LL << 30,
        };
        struct refusal refusal = {0};
        struct fixture f;
        bool refused;

        fixture_init(&f);
        f.spec.features = rows[i].pod;
        f.container.features = rows[i].container;
        if (rows[i].set_up)
            rows[i].set_up(&f);
        refused = pod_refuse(&f.spec, &env, &refusal);
        if (refused != (rows[i].field != NULL) ||
            (refused && (strncmp(refusal.message, rows[i].field, strlen(rows[i].field)) != 0 ||
                         refusal.message[strlen(refusal.message) - 1] != '.' ||
                         strcmp(refusal.reason, "CreateContainerConfigError") != 0))) {
            print_error("row %zu: want %s, got \"%s\"\n", i, rows[i].field ? rows[i].field : "-",
                        refusal.message);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* No bit of a feature may be forgotten: each refuses, or is named here as honoured, or as what
 * admit.h rejects. */
static void no_feature_is_ignored(void **state)
{
    const struct refuse_env env = {0};
    struct refusal refusal;
    struct fixture f;

    (void)state;
    for (uint32_t bit = 1; bit <= CF_SIDECAR; bit <<= 1) {
        if (bit == 1u << 5) /* was envFrom's */
            continue;
        fixture_init(&f);
        f.container.features = bit;
        assert_true(pod_refuse(&f.spec, &env, &refusal));
    }
    for (uint32_t bit = 1; bit < PF_MIRROR; bit <<= 1) {
        if (bit == 1u << 10 || bit == 1u << 11)
            continue; /* once those of deadline and readiness gates */
        fixture_init(&f);
        f.spec.features = bit;
        assert_int_equal(pod_refuse(&f.spec, &env, &refusal), bit != PF_OS_NOT_LINUX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusal_table),
        cmocka_unit_test(no_feature_is_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
