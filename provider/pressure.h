/* Is this host short of memory, disk or processes, and who goes then. Asked with each status of the
 * Node; evicts one Pod at a time and waits until its machine is gone. Rules: core/evict.h. */
#pragma once

#include "provider/core/evict.h"

struct agent;
struct config;
struct pressure;

struct pressure *pressure_new(struct agent *agent);
void pressure_free(struct pressure *pressure); /* NULL is accepted */
/* Measures, and evicts a Pod when it is time. */
void pressure_check(struct pressure *pressure);
bool pressure_holds(const struct pressure *pressure, enum evict_condition condition);
/* What the thresholds keep from Pods: the kubelet takes it off the allocatable. */
int64_t pressure_reserve(const struct config *config, enum evict_signal signal, int64_t capacity);
