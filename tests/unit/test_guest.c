/* Command lines of the guest kinds, rule by rule, and what their ends mean. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/str.h"
#include "runtime/guest.h"
#include "tests/unit/unikraft_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define MMIO "virtio_mmio.device=512@0xfeb00e00:12 libvirtio_mmio.device=512@0xfeb00e00:12"

static const char *const dns[] = {"10.96.0.10", "fd00::10", "1.1.1.1", "8.8.8.8"};
static const struct guest_net net = {
    .ip = "10.1.0.5",
    .prefix_len = 24,
    .gateway = "10.1.0.1",
    .dns = dns,
    .dns_len = 1,
    .search = "default.svc.cluster.local",
    .hostname = "web-0",
};
static const struct guest_net bare_net = {
    .ip = "10.1.0.5", .prefix_len = 16, .gateway = "", .search = "", .hostname = ""};
static const struct guest_net dns_net = {
    .ip = "10.1.0.5", .prefix_len = 16, .gateway = "10.1.0.1", .dns = dns, .dns_len = 4};
static const struct guest_net v6_net = {.ip = "fd00::5", .prefix_len = 64, .gateway = ""};
static const struct guest_net dual_net = {.ip = "10.1.0.5",
                                          .prefix_len = 16,
                                          .gateway = "10.1.0.1",
                                          .ip6 = "fd00::5",
                                          .prefix6_len = 64,
                                          .gateway6 = "fd00::1",
                                          .dns = dns,
                                          .dns_len = 2,
                                          .hostname = "web-0"};
static const struct guest_net six_net = {.ip = "fd00::5",
                                         .prefix_len = 64,
                                         .gateway = "fd00::1",
                                         .dns = dns,
                                         .dns_len = 2,
                                         .hostname = "web-0"};
static const struct guest_net colon_net = {.ip = "10.1.0.5", .prefix_len = 24, .hostname = "a:b"};

static const struct guest_env env1[] = {{.key = "A", .value = "1"}};
static const struct guest_env env_odd[] = {
    {.key = "SPACE", .value = "a b"},   {.key = "LIST", .value = "[1]"},
    {.key = "SINGLE", .value = "it's"}, {.key = "DOUBLE", .value = "say \"x\""},
    {.key = "BACK", .value = "c:\\n"},  {.key = "EMPTY", .value = ""},
};
static const struct guest_env env_nl[] = {{.key = "CERT", .value = "a\nb"}};
static const struct guest_env env_bracket[] = {{.key = "[", .value = "x"}};
static const struct guest_env env_optional[] = {{.key = "PATH", .value = "/bin", .optional = true}};
static const struct guest_env env9[] = {
    {.key = "A", .value = "1"}, {.key = "B", .value = "1"}, {.key = "C", .value = "1"},
    {.key = "D", .value = "1"}, {.key = "E", .value = "1"}, {.key = "F", .value = "1"},
    {.key = "G", .value = "1"}, {.key = "H", .value = "1"}, {.key = "I", .value = "1"},
};
static const char *const args[] = {"-c", "/etc/nginx.conf"};
static const char *const args_dashes[] = {"-x", "--", "y"};
static const char *const args_odd[] = {"a b", "'", "\\", "x='1 2'", "]"};
static const char *const args_empty[] = {"a", ""};
static const char *const args_space[] = {" a"};
static const char *const args_nl[] = {"a\nb"};
static const char *const features64[] = {"CONFIG_LIBPOSIX_ENVIRON_LIBPARAM_MAXCOUNT=64"};
static const char *const features_args[] = {"CONFIG_LIBUKBOOT_MAXNBARGS=10"};

struct line_case {
    const char *what;
    struct guest_input input;
    const char *want;  /* the whole line; NULL: an error */
    const char *error; /* part of the text */
};

#define NET .net = &net
#define ENV(e) .env = (e), .env_len = ARRAY_LEN(e)
#define ARGS(a) .argv = (a), .argv_len = ARRAY_LEN(a)
#define FEATURES(f) .os_features = (f), .os_features_len = ARRAY_LEN(f)

