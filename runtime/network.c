/* The order of things: jobs (one network_add, _del or _verify each) wait for their turn, run thread
 * steps and CNI chains one after the other, and end in one callback. Jobs of one uid never overlap;
 * a few of different ones do. Everything here is on the loop and does not block, see
 * network_steps.c for what does. Called by provider. */
#include "runtime/network_priv.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/cni_guard.h"
#include "runtime/network_work.h"
#include "runtime/statedir_record.h"

#include <errno.h>
#include <string.h>

/* Half of a plugin's time is waiting (for the kernel's RCU, for host-local's and iptables' locks).
 * Measured with the default list on two cores: 95 ms an ADD one by one, 45 ms at 4, 40 ms at 16. */
#define PARALLEL_MAX 4

static void advance(struct net_job *job);

void network_job_free(struct net_job *job)
{
    network_record_free(&job->record);
    network_record_free(&job->old);
    cni_list_free(job->list);
    free(job->cni_args);
    free(job->attachments);
    free(job);
}

static void unlink_running(struct net_job *job)
{
    struct net_job **at = &job->network->running;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    job->network->running_len--;
}

static void end_collection(const struct net_job *job)
{
    job->network->collecting = false;
    if (job->result < 0)
        log_warn(NULL, "network", "CNI's garbage collection failed: %s", job->err.text);
}

static void finish(struct net_job *job)
{
    struct network *network = job->network;
    static const char *const kinds[] = {[NET_JOB_ADD] = "add",
                                        [NET_JOB_DEL] = "del",
                                        [NET_JOB_VERIFY] = "verify",
                                        [NET_JOB_COLLECT] = "collect"};
    const struct log_ctx ctx = {.uid = job->uid};
    bool added = job->kind == NET_JOB_ADD && job->result == 0;

    unlink_running(job);
    network->jobs_len--;
    log_debug(&ctx, "network", "%s result=%d ms=%.1f cni_ms=%.1f", kinds[job->kind], job->result,
              (double)(clock_mono_ns() - job->begun_ns) / 1e6, (double)job->cni_ns / 1e6);
    network_soon(network);
    if (job->kind == NET_JOB_COLLECT)
        end_collection(job);
    else
        job->done(job->userdata, job->result, added ? &job->record.net : NULL,
                  job->result < 0 ? job->err.text : NULL);
    network_job_free(job);
}

static void on_work(void *userdata)
{
    struct net_job *job = userdata;

    job->work = NULL;
    advance(job);
}

static void run_step(struct net_job *job, network_work_fn step)
{
    int r = network_work_start(job->network->loop, step, on_work, job, &job->work);

    if (r == 0)
        return;
    if (job->result == 0)
        job->result = err_set(&job->err, r, "cannot start a thread: %s", strerror(-r));
    finish(job);
}

static void run_chain(struct net_job *job, enum cni_command command);

static void note_failure(struct net_job *job, int result, const struct err *err)
{
    if (job->result < 0)
        return;
    job->result = result;
    job->err = *err;
}

static void on_add_chain(struct net_job *job, int result, const char *output, size_t output_len,
                         const struct err *err)
{
    if (result < 0) {
        note_failure(job, result, err);
        run_step(job, network_step_undo);
        return;
    }
    job->record.result = xstrndup(output, output_len);
    run_step(job, network_step_join);
}

/* A DEL that failed runs once more: bridge 1.1 fails where a masquerading rule is gone already, but
 * has removed the interface by then and is content the second time. After that namespace and record
 * stay, so that the next network_del finds all it needs. */
static void on_del_chain(struct net_job *job, int result, const struct err *err)
{
    const struct log_ctx ctx = {.uid = job->uid};

    if (result == 0) {
        run_step(job, network_step_clean);
    } else if (!job->del_again && result != -ETIMEDOUT) {
        log_debug(&ctx, "network", "DEL runs again: %s", err->text);
        job->del_again = true;
        run_chain(job, CNI_DEL);
    } else {
        note_failure(job, result, err);
        finish(job);
    }
}

