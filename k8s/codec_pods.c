/* PodList for /pods and /runningpods. Called by provider/endpoints_pods.c. */
#include "k8s/codec_pods.h"

#include "base/json.h"
#include "base/str.h"
#include "k8s/codec_priv.h"

void codec_pods_begin(struct json_writer *w)
{
    jw_begin_object(w, NULL);
    jw_string(w, "kind", "PodList");
    jw_string(w, "apiVersion", "v1");
    jw_begin_object(w, "metadata");
    jw_end_object(w);
    jw_begin_array(w, "items");
}

void codec_pods_end(struct json_writer *w)
{
    jw_end_array(w);
    jw_end_object(w);
}

static void write_pairs(struct json_writer *w, const char *key, const struct key_value *pairs,
                        size_t len)
{
    if (len == 0)
        return;
    jw_begin_object(w, key);
    for (size_t i = 0; i < len; i++)
        jw_string(w, pairs[i].key, pairs[i].value);
    jw_end_object(w);
}

static void write_metadata(struct json_writer *w, const struct pod_spec *spec)
{
    jw_begin_object(w, "metadata");
    jw_string(w, "name", spec->name);
    jw_string(w, "namespace", spec->ns);
    jw_string(w, "uid", spec->uid);
    jw_string_opt(w, "resourceVersion", spec->resource_version);
    if (spec->generation > 0)
        jw_int(w, "generation", spec->generation);
    if (spec->created_ms != 0)
        codec_write_time(w, "creationTimestamp", spec->created_ms);
    if (spec->deletion_ms != 0) {
        codec_write_time(w, "deletionTimestamp", spec->deletion_ms);
        jw_int(w, "deletionGracePeriodSeconds", spec->deletion_grace_s);
    }
    write_pairs(w, "labels", spec->labels, spec->labels_len);
    write_pairs(w, "annotations", spec->annotations, spec->annotations_len);
    jw_end_object(w);
}

static void write_container(struct json_writer *w, const struct container_spec *c)
{
    static const char *const policies[] = {
        [PULL_ALWAYS] = "Always",
        [PULL_IF_NOT_PRESENT] = "IfNotPresent",
        [PULL_NEVER] = "Never",
    };

    jw_begin_object(w, NULL);
    jw_string(w, "name", c->name);
    jw_string(w, "image", c->image);
    if (c->ports_len > 0)
        jw_begin_array(w, "ports");
    for (size_t i = 0; i < c->ports_len; i++) {
        jw_begin_object(w, NULL);
        jw_string_opt(w, "name", c->ports[i].name);
        jw_int(w, "containerPort", c->ports[i].container_port);
        if (c->ports[i].host_port)
            jw_int(w, "hostPort", c->ports[i].host_port);
        jw_string(w, "protocol", protocol_to_string(c->ports[i].protocol));
        jw_end_object(w);
    }
    if (c->ports_len > 0)
        jw_end_array(w);
    codec_write_resources(w, &c->resources);
    jw_string(w, "imagePullPolicy", policies[c->pull_policy]);
    jw_end_object(w);
}

static void write_containers(struct json_writer *w, const char *key,
                             const struct container_spec *containers, size_t len)
{
    jw_begin_array(w, key);
    for (size_t i = 0; i < len; i++)
        write_container(w, &containers[i]);
    jw_end_array(w);
}

void codec_pods_add(struct json_writer *w, const struct pod_spec *spec,
                    const struct pod_status *status, const char *const *image_names)
{
    static const char *const policies[] = {
        [RESTART_ALWAYS] = "Always",
        [RESTART_ON_FAILURE] = "OnFailure",
        [RESTART_NEVER] = "Never",
    };

    jw_begin_object(w, NULL);
    write_metadata(w, spec);
    jw_begin_object(w, "spec");
    if (spec->init_containers_len > 0)
        write_containers(w, "initContainers", spec->init_containers, spec->init_containers_len);
    write_containers(w, "containers", spec->containers, spec->containers_len);
    jw_string(w, "restartPolicy", policies[spec->restart_policy]);
    jw_int(w, "terminationGracePeriodSeconds", spec->grace_s);
    jw_string_opt(w, "serviceAccountName", spec->service_account);
    jw_string(w, "nodeName", spec->node_name);
    jw_string_opt(w, "runtimeClassName", spec->runtime_class);
    jw_int(w, "priority", spec->priority);
    jw_end_object(w);
    if (!status->keep_api) {
        codec_write_status(w, status, image_names, false);
    } else { /* told by an agent that knew more than this one does */
        jw_begin_object(w, "status");
        jw_string(w, "phase", pod_phase_to_string(spec->api_phase));
        jw_end_object(w);
    }
    jw_end_object(w);
}

void codec_pods_add_running(struct json_writer *w, const struct pod_spec *spec,
                            const struct container_spec *container)
{
    jw_begin_object(w, NULL);
    jw_begin_object(w, "metadata");
    jw_string(w, "name", spec->name);
    jw_string(w, "namespace", spec->ns);
    jw_string(w, "uid", spec->uid);
    jw_end_object(w);
    jw_begin_object(w, "spec");
    jw_begin_array(w, "containers");
    jw_begin_object(w, NULL);
    jw_string(w, "name", container->name);
    jw_string(w, "image", container->image);
    jw_begin_object(w, "resources");
    jw_end_object(w);
    jw_end_object(w);
    jw_end_array(w);
    jw_end_object(w);
    jw_begin_object(w, "status");
    jw_end_object(w);
    jw_end_object(w);
}
