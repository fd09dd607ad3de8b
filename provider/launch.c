/* From a Pod's spec, its image and its network to one machine: memory, command line, log file. What
 * a guest kind cannot take is an error here, before anything exists. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "provider/core/env.h"
#include "provider/core/quantity.h"
#include "provider/core/resize.h"
#include "provider/dns.h"
#include "provider/host.h"
#include "provider/machines.h"
#include "provider/objects.h"
#include "provider/prepare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CMDLINE_MAX 8192 /* above every guest kind's own limit, which then says what it is */
#define MIB (1024 * 1024)

char *machine_log_dir(const struct agent *agent, const struct pod_spec *spec)
{
    return xasprintf("%s/%s_%s_%s", agent->config.log_dir, spec->ns, spec->name, spec->uid);
}

char *machine_log_path(const struct agent *agent, const struct pod_spec *spec, size_t container,
                       uint32_t attempt)
{
    char *dir = machine_log_dir(agent, spec);
    char *path = xasprintf("%s/%s/%u.log", dir, pod_container(spec, container)->name, attempt);
    free(dir);
    return path;
}

static void *alloc_from_arena(void *userdata, size_t size)
{
    return arena_alloc(userdata, size);
}

/* Limit, else request, else the configured default or what this kind needs; MiB, rounded up. */
static uint32_t guest_memory_mib(const struct agent *agent, const struct resources *resources,
                                 const struct guest_ops *guest)
{
    struct resources fallback = {.memory_limit_bytes = -1};
    uint32_t mib = resources_memory_mib(resources);
    if (mib > 0)
        return mib;
    (void)quantity_value(agent->config.default_memory, &fallback.memory_limit_bytes);
    mib = resources_memory_mib(&fallback);
    return mib > guest->memory_mib_min ? mib : guest->memory_mib_min;
}

/* A CPU for each begun core of the limit, and no more than the host has: the cgroup does the rest.
 */
static uint32_t guest_cpus(const struct agent *agent, const struct resources *resources)
{
    uint32_t cpus = resources_cpus(resources), most = machine_cpus_max(agent);
    return cpus < most ? cpus : most;
}

uint32_t machine_cpus_max(const struct agent *agent)
{
    return agent->host->cpu_milli >= 2000 ? (uint32_t)(agent->host->cpu_milli / 1000) : 1;
}

void machine_facts(struct machine *m, const struct pod *pod, struct env_facts *ret)
{
    const struct agent *agent = m->agent;
    *ret = (struct env_facts){
        .object = prepare_object,
        .object_userdata = m,
        .node_name = agent->config.node_name,
        .host_ip = agent->host_ip,
        .pod_ip = pod->obs.pod_ip,
        .allocatable_cpu_milli = agent->host->cpu_allocatable_milli,
        .allocatable_memory_bytes = agent->host->memory_allocatable_bytes,
        .allocatable_ephemeral_bytes = agent->host->storage_allocatable_bytes,
    };
}

int machine_env(struct machine *m, const struct pod *pod, uint32_t container, struct arena *arena,
                struct env_result *ret, char *error, size_t error_size)
{
    const struct image *image = m->image_of == container ? m->image : NULL;
    struct env_facts facts;
    machine_facts(m, pod, &facts);
    facts.services_len =
        objects_services(m->agent->objects, pod->spec->ns, !pod->spec->no_service_links,
                         alloc_from_arena, arena, &facts.services);
    if (image) {
        facts.image_env = image->env;
        facts.image_env_len = image->env_len;
        facts.image_entrypoint = image->entrypoint;
        facts.image_entrypoint_len = image->entrypoint_len;
        facts.image_cmd = image->cmd;
        facts.image_cmd_len = image->cmd_len;
    }
    return env_resolve(pod->spec, pod_container(pod->spec, container), &facts, alloc_from_arena,
                       arena, ret, error, error_size);
}

int machine_expand(const struct env_result *env, const char *text, struct arena *arena,
                   const char **ret, char *error, size_t error_size)
{
    return env_expand_strict(text, env, alloc_from_arena, arena, ret, error, error_size);
}

struct image *machine_image(struct machine *m, const struct pod *pod, uint32_t container)
{
    if (m->image_of != container) {
        image_unref(m->image); /* of the container before */
        m->image = NULL;
        m->image_of = container;
    }
    if (!m->image && pod->image_names[container][0])
        m->image = image_find(m->agent->images, pod->image_names[container],
                              pod->containers[container].image_digest);
    return m->image;
}

