/* The unpacking process: that it does its work, ends when it should, tells what went wrong, and can
 * do nothing else; archives that lie, through it. */
#include "tests/unit/elf_fixture.h"
#include "tests/unit/image_world.h"

#include "runtime/image_worker.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ENTRIES_TOO_MANY (UNPACK_ENTRIES_MAX + 1)

/* Beside the test's own directory. */
static void find_worker(char path[PATH_MAX])
{
    char self[PATH_MAX] = "";

    assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
    str_fmt(path, PATH_MAX, "%s/../unikubelet", dirname(self));
    if (access(path, X_OK) != 0)
        fail_msg("%s is not built: make all", path);
}

struct job {
    char dir[64];
    char blob[80];
    char worker[PATH_MAX];
    struct unpack_layer layer;
    struct unpack unpack;
    struct err err;
};

static void job_open(struct job *job)
{
    memset(job, 0, sizeof(*job));
    str_copy(job->dir, sizeof(job->dir), "/tmp/unikubelet-worker-XXXXXX");
    assert_non_null(mkdtemp(job->dir));
    str_fmt(job->blob, sizeof(job->blob), "%s.blob", job->dir);
    job->layer = (struct unpack_layer){.path = job->blob,
                                       .digest = "sha256:0000000000000000000000000000000000000000"
                                                 "000000000000000000000000",
                                       .files = {"/k", "/i", "/d"}};
    job->unpack = (struct unpack){
        .layers = &job->layer, .layers_len = 1, .dir = job->dir, .want_urunc = true};
    find_worker(job->worker);
}

static int job_run(struct job *job)
{
    buf_free(&job->unpack.urunc);
    return image_worker_run(job->worker, &job->unpack, &job->err);
}

static void job_close(struct job *job)
{
    buf_free(&job->unpack.urunc);
    assert_int_equal(file_remove_tree(job->dir), 0);
    (void)unlink(job->blob);
}

static void job_blob(struct job *job, const struct fake_file *files, size_t len)
{
    struct buf tar;

    fake_tar(&tar, files, len, FAKE_ZSTD);
    assert_int_equal(file_write_atomic(job->blob, tar.data, tar.len, 0644), 0);
    buf_free(&tar);
}

static void does_its_work(void **state)
{
    const struct elf_case with_note = {.solo5_target = SOLO5_VIRTIO, .devices = "n:service"};
    struct fake_file files[3] = {{.path = "k"}, {.path = "i", .text = INITRD}, {.path = "x"}};
    CLEANUP(free) char *initrd = NULL;
    struct buf elf;
    struct job job;

    (void)state;
    job_open(&job);
    elf_make(&elf, &with_note);
    files[0].text = elf.data;
    files[0].len = elf.len;
    job_blob(&job, files, 3);
    buf_free(&elf);
    if (job_run(&job) < 0)
        fail_msg("%s", job.err.text);
    assert_true(job.unpack.has[UNPACK_KERNEL]);
    assert_true(job.unpack.has[UNPACK_INITRD]);
    assert_false(job.unpack.has[UNPACK_DISK]);
    assert_int_equal(job.unpack.kernel.solo5, SOLO5_VIRTIO);
    assert_string_equal(job.unpack.kernel.devices[0].name, "service");
    assert_int_equal(job.unpack.corrupt, -1);
    initrd = xasprintf("%s/initrd", job.dir);
    want_file(initrd, INITRD);
    job_close(&job);
}

static void says_what_is_wrong(void **state)
{
    static const struct fake_file link = {.path = "k", .link = "/etc/shadow"};
    static const struct fake_file good = {.path = "k", .text = KERNEL};
    struct job job;

    (void)state;
    job_open(&job);
    job_blob(&job, &link, 1);
    assert_int_equal(job_run(&job), -ELOOP);
    assert_int_equal(job.err.kind, ERR_SPEC);
    assert_string_equal(job.err.text, "the image's kernel, k, is a link: pack the file itself");
    job_blob(&job, &good, 1);
    job.layer.verify = true;
    job.layer.size = 1;
    assert_int_equal(job_run(&job), -EBADMSG);
    assert_int_equal(job.unpack.corrupt, 0);
    atomic_store(&job.unpack.cancelled, true);
    assert_int_equal(job_run(&job), -ECANCELED);
    job.layer.path = "/nonexistent/blob";
    assert_int_equal(job_run(&job), -ENOENT);
    job_close(&job);
}

