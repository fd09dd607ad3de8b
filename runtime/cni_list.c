/* Where configuration lists come from: the host's directory, or our own default; and whether the
 * plugins that they name are there. Called by network.c on the loop's thread and on workers. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "runtime/cni.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct names {
    char *list[CNI_FILES_MAX];
    size_t len;
};

static inline void cleanup_names(struct names *names)
{
    for (size_t i = 0; i < names->len; i++)
        free(names->list[i]);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_files(const char *conf_dir, struct names *names, struct err *err)
{
    CLEANUP(closedir) DIR *dir = opendir(conf_dir);
    const struct dirent *entry;

    if (!dir)
        return errno == ENOENT
                   ? -ENOENT
                   : err_set(err, -errno, "cannot read %s: %s", conf_dir, strerror(errno));
    while ((entry = readdir(dir))) {
        const char *name = entry->d_name;

        if (name[0] == '.' ||
            (!str_ends(name, ".conflist") && !str_ends(name, ".conf") && !str_ends(name, ".json")))
            continue;
        if (names->len == CNI_FILES_MAX)
            return err_set(err, -E2BIG, "%s has more than %d files", conf_dir, CNI_FILES_MAX);
        names->list[names->len++] = xstrdup(name);
    }
    qsort(names->list, names->len, sizeof(names->list[0]), compare_names);
    return names->len ? 0 : -ENOENT;
}

static int load_file(const char *path, struct cni_list **ret, struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(CNI_CONF_MAX);
    struct stat st;
    int r = stat(path, &st) < 0 ? -errno : 0;

    if (r == 0 && !S_ISREG(st.st_mode))
        r = err_set(err, -EBADMSG, "it is no file");
    else if (r == 0)
        r = file_read(path, &text);
    if (r == -ENOBUFS)
        r = err_set(err, -EBADMSG, "it is larger than %d bytes", CNI_CONF_MAX);
    else if (r < 0 && r != -EBADMSG)
        r = err_set(err, r, "%s", strerror(-r));
    if (r == 0)
        r = cni_list_parse(buf_str(&text), text.len, ret, err);
    return r < 0 ? err_wrap(err, "CNI configuration %s", path) : 0;
}

int cni_list_load(const char *conf_dir, struct cni_list **ret, char *ret_skipped, struct err *err)
{
    CLEANUP(names) struct names names = {.len = 0};
    struct err first = {.code = 0};
    int r = list_files(conf_dir, &names, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < names.len; i++) {
        CLEANUP(free) char *path = xasprintf("%s/%s", conf_dir, names.list[i]);
        struct err now;

        r = load_file(path, ret, &now);
        if (r == 0) {
            if (ret_skipped)
                str_copy(ret_skipped, ERR_TEXT_MAX, first.text);
            return 0;
        }
        if (first.code == 0)
            first = now;
    }
    if (err)
        *err = first;
    return first.code;
}

static void write_range(struct json_writer *w, const char *subnet)
{
    jw_begin_array(w, NULL);
    jw_begin_object(w, NULL);
    jw_string(w, "subnet", subnet);
    jw_end_object(w);
    jw_end_array(w);
}

static void write_default_route(struct json_writer *w, const char *cidr)
{
    jw_begin_object(w, NULL);
    jw_string(w, "dst", strchr(cidr, ':') ? "::/0" : "0.0.0.0/0");
    jw_end_object(w);
}

static void write_capabilities(struct json_writer *w, const char *first, const char *second)
{
    jw_begin_object(w, "capabilities");
    jw_bool(w, first, true);
    if (second)
        jw_bool(w, second, true);
    jw_end_object(w);
}

/* bridge: an address of its own on the node, masquerading for what leaves the Pods' range, and
 * hairpin so that a Pod reaches itself through its Service or host port. */
static void write_bridge(struct json_writer *w, const struct cni_default *conf)
{
    jw_begin_object(w, NULL);
    jw_string(w, "type", "bridge");
    jw_string(w, "bridge", conf->bridge);
    jw_bool(w, "isGateway", true);
    jw_bool(w, "ipMasq", true);
    jw_bool(w, "hairpinMode", true);
    write_capabilities(w, "ips", "mac");
    jw_begin_object(w, "ipam");
    jw_string(w, "type", "host-local");
    jw_string(w, "dataDir", conf->data_dir);
    jw_begin_array(w, "ranges");
    write_range(w, conf->cidr);
    if (!str_empty(conf->cidr6))
        write_range(w, conf->cidr6);
    jw_end_array(w);
    jw_begin_array(w, "routes");
    write_default_route(w, conf->cidr);
    if (!str_empty(conf->cidr6))
        write_default_route(w, conf->cidr6);
    jw_end_array(w);
    jw_end_object(w);
    jw_end_object(w);
}

