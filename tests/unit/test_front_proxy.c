/* Tests of k8s/front_proxy.c: the ConfigMap's lists, and whom a request's headers name. */
#include "k8s/front_proxy.h"

#include "base/err.h"
#include "base/json.h"
#include "k8s/auth.h"
#include "k8s/server_head.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int parse(const char *text, struct front_proxy **ret)
{
    struct err err = {0};
    struct json *root = json_parse(text, strlen(text), &err);
    assert_non_null(root);
    int r = front_proxy_parse(root, ret, &err);
    assert_true(r == 0 || err.text[0]);
    json_free(root);
    return r;
}

#define USUAL                                                                       \
    "{\"data\":{\"client-ca-file\":\"x\",\"requestheader-client-ca-file\":\"PEM\"," \
    "\"requestheader-allowed-names\":\"[\\\"front-proxy-client\\\"]\","             \
    "\"requestheader-username-headers\":\"[\\\"X-Remote-User\\\"]\","               \
    "\"requestheader-uid-headers\":\"[\\\"X-Remote-Uid\\\"]\","                     \
    "\"requestheader-group-headers\":\"[\\\"X-Remote-Group\\\"]\","                 \
    "\"requestheader-extra-headers-prefix\":\"[\\\"X-Remote-Extra-\\\"]\"}}"

static struct auth_user *user_of(const struct front_proxy *proxy, const char *name,
                                 const char *fields)
{
    char text[4096];
    struct head head;
    size_t scanned = 0;
    size_t used;
    int status;
    (void)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", fields);
    assert_int_equal(head_parse(text, strlen(text), &scanned, &head, &used, &status), 0);
    struct auth_user *user = front_proxy_user(proxy, name, &head);
    head_free(&head);
    return user;
}

static void test_parse(void **state)
{
    struct front_proxy *proxy;
    (void)state;
    assert_int_equal(parse("{\"data\":{\"client-ca-file\":\"x\"}}", &proxy), -ENOENT);
    assert_int_equal(parse("{}", &proxy), -ENOENT);
    assert_int_equal(parse("{\"data\":{\"requestheader-client-ca-file\":\"PEM\","
                           "\"requestheader-allowed-names\":\"front\"}}",
                           &proxy),
                     -EBADMSG);
    assert_int_equal(parse("{\"data\":{\"requestheader-client-ca-file\":\"PEM\","
                           "\"requestheader-allowed-names\":\"[1]\"}}",
                           &proxy),
                     -EBADMSG);
    assert_int_equal(parse(USUAL, &proxy), 0);
    assert_string_equal(proxy->ca_pem, "PEM");
    assert_string_equal(proxy->user_headers.items[0], "x-remote-user");
    assert_string_equal(proxy->names.items[0], "front-proxy-client");
    front_proxy_free(proxy);
}

static void test_user(void **state)
{
    struct front_proxy *proxy;
    (void)state;
    assert_int_equal(parse(USUAL, &proxy), 0);
    const char *fields = "X-Remote-User: jane\r\nX-Remote-Uid: 42\r\nX-Remote-Group: a\r\n"
                         "x-remote-group: b\r\nX-Remote-Extra-Scopes: one\r\n"
                         "X-Remote-Extra-Scopes: two\r\nX-Remote-Extra-Acme.com%2Fproject: p\r\n"
                         "X-Remote-Extra-: none\r\n";
    struct auth_user *user = user_of(proxy, "front-proxy-client", fields);
    assert_non_null(user);
    assert_string_equal(user->name, "jane");
    assert_string_equal(user->uid, "42");
    assert_int_equal(user->groups_len, 2);
    assert_string_equal(user->groups[1], "b");
    assert_string_equal(user->extra_json,
                        "{\"scopes\":[\"one\",\"two\"],\"acme.com/project\":[\"p\"]}");
    auth_user_free(user);
    /* Another certificate of the same CA, and a request that names nobody. */
    assert_null(user_of(proxy, "somebody", fields));
    assert_null(user_of(proxy, "front-proxy-client", "X-Remote-Group: system:masters\r\n"));
    assert_null(user_of(proxy, "front-proxy-client", "X-Remote-User:\r\n"));
    front_proxy_free(proxy);
    /* No list of names: whoever the CA signed. */
    assert_int_equal(parse("{\"data\":{\"requestheader-client-ca-file\":\"PEM\","
                           "\"requestheader-allowed-names\":\"[]\","
                           "\"requestheader-username-headers\":\"[\\\"X-Remote-User\\\"]\"}}",
                           &proxy),
                     0);
    user = user_of(proxy, "any", fields);
    assert_non_null(user);
    assert_int_equal(user->groups_len, 0);
    assert_null(user->extra_json);
    auth_user_free(user);
    front_proxy_free(proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_user)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
