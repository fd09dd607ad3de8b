/* The kernel's text files that tell what is used (proc(5)), and sizes of files. The half of stats.h
 * that knows no machine. Nothing is allocated: 1,000 machines are read in one go. */
#include "runtime/stats.h"

#include "base/cleanup.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define SMALL_MAX 1024
#define TEXT_MAX 32768 /* links of a host, /proc/vmstat; what is behind is not looked at */
#define TICK_NS (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK))
#define TREE_DEPTH_MAX 8

/* Reads what fits; NUL-terminated. Bytes, or negative errno. */
static ssize_t read_text(const char *path, char *dst, size_t size)
{
    CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;

    if (fd < 0)
        return -errno;
    while (used < size - 1) {
        ssize_t n = read(fd, dst + used, size - 1 - used);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    dst[used] = '\0';
    return (ssize_t)used;
}

/* The decimal number after spaces; moves *at behind it. False: there is none. */
static bool number(const char **at, uint64_t *ret)
{
    const char *p = *at;
    uint64_t value = 0;

    while (*p == ' ' || *p == '\t')
        p++;
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    *at = p;
    *ret = value;
    return true;
}

static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return *line ? line + 1 : line;
}

/* The number behind a line's first word. 0 when there is no such line. */
static uint64_t value_of(const char *text, const char *word)
{
    size_t len = strlen(word);
    uint64_t value = 0;

    for (const char *line = text; *line; line = next_line(line)) {
        const char *at = line + len;

        if (strncmp(line, word, len) == 0 && (*at == ' ' || *at == '\t') && number(&at, &value))
            return value;
    }
    return 0;
}

int stats_parse_process(const char *text, struct stats_process *ret)
{
    /* Fields are counted from behind the name, which may hold anything: 3 is the state. */
    enum { MINOR = 10, MAJOR = 12, USER = 14, SYSTEM = 15, RSS = 24 };
    const char *at = strrchr(text, ')');
    uint64_t fields[RSS + 1] = {0};

    if (!at || at[1] != ' ')
        return -EBADMSG;
    at += 2;
    at += strcspn(at, " ");
    for (int i = 4; i <= RSS; i++) {
        at += strspn(at, " ");
        at += *at == '-'; /* priorities; not looked at */
        if (!number(&at, &fields[i]))
            return -EBADMSG;
    }
    *ret = (struct stats_process){
        .cpu_ns = (fields[USER] + fields[SYSTEM]) * TICK_NS,
        .rss_bytes = fields[RSS] * (uint64_t)sysconf(_SC_PAGESIZE),
        .faults = fields[MINOR] + fields[MAJOR],
        .major_faults = fields[MAJOR],
    };
    return 0;
}

int stats_process_open(pid_t pid)
{
    char path[64];
    int fd = open(str_fmt(path, sizeof(path), "/proc/%d/stat", (int)pid), O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int stats_process_read(int fd, struct stats_process *ret)
{
    char text[SMALL_MAX];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0); /* in one piece, as it is short */

    if (n < 0)
        return -errno;
    text[n] = '\0';
    return stats_parse_process(text, ret);
}

int stats_process(pid_t pid, struct stats_process *ret)
{
    CLEANUP(close) int fd = stats_process_open(pid);

    return fd < 0 ? fd : stats_process_read(fd, ret);
}

static bool parse_link(const char *line, struct stats_link *ret)
{
    struct stats_link link = {0};
    uint64_t unused;
    const char *colon = strchr(line, ':');
    const char *end = line + strcspn(line, "\n");

    line += strspn(line, " ");
    if (!colon || colon > end || colon == line || colon - line >= STATS_LINK_NAME_MAX)
        return false;
    memcpy(link.name, line, (size_t)(colon - line));
    line = colon + 1;
    /* bytes packets errs drop fifo frame compressed multicast, and the like for sending */
    uint64_t *const rx[] = {&link.rx_bytes, &link.rx_packets, &link.rx_errors, &link.rx_dropped,
                            &unused,        &unused,          &unused,         &unused};
    uint64_t *const tx[] = {&link.tx_bytes, &link.tx_packets, &link.tx_errors, &link.tx_dropped};

    for (size_t i = 0; i < ARRAY_LEN(rx); i++)
        if (!number(&line, rx[i]))
            return false;
    for (size_t i = 0; i < ARRAY_LEN(tx); i++)
        if (!number(&line, tx[i]))
            return false;
    *ret = link;
    return true;
}

size_t stats_parse_links(const char *text, struct stats_link *out, size_t max)
{
    size_t count = 0;

    for (const char *line = text; *line && count < max; line = next_line(line))
        count += parse_link(line, &out[count]);
    return count;
}

size_t stats_links(pid_t pid, struct stats_link *out, size_t max)
{
    char path[64] = "/proc/self/net/dev";
    char text[TEXT_MAX];

    if (pid > 0)
        str_fmt(path, sizeof(path), "/proc/%d/net/dev", (int)pid);
    return read_text(path, text, sizeof(text)) < 0 ? 0 : stats_parse_links(text, out, max);
}

void stats_link_turn(struct stats_link *link)
{
    struct stats_link seen = *link;

    link->rx_bytes = seen.tx_bytes;
    link->rx_packets = seen.tx_packets;
    link->rx_errors = seen.tx_errors;
    link->rx_dropped = seen.tx_dropped;
    link->tx_bytes = seen.rx_bytes;
    link->tx_packets = seen.rx_packets;
    link->tx_errors = seen.rx_errors;
    link->tx_dropped = seen.rx_dropped;
}

bool stats_parse_default_link(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = text; *line; line = next_line(line)) {
        const char *tab = strchr(line, '\t');

        if (tab && strncmp(tab, "\t00000000\t", 10) == 0)
            return (size_t)(tab - line) == len && strncmp(line, name, len) == 0;
    }
    return false;
}

