/* See server_upgrade.h. Inside of the server as server_reply.c is: it only queues and arms. */
#include "k8s/server_upgrade.h"

#include "base/str.h"
#include "k8s/server_conn.h"

bool server_wants_upgrade(const struct server_request *request, const char *protocol)
{
    const char *upgrade = head_get(&request->head, "upgrade");
    return request->head.upgrade && upgrade && head_list_has(upgrade, protocol);
}

const char *server_header(const struct server_request *request, const char *name, size_t index)
{
    for (size_t i = 0; i < request->head.fields_len; i++) {
        const struct head_field *field = &request->head.fields[i];
        if (str_eq(field->name, name) && index-- == 0)
            return field->value;
    }
    return NULL;
}

void server_upgrade(struct server_request *request, const char *protocol,
                    const struct server_upgrade_ops *ops, void *userdata)
{
    struct server_conn *conn = request->conn;
    if (!conn) {
        server_begin(request, 101, NULL, &ops->stream, userdata); /* on_closed follows */
        return;
    }
    request->ops = &ops->stream;
    request->on_input = ops->on_input;
    request->userdata = userdata;
    request->state = REQUEST_STREAM;
    request->chunked = false;
    request->bodiless = false;
    conn->want_close = true; /* no HTTP on it any more */
    (void)buf_addf(&conn->out,
                   "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n",
                   protocol);
    for (size_t i = 0; i < request->headers_len; i++)
        (void)buf_addf(&conn->out, "%s: %s\r\n", request->headers[i].name,
                       request->headers[i].value);
    (void)buf_adds(&conn->out, "\r\n");
    conn->state = CONN_UPGRADED;
    conn->again = true; /* the client need not have waited for the 101 */
    conn_timer(conn, conn_stall_ms(conn));
    conn_arm(conn);
}

static struct server_conn *upgraded(const struct server_request *request)
{
    struct server_conn *conn = request->conn;
    return conn && conn->state == CONN_UPGRADED ? conn : NULL;
}

char *server_input(struct server_request *request, size_t *ret_len)
{
    struct server_conn *conn = upgraded(request);
    *ret_len = conn ? conn->in.len : 0;
    return conn ? conn->in.data : NULL;
}

void server_consume(struct server_request *request, size_t len)
{
    struct server_conn *conn = upgraded(request);
    if (!conn || len == 0)
        return;
    buf_drop(&conn->in, len);
    server_nudge(request); /* TLS may hold bytes that no poll tells of */
}

struct buf *server_output(struct server_request *request)
{
    struct server_conn *conn = upgraded(request);
    return conn ? &conn->out : NULL;
}

size_t server_room(const struct server_request *request)
{
    const struct server_conn *conn = upgraded(request);
    size_t queued = conn ? conn_queued(conn) : SERVER_QUEUE_MAX;
    return queued < SERVER_QUEUE_MAX ? SERVER_QUEUE_MAX - queued : 0;
}

void server_sent(struct server_request *request)
{
    if (upgraded(request))
        conn_arm(request->conn);
}

void server_nudge(struct server_request *request)
{
    struct server_conn *conn = upgraded(request);
    if (!conn)
        return;
    conn->again = true;
    conn_arm(conn);
}

void server_hang_up(struct server_request *request)
{
    server_end(request);
}
