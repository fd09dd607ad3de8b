/* The blocking parts of adding and deleting a Pod's network, each run on a thread of its own that
 * may change its network namespace. They read struct network but never write it. Order on disk
 * matters here: the intent is saved before anything exists, CNI's answer before addresses move.
 * Called by network.c through network_work.h. */
#include "runtime/network_priv.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/network_ns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool has_host_ports(const struct network_wants *wants)
{
    for (size_t i = 0; i < wants->ports_len; i++)
        if (wants->ports[i].host_port)
            return true;
    return false;
}

int network_current_list(const struct network *network, const struct network_wants *wants,
                         struct cni_list **ret, bool *ret_default, char *ret_skipped,
                         struct err *err)
{
    const struct cni_default conf = {.cidr = network->pod_cidr,
                                     .cidr6 = network->pod_cidr6,
                                     .bridge = network->bridge,
                                     .data_dir = network->ipam_dir,
                                     .portmap = !wants || has_host_ports(wants),
                                     .bandwidth =
                                         !wants || wants->ingress_bps || wants->egress_bps};
    int r = network->conf_dir ? cni_list_load(network->conf_dir, ret, ret_skipped, err) : -ENOENT;

    if (r == 0)
        *ret_default = false;
    if (r != -ENOENT)
        return r;
    r = cni_list_default(&conf, ret, err);
    if (r == 0)
        *ret_default = true;
    return r;
}

static void fail(struct net_job *job, int result, enum net_next next)
{
    job->result = result;
    job->next_step = next;
}

static bool same_boot(const struct net_job *job, const struct network_record *record)
{
    return str_eq(record->boot_id, job->network->boot_id);
}

/* Makes everything that CNI needs. */
static void prepare_add(struct net_job *job)
{
    const struct network *network = job->network;
    const struct network_wants wants = network_record_wants(&job->record);
    int r;

    cni_list_free(TAKE(job->list)); /* that of what was undone */
    r = network_current_list(network, &wants, &job->list, &job->record.is_default, job->skipped,
                             &job->err);
    if (r == 0)
        r = cni_list_check(job->list, (const char *const *)network->bin_dirs, network->bin_dirs_len,
                           &job->err);
    if (r < 0) {
        fail(job, r, NET_FINISH);
        return;
    }
    job->record.conf = xstrdup(job->list->text);
    job->record.boot_id = xstrdup(network->boot_id);
    r = network_store_save(network->store_dir, job->uid, &job->record, &job->err);
    if (r == 0)
        r = netns_create(job->netns, &job->err);
    if (r == 0)
        r = tap_create(NETWORK_TAP_NAME, &job->err);
    if (r < 0) {
        fail(job, r, NET_CLEAN); /* CNI knows nothing yet */
        return;
    }
    job->cni_netns = job->netns;
    job->next_step = NET_ADD;
}

void network_step_begin(void *userdata)
{
    struct net_job *job = userdata;
    struct network_record found = {.phase = NETWORK_INTENT};
    struct stat st;
    int r = network_store_load(job->network->store_dir, job->uid, &found);
    bool remains = r != -ENOENT || lstat(job->netns, &st) == 0;
    bool add = job->kind == NET_JOB_ADD;

    if (add && r == 0 && found.phase == NETWORK_UP && same_boot(job, &found) &&
        netns_alive(job->netns)) {
        job->record.net = found.net;
        job->next_step = NET_FINISH;
    } else if (remains && job->undone) {
        fail(job, err_set(&job->err, -EBUSY, "the Pod's earlier network cannot be removed"),
             NET_FINISH);
    } else if (remains) {
        job->next_step = NET_UNDO;
    } else if (add) {
        prepare_add(job);
    } else {
        job->next_step = NET_FINISH;
    }
    network_record_free(&found);
}

/* The first address of each family. */
static void take_addresses(const struct cni_result *result, struct network_result *net)
{
    const struct cni_addr *first = &result->addrs[0]; /* IPv4 where there is one */

    str_copy(net->ip, sizeof(net->ip), first->ip);
    str_copy(net->gateway, sizeof(net->gateway), first->v6 ? result->gateway6 : result->gateway);
    net->prefix_len = first->prefix_len;
    for (size_t i = 1; i < result->addrs_len && !first->v6 && !net->ip6[0]; i++) {
        if (!result->addrs[i].v6)
            continue;
        str_copy(net->ip6, sizeof(net->ip6), result->addrs[i].ip);
        str_copy(net->gateway6, sizeof(net->gateway6), result->gateway6);
        net->prefix6_len = result->addrs[i].prefix_len;
    }
    str_copy(net->others, sizeof(net->others), result->others);
}

