/* Waiting for the plugins of a dead agent by the end of file on a FIFO: an event, not a poll, and
 * it needs no record of their pids. See cni_guard.h. */
#include "runtime/cni_guard.h"

#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

struct cni_guard {
    char *path;
    int read_fd; /* has no more use once the older plugins are gone */
    int write_fd;
    bool told;
    unsigned int handles;
    uv_poll_t poll;
    uv_timer_t timer;
    cni_guard_ready ready;
    void *userdata;
};

static void free_guard(struct cni_guard *guard)
{
    cleanup_close(&guard->read_fd);
    cleanup_close(&guard->write_fd);
    free(guard->path);
    free(guard);
}

static void on_closed(uv_handle_t *handle)
{
    struct cni_guard *guard = handle->data;

    if (--guard->handles == 0)
        free_guard(guard);
}

/* 0: no writer. -EAGAIN: there are some. Nobody writes, but what anybody wrote is dropped. */
static int writers(const struct cni_guard *guard)
{
    char chunk[512];
    ssize_t n;

    do
        n = read(guard->read_fd, chunk, sizeof(chunk));
    while (n > 0 || (n < 0 && errno == EINTR));
    return n == 0 ? 0 : -errno;
}

static void tell(struct cni_guard *guard, int result)
{
    guard->told = true;
    (void)uv_poll_stop(&guard->poll);
    (void)uv_timer_stop(&guard->timer);
    /* The reading end stays open so that this cannot block. */
    guard->write_fd = open(guard->path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    guard->ready(guard->userdata, result);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct cni_guard *guard = poll->data;

    (void)status;
    (void)events;
    if (!guard->told && writers(guard) != -EAGAIN)
        tell(guard, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct cni_guard *guard = timer->data;

    if (!guard->told)
        tell(guard, writers(guard) == -EAGAIN ? -ETIMEDOUT : 0);
}

int cni_guard_open(struct uv_loop_s *loop, const char *path, uint32_t ms_max, cni_guard_ready ready,
                   void *userdata, struct cni_guard **ret, struct err *err)
{
    struct cni_guard *guard = xcalloc(1, sizeof(*guard));
    int r = mkfifo(path, 0600) < 0 && errno != EEXIST ? -errno : 0;

    guard->path = xstrdup(path);
    guard->read_fd = -1;
    guard->write_fd = -1;
    guard->ready = ready;
    guard->userdata = userdata;
    if (r == 0) {
        guard->read_fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        r = guard->read_fd < 0 ? -errno : uv_poll_init(loop, &guard->poll, guard->read_fd);
    }
    if (r < 0) {
        err_set(err, r, "cannot open %s: %s", path, strerror(-r));
        free_guard(guard);
        return r;
    }
    (void)uv_timer_init(loop, &guard->timer); /* cannot fail */
    guard->handles = 2;
    guard->poll.data = guard;
    guard->timer.data = guard;
    if (writers(guard) != -EAGAIN)
        ms_max = 0; /* nobody to wait for: told on the next turn */
    else
        (void)uv_poll_start(&guard->poll, UV_READABLE, on_poll);
    (void)uv_timer_start(&guard->timer, on_timer, ms_max, 0);
    *ret = guard;
    return 0;
}

void cni_guard_close(struct cni_guard *guard)
{
    if (!guard)
        return;
    uv_close((uv_handle_t *)&guard->poll, on_closed);
    uv_close((uv_handle_t *)&guard->timer, on_closed);
}

int cni_guard_fd(const struct cni_guard *guard)
{
    return guard->write_fd;
}
