/* The state directory: what the agent must know after a restart, one file per Pod. The lock on it
 * keeps a second agent out. A file that is not whole and ours is set aside, never trusted and never
 * fatal. Blocking, but small: called by provider on the loop's thread. The network's own records
 * are not here but in network_store.c. */
#include "runtime/statedir.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "runtime/statedir_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX ".pod"
#define BAD_SUFFIX ".bad"
#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

struct statedir {
    char *path;
    int fd;
    int lock_fd;
    char boot_id[STATEDIR_BOOT_ID_LEN + 1];
};

static int read_boot_id(char boot_id[STATEDIR_BOOT_ID_LEN + 1], struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(64);
    int r = file_read(BOOT_ID_FILE, &text);

    if (r < 0)
        return err_set(err, r, "cannot read %s: %s", BOOT_ID_FILE, strerror(-r));
    if (text.len < STATEDIR_BOOT_ID_LEN)
        return err_set(err, -EBADMSG, "%s holds no boot id", BOOT_ID_FILE);
    memcpy(boot_id, text.data, STATEDIR_BOOT_ID_LEN);
    boot_id[STATEDIR_BOOT_ID_LEN] = '\0';
    return 0;
}

static int take_lock(struct statedir *dir, struct err *err)
{
    int r;

    dir->lock_fd = openat(dir->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (dir->lock_fd < 0)
        return err_set(err, -errno, "cannot open %s/lock: %s", dir->path, strerror(errno));
    r = file_lock(dir->lock_fd);
    if (r == -EWOULDBLOCK)
        return err_set(err, r, "state directory %s is in use by another agent", dir->path);
    if (r < 0)
        return err_set(err, r, "cannot lock %s: %s", dir->path, strerror(-r));
    return 0;
}

int statedir_open(const char *path, struct statedir **ret, struct err *err)
{
    struct statedir *dir = xcalloc(1, sizeof(*dir));
    int r;

    dir->path = xstrdup(path);
    dir->fd = -1;
    dir->lock_fd = -1;
    r = file_mkdirs(path, 0700);
    if (r < 0) {
        err_set(err, r, "cannot make state directory %s: %s", path, strerror(-r));
        goto fail;
    }
    dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->fd < 0) {
        r = err_set(err, -errno, "cannot open state directory %s: %s", path, strerror(errno));
        goto fail;
    }
    r = read_boot_id(dir->boot_id, err);
    if (r == 0)
        r = take_lock(dir, err);
    if (r < 0)
        goto fail;
    *ret = dir;
    return 0;
fail:
    statedir_close(dir);
    return r;
}

void statedir_close(struct statedir *dir)
{
    if (!dir)
        return;
    cleanup_close(&dir->lock_fd);
    cleanup_close(&dir->fd);
    free(dir->path);
    free(dir);
}

int statedir_save(struct statedir *dir, const char *uid, const void *data, size_t len,
                  struct err *err)
{
    CLEANUP(buf) struct buf text = BUF_INIT(STATEDIR_RECORD_MAX + STATEDIR_HEADER_MAX);
    CLEANUP(free) char *path = NULL;
    int r;

    if (!statedir_uid_ok(uid))
        return err_set(err, -EINVAL, "Pod UID is not usable as a file name");
    r = statedir_encode(dir->boot_id, data, len, &text);
    if (r < 0)
        return err_set(err, r, "state of Pod %s is %zu bytes, above the limit of %d", uid, len,
                       STATEDIR_RECORD_MAX);
    path = xasprintf("%s/%s" SUFFIX, dir->path, uid);
    r = file_write_atomic(path, text.data, text.len, 0600);
    if (r < 0)
        return err_set(err, r, "cannot write %s: %s", path, strerror(-r));
    return 0;
}

int statedir_remove(struct statedir *dir, const char *uid, struct err *err)
{
    char name[80];

    if (!statedir_uid_ok(uid))
        return err_set(err, -EINVAL, "Pod UID is not usable as a file name");
    str_fmt(name, sizeof(name), "%s" SUFFIX, uid);
    if (unlinkat(dir->fd, name, 0) < 0 && errno != ENOENT)
        return err_set(err, -errno, "cannot remove %s/%s: %s", dir->path, name, strerror(errno));
    return 0;
}

