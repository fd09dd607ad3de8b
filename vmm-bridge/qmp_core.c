/* The protocol half of the QMP client: states, one table of commands, bounded lines, and the
 * promise that every call is answered once. No I/O and no clock: see qmp.c for those. */
#include "vmm-bridge/qmp.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const struct {
    const char *name;
    const char *arguments; /* JSON; NULL: none */
    uint32_t timeout_ms;   /* from asking to the answer, connecting included */
} commands[] = {
    [QMP_CAPABILITIES] = {"qmp_capabilities", NULL, 5000},
    [QMP_POWERDOWN] = {"system_powerdown", NULL, 5000},
    [QMP_QUERY_STATUS] = {"query-status", NULL, 5000},
    [QMP_INFO_REGISTERS] = {"human-monitor-command", "{\"command-line\":\"info registers\"}", 5000},
};

_Static_assert(ARRAY_LEN(commands) == _QMP_COMMAND_MAX, "every command has a row");

static const char *const state_names[] = {
    [QMP_GREETING] = "greeting",
    [QMP_NEGOTIATING] = "negotiating",
    [QMP_RUNNING] = "running",
    [QMP_DISCONNECTED] = "disconnected",
};

_Static_assert(ARRAY_LEN(state_names) == _QMP_STATE_MAX, "every state has a name");

const char *qmp_state_to_string(enum qmp_state state)
{
    return (unsigned)state < _QMP_STATE_MAX ? state_names[state] : "unknown";
}

uint32_t qmp_timeout_ms(enum qmp_command command)
{
    return commands[command].timeout_ms;
}

void qmp_core_init(struct qmp_core *core)
{
    *core = (struct qmp_core){.state = QMP_GREETING, .next_id = 1};
    buf_init(&core->in, QMP_LINE_MAX);
    buf_init(&core->out, QMP_OUT_MAX);
}

void qmp_core_done(struct qmp_core *core)
{
    buf_free(&core->in);
    buf_free(&core->out);
}

static void write_command(struct qmp_core *core, enum qmp_command command, uint32_t id)
{
    const char *arguments = commands[command].arguments;

    (void)buf_addf(&core->out, "{\"execute\":\"%s\",\"id\":%" PRIu32 "%s%s}\n",
                   commands[command].name, id, arguments ? ",\"arguments\":" : "",
                   arguments ? arguments : "");
}

static void send_waiting(struct qmp_core *core)
{
    while (core->state == QMP_RUNNING && core->sent < core->calls_len) {
        const struct qmp_call *call = &core->calls[core->sent++];

        write_command(core, call->command, call->id);
    }
}

int qmp_core_invoke(struct qmp_core *core, enum qmp_command command, qmp_reply reply,
                    void *userdata)
{
    if (core->state == QMP_DISCONNECTED)
        return -ENOTCONN;
    if (core->calls_len == QMP_CALLS_MAX)
        return -EBUSY;
    core->calls[core->calls_len++] = (struct qmp_call){
        .id = core->next_id++, .command = command, .reply = reply, .userdata = userdata};
    send_waiting(core);
    return 0;
}

/* Takes the call out before it is answered: its reply may invoke again, or close. */
static void answer(struct qmp_core *core, size_t i, int result, const struct json *value,
                   const char *text)
{
    struct qmp_call call = core->calls[i];

    core->calls_len--;
    if (i < core->sent)
        core->sent--;
    memmove(&core->calls[i], &core->calls[i + 1], (core->calls_len - i) * sizeof(call));
    call.reply(call.userdata, result, value, text);
}

void qmp_core_fail(struct qmp_core *core, int code, const char *text)
{
    core->state = QMP_DISCONNECTED;
    while (core->calls_len > 0)
        answer(core, 0, code, NULL, text);
}

void qmp_core_expire(struct qmp_core *core, uint64_t now_ms)
{
    for (size_t i = 0; i < core->calls_len;) {
        if (core->calls[i].deadline_ms == 0 || core->calls[i].deadline_ms > now_ms) {
            i++;
            continue;
        }
        answer(core, i, -ETIMEDOUT, NULL, "QEMU did not answer in time");
        i = 0; /* the reply may have changed the list */
    }
}

/* An answer to a call that is not pending any more is not an error: its caller gave up. */
static void take_answer(struct qmp_core *core, const struct json *line)
{
    const struct json *failure = json_get(line, "error");
    const char *text = json_get_string(failure, "desc");
    int64_t id;

    if (!json_get_int(line, "id", &id))
        return;
    for (size_t i = 0; i < core->sent; i++) {
        if (core->calls[i].id != (uint64_t)id)
            continue;
        if (failure)
            answer(core, i, -EIO, NULL, text ? text : "QEMU gave no reason");
        else
            answer(core, i, 0, json_get(line, "return"), NULL);
        return;
    }
}

static int take_line(struct qmp_core *core, const struct json *line)
{
    const char *event = json_get_string(line, "event");
    bool is_answer = json_get(line, "return") || json_get(line, "error");

    if (event) {
        if (core->on_event)
            core->on_event(core->event_userdata, event, json_get(line, "data"));
        return 0;
    }
    switch (core->state) {
    case QMP_GREETING:
        if (!json_is_object(json_get(line, "QMP")))
            return -EPROTO;
        core->state = QMP_NEGOTIATING;
        write_command(core, QMP_CAPABILITIES, 0);
        return 0;
    case QMP_NEGOTIATING:
        if (!is_answer || json_get(line, "error"))
            return -EPROTO;
        core->state = QMP_RUNNING;
        send_waiting(core);
        return 0;
    case QMP_RUNNING:
        if (!is_answer)
            return -EPROTO;
        take_answer(core, line);
        return 0;
    default:
        return -ENOTCONN;
    }
}

static int take_text(struct qmp_core *core)
{
    struct json *line;
    int r;

    if (strspn(buf_str(&core->in), " \t\r") == core->in.len) {
        buf_reset(&core->in);
        return 0;
    }
    line = json_parse(buf_str(&core->in), core->in.len, NULL);
    buf_reset(&core->in);
    if (!json_is_object(line)) {
        json_free(line);
        return -EBADMSG;
    }
    r = take_line(core, line);
    json_free(line);
    return r;
}

int qmp_core_feed(struct qmp_core *core, const char *data, size_t len)
{
    int r = 0;

    while (len > 0 && r == 0 && core->state != QMP_DISCONNECTED) {
        const char *newline = memchr(data, '\n', len);
        size_t n = newline ? (size_t)(newline - data) : len;

        r = buf_add(&core->in, data, n);
        if (r == 0 && newline)
            r = take_text(core);
        n += newline ? 1 : 0;
        data += n;
        len -= n;
    }
    if (r < 0)
        qmp_core_fail(core, r, "QEMU's control socket speaks no QMP");
    return r;
}
