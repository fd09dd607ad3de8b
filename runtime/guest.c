/* The table of guest kinds, and what they share. A kind is added by one file and one row here.
 * Called by whoever launches an instance (provider) and by the instance when it ended. */
#include "runtime/guest_int.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

/* A KConfig has hundreds of entries; fewer than this were written by hand. */
#define FEATURES_COMPLETE_MIN 32
#define MESSAGE_LINES_MAX 3

static const struct guest_ops *const kinds[] = {
    &guest_unikraft, &guest_linux, &guest_solo5, &guest_hermit,
    &guest_osv,      &guest_nanos, &guest_raw,
};

const struct guest_ops *guest_find(const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq(kinds[i]->kind, kind))
            return kinds[i];
    return NULL;
}

int guest_cmdline(const struct guest_ops *guest, const struct guest_input *input, struct buf *out,
                  size_t *ret_dropped, struct err *err)
{
    struct guest_input less = *input;
    struct guest_env *env;
    int r = guest->cmdline(input, out, err);

    *ret_dropped = 0;
    if (r != -E2BIG)
        return r;
    env = xcalloc(input->env_len + 1, sizeof(*env));
    less.env = env;
    less.env_len = 0;
    for (size_t i = 0; i < input->env_len; i++)
        if (!input->env[i].service_link)
            env[less.env_len++] = input->env[i];
    if (less.env_len < input->env_len) {
        buf_reset(out);
        r = guest->cmdline(&less, out, err);
        *ret_dropped = r < 0 ? 0 : input->env_len - less.env_len;
    }
    free(env);
    return r;
}

int guest_refuse_env(const struct guest_input *input, const char *why, struct err *err)
{
    for (size_t i = 0; i < input->env_len; i++)
        if (!input->env[i].optional && !input->env[i].service_link)
            return err_spec(err, -ENOTSUP, "environment variable %s: %s", input->env[i].key, why);
    return 0;
}

void guest_add_word(struct buf *out, const char *text)
{
    if (out->len > 0)
        buf_addc(out, ' ');
    buf_adds(out, text);
}

int guest_check_ipv4(const struct guest_net *net, const char *kind, struct err *err)
{
    if (!guest_is_ipv4(net->ip) || net->prefix_len > 32)
        return err_spec(err, -EAFNOSUPPORT,
                        "the Pod's address %s/%u is not IPv4, the only kind that %s command line "
                        "carries",
                        net->ip, net->prefix_len, kind);
    if (!str_empty(net->gateway) && !guest_is_ipv4(net->gateway))
        return err_spec(err, -EAFNOSUPPORT, "the gateway %s is not IPv4", net->gateway);
    return 0;
}

const char *guest_feature(const struct guest_input *input, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < input->os_features_len; i++) {
        const char *feature = input->os_features[i];

        if (str_starts(feature, "CONFIG_"))
            feature += strlen("CONFIG_");
        if (strncmp(feature, name, len) == 0 && feature[len] == '=')
            return feature + len + 1;
    }
    return NULL;
}

bool guest_features_complete(const struct guest_input *input)
{
    return input->os_features_len >= FEATURES_COMPLETE_MIN;
}

uint64_t guest_feature_number(const struct guest_input *input, const char *name, uint64_t otherwise)
{
    const char *value = guest_feature(input, name);
    uint64_t number = 0;

    if (!value || str_to_u64(value, &number) < 0)
        return otherwise;
    return number;
}

bool guest_is_ipv4(const char *text)
{
    struct in_addr address;

    return inet_pton(AF_INET, text, &address) == 1;
}

void guest_netmask(uint32_t prefix_len, char dst[16])
{
    uint32_t bits = prefix_len >= 32 ? UINT32_MAX : ~(UINT32_MAX >> prefix_len);

    str_fmt(dst, 16, "%u.%u.%u.%u", bits >> 24, (bits >> 16) & 0xff, (bits >> 8) & 0xff,
            bits & 0xff);
}

const char *guest_control_char(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
            return text;
    return NULL;
}

const char *guest_tail_after(const char *tail, const char *key)
{
    const char *found = NULL;

    if (!tail)
        return NULL;
    for (const char *at = strstr(tail, key); at; at = strstr(at + 1, key))
        found = at + strlen(key);
    return found;
}

void guest_tail_message(const char *tail, char *dst, size_t size)
{
    size_t end = tail ? strlen(tail) : 0;
    size_t lines = 0;
    size_t at = size - 1;

    /* Filled from its end: the last words matter most. The console is the guest's: only plain
     * ASCII gets through, the API server refuses broken UTF-8. */
    dst[at] = '\0';
    while (end > 0 && (tail[end - 1] == '\n' || tail[end - 1] == '\r' || tail[end - 1] == ' '))
        end--;
    while (end > 0 && at > 0) {
        char c = tail[--end];

        if (c == '\r')
            continue;
        if (c == '\n') {
            if (++lines >= MESSAGE_LINES_MAX || at < 3)
                break;
            while (end > 0 && (tail[end - 1] == '\n' || tail[end - 1] == '\r'))
                end--;
            at -= 3;
            memcpy(dst + at, " | ", 3);
            continue;
        }
        dst[--at] = (c >= 0x20 && c < 0x7f) ? c : '?';
    }
    memmove(dst, dst + at, size - at);
}

bool guest_decode_vmm(const struct vmm_exit *end, struct guest_exit *ret)
{
    switch (end->end) {
    case VMM_END_SIGNAL:
        *ret = (struct guest_exit){.exit_code = 128 + end->signal, .signal = end->signal};
        return true;
    case VMM_END_VMM_ERROR:
        *ret = (struct guest_exit){.exit_code = GUEST_EXIT_START, .reason = "StartError"};
        str_copy(ret->message, sizeof(ret->message),
                 "the virtual machine monitor failed; its log has the reason");
        return true;
    case VMM_END_PANIC:
        *ret = (struct guest_exit){.exit_code = GUEST_EXIT_CRASH, .reason = "Error"};
        str_copy(ret->message, sizeof(ret->message), "the guest said that it panicked");
        return true;
    case VMM_END_CLEAN:
    case VMM_END_CODE:
        break;
    }
    return false;
}

void guest_decode_crash(const char *what, const char *tail, struct guest_exit *ret)
{
    char last[sizeof(ret->message) - 64];

    guest_tail_message(tail, last, sizeof(last));
    *ret = (struct guest_exit){.exit_code = GUEST_EXIT_CRASH, .reason = "Error"};
    if (last[0])
        str_fmt(ret->message, sizeof(ret->message), "%s; last console lines: %s", what, last);
    else
        str_fmt(ret->message, sizeof(ret->message), "%s; the console shows nothing", what);
}
