/* Command lines and ends of the guest kinds beside Unikraft and Linux, rule by rule; and what is
 * left out when there is no room. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const dns[] = {"fd00::10", "10.96.0.10", "1.1.1.1"};
static const struct guest_net net = {.ip = "10.1.0.5",
                                     .prefix_len = 20,
                                     .gateway = "10.1.0.1",
                                     .dns = dns,
                                     .dns_len = 3,
                                     .hostname = "web-0"};
static const struct guest_net v6 = {.ip = "fd00::5", .prefix_len = 64, .gateway = ""};
static const struct guest_env env[] = {{.key = "A", .value = "1"}, {.key = "B", .value = "x y"}};
static const struct guest_env env1[] = {{.key = "A", .value = "1"}};
static const struct guest_env own[] = {{.key = "PATH", .value = "/bin", .optional = true}};
static const char *const args[] = {"-c", "a b", "it's \"q\""};
static const char *const plain[] = {"/app", "-v"};
static const char *const odd[] = {"/app", "a;b", "c d"};
static const char *const quote[] = {"/app", "a\"b"};
static const char *const line_break[] = {"a\nb"};
static const struct guest_device service[] = {{"service", true}};
static const struct guest_device disk_too[] = {{"ext", true}, {"storage", false}};
static const struct guest_device two_nets[] = {{"service", true}, {"priv", true}};

struct line_case {
    const char *kind;
    const char *what;
    struct guest_input input;
    const char *want;  /* NULL: an error */
    const char *error; /* part of it */
};

#define ENV(e) .env = (e), .env_len = ARRAY_LEN(e)
#define ARGS(a) .argv = (a), .argv_len = ARRAY_LEN(a)
#define DEVICES(d) .devices = (d), .devices_len = ARRAY_LEN(d)

static const struct line_case cases[] = {
    {"solo5",
     "the usual device",
     {.net = &net, DEVICES(service), ARGS(plain)},
     "--ipv4=10.1.0.5/20 --ipv4-gateway=10.1.0.1 /app -v",
     NULL},
    {"solo5",
     "another device and a disk",
     {.net = &net, .has_disk = true, DEVICES(disk_too)},
     "--ext-ipv4=10.1.0.5/20 --ext-ipv4-gateway=10.1.0.1",
     NULL},
    {"solo5",
     "no device: no address",
     {.net = &net, ARGS(args)},
     "-c \"a b\" \"it's \\\"q\\\"\"",
     NULL},
    {"solo5",
     "a device that the Pod has not",
     {.net = &net, DEVICES(disk_too)},
     NULL,
     "asks for the block device \"storage\", which this Pod does not have"},
    {"solo5",
     "two networks",
     {.net = &net, DEVICES(two_nets)},
     NULL,
     "the network device \"priv\""},
    {"solo5",
     "a network, but the Pod has none",
     {DEVICES(service)},
     NULL,
     "the network device \"service\""},
    {"solo5",
     "environment",
     {.net = &net, ENV(env1)},
     NULL,
     "environment variable A: a solo5 unikernel takes none"},
    {"solo5", "the image's own is left out", {.net = &net, ENV(own)}, "", NULL},
    {"solo5", "IPv6", {.net = &v6, DEVICES(service)}, NULL, "fd00::5/64 is not IPv4"},
    {"hermit",
     "all of it",
     {.net = &net, .has_initrd = true, ENV(env), ARGS(args)},
     "-ip 10.1.0.5 -mask 255.255.240.0 -gateway 10.1.0.1 env=A=1 'env=B=x y' -- -c 'a b' "
     "'it'\\''s \"q\"'",
     NULL},
    {"hermit", "no arguments, no \"--\"", {.has_initrd = true}, "", NULL},
    {"hermit", "no application", {ARGS(plain)}, NULL, "Hermit's loader as its kernel but no app"},
    {"hermit", "line break", {.has_initrd = true, ARGS(line_break)}, NULL, "argument 1 has a line"},
    {"osv",
     "all of it",
     {.net = &net, ENV(env1), ARGS(odd)},
     "--ip=eth0,10.1.0.5,255.255.240.0 --defaultgw=10.1.0.1 --nameserver=10.96.0.10 --env=A=1 "
     "/app \"a;b\" \"c d\"",
     NULL},
    {"osv", "no program", {.net = &net}, NULL, "needs to be told which program to run"},
    {"osv", "white space in a value", {ENV(env), ARGS(plain)}, NULL, "B: environment variable 2"},
    {"osv", "a quote", {ARGS(quote)}, NULL, "argument 2 has a control character or one of"},
    {"nanos", "nothing to say", {.has_disk = true}, "", NULL},
    {"nanos", "no disk", {.has_initrd = true}, NULL, "a Nanos kernel but no disk"},
    {"nanos", "arguments", {.has_disk = true, ARGS(plain)}, NULL, "takes no arguments"},
    {"nanos", "an address", {.has_disk = true, .net = &net}, NULL, "takes no address"},
    {"nanos", "environment", {.has_disk = true, ENV(env1)}, NULL, "environment variable A"},
    {"raw", "byte for byte", {.net = &net, ENV(env1), ARGS(args)}, "-c a b it's \"q\"", NULL},
    {"raw", "line break", {ARGS(line_break)}, NULL, "argument 1 has a line break"},
};

