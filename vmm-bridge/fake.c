/* The fake VMM's side of vmm_ops: see fakevmm/main.c for what it does. It is launched, watched,
 * asked and read like a real one, by the same shim and the same calls. */
#include "vmm-bridge/vmm.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <uv.h>

#define CALLS_MAX 4
#define LINE_MAX_BYTES 128

struct call {
    const char *line;
    vmm_done done;
    void *userdata;
};

enum fake_state { FAKE_CONNECTING, FAKE_CONNECTED, FAKE_BROKEN };

struct vmm_control {
    uv_pipe_t pipe;
    uv_connect_t connect;
    uv_write_t write;
    enum fake_state state;
    bool writing;
    size_t calls_len;
    struct call calls[CALLS_MAX];
    struct buf line;
    char in[LINE_MAX_BYTES];
};

static int fake_probe(const struct vmm_config *config, enum vmm_accel *ret_accel,
                      char **ret_version, struct err *err)
{
    struct stat info;

    if (stat(config->binary, &info) < 0)
        return err_set(err, -errno, "cannot find the fake VMM %s: %s", config->binary,
                       strerror(errno));
    if (!S_ISREG(info.st_mode) || !(info.st_mode & 0111))
        return err_set(err, -ENOEXEC, "the fake VMM %s is no program", config->binary);
    *ret_accel = ACCEL_TCG;
    *ret_version = xstrdup(UNIKUBELET_VERSION);
    return 0;
}

static int fake_describe(const struct vmm_config *config, const struct vmm_machine *machine,
                         struct vmm_argv *ret, struct err *err)
{
    (void)vmm_argv_add(ret, "%s", config->binary);
    (void)vmm_argv_add(ret, "--name=%s", machine->name);
    (void)vmm_argv_add(ret, "--memory=%u", machine->memory_mib);
    ret->fatals[0] = "fake: stuck";
    ret->fatals[1] = NULL;
    if (vmm_argv_add(ret, "--cmdline=%s", machine->cmdline) == 0)
        return 0;
    vmm_argv_free(ret);
    return err_spec(err, -E2BIG, "the guest's command line is too long");
}

/* Codes as with QEMU's isa-debug-exit, but without its ambiguity: see fakevmm/main.c. */
static void fake_decode(const struct vmm_machine *machine, int wait_status, const char *complaint,
                        struct vmm_exit *ret)
{
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0;

    (void)machine;
    (void)complaint;
    if (WIFSIGNALED(wait_status))
        *ret = (struct vmm_exit){.end = VMM_END_SIGNAL, .signal = WTERMSIG(wait_status)};
    else if (status == 0)
        *ret = (struct vmm_exit){.end = VMM_END_CLEAN};
    else if (status & 1)
        *ret = (struct vmm_exit){.end = VMM_END_CODE, .guest_code = status >> 1};
    else
        *ret = (struct vmm_exit){.end = VMM_END_VMM_ERROR};
}

/* Answers the oldest call. */
static void answer(struct vmm_control *control, int result, const char *text)
{
    struct call call = control->calls[0];

    control->calls_len--;
    memmove(control->calls, control->calls + 1, control->calls_len * sizeof(call));
    control->writing = false;
    call.done(call.userdata, result, text);
}

static void fail_all(struct vmm_control *control, int code)
{
    control->state = FAKE_BROKEN;
    while (control->calls_len > 0 && !uv_is_closing((uv_handle_t *)&control->pipe))
        answer(control, code, "the control socket is closed");
}

static void on_written(uv_write_t *request, int status)
{
    struct vmm_control *control = request->data;

    if (status < 0 && status != UV_ECANCELED)
        fail_all(control, status);
}

static void send_next(struct vmm_control *control)
{
    uv_buf_t text;

    if (control->state != FAKE_CONNECTED || control->writing || control->calls_len == 0)
        return;
    text.base = (char *)(uintptr_t)control->calls[0].line;
    text.len = strlen(control->calls[0].line);
    control->writing = true;
    (void)uv_write(&control->write, (uv_stream_t *)&control->pipe, &text, 1, on_written);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret)
{
    struct vmm_control *control = handle->data;

    (void)wanted;
    *ret = uv_buf_init(control->in, sizeof(control->in));
}

static void take_line(struct vmm_control *control, const char *line)
{
    if (control->calls_len == 0)
        return;
    answer(control, str_eq(line, "running") ? 1 : str_eq(line, "ok") ? 0 : -EPROTO, line);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *in)
{
    struct vmm_control *control = stream->data;

    if (n < 0) {
        fail_all(control, -ECONNRESET);
        return;
    }
    for (ssize_t i = 0; i < n && !uv_is_closing((uv_handle_t *)stream); i++) {
        if (in->base[i] != '\n') {
            (void)buf_addc(&control->line, in->base[i]);
            continue;
        }
        take_line(control, buf_str(&control->line));
        buf_reset(&control->line);
    }
    if (!uv_is_closing((uv_handle_t *)stream))
        send_next(control);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct vmm_control *control = request->data;

    if (status == UV_ECANCELED)
        return;
    if (status < 0) {
        fail_all(control, status);
        return;
    }
    control->state = FAKE_CONNECTED;
    (void)uv_read_start((uv_stream_t *)&control->pipe, on_alloc, on_read);
    send_next(control);
}

static struct vmm_control *fake_open(struct uv_loop_s *loop, const char *path)
{
    struct vmm_control *control = xcalloc(1, sizeof(*control));

    buf_init(&control->line, LINE_MAX_BYTES);
    (void)uv_pipe_init(loop, &control->pipe, 0);
    control->pipe.data = control;
    control->connect.data = control;
    control->write.data = control;
    uv_pipe_connect(&control->connect, &control->pipe, path, on_connected);
    return control;
}

static void on_closed(uv_handle_t *handle)
{
    struct vmm_control *control = handle->data;

    buf_free(&control->line);
    free(control);
}

static void fake_close(struct vmm_control *control)
{
    control->state = FAKE_BROKEN;
    while (control->calls_len > 0)
        answer(control, -ECANCELED, "cancelled");
    uv_close((uv_handle_t *)&control->pipe, on_closed);
}

static void invoke(struct vmm_control *control, const char *line, vmm_done done, void *userdata)
{
    if (control->calls_len == CALLS_MAX || control->state == FAKE_BROKEN) {
        done(userdata, control->state == FAKE_BROKEN ? -ENOTCONN : -EBUSY, "not sent");
        return;
    }
    control->calls[control->calls_len++] = (struct call){line, done, userdata};
    send_next(control);
}

static void fake_powerdown(struct vmm_control *control, vmm_done done, void *userdata)
{
    invoke(control, "powerdown\n", done, userdata);
}

static void fake_query(struct vmm_control *control, vmm_done done, void *userdata)
{
    invoke(control, "query\n", done, userdata);
}

static uint32_t fake_overhead(enum vmm_accel accel)
{
    (void)accel;
    return 2; /* measured: 0.7 MiB, most of it shared program text */
}

const struct vmm_ops vmm_fake = {
    .name = "fake",
    .probe = fake_probe,
    .describe = fake_describe,
    .decode = fake_decode,
    .overhead_mib = fake_overhead,
    .open = fake_open,
    .close = fake_close,
    .powerdown = fake_powerdown,
    .query = fake_query,
};
