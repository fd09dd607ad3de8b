/* k8s/codec_pod.c: Pods as the API server sends them (contract appendix A and variants) into
 * pod_spec, wrong types included. */
#include "k8s/codec.h"

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct decoded {
    struct arena *arena;
    const struct pod_spec *pod;
};

static int decode(const char *text, struct decoded *ret, struct err *err)
{
    struct json *json = json_parse(text, strlen(text), err);
    int r;

    assert_non_null(json);
    ret->arena = arena_new(2048);
    ret->pod = NULL;
    r = codec_pod(json, ret->arena, &ret->pod, err);
    json_free(json); /* nothing may point into it */
    return r;
}

static const char minimal[] =
    "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"p2\",\"namespace\":"
    "\"default\","
    "\"uid\":\"d1f7\",\"resourceVersion\":\"1094\",\"generation\":1,"
    "\"creationTimestamp\":\"2026-11-23T05:38:25Z\","
    "\"managedFields\":[{\"manager\":\"x\",\"fieldsV1\":{\"f:spec\":{}}}]},"
    "\"spec\":{\"volumes\":[{\"name\":\"kube-api-access-6l4n5\",\"projected\":{\"sources\":["
    "{\"serviceAccountToken\":{\"expirationSeconds\":3607,\"path\":\"token\"}}],"
    "\"defaultMode\":420}}],"
    "\"containers\":[{\"name\":\"c\",\"image\":\"b\",\"resources\":{},\"volumeMounts\":[{\"name\":"
    "\"kube-api-access-6l4n5\",\"readOnly\":true,\"mountPath\":\"/var/run/x\"}],"
    "\"terminationMessagePath\":\"/dev/termination-log\",\"terminationMessagePolicy\":\"File\","
    "\"imagePullPolicy\":\"Always\"}],\"restartPolicy\":\"Always\","
    "\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":\"ClusterFirst\","
    "\"serviceAccountName\":\"default\",\"serviceAccount\":\"default\",\"nodeName\":\"uk-0\","
    "\"securityContext\":{},\"schedulerName\":\"default-scheduler\",\"priority\":0,"
    "\"enableServiceLinks\":true},\"status\":{\"phase\":\"Pending\",\"qosClass\":\"BestEffort\"}}";

static void test_minimal(void **state)
{
    struct decoded d;

    (void)state;
    assert_int_equal(decode(minimal, &d, NULL), 0);
    assert_string_equal(d.pod->uid, "d1f7");
    assert_string_equal(d.pod->ns, "default");
    assert_string_equal(d.pod->name, "p2");
    assert_string_equal(d.pod->resource_version, "1094");
    assert_int_equal(d.pod->generation, 1);
    assert_int_equal(d.pod->created_ms, 1795412305000);
    assert_int_equal(d.pod->deletion_ms, 0);
    assert_string_equal(d.pod->node_name, "uk-0");
    assert_string_equal(d.pod->service_account, "default");
    assert_string_equal(d.pod->dns_policy, "ClusterFirst");
    assert_null(d.pod->runtime_class);
    assert_null(d.pod->hostname);
    assert_int_equal(d.pod->grace_s, 30);
    assert_int_equal(d.pod->features, 0);
    assert_int_equal(d.pod->restart_policy, RESTART_ALWAYS);
    assert_int_equal(d.pod->volumes_len, 1);
    assert_true(d.pod->volumes[0].kube_api_access);
    assert_int_equal(d.pod->containers_len, 1);
    assert_string_equal(d.pod->containers[0].image, "b");
    assert_int_equal(d.pod->containers[0].pull_policy, PULL_ALWAYS);
    assert_int_equal(d.pod->containers[0].features, 0);
    assert_int_equal(d.pod->containers[0].resources.cpu_request_milli, -1);
    assert_int_equal(d.pod->containers[0].resources.memory_limit_bytes, -1);
    assert_true(d.pod->containers[0].mounts[0].read_only);
    assert_false(d.pod->containers[0].log_fallback);
    assert_int_equal(d.pod->api_phase, PHASE_PENDING);
    assert_int_equal(d.pod->api_qos, QOS_BEST_EFFORT);
    assert_false(d.pod->api_scheduled);
    assert_true(arena_bytes(d.arena) <= 2560);
    arena_free(d.arena);
}

