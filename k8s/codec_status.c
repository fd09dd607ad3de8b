/* What the agent says about a Pod: the strategic-merge patch of pods/<p>/status (contract 3.2 and
 * appendix B), and the body of the final DELETE. containerStatuses is atomic, conditions merge by
 * type: a condition's reason that is gone must be an explicit null, a container's need not. */
#include "k8s/codec_priv.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "provider/core/quantity.h"

#include <string.h>

#define ID_PREFIX "unikernel://"

void codec_write_time(struct json_writer *w, const char *key, int64_t unix_ms)
{
    char text[CLOCK_RFC3339_MAX];

    jw_string(w, key, clock_rfc3339(text, unix_ms));
}

static void write_id(struct json_writer *w, const char *id)
{
    char text[OBSERVED_ID_MAX + sizeof(ID_PREFIX)];

    if (!str_empty(id))
        jw_string(w, "containerID", str_fmt(text, sizeof(text), ID_PREFIX "%s", id));
}

static void write_terminated(struct json_writer *w, const struct machine_exit *exit,
                             const char *reason, const char *message)
{
    jw_begin_object(w, "terminated");
    jw_int(w, "exitCode", exit->exit_code);
    if (exit->signal != 0)
        jw_int(w, "signal", exit->signal);
    jw_string_opt(w, "reason", reason);
    jw_string_opt(w, "message", message);
    if (exit->started_ms != 0)
        codec_write_time(w, "startedAt", exit->started_ms);
    if (exit->finished_ms != 0)
        codec_write_time(w, "finishedAt", exit->finished_ms);
    write_id(w, exit->id);
    jw_end_object(w);
}

static const char *exit_message(const struct machine_exit *exit, const char *reported)
{
    if (!str_empty(exit->console))
        return exit->console;
    return reported[0] ? reported : exit->message;
}

static void write_state(struct json_writer *w, const struct container_status *c)
{
    jw_begin_object(w, "state");
    if (c->state == STATE_RUNNING) {
        jw_begin_object(w, "running");
        codec_write_time(w, "startedAt", c->started_ms);
        jw_end_object(w);
    } else if (c->state == STATE_TERMINATED && c->terminated) {
        write_terminated(w, c->terminated, str_empty(c->reason) ? c->terminated->reason : c->reason,
                         exit_message(c->terminated, c->message));
    } else {
        jw_begin_object(w, "waiting");
        jw_string_opt(w, "reason", c->reason);
        jw_string_opt(w, "message", c->message);
        jw_end_object(w);
    }
    jw_end_object(w);
    jw_begin_object(w, "lastState");
    if (c->last)
        write_terminated(w, c->last, c->last->reason, exit_message(c->last, ""));
    jw_end_object(w);
}

static void write_amounts(struct json_writer *w, const char *key, int64_t cpu_milli,
                          int64_t memory_bytes, int64_t storage_bytes)
{
    char text[QUANTITY_MAX];

    if (cpu_milli < 0 && memory_bytes < 0 && storage_bytes < 0)
        return;
    jw_begin_object(w, key);
    if (cpu_milli >= 0)
        jw_string(w, "cpu", quantity_cpu(text, cpu_milli));
    if (memory_bytes >= 0)
        jw_string(w, "memory", quantity_bytes(text, memory_bytes));
    if (storage_bytes >= 0)
        jw_string(w, "ephemeral-storage", quantity_bytes(text, storage_bytes));
    jw_end_object(w);
}

void codec_write_resources(struct json_writer *w, const struct resources *r)
{
    jw_begin_object(w, "resources");
    write_amounts(w, "limits", r->cpu_limit_milli, r->memory_limit_bytes, r->ephemeral_limit_bytes);
    write_amounts(w, "requests", r->cpu_request_milli, r->memory_request_bytes,
                  r->ephemeral_request_bytes);
    jw_end_object(w);
}

/* What it was given, and what it runs with. */
static void write_resources(struct json_writer *w, const struct container_status *c)
{
    const struct resources *r = &c->spec->resources;

    write_amounts(w, "allocatedResources", r->cpu_request_milli, r->memory_request_bytes,
                  r->ephemeral_request_bytes);
    codec_write_resources(w, c->resources);
}

