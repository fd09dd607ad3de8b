/* runtime/payload.c and volumes*.c: the atomic writer, paths that try to leave a volume, hostPath's
 * types, whose the files are, and a Pod's own initrd. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/cpio.h"
#include "runtime/volumes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

struct world {
    char dir[64];
    struct err err;
};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));

    str_copy(w->dir, sizeof(w->dir), "/tmp/unikubelet-volumes-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    assert_int_equal(volumes_remove(w->dir, &w->err), 0);
    assert_int_equal(access(w->dir, F_OK), -1);
    free(w);
    return 0;
}

static char *at(const struct world *w, const char *name)
{
    return xasprintf("%s/%s", w->dir, name);
}

static char *content(const struct world *w, const char *name)
{
    struct buf text = BUF_INIT(65536);
    CLEANUP(free) char *path = at(w, name);

    assert_int_equal(file_read(path, &text), 0);
    return buf_take(&text);
}

static void assert_content(const struct world *w, const char *name, const char *want)
{
    CLEANUP(free) char *text = content(w, name);

    assert_string_equal(text, want);
}

static void put(const struct world *w, const char *name, const char *text)
{
    CLEANUP(free) char *path = at(w, name);

    assert_int_equal(file_write_atomic(path, text, strlen(text), 0644), 0);
}

static void make_dir(const struct world *w, const char *name)
{
    CLEANUP(free) char *path = at(w, name);

    assert_int_equal(file_mkdirs(path, 0755), 0);
}

static size_t entries(const struct world *w, const char *name)
{
    CLEANUP(free) char *path = at(w, name);
    CLEANUP(closedir) DIR *dir = opendir(path);
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir))
        count++;
    return count - 2;
}

#define FILE_(p, d, m)                                              \
    {                                                               \
        .path = (p), .data = (d), .len = sizeof(d) - 1, .mode = (m) \
    }

static void writes_whole_versions(void **state)
{
    static const struct payload_file first[] = {FILE_("a", "1", 0644), FILE_("sub/b", "2", 0400)};
    static const struct payload_file second[] = {FILE_("a", "one", 0644), FILE_("c", "3", 0644)};
    struct world *w = *state;
    CLEANUP(free) char *dir = at(w, "v");
    CLEANUP(free) char *data = at(w, "v/..data");
    CLEANUP(free) char *sub = at(w, "v/sub");
    char before[256] = "", after[256] = "";
    bool changed = false;
    struct stat st;

    assert_int_equal(payload_write(dir, first, 2, getgid(), &changed, &w->err), 0);
    assert_true(changed);
    assert_content(w, "v/a", "1");
    assert_content(w, "v/sub/b", "2");
    assert_int_equal(entries(w, "v"), 4); /* the version, ..data, a, sub */
    assert_true(readlink(data, before, sizeof(before) - 1) > 0);
    assert_true(str_starts(before, "..2"));
    CLEANUP(free) char *b = at(w, "v/sub/b");
    assert_int_equal(stat(b, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0440); /* the machine's user has the group */
    /* The same again is no new version. */
    assert_int_equal(payload_write(dir, first, 2, getgid(), &changed, &w->err), 0);
    assert_false(changed);
    assert_true(readlink(data, after, sizeof(after) - 1) > 0);
    assert_string_equal(before, after);
    /* What was left by one that died: a version, and half of the switch. */
    make_dir(w, "v/..2020_01_01_00_00_00.dead");
    CLEANUP(free) char *half = at(w, "v/..data_tmp");
    assert_int_equal(symlink("..2020_01_01_00_00_00.dead", half), 0);
    assert_int_equal(payload_write(dir, second, 2, getgid(), &changed, &w->err), 0);
    assert_true(changed);
    assert_content(w, "v/a", "one");
    assert_content(w, "v/c", "3");
    assert_int_equal(lstat(sub, &st), -1);
    assert_int_equal(entries(w, "v"), 4);
    /* Nothing at all: an optional ConfigMap that is not there. */
    assert_int_equal(payload_write(dir, NULL, 0, getgid(), &changed, &w->err), 0);
    assert_int_equal(entries(w, "v"), 2);
}