static void on_chain(void *userdata, int result, const char *output, size_t output_len,
                     const struct err *err)
{
    struct net_job *job = userdata;

    job->chain = NULL;
    job->cni_ns += clock_mono_ns() - job->chain_ns;
    switch (job->kind) {
    case NET_JOB_VERIFY:
        if (result < 0)
            note_failure(job, result, err);
        run_step(job, network_step_settle);
        break;
    case NET_JOB_COLLECT:
        if (result < 0)
            note_failure(job, result, err);
        finish(job);
        break;
    case NET_JOB_ADD:
    case NET_JOB_DEL:
        if (job->next_step == NET_ADD)
            on_add_chain(job, result, output, output_len, err);
        else
            on_del_chain(job, result, err);
        break;
    }
}

/* Set by the kubelet's runtimes too; IgnoreUnknown lets plugins accept those that they do not know.
 */
static char *make_args(const struct net_job *job, const struct network_record *record)
{
    return xasprintf("IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;"
                     "K8S_POD_INFRA_CONTAINER_ID=%s;K8S_POD_UID=%s",
                     record->ns ? record->ns : "", record->name ? record->name : "", job->uid,
                     job->uid);
}

static void run_chain(struct net_job *job, enum cni_command command)
{
    const struct network *network = job->network;
    const struct network_record *record = command == CNI_DEL ? job->undoing : &job->record;
    struct cni_call call = {.list = job->list,
                            .command = command,
                            .container_id = command == CNI_GC ? NULL : job->uid,
                            .netns = job->cni_netns,
                            .bin_dirs = (const char *const *)network->bin_dirs,
                            .bin_dirs_len = network->bin_dirs_len,
                            .wants = network_record_wants(record),
                            .prev = command == CNI_ADD ? NULL : record->result,
                            .attachments = job->attachments,
                            .guard_fd = cni_guard_fd(network->guard),
                            .ms_max = network->plugin_ms_max};

    free(job->cni_args);
    job->cni_args = make_args(job, record);
    call.args = job->cni_args;
    job->chain_ns = clock_mono_ns();
    job->chain = cni_chain_start(network->loop, &call, on_chain, job);
}

/* A host whose configuration has a bad file is told so once, not with every Pod. */
static void warn_skipped(struct net_job *job)
{
    struct network *network = job->network;

    if (job->skipped[0] && !str_eq(job->skipped, network->skipped)) {
        log_warn(NULL, "network", "skipped: %s", job->skipped);
        str_copy(network->skipped, sizeof(network->skipped), job->skipped);
    }
}

/* After a thread's step. */
static void advance(struct net_job *job)
{
    warn_skipped(job);
    switch (job->next_step) {
    case NET_FINISH:
        finish(job);
        break;
    case NET_ADD:
    case NET_DEL:
        run_chain(job, job->next_step == NET_DEL ? CNI_DEL : CNI_ADD);
        break;
    case NET_VERIFY:
        run_chain(job, CNI_CHECK);
        break;
    case NET_COLLECT:
        run_chain(job, CNI_GC);
        break;
    case NET_UNDO:
        run_step(job, network_step_undo);
        break;
    case NET_CLEAN:
        run_step(job, network_step_clean);
        break;
    case NET_BEGIN:
        network_record_free(&job->old);
        run_step(job, network_step_begin);
        break;
    }
}

static bool is_running(const struct network *network, const char *uid)
{
    for (const struct net_job *job = network->running; job; job = job->next)
        if (str_eq(job->uid, uid))
            return true;
    return false;
}

static void begin_job(struct net_job *job)
{
    static const network_work_fn first[] = {[NET_JOB_ADD] = network_step_begin,
                                            [NET_JOB_DEL] = network_step_begin,
                                            [NET_JOB_VERIFY] = network_step_verify,
                                            [NET_JOB_COLLECT] = network_step_collect};
    struct network *network = job->network;

    network->pending_len -= job->kind != NET_JOB_VERIFY;
    network->collecting |= job->kind == NET_JOB_COLLECT;
    job->next = network->running;
    network->running = job;
    network->running_len++;
    job->begun_ns = clock_mono_ns();
    if (job->result < 0)
        finish(job);
    else
        run_step(job, first[job->kind]);
}

static bool must_wait(const struct network *network, const struct net_job *job)
{
    if (!network->guard_ready || network->collecting || is_running(network, job->uid))
        return true;
    /* Checks are for a host that has nothing better to do, one at a time. */
    if (job->kind == NET_JOB_VERIFY)
        return network->running_len > 0 || network->pending_len > 0;
    return network->running_len >= PARALLEL_MAX;
}

