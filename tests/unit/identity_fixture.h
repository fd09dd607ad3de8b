/* An API server of a few lines that keeps CertificateSigningRequests, as a table of struct
 * auth_calls; and an owner that remembers what identity told it. */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "k8s/identity_priv.h"
#include "pki_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#define CSRS_MAX 16
#define WAIT_MS 8000

struct kept_csr {
    char *name, *request_pem, *signer, *usage;
    char *by_token, *by_cert; /* credentials it came with */
    const char *end;          /* "Approved", "Denied", "Failed" */
    char *certificate_pem;
};

struct kube_client { /* one opened by identity, or the owner's */
    struct world *world;
    char *token, *cert_pem;
};

struct kube_request {
    struct kube_client *client;
    char *body;
    kube_done done;
    void *userdata;
    bool cancelled;
};

struct watch {
    struct kube_client *client;
    char *name;
    const struct watch_ops *ops;
    void *userdata;
    int seen; /* what was delivered last */
};

struct world {
    uv_loop_t loop;
    char dir[64];
    struct pki ca;
    struct kept_csr csrs[CSRS_MAX];
    size_t csrs_len, posts, opened, closed;
    struct kube_request *request;
    struct watch *watches[2];
    bool forbid;
    bool serving_pending; /* the owner's client is not there */
    struct kube_client owner;
    /* What the owner was told. */
    unsigned clients, servings;
    struct kube_config config;
    char *serving_cert, *serving_key;
    bool self_signed;
    struct buf notes;
    struct identity *identity;
};

static struct world *opening; /* identity_start opens clients without naming a world */

static inline int fake_open(struct uv_loop_s *loop, const struct kube_config *config,
                            struct kube_client **ret, struct err *err)
{
    (void)loop;
    (void)err;
    struct kube_client *client = xcalloc(1, sizeof(*client));
    client->world = opening;
    client->token = config->token ? xstrdup(config->token) : NULL;
    client->cert_pem = config->cert_pem ? xstrdup(config->cert_pem) : NULL;
    opening->opened++;
    *ret = client;
    return 0;
}

static inline void fake_close(struct kube_client *client)
{
    client->world->closed++;
    free(client->token);
    free(client->cert_pem);
    free(client);
}

static inline struct kube_request *fake_request(struct kube_client *client, enum kube_method method,
                                                const char *path, const char *body, size_t len,
                                                enum kube_retry retry, kube_done done,
                                                void *userdata)
{
    struct kube_request *request = xcalloc(1, sizeof(*request));
    (void)retry;
    assert_int_equal(method, KUBE_POST);
    assert_string_equal(path, "/apis/certificates.k8s.io/v1/certificatesigningrequests");
    *request = (struct kube_request){client, xstrndup(body, len), done, userdata, false};
    assert_null(client->world->request); /* the tests ask for one thing at a time */
    client->world->request = request;
    return request;
}

static inline void fake_cancel(struct kube_request *request)
{
    request->client->world->request = NULL;
    free(request->body);
    free(request);
}

static inline struct watch *fake_watch(struct kube_client *client,
                                       const struct watch_config *config,
                                       const struct watch_ops *ops, void *userdata)
{
    struct world *world = client->world;
    struct watch *watch = xcalloc(1, sizeof(*watch));
    assert_true(str_starts(config->query, "fieldSelector=metadata.name%3D"));
    *watch = (struct watch){client, xstrdup(strstr(config->query, "%3D") + 3), ops, userdata, 0};
    *(world->watches[0] ? &world->watches[1] : &world->watches[0]) = watch;
    return watch;
}

static inline void fake_unwatch(struct watch *watch)
{
    struct world *world = watch->client->world;
    *(world->watches[0] == watch ? &world->watches[0] : &world->watches[1]) = NULL;
    free(watch->name);
    free(watch);
}

static const struct auth_calls fake_calls = {
    .open = fake_open,
    .close = fake_close,
    .request = fake_request,
    .cancel = fake_cancel,
    .watch = fake_watch,
    .unwatch = fake_unwatch,
    .mono_ms = clock_mono_ms,
    .unix_ms = clock_unix_ms,
};

static inline struct kept_csr *world_csr(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->csrs_len; i++) {
        if (str_eq(w->csrs[i].name, name))
            return &w->csrs[i];
    }
    return NULL;
}

/* Keeps what was posted; 201 or 409. */
static inline int world_keep(struct world *w, const struct kube_request *request)
{
    struct json *root = json_parse(request->body, strlen(request->body), NULL);
    const char *name = json_get_string(json_get(root, "metadata"), "name");
    const struct json *spec = json_get(root, "spec");
    const char *text = json_get_string(spec, "request");
    size_t len;
    int status = 409;
    if (!world_csr(w, name)) {
        assert_true(w->csrs_len < CSRS_MAX);
        struct kept_csr *csr = &w->csrs[w->csrs_len++];
        status = 201;
        csr->name = xstrdup(name);
        assert_int_equal(str_unbase64(text, strlen(text), &csr->request_pem, &len), 0);
        csr->signer = xstrdup(json_get_string(spec, "signerName"));
        csr->usage = xstrdup(json_string(json_next(json_first(json_get(spec, "usages")))));
        csr->by_token = request->client->token ? xstrdup(request->client->token) : NULL;
        csr->by_cert = request->client->cert_pem ? xstrdup(request->client->cert_pem) : NULL;
    }
    json_free(root);
    return status;
}