static const char full[] =
    "{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\",\"generation\":3,"
    "\"deletionTimestamp\":\"2026-11-23T05:00:30Z\",\"deletionGracePeriodSeconds\":7,"
    "\"labels\":{\"a\":\"b\",\"c\":\"\"},\"annotations\":{\"x\":\"y\"}},"
    "\"spec\":{\"runtimeClassName\":\"unikernel\",\"restartPolicy\":\"OnFailure\","
    "\"terminationGracePeriodSeconds\":0,\"activeDeadlineSeconds\":60,\"priority\":-5,"
    "\"hostname\":\"h\",\"subdomain\":\"s\",\"dnsPolicy\":\"None\","
    "\"dnsConfig\":{\"nameservers\":[\"1.1.1.1\",\"8.8.8.8\"],\"searches\":[\"x.y\"]},"
    "\"imagePullSecrets\":[{\"name\":\"s1\"},{\"name\":\"s2\"}],"
    "\"overhead\":{\"cpu\":\"50m\",\"memory\":\"32Mi\"},"
    "\"initContainers\":[{\"name\":\"i\",\"image\":\"x\",\"restartPolicy\":\"Always\"}],"
    "\"containers\":[{\"name\":\"c\",\"image\":\"r/app:v1\",\"command\":[\"/a\",\"b c\"],"
    "\"args\":[\"$(X)\"],\"workingDir\":\"/w\",\"stdin\":true,\"tty\":true,"
    "\"imagePullPolicy\":\"Never\",\"terminationMessagePolicy\":\"FallbackToLogsOnError\","
    "\"ports\":[{\"name\":\"http\",\"containerPort\":80,\"protocol\":\"TCP\"},"
    "{\"containerPort\":53,\"hostPort\":5353,\"hostIP\":\"10.0.0.1\",\"protocol\":\"UDP\"}],"
    "\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\"},"
    "{\"name\":\"C\",\"valueFrom\":{\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":"
    "\"status.podIP\"}}},"
    "{\"name\":\"D\",\"valueFrom\":{\"resourceFieldRef\":{\"containerName\":\"c\",\"resource\":"
    "\"limits.memory\",\"divisor\":\"1Mi\"}}},"
    "{\"name\":\"E\",\"valueFrom\":{\"resourceFieldRef\":{\"resource\":\"limits.cpu\","
    "\"divisor\":\"0\"}}},"
    "{\"name\":\"F\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"cm\",\"key\":\"k\","
    "\"optional\":true}}},"
    "{\"name\":\"G\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"se\",\"key\":\"k\"}}},"
    "{\"name\":\"H\",\"valueFrom\":{\"fileKeyRef\":{\"volumeName\":\"v\",\"key\":\"k\"}}},"
    "{\"name\":\"I\",\"valueFrom\":{\"newRef\":{}}}],"
    "\"resources\":{\"requests\":{\"cpu\":\"250m\",\"memory\":\"64Mi\",\"ephemeral-storage\":"
    "\"1Gi\"},\"limits\":{\"cpu\":\"1\",\"memory\":\"128Mi\"}},"
    "\"resizePolicy\":[{\"resourceName\":\"cpu\",\"restartPolicy\":\"NotRequired\"},"
    "{\"resourceName\":\"memory\",\"restartPolicy\":\"RestartContainer\"}]}],"
    "\"volumes\":[{\"name\":\"v\",\"hostPath\":{\"path\":\"/x\",\"type\":\"\"}},{\"name\":\"e\","
    "\"emptyDir\":{}},{\"name\":\"kube-api-access-x\",\"projected\":{\"sources\":[{\"secret\":{}}]}"
    "},"
    "{\"name\":\"none\"}]},"
    "\"status\":{\"phase\":\"Running\",\"qosClass\":\"Burstable\",\"startTime\":"
    "\"2026-11-23T05:00:00Z\",\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"True\","
    "\"lastTransitionTime\":\"2026-11-23T05:00:00Z\"},{\"type\":\"Ready\",\"status\":\"False\"},"
    "{\"type\":\"DisruptionTarget\",\"status\":\"True\"}],"
    "\"containerStatuses\":[{\"name\":\"other\",\"restartCount\":9},{\"name\":\"c\","
    "\"restartCount\":4}]}}";

