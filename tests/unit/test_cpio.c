/* runtime/cpio*.c: broken archives, names that collide, hard links whose data is hidden, symbolic
 * links on the way, and that what is written is one archive that reads back. */
#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/cpio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

/* An archive under construction, in memory. */
struct made {
    int fd;
    struct cpio_writer w;
    char *data;
    size_t len;
};

static void begin(struct made *made)
{
    made->fd = memfd_create("cpio", MFD_CLOEXEC);
    assert_true(made->fd >= 0);
    cpio_write_begin(&made->w, made->fd);
}

static void end(struct made *made)
{
    struct stat st;

    assert_int_equal(cpio_write_end(&made->w), 0);
    assert_int_equal(fstat(made->fd, &st), 0);
    made->len = (size_t)st.st_size;
    made->data = malloc(made->len + 1);
    assert_int_equal(pread(made->fd, made->data, made->len, 0), made->len);
    close(made->fd);
}

/* "name=data" or "name/" or "name->target", a line each; mode bits are not shown. */
static char *list(const char *data, size_t len)
{
    struct buf text = BUF_INIT(65536);
    struct cpio_reader reader;
    struct cpio_entry e;
    int r;

    cpio_read(&reader, data, len);
    while ((r = cpio_next(&reader, &e)) > 0) {
        const char *mark = S_ISDIR(e.mode) ? "/" : S_ISLNK(e.mode) ? "->" : "=";

        buf_addf(&text, "%s%s%.*s\n", e.name, mark, (int)e.size, e.data);
    }
    if (r < 0)
        buf_addf(&text, "error %d\n", r);
    return buf_take(&text);
}

/* A file with several names, as cpio writes it: the data with the last. */
static void put_hard_link(struct made *made, const char *name, uint32_t ino, const char *data)
{
    char header[256];
    int n = snprintf(header, sizeof(header),
                     "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s", ino,
                     S_IFREG | 0644, 0, 0, 2, 0, (unsigned)strlen(data), 8, 1, 0, 0,
                     (unsigned)strlen(name) + 1, 0, name);

    cpio_write_raw(&made->w, header, (size_t)n + 1);
    if (*data)
        cpio_write_raw(&made->w, data, strlen(data));
}

static struct made image_archive(void)
{
    struct made made;

    begin(&made);
    cpio_write_dir(&made.w, ".", 0755);
    cpio_write_dir(&made.w, "./etc", 0755);
    cpio_write_file(&made.w, "./etc/hosts", 0644, "old", 3);
    cpio_write_dir(&made.w, "etc/app", 0755);
    cpio_write_file(&made.w, "etc/app/default", 0644, "d", 1);
    cpio_write_file(&made.w, "etc/apple", 0644, "a", 1);
    cpio_write_symlink(&made.w, "var", "etc");
    cpio_write_symlink(&made.w, "loop", "loop");
    cpio_write_symlink(&made.w, "up", "../../etc/app");
    put_hard_link(&made, "first", 7, "");
    put_hard_link(&made, "etc/app/second", 7, "shared data");
    end(&made);
    return made;
}

static void hides_what_is_mounted_over(void **state)
{
    static const char *const hidden[] = {"etc/app", "etc/hosts"};
    struct made image = image_archive(), made;
    char *text;

    (void)state;
    begin(&made);
    assert_int_equal(cpio_write_copy(&made.w, image.data, image.len, hidden, 2), 0);
    cpio_write_dir(&made.w, "etc/app", 0755);
    cpio_write_file(&made.w, "etc/app/key", 0400, "new", 3);
    end(&made);
    text = list(made.data, made.len);
    /* The hard link's data was with a hidden name: the name that is left has it now. */
    assert_string_equal(text, "/\netc/\netc/apple=a\nvar->etc\nloop->loop\nup->../../etc/app\n"
                              "first=shared data\netc/app/\netc/app/key=new\n");
    free(text);
    free(image.data);
    free(made.data);
}

static void keeps_hard_links_when_nothing_is_hidden(void **state)
{
    struct made image = image_archive(), made;
    char *before = list(image.data, image.len), *after;

    (void)state;
    begin(&made);
    assert_int_equal(cpio_write_copy(&made.w, image.data, image.len, NULL, 0), 0);
    end(&made);
    after = list(made.data, made.len);
    assert_string_equal(after, before);
    assert_int_equal(made.len, image.len); /* one archive, one trailer */
    free(before);
    free(after);
    free(image.data);
    free(made.data);
}

static void stops_at_the_first_trailer(void **state)
{
    static const char *const none[] = {"x"};
    struct made first = image_archive(), made;
    char *two = malloc(2 * first.len), *text, *want = list(first.data, first.len);

    (void)state;
    memcpy(two, first.data, first.len);
    memcpy(two + first.len, first.data, first.len);
    begin(&made);
    assert_int_equal(cpio_write_copy(&made.w, two, 2 * first.len, none, 1), 0);
    end(&made);
    text = list(made.data, made.len);
    assert_string_equal(text, want);
    free(text);
    free(want);
    free(two);
    free(first.data);
    free(made.data);
}

static void resolves_links(void **state)
{
    static const struct {
        const char *path, *want; /* NULL: -ELOOP */
    } rows[] = {
        {"etc/app", "etc/app"},
        {"var/app/x", "etc/app/x"},
        {"var/new/dir", "etc/new/dir"},
        {"nowhere/at/all", "nowhere/at/all"},
        {"up/x", "etc/app/x"}, /* ".." never leaves the root */
        {"a/../../etc/./app", "etc/app"},
        {"loop/x", NULL},
    };
    struct made image = image_archive();

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char dst[CPIO_NAME_MAX] = "";
        int r = cpio_resolve(image.data, image.len, rows[i].path, true, dst);

        assert_int_equal(r, rows[i].want ? 0 : -ELOOP);
        if (rows[i].want)
            assert_string_equal(dst, rows[i].want);
    }
    free(image.data);
}

/* Cut anywhere, or with any byte of a header changed, it is an error and never more. */
static void broken_archives(void **state)
{
    static const char *const hidden[] = {"etc"};
    struct made image = image_archive();
    unsigned errors = 0;

    (void)state;
    for (size_t len = 0; len < image.len; len++) {
        char *cut = malloc(len + 1); /* exactly, for the sanitizer */
        struct made made;

        memcpy(cut, image.data, len);
        begin(&made);
        int r = cpio_write_copy(&made.w, cut, len, hidden, 1);
        end(&made);
        assert_true(r == -EBADMSG || r == 0);
        errors += r == -EBADMSG;
        free(made.data);
        free(cut);
    }
    assert_true(errors > image.len - 16);
    image.data[6 + 8 * 6] = 'f'; /* of the root: 4 GiB of data */
    assert_false(cpio_has(image.data, image.len, "etc"));
    free(image.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hides_what_is_mounted_over),
        cmocka_unit_test(keeps_hard_links_when_nothing_is_hidden),
        cmocka_unit_test(stops_at_the_first_trailer),
        cmocka_unit_test(resolves_links),
        cmocka_unit_test(broken_archives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
