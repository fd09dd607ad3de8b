/* hosts.toml: from its keys to the list of servers, in containerd's sense (its hosts.md and
 * core/remotes/docker/config/hosts.go). */
#include "runtime/image_hosts.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/image_toml.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define CAN_ALL (IMAGE_CAN_RESOLVE | IMAGE_CAN_PULL)

enum seen { SEEN_SERVER = 1, SEEN_CAN = 2, SEEN_CA = 4, SEEN_SKIP = 8, SEEN_PATH = 16 };

struct reading {
    struct image_hosts *hosts;
    struct arena *arena;
    const char *dir;
};

static void note_ignored(struct image_hosts *hosts, const char *key)
{
    char *list = hosts->ignored;
    size_t len;

    if (!key[0])
        key = "\"\"";
    len = strlen(key);

    for (const char *at = strstr(list, key); at; at = strstr(at + 1, key))
        if ((at == list || at[-1] == ' ') && (at[len] == '\0' || at[len] == ','))
            return;
    len = strlen(list);
    str_fmt(list + len, HOSTS_IGNORED_MAX - len, "%s%s", len ? ", " : "", key);
}

static struct image_endpoint *find_mirror(struct reading *reading, const char *url, struct err *err)
{
    struct image_hosts *hosts = reading->hosts;
    struct image_endpoint *mirror;

    for (size_t i = 0; i < hosts->mirrors_len; i++)
        if (str_eq(hosts->mirrors[i].url, url))
            return &hosts->mirrors[i];
    if (hosts->mirrors_len == HOSTS_MIRRORS_MAX) {
        (void)err_spec(err, -E2BIG, "more than %d hosts", HOSTS_MIRRORS_MAX);
        return NULL;
    }
    mirror = &hosts->mirrors[hosts->mirrors_len++];
    mirror->url = url;
    mirror->can = CAN_ALL;
    return mirror;
}

static int on_table(void *userdata, const char *const *path, size_t len, struct err *err)
{
    struct reading *reading = userdata;
    struct image_endpoint *mirror;

    if (!str_eq(path[0], "host")) {
        note_ignored(reading->hosts, path[0]);
        return 0;
    }
    if (len == 1)
        return 0;
    mirror = find_mirror(reading, path[1], err);
    if (!mirror)
        return err->code;
    if (len > 2) {
        note_ignored(reading->hosts, path[2]);
        return 0;
    }
    if (mirror->tabled)
        return err_spec(err, -EBADMSG, "the host \"%s\" is there twice", path[1]);
    mirror->tabled = true;
    return 0;
}

/* push and referrers are containerd's too, and nothing this agent does. */
static int set_can(struct image_endpoint *to, const struct toml_value *value, struct err *err)
{
    if (value->type != TOML_STRINGS)
        return err_spec(err, -EBADMSG, "capabilities must be a list of strings");
    to->can = value->items_len ? 0 : CAN_ALL;
    for (size_t i = 0; i < value->items_len; i++) {
        const char *item = value->items[i];

        if (str_eq(item, "pull"))
            to->can |= IMAGE_CAN_PULL;
        else if (str_eq(item, "resolve"))
            to->can |= IMAGE_CAN_RESOLVE;
        else if (!str_eq(item, "push") && !str_eq(item, "referrers"))
            return err_spec(err, -EBADMSG, "capabilities has \"%s\"; there are pull and resolve",
                            item);
    }
    return 0;
}

static int add_ca(const struct reading *reading, struct image_endpoint *to, const char *path,
                  struct err *err)
{
    struct buf full = BUF_INIT(2 * TOML_STRING_MAX);

    if (!path[0])
        return err_spec(err, -EBADMSG, "ca is an empty path");
    if (to->ca_len == HOSTS_CA_MAX)
        return err_spec(err, -E2BIG, "more than %d CA files", HOSTS_CA_MAX);
    if (path[0] != '/')
        (void)buf_addf(&full, "%s/", reading->dir);
    (void)buf_adds(&full, path);
    to->ca[to->ca_len++] = arena_strdup(reading->arena, buf_str(&full));
    buf_free(&full);
    return 0;
}