static void check_full_container(const struct container_spec *c)
{
    static const struct {
        enum env_kind kind;
        const char *name, *value, *ref, *divisor;
        bool optional;
    } env[] = {
        {ENV_VALUE, "A", "1", NULL, NULL, false},
        {ENV_VALUE, "B", "", NULL, NULL, false},
        {ENV_FIELD, "C", "status.podIP", NULL, NULL, false},
        {ENV_RESOURCE, "D", "limits.memory", "c", "1Mi", false},
        {ENV_RESOURCE, "E", "limits.cpu", NULL, NULL, false},
        {ENV_CONFIG_MAP, "F", "k", "cm", NULL, true},
        {ENV_SECRET, "G", "k", "se", NULL, false},
        {ENV_FILE, "H", "k", "v", NULL, false},
        {ENV_UNKNOWN, "I", "", NULL, NULL, false},
    };

    assert_int_equal(c->env_len, sizeof(env) / sizeof(env[0]));
    for (size_t i = 0; i < c->env_len; i++) {
        assert_int_equal(c->env[i].kind, env[i].kind);
        assert_string_equal(c->env[i].name, env[i].name);
        assert_string_equal(c->env[i].value, env[i].value);
        assert_true(str_eq(c->env[i].ref, env[i].ref));
        assert_true(str_eq(c->env[i].divisor, env[i].divisor));
        assert_int_equal(c->env[i].optional, env[i].optional);
    }
    assert_int_equal(c->command_len, 2);
    assert_string_equal(c->command[1], "b c");
    assert_int_equal(c->args_len, 1);
    assert_string_equal(c->working_dir, "/w");
    assert_true(c->stdin_open && c->tty && c->log_fallback);
    assert_int_equal(c->pull_policy, PULL_NEVER);
    assert_int_equal(c->ports_len, 2);
    assert_string_equal(c->ports[0].name, "http");
    assert_int_equal(c->ports[1].host_port, 5353);
    assert_int_equal(c->ports[1].protocol, PROTOCOL_UDP);
    assert_string_equal(c->ports[1].host_ip, "10.0.0.1");
    assert_int_equal(c->resources.cpu_request_milli, 250);
    assert_int_equal(c->resources.cpu_limit_milli, 1000);
    assert_int_equal(c->resources.memory_limit_bytes, 128 << 20);
    assert_int_equal(c->resources.ephemeral_request_bytes, 1 << 30);
    assert_int_equal(c->resources.ephemeral_limit_bytes, -1);
    assert_memory_equal(&c->desired, &c->resources, sizeof(c->desired));
    assert_true(c->memory_restarts && !c->cpu_restarts);
}

