/* Reading CNI configuration lists, results and errors; what is written for plugins is cni_input.c.
 * Everything here comes from outside (an admin's file, a plugin's output): nothing
 * is believed before it is checked. Pure. Called by cni_list.c, cni_chain.c and network*.c. */
#include "runtime/cni.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#define NAME_MAX_BYTES 128

static inline void cleanup_json(struct json **json)
{
    json_free(*json);
}

/* A plugin's type becomes a file name, the list's name a directory's (host-local). */
static bool name_ok(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_.-";
    size_t len = name ? strlen(name) : 0;

    return len > 0 && len < NAME_MAX_BYTES && name[0] != '.' && name[0] != '-' &&
           strspn(name, allowed) == len;
}

static const char *const versions[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};

/* Its place among those that we speak, from 1; 0: none of them. */
static size_t version_rank(const char *version)
{
    for (size_t i = 0; i < ARRAY_LEN(versions); i++)
        if (str_eq(version, versions[i]))
            return i + 1;
    return 0;
}

/* The newest that both sides speak, of "cniVersion" and, since 1.1.0, "cniVersions". */
static int choose_version(struct cni_list *list, const struct json *root, struct err *err)
{
    const char *only = json_get_string(root, "cniVersion");
    size_t best = version_rank(only);

    for (const struct json *v = json_first(json_get(root, "cniVersions")); v; v = json_next(v)) {
        size_t rank = version_rank(json_string(v));

        if (rank > best)
            best = rank;
    }
    if (best) {
        list->version = xstrdup(versions[best - 1]);
        return 0;
    }
    if (!only)
        return err_set(err, -EBADMSG, "\"cniVersion\" is missing");
    return err_set(err, -EBADMSG, "cniVersion \"%.20s\" is not supported (0.3.0 to 1.1.0 are)",
                   only);
}

bool cni_list_checks(const struct cni_list *list)
{
    return !list->disable_check && version_rank(list->version) >= version_rank("0.4.0");
}

bool cni_list_collects(const struct cni_list *list)
{
    return !list->disable_gc && version_rank(list->version) >= version_rank("1.1.0");
}

static uint32_t read_capabilities(const struct json *object)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } known[] = {{"portMappings", CNI_PORT_MAPPINGS},
                 {"bandwidth", CNI_BANDWIDTH},
                 {"ips", CNI_IPS},
                 {"mac", CNI_MAC}};
    uint32_t bits = 0;

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        bool declared = false;

        if (json_get_bool(object, known[i].name, &declared) && declared)
            bits |= known[i].bit;
    }
    return bits;
}

static int parse_plugin(struct cni_list *list, const struct json *object, struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(CNI_CONF_MAX);
    const char *type = json_get_string(object, "type");
    const char *ipam = json_get_string(json_get(object, "ipam"), "type");
    struct cni_plugin *plugin = &list->plugins[list->plugins_len];

    if (list->plugins_len == CNI_PLUGINS_MAX)
        return err_set(err, -EBADMSG, "there are more than %d plugins", CNI_PLUGINS_MAX);
    if (!name_ok(type))
        return err_set(err, -EBADMSG, "plugin %zu has no usable \"type\"", list->plugins_len + 1);
    if (ipam && *ipam && !name_ok(ipam))
        return err_set(err, -EBADMSG, "plugin \"%s\" has no usable \"ipam.type\"", type);
    if (json_print(object, &text) < 0)
        return err_set(err, -EBADMSG, "plugin \"%s\" is too large", type);
    plugin->type = xstrdup(type);
    plugin->ipam = str_empty(ipam) ? NULL : xstrdup(ipam);
    plugin->capabilities = read_capabilities(json_get(object, "capabilities"));
    plugin->json = buf_take(&text);
    list->plugins_len++;
    return 0;
}

