/* The order of things in the Pod network, with plugins that are a shell script of the test's: what
 * each is told, what becomes of its errors, and what a crash between any two steps leaves: nothing,
 * once the next agent has been asked. */
#include "tests/unit/network_fixture.h"

#include "base/cleanup.h"
#include "runtime/network_ns.h"
#include "runtime/network_store.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define UID_A "aaaaaaaa-0000-4000-8000-000000000001"
#define UID_B "bbbbbbbb-0000-4000-8000-000000000002"
#define LIST                                                                              \
    "{\"cniVersion\":\"0.4.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"one\"},{\"type\":" \
    "\"two\",\"capabilities\":{\"portMappings\":true}}]}"

/* Logs what it is asked, keeps its input, does what the test left in do.<name>.<command>, and then
 * the least that a real one would do. */
static const char plugin[] =
    "#!/bin/sh\n"
    "root=${0%%/bin/*}; name=${0##*/}; what=$name.$CNI_COMMAND\n"
    "cat > $root/in.$what\n"
    "echo \"$what $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS $CNI_PATH\" >> $root/log\n"
    "[ -e $root/do.$what ] && . $root/do.$what\n"
    "[ $CNI_COMMAND = ADD ] || exit 0\n"
    "[ $name = two ] || nsenter --net=$CNI_NETNS ip link add eth0 mtu 1400 type veth peer eth1\n"
    "[ $name = two ] || nsenter --net=$CNI_NETNS ip addr add 10.1.2.3/24 dev eth0\n"
    "[ $name = two ] || nsenter --net=$CNI_NETNS ip link set eth0 up\n"
    "echo '{\"cniVersion\":\"0.4.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"s\"}],'\n"
    "echo '\"ips\":[{\"version\":\"4\",\"interface\":0,\"address\":\"10.1.2.3/24\"}],'\n"
    "echo '\"dns\":{\"domain\":\"'$name'\"}}'\n";

static const struct network_pod pod_a = {.uid = UID_A, .ns = "default", .name = "a"};

static void put(const struct fixture *f, const char *name, const char *text, mode_t mode)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", f->root, name);

    assert_int_equal(file_write_atomic(path, text, strlen(text), mode), 0);
}

static void take_away(const struct fixture *f, const char *name)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", f->root, name);

    (void)unlink(path);
}

static char *get(const struct fixture *f, const char *name)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", f->root, name);
    CLEANUP(buf) struct buf text = BUF_INIT(1024 * 1024);

    (void)file_read(path, &text);
    return buf_take(&text);
}

static bool has(const struct fixture *f, const char *name, const char *text)
{
    CLEANUP(free) char *all = get(f, name);

    return strstr(all, text) != NULL;
}

/* First words of the log's lines since the last call, joined: "one.ADD two.ADD". */
static char *calls(const struct fixture *f)
{
    CLEANUP(free) char *log = get(f, "log");
    CLEANUP(buf) struct buf words = BUF_INIT(4096);

    for (const char *line = log; *line; line += *line == '\n') {
        assert_int_equal(
            buf_addf(&words, "%s%.*s", words.len ? " " : "", (int)strcspn(line, " \n"), line), 0);
        line += strcspn(line, "\n");
    }
    take_away(f, "log");
    return buf_take(&words);
}

static void expect_calls(const struct fixture *f, const char *expected)
{
    CLEANUP(free) char *got = calls(f);

    assert_string_equal(got, expected);
}

static void expect_nothing_left(struct fixture *f)
{
    CLEANUP(free) char *netns = xasprintf("%s/unik-" UID_A, f->netns_dir);
    struct stat st;

    assert_int_equal(lstat(netns, &st), -1);
    assert_int_equal(fixture_listed(f), 0);
}

