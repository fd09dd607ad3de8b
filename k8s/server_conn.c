/* A connection's life: TLS, then head, body, review, handler, answer, and again. Everything is
 * moved by conn_run, from the loop; what handlers call only queues and asks to be run. */
#include "k8s/server_conn.h"

#include "base/str.h"
#include "k8s/front_proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 16384 /* a TLS record */
#define LINGER_READS_MAX 16
#define KEPT_MAX 8192 /* memory that each buffer of an idle connection keeps */

static void conn_run(struct server_conn *conn);

size_t conn_queued(const struct server_conn *conn)
{
    return conn->out.len - conn->out_at;
}

uint64_t conn_stall_ms(const struct server_conn *conn)
{
    return conn->request && conn->request->ops ? SERVER_STALL_MS_MAX : SERVER_REPLY_MS_MAX;
}

static void on_closed(uv_handle_t *handle)
{
    struct server_conn *conn = handle->data;
    if (--conn->handles)
        return;
    server_forget_conn(conn);
}

/* The client has gone or has to go: whoever works for it is told. */
static void let_request_go(struct server_conn *conn, enum conn_state was)
{
    struct server_request *request = conn->request;
    conn->request = NULL;
    auth_cancel(conn->check);
    conn->check = NULL;
    if (!request)
        return;
    request->conn = NULL;
    if (was == CONN_HANDLER)
        return; /* the handler will answer it, to nobody */
    const struct server_stream_ops *ops = request->ops;
    void *userdata = request->userdata;
    server_request_free(request);
    if (ops)
        ops->on_closed(userdata);
}

void conn_close(struct server_conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    enum conn_state was = conn->state;
    conn->state = CONN_DEAD; /* first: a callback may stop the server */
    let_request_go(conn, was);
    conn->server->conns--;
    conn->server->strangers -= !conn->known;
    (void)uv_poll_stop(&conn->poll);
    tls_free(conn->tls);
    conn->tls = NULL;
    (void)close(conn->fd);
    buf_free(&conn->in);
    buf_free(&conn->out);
    uv_close((uv_handle_t *)&conn->poll, on_closed);
    uv_close((uv_handle_t *)&conn->timer, on_closed);
}

static void on_timer(uv_timer_t *timer)
{
    struct server_conn *conn = timer->data;
    switch (conn->state) {
    case CONN_HEAD:
        if (conn->in.len == 0) { /* idle */
            tls_goodbye(conn->tls);
            conn_close(conn);
            return;
        }
        reply_refusal(conn, 408);
        break;
    case CONN_BODY:
        reply_refusal(conn, 408);
        break;
    case CONN_REVIEW:
        auth_cancel(conn->check);
        conn->check = NULL;
        reply_text(conn->request, 503, "The API server did not answer in time");
        break;
    default:
        conn_close(conn);
        return;
    }
    conn_run(conn);
}

void conn_timer(struct server_conn *conn, uint64_t ms)
{
    if (ms)
        (void)uv_timer_start(&conn->timer, on_timer, ms, 0);
    else
        (void)uv_timer_stop(&conn->timer);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct server_conn *conn = poll->data;
    if (status < 0) {
        conn_close(conn);
        return;
    }
    /* A hang-up while the buffer is full of requests not read yet: nobody waits for answers. */
    if ((events & UV_DISCONNECT) && !(conn->events & UV_READABLE) && conn->state != CONN_FLUSH) {
        conn_close(conn);
        return;
    }
    conn_run(conn);
}

void conn_arm(struct server_conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    int events = 0;
    if ((conn->in.len < SERVER_IN_MAX && !conn->eof) || conn->state == CONN_LINGER)
        events |= UV_READABLE;
    if (conn->state != CONN_FLUSH && conn->state != CONN_LINGER)
        events |= UV_DISCONNECT;
    bool complete = conn->state == CONN_FLUSH && conn_queued(conn) == 0;
    if ((conn_queued(conn) && !conn->push_stuck) || conn->again || complete ||
        tls_wants_write(conn->tls))
        events |= UV_WRITABLE;
    if (events == conn->events)
        return;
    conn->events = events;
    if (uv_poll_start(&conn->poll, events, on_poll) < 0)
        conn_close(conn);
}