bool stats_is_default_link(const char *name)
{
    char text[TEXT_MAX];

    return read_text("/proc/net/route", text, sizeof(text)) > 0 &&
           stats_parse_default_link(text, name);
}

int stats_parse_host_cpu(const char *text, struct stats_host *ret)
{
    uint64_t user, nice, system, idle, wait, irq, softirq;

    if (!str_starts(text, "cpu "))
        return -EBADMSG;
    text += strlen("cpu ");
    /* What follows is stolen time, and guests' time, which user has already. */
    if (!number(&text, &user) || !number(&text, &nice) || !number(&text, &system) ||
        !number(&text, &idle) || !number(&text, &wait) || !number(&text, &irq) ||
        !number(&text, &softirq))
        return -EBADMSG;
    ret->cpu_ns = (user + nice + system + irq + softirq) * TICK_NS;
    return 0;
}

int stats_parse_meminfo(const char *text, struct stats_host *ret)
{
    uint64_t total = value_of(text, "MemTotal:") * 1024;
    uint64_t unused = value_of(text, "MemFree:") * 1024;
    uint64_t inactive = value_of(text, "Inactive(file):") * 1024;

    if (total == 0 || unused > total)
        return -EBADMSG;
    ret->memory_bytes = total;
    ret->used_bytes = total - unused;
    ret->working_set_bytes = inactive < ret->used_bytes ? ret->used_bytes - inactive : 0;
    ret->rss_bytes = value_of(text, "AnonPages:") * 1024;
    ret->swap_bytes = value_of(text, "SwapTotal:") * 1024;
    ret->swap_used_bytes = ret->swap_bytes - value_of(text, "SwapFree:") * 1024;
    return 0;
}

int stats_host(struct stats_host *ret)
{
    struct stats_host host = {0};
    char text[TEXT_MAX];
    ssize_t n = read_text("/proc/stat", text, SMALL_MAX);
    int r = n < 0 ? (int)n : stats_parse_host_cpu(text, &host);

    if (r == 0)
        r = (int)read_text("/proc/meminfo", text, sizeof(text));
    if (r >= 0)
        r = stats_parse_meminfo(text, &host);
    if (r < 0)
        return r;
    if (read_text("/proc/vmstat", text, sizeof(text)) > 0) {
        host.faults = value_of(text, "pgfault");
        host.major_faults = value_of(text, "pgmajfault");
    }
    if (read_text("/proc/loadavg", text, sizeof(text)) > 0) {
        const char *slash = strchr(text, '/'); /* running/existing */

        if (slash++)
            (void)number(&slash, &host.processes);
    }
    if (read_text("/proc/sys/kernel/pid_max", text, sizeof(text)) > 0) {
        const char *at = text;

        (void)number(&at, &host.processes_max);
    }
    *ret = host;
    return 0;
}

int stats_fs(const char *path, struct stats_fs *ret)
{
    struct statvfs fs;

    if (statvfs(path, &fs) < 0)
        return -errno;
    *ret = (struct stats_fs){
        .capacity_bytes = fs.f_blocks * fs.f_frsize,
        .available_bytes = fs.f_bavail * fs.f_frsize,
        .used_bytes = (fs.f_blocks - fs.f_bfree) * fs.f_frsize,
        .inodes = fs.f_files,
        .inodes_free = fs.f_ffree,
        .inodes_used = fs.f_files - fs.f_ffree,
    };
    return 0;
}

static void add_tree(int parent, const char *name, unsigned depth, struct stats_files *total)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(closedir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    struct stat st;

    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    while (total->inodes < STATS_FILES_MAX && (entry = readdir(dir))) {
        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, "..") ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        total->bytes += (uint64_t)st.st_blocks * 512;
        total->inodes++;
        if (S_ISDIR(st.st_mode) && depth + 1 < TREE_DEPTH_MAX)
            add_tree(dirfd(dir), entry->d_name, depth + 1, total);
    }
}

int stats_files(const char *dir, struct stats_files *ret)
{
    struct stats_files total = {0};
    struct stat st;

    if (lstat(dir, &st) < 0) {
        if (errno != ENOENT)
            return -errno;
        *ret = total;
        return 0;
    }
    total.bytes = (uint64_t)st.st_blocks * 512;
    total.inodes = 1;
    add_tree(AT_FDCWD, dir, 0, &total);
    *ret = total;
    return 0;
}
