/* Shapes of configuration values, one predicate each. Called by config.c only; what needs the host
 * or the cluster to be judged is not judged here. */
#include "provider/config_shape.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "provider/core/evict.h"
#include "provider/core/quantity.h"
#include "vmm-bridge/vmm.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <string.h>

#define DNS_NAME_MAX 253   /* RFC 1123, and the API server's own limit for names */
#define LABEL_PART_MAX 63  /* of a label's name and of its value */
#define LINK_NAME_MAX 15   /* IFNAMSIZ less the NUL */
#define CGROUP_NAME_MAX 63 /* runtime/cgroup.c's */
#define MEMORY_MIN 1048576 /* less is no machine */

/* What YAML takes for a line's end or refuses, though it is no ASCII control character. */
static bool is_odd(const char *text, size_t len)
{
    static const char *const odd[] = {"\u2028", "\u2029", "\uFEFF", "\xef\xbf\xbe", "\xef\xbf\xbf"};
    if (len == 2)
        return text[0] == '\xc2' && (unsigned char)text[1] < 0xa0; /* C1 */
    for (size_t i = 0; i < ARRAY_LEN(odd) && len == 3; i++) {
        if (memcmp(text, odd[i], 3) == 0)
            return true;
    }
    return false;
}

/* The whole text is UTF-8 without control characters: the log, YAML and command lines all take it.
 */
static bool is_printable(const char *text)
{
    size_t left = strlen(text);
    while (left) {
        size_t len = str_utf8_len(text, left);
        if (len == 0 || (len == 1 && iscntrl((unsigned char)*text)) || is_odd(text, len))
            return false;
        text += len;
        left -= len;
    }
    return true;
}

static bool is_path(const char *text)
{
    return *text == '/';
}

static bool is_quantity(const char *text)
{
    int64_t value;
    return quantity_value(text, &value) == 0;
}

static bool is_memory(const char *text)
{
    int64_t value;
    return quantity_value(text, &value) == 0 && value >= MEMORY_MIN;
}

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_dns_name(const char *text, size_t len)
{
    if (len == 0 || len > DNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool edge = i == 0 || i + 1 == len || text[i - 1] == '.' || text[i + 1] == '.';
        if (is_lower_alnum(text[i]))
            continue;
        if (text[i] == '.' ? i == 0 || i + 1 == len || text[i - 1] == '.' : text[i] != '-' || edge)
            return false;
    }
    return true;
}

static bool is_name(const char *text)
{
    return is_dns_name(text, strlen(text));
}

static bool is_ip(const char *text)
{
    struct in6_addr address;
    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

static bool is_node_ip(const char *text)
{
    char first[INET6_ADDRSTRLEN];
    const char *comma = strchr(text, ',');
    if (!comma)
        return is_ip(text);
    if ((size_t)(comma - text) >= sizeof(first))
        return false;
    str_fmt(first, sizeof(first), "%.*s", (int)(comma - text), text);
    return is_ip(first) && is_ip(comma + 1) && !strchr(first, ':') != !strchr(comma + 1, ':');
}

static bool is_cidr(const char *text)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    uint64_t bits;
    if (!slash || (size_t)(slash - text) >= sizeof(address) || str_to_u64(slash + 1, &bits) < 0)
        return false;
    str_fmt(address, sizeof(address), "%.*s", (int)(slash - text), text);
    return is_ip(address) && bits <= (strchr(address, ':') ? 128u : 32u);
}

/* Name or value of a label: alphanumeric at both ends, "-_." also between. */
static bool is_label_part(const char *text, size_t len)
{
    if (len == 0 || len > LABEL_PART_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool edge = i == 0 || i + 1 == len;
        if (c >= 0x80 || !(isalnum(c) || (!edge && strchr("-_.", c))))
            return false;
    }
    return true;
}

static bool is_label(const char *text)
{
    const char *value = strchr(text, '=');
    if (!value)
        return false;
    size_t len = (size_t)(value - text);
    const char *slash = memchr(text, '/', len);
    if (slash) {
        if (!is_dns_name(text, (size_t)(slash - text)))
            return false;
        len -= (size_t)(slash + 1 - text);
        text = slash + 1;
    }
    value++;
    return is_label_part(text, len) && (*value == '\0' || is_label_part(value, strlen(value)));
}

static bool is_link(const char *text)
{
    return *text && strlen(text) <= LINK_NAME_MAX && !strpbrk(text, "/: \t") &&
           !str_eq(text, ".") && !str_eq(text, "..");
}

static bool is_cgroup(const char *text)
{
    return *text != '.' && strlen(text) <= CGROUP_NAME_MAX && !strpbrk(text, "/ ");
}

static bool is_level(const char *text)
{
    enum log_level level;
    return log_level_from_string(text, &level) == 0;
}

static bool is_vmm(const char *text)
{
    return str_eq(text, "qemu") || str_eq(text, "fake");
}

static bool is_accel(const char *text)
{
    enum vmm_accel accel;
    return vmm_accel_from_string(text, &accel) == 0;
}

static bool is_network(const char *text)
{
    return str_eq(text, "cni") || str_eq(text, "none");
}

static bool is_eviction(const char *text)
{
    struct threshold threshold;
    return threshold_parse(text, &threshold) == 0;
}

static const struct {
    bool (*fits)(const char *text);
    const char *words;
} shapes[] = {
    [SHAPE_TEXT] = {is_printable, "text without control characters"},
    [SHAPE_PATH] = {is_path, "an absolute path"},
    [SHAPE_QUANTITY] = {is_quantity, "a quantity such as 512Mi"},
    [SHAPE_MEMORY] = {is_memory, "a quantity such as 64Mi, 1Mi or more"},
    [SHAPE_NAME] = {is_name, "a name of lower-case letters, digits, '-' and '.'"},
    [SHAPE_IP] = {is_ip, "an IP address"},
    [SHAPE_NODE_IP] = {is_node_ip, "an IP address, or one of each family as 10.0.0.1,fd00::1"},
    [SHAPE_CIDR] = {is_cidr, "an address range such as 10.88.0.0/16"},
    [SHAPE_LABEL] = {is_label, "a label, key=value"},
    [SHAPE_LINK] = {is_link, "the name of a network interface, 15 characters at most"},
    [SHAPE_CGROUP] = {is_cgroup, "a plain name"},
    [SHAPE_LEVEL] = {is_level, "debug, info, warn or error"},
    [SHAPE_VMM] = {is_vmm, "qemu or fake"},
    [SHAPE_ACCEL] = {is_accel, "auto, kvm or tcg"},
    [SHAPE_NETWORK] = {is_network, "cni or none"},
    [SHAPE_EVICTION] = {is_eviction, "a threshold such as memory.available<100Mi or "
                                     "nodefs.available<10%"},
};

static_assert(ARRAY_LEN(shapes) == _SHAPE_MAX, "a shape without a row");

bool shape_fits(enum shape shape, const char *text)
{
    return is_printable(text) && shapes[shape].fits(text);
}

const char *shape_words(enum shape shape)
{
    return shapes[shape].words;
}