/* Starts what may start, in the order of arrival; of one uid never a later job before an earlier
 * one, because whoever is skipped here is skipped for a running job of that uid. Refused jobs need
 * no place among the running ones. */
void network_pump(struct network *network)
{
    struct net_job **at = &network->pending;

    while (*at) {
        struct net_job *job = *at;
        bool refused = job->result < 0;

        if (!refused && must_wait(network, job)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        if (!*at)
            network->pending_end = at;
        begin_job(job);
        if (refused)
            at = &network->pending; /* its callback may have changed the list */
    }
}

static void append_job(struct network *network, struct net_job *job)
{
    job->network = network;
    job->cni_netns = "";
    network->jobs_len++;
    network->pending_len += job->kind != NET_JOB_VERIFY;
    *network->pending_end = job;
    network->pending_end = &job->next;
    network_soon(network);
}

static struct net_job *new_job(struct network *network, enum net_kind kind, const char *uid,
                               network_done done, void *userdata)
{
    struct net_job *job = xcalloc(1, sizeof(*job));

    job->kind = kind;
    job->done = done;
    job->userdata = userdata;
    if (!statedir_uid_ok(uid)) {
        job->result = err_spec(&job->err, -EINVAL, "Pod UID is not usable as a file name");
    } else {
        str_copy(job->uid, sizeof(job->uid), uid);
        str_fmt(job->netns, sizeof(job->netns), "%s/" NETWORK_NS_PREFIX "%s", network->netns_dir,
                uid);
    }
    if (network->jobs_len >= NETWORK_JOBS_MAX && job->result == 0)
        job->result =
            err_set(&job->err, -EAGAIN, "more than %d network jobs are waiting", NETWORK_JOBS_MAX);
    append_job(network, job);
    return job;
}

void network_collect(struct network *network)
{
    struct net_job *job = xcalloc(1, sizeof(*job));

    job->kind = NET_JOB_COLLECT;
    append_job(network, job);
}

/* What becomes part of CNI_ARGS must not be able to add to it. */
static bool name_ok(const char *name)
{
    size_t len = name ? strlen(name) : 0;

    return len > 0 && len <= 253 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len;
}

void network_add(struct network *network, const struct network_pod *pod, network_done done,
                 void *userdata)
{
    struct net_job *job = new_job(network, NET_JOB_ADD, pod->uid, done, userdata);
    const struct network_wants *wants = &pod->wants;
    struct network_record *record = &job->record;

    if (job->result < 0)
        return;
    if (!name_ok(pod->ns) || !name_ok(pod->name)) {
        job->result = err_spec(&job->err, -EINVAL, "Pod name or namespace is no DNS name");
        return;
    }
    if (wants->ports_len > CNI_PORTS_MAX) {
        job->result = err_spec(&job->err, -E2BIG, "more than %d ports", CNI_PORTS_MAX);
        return;
    }
    record->ns = xstrdup(pod->ns);
    record->name = xstrdup(pod->name);
    record->ingress_bps = wants->ingress_bps;
    record->egress_bps = wants->egress_bps;
    record->ips = str_empty(wants->ips) ? NULL : xstrdup(wants->ips);
    record->mac = str_empty(wants->mac) ? NULL : xstrdup(wants->mac);
    record->ports = xcalloc(wants->ports_len, sizeof(*record->ports));
    record->ports_len = wants->ports_len;
    for (size_t i = 0; i < wants->ports_len; i++) {
        const struct network_port *port = &wants->ports[i];

        record->ports[i] = *port;
        record->ports[i].host_ip = xstrdup(port->host_ip ? port->host_ip : "");
        record->ports[i].protocol = xstrdup(port->protocol ? port->protocol : "");
    }
}

void network_del(struct network *network, const char *uid, network_done done, void *userdata)
{
    (void)new_job(network, NET_JOB_DEL, uid, done, userdata);
}

void network_verify(struct network *network, const char *uid, network_done done, void *userdata)
{
    (void)new_job(network, NET_JOB_VERIFY, uid, done, userdata);
}
