/* hosts.toml: what it says in containerd's sense, and the sentence for each way to get it wrong. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/image_hosts.h"
#include "runtime/image_toml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define BOTH (IMAGE_CAN_RESOLVE | IMAGE_CAN_PULL)

static int read_text(const char *text, struct arena *arena, struct image_hosts *hosts,
                     struct err *err)
{
    *err = (struct err){.code = 0};
    return hosts_read(text, strlen(text), "/d/reg.io/hosts.toml", "/d/reg.io", arena, hosts, err);
}

static void all_of_it(void **state)
{
    static const char text[] = "# mirrors\r\n"
                               "server = 'https://reg.io/'\r\n"
                               "skip_verify = true  # the server's\n"
                               "[host.\"https://a.example:5000\"]\n"
                               "  capabilities = [\"pull\", \"resolve\", \"push\"]\n"
                               "  ca = \"ca.crt\"\n"
                               "[host.'http://b/team/v2']\n"
                               "capabilities = [ # several lines\n 'pull',\n\n]\n"
                               "ca = ['/abs/one.pem', \"t\\u0077o.pem\"]\n"
                               "client = [[\"c.crt\", \"c.key\"]]\n"
                               "dial_timeout = \"3s\"\n"
                               "[host.'http://b/team/v2'.header]\n"
                               "x-team = [\"a\"]\n"
                               "[host.c]\n"
                               "override_path = true\n"
                               "header = { x = 1, y = ['z'] }\n"
                               "[host.\"https://d/api/\"]\n"
                               "override_path = true\n"
                               "[\"host\" . 'https://e/api' ]\n";
    struct arena *arena = arena_new(1024);
    struct image_hosts hosts;
    struct err err;

    (void)state;
    if (read_text(text, arena, &hosts, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(hosts.file, "/d/reg.io/hosts.toml");
    assert_string_equal(hosts.server.base, "https://reg.io/v2");
    assert_string_equal(hosts.server.host, "reg.io");
    assert_true(hosts.server.skip_verify);
    assert_int_equal(hosts.server.can, BOTH);
    assert_int_equal(hosts.mirrors_len, 5);
    assert_string_equal(hosts.mirrors[0].base, "https://a.example:5000/v2");
    assert_string_equal(hosts.mirrors[0].host, "a.example:5000");
    assert_int_equal(hosts.mirrors[0].can, BOTH);
    assert_int_equal(hosts.mirrors[0].ca_len, 1);
    assert_string_equal(hosts.mirrors[0].ca[0], "/d/reg.io/ca.crt");
    assert_false(hosts.mirrors[0].skip_verify);
    assert_string_equal(hosts.mirrors[1].base, "http://b/team/v2");
    assert_int_equal(hosts.mirrors[1].can, IMAGE_CAN_PULL);
    assert_int_equal(hosts.mirrors[1].ca_len, 2);
    assert_string_equal(hosts.mirrors[1].ca[0], "/abs/one.pem");
    assert_string_equal(hosts.mirrors[1].ca[1], "/d/reg.io/two.pem");
    assert_string_equal(hosts.mirrors[2].base, "https://c");
    assert_string_equal(hosts.mirrors[3].base, "https://d/api");
    assert_string_equal(hosts.mirrors[4].base, "https://e/api/v2");
    assert_int_equal(hosts.mirrors[4].can, BOTH);
    assert_string_equal(hosts.ignored, "client, dial_timeout, header");
    arena_free(arena);
}

/* Nothing said: the registry itself; dotted keys are the same as tables. */
static void short_ones(void **state)
{
    struct arena *arena = arena_new(1024);
    struct image_hosts hosts;
    struct err err;

    (void)state;
    assert_int_equal(read_text("", arena, &hosts, &err), 0);
    assert_null(hosts.server.base);
    assert_int_equal(hosts.server.can, BOTH);
    assert_int_equal(hosts.mirrors_len, 0);
    assert_int_equal(read_text("\xef\xbb\xbfhost.m.skip_verify = true\n[host.m]\n[other]\na=1",
                               arena, &hosts, &err),
                     0);
    assert_true(hosts.mirrors[0].skip_verify);
    assert_string_equal(hosts.ignored, "other");
    assert_int_equal(read_text("\"\" = 1\n'' = 2", arena, &hosts, &err), 0);
    assert_string_equal(hosts.ignored, "\"\"");
    arena_free(arena);
}