static const struct line_case unikraft_cases[] = {
    {"nothing: still no \"--\" without a parameter before it",
     {.name = "web", .board = BOARD_PC},
     "web unikubelet.args=1 --",
     NULL},
    {"arguments without parameters",
     {.name = "web", .board = BOARD_PC, ARGS(args)},
     "web unikubelet.args=1 -- -c /etc/nginx.conf",
     NULL},
    {"network on microvm: both spellings",
     {.name = "web", NET, .board = BOARD_MICROVM_NOACPI},
     "web " MMIO " netdev.ip=10.1.0.5/24:10.1.0.1:10.96.0.10::web-0:default.svc.cluster.local --",
     NULL},
    {"network on pc: none",
     {.name = "web", .net = &bare_net, .board = BOARD_PC},
     "web netdev.ip=10.1.0.5/16 --",
     NULL},
    {"name servers: two of IPv4",
     {.name = "web", .net = &dns_net, .board = BOARD_PC},
     "web netdev.ip=10.1.0.5/16:10.1.0.1:10.96.0.10:1.1.1.1 --",
     NULL},
    {"IPv6 address", {.name = "web", .net = &v6_net}, NULL, "fd00::5/64 is not IPv4"},
    {"colon in a host name", {.name = "web", .net = &colon_net}, NULL, "netdev.ip"},
    {"initrd",
     {.name = "web", .board = BOARD_PC, .has_initrd = true},
     "web vfs.fstab=initrd0:/:extract::: --",
     NULL},
    {"everything in order",
     {.name = "web", NET, .board = BOARD_PC, .has_initrd = true, ENV(env1), ARGS(args)},
     "web netdev.ip=10.1.0.5/24:10.1.0.1:10.96.0.10::web-0:default.svc.cluster.local "
     "vfs.fstab=initrd0:/:extract::: env.vars=A=1 -- -c /etc/nginx.conf",
     NULL},
    {"quoting, and list ends are no trap",
     {.name = "w", .board = BOARD_PC, ENV(env_odd)},
     "w 'env.vars=SPACE=a b' env.vars=LIST=[1] 'env.vars=SINGLE=it'\"'\"'s' "
     "'env.vars=DOUBLE=say \"x\"' 'env.vars=BACK=c:\\n' env.vars=EMPTY= --",
     NULL},
    {"a program's own \"--\"",
     {.name = "w", .board = BOARD_PC, ARGS(args_dashes)},
     "w unikubelet.args=1 -- -x -- y",
     NULL},
    {"newline in a value", {.name = "w", ENV(env_nl)}, NULL, "variable CERT has a line break"},
    {"a name that starts a list", {.name = "w", ENV(env_bracket)}, NULL, "as a list"},
    {"newline in an argument", {.name = "w", ARGS(args_nl)}, NULL, "argument 1 has a line break"},
    {"empty argument", {.name = "w", ARGS(args_empty)}, NULL, "argument 2 is empty"},
    {"argument that begins with a space", {.name = "w", ARGS(args_space)}, NULL, "argument 1"},
    {"nine variables, default limit",
     {.name = "w", ENV(env9)},
     NULL,
     "9 environment variables, but the image's kernel takes 8: set enableServiceLinks: false"},
    {"nine variables, limit of the image",
     {.name = "w", .board = BOARD_PC, ENV(env9), FEATURES(features64)},
     "w env.vars=A=1 env.vars=B=1 env.vars=C=1 env.vars=D=1 env.vars=E=1 env.vars=F=1 "
     "env.vars=G=1 env.vars=H=1 env.vars=I=1 --",
     NULL},
    {"too many words for the image's kernel",
     {.name = "w", ENV(env9), FEATURES(features_args)},
     NULL,
     "9 environment variables"},
    {"name made harmless",
     {.name = "a.b=[ c", .board = BOARD_PC},
     "a_b___c unikubelet.args=1 --",
     NULL},
    {"name that would stop the boot",
     {.name = "help", .board = BOARD_PC},
     "unikraft unikubelet.args=1 --",
     NULL},
};