static int set_ca(const struct reading *reading, struct image_endpoint *to,
                  const struct toml_value *value, struct err *err)
{
    int r = 0;

    if (value->type == TOML_STRING)
        return add_ca(reading, to, value->text, err);
    if (value->type != TOML_STRINGS)
        return err_spec(err, -EBADMSG, "ca must be a path, or a list of paths");
    for (size_t i = 0; i < value->items_len && r == 0; i++)
        r = add_ca(reading, to, value->items[i], err);
    return r;
}

static int set_bool(const char *key, bool *to, const struct toml_value *value, struct err *err)
{
    if (value->type != TOML_BOOL)
        return err_spec(err, -EBADMSG, "%s must be true or false", key);
    *to = value->truth;
    return 0;
}

static int set_key(struct reading *reading, struct image_endpoint *to, const char *key,
                   const struct toml_value *value, struct err *err)
{
    static const struct {
        const char *key;
        unsigned seen;
    } keys[] = {{"server", SEEN_SERVER},
                {"capabilities", SEEN_CAN},
                {"ca", SEEN_CA},
                {"skip_verify", SEEN_SKIP},
                {"override_path", SEEN_PATH}};
    bool root = to == &reading->hosts->server;
    unsigned seen = 0;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (str_eq(keys[i].key, key) && (root || keys[i].seen != SEEN_SERVER))
            seen = keys[i].seen;
    if (to->seen & seen)
        return err_spec(err, -EBADMSG, "%s is there twice", key);
    to->seen |= seen;
    switch (seen) {
    case SEEN_SERVER:
        if (value->type != TOML_STRING)
            return err_spec(err, -EBADMSG, "server must be a string");
        to->url = value->text;
        return 0;
    case SEEN_CAN:
        return set_can(to, value, err);
    case SEEN_CA:
        return set_ca(reading, to, value, err);
    case SEEN_SKIP:
        return set_bool(key, &to->skip_verify, value, err);
    case SEEN_PATH:
        return set_bool(key, &to->override_path, value, err);
    default:
        note_ignored(reading->hosts, key);
        return 0;
    }
}

static int on_value(void *userdata, const char *const *path, size_t len,
                    const struct toml_value *value, struct err *err)
{
    struct reading *reading = userdata;
    struct image_endpoint *to = &reading->hosts->server;

    if (!str_eq(path[0], "host")) {
        if (len == 1)
            return set_key(reading, to, path[0], value, err);
        note_ignored(reading->hosts, path[0]);
        return 0;
    }
    if (len < 3)
        return err_spec(err, -EBADMSG, "a host is a table: [host.\"https://mirror.example\"]");
    to = find_mirror(reading, path[1], err);
    if (!to)
        return err->code;
    if (len == 3)
        return set_key(reading, to, path[2], value, err);
    note_ignored(reading->hosts, path[2]);
    return 0;
}

/* From the url as written to base and host. Without a scheme it is https; /v2 is added unless it
 * is there or the path is said to be all. */
static int finish(const struct reading *reading, struct image_endpoint *to, struct err *err)
{
    struct buf base = BUF_INIT(2 * TOML_STRING_MAX);
    const char *url = to->url;
    const char *rest = strstr(url, "://");
    size_t len;
    size_t host;

    rest = rest ? rest + strlen("://") : url;
    host = strcspn(rest, "/");
    for (const char *p = url; *p; p++)
        if (*p <= 0x20 || *p == 0x7f || strchr("?#@\"\\<>^`{|}", *p))
            host = 0;
    if (host == 0 || host >= IMAGE_HOST_MAX ||
        (rest != url && !str_starts(url, "https://") && !str_starts(url, "http://")))
        return err_spec(err, -EBADMSG, "%s: \"%s\" is no http or https URL of a host",
                        reading->hosts->file, url);
    len = strlen(rest);
    while (len > host && rest[len - 1] == '/')
        len--;
    (void)buf_add(&base, url, (size_t)(rest - url));
    if (rest == url)
        (void)buf_adds(&base, "https://");
    (void)buf_add(&base, rest, len);
    if (!to->override_path && !str_ends(buf_str(&base), "/v2"))
        (void)buf_adds(&base, "/v2");
    to->base = arena_strdup(reading->arena, buf_str(&base));
    to->host = arena_strndup(reading->arena, rest, host);
    buf_free(&base);
    return 0;
}

