/* One table of keys; everything else walks it. Called by main before the loop exists. What a value
 * must look like is config_shape.c's. */
#include "provider/config.h"

#include "base/err.h"
#include "base/str.h"
#include "k8s/yaml.h"
#include "provider/config_shape.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum key_type { KEY_STRING, KEY_INT, KEY_BOOL, KEY_LIST };

struct key {
    const char *yaml; /* the flag is the same, --kebab-case */
    const char *flag;
    const char *env;
    enum key_type type;
    enum shape shape; /* of a string, and of each entry of a list */
    size_t offset;
    const char *preset; /* of a list: comma-separated. An empty one: the value may be empty */
    int64_t min, max;   /* KEY_INT */
    const char *help;
};

#define AT(member) offsetof(struct config, member)

static const struct key keys[] = {
    {"nodeName", "node-name", "NODE_NAME", KEY_STRING, SHAPE_NAME, AT(node_name), "", 0, 0,
     "name of the Node to register; default: the host's name"},
    {"nodeIP", "node-ip", "NODE_IP", KEY_STRING, SHAPE_NODE_IP, AT(node_ip), "", 0, 0,
     "InternalIP of the Node, or two of both families, the first one preferred: 10.0.0.1,fd00::1; "
     "default: of the default route's interface"},
    {"kubeconfig", "kubeconfig", "KUBECONFIG", KEY_STRING, SHAPE_PATH, AT(kubeconfig), "", 0, 0,
     "kubeconfig with the agent's own credentials, before bootstrap; default: none"},
    {"bootstrapKubeconfig", "bootstrap-kubeconfig", NULL, KEY_STRING, SHAPE_PATH,
     AT(bootstrap_kubeconfig), "", 0, 0,
     "kubeconfig to request system:node:<name> with; default: the Pod's ServiceAccount"},
    {"serviceAccountDir", "service-account-dir", NULL, KEY_STRING, SHAPE_PATH,
     AT(service_account_dir), "", 0, 0,
     "token and ca.crt of the Pod's ServiceAccount; default: where Pods have them"},
    {"stateDir", "state-dir", NULL, KEY_STRING, SHAPE_PATH, AT(state_dir), "/var/lib/unikubelet", 0,
     0, "images, Pod records, certificates"},
    {"runDir", "run-dir", NULL, KEY_STRING, SHAPE_PATH, AT(run_dir), "/run/unikubelet", 0, 0,
     "sockets of running machines"},
    {"logDir", "log-dir", NULL, KEY_STRING, SHAPE_PATH, AT(log_dir), "/var/log/pods", 0, 0,
     "console logs in the CRI format"},
    {"containerLogMaxSize", "container-log-max-size", NULL, KEY_STRING, SHAPE_MEMORY,
     AT(log_max_size), "10Mi", 0, 0,
     "size at which a container's log file is renamed and begun anew"},
    {"containerLogMaxFiles", "container-log-max-files", NULL, KEY_INT, SHAPE_TEXT,
     AT(log_max_files), "5", 2, 64, "log files kept of a container"},
    {"logLevel", "log-level", NULL, KEY_STRING, SHAPE_LEVEL, AT(log_level), "info", 0, 0,
     "debug, info, warn or error"},
    {"address", "address", NULL, KEY_STRING, SHAPE_IP, AT(address), "0.0.0.0", 0, 0,
     "address that the kubelet server listens on"},
    {"port", "port", NULL, KEY_INT, SHAPE_TEXT, AT(port), "10250", 1, 65535,
     "port of the kubelet server"},
    {"tlsCertFile", "tls-cert-file", NULL, KEY_STRING, SHAPE_PATH, AT(tls_cert_file), "", 0, 0,
     "serving certificate; default: by request or self-signed"},
    {"tlsPrivateKeyFile", "tls-private-key-file", NULL, KEY_STRING, SHAPE_PATH, AT(tls_key_file),
     "", 0, 0, "key of the serving certificate"},
    {"clientCAFile", "client-ca-file", NULL, KEY_STRING, SHAPE_PATH, AT(client_ca_file), "", 0, 0,
     "CA of client certificates; default: the cluster's CA"},
    {"serverTLSBootstrap", "server-tls-bootstrap", NULL, KEY_BOOL, SHAPE_TEXT,
     AT(server_tls_bootstrap), "true", 0, 0, "request the serving certificate from the cluster"},
    {"anonymousAuth", "anonymous-auth", NULL, KEY_BOOL, SHAPE_TEXT, AT(anonymous_auth), "false", 0,
     0, "let requests without credentials reach authorization as system:anonymous"},
    {"nodeLabels", "node-labels", NULL, KEY_LIST, SHAPE_LABEL, AT(node_labels), "", 0, 0,
     "further labels of the Node, key=value"},
    {"providerID", "provider-id", NULL, KEY_STRING, SHAPE_TEXT, AT(provider_id), "", 0, 0,
     "spec.providerID of the Node"},
    {"maxPods", "max-pods", NULL, KEY_INT, SHAPE_TEXT, AT(max_pods), "250", 1, 10000,
     "Pods on this host"},
    {"reservedCPU", "reserved-cpu", NULL, KEY_STRING, SHAPE_QUANTITY, AT(reserved_cpu), "100m", 0,
     0, "CPU kept from Pods"},
    {"reservedMemory", "reserved-memory", NULL, KEY_STRING, SHAPE_QUANTITY, AT(reserved_memory),
     "512Mi", 0, 0, "memory kept from Pods"},
    {"staticPodPath", "static-pod-path", NULL, KEY_STRING, SHAPE_PATH, AT(static_pod_path), "", 0,
     0, "directory of manifests, YAML or JSON, whose Pods this node runs by itself; default: none"},
    {"standalone", "standalone", NULL, KEY_STRING, SHAPE_PATH, AT(standalone), "", 0, 0,
     "run the Pods of this directory of manifests without any API server; default: off"},
    {"evictionHard", "eviction-hard", NULL, KEY_LIST, SHAPE_EVICTION, AT(eviction_hard),
     "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%", 0, 0,
     "below these the node is under pressure and evicts Pods; also imagefs.inodesFree and "
     "pid.available"},
    {"evictionPressureTransitionSeconds", "eviction-pressure-transition-seconds", NULL, KEY_INT,
     SHAPE_TEXT, AT(eviction_transition_seconds), "300", 0, 86400,
     "how long a pressure condition outlasts its cause"},
    {"drainOnExit", "drain-on-exit", NULL, KEY_BOOL, SHAPE_TEXT, AT(drain_on_exit), "false", 0, 0,
     "on SIGTERM end all Pods as a node that shuts down; else machines go on"},
    {"shutdownGracePeriodSeconds", "shutdown-grace-period-seconds", NULL, KEY_INT, SHAPE_TEXT,
     AT(shutdown_seconds), "30", 1, 86400, "with drainOnExit: time for all Pods to end"},
    {"shutdownGracePeriodCriticalPodsSeconds", "shutdown-grace-period-critical-pods-seconds", NULL,
     KEY_INT, SHAPE_TEXT, AT(shutdown_critical_seconds), "10", 0, 86400,
     "of it, the time for critical and static Pods, which end last"},
    {"defaultMemory", "default-memory", NULL, KEY_STRING, SHAPE_MEMORY, AT(default_memory), "64Mi",
     0, 0, "guest memory when the Pod names neither limit nor request"},
    {"nodeLeaseDurationSeconds", "node-lease-duration-seconds", NULL, KEY_INT, SHAPE_TEXT,
     AT(lease_seconds), "40", 4, 3600, "life of the Node's Lease; renewed four times as often"},
    {"nodeStatusUpdateMilliseconds", "node-status-update-milliseconds", NULL, KEY_INT, SHAPE_TEXT,
     AT(status_update_ms), "10000", 100, 3600000, "how often the Node's status is computed"},
    {"nodeStatusReportMilliseconds", "node-status-report-milliseconds", NULL, KEY_INT, SHAPE_TEXT,
     AT(status_report_ms), "300000", 1000, 3600000, "how often it is posted when nothing changed"},
    {"vmm", "vmm", NULL, KEY_STRING, SHAPE_VMM, AT(vmm), "qemu", 0, 0, "qemu, or fake for tests"},
    {"accel", "accel", NULL, KEY_STRING, SHAPE_ACCEL, AT(accel), "auto", 0, 0, "auto, kvm or tcg"},
    {"qemuBinary", "qemu-binary", NULL, KEY_STRING, SHAPE_PATH, AT(qemu),
     "/usr/bin/qemu-system-x86_64", 0, 0, "QEMU for x86-64, 7.2 or newer"},
    {"shimBinary", "shim-binary", NULL, KEY_STRING, SHAPE_PATH, AT(shim), "", 0, 0,
     "unikubelet-shim; default: beside this program"},
    {"fakeVMMBinary", "fake-vmm-binary", NULL, KEY_STRING, SHAPE_PATH, AT(fakevmm), "", 0, 0,
     "unikubelet-fakevmm; default: beside this program"},
    {"vmmUser", "vmm-user", NULL, KEY_STRING, SHAPE_TEXT, AT(vmm_user), "1900000000-1900065535", 0,
     0,
     "user that VMMs run as, without capabilities; first-last: a user id for each machine, so that "
     "none reaches another; \"\" for the agent's own"},
    {"cgroup", "cgroup", NULL, KEY_STRING, SHAPE_CGROUP, AT(cgroup), "unikubelet", 0, 0,
     "parent cgroup of the machines; \"\" for none"},
    {"network", "network", NULL, KEY_STRING, SHAPE_NETWORK, AT(network), "cni", 0, 0,
     "cni, or none for tests"},
    {"cniConfDir", "cni-conf-dir", NULL, KEY_STRING, SHAPE_PATH, AT(cni_conf_dir), "/etc/cni/net.d",
     0, 0, "CNI configuration; without one the built-in bridge network is used"},
    {"cniBinDirs", "cni-bin-dirs", NULL, KEY_LIST, SHAPE_PATH, AT(cni_bin_dirs),
     "/opt/cni/bin,/usr/lib/cni", 0, 0, "directories of CNI plugins"},
    {"cniCheck", "cni-check", NULL, KEY_BOOL, SHAPE_TEXT, AT(cni_check), "false", 0, 0,
     "CNI's CHECK of the networks that an earlier agent made, at start; needs plugins whose CHECK "
     "can be trusted"},
    {"cniGarbageCollect", "cni-garbage-collect", NULL, KEY_BOOL, SHAPE_TEXT,
     AT(cni_garbage_collect), "false", 0, 0,
     "CNI's GC at start; only where no other runtime uses cniConfDir: it ends what this agent does "
     "not know"},
    {"netnsDir", "netns-dir", NULL, KEY_STRING, SHAPE_PATH, AT(netns_dir), "/run/netns", 0, 0,
     "where Pods' network namespaces are mounted"},
    {"podCIDR", "pod-cidr", NULL, KEY_STRING, SHAPE_CIDR, AT(pod_cidr), "10.88.0.0/16", 0, 0,
     "addresses of the built-in bridge network"},
    {"podCIDR6", "pod-cidr-6", NULL, KEY_STRING, SHAPE_CIDR, AT(pod_cidr6), "", 0, 0,
     "second range of that network, of the other family, for Pods of two addresses; default: none"},
    {"bridge", "bridge", NULL, KEY_STRING, SHAPE_LINK, AT(bridge), "unik0", 0, 0,
     "bridge of that network"},
    {"clusterDNS", "cluster-dns", NULL, KEY_LIST, SHAPE_IP, AT(cluster_dns), "", 0, 0,
     "name servers for Pods with dnsPolicy ClusterFirst"},
    {"clusterDomain", "cluster-domain", NULL, KEY_STRING, SHAPE_NAME, AT(cluster_domain),
     "cluster.local", 0, 0, "DNS domain of the cluster"},
    {"resolvConf", "resolv-conf", NULL, KEY_STRING, SHAPE_PATH, AT(resolv_conf), "/etc/resolv.conf",
     0, 0, "name servers for Pods with dnsPolicy Default"},
    {"imageLayouts", "image-layouts", NULL, KEY_LIST, SHAPE_PATH, AT(image_layouts), "", 0, 0,
     "OCI image layout directories, searched before registries"},
    {"insecureRegistries", "insecure-registries", NULL, KEY_LIST, SHAPE_TEXT,
     AT(insecure_registries), "", 0, 0, "registries spoken to without TLS, host[:port]"},
    {"registryCAFile", "registry-ca-file", NULL, KEY_STRING, SHAPE_PATH, AT(registry_ca_file), "",
     0, 0, "CA of registries; default: the system's"},
};

