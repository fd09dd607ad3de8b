/* Only the names that a layout has are taken out of the archive, and only plain files: nothing in
 * it decides where something is written. */
#include "runtime/image_archive.h"

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/image_name.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define READ_CHUNK (128 * 1024)

static bool is_ours(const char *name)
{
    char digest[IMAGE_DIGEST_MAX];

    if (str_eq(name, "index.json") || str_eq(name, "oci-layout"))
        return true;
    if (!str_starts(name, "blobs/sha256/"))
        return false;
    str_fmt(digest, sizeof(digest), "sha256:%.65s", name + strlen("blobs/sha256/"));
    return image_digest_valid(digest);
}

static int take(struct archive *in, const char *dir, const char *name, struct err *err)
{
    CLEANUP(free) char *path = xasprintf("%s/%s", dir, name);
    CLEANUP(close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return err_set(err, -errno, "cannot create %s: %s", path, strerror(errno));
    if (archive_read_data_into_fd(in, fd) != ARCHIVE_OK)
        return err_set(err, -EBADMSG, "%s: %s", name, archive_error_string(in));
    return 0;
}

static int unpack(struct archive *in, const char *path, const char *dir, struct err *err)
{
    struct archive_entry *entry;
    int r;

    if (archive_read_open_filename(in, path, READ_CHUNK) != ARCHIVE_OK)
        return err_set(err, -EBADMSG, "%s: %s", path, archive_error_string(in));
    while ((r = archive_read_next_header(in, &entry)) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(entry);

        if (name && str_starts(name, "./"))
            name += 2;
        if (!name || archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) ||
            !is_ours(name))
            continue;
        r = take(in, dir, name, err);
        if (r < 0)
            return err_wrap(err, "%s", path);
    }
    if (r != ARCHIVE_EOF)
        return err_set(err, -EBADMSG, "%s: %s", path, archive_error_string(in));
    return 0;
}

int image_archive_open(const char *path, const char *parent, char **ret, struct err *err)
{
    CLEANUP(free) char *dir = xasprintf("%s/import-XXXXXX", parent);
    CLEANUP(free) char *blobs = NULL;
    struct archive *in;
    struct stat st;
    int r;

    *ret = NULL;
    if (stat(path, &st) < 0)
        return err_set(err, -errno, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return 0;
    r = file_mkdirs(parent, 0711);
    if (r == 0 && !mkdtemp(dir))
        r = -errno;
    if (r < 0)
        return err_set(err, r, "cannot make a directory in %s: %s", parent, strerror(-r));
    blobs = xasprintf("%s/blobs/sha256", dir);
    r = file_mkdirs(blobs, 0700);
    if (r < 0)
        return err_set(err, r, "cannot make %s: %s", blobs, strerror(-r));
    in = archive_read_new();
    (void)archive_read_support_format_tar(in);
    (void)archive_read_support_filter_all(in);
    r = unpack(in, path, dir, err);
    (void)archive_read_free(in);
    if (r < 0)
        (void)file_remove_tree(dir);
    else
        *ret = xstrdup(dir);
    return r;
}
