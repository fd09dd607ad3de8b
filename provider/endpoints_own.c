/* /metrics: the agent about itself, under the kubelet's names where they mean the same, and under
 * its own where a kubelet has no such thing. A family that nothing is known of is left out. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "k8s/client_stats.h"
#include "k8s/prometheus.h"
#include "provider/endpoints_priv.h"
#include "provider/node.h"
#include "provider/probing.h"

#include <dirent.h>
#include <unistd.h>

#define LABEL_TEXT_MAX 2048

/* What is counted over all Pods. */
struct census {
    struct reconcile *reconcile;
    size_t phases[PHASE_UNKNOWN + 1];
    size_t machines[MACHINE_FAILED + 1];
};

static void count_pod(void *userdata, struct pod *pod)
{
    struct census *census = userdata;
    const struct refusal *refusal = pod->refused ? pod->refusal : NULL;

    if (str_empty(pod->spec->name))
        return;
    census->phases[pod_phase(pod->spec, &pod->obs, refusal)]++;
    census->machines[pod->containers[pod_active(pod)].machine]++;
}

/* One sample with one label. */
static void put(struct buf *out, const char *name, const char *label, const char *value,
                uint64_t number)
{
    struct buf labels = BUF_INIT(LABEL_TEXT_MAX);
    const struct prom_label pair = {label, value};

    prom_labels(&labels, &pair, 1);
    prom_u64(out, name, buf_str(&labels), number, 0);
    buf_free(&labels);
}

static void put_single(struct buf *out, const char *name, enum prom_type type, const char *help,
                       uint64_t number)
{
    prom_family(out, name, type, help);
    prom_u64(out, name, "", number, 0);
}

static void write_pods(struct endpoints *endpoints, struct buf *out)
{
    static const char *const machine_states[] = {
        [MACHINE_NONE] = "none",     [MACHINE_STARTING] = "starting", [MACHINE_RUNNING] = "running",
        [MACHINE_EXITED] = "exited", [MACHINE_FAILED] = "failed",
    };
    struct census census = {.reconcile = endpoints->agent->reconcile};

    reconcile_each(census.reconcile, count_pod, &census);
    put_single(out, "kubelet_running_pods", PROM_GAUGE,
               "Number of pods that have a running pod sandbox", census.machines[MACHINE_RUNNING]);
    prom_family(out, "kubelet_running_containers", PROM_GAUGE,
                "Number of containers currently running");
    put(out, "kubelet_running_containers", "container_state", "created",
        census.machines[MACHINE_STARTING]);
    put(out, "kubelet_running_containers", "container_state", "exited",
        census.machines[MACHINE_EXITED]);
    put(out, "kubelet_running_containers", "container_state", "running",
        census.machines[MACHINE_RUNNING]);
    prom_family(out, "unikubelet_pods", PROM_GAUGE, "Pods of this node by phase");
    for (int i = 0; i <= PHASE_UNKNOWN; i++)
        put(out, "unikubelet_pods", "phase", pod_phase_to_string((enum pod_phase)i),
            census.phases[i]);
    prom_family(out, "unikubelet_machines", PROM_GAUGE, "Machines of Pods by state");
    for (size_t i = 0; i < ARRAY_LEN(machine_states); i++)
        put(out, "unikubelet_machines", "state", machine_states[i], census.machines[i]);
}

static void write_operations(const struct metrics *m, struct buf *out)
{
    prom_family(out, "kubelet_runtime_operations_total", PROM_COUNTER,
                "Cumulative number of runtime operations by operation type.");
    for (int i = 0; i < _OPERATION_MAX; i++)
        put(out, "kubelet_runtime_operations_total", "operation_type",
            metrics_operation_to_string((enum metrics_operation)i),
            histogram_count(&m->operations[i].seconds));
    prom_family(out, "kubelet_runtime_operations_errors_total", PROM_COUNTER,
                "Cumulative number of runtime operation errors by operation type.");
    for (int i = 0; i < _OPERATION_MAX; i++)
        put(out, "kubelet_runtime_operations_errors_total", "operation_type",
            metrics_operation_to_string((enum metrics_operation)i), m->operations[i].failures);
    prom_family(out, "kubelet_runtime_operations_duration_seconds", PROM_HISTOGRAM,
                "Duration in seconds of runtime operations. Broken down by operation type.");
    for (int i = 0; i < _OPERATION_MAX; i++) {
        char label[64];

        str_fmt(label, sizeof(label), "operation_type=\"%s\"",
                metrics_operation_to_string((enum metrics_operation)i));
        prom_histogram(out, "kubelet_runtime_operations_duration_seconds", label,
                       &m->operations[i].seconds);
    }
}

