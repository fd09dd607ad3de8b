/* The two certificates of a node and who is told of them. */
#include "k8s/identity.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "k8s/identity_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NOTE_MAX 1024
#define NODES_GROUP "system:nodes"

static const struct part_kind kinds[] = {
    {
        .what = "client",
        .file = "node-client.pem",
        .key_file = "node-client.key.pending",
        .csr_prefix = "node-csr-",
        .signer = "kubernetes.io/kube-apiserver-client-kubelet",
        .usage = "client auth",
    },
    {
        .what = "serving",
        .file = "node-serving.pem",
        .key_file = "node-serving.key.pending",
        .csr_prefix = "node-serving-csr-",
        .signer = "kubernetes.io/kubelet-serving",
        .usage = "server auth",
        .serving = true,
    },
};

void identity_subject(const struct part *part, struct x509_subject *ret)
{
    const struct identity *identity = part->identity;
    *ret = (struct x509_subject){
        .organization = NODES_GROUP,
        .common_name = identity->common_name,
    };
    if (!part->kind->serving)
        return;
    ret->ips = (const char *const *)identity->ips;
    ret->ips_len = identity->ips_len;
    ret->names = (const char *const *)identity->names;
    ret->names_len = identity->names_len;
}

void identity_note(struct identity *identity, const char *fmt, ...)
{
    char text[NOTE_MAX];
    va_list args;
    if (identity->stopped || !identity->ops.on_note)
        return;
    va_start(args, fmt);
    struct buf line = BUF_INIT(NOTE_MAX);
    (void)buf_vaddf(&line, fmt, args);
    va_end(args);
    str_copy(text, sizeof(text), buf_str(&line));
    buf_free(&line);
    identity->ops.on_note(identity->userdata, text);
}

void identity_kube_config(const struct identity *identity, struct kube_config *ret)
{
    kube_config_copy(&identity->bootstrap, ret);
    free(ret->token);
    free(ret->token_file);
    free(ret->cert_pem);
    x509_key_free(ret->key_pem);
    ret->token = ret->token_file = NULL;
    ret->cert_pem = xstrdup(identity->parts[0].pair.cert_pem);
    ret->key_pem = xstrdup(identity->parts[0].pair.key_pem);
}

void identity_tell(struct part *part)
{
    struct identity *identity = part->identity;
    if (identity->stopped)
        return;
    if (part->kind->serving) {
        identity->ops.on_serving(identity->userdata, part->pair.cert_pem, part->pair.key_pem,
                                 part->self_signed);
        return;
    }
    struct kube_config config;
    identity_kube_config(identity, &config);
    identity->ops.on_client(identity->userdata, &config);
    kube_config_free(&config);
}

static char **copy_list(const char *const *list, size_t len)
{
    char **copy = xcalloc(len ? len : 1, sizeof(*copy));
    for (size_t i = 0; i < len; i++)
        copy[i] = xstrdup(list[i]);
    return copy;
}

static void free_list(char **list, size_t len)
{
    for (size_t i = 0; list && i < len; i++)
        free(list[i]);
    free(list);
}

static void set_names(struct identity *identity, const char *const *ips, size_t ips_len,
                      const char *const *names, size_t names_len)
{
    char **new_ips = copy_list(ips, ips_len);
    char **new_names = copy_list(names, names_len);
    free_list(identity->ips, identity->ips_len);
    free_list(identity->names, identity->names_len);
    identity->ips = new_ips;
    identity->ips_len = ips_len;
    identity->names = new_names;
    identity->names_len = names_len;
}

int identity_start_with(struct uv_loop_s *loop, const struct auth_calls *calls,
                        const struct identity_config *config, const struct identity_ops *ops,
                        void *userdata, struct identity **ret, struct err *err)
{
    int r = file_mkdirs(config->dir, 0700);
    if (r < 0)
        return err_set(err, r, "cannot make the directory %s: %s", config->dir, strerror(-r));
    struct identity *identity = xcalloc(1, sizeof(*identity));
    identity->loop = loop;
    identity->calls = calls;
    identity->ops = *ops;
    identity->userdata = userdata;
    identity->dir = xstrdup(config->dir);
    identity->common_name = xasprintf("system:node:%s", config->node_name);
    identity->want_serving_csr = config->want_serving_csr;
    if (config->bootstrap) {
        kube_config_copy(config->bootstrap, &identity->bootstrap);
        identity->has_bootstrap = true;
    }
    set_names(identity, config->serving_ips, config->serving_ips_len, config->serving_names,
              config->serving_names_len);
    for (size_t i = 0; i < 2; i++) {
        struct part *part = &identity->parts[i];
        part->identity = identity;
        part->kind = &kinds[i];
        (void)uv_timer_init(loop, &part->timer);
        part->timer.data = part;
        identity->handles++;
        if (part->kind->serving || identity->has_bootstrap)
            part_start(part);
    }
    *ret = identity;
    return 0;
}

int identity_start(struct uv_loop_s *loop, const struct identity_config *config,
                   const struct identity_ops *ops, void *userdata, struct identity **ret,
                   struct err *err)
{
    return identity_start_with(loop, &auth_calls_real, config, ops, userdata, ret, err);
}

void identity_set_client(struct identity *identity, struct kube_client *client)
{
    struct part *serving = &identity->parts[1];
    bool waiting = serving->state == PART_CLIENT;
    bool asking = serving->state == PART_ASKING;
    if (client == identity->client)
        return;
    identity->client = client;
    if (waiting || asking)
        part_again(serving);
}

void identity_set_bootstrap(struct identity *identity, const struct kube_config *bootstrap)
{
    struct part *client = &identity->parts[0];
    if (!identity->has_bootstrap || identity->stopped)
        return;
    kube_config_free(&identity->bootstrap);
    kube_config_copy(bootstrap, &identity->bootstrap);
    if (client->pair.cert_pem)
        identity_tell(client);
    part_again(client); /* looks only, when what is held is good */
}

static bool same(char **a, size_t a_len, const char *const *b, size_t b_len)
{
    if (a_len != b_len)
        return false;
    for (size_t i = 0; i < a_len; i++) {
        if (!str_eq(a[i], b[i]))
            return false;
    }
    return true;
}

void identity_set_serving_names(struct identity *identity, const char *const *ips, size_t ips_len,
                                const char *const *names, size_t names_len)
{
    if (same(identity->ips, identity->ips_len, ips, ips_len) &&
        same(identity->names, identity->names_len, names, names_len))
        return;
    set_names(identity, ips, ips_len, names, names_len);
    part_again(&identity->parts[1]);
}

static void on_closed(uv_handle_t *handle)
{
    const struct part *part = handle->data;
    struct identity *identity = part->identity;
    if (--identity->handles)
        return;
    for (size_t i = 0; i < 2; i++)
        store_pair_free(&identity->parts[i].pair); /* one that came while it was being stopped */
    free_list(identity->ips, identity->ips_len);
    free_list(identity->names, identity->names_len);
    if (identity->has_bootstrap)
        kube_config_free(&identity->bootstrap);
    free(identity->common_name);
    free(identity->dir);
    free(identity);
}

void identity_stop(struct identity *identity)
{
    if (!identity || identity->stopped)
        return;
    identity->stopped = true;
    for (size_t i = 0; i < 2; i++) {
        part_stop(&identity->parts[i]);
        uv_close((uv_handle_t *)&identity->parts[i].timer, on_closed);
    }
}
