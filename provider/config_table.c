/* Walks a table of configuration keys. What a value must look like is config_shape.c's. */
#include "provider/config_table.h"

#include "base/err.h"
#include "base/str.h"
#include "k8s/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char **string_at(void *config, const struct config_key *key)
{
    return (char **)((char *)config + key->offset);
}

static void list_clear(struct config_list *list)
{
    for (size_t i = 0; i < list->len; i++)
        free(list->items[i]);
    list->len = 0;
}

/* where: "file:12", "environment variable X" or "--flag", for the error. */
static int wrong_value(const struct config_key *key, const char *text, const char *where,
                       struct err *err)
{
    enum shape shape = shape_fits(SHAPE_TEXT, text) ? key->shape : SHAPE_TEXT;
    return err_spec(err, -EINVAL, "%s: %s must be %s, not \"%s\"", where, key->yaml,
                    shape_words(shape), text);
}

static int list_add(struct config_list *list, const struct config_key *key, const char *text,
                    size_t len, const char *where, struct err *err)
{
    if (list->len >= CONFIG_LIST_MAX)
        return err_spec(err, -E2BIG, "%s: %s has more than %d entries", where, key->yaml,
                        CONFIG_LIST_MAX);
    list->items[list->len++] = xstrndup(text, len);
    const char *item = list->items[list->len - 1];
    if (!*item)
        return err_spec(err, -EINVAL, "%s: %s has an empty entry", where, key->yaml);
    return shape_fits(key->shape, item) ? 0 : wrong_value(key, item, where, err);
}

/* Comma-separated. */
static int set_list(struct config_list *list, const struct config_key *key, const char *text,
                    const char *where, struct err *err)
{
    int result = 0;
    list_clear(list);
    while (*text && result == 0) {
        size_t len = strcspn(text, ",");
        if (len)
            result = list_add(list, key, text, len, where, err);
        text += len + (text[len] == ',');
    }
    return result;
}

static int set_key(void *config, const struct config_key *key, const char *text, const char *where,
                   struct err *err)
{
    void *at = (char *)config + key->offset;
    int64_t number;
    switch (key->type) {
    case KEY_INT:
        if (str_to_i64(text, &number) < 0 || number < key->min || number > key->max)
            return err_spec(err, -EINVAL, "%s: %s must be a number from %lld to %lld, not \"%s\"",
                            where, key->yaml, (long long)key->min, (long long)key->max, text);
        *(int64_t *)at = number;
        return 0;
    case KEY_BOOL:
        if (!str_eq(text, "true") && !str_eq(text, "false"))
            return err_spec(err, -EINVAL, "%s: %s must be true or false, not \"%s\"", where,
                            key->yaml, text);
        *(bool *)at = str_eq(text, "true");
        return 0;
    case KEY_LIST:
        return set_list(at, key, text, where, err);
    case KEY_STRING:
        break;
    }
    if (!(str_empty(text) && str_empty(key->preset)) && !shape_fits(key->shape, text))
        return wrong_value(key, text, where, err);
    free(*string_at(config, key));
    *string_at(config, key) = xstrdup(text);
    return 0;
}

static int set_yaml(void *config, const struct config_key *key, const struct yaml_node *node,
                    const char *where, struct err *err)
{
    int result = 0;
    if (yaml_is_null(node))
        return 0; /* "key:" and no more: as if it were not there */
    if (!yaml_is_list(node)) {
        const char *text = yaml_scalar(node);
        if (!text)
            return err_spec(err, -EINVAL, "%s: %s must be %s, not a map", where, key->yaml,
                            key->type == KEY_LIST ? "a list" : "a single value");
        return set_key(config, key, text, where, err);
    }
    if (key->type != KEY_LIST)
        return err_spec(err, -EINVAL, "%s: %s must be a single value, not a list", where,
                        key->yaml);
    struct config_list *list = (struct config_list *)((char *)config + key->offset);
    list_clear(list);
    for (const struct yaml_node *item = yaml_first(node); item && result == 0;
         item = yaml_next(item)) {
        const char *text = yaml_scalar(item);
        if (!text)
            return err_spec(err, -EINVAL, "%s: %s must be a list of plain values", where,
                            key->yaml);
        result = list_add(list, key, text, strlen(text), where, err);
    }
    return result;
}

