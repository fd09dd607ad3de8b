/* kubectl attach: the machine's serial console. Output is what the shim writes to the log from now
 * on; input goes to the shim. A console has no size and no end of input: both are ignored. */
#include "base/str.h"
#include "k8s/server.h"
#include "k8s/stream.h"
#include "provider/machines.h"
#include "provider/streams.h"
#include "runtime/instance_input.h"
#include "runtime/logs.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_MAX 4096 /* of the log, at a time */

struct attach {
    struct attach *next;
    struct streams *streams;
    char *uid;
    struct remote *remote;
    struct logs_reader *reader;
    struct instance_input *input; /* NULL: nobody types */
    bool tty;
    bool after_cr; /* the last byte of output was a carriage return */
    bool log_ended;
    size_t pending_len, pending_at; /* output on its way */
    char pending[2 * PIECE_MAX];
};

static bool flush(struct attach *a)
{
    a->pending_at +=
        remote_write(a->remote, false, a->pending + a->pending_at, a->pending_len - a->pending_at);
    return a->pending_at == a->pending_len;
}

/* The log has no carriage returns of the guest's terminal; a raw terminal needs them. */
static void fill(struct attach *a, const char *text, size_t len)
{
    a->pending_at = a->pending_len = 0;
    for (size_t i = 0; i < len; i++) {
        if (a->tty && text[i] == '\n' && !a->after_cr)
            a->pending[a->pending_len++] = '\r';
        a->pending[a->pending_len++] = text[i];
        a->after_cr = text[i] == '\r';
    }
}

static size_t on_text(void *userdata, const char *text, size_t len)
{
    struct attach *a = userdata;
    size_t taken = 0;
    while (taken < len && flush(a)) {
        size_t n = len - taken < PIECE_MAX ? len - taken : PIECE_MAX;
        fill(a, text + taken, n);
        taken += n;
    }
    (void)flush(a);
    return taken;
}

static void on_log_end(void *userdata, int result)
{
    struct attach *a = userdata;
    a->log_ended = true;
    if (result < 0)
        remote_end(a->remote, "the console's output can no longer be followed");
    else if (flush(a))
        remote_end(a->remote, NULL);
}

static const struct logs_ops log_ops = {.on_text = on_text, .on_end = on_log_end};

static void on_room(void *userdata)
{
    struct attach *a = userdata;
    remote_resume(a->remote);
}

static void on_input_closed(void *userdata, bool refused)
{
    struct attach *a = userdata;
    instance_input_close(a->input);
    a->input = NULL;
    if (refused)
        remote_end(a->remote, "the console takes no more input: too many others type on it");
    else
        remote_resume(a->remote); /* what is still typed goes nowhere; the log's end follows */
}

static const struct instance_input_ops input_ops = {.on_room = on_room,
                                                    .on_closed = on_input_closed};

static void on_ready(void *userdata)
{
    (void)flush(userdata);
    logs_resume(((struct attach *)userdata)->reader);
}

static size_t on_input(void *userdata, const char *data, size_t len)
{
    struct attach *a = userdata;
    return a->input ? instance_input_write(a->input, data, len) : len;
}

static void on_input_end(void *userdata)
{
    (void)userdata; /* a serial line has no end */
}

static void on_writable(void *userdata)
{
    struct attach *a = userdata;
    if (!flush(a))
        return;
    if (a->log_ended)
        remote_end(a->remote, NULL);
    else
        logs_resume(a->reader);
}

static void on_closed(void *userdata)
{
    struct attach *a = userdata;
    struct attach **at = &a->streams->attaches;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    logs_close(a->reader);
    instance_input_close(a->input);
    free(a->uid);
    free(a);
}

static const struct remote_ops remote_ops = {
    .on_ready = on_ready,
    .on_input = on_input,
    .on_input_end = on_input_end,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

static void refuse(struct server_request *request, int status, const char *text)
{
    server_reply(request, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* What must be there before the connection changes its protocol: then failing can be told. */
static int join_machine(struct attach *a, struct pod *pod, bool wants_input)
{
    struct agent *agent = a->streams->agent;
    const struct machine *m = pod->machine;
    const struct logs_options options = {.follow = true, .tail_lines = 0, .limit_bytes = -1};
    size_t index = pod_active(pod); /* the one that runs, as the caller saw */
    char *path = machine_log_path(agent, pod->spec, index, pod->containers[index].attempt);
    int r = logs_open(&agent->loop, path, &options, &log_ops, a, &a->reader);
    free(path);
    if (r == 0 && wants_input && pod_container(pod->spec, index)->stdin_open)
        r = instance_input_open(agent->instances, m ? m->id : "", &input_ops, a, &a->input);
    return r;
}

void attach_begin(struct streams *streams, struct server_request *request, struct pod *pod)
{
    struct remote_options options;
    char text[STREAM_TEXT_MAX];
    const char *wrong = remote_parse(request, &options);
    if (wrong) {
        refuse(request, 400, wrong);
        return;
    }
    struct attach *a = xcalloc(1, sizeof(*a));
    a->streams = streams;
    a->tty = options.tty;
    int r = join_machine(a, pod, options.input);
    if (r < 0) {
        str_fmt(text, sizeof(text), "the console of pod \"%s\" cannot be reached: %s",
                pod->spec->name, strerror(-r));
        refuse(request, 500, text);
    } else {
        a->remote = remote_begin(request, &streams->agent->loop, &options, &remote_ops, a);
    }
    if (!a->remote) {
        logs_close(a->reader);
        instance_input_close(a->input);
        free(a);
        return;
    }
    a->uid = xstrdup(pod->spec->uid);
    a->next = streams->attaches;
    streams->attaches = a;
}

void attach_container_ended(struct streams *streams, const char *uid)
{
    for (struct attach *a = streams->attaches; a; a = a->next) {
        if (!a->log_ended && str_eq(a->uid, uid))
            logs_container_ended(a->reader);
    }
}
