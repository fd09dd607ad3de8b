/* /metrics/resource, /metrics/cadvisor, /metrics/probes (contract 5.9, 5.10): what metrics-server
 * and Prometheus read of machines. The agent's own numbers are in endpoints_own.c. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "k8s/prometheus.h"
#include "provider/endpoints_priv.h"
#include "provider/host.h"
#include "provider/machines.h"
#include "provider/probing.h"
#include "provider/usage.h"
#include "runtime/network.h"

#include <stdlib.h>
#include <string.h>

#define LINKS_MAX 16
#define CPU_PERIOD_US 100000
#define LABELS_MAX (64 * 1024 * 1024)

/* A machine with its labels, written once for all of its samples: offsets into one text. */
struct row {
    const struct usage *usage;
    size_t pod;
    size_t container;
    struct stats_link tap;
    bool has_tap;
    struct stats_process process;
    bool has_process;
};

struct table {
    struct row *rows;
    size_t len;
    size_t failed; /* machines that could not be measured */
    struct usage *usages;
    struct buf labels;
};

static size_t add_labels(struct table *t, const struct prom_label *labels, size_t len)
{
    size_t at = t->labels.len;

    prom_labels(&t->labels, labels, len);
    (void)buf_addc(&t->labels, '\0');
    return at;
}

static const char *text_at(const struct table *t, size_t at)
{
    return buf_str(&t->labels) + at;
}

static void table_open(struct table *t, struct agent *agent)
{
    size_t len = usage_gather(agent, &t->usages);

    *t = (struct table){.usages = t->usages, .labels = BUF_INIT(LABELS_MAX)};
    t->rows = xcalloc(len + 1, sizeof(*t->rows));
    for (size_t i = 0; i < len; i++) {
        if (t->usages[i].stats)
            t->rows[t->len++].usage = &t->usages[i];
        else
            t->failed++;
    }
}

static void table_close(struct table *t)
{
    free(t->rows);
    free(t->usages);
    buf_free(&t->labels);
}

/* ---- /metrics/resource ---- */

/* Namespace, pod, container: in this order, which a test suite of other agents counts on. */
static void label_resource(struct table *t)
{
    for (size_t i = 0; i < t->len; i++) {
        const struct pod_spec *spec = t->rows[i].usage->pod->spec;
        const struct container_spec *c = pod_container(spec, t->rows[i].usage->container);
        const struct prom_label labels[] = {
            {"namespace", spec->ns}, {"pod", spec->name}, {"container", c->name}};

        t->rows[i].pod = add_labels(t, labels, 2);
        t->rows[i].container = add_labels(t, labels, 3);
    }
}

static void write_machines(const struct table *t, struct buf *out)
{
    prom_family(out, "container_cpu_usage_seconds_total", PROM_COUNTER,
                "Cumulative cpu time consumed by the container in core-seconds");
    for (size_t i = 0; i < t->len; i++)
        prom_ns(out, "container_cpu_usage_seconds_total", text_at(t, t->rows[i].container),
                usage_cpu_ns(t->rows[i].usage), t->rows[i].usage->stats->sampled_ms);
    prom_family(out, "container_memory_working_set_bytes", PROM_GAUGE,
                "Current working set of the container in bytes");
    for (size_t i = 0; i < t->len; i++)
        prom_u64(out, "container_memory_working_set_bytes", text_at(t, t->rows[i].container),
                 usage_memory_bytes(t->rows[i].usage), t->rows[i].usage->stats->sampled_ms);
    prom_family(out, "container_start_time_seconds", PROM_GAUGE,
                "Start time of the container since unix epoch in seconds");
    for (size_t i = 0; i < t->len; i++)
        prom_ns(
            out, "container_start_time_seconds", text_at(t, t->rows[i].container),
            (uint64_t)t->rows[i].usage->pod->containers[t->rows[i].usage->container].started_ms *
                1000000,
            0);
    prom_family(out, "pod_cpu_usage_seconds_total", PROM_COUNTER,
                "Cumulative cpu time consumed by the pod in core-seconds");
    for (size_t i = 0; i < t->len; i++)
        prom_ns(out, "pod_cpu_usage_seconds_total", text_at(t, t->rows[i].pod),
                usage_cpu_ns(t->rows[i].usage), t->rows[i].usage->stats->sampled_ms);
    prom_family(out, "pod_memory_working_set_bytes", PROM_GAUGE,
                "Current working set of the pod in bytes");
    for (size_t i = 0; i < t->len; i++)
        prom_u64(out, "pod_memory_working_set_bytes", text_at(t, t->rows[i].pod),
                 usage_memory_bytes(t->rows[i].usage), t->rows[i].usage->stats->sampled_ms);
}

