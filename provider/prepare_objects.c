/* The ConfigMaps and Secrets that a Pod's containers name, held from its first start on until the
 * Pod goes. Part of prepare; also the launcher's way to their values. */
#include "provider/prepare_priv.h"

#include "base/str.h"
#include "provider/objects.h"

#include <stdlib.h>

static void hold(struct needs *needs, enum object_kind kind, const char *name)
{
    struct machine *m = needs->machine;
    struct object_hold *made;

    if (str_empty(name))
        return;
    for (size_t i = 0; i < needs->len; i++) {
        if (object_is(needs->holds[i], kind, name))
            return;
    }
    made =
        needs->len < NEEDS_MAX ? objects_hold(m->agent->objects, kind, needs->ns, name, m) : NULL;
    if (!made) {
        needs->too_many = true;
        return;
    }
    needs->holds = xrealloc(needs->holds, (needs->len + 1) * sizeof(struct object_hold *));
    needs->holds[needs->len++] = made;
}

static void hold_of_volume(struct needs *needs, const struct volume *volume)
{
    for (size_t i = 0; i < volume->sources_len; i++) {
        if (volume->sources[i].kind == SOURCE_CONFIG_MAP)
            hold(needs, OBJECT_CONFIG_MAP, volume->sources[i].name);
        else if (volume->sources[i].kind == SOURCE_SECRET)
            hold(needs, OBJECT_SECRET, volume->sources[i].name);
    }
}

/* The automatic volume's only where it is delivered: see needs_hold_automatic. */
static void hold_of_mounts(struct needs *needs, const struct pod_spec *spec,
                           const struct container_spec *c)
{
    for (size_t i = 0; i < c->mounts_len; i++) {
        for (size_t k = 0; k < spec->volumes_len; k++) {
            if (str_eq(spec->volumes[k].name, c->mounts[i].name) &&
                (!spec->volumes[k].kube_api_access || needs->automatic))
                hold_of_volume(needs, &spec->volumes[k]);
        }
    }
}

static void hold_of_container(struct needs *needs, const struct pod_spec *spec,
                              const struct container_spec *c)
{
    hold_of_mounts(needs, spec, c);
    for (size_t i = 0; i < c->env_len; i++) {
        if (c->env[i].kind == ENV_CONFIG_MAP)
            hold(needs, OBJECT_CONFIG_MAP, c->env[i].ref);
        else if (c->env[i].kind == ENV_SECRET)
            hold(needs, OBJECT_SECRET, c->env[i].ref);
    }
    for (size_t i = 0; i < c->env_from_len; i++)
        hold(needs, c->env_from[i].secret ? OBJECT_SECRET : OBJECT_CONFIG_MAP, c->env_from[i].name);
}

struct needs *needs_make(struct machine *m, const struct pod_spec *spec)
{
    if (m->needs)
        return m->needs;
    m->needs = xcalloc(1, sizeof(*m->needs));
    m->needs->machine = m;
    m->needs->ns = xstrdup(spec->ns);
    m->needs->name = xstrdup(spec->name);
    m->needs->account = xstrdup(spec->service_account ? spec->service_account : "");
    for (size_t i = 0; i < pod_containers_len(spec); i++)
        hold_of_container(m->needs, spec, pod_container(spec, i));
    return m->needs;
}

void needs_hold_automatic(struct needs *needs, const struct pod_spec *spec)
{
    if (needs->automatic)
        return;
    needs->automatic = true;
    for (size_t i = 0; i < pod_containers_len(spec); i++)
        hold_of_mounts(needs, spec, pod_container(spec, i));
}

const struct object_data *prepare_object(void *userdata, bool secret, const char *name)
{
    const struct machine *m = userdata;
    const struct needs *needs = m->needs;

    for (size_t i = 0; needs && i < needs->len; i++) {
        if (object_is(needs->holds[i], secret ? OBJECT_SECRET : OBJECT_CONFIG_MAP, name))
            return object_data(needs->holds[i]);
    }
    return NULL;
}
