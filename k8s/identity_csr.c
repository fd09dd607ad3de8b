/* POST, then watch the one object. A name that is taken already is ours from before a crash: it
 * carries the key's hash, and the certificate is checked against the key by the caller. */
#include "k8s/identity_csr.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#define CSR_PATH "/apis/certificates.k8s.io/v1/certificatesigningrequests"
#define CSR_BODY_MAX 65536
#define CSR_CERTIFICATE_MAX (256 * 1024)
#define CSR_TEXT_MAX 512

struct csr {
    const struct auth_calls *calls;
    struct kube_client *client;
    char *name;
    struct csr_ops ops;
    void *userdata;
    struct kube_request *request;
    struct watch *watch;
    uv_timer_t later; /* on_end comes from here: not from inside of the client's own call */
    bool ended;
    enum csr_end end;
    char *text;
    bool told_waiting, told_approved;
};

static void on_later(uv_timer_t *timer)
{
    struct csr *csr = timer->data;
    CLEANUP(free) char *text = TAKE(csr->text);
    csr->ops.on_end(csr->userdata, csr->end, text);
}

static void end(struct csr *csr, enum csr_end how, const char *text)
{
    if (csr->ended)
        return;
    csr->ended = true;
    csr->end = how;
    csr->text = xstrdup(text);
    (void)uv_timer_start(&csr->later, on_later, 0, 0);
}

static void note(struct csr *csr, const char *what)
{
    char text[CSR_TEXT_MAX];
    csr->ops.on_note(csr->userdata, str_fmt(text, sizeof(text), "CertificateSigningRequest %s %s",
                                            csr->name, what));
}

/* Denied and Failed: the condition of that type, or NULL. */
static const struct json *condition(const struct json *status, const char *type)
{
    const struct json *list = json_get(status, "conditions");
    for (const struct json *c = json_first(list); c; c = json_next(c)) {
        if (str_eq(json_get_string(c, "type"), type))
            return c;
    }
    return NULL;
}

static void end_refused(struct csr *csr, const struct json *why, const char *how)
{
    const char *reason = json_get_string(why, "reason");
    const char *message = json_get_string(why, "message");
    char text[CSR_TEXT_MAX];
    end(csr, CSR_REFUSED,
        str_fmt(text, sizeof(text), "CertificateSigningRequest %s %s: %s%s%s", csr->name, how,
                reason ? reason : "no reason given", str_empty(message) ? "" : ": ",
                message ? message : ""));
}

static void look_at(struct csr *csr, const struct json *object)
{
    const struct json *status = json_get(object, "status");
    const struct json *denied = condition(status, "Denied");
    const struct json *failed = condition(status, "Failed");
    const char *certificate = json_get_string(status, "certificate");
    bool approved = condition(status, "Approved") != NULL;
    if (denied) {
        end_refused(csr, denied, "was denied");
    } else if (failed) {
        end_refused(csr, failed, "could not be signed");
    } else if (approved && !str_empty(certificate)) {
        CLEANUP(free) char *pem = NULL;
        size_t len = strlen(certificate);
        size_t pem_len = 0;
        if (len > CSR_CERTIFICATE_MAX || str_unbase64(certificate, len, &pem, &pem_len) < 0 ||
            strlen(pem) != pem_len)
            end(csr, CSR_REFUSED, "the signed certificate is not readable");
        else
            end(csr, CSR_SIGNED, pem);
    } else if (approved && !csr->told_approved) {
        csr->told_approved = true;
        note(csr, "is approved and waits for its certificate");
    } else if (!approved && !csr->told_waiting) {
        csr->told_waiting = true;
        note(csr, "waits for approval");
    }
}

static void on_object(void *userdata, enum watch_event event, const struct json *object)
{
    struct csr *csr = userdata;
    /* The field selector says so already; a server that ignores it must not hand us another's. */
    if (csr->ended || !str_eq(json_get_string(json_get(object, "metadata"), "name"), csr->name))
        return;
    if (event == WATCH_DELETED)
        end(csr, CSR_BROKEN, "the CertificateSigningRequest was deleted");
    else
        look_at(csr, object);
}

static void on_error(void *userdata, const char *text)
{
    struct csr *csr = userdata;
    char line[CSR_TEXT_MAX];
    if (!csr->ended)
        csr->ops.on_note(csr->userdata,
                         str_fmt(line, sizeof(line), "watching CertificateSigningRequest %s: %s",
                                 csr->name, text));
}

static void start_watch(struct csr *csr)
{
    static const struct watch_ops ops = {.on_object = on_object, .on_error = on_error};
    CLEANUP(free) char *query = xasprintf("fieldSelector=metadata.name%%3D%s", csr->name);
    const struct watch_config config = {.path = CSR_PATH, .query = query};
    csr->watch = csr->calls->watch(csr->client, &config, &ops, csr);
}

static void on_posted(void *userdata, const struct kube_answer *answer)
{
    struct csr *csr = userdata;
    csr->request = NULL;
    bool made = answer->status == 201 || answer->status == 200;
    bool exists = answer->status == 409 && str_eq(answer->reason, "AlreadyExists");
    if (answer->result == 0 && (made || exists)) {
        start_watch(csr);
        return;
    }
    char text[CSR_TEXT_MAX];
    end(csr, CSR_BROKEN,
        str_fmt(text, sizeof(text), "cannot create CertificateSigningRequest %s: %s", csr->name,
                str_empty(answer->text) ? "no usable answer" : answer->text));
}

static void put_body(const struct csr_config *config, struct buf *out)
{
    CLEANUP(free) char *request = str_base64(config->request_pem, strlen(config->request_pem));
    struct json_writer w = JSON_WRITER(out);
    jw_begin_object(&w, NULL);
    jw_string(&w, "apiVersion", "certificates.k8s.io/v1");
    jw_string(&w, "kind", "CertificateSigningRequest");
    jw_begin_object(&w, "metadata");
    jw_string(&w, "name", config->name);
    jw_end_object(&w);
    jw_begin_object(&w, "spec");
    jw_string(&w, "request", request);
    jw_string(&w, "signerName", config->signer);
    jw_begin_array(&w, "usages");
    jw_string(&w, NULL, "digital signature");
    jw_string(&w, NULL, config->usage);
    jw_end_array(&w);
    jw_end_object(&w);
    jw_end_object(&w);
}

struct csr *csr_start(struct uv_loop_s *loop, const struct auth_calls *calls,
                      struct kube_client *client, const struct csr_config *config,
                      const struct csr_ops *ops, void *userdata)
{
    struct csr *csr = xcalloc(1, sizeof(*csr));
    csr->calls = calls;
    csr->client = client;
    csr->name = xstrdup(config->name);
    csr->ops = *ops;
    csr->userdata = userdata;
    (void)uv_timer_init(loop, &csr->later);
    csr->later.data = csr;
    CLEANUP(buf) struct buf body = BUF_INIT(CSR_BODY_MAX);
    put_body(config, &body);
    csr->request = calls->request(client, KUBE_POST, CSR_PATH, buf_str(&body), body.len, KUBE_RETRY,
                                  on_posted, csr);
    return csr;
}

static void on_closed(uv_handle_t *handle)
{
    struct csr *csr = handle->data;
    free(csr->name);
    free(csr->text);
    free(csr);
}

void csr_free(struct csr *csr)
{
    if (!csr)
        return;
    if (csr->request)
        csr->calls->cancel(csr->request);
    if (csr->watch)
        csr->calls->unwatch(csr->watch);
    csr->request = NULL;
    csr->watch = NULL;
    uv_close((uv_handle_t *)&csr->later, on_closed);
}
