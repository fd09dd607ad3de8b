/* Files for strangers: what is below the root, what is not, and names that are markup. */
#include "provider/files.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct world {
    char top[64];
    char root[128];
};

static void put(const struct world *w, const char *name, const char *text)
{
    char path[512];

    str_fmt(path, sizeof(path), "%s/%s", w->top, name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0644), 0);
}

static void link_to(const struct world *w, const char *name, const char *to)
{
    char path[512];

    assert_int_equal(symlink(to, str_fmt(path, sizeof(path), "%s/%s", w->root, name)), 0);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[512];

    str_copy(w->top, sizeof(w->top), "/tmp/unikubelet-files-XXXXXX");
    assert_non_null(mkdtemp(w->top));
    str_fmt(w->root, sizeof(w->root), "%s/log", w->top);
    assert_int_equal(file_mkdirs(str_fmt(path, sizeof(path), "%s/pods/p", w->root), 0755), 0);
    assert_int_equal(file_mkdirs(str_fmt(path, sizeof(path), "%s/log-of-others", w->top), 0755), 0);
    put(w, "secret", "secret");
    put(w, "log-of-others/file", "others");
    put(w, "log/plain", "hello");
    put(w, "log/pods/p/0.log", "deep");
    put(w, "log/<b>&\"x y", "markup");
    link_to(w, "relative", "pods/p/0.log");
    str_fmt(path, sizeof(path), "%s/pods/p/0.log", w->root);
    link_to(w, "absolute", path);
    link_to(w, "out", "../secret");
    link_to(w, "up", "..");
    link_to(w, "beside", "../log-of-others");
    link_to(w, "gone", "nowhere");
    link_to(w, "loop", "loop");
    assert_int_equal(mkfifo(str_fmt(path, sizeof(path), "%s/pipe", w->root), 0644), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    assert_int_equal(file_remove_tree(w->top), 0);
    free(w);
    return 0;
}

static void test_open(void **state)
{
    static const struct {
        const char *path;
        int result;
        const char *text; /* NULL: a directory */
    } rows[] = {
        {"", 0, NULL},
        {"/", 0, NULL},
        {"/plain", 0, "hello"},
        {"/pods", 0, NULL},
        {"/pods/p/0.log", 0, "deep"},
        {"/relative", 0, "deep"},
        {"/absolute", 0, "deep"},
        {"/none", -ENOENT, NULL},
        {"/gone", -ENOENT, NULL},
        {"/loop", -ELOOP, NULL},
        {"/plain/below", -ENOTDIR, NULL},
        {"/out", -EACCES, NULL},
        {"/up", -EACCES, NULL},
        {"/up/secret", -EACCES, NULL},
        {"/beside/file", -EACCES, NULL},
        {"/../secret", -EACCES, NULL},
        {"/../log-of-others/file", -EACCES, NULL},
        {"-of-others/file", -EACCES, NULL}, /* begins like the root */
        {"/pipe", -EACCES, NULL},           /* and nothing hangs on it */
    };
    const struct world *w = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct files_entry entry = {.fd = -7};
        char text[64] = "";

        assert_int_equal(files_open(w->root, rows[i].path, &entry), rows[i].result);
        if (rows[i].result < 0) {
            assert_int_equal(entry.fd, -7);
            continue;
        }
        assert_int_equal(entry.is_dir, rows[i].text == NULL);
        if (rows[i].text) {
            assert_int_equal(entry.size, strlen(rows[i].text));
            assert_int_equal(read(entry.fd, text, sizeof(text) - 1), entry.size);
            assert_string_equal(text, rows[i].text);
        }
        close(entry.fd);
    }
}

static void test_list(void **state)
{
    const struct world *w = *state;
    struct files_entry entry;
    struct buf out = BUF_INIT(4096);

    assert_int_equal(files_open(w->root, "", &entry), 0);
    assert_int_equal(files_list(entry.fd, &out), 0);
    close(entry.fd);
    assert_string_equal(
        buf_str(&out),
        "<!doctype html>\n<pre>\n"
        "<a href=\"./%3Cb%3E%26%22x%20y\">&#60;b&#62;&#38;&#34;x y</a>\n"
        "<a href=\"./absolute\">absolute</a>\n<a href=\"./beside/\">beside/</a>\n"
        "<a href=\"./gone\">gone</a>\n<a href=\"./loop\">loop</a>\n<a href=\"./out\">out</a>\n"
        "<a href=\"./pipe\">pipe</a>\n<a href=\"./plain\">plain</a>\n"
        "<a href=\"./pods/\">pods/</a>\n<a href=\"./relative\">relative</a>\n"
        "<a href=\"./up/\">up/</a>\n</pre>\n");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
