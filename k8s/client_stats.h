/* What the client counts of its requests, for /metrics: answers by method and status, and how long
 * they took. Written by client.c, read by provider/endpoints_own.c. */
#pragma once

#include "base/histogram.h"
#include "k8s/client.h"

#define KUBE_METHODS (KUBE_DELETE + 1)
#define KUBE_CODES_MAX 48 /* pairs of method and status; further ones are not told apart */

struct kube_answers {
    struct histogram seconds[KUBE_METHODS]; /* of one try that was answered */
    struct kube_code {
        enum kube_method method;
        int status; /* HTTP; 0: no answer */
        uint64_t count;
    } codes[KUBE_CODES_MAX];
    size_t codes_len;
};

void kube_answers_init(struct kube_answers *answers);
/* status 0: none came. */
void kube_answers_add(struct kube_answers *answers, enum kube_method method, int status,
                      double seconds);
const char *kube_method_to_string(enum kube_method method); /* "PATCH" */

/* Valid as long as the client. */
const struct kube_answers *kube_client_answers(const struct kube_client *client);
const char *kube_client_host(const struct kube_client *client); /* host:port of the server */
