/* provider/config*.c: presets, the three sources and which of them wins, every wrong value with the
 * place that it stands at, and what is printed read again. The program itself is run for its exit
 * codes. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "provider/config.h"
#include "provider/config_shape.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGS_MAX 8
#define OUTPUT_MAX (1024 * 1024)

struct fixture {
    char dir[64];
    char file[96];
};

static void clear_environment(void)
{
    (void)unsetenv("NODE_NAME");
    (void)unsetenv("NODE_IP");
    (void)unsetenv("KUBECONFIG");
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    str_copy(f->dir, sizeof(f->dir), "/tmp/test-config-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    str_fmt(f->file, sizeof(f->file), "%s/c.yaml", f->dir);
    clear_environment();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(file_remove_tree(f->dir), 0);
    clear_environment();
    free(f);
    return 0;
}

/* args: separated by '|'. yaml NULL: no file; else it is given as --config before the others. */
static int load(const struct fixture *f, const char *yaml, const char *args, struct config *ret,
                enum config_command *ret_command, struct err *err)
{
    CLEANUP(free) char *copy = xstrdup(args);
    CLEANUP(free) char *config = xasprintf("--config=%s", f->file);
    char *argv[ARGS_MAX + 3];
    char program[] = "unikubelet";
    char *save = NULL;
    int argc = 0;
    argv[argc++] = program;
    if (yaml) {
        assert_int_equal(file_write_atomic(f->file, yaml, strlen(yaml), 0600), 0);
        argv[argc++] = config;
    }
    for (char *s = strtok_r(copy, "|", &save); s; s = strtok_r(NULL, "|", &save)) {
        assert_true(argc < ARGS_MAX);
        argv[argc++] = s;
    }
    argv[argc] = NULL;
    return config_load(argc, argv, ret, ret_command, err);
}

