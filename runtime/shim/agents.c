/* The shim's side of the protocol: up to SHIM_AGENTS_MAX connections of agents. All sends are
 * non-blocking: an agent that does not read loses its connection, never the guest its time. */
#include "runtime/shim/shim.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMMANDS_MAX 64 /* read from an agent that left, before its place is given away */

static void drop(struct shim *shim, size_t index)
{
    (void)close(shim->agents[index]); /* leaves the epoll set with it */
    shim->agents[index] = -1;
}

static void tell(struct shim *shim, size_t index, enum shim_type type, int value, uint16_t flags,
                 const char *text, size_t len)
{
    const struct machine *machine = &shim->machine;
    struct shim_msg msg = {
        .version = SHIM_PROTO_VERSION,
        .type = (uint8_t)type,
        .flags = (uint16_t)(flags | (machine->oom ? SHIM_FLAG_OOM : 0)),
        .text_at = SHIM_MSG_HEAD,
        .text_len = (uint16_t)len,
        .value = value,
        .vmm_pid = machine->started_ns ? machine->pid : 0,
        .started_ns = machine->started_ns,
        .finished_ns = machine->finished_ns,
    };

    if (len > 0)
        memcpy(msg.text, text, len);
    /* One that left may have left a command behind: its end is seen when that was read. */
    if (send(shim->agents[index], &msg, SHIM_MSG_HEAD + len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
        errno == EAGAIN)
        drop(shim, index);
}

static void tell_all(struct shim *shim, enum shim_type type, int value, uint16_t flags,
                     const char *text, size_t len)
{
    for (size_t i = 0; i < SHIM_AGENTS_MAX; i++) {
        if (shim->agents[i] >= 0)
            tell(shim, i, type, value, flags, text, len);
    }
}

void agents_tell(struct shim *shim, enum shim_type type, int value, const char *text)
{
    tell_all(shim, type, value, 0, text, text ? strnlen(text, SHIM_TEXT_MAX) : 0);
}

void agents_tell_end(struct shim *shim)
{
    const struct machine *machine = &shim->machine;
    const struct console *console = &shim->console;
    size_t len = console->tail_len < SHIM_TEXT_MAX ? console->tail_len : SHIM_TEXT_MAX;

    if (machine->fatal_len > 0)
        tell_all(shim, SHIM_EXITED, machine->wait_status, SHIM_FLAG_FATAL, machine->fatal,
                 machine->fatal_len);
    else
        tell_all(shim, SHIM_EXITED, machine->wait_status, SHIM_FLAG_TAIL,
                 console->tail + console->tail_len - len, len);
}

static bool agent_left(int fd)
{
    struct pollfd end = {.fd = fd};

    return poll(&end, 1, 0) == 1 && (end.revents & (POLLHUP | POLLERR));
}

/* A free place; connections whose agent is gone are cleared first, so that an agent which starts
 * again and again is not shut out by its own past. */
static size_t find_place(struct shim *shim)
{
    for (size_t i = 0; i < SHIM_AGENTS_MAX; i++) {
        if (shim->agents[i] >= 0 && agent_left(shim->agents[i])) {
            for (int n = 0; n < COMMANDS_MAX && shim->agents[i] >= 0; n++)
                agents_read(shim, i);
            if (shim->agents[i] >= 0)
                drop(shim, i);
        }
        if (shim->agents[i] < 0)
            return i;
    }
    return SHIM_AGENTS_MAX;
}

void agents_accept(struct shim *shim)
{
    int fd = accept4(shim->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    size_t index;

    if (fd < 0)
        return;
    index = find_place(shim);
    if (index == SHIM_AGENTS_MAX || shim_watch(shim, fd, EPOLLIN, EV_AGENT + (uint32_t)index) < 0) {
        (void)close(fd);
        return;
    }
    shim->agents[index] = fd;
    tell(shim, index, SHIM_STATUS, 0, 0, NULL, 0);
}

static void arm_input(struct shim *shim, bool armed)
{
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = EV_STDIN};

    if (shim->input_armed == armed || shim->machine.console_in < 0)
        return;
    if (epoll_ctl(shim->epoll, armed ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, shim->machine.console_in,
                  &event) == 0)
        shim->input_armed = armed;
}

void agents_input_drain(struct shim *shim)
{
    ssize_t n = 0;

    if (shim->input_len > 0)
        n = write(shim->machine.console_in, shim->input, shim->input_len);
    if (n < 0 && errno != EAGAIN)
        n = (ssize_t)shim->input_len; /* the VMM closed its end: nobody will ever read it */
    if (n > 0) {
        shim->input_len -= (size_t)n;
        memmove(shim->input, shim->input + n, shim->input_len);
    }
    arm_input(shim, shim->input_len > 0);
    if (shim->input_len == 0 && shim->input_cut) {
        shim->input_cut = false;
        agents_tell(shim, SHIM_INPUT_READY, 0, NULL);
    }
}

static void take_input(struct shim *shim, size_t index, const char *text, size_t len)
{
    size_t room = sizeof(shim->input) - shim->input_len;
    size_t n = len < room ? len : room;

    memcpy(shim->input + shim->input_len, text, n);
    shim->input_len += n;
    if (n < len)
        shim->input_cut = true;
    tell(shim, index, SHIM_INPUT_TAKEN, (int)n, 0, NULL, 0);
    agents_input_drain(shim);
}

static void obey(struct shim *shim, size_t index, const struct shim_msg *msg, size_t size)
{
    switch (msg->type) {
    case SHIM_CMD_KILL:
        if (shim->machine.pid > 0 && msg->value > 0 && msg->value < NSIG)
            (void)kill(shim->machine.pid, msg->value);
        break;
    case SHIM_CMD_REOPEN:
        tell(shim, index, SHIM_REOPENED, console_open(&shim->console), 0, NULL, 0);
        break;
    case SHIM_CMD_STATUS:
        tell(shim, index, SHIM_STATUS, 0, 0, NULL, 0);
        break;
    case SHIM_CMD_INPUT:
        if (msg->text_at <= size && msg->text_len <= size - msg->text_at)
            take_input(shim, index, (const char *)msg + msg->text_at, msg->text_len);
        break;
    default:
        break; /* of a newer agent, which knows how to live without an answer */
    }
}

void agents_read(struct shim *shim, size_t index)
{
    struct shim_msg msg;
    ssize_t n;

    if (shim->agents[index] < 0)
        return;
    n = recv(shim->agents[index], &msg, sizeof(msg), MSG_DONTWAIT);
    /* ECONNRESET: it left without reading what we told it. Its commands are still to be read. */
    if (n < 0 && (errno == EAGAIN || errno == ECONNRESET))
        return;
    if (n <= 0) {
        drop(shim, index);
        return;
    }
    if ((size_t)n >= SHIM_MSG_HEAD && msg.version == SHIM_PROTO_VERSION)
        obey(shim, index, &msg, (size_t)n);
}