#define KEYS (sizeof(keys) / sizeof(keys[0]))

static char **string_at(struct config *config, const struct key *key)
{
    return (char **)((char *)config + key->offset);
}

static void list_clear(struct config_list *list)
{
    for (size_t i = 0; i < list->len; i++)
        free(list->items[i]);
    list->len = 0;
}

/* where: "file:12", "environment variable X" or "--flag", for the error. */
static int wrong_value(const struct key *key, const char *text, const char *where, struct err *err)
{
    enum shape shape = shape_fits(SHAPE_TEXT, text) ? key->shape : SHAPE_TEXT;
    return err_spec(err, -EINVAL, "%s: %s must be %s, not \"%s\"", where, key->yaml,
                    shape_words(shape), text);
}

static int list_add(struct config_list *list, const struct key *key, const char *text, size_t len,
                    const char *where, struct err *err)
{
    if (list->len >= CONFIG_LIST_MAX)
        return err_spec(err, -E2BIG, "%s: %s has more than %d entries", where, key->yaml,
                        CONFIG_LIST_MAX);
    list->items[list->len++] = xstrndup(text, len);
    const char *item = list->items[list->len - 1];
    if (!*item)
        return err_spec(err, -EINVAL, "%s: %s has an empty entry", where, key->yaml);
    return shape_fits(key->shape, item) ? 0 : wrong_value(key, item, where, err);
}