static void test_full(void **state)
{
    struct decoded d;

    (void)state;
    assert_int_equal(decode(full, &d, NULL), 0);
    check_full_container(&d.pod->containers[0]);
    assert_int_equal(d.pod->deletion_ms, 1795410030000);
    assert_int_equal(d.pod->deletion_grace_s, 7);
    assert_string_equal(key_value_find(d.pod->labels, d.pod->labels_len, "a"), "b");
    assert_string_equal(key_value_find(d.pod->annotations, d.pod->annotations_len, "x"), "y");
    assert_string_equal(d.pod->runtime_class, "unikernel");
    assert_int_equal(d.pod->restart_policy, RESTART_ON_FAILURE);
    assert_int_equal(d.pod->grace_s, 0);
    assert_int_equal(d.pod->active_deadline_s, 60);
    assert_int_equal(d.pod->priority, -5);
    assert_int_equal(d.pod->dns_servers_len, 2);
    assert_string_equal(d.pod->dns_servers[1], "8.8.8.8");
    assert_string_equal(d.pod->dns_searches[0], "x.y");
    assert_int_equal(d.pod->pull_secrets_len, 2);
    assert_string_equal(d.pod->pull_secrets[1], "s2");
    assert_int_equal(d.pod->overhead_cpu_milli, 50);
    assert_int_equal(d.pod->overhead_memory_bytes, 32 << 20);
    assert_int_equal(d.pod->init_containers_len, 1);
    assert_int_equal(d.pod->init_containers[0].features, CF_SIDECAR);
    assert_int_equal(d.pod->features, 0);
    assert_int_equal(d.pod->volumes_len, 4);
    assert_string_equal(d.pod->volumes[0].type, "hostPath");
    assert_string_equal(d.pod->volumes[1].type, "emptyDir");
    assert_false(d.pod->volumes[2].kube_api_access);
    assert_string_equal(d.pod->volumes[3].type, "emptyDir");
    assert_int_equal(d.pod->api_phase, PHASE_RUNNING);
    assert_int_equal(d.pod->api_qos, QOS_BURSTABLE);
    assert_int_equal(d.pod->api_start_ms, 1795410000000);
    assert_true(d.pod->api_scheduled);
    assert_int_equal(d.pod->containers[0].api_restart_count, 4);
    assert_true(d.pod->api_conditions[COND_SCHEDULED].known);
    assert_int_equal(d.pod->api_conditions[COND_SCHEDULED].since_ms, 1795410000000);
    assert_true(d.pod->api_conditions[COND_READY].known);
    assert_false(d.pod->api_conditions[COND_READY].status);
    assert_false(d.pod->api_conditions[COND_INITIALIZED].known);
    arena_free(d.arena);
}

/* Container-level restart policies (Kubernetes 1.35), readiness gates, and the init containers'
 * restart counts. */
static void test_restart(void **state)
{
    static const char text[] =
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\"},\"spec\":{"
        "\"restartPolicy\":"
        "\"Never\",\"readinessGates\":[{\"conditionType\":\"a.b/c\"},{\"conditionType\":\"d\"},{}],"
        "\"initContainers\":[{\"name\":\"i\",\"image\":\"x\"},{\"name\":\"s\",\"image\":\"x\","
        "\"restartPolicy\":\"Always\"}],\"containers\":[{\"name\":\"c\",\"image\":\"x\","
        "\"restartPolicy\":"
        "\"OnFailure\",\"restartPolicyRules\":[{\"action\":\"Restart\",\"exitCodes\":{\"operator\":"
        "\"In\",\"values\":[42,-1,\"x\",4294967296]}},{\"action\":\"Restart\",\"exitCodes\":{"
        "\"operator\":"
        "\"NotIn\",\"values\":[]}},{\"action\":\"RestartAllContainers\",\"exitCodes\":{"
        "\"operator\":"
        "\"In\",\"values\":[1]}}]}]},\"status\":{\"conditions\":[{\"type\":\"d\",\"status\":"
        "\"False\"}],"
        "\"initContainerStatuses\":[{\"name\":\"s\",\"restartCount\":3},{\"name\":\"zz\","
        "\"restartCount\":9}]}}";
    const struct container_spec *c;
    struct decoded d;

    (void)state;
    assert_int_equal(decode(text, &d, NULL), 0);
    c = &d.pod->containers[0];
    assert_true(c->own_restart_policy);
    assert_int_equal(c->restart_policy, RESTART_ON_FAILURE);
    assert_int_equal(c->restart_rules_len, 3);
    assert_int_equal(c->restart_rules[0].op, RESTART_IN);
    assert_int_equal(c->restart_rules[0].codes_len, 2);
    assert_int_equal(c->restart_rules[0].codes[0], 42);
    assert_int_equal(c->restart_rules[0].codes[1], -1);
    assert_int_equal(c->restart_rules[1].op, RESTART_NOT_IN);
    assert_int_equal(c->restart_rules[1].codes_len, 0);
    assert_int_equal(c->features, CF_RESTART_RULE); /* the third has another action */
    assert_int_equal(d.pod->readiness_gates_len, 3);
    assert_string_equal(d.pod->readiness_gates[0].type, "a.b/c");
    assert_null(d.pod->readiness_gates[0].status);
    assert_string_equal(d.pod->readiness_gates[1].status, "False");
    assert_string_equal(d.pod->readiness_gates[2].type, "");
    assert_false(d.pod->init_containers[0].own_restart_policy);
    assert_int_equal(d.pod->init_containers[0].features, 0);
    assert_int_equal(d.pod->init_containers[1].features, CF_SIDECAR);
    assert_int_equal(d.pod->init_containers[1].api_restart_count, 3);
    arena_free(d.arena);
}

