/* Looking after what is there: CNI's CHECK of one Pod's network, and CNI's GC of what no Pod has.
 * The blocking parts, run on threads of their own. Called by network.c through network_work.h. */
#include "runtime/network_priv.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/network_ns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ATTACHMENTS_MAX (2 * 1024 * 1024) /* 64 bytes each, for more Pods than a host runs */

static void end(struct net_job *job, int result)
{
    job->result = result;
    job->next_step = NET_FINISH;
}

/* Plugins look for the addresses and routes of their result on the interface, from which they were
 * taken for the guest. They are harmless there for the moment: every frame that arrives is already
 * redirected to the guest, and the namespace itself has nothing to say. */
static int lend_addresses(struct net_job *job)
{
    const struct network_record *record = &job->record;
    struct cni_result result;
    int r =
        cni_result_parse(record->result, strlen(record->result), CNI_IFNAME, &result, &job->err);

    if (r == 0)
        r = netns_enter(job->netns, &job->err);
    if (r == 0)
        r = tap_unjoin(CNI_IFNAME, &result, &job->err);
    if (r == 0)
        r = tap_routes(CNI_IFNAME, &result, &job->err);
    return r == -ENODEV
               ? err_set(&job->err, r, "the Pod's network namespace has no %s any more", CNI_IFNAME)
               : r;
}

void network_step_verify(void *userdata)
{
    struct net_job *job = userdata;
    const struct network *network = job->network;
    int r = network_store_load(network->store_dir, job->uid, &job->record);

    if (r < 0 || job->record.phase != NETWORK_UP ||
        !str_eq(job->record.boot_id, network->boot_id) || !netns_alive(job->netns)) {
        end(job, err_set(&job->err, -ENOENT, "the Pod has no network"));
        return;
    }
    r = cni_list_parse(job->record.conf, strlen(job->record.conf), &job->list, &job->err);
    if (r < 0 || !cni_list_checks(job->list)) {
        end(job, r);
        return;
    }
    r = lend_addresses(job);
    if (r < 0) {
        job->result = r;
        network_step_settle(job);
        return;
    }
    job->cni_netns = job->netns;
    job->next_step = NET_VERIFY;
}

void network_step_settle(void *userdata)
{
    struct net_job *job = userdata;
    struct err err;
    int r = netns_enter(job->netns, &err);

    if (r == 0)
        r = tap_strip(CNI_IFNAME, &err);
    if (r < 0 && job->result == 0) {
        job->result = r;
        job->err = err;
    }
    job->next_step = NET_FINISH;
}

/* Whoever has a record counts, finished or not: what is not wanted any more gets its own DEL. */
static char *valid_attachments(struct network *network)
{
    CLEANUP(buf) struct buf text = BUF_INIT(ATTACHMENTS_MAX);
    struct json_writer w = JSON_WRITER(&text);
    char **uids;
    size_t len;

    if (network_list(network, &uids, &len) < 0)
        return NULL;
    jw_begin_array(&w, NULL);
    for (size_t i = 0; i < len; i++) {
        jw_begin_object(&w, NULL);
        jw_string(&w, "containerID", uids[i]);
        jw_string(&w, "ifname", CNI_IFNAME);
        jw_end_object(&w);
        free(uids[i]);
    }
    jw_end_array(&w);
    free(uids);
    return text.overflow ? NULL : buf_take(&text);
}

void network_step_collect(void *userdata)
{
    struct net_job *job = userdata;
    struct network *network = job->network;
    bool is_default;
    int r = network_current_list(network, NULL, &job->list, &is_default, job->skipped, &job->err);

    if (r < 0 || !cni_list_collects(job->list)) {
        end(job, r);
        return;
    }
    /* A list that is not whole would have the plugins throw away what runs. */
    job->attachments = valid_attachments(network);
    if (!job->attachments) {
        end(job, err_set(&job->err, -E2BIG, "the Pods' networks cannot be listed"));
        return;
    }
    job->next_step = NET_COLLECT;
}
