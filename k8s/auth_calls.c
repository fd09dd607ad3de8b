/* The one table of real calls. Its own file, so that tests with a table of theirs read easily. */
#include "k8s/auth_calls.h"

#include "base/clock.h"

const struct auth_calls auth_calls_real = {
    .open = kube_client_new,
    .close = kube_client_free,
    .request = kube_request,
    .cancel = kube_request_cancel,
    .watch = watch_start,
    .unwatch = watch_stop,
    .mono_ms = clock_mono_ms,
    .unix_ms = clock_unix_ms,
};
