/* The agent's counters. Called where things happen: machines.c, main.c. */
#include "provider/metrics.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"

#include <assert.h>

/* A guest boots in 10 ms to seconds; a kubelet's own bounds begin where ours end. */
static const double boot_bounds[] = {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60};
static const double operation_bounds[] = {0.005, 0.0125, 0.03125, 0.078125, 0.1953125, 0.5,
                                          1.25,  3,      8,       20,       50,        125};
static const double lag_bounds[] = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5};

static const char *const operation_names[] = {
    [OPERATION_PULL_IMAGE] = "pull_image",
    [OPERATION_RUN_SANDBOX] = "run_podsandbox",
    [OPERATION_START_CONTAINER] = "start_container",
    [OPERATION_STOP_SANDBOX] = "stop_podsandbox",
};
static_assert(ARRAY_LEN(operation_names) == _OPERATION_MAX, "a name for each operation");

const char *metrics_operation_to_string(enum metrics_operation operation)
{
    return operation_names[operation];
}

void metrics_init(struct metrics *metrics)
{
    *metrics = (struct metrics){.began_ms = clock_mono_ms(), .started_ms = clock_unix_ms()};
    for (int i = 0; i < _OPERATION_MAX; i++)
        histogram_init(&metrics->operations[i].seconds, operation_bounds,
                       ARRAY_LEN(operation_bounds));
    histogram_init(&metrics->pod_start, boot_bounds, ARRAY_LEN(boot_bounds));
    histogram_init(&metrics->lag, lag_bounds, ARRAY_LEN(lag_bounds));
}

void metrics_operation(struct metrics *metrics, enum metrics_operation operation, uint64_t since_ns,
                       bool failed)
{
    if (!metrics)
        return;
    metrics->operations[operation].failures += failed;
    histogram_add(&metrics->operations[operation].seconds,
                  (double)(clock_mono_ns() - since_ns) / 1e9);
}

void metrics_boot(struct metrics *metrics, const char *vmm, const char *guest, double seconds)
{
    struct metrics_boot *boot = NULL;

    if (!metrics)
        return;
    for (size_t i = 0; i < metrics->boots_len && !boot; i++) {
        bool full = i == METRICS_BOOTS_MAX - 1;

        if (full || (str_eq(metrics->boots[i].vmm, vmm) && str_eq(metrics->boots[i].guest, guest)))
            boot = &metrics->boots[i];
    }
    if (!boot) {
        bool last = metrics->boots_len == METRICS_BOOTS_MAX - 1;

        boot = &metrics->boots[metrics->boots_len++];
        str_copy(boot->vmm, sizeof(boot->vmm), last ? "other" : vmm);
        str_copy(boot->guest, sizeof(boot->guest), last ? "other" : guest);
        histogram_init(&boot->seconds, boot_bounds, ARRAY_LEN(boot_bounds));
    }
    histogram_add(&boot->seconds, seconds);
}
