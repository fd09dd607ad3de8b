/* /metrics/connections: TCP connections to each Pod, counted at its interface (runtime/traffic.h).
 * As Prometheus reads it, or with ?format=json as unikubelet-scaler does. A Pod that cannot be
 * counted is not there, which is not the same as zero. */
#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/prometheus.h"
#include "provider/endpoints_priv.h"
#include "runtime/traffic.h"

#include <stdlib.h>

#define LABELS_MAX (1024 * 1024)

struct line {
    size_t labels; /* offset */
    struct traffic_counts counts;
};

struct lines {
    struct endpoints *endpoints;
    struct line *items;
    size_t len, cap;
    struct buf labels;     /* NUL-terminated texts */
    struct json_writer *w; /* NULL: lines are collected */
};

static void add_json(struct json_writer *w, const struct pod *pod,
                     const struct traffic_counts *counts)
{
    jw_begin_object(w, NULL);
    jw_string(w, "uid", pod->spec->uid);
    jw_string(w, "namespace", pod->spec->ns);
    jw_string(w, "name", pod->spec->name);
    jw_int(w, "epoch", (int64_t)counts->epoch);
    jw_int(w, "connections", (int64_t)counts->connections);
    jw_int(w, "open", (int64_t)counts->open);
    jw_int(w, "idleMilliseconds", (int64_t)counts->idle_ms);
    jw_end_object(w);
}

static void add_pod(void *userdata, struct pod *pod)
{
    struct lines *lines = userdata;
    struct agent *agent = lines->endpoints->agent;
    struct traffic_counts counts;

    if (str_empty(pod->spec->name) || !agent->traffic ||
        !traffic_read(agent->traffic, pod->spec->uid, &counts))
        return;
    if (lines->w) {
        add_json(lines->w, pod, &counts);
        return;
    }
    const struct prom_label labels[] = {
        {"namespace", pod->spec->ns}, {"pod", pod->spec->name}, {"uid", pod->spec->uid}};

    if (lines->len == lines->cap) {
        lines->cap = lines->cap ? 2 * lines->cap : 64;
        lines->items = xrealloc(lines->items, lines->cap * sizeof(*lines->items));
    }
    lines->items[lines->len++] = (struct line){.labels = lines->labels.len, .counts = counts};
    prom_labels(&lines->labels, labels, sizeof(labels) / sizeof(labels[0]));
    (void)buf_addc(&lines->labels, '\0');
}

enum family { CONNECTIONS, OPEN, IDLE, MISSED };

static void write_family(const struct lines *lines, enum family family, struct buf *out)
{
    static const struct {
        const char *name;
        enum prom_type type;
        const char *help;
    } families[] = {
        [CONNECTIONS] = {"unikubelet_pod_connections_total", PROM_COUNTER,
                         "TCP connections that the Pod accepted"},
        [OPEN] = {"unikubelet_pod_open_connections", PROM_GAUGE,
                  "TCP connections to the Pod that are open"},
        [IDLE] = {"unikubelet_pod_idle_seconds", PROM_GAUGE,
                  "Since the last sign of a connection, or since the agent looks"},
        [MISSED] = {"unikubelet_pod_connection_packets_missed_total", PROM_COUNTER,
                    "Packets that came too fast to be counted"},
    };

    prom_family(out, families[family].name, families[family].type, families[family].help);
    for (size_t i = 0; i < lines->len; i++) {
        const struct traffic_counts *c = &lines->items[i].counts;
        const char *labels = buf_str(&lines->labels) + lines->items[i].labels;

        if (family == IDLE)
            prom_double(out, families[family].name, labels, (double)c->idle_ms / 1e3, 0);
        else
            prom_u64(out, families[family].name, labels,
                     family == CONNECTIONS ? c->connections
                     : family == OPEN      ? c->open
                                           : c->missed,
                     0);
    }
}

void write_connections(struct endpoints *endpoints, struct buf *out)
{
    struct lines lines = {.endpoints = endpoints, .labels = BUF_INIT(LABELS_MAX)};

    reconcile_each(endpoints->agent->reconcile, add_pod, &lines);
    if (!lines.labels.overflow) {
        write_family(&lines, CONNECTIONS, out);
        write_family(&lines, OPEN, out);
        write_family(&lines, IDLE, out);
        write_family(&lines, MISSED, out);
    }
    buf_free(&lines.labels);
    free(lines.items);
}

void answer_connections_json(struct endpoints *endpoints, struct server_request *request)
{
    struct buf out = BUF_INIT(SERVER_REPLY_MAX);
    struct json_writer w = JSON_WRITER(&out);
    struct lines lines = {.endpoints = endpoints, .w = &w};

    jw_begin_object(&w, NULL);
    jw_string(&w, "kind", "PodConnectionList");
    jw_string(&w, "apiVersion", "unikubelet.dev/v1alpha1");
    jw_begin_array(&w, "items");
    reconcile_each(endpoints->agent->reconcile, add_pod, &lines);
    jw_end_array(&w);
    jw_end_object(&w);
    answer_buf(request, "application/json", &out);
}
