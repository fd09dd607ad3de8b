/* Counts of answers. Called by client.c. */
#include "k8s/client_stats.h"

#include "base/cleanup.h"
#include "k8s/client_priv.h"

#include <assert.h>
#include <string.h>

static const double bounds[] = {0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15};

static const char *const names[] = {
    [KUBE_GET] = "GET",     [KUBE_POST] = "POST",         [KUBE_PUT] = "PUT",
    [KUBE_PATCH] = "PATCH", [KUBE_MERGE_PATCH] = "PATCH", [KUBE_DELETE] = "DELETE",
};
static_assert(ARRAY_LEN(names) == KUBE_METHODS, "a name for each method");

/* Both kinds of patch are one verb. */
static enum kube_method verb(enum kube_method method)
{
    return method == KUBE_MERGE_PATCH ? KUBE_PATCH : method;
}

void kube_answers_init(struct kube_answers *answers)
{
    memset(answers, 0, sizeof(*answers));
    for (int i = 0; i < KUBE_METHODS; i++)
        histogram_init(&answers->seconds[i], bounds, ARRAY_LEN(bounds));
}

void kube_answers_add(struct kube_answers *answers, enum kube_method method, int status,
                      double seconds)
{
    size_t i = 0;

    method = verb(method);
    if (status > 0)
        histogram_add(&answers->seconds[method], seconds);
    while (i < answers->codes_len &&
           (answers->codes[i].method != method || answers->codes[i].status != status))
        i++;
    if (i == KUBE_CODES_MAX)
        i--;
    else if (i == answers->codes_len)
        answers->codes[answers->codes_len++] = (struct kube_code){method, status, 0};
    answers->codes[i].count++;
}

const char *kube_method_to_string(enum kube_method method)
{
    return names[method];
}

const struct kube_answers *kube_client_answers(const struct kube_client *client)
{
    return &client->answers;
}

const char *kube_client_host(const struct kube_client *client)
{
    const char *host = strstr(client->base_url, "://");

    return host ? host + strlen("://") : client->base_url;
}
