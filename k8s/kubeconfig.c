/* Reads a kubeconfig file, or a Pod's mounted ServiceAccount, into struct kube_config. Files
 * that it names are read now, but for the token file, which client_setup.c reads again and
 * again. */
#include "k8s/kubeconfig.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "k8s/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PEM_MAX (1024u * 1024) /* a CA bundle of a large company is some 100 KiB */
#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

struct source {
    const char *path; /* of the kubeconfig */
    const struct yaml_node *map;
};

/* A member's text; NULL when absent, null or empty. */
static int get_text(const struct source *s, const char *key, const char **ret, struct err *err)
{
    const struct yaml_node *node = yaml_get(s->map, key);

    *ret = NULL;
    if (!node || yaml_is_null(node))
        return 0;
    if (!yaml_scalar(node))
        return err_spec(err, -EINVAL, "%s:%u: %s must be text", s->path, yaml_line(node), key);
    if (*yaml_scalar(node))
        *ret = yaml_scalar(node);
    return 0;
}

static int copy_text(const struct source *s, const char *key, char **ret, struct err *err)
{
    const char *text;
    int r = get_text(s, key, &text, err);

    if (r == 0 && text)
        *ret = xstrdup(text);
    return r;
}

/* Names in a kubeconfig are relative to its directory, as in kubectl. */
static char *resolve(const char *config_path, const char *name)
{
    const char *slash = strrchr(config_path, '/');

    if (name[0] == '/' || !slash)
        return xstrdup(name);
    return xasprintf("%.*s/%s", (int)(slash - config_path), config_path, name);
}

static int read_file(const char *path, const char *what, char **ret, struct err *err)
{
    struct buf text = BUF_INIT(PEM_MAX);
    int r = file_read(path, &text);

    if (r < 0) {
        buf_free(&text);
        return err_spec(err, r, "%s %s: %s", what, path, strerror(-r));
    }
    *ret = buf_take(&text);
    return 0;
}

/* "client-key": from client-key-data in base64, else from the file. Data wins, as in client-go. */
static int get_pem(const struct source *s, const char *key, char **ret, struct err *err)
{
    CLEANUP(free) char *data_key = xasprintf("%s-data", key);
    CLEANUP(free) char *file = NULL;
    CLEANUP(free) char *pem = NULL;
    const char *data, *name;
    size_t len;
    int r = get_text(s, data_key, &data, err);

    if (r == 0)
        r = get_text(s, key, &name, err);
    if (r < 0 || (!data && !name))
        return r;
    if (data && str_unbase64(data, strlen(data), &pem, &len) < 0)
        return err_spec(err, -EINVAL, "%s:%u: %s is no base64", s->path,
                        yaml_line(yaml_get(s->map, data_key)), data_key);
    if (!data) {
        file = resolve(s->path, name);
        r = read_file(file, key, &pem, err);
        if (r < 0)
            return r;
    }
    if (!strstr(pem, "-----BEGIN "))
        return err_spec(err, -EINVAL, "%s:%u: %s holds no PEM data", s->path,
                        yaml_line(yaml_get(s->map, data ? data_key : key)), key);
    *ret = TAKE(pem);
    return 0;
}

/* lists: [{name: ..., <member>: {...}}]; NULL when there is none of that name. */
static const struct yaml_node *find_named(const struct yaml_node *root, const char *list,
                                          const char *name, const char *member)
{
    const struct yaml_node *n;

    for (n = yaml_first(yaml_get(root, list)); n; n = yaml_next(n)) {
        if (str_eq(yaml_scalar(yaml_get(n, "name")), name))
            return yaml_get(n, member);
    }
    return NULL;
}

static int read_cluster(const struct source *s, struct kube_config *config, struct err *err)
{
    const char *insecure;
    int r = copy_text(s, "server", &config->server, err);

    if (r == 0 && !config->server)
        r = err_spec(err, -EINVAL, "%s:%u: the cluster has no server", s->path, yaml_line(s->map));
    if (r == 0)
        r = get_pem(s, "certificate-authority", &config->ca_pem, err);
    if (r == 0)
        r = copy_text(s, "tls-server-name", &config->tls_server_name, err);
    if (r == 0)
        r = copy_text(s, "proxy-url", &config->proxy_url, err);
    if (r == 0)
        r = get_text(s, "insecure-skip-tls-verify", &insecure, err);
    if (r < 0 || !insecure)
        return r;
    if (!str_eq(insecure, "true") && !str_eq(insecure, "false"))
        return err_spec(err, -EINVAL, "%s:%u: insecure-skip-tls-verify must be true or false",
                        s->path, yaml_line(yaml_get(s->map, "insecure-skip-tls-verify")));
    config->insecure = str_eq(insecure, "true");
    if (config->insecure && config->ca_pem)
        return err_spec(err, -EINVAL,
                        "%s:%u: insecure-skip-tls-verify and a certificate authority exclude "
                        "each other",
                        s->path, yaml_line(s->map));
    return 0;
}

