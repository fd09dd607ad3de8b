/* Reads a CRI log file for `kubectl logs`: a piece a turn of the loop, so that a large file holds
 * nobody up, and no faster than the receiver takes it. Following waits for inotify on the file's
 * directory, which tells of growth, creation and renaming alike. Not the writing (the shim does it)
 * and not the HTTP side. Called by provider's endpoints. */
#include "runtime/logs.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "runtime/logs_line.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define LOGS_CHUNK 65536 /* bytes read a turn; a longer record is left out: writers cut before */
#define LOGS_TEXT_MAX (3 * LOGS_CHUNK) /* a short head becomes at most three times as long */
#define LOGS_ARM_MAX 16                /* tries while directories come and go */

enum part {
    PART_NONE, /* the next record begins a line */
    PART_SHOWN,
    PART_SKIPPED,
};

struct logs_reader {
    uv_loop_t *loop;
    char *path;
    struct logs_options options;
    const struct logs_ops *ops;
    void *userdata;

    uv_idle_t turn;      /* active while there is something to do */
    uv_fs_event_t watch; /* active with follow: on the directory, or on the nearest one above */
    int handles;         /* not closed yet */
    dev_t watched_dev;   /* which directory that is */
    ino_t watched_ino;

    int fd; /* -1: the file does not exist yet */
    dev_t dev;
    ino_t ino;
    off_t offset;  /* of the next record */
    bool replaced; /* another file stands at path: this one is read to its end, then that one */
    bool overlong; /* inside a record that is left out */

    bool tailing;       /* looking backwards for the first of tail_lines */
    off_t tail_end;     /* what lies behind was looked at; a record begins here */
    int64_t tail_found; /* lines, and whether the last record of all was counted */
    bool tail_last_seen;

    enum part part;
    struct buf text; /* formatted and not taken yet */
    size_t text_taken;
    int64_t left; /* of limit_bytes; -1: no limit */

    bool full; /* the receiver took nothing: wait for logs_resume */
    bool container_ended;
    bool closing;
    bool done;  /* what is in text is the last */
    bool ended; /* on_end was called */
    int result;
};

static void on_turn(uv_idle_t *handle);

static void go_on(struct logs_reader *reader)
{
    if (!reader->closing && !reader->ended && !reader->full)
        (void)uv_idle_start(&reader->turn, on_turn); /* fails only without a callback */
}

static void finish(struct logs_reader *reader, int result)
{
    reader->done = true;
    reader->result = result;
}

/* ---- the file ---- */

/* 1: opened; 0: there is none. */
static int open_file(struct logs_reader *reader)
{
    int fd = open(reader->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return -EINVAL;
    }
    if (reader->fd >= 0)
        (void)close(reader->fd);
    reader->fd = fd;
    reader->dev = st.st_dev;
    reader->ino = st.st_ino;
    reader->offset = 0;
    reader->replaced = false;
    reader->overlong = false;
    return 1;
}

