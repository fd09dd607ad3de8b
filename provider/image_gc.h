/* Removes images that no Pod uses, every five minutes, as the kubelet does. Called by startup. */
#pragma once

struct agent;
struct image_collector;

#define IMAGE_GC_MS 300000u /* the kubelet's ImageGCPeriod */

struct image_collector *image_collector_start(struct agent *agent);
/* Removes all images that no Pod uses, however young: when the disk is short, before a Pod is
 * evicted for it. 1: something was removed, 0: there was nothing; negative: not now (a pull, or
 * Pods unknown). */
int image_collector_reclaim(struct agent *agent);
void image_collector_stop(struct image_collector *collector); /* NULL is accepted */