static void check_lines(const struct guest_ops *ops, const struct line_case *cases, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        struct buf out = BUF_INIT(1 << 20);
        struct err err = {.code = 0};
        int r = ops->cmdline(&cases[i].input, &out, &err);

        if (cases[i].want) {
            if (r != 0)
                fail_msg("%s: %s", cases[i].what, err.text);
            assert_string_equal(buf_str(&out), cases[i].want);
        } else {
            if (r >= 0)
                fail_msg("%s: no error but: %s", cases[i].what, buf_str(&out));
            assert_int_equal(err.kind, ERR_SPEC);
            assert_int_equal(err.code, r);
            assert_int_equal(out.len, 0);
            if (!strstr(err.text, cases[i].error))
                fail_msg("%s: %s", cases[i].what, err.text);
        }
        buf_free(&out);
    }
}

static void unikraft_lines(void **state)
{
    (void)state;
    check_lines(guest_find("unikraft"), unikraft_cases, ARRAY_LEN(unikraft_cases));
}

/* What the kernel reads is what was meant, for both parsers and with a loader's argv[0] or ours. */
static void unikraft_round_trip(void **state)
{
    struct guest_input input = {.name = "web", .net = &net, ENV(env_odd), ARGS(args_odd)};
    struct buf out = BUF_INIT(1 << 20);
    struct err err;

    (void)state;
    assert_int_equal(guest_find("unikraft")->cmdline(&input, &out, &err), 0);
    for (int round = 0; round < 4; round++) {
        CLEANUP(free)
        char *line = xasprintf("%s%s", round & 1 ? "/images/x/kernel " : "", buf_str(&out));
        static struct model m;
        size_t vars = 0;

        model_parse(&m, line, round & 2, 60);
        assert_int_equal(m.words_len - m.args_at, ARRAY_LEN(args_odd));
        for (size_t i = 0; i < ARRAY_LEN(args_odd); i++)
            assert_string_equal(m.words[m.args_at + i], args_odd[i]);
        for (size_t i = 1; i <= m.params_len; i++) {
            CLEANUP(free) char *want = NULL;

            if (!str_starts(m.words[i], "env.vars="))
                continue;
            want = xasprintf("env.vars=%s=%s", env_odd[vars].key, env_odd[vars].value);
            assert_string_equal(m.words[i], want);
            vars++;
        }
        assert_int_equal(vars, ARRAY_LEN(env_odd));
        model_free(&m);
    }
    buf_free(&out);
}

static void unikraft_limits(void **state)
{
    static const char *many[100];
    struct guest_input input = {.name = "w", .board = BOARD_PC, .argv = many};
    const struct guest_ops *ops = guest_find("unikraft");
    struct buf out = BUF_INIT(1 << 20);
    char long_arg[4096];
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = "x";
    input.argv_len = 56; /* and: loader, name, parameter, "--" */
    assert_int_equal(ops->cmdline(&input, &out, &err), 0);
    input.argv_len = 57;
    assert_int_equal(ops->cmdline(&input, &out, &err), -E2BIG);
    assert_non_null(strstr(err.text, "has 61 words, Unikraft reads 60"));

    memset(long_arg, 'x', sizeof(long_arg));
    long_arg[4095 - 256] = '\0';
    many[0] = long_arg;
    input.argv_len = 1;
    assert_int_equal(ops->cmdline(&input, &out, &err), -E2BIG);
    assert_non_null(strstr(err.text, "bytes, Unikraft takes 4096"));
    assert_int_equal(err.kind, ERR_SPEC);
    buf_free(&out);
}

/* A whole KConfig counts by what is missing in it. */
static void unikraft_kconfig(void **state)
{
    static const char *features[40];
    struct guest_input input = {.name = "w",
                                .board = BOARD_PC,
                                .has_initrd = true,
                                .os_features = features,
                                .os_features_len = 40};
    const struct guest_ops *ops = guest_find("unikraft");
    struct buf out = BUF_INIT(1 << 20);
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(features); i++)
        features[i] = "CONFIG_SOMETHING=y";
    assert_int_equal(ops->cmdline(&input, &out, &err), 0);
    assert_string_equal(buf_str(&out), "w unikubelet.args=1 --"); /* no fstab asked for */
    buf_reset(&out);
    features[7] = "CONFIG_LIBVFSCORE_AUTOMOUNT_UP=y";
    assert_int_equal(ops->cmdline(&input, &out, &err), 0);
    assert_string_equal(buf_str(&out), "w vfs.fstab=initrd0:/:extract::: --");
    input.net = &bare_net;
    assert_int_equal(ops->cmdline(&input, &out, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "CONFIG_LIBUKNETDEV_EINFO_LIBPARAM=y"));
    input.net = NULL;
    input.env = env1;
    input.env_len = 1;
    assert_int_equal(ops->cmdline(&input, &out, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "variable A"));
    buf_reset(&out);
    input.env = env_optional;
    assert_int_equal(ops->cmdline(&input, &out, &err), 0);
    assert_null(strstr(buf_str(&out), "PATH"));
    buf_free(&out);
}

