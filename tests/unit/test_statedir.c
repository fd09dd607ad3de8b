/* The state directory against a real file system: what is saved comes back, what is damaged in any
 * way is set aside and harms nobody, and names cannot leave the directory. */
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/statedir.h"
#include "runtime/statedir_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define UID_A "0a1b2c3d-0000-4000-8000-00000000000a"
#define UID_B "0a1b2c3d-0000-4000-8000-00000000000b"
#define BOOT "11111111-2222-3333-4444-555555555555"

struct fixture {
    char path[64];
    struct statedir *dir;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct err err;

    str_copy(f->path, sizeof(f->path), "/tmp/test-statedir-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    assert_int_equal(statedir_open(f->path, &f->dir, &err), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    statedir_close(f->dir);
    assert_int_equal(file_remove_tree(f->path), 0);
    free(f);
    return 0;
}

static void write_file(const struct fixture *f, const char *name, const void *data, size_t len)
{
    char *path = xasprintf("%s/%s", f->path, name);

    assert_int_equal(file_write_atomic(path, data, len, 0600), 0);
    free(path);
}

static size_t count_suffix(const struct fixture *f, const char *suffix)
{
    DIR *dir = opendir(f->path);
    const struct dirent *entry;
    size_t count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        count += str_ends(entry->d_name, suffix);
    closedir(dir);
    return count;
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    struct statedir_record *records;
    struct err err;
    size_t len;
    size_t bad;
    bool first_is_a;

    assert_int_equal(statedir_save(f->dir, UID_A, "old", 3, &err), 0);
    assert_int_equal(statedir_save(f->dir, UID_A, "a\0b\n", 4, &err), 0);
    assert_int_equal(statedir_save(f->dir, UID_B, "", 0, &err), 0);
    assert_int_equal(statedir_load(f->dir, &records, &len, &bad, &err), 0);
    assert_int_equal(len, 2);
    assert_int_equal(bad, 0);
    first_is_a = str_eq(records[0].uid, UID_A);
    assert_string_equal(records[first_is_a ? 0 : 1].uid, UID_A);
    assert_string_equal(records[first_is_a ? 1 : 0].uid, UID_B);
    assert_int_equal(records[first_is_a ? 0 : 1].len, 4);
    assert_memory_equal(records[first_is_a ? 0 : 1].data, "a\0b\n", 5);
    assert_int_equal(records[first_is_a ? 1 : 0].len, 0);
    assert_true(records[0].same_boot && records[1].same_boot);
    statedir_records_free(records, len);

    assert_int_equal(statedir_remove(f->dir, UID_A, &err), 0);
    assert_int_equal(statedir_remove(f->dir, UID_A, &err), 0);
    assert_int_equal(statedir_load(f->dir, &records, &len, &bad, &err), 0);
    assert_int_equal(len, 1);
    statedir_records_free(records, len);
}

static void test_limit(void **state)
{
    struct fixture *f = *state;
    char *big = xcalloc(1, STATEDIR_RECORD_MAX + 1);
    struct statedir_record *records;
    struct err err;
    size_t len;
    size_t bad;

    assert_int_equal(statedir_save(f->dir, UID_A, big, STATEDIR_RECORD_MAX + 1, &err), -EFBIG);
    assert_int_equal(statedir_save(f->dir, UID_A, big, STATEDIR_RECORD_MAX, &err), 0);
    assert_int_equal(statedir_load(f->dir, &records, &len, &bad, &err), 0);
    assert_int_equal(len, 1);
    assert_int_equal(records[0].len, STATEDIR_RECORD_MAX);
    statedir_records_free(records, len);
    free(big);
}

static void test_names(void **state)
{
    static const char *const refused[] = {
        "",         ".",
        "..",       "../x",
        "a/b",      "a.b",
        "a b",      "a\nb",
        "\xc3\xa4", "12345678901234567890123456789012345678901234567890123456789012345", /* 65 */
    };
    struct fixture *f = *state;
    struct err err;

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_int_equal(statedir_save(f->dir, refused[i], "x", 1, &err), -EINVAL);
        assert_int_equal(statedir_remove(f->dir, refused[i], &err), -EINVAL);
    }
    assert_int_equal(statedir_save(f->dir, NULL, "x", 1, &err), -EINVAL);
    assert_int_equal(count_suffix(f, ".pod"), 0);
}

/* In a process of its own, as an agent is: the lock is the process's. */
static int second_agent(const char *path)
{
    struct statedir *other = NULL;
    struct err err = {0};

    if (statedir_open(path, &other, &err) != -EWOULDBLOCK || other)
        return 1;
    return strstr(err.text, "another agent") ? 0 : 2;
}

static void test_second_agent(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(second_agent(f->path));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    statedir_close(f->dir);
    assert_int_equal(statedir_open(f->path, &f->dir, &err), 0);
}

/* An agent that dies while a child of its has copies of its descriptors still, as one between vfork
 * and exec: told through the pipe that the directory is taken and the child there. */
static void agent_with_child(const char *path, int told, int held)
{
    struct statedir *dir = NULL;
    struct err err = {0};
    char byte;

    if (statedir_open(path, &dir, &err) < 0)
        _exit(1);
    if (fork() == 0) {
        (void)!write(told, "x", 1);
        (void)!read(held, &byte, 1); /* until the test closes its end */
        _exit(0);
    }
    for (;;)
        pause();
}