static void refuses_paths(void **state)
{
    static const char *const bad[] = {"",    "/a",   "..", "../a",   "a/../b",    "a/..",
                                      "./a", "a//b", "a/", "..data", "..hidden/x"};
    static const char *const good[] = {"a", "a/b", "a..b", "a/..b", ".a"};
    struct world *w = *state;
    CLEANUP(free) char *dir = at(w, "v");

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(payload_path_ok(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct payload_file file = {.path = bad[i], .data = "x", .len = 1, .mode = 0644};

        assert_false(payload_path_ok(bad[i]));
        assert_int_equal(payload_write(dir, &file, 1, getgid(), NULL, &w->err), -EINVAL);
    }
    assert_int_equal(entries(w, "v"), 0);
}

/* A guest that made links in its emptyDir, and a subPath that goes through them. */
static void sub_paths_stay_inside(void **state)
{
    static const struct {
        const char *path;
        int want; /* 0: opened */
    } rows[] = {
        {"", 0},           {"dir", 0},     {"dir/file", 0}, {"inner", 0},          {"out", -EXDEV},
        {"out/x", -EXDEV}, {"up", -EXDEV}, {"..", -EXDEV},  {"dir/../..", -EXDEV}, {"/etc", -EXDEV},
        {"none", -ENOENT},
    };
    struct world *w = *state;
    CLEANUP(free) char *dir = at(w, "v");
    CLEANUP(free) char *out = at(w, "v/out");
    CLEANUP(free) char *up = at(w, "v/up");
    CLEANUP(free) char *inner = at(w, "v/inner");

    make_dir(w, "v/dir");
    put(w, "v/dir/file", "x");
    assert_int_equal(symlink("/etc", out), 0);
    assert_int_equal(symlink("../..", up), 0);
    assert_int_equal(symlink("dir", inner), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(close) int fd = volumes_open_below(dir, rows[i].path, false);

        assert_int_equal(fd < 0 ? fd : 0, rows[i].want);
    }
    CLEANUP(close) int made = volumes_open_below(dir, "new/deep", true);
    assert_true(made >= 0);
    CLEANUP(close) int escape = volumes_open_below(dir, "out/deep", true);
    assert_int_equal(escape, -EXDEV);
}

static void host_path_types(void **state)
{
    static const struct {
        const char *name, *type, *want; /* NULL: fine */
    } rows[] = {
        {"ok/dir", "", NULL},
        {"ok/dir", "Directory", NULL},
        {"ok/file", "File", NULL},
        {"ok/file", "Directory", "hostPath type check failed: %s is not a directory"},
        {"ok/dir", "File", "hostPath type check failed: %s is not a file"},
        {"ok/dir", "Socket", "hostPath type check failed: %s is not a socket file"},
        {"ok/dir", "CharDevice", "hostPath type check failed: %s is not a character device"},
        {"ok/dir", "BlockDevice", "hostPath type check failed: %s is not a block device"},
        {"ok/none", "Directory", "hostPath type check failed: %s is not a directory"},
        {"ok/made", "DirectoryOrCreate", NULL},
        {"ok/made.txt", "FileOrCreate", NULL},
        {"other", "", "the host path %s leads out of hostPathPrefixes"},
        {"okay", "", "the host path %s leads out of hostPathPrefixes"},
        {"ok/escape", "", "the host path %s leads out of hostPathPrefixes"},
        {"other/made", "DirectoryOrCreate", "the host path %s is not below hostPathPrefixes"},
    };
    struct world *w = *state;
    CLEANUP(free) char *prefix = at(w, "ok");
    CLEANUP(free) char *escape = at(w, "ok/escape");
    const char *prefixes[] = {prefix};

    make_dir(w, "ok/dir");
    make_dir(w, "other");
    make_dir(w, "okay");
    put(w, "ok/file", "x");
    assert_int_equal(symlink("../other", escape), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(free) char *path = at(w, rows[i].name);
        char want[256];
        int r = volumes_check_host(path, rows[i].type, prefixes, 1, &w->err);

        assert_int_equal(r < 0, rows[i].want != NULL);
        if (!rows[i].want)
            continue;
        str_copy(want, sizeof(want), rows[i].want);
        char *mark = strstr(want, "%s");
        CLEANUP(free) char *full = xasprintf("%.*s%s%s", (int)(mark - want), want, path, mark + 2);
        assert_string_equal(w->err.text, full);
    }
    /* By default nothing at all. */
    assert_int_equal(volumes_check_host(prefix, "", NULL, 0, &w->err), -EACCES);
}

/* For the machine's user alone, and not by way of a link that a guest made. */
static void gives_files_to_the_user(void **state)
{
    static const struct payload_file files[] = {FILE_("secret", "s", 0400)};
    struct world *w = *state;
    CLEANUP(free) char *dir = at(w, "pod");
    CLEANUP(free) char *volume = at(w, "pod/v");
    CLEANUP(free) char *mine = at(w, "pod/mine");
    CLEANUP(free) char *link = at(w, "pod/link");
    CLEANUP(free) char *victim = at(w, "victim");
    CLEANUP(free) char *secret = at(w, "pod/v/secret");
    struct stat st;

    if (geteuid() != 0)
        skip();
    assert_int_equal(payload_write(volume, files, 1, 0, NULL, &w->err), 0);
    put(w, "pod/mine", "x");
    put(w, "victim", "x");
    assert_int_equal(symlink(victim, link), 0);
    assert_int_equal(volumes_give(dir, 1900000001, 1900000001, &w->err), 0);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_gid, 1900000001);
    assert_int_equal(stat(secret, &st), 0);
    assert_int_equal(st.st_gid, 1900000001);
    assert_int_equal(st.st_mode & 0777, 0440);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_gid, 0);
    /* What the user made goes over to the next. */
    assert_int_equal(chown(mine, 1900000001, 1900000001), 0);
    assert_int_equal(volumes_give(dir, 1900000002, 1900000002, &w->err), 0);
    assert_int_equal(stat(mine, &st), 0);
    assert_int_equal(st.st_uid, 1900000002);
}