/* Comma-separated. */
static int set_list(struct config_list *list, const struct key *key, const char *text,
                    const char *where, struct err *err)
{
    int result = 0;
    list_clear(list);
    while (*text && result == 0) {
        size_t len = strcspn(text, ",");
        if (len)
            result = list_add(list, key, text, len, where, err);
        text += len + (text[len] == ',');
    }
    return result;
}

static int set_key(struct config *config, const struct key *key, const char *text,
                   const char *where, struct err *err)
{
    void *at = (char *)config + key->offset;
    int64_t number;
    switch (key->type) {
    case KEY_INT:
        if (str_to_i64(text, &number) < 0 || number < key->min || number > key->max)
            return err_spec(err, -EINVAL, "%s: %s must be a number from %lld to %lld, not \"%s\"",
                            where, key->yaml, (long long)key->min, (long long)key->max, text);
        *(int64_t *)at = number;
        return 0;
    case KEY_BOOL:
        if (!str_eq(text, "true") && !str_eq(text, "false"))
            return err_spec(err, -EINVAL, "%s: %s must be true or false, not \"%s\"", where,
                            key->yaml, text);
        *(bool *)at = str_eq(text, "true");
        return 0;
    case KEY_LIST:
        return set_list(at, key, text, where, err);
    case KEY_STRING:
        break;
    }
    if (!(str_empty(text) && str_empty(key->preset)) && !shape_fits(key->shape, text))
        return wrong_value(key, text, where, err);
    free(*string_at(config, key));
    *string_at(config, key) = xstrdup(text);
    return 0;
}

