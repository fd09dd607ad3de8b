/* Pods as the kubelet's own /pods and /runningpods show them (contract 5.2): compact, what is known
 * here and what readers of these paths look at. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct json_writer;
struct container_spec;
struct pod_spec;
struct pod_status;

/* Begins and ends a PodList; Pods go between. */
void codec_pods_begin(struct json_writer *w);
void codec_pods_end(struct json_writer *w);
/* metadata, spec and the agent's own status. No value of an environment variable is in it: who may
 * read nodes/pods need not be allowed to read Secrets. */
void codec_pods_add(struct json_writer *w, const struct pod_spec *spec,
                    const struct pod_status *status, const char *const *image_names);
/* Name, uid, and the running container's name and image. */
void codec_pods_add_running(struct json_writer *w, const struct pod_spec *spec,
                            const struct container_spec *container);
