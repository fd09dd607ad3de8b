/* Events with the kubelet's habits (contract 3.9): repetition becomes a count, similar ones are
 * combined, a spam filter per object. They never block or delay anything else; a bounded queue
 * drops the oldest. */
#pragma once

#include "k8s/codec.h"

struct kube_client;
struct events;

struct events *events_new(struct kube_client *client, const char *component, const char *host);
void events_free(struct events *events);
/* Copies. */
void events_post(struct events *events, const struct event *event);
