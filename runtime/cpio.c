/* Reading newc: see cpio.h. Everything in an archive is its maker's: sizes are checked against what
 * is there before anything is looked at. */
#include "runtime/cpio.h"

#include "base/str.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define HEADER_LEN 110u
#define TRAILER "TRAILER!!!"

enum field {
    FIELD_INO,
    FIELD_MODE,
    FIELD_UID,
    FIELD_GID,
    FIELD_NLINK,
    FIELD_MTIME,
    FIELD_SIZE,
    FIELD_DEV_MAJOR,
    FIELD_DEV_MINOR,
    FIELD_RDEV_MAJOR,
    FIELD_RDEV_MINOR,
    FIELD_NAME_SIZE,
};

bool cpio_is_archive(const char *data, size_t len)
{
    return len >= HEADER_LEN && (memcmp(data, "070701", 6) == 0 || memcmp(data, "070702", 6) == 0);
}

/* Eight hexadecimal digits; false when they are none. */
static bool field(const char *header, enum field field, uint32_t *ret)
{
    const char *digits = header + 6 + 8 * (size_t)field;
    uint32_t value = 0;

    for (size_t i = 0; i < 8; i++) {
        char c = digits[i];
        uint32_t digit;

        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return false;
        value = value << 4 | digit;
    }
    *ret = value;
    return true;
}

static size_t align4(size_t len)
{
    return (len + 3) & ~(size_t)3;
}

static const char *strip(const char *name)
{
    for (;;) {
        if (name[0] == '/')
            name++;
        else if (name[0] == '.' && (name[1] == '/' || name[1] == '\0'))
            name++;
        else
            return name;
    }
}

void cpio_read(struct cpio_reader *reader, const char *data, size_t len)
{
    *reader = (struct cpio_reader){.at = data, .end = data + len};
}

int cpio_next(struct cpio_reader *reader, struct cpio_entry *ret)
{
    size_t left = (size_t)(reader->end - reader->at);
    struct cpio_entry entry = {.raw = reader->at};
    uint32_t name_size, size;
    size_t data_at, end;

    if (!cpio_is_archive(reader->at, left) || !field(entry.raw, FIELD_INO, &entry.ino) ||
        !field(entry.raw, FIELD_MODE, &entry.mode) ||
        !field(entry.raw, FIELD_NLINK, &entry.nlink) || !field(entry.raw, FIELD_SIZE, &size) ||
        !field(entry.raw, FIELD_DEV_MAJOR, &entry.dev_major) ||
        !field(entry.raw, FIELD_DEV_MINOR, &entry.dev_minor) ||
        !field(entry.raw, FIELD_NAME_SIZE, &name_size))
        return -EBADMSG;
    if (name_size == 0 || name_size > CPIO_NAME_MAX || left - HEADER_LEN < name_size ||
        entry.raw[HEADER_LEN + name_size - 1] != '\0')
        return -EBADMSG;
    data_at = align4(HEADER_LEN + name_size);
    end = data_at + size;
    if (data_at > left || size > left - data_at)
        return -EBADMSG;
    entry.name = entry.raw + HEADER_LEN;
    if (strcmp(entry.name, TRAILER) == 0)
        return 0;
    if (++reader->entries > CPIO_ENTRIES_MAX)
        return -E2BIG;
    entry.name = strip(entry.name);
    entry.data = entry.raw + data_at;
    entry.size = size;
    entry.raw_len = align4(end) < left ? align4(end) : left;
    reader->at += entry.raw_len;
    *ret = entry;
    return 1;
}

/* The last entry of that name, as an unpacker would leave it. 1, 0 or an error. */
static int find(const char *data, size_t len, const char *path, size_t path_len,
                struct cpio_entry *ret)
{
    struct cpio_reader reader;
    struct cpio_entry entry;
    int found = 0;
    int r;

    if (len == 0)
        return 0;
    cpio_read(&reader, data, len);
    while ((r = cpio_next(&reader, &entry)) > 0) {
        if (strncmp(entry.name, path, path_len) == 0 && entry.name[path_len] == '\0') {
            *ret = entry;
            found = 1;
        }
    }
    return r < 0 ? r : found;
}

bool cpio_has(const char *data, size_t len, const char *path)
{
    struct cpio_entry entry;

    return find(data, len, path, strlen(path), &entry) == 1;
}

/* A path being made, without "." and "..": never above the root. */
static int append(char *dst, const char *part, size_t part_len)
{
    size_t len = strlen(dst);

    if (part_len == 0 || (part_len == 1 && part[0] == '.'))
        return 0;
    if (part_len == 2 && memcmp(part, "..", 2) == 0) {
        char *slash = strrchr(dst, '/');

        if (slash)
            *slash = '\0';
        else
            dst[0] = '\0';
        return 0;
    }
    if (len + 1 + part_len >= CPIO_NAME_MAX)
        return -ENAMETOOLONG;
    if (len)
        dst[len++] = '/';
    memcpy(dst + len, part, part_len);
    dst[len + part_len] = '\0';
    return 0;
}

/* What is to be walked next is the link's target, then the rest. */
static int follow(const struct cpio_entry *link, const char *rest, char *todo, char *done)
{
    char next[CPIO_NAME_MAX];
    size_t rest_len = strlen(rest);
    char *slash = strrchr(done, '/');

    if (link->size + 1 + rest_len >= sizeof(next))
        return -ENAMETOOLONG;
    if (link->size && link->data[0] == '/')
        done[0] = '\0';
    else if (slash)
        *slash = '\0'; /* from the link's directory on */
    else
        done[0] = '\0';
    memcpy(next, link->data, link->size);
    next[link->size] = '/';
    memcpy(next + link->size + 1, rest, rest_len + 1);
    memcpy(todo, next, link->size + 1 + rest_len + 1);
    return 0;
}

int cpio_resolve(const char *data, size_t len, const char *path, bool last, char *dst)
{
    char todo[CPIO_NAME_MAX], done[CPIO_NAME_MAX] = "";
    unsigned links = 0;
    const char *at = todo;

    if (strlen(path) >= sizeof(todo))
        return -ENAMETOOLONG;
    str_copy(todo, sizeof(todo), path);
    while (*at) {
        size_t part = strcspn(at, "/");
        const char *rest = at + part + strspn(at + part, "/");
        struct cpio_entry entry;
        int r = append(done, at, part);

        if (r == 0 && part && (*rest || last))
            r = find(data, len, done, strlen(done), &entry);
        if (r < 0)
            return r;
        at = rest;
        if (r == 1 && S_ISLNK(entry.mode)) {
            if (++links > CPIO_SYMLINKS_MAX)
                return -ELOOP;
            r = follow(&entry, rest, todo, done);
            if (r < 0)
                return r;
            at = todo;
        }
    }
    memcpy(dst, done, strlen(done) + 1);
    return 0;
}
