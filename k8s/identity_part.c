/* One certificate: load or ask, tell, renew when 70 to 90 % of its life has passed (contract
 * 1.6). The key is saved before its request is sent, and the request's name comes from the key:
 * after a crash the same request is found again. */
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/str.h"
#include "k8s/identity_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static void look(struct part *part);
static void ask(struct part *part);

/* Uniform in [0, n). */
static uint32_t some(uint32_t n)
{
    uint32_t value = 0;
    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
        return n / 2;
    return value % n;
}

static int64_t unix_now(const struct part *part)
{
    return part->identity->calls->unix_ms();
}

static void on_timer(uv_timer_t *timer)
{
    look(timer->data);
}

static void wake_in(struct part *part, int64_t ms)
{
    if (ms > PART_LOOK_MS_MAX)
        ms = PART_LOOK_MS_MAX;
    (void)uv_timer_start(&part->timer, on_timer, ms > 0 ? (uint64_t)ms : 0, 0);
}

static bool held(const struct part *part)
{
    return part->pair.cert_pem && part->pair.not_after_ms > unix_now(part);
}

static void hold(struct part *part, struct store_pair *pair, bool self_signed)
{
    store_pair_free(&part->pair);
    part->pair = *pair;
    *pair = (struct store_pair){0};
    part->self_signed = self_signed;
    int64_t life = part->pair.not_after_ms - part->pair.not_before_ms;
    part->renew_at_ms = part->pair.not_before_ms + life * (700 + some(201)) / 1000;
    identity_tell(part);
}

static void drop_request(struct part *part)
{
    csr_free(part->csr);
    part->csr = NULL;
    if (part->client)
        part->identity->calls->close(part->client);
    part->client = NULL;
    x509_key_free(part->key_pem);
    part->key_pem = NULL;
}

static void back_off(struct part *part, uint32_t least_ms)
{
    drop_request(part);
    part->state = PART_BACKOFF;
    part->backoff_ms = part->backoff_ms ? part->backoff_ms * 2 : PART_BACKOFF_MS;
    if (part->backoff_ms > PART_BACKOFF_MS_MAX)
        part->backoff_ms = PART_BACKOFF_MS_MAX;
    uint32_t ms = part->backoff_ms > least_ms ? part->backoff_ms : least_ms;
    wake_in(part, ms + some(ms / 4 + 1));
}

/* Something to serve with while nothing signed is there. */
static void self_sign(struct part *part)
{
    struct err err;
    struct x509_subject subject;
    struct store_pair pair = {0};
    struct x509_info info = {0};
    identity_subject(part, &subject);
    int r = x509_key_new(&pair.key_pem, &err);
    if (r == 0)
        r = x509_self_signed(pair.key_pem, &subject, unix_now(part), SELF_SIGNED_DAYS,
                             &pair.cert_pem, &err);
    if (r == 0)
        r = x509_read(pair.cert_pem, &info, &err);
    if (r < 0) {
        store_pair_free(&pair);
        identity_note(part->identity, "no serving certificate: %s", err.text);
        return;
    }
    pair.not_before_ms = info.not_before_ms;
    pair.not_after_ms = info.not_after_ms;
    x509_info_free(&info);
    hold(part, &pair, true);
}

/* What the API server handed out must be what was asked for. */
static int accept_signed(struct part *part, const char *chain_pem, struct store_pair *ret,
                         struct err *err)
{
    CLEANUP(free) char *text = xasprintf("%s\n%s", chain_pem, part->key_pem);
    struct x509_subject subject;
    struct x509_info info = {0};
    identity_subject(part, &subject);
    int r = store_parse(text, ret, err);
    explicit_bzero(text, strlen(text));
    if (r < 0)
        return r;
    r = x509_read(ret->cert_pem, &info, err);
    if (r == 0 && !str_eq(info.common_name, subject.common_name))
        r = err_set(err, -EKEYREJECTED, "it is for \"%s\"", info.common_name);
    else if (r == 0 && ret->not_after_ms <= unix_now(part))
        r = err_set(err, -EKEYEXPIRED, "it has expired already");
    else if (r == 0 && part->kind->serving && !x509_has_sans(ret->cert_pem, &subject))
        r = err_set(err, -EKEYREJECTED, "it has other names than were asked for");
    x509_info_free(&info);
    if (r < 0)
        store_pair_free(ret);
    return r;
}

