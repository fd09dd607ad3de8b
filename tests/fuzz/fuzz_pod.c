/* k8s/codec_pod.c: any JSON is a usable Pod or is refused in words; a usable one has all that
 * pod.h promises, and its first status can be written. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "k8s/codec.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t touched(const char *text)
{
    if (!text)
        abort();
    return strlen(text);
}

static size_t check_container(const struct container_spec *c)
{
    size_t n = touched(c->name) + touched(c->image);

    for (size_t i = 0; i < c->command_len; i++)
        n += touched(c->command[i]);
    for (size_t i = 0; i < c->args_len; i++)
        n += touched(c->args[i]);
    for (size_t i = 0; i < c->env_len; i++)
        n += touched(c->env[i].name) + touched(c->env[i].value);
    for (size_t i = 0; i < c->ports_len; i++)
        n += c->ports[i].container_port;
    for (size_t i = 0; i < c->mounts_len; i++)
        n += touched(c->mounts[i].name) + touched(c->mounts[i].mount_path);
    if (c->resources.cpu_limit_milli < -1 || c->resources.memory_limit_bytes < -1)
        abort();
    return n;
}

static void check_pod(const struct pod_spec *pod)
{
    size_t n = touched(pod->resource_version) + touched(pod->node_name) + touched(pod->dns_policy);

    if (!touched(pod->uid) || !touched(pod->ns) || !touched(pod->name) || pod->containers_len == 0)
        abort();
    for (size_t i = 0; i < pod->containers_len; i++)
        n += check_container(&pod->containers[i]);
    for (size_t i = 0; i < pod->init_containers_len; i++)
        n += check_container(&pod->init_containers[i]);
    for (size_t i = 0; i < pod->volumes_len; i++)
        n += touched(pod->volumes[i].name) + touched(pod->volumes[i].type);
    for (size_t i = 0; i < pod->labels_len; i++)
        n += touched(pod->labels[i].key) + touched(pod->labels[i].value);
    for (size_t i = 0; i < pod->pull_secrets_len; i++)
        n += touched(pod->pull_secrets[i]);
    if (n > (64u << 20) || pod->grace_s < 0 || (pod->deletion_ms && pod->deletion_grace_s < -1))
        abort();
}

static void write_status(const struct pod_spec *pod)
{
    struct container_observed containers[POD_MACHINES_MAX];
    struct now now = {.mono_ms = 1000, .unix_ms = 1795410000000};
    struct pod_observed obs;
    struct pod_status status;
    struct buf out = BUF_INIT(4u << 20);
    struct json *json;

    memset(containers, 0, sizeof(containers));
    observe_init(&obs, pod, containers, &now);
    if (obs.containers_len > POD_MACHINES_MAX)
        obs.containers_len = POD_MACHINES_MAX; /* as in reconcile.c */
    pod_status(pod, &obs, NULL, "192.0.2.2", &now, &status);
    codec_pod_status(pod, &status, NULL, &out);
    json = json_parse(buf_str(&out), out.len, NULL);
    if (!json && !out.overflow)
        abort();
    json_free(json);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *json = json_parse((const char *)data, size, NULL);
    struct arena *arena = arena_new(2048);
    const struct pod_spec *pod = NULL;
    struct err err = {0};

    if (json && codec_pod(json, arena, &pod, &err) == 0) {
        json_free(json); /* nothing may point into it */
        json = NULL;
        check_pod(pod);
        write_status(pod);
    } else if (json && (!err.text[0] || err.kind != ERR_SPEC)) {
        abort();
    }
    json_free(json);
    arena_free(arena);
    return 0;
}