static void write_resource(struct endpoints *endpoints, struct buf *out)
{
    struct table t;
    struct stats_host host;
    int64_t now_ms = clock_unix_ms();
    bool failed = stats_host(&host) < 0;

    if (!failed) {
        prom_family(out, "node_cpu_usage_seconds_total", PROM_COUNTER,
                    "Cumulative cpu time consumed by the node in core-seconds");
        prom_ns(out, "node_cpu_usage_seconds_total", "", host.cpu_ns ? host.cpu_ns : 1, now_ms);
        prom_family(out, "node_memory_working_set_bytes", PROM_GAUGE,
                    "Current working set of the node in bytes");
        prom_u64(out, "node_memory_working_set_bytes", "",
                 host.working_set_bytes ? host.working_set_bytes : 1, now_ms);
    }
    table_open(&t, endpoints->agent);
    label_resource(&t);
    write_machines(&t, out);
    failed = failed || t.failed > 0;
    prom_family(out, "resource_scrape_error", PROM_GAUGE,
                "1 if there was an error while getting container metrics, 0 otherwise");
    prom_u64(out, "resource_scrape_error", "", failed, 0);
    prom_family(out, "scrape_error", PROM_GAUGE,
                "(Deprecated since 1.29.0) 1 if there was an error while getting container "
                "metrics, 0 otherwise");
    prom_u64(out, "scrape_error", "", failed, 0);
    table_close(&t);
}

/* ---- /metrics/cadvisor ---- */

/* Alphabetical, as cAdvisor prints them. Dashboards count what has an image as a container. */
static void label_cadvisor(struct table *t)
{
    for (size_t i = 0; i < t->len; i++) {
        const struct usage *usage = t->rows[i].usage;
        const struct pod_spec *spec = usage->pod->spec;
        const struct container_spec *c = pod_container(spec, usage->container);
        const char *id = usage->pod->containers[usage->container].id;
        char path[128];
        char sandbox[128];
        const struct prom_label container[] = {
            {"container", c->name},  {"id", str_fmt(path, sizeof(path), "/unikubelet/%s", id)},
            {"image", c->image},     {"name", id},
            {"namespace", spec->ns}, {"pod", spec->name},
        };
        const struct prom_label pod[] = {
            {"container", ""},
            {"id", str_fmt(sandbox, sizeof(sandbox), "/unikubelet/pod%s", spec->uid)},
            {"image", ""},
            {"interface", "eth0"},
            {"name", spec->uid},
            {"namespace", spec->ns},
            {"pod", spec->name},
        };

        t->rows[i].container = add_labels(t, container, ARRAY_LEN(container));
        t->rows[i].pod = add_labels(t, pod, ARRAY_LEN(pod));
    }
}

static void read_processes(struct table *t)
{
    struct stats_link links[LINKS_MAX];

    for (size_t i = 0; i < t->len; i++) {
        struct row *row = &t->rows[i];
        int pid = instance_pid(row->usage->instance);

        if (pid <= 0)
            continue;
        row->has_process = stats_process(pid, &row->process) == 0;
        size_t len = stats_links(pid, links, LINKS_MAX);
        for (size_t k = 0; k < len && !row->has_tap; k++) {
            row->has_tap = str_eq(links[k].name, NETWORK_TAP_NAME);
            row->tap = links[k];
        }
        stats_link_turn(&row->tap);
    }
}