static char *names_in(const char *path)
{
    struct buf data = BUF_INIT(1 << 20), text = BUF_INIT(65536);
    struct cpio_reader reader;
    struct cpio_entry e;

    assert_int_equal(file_read(path, &data), 0);
    cpio_read(&reader, data.data, data.len);
    while (cpio_next(&reader, &e) > 0)
        buf_addf(&text, "%s%s%.*s|", e.name, S_ISDIR(e.mode) ? "/" : "=", (int)e.size, e.data);
    buf_free(&data);
    return buf_take(&text);
}

static void write_image(const struct world *w, const char *name)
{
    CLEANUP(free) char *path = at(w, name);
    CLEANUP(close) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    struct cpio_writer writer;

    cpio_write_begin(&writer, fd);
    cpio_write_dir(&writer, "etc", 0700);
    cpio_write_file(&writer, "etc/conf", 0644, "old", 3);
    assert_int_equal(cpio_write_end(&writer), 0);
}

static void makes_one_archive(void **state)
{
    static const struct payload_file files[] = {FILE_("a", "1", 0644), FILE_("d/b", "2", 0644)};
    static const struct payload_file extra[] = {FILE_("/etc/hosts", "h", 0644)};
    struct world *w = *state;
    CLEANUP(free) char *image = at(w, "image");
    CLEANUP(free) char *out = at(w, "out");
    CLEANUP(free) char *host = at(w, "host");
    const char *prefixes[] = {w->dir};
    struct volumes_mount mounts[] = {
        {.volume = "m", .path = "/srv/m", .source = VOLUMES_FILES, .files = files, .files_len = 2},
        {.volume = "m",
         .path = "/etc/conf",
         .source = VOLUMES_FILES,
         .files = files,
         .files_len = 2,
         .sub_path = "d/b"},
        {.volume = "e", .path = "/scratch", .source = VOLUMES_EMPTY},
        {.volume = "h",
         .path = "/h",
         .source = VOLUMES_HOST,
         .host_path = host,
         .host_type = "",
         .read_only = true},
    };
    struct volumes_job job = {.mounts = mounts,
                              .mounts_len = 4,
                              .extra = extra,
                              .extra_len = 1,
                              .host_prefixes = prefixes,
                              .host_prefixes_len = 1,
                              .initrd = image,
                              .out = out};

    write_image(w, "image");
    make_dir(w, "host/in");
    put(w, "host/in/f", "host");
    assert_int_equal(volumes_run(&job, &w->err), 0);
    CLEANUP(free) char *names = names_in(out);
    assert_string_equal(names, "etc/|srv/|srv/m/|srv/m/a=1|srv/m/d/|srv/m/d/b=2|etc/conf=2|"
                               "scratch/|h/|h/in/|h/in/f=host|etc/hosts=h|");
    mounts[1].sub_path = "nope";
    assert_int_equal(volumes_run(&job, &w->err), -ENOENT);
    assert_string_equal(w->err.text, "MountVolume.SetUp failed for volume \"m\" : "
                                     "No such file or directory");
    CLEANUP(free) char *tmp = at(w, "out.tmp");
    assert_int_equal(access(tmp, F_OK), -1);
}

/* Compressed: behind it for Linux, an error for who reads one archive. */
static void compressed_images(void **state)
{
    static const struct payload_file extra[] = {FILE_("/etc/hosts", "h", 0644)};
    struct world *w = *state;
    CLEANUP(free) char *image = at(w, "image");
    CLEANUP(free) char *out = at(w, "out");
    struct volumes_job job = {
        .extra = extra, .extra_len = 1, .initrd = image, .out = out, .concatenates = true};
    struct buf data = BUF_INIT(65536);

    put(w, "image", "\x1f\x8b gzip, or so");
    assert_int_equal(volumes_run(&job, &w->err), 0);
    assert_int_equal(file_read(out, &data), 0);
    assert_memory_equal(data.data, "\x1f\x8b gzip, or so\0", 16);
    assert_memory_equal(data.data + 16, "070701", 6);
    buf_free(&data);
    job.concatenates = false;
    assert_int_equal(volumes_run(&job, &w->err), -EMEDIUMTYPE);
    assert_non_null(strstr(w->err.text, "no newc cpio archive"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_whole_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(sub_paths_stay_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(host_path_types, setup, teardown),
        cmocka_unit_test_setup_teardown(gives_files_to_the_user, setup, teardown),
        cmocka_unit_test_setup_teardown(makes_one_archive, setup, teardown),
        cmocka_unit_test_setup_teardown(compressed_images, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