static int setup(void **state)
{
    struct fixture *f = fixture_new(NULL, true);

    put(f, "bin/one", plugin, 0755);
    put(f, "bin/two", plugin, 0755);
    put(f, "conf/10-n.conflist", LIST, 0600);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

static void test_chain(void **state)
{
    static const struct network_port ports[] = {
        {.container_port = 80, .host_port = 8080, .host_ip = "", .protocol = "tcp"}};
    const struct network_pod pod = {
        .uid = UID_A, .ns = "default", .name = "a", .wants = {.ports = ports, .ports_len = 1}};
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod);
    CLEANUP(free)
    char *line = xasprintf(
        "one.ADD " UID_A " %s/unik-" UID_A " eth0 IgnoreUnknown=1;K8S_POD_NAMESPACE=default;"
        "K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=" UID_A ";K8S_POD_UID=" UID_A " %s\n",
        f->netns_dir, f->bin_dir);

    assert_string_equal(a.error, "");
    assert_string_equal(a.net.ip, "10.1.2.3");
    assert_string_equal(a.net.gateway, "");
    assert_int_equal(a.net.prefix_len, 24);
    assert_int_equal(a.net.mtu, 1400);
    assert_true(has(f, "log", line));
    expect_calls(f, "one.ADD two.ADD");
    assert_false(has(f, "in.one.ADD", "prevResult"));
    assert_false(has(f, "in.one.ADD", "runtimeConfig"));
    assert_true(has(f, "in.two.ADD", "\"domain\":\"one\""));
    assert_true(has(f, "in.two.ADD", "\"portMappings\":[{\"hostPort\":8080"));
    fixture_close(f);
    /* Another configuration since: DEL still uses that of the ADD. */
    put(f, "conf/00-other.conflist", "{\"cniVersion\":\"1.0.0\",\"name\":\"o\",\"type\":\"x\"}",
        0600);
    fixture_open(f);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    expect_calls(f, "two.DEL one.DEL");
    assert_true(has(f, "in.two.DEL", "\"domain\":\"two\""));
    assert_true(has(f, "in.one.DEL", "\"domain\":\"two\""));
    assert_true(has(f, "in.two.DEL", "\"portMappings\":[{\"hostPort\":8080"));
    expect_nothing_left(f);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    expect_calls(f, ""); /* nothing there: nobody is asked */
}

static void test_failures(void **state)
{
    static const struct {
        const char *file;
        const char *does;
        const char *calls;
        int result;
        const char *error;
    } table[] = {
        {"do.two.ADD", "echo '{\"code\":11,\"msg\":\"no\",\"details\":\"room\"}'; exit 1",
         "one.ADD two.ADD two.DEL one.DEL", -EIO, "CNI plugin two: no: room (code 11)"},
        {"do.one.ADD", "echo 'garbage'; exit 0", "one.ADD two.DEL one.DEL", -EBADMSG,
         "CNI plugin one: it printed no result: JSON is malformed"},
        {"do.one.ADD", "exit 0", "one.ADD two.DEL one.DEL", -EBADMSG,
         "CNI plugin one: it printed no result"},
        {"do.one.ADD", "echo 1; echo '[]'; exit 0", "one.ADD two.DEL one.DEL", -EBADMSG,
         "CNI plugin one: it printed no result"},
        {"do.one.ADD", "echo first >&2; echo 'panic: oops' >&2; exit 3", "one.ADD two.DEL one.DEL",
         -EIO, "CNI plugin one failed with exit status 3: panic: oops"},
        {"do.one.ADD", "kill -9 $$", "one.ADD two.DEL one.DEL", -EIO,
         "CNI plugin one was killed by signal 9"},
        {"do.one.ADD", "yes", "one.ADD two.DEL one.DEL", -ENOBUFS,
         "CNI plugin one printed more than 262144 bytes"},
        {"do.one.ADD", "yes >&2 & exec sleep 60", "one.ADD two.DEL one.DEL", -ETIMEDOUT,
         "CNI plugin one did not end within 1500 ms"},
        {"do.two.ADD", "echo '{}'; exit 0", "one.ADD two.ADD two.DEL one.DEL", -EBADMSG,
         "CNI result has no address for eth0"},
        {"do.two.ADD", "nsenter --net=$CNI_NETNS ip link del eth0",
         "one.ADD two.ADD two.DEL "
         "one.DEL",
         -ENODEV, "CNI left no interface eth0 in the Pod's network namespace"},
    };
    struct fixture *f = *state;

    fixture_close(f);
    f->config.plugin_ms_max = 1500;
    fixture_open(f);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct answer a;

        put(f, table[i].file, table[i].does, 0600);
        a = fixture_add(f, &pod_a);
        if (!str_starts(a.error, table[i].error))
            fail_msg("%s: %s", table[i].does, a.error);
        assert_int_equal(a.result, table[i].result);
        expect_calls(f, table[i].calls);
        expect_nothing_left(f);
        take_away(f, table[i].file);
    }
    assert_int_equal(fixture_add(f, &pod_a).result, 0);
}