/* Members put into spec (or, with a leading '.', into the container) and the bits that they set. */
static void test_features(void **state)
{
    static const struct {
        const char *spec, *container, *annotations;
        uint32_t pod_bits, container_bits;
    } rows[] = {
        {"", "", "", 0, 0},
        {"\"hostNetwork\":true,", "", "", PF_HOST_NETWORK, 0},
        {"\"hostNetwork\":false,\"hostPID\":true,\"hostIPC\":true,", "", "",
         PF_HOST_PID | PF_HOST_IPC, 0},
        {"\"shareProcessNamespace\":true,", "", "", PF_SHARE_PROCESS_NAMESPACE, 0},
        {"\"ephemeralContainers\":[{\"name\":\"d\"}],", "", "", PF_EPHEMERAL_CONTAINERS, 0},
        {"\"ephemeralContainers\":[],\"resourceClaims\":[{}],", "", "", PF_RESOURCE_CLAIMS, 0},
        {"\"os\":{\"name\":\"windows\"},", "", "", PF_OS_NOT_LINUX, 0},
        {"\"os\":{\"name\":\"linux\"},\"hostUsers\":true,", "", "", 0, 0},
        {"\"hostUsers\":false,", "", "", PF_USER_NAMESPACE, 0},
        {"\"securityContext\":{\"windowsOptions\":{}},", "", "", PF_WINDOWS_OPTIONS, 0},
        {"\"resources\":{\"limits\":{\"cpu\":\"1\"}},", "", "", PF_POD_RESOURCES, 0},
        {"\"readinessGates\":[{\"conditionType\":\"x\"}],", "", "", 0, 0},
        {"", "", "\"kubernetes.io/config.mirror\":\"h\"", PF_MIRROR, 0},
        {"", ",\"livenessProbe\":{},\"readinessProbe\":{},\"startupProbe\":{}", "", 0,
         CF_LIVENESS_PROBE | CF_READINESS_PROBE | CF_STARTUP_PROBE},
        {"", ",\"lifecycle\":{\"postStart\":{},\"preStop\":{}}", "", 0,
         CF_POST_START | CF_PRE_STOP},
        {"", ",\"envFrom\":[],\"securityContext\":{\"privileged\":true}", "", 0, CF_PRIVILEGED},
        {"", ",\"securityContext\":{\"privileged\":false}", "", 0, 0},
        {"", ",\"restartPolicyRules\":[{}]", "", 0, CF_RESTART_RULE},
        {"", ",\"restartPolicy\":\"Never\"", "", 0, 0},
        {"", ",\"resources\":{\"limits\":{\"hugepages-2Mi\":\"2Mi\",\"a.b/gpu\":\"1\"}}", "", 0,
         CF_HUGEPAGES | CF_EXTENDED_RESOURCES},
        {"", ",\"resources\":{\"limits\":{\"hugepages-2Mi\":\"0\",\"a.b/gpu\":\"0\"}}", "", 0, 0},
        {"", ",\"resources\":{\"claims\":[{\"name\":\"x\"}]}", "", 0, CF_RESOURCE_CLAIMS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = xasprintf("{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\","
                               "\"annotations\":{%s}},\"spec\":{%s\"containers\":[{\"name\":\"c\","
                               "\"image\":\"i\"%s}]}}",
                               rows[i].annotations, rows[i].spec, rows[i].container);
        struct decoded d;

        assert_int_equal(decode(text, &d, NULL), 0);
        assert_int_equal(d.pod->features, rows[i].pod_bits);
        assert_int_equal(d.pod->containers[0].features, rows[i].container_bits);
        arena_free(d.arena);
        free(text);
    }
}

static void test_unusable(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: usable */
    } rows[] = {
        {"{}", "a Pod without uid"},
        {"[]", "a Pod without uid"},
        {"{\"metadata\":{\"uid\":\"u\"}}", "a Pod without name"},
        {"{\"metadata\":{\"uid\":\"u\",\"name\":5}}", "a Pod without name"},
        {"{\"metadata\":{\"uid\":\"u\",\"name\":\"p\"}}", "a Pod without namespace"},
        {"{\"metadata\":{\"uid\":\"u\",\"name\":\"p\",\"namespace\":\"n\"}}",
         "Pod n/p has no container"},
        {"{\"metadata\":{\"uid\":\"u\",\"name\":\"p\",\"namespace\":\"n\"},\"spec\":{"
         "\"containers\":"
         "{}}}",
         "Pod n/p has no container"},
        {"{\"metadata\":{\"uid\":\"u\",\"name\":\"p\",\"namespace\":\"n\"},\"spec\":{"
         "\"containers\":"
         "[7]}}",
         "Pod n/p has a container without a name"},
        /* Wrong types count as absent. */
        {"{\"metadata\":{\"uid\":\"u\",\"name\":\"p\",\"namespace\":\"n\",\"labels\":[1],"
         "\"annotations\":{\"a\":1},\"deletionTimestamp\":\"soon\"},\"spec\":{\"containers\":"
         "[{\"name\":\"c\",\"env\":[1,{\"name\":2}],\"ports\":[{\"containerPort\":70000}],"
         "\"command\":\"x\",\"resources\":{\"limits\":{\"cpu\":{},\"memory\":\"lots\"}}}],"
         "\"volumes\":\"x\",\"priority\":99999999999},\"status\":7}",
         NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {0};
        struct decoded d;

        assert_int_equal(decode(rows[i].text, &d, &err), rows[i].want ? -EINVAL : 0);
        if (rows[i].want) {
            assert_string_equal(err.text, rows[i].want);
            assert_null(d.pod);
        } else {
            assert_int_equal(d.pod->deletion_ms, 1);
            assert_int_equal(d.pod->deletion_grace_s, 30);
            assert_int_equal(d.pod->containers[0].env_len, 0);
            assert_int_equal(d.pod->containers[0].ports_len, 0);
            assert_int_equal(d.pod->containers[0].resources.memory_limit_bytes, -1);
            assert_int_equal(d.pod->api_phase, PHASE_UNKNOWN);
        }
        arena_free(d.arena);
    }
}

/* What another client writes into the agent's own fields shows in the hash; what is the API
 * server's, the scheduler's or a controller's own does not. */
static void test_hash(void **state)
{
    static const char running[] = "\"phase\":\"Running\",\"podIP\":\"1.2.3.4\"";
    static const struct {
        const char *status;
        bool same;
    } rows[] = {
        {"\"phase\":\"Running\",\"podIP\":\"1.2.3.4\"", true},
        {"\"phase\":\"Running\",\"podIP\":\"1.2.3.4\",\"qosClass\":\"Guaranteed\"", true},
        {"\"phase\":\"Running\",\"podIP\":\"1.2.3.4\",\"conditions\":[{\"type\":\"PodScheduled\","
         "\"status\":\"True\"},{\"type\":\"example.com/gate\",\"status\":\"True\"}]",
         true},
        {"\"phase\":\"Pending\",\"podIP\":\"1.2.3.4\"", false},
        {"\"phase\":\"Running\"", false},
        {"\"phase\":\"Running\",\"podIP\":\"1.2.3.5\"", false},
        {"\"phase\":\"Running\",\"podIP\":\"1.2.3.4\",\"message\":\"m\"", false},
        {"\"phase\":\"Running\",\"podIP\":\"1.2.3.4\",\"conditions\":[{\"type\":\"Ready\","
         "\"status\":\"False\"}]",
         false},
        {"\"phase\":\"Running\",\"podIP\":\"1.2.3.4\",\"containerStatuses\":[{\"restartCount\":1}]",
         false},
        {"\"phase\":\"Running\",\"podIP\":\"1.2.3.4\",\"containerStatuses\":[{\"ready\":true}]",
         false},
    };
    uint64_t hashes[sizeof(rows) / sizeof(rows[0])];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = xasprintf("{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\"},"
                               "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]},"
                               "\"status\":{%s}}",
                               i ? rows[i].status : running);
        struct decoded d;

        assert_int_equal(decode(text, &d, NULL), 0);
        hashes[i] = d.pod->api_hash;
        assert_int_equal(hashes[i] == hashes[0], rows[i].same);
        for (size_t k = 0; k < i && !rows[i].same; k++)
            assert_true(hashes[k] != hashes[i]);
        arena_free(d.arena);
        free(text);
    }
}