void network_step_join(void *userdata)
{
    struct net_job *job = userdata;
    struct network_record *record = &job->record;
    const char *store_dir = job->network->store_dir;
    struct cni_result result;
    int r;

    /* From here on the address may be gone from the interface: only the record knows it then. */
    record->phase = NETWORK_ANSWERED;
    r = network_store_save(store_dir, job->uid, record, &job->err);
    if (r == 0)
        r = cni_result_parse(record->result, strlen(record->result), CNI_IFNAME, &result,
                             &job->err);
    if (r == 0)
        r = netns_enter(job->netns, &job->err);
    if (r == 0) {
        str_copy(record->net.netns, sizeof(record->net.netns), job->netns);
        take_addresses(&result, &record->net);
        r = tap_join(CNI_IFNAME, NETWORK_TAP_NAME, &record->net, &job->err);
    }
    if (r == 0) {
        record->phase = NETWORK_UP;
        r = network_store_save(store_dir, job->uid, record, &job->err);
    }
    if (r < 0)
        fail(job, r, NET_UNDO);
    else
        job->next_step = NET_FINISH;
}

/* bridge's DEL removes the masquerading rules of the addresses that it finds on the interface, and
 * none when there is no interface: they must be there again. Where namespace or interface went
 * already (a DEL that failed half-way, or somebody else; not a reboot, which takes the rules along)
 * a stand-in carries them, for our own list only: other plugins get what the spec says. */
static int restore_addresses(struct net_job *job, const struct network_record *record,
                             struct err *err)
{
    bool stand_in = record->is_default && same_boot(job, record);
    struct cni_result result;
    int r;

    if (!record->result)
        return 0;
    r = cni_result_parse(record->result, strlen(record->result), CNI_IFNAME, &result, err);
    if (r < 0)
        return r;
    if (netns_alive(job->netns)) {
        r = netns_enter(job->netns, err);
    } else if (stand_in) {
        r = netns_remove(job->netns, err);
        if (r == 0)
            r = netns_create(job->netns, err);
    } else {
        return 0;
    }
    if (r == 0)
        r = tap_unjoin(CNI_IFNAME, &result, err);
    if (r == -ENODEV && stand_in) {
        r = tap_create(CNI_IFNAME, err);
        if (r == 0)
            r = tap_unjoin(CNI_IFNAME, &result, err);
    }
    return r == -ENODEV ? 0 : r;
}

/* The list that ADD used, if it can be told; else the one that holds now. */
static int list_to_undo(struct net_job *job, const struct network_record *record)
{
    bool is_default;

    if (record->conf && cni_list_parse(record->conf, strlen(record->conf), &job->list, NULL) == 0)
        return 0;
    return network_current_list(job->network, NULL, &job->list, &is_default, NULL, NULL);
}

void network_step_undo(void *userdata)
{
    struct net_job *job = userdata;
    const struct log_ctx ctx = {.uid = job->uid};
    struct err err;

    /* Of an add that failed its own record counts: it is never older than the file. */
    job->del_again = false;
    job->undoing = &job->record;
    if (!job->record.conf) {
        if (network_store_load(job->network->store_dir, job->uid, &job->old) == -EBADMSG)
            log_warn(&ctx, "network", "its record is unreadable: undone by what is known now");
        job->undoing = &job->old;
    }
    if (restore_addresses(job, job->undoing, &err) < 0)
        log_warn(&ctx, "network", "%s: rules of CNI plugins may stay behind", err.text);
    cni_list_free(TAKE(job->list));
    if (list_to_undo(job, job->undoing) < 0) {
        job->next_step = NET_CLEAN; /* nobody to ask: no record and no configuration */
        return;
    }
    job->cni_netns = netns_alive(job->netns) ? job->netns : "";
    job->next_step = NET_DEL;
}

void network_step_clean(void *userdata)
{
    struct net_job *job = userdata;
    struct err err;
    int r = netns_remove(job->netns, &err);

    /* The record goes last: as long as it is there, somebody comes back for the rest. */
    if (r == 0)
        r = network_store_remove(job->network->store_dir, job->uid, &err);
    if (r < 0 && job->result == 0) {
        job->result = r;
        job->err = err;
    }
    job->next_step = NET_FINISH;
    if (r == 0 && job->kind == NET_JOB_ADD && job->result == 0) {
        job->undone = true;
        job->next_step = NET_BEGIN;
    }
}