static inline void world_answer(struct world *w)
{
    struct kube_request *request = w->request;
    if (!request)
        return;
    w->request = NULL;
    w->posts++;
    int status = w->forbid ? 403 : world_keep(w, request);
    const struct kube_answer answer = {
        .status = status,
        .body = "{}",
        .reason = status == 409   ? "AlreadyExists"
                  : status == 403 ? "Forbidden"
                                  : "",
        .text = status >= 400 ? "it is not allowed" : "",
    };
    request->done(request->userdata, &answer);
    free(request->body);
    free(request);
}

/* Delivers an object to a watch when it is new to it. */
static inline void world_deliver(struct world *w, struct watch *watch)
{
    const struct kept_csr *csr = watch ? world_csr(w, watch->name) : NULL;
    if (!csr)
        return;
    int now = csr->certificate_pem ? 3 : csr->end ? 2 : 1;
    if (watch->seen == now)
        return;
    enum watch_event event = watch->seen ? WATCH_MODIFIED : WATCH_ADDED;
    watch->seen = now;
    CLEANUP(buf) struct buf text = BUF_INIT(65536);
    CLEANUP(free)
    char *cert = csr->certificate_pem
                     ? str_base64(csr->certificate_pem, strlen(csr->certificate_pem))
                     : NULL;
    (void)buf_addf(&text, "{\"metadata\":{\"name\":\"%s\"},\"status\":{", csr->name);
    if (csr->end)
        (void)buf_addf(&text,
                       "\"conditions\":[{\"type\":\"%s\",\"status\":\"True\","
                       "\"reason\":\"Because\",\"message\":\"of that\"}]%s",
                       csr->end, cert ? "," : "");
    if (cert)
        (void)buf_addf(&text, "\"certificate\":\"%s\"", cert);
    (void)buf_adds(&text, "}}");
    struct json *root = json_parse(text.data, text.len, NULL);
    assert_non_null(root);
    watch->ops->on_object(watch->userdata, event, root);
    json_free(root);
}

static inline void world_spin(struct world *w)
{
    opening = w;
    (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    world_answer(w);
    world_deliver(w, w->watches[0]);
    world_deliver(w, w->watches[1]);
}

#define UNTIL(w, condition)                                \
    do {                                                   \
        uint64_t until_ = clock_mono_ms() + WAIT_MS;       \
        while (!(condition) && clock_mono_ms() < until_) { \
            world_spin(w);                                 \
            (void)usleep(200);                             \
        }                                                  \
        assert_true(condition);                            \
    } while (0)

/* ---- the owner ---- */

static inline void told_client(void *userdata, const struct kube_config *config)
{
    struct world *w = userdata;
    kube_config_free(&w->config);
    kube_config_copy(config, &w->config);
    w->clients++;
}

static inline void told_serving(void *userdata, const char *cert, const char *key, bool self_signed)
{
    struct world *w = userdata;
    assert_int_equal(x509_check_pair(cert, key, NULL), 0);
    free(w->serving_cert);
    w->serving_cert = xstrdup(cert);
    w->self_signed = self_signed;
    w->servings++;
}

static inline void told_note(void *userdata, const char *text)
{
    struct world *w = userdata;
    (void)buf_addf(&w->notes, "%s\n", text);
}

static inline void world_start(struct world *w, bool bootstrap, bool serving)
{
    static const struct identity_ops ops = {told_client, told_serving, told_note};
    static const char *const ips[] = {"192.0.2.2", "2001:db8::2"};
    static const char *const names[] = {"uk-0"};
    struct kube_config boot = {.server = (char *)(uintptr_t) "https://api:6443",
                               .token = (char *)(uintptr_t) "boot"};
    const struct identity_config config = {
        .node_name = "uk-0",
        .dir = w->dir,
        .bootstrap = bootstrap ? &boot : NULL,
        .want_serving_csr = serving,
        .serving_ips = ips,
        .serving_ips_len = 2,
        .serving_names = names,
        .serving_names_len = 1,
    };
    struct err err;
    assert_int_equal(
        identity_start_with(&w->loop, &fake_calls, &config, &ops, w, &w->identity, &err), 0);
    assert_int_equal(w->clients + w->servings, 0); /* never before it returned */
}

static inline void world_stop(struct world *w)
{
    identity_stop(w->identity);
    w->identity = NULL;
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_null(w->request);
    assert_null(w->watches[0]);
    assert_null(w->watches[1]);
    assert_int_equal(w->opened, w->closed);
    w->clients = w->servings = 0;
    buf_reset(&w->notes);
}

static inline void world_init(struct world *w)
{
    *w = (struct world){.notes = BUF_INIT(65536)};
    uv_loop_init(&w->loop);
    str_copy(w->dir, sizeof(w->dir), "/tmp/identity-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    pki_init(&w->ca, "cluster CA");
    w->owner.world = w;
}

static inline void world_done(struct world *w)
{
    if (w->identity)
        world_stop(w);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    (void)file_remove_tree(w->dir);
    pki_done(&w->ca);
    for (size_t i = 0; i < w->csrs_len; i++) {
        struct kept_csr *csr = &w->csrs[i];
        free(csr->name);
        free(csr->request_pem);
        free(csr->signer);
        free(csr->usage);
        free(csr->by_token);
        free(csr->by_cert);
        free(csr->certificate_pem);
    }
    kube_config_free(&w->config);
    free(w->serving_cert);
    buf_free(&w->notes);
}

/* Approves and signs; seconds from now. */
static inline void world_sign(struct world *w, size_t index, long from, long until)
{
    struct kept_csr *csr = &w->csrs[index];
    csr->end = "Approved";
    csr->certificate_pem =
        pki_sign(&w->ca, csr->request_pem,
                 str_eq(csr->usage, "client auth") ? "clientAuth" : "serverAuth", from, until);
}

static inline bool world_has(const struct world *w, const char *name)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", w->dir, name);
    return access(path, F_OK) == 0;
}