static const struct {
    const char *name;
    const char *help;
    size_t offset; /* in struct stats_link */
} link_families[] = {
#define LINK(direction, what, field, help)                                                         \
    {                                                                                              \
        "container_network_" direction "_" what "_total", help, offsetof(struct stats_link, field) \
    }
    LINK("receive", "bytes", rx_bytes, "Cumulative count of bytes received"),
    LINK("receive", "packets", rx_packets, "Cumulative count of packets received"),
    LINK("receive", "packets_dropped", rx_dropped,
         "Cumulative count of packets dropped while receiving"),
    LINK("receive", "errors", rx_errors, "Cumulative count of errors encountered while receiving"),
    LINK("transmit", "bytes", tx_bytes, "Cumulative count of bytes transmitted"),
    LINK("transmit", "packets", tx_packets, "Cumulative count of packets transmitted"),
    LINK("transmit", "packets_dropped", tx_dropped,
         "Cumulative count of packets dropped while transmitting"),
    LINK("transmit", "errors", tx_errors,
         "Cumulative count of errors encountered while transmitting"),
#undef LINK
};

static void write_links(const struct table *t, struct buf *out)
{
    for (size_t f = 0; f < ARRAY_LEN(link_families); f++) {
        prom_family(out, link_families[f].name, PROM_COUNTER, link_families[f].help);
        for (size_t i = 0; i < t->len; i++) {
            const char *tap = (const char *)&t->rows[i].tap;
            uint64_t value;

            memcpy(&value, tap + link_families[f].offset, sizeof(value));
            if (t->rows[i].has_tap)
                prom_u64(out, link_families[f].name, text_at(t, t->rows[i].pod), value, 0);
        }
    }
}

enum gauge {
    GAUGE_USAGE,
    GAUGE_WORKING_SET,
    GAUGE_RSS,
    GAUGE_LAST_SEEN,
    GAUGE_START,
    GAUGE_MEMORY_LIMIT,
    GAUGE_CPU_QUOTA,
    GAUGE_CPU_PERIOD,
};

static const struct {
    enum gauge gauge;
    const char *name;
    const char *help;
} gauge_families[] = {
    {GAUGE_USAGE, "container_memory_usage_bytes",
     "Current memory usage in bytes, including all memory regardless of when it was accessed"},
    {GAUGE_WORKING_SET, "container_memory_working_set_bytes", "Current working set in bytes"},
    {GAUGE_RSS, "container_memory_rss", "Size of RSS in bytes"},
    {GAUGE_LAST_SEEN, "container_last_seen", "Last time a container was seen by the exporter"},
    {GAUGE_START, "container_start_time_seconds",
     "Start time of the container since unix epoch in seconds"},
    {GAUGE_MEMORY_LIMIT, "container_spec_memory_limit_bytes", "Memory limit for the container"},
    {GAUGE_CPU_QUOTA, "container_spec_cpu_quota", "CPU quota of the container"},
    {GAUGE_CPU_PERIOD, "container_spec_cpu_period", "CPU period of the container"},
};

static uint64_t gauge_value(const struct row *row, enum gauge gauge)
{
    const struct resources *r =
        &pod_container(row->usage->pod->spec, row->usage->container)->resources;

    switch (gauge) {
    case GAUGE_USAGE:
        return row->usage->stats->memory_bytes;
    case GAUGE_WORKING_SET:
        return usage_memory_bytes(row->usage);
    case GAUGE_RSS:
        return row->process.rss_bytes;
    case GAUGE_LAST_SEEN:
        return (uint64_t)row->usage->stats->sampled_ms / 1000;
    case GAUGE_START:
        return (uint64_t)row->usage->pod->containers[row->usage->container].started_ms / 1000;
    case GAUGE_MEMORY_LIMIT:
        return r->memory_limit_bytes > 0 ? (uint64_t)r->memory_limit_bytes : 0;
    case GAUGE_CPU_QUOTA:
        return r->cpu_limit_milli > 0 ? (uint64_t)r->cpu_limit_milli * CPU_PERIOD_US / 1000 : 0;
    case GAUGE_CPU_PERIOD:
        return CPU_PERIOD_US;
    }
    return 0;
}

