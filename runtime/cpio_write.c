/* Writing newc: see cpio.h. Buffered: thousands of small entries are one write. */
#include "runtime/cpio.h"

#include "base/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES 65536u
#define FIRST_INO \
    0x40000000u /* far from an image's own: equal ones would be taken for hard links */
#define HEADER_LEN 110u
#define TRAILER "TRAILER!!!"

static void flush(struct cpio_writer *w)
{
    const char *at = w->pending;

    while (w->pending_len && w->error == 0) {
        ssize_t n = write(w->fd, at, w->pending_len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            w->error = n < 0 ? -errno : -EIO;
            break;
        }
        at += n;
        w->pending_len -= (size_t)n;
    }
    w->pending_len = 0;
}

static void put(struct cpio_writer *w, const void *data, size_t len)
{
    const char *at = data;

    w->bytes += len;
    while (len && w->error == 0) {
        size_t room = BUFFER_BYTES - w->pending_len;
        size_t n = len < room ? len : room;

        memcpy(w->pending + w->pending_len, at, n);
        w->pending_len += n;
        at += n;
        len -= n;
        if (w->pending_len == BUFFER_BYTES)
            flush(w);
    }
}

static void pad(struct cpio_writer *w)
{
    static const char zeros[4] = {0};

    put(w, zeros, (4 - (w->bytes & 3)) & 3);
}

static void put_header(struct cpio_writer *w, const char *name, uint32_t ino, uint32_t mode,
                       uint32_t nlink, size_t size)
{
    char header[HEADER_LEN + 1];

    str_fmt(header, sizeof(header), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
            ino, mode, 0u, 0u, nlink, 0u, (unsigned)size, 0u, 0u, 0u, 0u,
            (unsigned)strlen(name) + 1, 0u);
    put(w, header, HEADER_LEN);
    put(w, name, strlen(name) + 1);
    pad(w);
}

void cpio_write_begin(struct cpio_writer *w, int fd)
{
    *w = (struct cpio_writer){.fd = fd, .ino = FIRST_INO, .pending = xmalloc(BUFFER_BYTES)};
}

void cpio_write_dir(struct cpio_writer *w, const char *path, mode_t mode)
{
    put_header(w, path, w->ino++, S_IFDIR | (mode & 07777), 2, 0);
}

static void put_data(struct cpio_writer *w, const char *path, uint32_t mode, const void *data,
                     size_t len)
{
    if (len > UINT32_MAX && w->error == 0)
        w->error = -EFBIG;
    put_header(w, path, w->ino++, mode, 1, len);
    put(w, data, len);
    pad(w);
}

void cpio_write_file(struct cpio_writer *w, const char *path, mode_t mode, const void *data,
                     size_t len)
{
    put_data(w, path, S_IFREG | (mode & 07777), data, len);
}

void cpio_write_symlink(struct cpio_writer *w, const char *path, const char *target)
{
    put_data(w, path, S_IFLNK | 0777, target, strlen(target));
}

void cpio_write_raw(struct cpio_writer *w, const void *data, size_t len)
{
    put(w, data, len);
    pad(w);
}

int cpio_write_end(struct cpio_writer *w)
{
    put_header(w, TRAILER, 0, 0, 1, 0);
    flush(w);
    free(w->pending);
    w->pending = NULL;
    return w->error;
}

/* ---- copying ---- */

static bool is_hidden(const char *name, const char *const *hidden, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t n = strlen(hidden[i]);

        if (strncmp(name, hidden[i], n) == 0 && (name[n] == '\0' || name[n] == '/'))
            return true;
    }
    return false;
}

/* One file with several names, of which some are hidden. */
struct link {
    uint32_t ino, dev_major, dev_minor;
    const char *data; /* of a hidden one that has it; NULL: none of them, or a kept one has */
    size_t size;
    const char *last; /* raw of the last kept one */
};

struct links {
    struct link *list;
    size_t len;
};

static struct link *find_link(const struct links *links, const struct cpio_entry *entry)
{
    if (!S_ISREG(entry->mode) || entry->nlink < 2)
        return NULL;
    for (size_t i = 0; i < links->len; i++) {
        struct link *link = &links->list[i];

        if (link->ino == entry->ino && link->dev_major == entry->dev_major &&
            link->dev_minor == entry->dev_minor)
            return link;
    }
    return NULL;
}

/* Files with several names that have their data at a hidden one. */
static int find_links(const char *data, size_t len, const char *const *hidden, size_t hidden_len,
                      struct links *links)
{
    struct cpio_reader reader;
    struct cpio_entry entry;
    int r;

    cpio_read(&reader, data, len);
    while ((r = cpio_next(&reader, &entry)) > 0) {
        if (!S_ISREG(entry.mode) || entry.nlink < 2 || entry.size == 0 ||
            !is_hidden(entry.name, hidden, hidden_len))
            continue;
        if (links->len == CPIO_LINKS_MAX)
            return -E2BIG;
        if ((links->len & (links->len - 1)) == 0)
            links->list =
                xrealloc(links->list, (links->len ? links->len * 2 : 1) * sizeof(*links->list));
        links->list[links->len++] = (struct link){.ino = entry.ino,
                                                  .dev_major = entry.dev_major,
                                                  .dev_minor = entry.dev_minor,
                                                  .data = entry.data,
                                                  .size = entry.size};
    }
    cpio_read(&reader, data, len);
    while (links->len && r == 0 && (r = cpio_next(&reader, &entry)) > 0) {
        struct link *link = find_link(links, &entry);

        r = 0;
        if (!link || is_hidden(entry.name, hidden, hidden_len))
            continue;
        link->last = entry.raw;
        if (entry.size)
            link->data = NULL; /* it has its own copy */
    }
    return r < 0 ? r : 0;
}

/* As it stood, but with the data of another name of the same file. */
static void put_moved(struct cpio_writer *w, const struct cpio_entry *entry,
                      const struct link *link)
{
    char header[HEADER_LEN], size[9];

    memcpy(header, entry->raw, HEADER_LEN);
    str_fmt(size, sizeof(size), "%08X", (unsigned)link->size);
    memcpy(header + 6 + 8 * 6, size, 8);
    put(w, header, HEADER_LEN);
    put(w, entry->raw + HEADER_LEN, (size_t)(entry->data - entry->raw) - HEADER_LEN);
    put(w, link->data, link->size);
}

int cpio_write_copy(struct cpio_writer *w, const char *data, size_t len, const char *const *hidden,
                    size_t hidden_len)
{
    struct links links = {0};
    struct cpio_reader reader;
    struct cpio_entry entry;
    int r = find_links(data, len, hidden, hidden_len, &links);

    cpio_read(&reader, data, len);
    while (r == 0 && (r = cpio_next(&reader, &entry)) > 0) {
        const struct link *link = find_link(&links, &entry);

        r = 0;
        if (is_hidden(entry.name, hidden, hidden_len))
            continue;
        if (link && link->data && link->last == entry.raw) {
            put_moved(w, &entry, link);
        } else {
            put(w, entry.raw, entry.raw_len);
        }
        pad(w);
    }
    free(links.list);
    return r < 0 ? r : 0;
}
