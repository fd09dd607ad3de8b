/* Shared by the codec_*.c files: getters into an arena, and writers that several bodies have in
 * common. Nobody else includes it. */
#pragma once

#include "k8s/codec.h"

struct json_writer;

/* "" when absent. */
const char *codec_text(struct arena *arena, const struct json *object, const char *key);
/* NULL when absent or empty. */
const char *codec_text_opt(struct arena *arena, const struct json *object, const char *key);
bool codec_true(const struct json *object, const char *key);
/* NULL when absent, no array or empty. */
const struct json *codec_array(const struct json *object, const char *key);
const char *const *codec_texts(struct arena *arena, const struct json *object, const char *key,
                               size_t *ret_len);
/* Where the Pod wants to run: nodeSelector, required node affinity, tolerations. */
void codec_placement(struct arena *arena, const struct json *spec, struct pod_spec *pod);
/* Of a Pod's spec or a container; Always when absent. */
enum restart_policy codec_restart_policy(const struct json *object);
/* Unix ms; 0 when absent or no time. */
int64_t codec_time(const struct json *object, const char *key);
/* -1 when absent or no quantity; too large ones become INT64_MAX. */
int64_t codec_quantity(const struct json *object, const char *key, bool milli);
/* statuses: status.containerStatuses or status.initContainerStatuses, or NULL. */
const struct container_spec *codec_containers(struct arena *arena, const struct json *spec,
                                              const char *key, const struct json *statuses,
                                              size_t *ret_len);

/* codec_probe.c: NULL when there is none. key of a hook is a path. */
const struct probe_spec *codec_probe(struct arena *arena, const struct json *container,
                                     const char *key);
const struct handler *codec_hook(struct arena *arena, const struct json *container,
                                 const char *key);

/* codec_volume.c: spec.volumes; the Pod's name is read already. array may be NULL. */
void codec_volumes(struct arena *arena, const struct json *array, struct pod_spec *pod);

/* A metav1.Time member. */
void codec_write_time(struct json_writer *w, const char *key, int64_t unix_ms);
/* The members "status" and "resources" of a Pod and of a container. patch: as a strategic merge
 * patch wants it, else as an object shows it. */
void codec_write_status(struct json_writer *w, const struct pod_status *status,
                        const char *const *image_names, bool patch);
void codec_write_resources(struct json_writer *w, const struct resources *resources);
