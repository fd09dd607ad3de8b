/* Files on a real file system: limits, atomic replacement, trees with traps in them. */
#include "base/file.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct place {
    char dir[64];
    char path[256];
};

static const char *at(struct place *place, const char *name)
{
    return str_fmt(place->path, sizeof(place->path), "%s/%s", place->dir, name);
}

static int set_up(void **state)
{
    struct place *place = xcalloc(1, sizeof(*place));

    str_copy(place->dir, sizeof(place->dir), "/tmp/test-base-file-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;

    assert_int_equal(file_remove_tree(place->dir), 0);
    assert_int_equal(access(place->dir, F_OK), -1);
    free(place);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0644), 0);
}

static void test_read(void **state)
{
    struct place *place = *state;
    CLEANUP(buf) struct buf out = BUF_INIT(20000);
    CLEANUP(free) char *big = xcalloc(1, 20001);

    memset(big, 'b', 20000);
    assert_int_equal(file_read(at(place, "absent"), &out), -ENOENT);
    assert_int_equal(file_read(place->dir, &out), -EISDIR);
    write_file(at(place, "a"), "hello");
    assert_int_equal(file_read(at(place, "a"), &out), 0);
    assert_int_equal(file_read(at(place, "a"), &out), 0);
    assert_string_equal(buf_str(&out), "hellohello");
    write_file(at(place, "big"), big);
    assert_int_equal(file_read(at(place, "big"), &out), -ENOBUFS);
    assert_string_equal(buf_str(&out), "hellohello");
    buf_reset(&out);
    assert_int_equal(file_read(at(place, "big"), &out), 0); /* exactly the limit */
    assert_int_equal(out.len, 20000);
    buf_reset(&out);
    assert_int_equal(file_read("/proc/self/status", &out), 0); /* has size 0 by stat */
    assert_true(out.len > 100);
}

