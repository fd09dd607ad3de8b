/* The order of things at start: this host's parts, what a former agent left, credentials, then the
 * API server's side. Each step that fails says what to do. */
#include "provider/startup.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/events.h"
#include "k8s/identity.h"
#include "k8s/server.h"
#include "provider/agent.h"
#include "provider/core/quantity.h"
#include "provider/credentials.h"
#include "provider/image_gc.h"
#include "provider/host.h"
#include "provider/node.h"
#include "provider/objects.h"
#include "provider/prepare.h"
#include "provider/prober.h"
#include "provider/probing.h"
#include "provider/reconcile.h"
#include "provider/static_pods.h"
#include "runtime/image.h"
#include "runtime/network.h"
#include "runtime/statedir.h"
#include "runtime/traffic.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define NO_SERVER "http://127.0.0.1" /* never spoken to */

void agent_stop(struct agent *agent, int code)
{
    agent->exit_code = code;
    uv_stop(&agent->loop);
}

/* ---- this host ---- */

static char *beside_program(const char *name)
{
    char path[4096];
    size_t len = sizeof(path);
    if (uv_exepath(path, &len) < 0)
        return xstrdup("");
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    return xasprintf("%s/%s", path, name);
}

static void default_path(char **path, const char *name)
{
    if (!str_empty(*path))
        return;
    free(*path);
    *path = beside_program(name);
}

/* This program, to be run again. Where the loader was named to run it (runtime/host/run.c), the
 * process is the loader's, and the program's own name lies beside it. */
static char *own_program(void)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    const char *slash = n > 0 ? memrchr(self, '/', (size_t)n) : NULL;
    bool loader = slash && (size_t)(self + n - slash) == strlen("/ld.so") &&
                  memcmp(slash, "/ld.so", strlen("/ld.so")) == 0;
    return loader ? beside_program("unikubelet") : xstrdup("/proc/self/exe");
}

/* "first-last": a user for each machine. */
static int find_range(const char *text, struct instance_config *ret, struct err *err)
{
    const char *dash = strchr(text, '-');
    char first_text[16];
    uint64_t first;
    uint64_t last;
    str_fmt(first_text, sizeof(first_text), "%.*s", (int)(dash - text), text);
    if (str_to_u64(first_text, &first) < 0 || str_to_u64(dash + 1, &last) < 0 || first == 0 ||
        last < first || last >= UINT32_MAX)
        return err_spec(err, -EINVAL, "vmmUser: \"%s\" is no range of user ids", text);
    ret->vmm_uid = ret->vmm_gid = (uint32_t)first;
    ret->vmm_uids = (uint32_t)(last - first + 1);
    return 0;
}

static int find_user(const char *name, struct instance_config *ret, struct err *err)
{
    uint64_t number;
    if (str_empty(name))
        return 0;
    if (name[0] >= '0' && name[0] <= '9' && strchr(name, '-'))
        return find_range(name, ret, err);
    if (str_to_u64(name, &number) == 0 && number < UINT32_MAX) {
        ret->vmm_uid = ret->vmm_gid = (uint32_t)number;
        return 0;
    }
    const struct passwd *entry = getpwnam(name);
    if (!entry)
        return err_spec(err, -ENOENT, "vmmUser: there is no user \"%s\" on this host", name);
    ret->vmm_uid = entry->pw_uid;
    ret->vmm_gid = entry->pw_gid;
    return 0;
}

static uint32_t log_bytes_max(const struct config *config)
{
    int64_t bytes = 0;
    (void)quantity_value(config->log_max_size, &bytes);
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX - 1;
}

static int open_instances(struct agent *agent, struct err *err)
{
    struct config *config = &agent->config;
    char *dir = xasprintf("%s/i", config->run_dir);
    struct instance_config instances = {
        .dir = dir,
        .shim = config->shim,
        .vmm = agent->vmm,
        .vmm_config = agent->vmm_config,
        .log_bytes_max = log_bytes_max(config),
        .log_files_max = (uint32_t)config->log_max_files,
        .cgroup = str_empty(config->cgroup) ? NULL : config->cgroup,
    };
    int result = find_user(config->vmm_user, &instances, err);
    agent->vmm_config.uid = instances.vmm_config.uid = instances.vmm_uid;
    if (result == 0)
        result = instances_open(&agent->loop, &instances, &agent->instances, err);
    free(dir);
    if (result == 0 && instances_cgroup_error(agent->instances))
        log_warn(NULL, "cgroup", "machines run without limits of their own: %s",
                 instances_cgroup_error(agent->instances));
    return result;
}

