/* ConfigMaps and Secrets that Pods of this node name, one list and watch an object, as a node
 * identity may (contract 1.2): never cluster-wide. Shared by all who hold one, dropped with the
 * last of them; immutable ones are read once. And the Services, for their variables. */
#pragma once

#include "provider/core/env.h"

struct kube_client;
struct object_hold;
struct objects;

enum object_kind { OBJECT_CONFIG_MAP, OBJECT_SECRET };

enum object_state {
    OBJECT_UNKNOWN, /* not heard of yet */
    OBJECT_MISSING,
    OBJECT_THERE,
};

struct objects_ops {
    /* Something held changed, or is known now, or cannot be known; userdata is the hold's. */
    void (*changed)(void *userdata);
    void (*services_synced)(void *all_userdata);
};

#define OBJECTS_MAX 4096 /* held at once: with the API's 1 MiB each far above any host's Pods */
/* Watches at once: a connection carries 100 streams, and there are a few connections (client
 * engine). What is beyond is listed anew each time that it is asked for. */
#define OBJECT_WATCHES_MAX 400
#define OBJECT_KEYS_MAX 20000 /* of one: 1 MiB of keys and values cannot hold more */
#define SERVICES_MAX 20000    /* known at once */
#define SERVICE_PORTS_MAX 64  /* of one Service that become variables */

struct objects *objects_new(struct kube_client *client, const struct objects_ops *ops,
                            void *all_userdata);
/* All holds must have been released. NULL is accepted. */
void objects_free(struct objects *objects);

/* Never calls back before it returned. NULL: OBJECTS_MAX are held. */
struct object_hold *objects_hold(struct objects *objects, enum object_kind kind, const char *ns,
                                 const char *name, void *userdata);
void object_release(struct object_hold *hold); /* NULL is accepted */
enum object_state object_state(const struct object_hold *hold);
/* While it is OBJECT_THERE, until the next callback; else NULL. */
const struct object_data *object_data(const struct object_hold *hold);
/* Why it is not known, "" when the answer is just on its way. */
const char *object_error(const struct object_hold *hold);
/* Asks again for one that is not watched. */
void object_refresh(struct object_hold *hold);
bool object_is_secret(const struct object_hold *hold);
bool object_is(const struct object_hold *hold, enum object_kind kind, const char *name);
size_t objects_count(const struct objects *objects); /* objects, not holds */

/* Starts the watch of Services at the first call; whether they are all known. */
bool objects_services_synced(struct objects *objects);
/* What a Pod of the namespace learns of, sorted by name, in alloc's memory. links: all of its
 * namespace, else only the API server's own. objects may be
 * NULL. */
size_t objects_services(struct objects *objects, const char *ns, bool links, env_alloc alloc,
                        void *userdata, const struct env_service **ret);