static void on_signed(struct part *part, const char *chain_pem)
{
    struct identity *identity = part->identity;
    struct err err;
    struct store_pair pair = {0};
    if (accept_signed(part, chain_pem, &pair, &err) < 0) {
        identity_note(identity, "the %s certificate that was signed is not usable: %s",
                      part->kind->what, err.text);
        store_remove(identity->dir, part->kind->key_file);
        back_off(part, PART_REFUSED_MS);
        return;
    }
    /* Without the file the next start asks again: worth a note, no reason not to go on. */
    if (store_save(identity->dir, part->kind->file, pair.cert_pem, pair.key_pem, &err) < 0)
        identity_note(identity, "%s", err.text);
    else
        store_remove(identity->dir, part->kind->key_file);
    drop_request(part);
    part->backoff_ms = 0;
    part->self_refused = false;
    part->state = PART_HELD;
    int64_t now = unix_now(part);
    hold(part, &pair, false);
    if (identity->stopped)
        return;
    /* Signed for so short that it is due already: not a new request at once, for ever. */
    if (part->renew_at_ms <= now)
        part->renew_at_ms = now + (part->pair.not_after_ms - now) / 2;
    look(part);
}

static void on_end(void *userdata, enum csr_end end, const char *text)
{
    struct part *part = userdata;
    switch (end) {
    case CSR_SIGNED:
        on_signed(part, text);
        return;
    case CSR_REFUSED:
        store_remove(part->identity->dir, part->kind->key_file);
        back_off(part, PART_REFUSED_MS);
        break;
    case CSR_BROKEN:
        /* Perhaps the identity is no longer taken, while the bootstrap credentials are: in
         * turns. */
        part->self_refused = !part->self_refused;
        back_off(part, 0);
        break;
    }
    identity_note(part->identity, "%s", text);
}

static void on_note(void *userdata, const char *text)
{
    const struct part *part = userdata;
    identity_note(part->identity, "%s", text);
}

/* The client to ask with. 0, -EAGAIN: none yet, else an error. */
static int open_client(struct part *part, struct kube_client **ret, struct err *err)
{
    struct identity *identity = part->identity;
    if (part->kind->serving) {
        *ret = identity->client;
        return *ret ? 0 : -EAGAIN;
    }
    struct kube_config config;
    if (held(part) && !part->self_refused)
        identity_kube_config(identity, &config);
    else
        kube_config_copy(&identity->bootstrap, &config);
    int r = identity->calls->open(identity->loop, &config, &part->client, err);
    kube_config_free(&config);
    if (r == 0)
        *ret = part->client;
    return r;
}

/* Key and names decide: a request for other names is another request. */
static int csr_name(const struct part *part, const char *key_pem, char **ret, struct err *err)
{
    struct x509_subject subject;
    char hash[65];
    identity_subject(part, &subject);
    int r = x509_key_hash(key_pem, hash, err);
    if (r < 0)
        return r;
    if (part->kind->serving) {
        struct digest *digest = digest_new();
        digest_add(digest, hash, 64);
        for (size_t i = 0; i < subject.ips_len; i++)
            digest_add(digest, subject.ips[i], strlen(subject.ips[i]) + 1);
        for (size_t i = 0; i < subject.names_len; i++)
            digest_add(digest, subject.names[i], strlen(subject.names[i]) + 1);
        digest_hex(digest, hash);
        digest_free(digest);
    }
    *ret = xasprintf("%s%s", part->kind->csr_prefix, hash);
    return 0;
}

