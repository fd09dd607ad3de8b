/* A Pod's manifest in a file of the node (contract 3.10): YAML or JSON, judged strictly, with the
 * line of what is wrong, because no API server will say it. Read by provider/static_pods.c. */
#pragma once

#include "k8s/codec.h"

#define STATIC_POD_HASH_LEN 32 /* hex digits: the Pod's uid, and the mirror's hash */

struct static_pod {
    const char *path; /* for errors, and a part of the hash */
    const char *text;
    size_t len;
    const char *node_name;
    int64_t seen_ms; /* unix: annotation kubernetes.io/config.seen */
};

/* Of node, path and text: another text is another Pod. */
void static_pod_hash(const struct static_pod *pod, char hash[STATIC_POD_HASH_LEN + 1]);
/* The Pod as this node runs it, from arena, with PF_STATIC. -EBADMSG or -EINVAL with
 * "path:line: spec.containers[0].x: ..." */
int static_pod_read(const struct static_pod *pod, struct arena *arena, const struct pod_spec **ret,
                    struct err *err);
/* The body that creates its mirror. The text was read before. */
void static_pod_mirror(const struct static_pod *pod, const char *node_uid, struct buf *out);
