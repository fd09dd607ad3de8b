/* What happened, written down: the only functions that change a Pod's observation besides the
 * reconciler's own flags. Each is harmless when it comes twice or too late. Not for decisions,
 * which are pod_step's, except back-off times, which belong to the moment of the failure. */
#include "provider/core/observed.h"

#include "base/str.h"

#include <string.h>

#define BACKOFF_MIN_MS 10000u
/* A sandbox is tried again sooner than a crash: the kubelet's retry of a failed sync is 10 s. */
#define NET_RETRY_MIN_MS 1000u
#define NET_RETRY_MAX_MS 10000u
#define PREPARE_RETRY_MIN_MS 500u
#define PREPARE_RETRY_MAX_MS 122000u

#define EXIT_LOST 137

static uint64_t doubling(uint64_t first, uint64_t max, uint32_t failures)
{
    uint64_t ms = first;

    for (uint32_t i = 1; i < failures && ms < max; i++)
        ms *= 2;
    return ms < max ? ms : max;
}

uint64_t backoff_ms(uint32_t failures)
{
    return doubling(BACKOFF_MIN_MS, BACKOFF_MAX_MS, failures);
}

static uint64_t crash_max_ms(const struct container_observed *c)
{
    return c->restart_max_ms ? c->restart_max_ms : BACKOFF_MAX_MS;
}

uint64_t crash_backoff_ms(const struct container_observed *c)
{
    uint64_t max = crash_max_ms(c);

    if (c->crashes < 2)
        return 0;
    return doubling(max < BACKOFF_MIN_MS ? max : BACKOFF_MIN_MS, max, c->crashes - 1);
}

static void count_up(uint32_t *count)
{
    if (*count < UINT32_MAX)
        (*count)++;
}

void observe_init(struct pod_observed *obs, const struct pod_spec *spec,
                  struct container_observed *containers, const struct now *now)
{
    bool terminal = spec->api_phase == PHASE_SUCCEEDED || spec->api_phase == PHASE_FAILED;

    memset(obs, 0, sizeof(*obs));
    obs->containers = containers;
    obs->containers_len = pod_containers_len(spec);
    if (obs->containers_len > POD_MACHINES_MAX)
        obs->containers_len = POD_MACHINES_MAX;
    obs->start_ms = spec->api_start_ms ? spec->api_start_ms : now->unix_ms;
    /* Its end was reported, maybe by an agent whose state is lost: never run it again, and do not
     * report over what the API server has. */
    obs->stopped_for_good = terminal;
    obs->terminal_acked = terminal;
    for (size_t i = 0; i < obs->containers_len; i++)
        observe_api_restarts(&containers[i], pod_container(spec, i)->api_restart_count);
}

void observe_api_restarts(struct container_observed *c, uint32_t count)
{
    bool unknown = c->attempt == 0 && !c->exit.valid && !c->last.valid;

    if (c->machine == MACHINE_STARTING || c->machine == MACHINE_RUNNING || count <= c->attempt)
        return; /* the number of what exists is known */
    c->attempt = count;
    if (unknown) /* that attempt is over, and its number taken */
        count_up(&c->attempt);
}

void observe_image_pulling(struct container_observed *c, const char *image)
{
    uint64_t hash = str_hash(image, strlen(image));

    if (c->image_hash != 0 && hash != c->image_hash)
        c->image_failures = 0;
    if (hash != c->image_hash)
        observe_prepare_again(c);
    c->image = IMAGE_PULLING;
    c->image_hash = hash;
}

void observe_image_ready(struct container_observed *c, const char *digest)
{
    c->image = IMAGE_READY;
    str_copy(c->image_digest, sizeof(c->image_digest), digest);
    c->image_reason[0] = '\0';
    c->image_error[0] = '\0';
    c->image_failures = 0;
    c->image_retry_ms = 0;
}

void observe_image_failed(struct container_observed *c, const char *reason, const char *text,
                          const struct now *now)
{
    c->image = IMAGE_FAILED;
    str_copy(c->image_reason, sizeof(c->image_reason), reason);
    str_copy(c->image_error, sizeof(c->image_error), text);
    count_up(&c->image_failures);
    c->image_retry_ms = now->mono_ms + backoff_ms(c->image_failures);
}

