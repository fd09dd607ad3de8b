/* unikubelet image pull|import|ls|rm|inspect. An agent without Pods, machines and API server: its
 * configuration, its loop, its image store. The agent of this node may run beside it: the store is
 * made for several processes (image_disk.h). */
#include "provider/image_cli.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/cleanup.h"
#include "k8s/kubeconfig.h"
#include "provider/image_cli_priv.h"
#include "provider/startup.h"
#include "runtime/image_archive.h"
#include "runtime/image_keyring.h"
#include "runtime/image_oci.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_MAX 4096 /* as many as the store knows */
#define REDRAW_MS 100 /* of the progress bar */
#define BAR_WIDTH 30
#define INDEX_MAX (4u * 1024 * 1024)
#define NO_SERVER "http://127.0.0.1" /* never spoken to */

struct cli {
    struct agent agent;
    const char *args[2]; /* of the command; NULL: not given */
    struct image_pull *pull;
    uv_timer_t redraw;
    bool is_tty;
    const char *reference;
    struct image_result result;
    struct image *image;
    char error[ERR_TEXT_MAX];
};

static int usage(FILE *out, int status)
{
    fputs(
        "Usage: unikubelet image COMMAND [FLAGS]\n"
        "\n"
        "Commands:\n"
        "  pull NAME            get an image from imageLayouts or its registry\n"
        "  import PATH [NAME]   take an image from an OCI image layout, a directory or a tar of "
        "one\n"
        "  ls                   list the images of this node\n"
        "  rm NAME              forget a name, and remove the image with its last one\n"
        "  inspect NAME [POD]   show an image and what would be launched, for the Pod of a\n"
        "                       manifest's file or for one that names the image only\n"
        "\n"
        "Flags are the agent's (unikubelet --help), after the command's arguments: --config says\n"
        "where its configuration is, --state-dir where the images are. The agent may be running.\n"
        "Credentials are those of $REGISTRY_AUTH_FILE, else of ~/.docker/config.json.\n",
        out);
    return status;
}

static int misused(const char *command, const char *what)
{
    if (command)
        fprintf(stderr, "unikubelet image: %s %s\n\n", command, what);
    return usage(stderr, IMAGE_CLI_USAGE);
}

static int fail(const char *text)
{
    fprintf(stderr, "unikubelet image: %s\n", text);
    return IMAGE_CLI_FAILED;
}

static void print_size(char text[32], uint64_t bytes)
{
    if (bytes >= 1024 * 1024)
        str_fmt(text, 32, "%.1f MiB", (double)bytes / (1024 * 1024));
    else
        str_fmt(text, 32, "%.1f KiB", (double)bytes / 1024);
}

static void draw(uv_timer_t *timer)
{
    const struct cli *cli = timer->data;
    struct image_progress progress = {.got = 0};
    char bar[BAR_WIDTH + 1];
    char got[32];
    char total[32];
    size_t filled = 0;

    if (!cli->pull)
        return;
    image_pull_progress(cli->pull, &progress);
    if (progress.total > 0)
        filled = (size_t)(progress.got * BAR_WIDTH / progress.total);
    memset(bar, ' ', BAR_WIDTH);
    memset(bar, '=', filled < BAR_WIDTH ? filled : BAR_WIDTH);
    bar[BAR_WIDTH] = '\0';
    print_size(got, progress.got);
    print_size(total, progress.total);
    fprintf(stderr, "\r%s [%s] %s of %s%s\033[K", cli->reference, bar, got, total,
            progress.unpacking ? ", unpacking" : "");
}

static void on_done(void *userdata, const struct image_result *result)
{
    struct cli *cli = userdata;

    cli->pull = NULL;
    cli->result = *result;
    cli->image = result->image;
    str_copy(cli->error, sizeof(cli->error), result->error ? result->error : "");
    uv_timer_stop(&cli->redraw);
    uv_stop(&cli->agent.loop);
}