/* Reads at most len bytes; 0 at the end. */
static ssize_t read_at(const struct logs_reader *reader, char *data, size_t len, off_t offset)
{
    ssize_t n;

    do {
        n = pread(reader->fd, data, len, offset);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* ---- the text that goes out ---- */

static void add_text(struct logs_reader *reader, const char *text, size_t len)
{
    if (reader->left >= 0 && (uint64_t)len > (uint64_t)reader->left)
        len = (size_t)reader->left;
    /* Cannot overflow: LOGS_TEXT_MAX holds whatever one chunk becomes. */
    if (buf_add(&reader->text, text, len) < 0)
        finish(reader, -ENOBUFS);
    if (reader->left < 0)
        return;
    reader->left -= (int64_t)len;
    if (reader->left == 0)
        finish(reader, 0);
}

static void add_record(struct logs_reader *reader, const char *record, size_t len)
{
    struct logs_line line;

    if (logs_line_parse(record, len, &line) < 0)
        return; /* some other writer's: the kubelet leaves such lines out too */
    if (reader->part == PART_NONE) {
        int64_t since = reader->options.since_unix_ns;
        bool show = since == 0 || line.unix_ns >= since;

        reader->part = show ? PART_SHOWN : PART_SKIPPED;
        if (show && reader->options.timestamps) {
            char stamp[CLOCK_RFC3339_MAX];

            clock_rfc3339_nano(stamp, line.unix_ns);
            add_text(reader, stamp, strlen(stamp));
            add_text(reader, " ", 1);
        }
    }
    if (reader->part == PART_SHOWN) {
        add_text(reader, line.text, line.len);
        if (!line.partial)
            add_text(reader, "\n", 1);
    }
    if (!line.partial)
        reader->part = PART_NONE;
}

/* Turns whole records into text; returns how many bytes they took. */
static size_t add_records(struct logs_reader *reader, const char *data, size_t len)
{
    size_t at = 0;

    while (at < len && !reader->done) {
        const char *newline = memchr(data + at, '\n', len - at);

        if (!newline)
            break;
        if (!reader->overlong)
            add_record(reader, data + at, (size_t)(newline - data) - at);
        reader->overlong = false;
        at = (size_t)(newline - data) + 1;
    }
    return at;
}

/* ---- looking backwards for the last lines ---- */

/* A record that begins at data, of which at least the head is there. True when one line more than
 * wanted was found: reading begins behind this record. */
static bool tail_record(struct logs_reader *reader, const char *data, size_t len)
{
    const char *newline = memchr(data, '\n', len);
    struct logs_line line;

    if (logs_line_parse(data, newline ? (size_t)(newline - data) : len, &line) < 0)
        return false;
    /* P belongs to the line of the record behind it, unless nothing is behind it. */
    if (line.partial && reader->tail_last_seen)
        return false;
    reader->tail_last_seen = true;
    return ++reader->tail_found > reader->options.tail_lines;
}

static int tail_begin(struct logs_reader *reader)
{
    struct stat st;

    reader->tailing = reader->options.tail_lines >= 0;
    if (!reader->tailing)
        return 0;
    if (fstat(reader->fd, &st) < 0)
        return -errno;
    reader->tail_end = st.st_size;
    return 0;
}

/* One block, from its end; offset becomes the earliest record so far that is wanted, 0 while no
 * newline was met. The block reaches LOGS_HEAD_MAX past tail_end, so that a record whose head is
 * cut by the border can be read. What follows the last newline is being written and counts for
 * nothing. */
static void tail_turn(struct logs_reader *reader)
{
    char block[LOGS_CHUNK + LOGS_HEAD_MAX];
    off_t start = reader->tail_end > LOGS_CHUNK ? reader->tail_end - LOGS_CHUNK : 0;
    size_t len = (size_t)(reader->tail_end - start);
    ssize_t n = read_at(reader, block, len + LOGS_HEAD_MAX, start);

    if (n < 0) {
        finish(reader, (int)n);
        return;
    }
    if ((size_t)n < len)
        len = (size_t)n; /* it was cut meanwhile */
    for (size_t i = len; i-- > 0;) {
        const char *begin = block + i + 1;

        if (block[i] != '\n')
            continue;
        if (reader->offset > 0 && tail_record(reader, begin, (size_t)(block + n - begin))) {
            reader->tailing = false;
            return;
        }
        reader->offset = start + (off_t)i + 1;
    }
    reader->tail_end = start;
    if (start > 0)
        return;
    reader->tailing = false;
    if (reader->offset > 0 && !tail_record(reader, block, (size_t)n))
        reader->offset = 0;
}

/* ---- waiting for the file ---- */

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status);

/* Takes the last component off; false when "/" is left already. */
static bool strip(char *path)
{
    char *slash = strrchr(path, '/');

    if (!slash || str_eq(path, "/"))
        return false;
    slash[slash == path] = '\0';
    return true;
}

/* Whether the directory of the file is the one that is watched. */
static bool is_armed(const struct logs_reader *reader)
{
    char *dir = xstrdup(reader->path);
    struct stat st;
    bool armed = strip(dir) && stat(dir, &st) == 0 && st.st_dev == reader->watched_dev &&
                 st.st_ino == reader->watched_ino;

    free(dir);
    return armed;
}

/* Watches the nearest directory that exists. */
static int arm_once(struct logs_reader *reader)
{
    char *dir = xstrdup(reader->path);
    struct stat st;
    int r = UV_ENOENT;

    (void)uv_fs_event_stop(&reader->watch);
    while (r == UV_ENOENT && strip(dir)) {
        if (stat(dir, &st) < 0)
            continue;
        r = uv_fs_event_start(&reader->watch, on_event, dir, 0);
        reader->watched_dev = st.st_dev;
        reader->watched_ino = st.st_ino;
    }
    free(dir);
    return r;
}

/* A directory made while a higher one was being watched is only seen by looking again. */
static int arm(struct logs_reader *reader)
{
    char *dir = xstrdup(reader->path);
    struct stat st;
    int r = 0;

    (void)strip(dir);
    for (int i = 0; i < LOGS_ARM_MAX; i++) {
        r = arm_once(reader);
        if (r < 0 || is_armed(reader) || stat(dir, &st) < 0)
            break;
    }
    free(dir);
    return r;
}

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
    struct logs_reader *reader = handle->data;
    int r = status;

    (void)name;
    (void)events;
    if (r == 0 && !is_armed(reader))
        r = arm(reader);
    if (r < 0)
        finish(reader, r);
    go_on(reader);
}

/* ---- the turn ---- */