static int load_file(const struct config_table *table, void *config, const char *path,
                     struct err *err)
{
    struct yaml_doc *doc;
    int result = yaml_load(path, &doc, err);
    if (result < 0)
        return result;
    const struct yaml_node *root = yaml_root(doc);
    if (root && !yaml_is_map(root))
        result = err_spec(err, -EINVAL, "%s: not a map of keys", path);
    for (const struct yaml_node *node = yaml_first(root); node && result == 0;
         node = yaml_next(node)) {
        char where[4200];
        str_fmt(where, sizeof(where), "%s:%u", path, yaml_line(node));
        const struct config_key *key = NULL;
        for (size_t i = 0; i < table->len && !key; i++)
            key = str_eq(table->keys[i].yaml, yaml_key(node)) ? &table->keys[i] : NULL;
        if (!key)
            result = err_spec(err, -EINVAL, "%s: unknown key \"%s\" (see %s --help)", where,
                              yaml_key(node), table->program);
        else
            result = set_yaml(config, key, node, where, err);
    }
    yaml_doc_free(doc);
    return result;
}

static const struct config_key *find_flag(const struct config_table *table, const char *name,
                                          size_t len)
{
    for (size_t i = 0; i < table->len; i++) {
        const struct config_key *key = &table->keys[i];
        if (strlen(key->flag) == len && strncmp(key->flag, name, len) == 0)
            return key;
    }
    return NULL;
}

/* One "--name=value", "--name value" or "--switch". *i moves past what was used. */
static int parse_flag(const struct config_table *table, void *config, int argc, char **argv, int *i,
                      const char **ret_file, bool first_pass, enum config_command *command,
                      struct err *err)
{
    const char *arg = argv[*i];
    static const struct {
        const char *flag;
        enum config_command command;
    } commands[] = {{"--help", CONFIG_HELP},
                    {"-h", CONFIG_HELP},
                    {"--version", CONFIG_VERSION},
                    {"--check-config", CONFIG_CHECK},
                    {"--print-config", CONFIG_PRINT}};
    for (size_t c = 0; c < sizeof(commands) / sizeof(commands[0]); c++) {
        if (str_eq(arg, commands[c].flag)) {
            *command = commands[c].command;
            return 0;
        }
    }
    if (!str_starts(arg, "--"))
        return err_spec(err, -EINVAL, "unexpected argument \"%s\" (see %s --help)", arg,
                        table->program);
    size_t len = strcspn(arg + 2, "=");
    const struct config_key *key = find_flag(table, arg + 2, len);
    bool is_file = len == strlen("config") && strncmp(arg + 2, "config", len) == 0;
    if (!key && !is_file)
        return err_spec(err, -EINVAL, "unknown flag \"%s\" (see %s --help)", arg, table->program);
    const char *value = arg[2 + len] == '=' ? arg + 2 + len + 1 : NULL;
    if (!value && key && key->type == KEY_BOOL)
        value = "true";
    if (!value && *i + 1 < argc)
        value = argv[++*i];
    if (!value)
        return err_spec(err, -EINVAL, "flag \"%s\" needs a value", arg);
    if (is_file) {
        *ret_file = value;
        return 0;
    }
    return first_pass ? 0 : set_key(config, key, value, arg, err);
}

static int parse_flags(const struct config_table *table, void *config, int argc, char **argv,
                       const char **ret_file, bool first_pass, enum config_command *command,
                       struct err *err)
{
    for (int i = 1; i < argc; i++) {
        int result = parse_flag(table, config, argc, argv, &i, ret_file, first_pass, command, err);
        if (result < 0)
            return result;
    }
    return 0;
}

