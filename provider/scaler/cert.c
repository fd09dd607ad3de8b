/* The serving certificate: from files, taken up again when they are replaced, or self-made, and
 * then written into the APIService, because nobody else could vouch for it. Called by startup.c. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "k8s/server.h"
#include "k8s/x509.h"
#include "provider/scaler/scaler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define API_SERVICE "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
#define SELF_MADE_DAYS 365
#define RENEW_DAYS 180
#define FILES_MS 10000u /* a kubelet replaces a Secret's files within a minute or so */
#define RETRY_MS 5000u

struct cert {
    struct scaler *scaler;
    uv_timer_t timer;
    char *cert_pem, *key_pem;
    bool published;
    uint64_t retry_ms; /* mono: not before */
    int64_t renew_ms;  /* unix */
    struct kube_request *request;
};

static bool self_made(const struct cert *cert)
{
    return str_empty(cert->scaler->config.tls_cert_file);
}

/* Takes both over. */
static int use(struct cert *cert, char *cert_pem, char *key_pem, struct err *err)
{
    int r = server_set_certificate(cert->scaler->server, cert_pem, key_pem, err);
    if (r < 0) {
        free(cert_pem);
        x509_key_free(key_pem);
        return r;
    }
    free(cert->cert_pem);
    x509_key_free(cert->key_pem);
    cert->cert_pem = cert_pem;
    cert->key_pem = key_pem;
    cert->published = false;
    return 0;
}

static int make(struct cert *cert, struct err *err)
{
    const struct scaler_config *config = &cert->scaler->config;
    CLEANUP(free) char *short_name = xasprintf("%s.%s", config->service, config->ns);
    CLEANUP(free) char *name = xasprintf("%s.%s.svc", config->service, config->ns);
    CLEANUP(free)
    char *long_name = xasprintf("%s.%s.svc.cluster.local", config->service, config->ns);
    const char *names[] = {config->service, short_name, name, long_name};
    const char *ips[] = {config->pod_ip};
    const struct x509_subject subject = {.common_name = config->service,
                                         .ips = ips,
                                         .ips_len = 1,
                                         .names = names,
                                         .names_len = ARRAY_LEN(names)};
    char *key = NULL;
    char *pem = NULL;
    int r = x509_key_new(&key, err);
    if (r == 0)
        r = x509_self_signed(key, &subject, clock_unix_ms(), SELF_MADE_DAYS, &pem, err);
    if (r < 0) {
        x509_key_free(key);
        return r;
    }
    cert->renew_ms = clock_unix_ms() + (int64_t)RENEW_DAYS * 24 * 3600 * 1000;
    return use(cert, pem, key, err);
}

static int read_pem(const char *path, char **ret, struct err *err)
{
    struct buf text = BUF_INIT(X509_PEM_MAX);
    int r = file_read(path, &text);
    if (r < 0) {
        buf_free(&text);
        return err_set(err, r, "cannot read %s: %s", path, strerror(-r));
    }
    *ret = buf_take(&text);
    return 0;
}

static int load(struct cert *cert, struct err *err)
{
    char *pem = NULL;
    char *key = NULL;
    int r = read_pem(cert->scaler->config.tls_cert_file, &pem, err);
    if (r == 0)
        r = read_pem(cert->scaler->config.tls_key_file, &key, err);
    bool same = r == 0 && str_eq(pem, cert->cert_pem) && str_eq(key, cert->key_pem);
    if (r == 0 && !same)
        return use(cert, pem, key, err);
    free(pem);
    x509_key_free(key);
    return r;
}

static void on_timer(uv_timer_t *timer)
{
    struct cert *cert = timer->data;
    struct err err = {0};
    int r = 0;
    if (!self_made(cert))
        r = load(cert, &err);
    else if (clock_unix_ms() >= cert->renew_ms)
        r = make(cert, &err);
    if (r < 0)
        log_warn(NULL, "serving", "%s; going on with the certificate in use", err.text);
}

int cert_start(struct scaler *scaler, struct cert **ret, struct err *err)
{
    struct cert *cert = xcalloc(1, sizeof(*cert));
    cert->scaler = scaler;
    uv_timer_init(&scaler->loop, &cert->timer);
    cert->timer.data = cert;
    uv_timer_start(&cert->timer, on_timer, FILES_MS, FILES_MS);
    *ret = cert;
    return self_made(cert) ? make(cert, err) : load(cert, err);
}

static void on_published(void *userdata, const struct kube_answer *answer)
{
    struct cert *cert = userdata;
    cert->request = NULL;
    cert->retry_ms = clock_mono_ms() + RETRY_MS;
    cert->published = answer->result == 0 && answer->status == 200;
    if (cert->published)
        log_info(NULL, "serving", "the self-made certificate is in the APIService");
    else
        log_warn(NULL, "serving", "APIService v1beta1.external.metrics.k8s.io: %s", answer->text);
}

void cert_publish(struct cert *cert)
{
    if (!cert || !self_made(cert) || !cert->scaler->config.api_service || cert->published ||
        cert->request || clock_mono_ms() < cert->retry_ms)
        return;
    struct buf body = BUF_INIT(2 * X509_PEM_MAX);
    struct json_writer w = JSON_WRITER(&body);
    char *bundle = str_base64(cert->cert_pem, strlen(cert->cert_pem));
    jw_begin_object(&w, NULL);
    jw_begin_object(&w, "spec");
    jw_string(&w, "caBundle", bundle);
    jw_end_object(&w);
    jw_end_object(&w);
    cert->request = kube_request(cert->scaler->client, KUBE_MERGE_PATCH, API_SERVICE,
                                 buf_str(&body), body.len, KUBE_ONCE, on_published, cert);
    free(bundle);
    buf_free(&body);
}

static void on_closed(uv_handle_t *handle)
{
    struct cert *cert = handle->data;
    free(cert->cert_pem);
    x509_key_free(cert->key_pem);
    free(cert);
}

void cert_stop(struct cert *cert)
{
    if (!cert)
        return;
    if (cert->request)
        kube_request_cancel(cert->request);
    uv_close((uv_handle_t *)&cert->timer, on_closed);
}
