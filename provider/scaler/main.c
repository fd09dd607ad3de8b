/* The scaler's life: configuration, the loop, an end that hands the Lease back. Nothing is decided
 * here. */
#include "base/err.h"
#include "base/log.h"
#include "provider/scaler/scaler.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define EXIT_CONFIG 2 /* the configuration is wrong: restarting does not help */

static int run(struct scaler *scaler, struct err *err)
{
    int r = uv_loop_init(&scaler->loop);
    if (r < 0)
        return err_set(err, r, "event loop: %s", uv_strerror(r));
    r = scaler_begin(scaler, err);
    if (r == 0) {
        (void)uv_run(&scaler->loop, UV_RUN_DEFAULT);
        r = scaler->exit_code;
    }
    scaler_end(scaler);
    return r;
}

/* Each held connection costs two descriptors at its end. */
static void raise_files_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    struct scaler scaler = {0};
    struct err err = {0};
    enum config_command command;
    enum log_level level = LOG_INFO;
    (void)signal(SIGPIPE, SIG_IGN);
    raise_files_limit();
    if (scaler_config_load(argc, argv, &scaler.config, &command, &err) < 0) {
        fprintf(stderr, "unikubelet-scaler: %s\n", err.text);
        return EXIT_CONFIG;
    }
    (void)log_level_from_string(scaler.config.log_level, &level);
    log_set_level(level);
    int r = 0;
    switch (command) {
    case CONFIG_HELP:
        scaler_config_help(stdout);
        break;
    case CONFIG_VERSION:
        printf("unikubelet-scaler %s\n", UNIKUBELET_VERSION);
        break;
    case CONFIG_CHECK:
        printf("the configuration is good\n");
        break;
    case CONFIG_PRINT:
        scaler_config_print(&scaler.config, stdout);
        break;
    case CONFIG_RUN:
        log_info(NULL, "start", "unikubelet-scaler %s as %s", UNIKUBELET_VERSION,
                 scaler.config.pod_name);
        r = run(&scaler, &err);
        if (r < 0)
            log_error(NULL, "start", "%s", err.text);
        break;
    }
    scaler_config_free(&scaler.config);
    return r < 0 ? EXIT_FAILURE : r;
}