static void write_helper(struct json_writer *w, const char *type, const char *capability)
{
    jw_begin_object(w, NULL);
    jw_string(w, "type", type);
    write_capabilities(w, capability, NULL);
    jw_end_object(w);
}

/* Two ranges are of two families: host-local takes one address of each range set. */
static int check_range(const char *cidr, const char *other, struct err *err)
{
    struct cni_addr addr;

    if (cni_addr_parse(cidr, &addr) < 0)
        return err_set(err, -EINVAL, "Pod CIDR \"%.60s\" is not an address range", cidr);
    /* host-local needs network, gateway and one Pod: it refuses longer prefixes itself. */
    if (addr.prefix_len > (addr.v6 ? 126 : 30))
        return err_set(err, -EINVAL, "Pod CIDR \"%s\" has no room for a Pod", cidr);
    if (!str_empty(other) && addr.v6 == (strchr(other, ':') != NULL))
        return err_set(err, -EINVAL, "Pod CIDRs \"%s\" and \"%s\" are of one family", cidr, other);
    return 0;
}

int cni_list_default(const struct cni_default *conf, struct cni_list **ret, struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(CNI_CONF_MAX);
    struct json_writer w = JSON_WRITER(&text);
    int r;

    if (str_empty(conf->cidr))
        return err_set(err, -EINVAL,
                       "no CNI configuration on this host and no Pod CIDR for the default one");
    r = check_range(conf->cidr, conf->cidr6, err);
    if (r == 0 && !str_empty(conf->cidr6))
        r = check_range(conf->cidr6, conf->cidr, err);
    if (r < 0)
        return r;
    jw_begin_object(&w, NULL);
    jw_string(&w, "cniVersion", "1.0.0");
    jw_string(&w, "name", "unikubelet");
    /* portmap's CHECK, up to 1.1.1 at least, wants each rule in the tables of both families. */
    if (conf->portmap)
        jw_bool(&w, "disableCheck", true);
    jw_begin_array(&w, "plugins");
    write_bridge(&w, conf);
    if (conf->portmap)
        write_helper(&w, "portmap", "portMappings");
    if (conf->bandwidth)
        write_helper(&w, "bandwidth", "bandwidth");
    jw_end_array(&w);
    jw_end_object(&w);
    return cni_list_parse(buf_str(&text), text.len, ret, err);
}

char *cni_find(const char *type, const char *const *bin_dirs, size_t bin_dirs_len)
{
    for (size_t i = 0; i < bin_dirs_len; i++) {
        char *path = xasprintf("%s/%s", bin_dirs[i], type);
        struct stat st;

        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111))
            return path;
        free(path);
    }
    return NULL;
}

static int check_one(const char *list_name, const char *type, const char *const *bin_dirs,
                     size_t bin_dirs_len, struct err *err)
{
    CLEANUP(free) char *path = cni_find(type, bin_dirs, bin_dirs_len);
    CLEANUP(buf) struct buf where = BUF_INIT(256);

    if (path)
        return 0;
    for (size_t i = 0; i < bin_dirs_len; i++)
        (void)buf_addf(&where, "%s%s", i ? ", " : "", bin_dirs[i]);
    return err_set(err, -ENOENT, "CNI network \"%s\" needs the plugin \"%s\", which is not in %s",
                   list_name, type, buf_str(&where));
}

int cni_list_check(const struct cni_list *list, const char *const *bin_dirs, size_t bin_dirs_len,
                   struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < list->plugins_len && r == 0; i++) {
        r = check_one(list->name, list->plugins[i].type, bin_dirs, bin_dirs_len, err);
        if (r == 0 && list->plugins[i].ipam)
            r = check_one(list->name, list->plugins[i].ipam, bin_dirs, bin_dirs_len, err);
    }
    return r;
}
