/* The moving half of the QMP client: a pipe on the loop, one timer for the earliest deadline. What
 * the bytes mean is qmp_core.c's business. */
#include "vmm-bridge/qmp.h"

#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <uv.h>

#define READ_BYTES 4096

struct qmp {
    struct qmp_core core;
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_connect_t connect;
    size_t handles; /* open ones, for freeing */
    bool connected;
    bool closing;
    char in[READ_BYTES];
};

struct writing {
    uv_write_t request;
    struct qmp *qmp;
    char *text;
};

static void on_closed(uv_handle_t *handle)
{
    struct qmp *qmp = handle->data;

    qmp->handles--;
    if (qmp->handles > 0)
        return;
    qmp_core_done(&qmp->core);
    free(qmp);
}

/* No more traffic; the object lives until qmp_close. */
static void lose(struct qmp *qmp, int code, const char *text)
{
    (void)uv_timer_stop(&qmp->timer);
    if (!qmp->closing)
        (void)uv_read_stop((uv_stream_t *)&qmp->pipe);
    qmp_core_fail(&qmp->core, code, text);
}

static void on_written(uv_write_t *request, int status)
{
    struct writing *writing = request->data;
    struct qmp *qmp = writing->qmp;

    free(writing->text);
    free(writing);
    if (status < 0 && status != UV_ECANCELED && !qmp->closing)
        lose(qmp, status, uv_strerror(status));
}

static void flush(struct qmp *qmp)
{
    struct writing *writing;
    uv_buf_t text;

    if (qmp->closing || !qmp->connected || qmp->core.out.len == 0)
        return;
    writing = xcalloc(1, sizeof(*writing));
    writing->qmp = qmp;
    writing->request.data = writing;
    text.len = qmp->core.out.len;
    writing->text = buf_take(&qmp->core.out);
    text.base = writing->text;
    if (uv_write(&writing->request, (uv_stream_t *)&qmp->pipe, &text, 1, on_written) < 0) {
        free(writing->text);
        free(writing);
        lose(qmp, -EPIPE, "cannot write to QEMU's control socket");
    }
}

static void on_timer(uv_timer_t *timer);

static void arm_timer(struct qmp *qmp)
{
    uint64_t first_ms = 0;
    uint64_t now_ms = uv_now(qmp->timer.loop);

    for (size_t i = 0; i < qmp->core.calls_len; i++) {
        uint64_t deadline_ms = qmp->core.calls[i].deadline_ms;

        if (first_ms == 0 || deadline_ms < first_ms)
            first_ms = deadline_ms;
    }
    if (qmp->closing)
        return;
    if (first_ms == 0)
        (void)uv_timer_stop(&qmp->timer);
    else
        (void)uv_timer_start(&qmp->timer, on_timer, first_ms > now_ms ? first_ms - now_ms : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct qmp *qmp = timer->data;

    qmp_core_expire(&qmp->core, uv_now(timer->loop));
    arm_timer(qmp);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret)
{
    struct qmp *qmp = handle->data;

    (void)wanted;
    *ret = uv_buf_init(qmp->in, sizeof(qmp->in));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *in)
{
    struct qmp *qmp = stream->data;

    if (n < 0) {
        lose(qmp, -ECONNRESET, "QEMU closed its control socket");
        return;
    }
    if (qmp_core_feed(&qmp->core, in->base, (size_t)n) < 0) {
        lose(qmp, -EPROTO, "QEMU's control socket speaks no QMP");
        return;
    }
    flush(qmp);
    arm_timer(qmp);
}

static void start(struct qmp *qmp)
{
    qmp->connected = true;
    (void)uv_read_start((uv_stream_t *)&qmp->pipe, on_alloc, on_read);
    flush(qmp);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct qmp *qmp = request->data;

    if (qmp->closing)
        return;
    if (status < 0)
        lose(qmp, status, "cannot connect to QEMU's control socket");
    else
        start(qmp);
}

static struct qmp *new_qmp(struct uv_loop_s *loop)
{
    struct qmp *qmp = xcalloc(1, sizeof(*qmp));

    qmp_core_init(&qmp->core);
    (void)uv_pipe_init(loop, &qmp->pipe, 0);
    (void)uv_timer_init(loop, &qmp->timer);
    qmp->pipe.data = qmp;
    qmp->timer.data = qmp;
    qmp->connect.data = qmp;
    qmp->handles = 2;
    return qmp;
}

struct qmp *qmp_open(struct uv_loop_s *loop, const char *path)
{
    struct qmp *qmp = new_qmp(loop);

    uv_pipe_connect(&qmp->connect, &qmp->pipe, path, on_connected);
    return qmp;
}

struct qmp *qmp_open_fd(struct uv_loop_s *loop, int fd)
{
    struct qmp *qmp = new_qmp(loop);
    int r = uv_pipe_open(&qmp->pipe, fd);

    if (r < 0)
        lose(qmp, r, "no stream socket");
    else
        start(qmp);
    return qmp;
}

void qmp_close(struct qmp *qmp)
{
    if (!qmp || qmp->closing)
        return;
    qmp->closing = true;
    lose(qmp, -ECANCELED, "cancelled");
    uv_close((uv_handle_t *)&qmp->pipe, on_closed);
    uv_close((uv_handle_t *)&qmp->timer, on_closed);
}

void qmp_invoke(struct qmp *qmp, enum qmp_command command, qmp_reply reply, void *userdata)
{
    struct qmp_core *core = &qmp->core;
    int r = qmp_core_invoke(core, command, reply, userdata);

    if (r < 0) {
        reply(userdata, r, NULL, r == -EBUSY ? "too many calls" : "not connected to QEMU");
        return;
    }
    core->calls[core->calls_len - 1].deadline_ms =
        uv_now(qmp->timer.loop) + qmp_timeout_ms(command);
    flush(qmp);
    arm_timer(qmp);
}

void qmp_on_event(struct qmp *qmp, qmp_event on_event, void *userdata)
{
    qmp->core.on_event = on_event;
    qmp->core.event_userdata = userdata;
}
