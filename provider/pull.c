/* Credentials first, then the image, once for each credential until one is good. */
#include "provider/pull.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "provider/machines.h"
#include "runtime/image_keyring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 400 /* of missing Secrets, in an event */

struct secret_call {
    struct pull *pull;
    struct kube_request *request; /* NULL: answered */
    char *name;
};

struct pull {
    struct agent *agent;
    char *uid;
    uint32_t container;
    char *reference;
    enum image_policy policy;
    struct image_name name;
    image_done done;
    void *userdata;
    struct secret_call calls[PULL_SECRETS_MAX];
    size_t calls_len;
    size_t waiting;
    struct buf missing;
    struct keyring keyring;
    size_t next; /* credential to try after this one */
    struct image_pull *image;
};

static void cleanup_json(struct json **root)
{
    json_free(*root);
}

static void pull_free(struct pull *pull)
{
    for (size_t i = 0; i < pull->calls_len; i++)
        free(pull->calls[i].name);
    keyring_free(&pull->keyring);
    buf_free(&pull->missing);
    free(pull->uid);
    free(pull->reference);
    free(pull);
}

static void try_next(struct pull *pull);

static void on_image(void *userdata, const struct image_result *result)
{
    struct pull *pull = userdata;
    pull->image = NULL;
    if (!result->image && keyring_find(&pull->keyring, &pull->name, pull->next)) {
        try_next(pull);
        return;
    }
    struct image_result copy = *result;
    image_done done = pull->done;
    void *user = pull->userdata;
    /* The texts of the result outlive this call, not the pull. */
    pull_free(pull);
    done(user, &copy);
}

static void try_next(struct pull *pull)
{
    const struct keyring_entry *entry = keyring_find(&pull->keyring, &pull->name, pull->next);
    pull->next++;
    pull->image = image_pull_start(pull->agent->images, pull->reference, pull->policy,
                                   entry ? entry->user : NULL, entry ? entry->password : NULL,
                                   &pull->keyring, on_image, pull);
}

static void tell_missing(struct pull *pull)
{
    struct pod *pod = reconcile_find_uid(pull->agent->reconcile, pull->uid);
    if (pod && pull->missing.len)
        agent_event(pull->agent, pod, (int)pull->container, true, "FailedToRetrieveImagePullSecret",
                    "Unable to retrieve some image pull secrets (%s); attempting to pull the image "
                    "may not succeed.",
                    buf_str(&pull->missing));
}

/* One key of a Secret's data into the keyring; false: it has no such key. */
static bool take_key(struct pull *pull, const struct secret_call *call, const struct json *data,
                     const char *key, bool config_json)
{
    const char *value = json_get_string(data, key);
    struct log_ctx ctx = {.uid = pull->uid};
    struct err err = {0};
    char *text = NULL;
    size_t len = 0;
    if (!value)
        return false;
    if (str_unbase64(value, strlen(value), &text, &len) < 0 ||
        keyring_add_docker(&pull->keyring, text, len, config_json, &err) < 0)
        log_warn(&ctx, "pull", "Secret %s: %s is unreadable: %s", call->name, key,
                 err.code ? err.text : "it is no base64");
    if (text)
        explicit_bzero(text, len);
    free(text);
    return true;
}

static void take_secret(struct pull *pull, const struct secret_call *call,
                        const struct kube_answer *answer)
{
    struct err err = {0};
    CLEANUP(json) struct json *root = NULL;
    bool good = answer->result == 0 && answer->status == 200;
    if (good) {
        root = json_parse(answer->body, answer->len, &err);
        const struct json *data = json_get(root, "data");
        good = take_key(pull, call, data, ".dockerconfigjson", true) ||
               take_key(pull, call, data, ".dockercfg", false);
    }
    if (!good)
        (void)buf_addf(&pull->missing, "%s%s", pull->missing.len ? ", " : "", call->name);
}

static void on_secret(void *userdata, const struct kube_answer *answer)
{
    struct secret_call *call = userdata;
    struct pull *pull = call->pull;
    call->request = NULL;
    take_secret(pull, call, answer);
    if (--pull->waiting > 0)
        return;
    tell_missing(pull);
    try_next(pull);
}

static void ask_secrets(struct pull *pull, const struct pod_spec *spec)
{
    for (size_t i = 0; i < spec->pull_secrets_len && pull->calls_len < PULL_SECRETS_MAX; i++) {
        struct secret_call *call = &pull->calls[pull->calls_len];
        if (str_empty(spec->pull_secrets[i]) || strchr(spec->pull_secrets[i], '/'))
            continue;
        char *path = xasprintf("/api/v1/namespaces/%s/secrets/%s", spec->ns, spec->pull_secrets[i]);
        call->pull = pull;
        call->name = xstrdup(spec->pull_secrets[i]);
        pull->calls_len++;
        pull->waiting++;
        call->request =
            kube_request(pull->agent->client, KUBE_GET, path, NULL, 0, KUBE_ONCE, on_secret, call);
        free(path);
    }
}

struct pull *pull_start(struct agent *agent, struct pod *pod, uint32_t container, image_done done,
                        void *userdata)
{
    static const enum image_policy policies[] = {
        [PULL_ALWAYS] = IMAGE_ALWAYS,
        [PULL_IF_NOT_PRESENT] = IMAGE_IF_NOT_PRESENT,
        [PULL_NEVER] = IMAGE_NEVER,
    };
    const struct container_spec *c = pod_container(pod->spec, container);
    struct pull *pull = xcalloc(1, sizeof(*pull));
    bool network = c->pull_policy == PULL_ALWAYS || (c->pull_policy == PULL_IF_NOT_PRESENT &&
                                                     !image_present(agent->images, c->image));
    pull->agent = agent;
    pull->uid = xstrdup(pod->spec->uid);
    pull->container = container;
    pull->reference = xstrdup(c->image);
    pull->policy = policies[c->pull_policy];
    pull->done = done;
    pull->userdata = userdata;
    buf_init(&pull->missing, NAMES_MAX);
    if (network)
        agent_event(agent, pod, (int)container, false, "Pulling", "Pulling image \"%s\"", c->image);
    if ((network || image_private(agent->images, c->image)) &&
        image_name_parse(c->image, &pull->name, NULL) == 0)
        ask_secrets(pull, pod->spec);
    if (pull->waiting == 0)
        try_next(pull);
    return pull;
}

void pull_cancel(struct pull *pull)
{
    for (size_t i = 0; i < pull->calls_len; i++)
        if (pull->calls[i].request)
            kube_request_cancel(pull->calls[i].request);
    if (pull->image)
        image_pull_cancel(pull->image);
    pull_free(pull);
}