/* A worker that dies, or talks nonsense, is an error like any other. */
static void bad_workers(void **state)
{
    static const struct fake_file good = {.path = "k", .text = KERNEL};
    struct job job;

    (void)state;
    job_open(&job);
    job_blob(&job, &good, 1);
    str_copy(job.worker, sizeof(job.worker), "/bin/cat"); /* fails: no such file image-worker */
    assert_true(job_run(&job) < 0);
    str_copy(job.worker, sizeof(job.worker), "/bin/echo");
    assert_int_equal(job_run(&job), -EPROTO);
    str_copy(job.worker, sizeof(job.worker), "/nonexistent/worker");
    assert_true(job_run(&job) < 0);
    job_close(&job);
}

static struct archive *archive_to(const char *path)
{
    struct archive *a = archive_write_new();

    archive_write_set_format_pax_restricted(a);
    archive_write_add_filter_zstd(a);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    return a;
}

/* A file of 8 EiB that has one byte, and one of 1 TiB at whose end there is one. */
static void sparse_lies(void **state)
{
    static const struct {
        la_int64_t size;
        la_int64_t at;
    } lies[] = {{INT64_MAX / 2, 0}, {1ll << 40, (1ll << 40) - 1}};
    struct job job;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct archive_entry *e = archive_entry_new();
        struct archive *a;

        job_open(&job);
        a = archive_to(job.blob);
        archive_entry_set_pathname(e, "k");
        archive_entry_set_perm(e, 0644);
        archive_entry_set_filetype(e, AE_IFREG);
        archive_entry_set_size(e, lies[i].size);
        archive_entry_sparse_add_entry(e, lies[i].at, 1);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        assert_int_equal(archive_write_data(a, "x", 1), 1);
        archive_entry_free(e);
        (void)archive_write_free(a);
        assert_int_equal(job_run(&job), -EFBIG);
        if (!strstr(job.err.text, "the image's kernel has more than the 268435456 bytes allowed"))
            fail_msg("%s", job.err.text);
        job_close(&job);
    }
}

static void too_many_entries(void **state)
{
    struct archive_entry *e = archive_entry_new();
    struct archive *a;
    struct job job;

    (void)state;
    job_open(&job);
    a = archive_to(job.blob);
    archive_entry_set_pathname(e, "../../etc/cron.d/evil");
    archive_entry_set_perm(e, 0644);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_size(e, 0);
    for (int i = 0; i < ENTRIES_TOO_MANY; i++)
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
    archive_entry_free(e);
    (void)archive_write_free(a);
    assert_int_equal(job_run(&job), -EFBIG);
    assert_non_null(strstr(job.err.text, "has more than 1000000 entries"));
    job_close(&job);
}

/* What a worker that was taken over tries, without the sanitizers' help. Each in a process of its
 * own: a filtered call ends it. */
static int try_open(void)
{
    return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY) < 0 ? 0 : 1;
}

static int try_outside(void)
{
    return syscall(SYS_openat, AT_FDCWD, "../../../etc/passwd", O_RDONLY) < 0 ? 0 : 1;
}

static int try_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? 0 : 1;
}

static int try_exec(void)
{
    return execl("/bin/true", "true", NULL) < 0 ? 0 : 1;
}

static int try_link(void)
{
    return symlink("/etc/shadow", "kernel") < 0 ? 0 : 1;
}

static int try_fork(void)
{
    return (int)syscall(SYS_fork) < 0 ? 0 : 1;
}

static int try_kill(void)
{
    return kill(1, 0) < 0 ? 0 : 1;
}

static int try_inside(void)
{
    return syscall(SYS_openat, AT_FDCWD, "kernel", O_WRONLY | O_CREAT, 0644) < 0 ? 1 : 0;
}

static void can_do_nothing_else(void **state)
{
    static const struct {
        const char *what;
        int (*run)(void);
        bool ends; /* by SIGSYS */
    } tries[] = {
        {"open /etc/passwd", try_open, false},
        {"climb out", try_outside, false},
        {"socket", try_socket, true},
        {"exec", try_exec, true},
        {"symlink", try_link, true},
        {"fork", try_fork, true},
        {"kill", try_kill, true},
        {"write in its directory", try_inside, false},
    };
    char dir[] = "/tmp/unikubelet-worker-XXXXXX";
    int fd;

    (void)state;
    if (geteuid() != 0) {
        print_message("not root: no chroot to test\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    fd = open(dir, O_RDONLY | O_DIRECTORY);
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        int status = 0;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
            (void)syscall(SYS_exit_group, image_confine(fd) < 0 ? 99 : tries[i].run());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (tries[i].ends ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS : status != 0)
            fail_msg("%s: status %#x", tries[i].what, (unsigned)status);
    }
    (void)close(fd);
    assert_int_equal(file_remove_tree(dir), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(does_its_work),    cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(bad_workers),      cmocka_unit_test(sparse_lies),
        cmocka_unit_test(too_many_entries), cmocka_unit_test(can_do_nothing_else),
    };

    (void)signal(SIGPIPE, SIG_IGN); /* as the agent does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