static int resolve(struct machine *m, const struct pod *pod, struct arena *arena,
                   struct env_result *ret, struct err *err)
{
    char text[ERR_TEXT_MAX];
    int result = machine_env(m, pod, m->container, arena, ret, text, sizeof(text));
    if (result == -ENOENT) /* gone since it was prepared: not for long, perhaps */
        return err_set(err, result, "%s", text);
    return result < 0 ? err_spec(err, result, "%s", text) : 0;
}

/* The image's view of a solo5 manifest, as the guest kinds see it. */
static const struct guest_device *guest_devices(const struct image *image, struct arena *arena)
{
    struct guest_device *devices = arena_array(arena, image->devices_len + 1, sizeof(*devices));
    for (size_t i = 0; i < image->devices_len; i++)
        devices[i] = (struct guest_device){.name = image->devices[i].name,
                                           .is_net = image->devices[i].is_net};
    return devices;
}

static size_t guest_mounts(const struct machine *m, struct guest_mount *ret)
{
    const struct share *shares;
    size_t len = prepare_shares(m, &shares);
    for (size_t i = 0; i < len && i < VMM_SHARES_MAX; i++)
        ret[i] = (struct guest_mount){
            .tag = shares[i].tag, .path = shares[i].path, .read_only = shares[i].read_only};
    return len;
}

static size_t vmm_shares(const struct machine *m, struct vmm_share *ret)
{
    const struct share *shares;
    size_t len = prepare_shares(m, &shares);
    for (size_t i = 0; i < len && i < VMM_SHARES_MAX; i++)
        ret[i] = (struct vmm_share){
            .tag = shares[i].tag, .dir = shares[i].dir, .read_only = shares[i].read_only};
    return len;
}

static int write_cmdline(struct machine *m, struct pod *pod, const struct guest_ops *guest,
                         struct arena *arena, struct buf *out, struct err *err)
{
    size_t dropped = 0;
    struct env_result env = {0};
    int result = resolve(m, pod, arena, &env, err);
    if (result < 0)
        return result;
    struct guest_env *pairs = arena_array(arena, env.env_len + 1, sizeof(*pairs));
    for (size_t i = 0; i < env.env_len; i++)
        pairs[i] = (struct guest_env){.key = env.env[i].key,
                                      .value = env.env[i].value,
                                      .optional = env.env[i].origin != ENV_OF_POD,
                                      .service_link = env.env[i].origin == ENV_OF_SERVICE};
    struct guest_net net = {0};
    if (m->net_up) {
        net.ip = m->net.ip;
        net.prefix_len = m->net.prefix_len;
        net.gateway = m->net.gateway;
        net.ip6 = m->net.ip6;
        net.prefix6_len = m->net.prefix6_len;
        net.gateway6 = m->net.gateway6;
        net.hostname = dns_hostname(&m->agent->config, pod->spec, arena);
        dns_fill(&m->agent->config, &m->agent->host->dns, pod->spec, arena, &net);
    }
    struct guest_mount mounts[VMM_SHARES_MAX];
    struct guest_input input = {
        .name = pod_container(pod->spec, m->container)->name,
        .net = &net,
        .env = pairs,
        .env_len = env.env_len,
        .argv = env.argv,
        .argv_len = env.argv_len,
        .has_initrd = m->image->initrd != NULL,
        .mounts = mounts,
        .mounts_len = guest_mounts(m, mounts),
        .os_features = m->image->os_features,
        .os_features_len = m->image->os_features_len,
        .board = guest->board,
        .has_disk = m->image->disk != NULL,
        .devices = guest_devices(m->image, arena),
        .devices_len = m->image->devices_len,
    };
    result = guest_cmdline(guest, &input, out, &dropped, err);
    if (result == 0 && (dropped > 0 || env.services_dropped))
        agent_event(m->agent, pod, 0, true, "ServiceLinksDropped",
                    "The variables of Services are left out: with them the %s command line would "
                    "be too long; set enableServiceLinks: false to say that they are not needed",
                    guest->kind);
    return result;
}

/* What a spec points to. */
struct description {
    struct vmm_share shares[VMM_SHARES_MAX];
    char name[80];
    char *log_path;
    struct instance_spec spec;
};

