/* Any environment and arguments: a Unikraft command line is either refused or read back exactly as
 * meant, by both generations of the kernel's parser. Input: texts divided by NUL; those with a '='
 * are variables, the others arguments. */
#include "base/buf.h"
#include "base/err.h"
#include "runtime/guest.h"
#include "tests/unit/unikraft_model.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool fine)
{
    if (!fine)
        abort();
}

static void check(const struct guest_input *input, const char *line, bool backslash)
{
    static struct model m;
    size_t vars = 0;

    model_parse(&m, line, backslash, 60);
    require(m.words_len - m.args_at == input->argv_len);
    for (size_t i = 0; i < input->argv_len; i++)
        require(strcmp(m.words[m.args_at + i], input->argv[i]) == 0);
    for (size_t i = 1; i <= m.params_len; i++) {
        const char *word = m.words[i];
        const struct guest_env *env = &input->env[vars];

        if (strncmp(word, "env.vars=", 9) != 0)
            continue;
        require(vars < input->env_len);
        require(strncmp(word + 9, env->key, strlen(env->key)) == 0);
        require(word[9 + strlen(env->key)] == '=');
        require(strcmp(word + 10 + strlen(env->key), env->value) == 0);
        vars++;
    }
    require(vars == input->env_len);
    model_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct guest_net net = {.ip = "10.0.0.2", .prefix_len = 24, .gateway = "10.0.0.1"};
    struct guest_env env[TEXTS_MAX];
    const char *argv[TEXTS_MAX];
    struct guest_input input = {.name = "fuzz", .env = env, .argv = argv, .board = BOARD_PC};
    struct buf out = BUF_INIT(1 << 20);
    char *text = (char *)malloc(size + 1);
    struct err err;

    memcpy(text, data, size);
    text[size] = '\0';
    for (size_t at = 0; at < size && input.env_len + input.argv_len < TEXTS_MAX;
         at += strlen(text + at) + 1) {
        char *equals = strchr(text + at, '=');

        if (!equals) {
            argv[input.argv_len++] = text + at;
            continue;
        }
        at += (size_t)(equals - (text + at)) + 1;
        *equals = '\0';
        env[input.env_len].key = equals;
        while (env[input.env_len].key > text && env[input.env_len].key[-1] != '\0')
            env[input.env_len].key--;
        env[input.env_len].optional = false;
        env[input.env_len++].value = text + at;
    }
    if (size & 1)
        input.net = &net;
    if (guest_find("unikraft")->cmdline(&input, &out, &err) == 0) {
        check(&input, buf_str(&out), false);
        check(&input, buf_str(&out), true);
    }
    buf_reset(&out);
    if (guest_find("linux")->cmdline(&input, &out, &err) == 0)
        require(out.len < 2048 && !strchr(buf_str(&out), '\n'));
    buf_free(&out);
    free(text);
    return 0;
}