static void wrong_ones(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"server = reg.io", ":1: a value is no string, boolean, number or list"},
        {"\n\nserver = 1", ":3: server must be a string"},
        {"server =", ":1: a value is missing"},
        {"server", ":1: a key has no \"=\" behind it"},
        {"= 1", ":1: a key is missing"},
        {"server = 'a' 'b'", ":1: there is something behind the value"},
        {"server = \"a", ":1: a string does not end on its line"},
        {"server = \"a\\q\"", ":1: a string has an unknown escape"},
        {"server = \"\\u12\"", ":1: a \\u escape needs four hex digits"},
        {"server = \"\\ud800\"", ":1: an escape is no Unicode character"},
        {"server = \"\"\"a\"\"\"", ":1: strings of several lines are not read here"},
        {"server = \"\x01\"", ":1: a string has a control character"},
        {"server = 'a'\nserver = 'b'", ":2: server is there twice"},
        {"server = 'ftp://a'", "\"ftp://a\" is no http or https URL of a host"},
        {"server = 'https://'", "\"https://\" is no http or https URL"},
        {"server = 'https://a?b'", "is no http or https URL"},
        {"[[host]]", ":1: arrays of tables ([[..]]) are not read here"},
        {"[host.a", ":1: a table's name has no \"]\" behind it"},
        {"[host.a]\n[host.a]", ":2: the host \"a\" is there twice"},
        {"[host.'u:p@a']", "is no http or https URL"},
        {"host = 'a'", ":1: a host is a table"},
        {"[host]\na = 'b'", ":2: a host is a table"},
        {"[host.a]\ncapabilities = 'pull'", ":2: capabilities must be a list of strings"},
        {"[host.a]\ncapabilities = [\n'pul']", ":3: capabilities has \"pul\"; there are pull"},
        {"[host.a]\nca = true", ":2: ca must be a path, or a list of paths"},
        {"[host.a]\nca = ''", ":2: ca is an empty path"},
        {"[host.a]\nskip_verify = 'yes'", ":2: skip_verify must be true or false"},
        {"[host.a]\noverride_path = 1", ":2: override_path must be true or false"},
        {"ca = ['a' 'b']", ":1: a list has no \",\" or \"]\" behind an item"},
        {"x = {a = 1 b = 2}", ":1: an inline table has no \",\" or \"}\""},
        {"x = [[[[[[[[[1]]]]]]]]]", ":1: values are nested too deeply"},
        {"a.b.c.d.e.f.g.h.i = 1", ":1: a key has too many parts"},
    };
    struct arena *arena = arena_new(1024);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_hosts hosts;
        struct err err;

        if (read_text(cases[i].text, arena, &hosts, &err) == 0)
            fail_msg("good: %s", cases[i].text);
        if (!str_starts(err.text, "/d/reg.io/hosts.toml:") || !strstr(err.text, cases[i].says))
            fail_msg("%s: %s", cases[i].text, err.text);
    }
    arena_free(arena);
}

/* One more than each limit. */
static void limits(void **state)
{
    struct arena *arena = arena_new(1024);
    struct buf text = BUF_INIT(2 * TOML_TEXT_MAX);
    struct image_hosts hosts;
    struct err err;

    (void)state;
    for (int i = 0; i <= HOSTS_MIRRORS_MAX; i++)
        (void)buf_addf(&text, "[host.m%d]\n", i);
    assert_true(read_text(buf_str(&text), arena, &hosts, &err) < 0);
    assert_non_null(strstr(err.text, ":17: more than 16 hosts"));
    buf_reset(&text);
    (void)buf_adds(&text, "ca = [");
    for (int i = 0; i <= HOSTS_CA_MAX; i++)
        (void)buf_adds(&text, "'a',");
    (void)buf_adds(&text, "]");
    assert_true(read_text(buf_str(&text), arena, &hosts, &err) < 0);
    assert_non_null(strstr(err.text, ":1: more than 16 CA files"));
    buf_reset(&text);
    (void)buf_adds(&text, "server = '");
    for (int i = 0; i <= TOML_STRING_MAX; i++)
        (void)buf_addc(&text, 'a');
    (void)buf_adds(&text, "'");
    assert_true(read_text(buf_str(&text), arena, &hosts, &err) < 0);
    assert_non_null(strstr(err.text, ":1: a string is too long"));
    while (text.len <= TOML_TEXT_MAX)
        (void)buf_addc(&text, '\n');
    assert_true(read_text(buf_str(&text), arena, &hosts, &err) < 0);
    assert_non_null(strstr(err.text, "hosts.toml: more than 65536 bytes"));
    buf_free(&text);
    arena_free(arena);
}

static void put(const char *root, const char *dir, const char *name, const char *text)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", root, dir);
    CLEANUP(free) char *file = xasprintf("%s/%s", path, name);

    assert_int_equal(file_mkdirs(path, 0755), 0);
    assert_int_equal(file_write_atomic(file, text, strlen(text), 0644), 0);
}

/* containerd's spellings, the most exact one first. */
static void which_directory(void **state)
{
    char root[] = "/tmp/unikubelet-hosts-XXXXXX";
    static const char *const dirs[] = {"_default", "reg.io:5000", "reg.io_5000_"};
    struct arena *arena = arena_new(1024);
    struct buf ca = BUF_INIT(HOSTS_CA_TEXT_MAX);
    struct image_hosts hosts;
    struct err err;

    (void)state;
    assert_non_null(mkdtemp(root));
    assert_int_equal(hosts_load(NULL, "reg.io", arena, &hosts, &err), 0);
    assert_int_equal(hosts_load(root, "reg.io:5000", arena, &hosts, &err), 0);
    assert_null(hosts.file);
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        CLEANUP(free) char *text = xasprintf("[host.m%zu]", i);

        put(root, dirs[i], "hosts.toml", text);
        assert_int_equal(hosts_load(root, "reg.io:5000", arena, &hosts, &err), 0);
        assert_int_equal(hosts.mirrors[0].host[1], '0' + (int)i);
    }
    put(root, "ca.io", "b.crt", "B");
    put(root, "ca.io", "a.crt", "A");
    put(root, "ca.io", "a.key", "no");
    assert_int_equal(hosts_load(root, "ca.io", arena, &hosts, &err), 0);
    assert_null(hosts.server.base);
    assert_int_equal(hosts_read_ca(&hosts.server, &ca, &err), 0);
    assert_string_equal(buf_str(&ca), "A\nB\n");
    put(root, "gone.io", "hosts.toml", "ca = 'none.crt'");
    assert_int_equal(hosts_load(root, "gone.io", arena, &hosts, &err), 0);
    assert_true(hosts_read_ca(&hosts.server, &ca, &err) < 0);
    assert_non_null(strstr(err.text, "gone.io/none.crt: No such file"));
    buf_free(&ca);
    arena_free(arena);
    file_remove_tree(root);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it),       cmocka_unit_test(short_ones),
        cmocka_unit_test(wrong_ones),      cmocka_unit_test(limits),
        cmocka_unit_test(which_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