static bool pull_once(struct cli *cli, const char *reference, const struct keyring *keyring,
                      const struct keyring_entry *entry)
{
    cli->reference = reference;
    cli->pull =
        image_pull_start(cli->agent.images, reference, IMAGE_ALWAYS, entry ? entry->user : NULL,
                         entry ? entry->password : NULL, keyring, on_done, cli);
    if (cli->is_tty)
        uv_timer_start(&cli->redraw, draw, REDRAW_MS, REDRAW_MS);
    while (cli->pull)
        (void)uv_run(&cli->agent.loop, UV_RUN_DEFAULT);
    if (cli->is_tty)
        fputs("\r\033[K", stderr);
    return cli->image != NULL;
}

static int read_keyring(struct keyring *keyring, struct err *err)
{
    const char *given = getenv("REGISTRY_AUTH_FILE");
    const char *home = getenv("HOME");
    char *path = given ? xstrdup(given) : xasprintf("%s/.docker/config.json", home ? home : "");
    struct buf text = BUF_INIT(KEYRING_TEXT_MAX);
    int result = file_read(path, &text);

    if (result == 0)
        result = keyring_add_docker(keyring, buf_str(&text), text.len, true, err);
    else if (result == -ENOENT && !given)
        result = 0;
    else
        (void)err_set(err, result, "%s", strerror(-result));
    if (result < 0)
        (void)err_wrap(err, "%s", path);
    if (text.data)
        explicit_bzero(text.data, text.len);
    buf_free(&text);
    free(path);
    return result;
}

/* The credentials that are for the image one after the other, without any when there are none. */
static int pull_named(struct cli *cli, const char *reference, bool with_keys)
{
    struct keyring keyring = {.len = 0};
    struct image_name name;
    struct err err = {0};
    bool done = false;

    if (image_name_parse(reference, &name, &err) < 0)
        return fail(err.text);
    if (with_keys && read_keyring(&keyring, &err) < 0)
        return fail(err.text);
    for (size_t n = 0; !done; n++) {
        const struct keyring_entry *entry = keyring_find(&keyring, &name, n);

        if (!entry && n > 0)
            break;
        done = pull_once(cli, reference, &keyring, entry);
    }
    keyring_free(&keyring);
    if (!done)
        return fail(cli->error);
    char size[32];
    print_size(size, cli->image->size_bytes);
    fprintf(stdout, "%s@%s (%s, %s, %.1f s)\n", cli->image->name, cli->image->digest,
            cli->image->guest_kind, size, (double)cli->result.took_ms / 1000);
    image_unref(cli->image);
    cli->image = NULL;
    return 0;
}

static int cmd_pull(struct cli *cli)
{
    return pull_named(cli, cli->args[0], true);
}

/* All images of the layout that have a name. */
static int import_all(struct cli *cli, const char *dir)
{
    char *path = xasprintf("%s/index.json", dir);
    struct buf text = BUF_INIT(INDEX_MAX);
    int result = file_read(path, &text);
    size_t count = 0;
    bool more = true;
    int status = 0;

    if (result < 0)
        fprintf(stderr, "unikubelet image: %s: %s\n", path, strerror(-result));
    for (size_t n = 0; result == 0 && more && status == 0; n++) {
        char *name = oci_ref_name(buf_str(&text), text.len, n, &more);

        if (name)
            status = pull_named(cli, name, false);
        count += name != NULL;
        free(name);
    }
    if (result == 0 && count == 0)
        status = fail("the layout's images have no whole names, such as reg.io/app:v1: say one "
                      "after the path");
    buf_free(&text);
    free(path);
    return result < 0 ? IMAGE_CLI_FAILED : status;
}

static int cmd_import(struct cli *cli)
{
    const char *dir = cli->agent.import_layout;

    return cli->args[1] ? pull_named(cli, cli->args[1], false) : import_all(cli, dir);
}

static int cmd_ls(struct cli *cli)
{
    struct image_listing *list = xcalloc(LIST_MAX, sizeof(*list));
    size_t len = image_list(cli->agent.images, list, LIST_MAX);

    fprintf(stdout, "%-50s %-20s %-20s %s\n", "NAME", "TAG", "DIGEST", "SIZE");
    for (size_t i = 0; i < len; i++) {
        char size[32];

        print_size(size, list[i].size_bytes);
        fprintf(stdout, "%-50s %-20s %-20.19s %s\n", list[i].name,
                list[i].tag[0] ? list[i].tag : "<none>", list[i].digest, size);
    }
    free(list);
    return 0;
}

