/* Waits for what the Pod's containers name, each object once, from the first start on until the Pod
 * goes. Missing ones are told in the kubelet's words and looked for again the moment that they
 * appear. Called by reconcile through world_ops, and by objects.c. */
#include "provider/prepare.h"

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "provider/objects.h"
#include "provider/prepare_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Positive: not known yet. Negative: told in answer. */
static int check_objects(const struct needs *needs, struct answer *answer)
{
    for (size_t i = 0; i < needs->len; i++) {
        const char *error = object_error(needs->holds[i]);

        if (object_state(needs->holds[i]) != OBJECT_UNKNOWN)
            continue;
        if (!error[0])
            return 1;
        str_copy(answer->reason, sizeof(answer->reason), "CreateContainerConfigError");
        str_fmt(answer->text, sizeof(answer->text), "failed to sync %s cache: %s",
                object_is_secret(needs->holds[i]) ? "secret" : "configmap", error);
        return -EAGAIN;
    }
    return 0;
}

/* Only what may come to be later is an answer here; what is wrong for good is the launch's. */
static int check_env(struct machine *m, const struct pod *pod, uint32_t container,
                     struct answer *answer)
{
    struct arena *arena = arena_new(2048);
    struct env_result env;
    int result = machine_env(m, pod, container, arena, &env, answer->text, sizeof(answer->text));

    arena_free(arena);
    if (result != -ENOENT)
        return 0;
    str_copy(answer->reason, sizeof(answer->reason), "CreateContainerConfigError");
    return result;
}

/* 0: ready; positive: an event will tell; negative: answer says why not. */
static int judge(struct machine *m, struct pod *pod, uint32_t container, struct answer *answer)
{
    struct needs *needs = needs_make(m, pod->spec);
    int result;

    *answer = (struct answer){0};
    if (needs->too_many) {
        str_copy(answer->reason, sizeof(answer->reason), "CreateContainerConfigError");
        str_fmt(
            answer->text, sizeof(answer->text),
            "the Pod names more than %d ConfigMaps and Secrets, or the node's Pods more than %d",
            NEEDS_MAX, OBJECTS_MAX);
        return -ENFILE;
    }
    /* Without an API server there are no Services to wait for. */
    if (str_empty(m->agent->config.standalone) && !objects_services_synced(m->agent->objects))
        return 1;
    result = check_objects(needs, answer);
    return result ? result : check_env(m, pod, container, answer);
}

static void tell(struct machine *m, struct pod *pod, uint32_t container,
                 const struct answer *answer)
{
    agent_event(m->agent, pod, (int)container, true, "Failed", "Error: %s", answer->text);
}

bool prepare_start(void *world, struct pod *pod, uint32_t container)
{
    struct agent *agent = world;
    struct machine *m = machine_of(agent, pod);
    struct needs *needs = needs_make(m, pod->spec);
    struct answer answer;
    int result;

    for (size_t i = 0; i < needs->len; i++)
        object_refresh(needs->holds[i]);
    result = judge(m, pod, container, &answer);
    if (result == 0)
        return true;
    needs->waiting = true;
    needs->container = container;
    if (result > 0)
        return false;
    needs->waiting = false;
    tell(m, pod, container, &answer);
    machine_answer_prepared(agent, m->uid, container, result, answer.reason, answer.text);
    return false;
}

static void changed(struct machine *m)
{
    struct pod *pod = reconcile_find_uid(m->agent->reconcile, m->uid);
    struct needs *needs = m->needs;
    struct answer answer;
    int result;

    if (!pod || !needs)
        return;
    if (!needs->waiting) {
        reconcile_prepare_again(m->agent->reconcile, m->uid);
        return;
    }
    result = judge(m, pod, needs->container, &answer);
    if (result > 0)
        return;
    needs->waiting = false;
    if (result < 0)
        tell(m, pod, needs->container, &answer);
    reconcile_prepared(m->agent->reconcile, m->uid, needs->container, result, answer.reason,
                       answer.text);
}

static void services_known(void *userdata, struct pod *pod)
{
    struct machine *m = pod->machine;

    (void)userdata;
    if (m && m->needs && m->needs->waiting)
        changed(m);
}

void prepare_changed(void *userdata)
{
    changed(userdata);
}

void prepare_services_synced(void *userdata)
{
    struct agent *agent = userdata;

    reconcile_each(agent->reconcile, services_known, NULL);
}