/* As the spec has them; the kubelet adds what became of recursiveReadOnly. */
static void write_mounts(struct json_writer *w, const struct container_spec *c)
{
    if (c->mounts_len == 0)
        return;
    jw_begin_array(w, "volumeMounts");
    for (size_t i = 0; i < c->mounts_len; i++) {
        jw_begin_object(w, NULL);
        jw_string(w, "name", c->mounts[i].name);
        jw_string(w, "mountPath", c->mounts[i].mount_path);
        if (c->mounts[i].read_only) {
            jw_bool(w, "readOnly", true);
            jw_string(w, "recursiveReadOnly", "Disabled");
        }
        jw_end_object(w);
    }
    jw_end_array(w);
}

static void write_container(struct json_writer *w, const struct container_status *c,
                            const char *image_name)
{
    char image_id[512];

    jw_begin_object(w, NULL);
    jw_string(w, "name", c->spec->name);
    jw_string(w, "image", c->spec->image);
    if (str_empty(c->image_digest) || str_empty(image_name))
        jw_string(w, "imageID", c->image_digest ? c->image_digest : "");
    else
        jw_string(w, "imageID",
                  str_fmt(image_id, sizeof(image_id), "%s@%s", image_name, c->image_digest));
    write_id(w, c->id);
    jw_bool(w, "ready", c->ready);
    jw_bool(w, "started", c->started);
    jw_int(w, "restartCount", c->restart_count);
    write_state(w, c);
    write_resources(w, c);
    write_mounts(w, c->spec);
    jw_end_object(w);
}

static void write_containers(struct json_writer *w, const char *key,
                             const struct pod_status *status, size_t first, size_t len,
                             const char *const *image_names)
{
    jw_begin_array(w, key);
    for (size_t i = first; i < first + len; i++)
        write_container(w, &status->containers[i], image_names ? image_names[i] : NULL);
    jw_end_array(w);
}

/* patch: what is gone must be an explicit null. */
static void write_text(struct json_writer *w, const char *key, const char *text, bool patch)
{
    if (!str_empty(text))
        jw_string(w, key, text);
    else if (patch)
        jw_null(w, key);
}

/* Contract 3.4: the node ended what would have gone on. */
static void write_disruption(struct json_writer *w, const struct pod_status *status)
{
    jw_begin_object(w, NULL);
    jw_string(w, "type", "DisruptionTarget");
    jw_string(w, "status", "True");
    jw_int(w, "observedGeneration", status->observed_generation);
    jw_null(w, "lastProbeTime");
    codec_write_time(w, "lastTransitionTime", status->verdict->since_ms);
    jw_string(w, "reason", "TerminationByKubelet");
    jw_string(w, "message", status->verdict->message);
    jw_end_object(w);
}

/* The two conditions of a resize are there while it waits or is under way; afterwards a patch must
 * say that they go. */
static void write_resize(struct json_writer *w, const char *type, bool there, const char *reason,
                         const char *message, int64_t generation, int64_t since_ms, bool patch)
{
    if (!there && !patch)
        return;
    jw_begin_object(w, NULL);
    jw_string(w, "type", type);
    if (there) {
        jw_string(w, "status", "True");
        jw_int(w, "observedGeneration", generation);
        jw_null(w, "lastProbeTime");
        codec_write_time(w, "lastTransitionTime", since_ms);
        write_text(w, "reason", reason, patch);
        write_text(w, "message", message, patch);
    } else {
        jw_string(w, "$patch", "delete");
    }
    jw_end_object(w);
}

static void write_resizes(struct json_writer *w, const struct pod_status *status, bool patch)
{
    const struct pod_resize *r = status->resize;

    if (!r)
        return;
    write_resize(w, "PodResizePending", r->pending != RESIZE_NONE && !status->resize_over,
                 r->pending == RESIZE_DEFERRED ? "Deferred" : "Infeasible", r->message,
                 r->pending_generation, r->pending_since_ms, patch);
    write_resize(w, "PodResizeInProgress", r->in_progress && !status->resize_over,
                 r->error[0] ? "Error" : NULL, r->error, r->progress_generation,
                 r->progress_since_ms, patch);
}

