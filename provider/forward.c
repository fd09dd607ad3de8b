/* kubectl port-forward: a TCP connection to the Pod for each pair of streams, and bytes both ways,
 * no faster than the slower side takes them. The network namespace is the host's: a guest that
 * listens on its own loopback only cannot be reached. */
#include "base/str.h"
#include "k8s/stream.h"
#include "provider/agent.h"
#include "provider/pod.h"
#include "provider/streams.h"

#include <stdlib.h>
#include <string.h>

#define DIAL_MS_MAX 30000
#define PIECE_MAX 32768 /* under way in each direction of a connection */

struct port_forward {
    struct port_forward *next;
    struct streams *streams;
    char *uid, *name;
    char ip[OBSERVED_IP_MAX];
    struct port_conn *conns;
};

struct port_conn {
    struct port_conn *next;
    struct port_forward *session; /* NULL: it is closing */
    struct forward_pair *pair;
    uint16_t port;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_connect_t connecting;
    uv_write_t writing;
    uv_shutdown_t ending;
    unsigned handles;
    bool connected;
    bool write_busy;
    bool pod_ended;   /* the Pod sends no more */
    bool input_ended; /* the client sends no more */
    char *out;        /* PIECE_MAX, to the Pod; NULL: none needed yet */
    char *in;         /* the same from it */
    size_t in_len, in_at;
};

static void on_handle_closed(uv_handle_t *handle)
{
    struct port_conn *c = handle->data;
    if (--c->handles)
        return;
    free(c->out);
    free(c->in);
    free(c);
}

/* The connection to the Pod ends, and nothing of it is heard any more. */
static void conn_close(struct port_conn *c)
{
    struct port_forward *session = c->session;
    struct port_conn **at = &session->conns;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    session->streams->conns--;
    c->session = NULL;
    c->pair = NULL;
    uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
}

static void conn_fail(struct port_conn *c, const char *what, int error)
{
    char text[STREAM_TEXT_MAX];
    const struct port_forward *s = c->session;
    struct forward_pair *pair = c->pair;
    str_fmt(text, sizeof(text), "error forwarding port %u to pod %s, uid %s: %s %s:%u: %s",
            (unsigned)c->port, s->name, s->uid, what, s->ip, (unsigned)c->port,
            error ? uv_strerror(error) : "the machine has ended");
    conn_close(c);
    forward_end(pair, text);
}

static void conn_done(struct port_conn *c)
{
    struct forward_pair *pair = c->pair;
    conn_close(c);
    forward_end(pair, NULL);
}

/* ---- from the Pod ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct port_conn *c = handle->data;
    (void)suggested;
    if (!c->in)
        c->in = xmalloc(PIECE_MAX);
    *ret = uv_buf_init(c->in, PIECE_MAX);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *data);

/* Passes on what was read. Reading goes on when all of it has left. */
static void pass_on(struct port_conn *c)
{
    if (c->in_at < c->in_len)
        c->in_at += forward_write(c->pair, c->in + c->in_at, c->in_len - c->in_at);
    if (c->in_at < c->in_len) {
        (void)uv_read_stop((uv_stream_t *)&c->tcp);
        return;
    }
    c->in_at = c->in_len = 0;
    if (c->pod_ended)
        conn_done(c);
    else
        (void)uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *data)
{
    struct port_conn *c = stream->data;
    (void)data;
    if (!c->session || len == 0)
        return;
    if (len < 0 && len != UV_EOF) {
        conn_fail(c, "reading from", (int)len);
        return;
    }
    if (len < 0)
        c->pod_ended = true;
    else
        c->in_len = (size_t)len;
    pass_on(c);
}

/* ---- to the Pod ---- */

static void on_ended(uv_shutdown_t *ending, int status)
{
    (void)ending;
    (void)status; /* its own end follows, or an error of reading */
}

static void on_written(uv_write_t *writing, int status)
{
    struct port_conn *c = writing->handle->data;
    if (!c->session)
        return;
    c->write_busy = false;
    if (status < 0) {
        conn_fail(c, "writing to", status);
        return;
    }
    forward_resume(c->pair);
}

