/* The agent's table of keys; config_table.c walks it. Called by main before the loop exists. */
#include "provider/config.h"

#include "base/err.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(member) offsetof(struct config, member)

static const struct config_key keys[] = {
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
    {"maxContainerRestartPeriodSeconds", "max-container-restart-period-seconds", NULL, KEY_INT,
     SHAPE_TEXT, AT(restart_max_s), "300", 1, 300,
     "longest pause before a crashed container is started again (CrashLoopBackOff)"},
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
    {"vhostNet", "vhost-net", NULL, KEY_BOOL, SHAPE_TEXT, AT(vhost_net), "true", 0, 0,
     "frames of machines under KVM go through /dev/vhost-net, where the host has it"},
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
    {"registryConfigDir", "registry-config-dir", NULL, KEY_STRING, SHAPE_PATH,
     AT(registry_config_dir), "", 0, 0,
     "mirrors and CAs of registries, <host[:port]>/hosts.toml as containerd reads it, such as "
     "/etc/containerd/certs.d; default: none"},
    {"platformKernel", "platform-kernel", NULL, KEY_STRING, SHAPE_PATH, AT(platform_kernel), "", 0,
     0, "kernel for images that have a root file system but no kernel; default: they are refused"},
    {"imageGCHighThresholdPercent", "image-gc-high-threshold-percent", NULL, KEY_INT, SHAPE_TEXT,
     AT(image_gc_high), "85", 0, 100, "fullness of the disk at which unused images are removed"},
    {"imageGCLowThresholdPercent", "image-gc-low-threshold-percent", NULL, KEY_INT, SHAPE_TEXT,
     AT(image_gc_low), "80", 0, 100, "fullness down to which they are"},
    {"imageMinimumGCAgeSeconds", "image-minimum-gc-age-seconds", NULL, KEY_INT, SHAPE_TEXT,
     AT(image_gc_min_age_s), "120", 0, 31536000, "an image unused for less is not removed"},
    {"imageMaximumGCAgeSeconds", "image-maximum-gc-age-seconds", NULL, KEY_INT, SHAPE_TEXT,
     AT(image_gc_max_age_s), "0", 0, 31536000, "one unused for longer is, always; 0: never"},
    {"hostPathPrefixes", "host-path-prefixes", NULL, KEY_LIST, SHAPE_PATH, AT(host_path_prefixes),
     "", 0, 0,
     "directories of this host that Pods may mount with what is below them (hostPath, and claims "
     "bound to hostPath or local volumes); default: none"},
};

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
static int check(void *userdata, struct err *err)
{
    struct config *config = userdata;
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

static const struct config_table table = {
    .program = "unikubelet",
    .intro = "unikubelet: a Kubernetes node agent that runs each Pod as a unikernel in a virtual\n"
             "machine of its own. `unikubelet image --help`: its images by hand.\n",
    .keys = keys,
    .len = sizeof(keys) / sizeof(keys[0]),
    .check = check,
};

int config_load(int argc, char **argv, struct config *ret, enum config_command *ret_command,
                struct err *err)
{
    struct config config = {0};
    int result = config_table_load(&table, argc, argv, &config, ret_command, err);
    if (result == 0)
        *ret = config;
    return result;
}

void config_free(struct config *config)
{
    config_table_free(&table, config);
}

void config_print(const struct config *config, FILE *out)
{
    config_table_print(&table, config, out);
}

void config_help(FILE *out)
{
    config_table_help(&table, out);
}
