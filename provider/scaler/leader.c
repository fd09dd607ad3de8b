/* Who of the replicas acts: a Lease, by the rules of client-go's leader election. What counts is
 * how long the Lease was seen unchanged by the own clock, never the time written in it. A leader
 * that cannot renew steps back before another one may take over. Called by startup.c. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "provider/scaler/scaler.h"

#include <stdlib.h>
#include <string.h>

#define LEASES "/apis/coordination.k8s.io/v1/namespaces/%s/leases"
#define LEASE_BYTES_MAX 8192
#define RESIGN_MS_MAX 1000u

enum call { CALL_NONE, CALL_GET, CALL_WRITE, CALL_RESIGN };

struct leader {
    struct scaler *scaler;
    uv_timer_t timer;
    struct kube_request *request;
    enum call call;
    bool leading;
    uint64_t sent_ms;    /* when the write under way left */
    uint64_t renewed_ms; /* when the last write that succeeded left */
    char version[64];    /* of the Lease as last seen; "": there is none */
    char holder[SCALER_NAME_MAX];
    uint64_t seen_ms; /* since when it is unchanged */
    int64_t transitions;
    char acquired[CLOCK_RFC3339_MAX];
};

static void on_answer(void *userdata, const struct kube_answer *answer);

static uint64_t life_ms(const struct leader *leader)
{
    return (uint64_t)leader->scaler->config.lease_seconds * 1000;
}

static void call_api(struct leader *leader, enum call call, enum kube_method method,
                     const char *name, const struct buf *body)
{
    char *path = name[0] ? xasprintf(LEASES "/%s", leader->scaler->config.ns, name)
                         : xasprintf(LEASES, leader->scaler->config.ns);
    leader->call = call;
    leader->sent_ms = clock_mono_ms();
    leader->request =
        kube_request(leader->scaler->client, method, path, body ? buf_str(body) : NULL,
                     body ? body->len : 0, KUBE_ONCE, on_answer, leader);
    free(path);
}

static void read_lease(struct leader *leader)
{
    call_api(leader, CALL_GET, KUBE_GET, leader->scaler->config.lease, NULL);
}

static void write_lease(struct leader *leader, const char *holder)
{
    const struct scaler_config *config = &leader->scaler->config;
    struct buf body = BUF_INIT(LEASE_BYTES_MAX);
    struct json_writer w = JSON_WRITER(&body);
    char now[CLOCK_RFC3339_MAX];
    bool taken = !str_eq(leader->holder, holder);
    clock_rfc3339_micro(now, clock_unix_ms());
    if (taken && holder[0])
        str_copy(leader->acquired, sizeof(leader->acquired), now);
    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "coordination.k8s.io/v1");
    jw_string(&w, "kind", "Lease");
    jw_begin_object(&w, "metadata");
    jw_string(&w, "name", config->lease);
    jw_string(&w, "namespace", config->ns);
    jw_string_opt(&w, "resourceVersion", leader->version);
    jw_end_object(&w);
    jw_begin_object(&w, "spec");
    jw_string(&w, "holderIdentity", holder);
    jw_int(&w, "leaseDurationSeconds", holder[0] ? config->lease_seconds : 1);
    jw_string(&w, "acquireTime", leader->acquired[0] ? leader->acquired : now);
    jw_string(&w, "renewTime", now);
    jw_int(&w, "leaseTransitions",
           leader->transitions + (taken && holder[0] && leader->version[0] ? 1 : 0));
    jw_end_object(&w);
    jw_end_object(&w);
    bool create = !leader->version[0];
    call_api(leader, holder[0] ? CALL_WRITE : CALL_RESIGN, create ? KUBE_POST : KUBE_PUT,
             create ? "" : config->lease, &body);
    buf_free(&body);
}