static int describe(struct machine *m, const struct pod *pod, const struct guest_ops *guest,
                    const char *cmdline, struct description *ret, struct err *err)
{
    struct agent *agent = m->agent;
    const struct container_spec *c = pod_container(pod->spec, m->container);
    uint32_t attempt = pod->containers[m->container].attempt;
    uint32_t memory_mib = guest_memory_mib(agent, &c->resources, guest);
    char path[64];
    if (memory_mib < guest->memory_mib_min)
        return err_spec(err, -EINVAL,
                        "%s.resources.limits.memory: %u MiB are too few for a %s guest; give it "
                        "at least %uMi",
                        pod_container_path(pod->spec, m->container, path, sizeof(path)), memory_mib,
                        guest->kind, guest->memory_mib_min);
    str_fmt(ret->name, sizeof(ret->name), "unik-%s", pod->spec->uid);
    ret->log_path = machine_log_path(agent, pod->spec, m->container, attempt);
    ret->spec = (struct instance_spec){
        .id = m->id,
        .pod_uid = pod->spec->uid,
        .container = c->name,
        .attempt = attempt,
        .netns = m->net_up ? m->net.netns : NULL,
        .log_path = ret->log_path,
        .guest = guest,
        .give = prepare_give,
        .give_userdata = m,
        .machine =
            {
                .kernel = m->image->kernel,
                .initrd = prepare_initrd(m) ? prepare_initrd(m) : m->image->initrd,
                .shares = ret->shares,
                .shares_len = vmm_shares(m, ret->shares),
                .cmdline = cmdline,
                .board = guest->board,
                .memory_mib = memory_mib,
                .cpus = guest_cpus(agent, &c->resources),
                .mac = m->net_up ? m->net.mac : NULL,
                .mtu = m->net.mtu,
                .vhost = m->net_up && agent->config.vhost_net &&
                         access(NETWORK_VHOST_DEVICE, R_OK | W_OK) == 0,
                .disk = m->image->disk,
                .disk_readonly = m->image->disk_readonly,
                .debug_exit = guest->debug_exit,
                .debug_exit_port = guest->debug_exit_port,
                .name = ret->name,
            },
        .memory_limit_bytes =
            ((uint64_t)memory_mib + vmm_overhead_mib(agent->vmm, agent->vmm_config.accel)) * MIB,
        .cpu_limit_milli = c->resources.cpu_limit_milli,
        .cpu_request_milli = c->resources.cpu_request_milli,
    };
    return 0;
}

/* An address that the guest does not take is not the Pod's: a Service would send clients there. */
static void tell_families(struct machine *m, struct pod *pod, const struct guest_ops *guest)
{
    if (!m->net_up || !m->net.ip6[0] || guest->ipv6)
        return;
    str_copy(pod->obs.pod_ip, sizeof(pod->obs.pod_ip), m->net.ip);
    agent_event(m->agent, pod, (int)m->container, true, "NetworkAddressUnused",
                "%s guests take no IPv6 address: the Pod has %s, and not %s", guest->kind,
                m->net.ip, m->net.ip6);
}

/* The command line and the machine round it; description is the caller's to free, even on failure.
 */
static int describe_all(struct machine *m, struct pod *pod, struct buf *cmdline,
                        struct description *description, struct err *err)
{
    if (!machine_image(m, pod, m->container))
        return err_set(err, -ENOENT, "the image's files are not on this host any more");
    const struct guest_ops *guest = guest_find(m->image->guest_kind);
    if (!guest)
        return err_spec(err, -ENOTSUP, "image \"%s\" is for %s guests, which are not supported",
                        pod_container(pod->spec, m->container)->image, m->image->guest_kind);
    tell_families(m, pod, guest);
    struct arena *arena = arena_new(4096);
    int result = write_cmdline(m, pod, guest, arena, cmdline, err);
    if (result == 0 && cmdline->overflow)
        result =
            err_spec(err, -E2BIG, "the guest's command line is longer than %d bytes", CMDLINE_MAX);
    if (result == 0)
        result = describe(m, pod, guest, buf_str(cmdline), description, err);
    arena_free(arena);
    return result;
}

int machine_launch(struct machine *m, struct pod *pod, const struct instance_ops *ops,
                   struct err *err)
{
    struct description description = {.log_path = NULL};
    struct buf cmdline = BUF_INIT(CMDLINE_MAX);
    int result = describe_all(m, pod, &cmdline, &description, err);
    if (result == 0)
        result = instance_launch(m->agent->instances, &description.spec, ops, m, &m->instance, err);
    free(description.log_path);
    buf_free(&cmdline);
    return result;
}

int machine_preview(struct machine *m, struct pod *pod, struct vmm_argv *ret, struct err *err)
{
    struct description description = {.log_path = NULL};
    struct buf cmdline = BUF_INIT(CMDLINE_MAX);
    int result = describe_all(m, pod, &cmdline, &description, err);
    if (result == 0)
        result =
            m->agent->vmm->describe(&m->agent->vmm_config, &description.spec.machine, ret, err);
    free(description.log_path);
    buf_free(&cmdline);
    return result;
}