static void write_conditions(struct json_writer *w, const struct pod_status *status, bool patch)
{
    /* Of a Pod that was not let in the kubelet says its phase alone. */
    int len = status->verdict && status->verdict->rejected ? 0 : _COND_MAX;

    jw_begin_array(w, "conditions");
    if (status->verdict && status->verdict->disruption)
        write_disruption(w, status);
    for (int i = 0; i < len; i++) {
        const struct condition_status *c = &status->conditions[i];

        jw_begin_object(w, NULL);
        jw_string(w, "type", condition_type_to_string(c->type));
        jw_string(w, "status", c->status ? "True" : "False");
        jw_int(w, "observedGeneration", status->observed_generation);
        jw_null(w, "lastProbeTime");
        codec_write_time(w, "lastTransitionTime", c->since_ms);
        write_text(w, "reason", c->reason, patch);
        write_text(w, "message", c->message, patch);
        jw_end_object(w);
    }
    if (len > 0)
        write_resizes(w, status, patch);
    jw_end_array(w);
}

static void write_ips(struct json_writer *w, const char *list)
{
    while (*list) {
        size_t len = strcspn(list, ",");

        jw_begin_object(w, NULL);
        jw_string_n(w, "ip", list, len);
        jw_end_object(w);
        list += len + (list[len] == ',');
    }
}

/* podIPs merges by ip: without the directive a changed address would become a second one (422). */
static void write_addresses(struct json_writer *w, const struct pod_status *status, bool patch)
{
    if (!str_empty(status->host_ip)) {
        jw_string_n(w, "hostIP", status->host_ip, strcspn(status->host_ip, ","));
        jw_begin_array(w, "hostIPs");
        write_ips(w, status->host_ip);
        jw_end_array(w);
    }
    if (str_empty(status->pod_ip))
        return;
    jw_string_n(w, "podIP", status->pod_ip, strcspn(status->pod_ip, ","));
    jw_begin_array(w, "podIPs");
    if (patch) {
        jw_begin_object(w, NULL);
        jw_string(w, "$patch", "replace");
        jw_end_object(w);
    }
    write_ips(w, status->pod_ip);
    jw_end_array(w);
}

void codec_write_status(struct json_writer *w, const struct pod_status *status,
                        const char *const *image_names, bool patch)
{
    jw_begin_object(w, "status");
    jw_int(w, "observedGeneration", status->observed_generation);
    jw_string(w, "phase", pod_phase_to_string(status->phase));
    write_text(w, "reason", status->reason, patch && !status->keep_reason);
    write_text(w, "message", status->message, patch && !status->keep_reason);
    write_addresses(w, status, patch);
    if (status->start_ms != 0)
        codec_write_time(w, "startTime", status->start_ms);
    write_conditions(w, status, patch);
    if (status->inits_len > 0)
        write_containers(w, "initContainerStatuses", status, status->containers_len,
                         status->inits_len, image_names);
    write_containers(w, "containerStatuses", status, 0, status->containers_len, image_names);
    jw_end_object(w);
}

static void write_summary(struct json_writer *w, const char *key, const struct container_spec *list,
                          size_t len, bool desired)
{
    if (len == 0)
        return;
    jw_begin_array(w, key);
    for (size_t i = 0; i < len; i++) {
        jw_begin_object(w, NULL);
        jw_string(w, "name", list[i].name);
        codec_write_resources(w, desired ? &list[i].desired : &list[i].resources);
        jw_end_object(w);
    }
    jw_end_array(w);
}

void codec_resize_summary(const struct pod_spec *spec, bool desired, int64_t generation,
                          const char *error, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    write_summary(&w, "initContainers", spec->init_containers, spec->init_containers_len, desired);
    write_summary(&w, "containers", spec->containers, spec->containers_len, desired);
    jw_int(&w, "generation", generation);
    jw_string_opt(&w, "error", error);
    jw_end_object(&w);
}

void codec_pod_status(const struct pod_spec *spec, const struct pod_status *status,
                      const char *const *image_names, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    jw_begin_object(&w, "metadata");
    jw_string(&w, "uid", spec->uid);
    jw_end_object(&w);
    codec_write_status(&w, status, image_names, true);
    jw_end_object(&w);
}

void codec_delete_options(const char *uid, struct buf *out)
{
    struct json_writer w = JSON_WRITER(out);

    jw_begin_object(&w, NULL);
    jw_string(&w, "kind", "DeleteOptions");
    jw_string(&w, "apiVersion", "v1");
    jw_int(&w, "gracePeriodSeconds", 0);
    jw_begin_object(&w, "preconditions");
    jw_string(&w, "uid", uid);
    jw_end_object(&w);
    jw_end_object(&w);
}
