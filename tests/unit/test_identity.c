/* The node's certificates from bootstrap to renewal, with an API server of a few lines. */
#include "identity_fixture.h"

static void test_bootstrap(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_start(&w, true, false);
    UNTIL(&w, strstr(buf_str(&w.notes), "waits for approval"));
    assert_int_equal(w.csrs_len, 1);
    assert_true(str_starts(w.csrs[0].name, "node-csr-"));
    assert_string_equal(w.csrs[0].signer, "kubernetes.io/kube-apiserver-client-kubelet");
    assert_string_equal(w.csrs[0].usage, "client auth");
    assert_string_equal(w.csrs[0].by_token, "boot");
    assert_true(world_has(&w, "node-client.key.pending"));
    assert_int_equal(w.clients, 0);
    assert_true(w.self_signed); /* serving does not wait */
    assert_int_equal(w.servings, 1);
    w.csrs[0].end = "Approved";
    UNTIL(&w, strstr(buf_str(&w.notes), "is approved and waits for its certificate"));
    world_sign(&w, 0, -300, 86400);
    UNTIL(&w, w.clients == 1);
    assert_null(w.config.token);
    assert_string_equal(w.config.server, "https://api:6443");
    assert_int_equal(x509_check_pair(w.config.cert_pem, w.config.key_pem, NULL), 0);
    assert_false(world_has(&w, "node-client.key.pending"));
    CLEANUP(free) char *path = xasprintf("%s/node-client.pem", w.dir);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(w.opened, w.closed); /* the bootstrap credentials are put away */
    /* Again: from the file, without a word to the API server. */
    world_stop(&w);
    world_start(&w, true, false);
    UNTIL(&w, w.clients == 1);
    assert_int_equal(w.posts, 1);
    world_done(&w);
}

static void test_resume(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_start(&w, true, false);
    UNTIL(&w, w.posts == 1);
    world_stop(&w); /* as a crash: nothing is taken back */
    world_sign(&w, 0, -300, 86400);
    world_start(&w, true, false);
    UNTIL(&w, w.clients == 1);
    assert_int_equal(w.posts, 2);
    assert_int_equal(w.csrs_len, 1); /* the same request */
    world_done(&w);
}

static void write_file(const struct world *w, const char *name, const char *text)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", w->dir, name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600), 0);
}

static void write_pair(const struct world *w, const char *common_name, long until, bool mismatch)
{
    const struct x509_subject subject = {.organization = "system:nodes",
                                         .common_name = common_name};
    char *cert, *key, *other;
    pki_issue(&w->ca, &subject, "clientAuth", -300, until, &cert, &key);
    assert_int_equal(x509_key_new(&other, NULL), 0);
    CLEANUP(free) char *text = xasprintf("%s%s", cert, mismatch ? other : key);
    write_file(w, "node-client.pem", text);
    free(cert);
    x509_key_free(key);
    x509_key_free(other);
}

