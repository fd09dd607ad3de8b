/* What a former agent left on this host: state records, machines with their shims, networks. All of
 * it is handed to reconcile before the first list; what the API does not name is then ended. */
#include "provider/machines.h"

#include "base/err.h"
#include "base/map.h"
#include "base/str.h"
#include "runtime/statedir.h"
#include "runtime/traffic.h"

#include <stdlib.h>

static int restore_records(struct agent *agent, struct err *err)
{
    struct statedir_record *records = NULL;
    size_t len = 0;
    size_t bad = 0;
    int result = statedir_load(agent->state, &records, &len, &bad, err);
    if (result < 0)
        return result;
    for (size_t i = 0; i < len; i++) {
        struct log_ctx ctx = {.uid = records[i].uid};
        if (reconcile_restore(agent->reconcile, records[i].uid, records[i].data, records[i].len,
                              records[i].same_boot) == 0)
            continue;
        log_warn(&ctx, "restore", "this Pod's record cannot be read; it is looked for otherwise");
        (void)statedir_remove(agent->state, records[i].uid, NULL);
    }
    if (bad)
        log_warn(NULL, "restore", "%zu broken or foreign records were set aside in %s", bad,
                 agent->config.state_dir);
    statedir_records_free(records, len);
    return 0;
}

/* The Pod that an instance belongs to takes it over, or the instance is put away. */
static void restore_instance(struct agent *agent, const struct instance_found *found)
{
    struct log_ctx ctx = {.uid = found->pod_uid};
    struct err err = {0};
    reconcile_restore_bare(agent->reconcile, found->pod_uid, found->container, found->id,
                           found->attempt);
    struct pod *pod = reconcile_find_uid(agent->reconcile, found->pod_uid);
    struct machine *m = machine_of(agent, pod);
    if (!agent->network) /* nothing to find: the Pod has what it had */
        reconcile_net_added(agent->reconcile, found->pod_uid, 0, agent->host_ip, NULL);
    size_t active = pod_active(pod);
    bool current = false;
    for (size_t i = 0; i < pod->obs.containers_len; i++)
        current = current || str_eq(pod->containers[i].id, found->id);
    bool wanted = str_eq(pod->containers[active].id, found->id) &&
                  pod->containers[active].machine == MACHINE_STARTING;
    if (wanted) {
        m->container = (uint32_t)active;
        str_copy(m->id, sizeof(m->id), found->id);
        if (instance_adopt(agent->instances, found->id, machine_callbacks(), m, &m->instance,
                           &err) == 0)
            return;
        log_warn(&ctx, "restore", "%s", err.text);
    } else if (found->running) {
        /* An attempt that the record calls ended, or one beside it: it must not go on. */
        if (instance_end_stray(agent->instances, found->id, &err) < 0)
            log_warn(&ctx, "restore", "%s", err.text);
    }
    if (!current && instance_remove(agent->instances, found->id, &err) < 0)
        log_warn(&ctx, "restore", "%s", err.text);
}

static bool is_found(void *userdata, const char *id)
{
    return map_get(userdata, id) != NULL;
}

static int restore_instances(struct agent *agent, struct err *err)
{
    struct instance_found *found = NULL;
    size_t len = 0;
    size_t running = 0;
    int result = instances_find(agent->instances, &found, &len, err);
    if (result < 0)
        return result;
    struct map *ids = map_new();
    for (size_t i = 0; i < len; i++) {
        map_set(ids, found[i].id, &found[i]);
        running += found[i].running;
        restore_instance(agent, &found[i]);
    }
    reconcile_restored(agent->reconcile, is_found, ids);
    if (len)
        log_info(NULL, "restore", "%zu machines found, %zu of them running", len, running);
    map_free(ids);
    free(found);
    return 0;
}

/* What was reported counts: of two addresses a guest may have taken one. */
static void restore_addresses(struct agent *agent, const struct pod *pod,
                              const struct network_result *net)
{
    char addresses[OBSERVED_IP_MAX];
    str_copy(addresses, sizeof(addresses), pod->obs.pod_ip);
    if (!addresses[0])
        machine_addresses(agent, net, addresses);
    reconcile_net_added(agent->reconcile, pod->spec->uid, 0, addresses, NULL);
}

static int restore_networks(struct agent *agent)
{
    char **uids = NULL;
    size_t len = 0;
    if (!agent->network)
        return 0;
    int result = network_list(agent->network, &uids, &len);
    if (result < 0)
        return result;
    for (size_t i = 0; i < len; i++) {
        struct network_result net;
        reconcile_restore_bare(agent->reconcile, uids[i], NULL, NULL, 0);
        struct pod *pod = reconcile_find_uid(agent->reconcile, uids[i]);
        if (network_load(agent->network, uids[i], &net) == 0) {
            struct machine *m = machine_of(agent, pod);
            m->net = net;
            m->net_up = true;
            restore_addresses(agent, pod, &net);
            traffic_open(agent->traffic, uids[i], net.netns, net.ip);
            if (agent->config.cni_check)
                machine_verify_network(agent, uids[i]);
        } else {
            /* Half made: state unknown, so that it is deleted with the Pod or added again. */
            reconcile_net_partial(agent->reconcile, uids[i]);
        }
        free(uids[i]);
    }
    free(uids);
    traffic_sweep(agent->traffic);
    return 0;
}

int machines_restore(struct agent *agent, struct err *err)
{
    int result = restore_records(agent, err);
    if (result == 0)
        result = restore_instances(agent, err);
    if (result == 0 && restore_networks(agent) < 0)
        log_warn(NULL, "restore", "the networks of a former agent cannot be listed");
    return result;
}
