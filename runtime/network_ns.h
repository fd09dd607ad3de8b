/* Blocking work on network namespaces. Everything here that enters or makes one changes the calling
 * THREAD's namespace for good: it must run on a thread of its own (network_work.h) that ends
 * afterwards. Called by network.c and traffic.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cni_result;
struct err;
struct network_result;

/* Makes dir a shared mount point, as `ip netns` does, so that namespaces bound below it are seen,
 * and go away, in every mount namespace. Changes no thread's namespace. */
int netns_dir_prepare(const char *dir, struct err *err);
/* A namespace is bound at path. Changes no thread's namespace. */
bool netns_alive(const char *path);
/* Unbinds and removes; absent is success. Changes no thread's namespace. */
int netns_remove(const char *path, struct err *err);

/* A new namespace, bound at path; the thread is inside afterwards. IPv6 there sends nothing of its
 * own. -EEXIST: something is there. */
int netns_create(const char *path, struct err *err);
int netns_enter(const char *path, struct err *err);

/* In the calling thread's namespace: */

/* A persistent tap without a queue: whoever opens it by name later is its user. */
int tap_create(const char *name, struct err *err);
/* Takes the addresses off ifname and joins it to the tap both ways. Sets mac and mtu, and a gateway
 * that was "" when the namespace had a default route of that family. */
int tap_join(const char *ifname, const char *tap, struct network_result *net, struct err *err);
/* Takes the addresses off ifname again, and its routes with them. */
int tap_strip(const char *ifname, struct err *err);
/* Gives ifname the routes of the result, after tap_unjoin. */
int tap_routes(const char *ifname, const struct cni_result *result, struct err *err);
/* Gives ifname its addresses back: plugins look for them on DEL (bridge's masquerading rules).
 * -ENODEV: no such interface. */
int tap_unjoin(const char *ifname, const struct cni_result *result, struct err *err);