static const struct guest_env env_dot[] = {{.key = "a.b", .value = "1"}};
static const struct guest_env env_quote[] = {{.key = "Q", .value = "a\"b"}};
static const char *const args_linux[] = {"a b", "", "x=y z"};

static const struct line_case linux_errors[] = {
    {"a dot in a name", {ENV(env_dot)}, NULL, "names with a dot"},
    {"a double quote", {ENV(env_quote)}, NULL, "double quote"},
    {"newline", {ENV(env_nl)}, NULL, "variable CERT has a line break"},
    {"\"--\" in arguments", {ARGS(args_dashes)}, NULL, "argument 2 is \"--\""},
};

static void linux_lines(void **state)
{
    static const struct guest_env env[] = {{.key = "A", .value = "1"},
                                           {.key = "B", .value = "x y"}};
    struct guest_input input = {.net = &dns_net, ENV(env), ARGS(args_linux), .has_initrd = true};
    const struct guest_ops *ops = guest_find("linux");
    struct buf out = BUF_INIT(1 << 20);
    unsigned long long khz = 0;
    char *many[40];
    char long_arg[2048];
    struct err err;
    int end = 0;

    (void)state;
    assert_int_equal(ops->cmdline(&input, &out, &err), 0);
#if defined(__x86_64__)
    assert_int_equal(
        sscanf(buf_str(&out), "console=ttyS0 panic=-1 tsc_early_khz=%llu%n", &khz, &end), 1);
    assert_true(khz > 100000 && khz < 10000000);
#else
    end = (int)strlen("console=ttyS0 panic=-1");
#endif
    assert_string_equal(buf_str(&out) + end,
                        " ip=10.1.0.5::10.1.0.1:255.255.0.0::eth0:off:10.96.0.10:1.1.1.1 A=1 "
                        "\"B=x y\" -- \"a b\" \"\" \"x=y z\"");
    check_lines(ops, linux_errors, ARRAY_LEN(linux_errors));
    input = (struct guest_input){.net = &dual_net};
    buf_reset(&out);
    assert_int_equal(ops->cmdline(&input, &out, &err), 0);
    assert_non_null(strstr(buf_str(&out), " ip=10.1.0.5::10.1.0.1:255.255.0.0:web-0:eth0:off:"
                                          "10.96.0.10 ip6=fd00::5/64,fd00::1,fd00::10"));
    input.net = &six_net;
    buf_reset(&out);
    assert_int_equal(ops->cmdline(&input, &out, &err), 0);
    assert_non_null(strstr(buf_str(&out), " ip6=fd00::5/64,fd00::1,fd00::10 hostname=web-0"));
    assert_null(strstr(buf_str(&out), " ip="));
    assert_true(ops->ipv6 && !guest_find("unikraft")->ipv6);

    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (char *)"x";
    input = (struct guest_input){.argv = (const char *const *)many, .argv_len = 31};
    assert_int_equal(ops->cmdline(&input, &out, &err), -E2BIG);
    memset(long_arg, 'x', sizeof(long_arg));
    long_arg[2047] = '\0';
    many[0] = long_arg;
    input.argv_len = 1;
    assert_int_equal(ops->cmdline(&input, &out, &err), -E2BIG);
    assert_non_null(strstr(err.text, "Linux takes 2047"));
    buf_free(&out);
}

struct end_case {
    const char *kind;
    struct vmm_exit end;
    const char *tail;
    int code;
    int signal;
    const char *reason;
    const char *message; /* part */
};

