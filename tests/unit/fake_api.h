/* A scripted HTTP/1.1 server on loopback, on the loop of the code under test: each request goes to
 * the test's handler, which answers now, later, in pieces, wrongly or not at all. For test_client,
 * test_watch, test_events and test_fetch; not a general server. */
#pragma once

#include "base/buf.h"
#include "base/str.h"
#include "k8s/client.h"
#include "k8s/kubeconfig.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FAKE_REQUEST_MAX (1u << 20)

struct fake;

struct fake_conn {
    uv_tcp_t tcp;
    struct fake *fake;
    struct buf in;
    bool closed;
};

struct fake_request {
    struct fake_conn *conn;
    char *method, *target, *head, *body;
};

typedef void (*fake_handler)(struct fake *fake, struct fake_request *request);

struct fake {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_timer_t guard;
    bool late; /* the guard fired */
    int port;
    fake_handler handle;
    void *userdata;
    unsigned requests, connections;
    char url[64];
};

static inline void fake_conn_closed(uv_handle_t *handle)
{
    struct fake_conn *conn = handle->data;

    buf_free(&conn->in);
    free(conn);
}

static inline void fake_close(struct fake_conn *conn)
{
    if (conn->closed)
        return;
    conn->closed = true;
    uv_close((uv_handle_t *)&conn->tcp, fake_conn_closed);
}

struct fake_write {
    uv_write_t write;
    struct fake_conn *close;
    char data[];
};

static inline void fake_written(uv_write_t *write, int status)
{
    struct fake_write *w = write->data;

    (void)status;
    if (w->close)
        fake_close(w->close);
    free(w);
}

static inline void fake_send(struct fake_conn *conn, const char *data, size_t len, bool and_close)
{
    struct fake_write *w = xcalloc(1, sizeof(*w) + len + 1);
    uv_buf_t buf;

    memcpy(w->data, data, len);
    w->write.data = w;
    w->close = and_close ? conn : NULL;
    buf = uv_buf_init(w->data, (unsigned)len);
    assert_int_equal(uv_write(&w->write, (uv_stream_t *)&conn->tcp, &buf, 1, fake_written), 0);
}

/* headers: "Name: value\r\n"... or "". */
static inline void fake_reply(struct fake_conn *conn, int status, const char *headers,
                              const char *body)
{
    char *text = xasprintf("HTTP/1.1 %d X\r\nContent-Type: application/json\r\n"
                           "Content-Length: %zu\r\n%s\r\n%s",
                           status, strlen(body), headers, body);

    fake_send(conn, text, strlen(text), false);
    free(text);
}

/* A stream: head, then pieces, then the end. */
static inline void fake_begin(struct fake_conn *conn)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    fake_send(conn, head, sizeof(head) - 1, false);
}

static inline void fake_chunk(struct fake_conn *conn, const char *data, size_t len)
{
    char head[32];
    struct buf out = BUF_INIT(64u << 20);

    (void)str_fmt(head, sizeof(head), "%zx\r\n", len);
    (void)buf_adds(&out, head);
    (void)buf_add(&out, data, len);
    (void)buf_adds(&out, "\r\n");
    fake_send(conn, out.data, out.len, false);
    buf_free(&out);
}

static inline void fake_line(struct fake_conn *conn, const char *line)
{
    char *text = xasprintf("%s\n", line);

    fake_chunk(conn, text, strlen(text));
    free(text);
}

static inline void fake_end(struct fake_conn *conn)
{
    fake_send(conn, "0\r\n\r\n", 5, false);
}

/* The value of a request's header, malloc'd; NULL: absent. */
static inline char *fake_header(const struct fake_request *request, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = strstr(request->head, "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;
        if (strncasecmp(p, name, len) == 0 && p[len] == ':') {
            p += len + 1;
            p += strspn(p, " ");
            return xstrndup(p, strcspn(p, "\r"));
        }
    }
    return NULL;
}

static inline bool fake_is(const struct fake_request *request, const char *method,
                           const char *target)
{
    return str_eq(request->method, method) && str_eq(request->target, target);
}