static size_t on_data(void *userdata, const char *data, size_t len)
{
    struct port_conn *c = userdata;
    size_t n = len < PIECE_MAX ? len : PIECE_MAX;
    if (!c->connected || c->write_busy)
        return 0;
    if (!c->out)
        c->out = xmalloc(PIECE_MAX);
    memcpy(c->out, data, n);
    const uv_buf_t out = uv_buf_init(c->out, (unsigned)n);
    if (uv_write(&c->writing, (uv_stream_t *)&c->tcp, &out, 1, on_written) < 0)
        return len; /* the error comes from reading, too */
    c->write_busy = true;
    return n;
}

static void on_data_end(void *userdata)
{
    struct port_conn *c = userdata;
    c->input_ended = true;
    if (c->connected)
        (void)uv_shutdown(&c->ending, (uv_stream_t *)&c->tcp, on_ended);
}

/* ---- pairs ---- */

static void on_dial_timeout(uv_timer_t *timer)
{
    conn_fail(timer->data, "dial tcp", UV_ETIMEDOUT);
}

static void on_connected(uv_connect_t *connecting, int status)
{
    struct port_conn *c = connecting->handle->data;
    if (!c->session)
        return;
    if (status < 0) {
        conn_fail(c, "dial tcp", status);
        return;
    }
    (void)uv_timer_stop(&c->timer);
    (void)uv_tcp_nodelay(&c->tcp, 1);
    c->connected = true;
    (void)uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    if (c->input_ended)
        (void)uv_shutdown(&c->ending, (uv_stream_t *)&c->tcp, on_ended);
    else
        forward_resume(c->pair);
}

static bool dial(struct port_conn *c)
{
    struct sockaddr_storage at;
    const struct port_forward *s = c->session;
    int r = uv_ip4_addr(s->ip, c->port, (struct sockaddr_in *)&at);
    if (r < 0)
        r = uv_ip6_addr(s->ip, c->port, (struct sockaddr_in6 *)&at);
    if (r == 0)
        r = uv_tcp_connect(&c->connecting, &c->tcp, (const struct sockaddr *)&at, on_connected);
    return r == 0;
}

static void *on_pair(void *userdata, struct forward_pair *pair, uint16_t port)
{
    struct port_forward *s = userdata;
    if (s->streams->conns >= STREAMS_CONNS_MAX)
        return NULL;
    struct port_conn *c = xcalloc(1, sizeof(*c));
    c->session = s;
    c->pair = pair;
    c->port = port;
    (void)uv_timer_init(&s->streams->agent->loop, &c->timer);
    (void)uv_tcp_init(&s->streams->agent->loop, &c->tcp);
    c->timer.data = c->tcp.data = c;
    c->handles = 2;
    c->next = s->conns;
    s->conns = c;
    s->streams->conns++;
    if (!dial(c)) {
        conn_close(c);
        return NULL;
    }
    (void)uv_timer_start(&c->timer, on_dial_timeout, DIAL_MS_MAX, 0);
    return c;
}

static void on_writable(void *userdata)
{
    struct port_conn *c = userdata;
    if (c->in_at < c->in_len)
        pass_on(c);
}

static void on_pair_closed(void *userdata)
{
    conn_close(userdata);
}

static void on_closed(void *userdata)
{
    struct port_forward *s = userdata;
    struct port_forward **at = &s->streams->forwards;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s->uid);
    free(s->name);
    free(s);
}

static const struct forward_ops forward_callbacks = {
    .on_pair = on_pair,
    .on_data = on_data,
    .on_data_end = on_data_end,
    .on_writable = on_writable,
    .on_pair_closed = on_pair_closed,
    .on_closed = on_closed,
};

void forward_open(struct streams *streams, struct server_request *request, struct pod *pod)
{
    struct port_forward *s = xcalloc(1, sizeof(*s));
    s->streams = streams;
    s->uid = xstrdup(pod->spec->uid);
    s->name = xasprintf("%s/%s", pod->spec->ns, pod->spec->name);
    pod_first_address(s->ip, sizeof(s->ip), pod->obs.pod_ip);
    s->next = streams->forwards;
    streams->forwards = s;
    if (!forward_begin(request, &streams->agent->loop, &forward_callbacks, s))
        on_closed(s);
}

/* A machine that ended says no goodbye to its connections. The forwarding itself goes on: the next
 * attempt has the same address. */
void forward_container_ended(struct streams *streams, const char *uid)
{
    for (struct port_forward *s = streams->forwards; s; s = s->next) {
        if (!str_eq(s->uid, uid))
            continue;
        for (struct port_conn *c = s->conns, *next; c; c = next) {
            next = c->next;
            conn_fail(c, "connection to", 0);
        }
    }
}