void conn_start(struct server *server, int fd)
{
    struct server_conn *conn = xcalloc(1, sizeof(*conn));
    conn->server = server;
    conn->fd = fd;
    if (uv_poll_init(server->loop, &conn->poll, fd) < 0) {
        (void)close(fd);
        free(conn);
        return;
    }
    (void)uv_timer_init(server->loop, &conn->timer);
    conn->poll.data = conn->timer.data = conn;
    conn->handles = 2;
    conn->tls = tls_accept(server->context, fd);
    conn->in = BUF_INIT(SERVER_IN_MAX);
    conn->out = BUF_INIT(SERVER_OUT_MAX);
    conn->prev = server->last;
    *(server->last ? &server->last->next : &server->first) = conn;
    server->last = conn;
    server->conns++;
    server->strangers++;
    conn_timer(conn, SERVER_HANDSHAKE_MS_MAX);
    conn_arm(conn);
}

static void shake_hands(struct server_conn *conn)
{
    int r = tls_handshake(conn->tls);
    if (r == -EAGAIN)
        return;
    if (r < 0) {
        conn_close(conn);
        return;
    }
    conn->state = CONN_HEAD;
    conn->head_timed = true;
    conn_timer(conn, SERVER_HEAD_MS_MAX);
}

static void linger_read(struct server_conn *conn)
{
    char waste[READ_BYTES];
    for (int i = 0; i < LINGER_READS_MAX; i++) {
        ssize_t n = recv(conn->fd, waste, sizeof(waste), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            conn_close(conn);
            return;
        }
    }
}

/* Takes what has arrived, as far as there is room. */
static void pull(struct server_conn *conn)
{
    char data[READ_BYTES];
    while (conn->state != CONN_DEAD && !conn->eof && conn->in.len < SERVER_IN_MAX) {
        size_t room = SERVER_IN_MAX - conn->in.len;
        ssize_t n = tls_read(conn->tls, data, room < sizeof(data) ? room : sizeof(data));
        if (n > 0) {
            (void)buf_add(&conn->in, data, (size_t)n); /* fits */
        } else if (n == -EAGAIN) {
            return;
        } else if (conn->state == CONN_FLUSH && n == 0) {
            conn->eof = true; /* it may still read its answer */
            conn->want_close = true;
        } else {
            conn_close(conn);
        }
    }
}

static void verdict(struct server_conn *conn, const struct auth_verdict *said)
{
    struct server *server = conn->server;
    if (!conn->known && (said->status == 200 || said->status == 403)) {
        conn->known = true;
        server->strangers--;
    }
    if (said->status != 200) {
        reply_text(conn->request, said->status, said->text);
        return;
    }
    conn->state = CONN_HANDLER;
    conn_timer(conn, 0);
    server->handler(server->userdata, conn->request);
}

static void on_verdict(void *userdata, const struct auth_verdict *said)
{
    struct server_conn *conn = userdata;
    conn->check = NULL;
    verdict(conn, said);
    conn_run(conn);
}

/* The certificate is judged for each request: it may have expired, or its CA been replaced. */
static struct auth_user *peer_user(const struct server_conn *conn)
{
    struct tls_peer peer;
    if (tls_peer_read(conn->tls, conn->server->context, &peer) < 0)
        return NULL;
    if (conn->server->front_proxy) {
        struct auth_user *user =
            front_proxy_user(conn->server->front_proxy, peer.common_name, &conn->request->head);
        tls_peer_free(&peer);
        return user;
    }
    const char *groups[TLS_GROUPS_MAX + 1];
    size_t count = 0;
    for (; count < peer.organizations_len; count++)
        groups[count] = peer.organizations[count];
    groups[count++] = "system:authenticated";
    struct auth_user *user = auth_user_new(peer.common_name, groups, count);
    tls_peer_free(&peer);
    return user;
}

static void review(struct server_conn *conn)
{
    const struct head *head = &conn->request->head;
    struct auth_user *peer = peer_user(conn);
    const struct auth_question question = {
        .peer = peer,
        .authorization = head_get(head, "authorization"),
        .method = head->method,
        .path = head->path,
    };
    struct auth_verdict said = {0};
    conn->state = CONN_REVIEW;
    conn_timer(conn, SERVER_AUTH_MS_MAX);
    conn->check = auth_begin(conn->server->auth, &question, &said, on_verdict, conn);
    auth_user_free(peer);
    if (!conn->check)
        verdict(conn, &said);
}