static int set_yaml(struct config *config, const struct key *key, const struct yaml_node *node,
                    const char *where, struct err *err)
{
    int result = 0;
    if (yaml_is_null(node))
        return 0; /* "key:" and no more: as if it were not there */
    if (!yaml_is_list(node)) {
        const char *text = yaml_scalar(node);
        if (!text)
            return err_spec(err, -EINVAL, "%s: %s must be %s, not a map", where, key->yaml,
                            key->type == KEY_LIST ? "a list" : "a single value");
        return set_key(config, key, text, where, err);
    }
    if (key->type != KEY_LIST)
        return err_spec(err, -EINVAL, "%s: %s must be a single value, not a list", where,
                        key->yaml);
    struct config_list *list = (struct config_list *)((char *)config + key->offset);
    list_clear(list);
    for (const struct yaml_node *item = yaml_first(node); item && result == 0;
         item = yaml_next(item)) {
        const char *text = yaml_scalar(item);
        if (!text)
            return err_spec(err, -EINVAL, "%s: %s must be a list of plain values", where,
                            key->yaml);
        result = list_add(list, key, text, strlen(text), where, err);
    }
    return result;
}

static int load_file(struct config *config, const char *path, struct err *err)
{
    struct yaml_doc *doc;
    int result = yaml_load(path, &doc, err);
    if (result < 0)
        return result;
    const struct yaml_node *root = yaml_root(doc);
    if (root && !yaml_is_map(root))
        result = err_spec(err, -EINVAL, "%s: not a map of keys", path);
    for (const struct yaml_node *node = yaml_first(root); node && result == 0;
         node = yaml_next(node)) {
        char where[4200];
        str_fmt(where, sizeof(where), "%s:%u", path, yaml_line(node));
        const struct key *key = NULL;
        for (size_t i = 0; i < KEYS && !key; i++)
            key = str_eq(keys[i].yaml, yaml_key(node)) ? &keys[i] : NULL;
        if (!key)
            result = err_spec(err, -EINVAL, "%s: unknown key \"%s\" (see unikubelet --help)", where,
                              yaml_key(node));
        else
            result = set_yaml(config, key, node, where, err);
    }
    yaml_doc_free(doc);
    return result;
}