static int begin_csr(struct part *part, struct kube_client *client, struct err *err)
{
    static const struct csr_ops ops = {.on_end = on_end, .on_note = on_note};
    struct identity *identity = part->identity;
    struct x509_subject subject;
    CLEANUP(free) char *request = NULL;
    CLEANUP(free) char *name = NULL;
    identity_subject(part, &subject);
    int r = store_key(identity->dir, part->kind->key_file, &part->key_pem, err);
    if (r == 0)
        r = x509_csr(part->key_pem, &subject, &request, err);
    if (r == 0)
        r = csr_name(part, part->key_pem, &name, err);
    if (r < 0)
        return r;
    const struct csr_config config = {
        .name = name,
        .signer = part->kind->signer,
        .usage = part->kind->usage,
        .request_pem = request,
    };
    part->csr = csr_start(identity->loop, identity->calls, client, &config, &ops, part);
    return 0;
}

static void ask(struct part *part)
{
    struct err err;
    struct kube_client *client = NULL;
    int r = open_client(part, &client, &err);
    if (r == -EAGAIN) {
        part->state = PART_CLIENT;
        return;
    }
    if (r == 0)
        r = begin_csr(part, client, &err);
    if (r < 0) {
        back_off(part, 0);
        identity_note(part->identity, "cannot ask for a %s certificate: %s", part->kind->what,
                      err.text);
        return;
    }
    part->state = PART_ASKING;
    int64_t until = PART_ATTEMPT_MS_MAX;
    if (held(part) && part->pair.not_after_ms - unix_now(part) < until)
        until = part->pair.not_after_ms - unix_now(part) + 1;
    wake_in(part, until);
}

/* Whether the certificate held is the one to have: then it only waits for its renewal. */
static bool content(const struct part *part)
{
    if (!held(part) || unix_now(part) >= part->renew_at_ms)
        return false;
    if (!part->kind->serving)
        return true;
    struct x509_subject subject;
    identity_subject(part, &subject);
    bool want_signed = part->identity->want_serving_csr && subject.ips_len + subject.names_len > 0;
    return x509_has_sans(part->pair.cert_pem, &subject) && !(part->self_signed && want_signed);
}

/* Looks at what is there and does what is next. */
static void look(struct part *part)
{
    struct identity *identity = part->identity;
    drop_request(part);
    if (content(part)) {
        part->state = PART_HELD;
        wake_in(part, part->renew_at_ms - unix_now(part));
        return;
    }
    struct x509_subject subject;
    identity_subject(part, &subject);
    bool names = subject.ips_len + subject.names_len > 0;
    if (part->kind->serving) {
        bool fits = held(part) && x509_has_sans(part->pair.cert_pem, &subject);
        bool old = unix_now(part) >= part->renew_at_ms;
        if (!held(part) || (part->self_signed && (!fits || old)))
            self_sign(part);
        if (identity->stopped)
            return;
        if (!identity->want_serving_csr || !names) {
            if (!part->self_signed)
                self_sign(part); /* a signed one from before, no longer wanted */
            part->state = PART_HELD;
            wake_in(part, held(part) ? part->renew_at_ms - unix_now(part) : PART_BACKOFF_MS_MAX);
            return;
        }
    }
    ask(part);
}

static void on_first(uv_timer_t *timer)
{
    struct part *part = timer->data;
    struct identity *identity = part->identity;
    struct err err;
    struct store_pair pair = {0};
    bool load = !part->kind->serving || identity->want_serving_csr;
    int r = load ? store_load(identity->dir, part->kind->file, identity->common_name,
                              unix_now(part), &pair, &err)
                 : -ENOENT;
    if (r == 0) {
        struct x509_subject subject;
        identity_subject(part, &subject);
        /* Other names than before: not even worth to begin with. */
        if (part->kind->serving && !x509_has_sans(pair.cert_pem, &subject))
            store_pair_free(&pair);
        else
            hold(part, &pair, false);
    } else if (r != -ENOENT) {
        identity_note(identity, "%s", err.text);
    }
    if (!identity->stopped)
        look(part);
}

void part_start(struct part *part)
{
    part->state = PART_START;
    (void)uv_timer_start(&part->timer, on_first, 0, 0);
}

void part_stop(struct part *part)
{
    part->state = PART_OFF;
    (void)uv_timer_stop(&part->timer);
    drop_request(part);
    store_pair_free(&part->pair);
}

void part_again(struct part *part)
{
    if (part->state == PART_OFF || part->state == PART_START)
        return;
    drop_request(part);
    wake_in(part, 0);
}
