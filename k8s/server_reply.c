/* What handlers call. It only queues: bytes leave, and callbacks come, from the loop. */
#include "base/str.h"
#include "k8s/server_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK_FRAME_MAX 24 /* length in hex, two line ends */

static const char *phrase(int status)
{
    static const struct {
        int status;
        const char *text;
    } phrases[] = {
        {200, "OK"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Request Entity Too Large"},
        {414, "Request URI Too Long"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
        if (phrases[i].status == status)
            return phrases[i].text;
    }
    return status < 400 ? "OK" : "Error";
}

void server_request_free(struct server_request *request)
{
    struct server *server = request->server;
    for (size_t i = 0; i < request->headers_len; i++) {
        free(request->headers[i].name);
        free(request->headers[i].value);
    }
    head_free(&request->head);
    free(request);
    server->requests--;
    server_release(server);
}

const char *server_method(const struct server_request *request)
{
    return request->head.method;
}

const char *server_path(const struct server_request *request)
{
    return request->head.path;
}

const char *server_query(const struct server_request *request, const char *name)
{
    return head_query(&request->head, name);
}

/* A line end in a value would end the head early. */
static bool is_field_text(const char *text)
{
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    }
    return true;
}

void server_add_header(struct server_request *request, const char *name, const char *value)
{
    if (request->headers_len == SERVER_HEADERS_MAX || !is_field_text(name) || !is_field_text(value))
        return;
    request->headers[request->headers_len].name = xstrdup(name);
    request->headers[request->headers_len++].value = xstrdup(value);
}

static void add_date(struct buf *out)
{
    char text[40];
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm) && strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm))
        (void)buf_addf(out, "Date: %s\r\n", text);
}

/* length < 0: a stream. request NULL: an answer to what was no request. */
static void put_head(struct server_conn *conn, const struct server_request *request, int status,
                     const char *content_type, int64_t length)
{
    struct buf *out = &conn->out;
    (void)buf_addf(out, "HTTP/1.1 %d %s\r\n", status, phrase(status));
    if (content_type && is_field_text(content_type))
        (void)buf_addf(out, "Content-Type: %s\r\n", content_type);
    if (status >= 400)
        (void)buf_adds(out, "X-Content-Type-Options: nosniff\r\n");
    for (size_t i = 0; request && i < request->headers_len; i++)
        (void)buf_addf(out, "%s: %s\r\n", request->headers[i].name, request->headers[i].value);
    add_date(out);
    if (length >= 0)
        (void)buf_addf(out, "Content-Length: %lld\r\n", (long long)length);
    else if (request && request->chunked)
        (void)buf_adds(out, "Transfer-Encoding: chunked\r\n");
    if (conn->want_close)
        (void)buf_adds(out, "Connection: close\r\n");
    (void)buf_adds(out, "\r\n");
}

static bool has_no_body(const struct server_request *request, int status)
{
    return str_eq(request->head.method, "HEAD") || status == 204 || status == 304;
}

static void leave(struct server_conn *conn)
{
    conn->state = CONN_FLUSH;
    conn_timer(conn, conn_stall_ms(conn));
    conn_arm(conn);
}

void server_reply(struct server_request *request, int status, const char *content_type,
                  const void *body, size_t len)
{
    struct server_conn *conn = request->conn;
    if (!conn) {
        server_request_free(request);
        return;
    }
    if (len > SERVER_REPLY_MAX) {
        static const char text[] = "The answer is too large";
        status = 500;
        content_type = "text/plain; charset=utf-8";
        body = text;
        len = sizeof(text) - 1;
    }
    request->state = REQUEST_ENDED;
    put_head(conn, request, status, content_type, (int64_t)len);
    if (len && !has_no_body(request, status))
        (void)buf_add(&conn->out, body, len); /* fits: SERVER_OUT_MAX is larger */
    leave(conn);
}

void reply_text(struct server_request *request, int status, const char *text)
{
    server_reply(request, status, "text/plain; charset=utf-8", text, strlen(text));
}

void reply_refusal(struct server_conn *conn, int status)
{
    struct server_request *request = conn->request;
    conn->request = NULL;
    if (request)
        server_request_free(request);
    const char *text = phrase(status);
    conn->want_close = true;
    put_head(conn, NULL, status, "text/plain; charset=utf-8", (int64_t)strlen(text));
    (void)buf_adds(&conn->out, text);
    leave(conn);
}

void reply_late(struct server *server)
{
    struct server_request *request = server->late;
    server->late = NULL;
    while (request) {
        struct server_request *next = request->late_next;
        const struct server_stream_ops *ops = request->ops;
        void *userdata = request->userdata;
        server_request_free(request);
        ops->on_closed(userdata);
        request = next;
    }
}

static void on_later(uv_timer_t *timer)
{
    reply_late(timer->data);
}

void server_begin(struct server_request *request, int status, const char *content_type,
                  const struct server_stream_ops *ops, void *userdata)
{
    struct server_conn *conn = request->conn;
    struct server *server = request->server;
    request->ops = ops;
    request->userdata = userdata;
    request->state = REQUEST_STREAM;
    if (!conn) {
        if (server->stopped)
            return; /* nobody is left to call back: server_end frees it */
        request->is_late = true;
        request->late_next = server->late;
        server->late = request;
        (void)uv_timer_start(&server->later, on_later, 0, 0);
        return;
    }
    request->bodiless = has_no_body(request, status);
    request->chunked = request->head.minor >= 1 && !request->bodiless;
    if (!request->chunked)
        conn->want_close = true; /* its end is the connection's */
    put_head(conn, request, status, content_type, -1);
    conn->state = CONN_STREAM;
    conn_timer(conn, conn_stall_ms(conn));
    conn_arm(conn);
}

size_t server_write(struct server_request *request, const void *data, size_t len)
{
    struct server_conn *conn = request->conn;
    if (!conn || request->state != REQUEST_STREAM || len == 0)
        return 0;
    if (request->bodiless)
        return len;
    size_t queued = conn_queued(conn);
    if (queued + CHUNK_FRAME_MAX >= SERVER_QUEUE_MAX)
        return 0;
    size_t room = SERVER_QUEUE_MAX - queued - CHUNK_FRAME_MAX;
    size_t take = len < room ? len : room;
    if (request->chunked)
        (void)buf_addf(&conn->out, "%zx\r\n", take);
    (void)buf_add(&conn->out, data, take);
    if (request->chunked)
        (void)buf_adds(&conn->out, "\r\n");
    if (queued == 0)
        conn_timer(conn, conn_stall_ms(conn));
    conn_arm(conn);
    return take;
}

static void end(struct server_request *request, bool complete)
{
    struct server_conn *conn = request->conn;
    if (request->state != REQUEST_STREAM)
        return;
    request->state = REQUEST_ENDED;
    if (!conn) {
        if (!request->is_late)
            server_request_free(request);
        return;
    }
    if (!complete)
        conn->want_close = true;
    else if (request->chunked)
        (void)buf_adds(&conn->out, "0\r\n\r\n");
    leave(conn);
}

void server_end(struct server_request *request)
{
    end(request, true);
}

void server_abort(struct server_request *request)
{
    end(request, false);
}