static const struct key *find_flag(const char *name, size_t len)
{
    for (size_t i = 0; i < KEYS; i++) {
        if (strlen(keys[i].flag) == len && strncmp(keys[i].flag, name, len) == 0)
            return &keys[i];
    }
    return NULL;
}

/* One "--name=value", "--name value" or "--switch". *i moves past what was used. */
static int parse_flag(struct config *config, int argc, char **argv, int *i, const char **ret_file,
                      bool first_pass, enum config_command *command, struct err *err)
{
    const char *arg = argv[*i];
    static const struct {
        const char *flag;
        enum config_command command;
    } commands[] = {{"--help", CONFIG_HELP},
                    {"-h", CONFIG_HELP},
                    {"--version", CONFIG_VERSION},
                    {"--check-config", CONFIG_CHECK},
                    {"--print-config", CONFIG_PRINT}};
    for (size_t c = 0; c < sizeof(commands) / sizeof(commands[0]); c++) {
        if (str_eq(arg, commands[c].flag)) {
            *command = commands[c].command;
            return 0;
        }
    }
    if (!str_starts(arg, "--"))
        return err_spec(err, -EINVAL, "unexpected argument \"%s\" (see unikubelet --help)", arg);
    size_t len = strcspn(arg + 2, "=");
    const struct key *key = find_flag(arg + 2, len);
    bool is_file = len == strlen("config") && strncmp(arg + 2, "config", len) == 0;
    if (!key && !is_file)
        return err_spec(err, -EINVAL, "unknown flag \"%s\" (see unikubelet --help)", arg);
    const char *value = arg[2 + len] == '=' ? arg + 2 + len + 1 : NULL;
    if (!value && key && key->type == KEY_BOOL)
        value = "true";
    if (!value && *i + 1 < argc)
        value = argv[++*i];
    if (!value)
        return err_spec(err, -EINVAL, "flag \"%s\" needs a value", arg);
    if (is_file) {
        *ret_file = value;
        return 0;
    }
    return first_pass ? 0 : set_key(config, key, value, arg, err);
}

static int parse_flags(struct config *config, int argc, char **argv, const char **ret_file,
                       bool first_pass, enum config_command *command, struct err *err)
{
    for (int i = 1; i < argc; i++) {
        int result = parse_flag(config, argc, argv, &i, ret_file, first_pass, command, err);
        if (result < 0)
            return result;
    }
    return 0;
}

static void preset(struct config *config)
{
    for (size_t i = 0; i < KEYS; i++)
        (void)set_key(config, &keys[i], keys[i].preset, "built-in", NULL);
}