static int read_user(const struct source *s, struct kube_config *config, struct err *err)
{
    static const char *const refused[] = {"exec", "auth-provider", "username", "password"};
    const char *file;
    int r;

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        const struct yaml_node *node = yaml_get(s->map, refused[i]);

        if (node && !yaml_is_null(node))
            return err_spec(err, -ENOTSUP,
                            "%s:%u: %s is not supported: give a client certificate or a token",
                            s->path, yaml_line(node), refused[i]);
    }
    r = get_pem(s, "client-certificate", &config->cert_pem, err);
    if (r == 0)
        r = get_pem(s, "client-key", &config->key_pem, err);
    if (r == 0)
        r = copy_text(s, "token", &config->token, err);
    if (r == 0)
        r = get_text(s, "tokenFile", &file, err);
    if (r == 0 && file)
        config->token_file = resolve(s->path, file);
    if (r == 0 && !config->cert_pem != !config->key_pem)
        r = err_spec(err, -EINVAL, "%s:%u: a client certificate and its key belong together",
                     s->path, yaml_line(s->map));
    return r;
}

static int read_config(const char *path, const struct yaml_node *root, struct kube_config *config,
                       struct err *err)
{
    struct source s = {.path = path, .map = root};
    const struct yaml_node *context;
    const char *current, *cluster, *user;
    int r;

    if (!yaml_is_map(root))
        return err_spec(err, -EINVAL, "%s: this is no kubeconfig", path);
    r = get_text(&s, "current-context", &current, err);
    if (r < 0)
        return r;
    if (!current)
        return err_spec(err, -EINVAL, "%s: current-context is not set", path);
    context = find_named(root, "contexts", current, "context");
    if (!yaml_is_map(context))
        return err_spec(err, -EINVAL, "%s: there is no context \"%s\"", path, current);
    s.map = context;
    r = get_text(&s, "cluster", &cluster, err);
    if (r == 0)
        r = get_text(&s, "user", &user, err);
    if (r < 0)
        return r;
    s.map = find_named(root, "clusters", cluster ? cluster : "", "cluster");
    if (!yaml_is_map(s.map))
        return err_spec(err, -EINVAL, "%s: there is no cluster \"%s\"", path,
                        cluster ? cluster : "");
    r = read_cluster(&s, config, err);
    if (r < 0 || !user)
        return r;
    s.map = find_named(root, "users", user, "user");
    if (!s.map || (!yaml_is_map(s.map) && !yaml_is_null(s.map)))
        return err_spec(err, -EINVAL, "%s: there is no user \"%s\"", path, user);
    return yaml_is_null(s.map) ? 0 : read_user(&s, config, err);
}

int kube_config_load(const char *path, struct kube_config *ret, struct err *err)
{
    struct kube_config config = {0};
    struct yaml_doc *doc = NULL;
    int r = yaml_load(path, &doc, err);

    if (r < 0)
        return r;
    r = read_config(path, yaml_root(doc), &config, err);
    yaml_doc_free(doc);
    if (r < 0) {
        kube_config_free(&config);
        return r;
    }
    *ret = config;
    return 0;
}

int kube_config_from_dir(const char *dir, const char *host, const char *port,
                         struct kube_config *ret, struct err *err)
{
    struct kube_config config = {0};
    CLEANUP(free) char *ca_file = xasprintf("%s/ca.crt", dir);
    CLEANUP(free) char *token = NULL;
    bool v6 = strchr(host, ':') != NULL;
    int r;

    config.token_file = xasprintf("%s/token", dir);
    r = read_file(config.token_file, "service account token", &token, err);
    if (r == 0)
        r = read_file(ca_file, "certificate authority", &config.ca_pem, err);
    if (r < 0) {
        kube_config_free(&config);
        return r;
    }
    config.server = xasprintf("https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    *ret = config;
    return 0;
}

int kube_config_in_cluster(struct kube_config *ret, struct err *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");

    if (str_empty(host) || str_empty(port))
        return err_spec(err, -ENOENT, "not in a cluster: KUBERNETES_SERVICE_HOST is not set");
    return kube_config_from_dir(SERVICE_ACCOUNT_DIR, host, port, ret, err);
}

static char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

void kube_config_copy(const struct kube_config *from, struct kube_config *to)
{
    *to = (struct kube_config){
        .server = copy(from->server),
        .ca_pem = copy(from->ca_pem),
        .cert_pem = copy(from->cert_pem),
        .key_pem = copy(from->key_pem),
        .token = copy(from->token),
        .token_file = copy(from->token_file),
        .tls_server_name = copy(from->tls_server_name),
        .proxy_url = copy(from->proxy_url),
        .insecure = from->insecure,
    };
}

bool kube_config_equal(const struct kube_config *a, const struct kube_config *b)
{
    return str_eq(a->server, b->server) && str_eq(a->ca_pem, b->ca_pem) &&
           str_eq(a->cert_pem, b->cert_pem) && str_eq(a->key_pem, b->key_pem) &&
           str_eq(a->token, b->token) && str_eq(a->token_file, b->token_file) &&
           str_eq(a->tls_server_name, b->tls_server_name) && str_eq(a->proxy_url, b->proxy_url) &&
           !a->insecure == !b->insecure;
}

static void wipe(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void kube_config_free(struct kube_config *config)
{
    free(config->server);
    free(config->ca_pem);
    free(config->cert_pem);
    wipe(config->key_pem);
    wipe(config->token);
    free(config->token_file);
    free(config->tls_server_name);
    free(config->proxy_url);
    memset(config, 0, sizeof(*config));
}
