/* Configuration by a table of keys: built-in values, then a YAML file, then environment, then
 * flags. The engine of config.c (the agent) and of scaler/config.c: --help and --print-config come
 * from the same rows. Called before the loop exists. */
#pragma once

#include "provider/config_shape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;

#define CONFIG_LIST_MAX 16

struct config_list {
    char *items[CONFIG_LIST_MAX];
    size_t len;
};

enum config_command { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION, CONFIG_CHECK, CONFIG_PRINT };

enum key_type { KEY_STRING, KEY_INT, KEY_BOOL, KEY_LIST };

struct config_key {
    const char *yaml; /* the flag is the same, --kebab-case */
    const char *flag;
    const char *env;
    enum key_type type;
    enum shape shape; /* of a string, and of each entry of a list */
    size_t offset;
    const char *preset; /* of a list: comma-separated. An empty one: the value may be empty */
    int64_t min, max;   /* KEY_INT */
    const char *help;
};

struct config_table {
    const char *program; /* "unikubelet" */
    const char *intro;   /* the first lines of --help */
    const struct config_key *keys;
    size_t len;
    /* What several keys say together; may fill in what is empty. */
    int (*check)(void *config, struct err *err);
};

/* Reads argv and environ into the zeroed structure that the rows' offsets are of. On failure the
 * text names file and line, variable or flag, and nothing is left to free. */
int config_table_load(const struct config_table *table, int argc, char **argv, void *config,
                      enum config_command *ret_command, struct err *err);
void config_table_free(const struct config_table *table, void *config);
void config_table_print(const struct config_table *table, const void *config, FILE *out);
void config_table_help(const struct config_table *table, FILE *out);