/* nodeSelector, required node affinity, the tolerations that the node looks at, and who owns it. */
static void test_placement(void **state)
{
    static const char text[] =
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\",\"ownerReferences\":["
        "{\"uid\":\"o1\"},{\"uid\":\"o2\",\"controller\":true}]},"
        "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],"
        "\"nodeSelector\":{\"zone\":\"a\",\"bad\":1},"
        "\"affinity\":{\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{"
        "\"nodeSelectorTerms\":[{},{\"matchExpressions\":[{\"key\":\"cores\",\"operator\":\"Gt\","
        "\"values\":[\"4\"]},{\"key\":\"x\",\"operator\":\"Near\"}],\"matchFields\":[{\"key\":"
        "\"metadata.name\",\"operator\":\"In\",\"values\":[\"uk-0\"]}]}]}}},"
        "\"tolerations\":[{\"operator\":\"Exists\"},{\"key\":\"a\",\"effect\":\"NoSchedule\"},"
        "{\"key\":\"b\",\"value\":\"v\",\"effect\":\"NoExecute\"}]}}";
    struct decoded d;

    (void)state;
    assert_int_equal(decode(text, &d, NULL), 0);
    assert_string_equal(d.pod->controller_uid, "o2");
    assert_int_equal(d.pod->node_selector_len, 1);
    assert_string_equal(d.pod->node_selector[0].value, "a");
    assert_true(d.pod->node_affinity);
    assert_int_equal(d.pod->node_terms_len, 2);
    assert_int_equal(d.pod->node_terms[0].labels_len + d.pod->node_terms[0].fields_len, 0);
    const struct node_term *term = &d.pod->node_terms[1];
    assert_int_equal(term->labels_len, 2);
    assert_int_equal(term->labels[0].op, NODE_GT);
    assert_string_equal(term->labels[0].values[0], "4");
    assert_int_equal(term->labels[1].op, NODE_OPERATOR_UNKNOWN);
    assert_string_equal(term->fields[0].key, "metadata.name");
    assert_int_equal(d.pod->tolerations_len, 2);
    assert_true(d.pod->tolerations[0].exists && !d.pod->tolerations[0].key);
    assert_false(d.pod->tolerations[1].exists);
    assert_string_equal(d.pod->tolerations[1].value, "v");
    assert_string_equal(d.pod->tolerations[1].effect, "NoExecute");
    arena_free(d.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minimal),   cmocka_unit_test(test_full),
        cmocka_unit_test(test_restart),   cmocka_unit_test(test_features),
        cmocka_unit_test(test_hash),      cmocka_unit_test(test_unusable),
        cmocka_unit_test(test_placement),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
