/* k8s/yaml.c and kubeconfig.c: any bytes are a tree or an error with its place; the tree can be
 * walked, and as a kubeconfig it is either complete or refused without a remainder. */
#include "base/err.h"
#include "base/str.h"
#include "k8s/kubeconfig.h"
#include "k8s/yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct yaml_node *node, unsigned depth)
{
    size_t n = 1;

    if (depth > YAML_DEPTH_MAX || yaml_line(node) == 0)
        abort();
    if (yaml_scalar(node))
        return n + strlen(yaml_scalar(node));
    for (const struct yaml_node *v = yaml_first(node); v; v = yaml_next(v)) {
        if (yaml_is_map(node) != (yaml_key(v) != NULL))
            abort();
        if (yaml_is_map(node) && yaml_get(node, yaml_key(v)) != v)
            abort();
        n += walk(v, depth + 1);
    }
    return n;
}

static void load(const uint8_t *data, size_t size)
{
    int fd = memfd_create("kubeconfig", MFD_CLOEXEC);
    struct kube_config config = {0};
    struct err err = {0};
    char *path;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    path = xasprintf("/proc/self/fd/%d", fd);
    if (kube_config_load(path, &config, &err) == 0) {
        if (!config.server || !config.cert_pem != !config.key_pem)
            abort();
        kube_config_free(&config);
    } else if (!str_starts(err.text, "/proc/self/fd/") && !strstr(err.text, ": ")) {
        abort();
    }
    free(path);
    (void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_doc *doc = NULL;
    struct err err = {0};

    if (size > 65536)
        return 0;
    if (yaml_parse("f", (const char *)data, size, &doc, &err) == 0) {
        if (yaml_root(doc))
            (void)walk(yaml_root(doc), 1);
        yaml_doc_free(doc);
    } else if (!str_starts(err.text, "f:") || err.kind != ERR_SPEC) {
        abort();
    }
    /* A path in the input could name a device: only data is tried. */
    if (!memmem(data, size, "/", 1))
        load(data, size);
    return 0;
}