void observe_net_adding(struct pod_observed *obs)
{
    obs->net = NET_ADDING;
}

void observe_net_up(struct pod_observed *obs, const char *pod_ip)
{
    obs->net = NET_UP;
    str_copy(obs->pod_ip, sizeof(obs->pod_ip), pod_ip);
    obs->net_error[0] = '\0';
    obs->net_failures = 0;
    obs->net_retry_ms = 0;
}

void observe_net_failed(struct pod_observed *obs, const char *text, const struct now *now)
{
    str_copy(obs->net_error, sizeof(obs->net_error), text);
    count_up(&obs->net_failures);
    obs->net_retry_ms =
        now->mono_ms + doubling(NET_RETRY_MIN_MS, NET_RETRY_MAX_MS, obs->net_failures);
    /* A failed removal stays one; the retry time says that no answer is under way. */
    if (obs->net != NET_DELETING)
        obs->net = NET_FAILED;
}

void observe_net_deleting(struct pod_observed *obs)
{
    obs->net = NET_DELETING;
    obs->net_retry_ms = 0;
}

void observe_net_gone(struct pod_observed *obs)
{
    obs->net = NET_NONE;
    obs->net_error[0] = '\0';
    obs->net_failures = 0;
    obs->net_retry_ms = 0;
}

void observe_preparing(struct container_observed *c)
{
    c->prepare = PREPARE_ASKED;
}

void observe_prepared(struct container_observed *c)
{
    c->prepare = PREPARE_READY;
    c->prepare_failures = 0;
    c->prepare_retry_ms = 0;
}

void observe_prepare_failed(struct container_observed *c, const char *reason, const char *text,
                            const struct now *now)
{
    c->prepare = PREPARE_FAILED;
    str_copy(c->start_reason, sizeof(c->start_reason), reason);
    str_copy(c->start_error, sizeof(c->start_error), text);
    count_up(&c->prepare_failures);
    c->prepare_retry_ms =
        now->mono_ms + doubling(PREPARE_RETRY_MIN_MS, PREPARE_RETRY_MAX_MS, c->prepare_failures);
}

void observe_prepare_again(struct container_observed *c)
{
    if (c->prepare == PREPARE_FAILED || c->prepare == PREPARE_READY)
        c->prepare = PREPARE_NEEDED;
}

bool observe_probe(struct container_observed *c, enum probe_type type, enum probe_result result)
{
    bool news = c->probes[type] != result;

    c->probes[type] = result;
    return news;
}

void observe_hooked(struct container_observed *c, enum hook_type type, bool failed)
{
    if (type == HOOK_PRE_STOP) {
        c->pre_stop = HOOK_DONE;
        return;
    }
    c->post_start = HOOK_DONE;
    if (failed && c->doom == DOOM_NONE)
        c->doom = DOOM_POST_START;
}

void observe_starting(struct container_observed *c, const char *id)
{
    /* A launch that failed was no attempt: the next one has its number. */
    if (c->exit.valid) {
        c->last = c->exit;
        memset(&c->exit, 0, sizeof(c->exit));
        count_up(&c->attempt);
    }
    c->machine = MACHINE_STARTING;
    c->again = false;
    c->prepare = PREPARE_NEEDED;
    if (c->running_hash != c->image_hash)
        c->crashes = 0; /* another image: its own back-off */
    c->running_hash = c->image_hash;
    str_copy(c->id, sizeof(c->id), id);
    c->started_ms = 0;
    c->start_reason[0] = '\0';
    c->start_error[0] = '\0';
    c->start_spec_error = false;
    c->ready = false;
    c->stop_sent = false;
    c->kill_sent = false;
    c->stop_deadline_ms = 0;
    memset(c->probes, 0, sizeof(c->probes));
    c->post_start = c->pre_stop = HOOK_NONE;
    c->doom = DOOM_NONE;
}

void observe_running(struct container_observed *c, int64_t started_unix_ms)
{
    if (c->machine != MACHINE_STARTING && c->machine != MACHINE_RUNNING)
        return;
    c->machine = MACHINE_RUNNING;
    c->started_ms = started_unix_ms;
}