static void write_machines(const struct metrics *m, struct buf *out)
{
    put_single(out, "kubelet_started_pods_total", PROM_COUNTER, "Cumulative number of pods started",
               m->pods_started);
    put_single(out, "kubelet_started_containers_total", PROM_COUNTER,
               "Cumulative number of containers started", m->machines_started);
    prom_family(out, "kubelet_pod_start_duration_seconds", PROM_HISTOGRAM,
                "Duration in seconds from kubelet seeing a pod for the first time to the pod "
                "starting to run");
    prom_histogram(out, "kubelet_pod_start_duration_seconds", "", &m->pod_start);
    prom_family(out, "unikubelet_boot_duration_seconds", PROM_HISTOGRAM,
                "From the launch of a machine until its VMM runs, by VMM and kind of guest");
    for (size_t i = 0; i < m->boots_len; i++) {
        struct buf labels = BUF_INIT(LABEL_TEXT_MAX);
        const struct prom_label pairs[] = {{"vmm", m->boots[i].vmm}, {"guest", m->boots[i].guest}};

        prom_labels(&labels, pairs, ARRAY_LEN(pairs));
        prom_histogram(out, "unikubelet_boot_duration_seconds", buf_str(&labels),
                       &m->boots[i].seconds);
        buf_free(&labels);
    }
    put_single(out, "unikubelet_machine_restarts_total", PROM_COUNTER,
               "Machines started in the place of one that ended", m->restarts);
    put_single(out, "unikubelet_machines_adopted_total", PROM_COUNTER,
               "Running machines taken over from an earlier agent", m->adopted);
    put_single(out, "unikubelet_machines_ended_total", PROM_COUNTER,
               "Machines that ended, for whatever reason", m->ended);
    put_single(out, "unikubelet_machines_oom_killed_total", PROM_COUNTER,
               "Machines that ended for want of memory", m->oom_killed);
    put_single(out, "unikubelet_machines_lost_total", PROM_COUNTER, "Machines whose end nobody saw",
               m->lost);
    put_single(out, "unikubelet_image_pulled_bytes_total", PROM_COUNTER,
               "Bytes of the images that were pulled", m->pulled_bytes);
    prom_family(out, "unikubelet_reconcile_lag_seconds", PROM_HISTOGRAM,
                "From hearing of an event until all that it asks for was begun");
    prom_histogram(out, "unikubelet_reconcile_lag_seconds", "", &m->lag);
}

static void write_client(struct endpoints *endpoints, struct buf *out)
{
    const struct kube_answers *answers = kube_client_answers(endpoints->agent->client);
    char label[64];

    prom_family(out, "rest_client_requests_total", PROM_COUNTER,
                "Number of HTTP requests, partitioned by status code, method, and host.");
    for (size_t i = 0; i < answers->codes_len; i++) {
        struct buf labels = BUF_INIT(LABEL_TEXT_MAX);
        char code[16] = "<error>";

        if (answers->codes[i].status > 0)
            str_fmt(code, sizeof(code), "%d", answers->codes[i].status);
        const struct prom_label triple[] = {
            {"code", code},
            {"method", kube_method_to_string(answers->codes[i].method)},
            {"host", kube_client_host(endpoints->agent->client)},
        };
        prom_labels(&labels, triple, ARRAY_LEN(triple));
        prom_u64(out, "rest_client_requests_total", buf_str(&labels), answers->codes[i].count, 0);
        buf_free(&labels);
    }
    prom_family(out, "rest_client_request_duration_seconds", PROM_HISTOGRAM,
                "Request latency in seconds. Broken down by verb.");
    for (int i = 0; i < KUBE_METHODS; i++) {
        if (histogram_count(&answers->seconds[i]) == 0)
            continue;
        str_fmt(label, sizeof(label), "verb=\"%s\"", kube_method_to_string((enum kube_method)i));
        prom_histogram(out, "rest_client_request_duration_seconds", label, &answers->seconds[i]);
    }
}

static size_t count_fds(void)
{
    CLEANUP(closedir) DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    while (dir && readdir(dir))
        count++;
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

static void write_process(const struct metrics *m, struct buf *out)
{
    struct stats_process process;

    if (stats_process(getpid(), &process) < 0)
        return;
    prom_family(out, "process_cpu_seconds_total", PROM_COUNTER,
                "Total user and system CPU time spent in seconds.");
    prom_ns(out, "process_cpu_seconds_total", "", process.cpu_ns, 0);
    put_single(out, "process_resident_memory_bytes", PROM_GAUGE, "Resident memory size in bytes.",
               process.rss_bytes);
    put_single(out, "process_open_fds", PROM_GAUGE, "Number of open file descriptors.",
               count_fds());
    prom_family(out, "process_start_time_seconds", PROM_GAUGE,
                "Start time of the process since unix epoch in seconds.");
    prom_ns(out, "process_start_time_seconds", "", (uint64_t)m->started_ms * 1000000, 0);
}

void write_own_metrics(struct endpoints *endpoints, struct buf *out)
{
    const struct agent *agent = endpoints->agent;

    prom_family(out, "kubelet_node_name", PROM_GAUGE, "The node's name. The count is always 1.");
    put(out, "kubelet_node_name", "node", agent->config.node_name, 1);
    prom_family(out, "kubernetes_build_info", PROM_GAUGE,
                "A metric with a constant '1' value labeled by git version");
    put(out, "kubernetes_build_info", "git_version", NODE_KUBELET_VERSION, 1);
    prom_family(out, "unikubelet_build_info", PROM_GAUGE,
                "A metric with a constant '1' value labeled by version");
    put(out, "unikubelet_build_info", "version", UNIKUBELET_VERSION, 1);
    write_pods(endpoints, out);
    write_machines(&endpoints->metrics, out);
    write_operations(&endpoints->metrics, out);
    probing_write_own(agent, out);
    write_client(endpoints, out);
    write_process(&endpoints->metrics, out);
}