static int open_network(struct agent *agent, struct err *err)
{
    struct config *config = &agent->config;
    struct network_config network = {
        .conf_dir = config->cni_conf_dir,
        .bin_dirs = (const char *const *)config->cni_bin_dirs.items,
        .bin_dirs_len = config->cni_bin_dirs.len,
        .netns_dir = config->netns_dir,
        .state_dir = config->state_dir,
        .pod_cidr = config->pod_cidr,
        .pod_cidr6 = config->pod_cidr6,
        .collect = config->cni_garbage_collect,
        .bridge = config->bridge,
    };
    if (str_eq(config->network, "none"))
        return 0;
    char *counts = xasprintf("%s/traffic", config->run_dir);
    agent->traffic = traffic_new(&agent->loop, counts);
    free(counts);
    return network_open(&agent->loop, &network, &agent->network, err);
}

/* VMMs pass through on the way to their Pod's directory, which is theirs alone. Secrets live below
 * runDir: a tmpfs is mounted there once where the host has none. */
static int open_volumes(const struct config *config)
{
    char *disk = xasprintf("%s/volumes", config->state_dir);
    char *memory = xasprintf("%s/v", config->run_dir);
    struct statfs fs;
    int result = file_mkdirs(disk, 0711);
    if (result == 0)
        result = file_mkdirs(memory, 0711);
    if (result == 0 && statfs(memory, &fs) == 0 && fs.f_type != TMPFS_MAGIC &&
        mount("tmpfs", memory, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0711") < 0)
        log_warn(NULL, "volumes", "%s is no tmpfs: Secrets that Pods mount are on disk there",
                 memory);
    free(disk);
    free(memory);
    return result;
}

int startup_vmm(struct agent *agent, struct err *err)
{
    struct config *config = &agent->config;
    struct instance_config who = {.vmm_uid = 0};
    agent->vmm = str_eq(config->vmm, "fake") ? &vmm_fake : &vmm_qemu;
    default_path(&config->shim, "unikubelet-shim");
    default_path(&config->fakevmm, "unikubelet-fakevmm");
    agent->vmm_config = (struct vmm_config){
        .binary = agent->vmm == &vmm_fake ? config->fakevmm : config->qemu,
        .sandbox = true,
    };
    (void)vmm_accel_from_string(config->accel, &agent->vmm_config.accel);
    int result = find_user(config->vmm_user, &who, err);
    agent->vmm_config.uid = who.vmm_uid;
    return result;
}

static int open_host(struct agent *agent, struct err *err)
{
    struct config *config = &agent->config;
    char *pods = xasprintf("%s/pods", config->state_dir);
    /* VMMs pass through on the way to their kernel; what is secret below is 0700. */
    int result = file_mkdirs(config->state_dir, 0711);
    if (result == 0 && chmod(config->state_dir, 0711) < 0)
        result = -errno; /* one that stood already, or that a umask narrowed */
    if (result == 0)
        result = file_mkdirs(config->run_dir, 0711);
    if (result == 0)
        result = file_mkdirs(pods, 0700);
    if (result == 0)
        result = open_volumes(config);
    if (result < 0)
        result = err_set(err, result, "cannot make %s or %s: %s%s", pods, config->run_dir,
                         strerror(-result), geteuid() == 0 ? "" : " (unikubelet needs root)");
    else
        result = statedir_open(pods, &agent->state, err);
    free(pods);
    if (result < 0)
        return result;
    agent->host = xcalloc(1, sizeof(*agent->host));
    result = host_read(config, agent->host, err);
    if (result < 0)
        return result;
    result = startup_vmm(agent, err);
    if (result == 0)
        result = open_instances(agent, err);
    return result < 0 ? result : open_network(agent, err);
}

int startup_images(struct agent *agent, struct err *err)
{
    struct config *config = &agent->config;
    char *dir = xasprintf("%s/images", config->state_dir);
    char *worker = own_program();
    struct image_store_config images = {
        .dir = dir,
        .layouts = (const char *const *)config->image_layouts.items,
        .layouts_len = config->image_layouts.len,
        .import_layout = agent->import_layout,
        .insecure_registries = (const char *const *)config->insecure_registries.items,
        .insecure_registries_len = config->insecure_registries.len,
        .registry_ca_file = str_empty(config->registry_ca_file) ? NULL : config->registry_ca_file,
        .registry_config_dir =
            str_empty(config->registry_config_dir) ? NULL : config->registry_config_dir,
        .worker = worker,
        .platform_kernel = str_empty(config->platform_kernel) ? NULL : config->platform_kernel,
    };
    int result = image_store_open(&agent->loop, &agent->fetcher, &images, &agent->images, err);
    free(worker);
    free(dir);
    return result;
}

/* ---- the API server's side ---- */

static void serve_with(struct agent *agent)
{
    struct err err = {0};
    if (agent->server && agent->serving_cert &&
        server_set_certificate(agent->server, agent->serving_cert, agent->serving_key, &err) < 0)
        log_error(NULL, "serving", "%s", err.text);
}

static int start_server(struct agent *agent, const struct kube_config *kube, struct err *err)
{
    struct config *config = &agent->config;
    char *ca = NULL;
    int result = 0;
    if (!str_empty(config->client_ca_file))
        result = credentials_read_pem(config->client_ca_file, &ca, err);
    struct server_config server = {
        .address = config->address,
        .port = (uint16_t)config->port,
        .node_name = config->node_name,
        .client_ca_pem = ca ? ca : kube->ca_pem,
        .anonymous = config->anonymous_auth,
    };
    agent->endpoints = endpoints_new(agent);
    if (result == 0)
        result = server_start(&agent->loop, agent->client, &server, endpoints_handle,
                              agent->endpoints, &agent->server, err);
    free(ca);
    serve_with(agent);
    return result;
}

static const struct objects_ops object_callbacks = {
    .changed = prepare_changed,
    .services_synced = prepare_services_synced,
};

/* What a Pod needs of the agent, with an API server or without. */
static int make_parts(struct agent *agent, const struct kube_config *kube, struct err *err)
{
    int result = kube_client_new(&agent->loop, kube, &agent->client, err);
    if (result < 0)
        return result;
    kube_client_fetcher(agent->client, &agent->fetcher);
    result = startup_images(agent, err);
    if (result < 0)
        return result;
    machines_init(agent, &agent->world);
    api_init(agent, &agent->world);
    agent->objects = objects_new(agent->client, &object_callbacks, agent);
    result = probing_init(agent, &agent->world, err);
    if (result < 0)
        return result;
    struct reconcile_config reconcile = {
        .host_ip = agent->host_ip,
        .restart_max_ms = (uint32_t)agent->config.restart_max_s * 1000,
    };
    agent->reconcile = reconcile_new(&reconcile, &agent->world, agent);
    agent->image_collector = image_collector_start(agent);
    return 0;
}

/* --standalone: the Pods of a directory and nothing else. The client is there for images alone. */
static int begin_standalone(struct agent *agent, struct err *err)
{
    struct config *config = &agent->config;
    struct kube_config nobody = {.server = NO_SERVER};
    int result = open_host(agent, err);
    if (result == 0 && !str_empty(config->node_ip))
        str_copy(agent->host_ip, sizeof(agent->host_ip), config->node_ip);
    else if (result == 0)
        result = host_find_ip(nobody.server, agent->host_ip, sizeof(agent->host_ip), err);
    if (result == 0)
        result = make_parts(agent, &nobody, err);
    if (result == 0)
        result = machines_restore(agent, err);
    if (result < 0)
        return result;
    log_info(NULL, "start", "standalone: the Pods of %s, no API server, no server on :%lld",
             config->standalone, (long long)config->port);
    agent->node = node_start(agent);
    agent->static_pods = static_pods_start(agent, config->standalone);
    /* The files are all that there is: what has none is ended. */
    reconcile_synced(agent->reconcile);
    return 0;
}

/* The first credentials: everything that talks to the API server starts. */
static int connect_api(struct agent *agent, const struct kube_config *kube, struct err *err)
{
    struct config *config = &agent->config;
    int result = make_parts(agent, kube, err);
    if (result < 0)
        return result;
    agent->events = events_new(agent->client, "kubelet", config->node_name);
    result = start_server(agent, kube, err);
    if (result == 0)
        result = machines_restore(agent, err);
    if (result == 0)
        agent->node = node_start(agent);
    if (result == 0)
        agent->static_pods = static_pods_start(agent, config->static_pod_path);
    return result;
}

void startup_claimed(struct agent *agent)
{
    if (!agent->pods)
        api_start(agent);
}

void startup_accel(struct agent *agent)
{
    instances_set_accel(agent->instances, agent->vmm_config.accel);
    reconcile_touch_all(agent->reconcile);
}

static void on_client(void *userdata, const struct kube_config *kube)
{
    struct agent *agent = userdata;
    struct err err = {0};
    int result;
    if (agent->client) {
        result = kube_client_set_config(agent->client, kube, &err);
    } else {
        result = connect_api(agent, kube, &err);
        if (result == 0)
            identity_set_client(agent->identity, agent->client);
    }
    if (result == 0)
        return;
    log_error(NULL, "start", "%s", err.text);
    agent_stop(agent, EXIT_FAILURE);
}

static void on_serving(void *userdata, const char *cert_pem, const char *key_pem, bool self_signed)
{
    struct agent *agent = userdata;
    free(agent->serving_cert);
    free(agent->serving_key);
    agent->serving_cert = xstrdup(cert_pem);
    agent->serving_key = xstrdup(key_pem);
    log_info(NULL, "serving", "serving with a %s",
             self_signed ? "self-signed certificate: kubectl logs works when one is approved"
                         : "signed certificate");
    serve_with(agent); /* before there is a server, start_server does it */
}

static void on_note(void *userdata, const char *text)
{
    (void)userdata;
    log_info(NULL, "identity", "%s", text);
}

static const struct identity_ops identity_callbacks = {
    .on_client = on_client,
    .on_serving = on_serving,
    .on_note = on_note,
};

/* Seldom meant: a shell with $KUBECONFIG of an administrator, and the agent has his rights. */
static void tell_unused(const struct config *config)
{
    if (!str_empty(config->kubeconfig) && !str_empty(config->bootstrap_kubeconfig))
        log_warn(NULL, "start", "bootstrapKubeconfig is not used: kubeconfig is %s%s",
                 config->kubeconfig,
                 str_eq(getenv("KUBECONFIG"), config->kubeconfig) ? " by $KUBECONFIG" : "");
}

static int start_identity(struct agent *agent, const struct kube_config *bootstrap, struct err *err)
{
    const struct config *config = &agent->config;
    char first[INET6_ADDRSTRLEN];
    const char *comma = strchr(agent->host_ip, ',');
    const char *ips[] = {pod_first_address(first, sizeof(first), agent->host_ip),
                         comma ? comma + 1 : NULL};
    const char *names[] = {config->node_name};
    char *dir = xasprintf("%s/pki", config->state_dir);
    struct identity_config identity = {
        .node_name = config->node_name,
        .dir = dir,
        .bootstrap = bootstrap,
        .want_serving_csr = config->server_tls_bootstrap,
        .serving_ips = ips,
        .serving_ips_len = comma ? 2 : 1,
        .serving_names = names,
        .serving_names_len = 1,
    };
    int result =
        identity_start(&agent->loop, &identity, &identity_callbacks, agent, &agent->identity, err);
    free(dir);
    if (result == 0 && !bootstrap)
        identity_set_client(agent->identity, agent->client);
    return result;
}

static int use_given_certificate(struct agent *agent, struct err *err)
{
    int result = credentials_read_pem(agent->config.tls_cert_file, &agent->serving_cert, err);
    if (result == 0)
        result = credentials_read_pem(agent->config.tls_key_file, &agent->serving_key, err);
    serve_with(agent);
    return result;
}

/* Somebody replaced the files. */
static int on_kube(struct agent *agent, const struct kube_config *kube, struct err *err)
{
    if (str_empty(agent->config.kubeconfig)) {
        identity_set_bootstrap(agent->identity, kube);
        return 0;
    }
    return kube_client_set_config(agent->client, kube, err);
}

static int on_given_certificate(struct agent *agent, const char *cert_pem, const char *key_pem,
                                struct err *err)
{
    return server_set_certificate(agent->server, cert_pem, key_pem, err);
}

static const struct credentials_ops credentials_callbacks = {
    .on_kube = on_kube,
    .on_serving = on_given_certificate,
};

int startup_begin(struct agent *agent, struct err *err)
{
    struct config *config = &agent->config;
    struct kube_config kube = {0};
    bool bootstrap = false;
    if (!str_empty(config->standalone))
        return begin_standalone(agent, err);
    int result = open_host(agent, err);
    tell_unused(config);
    if (result == 0)
        result = credentials_load(agent, &kube, &bootstrap, err);
    if (result == 0 && !str_empty(config->node_ip))
        str_copy(agent->host_ip, sizeof(agent->host_ip), config->node_ip);
    else if (result == 0)
        result = host_find_ip(kube.server, agent->host_ip, sizeof(agent->host_ip), err);
    if (result == 0 && !bootstrap)
        result = connect_api(agent, &kube, err);
    bool given = !str_empty(config->tls_cert_file);
    if (result == 0 && given)
        result = use_given_certificate(agent, err);
    if (result == 0 && (bootstrap || !given))
        result = start_identity(agent, bootstrap ? &kube : NULL, err);
    if (result == 0)
        agent->credentials = credentials_watch(agent, &kube, &credentials_callbacks);
    kube_config_free(&kube);
    return result;
}

void startup_end(struct agent *agent)
{
    node_stop(agent->node);
    static_pods_stop(agent->static_pods);
    api_stop(agent);
    credentials_stop(agent->credentials);
    image_collector_stop(agent->image_collector);
    identity_stop(agent->identity);
    server_stop(agent->server); /* ends the streams, which belong to endpoints */
    endpoints_free(agent->endpoints);
    reconcile_free(agent->reconcile);
    prober_free(agent->prober);
    objects_free(agent->objects);
    machines_end(agent);
    if (agent->events)
        events_free(agent->events);
    image_store_close(agent->images);
    traffic_free(agent->traffic);
    network_close(agent->network);
    instances_close(agent->instances);
    if (agent->client)
        kube_client_free(agent->client);
    statedir_close(agent->state);
    free(agent->serving_cert);
    free(agent->serving_key);
    free(agent->host);
}