static void hosts_init(struct image_hosts *hosts)
{
    *hosts = (struct image_hosts){.server = {.can = CAN_ALL}};
}

int hosts_read(const char *text, size_t len, const char *file, const char *dir, struct arena *arena,
               struct image_hosts *ret, struct err *err)
{
    static const struct toml_ops ops = {.on_table = on_table, .on_value = on_value};
    struct reading reading = {.hosts = ret, .arena = arena, .dir = dir};
    int r;

    hosts_init(ret);
    ret->file = arena_strdup(arena, file);
    r = toml_read(text, len, file, arena, &ops, &reading, err);
    for (size_t i = 0; i < ret->mirrors_len && r == 0; i++)
        r = finish(&reading, &ret->mirrors[i], err);
    if (r == 0 && ret->server.url)
        r = finish(&reading, &ret->server, err);
    return r;
}

static int is_crt(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && str_ends(entry->d_name, ".crt");
}

/* Docker's layout, which has no file but CAs. */
static int load_ca_dir(const char *dir, struct arena *arena, struct image_hosts *ret,
                       struct err *err)
{
    const struct reading reading = {.hosts = ret, .arena = arena, .dir = dir};
    struct dirent **names = NULL;
    int len = scandir(dir, &names, is_crt, alphasort);
    int r = 0;

    if (len < 0)
        return err_spec(err, -EINVAL, "%s: %s", dir, strerror(errno));
    for (int i = 0; i < len; i++) {
        if (r == 0)
            r = add_ca(&reading, &ret->server, names[i]->d_name, err);
        free(names[i]);
    }
    free(names);
    return r < 0 ? err_wrap(err, "%s", dir) : 0;
}

/* The directory's name for host:port as containerd writes it where ':' is no good in a name. */
static char *spelled(const char *root, const char *host)
{
    const char *port = strrchr(host, ':');

    return port ? xasprintf("%s/%.*s_%s_", root, (int)(port - host), host, port + 1)
                : xasprintf("%s/%s", root, host);
}

static bool is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int hosts_load(const char *root, const char *host, struct arena *arena, struct image_hosts *ret,
               struct err *err)
{
    CLEANUP(free) char *plain = root ? xasprintf("%s/%s", root, host) : NULL;
    CLEANUP(free) char *coded = root ? spelled(root, host) : NULL;
    CLEANUP(free) char *other = root ? xasprintf("%s/_default", root) : NULL;
    CLEANUP(free) char *file = NULL;
    struct buf text = BUF_INIT(TOML_TEXT_MAX);
    const char *dir;
    int r;

    hosts_init(ret);
    if (!root)
        return 0;
    dir = is_dir(coded) ? coded : is_dir(plain) ? plain : other;
    if (dir == other && !is_dir(other))
        return 0;
    file = xasprintf("%s/hosts.toml", dir);
    r = file_read(file, &text);
    if (r == -ENOENT)
        r = load_ca_dir(dir, arena, ret, err);
    else if (r < 0)
        r = err_spec(err, -EINVAL, "%s: %s", file,
                     r == -ENOBUFS ? "it is larger than 64 KiB" : strerror(-r));
    else
        r = hosts_read(buf_str(&text), text.len, file, dir, arena, ret, err);
    buf_free(&text);
    return r;
}

int hosts_read_ca(const struct image_endpoint *endpoint, struct buf *out, struct err *err)
{
    for (size_t i = 0; i < endpoint->ca_len; i++) {
        int r = file_read(endpoint->ca[i], out);

        if (r == -ENOBUFS)
            return err_spec(err, -EINVAL, "%s: the CAs of one host are larger than %d bytes",
                            endpoint->ca[i], HOSTS_CA_TEXT_MAX);
        if (r < 0)
            return err_spec(err, -EINVAL, "CA %s: %s", endpoint->ca[i], strerror(-r));
        (void)buf_addc(out, '\n');
    }
    return 0;
}

bool hosts_is_origin(const struct image_endpoint *endpoint, const struct image_name *name)
{
    return !endpoint->host || str_eq(endpoint->host, name->host) ||
           str_eq(endpoint->host, image_name_api_host(name));
}
