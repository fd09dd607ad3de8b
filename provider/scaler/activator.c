/* Listening and holding, and who goes on when. One connection asks first whether a guest answers;
 * when it does, the others follow, a bounded number at a time. Called by services.c. */
#include "provider/scaler/activator_priv.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "provider/scaler/scaler.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define FILES_RESERVED 512 /* for everything but held connections */

struct activator *activator_start(struct scaler *scaler)
{
    struct activator *activator = xcalloc(1, sizeof(*activator));
    struct rlimit files;
    activator->scaler = scaler;
    activator->held_max = (size_t)scaler->config.held_max;
    /* Each may need two descriptors at its end. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 &&
        files.rlim_cur < 2 * activator->held_max + FILES_RESERVED) {
        activator->held_max =
            files.rlim_cur > 2 * FILES_RESERVED ? (files.rlim_cur - FILES_RESERVED) / 2 : 64;
        log_warn(NULL, "activator", "%llu open files allow for %zu held connections",
                 (unsigned long long)files.rlim_cur, activator->held_max);
    }
    return activator;
}

void activator_stop(struct activator *activator)
{
    free(activator); /* connections and holders went before, with the loop's last turn */
}

void activator_count(const struct activator *activator, struct activator_counts *ret)
{
    *ret = activator->counts;
}

uint32_t holder_held(const struct holder *holder)
{
    return holder->held_len + holder->connecting + holder->udp_held;
}

uint32_t holder_relayed(const struct holder *holder)
{
    return holder->relayed + holder->udp_relayed;
}

uint64_t holder_used_ms(const struct holder *holder)
{
    return holder->used_ms;
}

static void changed(struct holder *holder)
{
    holder->used_ms = clock_mono_ms();
    if (!holder->closing)
        holder->ops->on_change(holder->userdata);
}

/* ---- time ---- */

static uint64_t hold_ms(const struct holder *holder)
{
    uint64_t max = (uint64_t)holder->activator->scaler->config.hold_seconds * 1000;
    uint64_t own = holder->config.hold_ms;
    return own && own < max ? own : max;
}

static void on_deadline(uv_timer_t *timer);

static void arm_deadline(struct holder *holder)
{
    const struct conn *oldest = TAILQ_FIRST(&holder->held);
    uint64_t now = clock_mono_ms();
    if (!oldest || holder->closing) {
        (void)uv_timer_stop(&holder->deadline);
        return;
    }
    uint64_t end = oldest->accepted_ms + hold_ms(holder);
    (void)uv_timer_start(&holder->deadline, on_deadline, end > now ? end - now : 0, 0);
}

static void on_deadline(uv_timer_t *timer)
{
    struct holder *holder = timer->data;
    uint64_t now = clock_mono_ms();
    struct conn *conn = TAILQ_FIRST(&holder->held);
    for (; conn && now >= conn->accepted_ms + hold_ms(holder); conn = TAILQ_FIRST(&holder->held)) {
        holder->activator->counts.timed_out_total++;
        conn_refuse(conn);
    }
    arm_deadline(holder);
}

static void on_tick(uv_timer_t *timer)
{
    struct holder *holder = timer->data;
    for (size_t i = 0; i < HOLDER_PORTS_MAX; i++) {
        if (holder->ports[i] && holder->ports[i]->datagrams)
            datagrams_tick(holder->ports[i]->datagrams, hold_ms(holder));
    }
    if (holder->udp_held + holder->udp_relayed == 0)
        (void)uv_timer_stop(&holder->tick);
}

void holder_udp_count(struct holder *holder, int held, int relayed)
{
    struct activator_counts *counts = &holder->activator->counts;
    holder->udp_held += (uint32_t)held;
    holder->udp_relayed += (uint32_t)relayed;
    counts->held += (size_t)held;
    counts->relayed += (size_t)relayed;
    counts->accepted_total += held > 0;
    if (!holder->closing && !uv_is_active((const uv_handle_t *)&holder->tick))
        (void)uv_timer_start(&holder->tick, on_tick, DATAGRAM_TICK_MS, DATAGRAM_TICK_MS);
    changed(holder);
}

/* ---- going on ---- */

static void on_again(uv_timer_t *timer)
{
    holder_release(timer->data);
}

