/* UDP for Services at zero, as well as it goes: the first datagrams of each client are kept, handed
 * to a Pod when one is ready, and its answers carried back while the client's packets still come
 * here. Nothing tells whether a guest listens yet, so what it misses is lost, as UDP allows. Called
 * by activator.c. */
#include "provider/scaler/activator_priv.h"

#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAM_BYTES_MAX 2048
#define DATAGRAMS_A_TURN_MAX 64

struct kept {
    TAILQ_ENTRY(kept) link;
    size_t len;
    char data[];
};

TAILQ_HEAD(kept_list, kept);

struct session {
    TAILQ_ENTRY(session) link;
    struct datagrams *owner;
    struct sockaddr_in client;
    uint64_t begun_ms, used_ms;
    int fd; /* to the Pod; -1: held */
    uv_poll_t *poll;
    struct kept_list kept;
    size_t kept_len;
};

TAILQ_HEAD(sessions, session);

struct datagrams {
    struct holder *holder;
    size_t port;
    int fd;
    uv_poll_t *poll;
    struct sessions sessions;
    size_t len;
};

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void close_poll(uv_poll_t **poll)
{
    if (!*poll)
        return;
    (void)uv_poll_stop(*poll);
    uv_close((uv_handle_t *)*poll, on_closed);
    *poll = NULL;
}

static void session_end(struct session *session)
{
    struct datagrams *d = session->owner;
    struct kept *kept;
    while ((kept = TAILQ_FIRST(&session->kept))) {
        TAILQ_REMOVE(&session->kept, kept, link);
        free(kept);
    }
    close_poll(&session->poll);
    if (session->fd >= 0)
        (void)close(session->fd);
    holder_udp_count(d->holder, session->fd < 0 ? -1 : 0, session->fd < 0 ? 0 : -1);
    TAILQ_REMOVE(&d->sessions, session, link);
    d->len--;
    free(session);
}

static void on_answer(uv_poll_t *poll, int status, int events)
{
    struct session *session = poll->data;
    char data[DATAGRAM_BYTES_MAX];
    (void)status;
    (void)events;
    for (int i = 0; i < DATAGRAMS_A_TURN_MAX; i++) {
        ssize_t n = recv(session->fd, data, sizeof(data), MSG_DONTWAIT);
        if (n < 0 && errno != ECONNREFUSED) /* a port that nobody listens on yet is no end */
            return;
        if (n < 0)
            continue;
        session->used_ms = clock_mono_ms();
        (void)sendto(session->owner->fd, data, (size_t)n, MSG_DONTWAIT,
                     (const struct sockaddr *)&session->client, sizeof(session->client));
    }
}

/* To a Pod, with what was kept. */
static void session_go(struct session *session, const struct sockaddr_in *to)
{
    struct kept *kept;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    uv_poll_t *poll = xmalloc(sizeof(*poll));
    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 ||
        uv_poll_init(session->owner->poll->loop, poll, fd) < 0) {
        if (fd >= 0)
            (void)close(fd);
        free(poll);
        return;
    }
    poll->data = session;
    session->fd = fd;
    session->poll = poll;
    session->used_ms = clock_mono_ms();
    (void)uv_poll_start(poll, UV_READABLE, on_answer);
    holder_udp_count(session->owner->holder, -1, 1);
    while ((kept = TAILQ_FIRST(&session->kept))) {
        (void)send(fd, kept->data, kept->len, MSG_DONTWAIT);
        TAILQ_REMOVE(&session->kept, kept, link);
        free(kept);
    }
}

static struct session *session_of(struct datagrams *d, const struct sockaddr_in *client)
{
    struct session *session = TAILQ_FIRST(&d->sessions);
    while (session && (session->client.sin_port != client->sin_port ||
                       session->client.sin_addr.s_addr != client->sin_addr.s_addr))
        session = TAILQ_NEXT(session, link);
    if (session || d->len >= DATAGRAM_CLIENTS_MAX)
        return session;
    session = xcalloc(1, sizeof(*session));
    session->owner = d;
    session->client = *client;
    session->begun_ms = clock_mono_ms();
    session->fd = -1;
    TAILQ_INIT(&session->kept);
    TAILQ_INSERT_TAIL(&d->sessions, session, link);
    d->len++;
    holder_udp_count(d->holder, 1, 0);
    return session;
}

static void take(struct datagrams *d, const struct sockaddr_in *client, const char *data,
                 size_t len)
{
    struct session *session = session_of(d, client);
    if (!session)
        return;
    session->used_ms = clock_mono_ms();
    if (session->fd >= 0) {
        (void)send(session->fd, data, len, MSG_DONTWAIT);
        return;
    }
    if (session->kept_len >= DATAGRAMS_KEPT_MAX)
        return;
    struct kept *kept = xmalloc(sizeof(*kept) + len);
    kept->len = len;
    memcpy(kept->data, data, len);
    TAILQ_INSERT_TAIL(&session->kept, kept, link);
    session->kept_len++;
}

static void on_datagram(uv_poll_t *poll, int status, int events)
{
    struct datagrams *d = poll->data;
    char data[DATAGRAM_BYTES_MAX];
    (void)status;
    (void)events;
    for (int i = 0; i < DATAGRAMS_A_TURN_MAX; i++) {
        struct sockaddr_in client;
        socklen_t size = sizeof(client);
        ssize_t n = recvfrom(d->fd, data, sizeof(data), MSG_DONTWAIT | MSG_TRUNC,
                             (struct sockaddr *)&client, &size);
        if (n < 0)
            break;
        if ((size_t)n <= sizeof(data) && client.sin_family == AF_INET) /* else cut: not passed on */
            take(d, &client, data, (size_t)n);
    }
    datagrams_release(d);
}

struct datagrams *datagrams_new(struct holder *holder, size_t port, int fd)
{
    struct datagrams *d = xcalloc(1, sizeof(*d));
    uv_poll_t *poll = xmalloc(sizeof(*poll));
    if (uv_poll_init(holder->deadline.loop, poll, fd) < 0) {
        free(poll);
        free(d);
        return NULL;
    }
    *d = (struct datagrams){.holder = holder, .port = port, .fd = fd, .poll = poll};
    TAILQ_INIT(&d->sessions);
    poll->data = d;
    (void)uv_poll_start(poll, UV_READABLE, on_datagram);
    return d;
}

void datagrams_free(struct datagrams *d)
{
    struct session *session;
    while ((session = TAILQ_FIRST(&d->sessions)))
        session_end(session);
    close_poll(&d->poll);
    (void)close(d->fd);
    free(d);
}

void datagrams_release(struct datagrams *d)
{
    struct session *session;
    for (session = TAILQ_FIRST(&d->sessions); session; session = TAILQ_NEXT(session, link)) {
        struct sockaddr_in to;
        if (session->fd >= 0)
            continue;
        if (!d->holder->ops->target(d->holder->userdata, d->port, &to))
            return;
        session_go(session, &to);
    }
}

void datagrams_tick(struct datagrams *d, uint64_t hold_ms)
{
    uint64_t now = clock_mono_ms();
    struct session *session = TAILQ_FIRST(&d->sessions);
    while (session) {
        struct session *next = TAILQ_NEXT(session, link);
        bool over = session->fd < 0 ? now >= session->begun_ms + hold_ms
                                    : now >= session->used_ms + DATAGRAM_IDLE_MS;
        if (over)
            session_end(session);
        session = next;
    }
}
