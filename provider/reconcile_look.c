/* Looking in from outside of reconcile, without changing anything: for the kubelet's endpoints. */
#include "provider/reconcile_priv.h"

#include "base/map.h"

#include <string.h>

void reconcile_each(struct reconcile *r, void (*each)(void *userdata, struct pod *pod),
                    void *userdata)
{
    void *value;
    const char *key;

    for (size_t it = 0; map_next(r->by_uid, &it, &key, &value);)
        each(userdata, value);
}

void reconcile_status(struct reconcile *r, const struct pod *pod, struct pod_look *ret)
{
    struct now now = r->ops->now(r->world);

    ret->obs = pod->obs;
    memcpy(ret->containers, pod->containers, pod->obs.containers_len * sizeof(ret->containers[0]));
    ret->obs.containers = ret->containers;
    pod_status(pod->spec, &ret->obs, pod->refused ? pod->refusal : NULL, r->host_ip, &now,
               &ret->status);
}