void holder_release(struct holder *holder)
{
    size_t max = holder->proved ? HOLDER_CONNECTING_MAX : 1;
    size_t tries = holder->held_len;
    for (size_t i = 0; i < HOLDER_PORTS_MAX; i++) {
        if (holder->ports[i] && holder->ports[i]->datagrams)
            datagrams_release(holder->ports[i]->datagrams);
    }
    while (tries-- && holder->connecting < max) {
        struct conn *conn = TAILQ_FIRST(&holder->held);
        struct sockaddr_in to;
        if (!conn)
            break;
        if (!holder->ops->target(holder->userdata, conn->port, &to)) {
            holder->proved = false;
            break;
        }
        TAILQ_REMOVE(&holder->held, conn, link);
        TAILQ_INSERT_TAIL(&holder->others, conn, link);
        holder->held_len--;
        holder->connecting++;
        conn->state = CONN_CONNECTING;
        conn_connect(conn, &to);
    }
    arm_deadline(holder);
}

void holder_connected(struct conn *conn)
{
    struct holder *holder = conn->holder;
    struct activator_counts *counts = &holder->activator->counts;
    holder->connecting--;
    holder->relayed++;
    counts->held--;
    counts->relayed++;
    holder->proved = true;
    changed(holder);
    holder_release(holder);
}

void holder_unconnected(struct conn *conn)
{
    struct holder *holder = conn->holder;
    holder->connecting--;
    holder->held_len++;
    holder->proved = false;
    conn->state = CONN_HELD;
    TAILQ_REMOVE(&holder->others, conn, link);
    TAILQ_INSERT_HEAD(&holder->held, conn, link); /* it is among the oldest */
    if (!holder->closing && !uv_is_active((const uv_handle_t *)&holder->again))
        (void)uv_timer_start(&holder->again, on_again, CONNECT_AGAIN_MS, 0);
    arm_deadline(holder);
}

void holder_ended(struct conn *conn, enum conn_state was)
{
    struct holder *holder = conn->holder;
    struct activator_counts *counts = &holder->activator->counts;
    bool lingers = conn->state == CONN_LINGER;
    if (was == CONN_HELD) {
        TAILQ_REMOVE(&holder->held, conn, link);
        holder->held_len--;
        counts->held--;
        if (lingers)
            TAILQ_INSERT_TAIL(&holder->others, conn, link);
    } else {
        if (!lingers)
            TAILQ_REMOVE(&holder->others, conn, link);
        holder->connecting -= was == CONN_CONNECTING;
        counts->held -= was == CONN_CONNECTING;
        holder->relayed -= was == CONN_RELAYED;
        counts->relayed -= was == CONN_RELAYED;
    }
    if (!holder->closing && was == CONN_CONNECTING &&
        !uv_is_active((const uv_handle_t *)&holder->again))
        (void)uv_timer_start(&holder->again, on_again, 0, 0);
    changed(holder);
}

/* ---- listening ---- */

static void refuse_new(struct holder *holder, int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    holder->activator->counts.refused_total++;
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    (void)close(fd);
}

static void admit(struct holder *holder, size_t port, int fd)
{
    struct activator *activator = holder->activator;
    activator->counts.accepted_total++;
    if (activator->counts.held >= activator->held_max ||
        holder_held(holder) >= (uint32_t)activator->scaler->config.held_service_max) {
        refuse_new(holder, fd);
        return;
    }
    struct conn *conn = conn_new(holder, port, fd);
    if (!conn)
        return;
    TAILQ_INSERT_TAIL(&holder->held, conn, link);
    holder->held_len++;
    activator->counts.held++;
}

struct listener {
    struct holder *holder;
    struct port port;
    size_t index;
};

static void on_listener(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    struct holder *holder = listener->holder;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN_MAX; i++) {
        int fd = accept4(listener->port.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) /* out of descriptors: the backlog holds it, and this is called again */
            break;
        admit(holder, listener->index, fd);
    }
    changed(holder);
    holder_release(holder);
}

/* Buffers are inherited by what is accepted: small ones bound what a held client may send. */
static int bind_to(const struct activator *activator, uint16_t number, bool udp, int *ret)
{
    const struct scaler_config *config = &activator->scaler->config;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(number)};
    int on = 1;
    int bytes = (int)config->held_bytes / 2; /* the kernel doubles it for its own needs */
    CLEANUP(close)
    int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, config->address, &at.sin_addr) != 1)
        at.sin_addr.s_addr = htonl(INADDR_ANY);
    /* Two UDP sockets that both have it would share the port. */
    if (fd < 0 || (!udp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0 ||
        bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || (!udp && listen(fd, BACKLOG) < 0))
        return -errno;
    *ret = TAKE_FD(fd);
    return 0;
}

