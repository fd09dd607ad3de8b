/* See instance_input.h. One message is under way at a time: the shim says how much of it found
 * room, and when there is room for the rest. */
#include "runtime/instance_input.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "runtime/instance_priv.h"
#include "runtime/shim_proto.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_MAX 8 /* in one turn of the loop */

struct instance_input {
    uv_poll_t poll;
    int fd;         /* -1: closed */
    bool poll_open; /* the loop has the handle, closing or not */
    bool closed;    /* by its user */
    bool greeted;   /* the shim has taken the connection */
    bool waiting;   /* for SHIM_INPUT_TAKEN */
    size_t pending; /* bytes in text that the shim has not taken */
    const struct instance_input_ops *ops;
    void *userdata;
    char text[SHIM_TEXT_MAX];
};

static void on_poll_closed(uv_handle_t *handle)
{
    struct instance_input *input = handle->data;

    input->poll_open = false;
    if (input->closed)
        free(input);
}

/* The handle is closed with the descriptor: closed later, it would take whatever has the number
 * then out of the loop's epoll set. */
static void hang_up(struct instance_input *input)
{
    if (input->fd < 0)
        return;
    uv_close((uv_handle_t *)&input->poll, on_poll_closed);
    (void)close(TAKE_FD(input->fd));
}

void instance_input_close(struct instance_input *input)
{
    if (!input)
        return;
    hang_up(input);
    input->closed = true;
    if (!input->poll_open)
        free(input);
}

static void lose(struct instance_input *input)
{
    hang_up(input);
    input->ops->on_closed(input->userdata, !input->greeted);
}

static int send_pending(struct instance_input *input)
{
    struct shim_msg msg = {
        .version = SHIM_PROTO_VERSION,
        .type = SHIM_CMD_INPUT,
        .text_at = SHIM_MSG_HEAD,
        .text_len = (uint16_t)input->pending,
    };
    memcpy(msg.text, input->text, input->pending);
    if (send(input->fd, &msg, SHIM_MSG_HEAD + input->pending, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return -errno;
    input->waiting = true;
    return 0;
}

static void take_answer(struct instance_input *input, int32_t taken)
{
    if (!input->waiting || taken < 0 || (size_t)taken > input->pending)
        return;
    input->waiting = false;
    input->pending -= (size_t)taken;
    memmove(input->text, input->text + taken, input->pending);
    if (input->pending == 0)
        input->ops->on_room(input->userdata);
    /* Otherwise SHIM_INPUT_READY follows. */
}

/* False: the input may be gone, or its connection is. */
static bool take_message(struct instance_input *input, const struct shim_msg *msg, size_t size)
{
    if (size < SHIM_MSG_HEAD || msg->version != SHIM_PROTO_VERSION)
        return true;
    switch (msg->type) {
    case SHIM_STATUS:
        input->greeted = true;
        return true;
    case SHIM_INPUT_TAKEN:
        take_answer(input, msg->value);
        return false; /* on_room may have closed it; poll is level-triggered */
    case SHIM_INPUT_READY:
        if (input->pending > 0 && !input->waiting && send_pending(input) < 0) {
            lose(input);
            return false;
        }
        return true;
    default:
        return true;
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct instance_input *input = poll->data;
    (void)events;
    for (int i = 0; i < MESSAGES_MAX; i++) {
        struct shim_msg msg = {0};
        ssize_t n = status < 0 ? 0 : recv(input->fd, &msg, sizeof(msg), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            lose(input);
            return;
        }
        if (!take_message(input, &msg, (size_t)n))
            return;
    }
}

int instance_input_open(struct instances *all, const char *id, const struct instance_input_ops *ops,
                        void *userdata, struct instance_input **ret)
{
    int fd = instance_id_ok(id) ? instance_connect(all, id) : -EINVAL;
    if (fd < 0)
        return fd;
    struct instance_input *input = xcalloc(1, sizeof(*input));
    int r = uv_poll_init(all->loop, &input->poll, fd);
    if (r < 0) {
        (void)close(fd);
        free(input);
        return r;
    }
    input->fd = fd;
    input->poll_open = true;
    input->poll.data = input;
    input->ops = ops;
    input->userdata = userdata;
    (void)uv_poll_start(&input->poll, UV_READABLE, on_readable);
    *ret = input;
    return 0;
}

size_t instance_input_write(struct instance_input *input, const char *data, size_t len)
{
    size_t n = len < sizeof(input->text) ? len : sizeof(input->text);
    if (input->fd < 0)
        return len; /* nobody will ever read it */
    if (input->pending > 0 || n == 0)
        return 0;
    memcpy(input->text, data, n);
    input->pending = n;
    /* A socket that does not even take this is of a shim that hangs: the machine's own connection
     * finds out; what was typed is lost. */
    if (send_pending(input) < 0)
        input->pending = 0;
    return n;
}