/* The oldest of the *.bad files; returns how many there are. */
static size_t oldest_bad(const struct statedir *dir, char ret_name[256])
{
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closedir) DIR *list = fd < 0 ? NULL : fdopendir(fd);
    struct timespec oldest = {0};
    const struct dirent *entry;
    size_t count = 0;

    if (!list) {
        cleanup_close(&fd);
        return 0;
    }
    while ((entry = readdir(list))) {
        struct stat st;

        if (!str_ends(entry->d_name, BAD_SUFFIX) ||
            fstatat(dir->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        /* ctime: the rename sets it, so it says when the file was set aside. */
        if (count == 0 || st.st_ctim.tv_sec < oldest.tv_sec ||
            (st.st_ctim.tv_sec == oldest.tv_sec && st.st_ctim.tv_nsec < oldest.tv_nsec)) {
            oldest = st.st_ctim;
            str_copy(ret_name, 256, entry->d_name);
        }
        count++;
    }
    return count;
}

static void set_aside(const struct statedir *dir, const char *name)
{
    char bad[256];
    char hex[9];

    while (oldest_bad(dir, bad) >= STATEDIR_BAD_MAX) {
        CLEANUP(free) char *path = xasprintf("%s/%s", dir->path, bad);

        if (file_remove_tree(path) < 0)
            break; /* more than the limit rather than none of today's */
    }
    /* A number of its own: the same Pod's file may go bad twice. */
    str_random_hex(hex, 4);
    str_fmt(bad, sizeof(bad), "%.200s.%s" BAD_SUFFIX, name, hex);
    if (renameat(dir->fd, name, dir->fd, bad) < 0)
        (void)unlinkat(dir->fd, name, 0);
}

/* 0: read into text. -EBADMSG: nothing that we wrote. -ENOENT: gone meanwhile. */
static int read_record(const struct statedir *dir, const char *name, struct buf *text)
{
    CLEANUP(close)
    int fd = openat(dir->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    char chunk[16384];

    if (fd < 0)
        return errno == ELOOP || errno == ENXIO ? -EBADMSG : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EBADMSG;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EIO ? -EBADMSG : -errno;
        if (buf_add(text, chunk, (size_t)n) < 0)
            return -EBADMSG; /* larger than any record */
    }
}

struct loading {
    struct statedir_record *records;
    size_t len;
    size_t cap;
    size_t bad;
};

static void add_record(struct loading *loading, const char *name, const char *data, size_t len,
                       bool same_boot)
{
    struct statedir_record *record;

    if (loading->len == loading->cap) {
        loading->cap = loading->cap ? loading->cap * 2 : 16;
        loading->records = xrealloc(loading->records, loading->cap * sizeof(*loading->records));
    }
    record = &loading->records[loading->len++];
    record->uid = xstrndup(name, strlen(name) - strlen(SUFFIX));
    record->data = xmalloc(len + 1);
    if (len)
        memcpy(record->data, data, len);
    record->data[len] = '\0';
    record->len = len;
    record->same_boot = same_boot;
}

static int load_file(const struct statedir *dir, const char *name, struct loading *loading)
{
    CLEANUP(buf) struct buf text = BUF_INIT(STATEDIR_RECORD_MAX + STATEDIR_HEADER_MAX);
    CLEANUP(free) char *uid = xstrndup(name, strlen(name) - strlen(SUFFIX));
    const char *data;
    size_t len;
    bool same_boot;
    int r = statedir_uid_ok(uid) ? 0 : -EBADMSG;

    if (r == 0)
        r = read_record(dir, name, &text);
    if (r == 0)
        r = statedir_decode(buf_str(&text), text.len, dir->boot_id, &data, &len, &same_boot);
    if (r == 0) {
        add_record(loading, name, data, len, same_boot);
    } else if (r == -EBADMSG) {
        set_aside(dir, name);
        loading->bad++;
        r = 0;
    }
    return r == -ENOENT ? 0 : r;
}

/* All names first: setting files aside changes the directory under a reader's feet. */
static int list_names(const struct statedir *dir, char ***ret_names, size_t *ret_len)
{
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closedir) DIR *list = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    char **names = NULL;
    size_t len = 0;

    if (!list) {
        cleanup_close(&fd);
        return -errno;
    }
    while ((entry = readdir(list))) {
        if (strstr(entry->d_name, SUFFIX ".tmp-")) {
            /* Half of an atomic write whose agent died; the lock says that it is none of ours. */
            (void)unlinkat(dir->fd, entry->d_name, 0);
            continue;
        }
        if (!str_ends(entry->d_name, SUFFIX))
            continue;
        names = xrealloc(names, (len + 1) * sizeof(*names));
        names[len++] = xstrdup(entry->d_name);
    }
    *ret_names = names;
    *ret_len = len;
    return 0;
}

int statedir_load(struct statedir *dir, struct statedir_record **ret, size_t *ret_len,
                  size_t *ret_bad, struct err *err)
{
    struct loading loading = {.len = 0};
    char **names = NULL;
    size_t names_len = 0;
    int r = list_names(dir, &names, &names_len);

    if (r < 0)
        return err_set(err, r, "cannot read state directory %s: %s", dir->path, strerror(-r));
    for (size_t i = 0; i < names_len; i++) {
        if (r == 0) {
            r = load_file(dir, names[i], &loading);
            if (r < 0)
                err_set(err, r, "cannot read %s/%s: %s", dir->path, names[i], strerror(-r));
        }
        free(names[i]);
    }
    free(names);
    if (r < 0) {
        statedir_records_free(loading.records, loading.len);
        return r;
    }
    *ret = loading.records;
    *ret_len = loading.len;
    *ret_bad = loading.bad;
    return 0;
}

void statedir_records_free(struct statedir_record *records, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        free(records[i].uid);
        free(records[i].data);
    }
    free(records);
}
