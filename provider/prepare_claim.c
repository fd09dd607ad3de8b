/* PersistentVolumeClaims of a Pod that are bound to a directory of this host (hostPath, local): the
 * claim, then its volume, each by a GET as a node identity may. Part of prepare. */
#include "provider/prepare_priv.h"

#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void settle(struct claim *claim, enum claim_state state)
{
    claim->state = state;
    needs_changed(claim->needs);
}

static void fail(struct claim *claim, const char *text)
{
    str_copy(claim->error, sizeof(claim->error), text);
    settle(claim, CLAIM_FAILED);
}

/* The member of the volume's spec that is its kind: what is not one of these is. */
static const char *kind_of(const struct json *spec)
{
    static const char *const plain[] = {"capacity", "claimRef", "nodeAffinity"};

    for (const struct json *v = json_first(spec); v; v = json_next(v)) {
        bool other = !json_is_object(v);

        for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
            other = other || str_eq(json_key(v), plain[i]);
        if (!other)
            return json_key(v);
    }
    return "unknown";
}

static void on_volume(void *userdata, const struct kube_answer *answer)
{
    struct claim *claim = userdata;
    struct json *root = answer->result == 0 ? json_parse(answer->body, answer->len, NULL) : NULL;
    const struct json *spec = json_get(root, "spec");
    const char *host = json_string(json_path(spec, "hostPath.path"));
    const char *local = json_string(json_path(spec, "local.path"));
    const char *uid = json_string(json_path(spec, "claimRef.uid"));
    char text[OBSERVED_TEXT_MAX];

    claim->request = NULL;
    if (answer->result < 0 || answer->status >= 300) {
        fail(claim, answer->text);
    } else if (!str_eq(uid, claim->uid)) {
        str_fmt(text, sizeof(text), "persistentvolume %s is bound to another claim", claim->volume);
        fail(claim, text);
    } else if (!host && !local) {
        str_fmt(text, sizeof(text),
                "persistentvolume %s is of kind %s: unikernel nodes have no CSI or network "
                "storage, only hostPath and local volumes",
                claim->volume, kind_of(spec));
        fail(claim, text);
    } else {
        free(claim->path);
        claim->path = xstrdup(host ? host : local);
        settle(claim, CLAIM_FOUND);
    }
    json_free(root);
}

static void on_claim(void *userdata, const struct kube_answer *answer)
{
    struct claim *claim = userdata;
    struct json *root = answer->result == 0 ? json_parse(answer->body, answer->len, NULL) : NULL;
    const char *volume = json_string(json_path(root, "spec.volumeName"));
    const char *uid = json_string(json_path(root, "metadata.uid"));
    const char *phase = json_string(json_path(root, "status.phase"));
    char text[OBSERVED_TEXT_MAX];

    claim->request = NULL;
    if (answer->status == 404) {
        str_fmt(text, sizeof(text), "persistentvolumeclaim \"%s\" not found", claim->name);
        fail(claim, text);
    } else if (answer->result < 0 || answer->status >= 300) {
        fail(claim, answer->text);
    } else if (str_empty(volume) || !str_eq(phase, "Bound")) {
        fail(claim, "PVC is not bound");
    } else {
        char *path = xasprintf("/api/v1/persistentvolumes/%s", volume);

        free(claim->volume);
        free(claim->uid);
        claim->volume = xstrdup(volume);
        claim->uid = xstrdup(uid ? uid : "");
        claim->request = kube_request(claim->needs->machine->agent->client, KUBE_GET, path, NULL, 0,
                                      KUBE_RETRY, on_volume, claim);
        free(path);
    }
    json_free(root);
}

static void ask(struct claim *claim)
{
    struct needs *needs = claim->needs;
    char *path =
        xasprintf("/api/v1/namespaces/%s/persistentvolumeclaims/%s", needs->ns, claim->name);

    claim->state = CLAIM_ASKED;
    claim->error[0] = '\0';
    claim->request = kube_request(needs->machine->agent->client, KUBE_GET, path, NULL, 0,
                                  KUBE_RETRY, on_claim, claim);
    free(path);
}

const char *claim_get(struct needs *needs, const char *name, const char **ret_error)
{
    struct claim *claim = NULL;

    *ret_error = "";
    for (size_t i = 0; i < needs->claims_len && !claim; i++)
        claim = str_eq(needs->claims[i]->name, name) ? needs->claims[i] : NULL;
    if (!claim && needs->claims_len == CLAIMS_MAX) {
        *ret_error = "the Pod has too many claims";
        return NULL;
    }
    if (!claim) {
        claim = xcalloc(1, sizeof(*claim));
        claim->name = xstrdup(name);
        claim->needs = needs;
        needs->claims[needs->claims_len++] = claim;
        ask(claim);
    }
    *ret_error = claim->error;
    return claim->state == CLAIM_FOUND ? claim->path : NULL;
}

void claims_retry(struct needs *needs)
{
    for (size_t i = 0; i < needs->claims_len; i++) {
        if (needs->claims[i]->state == CLAIM_FAILED)
            ask(needs->claims[i]);
    }
}

void claims_end(struct needs *needs)
{
    for (size_t i = 0; i < needs->claims_len; i++) {
        struct claim *claim = needs->claims[i];

        if (claim->request)
            kube_request_cancel(claim->request);
        free(claim->name);
        free(claim->uid);
        free(claim->volume);
        free(claim->path);
        free(claim);
    }
    needs->claims_len = 0;
}