/* A time limit ends what the plugin started too. */
static void test_timeout_kills_all(void **state)
{
    struct fixture *f = *state;
    CLEANUP(free) char *pid = NULL;
    CLEANUP(free) char *path = NULL;
    CLEANUP(buf) struct buf text = BUF_INIT(65536);
    int64_t number;
    struct answer a;

    fixture_close(f);
    f->config.plugin_ms_max = 500;
    fixture_open(f);
    put(f, "do.one.ADD", "sleep 300 & echo -n $! > $root/pid; wait", 0600);
    a = fixture_add(f, &pod_a);
    assert_int_equal(a.result, -ETIMEDOUT);
    pid = get(f, "pid");
    assert_int_equal(str_to_i64(pid, &number), 0);
    path = xasprintf("/proc/%s/status", pid);
    /* Gone, or waiting for init to take note of it. */
    if (file_read(path, &text) == 0)
        assert_non_null(strstr(buf_str(&text), "State:\tZ"));
    expect_nothing_left(f);
}

static void test_del_fails(void **state)
{
    struct fixture *f = *state;
    struct answer a = fixture_add(f, &pod_a);

    assert_int_equal(a.result, 0);
    expect_calls(f, "one.ADD two.ADD");
    put(f, "do.two.DEL", "echo '{\"code\":9,\"msg\":\"busy\"}'; exit 1", 0600);
    a = fixture_del(f, UID_A);
    assert_int_equal(a.result, -EIO);
    assert_string_equal(a.error, "CNI plugin two: busy (code 9)");
    expect_calls(f, "two.DEL one.DEL two.DEL one.DEL"); /* the others are asked all the same */
    assert_int_equal(fixture_listed(f), 1);
    put(f, "do.two.DEL", "[ -e $root/once ] || { touch $root/once; exit 1; }", 0600);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    expect_calls(f, "two.DEL one.DEL two.DEL one.DEL");
    expect_nothing_left(f);
}

enum crash {
    AFTER_INTENT,     /* the record says what was to come, nothing else is there */
    AFTER_FILE,       /* an empty file where the namespace was to be bound */
    AFTER_NETNS,      /* a namespace without anything in it */
    AFTER_CNI,        /* plugins done, their answer not saved */
    AFTER_ANSWER,     /* saved, addresses still on the interface or already off it */
    AFTER_UP,         /* all done */
    AFTER_REBOOT,     /* a record of another boot and no namespace */
    AFTER_UNMOUNT,    /* half of the clean-up */
    AFTER_BAD_RECORD, /* somebody wrote into it */
    CRASHES,
};

/* Puts the host into the state of an agent that died there, out of a finished add. */
static void stage(struct fixture *f, enum crash crash)
{
    CLEANUP(free) char *dir = xasprintf("%s/net", f->state_dir);
    CLEANUP(free) char *netns = xasprintf("%s/unik-" UID_A, f->netns_dir);
    struct network_record record;
    struct answer a = fixture_add(f, &pod_a);

    assert_string_equal(a.error, "");
    fixture_close(f);
    assert_int_equal(network_store_load(dir, UID_A, &record), 0);
    if (crash <= AFTER_CNI) {
        record.phase = NETWORK_INTENT;
        free(TAKE(record.result));
    } else if (crash == AFTER_ANSWER) {
        record.phase = NETWORK_ANSWERED;
    } else if (crash == AFTER_REBOOT) {
        record.boot_id[0] = record.boot_id[0] == 'x' ? 'y' : 'x';
    }
    if (crash <= AFTER_FILE || crash == AFTER_REBOOT || crash == AFTER_UNMOUNT)
        assert_int_equal(umount2(netns, MNT_DETACH), 0);
    if (crash == AFTER_INTENT || crash == AFTER_REBOOT)
        assert_int_equal(unlink(netns), 0);
    if (crash == AFTER_NETNS) { /* any namespace without the interface will do */
        assert_int_equal(umount2(netns, MNT_DETACH), 0);
        assert_int_equal(mount("/proc/self/ns/net", netns, "none", MS_BIND, NULL), 0);
    }
    assert_int_equal(network_store_save(dir, UID_A, &record, NULL), 0);
    if (crash == AFTER_BAD_RECORD)
        put(f, "state/net/" UID_A ".json", "{\"version\":1,\"pha", 0600);
    network_record_free(&record);
    expect_calls(f, "one.ADD two.ADD");
    fixture_open(f);
}