static void test_dead_agents_child(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    int told[2];
    int held[2];
    char byte;
    pid_t pid;

    statedir_close(f->dir);
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    assert_int_equal(pipe2(held, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        (void)close(held[1]);
        agent_with_child(f->path, told[1], held[0]);
    }
    (void)close(told[1]);
    assert_int_equal(read(told[0], &byte, 1), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(statedir_open(f->path, &f->dir, &err), 0);
    (void)close(held[1]);
    (void)close(held[0]);
    (void)close(told[0]);
}

/* Loads one good and one damaged file: the good one always comes back. */
static void expect_bad(const struct fixture *f, const char *data, size_t data_len)
{
    struct statedir_record *records;
    struct err err;
    size_t len;
    size_t bad;

    write_file(f, UID_B ".pod", data, data_len);
    assert_int_equal(statedir_load(f->dir, &records, &len, &bad, &err), 0);
    assert_int_equal(bad, 1);
    assert_int_equal(len, 1);
    assert_string_equal(records[0].uid, UID_A);
    statedir_records_free(records, len);
    assert_int_equal(count_suffix(f, ".pod"), 1);
}

static void test_every_truncation(void **state)
{
    struct fixture *f = *state;
    struct buf text = BUF_INIT(4096);
    struct err err;

    assert_int_equal(statedir_save(f->dir, UID_A, "good", 4, &err), 0);
    assert_int_equal(statedir_encode(BOOT, "payload\n2nd", 11, &text), 0);
    for (size_t cut = 0; cut < text.len; cut++)
        expect_bad(f, text.data, cut);
    assert_int_equal(buf_addc(&text, '\n'), 0); /* longer than it says */
    expect_bad(f, text.data, text.len);
    assert_int_equal(count_suffix(f, ".bad"), STATEDIR_BAD_MAX);
    buf_free(&text);
}

static void test_every_damaged_byte(void **state)
{
    struct buf text = BUF_INIT(4096);
    const char *data;
    bool same_boot;
    size_t len;

    (void)state;
    assert_int_equal(statedir_encode(BOOT, "payload", 7, &text), 0);
    for (size_t i = 0; i < text.len; i++) {
        for (unsigned int bit = 0; bit < 8; bit++) {
            text.data[i] = (char)((unsigned char)text.data[i] ^ 1U << bit);
            assert_int_equal(statedir_decode(text.data, text.len, BOOT, &data, &len, &same_boot),
                             -EBADMSG);
            text.data[i] = (char)((unsigned char)text.data[i] ^ 1U << bit);
        }
    }
    assert_int_equal(statedir_decode(text.data, text.len, BOOT, &data, &len, &same_boot), 0);
    assert_int_equal(len, 7);
    assert_true(same_boot);
    assert_int_equal(statedir_decode(text.data, text.len, "another", &data, &len, &same_boot), 0);
    assert_false(same_boot);
    buf_free(&text);
}

static void test_foreign_files(void **state)
{
    struct fixture *f = *state;
    struct statedir_record *records;
    struct buf text = BUF_INIT(4096);
    struct err err;
    char *path;
    size_t len;
    size_t bad;

    /* Another version, with all else right. */
    assert_int_equal(statedir_encode(BOOT, "x", 1, &text), 0);
    text.data[strlen("unikubelet-state ")] = '2';
    write_file(f, UID_A ".pod", text.data, text.len);
    write_file(f, "no good.pod", "x", 1);
    write_file(f, "other.txt", "left alone", 10);
    write_file(f, UID_B ".pod.tmp-12", "half", 4);
    path = xasprintf("%s/link.pod", f->path);
    assert_int_equal(symlink("/etc/hostname", path), 0);
    free(path);
    path = xasprintf("%s/fifo.pod", f->path);
    assert_int_equal(mkfifo(path, 0600), 0);
    free(path);
    path = xasprintf("%s/dir.pod", f->path);
    assert_int_equal(mkdir(path, 0700), 0);
    free(path);

    assert_int_equal(statedir_load(f->dir, &records, &len, &bad, &err), 0);
    assert_int_equal(len, 0);
    assert_int_equal(bad, 5);
    statedir_records_free(records, len);
    assert_int_equal(count_suffix(f, ".bad"), 5);
    assert_int_equal(count_suffix(f, ".pod"), 0);
    assert_int_equal(count_suffix(f, ".txt"), 1);
    assert_int_equal(count_suffix(f, ".tmp-12"), 0);
    buf_free(&text);
}

static void test_other_boot(void **state)
{
    struct fixture *f = *state;
    struct statedir_record *records;
    struct buf text = BUF_INIT(4096);
    struct err err;
    size_t len;
    size_t bad;

    assert_int_equal(statedir_encode(BOOT, "x", 1, &text), 0);
    write_file(f, UID_A ".pod", text.data, text.len);
    assert_int_equal(statedir_load(f->dir, &records, &len, &bad, &err), 0);
    assert_int_equal(len, 1);
    assert_false(records[0].same_boot);
    statedir_records_free(records, len);
    buf_free(&text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_agent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_agents_child, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_truncation, setup, teardown),
        cmocka_unit_test(test_every_damaged_byte),
        cmocka_unit_test_setup_teardown(test_foreign_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_boot, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