/* One complete request at the start of conn->in; false: more bytes are needed. */
static inline bool fake_take(struct fake_conn *conn)
{
    struct fake_request r = {.conn = conn};
    char *end = conn->in.len > 0 ? strstr(conn->in.data, "\r\n\r\n") : NULL;
    size_t head_len, body_len = 0;
    char *length, *space;

    if (!end)
        return false;
    head_len = (size_t)(end - conn->in.data) + 4;
    r.head = xstrndup(conn->in.data, head_len);
    length = fake_header(&r, "Content-Length");
    if (length)
        body_len = strtoul(length, NULL, 10);
    free(length);
    if (conn->in.len < head_len + body_len) {
        free(r.head);
        return false;
    }
    r.body = xstrndup(conn->in.data + head_len, body_len);
    space = strchr(r.head, ' ');
    r.method = xstrndup(r.head, (size_t)(space - r.head));
    r.target = xstrndup(space + 1, strcspn(space + 1, " "));
    buf_drop(&conn->in, head_len + body_len);
    conn->fake->requests++;
    conn->fake->handle(conn->fake, &r);
    free(r.head);
    free(r.body);
    free(r.method);
    free(r.target);
    return true;
}

static inline void fake_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    *buf = uv_buf_init(xmalloc(size), (unsigned)size);
}

static inline void fake_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct fake_conn *conn = stream->data;

    if (n > 0) {
        assert_int_equal(buf_add(&conn->in, buf->base, (size_t)n), 0);
        while (!conn->closed && fake_take(conn))
            ;
    } else if (n < 0) {
        fake_close(conn);
    }
    free(buf->base);
}

static inline void fake_accept(uv_stream_t *listener, int status)
{
    struct fake *fake = listener->data;
    struct fake_conn *conn = xcalloc(1, sizeof(*conn));

    assert_int_equal(status, 0);
    conn->fake = fake;
    buf_init(&conn->in, FAKE_REQUEST_MAX);
    (void)uv_tcp_init(&fake->loop, &conn->tcp);
    conn->tcp.data = conn;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&conn->tcp), 0);
    (void)uv_tcp_nodelay(&conn->tcp, 1);
    fake->connections++;
    (void)uv_read_start((uv_stream_t *)&conn->tcp, fake_alloc, fake_read);
}

static inline void fake_listen(struct fake *fake, int port)
{
    struct sockaddr_in addr;
    int len = sizeof(addr);

    (void)uv_ip4_addr("127.0.0.1", port, &addr);
    (void)uv_tcp_init(&fake->loop, &fake->listener);
    fake->listener.data = fake;
    assert_int_equal(uv_tcp_bind(&fake->listener, (struct sockaddr *)&addr, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&fake->listener, 1024, fake_accept), 0);
    (void)uv_tcp_getsockname(&fake->listener, (struct sockaddr *)&addr, &len);
    fake->port = ntohs(addr.sin_port);
    (void)str_fmt(fake->url, sizeof(fake->url), "http://127.0.0.1:%d", fake->port);
}

static inline void fake_start(struct fake *fake, fake_handler handle, void *userdata)
{
    memset(fake, 0, sizeof(*fake));
    (void)unsetenv("http_proxy");
    (void)unsetenv("all_proxy");
    (void)unsetenv("ALL_PROXY");
    assert_int_equal(uv_loop_init(&fake->loop), 0);
    (void)uv_timer_init(&fake->loop, &fake->guard);
    fake->guard.data = fake;
    fake->handle = handle;
    fake->userdata = userdata;
    fake_listen(fake, 0);
}

static inline void fake_close_handle(uv_handle_t *handle, void *arg)
{
    struct fake *fake = arg;

    if (uv_is_closing(handle))
        return;
    if (handle->type == UV_TCP && handle != (uv_handle_t *)&fake->listener)
        fake_close(handle->data);
    else if (handle == (uv_handle_t *)&fake->listener || handle == (uv_handle_t *)&fake->guard)
        uv_close(handle, NULL);
}

/* The code under test must have closed its own handles: else this hangs, and the guard says so. */
static inline void fake_stop(struct fake *fake)
{
    uv_walk(&fake->loop, fake_close_handle, fake);
    (void)uv_run(&fake->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fake->loop), 0);
}

static inline void fake_guard(uv_timer_t *timer)
{
    ((struct fake *)timer->data)->late = true;
}

/* Runs the loop until *done is set; false after ms. */
static inline bool fake_run(struct fake *fake, const bool *done, unsigned ms)
{
    fake->late = false;
    (void)uv_timer_start(&fake->guard, fake_guard, ms, 0);
    while (!*done && !fake->late)
        (void)uv_run(&fake->loop, UV_RUN_ONCE);
    (void)uv_timer_stop(&fake->guard);
    return *done;
}

static inline void fake_pass(struct fake *fake, unsigned ms)
{
    const bool never = false;

    (void)fake_run(fake, &never, ms);
}

static inline struct kube_client *fake_client(struct fake *fake, char *token_file)
{
    struct kube_config config = {.server = fake->url, .token_file = token_file};
    struct kube_client *client = NULL;

    assert_int_equal(kube_client_new(&fake->loop, &config, &client, NULL), 0);
    return client;
}