static void test_crash_then_del(void **state)
{
    struct fixture *f = *state;

    for (int crash = 0; crash < CRASHES; crash++) {
        bool gone = crash <= AFTER_FILE || crash == AFTER_REBOOT || crash == AFTER_UNMOUNT;
        struct answer a;

        stage(f, (enum crash)crash);
        assert_int_equal(fixture_listed(f), 1);
        a = fixture_del(f, UID_A);
        assert_string_equal(a.error, "");
        /* A namespace that is gone is "", never a path at which there is something else. */
        assert_int_equal(has(f, "log", "two.DEL " UID_A "  eth0"), gone);
        expect_calls(f, "two.DEL one.DEL");
        assert_int_equal(has(f, "in.two.DEL", "prevResult"),
                         crash > AFTER_CNI && crash != AFTER_BAD_RECORD);
        expect_nothing_left(f);
    }
}

static void test_crash_then_add(void **state)
{
    struct fixture *f = *state;

    for (int crash = 0; crash < CRASHES; crash++) {
        struct network_result loaded;
        struct answer a;

        stage(f, (enum crash)crash);
        assert_int_equal(network_load(f->network, UID_A, &loaded), crash == AFTER_UP ? 0 : -ENOENT);
        a = fixture_add(f, &pod_a);
        assert_string_equal(a.error, "");
        assert_string_equal(a.net.ip, "10.1.2.3");
        expect_calls(f, crash == AFTER_UP ? "" : "two.DEL one.DEL one.ADD two.ADD");
        assert_int_equal(network_load(f->network, UID_A, &loaded), 0);
        assert_int_equal(fixture_del(f, UID_A).result, 0);
        expect_calls(f, "two.DEL one.DEL");
        expect_nothing_left(f);
    }
}

/* A DEL that fails must not let an add build on the remains. */
static void test_add_over_stuck(void **state)
{
    struct fixture *f = *state;
    struct answer a;

    stage(f, AFTER_ANSWER);
    put(f, "do.one.DEL", "exit 1", 0600);
    a = fixture_add(f, &pod_a);
    assert_int_equal(a.result, -EIO);
    assert_int_equal(fixture_listed(f), 1);
    take_away(f, "do.one.DEL");
    assert_int_equal(fixture_add(f, &pod_a).result, 0);
}

static void test_configurations(void **state)
{
    struct fixture *f = *state;
    struct err err = {.text = ""};
    struct answer a;

    assert_int_equal(network_check(f->network, &err), 0);
    put(f, "conf/00-bad.conflist", "{", 0600);
    assert_int_equal(network_check(f->network, &err), 0); /* the next one is good */
    take_away(f, "conf/10-n.conflist");
    assert_int_equal(network_check(f->network, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "00-bad.conflist"));
    a = fixture_add(f, &pod_a);
    assert_int_equal(a.result, -EBADMSG);
    assert_non_null(strstr(a.error, "00-bad.conflist"));
    put(f, "conf/00-bad.conflist", "{\"cniVersion\":\"1.0.0\",\"name\":\"o\",\"type\":\"three\"}",
        0600);
    assert_int_equal(network_check(f->network, &err), -ENOENT);
    assert_non_null(strstr(err.text, "\"three\""));
    a = fixture_add(f, &pod_a);
    assert_int_equal(a.result, -ENOENT);
    take_away(f, "conf/00-bad.conflist");
    assert_int_equal(network_check(f->network, &err), -ENOENT); /* the default list's plugins */
    assert_non_null(strstr(err.text, "\"bridge\""));
    expect_calls(f, "");
    expect_nothing_left(f);
}