/* Whether the machine has such a value at all: no limit is no sample. */
static bool gauge_known(const struct row *row, enum gauge gauge)
{
    const struct resources *r =
        &pod_container(row->usage->pod->spec, row->usage->container)->resources;

    if (gauge == GAUGE_RSS)
        return row->has_process;
    if (gauge == GAUGE_MEMORY_LIMIT)
        return r->memory_limit_bytes > 0;
    return (gauge != GAUGE_CPU_QUOTA && gauge != GAUGE_CPU_PERIOD) || r->cpu_limit_milli > 0;
}

static void write_gauges(const struct table *t, struct buf *out)
{
    for (size_t f = 0; f < ARRAY_LEN(gauge_families); f++) {
        bool measured = gauge_families[f].gauge <= GAUGE_RSS;

        prom_family(out, gauge_families[f].name, PROM_GAUGE, gauge_families[f].help);
        for (size_t i = 0; i < t->len; i++)
            if (gauge_known(&t->rows[i], gauge_families[f].gauge))
                prom_u64(out, gauge_families[f].name, text_at(t, t->rows[i].container),
                         gauge_value(&t->rows[i], gauge_families[f].gauge),
                         measured ? t->rows[i].usage->stats->sampled_ms : 0);
    }
}

static void write_cadvisor(struct endpoints *endpoints, struct buf *out)
{
    const struct host *host = endpoints->agent->host;
    struct buf labels = BUF_INIT(LABELS_MAX);
    struct table t;

    table_open(&t, endpoints->agent);
    label_cadvisor(&t);
    read_processes(&t);
    prom_family(out, "container_cpu_usage_seconds_total", PROM_COUNTER,
                "Cumulative cpu time consumed in seconds");
    for (size_t i = 0; i < t.len; i++) {
        buf_reset(&labels);
        (void)buf_addf(&labels, "%s,cpu=\"total\"", text_at(&t, t.rows[i].container));
        prom_ns(out, "container_cpu_usage_seconds_total", buf_str(&labels),
                usage_cpu_ns(t.rows[i].usage), t.rows[i].usage->stats->sampled_ms);
    }
    write_gauges(&t, out);
    write_links(&t, out);
    prom_family(out, "machine_cpu_cores", PROM_GAUGE, "Number of logical CPU cores");
    prom_u64(out, "machine_cpu_cores", "", (uint64_t)host->cpu_milli / 1000, 0);
    prom_family(out, "machine_memory_bytes", PROM_GAUGE,
                "Amount of memory installed on the machine");
    prom_u64(out, "machine_memory_bytes", "", (uint64_t)host->memory_bytes, 0);
    table_close(&t);
    buf_free(&labels);
}

/* ---- /metrics/probes ---- */

static void write_probes(struct endpoints *endpoints, struct buf *out)
{
    probing_write(endpoints->agent, out);
}

void handle_metrics(struct endpoints *endpoints, struct server_request *request,
                    char *const *segments, size_t len)
{
    static const struct {
        const char *name; /* "": /metrics itself */
        void (*write)(struct endpoints *endpoints, struct buf *out);
    } parts[] = {
        {"", write_own_metrics},  {"resource", write_resource},       {"cadvisor", write_cadvisor},
        {"probes", write_probes}, {"connections", write_connections},
    };
    const char *name = len > 1 ? segments[1] : "";
    struct buf out = BUF_INIT(SERVER_REPLY_MAX);

    if (len == 2 && str_eq(name, "connections") &&
        str_eq(server_query(request, "format"), "json")) {
        answer_connections_json(endpoints, request);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(parts) && len <= 2; i++) {
        if (!str_eq(parts[i].name, name))
            continue;
        parts[i].write(endpoints, &out);
        answer_buf(request, PROM_CONTENT_TYPE, &out);
        return;
    }
    answer_not_found(request);
}
