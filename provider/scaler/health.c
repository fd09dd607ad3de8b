/* Plain HTTP for the kubelet's probes and for Prometheus: /healthz, /readyz, /metrics. One short
 * request a connection, no secrets in any answer. Called by startup.c. */
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "k8s/prometheus.h"
#include "k8s/server_head.h"
#include "provider/scaler/activator.h"
#include "provider/scaler/nodes.h"
#include "provider/scaler/scaler.h"
#include "provider/scaler/services.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTIONS_MAX 32
#define CONNECTION_MS_MAX 5000u
#define HEAD_MAX 8192
#define ANSWER_MAX (1u << 20)
#define BACKLOG 64

struct health {
    struct scaler *scaler;
    uv_tcp_t listener;
    size_t conns;
    bool stopped;
};

struct health_conn {
    struct health *health;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    struct buf in, out;
    size_t scanned;
    unsigned handles;
    char chunk[2048];
};

static void on_closed(uv_handle_t *handle)
{
    struct health_conn *conn = handle->data;
    if (--conn->handles)
        return;
    struct health *health = conn->health;
    buf_free(&conn->in);
    buf_free(&conn->out);
    free(conn);
    if (--health->conns == 0 && health->stopped)
        free(health);
}

static void end(struct health_conn *conn)
{
    if (uv_is_closing((uv_handle_t *)&conn->tcp))
        return;
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
    uv_close((uv_handle_t *)&conn->timer, on_closed);
}

static void on_timer(uv_timer_t *timer)
{
    end(timer->data);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    end(write->data);
}

static void put(struct buf *out, const char *name, enum prom_type type, const char *help,
                uint64_t value)
{
    prom_family(out, name, type, help);
    prom_u64(out, name, "", value, 0);
}

static void write_metrics(const struct scaler *scaler, struct buf *out)
{
    struct activator_counts held;
    struct nodes_counts nodes;
    activator_count(scaler->activator, &held);
    nodes_count(scaler->nodes, &nodes);
    put(out, "unikubelet_scaler_leader", PROM_GAUGE, "1 on the replica that acts",
        leader_leading(scaler->leader));
    put(out, "unikubelet_scaler_services", PROM_GAUGE, "Services with the label " SCALER_LABEL,
        services_len(scaler->services));
    put(out, "unikubelet_scaler_nodes", PROM_GAUGE, "Nodes of unikubelet agents", nodes.nodes);
    put(out, "unikubelet_scaler_nodes_silent", PROM_GAUGE,
        "Of these, nodes whose agent's counters are missing", nodes.silent);
    put(out, "unikubelet_scaler_held_connections", PROM_GAUGE,
        "Connections that wait for a first Pod", held.held);
    put(out, "unikubelet_scaler_relayed_connections", PROM_GAUGE,
        "Connections carried to a Pod after they were held", held.relayed);
    put(out, "unikubelet_scaler_accepted_total", PROM_COUNTER, "Connections taken by the activator",
        held.accepted_total);
    put(out, "unikubelet_scaler_refused_total", PROM_COUNTER,
        "Connections ended because a limit on held ones was reached", held.refused_total);
    put(out, "unikubelet_scaler_timed_out_total", PROM_COUNTER,
        "Connections ended because no Pod took them in time", held.timed_out_total);
}

static void respond(struct health_conn *conn, const struct head *head)
{
    const struct scaler *scaler = conn->health->scaler;
    struct buf body = BUF_INIT(ANSWER_MAX);
    int status = 200;
    const char *type = "text/plain; charset=utf-8";
    if (!head || !str_eq(head->method, "GET")) {
        status = 400;
        (void)buf_adds(&body, "bad request\n");
    } else if (str_eq(head->path, "/healthz") || str_eq(head->path, "/livez")) {
        (void)buf_adds(&body, "ok\n");
    } else if (str_eq(head->path, "/readyz")) {
        const char *missing = !authn_ready(scaler->authn) ? "the aggregator's certificates\n"
                              : !services_synced(scaler->services)
                                  ? "the first list of Services and their endpoints\n"
                                  : NULL;
        status = missing ? 503 : 200;
        (void)buf_adds(&body, missing ? missing : "ok\n");
    } else if (str_eq(head->path, "/metrics")) {
        type = PROM_CONTENT_TYPE;
        write_metrics(scaler, &body);
    } else {
        status = 404;
        (void)buf_adds(&body, "404 page not found\n");
    }
    (void)buf_addf(&conn->out,
                   "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                   "Connection: close\r\n\r\n",
                   status, status == 200 ? "OK" : "Error", type, body.len);
    (void)buf_add(&conn->out, buf_str(&body), body.len);
    buf_free(&body);
    uv_buf_t out = uv_buf_init(conn->out.data, (unsigned)conn->out.len);
    conn->write.data = conn;
    (void)uv_read_stop((uv_stream_t *)&conn->tcp);
    if (uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &out, 1, on_written) < 0)
        end(conn);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct health_conn *conn = handle->data;
    (void)size;
    *ret = uv_buf_init(conn->chunk, sizeof(conn->chunk));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
    struct health_conn *conn = stream->data;
    struct head head;
    size_t used;
    int status;
    if (n < 0 || buf_add(&conn->in, data->base, (size_t)n) < 0) {
        end(conn);
        return;
    }
    if (n == 0)
        return;
    int r = head_parse(conn->in.data, conn->in.len, &conn->scanned, &head, &used, &status);
    if (r == -EAGAIN)
        return;
    respond(conn, r == 0 ? &head : NULL);
    if (r == 0)
        head_free(&head);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct health *health = listener->data;
    if (status < 0)
        return;
    struct health_conn *conn = xcalloc(1, sizeof(*conn));
    conn->health = health;
    conn->in = BUF_INIT(HEAD_MAX);
    conn->out = BUF_INIT(ANSWER_MAX + HEAD_MAX);
    uv_tcp_init(&health->scaler->loop, &conn->tcp);
    uv_timer_init(&health->scaler->loop, &conn->timer);
    conn->tcp.data = conn->timer.data = conn;
    conn->handles = 2;
    health->conns++;
    uv_timer_start(&conn->timer, on_timer, CONNECTION_MS_MAX, 0);
    if (uv_accept(listener, (uv_stream_t *)&conn->tcp) < 0 || health->conns > CONNECTIONS_MAX ||
        uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) < 0)
        end(conn);
}

int health_start(struct scaler *scaler, struct health **ret, struct err *err)
{
    struct health *health = xcalloc(1, sizeof(*health));
    struct sockaddr_storage address;
    const char *text = scaler->config.address;
    int port = (int)scaler->config.health_port;
    health->scaler = scaler;
    uv_tcp_init(&scaler->loop, &health->listener);
    health->listener.data = health;
    *ret = health;
    int r = strchr(text, ':') ? uv_ip6_addr(text, port, (struct sockaddr_in6 *)&address)
                              : uv_ip4_addr(text, port, (struct sockaddr_in *)&address);
    if (r == 0)
        r = uv_tcp_bind(&health->listener, (const struct sockaddr *)&address, 0);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&health->listener, BACKLOG, on_connection);
    return r < 0 ? err_set(err, r, "cannot listen on %s port %d: %s", text, port, uv_strerror(r))
                 : 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct health *health = handle->data;
    health->stopped = true;
    if (health->conns == 0)
        free(health);
}

void health_stop(struct health *health)
{
    if (health)
        uv_close((uv_handle_t *)&health->listener, on_listener_closed);
}