static int parse_list(struct cni_list *list, const struct json *root, struct err *err)
{
    const char *name = json_get_string(root, "name");
    const struct json *plugins = json_get(root, "plugins");
    int r;

    if (!json_is_object(root))
        return err_set(err, -EBADMSG, "it is not a JSON object");
    r = choose_version(list, root, err);
    if (r < 0)
        return r;
    if (!name_ok(name))
        return err_set(err, -EBADMSG, "it has no usable \"name\"");
    list->name = xstrdup(name);
    (void)json_get_bool(root, "disableCheck", &list->disable_check);
    (void)json_get_bool(root, "disableGC", &list->disable_gc);
    if (!plugins)
        return parse_plugin(list, root, err);
    if (!json_is_array(plugins) || json_len(plugins) == 0)
        return err_set(err, -EBADMSG, "\"plugins\" is not a list with plugins in it");
    for (const struct json *p = json_first(plugins); p; p = json_next(p)) {
        r = parse_plugin(list, p, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* One form for all, so that what is kept for DEL reads back as what ADD used. */
static int print_list(struct cni_list *list, struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(CNI_CONF_MAX + 1024);
    struct json_writer w = JSON_WRITER(&text);

    jw_begin_object(&w, NULL);
    jw_string(&w, "cniVersion", list->version);
    jw_string(&w, "name", list->name);
    if (list->disable_check)
        jw_bool(&w, "disableCheck", true);
    if (list->disable_gc)
        jw_bool(&w, "disableGC", true);
    jw_begin_array(&w, "plugins");
    for (size_t i = 0; i < list->plugins_len; i++)
        jw_raw(&w, NULL, list->plugins[i].json, strlen(list->plugins[i].json));
    jw_end_array(&w);
    jw_end_object(&w);
    if (text.overflow)
        return err_set(err, -EBADMSG, "it is larger than %d bytes", CNI_CONF_MAX);
    list->text = buf_take(&text);
    return 0;
}

int cni_list_parse(const char *text, size_t len, struct cni_list **ret, struct err *err)
{
    CLEANUP(json) struct json *root = json_parse(text, len, err);
    struct cni_list *list;
    int r;

    if (!root)
        return -EBADMSG;
    list = xcalloc(1, sizeof(*list));
    r = parse_list(list, root, err);
    if (r == 0)
        r = print_list(list, err);
    if (r < 0) {
        cni_list_free(list);
        return r;
    }
    *ret = list;
    return 0;
}

void cni_list_free(struct cni_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->plugins_len; i++) {
        free(list->plugins[i].type);
        free(list->plugins[i].ipam);
        free(list->plugins[i].json);
    }
    free(list->version);
    free(list->name);
    free(list->text);
    free(list);
}

int cni_addr_parse(const char *text, struct cni_addr *ret)
{
    const char *slash = text ? strchr(text, '/') : NULL;
    struct cni_addr addr = {.ip = ""};
    unsigned char raw[16];
    uint64_t prefix;

    if (!slash || (size_t)(slash - text) >= sizeof(addr.ip) || str_to_u64(slash + 1, &prefix) < 0)
        return -EINVAL;
    memcpy(addr.ip, text, (size_t)(slash - text));
    addr.v6 = strchr(addr.ip, ':') != NULL;
    if (inet_pton(addr.v6 ? AF_INET6 : AF_INET, addr.ip, raw) != 1 || prefix > (addr.v6 ? 128 : 32))
        return -EINVAL;
    addr.prefix_len = (uint32_t)prefix;
    *ret = addr;
    return 0;
}

/* An address counts when it is on the wanted interface inside the sandbox, or names none. */
static bool on_interface(const struct json *ip, const struct json *interfaces, const char *ifname)
{
    const struct json *interface = json_first(interfaces);
    int64_t index;

    if (!json_get_int(ip, "interface", &index))
        return true;
    if (index < 0)
        return false;
    while (interface && index-- > 0)
        interface = json_next(interface);
    return str_eq(json_get_string(interface, "name"), ifname) &&
           !str_empty(json_get_string(interface, "sandbox"));
}

static bool has_family(const struct cni_result *result, bool v6)
{
    for (size_t i = 0; i < result->addrs_len; i++)
        if (result->addrs[i].v6 == v6)
            return true;
    return false;
}

/* Routes only matter to CHECK, which wants to see them again: one that cannot be read is left to
 * fail there. */
static void parse_routes(const struct json *root, struct cni_result *ret)
{
    for (const struct json *v = json_first(json_get(root, "routes"));
         v && ret->routes_len < CNI_ROUTES_MAX; v = json_next(v)) {
        struct cni_route *route = &ret->routes[ret->routes_len];
        const char *gateway = json_get_string(v, "gw");
        unsigned char raw[16];

        if (cni_addr_parse(json_get_string(v, "dst"), &route->dst) < 0)
            continue;
        if (str_empty(gateway))
            gateway = route->dst.v6 ? ret->gateway6 : ret->gateway;
        if (*gateway && inet_pton(route->dst.v6 ? AF_INET6 : AF_INET, gateway, raw) != 1)
            continue;
        str_copy(route->gateway, sizeof(route->gateway), gateway);
        ret->routes_len++;
    }
}

/* A meta-plugin's further interfaces in the Pod. */
static void parse_others(const struct json *root, const char *ifname, struct cni_result *ret)
{
    for (const struct json *v = json_first(json_get(root, "interfaces")); v; v = json_next(v)) {
        const char *name = json_get_string(v, "name");

        if (ret->others[0] == '\0' && !str_empty(name) && !str_eq(name, ifname) &&
            !str_empty(json_get_string(v, "sandbox")))
            str_copy(ret->others, sizeof(ret->others), name);
    }
}

static int parse_ips(const struct json *root, const char *ifname, bool v6, struct cni_result *ret,
                     struct err *err)
{
    const struct json *interfaces = json_get(root, "interfaces");

    for (const struct json *ip = json_first(json_get(root, "ips")); ip; ip = json_next(ip)) {
        const char *text = json_get_string(ip, "address");
        const char *gateway = json_get_string(ip, "gateway");
        struct cni_addr addr;
        unsigned char raw[16];

        if (cni_addr_parse(text, &addr) < 0)
            return err_set(err, -EBADMSG, "CNI result has the address \"%.60s\"", text ? text : "");
        if (addr.v6 != v6 || !on_interface(ip, interfaces, ifname))
            continue;
        if (ret->addrs_len == CNI_ADDRS_MAX)
            return err_set(err, -EBADMSG, "CNI result has more than %d addresses", CNI_ADDRS_MAX);
        if (!str_empty(gateway) && inet_pton(addr.v6 ? AF_INET6 : AF_INET, gateway, raw) != 1)
            return err_set(err, -EBADMSG, "CNI result has the gateway \"%.60s\"", gateway);
        if (gateway && !has_family(ret, v6))
            str_copy(v6 ? ret->gateway6 : ret->gateway, sizeof(ret->gateway), gateway);
        ret->addrs[ret->addrs_len++] = addr;
    }
    return 0;
}

int cni_result_parse(const char *text, size_t len, const char *ifname, struct cni_result *ret,
                     struct err *err)
{
    CLEANUP(json) struct json *root = json_parse(text, len, err);
    struct cni_result result = {.addrs_len = 0};
    int r;

    if (!root)
        return err ? err_wrap(err, "CNI result") : -EBADMSG;
    if (!json_is_object(root))
        return err_set(err, -EBADMSG, "CNI result is not a JSON object");
    r = parse_ips(root, ifname, false, &result, err);
    if (r == 0)
        r = parse_ips(root, ifname, true, &result, err);
    if (r < 0)
        return r;
    if (result.addrs_len == 0)
        return err_set(err, -EBADMSG, "CNI result has no address for %s", ifname);
    parse_routes(root, &result);
    parse_others(root, ifname, &result);
    *ret = result;
    return 0;
}

int cni_output_check(const char *text, size_t len, struct err *err)
{
    CLEANUP(json) struct json *root = NULL;

    if (len == 0)
        return err_set(err, -EBADMSG, "it printed no result");
    root = json_parse(text, len, err);
    if (!root)
        return err ? err_wrap(err, "it printed no result") : -EBADMSG;
    if (!json_is_object(root))
        return err_set(err, -EBADMSG, "it printed JSON that is no result");
    return 0;
}

int cni_error_parse(const char *type, const char *text, size_t len, const char *errors,
                    int wait_status, struct err *err)
{
    CLEANUP(json) struct json *root = json_parse(text, len, NULL);
    const char *msg = json_get_string(root, "msg");
    const char *details = json_get_string(root, "details");
    int64_t code = 0;

    (void)json_get_int(root, "code", &code);
    if (!str_empty(msg) || code)
        return err_set(err, -EIO, "CNI plugin %s: %s%s%s (code %lld)", type,
                       str_empty(msg) ? "error" : msg, str_empty(details) ? "" : ": ",
                       str_empty(details) ? "" : details, (long long)code);
    if (WIFSIGNALED(wait_status))
        return err_set(err, -EIO, "CNI plugin %s was killed by signal %d", type,
                       WTERMSIG(wait_status));
    return err_set(err, -EIO, "CNI plugin %s failed with exit status %d%s%s", type,
                   WEXITSTATUS(wait_status), str_empty(errors) ? "" : ": ", errors);
}
