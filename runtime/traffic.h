/* Counts the TCP connections to each Pod at its interface, without standing in their way: a packet
 * socket in the Pod's namespace with a filter that lets through what opens and ends connections,
 * and one packet of 64 of the rest as a sign of life. Nothing happens while nobody connects; the
 * counts lie in mapped files and survive the agent. Called by provider/. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct traffic;
struct uv_loop_s;

/* dir: for the counts, on a file system that a reboot empties; made when it is needed. */
struct traffic *traffic_new(struct uv_loop_s *loop, const char *dir);
/* Counting ends, the counts stay. NULL is accepted. */
void traffic_free(struct traffic *traffic);

/* A Pod's network is up: count from now on, or go on. ip: IPv4. What cannot be watched is logged
 * and has no counts. */
void traffic_open(struct traffic *traffic, const char *uid, const char *netns, const char *ip);
/* Its network goes: the namespace must not be kept by us. The counts go too. */
void traffic_close(struct traffic *traffic, const char *uid);
/* Its machine ended, and with it what was open. */
void traffic_ended(struct traffic *traffic, const char *uid);
/* Removes counts of Pods that were not opened. Once, when all are known. */
void traffic_sweep(struct traffic *traffic);

struct traffic_counts {
    uint64_t epoch; /* unix ms; counts with another one are no continuation */
    uint64_t connections;
    uint64_t open;
    uint64_t idle_ms; /* since the last sign of a connection, or since somebody looks;
                       0 while one waits to be accepted */
    uint64_t missed;  /* packets that came too fast to be looked at */
};
/* false: it is not known. */
bool traffic_read(struct traffic *traffic, const char *uid, struct traffic_counts *ret);