static void preset(const struct config_table *table, void *config)
{
    for (size_t i = 0; i < table->len; i++)
        (void)set_key(config, &table->keys[i], table->keys[i].preset, "built-in", NULL);
}

int config_table_load(const struct config_table *table, int argc, char **argv, void *config,
                      enum config_command *ret_command, struct err *err)
{
    const char *file = NULL;
    enum config_command command = CONFIG_RUN;
    preset(table, config);
    int result = parse_flags(table, config, argc, argv, &file, true, &command, err);
    /* Whoever asks for help or version gets it, whatever the configuration says. */
    bool ask = command == CONFIG_HELP || command == CONFIG_VERSION;
    if (result == 0 && !ask && file)
        result = load_file(table, config, file, err);
    for (size_t i = 0; i < table->len && !ask && result == 0; i++) {
        const struct config_key *key = &table->keys[i];
        const char *value = key->env ? getenv(key->env) : NULL;
        char where[64];
        str_fmt(where, sizeof(where), "environment variable %s", key->env ? key->env : "");
        if (value && *value)
            result = set_key(config, key, value, where, err);
    }
    if (result == 0 && !ask)
        result = parse_flags(table, config, argc, argv, &file, false, &command, err);
    if (result == 0 && !ask)
        result = table->check(config, err);
    if (result < 0) {
        config_table_free(table, config);
        return result;
    }
    *ret_command = command;
    return 0;
}

void config_table_free(const struct config_table *table, void *config)
{
    const struct config_key *keys = table->keys;
    for (size_t i = 0; i < table->len; i++) {
        void *at = (char *)config + keys[i].offset;
        if (keys[i].type == KEY_LIST) {
            list_clear(at);
        } else if (keys[i].type != KEY_INT && keys[i].type != KEY_BOOL) {
            free(*(char **)at);
            *(char **)at = NULL;
        }
    }
}

static void print_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

void config_table_print(const struct config_table *table, const void *config, FILE *out)
{
    const struct config_key *keys = table->keys;
    for (size_t i = 0; i < table->len; i++) {
        const void *at = (const char *)config + keys[i].offset;
        const struct config_list *list = at;
        fprintf(out, "%s: ", keys[i].yaml);
        switch (keys[i].type) {
        case KEY_INT:
            fprintf(out, "%lld", (long long)*(const int64_t *)at);
            break;
        case KEY_BOOL:
            fputs(*(const bool *)at ? "true" : "false", out);
            break;
        case KEY_LIST:
            fputc('[', out);
            for (size_t k = 0; k < list->len; k++) {
                fputs(k ? ", " : "", out);
                print_quoted(out, list->items[k]);
            }
            fputc(']', out);
            break;
        default:
            print_quoted(out, *(char *const *)at);
        }
        fputc('\n', out);
    }
}

void config_table_help(const struct config_table *table, FILE *out)
{
    fprintf(out, "%s\n", table->intro);
    fprintf(out, "usage: %s [--config FILE] [flags]\n\n", table->program);
    fputs("  --config FILE      read keys (named as in parentheses) from a YAML file\n"
          "  --check-config     say whether the configuration is good, and stop\n"
          "  --print-config     print what is in force as YAML, and stop\n"
          "  --version          print the version, and stop\n"
          "  --help, -h         print this, and stop\n\n"
          "The file gives way to the environment, the environment to the flags. A flag separates\n"
          "the entries of a list with commas; the file has YAML's lists.\n\n",
          out);
    for (size_t i = 0; i < table->len; i++) {
        const struct config_key *key = &table->keys[i];
        fprintf(out, "  --%s (%s%s%s)\n      %s", key->flag, key->yaml, key->env ? ", $" : "",
                key->env ? key->env : "", key->help);
        if (key->preset[0])
            fprintf(out, "; default %s", key->preset);
        fputc('\n', out);
    }
}
