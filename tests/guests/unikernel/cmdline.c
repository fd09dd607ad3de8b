/* Unikraft's command line: the first token is argv[0]; parameters up to "--", then arguments;
 * without
 * "--" all tokens are arguments. Quotes '..' and "..", backslash outside and inside "..". */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Copies one token, unquoted, to *out; returns where the next begins. */
static const char *take_token(const char *at, char **out)
{
    char *to = *out;
    char quote = 0;
    for (; *at && (quote || !is_space(*at)); at++) {
        if (*at == '\\' && quote != '\'' && at[1])
            *to++ = *++at;
        else if (quote ? *at == quote : (*at == '\'' || *at == '"'))
            quote = quote ? 0 : *at;
        else
            *to++ = *at;
    }
    *to++ = '\0';
    *out = to;
    return at;
}

static uint32_t parse_u32(const char **at)
{
    uint32_t value = 0;
    unsigned base = 10;
    if ((*at)[0] == '0' && (*at)[1] == 'x') {
        base = 16;
        *at += 2;
    }
    for (;; (*at)++) {
        unsigned digit = 99;
        if (**at >= '0' && **at <= '9')
            digit = (unsigned)(**at - '0');
        else if (**at >= 'a' && **at <= 'f')
            digit = (unsigned)(**at - 'a' + 10);
        if (digit >= base)
            return value;
        value = value * base + digit;
    }
}

static uint32_t parse_ip(const char **at)
{
    uint32_t ip = 0;
    for (unsigned i = 0; i < 4; i++) {
        ip |= parse_u32(at) << (8 * i);
        if (**at == '.')
            (*at)++;
    }
    return ip;
}

/* size@base:irq */
static void parse_mmio(struct command *command, const char *value)
{
    (void)parse_u32(&value);
    if (*value++ != '@')
        return;
    command->mmio_base = parse_u32(&value);
    if (*value++ == ':')
        command->mmio_irq = parse_u32(&value);
}

/* CIDR[:GW[:...]] */
static void parse_netdev(struct command *command, const char *value)
{
    command->netdev = value;
    command->ip = parse_ip(&value);
    if (*value++ != '/')
        return;
    uint32_t bits = parse_u32(&value);
    uint32_t mask = bits ? ~0u << (32 - bits) : 0;
    command->netmask = __builtin_bswap32(mask);
    if (*value == ':' && value[1] >= '0' && value[1] <= '9') {
        value++;
        command->gateway = parse_ip(&value);
    }
}

static bool starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void add_env(struct command *command, char *pair)
{
    if (command->env_len < ENV_MAX)
        command->env[command->env_len++] = pair;
}

/* One parameter; a list "[ a b ]" goes on over the following tokens. Returns the last one used. */
static unsigned parse_parameter(struct command *command, char **tokens, unsigned at, unsigned end)
{
    char *token = tokens[at];
    if (starts(token, "virtio_mmio.device=") && !command->mmio_base)
        parse_mmio(command, token + strlen("virtio_mmio.device="));
    else if (starts(token, "netdev.ip="))
        parse_netdev(command, token + strlen("netdev.ip="));
    else if (!starts(token, "env.vars="))
        return at; /* unknown parameters are ignored */
    else if (strcmp(token, "env.vars=[") != 0)
        add_env(command, token + strlen("env.vars="));
    else
        for (at++; at < end && strcmp(tokens[at], "]") != 0; at++)
            add_env(command, tokens[at]);
    return at;
}

void command_parse(struct command *command, const char *line)
{
    char *tokens[TOKENS_MAX];
    unsigned count = 0, end = 0;
    char *out = command->text;
    if (strlen(line) >= LINE_MAX_)
        machine_crash("command line too long");
    memcpy(command->raw, line, strlen(line) + 1);
    while (*line) {
        while (is_space(*line))
            line++;
        if (!*line || count == TOKENS_MAX)
            break;
        tokens[count++] = out;
        line = take_token(line, &out);
    }
    for (unsigned i = 1; i < count && !end; i++)
        end = strcmp(tokens[i], "--") == 0 ? i : 0;
    for (unsigned i = 1; i < end; i++)
        i = parse_parameter(command, tokens, i, end);
    if (count)
        command->argv[command->argc++] = tokens[0];
    for (unsigned i = end ? end + 1 : 1; i < count; i++)
        command->argv[command->argc++] = tokens[i];
}
