/* A thread for one piece of work, joined by the loop. See network_work.h. */
#include "runtime/network_work.h"

#include "base/str.h"

#include <stdlib.h>
#include <uv.h>

struct network_work {
    uv_thread_t thread;
    uv_async_t ended;
    network_work_fn run;
    network_work_fn done;
    void *userdata;
};

static void free_work(uv_handle_t *handle)
{
    free(handle->data);
}

static void thread_main(void *arg)
{
    struct network_work *work = arg;

    work->run(work->userdata);
    (void)uv_async_send(&work->ended);
}

static void on_ended(uv_async_t *async)
{
    struct network_work *work = async->data;

    (void)uv_thread_join(&work->thread);
    uv_close((uv_handle_t *)async, free_work);
    work->done(work->userdata);
}

int network_work_start(struct uv_loop_s *loop, network_work_fn run, network_work_fn done,
                       void *userdata, struct network_work **ret)
{
    struct network_work *work = xcalloc(1, sizeof(*work));
    int r;

    work->run = run;
    work->done = done;
    work->userdata = userdata;
    work->ended.data = work;
    r = uv_async_init(loop, &work->ended, on_ended);
    if (r < 0) {
        free(work);
        return r;
    }
    r = uv_thread_create(&work->thread, thread_main, work);
    if (r < 0) {
        uv_close((uv_handle_t *)&work->ended, free_work);
        return r;
    }
    *ret = work;
    return 0;
}

void network_work_cancel(struct network_work *work)
{
    if (!work)
        return;
    (void)uv_thread_join(&work->thread);
    uv_close((uv_handle_t *)&work->ended, free_work);
}