/* Offers what there is; false when something is left or nobody is there any more. */
static bool offer(struct logs_reader *reader)
{
    while (reader->text_taken < reader->text.len) {
        size_t rest = reader->text.len - reader->text_taken;
        size_t n =
            reader->ops->on_text(reader->userdata, reader->text.data + reader->text_taken, rest);

        if (reader->closing)
            return false;
        assert(n <= rest);
        reader->text_taken += n;
        if (n == 0) {
            reader->full = true;
            (void)uv_idle_stop(&reader->turn);
            return false;
        }
    }
    buf_reset(&reader->text);
    reader->text_taken = 0;
    return true;
}

/* Nothing whole is left at the offset. */
static int at_end(struct logs_reader *reader)
{
    struct stat st;
    int r = 0;

    if (reader->options.follow && stat(reader->path, &st) == 0) {
        bool same = reader->fd >= 0 && st.st_dev == reader->dev && st.st_ino == reader->ino;

        /* One look more at the old file: its writer may have written until it opened the new one.
         */
        if (!same && reader->fd >= 0 && !reader->replaced) {
            reader->replaced = true;
            return 0;
        }
        if (!same) {
            r = open_file(reader);
            if (r)
                return r < 0 ? r : 0;
        } else if (st.st_size < reader->offset) {
            reader->offset = st.st_size; /* cut: go on with what comes now */
            reader->overlong = false;
            return 0;
        }
    }
    if (!reader->options.follow || reader->container_ended) {
        finish(reader, 0);
        return 0;
    }
    buf_free(&reader->text); /* a quiet follower holds no memory */
    (void)uv_idle_stop(&reader->turn);
    return 0;
}

static int read_turn(struct logs_reader *reader)
{
    char chunk[LOGS_CHUNK];
    ssize_t n = reader->fd < 0 ? 0 : read_at(reader, chunk, sizeof(chunk), reader->offset);
    size_t used;

    if (n < 0)
        return (int)n;
    used = add_records(reader, chunk, (size_t)n);
    if (used == 0 && n == LOGS_CHUNK) {
        reader->overlong = true;
        used = sizeof(chunk);
    }
    reader->offset += (off_t)used;
    return used || reader->done ? 0 : at_end(reader);
}

static void on_turn(uv_idle_t *handle)
{
    struct logs_reader *reader = handle->data;
    int r = 0;

    if (!offer(reader))
        return;
    if (!reader->done && reader->tailing)
        tail_turn(reader);
    else if (!reader->done)
        r = read_turn(reader);
    if (r < 0)
        finish(reader, r);
    if (!offer(reader) || !reader->done)
        return;
    (void)uv_idle_stop(&reader->turn);
    (void)uv_fs_event_stop(&reader->watch);
    reader->ended = true;
    reader->ops->on_end(reader->userdata, reader->result); /* may close: nothing after it */
}

/* ---- the interface ---- */

static void on_closed(uv_handle_t *handle)
{
    struct logs_reader *reader = handle->data;

    if (--reader->handles > 0)
        return;
    buf_free(&reader->text);
    free(reader->path);
    free(reader);
}

static void free_unopened(struct logs_reader *reader)
{
    if (reader->fd >= 0)
        (void)close(reader->fd);
    free(reader->path);
    free(reader);
}

int logs_open(struct uv_loop_s *loop, const char *path, const struct logs_options *options,
              const struct logs_ops *ops, void *userdata, struct logs_reader **ret)
{
    struct logs_reader *reader = xcalloc(1, sizeof(*reader));
    int r;

    *reader = (struct logs_reader){.loop = loop,
                                   .path = xstrdup(path),
                                   .options = *options,
                                   .ops = ops,
                                   .userdata = userdata,
                                   .fd = -1,
                                   .text = BUF_INIT(LOGS_TEXT_MAX),
                                   .left = options->limit_bytes < 0 ? -1 : options->limit_bytes};
    r = open_file(reader);
    if (r == 0 && !options->follow)
        r = -ENOENT;
    if (r == 1)
        r = tail_begin(reader);
    if (r < 0) {
        free_unopened(reader);
        return r;
    }
    (void)uv_idle_init(loop, &reader->turn); /* neither of the two can fail */
    (void)uv_fs_event_init(loop, &reader->watch);
    reader->turn.data = reader;
    reader->watch.data = reader;
    reader->handles = 2;
    if (reader->left == 0)
        finish(reader, 0);
    r = options->follow ? arm(reader) : 0;
    if (r < 0) {
        logs_close(reader);
        return r;
    }
    go_on(reader);
    *ret = reader;
    return 0;
}

void logs_resume(struct logs_reader *reader)
{
    if (!reader)
        return;
    reader->full = false;
    go_on(reader);
}

void logs_container_ended(struct logs_reader *reader)
{
    if (!reader)
        return;
    reader->container_ended = true;
    go_on(reader);
}

void logs_close(struct logs_reader *reader)
{
    if (!reader || reader->closing)
        return;
    reader->closing = true;
    if (reader->fd >= 0)
        (void)close(reader->fd);
    reader->fd = -1;
    uv_close((uv_handle_t *)&reader->turn, on_closed);
    uv_close((uv_handle_t *)&reader->watch, on_closed);
}