static int cmd_rm(struct cli *cli)
{
    struct err err = {0};

    return image_remove(cli->agent.images, cli->args[0], &err) < 0 ? fail(err.text) : 0;
}

static int cmd_inspect(struct cli *cli)
{
    struct image *image = image_local(cli->agent.images, cli->args[0]);
    int status;

    if (!image) {
        fprintf(stderr, "unikubelet image: image \"%s\" is not on this node\n", cli->args[0]);
        return IMAGE_CLI_FAILED;
    }
    status = image_cli_inspect(&cli->agent, image, cli->args[1]);
    image_unref(image);
    return status;
}

static const struct command {
    const char *name;
    int (*run)(struct cli *cli);
    size_t args_min, args_max;
} commands[] = {
    {"pull", cmd_pull, 1, 1}, {"import", cmd_import, 1, 2},   {"ls", cmd_ls, 0, 0},
    {"rm", cmd_rm, 1, 1},     {"inspect", cmd_inspect, 1, 2},
};

static void close_handle(uv_handle_t *handle, void *userdata)
{
    (void)userdata;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void close_store(struct cli *cli)
{
    struct agent *agent = &cli->agent;

    image_store_close(agent->images);
    kube_client_free(agent->client);
    uv_walk(&agent->loop, close_handle, NULL);
    (void)uv_run(&agent->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&agent->loop);
}

static int run(struct cli *cli, const struct command *command, struct err *err)
{
    struct agent *agent = &cli->agent;
    struct kube_config nobody = {.server = NO_SERVER};
    char *unpacked = NULL;
    int status = IMAGE_CLI_FAILED;
    int result = 0;

    if (command->run == cmd_import)
        result = image_archive_open(cli->args[0], agent->config.state_dir, &unpacked, err);
    if (result < 0)
        return result;
    agent->import_layout = unpacked ? unpacked : command->run == cmd_import ? cli->args[0] : NULL;
    result = uv_loop_init(&agent->loop);
    if (result < 0)
        return err_set(err, result, "event loop: %s", uv_strerror(result));
    uv_timer_init(&agent->loop, &cli->redraw);
    cli->redraw.data = cli;
    cli->is_tty = isatty(STDERR_FILENO);
    result = kube_client_new(&agent->loop, &nobody, &agent->client, err);
    if (result == 0) {
        kube_client_fetcher(agent->client, &agent->fetcher);
        result = startup_images(agent, err);
    }
    if (result == 0)
        status = command->run(cli);
    close_store(cli);
    if (unpacked)
        (void)file_remove_tree(unpacked);
    free(unpacked);
    return result < 0 ? result : status;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq(commands[i].name, name))
            return &commands[i];
    return NULL;
}

/* What comes before the first flag is the command's. */
static size_t take_args(struct cli *cli, int argc, char **argv, int *at)
{
    size_t len = 0;

    while (*at < argc && argv[*at][0] != '-') {
        if (len < ARRAY_LEN(cli->args))
            cli->args[len] = argv[*at];
        len++;
        (*at)++;
    }
    return len;
}

int image_cli_main(int argc, char **argv)
{
    const struct command *command = argc > 2 ? find_command(argv[2]) : NULL;
    struct cli cli = {.is_tty = false};
    enum config_command config_command;
    struct err err = {0};
    size_t len;
    int at = 3;
    int result;

    for (int i = 2; i < argc; i++)
        if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h"))
            return usage(stdout, 0);
    if (!command)
        return misused(argc > 2 ? argv[2] : NULL, "is no command");
    len = take_args(&cli, argc, argv, &at);
    if (len < command->args_min)
        return misused(argv[2], "needs a name or path before the flags");
    if (len > command->args_max)
        return misused(argv[2], "does not take as many arguments");
    argv[at - 1] = argv[0];
    if (config_load(argc - at + 1, argv + at - 1, &cli.agent.config, &config_command, &err) < 0) {
        fprintf(stderr, "unikubelet image: %s\n", err.text);
        return IMAGE_CLI_USAGE;
    }
    log_set_level(LOG_WARN);
    result = run(&cli, command, &err);
    if (result < 0)
        result = fail(err.text);
    config_free(&cli.agent.config);
    return result;
}