static void test_write(void **state)
{
    struct place *place = *state;
    CLEANUP(buf) struct buf out = BUF_INIT(100);
    struct stat st;
    mode_t mask = umask(077);

    write_file(at(place, "victim"), "untouched");
    write_file(at(place, "f"), "one");
    write_file(at(place, "f"), "two");
    umask(mask);
    assert_int_equal(file_read(at(place, "f"), &out), 0);
    assert_string_equal(buf_str(&out), "two");
    assert_int_equal(stat(at(place, "f"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    assert_int_equal(file_write_atomic(at(place, "no/f"), "x", 1, 0600), -ENOENT);
    /* Failing late, at the rename: nothing but the directory may stay. */
    assert_int_equal(file_mkdirs(at(place, "d/sub"), 0755), 0);
    assert_int_equal(file_write_atomic(at(place, "d"), "x", 1, 0600), -EISDIR);
    assert_int_equal(unlink(at(place, "victim")), 0);
    assert_int_equal(unlink(at(place, "f")), 0);
    assert_int_equal(rmdir(at(place, "d/sub")), 0);
    assert_int_equal(rmdir(at(place, "d")), 0);
    assert_int_equal(rmdir(place->dir), 0);
    assert_int_equal(mkdir(place->dir, 0700), 0);
}

static void test_mkdirs(void **state)
{
    struct place *place = *state;
    struct stat st;

    assert_int_equal(file_mkdirs(at(place, "a/b//c/"), 0700), 0);
    assert_int_equal(file_mkdirs(at(place, "a/b/c"), 0700), 0);
    assert_int_equal(stat(at(place, "a/b/c"), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    write_file(at(place, "a/f"), "x");
    assert_int_equal(file_mkdirs(at(place, "a/f"), 0700), -ENOTDIR);
    assert_int_equal(file_mkdirs(at(place, "a/f/g"), 0700), -ENOTDIR);
    assert_int_equal(file_mkdirs("/proc/nowhere/x", 0700), -ENOENT);
    assert_int_equal(file_mkdirs("", 0700), -ENOENT);
    assert_int_equal(file_mkdirs("/", 0700), 0);
}

static void test_remove_links(void **state)
{
    struct place *place = *state;
    char outside[256];

    str_copy(outside, sizeof(outside), at(place, "outside"));
    assert_int_equal(file_mkdirs(outside, 0700), 0);
    write_file(at(place, "outside/keep"), "x");
    assert_int_equal(file_mkdirs(at(place, "tree/a/b"), 0700), 0);
    assert_int_equal(symlink(outside, at(place, "tree/link")), 0);
    assert_int_equal(symlink(outside, at(place, "tree/a/link")), 0);
    assert_int_equal(symlink("..", at(place, "tree/a/b/up")), 0);
    assert_int_equal(symlink("nowhere", at(place, "tree/dangling")), 0);
    assert_int_equal(mkfifo(at(place, "tree/a/fifo"), 0600), 0);
    write_file(at(place, "tree/a/b/.removed-0"), "name that the removal itself uses");
    assert_int_equal(file_mkdirs(at(place, "tree/.removed-0/x/y"), 0700), 0);
    assert_int_equal(file_remove_tree(at(place, "tree")), 0);
    assert_int_equal(access(at(place, "tree"), F_OK), -1);
    assert_int_equal(access(at(place, "outside/keep"), F_OK), 0);
    /* The path itself a link: the link goes, its target stays. */
    assert_int_equal(symlink(outside, at(place, "itself")), 0);
    assert_int_equal(file_remove_tree(at(place, "itself")), 0);
    assert_int_equal(access(at(place, "outside/keep"), F_OK), 0);
    assert_int_equal(file_remove_tree(at(place, "absent")), 0);
    assert_int_equal(file_remove_tree(at(place, "absent/x")), 0);
    assert_int_equal(file_remove_tree(at(place, "outside/keep")), 0); /* a file alone */
    assert_int_equal(access(at(place, "outside/keep"), F_OK), -1);
}

static void test_remove_deep(void **state)
{
    struct place *place = *state;
    CLEANUP(close) int fd = open(place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    /* Deeper than PATH_MAX and than there are descriptors. */
    for (int i = 0; i < 3000; i++) {
        int next;

        assert_int_equal(mkdirat(fd, "d", 0700), 0);
        next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    for (int i = 0; i < 500; i++) {
        char name[8];

        str_fmt(name, sizeof(name), "%d", i);
        assert_int_equal(mkdirat(fd, name, 0700), 0);
    }
    assert_int_equal(file_remove_tree(at(place, "d")), 0);
    assert_int_equal(access(at(place, "d"), F_OK), -1);
}

/* In a child with mounts of its own: a bind mount of the same file system inside the tree. */
static int remove_over_mount(struct place *place)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return 77;
    char source[256];

    str_copy(source, sizeof(source), at(place, "source"));
    if (mount(source, at(place, "tree/a/mnt"), NULL, MS_BIND, NULL) < 0)
        return 77;
    return file_remove_tree(at(place, "tree")) == -EBUSY ? 0 : 1;
}

static void test_remove_mount(void **state)
{
    struct place *place = *state;
    int status;
    pid_t pid;

    assert_int_equal(file_mkdirs(at(place, "tree/a/mnt"), 0700), 0);
    assert_int_equal(file_mkdirs(at(place, "source/d"), 0700), 0);
    write_file(at(place, "source/d/keep"), "x");
    write_file(at(place, "tree/a/file"), "x");
    pid = fork();
    if (pid == 0)
        _exit(remove_over_mount(place));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
    assert_int_equal(access(at(place, "source/d/keep"), F_OK), 0);
    assert_int_equal(access(at(place, "tree/a/file"), F_OK), -1); /* the rest is gone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mkdirs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_remove_links, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_remove_deep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_remove_mount, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("base_file", tests, NULL, NULL);
}