static void test_refused(void **state)
{
    static const struct network_pod table[] = {
        {.uid = "../../etc/passwd", .ns = "default", .name = "a"},
        {.uid = "", .ns = "default", .name = "a"},
        {.uid = UID_A, .ns = "default", .name = "a;K8S_POD_NAME=b"},
        {.uid = UID_A, .ns = "", .name = "a"},
        {.uid = UID_A, .ns = "default", .name = NULL},
        {.uid = UID_A, .ns = "default", .name = "a", .wants.ports_len = 100000},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        assert_true(fixture_add(f, &table[i]).result < 0);
    assert_int_equal(fixture_del(f, "a/b").result, -EINVAL);
    expect_calls(f, "");
    expect_nothing_left(f);
}

/* One uid's jobs keep their order; another's do not wait for them. */
static void test_order(void **state)
{
    const struct network_pod pod_b = {.uid = UID_B, .ns = "default", .name = "b"};
    struct fixture *f = *state;
    struct answer answers[5] = {{.there = false}};

    put(f, "do.one.ADD", "[ $CNI_CONTAINERID = " UID_B " ] || sleep 1", 0600);
    network_add(f->network, &pod_a, on_answer, &answers[0]);
    network_del(f->network, UID_A, on_answer, &answers[1]);
    network_add(f->network, &pod_a, on_answer, &answers[2]);
    network_del(f->network, UID_A, on_answer, &answers[3]);
    network_add(f->network, &pod_b, on_answer, &answers[4]);
    fixture_wait(f, &answers[4]);
    assert_false(answers[0].there);
    for (size_t i = 0; i < 4; i++) {
        fixture_wait(f, &answers[i]);
        assert_int_equal(answers[i].result, 0);
        assert_true(i == 3 || !answers[i + 1].there);
    }
    assert_int_equal(fixture_del(f, UID_B).result, 0);
    expect_nothing_left(f);
}

/* A plugin of an agent that was killed still runs: nothing is asked before it ends. */
static void test_guard(void **state)
{
    struct fixture *f = *state;
    struct answer a = {.there = false};

    put(f, "do.one.ADD", "touch $root/begun; sleep 1", 0600);
    network_add(f->network, &pod_a, on_answer, &a);
    for (;;) {
        CLEANUP(free) char *begun = xasprintf("%s/begun", f->root);

        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        if (access(begun, F_OK) == 0)
            break;
    }
    fixture_close(f);
    assert_false(a.there);
    fixture_open(f);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    expect_calls(f, "one.ADD two.DEL one.DEL");
    expect_nothing_left(f);
}

static struct answer verify(struct fixture *f, const char *uid)
{
    struct answer answer = {.there = false};

    network_verify(f->network, uid, on_answer, &answer);
    fixture_wait(f, &answer);
    return answer;
}

/* CHECK sees the addresses that the guest has, is told the kept result, and changes nothing. */
static void test_verify(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(verify(f, UID_A).result, -ENOENT);
    assert_int_equal(fixture_add(f, &pod_a).result, 0);
    take_away(f, "log");
    put(f, "do.one.CHECK", "nsenter --net=$CNI_NETNS ip addr show eth0 >> $root/seen", 0600);
    assert_string_equal(verify(f, UID_A).error, "");
    expect_calls(f, "one.CHECK two.CHECK");
    assert_true(has(f, "seen", "inet 10.1.2.3/24"));
    assert_true(has(f, "in.one.CHECK", "\"prevResult\":{"));
    put(f, "do.one.CHECK",
        "nsenter --net=$CNI_NETNS ip addr show eth0 > $root/seen;"
        "echo '{\"code\":100,\"msg\":\"no route\"}'; exit 1",
        0600);
    assert_string_equal(verify(f, UID_A).error, "CNI plugin one: no route (code 100)");
    expect_calls(f, "one.CHECK");
    /* It was taken off again each time. */
    put(f, "do.one.DEL", "nsenter --net=$CNI_NETNS ip addr show eth0 > $root/seen", 0600);
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    take_away(f, "log");
    expect_nothing_left(f);
}

/* A list whose author forbids CHECK, or whose version has none: nobody is asked. */
static void test_verify_off(void **state)
{
    static const char *const heads[] = {"\"0.4.0\",\"disableCheck\":true", "\"0.3.1\""};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        CLEANUP(free)
        char *list = xasprintf(
            "{\"cniVersion\":%s,\"name\":\"n\",\"plugins\":[{\"type\":\"one\"}]}", heads[i]);

        put(f, "conf/10-n.conflist", list, 0600);
        assert_int_equal(fixture_add(f, &pod_a).result, 0);
        take_away(f, "log");
        assert_int_equal(verify(f, UID_A).result, 0);
        expect_calls(f, "");
        assert_int_equal(fixture_del(f, UID_A).result, 0);
        take_away(f, "log");
    }
}

