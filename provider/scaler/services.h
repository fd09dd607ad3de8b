/* The Services that carry the label unikubelet.dev/scale, with what belongs to each: endpoints,
 * workload, autoscaler, traffic, held connections. Called by startup.c, api.c, nodes.c and the
 * activator. */
#pragma once

#include "provider/core/scale.h"
#include "provider/scaler/metrics.h"

struct json;
struct scaler;
struct service;
struct services;

/* With our label, in the cluster: each has a watch of its workload. One more is left alone. */
#define SERVICES_MAX 200

struct services *services_start(struct scaler *scaler);
void services_stop(struct services *services); /* NULL is accepted */
/* All first lists are complete. */
bool services_synced(const struct services *services);
size_t services_len(const struct services *services);
void services_each(struct services *services, void (*each)(void *userdata, struct service *service),
                   void *userdata);
/* Before the loop sleeps: decides and acts for each Service that something happened to. */
void services_flush(struct services *services);
/* Once a second: for what only time makes true. */
void services_tick(struct services *services);

const char *service_ns(const struct service *service);
const char *service_name(const struct service *service);
/* Of the Service's own labels, or "service" and "workload"; NULL: it has none of that name. */
const char *service_label(const struct service *service, const char *key);
/* In thousandths. false: missing. */
bool service_metric(const struct service *service, enum metric metric, uint64_t *ret_milli);
/* Something about it changed: looked at before the loop sleeps. */
void service_touch(struct service *service);