void observe_start_failed(struct container_observed *c, const char *reason, const char *text,
                          bool spec_error, const struct now *now)
{
    if (c->machine == MACHINE_EXITED)
        return;
    c->machine = MACHINE_FAILED;
    str_copy(c->start_reason, sizeof(c->start_reason), reason);
    str_copy(c->start_error, sizeof(c->start_error), text);
    c->start_spec_error = spec_error;
    c->ready = false;
    count_up(&c->crashes);
    /* Unlike a crash, whose first restart is immediate, the same launch fails the same way a
     * moment later. When only another image can help, look for it, and not often. */
    c->restart_ms = now->mono_ms + (spec_error ? BACKOFF_MAX_MS : backoff_ms(c->crashes));
    if (spec_error)
        c->image = IMAGE_NEEDED;
}

/* Contract 3.7: the first restart at once, then 10 s doubling; a long run forgets the past, and an
 * end that we asked for is no crash, but for one that a probe or hook made us ask for. */
static void back_off(struct container_observed *c, const struct now *now)
{
    if ((c->stop_sent || c->kill_sent) && c->doom == DOOM_NONE) {
        c->crashes = 0;
        c->restart_ms = now->mono_ms;
        return;
    }
    if (c->exit.finished_ms - c->exit.started_ms >= 2 * (int64_t)crash_max_ms(c))
        c->crashes = 0;
    count_up(&c->crashes);
    c->restart_ms = now->mono_ms + crash_backoff_ms(c);
}

const char *console_message(const struct container_spec *spec, const struct machine_exit *exit,
                            const char *text, size_t count)
{
    size_t most = count > 0 ? MESSAGES_BYTES_MAX / count : MESSAGES_BYTES_MAX;
    size_t len = strlen(text), at, lines = 0;

    while (len > 0 && text[len - 1] == '\n')
        len--;
    if (!spec->log_fallback || exit->exit_code == 0 || len == 0)
        return NULL;
    if (most > CONSOLE_BYTES_MAX)
        most = CONSOLE_BYTES_MAX;
    at = strlen(text) > most ? strlen(text) - most : 0;
    for (size_t i = len; i > at; i--) {
        if (text[i - 1] == '\n' && ++lines == CONSOLE_LINES_MAX)
            return text + i;
    }
    while (at < len && ((unsigned char)text[at] & 0xc0) == 0x80)
        at++; /* never from the middle of a character */
    return text + at;
}

void observe_exit(struct container_observed *c, const struct container_spec *spec,
                  const struct machine_exit *exit, const struct now *now)
{
    bool stale = exit->id[0] != '\0' && strcmp(exit->id, c->id) != 0;

    if (stale || (c->machine != MACHINE_STARTING && c->machine != MACHINE_RUNNING))
        return;
    c->machine = MACHINE_EXITED;
    c->exit = *exit;
    c->exit.valid = true;
    str_copy(c->exit.id, sizeof(c->exit.id), c->id);
    if (c->exit.reason[0] == '\0')
        str_copy(c->exit.reason, sizeof(c->exit.reason),
                 c->exit.exit_code == 0 ? "Completed" : "Error");
    if (c->exit.finished_ms == 0)
        c->exit.finished_ms = now->unix_ms;
    if (c->exit.started_ms == 0)
        c->exit.started_ms = c->started_ms ? c->started_ms : c->exit.finished_ms;
    c->exit.unhealthy = c->doom == DOOM_LIVENESS || c->doom == DOOM_STARTUP;
    c->ready = false;
    back_off(c, now);
    if (spec->pull_policy == PULL_ALWAYS)
        c->image = IMAGE_NEEDED;
}

void observe_lost(struct container_observed *c, const struct container_spec *spec,
                  const struct now *now)
{
    struct machine_exit exit = {.exit_code = EXIT_LOST, .reason = "ContainerStatusUnknown"};

    str_copy(exit.message, sizeof(exit.message),
             c->machine == MACHINE_RUNNING
                 ? "The container could not be located when the pod was deleted.  "
                   "The container used to be Running"
                 : "The container could not be located when the pod was terminated");
    observe_exit(c, spec, &exit, now);
}

void observe_never_started(struct container_observed *c)
{
    if (c->machine == MACHINE_STARTING)
        c->machine = MACHINE_NONE;
}
