/* The guest's console becomes a CRI log file: `<time> stdout F|P <text>`. Done here and not in the
 * agent, so that logs go on, and stay within their bounds, while the agent is away. A file that
 * cannot be written costs text, never the guest's progress. The format is the container runtime
 * interface's, the names of older files the kubelet's: node log collectors read both (contract
 * 5.3). */
#include "runtime/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL

struct civil {
    int64_t year;
    unsigned month;
    unsigned day;
};

/* Days since 1970 to a date: years start in March, so that leap days come last. libc's gmtime would
 * bring the time zone code, and its files, into every shim. */
static struct civil civil_from_days(int64_t days)
{
    int64_t z = days + 719468; /* days since 0000-03-01 */
    int64_t era = z / 146097;  /* of 400 years; z is positive */
    unsigned doe = (unsigned)(z - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    unsigned month = mp < 10 ? mp + 3 : mp - 9;

    return (struct civil){
        .year = (int64_t)yoe + era * 400 + (month <= 2),
        .month = month,
        .day = doy - (153 * mp + 2) / 5 + 1,
    };
}

/* "<path>.20060102-150405", as the kubelet names a log that grew too long. */
static int format_renamed(const struct console *console, char *dst, size_t size, int64_t seconds)
{
    struct civil date = civil_from_days(seconds / 86400);
    unsigned in_day = (unsigned)(seconds % 86400);
    int n = snprintf(dst, size, "%s.%04d%02u%02u-%02u%02u%02u", console->path, (int)date.year,
                     date.month, date.day, in_day / 3600, in_day / 60 % 60, in_day % 60);

    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static size_t format_stamp(char *dst, size_t size, int64_t ns, const char *stream)
{
    int64_t seconds = ns / NS_PER_S;
    struct civil date = civil_from_days(seconds / 86400);
    unsigned in_day = (unsigned)(seconds % 86400);
    int n = snprintf(dst, size, "%04d-%02u-%02uT%02u:%02u:%02u.%09uZ %s ", (int)date.year,
                     date.month, date.day, in_day / 3600, in_day / 60 % 60, in_day % 60,
                     (unsigned)(ns % NS_PER_S), stream);

    return n < 0 || (size_t)n >= size ? 0 : (size_t)n;
}

int console_open(struct console *console)
{
    struct stat info;
    int fd;

    if (!console->path)
        return 0;
    fd = open(console->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY,
              0640);
    if (fd < 0)
        return -errno;
    if (console->fd >= 0)
        (void)close(console->fd);
    console->fd = fd;
    console->size = fstat(fd, &info) == 0 ? (uint64_t)info.st_size : 0;
    return 0;
}

static void drop_oldest(struct console *console)
{
    char name[PATH_MAX];

    if (format_renamed(console, name, sizeof(name), console->renamed[0]) == 0)
        (void)unlink(name);
    console->renamed_len--;
    memmove(console->renamed, console->renamed + 1,
            console->renamed_len * sizeof(console->renamed[0]));
}

/* The file gets an older file's name and a new one takes its place; the oldest goes. Names count up
 * by a second at least, so that none stands for two files and their order is that of their text.
 * Failing, the file does not grow: its size is the limit that must hold. */
static int rotate(struct console *console, int64_t now_ns)
{
    int64_t seconds = now_ns / NS_PER_S;
    char name[PATH_MAX];
    int r;

    if (console->renamed_len > 0 && seconds <= console->renamed[console->renamed_len - 1])
        seconds = console->renamed[console->renamed_len - 1] + 1;
    r = format_renamed(console, name, sizeof(name), seconds);
    if (r < 0)
        return r;
    if (rename(console->path, name) == 0)
        console->renamed[console->renamed_len++] = seconds;
    else if (errno != ENOENT) /* removed by someone: a new one can be made all the same */
        return -errno;
    if (console->renamed_len >= console->files_max)
        drop_oldest(console);
    return console_open(console);
}

static bool is_full(const struct console *console)
{
    return console->bytes_max > 0 && console->size > 0 &&
           console->size + console->out_len > console->bytes_max;
}

/* All or nothing: what was written of a batch that did not fit is taken back, so that readers never
 * meet half a line. */
static int write_batch(int fd, const char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(fd, data + done, len - done);

        if (n < 0) {
            int code = -errno;
            off_t end = lseek(fd, 0, SEEK_CUR);

            if (done > 0 && end >= (off_t)done && ftruncate(fd, end - (off_t)done) < 0)
                return -errno;
            return code;
        }
        done += (size_t)n;
    }
    return 0;
}

/* Says in the log itself that a part of it is missing. */
static int write_note(struct console *console, int64_t now_ns)
{
    char note[192];
    size_t head = format_stamp(note, sizeof(note), now_ns, "stderr");
    int n = snprintf(note + head, sizeof(note) - head,
                     "F [unikubelet: %llu bytes of console output were lost: %s]\n",
                     (unsigned long long)console->dropped, strerrordesc_np(-console->drop_code));

    if (n < 0 || (size_t)n >= sizeof(note) - head)
        return -EINVAL;
    return write_batch(console->fd, note, head + (size_t)n);
}

static void flush(struct console *console, int64_t now_ns)
{
    int r = 0;

    if (console->out_len == 0)
        return;
    if (console->fd < 0)
        r = console->drop_code ? console->drop_code : -ENOENT;
    if (r == 0 && is_full(console))
        r = rotate(console, now_ns);
    if (r == 0 && console->dropped > 0)
        r = write_note(console, now_ns);
    if (r == 0) {
        console->dropped = 0;
        r = write_batch(console->fd, console->out, console->out_len);
        console->size += r == 0 ? console->out_len : 0;
    }
    if (r < 0 && console->path) {
        console->dropped += console->out_len;
        console->drop_code = r;
    }
    console->out_len = 0;
}

static void emit(struct console *console, size_t len, char tag, int64_t now_ns)
{
    size_t need = console->stamp_len + 2 + len + 1;
    char *at;

    if (console->out_len + need > sizeof(console->out))
        flush(console, now_ns);
    at = console->out + console->out_len;
    memcpy(at, console->stamp, console->stamp_len);
    at += console->stamp_len;
    *at++ = tag;
    *at++ = ' ';
    memcpy(at, console->line, len);
    at[len] = '\n';
    console->out_len += need;
    console->continued = tag == 'P';
}

/* A carriage return at the end may belong to a line feed that is still to come. */
static bool ends_in_return(const struct console *console)
{
    return console->line_len > 0 && console->line[console->line_len - 1] == '\r';
}

static void emit_part(struct console *console, int64_t now_ns)
{
    size_t held = ends_in_return(console) ? 1 : 0;

    emit(console, console->line_len - held, 'P', now_ns);
    console->line[0] = '\r';
    console->line_len = held;
}

static void emit_line(struct console *console, int64_t now_ns)
{
    emit(console, console->line_len - (ends_in_return(console) ? 1 : 0), 'F', now_ns);
    console->line_len = 0;
}

static void take(struct console *console, const char *text, size_t len, int64_t now_ns)
{
    while (len > 0) {
        size_t room = sizeof(console->line) - console->line_len;
        size_t n = len < room ? len : room;

        if (n == 0) {
            emit_part(console, now_ns);
            continue;
        }
        memcpy(console->line + console->line_len, text, n);
        console->line_len += n;
        text += n;
        len -= n;
    }
}

void console_feed(struct console *console, size_t len, int64_t now_ns)
{
    const char *at = console->in;
    const char *end = at + len;

    console->stamp_len = format_stamp(console->stamp, sizeof(console->stamp), now_ns, "stdout");
    tail_add(console->tail, &console->tail_len, sizeof(console->tail), at, len);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((newline ? newline : end) - at);

        take(console, at, n, now_ns);
        if (newline)
            emit_line(console, now_ns);
        at += n + (newline ? 1 : 0);
    }
    flush(console, now_ns);
}

bool console_waits(const struct console *console)
{
    return console->line_len > (ends_in_return(console) ? 1 : 0);
}

void console_silence(struct console *console, int64_t now_ns)
{
    if (!console_waits(console))
        return;
    emit_part(console, now_ns);
    flush(console, now_ns);
}

void console_finish(struct console *console, int64_t now_ns)
{
    if (console_waits(console) || console->continued)
        emit_line(console, now_ns);
    flush(console, now_ns);
}