/* The host's name in lower case, as the kubelet has it. */
static int default_name(struct config *config, struct err *err)
{
    char host[256] = "";
    if (gethostname(host, sizeof(host) - 1) < 0)
        host[0] = '\0';
    for (char *c = host; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (!shape_fits(SHAPE_NAME, host))
        return err_spec(err, -EINVAL, "nodeName is not set and the host's name \"%s\" is not %s",
                        host, shape_words(SHAPE_NAME));
    free(config->node_name);
    config->node_name = xstrdup(host);
    return 0;
}

/* What several keys say together. */
static int check(struct config *config, struct err *err)
{
    const struct config_list *labels = &config->node_labels;
    if (str_empty(config->tls_cert_file) != str_empty(config->tls_key_file))
        return err_spec(err, -EINVAL, "tlsCertFile and tlsPrivateKeyFile go together");
    for (size_t i = 0; i < labels->len; i++) {
        size_t len = strcspn(labels->items[i], "=") + 1;
        for (size_t k = 0; k < i; k++) {
            if (strncmp(labels->items[i], labels->items[k], len) == 0)
                return err_spec(err, -EINVAL, "nodeLabels: \"%.*s\" is there twice", (int)len - 1,
                                labels->items[i]);
        }
    }
    return str_empty(config->node_name) ? default_name(config, err) : 0;
}

int config_load(int argc, char **argv, struct config *ret, enum config_command *ret_command,
                struct err *err)
{
    struct config config = {0};
    const char *file = NULL;
    enum config_command command = CONFIG_RUN;
    preset(&config);
    int result = parse_flags(&config, argc, argv, &file, true, &command, err);
    /* Whoever asks for help or version gets it, whatever the configuration says. */
    bool ask = command == CONFIG_HELP || command == CONFIG_VERSION;
    if (result == 0 && !ask && file)
        result = load_file(&config, file, err);
    for (size_t i = 0; i < KEYS && !ask && result == 0; i++) {
        const char *value = keys[i].env ? getenv(keys[i].env) : NULL;
        char where[64];
        str_fmt(where, sizeof(where), "environment variable %s", keys[i].env ? keys[i].env : "");
        if (value && *value)
            result = set_key(&config, &keys[i], value, where, err);
    }
    if (result == 0 && !ask)
        result = parse_flags(&config, argc, argv, &file, false, &command, err);
    if (result == 0 && !ask)
        result = check(&config, err);
    if (result < 0) {
        config_free(&config);
        return result;
    }
    *ret = config;
    *ret_command = command;
    return 0;
}

void config_free(struct config *config)
{
    for (size_t i = 0; i < KEYS; i++) {
        void *at = (char *)config + keys[i].offset;
        if (keys[i].type == KEY_LIST) {
            list_clear(at);
        } else if (keys[i].type != KEY_INT && keys[i].type != KEY_BOOL) {
            free(*(char **)at);
            *(char **)at = NULL;
        }
    }
}

static void print_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

void config_print(const struct config *config, FILE *out)
{
    for (size_t i = 0; i < KEYS; i++) {
        const void *at = (const char *)config + keys[i].offset;
        const struct config_list *list = at;
        fprintf(out, "%s: ", keys[i].yaml);
        switch (keys[i].type) {
        case KEY_INT:
            fprintf(out, "%lld", (long long)*(const int64_t *)at);
            break;
        case KEY_BOOL:
            fputs(*(const bool *)at ? "true" : "false", out);
            break;
        case KEY_LIST:
            fputc('[', out);
            for (size_t k = 0; k < list->len; k++) {
                fputs(k ? ", " : "", out);
                print_quoted(out, list->items[k]);
            }
            fputc(']', out);
            break;
        default:
            print_quoted(out, *(char *const *)at);
        }
        fputc('\n', out);
    }
}

void config_help(FILE *out)
{
    fputs("unikubelet: a Kubernetes node agent that runs each Pod as a unikernel in a virtual\n"
          "machine of its own.\n\n"
          "usage: unikubelet [--config FILE] [flags]\n\n"
          "  --config FILE      read keys (named as in parentheses) from a YAML file\n"
          "  --check-config     say whether the configuration is good, and stop\n"
          "  --print-config     print what is in force as YAML, and stop\n"
          "  --version          print the version, and stop\n"
          "  --help, -h         print this, and stop\n\n"
          "The file gives way to the environment, the environment to the flags. A flag separates\n"
          "the entries of a list with commas; the file has YAML's lists.\n\n",
          out);
    for (size_t i = 0; i < KEYS; i++) {
        fprintf(out, "  --%s (%s%s%s)\n      %s", keys[i].flag, keys[i].yaml,
                keys[i].env ? ", $" : "", keys[i].env ? keys[i].env : "", keys[i].help);
        if (keys[i].preset[0])
            fprintf(out, "; default %s", keys[i].preset);
        fputc('\n', out);
    }
}
