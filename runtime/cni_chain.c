/* Walks a configuration list: backwards for DEL, else forwards (CNI spec, section 3). Keeps the
 * result that the next plugin gets as prevResult. Called by network.c. */
#include "runtime/cni_chain.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/cni_exec.h"

#include <errno.h>
#include <string.h>
#include <uv.h>

/* Plugins find iptables and the like by this path whatever the agent was started with. */
#define PLUGIN_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define ENV_LEN 8
/* Twice what names the valid attachments (GC), for a host's whole room of Pods. */
#define INPUT_MAX (CNI_CONF_MAX + CNI_RESULT_MAX + 4 * 1024 * 1024)

static const char *const commands[] = {
    [CNI_ADD] = "ADD", [CNI_CHECK] = "CHECK", [CNI_DEL] = "DEL", [CNI_GC] = "GC"};

struct cni_chain {
    uv_loop_t *loop;
    struct cni_call call;
    size_t steps; /* done or begun */
    char *prev;   /* NULL: no result yet */
    struct cni_exec *exec;
    uv_timer_t soon; /* a start that failed is reported from the loop, not from the caller */
    struct err err;
    int result;
    cni_chain_done done;
    void *userdata;
};

static void next(struct cni_chain *chain);

static void on_closed(uv_handle_t *handle)
{
    struct cni_chain *chain = handle->data;

    free(chain->prev);
    free(chain);
}

static void finish(struct cni_chain *chain)
{
    const char *text = chain->prev ? chain->prev : "";

    uv_close((uv_handle_t *)&chain->soon, on_closed);
    chain->done(chain->userdata, chain->result, text, strlen(text), &chain->err);
}

static const struct cni_plugin *current(const struct cni_chain *chain)
{
    const struct cni_list *list = chain->call.list;

    return &list->plugins[chain->call.command == CNI_DEL ? list->plugins_len - chain->steps
                                                         : chain->steps - 1];
}

/* Whoever takes away goes on, to leave as little as possible. */
static bool goes_on(const struct cni_chain *chain)
{
    return chain->call.command == CNI_DEL || chain->call.command == CNI_GC;
}

static void note_failure(struct cni_chain *chain, int result, const struct err *err)
{
    if (chain->result == 0) {
        chain->result = result;
        chain->err = *err;
    }
}

static void on_exec(void *userdata, int result, const char *output, size_t output_len,
                    const struct err *exec_err)
{
    struct cni_chain *chain = userdata;
    struct err err = *exec_err;

    chain->exec = NULL;
    if (result == 0 && chain->call.command == CNI_ADD) {
        result = cni_output_check(output, output_len, &err);
        if (result < 0)
            err_wrap(&err, "CNI plugin %s", current(chain)->type);
    }
    if (result < 0) {
        note_failure(chain, result, &err);
    } else if (chain->call.command == CNI_ADD) {
        free(chain->prev);
        chain->prev = xstrndup(output, output_len);
    }
    next(chain);
}

static char *join_dirs(const struct cni_call *call)
{
    CLEANUP(buf) struct buf text = BUF_INIT(4096);

    for (size_t i = 0; i < call->bin_dirs_len; i++)
        (void)buf_addf(&text, "%s%s", i ? ":" : "", call->bin_dirs[i]);
    return buf_take(&text);
}

static int start_plugin(struct cni_chain *chain, struct err *err)
{
    const struct cni_call *call = &chain->call;
    const struct cni_plugin *plugin = current(chain);
    CLEANUP(free) char *path = cni_find(plugin->type, call->bin_dirs, call->bin_dirs_len);
    CLEANUP(free) char *dirs = join_dirs(call);
    CLEANUP(free) char *command = xasprintf("CNI_COMMAND=%s", commands[call->command]);
    CLEANUP(free) char *id = xasprintf("CNI_CONTAINERID=%s", call->container_id);
    CLEANUP(free) char *netns = xasprintf("CNI_NETNS=%s", call->netns);
    CLEANUP(free) char *args = xasprintf("CNI_ARGS=%s", call->args);
    CLEANUP(free) char *bins = xasprintf("CNI_PATH=%s", dirs);
    CLEANUP(buf) struct buf input = BUF_INIT(INPUT_MAX);
    const struct cni_told told = {
        .wants = &call->wants, .prev = chain->prev, .attachments = call->attachments};
    const char *of_pod[ENV_LEN] = {
        command, PLUGIN_PATH, bins, id, netns, "CNI_IFNAME=" CNI_IFNAME, args, NULL,
    };
    const char *of_none[] = {command, PLUGIN_PATH, bins, NULL};
    struct cni_exec_spec spec = {.path = path,
                                 .type = plugin->type,
                                 .envp = call->container_id ? of_pod : of_none,
                                 .guard_fd = call->guard_fd,
                                 .ms_max = call->ms_max};

    if (!path)
        return err_set(err, -ENOENT, "CNI plugin %s is not in %s", plugin->type, dirs);
    if (cni_input(call->list, (size_t)(plugin - call->list->plugins), &told, &input) < 0)
        return err_set(err, -ENOBUFS, "CNI plugin %s: its input is too large", plugin->type);
    spec.input = buf_str(&input);
    spec.input_len = input.len;
    return cni_exec_start(chain->loop, &spec, on_exec, chain, &chain->exec, err);
}

static void on_soon(uv_timer_t *timer)
{
    next(timer->data);
}

/* Starts the next plugin or ends. A plugin that cannot be started counts as failed. */
static void next(struct cni_chain *chain)
{
    struct err err;
    int r;

    if (chain->steps == chain->call.list->plugins_len || (chain->result < 0 && !goes_on(chain))) {
        finish(chain);
        return;
    }
    chain->steps++;
    r = start_plugin(chain, &err);
    if (r < 0) {
        note_failure(chain, r, &err);
        (void)uv_timer_start(&chain->soon, on_soon, 0, 0);
    }
}

struct cni_chain *cni_chain_start(struct uv_loop_s *loop, const struct cni_call *call,
                                  cni_chain_done done, void *userdata)
{
    struct cni_chain *chain = xcalloc(1, sizeof(*chain));

    chain->loop = loop;
    chain->call = *call;
    chain->prev = call->prev ? xstrdup(call->prev) : NULL;
    chain->done = done;
    chain->userdata = userdata;
    chain->soon.data = chain;
    (void)uv_timer_init(loop, &chain->soon); /* cannot fail */
    next(chain);
    return chain;
}

void cni_chain_abandon(struct cni_chain *chain)
{
    if (!chain)
        return;
    cni_exec_abandon(chain->exec);
    uv_close((uv_handle_t *)&chain->soon, on_closed);
}
