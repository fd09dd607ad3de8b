/* What comes after a shim's last word. A shim of ours is reaped; when the connection broke without
 * a word, the processes of the machine are waited for, so that a next attempt finds the tap free,
 * and only then the instance is concluded. Every wait is for a pidfd, bounded by one timer. */
#include "runtime/instance_priv.h"

#include "base/cleanup.h"
#include "base/spawn.h"
#include "base/str.h"

#include <sys/pidfd.h>
#include <unistd.h>

enum { WAIT_SHIM, WAIT_VMM, _WAIT_MAX };

struct aftermath {
    struct instances *all;
    struct instance *instance; /* NULL: only reap */
    struct aftermath *next;
    struct aftermath *prev;
    uv_poll_t polls[_WAIT_MAX];
    uv_timer_t timer;
    int fds[_WAIT_MAX]; /* -1: not waited for (any more) */
    size_t handles;     /* open ones, for freeing */
    bool child;
    bool ending;
};

static void on_closed(uv_handle_t *handle)
{
    struct aftermath *a = handle->data;

    a->handles--;
    if (a->handles > 0)
        return;
    instances_unref(a->all);
    free(a);
}

static void end(struct aftermath *a)
{
    if (a->ending)
        return;
    a->ending = true;
    if (a->prev)
        a->prev->next = a->next;
    else
        a->all->aftermaths = a->next;
    if (a->next)
        a->next->prev = a->prev;
    for (int i = 0; i < _WAIT_MAX; i++) {
        if (a->polls[i].data && !uv_is_closing((uv_handle_t *)&a->polls[i]))
            uv_close((uv_handle_t *)&a->polls[i], on_closed);
        if (a->fds[i] >= 0)
            (void)close(a->fds[i]);
        a->fds[i] = -1;
    }
    uv_close((uv_handle_t *)&a->timer, on_closed);
}

static void conclude(struct aftermath *a)
{
    struct instance *instance = TAKE(a->instance);

    end(a);
    if (instance) {
        instance->aftermath = NULL;
        instance_conclude(instance);
    }
}

static void on_gone(uv_poll_t *poll, int status, int events)
{
    struct aftermath *a = poll->data;
    int i = poll == &a->polls[WAIT_VMM] ? WAIT_VMM : WAIT_SHIM;
    int wait_status;

    (void)status;
    (void)events;
    if (i == WAIT_SHIM && a->child)
        (void)spawn_reap(a->fds[i], &wait_status);
    uv_close((uv_handle_t *)poll, on_closed);
    (void)close(TAKE_FD(a->fds[i]));
    if (a->fds[WAIT_SHIM] < 0 && a->fds[WAIT_VMM] < 0)
        conclude(a);
}

static void on_timeout(uv_timer_t *timer)
{
    conclude(timer->data);
}

static void wait_for(struct aftermath *a, int i, pid_t pid)
{
    int fd = pid > 0 ? pidfd_open(pid, 0) : -1;

    a->fds[i] = -1;
    if (fd < 0)
        return;
    if (uv_poll_init(a->all->loop, &a->polls[i], fd) < 0) {
        (void)close(fd);
        return;
    }
    a->fds[i] = fd;
    a->polls[i].data = a;
    a->handles++;
    (void)uv_poll_start(&a->polls[i], UV_READABLE, on_gone);
}

void aftermath_start(struct instances *all, struct instance *instance, pid_t shim, pid_t vmm,
                     bool child)
{
    struct aftermath *a = xcalloc(1, sizeof(*a));

    a->all = all;
    a->instance = instance;
    a->child = child;
    a->next = all->aftermaths;
    if (a->next)
        a->next->prev = a;
    all->aftermaths = a;
    all->refs++;
    (void)uv_timer_init(all->loop, &a->timer);
    a->timer.data = a;
    a->handles = 1;
    wait_for(a, WAIT_SHIM, shim);
    wait_for(a, WAIT_VMM, vmm);
    if (instance)
        instance->aftermath = a;
    if (a->fds[WAIT_SHIM] < 0 && a->fds[WAIT_VMM] < 0)
        (void)uv_timer_start(&a->timer, on_timeout, 0, 0);
    else if (instance)
        (void)uv_timer_start(&a->timer, on_timeout, INSTANCE_LOSS_MS, 0);
}

void aftermath_forget(struct aftermath *a)
{
    a->instance = NULL;
    (void)uv_timer_stop(&a->timer);
    if (a->fds[WAIT_SHIM] < 0 && a->fds[WAIT_VMM] < 0)
        end(a);
}

void aftermath_cancel_all(struct instances *all)
{
    while (all->aftermaths)
        end(all->aftermaths);
}
