/* What a Unikraft kernel makes of a command line: a model of its tokenizer and parameter scan, for
 * the unit test and the fuzz harness. Two generations: the old one has no backslash and does not
 * start a word at quoted white space. Written from the rules, not from the kernel's text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_TOKENS_MAX 5000

struct model {
    char *text;                    /* owns the words */
    char *words[MODEL_TOKENS_MAX]; /* all, argv[0] first */
    size_t words_len;
    size_t params_len; /* words 1..params_len are parameters, if any "--" counted */
    size_t args_at;    /* index of the program's first argument */
};

static inline bool model_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v';
}

/* max: LIBUKBOOT_MAXNBARGS. */
static inline void model_parse(struct model *m, const char *line, bool backslash, size_t max)
{
    char quote = 0;
    bool in_word = false;
    char *out;

    memset(m, 0, sizeof(*m));
    m->text = out = (char *)calloc(1, strlen(line) + 1);
    for (const char *p = line; *p; p++) {
        char c = *p;

        if (!quote && model_space(c)) {
            if (in_word)
                *out++ = '\0';
            in_word = false;
            continue;
        }
        if ((c == '\'' || c == '"') && (!quote || quote == c)) {
            quote = quote ? 0 : c;
            continue;
        }
        if (backslash && c == '\\' && quote != '\'' && p[1])
            c = *++p;
        if (!in_word && !backslash && model_space(c))
            continue;
        if (!in_word) {
            if (m->words_len == max)
                break;
            m->words[m->words_len++] = out;
            in_word = true;
        }
        *out++ = c;
    }
    m->args_at = 1;
    for (size_t i = 1; i < m->words_len; i++) {
        if (strcmp(m->words[i], "--") != 0)
            continue;
        if (i > 1) { /* directly after argv[0] it belongs to the program */
            m->params_len = i - 1;
            m->args_at = i + 1;
        }
        break;
    }
}

static inline void model_free(struct model *m)
{
    free(m->text);
    m->text = NULL;
}