static void load_good(const struct fixture *f, const char *yaml, const char *args,
                      struct config *ret)
{
    enum config_command command = CONFIG_HELP;
    struct err err = {0};
    if (load(f, yaml, args, ret, &command, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(command, CONFIG_RUN);
    assert_string_equal(err.text, "");
}

static void test_presets(void **state)
{
    struct config c;
    char host[256] = "";
    load_good(*state, NULL, "", &c);
    assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
    assert_int_equal(strcasecmp(c.node_name, host), 0);
    assert_string_equal(c.kubeconfig, "");
    assert_string_equal(c.state_dir, "/var/lib/unikubelet");
    assert_string_equal(c.log_dir, "/var/log/pods");
    assert_string_equal(c.address, "0.0.0.0");
    assert_int_equal(c.port, 10250);
    assert_true(c.server_tls_bootstrap);
    assert_false(c.anonymous_auth);
    assert_int_equal(c.max_pods, 250);
    assert_int_equal(c.lease_seconds, 40);
    assert_int_equal(c.status_update_ms, 10000);
    assert_int_equal(c.status_report_ms, 300000);
    assert_string_equal(c.default_memory, "64Mi");
    assert_string_equal(c.vmm, "qemu");
    assert_string_equal(c.accel, "auto");
    assert_string_equal(c.vmm_user, "1900000000-1900065535");
    assert_string_equal(c.cgroup, "unikubelet");
    assert_int_equal(c.cni_bin_dirs.len, 2);
    assert_string_equal(c.cni_bin_dirs.items[0], "/opt/cni/bin");
    assert_string_equal(c.cni_bin_dirs.items[1], "/usr/lib/cni");
    assert_int_equal(c.cluster_dns.len, 0);
    assert_string_equal(c.cluster_domain, "cluster.local");
    config_free(&c);
    config_free(&c); /* nothing is left to free twice */
}

static void test_forms(void **state)
{
    static const char yaml[] = "# a comment\n"
                               "nodeName: from-file\n"
                               "port: 10260\n"
                               "anonymousAuth: true\n"
                               "cgroup: \"\"\n"
                               "vmmUser: ''\n"
                               "maxPods:\n" /* no value: as if it were not there */
                               "accel: ~\n"
                               "logDir: null\n"
                               "clusterDNS: [10.96.0.10, \"fd00::a\"]\n"
                               "imageLayouts:\n"
                               "  - /a,b\n"
                               "  - \"/c d\"\n"
                               "cniBinDirs: []\n"
                               "insecureRegistries: localhost:5000,10.0.0.1:80,\n"
                               "nodeLabels: [\"a=1\", example.com/b-c.d_e=, Z=x.Y_z-0]\n";
    struct config c;
    load_good(*state, yaml, "", &c);
    assert_string_equal(c.node_name, "from-file");
    assert_int_equal(c.port, 10260);
    assert_true(c.anonymous_auth);
    assert_string_equal(c.cgroup, "");
    assert_string_equal(c.vmm_user, "");
    assert_int_equal(c.max_pods, 250);
    assert_string_equal(c.accel, "auto");
    assert_string_equal(c.log_dir, "/var/log/pods");
    assert_int_equal(c.cluster_dns.len, 2);
    assert_string_equal(c.cluster_dns.items[1], "fd00::a");
    assert_int_equal(c.image_layouts.len, 2);
    assert_string_equal(c.image_layouts.items[0], "/a,b");
    assert_string_equal(c.image_layouts.items[1], "/c d");
    assert_int_equal(c.cni_bin_dirs.len, 0);
    assert_int_equal(c.insecure_registries.len, 2);
    assert_string_equal(c.insecure_registries.items[1], "10.0.0.1:80");
    assert_int_equal(c.node_labels.len, 3);
    config_free(&c);
    load_good(*state, "", "--node-name=n", &c); /* an empty file */
    config_free(&c);
}

static void test_precedence(void **state)
{
    static const char yaml[] = "nodeName: from-file\nnodeIP: 10.0.0.1\nkubeconfig: /file\n"
                               "port: 1\nclusterDNS: [10.0.0.1, 10.0.0.2]\n";
    struct config c;
    (void)setenv("NODE_NAME", "from-env", 1);
    (void)setenv("KUBECONFIG", "/env", 1);
    (void)setenv("NODE_IP", "", 1); /* set and empty: not given */
    load_good(*state, yaml, "--kubeconfig=/flag|--cluster-dns|10.0.0.3|--port=2|--port|3", &c);
    assert_string_equal(c.node_name, "from-env");
    assert_string_equal(c.node_ip, "10.0.0.1");
    assert_string_equal(c.kubeconfig, "/flag");
    assert_int_equal(c.port, 3); /* the last one */
    assert_int_equal(c.cluster_dns.len, 1);
    assert_string_equal(c.cluster_dns.items[0], "10.0.0.3");
    config_free(&c);
}

static void test_flags(void **state)
{
    struct config c;
    load_good(*state, NULL,
              "--anonymous-auth|--server-tls-bootstrap=false|--accel|tcg|--cgroup=", &c);
    assert_true(c.anonymous_auth);
    assert_false(c.server_tls_bootstrap);
    assert_string_equal(c.accel, "tcg");
    assert_string_equal(c.cgroup, "");
    config_free(&c);
    /* A file given as two words, after a flag that wins over it all the same. */
    struct fixture *f = *state;
    CLEANUP(free) char *args = xasprintf("--port=7|--config|%s", f->file);
    assert_int_equal(file_write_atomic(f->file, "port: 8\nmaxPods: 9\n", 19, 0600), 0);
    load_good(f, NULL, args, &c);
    assert_int_equal(c.port, 7);
    assert_int_equal(c.max_pods, 9);
    config_free(&c);
}

static void test_commands(void **state)
{
    static const struct {
        const char *args;
        enum config_command command;
    } rows[] = {
        {"--help", CONFIG_HELP},
        {"-h", CONFIG_HELP},
        {"--version", CONFIG_VERSION},
        {"--check-config", CONFIG_CHECK},
        {"--print-config|--port=1", CONFIG_PRINT},
        /* These answer although the rest is wrong. */
        {"--config=/does/not/exist|--help", CONFIG_HELP},
        {"--port=none|--version", CONFIG_VERSION},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config c;
        struct err err = {0};
        enum config_command command = CONFIG_RUN;
        assert_int_equal(load(*state, NULL, rows[i].args, &c, &command, &err), 0);
        assert_int_equal(command, rows[i].command);
        config_free(&c);
    }
    struct config c;
    enum config_command command = CONFIG_RUN;
    (void)setenv("KUBECONFIG", "relative:and:several", 1);
    assert_int_equal(load(*state, NULL, "--help", &c, &command, NULL), 0);
    config_free(&c);
}

struct wrong {
    const char *yaml, *args;
    const char *text; /* FILE stands for the file's path */
};

static const struct wrong wrong_rows[] = {
    /* The file. */
    {"port: 1\nnodename: x\n", "", "FILE:2: unknown key \"nodename\" (see unikubelet --help)"},
    {"port: 1\n\nport: 2\n", "", "FILE:3: \"port\" is here twice (also on line 1)"},
    {"- a\n", "", "FILE: not a map of keys"},
    {"just text\n", "", "FILE: not a map of keys"},
    {"port: [1, 2]\n", "", "FILE:1: port must be a single value, not a list"},
    {"nodeName:\n  a: b\n", "", "FILE:1: nodeName must be a single value, not a map"},
    {"clusterDNS: {a: b}\n", "", "FILE:1: clusterDNS must be a list, not a map"},
    {"clusterDNS: [[a]]\n", "", "FILE:1: clusterDNS must be a list of plain values"},
    {"clusterDNS: [10.0.0.1, \"\"]\n", "", "FILE:1: clusterDNS has an empty entry"},
    {"imageLayouts: [/1,/2,/3,/4,/5,/6,/7,/8,/9,/10,/11,/12,/13,/14,/15,/16,/17]\n", "",
     "FILE:1: imageLayouts has more than 16 entries"},
    {"port: \"x\n", "", "FILE:2: while scanning a quoted scalar, found unexpected end of stream"},
    {"port: ten\n", "", "FILE:1: port must be a number from 1 to 65535, not \"ten\""},
    {"a: &x 1\n", "", "FILE:1: anchors are not supported"},
    /* Numbers and words. */
    {"port: 0\n", "", "FILE:1: port must be a number from 1 to 65535, not \"0\""},
    {"port: 65536\n", "", "FILE:1: port must be a number from 1 to 65535, not \"65536\""},
    {"port: 0x10\n", "", "FILE:1: port must be a number from 1 to 65535, not \"0x10\""},
    {"port: 99999999999999999999\n", "",
     "FILE:1: port must be a number from 1 to 65535, not \"99999999999999999999\""},
    {"port: \"\"\n", "", "FILE:1: port must be a number from 1 to 65535, not \"\""},
    {"anonymousAuth: yes\n", "", "FILE:1: anonymousAuth must be true or false, not \"yes\""},
    {"anonymousAuth: \"\"\n", "", "FILE:1: anonymousAuth must be true or false, not \"\""},
    {"accel: hvf\n", "", "FILE:1: accel must be auto, kvm or tcg, not \"hvf\""},
    {"vmm: xen\n", "", "FILE:1: vmm must be qemu or fake, not \"xen\""},
    {"network: host\n", "", "FILE:1: network must be cni or none, not \"host\""},
    {"logLevel: loud\n", "", "FILE:1: logLevel must be debug, info, warn or error, not \"loud\""},
    /* Shapes. */
    {"stateDir: var/lib\n", "", "FILE:1: stateDir must be an absolute path, not \"var/lib\""},
    {"stateDir: \"\"\n", "", "FILE:1: stateDir must be an absolute path, not \"\""},
    {"cniBinDirs: [/a, b]\n", "", "FILE:1: cniBinDirs must be an absolute path, not \"b\""},
    {"reservedMemory: 5 apples\n", "",
     "FILE:1: reservedMemory must be a quantity such as 512Mi, not \"5 apples\""},
    {"reservedCPU: -1\n", "", "FILE:1: reservedCPU must be a quantity such as 512Mi, not \"-1\""},
    {"defaultMemory: 64m\n", "",
     "FILE:1: defaultMemory must be a quantity such as 64Mi, 1Mi or more, not \"64m\""},
    {"nodeName: Upper\n", "",
     "FILE:1: nodeName must be a name of lower-case letters, digits, '-' and '.', not \"Upper\""},
    {"nodeIP: localhost\n", "",
     "FILE:1: nodeIP must be an IP address, or one of each family as 10.0.0.1,fd00::1, not "
     "\"localhost\""},
    {"nodeIP: 10.0.0.1,10.0.0.2\n", "",
     "FILE:1: nodeIP must be an IP address, or one of each family as 10.0.0.1,fd00::1, not "
     "\"10.0.0.1,10.0.0.2\""},
    {"podCIDR6: fd00::1\n", "",
     "FILE:1: podCIDR6 must be an address range such as 10.88.0.0/16, not \"fd00::1\""},
    {"clusterDNS: dns\n", "", "FILE:1: clusterDNS must be an IP address, not \"dns\""},
    {"podCIDR: 10.0.0.0\n", "",
     "FILE:1: podCIDR must be an address range such as 10.88.0.0/16, not \"10.0.0.0\""},
    {"bridge: sixteen-letters-\n", "",
     "FILE:1: bridge must be the name of a network interface, 15 characters at most, not "
     "\"sixteen-letters-\""},
    {"cgroup: a/b\n", "", "FILE:1: cgroup must be a plain name, not \"a/b\""},
    {"providerID: \"a\\nb\"\n", "",
     "FILE:1: providerID must be text without control characters, not \"a\nb\""},
    {"nodeLabels: [a=b, nothing]\n", "",
     "FILE:1: nodeLabels must be a label, key=value, not \"nothing\""},
    {"nodeLabels: [a=b, a=c]\n", "", "nodeLabels: \"a\" is there twice"},
    {"tlsCertFile: /c\n", "", "tlsCertFile and tlsPrivateKeyFile go together"},
    {NULL, "--tls-private-key-file=/k", "tlsCertFile and tlsPrivateKeyFile go together"},
    /* Flags. */
    {NULL, "run", "unexpected argument \"run\" (see unikubelet --help)"},
    {NULL, "-x", "unexpected argument \"-x\" (see unikubelet --help)"},
    {NULL, "--prot=1", "unknown flag \"--prot=1\" (see unikubelet --help)"},
    {NULL, "--por=1", "unknown flag \"--por=1\" (see unikubelet --help)"},
    {NULL, "--", "unknown flag \"--\" (see unikubelet --help)"},
    {NULL, "--port", "flag \"--port\" needs a value"},
    {NULL, "--config", "flag \"--config\" needs a value"},
    {NULL, "--port=", "--port=: port must be a number from 1 to 65535, not \"\""},
    {NULL, "--port|x", "--port: port must be a number from 1 to 65535, not \"x\""},
    {NULL, "--anonymous-auth|false", "unexpected argument \"false\" (see unikubelet --help)"},
    {NULL, "--config=/does/not/exist", "/does/not/exist: No such file or directory"},
};

static void test_wrong(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(wrong_rows); i++) {
        const struct wrong *row = &wrong_rows[i];
        struct config untouched = {.port = 77};
        struct config c = untouched;
        struct err err = {0};
        enum config_command command = CONFIG_VERSION;
        bool in_file = str_starts(row->text, "FILE");
        CLEANUP(free)
        char *want = xasprintf("%s%s", in_file ? f->file : "", row->text + (in_file ? 4 : 0));
        assert_true(load(f, row->yaml, row->args, &c, &command, &err) < 0);
        assert_string_equal(err.text, want);
        assert_int_equal(err.kind, ERR_SPEC);
        assert_memory_equal(&c, &untouched, sizeof(c));
        assert_int_equal(command, CONFIG_VERSION);
    }
}

static void test_wrong_environment(void **state)
{
    struct config c;
    struct err err = {0};
    enum config_command command;
    (void)setenv("KUBECONFIG", "config", 1);
    assert_true(load(*state, NULL, "", &c, &command, &err) < 0);
    assert_string_equal(err.text, "environment variable KUBECONFIG: kubeconfig must be an absolute "
                                  "path, not \"config\"");
}

static char *print(const struct config *config)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    config_print(config, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* What is printed, read again, prints the same: no source is needed beside it. */
static void test_round_trip(void **state)
{
    static const char *const args[] = {
        "--node-name=n",
        "--node-name=n|--provider-id=q\"uo\\te #: {x}|--cgroup=|--cni-bin-dirs=|--anonymous-auth",
        ("--node-name=n|--image-layouts=/a b,/ü,/c: d,/'|--provider-id= ~ "
         "|--cluster-dns=::1,1.2.3.4"),
        "--node-name=n|--provider-id=null|--vmm-user=~|--node-labels=a=,b.c/d=e|--port=1",
    };
    for (size_t i = 0; i < ARRAY_LEN(args); i++) {
        struct config first, second;
        load_good(*state, NULL, args[i], &first);
        CLEANUP(free) char *a = print(&first);
        (void)setenv("NODE_NAME", "", 1);
        load_good(*state, a, "", &second);
        CLEANUP(free) char *b = print(&second);
        assert_string_equal(a, b);
        assert_string_equal(first.provider_id, second.provider_id);
        config_free(&first);
        config_free(&second);
    }
}

static void test_shapes(void **state)
{
    static const struct {
        enum shape shape;
        bool fits;
        const char *text;
    } rows[] = {
        {SHAPE_NAME, true, "a"},
        {SHAPE_NAME, true, "ip-10-0-0-1.eu-west.internal"},
        {SHAPE_NAME, false, "a..b"},
        {SHAPE_NAME, false, ".a"},
        {SHAPE_NAME, false, "a."},
        {SHAPE_NAME, false, "-a"},
        {SHAPE_NAME, false, "a-"},
        {SHAPE_NAME, false, "a.-b"},
        {SHAPE_NAME, false, "a-.b"},
        {SHAPE_NAME, false, "a_b"},
        {SHAPE_NAME, false, ""},
        {SHAPE_LABEL, true, "a="},
        {SHAPE_LABEL, true, "topology.kubernetes.io/zone=eu-1"},
        {SHAPE_LABEL, false, "=b"},
        {SHAPE_LABEL, false, "/a=b"},
        {SHAPE_LABEL, false, "x/=b"},
        {SHAPE_LABEL, false, "X/a=b"},
        {SHAPE_LABEL, false, "a/b/c=d"},
        {SHAPE_LABEL, false, "a=b=c"},
        {SHAPE_LABEL, false, "a=-b"},
        {SHAPE_LABEL, false, "a= b"},
        {SHAPE_LABEL, false, "a=\xc3\xbc"},
        {SHAPE_LABEL, false, "a=0123456789012345678901234567890123456789012345678901234567890123"},
        {SHAPE_IP, true, "::"},
        {SHAPE_IP, false, "1.2.3"},
        {SHAPE_IP, false, "1.2.3.4 "},
        {SHAPE_CIDR, true, "0.0.0.0/0"},
        {SHAPE_CIDR, true, "fd00::/64"},
        {SHAPE_CIDR, false, "10.0.0.0/33"},
        {SHAPE_CIDR, false, "fd00::/129"},
        {SHAPE_CIDR, false, "10.0.0.0/"},
        {SHAPE_CIDR, false, "10.0.0.0/+8"},
        {SHAPE_CIDR, false, "/8"},
        {SHAPE_LINK, false, ""},
        {SHAPE_LINK, false, ".."},
        {SHAPE_LINK, false, "a b"},
        {SHAPE_CGROUP, true, ""},
        {SHAPE_CGROUP, false, ".."},
        {SHAPE_MEMORY, true, "1Mi"},
        {SHAPE_MEMORY, false, "1M"},
        {SHAPE_TEXT, true, "\xf0\x9f\x98\x80"},
        {SHAPE_TEXT, false, "\xff"},
        {SHAPE_TEXT, false, "a\x7f"},
        {SHAPE_TEXT, false, "a\tb"},
        {SHAPE_TEXT, false, "\xc2\x85"},
        {SHAPE_TEXT, false, "\xe2\x80\xa8"},
        {SHAPE_TEXT, false, "\xef\xbb\xbf"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (shape_fits(rows[i].shape, rows[i].text) != rows[i].fits)
            fail_msg("row %zu: \"%s\"", i, rows[i].text);
    }
}

/* ---- the program ---- */

static void find_agent(char path[PATH_MAX])
{
    char self[PATH_MAX] = "";
    const char *given = getenv("UNIKUBELET");
    assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
    if (given)
        str_copy(path, PATH_MAX, given);
    else
        str_fmt(path, PATH_MAX, "%s/../unikubelet", dirname(self));
}

/* The exit code; what it wrote to fd goes to out. */
static int run(int fd, const char *arg, const char *arg2, struct buf *out)
{
    char path[PATH_MAX];
    char *argv[] = {path, (char *)(uintptr_t)arg, (char *)(uintptr_t)arg2, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int pipes[2], status;
    ssize_t n;
    char text[4096];
    find_agent(path);
    assert_int_equal(pipe(pipes), 0);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, pipes[1], fd);
    (void)posix_spawn_file_actions_addclose(&actions, pipes[0]);
    (void)posix_spawn_file_actions_addclose(&actions, pipes[1]);
    assert_int_equal(posix_spawn(&pid, path, &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(pipes[1]);
    while ((n = read(pipes[0], text, sizeof(text))) > 0)
        assert_int_equal(buf_add(out, text, (size_t)n), 0);
    (void)close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_program(void **state)
{
    static const struct {
        const char *arg;
        int code, fd;
        const char *text; /* what it prints begins so */
    } rows[] = {
        {"--help", 0, STDOUT_FILENO, "unikubelet: a Kubernetes node agent"},
        {"--version", 0, STDOUT_FILENO, "unikubelet " UNIKUBELET_VERSION "\n"},
        {"--check-config", 0, STDOUT_FILENO, "the configuration is good\n"},
        {"--print-config", 0, STDOUT_FILENO, "nodeName: \""},
        {"--wrong", 2, STDERR_FILENO, "unikubelet: unknown flag \"--wrong\""},
    };
    struct fixture *f = *state;
    struct buf out = BUF_INIT(OUTPUT_MAX);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_reset(&out);
        assert_int_equal(run(rows[i].fd, rows[i].arg, NULL, &out), rows[i].code);
        assert_true(str_starts(buf_str(&out), rows[i].text));
    }
    CLEANUP(free) char *config = xasprintf("--config=%s", f->file);
    CLEANUP(free) char *want = xasprintf("unikubelet: %s:1: unknown key \"prot\"", f->file);
    assert_int_equal(file_write_atomic(f->file, "prot: 1\n", 8, 0600), 0);
    buf_reset(&out);
    assert_int_equal(run(STDERR_FILENO, "--check-config", config, &out), 2);
    assert_true(str_starts(buf_str(&out), want));
    /* What --print-config prints is taken. */
    buf_reset(&out);
    assert_int_equal(run(STDOUT_FILENO, "--print-config", NULL, &out), 0);
    assert_int_equal(file_write_atomic(f->file, buf_str(&out), out.len, 0600), 0);
    buf_reset(&out);
    assert_int_equal(run(STDOUT_FILENO, "--check-config", config, &out), 0);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_presets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_precedence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flags, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_environment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test_setup_teardown(test_program, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