static void test_stored(void **state)
{
    (void)state;
    static const struct {
        const char *what, *note;
    } rows[] = {
        {"garbage", "there is not exactly one private key"},
        {"empty", "there is not exactly one private key"},
        {"expired", "it has expired"},
        {"mismatch", "the key is not the certificate's"},
        {"other node", "it is for \"system:node:uk-1\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;
        world_init(&w);
        if (i == 0)
            write_file(&w, "node-client.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
        else if (i == 1)
            write_file(&w, "node-client.pem", "");
        else
            write_pair(&w, i == 4 ? "system:node:uk-1" : "system:node:uk-0", i == 2 ? -1 : 600,
                       i == 3);
        world_start(&w, true, false);
        UNTIL(&w, w.posts == 1);
        if (!strstr(buf_str(&w.notes), rows[i].note))
            fail_msg("%s: %s", rows[i].what, buf_str(&w.notes));
        assert_true(world_has(&w, "node-client.pem.bad"));
        assert_false(world_has(&w, "node-client.pem"));
        assert_string_equal(w.csrs[0].by_token, "boot");
        world_done(&w);
    }
}

static void test_renewal(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_start(&w, true, false);
    UNTIL(&w, w.posts == 1);
    world_sign(&w, 0, -1, 4);
    UNTIL(&w, w.clients == 1);
    uint64_t began = clock_mono_ms();
    UNTIL(&w, w.posts == 2);
    assert_true(clock_mono_ms() - began > 1500); /* 70 % of five seconds, less the first */
    assert_int_equal(w.csrs_len, 2);             /* another key, another request */
    assert_string_not_equal(w.csrs[0].name, w.csrs[1].name);
    assert_null(w.csrs[1].by_token);
    assert_string_equal(w.csrs[1].by_cert, w.config.cert_pem);
    world_sign(&w, 1, -300, 86400);
    UNTIL(&w, w.clients == 2);
    assert_int_equal(w.opened, w.closed);
    world_done(&w);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const ends[] = {"Denied", "Failed"};
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        world_init(&w);
        world_start(&w, true, false);
        UNTIL(&w, w.posts == 1);
        w.csrs[0].end = ends[i];
        UNTIL(&w, strstr(buf_str(&w.notes), "Because: of that"));
        assert_false(world_has(&w, "node-client.key.pending")); /* the next one is another */
        const struct part *part = &w.identity->parts[0];
        assert_int_equal(part->state, PART_BACKOFF);
        assert_true(uv_timer_get_due_in(&part->timer) >= PART_REFUSED_MS - 1000);
        world_done(&w);
    }
    /* No right to ask: tried again, with the same key. */
    struct world w;
    world_init(&w);
    w.forbid = true;
    world_start(&w, true, false);
    UNTIL(&w, w.posts == 1);
    UNTIL(&w, strstr(buf_str(&w.notes), "it is not allowed"));
    assert_true(world_has(&w, "node-client.key.pending"));
    w.forbid = false;
    UNTIL(&w, w.csrs_len == 1);
    world_done(&w);
}

static void test_unusable_answer(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_start(&w, true, false);
    UNTIL(&w, w.posts == 1);
    const struct x509_subject subject = {.common_name = "system:node:uk-0"};
    char *cert, *key;
    pki_issue(&w.ca, &subject, "clientAuth", -300, 600, &cert, &key); /* another key's */
    w.csrs[0].end = "Approved";
    w.csrs[0].certificate_pem = cert;
    x509_key_free(key);
    UNTIL(&w, strstr(buf_str(&w.notes), "is not usable: the key is not the certificate's"));
    assert_int_equal(w.clients, 0);
    assert_false(world_has(&w, "node-client.pem"));
    world_done(&w);
}

static void test_serving(void **state)
{
    (void)state;
    static const char *const ips[] = {"192.0.2.2", "2001:db8::2"};
    static const char *const names[] = {"uk-0"};
    const struct x509_subject subject = {.ips = ips, .ips_len = 2, .names = names, .names_len = 1};
    struct world w;
    world_init(&w);
    world_start(&w, false, true); /* the user gave the client certificate */
    UNTIL(&w, w.servings == 1);
    assert_true(w.self_signed);
    assert_true(x509_has_sans(w.serving_cert, &subject));
    assert_int_equal(w.identity->parts[1].state, PART_CLIENT);
    identity_set_client(w.identity, &w.owner);
    UNTIL(&w, strstr(buf_str(&w.notes), "waits for approval"));
    assert_true(str_starts(w.csrs[0].name, "node-serving-csr-"));
    assert_string_equal(w.csrs[0].signer, "kubernetes.io/kubelet-serving");
    assert_string_equal(w.csrs[0].usage, "server auth");
    world_sign(&w, 0, -300, 86400);
    UNTIL(&w, w.servings == 2);
    assert_false(w.self_signed);
    assert_true(x509_has_sans(w.serving_cert, &subject));
    /* Another address: asked for at once, served with what is there until then. */
    static const char *const more[] = {"192.0.2.3", "192.0.2.2"};
    identity_set_serving_names(w.identity, more, 2, names, 1);
    UNTIL(&w, w.csrs_len == 2);
    assert_int_equal(w.servings, 2);
    /* The owner's client goes and comes: the same request. */
    identity_set_client(w.identity, NULL);
    UNTIL(&w, !w.watches[0]);
    identity_set_client(w.identity, &w.owner);
    UNTIL(&w, w.posts == 3);
    assert_int_equal(w.csrs_len, 2);
    world_sign(&w, 1, -300, 86400);
    UNTIL(&w, w.servings == 3);
    assert_false(x509_has_sans(w.serving_cert, &subject));
    /* Restarted with the first names: the stored one does not fit, self-signed until signed. */
    world_stop(&w);
    world_start(&w, false, true);
    UNTIL(&w, w.servings == 1);
    assert_true(w.self_signed);
    world_stop(&w);
    /* Nothing signed is wanted any more. */
    world_start(&w, false, false);
    UNTIL(&w, w.servings == 1);
    assert_true(w.self_signed);
    static const char *const bad[] = {"no IP"};
    identity_set_serving_names(w.identity, bad, 1, names, 1);
    UNTIL(&w, strstr(buf_str(&w.notes), "\"no IP\" is no IP address"));
    world_done(&w);
}

static void test_x509(void **state)
{
    (void)state;
    struct err err;
    char *key = NULL, *csr = NULL, *cert = NULL;
    char a[65], b[65];
    struct x509_info info;
    assert_int_equal(x509_key_new(&key, &err), 0);
    assert_int_equal(x509_key_hash(key, a, &err), 0);
    assert_int_equal(x509_key_hash(key, b, &err), 0);
    assert_string_equal(a, b);
    /* Node names may be longer than OpenSSL's 64 characters for a common name. */
    static const char name[] =
        "system:node:ip-10-0-0-1.a-long-region-name.compute.internal.example.com.and.more.of.it";
    const struct x509_subject subject = {.organization = "system:nodes", .common_name = name};
    assert_int_equal(x509_csr(key, &subject, &csr, &err), 0);
    assert_int_equal(x509_self_signed(key, &subject, clock_unix_ms(), 1, &cert, &err), 0);
    assert_int_equal(x509_read(cert, &info, &err), 0);
    assert_string_equal(info.common_name, name);
    assert_true(info.not_after_ms > clock_unix_ms() + 86000000);
    assert_true(info.not_before_ms < clock_unix_ms());
    x509_info_free(&info);
    assert_int_equal(x509_read(key, &info, &err), -EBADMSG);
    assert_int_equal(x509_read("", &info, &err), -EBADMSG);
    assert_int_equal(x509_check_pair(cert, cert, &err), -EBADMSG);
    /* Names go through OpenSSL's configuration language: nothing of it gets there. */
    static const char *const evil[] = {"a,IP:1.2.3.4", "@section", "", "UPPER", "a b"};
    for (size_t i = 0; i < 5; i++) {
        const struct x509_subject bad = {.common_name = "x", .names = &evil[i], .names_len = 1};
        char *out = NULL;
        assert_int_equal(x509_csr(key, &bad, &out, &err), -EINVAL);
        assert_null(out);
    }
    x509_key_free(key);
    free(csr);
    free(cert);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap), cmocka_unit_test(test_resume),
        cmocka_unit_test(test_stored),    cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_unusable_answer),
        cmocka_unit_test(test_serving),   cmocka_unit_test(test_x509),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