int holder_listen(struct holder *holder, size_t port, bool udp, uint16_t *ret, struct err *err)
{
    struct activator *activator = holder->activator;
    const struct scaler_config *config = &activator->scaler->config;
    if (port >= HOLDER_PORTS_MAX)
        return err_set(err, -EOPNOTSUPP, "%d ports at most are held", HOLDER_PORTS_MAX);
    if (holder->ports[port]) {
        *ret = holder->ports[port]->number;
        return 0;
    }
    int fd = -1;
    uint16_t number = 0;
    for (int64_t i = 0; i < config->data_ports && fd < 0; i++) {
        number = (uint16_t)(config->data_port + (activator->next + i) % config->data_ports);
        if (bind_to(activator, number, udp, &fd) == 0)
            activator->next = (uint16_t)((activator->next + i + 1) % config->data_ports);
    }
    if (fd < 0)
        return err_set(err, -EBUSY, "none of the data ports %lld to %lld is free",
                       (long long)config->data_port,
                       (long long)(config->data_port + config->data_ports - 1));
    struct listener *listener = xcalloc(1, sizeof(*listener));
    listener->port.number = number;
    if (udp) {
        listener->port.datagrams = datagrams_new(holder, port, fd);
        if (!listener->port.datagrams) {
            (void)close(fd);
            free(listener);
            return err_set(err, -EIO, "cannot watch a data port");
        }
        holder->ports[port] = &listener->port;
        *ret = number;
        return 0;
    }
    int r = uv_poll_init(&activator->scaler->loop, &listener->port.poll, fd);
    if (r < 0) {
        (void)close(fd);
        free(listener);
        return err_set(err, r, "cannot watch a data port: %s", uv_strerror(r));
    }
    listener->holder = holder;
    listener->index = port;
    listener->port.fd = fd;
    listener->port.poll.data = listener;
    holder->ports[port] = &listener->port;
    holder->handles++;
    (void)uv_poll_start(&listener->port.poll, UV_READABLE, on_listener);
    *ret = number;
    return 0;
}

/* ---- life ---- */

struct holder *holder_new(struct activator *activator, const struct holder_ops *ops, void *userdata)
{
    struct holder *holder = xcalloc(1, sizeof(*holder));
    holder->activator = activator;
    holder->ops = ops;
    holder->userdata = userdata;
    TAILQ_INIT(&holder->held);
    TAILQ_INIT(&holder->others);
    uv_timer_init(&activator->scaler->loop, &holder->deadline);
    uv_timer_init(&activator->scaler->loop, &holder->again);
    uv_timer_init(&activator->scaler->loop, &holder->tick);
    holder->deadline.data = holder->again.data = holder->tick.data = holder;
    holder->handles = 3;
    return holder;
}

void holder_configure(struct holder *holder, const struct holder_config *config)
{
    holder->config = *config;
    arm_deadline(holder);
}

static void handle_gone(struct holder *holder)
{
    if (--holder->handles == 0)
        free(holder);
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;
    handle_gone(listener->holder);
    free(listener);
}

void holder_free(struct holder *holder)
{
    struct conn *conn;
    if (!holder)
        return;
    holder->closing = true;
    while ((conn = TAILQ_FIRST(&holder->held)))
        conn_end(conn, true);
    while ((conn = TAILQ_FIRST(&holder->others)))
        conn_end(conn, true);
    for (size_t i = 0; i < HOLDER_PORTS_MAX; i++) {
        if (!holder->ports[i])
            continue;
        if (holder->ports[i]->datagrams) {
            datagrams_free(holder->ports[i]->datagrams);
            free((char *)holder->ports[i] - offsetof(struct listener, port));
            continue;
        }
        (void)uv_poll_stop(&holder->ports[i]->poll);
        (void)close(holder->ports[i]->fd);
        uv_close((uv_handle_t *)&holder->ports[i]->poll, on_listener_closed);
    }
    uv_close((uv_handle_t *)&holder->deadline, on_timer_closed);
    uv_close((uv_handle_t *)&holder->again, on_timer_closed);
    uv_close((uv_handle_t *)&holder->tick, on_timer_closed);
}
