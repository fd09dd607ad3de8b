/* unikubelet image inspect: the image's facts, and the VMM's arguments by the very functions that
 * launch a Pod's machine. */
#include "provider/image_cli_priv.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "k8s/static_pod.h"
#include "provider/host.h"
#include "provider/machines.h"
#include "provider/startup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_MAX (1024 * 1024)
#define PREVIEW_UID "00000000-0000-0000-0000-000000000000"

static int fail(const char *text)
{
    fprintf(stderr, "unikubelet image: %s\n", text);
    return IMAGE_CLI_FAILED;
}

static void print_list(const char *title, const char *const *items, size_t len)
{
    for (size_t i = 0; i < len; i++)
        fprintf(stdout, "%-13s%s\n", i == 0 ? title : "", items[i]);
}

static void print_image(const struct image *image)
{
    fprintf(stdout, "%-13s%s\n", "Name:", image->name);
    fprintf(stdout, "%-13s%s\n", "Digest:", image->digest);
    fprintf(stdout, "%-13s%s\n", "Guest:", image->guest_kind);
    fprintf(stdout, "%-13s%s/%s\n", "Platform:", image->os, image->architecture);
    fprintf(stdout, "%-13s%s\n", "Kernel:", image->kernel);
    if (image->initrd)
        fprintf(stdout, "%-13s%s\n", "Initrd:", image->initrd);
    if (image->disk)
        fprintf(stdout, "%-13s%s%s\n", "Disk:", image->disk,
                image->disk_readonly ? " (read-only)" : "");
    print_list("Entrypoint:", image->entrypoint, image->entrypoint_len);
    print_list("Cmd:", image->cmd, image->cmd_len);
    print_list("Env:", image->env, image->env_len);
}

/* The Pod's first container that runs the image; -ENOENT. */
static int find_container(const struct pod_spec *spec, const char *reference, uint32_t *ret)
{
    for (size_t i = 0; i < spec->containers_len + spec->init_containers_len; i++) {
        if (str_eq(pod_container(spec, i)->image, reference)) {
            *ret = (uint32_t)i;
            return 0;
        }
    }
    return -ENOENT;
}

static int read_pod(const struct agent *agent, const struct image *image, const char *path,
                    struct arena *arena, const struct pod_spec **ret, uint32_t *ret_container,
                    struct err *err)
{
    struct buf text = BUF_INIT(MANIFEST_MAX);
    int result = file_read(path, &text);

    if (result < 0) {
        (void)err_set(err, result, "%s: %s", path, strerror(-result));
    } else {
        const struct static_pod pod = {.path = path,
                                       .text = buf_str(&text),
                                       .len = text.len,
                                       .node_name = agent->config.node_name};

        result = static_pod_read(&pod, arena, ret, err);
    }
    if (result == 0)
        result = find_container(*ret, image->reference, ret_container);
    if (result == -ENOENT && *ret)
        (void)err_set(err, result, "%s: no container of the Pod has the image %s", path,
                      image->reference);
    buf_free(&text);
    return result;
}

static const struct pod_spec *plain_pod(const struct image *image, struct arena *arena)
{
    struct container_spec *container = arena_alloc(arena, sizeof(*container));
    struct pod_spec *spec = arena_alloc(arena, sizeof(*spec));

    *container = (struct container_spec){
        .name = "main", .image = image->reference, .resources = {-1, -1, -1, -1, -1, -1}};
    *spec = (struct pod_spec){.uid = PREVIEW_UID,
                              .ns = "default",
                              .name = "main",
                              .dns_policy = "ClusterFirst",
                              .containers = container,
                              .containers_len = 1};
    return spec;
}

static void print_argv(const struct vmm_argv *argv)
{
    fprintf(stdout, "\nThe machine, without the Pod's network:\n");
    for (size_t i = 0; i < argv->len; i++)
        fprintf(stdout, "  %s\n", argv->argv[i]);
}

static int preview(struct agent *agent, struct image *image, const struct pod_spec *spec,
                   uint32_t container, struct arena *arena, struct err *err)
{
    size_t len = spec->containers_len + spec->init_containers_len;
    struct machine machine = {.agent = agent, .image = image, .image_of = container};
    struct pod pod = {.spec = spec};
    struct vmm_argv argv = {.len = 0};
    char *uid = xstrdup(spec->uid);
    char *version = NULL;
    int result;

    pod.containers = pod.obs.containers = arena_array(arena, len, sizeof(*pod.containers));
    pod.obs.containers_len = len;
    pod.image_names = arena_array(arena, len, sizeof(*pod.image_names));
    machine.uid = uid;
    machine.container = container;
    str_copy(machine.id, sizeof(machine.id), "preview");
    result = agent->vmm->probe(&agent->vmm_config, &agent->vmm_config.accel, &version, err);
    free(version);
    if (result == 0)
        result = machine_preview(&machine, &pod, &argv, err);
    if (result == 0)
        print_argv(&argv);
    vmm_argv_free(&argv);
    free(uid);
    return result;
}

int image_cli_inspect(struct agent *agent, struct image *image, const char *pod_path)
{
    struct arena *arena = arena_new(4096);
    struct host host = {.cpu_milli = 0};
    const struct pod_spec *spec = NULL;
    uint32_t container = 0;
    struct err err = {0};
    int result = 0;

    agent->host = &host;
    result = startup_vmm(agent, &err);
    print_image(image);
    if (result == 0 && pod_path)
        result = read_pod(agent, image, pod_path, arena, &spec, &container, &err);
    else if (result == 0)
        spec = plain_pod(image, arena);
    if (result == 0)
        result = host_read(&agent->config, &host, &err);
    if (result == 0)
        result = preview(agent, image, spec, container, arena, &err);
    arena_free(arena);
    agent->host = NULL;
    return result < 0 ? fail(err.text) : 0;
}