static void on_timer(uv_timer_t *timer)
{
    struct leader *leader = timer->data;
    uint64_t now = clock_mono_ms();
    if (leader->scaler->stopping) {
        uv_stop(&leader->scaler->loop);
        return;
    }
    if (leader->leading && now - leader->renewed_ms > life_ms(leader) * 2 / 3) {
        leader->leading = false;
        log_warn(NULL, "leader", "the Lease could not be renewed in time: no longer the leader");
    }
    if (leader->request)
        return;
    if (leader->leading)
        write_lease(leader, leader->scaler->config.pod_name);
    else
        read_lease(leader);
}

static void take_in(struct leader *leader, const struct kube_answer *answer)
{
    struct json *root = json_parse(answer->body, answer->len, NULL);
    const struct json *spec = json_get(root, "spec");
    const char *version = json_string(json_path(root, "metadata.resourceVersion"));
    const char *holder = json_get_string(spec, "holderIdentity");
    const char *acquired = json_get_string(spec, "acquireTime");
    if (!str_eq(version, leader->version))
        leader->seen_ms = clock_mono_ms();
    str_copy(leader->version, sizeof(leader->version), version ? version : "");
    str_copy(leader->holder, sizeof(leader->holder), holder ? holder : "");
    str_copy(leader->acquired, sizeof(leader->acquired), acquired ? acquired : "");
    leader->transitions = 0;
    (void)json_get_int(spec, "leaseTransitions", &leader->transitions);
    json_free(root);
}

/* The Lease is known: is it ours, free, or another's? */
static void judge(struct leader *leader)
{
    const char *me = leader->scaler->config.pod_name;
    bool expired = clock_mono_ms() - leader->seen_ms >= life_ms(leader);
    if (!leader->version[0] || !leader->holder[0] || str_eq(leader->holder, me) || expired)
        write_lease(leader, me);
}

static void on_answer(void *userdata, const struct kube_answer *answer)
{
    struct leader *leader = userdata;
    enum call call = leader->call;
    leader->request = NULL;
    leader->call = CALL_NONE;
    bool good = answer->result == 0 && answer->status >= 200 && answer->status < 300;
    if (call == CALL_RESIGN) {
        uv_stop(&leader->scaler->loop);
    } else if (good) {
        take_in(leader, answer);
        if (call == CALL_GET) {
            judge(leader);
            return;
        }
        leader->renewed_ms = leader->sent_ms;
        if (!leader->leading)
            log_info(NULL, "leader", "holds the Lease %s/%s", leader->scaler->config.ns,
                     leader->scaler->config.lease);
        leader->leading = true;
    } else if (answer->result == 0 && answer->status == 404 && call == CALL_GET) {
        leader->version[0] = leader->holder[0] = '\0';
        judge(leader);
    } else if (answer->result == 0 && (answer->status == 409 || answer->status == 404)) {
        read_lease(leader); /* somebody wrote it meanwhile */
    } else {
        log_warn(NULL, "leader", "Lease: %s", answer->text);
    }
}

struct leader *leader_start(struct scaler *scaler)
{
    struct leader *leader = xcalloc(1, sizeof(*leader));
    leader->scaler = scaler;
    uv_timer_init(&scaler->loop, &leader->timer);
    leader->timer.data = leader;
    /* A fifth: two renewals may fail before two thirds of its life are over. */
    uv_timer_start(&leader->timer, on_timer, 0, life_ms(leader) / 5);
    return leader;
}

bool leader_leading(const struct leader *leader)
{
    /* By the clock: a process that was stopped must not act on what it knew before. */
    return leader && leader->leading && !leader->scaler->stopping &&
           clock_mono_ms() - leader->renewed_ms <= life_ms(leader) * 2 / 3;
}

void leader_resign(struct leader *leader)
{
    bool held = leader && leader->leading;
    if (leader && leader->request) {
        kube_request_cancel(leader->request);
        leader->request = NULL;
    }
    if (!held) {
        if (leader)
            uv_stop(&leader->scaler->loop);
        return;
    }
    uv_timer_start(&leader->timer, on_timer, RESIGN_MS_MAX, 0);
    write_lease(leader, "");
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void leader_stop(struct leader *leader)
{
    if (!leader)
        return;
    if (leader->request)
        kube_request_cancel(leader->request);
    uv_close((uv_handle_t *)&leader->timer, on_closed);
}
