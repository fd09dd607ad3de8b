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
int needs_known(const struct needs *needs, struct answer *answer)
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
    result = needs_known(needs, answer);
    needs->container = container;
    if (result == 0)
        result = check_env(m, pod, container, answer);
    return result ? result : volumes_prepare(needs, pod, answer);
}

static void tell(struct machine *m, struct pod *pod, uint32_t container,
                 const struct answer *answer)
{
    if (answer->mount)
        agent_event(m->agent, pod, -1, true, "FailedMount", "%s", answer->text);
    else
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
    claims_retry(needs);
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
        if (m->instance)
            volumes_follow(needs, pod);
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

void needs_changed(struct needs *needs)
{
    changed(needs->machine);
}

static void work_answer(struct needs *needs, struct pod *pod, int result, const struct err *err)
{
    struct machine *m = needs->machine;
    struct answer answer = {.mount = true};

    if (!needs->waiting)
        return;
    needs->waiting = false;
    str_copy(answer.text, sizeof(answer.text), err->text);
    if (result < 0 && pod)
        tell(m, pod, needs->container, &answer);
    reconcile_prepared(m->agent->reconcile, m->uid, needs->container, result, answer.reason,
                       answer.text);
}

void prepare_worked(struct needs *needs, bool refresh, int result, const struct err *err)
{
    struct machine *m = needs->machine;
    struct pod *pod = reconcile_find_uid(m->agent->reconcile, m->uid);

    if (needs->clean_waits) {
        needs->clean_waits = needs->waiting = false;
        reconcile_cleaned(m->agent->reconcile, m->uid, -EBUSY); /* asked for again */
        return;
    }
    if (!refresh) {
        work_answer(needs, pod, result, err);
        return;
    }
    if (result < 0 && pod)
        agent_event(m->agent, pod, -1, true, "FailedMount", "%s", err->text);
    if (needs->waiting)
        changed(m); /* a start found the worker busy */
    else if (needs->again && pod)
        volumes_follow(needs, pod);
}

void prepare_running(struct machine *m, struct pod *pod)
{
    if (!volumes_are_shared(m, pod))
        return;
    struct needs *needs = needs_make(m, pod->spec);

    needs->container = m->container;
    needs_hold_automatic(needs, pod->spec);
    volumes_follow(needs, pod);
}

void prepare_updated(struct machine *m, struct pod *pod)
{
    if (!m || !m->instance || pod->obs.gone)
        return;
    if (!m->needs)
        prepare_running(m, pod); /* adopted before the API spoke of it */
    else if (!m->needs->waiting)
        volumes_follow(m->needs, pod);
}

void prepare_forget(struct machine *m)
{
    struct needs *needs = m->needs;

    if (!needs)
        return;
    for (size_t i = 0; i < needs->len; i++)
        object_release(needs->holds[i]);
    volumes_end(needs);
    tokens_end(needs);
    claims_end(needs);
    free(needs->holds);
    free(needs->ns);
    free(needs->name);
    free(needs->account);
    free(needs);
    m->needs = NULL;
}
