/* What the launch takes of a Pod's volumes, whose the files are, and their end. Part of prepare. */
#include "provider/prepare_priv.h"

#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

char *prepare_run_dir(const struct machine *m)
{
    return xasprintf("%s/v/%s", m->agent->config.run_dir, m->uid);
}

const char *prepare_initrd(const struct machine *m)
{
    return m->needs ? m->needs->initrd : NULL;
}

size_t prepare_shares(const struct machine *m, const struct share **ret)
{
    *ret = m->needs ? m->needs->shares : NULL;
    return m->needs ? m->needs->shares_len : 0;
}

void prepare_ended(struct machine *m)
{
    char *run = prepare_run_dir(m);
    char *path = xasprintf("%s/initrd/%u", run, m->container);

    (void)unlink(path);
    free(path);
    free(run);
}

int prepare_give(void *userdata, uint32_t uid, uint32_t gid, struct err *err)
{
    struct machine *m = userdata;
    char *run = prepare_run_dir(m);
    char *state = xasprintf("%s/volumes/%s", m->agent->config.state_dir, m->uid);
    int result = volumes_give(run, uid, gid, err);

    if (result == 0)
        result = volumes_give(state, uid, gid, err);
    free(run);
    free(state);
    return result;
}

bool prepare_is_busy(const struct machine *m)
{
    return m->needs && m->needs->work;
}

int prepare_clean(struct machine *m, const char *uid, struct agent *agent, struct err *err)
{
    char *run = xasprintf("%s/v/%s", agent->config.run_dir, uid);
    char *state = xasprintf("%s/volumes/%s", agent->config.state_dir, uid);
    int result = -EBUSY;

    if (m && m->needs && m->needs->work)
        m->needs->clean_waits = true;
    else
        result = volumes_remove(run, err);
    if (result == 0)
        result = volumes_remove(state, err);
    free(run);
    free(state);
    return result;
}