static void lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct line_case *c = &cases[i];
        struct buf out = BUF_INIT(8192);
        struct err err = {.code = 0};
        int r = guest_find(c->kind)->cmdline(&c->input, &out, &err);

        if (c->want ? r < 0 || !str_eq(buf_str(&out), c->want) : r >= 0)
            fail_msg("%s, %s: %s %s", c->kind, c->what, buf_str(&out), err.text);
        if (c->error && (!strstr(err.text, c->error) || err.kind != ERR_SPEC))
            fail_msg("%s, %s: %s", c->kind, c->what, err.text);
        buf_free(&out);
    }
}

/* Too long for each of them is an error with the number, before launch. */
static void limits(void **state)
{
    static const char *const kinds[] = {"unikraft", "linux", "solo5", "hermit", "osv", "raw"};
    char *big = xmalloc(9001);
    const char *argv[] = {"/app", big};

    (void)state;
    memset(big, 'x', 9000);
    big[9000] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct guest_input input = {.name = "c", .has_initrd = true, ARGS(argv)};
        struct buf out = BUF_INIT(8192);
        struct err err = {.code = 0};

        assert_int_equal(guest_find(kinds[i])->cmdline(&input, &out, &err), -E2BIG);
        if (!strstr(err.text, "the command line has") || !strstr(err.text, "use fewer"))
            fail_msg("%s: %s", kinds[i], err.text);
        buf_free(&out);
    }
    free(big);
}

/* Variables of Services go first, all of them, and their number is told (trap 14). */
static void service_links(void **state)
{
    struct guest_env many[12];
    struct guest_input input = {.name = "c", .board = BOARD_PC, ENV(many)};
    struct buf out = BUF_INIT(8192);
    struct err err = {.code = 0};
    size_t dropped = 99;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct guest_env){.key = "K", .value = "v", .service_link = i < 7};
    assert_int_equal(guest_cmdline(guest_find("unikraft"), &input, &out, &dropped, &err), 0);
    assert_int_equal(dropped, 7);
    assert_string_equal(buf_str(&out), "c env.vars=K=v env.vars=K=v env.vars=K=v env.vars=K=v "
                                       "env.vars=K=v --");
    buf_reset(&out);
    input.env_len = 8; /* what the kernel takes: nothing is dropped */
    assert_int_equal(guest_cmdline(guest_find("unikraft"), &input, &out, &dropped, &err), 0);
    assert_int_equal(dropped, 0);
    buf_reset(&out);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i].service_link = i < 2; /* 10 left: still too many */
    input.env_len = ARRAY_LEN(many);
    assert_int_equal(guest_cmdline(guest_find("unikraft"), &input, &out, &dropped, &err), -E2BIG);
    assert_int_equal(dropped, 0);
    assert_non_null(strstr(err.text, "10 environment variables, but the image's kernel takes 8"));
    buf_free(&out);
}

struct end_case {
    const char *kind;
    struct vmm_exit end;
    const char *tail;
    int code;
    const char *message; /* part */
};

static const struct end_case ends[] = {
    {"solo5", {.end = VMM_END_CODE, .guest_code = 41}, "Solo5: solo5_exit(0) called\n", 0, ""},
    {"solo5", {.end = VMM_END_CODE, .guest_code = 41}, "Solo5: solo5_exit(3) called\n", 3, ""},
    {"solo5",
     {.end = VMM_END_CODE, .guest_code = 41},
     "Solo5: solo5_abort() called\n",
     134,
     "the unikernel aborted"},
    {"solo5", {.end = VMM_END_SIGNAL, .signal = 9}, "", 137, ""},
    {"hermit", {.end = VMM_END_CODE, .guest_code = 1}, "", 0, ""},
    {"hermit", {.end = VMM_END_CODE, .guest_code = 0}, "", 1, ""},
    {"hermit", {.end = VMM_END_CODE, .guest_code = 0}, "[0][PANIC] at x.rs\n", 134, "panicked"},
    {"osv", {.end = VMM_END_CLEAN}, "", 0, ""},
    {"osv", {.end = VMM_END_CLEAN}, "Aborted\n\n[backtrace]", 134, "aborted"},
    {"nanos", {.end = VMM_END_CODE, .guest_code = 7}, "", 7, ""},
    {"nanos", {.end = VMM_END_CLEAN}, "", 0, ""},
    {"raw", {.end = VMM_END_CODE, .guest_code = 5}, "", 5, ""},
    {"raw", {.end = VMM_END_VMM_ERROR}, "", 128, "monitor failed"},
};

static void decoded(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct guest_exit got = {.exit_code = -1};

        guest_find(ends[i].kind)->decode(&ends[i].end, false, ends[i].tail, &got);
        if (got.exit_code != ends[i].code || !strstr(got.message, ends[i].message))
            fail_msg("%zu: %d %s", i, got.exit_code, got.message);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(limits),
        cmocka_unit_test(service_links),
        cmocka_unit_test(decoded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
