/* See credentials.h. Files are looked at, not watched: mounted Secrets are replaced by renaming a
 * directory two links away, network file systems tell nothing, and these few kilobytes cost less
 * than to care. What cannot be read or does not fit together leaves what is in force. */
#include "provider/credentials.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/x509.h"
#include "provider/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PEM_FILE_MAX (1024 * 1024)
#define COMPLAINT_MAX 512

struct credentials {
    struct agent *agent;
    struct credentials_ops ops;
    uv_timer_t timer;
    struct kube_config kube;
    char *cert_pem, *key_pem;      /* of tlsCertFile; NULL: not given */
    char complaint[COMPLAINT_MAX]; /* the last, not to be repeated */
};

int credentials_load(const struct agent *agent, struct kube_config *ret, bool *ret_bootstrap,
                     struct err *err)
{
    const struct config *config = &agent->config;
    *ret_bootstrap = str_empty(config->kubeconfig);
    if (!*ret_bootstrap)
        return kube_config_load(config->kubeconfig, ret, err);
    if (!str_empty(config->bootstrap_kubeconfig))
        return kube_config_load(config->bootstrap_kubeconfig, ret, err);
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    /* An agent that went over to the host's mounts finds the Pod's elsewhere. */
    if (!str_empty(config->service_account_dir) && !str_empty(host) && !str_empty(port))
        return kube_config_from_dir(config->service_account_dir, host, port, ret, err);
    int result = kube_config_in_cluster(ret, err);
    if (result == -ENOENT)
        return err_spec(err, result,
                        "no credentials: give kubeconfig or bootstrapKubeconfig (this is not a Pod "
                        "with a ServiceAccount)");
    return result;
}

int credentials_read_pem(const char *path, char **ret, struct err *err)
{
    struct buf text = BUF_INIT(PEM_FILE_MAX);
    int result = file_read(path, &text);
    if (result < 0) {
        buf_free(&text);
        return err_set(err, result, "cannot read %s: %s", path, strerror(-result));
    }
    *ret = buf_take(&text);
    return 0;
}

static void complain(struct credentials *c, const char *what, const char *text)
{
    char line[COMPLAINT_MAX];
    str_fmt(line, sizeof(line), "%s: %s", what, text);
    if (str_eq(line, c->complaint))
        return;
    str_copy(c->complaint, sizeof(c->complaint), line);
    log_warn(NULL, "credentials", "%s; what was read before stays in force", line);
}

static void look_at_kube(struct credentials *c)
{
    struct kube_config kube = {0};
    struct err err = {0};
    bool bootstrap;
    int result = credentials_load(c->agent, &kube, &bootstrap, &err);
    if (result == 0 && kube_config_equal(&kube, &c->kube)) {
        kube_config_free(&kube);
        return;
    }
    /* One of the two may be written, and the other not yet. */
    if (result == 0 && kube.cert_pem && kube.key_pem)
        result = x509_check_pair(kube.cert_pem, kube.key_pem, &err);
    if (result == 0) {
        kube_config_free(&c->kube);
        c->kube = kube;
        kube = (struct kube_config){0};
        result = c->ops.on_kube(c->agent, &c->kube, &err);
    }
    kube_config_free(&kube);
    if (result < 0) {
        complain(c, "credentials for the API server", err.text);
        return;
    }
    c->complaint[0] = '\0';
    log_info(NULL, "credentials", "the credentials for the API server were replaced");
}

static void look_at_serving(struct credentials *c)
{
    const struct config *config = &c->agent->config;
    char *cert = NULL, *key = NULL;
    struct err err = {0};
    int result = credentials_read_pem(config->tls_cert_file, &cert, &err);
    if (result == 0)
        result = credentials_read_pem(config->tls_key_file, &key, &err);
    if (result == 0 && str_eq(cert, c->cert_pem) && str_eq(key, c->key_pem)) {
        free(cert);
        x509_key_free(key);
        return;
    }
    bool first = result == 0 && !c->cert_pem;
    if (result == 0)
        result = x509_check_pair(cert, key, &err);
    if (result == 0) {
        free(c->cert_pem);
        x509_key_free(c->key_pem);
        c->cert_pem = cert;
        c->key_pem = key;
        cert = key = NULL;
        if (!first)
            result = c->ops.on_serving(c->agent, c->cert_pem, c->key_pem, &err);
    }
    free(cert);
    x509_key_free(key);
    if (result < 0)
        complain(c, "serving certificate", err.text);
    else if (!first)
        log_info(NULL, "credentials", "the serving certificate was replaced");
}

static void on_timer(uv_timer_t *timer)
{
    struct credentials *c = timer->data;
    look_at_kube(c);
    if (!str_empty(c->agent->config.tls_cert_file))
        look_at_serving(c);
}

struct credentials *credentials_watch(struct agent *agent, const struct kube_config *kube,
                                      const struct credentials_ops *ops)
{
    struct credentials *c = xcalloc(1, sizeof(*c));
    c->agent = agent;
    c->ops = *ops;
    kube_config_copy(kube, &c->kube);
    if (!str_empty(agent->config.tls_cert_file))
        look_at_serving(c);
    uv_timer_init(&agent->loop, &c->timer);
    c->timer.data = c;
    uv_timer_start(&c->timer, on_timer, CREDENTIALS_MS, CREDENTIALS_MS);
    return c;
}

static void on_closed(uv_handle_t *handle)
{
    struct credentials *c = handle->data;
    kube_config_free(&c->kube);
    free(c->cert_pem);
    x509_key_free(c->key_pem);
    free(c);
}

void credentials_stop(struct credentials *c)
{
    if (c)
        uv_close((uv_handle_t *)&c->timer, on_closed);
}