/* Checks wait for everything else, and a Pod that is deleted first has none to check. */
static void test_verify_waits(void **state)
{
    const struct network_pod pod_b = {.uid = UID_B, .ns = "default", .name = "b"};
    struct fixture *f = *state;
    struct answer checked = {.there = false};
    struct answer gone = {.there = false};

    assert_int_equal(fixture_add(f, &pod_a).result, 0);
    take_away(f, "log");
    network_verify(f->network, UID_A, on_answer, &checked);
    network_del(f->network, UID_A, on_answer, &gone);
    assert_int_equal(fixture_add(f, &pod_b).result, 0);
    fixture_wait(f, &gone);
    fixture_wait(f, &checked);
    assert_int_equal(gone.result, 0);
    assert_int_equal(checked.result, -ENOENT);
    assert_false(has(f, "log", "CHECK"));
    assert_int_equal(fixture_del(f, UID_B).result, 0);
}

/* GC at start, before anything else, names every Pod that has a record; a failure stops nothing. */
static void test_collect(void **state)
{
    static const char list[] = "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"plugins\":[{\"type\":"
                               "\"one\"},{\"type\":\"two\"}]}";
    const struct network_pod pod_b = {.uid = UID_B, .ns = "default", .name = "b"};
    struct fixture *f = *state;

    put(f, "conf/10-n.conflist", list, 0600);
    put(f, "do.one.GC", "env | grep -c '^CNI_[NCI][EOF]' > $root/named; exit 3", 0600);
    assert_int_equal(fixture_add(f, &pod_a).result, 0);
    take_away(f, "log");
    fixture_close(f);
    fixture_open(f); /* off unless asked for */
    assert_int_equal(fixture_del(f, UID_B).result, 0);
    expect_calls(f, "");
    fixture_close(f);
    f->config.collect = true;
    fixture_open(f);
    assert_int_equal(fixture_add(f, &pod_b).result, 0);
    expect_calls(f, "one.GC two.GC one.ADD two.ADD");
    assert_true(has(f, "in.two.GC",
                    "\"cni.dev/valid-attachments\":[{\"containerID\":\"" UID_A
                    "\",\"ifname\":\"eth0\"}]"));
    assert_false(has(f, "in.two.GC", UID_B));
    assert_true(has(f, "named", "1\n")); /* CNI_COMMAND alone: no container, namespace, interface */
    assert_int_equal(fixture_del(f, UID_A).result, 0);
    assert_int_equal(fixture_del(f, UID_B).result, 0);
    take_away(f, "log");
    expect_nothing_left(f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timeout_kills_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_del_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crash_then_del, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crash_then_add, setup, teardown),
        cmocka_unit_test_setup_teardown(test_add_over_stuck, setup, teardown),
        cmocka_unit_test_setup_teardown(test_configurations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guard, setup, teardown),
        cmocka_unit_test_setup_teardown(test_verify, setup, teardown),
        cmocka_unit_test_setup_teardown(test_verify_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_verify_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_collect, setup, teardown),
    };

    fixture_isolate();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
