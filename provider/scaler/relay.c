/* One connection: watched while it is held, joined to a Pod, carried, ended. Bytes go from one
 * socket to the other as long as the other takes them; what it does not take at once, one chunk at
 * most, is kept. Called by activator.c. */
#include "provider/scaler/activator_priv.h"

#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_event(uv_poll_t *poll, int status, int events);

static void on_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    conn->activator->conns--;
    free(conn);
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle);
}

static void side_close(struct side *side, bool reset)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (side->poll) {
        (void)uv_poll_stop(side->poll);
        uv_close((uv_handle_t *)side->poll, on_poll_closed);
        side->poll = NULL;
    }
    if (side->fd >= 0) {
        if (reset)
            (void)setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        (void)close(side->fd);
        side->fd = -1;
    }
    buf_free(&side->out);
}

static int side_open(struct conn *conn, struct side *side, int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    uv_poll_t *poll = xmalloc(sizeof(*poll));
    if (uv_poll_init(conn->timer.loop, poll, fd) < 0) {
        (void)close(fd);
        free(poll);
        return -EIO;
    }
    poll->data = conn;
    *side = (struct side){.fd = fd, .poll = poll, .out = BUF_INIT(RELAY_CHUNK)};
    return 0;
}

static void side_watch(struct side *side, int events)
{
    if (!side->poll || side->events == events)
        return;
    side->events = events;
    if (events)
        (void)uv_poll_start(side->poll, events, on_event);
    else
        (void)uv_poll_stop(side->poll);
}

struct conn *conn_new(struct holder *holder, size_t port, int fd)
{
    struct conn *conn = xcalloc(1, sizeof(*conn));
    conn->holder = holder;
    conn->activator = holder->activator;
    conn->port = port;
    conn->accepted_ms = clock_mono_ms();
    conn->pod.fd = -1;
    uv_timer_init(holder->deadline.loop, &conn->timer);
    conn->timer.data = conn;
    conn->activator->conns++;
    if (side_open(conn, &conn->client, fd) < 0) {
        uv_close((uv_handle_t *)&conn->timer, on_closed);
        return NULL;
    }
    side_watch(&conn->client, UV_DISCONNECT);
    return conn;
}

void conn_end(struct conn *conn, bool reset)
{
    enum conn_state was = conn->state;
    if (was == CONN_DEAD)
        return;
    conn->state = CONN_DEAD;
    side_close(&conn->client, reset);
    side_close(&conn->pod, reset);
    (void)uv_timer_stop(&conn->timer);
    uv_close((uv_handle_t *)&conn->timer, on_closed);
    holder_ended(conn, was);
}

static void on_linger(uv_timer_t *timer)
{
    conn_end(timer->data, false);
}

void conn_refuse(struct conn *conn)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Length: 38\r\nRetry-After: 5\r\n"
                               "Connection: close\r\n\r\n"
                               "no Pod of this Service came up in time";
    if (!conn->holder->config.http) {
        conn_end(conn, true);
        return;
    }
    enum conn_state was = conn->state;
    side_close(&conn->pod, true);
    conn->state = CONN_LINGER;
    holder_ended(conn, was);
    (void)send(conn->client.fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    /* Closing with unread bytes would reset the connection before the answer is read. */
    (void)shutdown(conn->client.fd, SHUT_WR);
    side_watch(&conn->client, UV_READABLE);
    (void)uv_timer_start(&conn->timer, on_linger, LINGER_MS, 0);
}

/* The client of a held connection went, or only said all that it has to say. */
static void look_at_client(struct conn *conn)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    int unread = 0;
    bool known = getsockopt(conn->client.fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0;
    (void)ioctl(conn->client.fd, FIONREAD, &unread);
    if (!known || info.tcpi_state == TCP_CLOSE || unread == 0)
        conn_end(conn, true);
    else
        side_watch(&conn->client, 0); /* a request stands there: it is answered */
}

static void unconnect(struct conn *conn)
{
    side_close(&conn->pod, true);
    (void)uv_timer_stop(&conn->timer);
    holder_unconnected(conn);
}

static void on_connect_late(uv_timer_t *timer)
{
    unconnect(timer->data);
}

void conn_connect(struct conn *conn, const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool tried = fd >= 0 && (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0 ||
                             errno == EINPROGRESS);
    if (!tried && fd >= 0)
        (void)close(fd);
    if (!tried || side_open(conn, &conn->pod, fd) < 0) {
        holder_unconnected(conn);
        return;
    }
    side_watch(&conn->pod, UV_WRITABLE);
    (void)uv_timer_start(&conn->timer, on_connect_late,
                         conn->holder->proved ? CONNECT_MS : CONNECT_FIRST_MS, 0);
}

/* 0, or negative: the connection is of no more use. */
static int side_send(struct side *to, const char *data, size_t len, size_t *ret_sent)
{
    ssize_t n = send(to->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    *ret_sent = n > 0 ? (size_t)n : 0;
    return 0;
}

/* What waits for a side leaves, as far as it can. */
static int drain(struct side *to)
{
    size_t sent = 0;
    if (to->out.len == 0)
        return 0;
    int r = side_send(to, to->out.data, to->out.len, &sent);
    if (r == 0)
        buf_drop(&to->out, sent);
    return r;
}

static int pump(struct side *from, struct side *to)
{
    char data[RELAY_CHUNK];
    while (to->out.len == 0 && !from->eof) {
        size_t sent = 0;
        ssize_t n = recv(from->fd, data, sizeof(data), MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0) {
            from->eof = true;
            return 0;
        }
        int r = side_send(to, data, (size_t)n, &sent);
        if (r < 0)
            return r;
        (void)buf_add(&to->out, data + sent, (size_t)n - sent); /* fits */
        if ((size_t)n < sizeof(data))
            return 0;
    }
    return 0;
}

static void pass_end_on(const struct side *from, struct side *to)
{
    if (!from->eof || to->shut || to->out.len)
        return;
    to->shut = true;
    (void)shutdown(to->fd, SHUT_WR);
}

static void carry(struct conn *conn)
{
    struct side *client = &conn->client;
    struct side *pod = &conn->pod;
    if (drain(client) < 0 || drain(pod) < 0 || pump(client, pod) < 0 || pump(pod, client) < 0) {
        conn_end(conn, true);
        return;
    }
    pass_end_on(client, pod);
    pass_end_on(pod, client);
    if (client->shut && pod->shut) {
        conn_end(conn, false);
        return;
    }
    side_watch(client, (client->eof || pod->out.len ? 0 : UV_READABLE) |
                           (client->out.len ? UV_WRITABLE : 0));
    side_watch(pod,
               (pod->eof || client->out.len ? 0 : UV_READABLE) | (pod->out.len ? UV_WRITABLE : 0));
}

static void connected(struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(conn->pod.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
        unconnect(conn);
        return;
    }
    (void)uv_timer_stop(&conn->timer);
    conn->state = CONN_RELAYED;
    holder_connected(conn);
    carry(conn);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = poll->data;
    char waste[RELAY_CHUNK];
    (void)status;
    (void)events;
    switch (conn->state) {
    case CONN_HELD:
        look_at_client(conn);
        break;
    case CONN_CONNECTING:
        if (poll == conn->client.poll)
            look_at_client(conn);
        else
            connected(conn);
        break;
    case CONN_RELAYED:
        carry(conn);
        break;
    case CONN_LINGER: {
        ssize_t n = recv(conn->client.fd, waste, sizeof(waste), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            conn_end(conn, false);
        break;
    }
    case CONN_DEAD:
        break;
    }
}