/* false: more bytes are needed. */
static bool take_head(struct server_conn *conn)
{
    struct head head;
    size_t used;
    int status = 400;
    int r = conn->in.len
                ? head_parse(conn->in.data, conn->in.len, &conn->in_scanned, &head, &used, &status)
                : -EAGAIN;
    if (r == -EAGAIN) {
        if (conn->in.len && !conn->head_timed) {
            conn->head_timed = true;
            conn_timer(conn, SERVER_HEAD_MS_MAX);
        }
        return false;
    }
    if (r < 0) {
        reply_refusal(conn, status);
        return true;
    }
    buf_drop(&conn->in, used);
    struct server_request *request = xcalloc(1, sizeof(*request));
    request->server = conn->server;
    request->conn = conn;
    request->head = head;
    conn->server->requests++;
    conn->request = request;
    if (!head.keep_alive)
        conn->want_close = true;
    if (body_begin(&conn->body, head.chunked, head.content_length) < 0) {
        reply_refusal(conn, 413);
        return true;
    }
    if (head.expect_continue && (head.chunked || head.content_length))
        (void)buf_adds(&conn->out, "HTTP/1.1 100 Continue\r\n\r\n");
    conn->state = CONN_BODY;
    conn_timer(conn, SERVER_BODY_MS_MAX);
    return true;
}

static bool take_body(struct server_conn *conn)
{
    size_t used = 0;
    int r = body_feed(&conn->body, buf_str(&conn->in), conn->in.len, &used);
    if (r < 0) {
        reply_refusal(conn, r == -EFBIG ? 413 : 400);
        return true;
    }
    buf_drop(&conn->in, used);
    if (r == 0)
        return false;
    review(conn);
    return true;
}

/* The answer has left: on to the next request, or the end. */
static void finish(struct server_conn *conn)
{
    struct server_request *request = conn->request;
    conn->request = NULL;
    if (conn->out.cap > KEPT_MAX)
        buf_free(&conn->out);
    if (conn->in.len == 0 && conn->in.cap > KEPT_MAX)
        buf_free(&conn->in);
    if (conn->want_close) {
        tls_goodbye(conn->tls);
        (void)shutdown(conn->fd, SHUT_WR);
        conn->state = CONN_LINGER;
        conn_timer(conn, SERVER_LINGER_MS_MAX);
    } else {
        conn->state = CONN_HEAD;
        conn->head_timed = false;
        conn_timer(conn, SERVER_IDLE_MS_MAX);
    }
    if (!request)
        return; /* a refusal */
    const struct server_stream_ops *ops = request->ops;
    void *userdata = request->userdata;
    request->conn = NULL;
    server_request_free(request);
    if (ops)
        ops->on_closed(userdata);
}

/* Sends what is queued. true: an answer is complete and the next request's turn has come. */
static bool push(struct server_conn *conn)
{
    bool progress = false;
    conn->push_stuck = false;
    while (conn_queued(conn)) {
        ssize_t n = tls_write(conn->tls, conn->out.data + conn->out_at, conn_queued(conn));
        if (n == -EAGAIN) {
            conn->push_stuck = !tls_wants_write(conn->tls);
            break;
        }
        if (n < 0) {
            conn_close(conn);
            return false;
        }
        conn->out_at += (size_t)n;
        progress = true;
    }
    if (conn->out_at == conn->out.len || conn->out_at > conn->out.len / 2) {
        buf_drop(&conn->out, conn->out_at);
        conn->out_at = 0;
    }
    bool empty = conn_queued(conn) == 0;
    if (conn->state == CONN_FLUSH && empty) {
        finish(conn);
        return conn->state == CONN_HEAD;
    }
    bool streams = conn->state == CONN_STREAM || conn->state == CONN_UPGRADED;
    if (conn->state == CONN_FLUSH || streams) {
        if (progress || empty)
            conn_timer(conn, empty ? 0 : conn_stall_ms(conn));
        if (progress && empty && streams && conn->request->ops->on_writable)
            conn->request->ops->on_writable(conn->request->userdata);
    }
    return false;
}

static void conn_run(struct server_conn *conn)
{
    conn->again = false;
    if (conn->state == CONN_HANDSHAKE)
        shake_hands(conn);
    for (int turn = 0; conn->state != CONN_DEAD && conn->state != CONN_HANDSHAKE; turn++) {
        if (conn->state == CONN_LINGER) {
            linger_read(conn);
            break;
        }
        if (turn == SERVER_TURNS_MAX) {
            conn->again = true;
            break;
        }
        pull(conn);
        bool full = conn->in.len == SERVER_IN_MAX;
        while ((conn->state == CONN_HEAD && take_head(conn)) ||
               (conn->state == CONN_BODY && take_body(conn)))
            ;
        if (conn->state == CONN_UPGRADED)
            conn->request->on_input(conn->request->userdata);
        if (conn->state == CONN_DEAD)
            break;
        bool next = push(conn);
        bool room = full && conn->in.len < SERVER_IN_MAX;
        if (!next && !room && conn->state != CONN_LINGER)
            break;
    }
    conn_arm(conn);
}