static const struct end_case end_cases[] = {
    {"unikraft", {VMM_END_CODE, 41, 0}, "", 0, 0, NULL, ""},
    {"unikraft",
     {VMM_END_CODE, 41, 0},
     "main returned 9\nx\nInfo: main returned 3\n",
     3,
     0,
     NULL,
     ""},
    {"unikraft", {VMM_END_CODE, 41, 0}, "main returned -1\n", 255, 0, NULL, ""},
    {"unikraft", {VMM_END_CODE, 41, 0}, "main returned \n", 0, 0, NULL, ""},
    {"unikraft", {VMM_END_CLEAN, 0, 0}, "main returned 1\n", 1, 0, NULL, ""},
    {"unikraft",
     {VMM_END_CODE, 42, 0},
     "boot\n\nAssertion failure: x\r\nCrash\n",
     134,
     0,
     "Error",
     "the unikernel crashed; last console lines: boot | Assertion failure: x | Crash"},
    {"unikraft", {VMM_END_CODE, 42, 0}, NULL, 134, 0, "Error", "the console shows nothing"},
    {"unikraft", {VMM_END_CODE, 42, 0}, "\x1b[1m\xff end", 134, 0, "Error", "?[1m? end"},
    {"unikraft", {VMM_END_CODE, 7, 0}, "", 7, 0, NULL, "wrote 7 to its debug-exit port"},
    {"unikraft", {VMM_END_SIGNAL, 0, 9}, "main returned 0\n", 137, 9, NULL, ""},
    {"unikraft", {VMM_END_VMM_ERROR, 0, 0}, "", 128, 0, "StartError", "monitor failed"},
    {"linux", {VMM_END_CLEAN, 0, 0}, "reboot: Power down\n", 0, 0, NULL, ""},
    {"linux",
     {VMM_END_CLEAN, 0, 0},
     "unikubelet: exit 17\n[1.0] reboot: Power down",
     17,
     0,
     NULL,
     ""},
    {"linux",
     {VMM_END_CLEAN, 0, 0},
     "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300\n",
     3,
     0,
     NULL,
     ""},
    {"linux",
     {VMM_END_CLEAN, 0, 0},
     "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n",
     139,
     11,
     NULL,
     ""},
    {"linux",
     {VMM_END_CLEAN, 0, 0},
     "Kernel panic - not syncing: VFS: Unable to mount root\n",
     134,
     0,
     "Error",
     "the guest's kernel panicked; last console lines: Kernel panic"},
    {"linux", {VMM_END_SIGNAL, 0, 15}, "", 143, 15, NULL, ""},
};

static void ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(end_cases); i++) {
        const struct end_case *c = &end_cases[i];
        struct guest_exit exit;

        memset(&exit, 0xa5, sizeof(exit));
        guest_find(c->kind)->decode(&c->end, false, c->tail, &exit);
        if (exit.exit_code != c->code || exit.signal != c->signal)
            fail_msg("case %zu: code %d signal %d", i, exit.exit_code, exit.signal);
        assert_true(str_eq(exit.reason, c->reason));
        if (c->message[0] ? !strstr(exit.message, c->message) : exit.message[0])
            fail_msg("case %zu: message %s", i, exit.message);
    }
}

/* A console without any line break fills the message and no more. */
static void long_tail(void **state)
{
    struct vmm_exit end = {VMM_END_CODE, 42, 0};
    struct guest_exit exit;
    char tail[5000];

    (void)state;
    memset(tail, 'x', sizeof(tail));
    str_copy(tail + 4990, 10, "yyy\nz");
    guest_find("unikraft")->decode(&end, false, tail, &exit);
    assert_true(strlen(exit.message) < sizeof(exit.message));
    assert_true(str_ends(exit.message, "xyyy | z"));
}

static void kinds(void **state)
{
    (void)state;
    assert_null(guest_find("plan9"));
    assert_null(guest_find(NULL));
    assert_int_equal(guest_find("unikraft")->stop, GUEST_STOP_NONE);
    assert_int_equal(guest_find("linux")->stop, GUEST_STOP_POWERDOWN);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(unikraft_lines),  cmocka_unit_test(unikraft_round_trip),
        cmocka_unit_test(unikraft_limits), cmocka_unit_test(unikraft_kconfig),
        cmocka_unit_test(linux_lines),     cmocka_unit_test(ends),
        cmocka_unit_test(long_tail),       cmocka_unit_test(kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
